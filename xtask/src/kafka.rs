//! A real single-node Apache Kafka (KRaft, no Docker) on loopback, for tests and for trying things out.
//!
//! The jars come from Maven's default registry and are kept in target/kafka/jars. Needs `java` (17 or newer) and `mvn`.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const KAFKA_VERSION: &str = "4.0.0";
/// The logging API version Kafka itself uses; slf4j-simple writes to stderr, so that the log file says what happened.
const SLF4J_VERSION: &str = "1.7.36";
/// Base64 of sixteen bytes: the id KRaft wants of every cluster.
const CLUSTER_ID: &str = "c2VudHJhaWwtZGV2LTAwMQ";
/// A cold JVM on a busy machine takes up to half a minute.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// What people expect a broker to listen on, taken when it is free.
const USUAL_PORT: u16 = 9092;

const USAGE: &str = "usage: cargo xtask kafka [start [--port PORT] [--detach] | stop | status]";

/// `cargo xtask kafka …`
pub fn run(args: &[String]) -> Result<()> {
    let mut verb = "start";
    let mut detach = false;
    let mut port = None;
    let mut rest = args.iter().map(String::as_str);
    while let Some(arg) = rest.next() {
        match arg {
            "start" | "stop" | "status" => verb = arg,
            "--detach" => detach = true,
            "--port" => {
                let value = rest.next().context(USAGE)?;
                port = Some(
                    value
                        .parse()
                        .with_context(|| format!("--port {value:?} is no port; {USAGE}"))?,
                );
            }
            other => bail!("unknown argument {other:?}; {USAGE}"),
        }
    }
    let dir = home();
    match verb {
        "stop" => stop(&dir),
        "status" => {
            match running(&dir) {
                Some((pid, bootstrap)) => println!("Kafka {KAFKA_VERSION} runs as process {pid} on {bootstrap}"),
                None => println!("Kafka is not running"),
            }
            Ok(())
        }
        _ => start(&dir, port, detach),
    }
}

fn start(dir: &Path, port: Option<u16>, detach: bool) -> Result<()> {
    if let Some((pid, bootstrap)) = running(dir) {
        println!("Kafka runs already, as process {pid} on {bootstrap}");
        return Ok(());
    }
    let port = match port {
        Some(port) => Some(port),
        None => TcpListener::bind(("127.0.0.1", USUAL_PORT)).ok().map(|_| USUAL_PORT),
    };
    let Some(mut broker) = Broker::launch(dir, port, detach)? else {
        bail!("Kafka needs java and mvn; with Docker, `docker compose up -d` starts the same broker");
    };
    println!(
        "Kafka {KAFKA_VERSION} listens on {} (log: {})",
        broker.bootstrap(),
        broker.log.display()
    );
    if detach {
        println!("stop it with: cargo xtask kafka stop");
        broker.child = None;
        return Ok(());
    }
    println!("Ctrl-C stops it");
    let status = broker.wait()?;
    println!("Kafka ended ({status})");
    Ok(())
}

/// A running broker; dropping it ends the process.
pub struct Broker {
    child: Option<Child>,
    port: u16,
    secure: Secure,
    log: PathBuf,
}

/// The broker's listeners that ask for a password; a user that exists for every mechanism.
struct Secure {
    plain_port: u16,
    tls_port: u16,
    /// The certificate of the TLS listener, which signs itself.
    certificate: PathBuf,
}

const USER: &str = "sentrail";
const PASSWORD: &str = "EXAMPLE-password";

impl Broker {
    /// Starts an empty broker whose data and log are in `dir`, on `port` or a free one, and waits until it answers. `None`, with the
    /// reason on stderr, where Java or Maven are missing.
    pub fn start(dir: &Path, port: Option<u16>) -> Result<Option<Broker>> {
        // What an earlier run left there would be read by groups and topics of the same names.
        match fs::remove_dir_all(dir.join("data")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot empty {}", dir.display()))
            }
            _ => Broker::launch(dir, port, false),
        }
    }

    fn launch(dir: &Path, port: Option<u16>, own_group: bool) -> Result<Option<Broker>> {
        if let Some(reason) = missing_tool() {
            eprintln!("skipped: {reason}");
            return Ok(None);
        }
        let jars = jars()?.canonicalize()?;
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let port = match port {
            Some(port) => port,
            None => free_port()?,
        };
        let secure = Secure {
            plain_port: free_port()?,
            tls_port: free_port()?,
            certificate: certificate(&dir)?,
        };
        let properties = dir.join("server.properties");
        fs::write(&properties, server_properties(&dir, port, free_port()?, &secure))?;
        let classpath = format!("{}/*", jars.display());
        format_storage(&classpath, &properties)?;

        let log = dir.join("kafka.log");
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = java(&classpath);
        command
            .args(["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "kafka.Kafka"])
            .arg(&properties);
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .current_dir(&dir);
        if own_group {
            // A detached broker must survive the terminal's Ctrl-C.
            command.process_group(0);
        }
        let child = command.spawn().context("cannot start java")?;
        fs::write(dir.join("pid"), format!("{} 127.0.0.1:{port}\n", child.id()))?;
        let mut broker = Broker {
            child: Some(child),
            port,
            secure,
            log,
        };
        broker.await_answer()?;
        Ok(Some(broker))
    }

    /// What a client's `bootstrap.servers` must say.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Address with SASL, address with SASL over TLS, its certificate, user and password, parted by commas.
    pub fn secure(&self) -> String {
        let Secure {
            plain_port,
            tls_port,
            certificate,
        } = &self.secure;
        format!(
            "127.0.0.1:{plain_port},127.0.0.1:{tls_port},{},{USER},{PASSWORD}",
            certificate.display()
        )
    }

    /// What Java programs of Kafka need as their class path.
    pub fn classpath() -> Result<String> {
        Ok(format!("{}/*", jars()?.canonicalize()?.display()))
    }

    fn await_answer(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < START_TIMEOUT {
            if answers(self.port) {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!(
                    "Kafka ended at once ({status}); the end of {}:\n{}",
                    self.log.display(),
                    tail(&self.log)
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!(
            "Kafka did not answer within {START_TIMEOUT:?}; the end of {}:\n{}",
            self.log.display(),
            tail(&self.log)
        )
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("the broker was given away")?;
        Ok(child.wait()?)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// target/kafka: the jars, and the data and log of the broker `cargo xtask kafka` starts.
fn home() -> PathBuf {
    crate::target_dir().join("kafka")
}

fn missing_tool() -> Option<String> {
    for (tool, flag) in [("java", "-version"), ("mvn", "-version")] {
        let found = Command::new(tool)
            .arg(flag)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            return Some(format!("a real Kafka needs `{tool}`, which is not installed"));
        }
    }
    None
}

fn java(classpath: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-cp", classpath, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
    command
}

/// Fetches the broker's jars once; a directory that exists is complete, because it is renamed into place at the end.
fn jars() -> Result<PathBuf> {
    let home = home();
    let jars = home.join(format!("jars-tools-{KAFKA_VERSION}"));
    if jars.is_dir() {
        return Ok(jars);
    }
    let build = home.join(format!("fetch-{}", std::process::id()));
    fs::create_dir_all(&build).with_context(|| format!("cannot create {}", build.display()))?;
    fs::write(build.join("pom.xml"), pom())?;
    eprintln!("fetching Apache Kafka {KAFKA_VERSION} with Maven (40 MB, once)");
    let fetched = Command::new("mvn")
        .args([
            "-B",
            "-q",
            "dependency:copy-dependencies",
            "-DoutputDirectory=jars",
            "-DincludeScope=runtime",
        ])
        .current_dir(&build)
        .stdin(Stdio::null())
        .output()
        .context("cannot run mvn")?;
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stdout).into_owned();
        let _ = fs::remove_dir_all(&build);
        bail!(
            "mvn could not fetch Kafka ({}); is the Maven registry reachable?\n{said}",
            fetched.status
        );
    }
    // Somebody else may have been quicker: then theirs is as good.
    if fs::rename(build.join("jars"), &jars).is_err() && !jars.is_dir() {
        bail!("cannot move the fetched jars to {}", jars.display());
    }
    let _ = fs::remove_dir_all(&build);
    Ok(jars)
}

fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>dev.sentrail</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>{}{}{}</dependencies></project>\n",
        dependency("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
        // The console producer.
        dependency("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
        dependency("org.slf4j", "slf4j-simple", SLF4J_VERSION),
    )
}

/// One node that is broker and controller, everything on loopback, everything replicated once.
fn server_properties(dir: &Path, port: u16, controller_port: u16, secure: &Secure) -> String {
    let (plain, tls) = (secure.plain_port, secure.tls_port);
    let logins: String = ["sasl_plaintext", "sasl_ssl"]
        .map(|listener| {
            let module = "org.apache.kafka.common.security";
            format!(
                "listener.name.{listener}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
                 listener.name.{listener}.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
                 listener.name.{listener}.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n"
            )
        })
        .concat();
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{tls},\
         CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{tls}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         {logins}\
         ssl.keystore.type=PKCS12\n\
         ssl.keystore.location={}\n\
         ssl.keystore.password={PASSWORD}\n\
         log.dirs={}\n\
         num.partitions=4\n\
         auto.create.topics.enable=true\n\
         offsets.topic.num.partitions=1\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n",
        dir.join(KEYSTORE).display(),
        dir.join("data").display()
    )
}

fn format_storage(classpath: &str, properties: &Path) -> Result<()> {
    let done = java(classpath)
        .args([
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            "--cluster-id",
            CLUSTER_ID,
            "--config",
        ])
        .arg(properties)
        .args([
            "--add-scram",
            &format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]"),
        ])
        .args([
            "--add-scram",
            &format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]"),
        ])
        .stdin(Stdio::null())
        .output()
        .context("cannot run java")?;
    if !done.status.success() {
        let said = [done.stdout, done.stderr].concat();
        bail!(
            "Kafka could not format its storage ({}):\n{}",
            done.status,
            String::from_utf8_lossy(&said)
        );
    }
    Ok(())
}

const KEYSTORE: &str = "broker.p12";

/// Makes a key and a certificate that signs itself, with Java's own tool; gives the certificate's file.
fn certificate(dir: &Path) -> Result<PathBuf> {
    let (keystore, certificate) = (dir.join(KEYSTORE), dir.join("broker.pem"));
    for old in [&keystore, &certificate] {
        // What is not there need not go; what cannot go is told by keytool.
        let _ = fs::remove_file(old);
    }
    let keytool = |verb: &[&str]| -> Result<()> {
        let done = Command::new("keytool")
            .args(verb)
            .args([
                "-alias",
                "broker",
                "-storetype",
                "PKCS12",
                "-storepass",
                PASSWORD,
                "-keystore",
            ])
            .arg(&keystore)
            .stdin(Stdio::null())
            .output()
            .context("cannot run keytool, which comes with Java")?;
        if !done.status.success() {
            bail!(
                "keytool failed ({}): {}",
                done.status,
                String::from_utf8_lossy(&done.stdout)
            );
        }
        Ok(())
    };
    let subject = ["-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-validity", "30"];
    keytool(
        &[
            &["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1"],
            &subject[..],
        ]
        .concat(),
    )?;
    let file = certificate.display().to_string();
    keytool(&["-exportcert", "-rfc", "-file", &file])?;
    Ok(certificate)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")
        .context("no free port on loopback")?
        .local_addr()?
        .port())
}

/// Whether a broker replies to an ApiVersions request (key 18, version 0), which is what every client begins with.
fn answers(port: u16) -> bool {
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(&REQUEST)?;
        let mut reply = [0u8; 10];
        stream.read_exact(&mut reply)?;
        // Size, then the correlation id that was sent, then error code 0.
        Ok(reply[4..10] == [0, 0, 0, 7, 0, 0])
    };
    ask().unwrap_or(false)
}

/// Process id and address of the broker that was started in `dir`, if that process still is that broker.
fn running(dir: &Path) -> Option<(u32, String)> {
    let noted = fs::read_to_string(dir.join("pid")).ok()?;
    let (pid, bootstrap) = noted.trim().split_once(' ')?;
    let pid: u32 = pid.parse().ok()?;
    let listed = Command::new("ps")
        .args(["-o", "args=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let is_ours = String::from_utf8_lossy(&listed.stdout).contains("kafka.Kafka");
    is_ours.then(|| (pid, bootstrap.to_owned()))
}

fn stop(dir: &Path) -> Result<()> {
    let Some((pid, _)) = running(dir) else {
        println!("Kafka is not running");
        return Ok(());
    };
    Command::new("kill")
        .arg(pid.to_string())
        .status()
        .context("cannot run kill")?;
    let begun = Instant::now();
    while running(dir).is_some() {
        if begun.elapsed() > STOP_TIMEOUT {
            bail!("process {pid} has not ended after {STOP_TIMEOUT:?}; `kill -9 {pid}` ends it");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = fs::remove_file(dir.join("pid"));
    println!("Kafka stopped");
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
