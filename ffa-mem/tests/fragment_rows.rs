//! Send descriptors that come in fragments, broken in one way each, named as in `header_rows`.

mod common;

use common::{VERSIONS, Vector};
use ffa_abi::{Status, Version};
use ffa_mem::{DescriptorError, FirstFragment, IpaRange, PAGE_SIZE, RangeError, Reassembly};

fn range(page: u64, pages: u32) -> IpaRange {
    IpaRange::new(page * PAGE_SIZE, pages).unwrap()
}

fn first<'a>(vector: &Vector, fragment: &'a [u8]) -> Result<FirstFragment<'a>, DescriptorError> {
    FirstFragment::parse(fragment, vector.bytes.len() as u32, &vector.rules)
}

/// The head alone, and the bytes of the ranges: two pages, and one.
fn head_of(vector: &Vector) -> (Reassembly, Vec<u8>) {
    let (head, ranges) = vector.bytes.split_at(vector.range(0));
    (first(vector, head).unwrap().rest, ranges.to_vec())
}

#[test]
fn f_01_a_first_fragment_may_be_the_head_alone() {
    for version in VERSIONS {
        for vector in [Vector::share(version), Vector::lend(version), Vector::donate(version)] {
            let at = vector.range(0);
            let FirstFragment { head, ranges, rest } = first(&vector, &vector.bytes[..at]).unwrap();
            assert_eq!((ranges.len(), rest.offset(), rest.is_whole()), (0, at as u32, false));
            assert_eq!((rest.range_count(), head.total_pages()), (2, 3));
            let whole = vector.parse().unwrap();
            assert!(head.receivers().eq(whole.receivers()));
            assert_eq!(head.sender(), whole.sender());
            assert_eq!(head.attributes(), whole.attributes());
            assert_eq!((head.flags(), head.tag()), (whole.flags(), whole.tag()));
        }
    }
}

#[test]
fn f_02_one_range_per_fragment() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let (mut rest, bytes) = head_of(&vector);
        let at = vector.range(0) as u32;
        assert_eq!(rest.take(&bytes[..16]).unwrap().collect::<Vec<_>>(), [range(0x48000, 2)]);
        assert_eq!((rest.offset(), rest.is_whole()), (at + 16, false));
        assert_eq!(rest.take(&bytes[16..]).unwrap().collect::<Vec<_>>(), [range(0x40000, 1)]);
        assert_eq!((rest.offset(), rest.is_whole(), rest.range_count()), (at + 32, true, 2));
    }
}

#[test]
fn f_02_a_descriptor_may_come_whole() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let FirstFragment { ranges, rest, .. } = first(&vector, &vector.bytes).unwrap();
        assert!(ranges.eq(vector.parse().unwrap().ranges()));
        assert_eq!((rest.offset(), rest.is_whole()), (vector.bytes.len() as u32, true));
    }
}

#[test]
fn f_03_f_17_a_fragment_is_empty_or_ends_within_a_range() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let (mut rest, bytes) = head_of(&vector);
        for len in [0, 1, 8, 15, 17, 24, 31] {
            let error = rest.take(&bytes[..len]).unwrap_err();
            assert_eq!(error, DescriptorError::FragmentLength { len: len as u64, left: 32 });
            assert_eq!(error.status(), Status::InvalidParameters);
        }
        for len in [1, 8, 15, 17, 24, 31] {
            let error = first(&vector, &vector.bytes[..vector.range(0) + len]).unwrap_err();
            assert_eq!(error, DescriptorError::FragmentLength { len: len as u64, left: 32 });
        }
    }
}

#[test]
fn f_04_more_than_is_to_come() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let (mut rest, bytes) = head_of(&vector);
        let more = [&bytes[..], &bytes[..16]].concat();
        let error = rest.take(&more).unwrap_err();
        assert_eq!(error, DescriptorError::FragmentLength { len: 48, left: 32 });
        // What was refused changes nothing.
        rest.take(&bytes[..16]).unwrap();
        assert_eq!(rest.take(&bytes).unwrap_err(), DescriptorError::FragmentLength { len: 32, left: 16 });
        rest.take(&bytes[16..]).unwrap();
        let error = rest.take(&bytes[..16]).unwrap_err();
        assert_eq!(error, DescriptorError::FragmentLength { len: 16, left: 0 });
    }
}

#[test]
fn f_14_offsets_are_those_of_the_callers_layout() {
    let offset = |version| head_of(&Vector::share(version)).0.offset();
    assert_eq!(VERSIONS.map(offset), [64, 80, 96]);
}

#[test]
fn d01_d04_the_head_is_not_whole() {
    for version in VERSIONS {
        for vector in [Vector::share(version), Vector::share(version).with_receivers(&[0x8002, 0x8003])] {
            for len in 0..vector.range(0) {
                let error = first(&vector, &vector.bytes[..len]).unwrap_err();
                let DescriptorError::Truncated { offset, need, have, .. } = error else {
                    panic!("{len} bytes: {error}")
                };
                assert_eq!(have, len as u64);
                assert!(offset + need > have, "{error}");
            }
        }
    }
}

#[test]
fn d02_d06_d07_d08_total_length_is_not_that_of_the_ranges() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let at = vector.range(0);
        let (offset, len) = (at as u64, vector.have());
        for (fragment_len, total) in
            [(at, len - 16), (at, len - 1), (at, 0), (at + 32, len - 16), (at, offset)]
        {
            let error = FirstFragment::parse(&vector.bytes[..fragment_len], total as u32, &vector.rules);
            let field = "constituents";
            assert_eq!(
                error.unwrap_err(),
                DescriptorError::Truncated { field, offset, need: 32, have: total }
            );
        }
        for total in [len + 1, len + 8, len + 16, 0xffff_fff0] {
            let error = FirstFragment::parse(&vector.bytes[..at], total as u32, &vector.rules).unwrap_err();
            assert_eq!(error, DescriptorError::Excess { end: len, have: total });
        }
    }
}

#[test]
fn e18_e20_counts_that_no_ranges_can_have() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let at = vector.composite_at;
        let head = |vector: &Vector, total_len| {
            let error = FirstFragment::parse(&vector.bytes[..at + 16], total_len, &vector.rules);
            error.unwrap_err()
        };
        let none = vector.clone().put_u32(at + 4, 0);
        assert_eq!(head(&none, at as u32 + 16), DescriptorError::NoRanges);
        for total in [0, 1] {
            let few = vector.clone().put_u32(at, total);
            assert_eq!(head(&few, few.bytes.len() as u32), DescriptorError::TotalPages { total, sum: 2 });
        }
        // A count of 2^28 ranges takes 2^32 bytes.
        let many = vector.put_u32(at + 4, 0x1000_0000);
        let (offset, have) = (at as u64 + 16, 0xffff_fff0);
        let field = "constituents";
        let error = DescriptorError::Truncated { field, offset, need: 0x1_0000_0000, have };
        assert_eq!(head(&many, 0xffff_fff0), error);
    }
}

#[test]
fn e20_total_pages_is_not_the_sum_over_all_fragments() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let at = vector.composite_at;
        // Two pages, and one for the range that is to come, are too many at once.
        let (mut rest, bytes) = head_of(&vector.clone().put_u32(at, 2));
        let error = DescriptorError::TotalPages { total: 2, sum: 3 };
        assert_eq!(rest.take(&bytes[..16]).unwrap_err(), error);
        // With the last one they are too few, or too many.
        let (mut rest, bytes) = head_of(&vector.clone().put_u32(at, 4));
        rest.take(&bytes[..16]).unwrap();
        let error = DescriptorError::TotalPages { total: 4, sum: 3 };
        assert_eq!(rest.take(&bytes[16..]).unwrap_err(), error);
        let (mut rest, mut bytes) = head_of(&vector);
        rest.take(&bytes[..16]).unwrap();
        bytes[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = DescriptorError::TotalPages { total: 3, sum: u64::from(u32::MAX) + 2 };
        assert_eq!(rest.take(&bytes[16..]).unwrap_err(), error);
    }
}

#[test]
fn e21_e23_e24_e28_ranges_are_counted_over_all_fragments() {
    let vector = Vector::share(Version::V1_1);
    let top = u64::MAX - 0xfff;
    let address = 0x4000_0000;
    let cases: [(usize, u64, DescriptorError); 4] = [
        (8, 0, DescriptorError::Range { index: 1, source: RangeError::Empty { address } }),
        (
            0,
            address | 1,
            DescriptorError::Range { index: 1, source: RangeError::Unaligned { address: address | 1 } },
        ),
        (
            0,
            top,
            DescriptorError::Range { index: 1, source: RangeError::Overflow { address: top, pages: 1 } },
        ),
        (8, 1 << 63 | 1, DescriptorError::RangeReserved { index: 1, value: 1 << 31 }),
    ];
    for (at, value, error) in cases {
        let (mut rest, mut bytes) = head_of(&vector);
        bytes[16 + at..24 + at].copy_from_slice(&value.to_le_bytes());
        assert_eq!(rest.take(&bytes).unwrap_err(), error);
        rest.take(&bytes[..16]).unwrap();
        let before = rest;
        assert_eq!(rest.take(&bytes[16..]).unwrap_err(), error);
        assert_eq!(rest, before);
    }
}
