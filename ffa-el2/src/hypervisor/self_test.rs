//! What this hypervisor promises, one check each. Without FF-A, those that need it are skipped.

use core::array;

use ffa_el2::{clock, println};

use crate::frames::{self, FRAMES, PAGE, Run};
use crate::guest::{ACTS, EVERY_CALLS_VM, Program, Task, layout};
use crate::lifecycle::{self, Born};
use crate::scenario::Failed;
use crate::vcpu::Stop;
use crate::vm_id::{MAX_VMS, VmId};
use crate::{cpu, ffa, interrupt_test, interrupts, notification_test, scheduler, violations, vms};

const LOOSE_PAGES: usize = 4;
/// How long a teardown may take in which every SP does as it should, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;
/// `ESR_EL2` of a trapped floating-point instruction: class 0x07, any condition.
const FLOATING_POINT: u64 = 0x1fe0_0000;
const PASSED: Stop = Stop::Exited(0);

/// A guest whose program looks at one thing, and how it must end.
#[derive(Clone, Copy)]
struct Check {
    name: &'static str,
    task: Task,
    end: Stop,
    needs: Needs,
}

#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Ffa,
}

const fn check(name: &'static str, program: Program, end: Stop) -> Check {
    Check { name, task: Task::Program(program as u8), end, needs: Needs::Nothing }
}

const fn with_ffa(name: &'static str, program: Program, end: Stop) -> Check {
    Check { needs: Needs::Ffa, ..check(name, program, end) }
}

/// Checks whose guests run at the same time.
const TOGETHER: &[Check] = &[
    check("memory is zero at first, and keeps what is written", Program::Memory, PASSED),
    check("a guest that never calls does not stop the others", Program::Busy, PASSED),
    check("memory that is not there stops the guest", Program::Trespass, Stop::MemoryFault(layout::NOTHING)),
    check(
        "a page that was given back stops the guest",
        Program::GiveBack,
        Stop::MemoryFault(layout::DATA.start + 3 * PAGE as u64),
    ),
    check("floating point stops the guest", Program::FloatingPoint, Stop::Unsupported(FLOATING_POINT)),
    check("all guests have memory of their own", Program::Memory, PASSED),
    with_ffa("FF-A calls leave what they must in every register", Program::FfaRegisters, PASSED),
    with_ffa("an SP and the guest see the same shared page, until it is reclaimed", Program::Share, PASSED),
    with_ffa("bits that are not in W0, or only a hint, change nothing", Program::DirtyFunctionId, PASSED),
    with_ffa("what is lent cannot be used, and comes back as it was", Program::Lend, PASSED),
    with_ffa("memory of others is neither shared nor a buffer", Program::Foreign, PASSED),
    with_ffa("a shared page stays where it is", Program::GiveBackShared, PASSED),
    with_ffa("a VM that turns itself off gets its pages back", Program::TurnOff, Stop::TurnedOff),
    with_ffa(
        "a VM that is stopped for a fault gets its pages back",
        Program::TrespassWhileShared,
        Stop::MemoryFault(layout::NOTHING),
    ),
];

/// More of them, with interrupts.
const INTERRUPTED: &[Check] = &[
    check("each interrupt is taken once, when it must be", Program::OwnInterrupts, PASSED),
    check("nobody takes an interrupt of another", Program::NoInterrupt, PASSED),
    check("each guest has interrupts of its own", Program::OwnInterrupts, PASSED),
];

/// More than there are CPUs, so that some run one after the other on the same.
const OWN_REGISTERS: [Check; 2 * cpu::MAX] =
    [check("the system registers of a guest are its own", Program::SystemRegisters, PASSED); 2 * cpu::MAX];

/// Guests of which each does what no guest should.
fn hostile() -> [Check; ACTS.len()] {
    array::from_fn(|act| {
        let (name, end) = (ACTS[act].name, ACTS[act].end);
        Check { name, task: Task::Act(act as u8), end, needs: Needs::Nothing }
    })
}

/// Makes every check, and goes on after one that fails.
pub fn run() -> Result<(), Failed> {
    let free = FRAMES.lock().count().free;
    let results = [
        unknown_calls_reach_nobody(),
        run_guests(TOGETHER),
        run_guests(INTERRUPTED),
        run_guests(&OWN_REGISTERS),
        run_guests(&hostile()),
        verdict("a held page outlives its VM", hold_a_page()),
        verdict("what is held singly is not released by a name that a dead VM has left", reuse_a_name()),
        verdict("a VM can be destroyed while it runs", destroy_while_it_runs()),
        every_call(),
        interrupt_test::run(),
        notification_test::run(),
        verdict(
            "all pages are free and zero in the end",
            free == FRAMES.lock().count().free && frames::soiled() == 0,
        ),
        verdict("nobody wrote to what was nobody's", violations::count() == 0),
    ];
    if results.iter().all(Result::is_ok) { Ok(()) } else { Err(Failed) }
}

pub fn verdict(name: &str, good: bool) -> Result<(), Failed> {
    println!("check: {name}: {}", if good { "passed" } else { "FAILED" });
    if good { Ok(()) } else { Err(Failed) }
}

/// The guest's own calls are seen in every register; here, that no SMC is made for any of them.
fn unknown_calls_reach_nobody() -> Result<(), Failed> {
    let id = VmId::of_slot(0);
    begin(id, Program::Registers);
    let before = ffa::smcs();
    scheduler::run(|| vms::stopped(id).is_some());
    let good = vms::stopped(id) == Some(PASSED) && ffa::smcs() == before;
    end(id);
    verdict("calls that nobody knows change no register and reach nobody", good)
}

/// The guest looks at every register after every call that there is.
fn every_call() -> Result<(), Failed> {
    const NAME: &str = "every call that is served is answered, by SMC and by HVC";
    if ffa::mediator().is_none() {
        println!("check: {NAME}: skipped, there is no FF-A");
        return Ok(());
    }
    let id = VmId::of_partition(EVERY_CALLS_VM).expect("it is the ID of a VM");
    begin(id, Program::EveryCall);
    scheduler::run(|| vms::stopped(id).is_some());
    let stop = vms::stopped(id);
    end(id);
    verdict(NAME, stop == Some(PASSED))
}

/// Makes a VM for each check, runs them all to their end, and takes them apart.
fn run_guests(checks: &[Check]) -> Result<(), Failed> {
    assert!(checks.len() <= MAX_VMS, "each needs a VM");
    let possible = |check: &&Check| check.needs == Needs::Nothing || ffa::mediator().is_some();
    for skipped in checks.iter().filter(|check| !possible(check)) {
        println!("check: {}: skipped, there is no FF-A", skipped.name);
    }
    let guests = || checks.iter().filter(possible).zip((0..MAX_VMS).map(VmId::of_slot));
    for (check, id) in guests() {
        begin(id, check.task);
    }
    interrupts::kick_others();
    scheduler::run(|| guests().all(|(_, id)| vms::stopped(id).is_some()));
    let mut result = Ok(());
    for (check, id) in guests() {
        let stop = vms::stopped(id).expect("all of them stopped");
        // A VM that ended by itself is torn down before anybody destroys it.
        let settled = !stop.ends_vm() || is_forgotten(id);
        if stop != check.end || !settled {
            println!(
                "hypervisor: {id} ended with {stop:x?}, {}",
                if settled { "and is gone" } else { "and is not gone" }
            );
        }
        result = result.and(verdict(check.name, stop == check.end && settled));
        end(id);
    }
    result
}

/// Whether the mediator has nothing left to do for the VM, soon.
fn is_forgotten(id: VmId) -> bool {
    let Some(mediator) = ffa::mediator() else { return true };
    let is_forgotten = || mediator.find(id.partition()).is_none();
    scheduler::run_until(clock::now() + PATIENCE, is_forgotten);
    is_forgotten()
}

/// Makes a VM that does `task` at the next opportunity.
pub fn begin(id: VmId, task: impl Into<Task>) {
    let Born::Live(key) = lifecycle::create(id, LOOSE_PAGES) else { panic!("{id} cannot be created") };
    lifecycle::start(id, key, task.into());
}

/// Destroys a VM and waits until nothing is left of it.
pub fn end(id: VmId) {
    lifecycle::destroy(id);
    scheduler::run_until(clock::now() + PATIENCE, || !vms::exists(id));
}

/// Ends two VMs, of which neither ever stops by itself, while each runs on a CPU, if there are two.
fn destroy_while_it_runs() -> bool {
    const TURNS: u64 = 25_000_000;
    let ids = [0, 1].map(VmId::of_slot);
    ids.into_iter().for_each(|id| begin(id, Program::Forever));
    interrupts::kick_others();
    scheduler::run_until(clock::now() + TURNS, || false);
    ids.into_iter().all(|id| {
        let start = clock::now();
        end(id);
        !vms::exists(id) && clock::now() - start < PATIENCE / 2
    })
}

/// Shares a page of a VM that dies, and holds one of another VM singly under the same name.
fn reuse_a_name() -> bool {
    const NAME: usize = frames::SHARES - 1;
    let [id, heir] = [0, 1].map(VmId::of_slot);
    let before = FRAMES.lock().count();
    begin(id, Program::Memory);
    let shared = first_loose_page(id);
    FRAMES.lock().hold_for(NAME, shared);
    end(id);
    let waits = !FRAMES.lock().release_share(id, NAME);
    frames::release(shared);

    begin(heir, Program::Memory);
    let page = first_loose_page(heir);
    FRAMES.lock().hold_singly(NAME);
    FRAMES.lock().hold(page).expect("nobody holds it yet");
    let stays = !FRAMES.lock().release_share(heir, NAME);
    frames::release(page);
    end(heir);
    waits && stays && FRAMES.lock().count() == before
}

/// Where the first loose page of a VM is.
fn first_loose_page(id: VmId) -> Run {
    let page = vms::with_memory(id, |memory| memory.translate_page(layout::LOOSE_PAGES.start));
    Run { address: page.expect("the VM exists").expect("it has the page"), bytes: PAGE }
}

/// Holds a page of a VM, ends the VM, and sees that nobody gets the page before it is released.
fn hold_a_page() -> bool {
    let [id, heir] = [0, 1].map(VmId::of_slot);
    let before = FRAMES.lock().count();
    begin(id, Program::Memory);
    let page = first_loose_page(id);
    FRAMES.lock().hold(page).expect("nobody holds it yet");
    let refused = vms::take_page(id, layout::LOOSE_PAGES.start).is_err() && FRAMES.lock().hold(page).is_err();
    end(id);

    begin(heir, Program::Memory);
    let inherited = vms::with_memory(heir, |memory| memory.translate_page(layout::LOOSE_PAGES.start));
    let kept = FRAMES.lock().count().orphans == 1 && inherited != Some(Ok(page.address));
    end(heir);

    frames::release(page);
    refused && kept && FRAMES.lock().count() == before
}
