//! Exceptions that this takes, and those that it expects.

use core::arch::asm;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use aarch64_rt::{ExceptionHandlers, RegisterStateRef, exception_handlers};
use arm_sysregs::el1::accessors::{read_esr_el1, read_far_el1};

use crate::interrupts;

exception_handlers!(Exceptions);

struct Exceptions;

/// The class of exception that is expected, and how many there were; or [`NONE`].
static EXPECTED: AtomicU64 = AtomicU64::new(NONE);
static TAKEN: AtomicU64 = AtomicU64::new(0);
const NONE: u64 = u64::MAX;

/// Exception classes. Arm ARM (DDI 0487) section D17.2.37.
const UNKNOWN: u64 = 0x00;
const DATA_ABORT: u64 = 0x25;
const CLASS_SHIFT: u32 = 26;
const INSTRUCTION_BYTES: usize = 4;

impl ExceptionHandlers for Exceptions {
    extern "C" fn sync_current(mut state: RegisterStateRef) {
        let syndrome = read_esr_el1().bits();
        if syndrome >> CLASS_SHIFT != EXPECTED.load(Relaxed) {
            panic!("exception {syndrome:#x} at {:#x}, address {:#x}", state.elr, read_far_el1().bits());
        }
        TAKEN.fetch_add(1, Relaxed);
        // SAFETY: The next instruction. Of the one before, whoever expected the exception uses no result.
        unsafe { state.get_mut() }.elr += INSTRUCTION_BYTES;
    }

    extern "C" fn irq_current(_: RegisterStateRef) {
        interrupts::take();
    }
}

/// How many exceptions of `class` there are while `attempt` runs. Others are the end.
fn count(class: u64, attempt: impl FnOnce()) -> u64 {
    TAKEN.store(0, Relaxed);
    EXPECTED.store(class, Relaxed);
    attempt();
    EXPECTED.store(NONE, Relaxed);
    TAKEN.load(Relaxed)
}

/// Whether `attempt`, one load or store, is aborted.
pub fn is_aborted(attempt: impl FnOnce()) -> bool {
    count(DATA_ABORT, attempt) > 0
}

/// The performance monitor, and a lock of limited-ordering regions.
pub fn of_undefined_instruction() -> bool {
    let taken = count(UNKNOWN, || {
        // SAFETY: They change no register that is used.
        unsafe {
            asm!("mrs {0}, pmcr_el0", "msr s3_0_c10_c4_3, {0}", out(reg) _, options(nomem, nostack, preserves_flags));
        }
    });
    taken == 2
}

/// Between devices, behind memory; and in a device, but of two registers.
pub fn of_nowhere() -> bool {
    const NOWHERE: usize = 0x0a00_0000;
    const SERIAL_PORT: usize = ffa_el2::machine::UART;
    let taken = count(DATA_ABORT, || {
        // SAFETY: Nothing is there, so nothing is changed; what is loaded is not used.
        unsafe {
            asm!(
                "ldr {value}, [{nowhere}]",
                "str {value}, [{nowhere}]",
                "ldp {value}, {other}, [{serial_port}]",
                nowhere = in(reg) NOWHERE,
                serial_port = in(reg) SERIAL_PORT,
                value = out(reg) _,
                other = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    });
    taken == 3
}
