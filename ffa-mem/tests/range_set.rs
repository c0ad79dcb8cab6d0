//! Sets of ranges: each operation by example, and all of them against a list of pages.

use ffa_abi::Status;
use ffa_mem::{FixedRanges, InsertError, IpaRange, PAGE_SIZE, RangeSet, RangeStore, StoreFull, TrackedRange};
use proptest::prelude::*;

type Set = RangeSet<FixedRanges<16>>;

fn range(page: u64, pages: u32) -> IpaRange {
    IpaRange::new(page * PAGE_SIZE, pages).unwrap()
}

fn overlap(page: u64, with: u32) -> InsertError {
    InsertError::Overlap { address: page * PAGE_SIZE, with: Some(with) }
}

fn ranges(set: &Set, tag: u32) -> Vec<IpaRange> {
    set.ranges(tag).collect()
}

#[test]
fn inserts_sorted_and_joined() {
    let mut set = Set::default();
    set.insert(7, [range(20, 1), range(10, 2), range(12, 3), range(30, 1), range(15, 5)]).unwrap();
    assert_eq!(ranges(&set, 7), [range(10, 11), range(30, 1)]);
    assert_eq!(set.len(), 2);
    set.insert(8, [range(0, 10)]).unwrap(); // touches, but is another's
    assert_eq!(ranges(&set, 8), [range(0, 10)]);
    assert_eq!(ranges(&set, 9), []);
    set.insert(9, []).unwrap();
    assert_eq!(set.len(), 3);
}

#[test]
fn refuses_what_is_held_and_keeps_nothing_of_it() {
    let mut set = Set::default();
    set.insert(1, [range(10, 5), range(20, 5), range(30, 5)]).unwrap();
    set.insert(2, [range(15, 5)]).unwrap();
    let before = set.clone();
    let cases = [
        (vec![range(0, 1), range(24, 1)], overlap(24, 1)),
        (vec![range(40, 1), range(14, 2)], overlap(14, 1)),
        (vec![range(0, 100)], overlap(10, 1)),
        (vec![range(17, 1)], overlap(17, 2)),
        (vec![range(8, 1), range(9, 2), range(34, 9)], overlap(10, 1)),
    ];
    for (ranges, error) in cases {
        assert_eq!(set.insert(3, ranges.iter().copied()), Err(error), "{ranges:?}");
        assert_eq!(set, before);
    }
    let itself = InsertError::Overlap { address: 51 * PAGE_SIZE, with: None };
    assert_eq!(set.insert(3, [range(60, 1), range(50, 2), range(51, 1)]), Err(itself));
    assert_eq!(set.insert(2, [range(60, 1)]), Err(InsertError::TagInUse { tag: 2 }));
    assert_eq!(set, before);
    set.insert(3, [range(25, 5), range(35, 1)]).unwrap(); // exactly between
}

#[test]
fn a_full_store_keeps_what_it_had() {
    let mut set = Set::default();
    set.insert(1, (0..15).map(|i| range(i * 2, 1))).unwrap();
    let before = set.clone();
    assert_eq!(set.insert(2, [range(100, 1), range(102, 1)]), Err(InsertError::Full(StoreFull)));
    assert_eq!(set, before);
    set.insert(2, [range(100, 1), range(101, 1)]).unwrap(); // one range
    assert_eq!(set.insert(3, [range(200, 1)]), Err(InsertError::Full(StoreFull)));
}

#[test]
fn removes_and_retags_whole_runs() {
    let mut set = Set::default();
    for tag in [5, 3, 9] {
        set.insert(tag, (0..4).map(|i| range(u64::from(tag) * 100 + i * 2, 1))).unwrap();
    }
    assert_eq!(set.remove(4), 0);
    assert_eq!(set.retag(3, 4), Ok(4));
    assert_eq!(set.retag(3, 4), Ok(0));
    assert_eq!(set.retag(4, 9), Err(InsertError::TagInUse { tag: 9 }));
    assert_eq!(set.retag(4, 4), Ok(4));
    assert_eq!(set.remove(5), 4);
    assert_eq!(set.len(), 8);
    assert_eq!(ranges(&set, 4), (0..4).map(|i| range(300 + i * 2, 1)).collect::<Vec<_>>());
    assert_eq!((set.remove(9), set.remove(4)), (4, 4));
    assert!(set.is_empty());
}

#[test]
fn finds_who_holds_a_page() {
    let mut set = Set::default();
    set.insert(1, [range(10, 5), range(20, 5)]).unwrap();
    set.insert(2, [range(16, 2)]).unwrap();
    let cases = [
        (range(9, 1), None),
        (range(9, 2), Some(1)),
        (range(15, 1), None),
        (range(15, 2), Some(2)),
        (range(18, 2), None),
        (range(0, 100), Some(1)),
        (range(24, 1), Some(1)),
        (range(25, 1), None),
    ];
    for (range, tag) in cases {
        assert_eq!(set.overlapping(range), tag, "{range:?}");
    }
}

#[test]
fn statuses_for_guests() {
    let address = 0x1000;
    assert_eq!(InsertError::Full(StoreFull).status(), Status::NoMemory);
    assert_eq!(InsertError::Overlap { address, with: None }.status(), Status::InvalidParameters);
    assert_eq!(InsertError::Overlap { address, with: Some(1) }.status(), Status::Denied);
}

#[test]
fn a_set_begins_empty_in_any_store() {
    let mut set = Set::default();
    set.insert(1, [range(1, 1)]).unwrap();
    let mut store = set.into_store();
    assert!(RangeSet::new(&mut store).is_empty());
    assert_eq!(store.as_slice(), []);
    assert_eq!(size_of::<TrackedRange>(), 16);
}

/// A hostile layout: one run of every second page, then the pages between, in long and short inserts. The number of
/// ranges looked at must stay near what a merge takes, or this test takes minutes.
#[test]
fn interleaved_runs_take_no_quadratic_time() {
    const N: u64 = 100_000;
    let store = Box::new(HeapRanges(Vec::new()));
    let mut set = RangeSet::new(*store);
    set.insert(1, (0..N).rev().map(|i| range(i * 4, 1))).unwrap();
    set.insert(2, (0..N).map(|i| range(i * 4 + 1, 1))).unwrap();
    for tag in 3..1000 {
        set.insert(tag, [range(u64::from(tag) * 4 + 2, 1)]).unwrap();
    }
    let last = (N - 1) * 4 + 1;
    assert_eq!(
        set.insert(5000, (0..N).map(|i| range(i * 4 + if i == N - 1 { 1 } else { 3 }, 1))),
        Err(overlap(last, 2))
    );
    assert_eq!(set.overlapping(range(last, 1)), Some(2));
    assert_eq!(set.remove(1), N);
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

/// Pages below this number, so that they meet often.
const PAGES: u64 = 64;

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, Vec<(u64, u32)>),
    Remove(u32),
    Retag(u32, u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    let tag = 0..6_u32;
    let range = (0..PAGES, 1..6_u32);
    prop_oneof![
        4 => (tag.clone(), prop::collection::vec(range, 0..6)).prop_map(|(tag, ranges)| Step::Insert(tag, ranges)),
        1 => tag.clone().prop_map(Step::Remove),
        1 => (tag.clone(), tag).prop_map(|(old, new)| Step::Retag(old, new)),
    ]
}

/// Who holds each page.
type Pages = Vec<Option<u32>>;

/// All that is wrong with an insert; where nothing is, the list holds it.
#[derive(Debug, Default, Eq, PartialEq)]
struct Wrong {
    tag: bool,
    itself: bool,
    held: bool,
}

/// The same insert into a list of pages.
fn insert(pages: &mut Pages, tag: u32, ranges: &[(u64, u32)]) -> Wrong {
    let mut wrong = Wrong { tag: !ranges.is_empty() && pages.contains(&Some(tag)), ..Wrong::default() };
    let mut new: Pages = vec![None; pages.len()];
    for (base, count) in ranges {
        for page in *base..*base + u64::from(*count) {
            wrong.itself |= new[page as usize].replace(tag).is_some();
            wrong.held |= pages[page as usize].is_some();
        }
    }
    if wrong == Wrong::default() {
        pages.iter_mut().zip(new).filter(|(_, new)| new.is_some()).for_each(|(page, new)| *page = new);
    }
    wrong
}

proptest! {
    #[test]
    fn behaves_as_a_list_of_pages(steps in prop::collection::vec(any_step(), 1..40)) {
        let mut set = RangeSet::new(FixedRanges::<512>::new());
        let mut pages: Pages = vec![None; PAGES as usize + 8];
        for step in steps {
            match step {
                Step::Insert(tag, list) => {
                    let result = set.insert(tag, list.iter().map(|(page, count)| range(*page, *count)));
                    let wrong = insert(&mut pages, tag, &list);
                    match result {
                        Ok(()) => prop_assert_eq!(wrong, Wrong::default()),
                        Err(InsertError::Overlap { with: None, .. }) => prop_assert!(wrong.itself),
                        Err(InsertError::Overlap { with: Some(with), address }) => {
                            prop_assert!(wrong.held);
                            prop_assert_eq!(pages[(address / PAGE_SIZE) as usize], Some(with));
                        }
                        Err(InsertError::TagInUse { .. }) => prop_assert!(wrong.tag),
                        Err(error) => prop_assert!(false, "{}", error),
                    }
                }
                Step::Remove(tag) => {
                    let held = pages.iter().filter(|page| **page == Some(tag)).count();
                    prop_assert_eq!(set.remove(tag), held as u64);
                    pages.iter_mut().filter(|page| **page == Some(tag)).for_each(|page| *page = None);
                }
                Step::Retag(old, new) => {
                    let (has_old, has_new) = (pages.contains(&Some(old)), pages.contains(&Some(new)));
                    match set.retag(old, new) {
                        Ok(count) => {
                            prop_assert_eq!(count != 0, has_old);
                            prop_assert!(old == new || !has_old || !has_new);
                            pages.iter_mut().filter(|page| **page == Some(old)).for_each(|page| *page = Some(new));
                        }
                        Err(_) => prop_assert!(has_old && has_new && old != new),
                    }
                }
            }
            let mut seen: Pages = vec![None; pages.len()];
            for tracked in set.as_slice() {
                for page in tracked.base() / PAGE_SIZE..tracked.end() / PAGE_SIZE {
                    prop_assert_eq!(seen[page as usize].replace(tracked.tag()), None);
                }
            }
            prop_assert_eq!(&seen, &pages);
            for page in 0..pages.len() as u64 {
                prop_assert_eq!(set.overlapping(range(page, 1)), pages[page as usize]);
            }
            for tag in 0..6 {
                let run: Vec<_> = set.ranges(tag).collect();
                prop_assert!(run.windows(2).all(|pair| pair[0].end() < pair[1].base()), "{:?}", run);
                let count: u32 = run.iter().map(|range| range.pages()).sum();
                prop_assert_eq!(count as usize, pages.iter().filter(|page| **page == Some(tag)).count());
            }
        }
    }
}
