//! Calls out of a guest, and a call that watches all registers.

use core::arch::naked_asm;

use ffa_abi::Regs;
use smccc::{Call, Hvc};

/// x0 to x30.
pub type AllRegisters = [u64; 31];

/// How a guest makes a call: by which instruction.
pub type Conduit = unsafe extern "C" fn(&mut AllRegisters);

/// Calls `function` of the hypervisor and returns x0.
pub fn hvc(function: u32, arguments: &[u64]) -> u64 {
    let mut registers = [0; 17];
    registers[..arguments.len()].copy_from_slice(arguments);
    Hvc::call64(function, registers)[0]
}

/// Loads the registers, executes HVC, and stores what it left in them.
pub const HVC: Conduit = hvc_with_all_registers;
/// Loads the registers, executes SMC, and stores what it left in them.
pub const SMC: Conduit = smc_with_all_registers;

macro_rules! call_with_all_registers {
    ($name:ident, $instruction:literal) => {
        /// x0 is stored by the very next instruction, so it keeps its old value if that is skipped.
        ///
        /// # Safety
        /// The call leaves the caller's memory and stack pointer alone.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(registers: &mut AllRegisters) {
            naked_asm!(
                "stp x19, x20, [sp, #-112]!",
                "stp x21, x22, [sp, #16]",
                "stp x23, x24, [sp, #32]",
                "stp x25, x26, [sp, #48]",
                "stp x27, x28, [sp, #64]",
                "stp x29, x30, [sp, #80]",
                "mov x30, x0",
                "ldr x0, [x30]",
                "stp x30, x0, [sp, #96]",
                "ldp x1, x2, [x30, #8 * 1]",
                "ldp x3, x4, [x30, #8 * 3]",
                "ldp x5, x6, [x30, #8 * 5]",
                "ldp x7, x8, [x30, #8 * 7]",
                "ldp x9, x10, [x30, #8 * 9]",
                "ldp x11, x12, [x30, #8 * 11]",
                "ldp x13, x14, [x30, #8 * 13]",
                "ldp x15, x16, [x30, #8 * 15]",
                "ldp x17, x18, [x30, #8 * 17]",
                "ldp x19, x20, [x30, #8 * 19]",
                "ldp x21, x22, [x30, #8 * 21]",
                "ldp x23, x24, [x30, #8 * 23]",
                "ldp x25, x26, [x30, #8 * 25]",
                "ldp x27, x28, [x30, #8 * 27]",
                "ldp x29, x30, [x30, #8 * 29]",
                $instruction,
                "str x0, [sp, #104]",
                "ldr x0, [sp, #96]",
                "stp x1, x2, [x0, #8 * 1]",
                "stp x3, x4, [x0, #8 * 3]",
                "stp x5, x6, [x0, #8 * 5]",
                "stp x7, x8, [x0, #8 * 7]",
                "stp x9, x10, [x0, #8 * 9]",
                "stp x11, x12, [x0, #8 * 11]",
                "stp x13, x14, [x0, #8 * 13]",
                "stp x15, x16, [x0, #8 * 15]",
                "stp x17, x18, [x0, #8 * 17]",
                "stp x19, x20, [x0, #8 * 19]",
                "stp x21, x22, [x0, #8 * 21]",
                "stp x23, x24, [x0, #8 * 23]",
                "stp x25, x26, [x0, #8 * 25]",
                "stp x27, x28, [x0, #8 * 27]",
                "stp x29, x30, [x0, #8 * 29]",
                "ldr x1, [sp, #104]",
                "str x1, [x0]",
                "ldp x21, x22, [sp, #16]",
                "ldp x23, x24, [sp, #32]",
                "ldp x25, x26, [sp, #48]",
                "ldp x27, x28, [sp, #64]",
                "ldp x29, x30, [sp, #80]",
                "ldp x19, x20, [sp], #112",
                "ret",
            )
        }
    };
}

call_with_all_registers!(hvc_with_all_registers, "hvc #0");
call_with_all_registers!(smc_with_all_registers, "smc #0");
call_with_all_registers!(
    smc_between_readings,
    "mrs x28, cntvct_el0
    smc #0
    mrs x27, cntvct_el0"
);

/// Makes a call by SMC, and returns the ticks of the counter that it took: with one tick an instruction, those from the
/// SMC to the return, both included.
pub fn time_smc(regs: &mut Regs) -> u64 {
    let mut registers: AllRegisters = [0; 31];
    registers[..18].copy_from_slice(&regs.0);
    // SAFETY: The hypervisor writes to RX at most, where no Rust object lives.
    unsafe { smc_between_readings(&mut registers) };
    regs.0.copy_from_slice(&registers[..18]);
    // The first reading is an instruction as well.
    registers[27] - registers[28] - 1
}
