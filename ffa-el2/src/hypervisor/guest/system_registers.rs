//! A guest that looks whether the system registers that it has are its own.

use core::arch::asm;

use arm_sysregs::el1::accessors::read_id_aa64pfr0_el1;

use super::programs::{FAILED, PASSED};
use super::{conduit, console};
use crate::hypercall::SLEEP;

const MILLISECOND: u64 = 1_000_000;

/// One that EL1 can read and write without a trap, and without an effect while its stage 1 is off.
struct Register {
    name: &'static str,
    read: fn() -> u64,
    write: fn(u64),
}

macro_rules! register {
    ($name:literal) => {
        Register {
            name: $name,
            read: || {
                let value;
                // SAFETY: Reading it has no effect.
                unsafe { asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack)) }
                value
            },
            write: |value: u64| {
                // SAFETY: Nothing in this guest depends on it.
                unsafe { asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nomem, nostack)) }
            },
        }
    };
}

const REGISTERS: [Register; 23] = [
    register!("sp_el0"),
    register!("elr_el1"),
    register!("spsr_el1"),
    register!("vbar_el1"),
    register!("esr_el1"),
    register!("far_el1"),
    register!("afsr0_el1"),
    register!("afsr1_el1"),
    register!("cpacr_el1"),
    register!("tcr_el1"),
    register!("ttbr0_el1"),
    register!("ttbr1_el1"),
    register!("mair_el1"),
    register!("amair_el1"),
    register!("par_el1"),
    register!("contextidr_el1"),
    register!("tpidr_el1"),
    register!("tpidr_el0"),
    register!("tpidrro_el0"),
    register!("csselr_el1"),
    register!("cntkctl_el1"),
    register!("cntv_cval_el0"),
    DISR,
];
/// `DISR_EL1`, the last of them, which only CPUs with the RAS extension have.
const DISR: Register = register!("s3_0_c12_c1_1");

/// Finds all of them zero, gives each a value that depends on `seed`, and finds it there after others have run.
pub fn run(seed: u64) -> u64 {
    let has_disr = read_id_aa64pfr0_el1().ras() != 0;
    let registers = &REGISTERS[..REGISTERS.len() - usize::from(!has_disr)];
    if let Some(Register { name, read, .. }) = registers.iter().find(|register| (register.read)() != 0) {
        console::line(format_args!("{name} is {:#x} at first", read()));
        return FAILED;
    }
    let mut kept = [0; REGISTERS.len()];
    for (number, (register, kept)) in registers.iter().zip(&mut kept).enumerate() {
        (register.write)((seed + number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Not all bits of all of them exist.
        *kept = (register.read)();
    }
    conduit::hvc(SLEEP, &[MILLISECOND]);
    let changed = registers.iter().zip(kept).find(|(register, kept)| (register.read)() != *kept);
    if let Some((Register { name, read, .. }, kept)) = changed {
        console::line(format_args!("{name} changed from {kept:#x} to {:#x}", read()));
        return FAILED;
    }
    console::line(format_args!(
        "{} system registers are zero at first, and keep their values",
        registers.len()
    ));
    PASSED
}
