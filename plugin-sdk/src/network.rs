//! The neighbourhood of an address.

use std::net::IpAddr;

/// The network that an address most likely shares with its neighbours: /24, or /48 of IPv6. `None` for a text that is no
/// address, such as the name of a service.
pub fn network(address: &str) -> Option<String> {
    match address.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            // As `{a}.{b}.{c}.0/24` is formatted, which takes a guest longer than all the rest.
            let mut network = String::with_capacity("255.255.255.0/24".len());
            for octet in [a, b, c] {
                for (digit, least) in [(octet / 100, 100), (octet / 10 % 10, 10), (octet % 10, 0)] {
                    if octet >= least {
                        network.push(char::from(b'0' + digit));
                    }
                }
                network.push('.');
            }
            network.push_str("0/24");
            Some(network)
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Some(format!("{a:x}:{b:x}:{c:x}::/48"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn neighbours_share_a_network() {
        assert_eq!(network("203.0.113.9").as_deref(), Some("203.0.113.0/24"));
        assert_eq!(network("::ffff:203.0.113.9").as_deref(), Some("203.0.113.0/24"));
        assert_eq!(network("2001:db8:1:2::3").as_deref(), Some("2001:db8:1::/48"));
        assert_eq!(network("ec2.amazonaws.com"), None);
        for octet in 0..=255_u8 {
            let expected = format!("{octet}.7.{octet}.0/24");
            assert_eq!(network(&format!("{octet}.7.{octet}.1")), Some(expected));
        }
    }
}
