use core::fmt;

use arrayvec::ArrayVec;

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

/// The storage is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no room for another range")]
pub struct StoreFull;

/// Storage that a caller lends to a [`RangeSet`](crate::RangeSet): a list with a limit.
///
/// The set alone decides what is in it; an implementation keeps what it is given, in order.
pub trait RangeStore {
    /// The ranges in it.
    fn as_slice(&self) -> &[TrackedRange];

    /// The ranges in it, to be changed in place.
    fn as_mut_slice(&mut self) -> &mut [TrackedRange];

    /// Appends `range`.
    ///
    /// # Errors
    /// [`StoreFull`] if the limit is reached, or memory to grow into cannot be had; nothing changes then.
    fn try_push(&mut self, range: TrackedRange) -> Result<(), StoreFull>;

    /// Drops all but the first `len`; nothing happens if there are no more than that.
    fn truncate(&mut self, len: usize);

    /// Makes room for `more` ranges at once. A store that grows as it is filled needs more memory than that while it
    /// copies itself.
    ///
    /// # Errors
    /// [`StoreFull`] as in [`try_push`](Self::try_push).
    fn try_reserve(&mut self, more: usize) -> Result<(), StoreFull> {
        let _ = more; // what does not grow has nothing to do
        Ok(())
    }
}

impl<S: RangeStore + ?Sized> RangeStore for &mut S {
    #[inline]
    fn as_slice(&self) -> &[TrackedRange] {
        (**self).as_slice()
    }

    #[inline]
    fn as_mut_slice(&mut self) -> &mut [TrackedRange] {
        (**self).as_mut_slice()
    }

    #[inline]
    fn try_push(&mut self, range: TrackedRange) -> Result<(), StoreFull> {
        (**self).try_push(range)
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        (**self).truncate(len);
    }

    #[inline]
    fn try_reserve(&mut self, more: usize) -> Result<(), StoreFull> {
        (**self).try_reserve(more)
    }
}

/// Room for `N` ranges, in place.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FixedRanges<const N: usize>(ArrayVec<TrackedRange, N>);

impl<const N: usize> FixedRanges<N> {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }
}

impl<const N: usize> RangeStore for FixedRanges<N> {
    #[inline]
    fn as_slice(&self) -> &[TrackedRange] {
        &self.0
    }

    #[inline]
    fn as_mut_slice(&mut self) -> &mut [TrackedRange] {
        &mut self.0
    }

    #[inline]
    fn try_push(&mut self, range: TrackedRange) -> Result<(), StoreFull> {
        self.0.try_push(range).map_err(|_| StoreFull)
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    #[inline]
    fn try_reserve(&mut self, more: usize) -> Result<(), StoreFull> {
        if more <= self.0.remaining_capacity() { Ok(()) } else { Err(StoreFull) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_its_limit_and_compares_what_is_live() {
        let [one, two] = [1, 2].map(|page| TrackedRange::new(IpaRange::new(page * PAGE_SIZE, 1).unwrap(), 7));
        let mut store = FixedRanges::<2>::new();
        assert_eq!([store.try_push(one), store.try_push(two)], [Ok(()); 2]);
        assert_eq!(store.try_push(one), Err(StoreFull));
        assert_eq!(store.as_slice(), [one, two]);
        store.truncate(5);
        assert_eq!(store.as_slice().len(), 2);
        store.truncate(0);
        assert_eq!(store, FixedRanges::new());
        assert_eq!(FixedRanges::<0>::new().try_push(one), Err(StoreFull));
    }

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
