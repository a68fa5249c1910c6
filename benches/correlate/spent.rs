//! Time of a processor.

use std::sync::LazyLock;
use std::time::Instant;

/// Seconds of this process on a processor, so that who shares the machine does not show; those of the clock where the system does not tell.
pub fn spent() -> f64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos: Option<f64> = told.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| BEGAN.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}
