//! Two members of one record that speak of the same thing: what it should be, and what it is.

use super::{Member, Members};

/// Words that say that a value is what should be.
const DECLARED: [&str; 19] = [
    "expected",
    "registered",
    "original",
    "approved",
    "declared",
    "trusted",
    "authorized",
    "authorised",
    "requested",
    "claimed",
    "issued",
    "issuance",
    "advertised",
    "baseline",
    "initial",
    "known",
    "displayed",
    "previous",
    "before",
];
/// Words that say that a value is what is.
const ACTUAL: [&str; 25] = [
    "actual",
    "observed",
    "current",
    "received",
    "new",
    "modified",
    "substituted",
    "executed",
    "presented",
    "used",
    "now",
    "final",
    "returned",
    "granted",
    "runtime",
    "effective",
    "updated",
    "after",
    "exchange",
    "exchanged",
    "redeemed",
    "delivered",
    "shown",
    "rendered",
    "forwarded",
];
/// What the two may be of. Of other things, such as a version or a time, a difference is ordinary.
const SUBJECTS: [&str; 46] = [
    "hash",
    "digest",
    "checksum",
    "sha256",
    "signature",
    "fingerprint",
    "thumbprint",
    "issuer",
    "iss",
    "audience",
    "aud",
    "redirect",
    "uri",
    "url",
    "endpoint",
    "host",
    "domain",
    "origin",
    "server",
    "client",
    "publisher",
    "author",
    "owner",
    "scope",
    "permission",
    "privilege",
    "capability",
    "subject",
    "user",
    "agent",
    "recipient",
    "destination",
    "account",
    "amount",
    "description",
    "definition",
    "schema",
    "response",
    "output",
    "result",
    "content",
    "name",
    "certificate",
    "key",
    "algorithm",
    "ip",
];

/// Members of each side that are compared.
const PAIRED_MAX: usize = 64;

/// A thing of which a record says two values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<'a> {
    pub declared: &'a Member,
    pub actual: &'a Member,
}

impl Difference<'_> {
    /// Whether it is of one of these, in singular or plural.
    pub fn is_of(&self, subjects: &[&str]) -> bool {
        self.declared.has(subjects)
    }
}

impl Members {
    /// Things that are said to be other than they should: `expected_hash` and `hash`, `original_scopes` and `granted_scopes`. Of
    /// repeated members all values are compared; an actual value that is among the declared ones is no difference.
    pub fn differences(&self) -> impl Iterator<Item = Difference<'_>> {
        let is_declared = |one: &&Member| one.has(&DECLARED);
        let of_interest = self.iter().filter(|one| one.has(&SUBJECTS));
        let (declared, others): (Vec<&Member>, Vec<&Member>) = of_interest.partition(is_declared);
        let others: Vec<(Vec<&str>, &Member)> = others
            .into_iter()
            .take(PAIRED_MAX)
            .map(|one| (stem(one), one))
            .collect();
        let declared = declared
            .into_iter()
            .filter(|one| !one.text.trim().is_empty())
            .take(PAIRED_MAX);
        let all: Vec<&Member> = declared.collect();
        let mut differences = Vec::new();
        for declared in &all {
            let stem = stem(declared);
            let differs = |(_, one): &&(Vec<&str>, &Member)| {
                let text = one.text.trim();
                let same =
                    |other: &&Member| other.name == declared.name && other.text.trim().eq_ignore_ascii_case(text);
                !text.is_empty() && !all.iter().any(same)
            };
            let actual = others.iter().filter(|(other, _)| *other == stem).find(differs);
            differences.extend(actual.map(|(_, actual)| Difference { declared, actual }));
        }
        differences.into_iter()
    }
}

/// The words of a name without those that say which of the two it is; where something is from says nothing of an address.
fn stem(member: &Member) -> Vec<&str> {
    if member.has(&["ip"]) && !member.has(&["destination", "dest", "dst", "target", "server"]) {
        return vec!["ip"];
    }
    let told =
        |word: &&str| !DECLARED.contains(word) && !ACTUAL.contains(word) && !matches!(*word, "at" | "the" | "to");
    member.words().filter(told).map(long).collect()
}

/// The one form of a word that has several.
fn long(word: &str) -> &str {
    match word {
        "iss" => "issuer",
        "aud" => "audience",
        "sub" => "subject",
        "url" => "uri",
        word => word.strip_suffix('s').unwrap_or(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(text: &str) -> Vec<(String, String)> {
        let members = Members::read(text);
        let pairs = members
            .differences()
            .map(|one| (one.declared.text.clone(), one.actual.text.clone()));
        pairs.collect()
    }

    #[test]
    fn what_should_be_and_what_is() {
        let pair = |a: &str, b: &str| vec![(a.to_owned(), b.to_owned())];
        assert_eq!(
            differences(r#"{"expected_hash":"a","actual_hash":"b"}"#),
            pair("a", "b")
        );
        assert_eq!(
            differences(r#"{"expected":{"host":"a"},"observed":{"host":"b"}}"#),
            pair("a", "b")
        );
        assert_eq!(
            differences(r#"{"registered_redirect_uris":["a","b"],"redirect_uri":"c"}"#)[0],
            pair("a", "c")[0]
        );
        assert!(differences(r#"{"registered_redirect_uris":["a","b"],"redirect_uri":"b"}"#).is_empty());
        assert_eq!(differences(r#"{"expected_issuer":"a","iss":"b"}"#), pair("a", "b"));
        assert_eq!(
            differences(r#"{"issued_to_ip":"192.0.2.1","source_ip":"192.0.2.2"}"#),
            pair("192.0.2.1", "192.0.2.2")
        );
        assert!(differences(r#"{"previous_version":"1","new_version":"2","expected_hash":"A","hash":"a"}"#).is_empty());
    }
}
