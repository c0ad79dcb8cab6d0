//! Interrupts of a guest: taking them, counting them, and waiting for them.

use arm_gic::gicv3::GicCpuInterface;
use arm_gic::{InterruptGroup, irq_disable, irq_enable, wfi};
use arm_sysregs::el0::accessors::{read_cntfrq_el0, read_cntvct_el0};
use arm_sysregs::el1::accessors::write_vbar_el1;
use arm_sysregs::el1::registers::VbarEl1;
use ffa_hyp_glue::GuestInterrupts;

use super::{layout, memory};

/// INTID of the notification pending interrupt.
pub const NOTIFICATION_PENDING: u32 = GuestInterrupts::SGI.notification_pending;
/// INTID of the schedule receiver interrupt.
pub const SCHEDULE_RECEIVER: u32 = GuestInterrupts::SGI.schedule_receiver;

const LOWEST_PRIORITY: u8 = 0xff;
const MICROSECONDS_PER_SECOND: u64 = 1_000_000;
const WORD: u64 = size_of::<u64>() as u64;

/// Lets the guest take interrupts from now on.
pub fn start() {
    unsafe extern "C" {
        static vector_table_el1: u8;
    }
    // SAFETY: That table, which `exception_handlers!` makes, handles each kind of exception.
    unsafe { write_vbar_el1(VbarEl1::from_bits_retain((&raw const vector_table_el1).addr() as u64)) }
    unmask_priorities();
    GicCpuInterface::enable_group1(true);
    irq_enable();
}

/// Lets interrupts of every priority through.
pub fn unmask_priorities() {
    GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
}

/// Called by the vector: takes every interrupt that is pending.
pub fn take() {
    while GicCpuInterface::handle_interrupt(InterruptGroup::Group1, |interrupt| {
        let word = word_of(interrupt.raw_value());
        memory::write(word, memory::read(word) + 1);
    }) {}
}

/// How often the SGI or PPI `intid` was taken.
pub fn taken(intid: u32) -> u64 {
    memory::read(word_of(intid))
}

/// Counts `intid` from zero again.
pub fn forget(intid: u32) {
    memory::write(word_of(intid), 0);
}

/// How many interrupts were taken.
pub fn all_taken() -> u64 {
    memory::words(layout::INTERRUPTS).map(memory::read).sum()
}

/// Waits until `intid` was taken `times` times, but not much longer than `microseconds`. Returns whether it was.
///
/// Interrupts are masked between the look and the WFI, which a pending one ends all the same: none is missed.
pub fn wait_for(intid: u32, times: u64, microseconds: u64) -> bool {
    let limit = after(microseconds);
    loop {
        irq_disable();
        let is_there = taken(intid) >= times;
        if !is_there && read_cntvct_el0().bits() < limit {
            wfi();
        }
        irq_enable();
        if is_there || read_cntvct_el0().bits() >= limit {
            return taken(intid) >= times;
        }
    }
}

/// The value of the virtual counter in so many microseconds.
pub fn after(microseconds: u64) -> u64 {
    read_cntvct_el0().bits() + read_cntfrq_el0().bits() / MICROSECONDS_PER_SECOND * microseconds
}

fn word_of(intid: u32) -> u64 {
    layout::INTERRUPTS.start + u64::from(intid) * WORD
}
