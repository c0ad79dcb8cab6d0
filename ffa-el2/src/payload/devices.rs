//! What the hypervisor does in place of a device, or of a system register.

use core::arch::asm;

use arm_sysregs::el1::accessors::{
    read_id_aa64dfr0_el1, read_id_aa64isar1_el1, read_id_aa64mmfr0_el1, read_id_aa64pfr0_el1,
    read_id_aa64pfr1_el1,
};
use ffa_el2::machine::GIC_REDISTRIBUTORS;

/// `GICR_IPRIORITYR<n>`, of interrupts that nobody else here uses: 4 to 11.
const PRIORITIES: usize = GIC_REDISTRIBUTORS + 0x1_0400 + 4;

/// Fields of ID registers that are wider than a bit have 4.
const FIELD: u64 = 0xf;

pub fn id_registers_are_modest() -> bool {
    let pfr0 = read_id_aa64pfr0_el1().bits();
    // RAS, SVE, MPAM, AMU.
    let absent = [28, 32, 40, 44].iter().all(|shift| pfr0 >> shift & FIELD == 0);
    // EL0 and EL1 in AArch64 only, and nothing above.
    let levels = pfr0 & 0xffff == 0x0011;
    // MTE, SME.
    let pfr1 = [8, 24].iter().all(|shift| read_id_aa64pfr1_el1().bits() >> shift & FIELD == 0);
    // APA, API, GPA, GPI: pointer authentication.
    let isar1 = [4, 8, 24, 28].iter().all(|shift| read_id_aa64isar1_el1().bits() >> shift & FIELD == 0);
    // The debug architecture of Armv8, and no PMU.
    let dfr0 = read_id_aa64dfr0_el1().bits() & 0xfff == 6;
    // 36 bits.
    let mmfr0 = read_id_aa64mmfr0_el1().bits() & FIELD == 1;
    absent && levels && pfr1 && isar1 && dfr0 && mmfr0
}

pub fn debug_registers_are_zero() -> bool {
    let value: u64;
    // SAFETY: Without breakpoints that are enabled, this changes nothing.
    unsafe {
        asm!(
            "msr mdscr_el1, {ones}",
            "msr dbgbvr0_el1, {ones}",
            "mrs {value}, dbgbvr0_el1",
            "mrs {other}, mdscr_el1",
            "orr {value}, {value}, {other}",
            ones = in(reg) u64::MAX,
            value = out(reg) value,
            other = out(reg) _,
            options(nomem, nostack, preserves_flags),
        );
    }
    value == 0
}

/// Bytes of priorities, stored and loaded in every way; each load fills the register as it should.
pub fn accesses_have_sizes() -> bool {
    let (byte, half, word, double, signed, signed_word, after_zero): (u64, u64, u64, u64, u64, u64, u64);
    // SAFETY: The interrupts are neither enabled nor used.
    unsafe {
        asm!(
            "str {pattern:w}, [{registers}]",
            "strb {pattern:w}, [{registers}, #4]",
            "strh {pattern:w}, [{registers}, #6]",
            "ldrb {byte:w}, [{registers}, #3]",
            "ldrh {half:w}, [{registers}, #6]",
            "ldr {word:w}, [{registers}]",
            "ldr {double}, [{registers}]",
            "ldrsb {signed}, [{registers}, #3]",
            "ldrsh {signed_word:w}, [{registers}, #2]",
            "str xzr, [{registers}]",
            "ldr {after_zero}, [{registers}]",
            registers = in(reg) PRIORITIES,
            pattern = in(reg) 0x9080_7060_u64,
            byte = out(reg) byte,
            half = out(reg) half,
            word = out(reg) word,
            double = out(reg) double,
            signed = out(reg) signed,
            signed_word = out(reg) signed_word,
            after_zero = out(reg) after_zero,
            options(nostack, preserves_flags),
        );
    }
    // The middle one of the second word was never stored to.
    let second = double >> 32 & !0xff00;
    (byte, half, word, second) == (0x90, 0x7060, 0x9080_7060, 0x7060_0060)
        && (signed, signed_word, after_zero) == (0xffff_ffff_ffff_ff90, 0xffff_9080, 0)
}
