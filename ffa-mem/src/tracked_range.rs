use core::fmt;

use crate::{InsertError, IpaRange, PAGE_SIZE};

/// A range that a [`RangeSet`](crate::RangeSet) holds, with the tag it was inserted under. 16 bytes.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct TrackedRange {
    word: u64, // the base, and while the order matters a flag, and the place among the bits that are left over
    pages: u32, // not zero
    tag: u32,
}
const _: () = assert!(size_of::<TrackedRange>() == 16);

/// In a draft.
const DRAFT: u64 = 1 << 11;
/// In a sealed run, at the place that bits 62:52 and 9:0 give.
const SEALED: u64 = 1 << 10;
/// The base, where there is a flag.
const BASE: u64 = 0x000f_ffff_ffff_f000;

impl TrackedRange {
    /// Number of places.
    pub(crate) const PLACES: usize = 1 << 21;

    /// Without an order.
    #[inline]
    pub(crate) const fn new(range: IpaRange, tag: u32) -> Self {
        Self { word: range.base(), pages: range.pages(), tag }
    }

    /// In a draft.
    ///
    /// # Errors
    /// [`InsertError::Address`] if the base has more than 52 bits.
    pub(crate) const fn draft(range: IpaRange, tag: u32) -> Result<Self, InsertError> {
        let address = range.base();
        if address & !BASE != 0 {
            return Err(InsertError::Address { address });
        }
        Ok(Self { word: address | DRAFT, pages: range.pages(), tag })
    }

    /// A range of a draft as one of a sealed run, at `place`, which is below [`PLACES`](Self::PLACES).
    pub(crate) const fn sealed(self, place: usize) -> Self {
        let place = place as u64;
        Self { word: self.base() | SEALED | (place >> 10) << 52 | place & (SEALED - 1), ..self }
    }

    /// A range of a sealed run as one of a draft.
    pub(crate) const fn unsealed(self) -> Self {
        Self { word: self.base() | DRAFT, ..self }
    }

    /// The place in a sealed run.
    pub(crate) const fn place(&self) -> usize {
        ((self.word >> 52) << 10 | self.word & (SEALED - 1)) as usize
    }

    #[inline]
    pub(crate) const fn with_tag(self, tag: u32) -> Self {
        Self { tag, ..self }
    }

    /// The base, and whatever there is beside it: a flag, which is less than a page, and a place, which is much more.
    #[inline]
    pub(crate) const fn word(&self) -> u64 {
        self.word
    }

    /// The range.
    #[must_use]
    #[inline]
    pub const fn range(&self) -> IpaRange {
        IpaRange::from_checked(self.base(), self.pages)
    }

    /// The tag.
    #[must_use]
    #[inline]
    pub const fn tag(&self) -> u32 {
        self.tag
    }

    /// Whether the range is in a draft, so that others may hold its pages.
    #[must_use]
    #[inline]
    pub const fn is_draft(&self) -> bool {
        self.word & DRAFT != 0
    }

    #[inline]
    pub(crate) const fn is_sealed(&self) -> bool {
        self.word & SEALED != 0
    }

    /// First byte.
    #[must_use]
    #[inline]
    pub const fn base(&self) -> u64 {
        if self.word & (DRAFT | SEALED) == 0 { self.word } else { self.word & BASE }
    }

    /// Number of 4 KiB pages, at least 1.
    #[must_use]
    #[inline]
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// First byte after the range.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> u64 {
        self.base().wrapping_add(self.pages as u64 * PAGE_SIZE) // an `IpaRange` does not wrap
    }
}

impl fmt::Debug for TrackedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.range(), self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_changes_nothing_else() {
        let lows = (0..21).map(|bit| 1 << bit).chain([0, TrackedRange::PLACES - 1]);
        for (place, page) in lows.flat_map(|place| [(place, 0), (place, 1), (place, (1 << 40) - 1)]) {
            let range = IpaRange::new(page * PAGE_SIZE, u32::MAX).unwrap();
            let draft = TrackedRange::draft(range, 7).unwrap();
            let sealed = draft.sealed(place);
            assert_eq!((sealed.place(), sealed.is_sealed(), sealed.is_draft()), (place, true, false));
            assert_eq!((sealed.range(), sealed.end(), sealed.tag()), (range, range.end(), 7));
            assert!(sealed.word() >= range.base() && sealed.word() < 1 << 63);
            assert_eq!((sealed.unsealed(), draft.is_sealed(), draft.is_draft()), (draft, false, true));
            assert_eq!((draft.range(), draft.sealed(place).sealed(0).place()), (range, 0));
        }
    }
}
