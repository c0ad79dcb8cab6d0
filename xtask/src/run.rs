//! `cargo xtask run`: boots the images in QEMU and shows what they print.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use ffa_test_utils::scenario::Scenario;
use ffa_test_utils::spmc::Preset;

use crate::guests;
use crate::image::{self, Profile};
use crate::output::Output;
use crate::qemu::{Ended, Machine};
use crate::setup;

/// What runs, and on what machine.
#[derive(clap::Args)]
pub struct Options {
    /// Run the optimised images.
    #[arg(long)]
    release: bool,
    /// What the images do. Without it, the hypervisor looks at what it finds.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(scenarios()))]
    scenario: Option<String>,
    /// The secure world. Without it, that of the scenario.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(secure_worlds()))]
    spmc: Option<String>,
    /// Use this flash image for firmware, in place of ours.
    #[arg(long, value_name = "PATH", conflicts_with = "spmc")]
    bios: Option<PathBuf>,
    /// Number of CPUs of the machine.
    #[arg(long, value_name = "N", visible_alias = "smp", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    cpus: u8,
    /// Stop QEMU after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    guests: Option<guests::Guests>,
}

/// What the images can be told to do.
fn scenarios() -> impl Iterator<Item = &'static str> {
    Scenario::ALL.iter().map(|scenario| scenario.name).chain(["self-test", "bench"])
}

/// What the firmware can be told to be.
pub fn secure_worlds() -> impl Iterator<Item = &'static str> {
    Preset::ALL.iter().map(|preset| preset.name()).chain(["none"])
}

/// Boots the machine. The exit status is that of the run.
pub fn run(options: Options) -> Result<ExitCode> {
    let Options { release, scenario, spmc, bios, cpus, limit, guests } = options;
    let qemu = setup::qemu()?;
    let images = image::build(Profile::from_flag(release))?;
    let mut machine = Machine::new(qemu, images, Duration::from_secs(limit.into()));
    machine.cpus = cpus;
    machine.flash = bios;
    let told = [("scenario", scenario), ("spmc", spmc)];
    machine.told.extend(told.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let Some(guests) = guests else {
        return exit_code(machine.run(|line| println!("{line}"))?, limit);
    };
    let (guests, events) = guests.guests();
    guests::prepare(&mut machine, &guests, events)?;
    let mut output = Output::new(false);
    exit_code(machine.run(|line| output.line(line))?, limit)
}

/// The exit status of a run, which had so many seconds.
pub fn exit_code(ended: Ended, limit: u32) -> Result<ExitCode> {
    match ended {
        Ended::Exited(status) => Ok(u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from)),
        Ended::Unfinished => bail!("QEMU ended before the hypervisor did"),
        Ended::Hung => bail!("QEMU was still running after {limit} s and was stopped"),
    }
}
