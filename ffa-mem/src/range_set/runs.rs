//! What is asked of sorted ranges: which runs there are, and which pages they have in common.

use core::cell::Cell;
use core::slice;

use crate::{PAGE_SIZE, TrackedRange};

/// The ranges of one tag: at least one, sorted and disjoint unless it is a draft.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    first: &'a TrackedRange,
    pub ranges: &'a [TrackedRange],
}

/// Cuts `ranges` into its runs.
#[inline]
pub(super) fn runs(mut ranges: &[TrackedRange]) -> impl Iterator<Item = Run<'_>> {
    core::iter::from_fn(move || {
        let (first, behind) = ranges.split_first()?;
        let tag = first.tag();
        let (run, rest) = match behind.first() {
            Some(second) if second.tag() == tag => {
                let more = leading(behind, |range| range.tag() == tag);
                ranges.split_at_checked(more.saturating_add(1))?
            }
            _ => (slice::from_ref(first), behind), // the most frequent
        };
        ranges = rest;
        Some(Run { first, ranges: run })
    })
}

impl Run<'_> {
    #[inline]
    pub fn tag(&self) -> u32 {
        self.first.tag()
    }
}

/// From the first to the last page of sorted ranges, or somewhat further.
///
/// The word of a range is taken for its base. The first of a sealed run has no place in it, and the last one can only
/// seem to end higher.
#[derive(Clone, Copy)]
pub(super) struct Span {
    base: u64,
    end: u64,
}

impl Span {
    #[inline]
    pub fn of(ranges: &[TrackedRange]) -> Self {
        Self {
            base: ranges.first().map_or(0, TrackedRange::word),
            end: ranges.last().map_or(0, Self::end_of),
        }
    }

    #[inline]
    fn end_of(last: &TrackedRange) -> u64 {
        last.word().wrapping_add(u64::from(last.pages()) * PAGE_SIZE) // below 2^64 also with a place
    }

    /// Whether anything of `run` may be within, which a draft may or may not be. One comparison settles most, since runs
    /// are seldom amid others.
    #[inline]
    pub fn may_overlap(&self, run: &Run<'_>) -> bool {
        let last = run.ranges.last().unwrap_or(run.first);
        run.first.word() < self.end && self.base < Self::end_of(last)
    }
}

/// The lowest page that a run and a sorted list of disjoint ranges have in common. A draft holds none.
///
/// Each range of the shorter list is looked up in what is left of the longer one, so the cost is that of a merge at
/// most and that of a few binary searches where one list is short.
pub(super) fn first_common(run: &[TrackedRange], ranges: &[TrackedRange]) -> Option<u64> {
    if run.first().is_some_and(TrackedRange::is_draft) {
        return None;
    }
    let (few, mut many) = if run.len() <= ranges.len() { (run, ranges) } else { (ranges, run) };
    for range in few {
        let below = leading(many, |other| other.end() <= range.base());
        many = many.get(below..)?;
        let other = many.first()?;
        if other.base() < range.end() {
            return Some(other.base().max(range.base()));
        }
    }
    None
}

/// How many ranges at the front are as `holds` says, where none behind them is. Logarithmic in the answer.
#[inline]
fn leading(ranges: &[TrackedRange], holds: impl Fn(&TrackedRange) -> bool) -> usize {
    let mut bound = 0_usize; // all before it are
    let mut probe = 0_usize;
    while ranges.get(probe).is_some_and(&holds) {
        bound = probe.saturating_add(1);
        probe = probe.saturating_add(bound);
    }
    let unknown = ranges.get(bound..probe.min(ranges.len())).unwrap_or_default();
    if unknown.is_empty() { bound } else { bound.saturating_add(unknown.partition_point(holds)) }
}

/// How many ranges at the end have `tag`, where the one before them has not. Logarithmic in the answer, and two
/// comparisons for none.
#[inline]
pub(super) fn trailing(ranges: &[TrackedRange], tag: u32) -> usize {
    let has_tag = |from_end: usize| {
        let at = ranges.len().checked_sub(from_end);
        at.and_then(|at| ranges.get(at)).is_some_and(|range| range.tag() == tag)
    };
    let (mut has, mut probe) = (0_usize, 1_usize);
    while has_tag(probe) {
        has = probe;
        probe = probe.saturating_mul(2);
    }
    // `has` of them have it, `probe` of them have not.
    let mut has_not = probe;
    while has_not.saturating_sub(has) > 1 {
        let middle = has.midpoint(has_not);
        if has_tag(middle) {
            has = middle;
        } else {
            has_not = middle;
        }
    }
    has
}

/// The first page that is in two ranges of a sorted list.
pub(super) fn first_double(ranges: &[TrackedRange]) -> Option<u64> {
    let mut pairs = ranges.iter().zip(ranges.iter().skip(1));
    pairs.find(|(range, next)| next.base() < range.end()).map(|(_, next)| next.base())
}

/// Joins what touches in a sorted list of disjoint ranges, and gives how many remain at its front.
pub(super) fn join(ranges: &mut [TrackedRange]) -> usize {
    let cells = Cell::from_mut(ranges).as_slice_of_cells();
    let mut kept = cells.iter();
    let Some(mut slot) = kept.next() else { return 0 };
    let mut len = 1_usize;
    for next in cells.iter().skip(1).map(Cell::get) {
        let last = slot.get();
        if let Some(joined) = last.range().join(&next.range()) {
            slot.set(TrackedRange::new(joined, last.tag()));
        } else if let Some(free) = kept.next() {
            free.set(next);
            slot = free;
            len = len.saturating_add(1);
        }
    }
    len
}
