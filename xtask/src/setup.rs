//! Finds the programs that the other commands need, and installs those that are missing.
//!
//! With everything present nothing is installed, no network is used, and nothing is printed.

use std::fs;
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::toolchain::{TARGET, Toolchain};
use crate::{process, workspace};

const QEMU: &str = "qemu-system-aarch64";
const QEMU_PACKAGE: &str = "qemu-system-arm";
const VALGRIND: &str = "valgrind";
/// What TF-A and OP-TEE are built with, beside a compiler for this machine: packages of Debian, each with a file that it has.
const FIRMWARE_TOOLS: [(&str, &str); 6] = [
    ("gcc-aarch64-linux-gnu", "/usr/bin/aarch64-linux-gnu-gcc"),
    ("device-tree-compiler", "/usr/bin/dtc"),
    ("make", "/usr/bin/make"),
    ("python3-pyelftools", "/usr/lib/python3/dist-packages/elftools"),
    ("python3-cryptography", "/usr/lib/python3/dist-packages/cryptography"),
    ("libssl-dev", "/usr/include/openssl/evp.h"),
];

/// Installs everything that any command needs; for developers, more.
pub fn everything(dev: bool) -> Result<()> {
    println!("QEMU: {}", qemu()?.display());
    println!("Valgrind: {}", valgrind()?.display());
    println!("compiler for {TARGET}: {}", toolchain()?.describe());
    if dev {
        println!("{}", cargo_deny()?);
        firmware_tools()?;
    }
    Ok(())
}

/// The path of QEMU.
pub fn qemu() -> Result<PathBuf> {
    program(QEMU, QEMU_PACKAGE, "runs the images")
}

/// The path of Valgrind.
pub fn valgrind() -> Result<PathBuf> {
    program(VALGRIND, VALGRIND, "counts instructions")
}

/// Sees that there is what TF-A and OP-TEE are built with.
pub fn firmware_tools() -> Result<()> {
    let is_missing = |file: &str| !Path::new(file).exists();
    let missing = FIRMWARE_TOOLS.into_iter().filter(|(_, file)| is_missing(file));
    let missing: Vec<&str> = missing.map(|(package, _)| package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("TF-A and OP-TEE are built with {}, which this machine lacks", missing.join(", "));
    install_packages(&missing)
}

/// The path of `program`, which a package has.
fn program(program: &str, package: &str, purpose: &str) -> Result<PathBuf> {
    if let Some(path) = process::find(program) {
        return Ok(path);
    }
    eprintln!("{program} is missing, which {purpose}");
    install_packages(&[package])?;
    process::find(program)
        .with_context(|| format!("the package {package} is installed, but has no {program}"))
}

/// A toolchain that can build the images.
pub fn toolchain() -> Result<Toolchain> {
    if let Some(toolchain) = Toolchain::find() {
        return Ok(toolchain);
    }
    eprintln!("no compiler here can build for {TARGET}");
    if add_target_with_rustup() {
        if let Some(toolchain) = Toolchain::find() {
            return Ok(toolchain);
        }
    }
    install_packages(&compiler_packages())?;
    Toolchain::find().with_context(|| format!("no installed compiler can build for {TARGET}, even now"))
}

/// The version of `cargo deny`.
fn cargo_deny() -> Result<String> {
    let version = || process::output(Command::new("cargo").args(["deny", "--version"]));
    if let Ok(version) = version() {
        return Ok(version);
    }
    eprintln!("building cargo-deny takes about five minutes");
    run_installer(Command::new("cargo").args(["install", "--locked", "cargo-deny"]))?;
    version()
}

/// Whether rustup installed the library of the target. A refusal is remembered, as rustup takes its time to refuse where
/// there is no network.
fn add_target_with_rustup() -> bool {
    let refused = workspace::target().join("rustup-has-no-target");
    if process::find("rustup").is_none() || refused.exists() {
        return false;
    }
    match run_installer(Command::new("rustup").args(["target", "add", TARGET])) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("{error:#}; taking the library's sources instead");
            let note = format!("Delete this file to have `rustup target add {TARGET}` tried again.\n");
            // Without the note, the next run only takes longer.
            _ = fs::create_dir_all(workspace::target()).and_then(|()| fs::write(refused, note));
            false
        }
    }
}

/// A compiler, Cargo and library sources of one version, and a linker: Debian's newest are called `-web`, Ubuntu's carry
/// their version.
fn compiler_packages() -> Vec<String> {
    let newest =
        process::output(Command::new("apt-cache").args(["search", "--names-only", r"^rustc-1\.[0-9]+$"]))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split(' ').next()?.strip_prefix("rustc-1.")?.parse::<u32>().ok())
            .max();
    let has_web = process::output(Command::new("apt-cache").args(["show", "rustc-web"])).is_ok();
    let compiler = match newest {
        Some(minor) if !has_web => {
            [format!("rustc-1.{minor}"), format!("cargo-1.{minor}"), format!("rust-1.{minor}-src")]
        }
        _ => ["rustc-web".into(), "cargo-web".into(), "rust-web-src".into()],
    };
    compiler.into_iter().chain(["lld".into()]).collect()
}

/// Installs packages of Debian or Ubuntu, as root or through sudo.
///
/// # Errors
/// If that is not possible: then the error says what to type.
fn install_packages(packages: &[impl AsRef<str>]) -> Result<()> {
    let packages: Vec<&str> = packages.iter().map(AsRef::as_ref).collect();
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if process::find("apt-get").is_none() {
        bail!(
            "this is not Debian or Ubuntu; install by hand what these packages hold there: {}",
            packages.join(" ")
        );
    }
    let is_root = process::output(Command::new("id").arg("-u")).is_ok_and(|user| user == "0");
    let apt_get = || {
        if is_root {
            return Some(Command::new("apt-get"));
        }
        process::find("sudo").map(|sudo| {
            let mut command = Command::new(sudo);
            command.arg("apt-get");
            command
        })
    };
    let (Some(mut update), Some(mut install)) = (apt_get(), apt_get()) else {
        bail!("installing packages needs root, and there is no sudo; as root, run: {by_hand}");
    };
    // Lists that are a little old do no harm.
    if let Err(error) = run_installer(update.arg("update")) {
        eprintln!("{error:#}");
    }
    install.args(["install", "--yes", "--no-install-recommends"]).args(&packages);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run_installer(&mut install).with_context(|| format!("as root, run: {by_hand}"))
}

/// Runs an installer. What it prints is not the output of the command that needs it.
fn run_installer(command: &mut Command) -> Result<()> {
    process::run_visibly(command.stdout(stderr()))
}
