//! `cargo xtask VERB`.

use std::env;
use std::process::ExitCode;

/// A verb, what it does, and the function that takes the arguments after it.
type Verb = (&'static str, &'static str, fn(&[String]) -> anyhow::Result<()>);

const VERBS: &[Verb] = &[
    (
        "plugins",
        "build the detectors of plugins/ as components [--out DIR] [NAME]",
        xtask::plugins::main,
    ),
    (
        "languages",
        "build the example detectors in JavaScript and Python",
        xtask::languages::main,
    ),
    ("test", "do all set-up and run every test [NAME]", xtask::test::main),
    (
        "demo",
        "do all set-up and run the demo [--once] [--data DIR]",
        xtask::demo::main,
    ),
    (
        "bench",
        "do all set-up and run a benchmark: e2e, decode, memory, freshness, correlate, sigma, plugins [ARGUMENTS]",
        xtask::bench::main,
    ),
    (
        "eval",
        "do all set-up and measure what is found: detectors, correlation, sigma, coverage [ARGUMENTS]",
        xtask::eval::main,
    ),
    (
        "train",
        "make the weights of the detectors that have learned any [--data DIR] [--leave-one-out]",
        xtask::train::main,
    ),
    (
        "fuzz",
        "look for inputs that break a decoder [TARGET] [--seconds N] [--replay FILE]",
        xtask::fuzz::main,
    ),
    (
        "kafka",
        "a real Apache Kafka on loopback [start [--detach] | stop | status]",
        xtask::kafka::run,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(compiled) = xtask::fuzz::as_compiler(&arguments) {
        return match compiled {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        };
    }
    let verb = arguments
        .first()
        .and_then(|name| VERBS.iter().find(|verb| verb.0 == name));
    let Some((_, _, run)) = verb else {
        eprintln!("usage: cargo xtask VERB\n");
        for (name, about, _) in VERBS {
            eprintln!("  {name:<10}{about}");
        }
        return ExitCode::from(2);
    };
    match run(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
