//! What a run of the image does, and whether it ended as it must.
//!
//! `opt/ffa/scenario` names it; without a name it is the self-test, which needs nothing of the firmware.

use core::fmt::{self, Display, Formatter};

use ffa_el2::{fw_cfg, println};

use crate::frames::{FRAMES, PAGE, Run};
use crate::guest::{Program, layout};
use crate::vcpu::Stop;
use crate::{interrupts, scheduler, vms};

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
}

/// Runs the scenario that QEMU was given.
pub fn run() -> Result<(), Failure> {
    match fw_cfg::text("opt/ffa/scenario", &mut [0; 64]) {
        None => self_test(),
        Some("trap-floor") => run_guests(&[(Program::TrapFloor, PASSED)]),
        Some(name) => {
            println!("there is no scenario {name:?}");
            Err(Failure::UnknownScenario)
        }
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
    let mut ids = [None; crate::vm_id::MAX_VMS];
    for ((program, _), id) in programs.iter().zip(&mut ids) {
        *id = Some(vms::create(*program, LOOSE_PAGES).expect("there are slots and memory for all"));
    }
    interrupts::kick_others();
    let all_stopped = || ids.iter().flatten().all(|id| vms::stopped(*id).is_some());
    scheduler::run(all_stopped);
    for ((program, expected), id) in programs.iter().zip(ids.into_iter().flatten()) {
        let stop = vms::stopped(id).expect("all of them stopped");
        let verdict = if stop == *expected { "as it must" } else { "WRONGLY" };
        println!("hypervisor: {id} ({program:?}) ended {verdict}: {stop:x?}");
        failed += usize::from(stop != *expected);
        vms::destroy(id);
    }
    match failed {
        0 if FRAMES.lock().count().free == free => Ok(()),
        0 => Err(Failure::Pages),
        _ => Err(Failure::Guests(failed)),
    }
}

/// Holds a page of a VM, ends the VM, and sees that nobody gets the page before it is released.
fn hold_a_page() -> Result<(), Failure> {
    let before = FRAMES.lock().count();
    let id = vms::create(Program::Memory, LOOSE_PAGES).expect("there are slots and memory");
    let page = vms::with_memory(id, |memory| memory.translate_page(layout::LOOSE_PAGES.start));
    let page = Run { address: page.expect("the VM exists").expect("it has the page"), bytes: PAGE };
    FRAMES.lock().hold(page).expect("nobody holds it yet");
    let refused = vms::take_page(id, layout::LOOSE_PAGES.start).is_err() && FRAMES.lock().hold(page).is_err();
    vms::destroy(id);

    let heir = vms::create(Program::Memory, LOOSE_PAGES).expect("there are slots and memory");
    let inherited = vms::with_memory(heir, |memory| memory.translate_page(layout::LOOSE_PAGES.start));
    let kept = FRAMES.lock().count().held == 1 && inherited != Some(Ok(page.address));
    vms::destroy(heir);

    FRAMES.lock().release(page);
    let back = FRAMES.lock().count() == before;
    if refused && kept && back { Ok(()) } else { Err(Failure::Pages) }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::UnknownScenario => write!(f, "the choice of a scenario"),
            Self::Guests(count) => write!(f, "{count} guests"),
            Self::Pages => write!(f, "the book of pages"),
        }
    }
}
