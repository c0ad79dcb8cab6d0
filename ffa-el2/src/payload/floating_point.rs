//! The registers that the compiler never uses here: so a value stays there until it is looked for.

use core::arch::asm;

use ffa_el2::clock;

use crate::interrupts;

/// Long enough for every other guest to have run.
const WHILE: u64 = 30_000_000;

/// A pair of vector registers and `FPSR` keep what is in them, which no other guest has chosen.
pub fn is_kept() -> bool {
    let value = clock::now();
    write(value);
    interrupts::sleep(WHILE);
    read() == [value, !value, SATURATED]
}

/// `FPSR.QC`, an instruction has saturated.
const SATURATED: u64 = 1 << 27;

fn write(value: u64) {
    // SAFETY: Nothing else in this image uses these registers.
    unsafe {
        asm!(
            ".arch_extension fp",
            "fmov d0, {value}",
            "fmov v31.d[1], {inverse}",
            "msr fpsr, {saturated}",
            ".arch_extension nofp",
            value = in(reg) value,
            inverse = in(reg) !value,
            saturated = in(reg) SATURATED,
            options(nomem, nostack, preserves_flags),
        );
    }
}

fn read() -> [u64; 3] {
    let (first, last, status): (u64, u64, u64);
    // SAFETY: Reading them has no effect.
    unsafe {
        asm!(
            ".arch_extension fp",
            "fmov {first}, d0",
            "fmov {last}, v31.d[1]",
            "mrs {status}, fpsr",
            ".arch_extension nofp",
            first = out(reg) first,
            last = out(reg) last,
            status = out(reg) status,
            options(nomem, nostack, preserves_flags),
        );
    }
    [first, last, status]
}
