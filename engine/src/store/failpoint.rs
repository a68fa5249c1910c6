//! Named places at which a test lets the process die, as `kill -9` would.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// `NAME:N`: the process aborts the Nth time (from 1) that the fail point NAME is reached.
pub const FAILPOINT_ENV: &str = "SENTRAIL_FAILPOINT";

const UNREAD: u8 = 0;
const UNSET: u8 = 1;
const SET: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNREAD);
static REACHED: AtomicU64 = AtomicU64::new(0);
static TARGET: OnceLock<Option<(String, u64)>> = OnceLock::new();

/// Aborts the process if the environment names this place. Costs one relaxed load when it names none.
#[inline]
pub fn failpoint(name: &str) {
    if STATE.load(Ordering::Relaxed) != UNSET {
        reached(name);
    }
}

#[cold]
fn reached(name: &str) {
    let target = TARGET.get_or_init(|| std::env::var(FAILPOINT_ENV).ok().as_deref().and_then(parse));
    let Some((wanted, times)) = target else {
        STATE.store(UNSET, Ordering::Relaxed);
        return;
    };
    STATE.store(SET, Ordering::Relaxed);
    if wanted == name && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *times {
        eprintln!("fail point {name} reached {times} times: aborting");
        std::process::abort();
    }
}

/// Reads `NAME:N`; a bare `NAME` means the first time.
fn parse(text: &str) -> Option<(String, u64)> {
    match text.rsplit_once(':') {
        Some((name, times)) => times
            .parse()
            .ok()
            .filter(|times| *times > 0)
            .map(|times| (name.to_string(), times)),
        None => (!text.is_empty()).then(|| (text.to_string(), 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fail_point_is_a_name_and_a_count() {
        assert_eq!(
            parse("store.after_parquet:3"),
            Some(("store.after_parquet".to_string(), 3))
        );
        assert_eq!(
            parse("store.after_parquet"),
            Some(("store.after_parquet".to_string(), 1))
        );
        assert_eq!(parse("store.after_parquet:0"), None);
        assert_eq!(parse("store.after_parquet:soon"), None);
        assert_eq!(parse(""), None);
    }
}
