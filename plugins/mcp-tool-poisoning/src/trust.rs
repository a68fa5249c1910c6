//! Whether anything vouches for a server, a tool or a package, as the record of a registry, an installer or a gateway tells it.

use sentrail_plugin::{Difference, Member, Members};

/// What of a name is about vouching by itself.
const ASSURANCE: [&str; 12] = [
    "trust",
    "trusted",
    "signature",
    "signed",
    "attestation",
    "provenance",
    "checksum",
    "certificate",
    "cert",
    "publisher",
    "reputation",
    "integrity",
];
/// What is about vouching where the name says of what.
const OF: [&str; 7] = [
    "verified",
    "verification",
    "approved",
    "approval",
    "registered",
    "official",
    "allowlisted",
];
const SUBJECTS: [&str; 13] = [
    "server",
    "tool",
    "package",
    "publisher",
    "image",
    "update",
    "artifact",
    "registry",
    "source",
    "dataset",
    "training",
    "model",
    "plugin",
];
/// Values that say that nothing does.
const LACKS: [&str; 19] = [
    "false",
    "unverified",
    "untrusted",
    "unknown",
    "invalid",
    "unsigned",
    "self-signed",
    "self_signed",
    "expired",
    "revoked",
    "mismatch",
    "missing",
    "failed",
    "failure",
    "not_verified",
    "unapproved",
    "unregistered",
    "none",
    "suspicious",
];
/// Parts of a definition. That an address or an amount differs is told elsewhere.
const DEFINITIONS: [&str; 15] = [
    "hash",
    "digest",
    "checksum",
    "sha256",
    "signature",
    "fingerprint",
    "thumbprint",
    "description",
    "definition",
    "schema",
    "publisher",
    "author",
    "owner",
    "certificate",
    "endpoint",
];

/// What does not vouch.
pub fn lacks(members: &Members) -> Option<String> {
    let about = members.iter().any(|one| one.has(&SUBJECTS));
    let lacks = |one: &&Member| {
        let alone = one.is(&["verified", "approved", "registered"]) && one.words().count() <= 2;
        let told = one.has(&ASSURANCE) || (one.has(&OF) && one.has(&SUBJECTS)) || alone;
        told && LACKS.contains(&one.text.trim().to_ascii_lowercase().as_str())
    };
    let member = members
        .iter()
        .find(lacks)
        .filter(|_| about && !members.is_authorised())?;
    Some(format!("`{}` is {}", member.name, member.text.trim()))
}

/// What is not as declared.
pub fn differs(members: &Members) -> Option<String> {
    let mut differences = members.differences();
    // What a test expects and gets differs every day; what a server said and what arrived does not.
    let is_answer =
        |one: &Difference| one.is_of(&["response", "output", "result", "content"]) && one.declared.has(&["original"]);
    let is_name = |one: &Difference| one.is_of(&["name"]) && one.declared.has(&["tool", "server", "package"]);
    let difference = differences
        .find(|one| one.is_of(&DEFINITIONS) || is_answer(one) || is_name(one))
        .filter(|_| !members.is_authorised())?;
    Some(format!(
        "`{}` is not `{}`",
        difference.actual.name, difference.declared.name
    ))
}
