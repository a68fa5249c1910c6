//! From a key to the number of its row.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::LookupMatch;
use crate::model::{Entity, EventSchema};

pub enum Index {
    /// By the form that a key has in comparisons.
    Exact {
        rows: HashMap<Box<str>, u32>,
        /// The kind of entity that the event column names.
        kind: Option<&'static str>,
    },
    Networks(Networks),
}

/// Networks by address and length. Few lengths are in use, and each is asked once: the longest first.
#[derive(Default)]
pub struct Networks {
    rows: HashMap<IpNet, u32>,
    lengths_v4: BTreeSet<u8>,
    lengths_v6: BTreeSet<u8>,
}

impl Index {
    pub fn new(matching: LookupMatch, on: &str) -> Index {
        match matching {
            LookupMatch::Cidr => Index::Networks(Networks::default()),
            LookupMatch::Exact => {
                let columns = EventSchema::get().columns();
                let column = columns.iter().find(|column| column.name == on);
                Index::Exact {
                    rows: HashMap::new(),
                    kind: column.and_then(|column| column.entity.as_deref()),
                }
            }
        }
    }

    /// Whether `key` was there before, with a row that this one takes the place of; `None` where it is no key at all.
    pub fn insert(&mut self, key: &str, row: u32) -> Result<Option<bool>, String> {
        match self {
            Index::Exact { rows, kind } => {
                let Some(key) = canonical(*kind, key) else {
                    return Ok(None);
                };
                Ok(Some(rows.insert(key.into_owned().into(), row).is_some()))
            }
            Index::Networks(networks) => {
                let key = key.trim();
                if key.is_empty() {
                    return Ok(None);
                }
                let network = network(key).ok_or("no network; valid are 192.0.2.0/24, 2001:db8::/32 and addresses")?;
                Ok(Some(networks.insert(network, row)))
            }
        }
    }

    pub fn get(&self, value: &str) -> Option<u32> {
        match self {
            Index::Exact { rows, kind } => rows.get(&*canonical(*kind, value)?).copied(),
            Index::Networks(networks) => networks.get(address(value)?),
        }
    }
}

impl Networks {
    fn insert(&mut self, network: IpNet, row: u32) -> bool {
        match network {
            IpNet::V4(_) => self.lengths_v4.insert(network.prefix_len()),
            IpNet::V6(_) => self.lengths_v6.insert(network.prefix_len()),
        };
        self.rows.insert(network, row).is_some()
    }

    fn get(&self, address: IpAddr) -> Option<u32> {
        let lengths = match address {
            IpAddr::V4(_) => &self.lengths_v4,
            IpAddr::V6(_) => &self.lengths_v6,
        };
        lengths.iter().rev().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.rows.get(&network).copied()
        })
    }
}

/// Events and tables spell the same thing differently: what names an entity is compared as the entity is, else without what surrounds it.
fn canonical<'t>(kind: Option<&str>, text: &'t str) -> Option<Cow<'t, str>> {
    match kind {
        Some(kind) => Entity::canonical(kind, text).map(|entity| entity.value.to_string().into()),
        None => Some(Cow::Borrowed(text.trim())).filter(|text| !text.is_empty()),
    }
}

/// The address that an event column holds; an IPv4-mapped one is that IPv4 address.
pub fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// A network, or an address as a network of itself. Bits beyond the length are no part of it.
fn network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network.trunc(),
        Err(_) => text.parse::<IpAddr>().ok()?.into(),
    };
    const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
    match network {
        IpNet::V6(mapped) if mapped.prefix_len() >= 96 && (MAPPED.to_bits() ^ mapped.addr().to_bits()) >> 32 == 0 => {
            IpNet::new(mapped.addr().to_canonical(), mapped.prefix_len() - 96).ok()
        }
        network => Some(network),
    }
}
