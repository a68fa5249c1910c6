//! The command line: arguments → calls. `anyhow` lives here only.
//!
//! Exit codes: 0 done, 1 a failure at run time, 2 a mistake in the arguments or the configuration.

/// `println!` for results; that whoever reads them has enough is no failure.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::out(&(format!($($text)*) + "\n")) };
}

mod backtest;
mod check;
mod command;
mod decode;
mod demo;
mod formats;
mod incident;
mod logs;
mod plugin;
mod query;
mod redacted;
mod run;
mod sequence;
mod silence;
mod simulate;
mod span;
mod story;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;
use crate::detect::DetectError;
use crate::normalize::MappingError;
use crate::pipeline;
use crate::source::SourceError;

#[derive(Parser)]
#[command(
    name = "sentrail",
    version,
    about = "A streaming threat-correlation engine for AI infrastructure"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read the configured sources, correlate, and serve until interrupted; with only bounded files, until they are read.
    Run {
        /// The configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
        /// What is read is history: it is correlated and stored, and receivers are told nothing of it.
        #[arg(long)]
        backfill: bool,
    },
    /// Query the tables in SQL, with or without a running engine.
    Sql(query::SqlArguments),
    /// Search incidents by words, entities and techniques.
    Search(query::SearchArguments),
    /// List incidents, show one with its attack path, or say how far the work on it is.
    Incident {
        #[command(subcommand)]
        command: incident::Command,
    },
    /// Say which findings make no incident, until when and why; see what is said so, or take it back.
    Silence {
        #[command(subcommand)]
        command: silence::Command,
    },
    /// Write a realistic attack among ordinary traffic, as log files.
    Simulate(simulate::Arguments),
    /// Validate a configuration, test what it connects to, and print what would run.
    Check {
        /// The configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
    },
    /// Begin, build, test, try, measure or inspect a detector.
    Plugin {
        #[command(subcommand)]
        command: plugin::Command,
    },
    /// List or test declared sequences of detections.
    Sequence {
        #[command(subcommand)]
        command: sequence::Command,
    },
    /// Show which detections and incidents a version of a detector would add, take away or change in what is stored. Reads only.
    Backtest(backtest::Arguments),
    /// List the log formats.
    Formats(formats::Arguments),
    /// Show what the records of a file become: columns, findings, and what no column takes.
    Decode(decode::Arguments),
    /// For the engine's own use: answers its PostgreSQL clients.
    #[command(hide = true)]
    ServeSql,
    /// Run everything on simulated traffic through an embedded Kafka broker.
    Demo(demo::Arguments),
}

/// Runs the command line and gives the process's exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        // A statement's plan is walked by recursion: long chains of operators must not end the engine.
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start the async runtime: {error}"));
            return ExitCode::from(1);
        }
    };
    let result = runtime.block_on(dispatch(arguments.command));
    // Reader tasks that were told to stop need no waiting for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&with_causes(&error));
            ExitCode::from(if is_configuration(&error) { 2 } else { 1 })
        }
    }
}

/// The error and its causes; most errors say theirs already.
fn with_causes(error: &anyhow::Error) -> String {
    error
        .chain()
        .fold(String::new(), |text, cause| match cause.to_string() {
            cause if text.is_empty() => cause,
            cause if text.contains(&cause) => text,
            cause => format!("{text}: {cause}"),
        })
}

/// Of each worker; untouched pages cost nothing.
const STACK_BYTES: usize = 16 << 20;

async fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { config, backfill } => run::run(&config, backfill).await,
        Command::Sql(arguments) => query::sql(arguments).await,
        Command::Search(arguments) => query::search(arguments).await,
        Command::Incident { command } => incident::incident(command).await,
        Command::Silence { command } => silence::silence(command).await,
        Command::Simulate(arguments) => simulate::simulate(arguments),
        Command::Check { config } => check::check(&config).await,
        Command::Plugin { command } => plugin::plugin(command).await,
        Command::Sequence { command } => sequence::sequence(&command),
        Command::Backtest(arguments) => backtest::backtest(arguments).await,
        Command::Formats(arguments) => formats::formats(&arguments),
        Command::Decode(arguments) => decode::decode(&arguments),
        Command::ServeSql => Ok(pipeline::serve_sql().await?),
        Command::Demo(arguments) => demo::demo(arguments).await,
    }
}

/// Whether the mistake is in what the user wrote rather than in what happened.
fn is_configuration(error: &anyhow::Error) -> bool {
    use crate::pipeline::PipelineError;
    let of_detectors = |error: &DetectError| matches!(error, DetectError::Dir { .. } | DetectError::Rules(_));
    // A source that fails later, while it runs, stops the run as `PipelineError::Reading`.
    let of_sources = |error: &SourceError| !matches!(error, SourceError::Thread { .. });
    match error.downcast_ref::<PipelineError>() {
        Some(PipelineError::Config(_) | PipelineError::Mapping(_) | PipelineError::Lookup(_)) => true,
        Some(PipelineError::Detect(error)) => of_detectors(error),
        Some(PipelineError::Source(error)) => of_sources(error),
        Some(_) => false,
        None => {
            error.is::<ConfigError>()
                || error.is::<MappingError>()
                || error.is::<check::Unusable>()
                || error.downcast_ref::<DetectError>().is_some_and(of_detectors)
        }
    }
}

/// Logs go to standard error, so that results on standard output can be piped.
fn log() {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;
    // The libraries' own lines are for those who ask: RUST_LOG.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error,sentrail=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // They would go where the line could not be written, and end the engine when nobody reads that.
        .log_internal_errors(false)
        .init();
}

/// A directory that a read-only command looks into.
#[derive(clap::Args)]
struct DataDirectory {
    /// The data directory of an engine, running or not.
    #[arg(long = "data")]
    data: PathBuf,
}

/// Writes to standard output; that whoever reads it has enough is no failure.
fn out(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Says on standard error what went wrong. The exit code says so too, to whoever does not read it.
fn complain(message: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "sentrail: {message}");
}

/// What became of an interrupted or terminated process's wish to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        // Without handlers the default action ends the process.
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::is_configuration;
    use crate::detect::DetectError;
    use crate::pipeline::PipelineError;
    use crate::source::SourceError;

    #[test]
    fn our_own_failures_are_not_the_users_mistakes() {
        let engine = || DetectError::Engine {
            reason: "no memory".into(),
        };
        let dir = || DetectError::Dir {
            dir: "none".into(),
            error: std::io::ErrorKind::NotFound.into(),
        };
        let thread = SourceError::Thread {
            source_name: "s".into(),
            reason: "no more".into(),
        };
        let files = SourceError::NoFiles {
            source_name: "s".into(),
            pattern: "*.json".into(),
        };
        assert!(!is_configuration(&engine().into()));
        assert!(!is_configuration(&PipelineError::Detect(engine()).into()));
        assert!(!is_configuration(&PipelineError::Source(thread).into()));
        assert!(is_configuration(&dir().into()));
        assert!(is_configuration(&PipelineError::Detect(dir()).into()));
        assert!(is_configuration(&PipelineError::Source(files).into()));
    }
}
