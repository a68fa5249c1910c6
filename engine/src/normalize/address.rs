//! Addresses as logs write them.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What programs put before an address: Go's `net.Addr` and gRPC's peer names the network, Java an empty host name.
const BEFORE: [&str; 7] = ["tcp-", "tcp4-", "tcp6-", "tcp:", "ipv4:", "ipv6:", "/"];

/// The address in the standard text form, without port and zone; `None` when the text is none, such as a name or a masked one.
pub fn standard(text: &str) -> Option<Cow<'_, str>> {
    // Nearly all are written so, and of these addresses there is one form alone.
    if text.parse::<Ipv4Addr>().is_ok() {
        return Some(Cow::Borrowed(text));
    }
    let mut text = text.trim();
    for before in BEFORE {
        text = text.strip_prefix(before).unwrap_or(text);
    }
    let plain = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let plain = plain.split('%').next().unwrap_or(plain);
    let address = plain
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical().to_string().into())
}

#[test]
fn forms_of_addresses() {
    for (text, want) in [
        (" 192.0.2.1 ", Some("192.0.2.1")),
        ("192.0.2.1:48524", Some("192.0.2.1")),
        ("tcp-192.0.2.1:48524", Some("192.0.2.1")),
        ("ipv4:192.0.2.1:48524", Some("192.0.2.1")),
        ("/192.0.2.1", Some("192.0.2.1")),
        ("[2001:db8::1]:443", Some("2001:db8::1")),
        ("[2001:DB8::1]", Some("2001:db8::1")),
        ("fe80::1%eth0", Some("fe80::1")),
        ("::ffff:192.0.2.1", Some("192.0.2.1")),
        ("198.51.100.***", None),
        ("192.000.002.001", None),
        ("AWS Internal", None),
        ("[local]", None),
        ("", None),
    ] {
        assert_eq!(standard(text).as_deref(), want, "{text}");
    }
}
