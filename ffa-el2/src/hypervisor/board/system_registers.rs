//! System registers that a guest does not reach itself: Arm ARM (DDI 0487) section D17.2.37, "ISS encoding for an exception
//! from MSR, MRS, or System instruction execution".

use super::id_registers;
use crate::vcpu::Vcpu;
use crate::virtual_gic::IntIds;

const READ: u64 = 1;
const REGISTER_SHIFT: u32 = 5;
const REGISTER_MASK: u64 = 0x1f;

/// How the instruction names a system register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Name {
    op0: u64,
    op1: u64,
    crn: u64,
    crm: u64,
    op2: u64,
}

impl Name {
    fn from_syndrome(syndrome: u64) -> Self {
        Self {
            op0: syndrome >> 20 & 0b11,
            op1: syndrome >> 14 & 0b111,
            crn: syndrome >> 10 & 0b1111,
            crm: syndrome >> 1 & 0b1111,
            op2: syndrome >> 17 & 0b111,
        }
    }
}

/// INTID that stands for no interrupt.
const NO_INTERRUPT: u64 = 1023;
/// `ICC_SRE_EL1`: system registers only, and neither kind of bypass.
const SRE: u64 = 0b111;

/// Fields of `ICC_SGI1R_EL1`.
const TARGETS_MASK: u64 = 0xffff;
const AFFINITY_1_TO_3: u64 = 0xff << 16 | 0xff << 32 | 0xff << 48;
const RANGE_SELECTOR: u64 = 0xf << 44;
const INTID_SHIFT: u32 = 24;
const INTID_MASK: u64 = 0xf;
const ALL_BUT_SELF: u64 = 1 << 40;
/// The only vCPU is the first one.
const SELF: u64 = 1;

/// Does what the guest's instruction does. Says false if there is no such register.
pub fn access(vcpu: &mut Vcpu, syndrome: u64) -> bool {
    let name = Name::from_syndrome(syndrome);
    let register = (syndrome >> REGISTER_SHIFT & REGISTER_MASK) as usize;
    if syndrome & READ != 0 {
        read(name).map(|value| vcpu.context.set_register(register, value)).is_some()
    } else {
        write(vcpu, name, vcpu.context.register(register))
    }
}

fn read(name: Name) -> Option<u64> {
    match name {
        Name { op0: 3, op1: 0, crn: 0, crm, op2 } => Some(id_registers::value(crm, op2)),
        // ICC_IAR0_EL1 and ICC_HPPIR0_EL1
        Name { op0: 3, op1: 0, crn: 12, crm: 8, op2: 0 | 2 } => Some(NO_INTERRUPT),
        Name { op0: 3, op1: 0, crn: 12, crm: 12, op2: 5 } => Some(SRE),
        _ => is_ignored(name).then_some(0),
    }
}

fn write(vcpu: &mut Vcpu, name: Name, value: u64) -> bool {
    match name {
        // ICC_SGI1R_EL1
        Name { op0: 3, op1: 0, crn: 12, crm: 11, op2: 5 } => {
            let for_self = value & (ALL_BUT_SELF | AFFINITY_1_TO_3 | RANGE_SELECTOR) == 0
                && value & TARGETS_MASK & SELF != 0;
            if for_self {
                let sgi: IntIds = 1 << (value >> INTID_SHIFT & INTID_MASK);
                super::change_gic(&mut vcpu.gic, |gic| gic.pending |= sgi);
            }
            true
        }
        // ICC_ASGI1R_EL1 and ICC_SGI0R_EL1: interrupts of groups that there are not
        Name { op0: 3, op1: 0, crn: 12, crm: 11, op2: 6 | 7 } => true,
        Name { op0: 3, op1: 0, crn: 12, crm: 12, op2: 5 } => true,
        _ => is_ignored(name),
    }
}

/// What reads as zero and ignores writes.
fn is_ignored(name: Name) -> bool {
    match name {
        // Debug registers
        Name { op0: 2, op1: 0, .. } => true,
        // ACTLR_EL1
        Name { op0: 3, op1: 0, crn: 1, crm: 0, op2: 1 } => true,
        // Of group 0: ICC_EOIR0_EL1, ICC_BPR0_EL1, ICC_AP0R<n>_EL1, ICC_IGRPEN0_EL1
        Name { op0: 3, op1: 0, crn: 12, crm: 8, op2: 1 | 3..=7 } => true,
        Name { op0: 3, op1: 0, crn: 12, crm: 12, op2: 6 } => true,
        _ => false,
    }
}
