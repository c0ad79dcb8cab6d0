//! Copies between EL2 and the physical memory of guests.
//!
//! A guest may write at any moment, so no Rust reference to its memory exists.

use core::arch::asm;

use arm_sysregs::el0::accessors::read_ctr_el0;
use ffa_el2::physical;

use crate::frames::{PAGE, POOL, Run};

// `arm-sysregs` leaves this one out.
arm_sysregs::read_sysreg!(dczid_el0, u64, safe);
/// `DCZID_EL0`: DC ZVA is not allowed.
const PROHIBITED: u64 = 1 << 4;
/// `DCZID_EL0`: logarithm of the words of 4 bytes that DC ZVA clears.
const BLOCK_SIZE: u64 = 0b1111;

/// What [`is_clear`] reads at a time.
const CHUNK: usize = size_of::<u128>();

/// Fills the pages of `run` with zeros.
pub fn clear(run: Run) {
    check(run);
    let size = read_dczid_el0();
    assert!(size & PROHIBITED == 0, "EL2 may use DC ZVA on every CPU");
    let line = 4_usize << (size & BLOCK_SIZE);
    assert!(run.address.is_multiple_of(PAGE) && run.bytes.is_multiple_of(PAGE) && PAGE.is_multiple_of(line));
    let mut address = run.address;
    while address < run.address + run.bytes {
        // SAFETY: `check` found the run in the pool, which EL2 maps for writing as normal memory; it is a whole number
        // of lines. No Rust object is there.
        unsafe { asm!("dc zva, {}", in(reg) address, options(nostack, preserves_flags)) }
        address += line;
    }
}

/// Whether the pages of `run` hold nothing but zeros.
pub fn is_clear(run: Run) -> bool {
    check(run);
    assert!(run.address.is_multiple_of(PAGE) && run.bytes.is_multiple_of(PAGE));
    (run.address..run.address + run.bytes).step_by(CHUNK).all(|address| {
        // SAFETY: `check` found the run in the pool, which EL2 maps; the address is a multiple of `CHUNK`.
        (unsafe { (address as *const u128).read_volatile() }) == 0
    })
}

/// Copies the start of the memory of `run` to `target`, which is not longer.
pub fn read(run: Run, target: &mut [u8]) {
    check(run);
    assert!(target.len() <= run.bytes);
    // SAFETY: `check` found the run in the pool, which EL2 maps. No Rust object is there.
    unsafe { physical::read(run.address, target) }
}

/// Copies `source` to the start of the memory of `run`, which has room for it.
pub fn write(run: Run, source: &[u8]) {
    check(run);
    assert!(source.len() <= run.bytes);
    // SAFETY: As in `read`, and EL2 maps the pool for writing.
    unsafe { physical::write(run.address, source) }
}

/// Lets whoever does not look into caches see what was written to the memory of `run`.
pub fn publish(run: Run) {
    check(run);
    let line = 4_usize << read_ctr_el0().dminline();
    let mut address = run.address - run.address % line;
    while address < run.address + run.bytes {
        // SAFETY: Cleaning a cache changes no memory.
        unsafe { asm!("dc cvac, {}", in(reg) address, options(nostack, preserves_flags)) }
        address += line;
    }
    // SAFETY: A barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) }
}

/// Lets every CPU execute what was written to the memory of `run`, not what its instruction cache knows of it.
pub fn publish_code(run: Run) {
    check(run);
    let line = 4_usize << read_ctr_el0().dminline();
    let mut address = run.address - run.address % line;
    while address < run.address + run.bytes {
        // SAFETY: Cleaning a cache changes no memory.
        unsafe { asm!("dc cvau, {}", in(reg) address, options(nostack, preserves_flags)) }
        address += line;
    }
    // SAFETY: Cache maintenance and barriers.
    unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) }
}

fn check(run: Run) {
    assert!(run.address >= POOL.start && run.address + run.bytes <= POOL.end, "{run:x?} is not guest memory");
}
