//! `cargo xtask linux`: guests that boot Linux and share memory with a trusted OS. One is killed and born again, the others go on.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::builder::PossibleValuesParser;
use ffa_test_utils::spmc::Preset;

use crate::guests::{self, Events, Guest, Until};
use crate::image::{self, Images, Profile};
use crate::linux::{self, Choice, Linux};
use crate::linux_check::{self, SecureWorld};
use crate::output::Output;
use crate::qemu::{Ended, Machine};
use crate::{run, setup};

/// What runs, and on what machine.
#[derive(clap::Args)]
pub struct Options {
    /// Run the images with every check, not the optimised ones.
    #[arg(long)]
    debug: bool,
    /// Take the Linux that the archive has by now, not the one that is known to work.
    #[arg(long)]
    newest: bool,
    /// Show all that the mediator does, not only how it takes dead guests apart.
    #[arg(long)]
    events: bool,
    /// Have each guest print all that its kernel says.
    #[arg(long)]
    verbose: bool,
    /// The secure world.
    #[arg(long, value_name = "NAME", default_value = "strict", value_parser = PossibleValuesParser::new(Preset::ALL.map(|preset| preset.name())))]
    spmc: String,
    /// Use this flash image for firmware, in place of ours.
    #[arg(long, value_name = "PATH", conflicts_with = "spmc")]
    bios: Option<PathBuf>,
    /// How much the first guest shares at a time, in pages; the second shares a quarter of that.
    #[arg(long, value_name = "N", default_value_t = PAGES, value_parser = clap::value_parser!(u16).range(4..=4096))]
    pages: u16,
    /// Number of CPUs of the machine.
    #[arg(long, value_name = "N", visible_alias = "smp", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    cpus: u8,
    /// Stop QEMU after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Half a minute where nobody else works on the machine.
const TEST_LIMIT: Duration = Duration::from_secs(900);
/// Memory of each guest with Linux, and of the payload, in MiB.
pub const MEMORY: u64 = 128;
const PAYLOAD_MEMORY: u64 = 4;
/// How the first guest ends, life by life.
pub const ENDINGS: [&str; 3] = ["killed", "careless", "tidy"];
/// How much memory it shares then, unless somebody wants it otherwise.
const PAGES: u16 = 1024;
/// How often the payload is made, which ends itself.
pub const PAYLOAD_LIVES: usize = 10;

/// Boots the guests. The exit status is that of the run.
pub fn run(options: &Options) -> Result<ExitCode> {
    let linux = linux::fetch(Choice::from_flag(options.newest))?;
    let limit = Duration::from_secs(options.limit.into());
    let images = image::build(Profile::from_flag(!options.debug))?;
    let mut machine = Machine::new(setup::qemu()?, images, limit);
    machine.cpus = options.cpus;
    machine.flash = options.bios.clone();
    if machine.flash.is_none() {
        machine.told.push(("spmc", options.spmc.clone()));
    }
    let log_level = if options.verbose { "loglevel=7" } else { LOG_LEVEL };
    let events = if options.events { Events::All } else { Events::Teardown };
    let guests = guests(&linux, &machine.images, log_level, options.pages)?;
    guests::prepare(&mut machine, &guests, events)?;
    let mut output = Output::new(false);
    let (ended, lines) = play(&machine, |line| output.line(line))?;
    if ended == Ended::Exited(0) {
        let preset = options.bios.is_none().then(|| Preset::from_name(&options.spmc)).flatten();
        agree(&lines, preset, options.pages)?;
        println!("{WELL}");
    }
    run::exit_code(ended, options.limit)
}

/// What there is to say in the end, if all was well.
const WELL: &str = "linux: guests probed, shared, died and were born again, and left nothing behind; the other one shared on";

/// The same, shown only if something goes wrong.
///
/// # Errors
/// If a guest does not come to its end, or something was not as it must be.
pub fn test(linux: &Linux) -> Result<()> {
    let mut machine = Machine::new(setup::qemu()?, image::build(Profile::Release)?, TEST_LIMIT);
    machine.told.push(("spmc", Preset::Strict.name().into()));
    let guests = guests(linux, &machine.images, LOG_LEVEL, PAGES)?;
    guests::prepare(&mut machine, &guests, Events::Teardown)?;
    let (ended, lines) = play(&machine, |_| ())?;
    let agreed = agree(&lines, Some(Preset::Strict), PAGES);
    if ended != Ended::Exited(0) || agreed.is_err() {
        lines.iter().for_each(|line| println!("{line}"));
    }
    agreed?;
    ensure!(ended == Ended::Exited(0), "the guests ended with {ended:?}");
    println!("{WELL}");
    Ok(())
}

/// Boots the machine. Returns how it ended, and all that it printed.
fn play(machine: &Machine, mut show: impl FnMut(&str)) -> Result<(Ended, Vec<String>)> {
    let mut lines = Vec::new();
    let ended = machine.run(|line| {
        show(line);
        lines.push(line.to_owned());
    })?;
    Ok((ended, lines))
}

/// Whether these lines are what a run prints, over our firmware with this preset or over any other.
fn agree(lines: &[String], preset: Option<Preset>, pages: u16) -> Result<()> {
    let has_notifications = preset.is_some_and(|preset| preset.config().notifications.is_some());
    let world = SecureWorld { is_counted: preset.is_some(), has_notifications, pages: pages.into() };
    let wrongs = linux_check::wrongs(lines, world);
    ensure!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    Ok(())
}

/// Warnings, and what is worse, are printed as they come.
const LOG_LEVEL: &str = "loglevel=5";
/// Linux for the cloud sets 64 MiB aside for devices that a guest does not have.
const NO_DEVICE_MEMORY: &str = "cma=0";

/// One that is killed and born again, one that shares memory as long as the others are there, and one of our own.
pub fn guests(linux: &Linux, images: &Images, log_level: &str, pages: u16) -> Result<[Guest; 3]> {
    let initrd = Some(linux.write_initrd(images)?);
    let linux = Guest { initrd, ..Guest::new(linux.image.clone(), MEMORY) };
    let lives = |endings: &[&str], pages: u16| -> Vec<String> {
        endings
            .iter()
            .map(|ending| format!("{NO_DEVICE_MEMORY} {log_level} ending={ending} pages={pages}"))
            .collect()
    };
    let mortal = Guest { until: Some(Until::Ready), ..linux.clone().with_lives(lives(&ENDINGS, pages)) };
    let lasting = Guest { until: Some(Until::Others), ..linux.with_lives(lives(&["never"], pages / 4)) };
    let payload = Guest { lives: PAYLOAD_LIVES, ..Guest::new(images.flat_payload()?, PAYLOAD_MEMORY) };
    Ok([mortal, lasting, payload])
}
