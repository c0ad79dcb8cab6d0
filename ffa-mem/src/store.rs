use core::fmt;

use arrayvec::ArrayVec;

use crate::{IpaRange, PAGE_SIZE};

/// A range that a [`RangeSet`](crate::RangeSet) holds, with the tag it was inserted under. 16 bytes.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct TrackedRange {
    base: u64,
    pages: u32, // not zero
    tag: u32,
}
const _: () = assert!(size_of::<TrackedRange>() == 16);

impl TrackedRange {
    #[inline]
    pub(crate) const fn new(range: IpaRange, tag: u32) -> Self {
        Self { base: range.base(), pages: range.pages(), tag }
    }

    #[inline]
    pub(crate) const fn with_tag(self, tag: u32) -> Self {
        Self { tag, ..self }
    }

    /// The range.
    #[must_use]
    #[inline]
    pub const fn range(&self) -> IpaRange {
        IpaRange::from_checked(self.base, self.pages)
    }

    /// The tag.
    #[must_use]
    #[inline]
    pub const fn tag(&self) -> u32 {
        self.tag
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

    /// First byte after the range.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> u64 {
        self.base.wrapping_add(self.pages as u64 * PAGE_SIZE) // an `IpaRange` does not wrap
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
}
