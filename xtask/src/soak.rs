//! `cargo xtask soak`: a guest is killed and born again, over and over, each time in the middle of something else, and leaves
//! nothing behind; another one goes on beside it.

mod lives;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::builder::PossibleValuesParser;
use ffa_test_utils::spmc::Preset;
use ffa_test_utils::timeline::Parsed;

use crate::guests::{self, Events, Guest, Until};
use crate::image::{self, Images, Profile};
use crate::output::Output;
use crate::qemu::{Ended, Machine};
use crate::{run, setup};

use lives::Lives;

/// How often, and on what machine.
#[derive(clap::Args)]
pub struct Options {
    /// How often the guest is killed.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    cycles: u32,
    /// The secure world.
    #[arg(long, value_name = "NAME", default_value = "strict", value_parser = PossibleValuesParser::new(secure_worlds()))]
    spmc: String,
    /// Number of CPUs of the machine.
    #[arg(long, value_name = "N", visible_alias = "smp", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    cpus: u8,
    /// Run the images with every check, not the optimised ones.
    #[arg(long)]
    debug: bool,
    /// Show every death, and what the mediator does for dead guests.
    #[arg(long)]
    verbose: bool,
    /// Stop QEMU after this many seconds. Without it, a minute, and a second for each life.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// Memory of each guest, in MiB.
const MEMORY: u64 = 4;
/// The payload does not check then what it finds, but shares memory until it is killed.
const ARGUMENT: &str = "soak";
/// No life is longer than this, in virtual time: a few rounds of what the guest does.
const LONGEST_LIFE: Duration = Duration::from_millis(2);

/// What the gate does: a hundred lives in each of these secure worlds, in seconds.
const TEST_CYCLES: u32 = 100;
const TEST_WORLDS: [Preset; 2] = [Preset::Strict, Preset::Optee];

/// There are no guests to speak of without a secure world.
fn secure_worlds() -> impl Iterator<Item = &'static str> {
    Preset::ALL.iter().map(|preset| preset.name())
}

/// Kills and shows. The exit status is that of the run, or failure if something was not as it must be.
pub fn run(options: &Options) -> Result<ExitCode> {
    let Options { cycles, cpus, debug, verbose, .. } = *options;
    let limit = options.limit.unwrap_or(cycles.saturating_add(60));
    let images = image::build(Profile::from_flag(!debug))?;
    let mut machine = Machine::new(setup::qemu()?, images, Duration::from_secs(limit.into()));
    machine.cpus = cpus;
    let events = if verbose { Events::Teardown } else { Events::None };
    let mut output = Output::new(false);
    let mut lives = Lives::new(cycles);
    let ended = kill(&mut machine, &options.spmc, cycles, events, |line| {
        let progress = lives.line(line);
        // Whatever is neither a note nor a word of a guest that is well deserves to be seen.
        let is_expected =
            matches!(Parsed::from_line(line), Ok(Some(Parsed::Note { .. }))) || Lives::is_report(line);
        if verbose || !is_expected {
            output.line(line);
        }
        if let Some(progress) = progress {
            println!("{progress}");
        }
    })?;
    let verdict = lives.verdict();
    if ended == Ended::Exited(0) {
        println!("soak: {}", verdict?);
    } else if let Err(error) = verdict {
        eprintln!("error: {error:#}");
    }
    run::exit_code(ended, limit)
}

/// The same in several secure worlds, shown only if something goes wrong.
///
/// # Errors
/// If something of a guest was left, or not everything was as it must be.
pub fn test() -> Result<()> {
    let images = image::build(Profile::Release)?;
    let qemu = setup::qemu()?;
    for preset in TEST_WORLDS {
        let mut machine = Machine::new(qemu.clone(), images.clone(), Duration::from_secs(600));
        let mut lives = Lives::new(TEST_CYCLES);
        let mut lines = Vec::new();
        let ended = kill(&mut machine, preset.name(), TEST_CYCLES, Events::None, |line| {
            lives.line(line);
            lines.push(line.to_owned());
        })?;
        let verdict = lives.verdict();
        if ended != Ended::Exited(0) || verdict.is_err() {
            lines.iter().for_each(|line| println!("{line}"));
        }
        ensure!(ended == Ended::Exited(0), "the guests ended with {ended:?}");
        println!("{}: {}", preset.name(), verdict?);
    }
    Ok(())
}

/// Boots the machine with two guests: one that is killed, and one that is not before the other had its lives.
fn kill(
    machine: &mut Machine,
    spmc: &str,
    cycles: u32,
    events: Events,
    line: impl FnMut(&str),
) -> Result<Ended> {
    // Those that the payload's program relies on.
    machine.told.extend([("spmc", spmc.to_owned()), ("partitions", "many".into())]);
    guests::prepare(machine, &guests(&machine.images, cycles)?, events)?;
    machine.run(line)
}

fn guests(images: &Images, cycles: u32) -> Result<[Guest; 2]> {
    let payload = Guest::new(images.flat_payload()?, MEMORY).with_lives([ARGUMENT.into()]);
    let lasting = Guest { until: Some(Until::Others), ..payload.clone() };
    let limit = Some(Duration::ZERO);
    Ok([Guest { lives: cycles as usize, limit, spread: LONGEST_LIFE, ..payload }, lasting])
}
