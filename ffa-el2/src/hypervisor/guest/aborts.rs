//! Aborts of a guest that uses memory which it has given up.

use arm_sysregs::el1::accessors::read_esr_el1;

use super::{layout, memory};
use crate::guest_exception::{EXTERNAL, STATUS};

/// Class of a data abort that EL1 takes from itself.
const DATA_ABORT: u64 = 0x25;
const CLASS_SHIFT: u32 = 26;

/// Called by the vector: takes an external abort of a load or a store. Says false if it is another exception.
pub fn take() -> bool {
    let syndrome = read_esr_el1().bits();
    let is_ours = syndrome >> CLASS_SHIFT == DATA_ABORT && syndrome & STATUS == EXTERNAL;
    if is_ours {
        memory::write(layout::ABORTS, memory::read(layout::ABORTS) + 1);
    }
    is_ours
}

/// Whether `access` was aborted. The vectors of [`interrupts::start`](super::interrupts::start) are in use.
pub fn are_caused_by(access: impl FnOnce()) -> bool {
    let before = memory::read(layout::ABORTS);
    access();
    memory::read(layout::ABORTS) == before + 1
}
