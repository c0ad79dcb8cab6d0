//! The interrupts that the hypervisor uses: its timer, a kick from another CPU, that of the virtual CPU interface, and the one
//! by which the secure world says that it has notifications for VMs.
//!
//! EL2 runs with interrupts masked. One that arrives while a guest runs ends the guest's turn, one that arrives while
//! this CPU waits ends the wait; either way [`acknowledge`] is called next.

use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32};

use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicV3, Group, SgiTarget, SgiTargetGroup};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use ffa_el2::lock::Mutex;
use ffa_el2::machine::{GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS, MAX_CPUS};
use ffa_el2::println;

use crate::{cpu, timer};

/// PPI 10, interrupt 26: the EL2 physical timer. Arm BSA (DEN0094) section 3.8.
const TIMER: IntId = IntId::ppi(10);
const KICK: IntId = IntId::sgi(0);
/// PPI 9, interrupt 25: list registers are free that were not. As above. It is asserted only while a guest runs.
const MAINTENANCE: IntId = IntId::ppi(9);
/// PPI 11, interrupt 27: the virtual timer of the guest that runs. It is enabled only while that shall end its turn.
const VIRTUAL_TIMER: IntId = IntId::ppi(11);
const PRIORITY: u8 = 0x80;
const LOWEST_PRIORITY: u8 = 0xff;

/// INTID of the schedule receiver interrupt, or [`NONE`].
static SCHEDULE_RECEIVER: AtomicU32 = AtomicU32::new(NONE);
/// No interrupt is known by this number.
const NONE: u32 = u32::MAX;

static GIC: Mutex<Option<GicV3<'static>>> = Mutex::new(None);

/// Finds the GIC and lets it forward interrupts.
pub fn start() {
    let distributor = NonNull::new(GIC_DISTRIBUTOR as *mut Gicd).expect("the address is not zero");
    let redistributors = NonNull::new(GIC_REDISTRIBUTORS as *mut GicrSgi).expect("the address is not zero");
    // SAFETY: EL2's page table has this machine's GIC there, as device memory, and `GIC` is its only user at EL2.
    // Firmware has another view of the registers, with state of its own.
    let gic = unsafe { GicV3::new(UniqueMmioPointer::new(distributor), redistributors, MAX_CPUS) };
    let mut gic = gic.expect("the machine has a GICv3");
    gic.distributor().enable_group1_non_secure(true);
    *GIC.lock() = Some(gic);
}

/// How many CPUs the machine has, of those that the hypervisor can use. TF-A turns others on that are not there, and says
/// that it worked.
pub fn cpus() -> usize {
    let mut gic = GIC.lock();
    let gic = gic.as_mut().expect("the boot CPU found the GIC first");
    let is_last = |cpu: &usize| gic.gicr_typer(*cpu).is_ok_and(|typer| typer.last_redistributor());
    (0..MAX_CPUS).find(is_last).map_or(MAX_CPUS, |last| last + 1)
}

/// Lets this CPU take the interrupts.
pub fn start_cpu(cpu: usize) {
    GicCpuInterface::enable_system_register_el2(false);
    let mut gic = GIC.lock();
    let gic = gic.as_mut().expect("the boot CPU found the GIC first");
    gic.init_cpu(cpu);
    for interrupt in [TIMER, KICK, MAINTENANCE].into_iter().chain(schedule_receiver()) {
        enable(gic, cpu, interrupt);
    }
    GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
    GicCpuInterface::enable_group1(true);
}

/// Has `intid` be the schedule receiver interrupt, on this CPU from now on, on another when it starts. Returns whether it
/// can be: it must be an SGI or PPI that is not in use.
pub fn start_schedule_receiver(intid: u32) -> bool {
    let is_in_use = [TIMER, KICK, MAINTENANCE, VIRTUAL_TIMER].map(IntId::raw_value).contains(&intid);
    let Some(interrupt) = private(intid).filter(|_| !is_in_use) else { return false };
    SCHEDULE_RECEIVER.store(intid, Relaxed);
    let mut gic = GIC.lock();
    enable(gic.as_mut().expect("the boot CPU found the GIC first"), cpu::current(), interrupt);
    true
}

/// Whether the virtual timer ends the turn of a guest on each CPU.
static WATCHED: [AtomicBool; cpu::MAX] = [const { AtomicBool::new(false) }; cpu::MAX];

/// Has the virtual timer end the turn of the guest that is about to run on this CPU, or not.
pub fn watch_virtual_timer(is_watched: bool) {
    let cpu = cpu::current();
    if WATCHED[cpu].swap(is_watched, Relaxed) == is_watched {
        return;
    }
    let mut gic = GIC.lock();
    let gic = gic.as_mut().expect("the boot CPU found the GIC first");
    if is_watched {
        enable(gic, cpu, VIRTUAL_TIMER);
    } else {
        gic.enable_interrupt(VIRTUAL_TIMER, Some(cpu), false).expect("the CPU has a redistributor");
    }
}

/// What came, as far as it makes a difference: whoever takes note of interrupts looks for work next in any case.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct Arrived {
    pub schedule_receiver: bool,
}

/// Takes note of every interrupt that is pending.
pub fn acknowledge() -> Arrived {
    let mut arrived = Arrived::default();
    while GicCpuInterface::handle_interrupt(InterruptGroup::Group1, |interrupt| match interrupt {
        TIMER => timer::disarm(),
        KICK | MAINTENANCE | VIRTUAL_TIMER => {}
        other if Some(other) == schedule_receiver() => arrived.schedule_receiver = true,
        other => println!("unexpected interrupt {other:?} ignored"),
    }) {}
    // SAFETY: A barrier: what is looked at next is not read before the interrupt was.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) }
    arrived
}

fn schedule_receiver() -> Option<IntId> {
    private(SCHEDULE_RECEIVER.load(Relaxed))
}

/// The SGI or PPI with this INTID.
fn private(intid: u32) -> Option<IntId> {
    IntId::private().find(|interrupt| interrupt.raw_value() == intid)
}

fn enable(gic: &mut GicV3, cpu: usize, interrupt: IntId) {
    gic.set_group(interrupt, Some(cpu), Group::Group1NS).expect("the CPU has a redistributor");
    gic.set_interrupt_priority(interrupt, Some(cpu), PRIORITY).expect("the CPU has a redistributor");
    gic.enable_interrupt(interrupt, Some(cpu), true).expect("the CPU has a redistributor");
}

/// Lets the other CPUs look for work.
pub fn kick_others() {
    send_kick(SgiTarget::All);
}

/// Ends the turn of the vCPU that runs on `cpu`, which may be this one.
pub fn kick(cpu: usize) {
    // On this machine, a CPU's affinity fields above the first are zero.
    send_kick(SgiTarget::List { affinity3: 0, affinity2: 0, affinity1: 0, target_list: 1 << cpu });
}

fn send_kick(target: SgiTarget) {
    // SAFETY: A barrier: whoever is kicked sees what was written before.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) }
    GicCpuInterface::send_sgi(KICK, target, SgiTargetGroup::CurrentGroup1).expect("the interrupt is an SGI");
}
