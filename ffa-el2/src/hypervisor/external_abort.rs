//! The abort that a guest takes when it uses memory that it has lent or donated: a synchronous external abort, as for
//! an address where nothing answers.

use arm_sysregs::el1::accessors::{
    read_vbar_el1, write_elr_el1, write_esr_el1, write_far_el1, write_spsr_el1,
};
use arm_sysregs::el1::registers::{ElrEl1, EsrEl1, FarEl1, SpsrEl1};
use arm_sysregs::el2::accessors::{read_elr_el2, read_far_el2, read_spsr_el2, write_elr_el2, write_spsr_el2};
use arm_sysregs::el2::registers::{ElrEl2, SpsrEl2};

/// Exception classes end in 1 if the exception level is that which takes the exception. Arm ARM (DDI 0487) section D17.2.37.
const SAME_LEVEL: u64 = 1 << 26;
/// What else of the syndrome is the same at EL1: the class, the length of the instruction, and whether it wrote.
const KEPT: u64 = 0x3f << 26 | 1 << 25 | 1 << 6;
/// Fault status of a synchronous external abort that is not on a table walk.
pub const EXTERNAL: u64 = 0b01_0000;
/// Bits of a fault status.
pub const STATUS: u64 = 0b11_1111;

/// Processor states: EL1 with its own stack pointer, D, A, I and F masked; how a state tells where it is.
const EL1_MASKED: u64 = 0b11_1100_0101;
const AARCH32: u64 = 1 << 4;
const LEVEL: u64 = 0b11 << 2;
const OWN_STACK: u64 = 1;

/// Vectors of synchronous exceptions, from `VBAR_EL1`.
const FROM_EL1_SP0: u64 = 0x000;
const FROM_EL1: u64 = 0x200;
const FROM_EL0: u64 = 0x400;
const FROM_EL0_AARCH32: u64 = 0x600;

/// Lets the guest that runs on this CPU go on at its vectors. `syndrome` is that of the abort that EL2 took for it.
pub fn deliver(syndrome: u64) {
    let state = read_spsr_el2().bits();
    let from_el1 = state & AARCH32 == 0 && state & LEVEL != 0;
    let vector = match state {
        _ if from_el1 && state & OWN_STACK != 0 => FROM_EL1,
        _ if from_el1 => FROM_EL1_SP0,
        _ if state & AARCH32 == 0 => FROM_EL0,
        _ => FROM_EL0_AARCH32,
    };
    let class = if from_el1 { SAME_LEVEL } else { 0 };
    let at_el1 = syndrome & KEPT | class | EXTERNAL;
    // The guest chose its vectors: behind the last address must not be an overflow here.
    let entry = read_vbar_el1().bits().wrapping_add(vector);
    // SAFETY: What EL1 finds of an exception, and where it goes on: it can hurt nobody but the guest.
    unsafe {
        write_elr_el1(ElrEl1::from_bits_retain(read_elr_el2().bits()));
        write_spsr_el1(SpsrEl1::from_bits_retain(state));
        write_far_el1(FarEl1::from_bits_retain(read_far_el2().bits()));
        write_esr_el1(EsrEl1::from_bits_retain(at_el1));
        write_elr_el2(ElrEl2::from_bits_retain(entry));
        write_spsr_el2(SpsrEl2::from_bits_retain(EL1_MASKED));
    }
}
