//! Runs everything that the images can do by themselves, and sees that a wrong engine is caught.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use ffa_test_utils::scenario::Scenario;
use ffa_test_utils::timeline::Parsed;

use crate::guests::{self, Events, Guest};
use crate::image::{self, Images, Profile};
use crate::qemu::{Ended, Machine};
use crate::{run, setup};

const LIMIT: Duration = Duration::from_secs(120);
const SELF_TEST: &str = "self-test";
/// More than there are CPUs.
const HOSTED: usize = 3;
/// In MiB: that of the payload, and that of its device tree.
const HOSTED_MEMORY: u64 = 4;

/// A feature of `ffa-el2` that takes DENIED for a confirmation, and the scenario in which that must be seen.
const WRONG_ENGINE: &str = "broken-release-on-denied";
const WRONG_IN: &str = "dma";

/// How a run ended, and all that was printed.
struct Run {
    ended: Ended,
    lines: Vec<String>,
}

/// Runs all of it.
///
/// # Errors
/// If a run did not end as it must. What it printed is printed then.
pub fn run() -> Result<()> {
    let qemu = setup::qemu()?;
    for profile in [Profile::Debug, Profile::Release] {
        let images = image::build(profile)?;
        let scenarios = Scenario::ALL.iter().map(|scenario| scenario.name);
        for name in [SELF_TEST].into_iter().chain(scenarios) {
            Run::of(&qemu, &images, &[("scenario", name)])?.must_pass(name, profile)?;
        }
        // Nobody else can do what a single CPU has left undone; of more than two, several wait for the same.
        for cpus in [1, 4] {
            let name = format!("{SELF_TEST}, CPUs: {cpus}");
            Run::on(cpus, &qemu, &images, &[("scenario", SELF_TEST)])?.must_pass(&name, profile)?;
        }
        for cpus in [1, 2, 4] {
            let name = format!("guests with boards, CPUs: {cpus}");
            Run::hosting(cpus, &qemu, &images)?.must_pass(&name, profile)?;
        }
        for spmc in run::secure_worlds() {
            Run::of(&qemu, &images, &[("spmc", spmc)])?
                .must_pass(&format!("whatever it finds: {spmc}"), profile)?;
        }
    }
    let images = image::build_with(Profile::Debug, Some(WRONG_ENGINE))?;
    Run::of(&qemu, &images, &[("scenario", WRONG_IN)])?.must_fail()
}

impl Run {
    fn of(qemu: &Path, images: &Images, told: &[(&'static str, &str)]) -> Result<Self> {
        Self::on(2, qemu, images, told)
    }

    /// On a machine with this many CPUs.
    fn on(cpus: u8, qemu: &Path, images: &Images, told: &[(&'static str, &str)]) -> Result<Self> {
        let told = told.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self::of_machine(&Machine { cpus, told, ..Machine::new(qemu.to_owned(), images.clone(), LIMIT) })
    }

    /// With the payload in guests that look at what they find.
    fn hosting(cpus: u8, qemu: &Path, images: &Images) -> Result<Self> {
        let mut machine = Machine { cpus, ..Machine::new(qemu.to_owned(), images.clone(), LIMIT) };
        let guest = Guest::new(images.flat_payload()?, HOSTED_MEMORY);
        guests::prepare(&mut machine, &vec![guest; HOSTED], Events::None)?;
        Self::of_machine(&machine)
    }

    fn of_machine(machine: &Machine) -> Result<Self> {
        let mut lines = Vec::new();
        let ended = machine.run(|line| lines.push(line.to_owned()))?;
        Ok(Self { ended, lines })
    }

    fn must_pass(&self, name: &str, profile: Profile) -> Result<()> {
        if self.ended != Ended::Exited(0) {
            self.show();
        }
        ensure!(self.ended == Ended::Exited(0), "{name}, {profile:?}: {:?}", self.ended);
        println!("{name}, {profile:?}: passed");
        Ok(())
    }

    fn must_fail(&self) -> Result<()> {
        let seen = self.lines.iter().any(|line| match Parsed::from_line(line) {
            Ok(Some(Parsed::Summary(summary))) => summary.violations > 0,
            _ => false,
        });
        let caught = seen && matches!(self.ended, Ended::Exited(1..));
        if !caught {
            self.show();
        }
        ensure!(caught, "an engine that takes DENIED for a confirmation was not caught: {:?}", self.ended);
        println!("{WRONG_IN} with an engine that takes DENIED for a confirmation: caught");
        Ok(())
    }

    fn show(&self) {
        self.lines.iter().for_each(|line| println!("{line}"));
    }
}
