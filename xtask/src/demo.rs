//! `cargo xtask demo`: guests die, and every page that they shared comes back.

mod in_qemu;
mod storm;

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::builder::PossibleValuesParser;
use ffa_test_utils::fault::FaultPlan;
use ffa_test_utils::hypervisor::play_on_host;
use ffa_test_utils::scenario::Scenario;

use crate::output::Output;
use crate::progress::Progress;

/// The scenario that is no table but a program.
const STORM: &str = "storm";

/// What to demonstrate, and where.
#[derive(clap::Args)]
pub struct Options {
    /// Use the modelled hypervisor with virtual time, not the machine in QEMU.
    #[arg(long)]
    host: bool,
    /// Play one scenario only.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
    scenario: Option<String>,
    /// Choose what is left to chance: which answers are bad in the storm, and the mark of this run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print one JSON object a line; docs/demo.md describes them.
    #[arg(long)]
    json: bool,
    /// VMs in the storm.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..=32_000))]
    vms: u16,
    /// Shares of each VM in the storm.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=32))]
    shares: u8,
}

fn names() -> impl Iterator<Item = &'static str> {
    Scenario::ALL.iter().map(|scenario| scenario.name).chain([STORM])
}

/// Plays what was asked for. The exit status is success only if all of it ended as it must.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut output = Output::new(options.json);
    let asked = |name: &str| options.scenario.as_deref().is_none_or(|asked| asked == name);
    let scenarios: Vec<_> = Scenario::ALL.iter().filter(|scenario| asked(scenario.name)).collect();
    let machine = if options.host || scenarios.is_empty() { None } else { in_qemu::prepare()? };
    for scenario in scenarios {
        let played = match &machine {
            Some(machine) => in_qemu::play(machine, scenario, options.seed, &mut output),
            None => on_host(scenario, options.seed, &mut output),
        };
        played.map_err(|error| anyhow!("scenario {}: {error:#}", scenario.name))?;
    }
    // Everything that a small machine can run is played everywhere; this is the host's alone.
    if asked(STORM) && (options.host || options.scenario.is_some()) {
        if !options.host {
            eprintln!("note: the storm is for the modelled hypervisor only, as with --host");
        }
        let progress = Progress::start("storm");
        storm::run(options.vms, options.shares, options.seed, &progress, &mut output)?;
    }
    output.end()
}

fn on_host(scenario: &Scenario, seed: u64, output: &mut Output) -> Result<()> {
    // Any mark but zero; a guest that finds it in an answer knows that a partition of this run gave it.
    let mark = (seed as u32 ^ (seed >> 32) as u32).wrapping_mul(2).wrapping_add(0x1d5a_0001) | 1;
    let outcome = play_on_host(
        scenario,
        FaultPlan::none(),
        |machine| machine.secure.nonce = mark,
        |line| output.line(line),
    )?;
    output.ended(outcome.is_good());
    if let Some(error) = output.take_error() {
        bail!("{error}");
    }
    Ok(())
}
