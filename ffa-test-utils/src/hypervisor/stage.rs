use core::fmt;
use std::string::ToString;
use std::vec::Vec;

use ffa_abi::{PartitionId, Regs};
use ffa_hyp_glue::{Creation, GuestInterrupts, ProbeFailure, Settings};
use ffa_teardown::{Span, Time};

use super::frames::PAGE;
use super::model::{Machine, ModelHypervisor};
use super::vm::Region;
use super::world::Interrupt;
use crate::fault::FaultPlan;
use crate::scenario::{
    Born, Guest, GuestCpu, Instruction, Layout, Outcome, Scenario, Stage, Tally, play, run_guest,
};
use crate::timeline::Line;

/// Where guests of scenarios find their memory here.
const LAYOUT: Layout = Layout { block: 0x4000_0000, loose: 0x7000_0000 };

/// How often a guest that waits for an interrupt looks whether it came.
const LOOK: Span = Span::from_millis(1);

/// A scenario on the modelled hypervisor.
struct HostStage<'a> {
    hypervisor: ModelHypervisor,
    /// Those that no guest has waited for yet.
    interrupts: Vec<Interrupt>,
    /// VMs that are to be destroyed at this time, in the middle of what others do.
    doomed: Option<(Time, Vec<PartitionId>)>,
    line: &'a mut dyn FnMut(&str),
}

/// Plays `scenario` on a modelled hypervisor with `plan`'s faults, and gives each line of its timeline to `line`, the
/// last one being its summary. `change` may change the machine that it runs on.
///
/// # Errors
/// [`ProbeFailure`], if the changed machine cannot be worked with.
pub fn play_on_host(
    scenario: &Scenario,
    plan: FaultPlan,
    change: impl FnOnce(&mut Machine),
    mut line: impl FnMut(&str),
) -> Result<Outcome, ProbeFailure> {
    let settings = Settings {
        pages_per_share: 1024,
        interrupts: Some(GuestInterrupts::SGI),
        vm_to_vm: scenario.has_acquaintances(),
        ..Settings::DEFAULT
    };
    let machine = Machine::new(scenario.preset, scenario.partitions());
    // 64 MiB, and two large shares of a VM.
    let mut machine = Machine { plan, settings, frames: 1 << 14, ranges: 2100, loans: 64, ..machine };
    change(&mut machine);
    let mut hypervisor = ModelHypervisor::new(machine)?;
    let played = *scenario;
    hypervisor.permit(move |vm, _, partner| partner.is_secure() || played.acquaints(vm, partner));
    line(&Line::Begin(scenario).to_string());
    let mut stage = HostStage { hypervisor, interrupts: Vec::new(), doomed: None, line: &mut line };
    let outcome = play(scenario, &mut stage);
    stage.flush();
    let now = stage.hypervisor.now();
    for vm in stage.survivors() {
        let text = format_args!("the secure world keeps something for VM {vm}, which is gone");
        (stage.line)(&Line::Wrong(now, text).to_string());
    }
    for violation in stage.hypervisor.violations() {
        (stage.line)(&Line::Wrong(now, format_args!("{violation}")).to_string());
    }
    line(&outcome.summary.to_string());
    Ok(outcome)
}

impl HostStage<'_> {
    /// Shows the mediator's events so far.
    fn flush(&mut self) {
        for (at, event) in self.hypervisor.take_events() {
            (self.line)(&Line::Event(at, &event).to_string());
        }
    }

    /// VMs that are gone and for which the secure world keeps something all the same.
    fn survivors(&self) -> Vec<PartitionId> {
        let kept = self.hypervisor.spmc().kept().map(|kept| kept.vm).collect::<Vec<_>>();
        kept.into_iter().filter(|vm| self.hypervisor.report(*vm).is_none()).collect()
    }

    fn say(&mut self, line: impl FnOnce(Time) -> std::string::String) {
        self.flush();
        let now = self.hypervisor.now();
        (self.line)(&line(now));
    }
}

impl Stage for HostStage<'_> {
    fn create(&mut self, guest: &Guest) -> Born {
        self.interrupts.retain(|interrupt| interrupt.vm != guest.vm);
        let regions = [
            Region::block(LAYOUT.block, guest.block_pages.into()),
            Region::loose(LAYOUT.loose, guest.loose_pages.into()),
        ];
        let born = match self.hypervisor.create(guest.vm, &regions) {
            Ok(Creation::Live) => Born::Live,
            Ok(Creation::Pending | Creation::Failed(_)) => Born::Failed,
            Err(_) => Born::Refused,
        };
        self.flush();
        born
    }

    fn run(&mut self, scenario: &Scenario, guests: &[u8]) -> u32 {
        let mut wrong = 0;
        for guest in guests.iter().filter_map(|&guest| scenario.guests.get(usize::from(guest))) {
            wrong += run_guest(&mut HostGuest { stage: self, vm: guest.vm }, LAYOUT, guest);
            self.flush();
        }
        wrong
    }

    fn run_and_destroy(&mut self, scenario: &Scenario, guests: &[u8], after: Span, dead: &[u8]) -> u32 {
        let when = self.hypervisor.now() + after;
        let dead = dead.iter().filter_map(|&guest| scenario.guests.get(usize::from(guest)));
        self.doomed = Some((when, dead.map(|guest| guest.vm).collect()));
        let wrong = self.run(scenario, guests);
        if self.doomed.is_some() {
            // They were done before.
            self.pass(when);
        }
        wrong
    }

    fn destroy(&mut self, vm: PartitionId) {
        if let Err(error) = self.hypervisor.destroy(vm) {
            self.wrong(format_args!("{error}"));
        }
        self.flush();
    }

    fn now(&mut self) -> Time {
        self.hypervisor.now()
    }

    fn pass(&mut self, until: Time) {
        if let Some((when, dead)) = self.doomed.take_if(|(when, _)| *when <= until) {
            self.pass(when);
            dead.into_iter().for_each(|vm| self.destroy(vm));
        }
        let span = until.since(self.hypervisor.now());
        self.hypervisor.advance(span);
        self.flush();
    }

    fn is_gone(&mut self, vm: PartitionId) -> bool {
        self.hypervisor.report(vm).is_none()
    }

    fn pages_held(&mut self, vm: Option<PartitionId>) -> u64 {
        self.hypervisor.orphans(vm)
    }

    fn is_timer_armed(&mut self) -> bool {
        self.hypervisor.deadline().is_some()
    }

    fn quarantined(&mut self) -> u32 {
        let shares = (0..).map_while(|skip| self.hypervisor.mediator().quarantined(skip));
        shares.count() as u32
    }

    fn retry(&mut self) -> u32 {
        let due = self.hypervisor.retry(None).unwrap_or(0);
        self.flush();
        due
    }

    fn restart(&mut self, sp: PartitionId) {
        self.hypervisor.restart(sp);
    }

    fn tally(&mut self) -> Tally {
        self.hypervisor.tally()
    }

    fn smcs(&mut self) -> u64 {
        self.hypervisor.smcs()
    }

    fn violations(&mut self) -> u64 {
        // Counts the pages once more.
        let _ = self.hypervisor.violations();
        self.hypervisor.violation_count() + self.survivors().len() as u64
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        self.say(|now| Line::Note(now, text).to_string());
    }

    fn wrong(&mut self, text: fmt::Arguments<'_>) {
        self.say(|now| Line::Wrong(now, text).to_string());
    }
}

/// A guest that runs on the host.
struct HostGuest<'a, 'b> {
    stage: &'a mut HostStage<'b>,
    vm: PartitionId,
}

impl GuestCpu for HostGuest<'_, '_> {
    fn call(&mut self, _: Instruction, regs: &mut Regs) {
        match self.stage.hypervisor.call(self.vm, 0, regs) {
            Ok(ffa_hyp_glue::Outcome::Return) => {}
            // Unknown to SMCCC as well.
            Ok(ffa_hyp_glue::Outcome::NotFfa) => regs[0] = u64::MAX,
            Err(error) => self.wrong(format_args!("{error}")),
        }
        self.stage.flush();
    }

    fn read(&mut self, address: u64) -> u64 {
        let mut word = [0; 8];
        debug_assert!(address % 8 == 0 && PAGE % 8 == 0);
        self.stage.hypervisor.read(self.vm, address, &mut word);
        u64::from_le_bytes(word)
    }

    fn write(&mut self, address: u64, value: u64) {
        self.stage.hypervisor.write(self.vm, address, &value.to_le_bytes());
    }

    fn is_aborted(&mut self, address: u64, value: Option<u64>) -> bool {
        match value {
            Some(value) => self.stage.hypervisor.store(self.vm, address, &value.to_le_bytes()).is_err(),
            None => self.stage.hypervisor.load(self.vm, address, &mut [0; 8]).is_err(),
        }
    }

    fn sleep(&mut self, span: Span) {
        let until = self.stage.hypervisor.now() + span;
        self.stage.pass(until);
    }

    fn interrupted(&mut self, intid: u32, within: Span) -> bool {
        let limit = self.stage.hypervisor.now() + within;
        loop {
            self.stage.interrupts.append(&mut self.stage.hypervisor.take_interrupts());
            let of_ours = |interrupt: &Interrupt| (interrupt.vm, interrupt.intid) == (self.vm, intid);
            let before = self.stage.interrupts.len();
            self.stage.interrupts.retain(|interrupt| !of_ours(interrupt));
            let came = self.stage.interrupts.len() < before;
            if came || self.stage.hypervisor.now() >= limit {
                return came;
            }
            self.sleep(LOOK);
        }
    }

    fn wrong(&mut self, what: fmt::Arguments<'_>) {
        let vm = self.vm;
        self.stage.wrong(format_args!("guest {vm}: {what}"));
    }
}
