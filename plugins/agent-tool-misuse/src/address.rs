//! Addresses that a tool has no business to ask: a cloud's credentials, a cluster's own ports, the file system.

use sentrail_plugin::Search;

/// Services that hand out a machine's own credentials.
const METADATA: [&str; 7] = [
    "169.254.169.254",
    "metadata.google.internal",
    "169.254.170.2",
    "100.100.100.200",
    "fd00:ec2::254",
    "metadata.azure",
    "instance-data",
];
/// Schemes that are no web pages.
const SCHEMES: [&str; 6] = ["file://", "gopher://", "dict://", "ldap://", "jar:", "netdoc:"];
/// Ports of services without a door.
const PORTS: [&str; 11] = [
    "2375", "2379", "6379", "6443", "8500", "9200", "10250", "10255", "11211", "27017", "5984",
];
/// Parts of paths that are for administrators.
const INNER: [&str; 7] = [
    "/admin",
    "/internal",
    "/metadata",
    "/actuator",
    "/debug",
    "/secrets",
    "/env",
];

/// Why the address, in lower case, leads inside.
pub fn inward(lower: &str) -> Option<&'static str> {
    if METADATA.iter().any(|host| lower.holds(host)) {
        return Some("a cloud's metadata service");
    }
    if SCHEMES.iter().any(|scheme| lower.starts_with(scheme)) {
        return Some("something that is no web page");
    }
    if !lower.holds("://") {
        return None;
    }
    let (scheme, rest) = lower.split_once("://")?;
    if !scheme.ends_with("http") && !scheme.ends_with("https") {
        return None;
    }
    let end = rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let is_number = !host.is_empty()
        && !host.contains('.')
        && (host.starts_with("0x") || host.bytes().all(|byte| byte.is_ascii_digit()));
    if is_number {
        return Some("an address that is written to deceive");
    }
    let is_inner = matches!(host, "localhost" | "0.0.0.0" | "[::1]" | "[::]")
        || ["127.", "10.", "192.168.", "172.16.", "169.254."]
            .iter()
            .any(|net| host.starts_with(net))
        || host.ends_with(".svc")
        || host.ends_with(".svc.cluster.local")
        || host == "kubernetes.default";
    (is_inner && (PORTS.contains(&port) || INNER.iter().any(|part| path.holds(part)))).then_some("an inner service")
}
