//! `cargo xtask plugins [NAME]`: every crate under plugins/ becomes a WebAssembly component. No external tool is needed beyond
//! rustc's wasm32-unknown-unknown target; the component has no imports but the host's own, so it has no clock, file or network.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use wit_component::ComponentEncoder;

use crate::{cargo, copies, root, target_dir};

const TARGET: &str = "wasm32-unknown-unknown";
const FLAGS_VARIABLE: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";
/// Vector instructions: text is searched 16 bytes at a time. And fewer calls than LLVM would make: the engine's runtime inlines nothing, and
/// each function it enters looks whether the call has run too long.
const FEATURES: &str = "-Ctarget-feature=+simd128 -Cllvm-args=-inline-threshold=1000";

/// The verb: `[--out DIR] [NAME]`.
pub fn main(arguments: &[String]) -> Result<()> {
    let all = names()?;
    let (out, wanted) = match arguments {
        [flag, dir, wanted @ ..] if flag == "--out" => (PathBuf::from(dir), wanted),
        wanted => (target_dir().join("plugins"), wanted),
    };
    let wanted = match wanted {
        [] => all,
        [name] if all.contains(name) => vec![name.clone()],
        _ => bail!(
            "usage: cargo xtask plugins [--out DIR] [NAME], where NAME is one of {}",
            all.join(", ")
        ),
    };
    for component in build_some(&out, &wanted)? {
        let size = fs::metadata(&component)?.len();
        println!("{} ({} KiB)", component.display(), size.div_ceil(1024));
    }
    Ok(())
}

/// Builds every plugin and writes `out/NAME.wasm`; gives the files, by name.
pub fn build(out: &Path) -> Result<Vec<PathBuf>> {
    build_some(out, &names()?)
}

/// Builds the guest of one member of the workspace, wherever it stands, and writes `out/NAME.wasm`.
pub fn build_one(out: &Path, name: &str) -> Result<PathBuf> {
    let built = build_some(out, &[name.to_owned()])?;
    built.into_iter().next().context("nothing was built")
}

fn build_some(out: &Path, names: &[String]) -> Result<Vec<PathBuf>> {
    let mut cargo = guest_build()?;
    cargo.args(["--profile", "guest"]);
    for name in names {
        cargo.args(["--package", name]);
    }
    run(cargo, "the plugins")?;
    let built = target_dir().join(TARGET).join("guest");
    let component = |name: &String| place(&built, &name.replace('-', "_"), &out.join(format!("{name}.wasm")));
    names.iter().map(component).collect()
}

/// Builds the guests of the host's tests, which misbehave on demand, into `out`.
pub fn build_hostile(out: &Path) -> Result<()> {
    let target = target_dir().join("hostile");
    for (features, name) in [("", "hostile"), ("stateful", "hostile-stateful")] {
        let mut cargo = guest_build()?;
        let manifest = root().join("tests").join("guests").join("Cargo.toml");
        cargo
            .arg("--release")
            .arg("--manifest-path")
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target);
        cargo.args(["--features", features]);
        run(cargo, "the tests' guests")?;
        place(
            &target.join(TARGET).join("release"),
            "hostile",
            &out.join(format!("{name}.wasm")),
        )?;
    }
    Ok(())
}

/// `cargo build` for the guests' target.
fn guest_build() -> Result<Command> {
    let mut command = cargo();
    command.env(FLAGS_VARIABLE, toolchain()?);
    command.args(["build", "--lib", "--target", TARGET]);
    // These would take precedence over the target's own flags, and coverage, sanitizers or lints mean nothing in a guest.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"] {
        command.env_remove(variable);
    }
    Ok(command)
}

fn run(mut cargo: Command, what: &str) -> Result<()> {
    let status = cargo.status().context("cargo cannot be started")?;
    if !status.success() {
        bail!("{what} did not build for {TARGET}");
    }
    Ok(())
}

/// Makes the component of a built module.
fn place(built: &Path, module: &str, component: &Path) -> Result<PathBuf> {
    if let Some(dir) = component.parent() {
        fs::create_dir_all(dir).with_context(|| format!("{} cannot be created", dir.display()))?;
    }
    encode(&built.join(format!("{module}.wasm")), component)
        .with_context(|| format!("{module} does not make a component"))?;
    Ok(component.to_owned())
}

/// The crates under plugins/, which are named as their folders are.
pub fn names() -> Result<Vec<String>> {
    let plugins = root().join("plugins");
    let mut names = Vec::new();
    for entry in fs::read_dir(&plugins).with_context(|| format!("{} cannot be read", plugins.display()))? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file()
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn encode(module: &Path, component: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("{} cannot be read", module.display()))?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&copies::shortened(&bytes)?)?
        .encode()?;
    // A reader never meets half a file.
    let partial = component.with_extension("wasm.partial");
    fs::write(&partial, encoded).with_context(|| format!("{} cannot be written", partial.display()))?;
    fs::rename(&partial, component).with_context(|| format!("{} cannot be written", component.display()))
}

/// Sees to it that rustc has the target, and gives the compiler flags for it.
fn toolchain() -> Result<OsString> {
    let mut flags = env::var_os(FLAGS_VARIABLE).unwrap_or_default();
    let mut add = |flag: &str| {
        if !flags.is_empty() {
            flags.push(" ");
        }
        flags.push(flag);
    };
    if !env::var_os(FLAGS_VARIABLE).is_some_and(|flags| flags.to_string_lossy().contains("--sysroot")) && !installed()?
    {
        match private_sysroot()? {
            Some(sysroot) => add(&format!("--sysroot {}", sysroot.display())),
            None if add_target() => {}
            None => bail!(
                "rustc has no target {TARGET}, and `rustup target add {TARGET}` did not succeed. Add it (with rustup, or with \
                 your distribution's package, such as libstd-rust-dev-wasm32), or name a sysroot that holds it: \
                 {FLAGS_VARIABLE}='--sysroot DIR'"
            ),
        }
    }
    add(FEATURES);
    Ok(flags)
}

/// A sysroot for this very release of rustc that somebody has built in the user's cache: `wasm-sysroot/RELEASE`.
fn private_sysroot() -> Result<Option<PathBuf>> {
    let output = Command::new(rustc())
        .arg("-vV")
        .output()
        .context("rustc cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let release = text.lines().find_map(|line| line.strip_prefix("release: "));
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    let sysroot = cache
        .zip(release)
        .map(|(cache, release)| cache.join("wasm-sysroot").join(release));
    Ok(sysroot.filter(|sysroot| sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()))
}

fn rustc() -> OsString {
    env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn installed() -> Result<bool> {
    let output = Command::new(rustc())
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("rustc cannot be started")?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let Ok(entries) = fs::read_dir(libdir) else {
        return Ok(false);
    };
    Ok(entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}

/// Quietly: where it does not work, the error that follows says what can be done.
fn add_target() -> bool {
    Command::new("rustup")
        .args(["target", "add", TARGET])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
