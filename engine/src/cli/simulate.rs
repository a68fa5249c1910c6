//! `sentrail simulate`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;

use crate::simulate::Simulation;

#[derive(clap::Args)]
pub struct Arguments {
    /// The same seed gives the same bytes.
    #[arg(long)]
    seed: u64,
    /// How many log records to write, the attack's among them.
    #[arg(long, default_value_t = 5_000)]
    events: u64,
    /// Where to write FORMAT.ndjson and truth.json.
    #[arg(long, default_value = "simulated")]
    out: PathBuf,
}

pub fn simulate(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { seed, events, out } = arguments;
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut files: BTreeMap<&'static str, (BufWriter<File>, u64)> = BTreeMap::new();
    let simulation = Simulation::new(seed, events);
    let truth = simulation.truth();
    for record in simulation {
        let (file, count) = match files.entry(record.format) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = out.join(format!("{}.ndjson", record.format));
                let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
                entry.insert((BufWriter::new(file), 0))
            }
        };
        file.write_all(record.line.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .context("cannot write a log file")?;
        *count += 1;
    }
    for (format, (mut file, count)) in files {
        file.flush().context("cannot write a log file")?;
        outln!(
            "{:>9} records  {}",
            count,
            out.join(format!("{format}.ndjson")).display()
        )?;
    }
    let path = out.join("truth.json");
    let text = serde_json::to_string_pretty(&truth).context("the truth cannot be written as JSON")?;
    std::fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    outln!("what the attack was: {}", path.display())?;
    Ok(())
}
