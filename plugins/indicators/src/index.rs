//! All indicators, so that a lookup costs one search whatever feeds there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::feed::{self, Indicator};
use crate::observable::Observable;

/// Longest name of an indicator that is kept, in bytes.
const NAME_BYTES_MAX: usize = 96;
/// Names kept of all indicators together, in bytes: beyond it indicators have none, and their feed's name must do.
const NAMES_BYTES_MAX: usize = 4 << 20;

/// What a feed says of what was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub feed: usize,
    pub name: Box<str>,
    pub confidence: Option<u8>,
}

/// An indicator that was met.
#[derive(Clone, Copy)]
pub struct Hit<'a> {
    /// [`Observable::number`] of the indicator, the same in whichever feed it stands.
    pub indicator: u64,
    pub told: &'a Told,
}

/// An indicator in 32 bytes.
struct Entry {
    /// [`Observable::number`]: two of a million indicators share one with a probability of less than one in ten million.
    number: u64,
    from: i64,
    until: i64,
    told: u32,
}

#[derive(Default)]
pub struct Index {
    feeds: Vec<String>,
    /// By number.
    entries: Vec<Entry>,
    told: Vec<Told>,
    /// Lengths of the prefixes that networks have, of IPv4 and of IPv6.
    lengths: [BTreeSet<u8>; 2],
}

impl Index {
    /// Reads feeds, name and text each. Gives, with the index, how many entries were of no known form.
    pub fn read(feeds: BTreeMap<String, String>, indicators_max: usize) -> Result<(Index, usize), String> {
        let mut index = Index::default();
        let mut known: BTreeMap<Told, u32> = BTreeMap::new();
        let (mut names_bytes, mut unknown, mut surplus) = (0, 0, 0_usize);
        for (name, text) in feeds {
            let feed = index.feeds.len();
            let skipped = feed::read(&text, |indicator| {
                if index.entries.len() == indicators_max {
                    surplus += 1;
                    return;
                }
                let room = names_bytes < NAMES_BYTES_MAX;
                let told = Told {
                    feed,
                    name: if room { cut(&indicator.name).into() } else { "".into() },
                    confidence: indicator.confidence,
                };
                let next = known.len() as u32;
                let bytes = told.name.len();
                let told = *known.entry(told).or_insert_with(|| {
                    names_bytes += bytes;
                    next
                });
                index.add(&indicator, told);
            });
            unknown += skipped.map_err(|reason| format!("feeds.{name}: {reason}"))?;
            index.feeds.push(name);
        }
        if surplus > 0 {
            return Err(format!(
                "max_indicators = {indicators_max}: the feeds hold {surplus} more; an indicator takes about 40 bytes, and the text of the feeds \
                 twice its length while it is read, so raise [plugins] memory_mb with it"
            ));
        }
        let mut told: Vec<(Told, u32)> = known.into_iter().collect();
        told.sort_by_key(|(_, number)| *number);
        index.told = told.into_iter().map(|(told, _)| told).collect();
        index.entries.sort_by_key(|entry| entry.number);
        Ok((index, unknown))
    }

    fn add(&mut self, indicator: &Indicator, told: u32) {
        if let Observable::Network(address, length) = &indicator.observable {
            self.lengths[usize::from(address.is_ipv6())].insert(*length);
        }
        let (from, until) = indicator.valid;
        self.entries.push(Entry {
            number: indicator.observable.number(),
            from,
            until,
            told,
        });
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The feed's name.
    pub fn feed(&self, told: &Told) -> &str {
        self.feeds.get(told.feed).map_or("", String::as_str)
    }

    /// What feeds say of an observable at a time (microseconds): of several the one that is surest.
    pub fn find(&self, observable: &Observable, time: i64) -> Option<Hit<'_>> {
        match observable {
            Observable::Network(address, _) => self.address(*address, time),
            Observable::Domain(name) => {
                // A name warns of all names below it, but not a whole top-level domain.
                let dots = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
                std::iter::once(name.as_str())
                    .chain(dots.filter(|parent| parent.contains('.')))
                    .find_map(|name| self.at(&Observable::Domain(name.to_owned()), time))
            }
            other => self.at(other, time),
        }
    }

    /// The smallest network that holds an address.
    fn address(&self, address: IpAddr, time: i64) -> Option<Hit<'_>> {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        let mut lengths = lengths.iter().rev();
        lengths.find_map(|length| self.at(&Observable::Network(address, *length), time))
    }

    fn at(&self, observable: &Observable, time: i64) -> Option<Hit<'_>> {
        let number = observable.number();
        let first = self.entries.partition_point(|entry| entry.number < number);
        self.entries[first..]
            .iter()
            .take_while(|entry| entry.number == number)
            .filter(|entry| (entry.from..entry.until).contains(&time))
            .filter_map(|entry| self.told.get(entry.told as usize))
            .max_by_key(|told| told.confidence)
            .map(|told| Hit {
                indicator: number,
                told,
            })
    }
}

fn cut(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Index {
        let feeds = BTreeMap::from([("own".to_owned(), text.to_owned())]);
        Index::read(feeds, 100).expect("read").0
    }

    #[test]
    fn networks_and_names_hold_what_is_in_them() {
        let index = index("198.51.100.0/24\n2001:db8::/32\nevil.example\nco.example\n");
        let found = |text: &str| index.find(&Observable::any(text).expect("an observable"), 0).is_some();
        for text in ["198.51.100.77", "2001:db8:1::1", "evil.example", "a.b.evil.example"] {
            assert!(found(text), "{text}");
        }
        for text in [
            "198.51.101.1",
            "2001:db9::1",
            "notevil.example",
            "evil.example.org",
            "example.net",
        ] {
            assert!(!found(text), "{text}");
        }
    }

    #[test]
    fn an_indicator_holds_from_and_before_its_times() {
        let index = index("value,valid_from,valid_until\n198.51.100.7,1970-01-02,1970-01-03\n");
        let seven = Observable::any("198.51.100.7").expect("an address");
        let day = sentrail_plugin::DAY;
        let held: Vec<bool> = [0, day, 2 * day - 1, 2 * day]
            .map(|time| index.find(&seven, time).is_some())
            .into();
        assert_eq!(held, [false, true, true, false]);
    }

    #[test]
    fn too_many_are_refused() {
        let text: String = (0..101).map(|n| format!("198.51.100.{n}\n")).collect();
        let feeds = BTreeMap::from([("own".to_owned(), text)]);
        let error = Index::read(feeds, 100).map(|_| ()).expect_err("refused");
        assert!(error.contains("1 more"), "{error}");
    }
}
