//! `cargo xtask test`: the whole gate.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::image::Profile;
use crate::linux::Choice;
use crate::toolchain::Toolchain;
use crate::{firmware, firmware_test, images_test, linux, linux_run, process, setup, soak, workspace};

/// The published libraries, which need no allocator.
const LIBRARIES: [&str; 4] = ["ffa-abi", "ffa-mem", "ffa-teardown", "ffa-hyp-glue"];

/// What one check came to.
enum Outcome {
    Passed,
    /// Could not be done here, for a reason that is no fault of the change.
    Skipped(String),
}

/// Runs every check, goes on after one that fails, and says at the end what failed.
pub fn run() -> Result<ExitCode> {
    setup::qemu()?;
    let toolchain = setup::toolchain()?;
    let mut gate = Gate::default();
    gate.check("formatting", || passes(cargo("fmt").args(["--all", "--check"])));
    gate.check("clippy", || {
        let clippy = ["--workspace", "--exclude", "ffa-el2", "--all-targets", "--all-features"];
        passes(cargo("clippy").args(clippy).args(["--", "--deny", "warnings"]))
    });
    gate.check("clippy, images", || clippy_of_images(&toolchain));
    gate.check("documentation", || {
        let doc = ["--workspace", "--exclude", "ffa-el2", "--no-deps", "--all-features"];
        passes(cargo("doc").args(doc).env("RUSTDOCFLAGS", "--deny warnings"))
    });
    gate.check("licences, bans and sources of dependencies", deny);
    gate.check("advisories on dependencies", advisories);
    gate.check("tests, debug", || passes(&mut cargo("test")));
    // What the tests print is part of what they say: how many states and schedules were tried.
    gate.check("tests, release", || passes(cargo("test").args(["--release", "--", "--show-output"])));
    gate.check("libraries without std and alloc", || libraries(&toolchain));
    gate.check("images in QEMU", || images_test::run().map(|()| Outcome::Passed));
    gate.check("TF-A and OP-TEE in QEMU", on_real_firmware);
    gate.check("guests that are killed over and over", || soak::test().map(|()| Outcome::Passed));
    gate.check("Linux in QEMU", linux_in_guests);
    Ok(gate.close())
}

/// The checks so far.
#[derive(Default)]
struct Gate {
    passed: u32,
    failed: Vec<&'static str>,
    skipped: Vec<String>,
}

impl Gate {
    fn check(&mut self, name: &'static str, check: impl FnOnce() -> Result<Outcome>) {
        println!("\n=== {name}");
        let start = Instant::now();
        match check() {
            Ok(Outcome::Passed) => {
                self.passed += 1;
                println!("=== {name}: passed, {} s", start.elapsed().as_secs());
            }
            Ok(Outcome::Skipped(reason)) => {
                println!("=== {name}: skipped, {reason}");
                self.skipped.push(format!("{name} ({reason})"));
            }
            Err(error) => {
                println!("=== {name}: FAILED\n{error:#}");
                self.failed.push(name);
            }
        }
    }

    fn close(self) -> ExitCode {
        println!();
        for skipped in &self.skipped {
            println!("skipped: {skipped}");
        }
        for failed in &self.failed {
            println!("FAILED: {failed}");
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len());
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Skipped where the packages of Linux cannot be had, which may be replaced at any time.
fn linux_in_guests() -> Result<Outcome> {
    match linux::fetch(Choice::Pinned) {
        Ok(linux) => linux_run::test(&linux).map(|()| Outcome::Passed),
        Err(error) => Ok(Outcome::Skipped(format!("{error:#}"))),
    }
}

/// Skipped where the sources of the firmware, or what it is built with, cannot be had.
fn on_real_firmware() -> Result<Outcome> {
    match firmware::fetch() {
        Ok(sources) => firmware_test::run(&sources.build()?).map(|()| Outcome::Passed),
        Err(error) => Ok(Outcome::Skipped(format!("{error:#}"))),
    }
}

/// The Cargo that runs us.
fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg(subcommand).current_dir(workspace::root());
    cargo
}

fn passes(command: &mut Command) -> Result<Outcome> {
    process::run_visibly(command)?;
    Ok(Outcome::Passed)
}

fn libraries(toolchain: &Toolchain) -> Result<Outcome> {
    let mut build = toolchain.cargo_without_alloc("build");
    for library in LIBRARIES {
        build.args(["--package", library]);
    }
    // A folder of their own: `core` is built anew wherever `alloc` comes along.
    let target = workspace::target().join("libraries");
    passes(
        build.arg("--target-dir").arg(target).current_dir(workspace::root()).env("RUSTFLAGS", "-Dwarnings"),
    )
}

fn clippy_of_images(toolchain: &Toolchain) -> Result<Outcome> {
    let Some(mut clippy) = toolchain.clippy() else {
        return Ok(Outcome::Skipped(format!("there is no Clippy for {}", toolchain.describe())));
    };
    clippy.args(["--package", "ffa-el2", "--profile", Profile::Debug.name()]);
    clippy.arg("--target-dir").arg(workspace::target().join("images"));
    passes(clippy.args(["--", "--deny", "warnings"]).current_dir(workspace::root()))
}

fn deny() -> Result<Outcome> {
    if process::output(cargo("deny").arg("--version")).is_err() {
        let reason = "cargo-deny is not installed: `cargo xtask setup --dev` does it".into();
        return Ok(Outcome::Skipped(reason));
    }
    passes(cargo("deny").args(["check", "bans", "licenses", "sources"]))
}

fn advisories() -> Result<Outcome> {
    if process::output(cargo("deny").arg("--version")).is_err() {
        return Ok(Outcome::Skipped("cargo-deny is not installed".into()));
    }
    if process::output(cargo("deny").args(["fetch", "db"])).is_err() {
        return Ok(Outcome::Skipped("the advisory database cannot be had".into()));
    }
    passes(cargo("deny").args(["check", "--disable-fetch", "advisories"]))
}
