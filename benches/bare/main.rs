//! Parses a file of JSON lines into simd-json's tape, several times, and prints the seconds of the fastest. `bare PASSES ROWS FILE`

use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [passes, rows, file] = arguments.as_slice() else {
        return Err("usage: bare PASSES ROWS FILE".into());
    };
    let text = std::fs::read(file)?;
    let rows: usize = rows.parse()?;
    let mut buffers = simd_json::Buffers::new(64 * 1024);
    let mut best = Duration::MAX;
    for _ in 0..passes.parse()? {
        // It writes into what it reads.
        let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.retain(|line| !line.is_empty());
        let began = Instant::now();
        for line in &mut lines {
            let tape = simd_json::to_tape_with_buffers(line, &mut buffers)?;
            std::hint::black_box(tape.0.len());
        }
        best = best.min(began.elapsed());
        if lines.len() != rows {
            return Err(format!("it read {} of {rows} rows", lines.len()).into());
        }
    }
    println!("{}", best.as_secs_f64());
    Ok(())
}
