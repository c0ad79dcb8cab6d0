use arrayvec::ArrayVec;

use crate::TrackedRange;

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
    use crate::{IpaRange, PAGE_SIZE};

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
