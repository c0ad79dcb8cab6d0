//! The page table that is in force from before the first line of Rust: identity, in blocks of 1 GiB.

use aarch64_paging::descriptor::El23Attributes as Attributes;
use aarch64_rt::InitialPagetable;
use arm_sysregs::el2::registers::SctlrEl2;

use crate::machine::{DEVICES, RAM};

const BLOCK: usize = 1 << 30;

/// Device-nGnRE, never executed. Index 0 of [`aarch64_rt::DEFAULT_MAIR`].
pub const DEVICE: Attributes = Attributes::VALID
    .union(Attributes::ATTRIBUTE_INDEX_0)
    .union(Attributes::USER_RES1)
    .union(Attributes::ACCESSED)
    .union(Attributes::XN);
/// Normal write-back memory, shared by all CPUs. Index 1 of [`aarch64_rt::DEFAULT_MAIR`].
pub const MEMORY: Attributes = Attributes::VALID
    .union(Attributes::ATTRIBUTE_INDEX_1)
    .union(Attributes::INNER_SHAREABLE)
    .union(Attributes::USER_RES1)
    .union(Attributes::ACCESSED);

/// MMU and caches on, stack alignment checked, and the bits that are one at EL2 and EL3 alike. The default of
/// `aarch64-rt` is made for EL1 and leaves some of those at zero.
pub const SCTLR: u64 =
    SctlrEl2::M.union(SctlrEl2::C).union(SctlrEl2::I).union(SctlrEl2::SA).union(SCTLR_RES1).bits();

/// `SCTLR_EL2` and `SCTLR_EL3` with everything off that can be off.
pub const SCTLR_RES1: SctlrEl2 = SctlrEl2::SA0
    .union(SctlrEl2::CP15BEN)
    .union(SctlrEl2::EOS)
    .union(SctlrEl2::NTWI)
    .union(SctlrEl2::NTWE)
    .union(SctlrEl2::EIS)
    .union(SctlrEl2::SPAN)
    .union(SctlrEl2::NTLSMD)
    .union(SctlrEl2::LSMAOE);

/// Maps the devices and the memory of the machine, the memory with `memory`.
pub const fn identity(memory: Attributes) -> InitialPagetable {
    let mut table = [0; 512];
    table[DEVICES.start / BLOCK] = DEVICES.start | DEVICE.bits();
    table[RAM.start / BLOCK] = RAM.start | memory.bits();
    InitialPagetable(table)
}

/// Makes [`identity`] the first page table of an image.
#[macro_export]
macro_rules! boot_map {
    ($memory:expr) => {
        use aarch64_rt::enable_mmu;
        static INITIAL_PAGE_TABLE: aarch64_rt::InitialPagetable = $crate::boot_map::identity($memory);
        enable_mmu!(
            INITIAL_PAGE_TABLE,
            aarch64_rt::DEFAULT_MAIR,
            $crate::boot_map::SCTLR,
            aarch64_rt::DEFAULT_TCR_EL1,
            aarch64_rt::DEFAULT_TCR_EL2,
            aarch64_rt::DEFAULT_TCR_EL3
        );
    };
}
