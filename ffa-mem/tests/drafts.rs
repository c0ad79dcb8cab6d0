//! Runs that come little by little: each state by example, and all operations against a list of ranges.

use ffa_abi::Status;
use ffa_mem::{FixedRanges, InsertError, IpaRange, PAGE_SIZE, RangeSet, RangeStore, StoreFull, TrackedRange};
use proptest::collection::vec;
use proptest::prelude::*;

type Set = RangeSet<FixedRanges<16>>;

fn range(page: u64, pages: u32) -> IpaRange {
    IpaRange::new(page * PAGE_SIZE, pages).unwrap()
}

fn ranges<S: RangeStore>(set: &RangeSet<S>, tag: u32) -> Vec<IpaRange> {
    set.ranges(tag).collect()
}

/// All of `in_order`, three at a time.
fn in_order<S: RangeStore>(set: &RangeSet<S>, tag: u32) -> Vec<IpaRange> {
    let mut all = Vec::new();
    loop {
        let len = all.len();
        all.extend(set.in_order::<3>(tag, len));
        if all.len() == len {
            return all;
        }
    }
}

#[test]
fn a_draft_keeps_its_order_and_holds_nothing() {
    let mut set = Set::default();
    set.extend_draft(7, [range(20, 1), range(10, 2)]).unwrap();
    set.extend_draft(7, [range(12, 3), range(30, 1), range(5, 5)]).unwrap();
    let draft = [range(20, 1), range(10, 5), range(30, 1), range(5, 5)];
    assert_eq!((ranges(&set, 7), in_order(&set, 7)), (draft.to_vec(), draft.to_vec()));
    assert!(set.as_slice().iter().all(TrackedRange::is_draft));
    assert_eq!(set.overlapping(range(0, 100)), None);
    set.insert(8, [range(10, 2)]).unwrap();
    assert_eq!(set.insert(7, [range(50, 1)]), Err(InsertError::TagInUse { tag: 7 }));
    set.extend_draft(9, []).unwrap();
    assert_eq!(set.remove(9), 0);
    // Behind another run, which stays what it is.
    set.extend_draft(7, [range(50, 1)]).unwrap();
    assert_eq!(in_order(&set, 7), [&draft[..], &[range(50, 1)]].concat());
    assert_eq!((ranges(&set, 8), set.overlapping(range(0, 100))), (vec![range(10, 2)], Some(8)));
    assert_eq!(set.remove(7), 13);
    assert_eq!(set.len(), 1);
}

#[test]
fn a_sealed_run_holds_its_pages_and_knows_its_order() {
    let mut set = Set::default();
    let draft = [range(20, 1), range(10, 5), range(30, 1), range(15, 5)];
    set.insert(1, [range(0, 5)]).unwrap();
    set.extend_draft(7, draft).unwrap();
    set.insert(2, [range(40, 5)]).unwrap();
    set.seal(7).unwrap();
    assert_eq!(ranges(&set, 7), [range(10, 5), range(15, 5), range(20, 1), range(30, 1)]);
    assert_eq!(in_order(&set, 7), draft);
    assert_eq!(set.in_order::<2>(7, 3).collect::<Vec<_>>(), [range(15, 5)]);
    assert_eq!(set.in_order::<2>(7, 4).count(), 0);
    assert_eq!(set.insert(3, [range(30, 1)]), Err(held(30, 7)));
    assert_eq!(set.extend_draft(7, [range(50, 1)]), Err(InsertError::TagInUse { tag: 7 }));
    assert_eq!([set.overlapping(range(9, 1)), set.overlapping(range(19, 1))], [None, Some(7)]);
    set.seal(7).unwrap();
    assert_eq!(in_order(&set, 7), draft);
    set.retag(7, 8).unwrap();
    assert_eq!(in_order(&set, 8), draft);
    set.settle(8);
    assert_eq!((ranges(&set, 8), set.len()), (vec![range(10, 11), range(30, 1)], 4));
    assert_eq!(in_order(&set, 8), [range(10, 11), range(30, 1)]);
    assert_eq!([ranges(&set, 1), ranges(&set, 2)], [[range(0, 5)], [range(40, 5)]]);
    assert_eq!(set.overlapping(range(30, 1)), Some(8));
    set.settle(8);
    assert_eq!(set.remove(8), 12);
}

fn held(page: u64, with: u32) -> InsertError {
    InsertError::Overlap { address: page * PAGE_SIZE, with: Some(with) }
}

#[test]
fn what_cannot_be_sealed_stays_a_draft() {
    let mut set = Set::default();
    set.insert(1, [range(0, 5)]).unwrap();
    let itself = InsertError::Overlap { address: 21 * PAGE_SIZE, with: None };
    for (tag, draft, error) in [
        (2, [range(20, 2), range(10, 5), range(21, 1)], itself),
        (3, [range(20, 1), range(10, 5), range(4, 2)], held(4, 1)),
    ] {
        set.extend_draft(tag, draft).unwrap();
        let before = set.clone();
        assert_eq!(set.seal(tag), Err(error));
        assert_eq!(set, before);
        assert_eq!(in_order(&set, tag), draft);
        set.settle(tag);
        assert_eq!(set, before);
    }
    // Neither draft was in the way of the other one; a sealed one is.
    assert_eq!(set.remove(1), 5);
    set.seal(3).unwrap();
    set.seal(9).unwrap();
    assert_eq!(set.seal(2), Err(itself));
    set.remove(2);
    set.extend_draft(2, [range(14, 3)]).unwrap();
    assert_eq!(set.seal(2), Err(held(14, 3)));
}

#[test]
fn a_refused_piece_leaves_the_draft_as_it_was() {
    let mut set = Set::default();
    set.insert(1, (0..6).map(|i| range(i * 2, 1))).unwrap();
    set.extend_draft(2, (10..18).map(|i| range(i * 2, 1))).unwrap();
    let before = set.clone();
    // The first would be joined, the others have no room.
    let pieces = [range(35, 1), range(40, 1), range(42, 1), range(44, 1)];
    assert_eq!(set.extend_draft(2, pieces), Err(InsertError::Full(StoreFull)));
    assert_eq!(set, before);
    let address = 1 << 52;
    let beyond = IpaRange::new(address, 1).unwrap();
    assert_eq!(set.extend_draft(2, [range(35, 1), beyond]), Err(InsertError::Address { address }));
    assert_eq!(InsertError::Address { address }.status(), Status::Denied);
    assert_eq!(set, before);
    let beyond = IpaRange::new(1 << 63, 1).unwrap();
    set.insert(3, [beyond]).unwrap(); // nobody's order to remember
    assert_eq!(set.overlapping(beyond), Some(3));
    set.extend_draft(2, [range(35, 1), range(40, 1)]).unwrap();
    assert_eq!(set.try_reserve(0), Ok(()));
    assert_eq!(set.try_reserve(1), Err(StoreFull));
}

/// As many ranges as 64 MiB have pages, downwards by fours, then between them.
#[test]
fn a_long_draft_is_sealed_and_read_in_its_order() {
    const N: u64 = 1 << 14;
    let page = |place: u64| if place < N / 2 { (N - place) * 4 } else { place * 4 + 2 };
    let mut set = RangeSet::new(HeapRanges(Vec::new()));
    for from in [0, N / 2] {
        set.extend_draft(1, (from..from + N / 2).map(|place| range(page(place), 1))).unwrap();
    }
    set.seal(1).unwrap();
    assert!(set.ranges(1).zip(set.ranges(1).skip(1)).all(|(range, next)| range.end() < next.base()));
    for from in [0, 1022, N / 2 - 2, N - 2] {
        let found: Vec<_> =
            set.in_order::<4>(1, from as usize).map(|range| range.base() / PAGE_SIZE).collect();
        assert_eq!(found, (from..N).take(4).map(page).collect::<Vec<_>>());
    }
    for place in [0, 1, N / 2 - 1, N / 2, N - 1] {
        assert_eq!(set.insert(2, [range(page(place), 1)]), Err(held(page(place), 1)));
    }
    assert_eq!(set.remove(1), N);
}

#[test]
fn a_draft_has_two_million_ranges_at_most() {
    const N: u64 = 1 << 21;
    let mut set = RangeSet::new(HeapRanges(Vec::new()));
    set.extend_draft(1, (0..N).map(|place| range(place * 2, 1))).unwrap();
    assert_eq!(set.extend_draft(1, [range(N * 2, 1)]), Err(InsertError::Full(StoreFull)));
    set.extend_draft(1, [range(N * 2 - 1, 1)]).unwrap(); // joined
    assert_eq!(set.remove(1), N + 1);
}

struct HeapRanges(Vec<TrackedRange>);

impl RangeStore for HeapRanges {
    fn as_slice(&self) -> &[TrackedRange] {
        &self.0
    }

    fn as_mut_slice(&mut self) -> &mut [TrackedRange] {
        &mut self.0
    }

    fn try_push(&mut self, range: TrackedRange) -> Result<(), StoreFull> {
        self.0.push(range);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

/// Pages of the model, so few that they meet often: at zero, and where addresses of 52 bits end.
const PAGES: [u64; 2] = [0, (1 << 40) - 40];
/// Ranges that there is room for.
const ROOM: usize = 24;

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, Vec<IpaRange>),
    Extend(u32, Vec<IpaRange>),
    Seal(u32),
    Settle(u32),
    Remove(u32),
    Retag(u32, u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    let tag = 0..5_u32;
    let range = (prop::sample::select(&PAGES[..]), 0..16_u64, 1..5_u32)
        .prop_map(|(base, page, pages)| range(base + page, pages));
    let ranges = vec(range, 0..5);
    prop_oneof![
        2 => (tag.clone(), ranges.clone()).prop_map(|(tag, ranges)| Step::Insert(tag, ranges)),
        4 => (tag.clone(), ranges).prop_map(|(tag, ranges)| Step::Extend(tag, ranges)),
        3 => tag.clone().prop_map(Step::Seal),
        2 => tag.clone().prop_map(Step::Settle),
        1 => tag.clone().prop_map(Step::Remove),
        1 => (tag.clone(), tag).prop_map(|(old, new)| Step::Retag(old, new)),
    ]
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Draft,
    Sealed,
    Settled,
}

/// The ranges of one tag as they came.
#[derive(Clone, Debug)]
struct Run {
    tag: u32,
    state: State,
    order: Vec<IpaRange>,
}

#[derive(Default)]
struct Model(Vec<Run>);

impl Model {
    fn find(&mut self, tag: u32) -> Option<&mut Run> {
        self.0.iter_mut().find(|run| run.tag == tag)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|run| run.order.len()).sum()
    }

    /// Who holds a page of `range`, other than `tag`.
    fn holder(&self, range: &IpaRange, tag: Option<u32>) -> Option<u32> {
        let mut holders = self.0.iter().filter(|run| run.state != State::Draft && Some(run.tag) != tag);
        holders.find(|run| run.order.iter().any(|other| other.overlaps(range))).map(|run| run.tag)
    }

    /// Whether `error` is one that `ranges` under `tag` deserve.
    fn deserve(&self, ranges: &[IpaRange], tag: u32, error: InsertError) -> bool {
        let itself = (0..ranges.len()).any(|i| ranges[..i].iter().any(|other| other.overlaps(&ranges[i])));
        match error {
            InsertError::Overlap { with: None, .. } => itself,
            InsertError::Overlap { address, with } => {
                let page = IpaRange::new(address, 1).unwrap();
                ranges.iter().any(|range| range.overlaps(&page)) && self.holder(&page, Some(tag)) == with
            }
            InsertError::TagInUse { tag: used } => used == tag && self.0.iter().any(|run| run.tag == tag),
            InsertError::Full(_) => self.len() + ranges.len() > ROOM,
            _ => false,
        }
    }

    fn fits(&self, ranges: &[IpaRange], tag: u32) -> bool {
        let itself = (0..ranges.len()).any(|i| ranges[..i].iter().any(|other| other.overlaps(&ranges[i])));
        !itself && ranges.iter().all(|range| self.holder(range, Some(tag)).is_none())
    }
}

fn joined(ranges: impl IntoIterator<Item = IpaRange>) -> Vec<IpaRange> {
    let mut all: Vec<IpaRange> = Vec::new();
    for range in ranges {
        match all.last().and_then(|last| last.join(&range)) {
            Some(joined) => *all.last_mut().unwrap() = joined,
            None => all.push(range),
        }
    }
    all
}

fn sorted(ranges: &[IpaRange]) -> Vec<IpaRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort();
    sorted
}

/// Takes the step in both, and checks that they say the same of it.
fn step(set: &mut RangeSet<FixedRanges<ROOM>>, model: &mut Model, step: Step) {
    match step {
        Step::Insert(tag, ranges) => match set.insert(tag, ranges.iter().copied()) {
            Ok(()) => {
                assert!(model.fits(&ranges, tag) && (ranges.is_empty() || model.find(tag).is_none()));
                if !ranges.is_empty() {
                    model.0.push(Run { tag, state: State::Settled, order: joined(sorted(&ranges)) });
                }
            }
            Err(error) => assert!(model.deserve(&ranges, tag, error), "{error}"),
        },
        Step::Extend(tag, ranges) => {
            let old = model.find(tag).map_or(Vec::new(), |run| run.order.clone());
            let is_draft = model.find(tag).is_none_or(|run| run.state == State::Draft);
            let new = joined(old.iter().chain(&ranges).copied());
            let expected = if !is_draft {
                Err(InsertError::TagInUse { tag })
            } else if model.len() - old.len() + new.len() > ROOM {
                Err(InsertError::Full(StoreFull))
            } else {
                Ok(())
            };
            assert_eq!(set.extend_draft(tag, ranges), expected);
            if expected.is_ok() && !new.is_empty() {
                model.0.retain(|run| run.tag != tag);
                model.0.push(Run { tag, state: State::Draft, order: new });
            }
        }
        Step::Seal(tag) => {
            let draft = model.find(tag).filter(|run| run.state == State::Draft).map(|run| run.order.clone());
            match (set.seal(tag), draft) {
                (Ok(()), Some(draft)) => {
                    assert!(model.fits(&draft, tag));
                    model.find(tag).unwrap().state = State::Sealed;
                }
                (Err(error), Some(draft)) => assert!(
                    matches!(error, InsertError::Overlap { .. }) && model.deserve(&draft, tag, error),
                    "{error}"
                ),
                (result, None) => assert_eq!(result, Ok(())),
            }
        }
        Step::Settle(tag) => {
            set.settle(tag);
            if let Some(run) = model.find(tag).filter(|run| run.state == State::Sealed) {
                run.state = State::Settled;
                run.order = joined(sorted(&run.order));
            }
        }
        Step::Remove(tag) => {
            let pages = model.find(tag).map_or(0, |run| run.order.iter().map(|range| range.pages()).sum());
            assert_eq!(set.remove(tag), u64::from(pages));
            model.0.retain(|run| run.tag != tag);
        }
        Step::Retag(old, new) => {
            let (len, is_used) =
                (model.find(old).map_or(0, |run| run.order.len()), model.find(new).is_some());
            if len != 0 && is_used && old != new {
                assert_eq!(set.retag(old, new), Err(InsertError::TagInUse { tag: new }));
            } else {
                assert_eq!(set.retag(old, new), Ok(len));
                model.0.iter_mut().filter(|run| run.tag == old).for_each(|run| run.tag = new);
            }
        }
    }
}

proptest! {
    #[test]
    fn behaves_as_a_list_of_ranges(steps in vec(any_step(), 1..40)) {
        let mut set = RangeSet::new(FixedRanges::<ROOM>::new());
        let mut model = Model::default();
        for next in steps {
            step(&mut set, &mut model, next);
            prop_assert_eq!(set.len(), model.len());
            for run in &model.0 {
                prop_assert_eq!(in_order(&set, run.tag), &run.order[..]);
                let is_draft = run.state == State::Draft;
                let expected = if is_draft { run.order.clone() } else { sorted(&run.order) };
                prop_assert_eq!(ranges(&set, run.tag), expected);
                prop_assert!(set.run(run.tag).iter().all(|range| range.is_draft() == is_draft));
            }
            for page in PAGES.iter().flat_map(|base| (0..20).map(move |page| range(base + page, 1))) {
                prop_assert_eq!(set.overlapping(page), model.holder(&page, None));
            }
        }
    }
}
