//! Guests that do what no guest should. Whatever that is, it ends the guest that does it, and harms nobody else.

use core::arch::naked_asm;

use super::programs::FAILED;
use crate::hypercall::EXIT;
use crate::vcpu::Stop;

/// Something that no guest should do.
pub struct Act {
    pub name: &'static str,
    act: unsafe extern "C" fn() -> !,
    /// How the guest ends by it.
    pub end: Stop,
}

/// Where EL1 goes on after an exception of its own: it has no memory at its vectors, which are at 0 after reset.
const OWN_EXCEPTION: Stop = Stop::MemoryFault(0x200);
const LONG_INSTRUCTION: u64 = 1 << 25;

/// `act!("name", how it ends, "instructions"…)`: executes them with all bits set in all registers, the stack pointer too.
macro_rules! act {
    ($name:literal, $end:expr, $($instruction:literal),+) => {{
        #[unsafe(naked)]
        unsafe extern "C" fn act() -> ! {
            naked_asm!(
                r".irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
                r"mov x\number, #-1",
                ".endr",
                "mov sp, x0",
                $($instruction,)+
                // It went on.
                "movz w0, #{exit_high}, lsl #16",
                "movk w0, #{exit_low}",
                "mov x1, #{failed}",
                "hvc #0",
                exit_high = const EXIT >> 16,
                exit_low = const EXIT & 0xffff,
                failed = const FAILED,
            )
        }
        Act { name: concat!($name, " ends the guest"), act, end: $end }
    }};
}

/// What they do.
pub const ACTS: [Act; 15] = [
    act!("HVC with an immediate", unsupported(0x16, 1), "hvc #1"),
    act!("SMC with an immediate", unsupported(0x17, 0xffff), "smc #0xffff"),
    act!("a breakpoint", unsupported(0x3c, 0), "brk #0"),
    act!("an undefined instruction", OWN_EXCEPTION, "udf #0"),
    act!("a jump to an odd address", OWN_EXCEPTION, "br x30"),
    act!(
        "a return to EL2",
        OWN_EXCEPTION,
        "mov x0, #0x3c9",
        "msr spsr_el1, x0",
        "adr x0, 2f",
        "msr elr_el1, x0",
        "eret",
        "2:"
    ),
    act!(
        "a return to EL0 in AArch32",
        Stop::MemoryFault(0x1000),
        "mov x0, #0x1d0",
        "msr spsr_el1, x0",
        "mov x0, #0x1000",
        "msr elr_el1, x0",
        "eret"
    ),
    act!("memory behind the last IPA", Stop::MemoryFault(1 << 40), "mov x0, #1 << 40", "ldr x0, [x0]"),
    act!("an interrupt for another CPU", writes(3, 0, 12, 11, 5), "msr s3_0_c12_c11_5, x0"),
    act!("a debug register", writes(2, 0, 0, 2, 2), "msr s2_0_c0_c2_2, x0"),
    act!("the performance monitor", writes(3, 3, 9, 12, 0), "msr s3_3_c9_c12_0, x0"),
    act!("the physical timer", writes(3, 3, 14, 2, 1), "msr s3_3_c14_c2_1, x0"),
    act!("the list of error records", reads(3, 0, 5, 3, 0), "mrs x0, s3_0_c5_c3_0"),
    act!("a limited-ordering region", writes(3, 0, 10, 4, 3), "msr s3_0_c10_c4_3, x0"),
    act!("a key for pointers", writes(3, 0, 2, 1, 0), "msr s3_0_c2_c1_0, x0"),
];

/// Does the act, by its position.
pub fn run(act: u8) -> ! {
    // SAFETY: It needs no memory of this guest, and does not return.
    unsafe { (ACTS[usize::from(act)].act)() }
}

/// A trap of this exception class that nobody emulates.
const fn unsupported(class: u64, syndrome: u64) -> Stop {
    Stop::Unsupported(class << 26 | LONG_INSTRUCTION | syndrome)
}

/// The trap of a write from x0 to a system register. Arm ARM (DDI 0487) section D17.2.37, "ISS encoding for an exception from
/// MSR, MRS, or System instruction execution in AArch64 state".
const fn writes(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> Stop {
    unsupported(0x18, op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1)
}

/// The trap of a read into x0.
const fn reads(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> Stop {
    unsupported(0x18, op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1 | 1)
}
