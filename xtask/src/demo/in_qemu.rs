//! Scenarios on the machine in QEMU, booted afresh for each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use ffa_test_utils::scenario::Scenario;
use ffa_test_utils::timeline::Parsed;

use crate::image::{self, Images, Profile};
use crate::output::Output;
use crate::qemu::{Ended, Machine};
use crate::setup;

/// A run takes a second or two.
const LIMIT: Duration = Duration::from_secs(60);
const CPUS: u8 = 2;

/// What it takes to boot the machine.
pub struct Prepared {
    qemu: PathBuf,
    images: Images,
}

/// Finds or installs QEMU and a compiler, and builds the images. `None`, and a word about it, where that cannot be.
pub fn prepare() -> Result<Option<Prepared>> {
    match setup::qemu().and_then(|qemu| setup::toolchain().map(|_| qemu)) {
        Ok(qemu) => Ok(Some(Prepared { qemu, images: image::build(Profile::Debug)? })),
        Err(error) => {
            eprintln!("note: {error:#}");
            eprintln!("note: without that, this is the modelled hypervisor, as with --host");
            Ok(None)
        }
    }
}

/// Boots the machine and shows what it does.
pub fn play(prepared: &Prepared, scenario: &Scenario, seed: u64, output: &mut Output) -> Result<()> {
    let told = vec![("scenario", scenario.name.to_owned()), ("seed", seed.to_string())];
    let Prepared { qemu, images } = prepared;
    let machine = Machine { cpus: CPUS, told, ..Machine::new(qemu.clone(), images.clone(), LIMIT) };
    // What else the images say is of interest only if something goes wrong.
    let mut said = Vec::new();
    let mut ended_with_summary = false;
    let ended = machine.run(|line| match Parsed::from_line(line) {
        Ok(None) => said.push(line.to_owned()),
        parsed => {
            ended_with_summary |= matches!(parsed, Ok(Some(Parsed::Summary(_))));
            output.line(line);
        }
    })?;
    let good = ended == Ended::Exited(0) && ended_with_summary;
    output.ended(good);
    if !good {
        said.iter().for_each(|line| output.line(line));
        match ended {
            Ended::Hung => bail!("QEMU was still running after {} s and was stopped", LIMIT.as_secs()),
            Ended::Unfinished => bail!("QEMU ended before the hypervisor did"),
            Ended::Exited(_) if ended_with_summary => {}
            Ended::Exited(status) => bail!("the images stopped in the middle, with status {status}"),
        }
    }
    match output.take_error() {
        Some(error) => bail!("{error}"),
        None => Ok(()),
    }
}
