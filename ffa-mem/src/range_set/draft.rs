//! Runs whose ranges come little by little, and whose order matters.

use core::ops::Range;

use super::runs::join;
use super::{RangeSet, check_held, sort};
use crate::{InsertError, IpaRange, RangeStore, StoreFull, TrackedRange};

impl<S: RangeStore> RangeSet<S> {
    /// Appends `ranges` to the draft with `tag`, all or none; begins it if there is none.
    ///
    /// A range that touches the one before it becomes one with it, also where that came in an earlier call.
    ///
    /// # Errors
    /// [`InsertError::TagInUse`] if the run with `tag` is no draft; [`InsertError::Address`]; [`InsertError::Full`],
    /// also for a draft of more than 2^21 ranges.
    pub fn extend_draft(
        &mut self,
        tag: u32,
        ranges: impl IntoIterator<Item = IpaRange>,
    ) -> Result<(), InsertError> {
        let start = self.draft_to_end(tag)?;
        let held = self.len();
        let last = self.store.as_slice().last().copied();
        let result = ranges.into_iter().try_for_each(|range| self.push_to_draft(start, tag, range));
        if result.is_err() {
            self.store.truncate(held);
            if let (Some(slot), Some(last)) = (self.store.as_mut_slice().last_mut(), last) {
                *slot = last; // as it was before anything was joined with it
            }
        }
        result
    }

    /// Moves the draft with `tag` to the end of the storage, and gives its start; the end if there is none.
    fn draft_to_end(&mut self, tag: u32) -> Result<usize, InsertError> {
        let draft = self.find(tag);
        let slice = self.store.as_mut_slice();
        if draft.is_empty() {
            return Ok(slice.len());
        }
        let behind = slice.get_mut(draft.start..).unwrap_or_default();
        if !behind.first().is_some_and(TrackedRange::is_draft) {
            return Err(InsertError::TagInUse { tag });
        }
        behind.rotate_left(draft.len());
        Ok(slice.len().saturating_sub(draft.len()))
    }

    /// Appends `range` to the draft that goes from `start` to the end of the storage.
    fn push_to_draft(&mut self, start: usize, tag: u32, range: IpaRange) -> Result<(), InsertError> {
        let draft = self.store.as_mut_slice().get_mut(start..).unwrap_or_default();
        let is_full = draft.len() >= TrackedRange::PLACES;
        if let Some(last) = draft.last_mut() {
            if let Some(joined) = last.range().join(&range) {
                *last = TrackedRange::draft(joined, tag)?;
                return Ok(());
            }
        }
        if is_full {
            return Err(StoreFull.into());
        }
        Ok(self.store.try_push(TrackedRange::draft(range, tag)?)?)
    }

    /// Makes the draft with `tag` hold its pages. Its order can still be read, with [`in_order`](Self::in_order).
    /// Nothing happens if there is no such draft.
    ///
    /// # Errors
    /// [`InsertError::Overlap`]; it stays a draft then.
    pub fn seal(&mut self, tag: u32) -> Result<(), InsertError> {
        let Range { start, end } = self.find(tag);
        let slice = self.store.as_mut_slice();
        let (until, behind) = slice.split_at_mut_checked(end).unwrap_or_default();
        let (before, draft) = until.split_at_mut_checked(start).unwrap_or_default();
        if !draft.first().is_some_and(TrackedRange::is_draft) {
            return Ok(());
        }
        for (place, range) in draft.iter_mut().enumerate() {
            *range = range.sealed(place);
        }
        let sorted = sort(draft);
        let Some(lowest) = draft.first_mut() else { return Ok(()) };
        let place = lowest.place();
        *lowest = lowest.sealed(0); // nothing is lost: its place is the one that no other range has
        let checked = sorted
            .and_then(|()| check_held(before, tag, draft))
            .and_then(|()| check_held(behind, tag, draft));
        if checked.is_err() {
            if let Some(lowest) = draft.first_mut() {
                *lowest = lowest.sealed(place);
            }
            draft.sort_unstable_by_key(TrackedRange::place);
            for range in draft {
                *range = range.unsealed();
            }
        }
        checked
    }

    /// The ranges with `tag` from place `from` on, at most `N`: in the order in which they came, or if that is forgotten
    /// in ascending order. Places count from zero; ranges that were joined have one between them.
    pub fn in_order<const N: usize>(
        &self,
        tag: u32,
        from: usize,
    ) -> impl Iterator<Item = IpaRange> + use<S, N> {
        let mut found = [None; N];
        let mut put = |place: usize, range: &TrackedRange| {
            if let Some(slot) = place.checked_sub(from).and_then(|at| found.get_mut(at)) {
                *slot = Some(range.range());
            }
        };
        let run = self.run(tag);
        match run.split_first() {
            Some((first, others)) if first.is_sealed() => {
                let mut left = (0..run.len()).fold(0_usize, usize::wrapping_add);
                for range in others {
                    left = left.wrapping_sub(range.place());
                    put(range.place(), range);
                }
                put(left, first);
            }
            _ => run.iter().enumerate().for_each(|(index, range)| put(index, range)),
        }
        found.into_iter().flatten()
    }

    /// Forgets in which order the ranges of the sealed run with `tag` came, and joins those that touch. Nothing happens
    /// if there is no such run.
    pub fn settle(&mut self, tag: u32) {
        let Range { start, end } = self.find(tag);
        let slice = self.store.as_mut_slice();
        let run = slice.get_mut(start..end).unwrap_or_default();
        if run.first().is_some_and(TrackedRange::is_sealed) {
            for range in &mut *run {
                *range = TrackedRange::new(range.range(), tag);
            }
            let joined = start.saturating_add(join(run));
            let kept = slice.len().saturating_sub(end).saturating_add(joined);
            slice.copy_within(end.., joined);
            self.store.truncate(kept);
        }
    }
}
