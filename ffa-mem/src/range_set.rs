use core::ops::Range;

use ffa_abi::Status;

use self::runs::{Span, first_common, first_double, join, runs, trailing};
use crate::{IpaRange, RangeStore, StoreFull, TrackedRange};

mod draft;
mod runs;

/// The page ranges that are spoken for in one VM, no two of which overlap.
///
/// All ranges of one share, or of whatever else holds pages, have one tag. They stand next to each other in the
/// storage, sorted, with neighbours joined: a *run*. Whether a range is free is answered by the first and the last
/// range of each run, and by a search within the few runs around it. Nothing here takes quadratic time.
///
/// A run whose ranges come little by little, and whose order matters, goes through three states:
///
/// | state | ranges | holds its pages | left by |
/// | --- | --- | --- | --- |
/// | draft | as they came | no | [`seal`](Self::seal) |
/// | sealed | sorted, each with its place | yes | [`settle`](Self::settle) |
/// | settled, as [`insert`](Self::insert) leaves it | sorted and joined | yes | |
///
/// With `n` ranges in the set, `m` of them in the run at hand, and `r` runs:
///
/// | | steps |
/// | --- | --- |
/// | [`insert`](Self::insert), [`seal`](Self::seal) | `m log m + r log n`, and a merge with each run that lies between its pages |
/// | [`extend_draft`](Self::extend_draft) | `r log n`, one for each range that is added, and `n` if another run was begun since |
/// | [`in_order`](Self::in_order), [`retag`](Self::retag) | `m + r log n` |
/// | [`settle`](Self::settle), [`remove`](Self::remove) | `m + r log n`, and one for each range behind the run |
/// | [`overlapping`](Self::overlapping) | `r log n` |
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RangeSet<S> {
    store: S,
}

/// Why ranges were not inserted. None of them was.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// The storage is full.
    #[error(transparent)]
    Full(#[from] StoreFull),
    /// A page is in two of the ranges, or is held already.
    #[error("page {address:#x} is taken (by tag {with:?})")]
    Overlap {
        /// The page's address.
        address: u64,
        /// Who holds it; `None` if the ranges overlap each other.
        with: Option<u32>,
    },
    /// An address in a draft has more than 52 bits: no page is there.
    #[error("address {address:#x} has more than 52 bits")]
    Address {
        /// The address.
        address: u64,
    },
    /// The set has ranges with this tag.
    #[error("tag {tag} is in use")]
    TagInUse {
        /// The tag.
        tag: u32,
    },
}

impl InsertError {
    /// The status for a guest whose ranges these were: NO_MEMORY, INVALID_PARAMETERS for ranges that overlap each
    /// other, DENIED for pages that are held, or not there.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Full(StoreFull) => Status::NoMemory,
            Self::Overlap { with: None, .. } => Status::InvalidParameters,
            Self::Overlap { with: Some(_), .. } | Self::Address { .. } | Self::TagInUse { .. } => {
                Status::Denied
            }
        }
    }
}

impl<S: RangeStore> RangeSet<S> {
    /// An empty set in `store`; whatever was in there is dropped.
    #[inline]
    pub fn new(mut store: S) -> Self {
        store.truncate(0);
        Self { store }
    }

    /// Makes room for `more` ranges at once, if the storage does so.
    ///
    /// # Errors
    /// [`StoreFull`].
    pub fn try_reserve(&mut self, more: usize) -> Result<(), StoreFull> {
        self.store.try_reserve(more)
    }

    /// Inserts `ranges` in any order under `tag`, all or none.
    ///
    /// Ranges that touch become one where they come one after the other. Sorted ranges go in without more ado;
    /// others are sorted first.
    ///
    /// # Errors
    /// [`InsertError::Overlap`] with the lowest page that a tag and the ranges have in common;
    /// [`InsertError::TagInUse`]; [`InsertError::Full`], counted before ranges that came out of order are joined.
    /// Where several hold, any of them.
    pub fn insert(
        &mut self,
        tag: u32,
        ranges: impl IntoIterator<Item = IpaRange>,
    ) -> Result<(), InsertError> {
        let held = self.store.as_slice().len();
        let result = self.append(held, tag, ranges);
        if result.is_err() {
            self.store.truncate(held);
        }
        result
    }

    /// Appends behind the `held` ranges and checks; on an error the caller cuts off what was appended.
    #[inline(always)] // every share comes through here
    fn append(
        &mut self,
        held: usize,
        tag: u32,
        ranges: impl IntoIterator<Item = IpaRange>,
    ) -> Result<(), InsertError> {
        let mut ranges = ranges.into_iter();
        let Some(mut last) = ranges.next() else { return Ok(()) };
        let mut sorted = true;
        for range in ranges {
            if let Some(joined) = last.join(&range) {
                last = joined;
            } else {
                sorted &= last.end() <= range.base();
                self.store.try_push(TrackedRange::new(last, tag))?;
                last = range;
            }
        }
        self.store.try_push(TrackedRange::new(last, tag))?;
        if !sorted {
            let kept = sort_and_join(self.store.as_mut_slice().get_mut(held..).unwrap_or_default())?;
            self.store.truncate(held.saturating_add(kept));
        }
        let (old, new) = self.store.as_slice().split_at_checked(held).unwrap_or_default();
        check_held(old, tag, new)
    }

    /// Removes the ranges with `tag` and gives the number of their pages, zero if there are none.
    #[inline]
    pub fn remove(&mut self, tag: u32) -> u64 {
        let run = self.find(tag);
        let slice = self.store.as_mut_slice();
        let Some(removed) = slice.get(run.clone()) else { return 0 };
        let pages = removed.iter().fold(0_u64, |pages, range| pages.wrapping_add(range.pages().into())); // below 2^64
        let kept = slice.len().saturating_sub(removed.len());
        // Most often it is the end.
        if run.end < slice.len() {
            slice.copy_within(run.end.., run.start);
        }
        self.store.truncate(kept);
        pages
    }

    /// Puts the ranges with tag `old` under `new` and gives their number.
    ///
    /// # Errors
    /// [`InsertError::TagInUse`] if `new` has ranges already; nothing changes then.
    pub fn retag(&mut self, old: u32, new: u32) -> Result<usize, InsertError> {
        let run = self.find(old);
        let len = run.len();
        if old != new && len != 0 {
            if !self.find(new).is_empty() {
                return Err(InsertError::TagInUse { tag: new });
            }
            for range in self.store.as_mut_slice().get_mut(run).unwrap_or_default() {
                *range = range.with_tag(new);
            }
        }
        Ok(len)
    }

    /// The ranges with `tag`, in ascending order, those of a draft as they came; none if the tag is not in use.
    #[must_use]
    pub fn ranges(&self, tag: u32) -> impl ExactSizeIterator<Item = IpaRange> + Clone {
        self.run(tag).iter().map(TrackedRange::range)
    }

    /// The same as a slice.
    #[must_use]
    pub fn run(&self, tag: u32) -> &[TrackedRange] {
        self.store.as_slice().get(self.find(tag)).unwrap_or_default()
    }

    /// The tag of a range, not of a draft, that has a page in common with `range`.
    #[must_use]
    pub fn overlapping(&self, range: IpaRange) -> Option<u32> {
        let range = [TrackedRange::new(range, 0)];
        let span = Span::of(&range);
        let mut near = runs(self.store.as_slice()).filter(|run| span.may_overlap(run));
        near.find(|run| first_common(run.ranges, &range).is_some()).map(|run| run.tag())
    }

    /// All ranges, run after run.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[TrackedRange] {
        self.store.as_slice()
    }

    /// Number of ranges.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.store.as_slice().len()
    }

    /// Whether there is no range.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.store.as_slice().is_empty()
    }

    /// Gives the storage back.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }

    /// Where the run of `tag` is; empty if there is none.
    ///
    /// Looked for from the back: what came last is asked for most, and leaves first more often than not.
    #[inline(always)] // every share comes through here
    fn find(&self, tag: u32) -> Range<usize> {
        let mut rest = self.store.as_slice();
        while let Some((last, before)) = rest.split_last() {
            let run_tag = last.tag();
            let more = match before.last() {
                Some(other) if other.tag() == run_tag => trailing(before, run_tag),
                _ => 0, // a run of one range is the most frequent
            };
            let start = before.len().saturating_sub(more);
            if run_tag == tag {
                return start..rest.len();
            }
            rest = rest.get(..start).unwrap_or_default();
        }
        0..0
    }
}

/// Checks that `old` has neither `tag` nor a page of `new`, which is sorted.
#[inline(always)] // every share comes through here
fn check_held(old: &[TrackedRange], tag: u32, new: &[TrackedRange]) -> Result<(), InsertError> {
    let span = Span::of(new);
    for run in runs(old) {
        let with = run.tag();
        if with == tag {
            return Err(InsertError::TagInUse { tag });
        }
        if span.may_overlap(&run) {
            if let Some(address) = first_common(run.ranges, new) {
                return Err(InsertError::Overlap { address, with: Some(with) });
            }
        }
    }
    Ok(())
}

/// Sorts `ranges`, joins what touches and gives how many remain at their front.
#[inline(never)]
fn sort_and_join(ranges: &mut [TrackedRange]) -> Result<usize, InsertError> {
    sort(ranges)?;
    Ok(join(ranges))
}

fn sort(ranges: &mut [TrackedRange]) -> Result<(), InsertError> {
    ranges.sort_unstable_by_key(TrackedRange::base);
    match first_double(ranges) {
        Some(address) => Err(InsertError::Overlap { address, with: None }),
        None => Ok(()),
    }
}
