//! EL2's own page table: identity, and no more than the image needs.
//!
//! It replaces the blocks of the first page table, which also cover memory that is not ours to touch, even by
//! speculation: that of the firmware, and the first MiB.

use core::arch::asm;
use core::ops::Range;

use aarch64_paging::descriptor::{El23Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El2, MemoryRegion, RootTable};
use arm_sysregs::el2::accessors::write_ttbr0_el2;
use arm_sysregs::el2::registers::Ttbr0El2;
use ffa_el2::boot_map::{DEVICE, MEMORY};
use ffa_el2::lock::Mutex;
use ffa_el2::machine::{FW_CFG, GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS, MAX_CPUS, UART};

use crate::frames;
use crate::table_pool::TablePool;
use crate::tlb;

/// `aarch64-rt` sets `TCR_EL2` for 39-bit addresses.
const ROOT_LEVEL: usize = 1;
/// Tables that it may need at most: the root, one for each GiB, and below them one for each 2 MiB of devices and of the
/// image.
pub const MAX_TABLES: usize = 1 + 2 + 2 + 8;
const DEVICE_PAGE: usize = 0x1000;
const DISTRIBUTOR_BYTES: usize = 0x1_0000;
const REDISTRIBUTOR_BYTES: usize = 0x2_0000;

const CONSTANTS: El23Attributes = MEMORY.union(El23Attributes::READ_ONLY).union(El23Attributes::XN);

static TABLE: Mutex<Option<RootTable<El2, TablePool>>> = Mutex::new(None);

unsafe extern "C" {
    // Set by `image.ld`.
    static text_begin: u8;
    static text_end: u8;
    static rodata_begin: u8;
    static rodata_end: u8;
    static data_begin: u8;
    /// First byte behind the image, its zeroed data and its stacks.
    #[link_name = "dma_region"]
    static image_end: u8;
}

/// Code and constants of this image, which guests get a copy of.
pub fn code_and_constants() -> Range<usize> {
    (&raw const text_begin).addr()..(&raw const rodata_end).addr()
}

/// Builds the page table.
pub fn build() {
    let mut table = RootTable::new(TablePool, ROOT_LEVEL, El2);
    let mut map = |start: usize, end: usize, attributes: El23Attributes| {
        table
            .map_range(
                &MemoryRegion::new(start, end),
                PhysicalAddress(start),
                attributes,
                Constraints::empty(),
            )
            .expect("everything lies below 2^39");
    };
    map(UART, UART + DEVICE_PAGE, DEVICE);
    map(FW_CFG, FW_CFG + DEVICE_PAGE, DEVICE);
    map(GIC_DISTRIBUTOR, GIC_DISTRIBUTOR + DISTRIBUTOR_BYTES, DEVICE);
    map(GIC_REDISTRIBUTORS, GIC_REDISTRIBUTORS + REDISTRIBUTOR_BYTES * MAX_CPUS, DEVICE);

    let data = MEMORY | El23Attributes::XN;
    map((&raw const text_begin).addr(), (&raw const text_end).addr(), MEMORY | El23Attributes::READ_ONLY);
    map((&raw const rodata_begin).addr(), (&raw const rodata_end).addr(), CONSTANTS);
    map((&raw const data_begin).addr(), (&raw const image_end).addr(), data);
    map(frames::POOL.start, frames::POOL.end, data);
    *TABLE.lock() = Some(table);
}

/// Adds `memory`, which is readable from now on, if the table is in force. Nobody writes to it.
pub fn add_constants(memory: Range<usize>) {
    let region = MemoryRegion::new(memory.start, memory.end);
    let mut table = TABLE.lock();
    let table = table.as_mut().expect("the boot CPU built the table first");
    table
        .map_range(&region, PhysicalAddress(memory.start), CONSTANTS, Constraints::empty())
        .expect("everything lies below 2^39");
    tlb::publish();
}

/// Puts the page table in force on this CPU.
pub fn activate() {
    let root = TABLE.lock().as_ref().expect("the boot CPU built the table first").to_physical();
    // SAFETY: What this image uses is mapped as it was, only with fewer permissions: constants are not written and data
    // is not executed. The table is never dropped.
    unsafe { write_ttbr0_el2(Ttbr0El2::from_bits_retain(root.0 as u64)) }
    // SAFETY: Barriers and TLB maintenance. Translations of the first page table must not stay: they allow more.
    unsafe { asm!("isb", "tlbi alle2", "dsb nsh", "isb", options(nostack, preserves_flags)) }
}
