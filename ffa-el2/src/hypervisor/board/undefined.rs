//! The exception that a guest takes for an instruction that it does not have.

use arm_sysregs::el1::accessors::{
    read_sctlr_el1, read_vbar_el1, write_elr_el1, write_esr_el1, write_spsr_el1,
};
use arm_sysregs::el1::registers::{ElrEl1, EsrEl1, SctlrEl1, SpsrEl1};

use crate::vcpu::{Context, EL1_MASKED};

/// Exception class 0, unknown reason, of an instruction of 32 bits.
const UNKNOWN: u64 = 1 << 25;

/// In a processor state: the exception level, and which stack pointer it uses.
const LEVEL: u64 = 0b11 << 2;
const OWN_STACK: u64 = 1;
/// No accesses to memory of EL0; set by exceptions, unless EL1 wants it left alone.
const PAN: u64 = 1 << 22;
/// What exceptions leave alone: the condition flags, PAN and DIT. Arm ARM (DDI 0487) section D1.3.
const KEPT: u64 = 0b1111 << 28 | PAN | 1 << 24;

/// Vectors of synchronous exceptions, from `VBAR_EL1`.
const FROM_EL1_SP0: u64 = 0x000;
const FROM_EL1: u64 = 0x200;
const FROM_EL0: u64 = 0x400;

/// Lets the guest, whose system registers are in this CPU, go on at its vector for it.
pub fn deliver(context: &mut Context) {
    let state = context.processor_state;
    let vector = match (state & LEVEL != 0, state & OWN_STACK != 0) {
        (true, true) => FROM_EL1,
        (true, false) => FROM_EL1_SP0,
        (false, _) => FROM_EL0,
    };
    // SAFETY: What EL1 finds of an exception: it can hurt nobody but the guest.
    unsafe {
        write_elr_el1(ElrEl1::from_bits_retain(context.pc));
        write_spsr_el1(SpsrEl1::from_bits_retain(state));
        write_esr_el1(EsrEl1::from_bits_retain(UNKNOWN));
    }
    let pan = if read_sctlr_el1().contains(SctlrEl1::SPAN) { 0 } else { PAN };
    context.processor_state = EL1_MASKED | state & KEPT | pan;
    // The guest chose where its vectors are.
    context.pc = read_vbar_el1().bits().wrapping_add(vector);
}
