//! What the ID registers say to a guest with a board: an Armv8 CPU without what is not switched with a vCPU, or not
//! emulated: SVE, SME, MTE, pointer authentication, RAS, AMU, MPAM, PMU, nested virtualisation, AArch32.
//!
//! Of each register only the fields below are shown, as far as this CPU has them; the architecture has zero mean "not
//! there" for all others. Arm ARM (DDI 0487) section D17.2.

use arm_sysregs::el1::accessors::{
    read_id_aa64isar0_el1, read_id_aa64isar1_el1, read_id_aa64mmfr0_el1, read_id_aa64mmfr1_el1,
    read_id_aa64mmfr2_el1, read_id_aa64pfr0_el1,
};

/// A field of 4 bits, and the highest value that is shown.
struct Field {
    shift: u32,
    most: u64,
}

const fn any(shift: u32) -> Field {
    Field { shift, most: MASK }
}

const fn up_to(most: u64, shift: u32) -> Field {
    Field { shift, most }
}

const MASK: u64 = 0xf;

/// FP, AdvSIMD, DIT, CSV2 without SCXTNUM, CSV3.
const PFR0: &[Field] = &[any(16), any(20), any(48), up_to(1, 56), any(60)];
/// EL0 and EL1 in AArch64 only, and the system registers of the GIC.
const PFR0_FIXED: u64 = 1 | 1 << 4 | 1 << 24;
/// The debug architecture of Armv8, whose registers read as zero; two breakpoints, since there are no fewer.
const DFR0: u64 = 6 | 1 << 12;
/// AES, SHA1, SHA2, CRC32, Atomic, RDM, SHA3, SM3, SM4, DP, FHM, TS, TLB.
const ISAR0: &[Field] = &[
    any(4),
    any(8),
    any(12),
    any(16),
    any(20),
    any(28),
    any(32),
    any(36),
    any(40),
    any(44),
    any(48),
    any(52),
    any(56),
];
/// DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, BF16, DGH, I8MM.
const ISAR1: &[Field] = &[any(0), any(12), any(16), any(20), any(32), any(36), any(44), any(48), any(52)];
/// ASIDBits, BigEnd, BigEndEL0; granules of 16, 64 and 4 KiB, without 52-bit addresses.
const MMFR0: &[Field] = &[any(4), any(8), any(16), up_to(1, 20), any(24)];
/// Physical addresses have 36 bits, which is less than stage 2 has.
const MMFR0_FIXED: u64 = 1;
/// HAFDBS, HPDS, PAN.
const MMFR1: &[Field] = &[up_to(2, 0), up_to(2, 12), up_to(3, 20)];
/// CnP, UAO, AT.
const MMFR2: &[Field] = &[any(0), any(4), any(32)];

/// The value of the register with this CRm and op2; those of AArch32, and what is not known yet, are zero.
pub fn value(crm: u64, op2: u64) -> u64 {
    match (crm, op2) {
        (4, 0) => shown(read_id_aa64pfr0_el1().bits(), PFR0) | PFR0_FIXED,
        (5, 0) => DFR0,
        (6, 0) => shown(read_id_aa64isar0_el1().bits(), ISAR0),
        (6, 1) => shown(read_id_aa64isar1_el1().bits(), ISAR1),
        (7, 0) => shown(read_id_aa64mmfr0_el1().bits(), MMFR0) | MMFR0_FIXED,
        (7, 1) => shown(read_id_aa64mmfr1_el1().bits(), MMFR1),
        (7, 2) => shown(read_id_aa64mmfr2_el1().bits(), MMFR2),
        _ => 0,
    }
}

fn shown(value: u64, fields: &[Field]) -> u64 {
    fields.iter().fold(0, |shown, field| shown | (value >> field.shift & MASK).min(field.most) << field.shift)
}
