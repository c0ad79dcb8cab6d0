//! Synchronous exceptions that a guest takes at EL1 since EL2 says so. The guest's registers of EL1 are in this CPU.

use arm_sysregs::el1::accessors::{
    read_sctlr_el1, read_vbar_el1, write_elr_el1, write_esr_el1, write_far_el1, write_spsr_el1,
};
use arm_sysregs::el1::registers::{ElrEl1, EsrEl1, FarEl1, SctlrEl1, SpsrEl1};

use crate::vcpu::EL1_MASKED;

/// Exception classes of aborts end in 1 if the exception level is that which takes the exception. Arm ARM (DDI 0487)
/// section D17.2.37.
const SAME_LEVEL: u64 = 1 << 26;
/// What else of an abort's syndrome is the same at EL1: the class, the length of the instruction, and whether it wrote.
const KEPT_OF_ABORT: u64 = 0x3f << 26 | 1 << 25 | 1 << 6;
/// Fault status of a synchronous external abort that is not on a table walk.
pub const EXTERNAL: u64 = 0b01_0000;
/// Bits of a fault status.
pub const STATUS: u64 = 0b11_1111;
/// The syndrome of an instruction that there is not: class 0, 32 bits long.
const UNDEFINED: u64 = 1 << 25;

/// How a processor state tells where it is.
const AARCH32: u64 = 1 << 4;
const LEVEL: u64 = 0b11 << 2;
const OWN_STACK: u64 = 1;
/// No accesses to memory of EL0; set by exceptions, unless EL1 wants it left alone.
const PAN: u64 = 1 << 22;
/// What exceptions leave alone: the condition flags, PAN and DIT. Arm ARM (DDI 0487) section D1.3.
const KEPT_OF_STATE: u64 = 0b1111 << 28 | PAN | 1 << 24;

/// Vectors of synchronous exceptions, from `VBAR_EL1`.
const FROM_EL1_SP0: u64 = 0x000;
const FROM_EL1: u64 = 0x200;
const FROM_EL0: u64 = 0x400;
const FROM_EL0_AARCH32: u64 = 0x600;

/// Where a guest goes on, and in which processor state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    pub pc: u64,
    pub processor_state: u64,
}

impl Place {
    /// Where the guest goes on if there is no such instruction as the one that it is at.
    pub fn after_undefined_instruction(self) -> Self {
        self.after(UNDEFINED)
    }

    /// Where it goes on if nothing answers at the address that it used, which is `address` to it. `syndrome` is that of the
    /// abort that EL2 took for it.
    pub fn after_external_abort(self, syndrome: u64, address: u64) -> Self {
        // SAFETY: What EL1 finds of an exception: it can hurt nobody but the guest.
        unsafe { write_far_el1(FarEl1::from_bits_retain(address)) }
        let class = if self.is_at_el1() { SAME_LEVEL } else { 0 };
        self.after(syndrome & KEPT_OF_ABORT | class | EXTERNAL)
    }

    fn after(self, syndrome: u64) -> Self {
        let Self { pc, processor_state } = self;
        let vector = match processor_state {
            state if self.is_at_el1() && state & OWN_STACK != 0 => FROM_EL1,
            _ if self.is_at_el1() => FROM_EL1_SP0,
            state if state & AARCH32 == 0 => FROM_EL0,
            _ => FROM_EL0_AARCH32,
        };
        // SAFETY: As above.
        unsafe {
            write_elr_el1(ElrEl1::from_bits_retain(pc));
            write_spsr_el1(SpsrEl1::from_bits_retain(processor_state));
            write_esr_el1(EsrEl1::from_bits_retain(syndrome));
        }
        let pan = if read_sctlr_el1().contains(SctlrEl1::SPAN) { 0 } else { PAN };
        Self {
            // The guest chose its vectors: behind the last address must not be an overflow here.
            pc: read_vbar_el1().bits().wrapping_add(vector),
            processor_state: EL1_MASKED | processor_state & KEPT_OF_STATE | pan,
        }
    }

    fn is_at_el1(self) -> bool {
        self.processor_state & AARCH32 == 0 && self.processor_state & LEVEL != 0
    }
}
