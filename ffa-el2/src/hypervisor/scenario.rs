//! What a run of the image does, and whether it ended as it must.
//!
//! `opt/ffa/scenario` names it; without a name it is a survey of whatever firmware there is. The self-test needs nothing of
//! the firmware.

use core::fmt::{self, Display, Formatter};

use ffa_el2::{fw_cfg, println};
use ffa_test_utils::scenario::Scenario;

use crate::frames::{self, FRAMES, PAGE, Run};
use crate::guest::{Program, layout};
use crate::lifecycle::{self, Born};
use crate::stage;
use crate::vcpu::Stop;
use crate::vm_id::{MAX_VMS, VmId};
use crate::{interrupts, scheduler, survey, vms};

const LOOSE_PAGES: usize = 4;
/// `ESR_EL2` of a trapped floating-point instruction: class 0x07, any condition.
const FLOATING_POINT: u64 = 0x1fe0_0000;
const PASSED: Stop = Stop::Exited(0);

/// Something that should have been otherwise.
#[derive(Debug)]
pub enum Failure {
    UnknownScenario,
    /// A guest stopped in another way than its program should.
    Guests(usize),
    /// Pages of dead VMs are not where they belong.
    Pages,
    /// The scenario did not end as it must.
    Scenario,
}

/// Runs the scenario that QEMU was given.
pub fn run() -> Result<(), Failure> {
    match fw_cfg::text("opt/ffa/scenario", &mut [0; 64]) {
        None if survey::run() => Ok(()),
        None => Err(Failure::Pages),
        Some("self-test") => self_test(),
        Some("trap-floor") => run_guests(&[(Program::TrapFloor, PASSED)]),
        Some(name) => match Scenario::find(name) {
            Some(scenario) if stage::play_scenario(scenario) => Ok(()),
            Some(_) => Err(Failure::Scenario),
            None => {
                println!("there is no scenario {name:?}");
                Err(Failure::UnknownScenario)
            }
        },
    }
}

fn self_test() -> Result<(), Failure> {
    run_guests(&[
        (Program::Registers, PASSED),
        (Program::Memory, PASSED),
        (Program::Busy, PASSED),
        (Program::Trespass, Stop::MemoryFault(layout::NOTHING)),
        (Program::GiveBack, Stop::MemoryFault(layout::DATA.start + 3 * PAGE as u64)),
        (Program::FloatingPoint, Stop::Unsupported(FLOATING_POINT)),
        (Program::Memory, PASSED),
    ])?;
    hold_a_page()
}

/// Makes a VM for each program, runs them all to their end, and takes them apart.
fn run_guests(programs: &[(Program, Stop)]) -> Result<(), Failure> {
    let free = FRAMES.lock().count().free;
    let mut failed = 0;
    let ids = || (0..MAX_VMS).map(VmId::of_slot);
    for ((program, _), id) in programs.iter().zip(ids()) {
        begin(id, *program);
    }
    interrupts::kick_others();
    scheduler::run(|| ids().take(programs.len()).all(|id| vms::stopped(id).is_some()));
    for ((program, expected), id) in programs.iter().zip(ids()) {
        let stop = vms::stopped(id).expect("all of them stopped");
        let verdict = if stop == *expected { "as it must" } else { "WRONGLY" };
        println!("hypervisor: {id} ({program:?}) ended {verdict}: {stop:x?}");
        failed += usize::from(stop != *expected);
        lifecycle::destroy(id);
        scheduler::run(|| !vms::exists(id));
    }
    match failed {
        0 if FRAMES.lock().count().free == free => Ok(()),
        0 => Err(Failure::Pages),
        _ => Err(Failure::Guests(failed)),
    }
}

/// Makes a VM that runs `program` at the next opportunity.
fn begin(id: VmId, program: Program) {
    let Born::Live(caller) = lifecycle::create(id, LOOSE_PAGES) else { panic!("{id} cannot be created") };
    vms::start(id, caller, program.into());
}

/// Holds a page of a VM, ends the VM, and sees that nobody gets the page before it is released.
fn hold_a_page() -> Result<(), Failure> {
    let [id, heir] = [0, 1].map(VmId::of_slot);
    let before = FRAMES.lock().count();
    begin(id, Program::Memory);
    let page = vms::with_memory(id, |memory| memory.translate_page(layout::LOOSE_PAGES.start));
    let page = Run { address: page.expect("the VM exists").expect("it has the page"), bytes: PAGE };
    FRAMES.lock().hold(page).expect("nobody holds it yet");
    let refused = vms::take_page(id, layout::LOOSE_PAGES.start).is_err() && FRAMES.lock().hold(page).is_err();
    lifecycle::destroy(id);

    begin(heir, Program::Memory);
    let inherited = vms::with_memory(heir, |memory| memory.translate_page(layout::LOOSE_PAGES.start));
    let kept = FRAMES.lock().count().orphans == 1 && inherited != Some(Ok(page.address));
    lifecycle::destroy(heir);

    frames::release(page);
    scheduler::run(|| !vms::exists(id) && !vms::exists(heir));
    let back = FRAMES.lock().count() == before;
    if refused && kept && back { Ok(()) } else { Err(Failure::Pages) }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::UnknownScenario => write!(f, "the choice of a scenario"),
            Self::Guests(count) => write!(f, "{count} guests"),
            Self::Pages => write!(f, "the book of pages"),
            Self::Scenario => write!(f, "the scenario"),
        }
    }
}
