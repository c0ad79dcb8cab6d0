//! `cargo xtask`: everything that is more than `cargo build` and `cargo test`.

#[macro_use]
mod print;

mod abi;
mod bench;
mod demo;
mod el2_bench;
mod elf;
mod gate;
mod image;
mod images_test;
mod linux;
mod memory;
mod process;
mod progress;
mod qemu;
mod setup;
mod toolchain;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use ffa_test_utils::scenario::Scenario;
use ffa_test_utils::spmc::Preset;

use crate::image::Profile;
use crate::linux::Choice;
use crate::qemu::{Ended, Machine};

/// Set-up, builds, QEMU runs, checks and demonstrations.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the other commands need. They call this themselves.
    Setup {
        /// Also install what only developers need: cargo-deny, which takes five minutes to build.
        #[arg(long)]
        dev: bool,
    },
    /// Show guests die, and every page that they shared come back.
    Demo(demo::Options),
    /// Check everything: what must pass before a change lands.
    Test,
    /// Count the instructions of what is called often, beside those of arm-ffa.
    Bench {
        /// Count what the mediator costs a guest at EL2 instead, beside Xen's.
        #[arg(long)]
        el2: bool,
        /// Find how much memory shares need instead.
        #[arg(long, conflicts_with = "el2")]
        memory: bool,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Print the functions of FF-A and those that guests have, as docs/abi.md.
    Abi,
    /// Build the firmware and the hypervisor for the bare machine.
    Build {
        /// Build as it is measured, optimised.
        #[arg(long)]
        release: bool,
    },
    /// Get a Linux for guests from Debian's packages: a kernel and a RAM disk. Prints where they are.
    Fetch {
        /// Take what the archive has by now, not what is known to work.
        #[arg(long)]
        newest: bool,
    },
    /// Boot the images in QEMU and show what they print.
    Run {
        /// Run the optimised images.
        #[arg(long)]
        release: bool,
        /// What the images do. Without it, the hypervisor looks at what it finds.
        #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(scenarios()))]
        scenario: Option<String>,
        /// The secure world. Without it, that of the scenario.
        #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(secure_worlds()))]
        spmc: Option<String>,
        /// Number of CPUs of the machine.
        #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
        cpus: u8,
        /// Stop QEMU after this many seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
}

/// What the images can be told to do.
fn scenarios() -> impl Iterator<Item = &'static str> {
    Scenario::ALL.iter().map(|scenario| scenario.name).chain(["self-test", "bench"])
}

/// What the firmware can be told to be.
fn secure_worlds() -> impl Iterator<Item = &'static str> {
    Preset::ALL.iter().map(|preset| preset.name()).chain(["none"])
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup { dev } => setup::everything(dev)?,
        Command::Demo(options) => return demo::run(&options),
        Command::Test => return gate::run(),
        Command::Bench { el2: true, json, .. } => return el2_bench::run(json),
        Command::Bench { memory: true, json, .. } => return memory::run(json),
        Command::Bench { json, .. } => return bench::run(json),
        Command::Abi => print!("{}", abi::Document),
        Command::Build { release } => {
            let images = image::build(Profile::from_flag(release))?;
            println!("{}\n{}", images.firmware.display(), images.hypervisor.display());
        }
        Command::Fetch { newest } => {
            let linux = linux::fetch(Choice::from_flag(newest))?;
            println!("{}\n{}", linux.image.display(), linux.initrd.display());
        }
        Command::Run { release, scenario, spmc, cpus, limit } => {
            let qemu = setup::qemu()?;
            let images = image::build(Profile::from_flag(release))?;
            let told = [("scenario", scenario), ("spmc", spmc)];
            let told = told.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let machine = Machine { qemu, images, cpus, told, limit: Duration::from_secs(limit.into()) };
            return exit_code(machine.run(|line| println!("{line}"))?, limit);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn exit_code(ended: Ended, limit: u32) -> Result<ExitCode> {
    match ended {
        Ended::Exited(status) => Ok(u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from)),
        Ended::Unfinished => anyhow::bail!("QEMU ended before the hypervisor did"),
        Ended::Hung => anyhow::bail!("QEMU was still running after {limit} s and was stopped"),
    }
}
