//! A small database, written by the format's specification: a tree of IPv6 with two networks in it, of which one is IPv4.

use std::net::Ipv6Addr;

/// 198.51.100.0/24 is Lisbon, 2001:db8::/32 is Oslo; 24-bit records.
pub fn database() -> Vec<u8> {
    let city = |name: &str| ("city", map(&[("names", map(&[("en", string(name))]))]));
    let region = list(&[map(&[("iso_code", string("11"))])]);
    let lisbon = map(&[
        city("Lisbon"),
        ("subdivisions", region),
        ("autonomous_system_number", uint32(64500)),
    ]);
    let oslo = map(&[city("Oslo"), ("autonomous_system_number", uint32(64501))]);
    let mut tree = Tree::default();
    // IPv4 is the network ::/96 of such a tree.
    tree.insert(Ipv6Addr::from_bits(0xc633_6400), 96 + 24, 0);
    tree.insert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, lisbon.len());
    let mut bytes = tree.bytes();
    bytes.extend([0; 16]);
    bytes.extend(lisbon);
    bytes.extend(oslo);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    bytes.extend(map(&[
        ("node_count", uint32(tree.0.len() as u32)),
        ("record_size", uint16(24)),
        ("ip_version", uint16(6)),
        ("database_type", string("Test")),
        ("languages", list(&[string("en")])),
        ("binary_format_major_version", uint16(2)),
        ("binary_format_minor_version", uint16(0)),
        (
            "build_epoch",
            [vec![8, 2], 1_700_000_000_u64.to_be_bytes().to_vec()].concat(),
        ),
        ("description", map(&[("en", string("of a test"))])),
    ]));
    bytes
}

#[derive(Clone, Copy)]
enum Child {
    None,
    Node(usize),
    /// Place in the data section.
    Data(usize),
}

struct Tree(Vec<[Child; 2]>);

impl Default for Tree {
    fn default() -> Tree {
        Tree(vec![[Child::None; 2]])
    }
}

impl Tree {
    fn insert(&mut self, address: Ipv6Addr, length: u32, data: usize) {
        let bit = |depth: u32| (address.to_bits() >> (127 - depth) & 1) as usize;
        let mut node = 0;
        for depth in 0..length - 1 {
            node = match self.0[node][bit(depth)] {
                Child::Node(next) => next,
                _ => {
                    self.0.push([Child::None; 2]);
                    let next = self.0.len() - 1;
                    self.0[node][bit(depth)] = Child::Node(next);
                    next
                }
            };
        }
        self.0[node][bit(length - 1)] = Child::Data(data);
    }

    fn bytes(&self) -> Vec<u8> {
        let count = self.0.len();
        let record = |child: &Child| {
            let value = match child {
                Child::None => count,
                Child::Node(node) => *node,
                Child::Data(place) => count + 16 + place,
            };
            (value as u32).to_be_bytes()[1..].to_vec()
        };
        self.0.iter().flatten().flat_map(record).collect()
    }
}

fn string(text: &str) -> Vec<u8> {
    assert!(text.len() < 29);
    [&[2 << 5 | text.len() as u8], text.as_bytes()].concat()
}

fn uint16(number: u16) -> Vec<u8> {
    [&[5 << 5 | 2], &number.to_be_bytes()[..]].concat()
}

fn uint32(number: u32) -> Vec<u8> {
    [&[6 << 5 | 4], &number.to_be_bytes()[..]].concat()
}

fn map(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let fields_bytes = fields
        .iter()
        .flat_map(|(name, value)| [string(name), value.clone()].concat());
    [7 << 5 | fields.len() as u8].into_iter().chain(fields_bytes).collect()
}

/// A type beyond the eighth is told by a second byte: its number minus 7.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [vec![items.len() as u8, 11 - 7], items.concat()].concat()
}
