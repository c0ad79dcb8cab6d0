use core::fmt;
use core::marker::PhantomData;

/// Bytes of an FF-A page, whatever the translation granule.
pub const PAGE_SIZE: u64 = 4096;

/// Marks guest-physical addresses (IPA).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Guest {}

/// Marks physical addresses (PA).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Physical {}

/// A range that some guest *says* is its own: aligned, not empty, not wrapping. Stage 2 has yet to agree.
pub type IpaRange = PageRange<Guest>;

/// A range of physical memory, as the hypervisor's stage 2 gave it.
pub type PhysRange = PageRange<Physical>;

/// A range of 4 KiB pages in one address space: aligned, not empty, not wrapping.
///
/// At least 1 page and at most 2^32 - 1 of them.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PageRange<Space> {
    base: u64,
    pages: u32, // not zero
    space: PhantomData<Space>,
}

/// Why an address and a page count are not a range.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// The address is not 4 KiB aligned.
    #[error("address {address:#x} is not 4 KiB aligned")]
    Unaligned {
        /// The address.
        address: u64,
    },
    /// No pages.
    #[error("no pages at {address:#x}")]
    Empty {
        /// The address.
        address: u64,
    },
    /// The end does not fit 64 bits.
    #[error("{pages} pages at {address:#x} wrap the address space")]
    Overflow {
        /// The address.
        address: u64,
        /// The page count.
        pages: u32,
    },
}

impl<Space> PageRange<Space> {
    /// `pages` pages of 4 KiB from `address` on. The only way to build one, so `end` never overflows.
    ///
    /// # Errors
    /// The first rule that is broken: alignment, then emptiness, then wrapping.
    #[inline]
    pub const fn new(address: u64, pages: u32) -> Result<Self, RangeError> {
        if address % PAGE_SIZE != 0 {
            return Err(RangeError::Unaligned { address });
        }
        if pages == 0 {
            return Err(RangeError::Empty { address });
        }
        if address.checked_add(pages as u64 * PAGE_SIZE).is_none() {
            return Err(RangeError::Overflow { address, pages });
        }
        Ok(Self { base: address, pages, space: PhantomData })
    }

    /// For a base and a count that came out of a range, or passed the same checks.
    #[inline]
    pub(crate) const fn from_checked(base: u64, pages: u32) -> Self {
        Self { base, pages, space: PhantomData }
    }

    /// First byte.
    #[must_use]
    #[inline]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Number of 4 KiB pages, at least 1.
    #[must_use]
    #[inline]
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// Length in bytes.
    #[must_use]
    #[inline]
    pub const fn bytes(&self) -> u64 {
        self.pages as u64 * PAGE_SIZE
    }

    /// First byte after the range.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> u64 {
        self.base.wrapping_add(self.bytes()) // `new` refused what would wrap
    }

    /// Whether the two have a page in common.
    #[must_use]
    #[inline]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.base < other.end() && other.base < self.end()
    }

    /// Both as one range, if `next` begins where this one ends and the page count has room.
    #[must_use]
    #[inline]
    pub fn join(&self, next: &Self) -> Option<Self> {
        let pages = self.pages.checked_add(next.pages)?;
        (self.end() == next.base).then_some(Self { base: self.base, pages, space: PhantomData })
    }
}

impl<Space> PageRange<Space> {
    /// Each page as a range of its own, in ascending order.
    pub fn single_pages(self) -> impl Iterator<Item = Self> + use<Space> {
        let page = move |index| self.base.wrapping_add(u64::from(index) * PAGE_SIZE); // within the range
        (0..self.pages).map(move |index| Self::from_checked(page(index), 1))
    }
}

impl<Space> fmt::Debug for PageRange<Space> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{}p", self.base, self.pages)
    }
}

/// Joins ranges that touch and come one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Joiner<Space> {
    last: Option<PageRange<Space>>,
}

impl<Space: Copy> Joiner<Space> {
    /// Without any range.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// Takes `range`, and gives the ranges before it as one if `range` cannot be joined with them.
    pub fn push(&mut self, range: PageRange<Space>) -> Option<PageRange<Space>> {
        match self.last.and_then(|last| last.join(&range)) {
            Some(joined) => {
                self.last = Some(joined);
                None
            }
            None => self.last.replace(range),
        }
    }

    /// Gives the last ranges as one.
    pub fn finish(self) -> Option<PageRange<Space>> {
        self.last
    }
}

impl<Space: Copy> Default for Joiner<Space> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_a_range_by_name_and_value() {
        let top = u64::MAX - 0xfff;
        assert_eq!(IpaRange::new(0x1001, 1), Err(RangeError::Unaligned { address: 0x1001 }));
        assert_eq!(IpaRange::new(0x1000, 0), Err(RangeError::Empty { address: 0x1000 }));
        assert_eq!(IpaRange::new(top, 1), Err(RangeError::Overflow { address: top, pages: 1 }));
        let last = IpaRange::new(top - 0x1000, 1).unwrap();
        assert_eq!(last.end(), top);
    }

    #[test]
    fn overlap_and_adjacency() {
        let range = |page: u64, pages| IpaRange::new(page * PAGE_SIZE, pages).unwrap();
        assert!(range(0, 5).overlaps(&range(1, 2)) && range(1, 2).overlaps(&range(0, 5)));
        assert!(!range(0, 5).overlaps(&range(5, 1)) && !range(5, 1).overlaps(&range(0, 5)));
        assert_eq!(range(0, 5).join(&range(5, 1)), Some(range(0, 6)));
        assert_eq!(range(0, 5).join(&range(6, 1)), None);
        assert_eq!(range(0, u32::MAX).join(&range(u64::from(u32::MAX), 1)), None);
    }
}
