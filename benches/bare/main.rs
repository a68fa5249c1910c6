//! Reads a file of JSON lines with a bare parser, several times, and prints the seconds of the fastest.
//! `bare simd-json|sonic-rs PASSES ROWS FILE`

use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [parser, passes, rows, file] = arguments.as_slice() else {
        return Err("usage: bare simd-json|sonic-rs PASSES ROWS FILE".into());
    };
    let text = std::fs::read(file)?;
    let rows: usize = rows.parse()?;
    let mut buffers = simd_json::Buffers::new(64 * 1024);
    let mut best = Duration::MAX;
    for _ in 0..passes.parse()? {
        // simd-json writes into what it reads.
        let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.retain(|line| !line.is_empty());
        let began = Instant::now();
        match parser.as_str() {
            // Into its tape.
            "simd-json" => {
                for line in &mut lines {
                    std::hint::black_box(simd_json::to_tape_with_buffers(line, &mut buffers)?.0.len());
                }
            }
            // Validation alone.
            "sonic-rs" => {
                for line in &lines {
                    sonic_rs::from_slice::<serde::de::IgnoredAny>(line)?;
                }
            }
            other => return Err(format!("no parser `{other}` here").into()),
        }
        best = best.min(began.elapsed());
        if lines.len() != rows {
            return Err(format!("it read {} of {rows} rows", lines.len()).into());
        }
    }
    println!("{}", best.as_secs_f64());
    Ok(())
}
