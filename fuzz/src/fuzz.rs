//! libFuzzer around one target, which the environment names. Run by `cargo xtask fuzz`.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sentrail_fuzz::{TARGETS, Target, VARIABLE};

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        match TARGETS.iter().find(|target| target.name == name) {
            Some(target) => drop(CHOSEN.set(target)),
            None => panic!("{VARIABLE} names no target; run this through `cargo xtask fuzz`"),
        }
        if let Some(dir) = std::env::var_os("SENTRAIL_FUZZ_SEEDS") {
            write_seeds(Path::new(&dir)).unwrap_or_else(|error| panic!("{}: {error}", Path::new(&dir).display()));
        }
    },
    |input: &[u8]| {
        if let Some(target) = CHOSEN.get() {
            (target.run)(input);
        }
    }
);

fn write_seeds(dir: &Path) -> std::io::Result<()> {
    let Some(target) = CHOSEN.get() else { return Ok(()) };
    std::fs::create_dir_all(dir)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(dir.join(format!("{number:04}")), seed)?;
    }
    Ok(())
}
