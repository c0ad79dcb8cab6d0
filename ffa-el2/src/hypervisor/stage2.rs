//! The memory of one VM, as its stage-2 page table describes it.

use core::iter;
use core::ops::Range;

use aarch64_paging::descriptor::{PhysicalAddress, Stage2Attributes};
use aarch64_paging::paging::{Constraints, MemoryRegion, RootTable, Stage2 as Regime};
use arm_sysregs::el1::accessors::read_id_aa64mmfr0_el1;
use arm_sysregs::el2::registers::{VtcrEl2, VttbrEl2};

use crate::frames::{BLOCK, PAGE, Run};
use crate::guest::layout;
use crate::table_pool::TablePool;
use crate::tlb;
use crate::vm_id::VmId;

/// IPAs have 39 bits, so the walk starts at level 1 with one table.
const ROOT_LEVEL: usize = 1;
const BLOCK_LEVEL: usize = 2;
const T0SZ: u8 = 64 - 39;
const SIZE: u64 = 1 << 39;
/// Descriptors, as far as a walk looks at them. Arm ARM (DDI 0487) section D8.3.
const VALID: u64 = 1;
const LINK: u64 = 1 << 1;
const ADDRESS: u64 = (1 << 48) - (1 << 12);
const GIB_SHIFT: u32 = 30;
const BLOCK_SHIFT: u32 = 21;
const PAGE_SHIFT: u32 = 12;
const START_AT_LEVEL_1: u8 = 1;
const WRITE_BACK: u8 = 1;
const INNER_SHAREABLE: u8 = 3;
/// 48-bit addresses; more would need another format of descriptors.
const MAX_PHYSICAL_RANGE: u8 = 5;
const VMID_SHIFT: u32 = 48;

/// Write-back memory that the guest may read, write and execute.
const GUEST_MEMORY: Stage2Attributes = Stage2Attributes::VALID
    .union(Stage2Attributes::MEMATTR_NORMAL_OUTER_WB)
    .union(Stage2Attributes::MEMATTR_NORMAL_INNER_WB)
    .union(Stage2Attributes::SH_INNER)
    .union(Stage2Attributes::S2AP_ACCESS_RW)
    .union(Stage2Attributes::ACCESS_FLAG);

/// The same memory while the guest has no access to it: any use of it is an access flag fault. No TLB keeps such an
/// entry, so it need not be made to forget when access comes back. Arm ARM (DDI 0487) sections D8.5.1 and D8.16.
const LOST: Stage2Attributes =
    GUEST_MEMORY.difference(Stage2Attributes::S2AP_ACCESS_RW).difference(Stage2Attributes::ACCESS_FLAG);

/// Where there was memory that the guest has given away.
const GONE: Stage2Attributes = Stage2Attributes::SWFLAG_0;

/// Tables that a VM's memory may need at most, with its [`layout`]: the root, level 2 of one GiB, those of its loose pages, and
/// that of borrowed ones. Besides, each block needs one when it is split.
pub const FIXED_TABLES: usize = 3 + blocks(&layout::LOOSE_PAGES);

const fn blocks(ipas: &Range<u64>) -> usize {
    (ipas.end - ipas.start) as usize / BLOCK
}

/// `VTCR_EL2` for tables of this kind.
pub fn control() -> VtcrEl2 {
    let mut control = VtcrEl2::RES1;
    control.set_t0sz(T0SZ);
    control.set_sl0(START_AT_LEVEL_1);
    control.set_irgn0(WRITE_BACK);
    control.set_orgn0(WRITE_BACK);
    control.set_sh0(INNER_SHAREABLE);
    control.set_ps(read_id_aa64mmfr0_el1().parange().min(MAX_PHYSICAL_RANGE));
    control
}

/// The guest named memory that is not, or not in this way, its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotMapped {
    /// The first address that is not.
    pub ipa: u64,
}

/// What a guest may do with memory that is another VM's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Borrowing {
    pub writable: bool,
    pub executable: bool,
}

impl Borrowing {
    fn attributes(self) -> Stage2Attributes {
        let mut attributes = GUEST_MEMORY;
        if !self.writable {
            attributes.remove(Stage2Attributes::S2AP_ACCESS_RW);
            attributes.insert(Stage2Attributes::S2AP_ACCESS_RO);
        }
        attributes.set(Stage2Attributes::XN, !self.executable);
        attributes
    }
}

/// A VM's stage-2 page table.
///
/// `aarch64-paging`'s own live mappings know one VM, without a VMID; so the tables are theirs, and the order of changes
/// and TLB maintenance is ours.
pub struct Stage2 {
    table: RootTable<Regime, TablePool>,
    vm: VmId,
}

impl Stage2 {
    /// An empty table for `vm`, of which no CPU remembers any translation.
    pub fn new(vm: VmId) -> Self {
        let stage2 = Self { table: RootTable::new(TablePool, ROOT_LEVEL, Regime), vm };
        tlb::forget_vm(stage2.vttbr());
        stage2
    }

    /// Whose it is.
    pub fn vm(&self) -> VmId {
        self.vm
    }

    /// `VTTBR_EL2` while the VM runs.
    pub fn vttbr(&self) -> VttbrEl2 {
        let vmid = u64::from(self.vm.number()) << VMID_SHIFT;
        VttbrEl2::from_bits_retain(self.table.to_physical().0 as u64 | vmid)
    }

    /// Gives the guest the memory `run` at `ipa`, where nothing is mapped.
    pub fn map(&mut self, ipa: u64, run: Run) {
        self.set(ipa, run, GUEST_MEMORY, Constraints::empty());
        tlb::publish();
    }

    /// Takes the page at `ipa` away from the guest. When this returns, no CPU can reach it for the guest.
    ///
    /// # Errors
    /// If the guest has no memory there; then nothing changes.
    pub fn unmap_page(&mut self, ipa: u64) -> Result<(), NotMapped> {
        self.split_block(ipa)?;
        let run = Run { address: self.translate_page(ipa)?, bytes: PAGE };
        self.set(ipa, run, Stage2Attributes::empty(), Constraints::empty());
        tlb::forget_range(self.vttbr(), ipa..ipa + PAGE as u64, PAGE);
        Ok(())
    }

    /// Takes the guest's access to `ipas` from it, which is memory that it has. Where that is stays known. When this
    /// returns, no CPU can reach it for the guest. The guest does not run meanwhile.
    pub fn lose(&mut self, ipas: Range<u64>) {
        self.set_pages(ipas.clone(), LOST);
        tlb::forget_range(self.vttbr(), ipas, PAGE);
    }

    /// Gives the guest its access to `ipas` back.
    pub fn regain(&mut self, ipas: Range<u64>) {
        self.set_pages(ipas, GUEST_MEMORY);
        tlb::publish();
    }

    /// The guest has no memory at `ipas` any more, to which it had lost its access before.
    pub fn forget_lost(&mut self, ipas: Range<u64>) {
        self.set_pages(ipas, GONE);
        tlb::publish();
    }

    /// Whether the guest has lost its access to what was its memory at `ipa`, for a while or for good.
    pub fn is_lost(&self, ipa: u64) -> bool {
        self.descriptor(ipa).is_some_and(|(_, flags, _)| {
            let is_valid = flags.contains(Stage2Attributes::VALID);
            if is_valid { !flags.contains(Stage2Attributes::ACCESS_FLAG) } else { flags.contains(GONE) }
        })
    }

    /// Changes every page of `ipas`, each of which is mapped.
    fn set_pages(&mut self, ipas: Range<u64>, attributes: Stage2Attributes) {
        for ipa in ipas.step_by(PAGE) {
            self.split_block(ipa).expect("the page is the guest's");
            let address = self.translate_page(ipa).expect("the page is the guest's");
            self.set(ipa, Run { address, bytes: PAGE }, attributes, Constraints::empty());
        }
    }

    /// The first address of a gap of so many pages between borrowed ones, if there is one.
    pub fn room_to_borrow(&self, pages: usize) -> Option<u64> {
        let mut free = 0;
        let end = layout::BORROWED.step_by(PAGE).find(|&ipa| {
            free = if self.translate_page(ipa).is_err() { free + 1 } else { 0 };
            free == pages
        })?;
        Some(end - ((pages - 1) * PAGE) as u64)
    }

    /// Lets the guest have `run`, which is another VM's, at `ipa`, among what is borrowed and where nothing is mapped.
    pub fn map_borrowed(&mut self, ipa: u64, run: Run, borrowing: Borrowing) {
        self.set(ipa, run, borrowing.attributes(), Constraints::NO_BLOCK_MAPPINGS);
        tlb::publish();
    }

    /// Takes borrowed pages away from the guest. When this returns, no CPU can reach them for the guest.
    pub fn unmap_borrowed(&mut self, ipas: Range<u64>) {
        let nothing = Run { address: 0, bytes: (ipas.end - ipas.start) as usize };
        self.set(ipas.start, nothing, Stage2Attributes::empty(), Constraints::NO_BLOCK_MAPPINGS);
        tlb::forget_range(self.vttbr(), ipas, PAGE);
    }

    /// What the guest has borrowed at `ipas` is its own from now on.
    pub fn own_borrowed(&mut self, ipas: Range<u64>) {
        self.set_pages(ipas.clone(), GUEST_MEMORY);
        // It may have been read-only.
        tlb::forget_range(self.vttbr(), ipas, PAGE);
    }

    /// Makes every CPU forget what it knows of the table. Nobody uses it from now on.
    pub fn forget(&mut self) {
        tlb::forget_vm(self.vttbr());
    }

    /// The physical address of the page at `ipa`.
    pub fn translate_page(&self, ipa: u64) -> Result<usize, NotMapped> {
        self.leaf(ipa).map(|leaf| leaf.address)
    }

    /// The physical runs behind `bytes` bytes from `ipa`, in order, found by block, not by page. Nothing comes after an
    /// error.
    #[inline(always)] // likewise
    pub fn runs(&self, ipa: u64, bytes: u64) -> impl Iterator<Item = Result<Run, NotMapped>> {
        let (mut next, mut left) = (ipa, bytes as usize);
        iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let leaf = self.leaf(next);
            let bytes = leaf.map_or(left, |leaf| leaf.bytes.min(left));
            left -= bytes;
            next = next.wrapping_add(bytes as u64); // only behind an error
            Some(leaf.map(|leaf| Run { bytes, ..leaf }))
        })
    }

    /// The memory from `ipa` to the end of the block or page that maps it.
    #[inline(always)] // for every range that is shared
    fn leaf(&self, ipa: u64) -> Result<Run, NotMapped> {
        if ipa >= SIZE {
            return Err(NotMapped { ipa });
        }
        let mut table = self.table.to_physical().0 as *const [u64; 512];
        for shift in [GIB_SHIFT, BLOCK_SHIFT, PAGE_SHIFT] {
            let index = (ipa >> shift) as usize % 512;
            // SAFETY: The root and the tables that are linked from it belong to this object, which is not being changed,
            // and are at their physical addresses. Only hardware reads them meanwhile.
            let descriptor = unsafe { (&raw const (*table)[index]).read_volatile() };
            let is_leaf = descriptor & LINK == 0 || shift == PAGE_SHIFT;
            if descriptor & VALID == 0 {
                return Err(NotMapped { ipa });
            } else if is_leaf {
                let offset = ipa as usize % (1 << shift);
                return Ok(Run {
                    address: (descriptor & ADDRESS) as usize + offset,
                    bytes: (1 << shift) - offset,
                });
            }
            table = (descriptor & ADDRESS) as *const _;
        }
        Err(NotMapped { ipa })
    }

    /// Makes pages of the block that maps `ipa`, if a block does.
    ///
    /// The guest must not run: for a moment it has no memory there, since the architecture forbids to replace a valid
    /// block by a valid table. Arm ARM (DDI 0487) section D8.16.1, break-before-make.
    fn split_block(&mut self, ipa: u64) -> Result<(), NotMapped> {
        let block = ipa - ipa % BLOCK as u64;
        let mapped = self.descriptor(ipa).filter(|(_, flags, _)| flags.contains(Stage2Attributes::VALID));
        let (level, _, address) = mapped.ok_or(NotMapped { ipa })?;
        if level != BLOCK_LEVEL {
            return Ok(());
        }
        let run = Run { address, bytes: BLOCK };
        self.set(block, run, Stage2Attributes::empty(), Constraints::empty());
        tlb::forget_range(self.vttbr(), block..block + BLOCK as u64, BLOCK);
        self.set(block, run, GUEST_MEMORY, Constraints::NO_BLOCK_MAPPINGS);
        tlb::publish();
        Ok(())
    }

    /// The descriptor for `ipa` at the level where the walk ends: that level, its flags, and the address that it names.
    fn descriptor(&self, ipa: u64) -> Option<(usize, Stage2Attributes, usize)> {
        let start = ipa as usize - ipa as usize % PAGE;
        let page = MemoryRegion::new(start, start.checked_add(PAGE)?);
        let mut found = None;
        self.table
            .walk_range(&page, &mut |_, descriptor, level| {
                found = Some((level, descriptor.flags(), descriptor.output_address().0));
                Ok(())
            })
            .ok()?;
        found
    }

    fn set(&mut self, ipa: u64, run: Run, attributes: Stage2Attributes, constraints: Constraints) {
        let region = MemoryRegion::new(ipa as usize, ipa as usize + run.bytes);
        self.table
            .map_range(&region, PhysicalAddress(run.address), attributes, constraints)
            .expect("the IPAs were chosen here or translated before");
    }
}

impl Drop for Stage2 {
    /// The tables are about to be used for something else.
    fn drop(&mut self) {
        self.forget();
    }
}
