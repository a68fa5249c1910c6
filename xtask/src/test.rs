//! `cargo xtask test`: does all set-up and runs every test. The last line is the sum over all test binaries.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::{cargo, kafka, languages, plugins, rsyslog, target_dir};

/// The verb: arguments are passed on to the test binaries (`cargo xtask test NAME` runs the tests whose name holds NAME).
pub fn main(arguments: &[String]) -> Result<()> {
    let plugin_dir = target_dir().join("plugins");
    plugins::build(&plugin_dir)?;
    let guest_dir = target_dir().join("guests");
    plugins::build_hostile(&guest_dir)?;
    // Lives until the tests are over.
    let broker = kafka::Broker::start(&target_dir().join("kafka-test"), None)?;
    let mut command = cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast", "--"])
        // What a passing test says shows whether it was skipped.
        .arg("--show-output")
        .args(arguments)
        .env("SENTRAIL_TEST_PLUGINS", &plugin_dir)
        .env("SENTRAIL_TEST_GUESTS", &guest_dir)
        .stdout(Stdio::piped());
    match rsyslog::program(&target_dir().join("rsyslog")) {
        Ok(program) => command.env("SENTRAIL_TEST_RSYSLOG", program),
        Err(why) => command.env("SENTRAIL_TEST_NO_RSYSLOG", why),
    };
    for (language, built) in ["JAVASCRIPT", "PYTHON"]
        .into_iter()
        .zip(languages::build(&target_dir().join("languages")))
    {
        match built {
            Ok(component) => command.env(format!("SENTRAIL_TEST_{language}"), component),
            Err(why) => command.env(format!("SENTRAIL_TEST_NO_{language}"), why),
        };
    }
    match &broker {
        Some(broker) => command
            .env("SENTRAIL_TEST_KAFKA", broker.bootstrap())
            .env("SENTRAIL_TEST_KAFKA_SECURE", broker.secure())
            .env("SENTRAIL_TEST_KAFKA_CLASSPATH", kafka::Broker::classpath()?),
        None => command
            .env_remove("SENTRAIL_TEST_KAFKA")
            .env_remove("SENTRAIL_TEST_KAFKA_SECURE")
            .env_remove("SENTRAIL_TEST_KAFKA_CLASSPATH"),
    };
    let mut child = command.spawn().context("cargo cannot be started")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut sum = Sum::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("the output of the tests is not text")?;
        writeln!(std::io::stdout(), "{line}")?;
        sum.add(&line);
    }
    let status = child.wait().context("cargo cannot be waited for")?;
    drop(broker);
    println!(
        "\n{} passed, {} failed, {} skipped",
        sum.passed.saturating_sub(sum.skipped),
        sum.failed,
        sum.skipped + sum.ignored
    );
    if !status.success() {
        bail!("the tests did not pass");
    }
    Ok(())
}

/// A test that lacks what it needs prints `skipped: why` and returns; the harness counts it as passed, this does not.
#[derive(Default)]
struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
    skipped: u64,
}

impl Sum {
    fn add(&mut self, line: &str) {
        self.skipped += u64::from(line.starts_with("skipped: "));
        if let Some(counts) = line.strip_prefix("test result:") {
            for part in counts.split([';', '.']) {
                let mut words = part.split_whitespace();
                if let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) {
                    match what {
                        "passed" => self.passed += count,
                        "failed" => self.failed += count,
                        "ignored" => self.ignored += count,
                        _ => {}
                    }
                }
            }
        }
    }
}
