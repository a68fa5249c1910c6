//! The findings that correlation engines are measured with: people with a key, a session and an address each, hour after hour. There is no
//! chance in them: a number gives a finding, so that whoever includes this file is shown the same ones in the same order.

/// Rules that findings are of, in turn.
pub const RULES: usize = 8;
/// Findings that are timed once every person has one.
pub const TIMED: usize = 100_000;
/// Microseconds.
pub const HOUR: i64 = 3_600_000_000;

#[derive(Clone, Copy)]
pub struct Finding {
    pub number: usize,
    pub person: usize,
    pub rule: usize,
    /// Microseconds.
    pub time: i64,
}

/// One for each person, within an hour.
pub fn first(people: usize) -> impl Iterator<Item = Finding> {
    (0..people).map(move |person| Finding {
        number: person,
        person,
        rule: person % RULES,
        time: 10 * HOUR + person as i64 * HOUR / people as i64,
    })
}

/// Those of the hour after it.
pub fn timed(people: usize) -> impl Iterator<Item = Finding> {
    (0..TIMED).map(move |number| Finding {
        number: people + number,
        person: walk(number, people),
        rule: (number + number / RULES) % RULES,
        time: 11 * HOUR + number as i64 * HOUR / TIMED as i64,
    })
}

/// A walk over all people that does not follow how they lie in memory.
pub fn walk(step: usize, people: usize) -> usize {
    (step.wrapping_mul(7_919_993) + step / 50) % people
}

pub fn principal(person: usize) -> String {
    format!("person-{person}@example.com")
}

pub fn key(person: usize) -> String {
    format!("key-{person}")
}

pub fn session(person: usize) -> String {
    format!("arn:aws:sts::1:assumed-role/dev/{person}")
}

pub fn address(person: usize) -> String {
    format!("10.{}.{}.{}", person >> 16 & 255, person >> 8 & 255, person & 255)
}
