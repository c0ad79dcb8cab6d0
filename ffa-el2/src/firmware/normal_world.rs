//! The state in which a CPU leaves for the normal world.

use core::arch::asm;

use arm_sysregs::el0::accessors::{read_cntfrq_el0, write_cntfrq_el0};
use arm_sysregs::el0::registers::CntfrqEl0;
use arm_sysregs::el2::accessors::{write_hcr_el2, write_sctlr_el2};
use arm_sysregs::el2::registers::HcrEl2;
use arm_sysregs::el3::accessors::{write_cptr_el3, write_mdcr_el3, write_scr_el3};
use arm_sysregs::el3::registers::{CptrEl3, MdcrEl3, ScrEl3};
use ffa_el2::boot_map::SCTLR_RES1;

/// Processor state on arrival: EL2 with its own stack pointer, D, A, I and F masked.
pub const EL2_MASKED: u64 = 0b11_1100_1001;
/// Frequency of the counter where reset leaves none: that of QEMU's CPUs.
const COUNTER_HERTZ: u64 = 62_500_000;

/// Sets what EL3 decides about the normal world on this CPU: it may use everything, and its SMCs come here.
pub fn prepare_cpu() {
    let controls = ScrEl3::RES1
        | ScrEl3::NS
        | ScrEl3::RW
        | ScrEl3::HCE
        | ScrEl3::APK
        | ScrEl3::API
        | ScrEl3::ENSCXT
        | ScrEl3::FGTEN
        | ScrEl3::ECVEN
        | ScrEl3::HXEN;
    // SAFETY: None of these changes what EL3 itself may do: its map marks all memory non-secure, and it uses neither
    // floating point nor debug registers.
    unsafe {
        write_scr_el3(controls);
        write_cptr_el3(CptrEl3::empty());
        write_mdcr_el3(MdcrEl3::empty());
    }
    if read_cntfrq_el0().bits() == 0 {
        write_cntfrq_el0(CntfrqEl0::from_bits_retain(COUNTER_HERTZ));
    }
    reset_el2();
}

/// Brings EL2 back to its reset state as far as PSCI promises it: MMU and caches off, nothing trapped.
pub fn reset_el2() {
    // SAFETY: EL2 does not run on this CPU while EL3 does, and is entered afresh afterwards.
    unsafe {
        write_sctlr_el2(SCTLR_RES1);
        write_hcr_el2(HcrEl2::empty());
    }
}

/// Starts the normal world at `entry` with `argument` in x0. Its SMCs use what is left of the stack.
pub fn enter(entry: u64, argument: u64) -> ! {
    // SAFETY: EL2 comes back only through the exception vector, so nothing here is used again. What x4 to x30 hold is no
    // secret: addresses and numbers of this image.
    unsafe {
        asm!(
            "msr elr_el3, x1",
            "msr spsr_el3, x2",
            "mov x1, xzr",
            "mov x2, xzr",
            "mov x3, xzr",
            "eret",
            "dsb nsh",
            "isb",
            in("x0") argument,
            in("x1") entry,
            in("x2") EL2_MASKED,
            options(noreturn),
        )
    }
}
