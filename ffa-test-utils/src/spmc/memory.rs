/// The address is not memory that the secure world can access.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PhysFault {
    /// Physical address of the first byte that failed.
    pub address: u64,
}

/// Physical memory, as the secure world reads and writes it: the hypervisor's RX and TX buffers, and the pages that
/// partitions have retrieved.
pub trait PhysMemory {
    /// Copies `dst.len()` bytes from `address`.
    ///
    /// # Errors
    /// [`PhysFault`] if any byte is not there; `dst` then holds anything.
    fn read(&self, address: u64, dst: &mut [u8]) -> Result<(), PhysFault>;

    /// Copies `src` to `address`.
    ///
    /// # Errors
    /// [`PhysFault`] if any byte is not there; a part may have been written.
    fn write(&mut self, address: u64, src: &[u8]) -> Result<(), PhysFault>;
}

/// Bytes of an FF-A page.
pub(super) const PAGE_SIZE: u64 = 4096;

/// A run of memory as a descriptor names it. Nothing is promised: some secure worlds take ranges that are empty, not
/// aligned or that wrap.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Extent {
    /// Physical address of the first byte.
    pub base: u64,
    /// Length in 4 KiB pages.
    pub pages: u32,
}

impl Extent {
    /// First byte after the extent, saturating at the end of the address space.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.base.saturating_add(self.pages as u64 * PAGE_SIZE)
    }

    /// Whether the two have a byte in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.base < other.end() && other.base < self.end()
    }

    /// Whether the end lies past the address space.
    pub(super) const fn wraps(&self) -> bool {
        self.base.checked_add(self.pages as u64 * PAGE_SIZE).is_none()
    }

    /// Addresses of the pages, each where the extent puts it.
    pub fn page_addresses(self) -> impl Iterator<Item = u64> {
        (0..u64::from(self.pages)).map_while(move |page| self.base.checked_add(page * PAGE_SIZE))
    }
}
