//! What this hypervisor promises about virtual interrupts that it raises itself. Those that guests raise, they check.

use ffa_el2::clock;
use ffa_el2::lock::let_others_go_first;
use ffa_hyp_glue::GuestInterrupts;

use crate::guest::Program;
use crate::scenario::Failed;
use crate::self_test::{begin, end, verdict};
use crate::vcpu::Stop;
use crate::vm_id::VmId;
use crate::{cpu, interrupts, scheduler, vms};

const NOTIFICATION_PENDING: u32 = GuestInterrupts::SGI.notification_pending;
const SCHEDULE_RECEIVER: u32 = GuestInterrupts::SGI.schedule_receiver;
const PASSED: Stop = Stop::Exited(0);

/// Time in which a guest gets to where it waits, or takes an interrupt, in nanoseconds.
const SOON: u64 = 2_000_000;

/// Makes every check, and goes on after one that fails.
pub fn run() -> Result<(), Failed> {
    let results = [
        verdict("an interrupt for a VM that does not run is taken when it does", while_it_sleeps()),
        verdict("two interrupts at the same time end one wait", two_at_once()),
        verdict("a VM without a vCPU that could take interrupts gets none", nobody_there()),
        on_another_cpu(),
    ];
    if results.iter().all(Result::is_ok) { Ok(()) } else { Err(Failed) }
}

fn while_it_sleeps() -> bool {
    let id = VmId::of_slot(0);
    begin(id, Program::InterruptAfterSleep);
    scheduler::run_until(clock::now() + SOON, || false);
    let sleeps = vms::is_asleep(id);
    let raised = vms::raise(id, NOTIFICATION_PENDING);
    sleeps && raised && passes(id)
}

fn two_at_once() -> bool {
    let id = VmId::of_slot(0);
    begin(id, Program::InterruptsWhileWaiting);
    scheduler::run_until(clock::now() + SOON, || false);
    let raised = [SCHEDULE_RECEIVER, NOTIFICATION_PENDING].map(|intid| vms::raise(id, intid));
    raised == [true; 2] && passes(id)
}

fn nobody_there() -> bool {
    let id = VmId::of_slot(0);
    let before = vms::raise(id, NOTIFICATION_PENDING);
    begin(id, Program::NoInterrupt);
    let passed = runs_to_its_end(id);
    let after = vms::raise(id, NOTIFICATION_PENDING);
    end(id);
    begin(id, Program::NoInterrupt);
    let ready = vms::raise(id, NOTIFICATION_PENDING);
    end(id);
    let dead = vms::raise(id, NOTIFICATION_PENDING);
    // The next one inherits nothing.
    begin(id, Program::NoInterrupt);
    passed && ready && [before, after, dead] == [false; 3] && passes(id)
}

/// This CPU runs no guest meanwhile, so another does.
fn on_another_cpu() -> Result<(), Failed> {
    const NAME: &str = "an interrupt reaches a busy guest on another CPU";
    if !cpu::has_others() {
        ffa_el2::println!("check: {NAME}: skipped, there is one CPU");
        return Ok(());
    }
    let id = VmId::of_slot(0);
    begin(id, Program::InterruptWhileBusy);
    interrupts::kick_others();
    wait_until(clock::now() + SOON, || false);
    let runs = vms::stopped(id).is_none();
    let raised = vms::raise(id, NOTIFICATION_PENDING);
    // Much less than a turn.
    wait_until(clock::now() + SOON, || vms::stopped(id).is_some());
    let passed = vms::stopped(id) == Some(PASSED);
    end(id);
    verdict(NAME, runs && raised && passed)
}

/// Whether the guest finds that all was well. Ends its VM.
fn passes(id: VmId) -> bool {
    let passed = runs_to_its_end(id);
    end(id);
    passed
}

fn runs_to_its_end(id: VmId) -> bool {
    interrupts::kick_others();
    scheduler::run(|| vms::stopped(id).is_some());
    vms::stopped(id) == Some(PASSED)
}

fn wait_until(limit: u64, done: impl Fn() -> bool) {
    while !done() && clock::now() < limit {
        let_others_go_first();
    }
}
