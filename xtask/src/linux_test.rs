//! Boots Linux in two guests at once, and sees that its FF-A driver finds what there is.

use std::time::Duration;

use anyhow::{Result, ensure};
use ffa_test_utils::spmc::Preset;

use crate::guests::Guests;
use crate::image::{self, Profile};
use crate::linux::Linux;
use crate::qemu::{Ended, Machine};
use crate::setup;

/// Ten seconds where nobody else works on the machine.
const LIMIT: Duration = Duration::from_secs(300);
const GUESTS: u8 = 2;
/// In MiB.
const MEMORY: u64 = 128;

/// What each guest prints, behind its name.
const LINES: [&str; 4] =
    ["init: Linux ", "init: partition 8001:", "init: partition 8002:", "init: partition 8003:"];

/// Boots it.
///
/// # Errors
/// If a guest does not come to its end, or did not find the partitions. What was printed is printed then.
pub fn run(linux: Linux) -> Result<()> {
    let mut machine = Machine::new(setup::qemu()?, image::build(Profile::Release)?, LIMIT);
    machine.told.push(("spmc", Preset::Strict.name().into()));
    let guests = Guests::new(linux.image, GUESTS, MEMORY).with_initrd(linux.initrd, "quiet");
    guests.prepare(&mut machine)?;
    let mut lines = Vec::new();
    let ended = machine.run(|line| lines.push(line.to_owned()))?;
    let expected = |vm: u8| {
        let printed = LINES.iter().map(move |line| format!("vm{vm}: {line}"));
        printed.chain([format!("hypervisor: vm{vm} is gone after ")])
    };
    let missing =
        (1..=GUESTS).flat_map(expected).find(|start| !lines.iter().any(|line| line.starts_with(start)));
    if ended != Ended::Exited(0) || missing.is_some() {
        lines.iter().for_each(|line| println!("{line}"));
    }
    ensure!(ended == Ended::Exited(0), "the guests ended with {ended:?}");
    ensure!(missing.is_none(), "no line begins with {:?}", missing.unwrap_or_default());
    println!("{GUESTS} guests found the partitions, and are gone");
    Ok(())
}
