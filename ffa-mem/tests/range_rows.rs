//! Send descriptors with one field of the ranges broken, named as in `header_rows`.

mod common;

use common::{VERSIONS, Vector};
use ffa_abi::Version;
use ffa_mem::{DescriptorError, FixedRanges, InsertError, IpaRange, RangeError, RangeSet};

/// A share of these address and page-count pairs, whose total is right unless it does not fit.
fn share_of(version: Version, ranges: &[(u64, u32)]) -> Vector {
    let mut vector = Vector::share(version);
    vector.bytes.truncate(vector.range(0));
    for (address, pages) in ranges {
        vector.bytes.extend(address.to_le_bytes());
        vector.bytes.extend(u64::from(*pages).to_le_bytes());
    }
    let total: u64 = ranges.iter().map(|(_, pages)| u64::from(*pages)).sum();
    let at = vector.composite_at;
    vector.put_u32(at, total as u32).put_u32(at + 4, ranges.len() as u32)
}

/// `count` ranges of one page that do not touch.
fn pages(count: usize) -> Vec<(u64, u32)> {
    (0..count as u64).map(|i| (0x4000_0000 + i * 0x2000, 1)).collect()
}

/// First, in the middle, last; in short lists and in long ones, which are checked in other ways.
const PLACES: [(usize, usize); 8] = [(1, 0), (2, 1), (3, 1), (7, 6), (64, 0), (64, 33), (64, 63), (65, 64)];

#[test]
fn e18_no_ranges() {
    for version in VERSIONS {
        assert_eq!(share_of(version, &[]).error(), DescriptorError::NoRanges);
        // With a total that says otherwise, too.
        let vector = share_of(version, &[]);
        let at = vector.composite_at;
        assert_eq!(vector.put_u32(at, 3).error(), DescriptorError::NoRanges);
    }
}

#[test]
fn e19_range_count_and_length_disagree() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let (at, offset, have) = (vector.composite_at + 4, vector.range(0) as u64, vector.have());
        for count in [3, 0x1000_0000, 0x1000_0002, u32::MAX] {
            let need = u64::from(count) * 16;
            let error = vector.clone().put_u32(at, count).error();
            assert_eq!(error, DescriptorError::Truncated { field: "constituents", offset, need, have });
        }
        for count in [0, 1] {
            let end = offset + u64::from(count) * 16;
            let error = vector.clone().put_u32(at, count).error();
            assert_eq!(error, DescriptorError::Excess { end, have });
        }
    }
}

#[test]
fn e20_total_pages_is_not_the_sum() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let at = vector.composite_at;
        for total in [0, 1, 2, 4, u32::MAX] {
            let error = vector.clone().put_u32(at, total).error();
            assert_eq!(error, DescriptorError::TotalPages { total, sum: 3 });
        }
        // The sum wraps 32 bits to the total.
        let vector = share_of(version, &[(0, u32::MAX), (0x1000_0000_0000, u32::MAX), (0x2000_0000_0000, 3)]);
        let sum = 2 * u64::from(u32::MAX) + 3;
        assert_eq!(vector.error(), DescriptorError::TotalPages { total: 1, sum });
        // As many as fit.
        let vector = share_of(version, &[(0, u32::MAX - 1), (0x1000_0000_0000, 1)]);
        assert_eq!(vector.parse().unwrap().total_pages(), u32::MAX);
    }
}

#[test]
fn e21_e22_range_without_pages() {
    for version in VERSIONS {
        for (count, bad) in PLACES {
            let mut ranges = pages(count);
            ranges[bad].1 = 0;
            let source = RangeError::Empty { address: ranges[bad].0 };
            let error = share_of(version, &ranges).error();
            assert_eq!(error, DescriptorError::Range { index: bad as u32, source });
        }
        let hidden = share_of(version, &[(0x4000_0000, 5), (0x5000_0000, 0), (0x4000_1000, 2)]);
        let source = RangeError::Empty { address: 0x5000_0000 };
        assert_eq!(hidden.error(), DescriptorError::Range { index: 1, source });
    }
}

#[test]
fn e23_unaligned_address() {
    for version in VERSIONS {
        for (count, bad) in PLACES {
            for add in [1, 2, 4, 8, 0x800, 0xfff] {
                let mut ranges = pages(count);
                ranges[bad].0 += add;
                let source = RangeError::Unaligned { address: ranges[bad].0 };
                let error = share_of(version, &ranges).error();
                assert_eq!(error, DescriptorError::Range { index: bad as u32, source });
            }
        }
    }
}

#[test]
fn e24_range_wraps_the_address_space() {
    let top = u64::MAX - 0xfff;
    for version in VERSIONS {
        for (count, bad) in PLACES {
            for (address, pages_) in
                [(top, 1), (top - 0x1000, 2), (top, u32::MAX), (0xffff_f000_0000_1000, u32::MAX)]
            {
                let mut ranges = pages(count);
                ranges[bad] = (address, pages_);
                let source = RangeError::Overflow { address, pages: pages_ };
                let error = share_of(version, &ranges).error();
                assert_eq!(error, DescriptorError::Range { index: bad as u32, source });
            }
        }
        // The highest ones that do not.
        let vector = share_of(
            version,
            &[(0, 1), (top - 0x1000, 1), (1 << 63, 1), (0xffff_f000_0000_0000 - 0x1000, 1)],
        );
        assert_eq!(vector.parse().unwrap().ranges().nth(1), IpaRange::new(top - 0x1000, 1).ok());
    }
}

#[test]
fn e26_overlap_is_found_by_the_range_set() {
    let page = |page: u64, pages| (0x4000_0000 + page * 0x1000, pages);
    let cases: [(Vec<_>, Option<u64>); 8] = [
        (vec![page(0, 5), page(1, 2)], Some(1)),
        (vec![page(1, 2), page(0, 5)], Some(1)),
        (vec![page(0, 5), page(0, 5)], Some(0)),
        (vec![page(0, 5), page(3, 2)], Some(3)),
        (vec![page(4, 1), page(0, 5)], Some(4)),
        (vec![page(0, 5), page(5, 2)], None),
        (vec![page(5, 2), page(0, 5)], None),
        (vec![page(8, 1), page(5, 2), page(0, 5), page(7, 1)], None),
    ];
    for version in VERSIONS {
        for (ranges, overlap) in cases.clone() {
            let vector = share_of(version, &ranges);
            let mut set = RangeSet::new(FixedRanges::<8>::new());
            let expected = match overlap {
                Some(at) => Err(InsertError::Overlap { address: page(at, 0).0, with: None }),
                None => Ok(()),
            };
            assert_eq!(set.insert(1, vector.parse().unwrap().ranges()), expected, "{ranges:x?}");
            assert_eq!(set.is_empty(), overlap.is_some());
        }
    }
}

#[test]
fn e28_range_reserved_word() {
    for version in VERSIONS {
        for (count, bad) in PLACES {
            for value in [1, 0x8000_0000, u32::MAX] {
                let vector = share_of(version, &pages(count));
                let at = vector.range(bad) + 12;
                let error = vector.put_u32(at, value).error();
                assert_eq!(error, DescriptorError::RangeReserved { index: bad as u32, value });
            }
        }
    }
}

/// No pages and a reserved word of 1 are one number with the lowest count that is allowed: no total may hide it.
#[test]
fn reserved_word_does_not_make_up_for_missing_pages() {
    for version in VERSIONS {
        for (count, bad) in PLACES {
            for total in [0, count as u32 - 1, count as u32, u32::MAX] {
                let vector = share_of(version, &pages(count));
                let (at, composite_at) = (vector.range(bad), vector.composite_at);
                let vector = vector.put_u32(at + 8, 0).put_u32(at + 12, 1).put_u32(composite_at, total);
                let source = RangeError::Empty { address: pages(count)[bad].0 };
                assert_eq!(vector.error(), DescriptorError::Range { index: bad as u32, source });
            }
        }
    }
}

#[test]
fn first_bad_range_is_named() {
    let vector = share_of(Version::V1_1, &[(0x1000, 1), (0x2001, 1), (0x4000, 0)]);
    let source = RangeError::Unaligned { address: 0x2001 };
    assert_eq!(vector.error(), DescriptorError::Range { index: 1, source });
}
