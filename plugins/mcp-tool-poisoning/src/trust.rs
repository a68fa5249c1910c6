//! Whether anything vouches for a server, a tool or a package, as the record of a registry, an installer or a gateway tells it.

use sentrail_plugin::{Member, Members};

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
const SUBJECTS: [&str; 8] = [
    "server",
    "tool",
    "package",
    "publisher",
    "image",
    "update",
    "artifact",
    "registry",
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
const DEFINITIONS: [&str; 19] = [
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
    "response",
    "output",
    "result",
    "content",
    "endpoint",
];

/// What does not vouch.
pub fn lacks(members: &Members) -> Option<String> {
    let about = members.iter().any(|one| one.has(&SUBJECTS));
    let lacks = |one: &&Member| {
        let told = one.has(&ASSURANCE) || (one.has(&OF) && one.has(&SUBJECTS));
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
    let difference = differences
        .find(|one| one.is_of(&DEFINITIONS))
        .filter(|_| !members.is_authorised())?;
    Some(format!(
        "`{}` is not `{}`",
        difference.actual.name, difference.declared.name
    ))
}
