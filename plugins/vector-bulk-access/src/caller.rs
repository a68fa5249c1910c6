//! What is remembered of a caller.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Burst, DAY, Familiarity, FirstSeen, HOUR, Habit, Hours, MINUTE, Rule, Search, Spread, Unusual};

use crate::Config;
use crate::operation::Operation;
use crate::rules;

/// The window of every burst.
const WINDOW: i64 = 10 * MINUTE;
/// How long a collection is remembered as the caller's own.
pub const HABIT: i64 = 30 * DAY;
/// A week-old hour weighs a fifth of the last one.
const HALF_LIFE: i64 = 3 * DAY;
/// Collections remembered of a caller; who uses more has no habit to break.
const OWN: usize = 32;

type Found = Vec<(&'static Rule, String)>;

/// One call.
pub struct Access<'a> {
    pub time: i64,
    pub operation: &'a str,
    /// Collection, with the database that holds it.
    pub collection: Option<&'a str>,
    pub rows: u64,
    pub failed: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Caller {
    collections: Spread,
    own: FirstSeen,
    foreign: Spread,
    listings: Burst,
    reads: Burst,
    scrolls: Burst,
    rows: Burst,
    deletes: Burst,
    drops: Burst,
    denied: Burst,
    writes: Writes,
}

/// Which collections are written to, and how much.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
struct Writes {
    /// Collections that the caller wrote to, and an empty text for its reading.
    own: FirstSeen,
    /// When the caller, long known, first wrote to another collection, and that collection's hash.
    newest: Option<(i64, u64)>,
    by_newcomer: Burst,
    hours: Hours,
}

impl Caller {
    /// The rules that this access, on top of those before it, breaks, each with what to say.
    pub fn judge(&mut self, config: &Config, access: &Access, found: &mut Found) {
        let time = access.time;
        if access.failed
            && let Some(denied) = self.denied.add(WINDOW, time, 1, config.denied)
        {
            found.push((&rules::DENIED, format!("{denied} calls were refused in ten minutes")));
        }
        if let Some(collection) = access.collection
            && let Some(touched) = self.collections.insert(WINDOW, time, collection, config.collections)
        {
            found.push((&rules::ENUMERATION, format!("{touched} collections in ten minutes")));
        }
        // A refused call takes nothing.
        if access.failed {
            return;
        }
        let what = access.collection.unwrap_or("the whole database");
        let operation = Operation::of(access.operation);
        if operation != Operation::Other {
            self.foreign(config, access, found);
            let written = access.collection.filter(|_| operation == Operation::Write);
            self.writes.learn(config, time, written);
        }
        match operation {
            Operation::Read => self.read(config, access, found),
            Operation::Export => found.push((&rules::EXPORT, format!("{} on {what}", access.operation))),
            Operation::Restore => found.push((&rules::RESTORED, format!("{} on {what}", access.operation))),
            Operation::Write => self.writes.judge(config, access, found),
            Operation::Delete => {
                if let Some(deletes) = self.deletes.add(WINDOW, time, 1, config.deletes) {
                    found.push((&rules::DELETES, format!("{deletes} deleting calls in ten minutes")));
                }
            }
            Operation::Drop => {
                let what = access.collection.unwrap_or("a collection");
                found.push((&rules::COLLECTION_DELETED, format!("{} of {what}", access.operation)));
                if let Some(drops) = self.drops.add(WINDOW, time, 1, config.drops) {
                    found.push((&rules::DELETES, format!("{drops} collections deleted in ten minutes")));
                }
            }
            Operation::Other if access.operation.holds("list") || access.operation.holds("info") => {
                if let Some(listings) = self.listings.add(WINDOW, time, 1, config.listings) {
                    found.push((&rules::ENUMERATION, format!("{listings} listings in ten minutes")));
                }
            }
            Operation::Other => {}
        }
    }

    fn foreign(&mut self, config: &Config, access: &Access, found: &mut Found) {
        let Some(collection) = access.collection else { return };
        let settled = self.own.len() <= config.own_collections;
        let new = self.own.see(&habit(config), access.time, collection) == Familiarity::New;
        if new
            && settled
            && let Some(foreign) = self.foreign.insert(HOUR, access.time, collection, config.foreign)
        {
            found.push((
                &rules::FOREIGN,
                format!("{foreign} collections within an hour that the caller never used, {collection} the last"),
            ));
        }
    }

    fn read(&mut self, config: &Config, access: &Access, found: &mut Found) {
        let pages = u64::from(access.operation.to_ascii_lowercase().holds("scroll"));
        let many = [
            self.reads
                .add(WINDOW, access.time, 1, config.reads)
                .map(|reads| format!("{reads} reads")),
            self.scrolls
                .add(WINDOW, access.time, pages, config.scrolls)
                .map(|scrolls| format!("{scrolls} scrolled pages")),
            self.rows
                .add(WINDOW, access.time, access.rows, config.rows)
                .map(|rows| format!("{rows} rows")),
        ];
        let many: Vec<String> = many.into_iter().flatten().collect();
        if !many.is_empty() {
            found.push((&rules::MASS_READ, format!("{} in ten minutes", many.join(", "))));
        }
    }
}

impl Writes {
    /// Readers are learnt from too: who has only read for long is no writer.
    fn learn(&mut self, config: &Config, time: i64, written: Option<&str>) {
        let familiarity = self.own.see(&habit(config), time, written.unwrap_or_default());
        if let Some(collection) = written
            && familiarity == Familiarity::New
        {
            self.newest = Some((time, sentrail_plugin::hash(collection)));
        }
    }

    fn judge(&mut self, config: &Config, access: &Access, found: &mut Found) {
        if let Some(collection) = access.collection {
            let member = sentrail_plugin::hash(collection);
            let newcomer = self
                .newest
                .is_some_and(|(since, newest)| newest == member && access.time - since <= WINDOW);
            if newcomer && let Some(writes) = self.by_newcomer.add(WINDOW, access.time, 1, config.newcomer_writes) {
                found.push((
                    &rules::NEW_WRITER,
                    format!("{writes} writing calls to {collection} within ten minutes of the first ever"),
                ));
            }
        }
        let unusual = Unusual {
            half_life: HALF_LIFE,
            warm_up: config.write_history,
            deviations: config.deviations,
            factor: config.write_factor,
        };
        let many = |writes| writes >= config.writes;
        if let Some((writes, usual)) = self.hours.add(&unusual, access.time, |had| had.saturating_add(1), many) {
            found.push((
                &rules::BULK_WRITE,
                format!("{writes} writing calls in this hour, {usual:.0} in a usual one"),
            ));
        }
    }
}

fn habit(config: &Config) -> Habit {
    Habit {
        learning: config.learning_hours * HOUR,
        sightings: config.learning_calls,
        keep: HABIT,
        max: OWN,
    }
}
