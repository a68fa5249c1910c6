//! The walk: hop by hop, of what it is shown of the relations.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{Expr, lit};

use crate::model::event::timestamp;
use crate::model::relation::{LEADS, Lead, RELATION_BUCKET};
use crate::model::{Micros, RELATION_KINDS};

/// Entities that are followed from one; of more, the first in time.
const FAN_OUT_MAX: usize = 200;
/// An entity on the way that more than so many are bound to, such as a company's own address, joins nobody.
const SHARED_MAX: usize = 20;
/// Entities that one walk gives.
const ROWS_MAX: usize = 5_000;
/// So few places are looked for by the scan itself, which may then leave out whole files; more are looked up here.
const SOUGHT_MAX: usize = 64;
/// What a way to an entity takes beside its name.
const WAY_BYTES: usize = 160;

pub static REACHED: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8View, nullable);
    Arc::new(Schema::new(vec![
        text("tenant", false),
        text("entity", false),
        Field::new("hops", DataType::Int32, false),
        Field::new("first_time", timestamp(), true),
        text("via_entity", true),
        text("kind", true),
        text("direction", true),
        text("path", false),
        text("cut", true),
    ]))
});

/// An entity at one time; an entity that turns out to be reached sooner over more hops has another.
struct Place {
    tenant: Arc<str>,
    entity: Arc<str>,
    hops: u32,
    /// What is handed on from here is handed on after it.
    since: Micros,
    first_time: Option<Micros>,
    via: Option<Via>,
    cut: Option<String>,
}

struct Via {
    from: usize,
    kind: usize,
    is_back: bool,
}

/// What is known of an entity of a tenant.
struct Known {
    /// Its place over the fewest hops, which is what a row shows.
    row: usize,
    /// Since when ways go on from it; `None` where all ended.
    since: Option<Micros>,
}

/// A way from a place to the next. The least is the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    is_end: bool,
    since: Micros,
    first_time: Micros,
    /// Place in `RELATION_KINDS`.
    kind: usize,
    is_back: bool,
}

/// Parts of one relation, as far as they matter to a place: those of the hour in which the place was reached, merged, and the first of all
/// that began later. So it does not matter into which parts the epochs cut an hour.
#[derive(Clone, Copy)]
struct Seen {
    kind: usize,
    is_back: bool,
    first: Micros,
    last: Micros,
    later: Micros,
}

/// What begins at one place: by the entity at its other end, and the best in their order.
#[derive(Default)]
pub struct Near {
    seen: HashMap<Arc<str>, Vec<Seen>, RandomState>,
    ways: BTreeSet<(Way, Arc<str>)>,
    is_cut: bool,
}

/// What was seen of a hop, by place.
pub type Hop = HashMap<usize, Near, RandomState>;

/// A walk from one entity, in every tenant that knows it.
pub struct Walk {
    origin: Arc<str>,
    hops: u32,
    places: Vec<Place>,
    rows: usize,
    known: HashMap<(Arc<str>, Arc<str>), Known, RandomState>,
    /// Places of the newest hop, by entity.
    frontier: HashMap<Arc<str>, Vec<usize>, RandomState>,
    memory: MemoryReservation,
}

impl Walk {
    pub fn new(origin: &Arc<str>, memory: MemoryReservation) -> Walk {
        Walk {
            origin: origin.clone(),
            hops: 0,
            places: Vec::new(),
            rows: 0,
            known: HashMap::default(),
            frontier: HashMap::from_iter([(origin.clone(), Vec::new())]),
            memory,
        }
    }

    /// Nothing new was reached.
    pub fn is_done(&self) -> bool {
        self.frontier.is_empty()
    }

    /// The entities to look for, where they are few enough to say.
    pub fn sought(&self) -> Vec<Expr> {
        if self.frontier.len() > SOUGHT_MAX {
            return Vec::new();
        }
        let text = |entity: &Arc<str>| lit(ScalarValue::Utf8View(Some(entity.to_string())));
        self.frontier.keys().map(text).collect()
    }

    /// Takes what begins at the newest places from some of the relations.
    pub fn look(&mut self, hop: &mut Hop, relations: &RecordBatch) -> Result<()> {
        let texts = |column: usize| cast(relations.column(column), &DataType::Utf8View);
        let (tenants, from, kinds, to) = (texts(0)?, texts(1)?, texts(2)?, texts(3)?);
        let [tenants, from, kinds, to] = [&tenants, &from, &kinds, &to].map(|column| column.as_string_view());
        let times = |column: usize| relations.column(column).as_primitive_opt::<TimestampMicrosecondType>();
        let (Some(first), Some(last)) = (times(4), times(5)) else {
            return Err(DataFusionError::Internal("relations have other times".to_owned()));
        };
        for row in 0..relations.num_rows() {
            let (from, to) = (from.value(row), to.value(row));
            let (is_from, is_to) = (self.frontier.contains_key(from), self.frontier.contains_key(to));
            if !is_from && !is_to || from == to {
                continue;
            }
            let Some(kind) = RELATION_KINDS.iter().position(|kind| *kind == kinds.value(row)) else {
                continue;
            };
            let tenant = tenants.value(row);
            if self.hops == 0 {
                self.begin(tenant);
            }
            let times = (first.value(row), last.value(row));
            if is_from {
                self.offer(hop, (tenant, from), to, (kind, false), times)?;
            }
            if is_to && lead(kind) == Some(Lead::Bond) {
                self.offer(hop, (tenant, to), from, (kind, true), times)?;
            }
        }
        Ok(())
    }

    /// Each tenant that knows the entity has a walk of its own.
    fn begin(&mut self, tenant: &str) {
        let places = self.frontier.get(&self.origin).map_or(&[][..], Vec::as_slice);
        if places.iter().any(|place| *self.places[*place].tenant == *tenant) {
            return;
        }
        let (tenant, entity): (Arc<str>, _) = (tenant.into(), self.origin.clone());
        let place = Place {
            tenant: tenant.clone(),
            entity: entity.clone(),
            hops: 0,
            since: Micros::MIN,
            first_time: None,
            via: None,
            cut: None,
        };
        let known = Known {
            row: self.places.len(),
            since: Some(Micros::MIN),
        };
        self.known.insert((tenant, entity.clone()), known);
        self.frontier.entry(entity).or_default().push(self.places.len());
        self.places.push(place);
        self.rows += 1;
    }

    fn offer(
        &self,
        hop: &mut Hop,
        (tenant, entity): (&str, &str),
        other: &str,
        (kind, is_back): (usize, bool),
        times: (Micros, Micros),
    ) -> Result<()> {
        for &place in self.frontier.get(entity).into_iter().flatten() {
            let held = &self.places[place];
            if *held.tenant == *tenant {
                let near = hop.entry(place).or_default();
                near.take(held.since, other, (kind, is_back), times, &self.memory)?;
            }
        }
        Ok(())
    }

    /// Goes to what was found.
    pub fn step(&mut self, hop: Hop) -> Result<()> {
        self.hops += 1;
        let mut found: Vec<(Way, Arc<str>, usize)> = Vec::new();
        for (place, near) in hop {
            let users = near.ways.iter().filter(|(way, _)| way.is_user()).count();
            let is_shared = users > SHARED_MAX && self.places[place].hops > 0;
            if is_shared {
                self.cut(
                    place,
                    format!("more than {SHARED_MAX} used it: none of them is followed"),
                );
            } else if near.is_cut {
                self.cut(place, format!("the first {FAN_OUT_MAX} of its relations are followed"));
            }
            let ways = near.ways.into_iter().filter(|(way, _)| !(is_shared && way.is_user()));
            found.extend(ways.map(|(way, entity)| (way, entity, place)));
        }
        found.sort_by(|a, b| {
            let tenant = |place: usize| &self.places[place].tenant;
            (a.0, tenant(a.2), &a.1, a.2).cmp(&(b.0, tenant(b.2), &b.1, b.2))
        });
        self.frontier.clear();
        for (way, entity, from) in found {
            self.go(way, entity, from);
        }
        self.memory.free();
        self.memory.try_grow(self.places.len() * WAY_BYTES * 2)
    }

    fn go(&mut self, way: Way, entity: Arc<str>, from: usize) {
        let tenant = self.places[from].tenant.clone();
        let next = self.places.len();
        match self.known.entry((tenant.clone(), entity.clone())) {
            Entry::Vacant(_) if self.rows == ROWS_MAX => {
                self.cut(from, format!("{ROWS_MAX} entities are reached: more are not followed"));
                return;
            }
            Entry::Vacant(new) => {
                new.insert(Known {
                    row: next,
                    since: (!way.is_end).then_some(way.since),
                });
                self.rows += 1;
            }
            Entry::Occupied(mut held) => {
                let known = held.get_mut();
                if way.is_end || known.since.is_some_and(|since| since <= way.since) {
                    return;
                }
                known.since = Some(way.since);
            }
        }
        if !way.is_end {
            self.frontier.entry(entity.clone()).or_default().push(next);
        }
        self.places.push(Place {
            tenant,
            entity,
            hops: self.hops,
            since: way.since,
            first_time: Some(way.first_time),
            via: Some(Via {
                from,
                kind: way.kind,
                is_back: way.is_back,
            }),
            cut: None,
        });
    }

    /// Says of an entity, in its row, that not all that begins there is followed.
    fn cut(&mut self, place: usize, why: String) {
        let key = (self.places[place].tenant.clone(), self.places[place].entity.clone());
        if let Some(known) = self.known.get(&key) {
            self.places[known.row].cut = Some(why);
        }
    }

    pub fn rows(&self) -> Result<RecordBatch> {
        let mut rows: Vec<usize> = self.known.values().map(|known| known.row).collect();
        rows.sort_by_key(|row| {
            let place = &self.places[*row];
            (&place.tenant, place.hops, place.first_time, &place.entity)
        });
        let of = |row: &usize| &self.places[*row];
        let via = |row: &usize| of(row).via.as_ref();
        let texts = |texts: Vec<Option<String>>| Arc::new(StringViewArray::from(texts)) as ArrayRef;
        let first_times = rows.iter().map(|row| of(row).first_time);
        let columns: Vec<ArrayRef> = vec![
            texts(rows.iter().map(|row| Some(of(row).tenant.to_string())).collect()),
            texts(rows.iter().map(|row| Some(of(row).entity.to_string())).collect()),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| of(row).hops as i32))),
            Arc::new(TimestampMicrosecondArray::from_iter(first_times).with_timezone("UTC")),
            texts(
                rows.iter()
                    .map(|row| Some(self.places[via(row)?.from].entity.to_string()))
                    .collect(),
            ),
            texts(
                rows.iter()
                    .map(|row| Some(RELATION_KINDS[via(row)?.kind].to_owned()))
                    .collect(),
            ),
            texts(
                rows.iter()
                    .map(|row| Some(if via(row)?.is_back { "in" } else { "out" }.to_owned()))
                    .collect(),
            ),
            texts(rows.iter().map(|row| Some(self.path(*row))).collect()),
            texts(rows.iter().map(|row| of(row).cut.clone()).collect()),
        ];
        Ok(RecordBatch::try_new(REACHED.clone(), columns)?)
    }

    /// `a -assumed-> b <-belongs-to- c`
    fn path(&self, row: usize) -> String {
        let mut names = vec![self.places[row].entity.to_string()];
        let mut at = row;
        while let Some(via) = &self.places[at].via {
            let kind = RELATION_KINDS[via.kind];
            names.push(if via.is_back {
                format!(" <-{kind}- ")
            } else {
                format!(" -{kind}-> ")
            });
            at = via.from;
            names.push(self.places[at].entity.to_string());
        }
        names.reverse();
        names.concat()
    }
}

impl Way {
    /// It leads from an address to who used it.
    fn is_user(&self) -> bool {
        self.is_back && RELATION_KINDS[self.kind] == "used-from"
    }
}

impl Near {
    fn take(
        &mut self,
        since: Micros,
        other: &str,
        (kind, is_back): (usize, bool),
        (first, last): (Micros, Micros),
        memory: &MemoryReservation,
    ) -> Result<()> {
        let is_bond = lead(kind) == Some(Lead::Bond);
        if last < since && !is_bond && bucket(first) < bucket(since) {
            return Ok(());
        }
        let name: Arc<str> = match self.seen.get_key_value(other) {
            Some((name, _)) => name.clone(),
            None => other.into(),
        };
        let of = self.seen.entry(name.clone()).or_default();
        let place = of.iter().position(|seen| seen.kind == kind && seen.is_back == is_back);
        let place = match place {
            Some(place) => place,
            None => {
                memory.try_grow(WAY_BYTES + other.len())?;
                of.push(Seen {
                    kind,
                    is_back,
                    first: Micros::MAX,
                    last: Micros::MIN,
                    later: Micros::MAX,
                });
                of.len() - 1
            }
        };
        let seen = &mut of[place];
        let before = seen.way(since);
        if bucket(first) > bucket(since) || is_bond {
            seen.later = seen.later.min(first);
        } else {
            seen.first = seen.first.min(first);
            seen.last = seen.last.max(last);
        }
        let now = seen.way(since);
        if before == now {
            return Ok(());
        }
        if let Some(before) = before {
            self.ways.remove(&(before, name.clone()));
        }
        if let Some(now) = now {
            self.ways.insert((now, name));
        }
        if self.ways.len() > FAN_OUT_MAX
            && let Some((_, last)) = self.ways.pop_last()
        {
            self.is_cut = true;
            // What is left of it in another kind of relation is found again, or is later than what is kept.
            if let Some(dropped) = self.seen.remove(&last) {
                let ways = dropped.iter().filter_map(|seen| seen.way(since));
                for way in ways {
                    self.ways.remove(&(way, last.clone()));
                }
                memory.shrink(dropped.len() * (WAY_BYTES + last.len()));
            }
        }
        Ok(())
    }
}

impl Seen {
    /// The best way over it from a place that was reached at `since`.
    fn way(&self, since: Micros) -> Option<Way> {
        let lead = lead(self.kind);
        let first_time = if self.last >= since && self.last != Micros::MIN {
            self.first.max(since)
        } else if self.later != Micros::MAX {
            self.later.max(since)
        } else {
            return None;
        };
        Some(Way {
            is_end: lead.is_none(),
            // A bond holds at any time.
            since: if lead == Some(Lead::Bond) { since } else { first_time },
            first_time,
            kind: self.kind,
            is_back: self.is_back,
        })
    }
}

fn lead(kind: usize) -> Option<Lead> {
    let name = RELATION_KINDS.get(kind)?;
    LEADS.iter().find(|(kind, _)| kind == name).map(|(_, lead)| *lead)
}

fn bucket(time: Micros) -> Micros {
    time.div_euclid(RELATION_BUCKET)
}
