//! Making every CPU forget stage-2 translations.

use core::arch::asm;
use core::ops::Range;

use arm_sysregs::el2::accessors::{read_vttbr_el2, write_vttbr_el2};
use arm_sysregs::el2::registers::VttbrEl2;

/// Beyond this many operations it is cheaper to forget the whole VM.
const MAX_OPERATIONS: usize = 64;

/// Forgets what was translated for the VM of `vttbr` in `ipas`, which was mapped in pieces of `granule` bytes. When this
/// returns, no CPU can use the old translations.
///
/// The VM need not be the current one: TLB maintenance goes by the VMID in `VTTBR_EL2`, so that is changed meanwhile. No
/// guest runs on this CPU until it is changed back.
pub fn forget_range(vttbr: VttbrEl2, ipas: Range<u64>, granule: usize) {
    if (ipas.end - ipas.start) as usize / granule > MAX_OPERATIONS {
        return forget_vm(vttbr);
    }
    with_vttbr(vttbr, || {
        for ipa in ipas.step_by(granule) {
            // SAFETY: TLB maintenance never changes what translations say.
            unsafe { asm!("tlbi ipas2e1is, {}", in(reg) ipa >> 12, options(nostack, preserves_flags)) }
        }
        // Entries that combine both stages are not found by IPA, so all of the VM's go; but only after the barrier, or
        // they could be filled again from the old stage 2.
        // SAFETY: As above.
        unsafe { asm!("dsb ish", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags)) }
    });
}

/// Forgets everything that was translated for the VM of `vttbr`.
pub fn forget_vm(vttbr: VttbrEl2) {
    with_vttbr(vttbr, || {
        // SAFETY: TLB maintenance never changes what translations say.
        unsafe { asm!("tlbi vmalls12e1is", "dsb ish", "isb", options(nostack, preserves_flags)) }
    });
}

/// Lets page-table walks of all CPUs see what was written into tables before. Enough where nothing was mapped.
pub fn publish() {
    // SAFETY: Barriers.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) }
}

fn with_vttbr(vttbr: VttbrEl2, maintain: impl FnOnce()) {
    publish();
    let current = read_vttbr_el2();
    set_vttbr(vttbr);
    maintain();
    set_vttbr(current);
}

fn set_vttbr(vttbr: VttbrEl2) {
    // SAFETY: It translates for EL1 and EL0 only, and none of those runs now: nothing walks the table, which may be gone if
    // this is put back after its VM's end. Before a guest runs, the scheduler sets that of its VM.
    unsafe { write_vttbr_el2(vttbr) }
    // SAFETY: A barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) }
}
