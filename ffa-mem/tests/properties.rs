//! Properties of parsing and building, for descriptors and bytes of any kind.

mod common;

use common::any::{Send, any_send, any_transaction, any_version, build, joined};
use common::{GUEST, Vector};
use ffa_abi::{Transaction, Version};
use ffa_mem::{DescriptorError, IpaRange, MAX_RECEIVERS, MemoryAttributes, SendDescriptor, SendRules};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Every value that a descriptor gives satisfies what its type promises.
fn walk(send: &SendDescriptor<'_>) {
    let pages: u64 = send.ranges().map(|range| u64::from(range.pages())).sum();
    assert_eq!(pages, u64::from(send.total_pages()));
    for range in send.ranges() {
        assert_eq!(IpaRange::new(range.base(), range.pages()), Ok(range));
    }
    let ids: Vec<_> = send.receivers().map(|receiver| receiver.id).collect();
    assert!(!ids.contains(&send.sender()) && (1..=MAX_RECEIVERS as usize).contains(&ids.len()));
    assert!((1..ids.len()).all(|i| !ids[..i].contains(&ids[i])));
    assert_eq!(MemoryAttributes::from_bits(send.attributes().bits()), Ok(send.attributes()));
}

/// Bytes near the fields that matter, so that mutations hit more than padding.
fn any_mutation() -> impl Strategy<Value = (usize, u8)> {
    let value =
        prop_oneof![select(vec![0x00, 0x01, 0x02, 0x0f, 0x10, 0x2f, 0x30, 0x7f, 0x80, 0xff]), any::<u8>()];
    (0..160_usize, value)
}

proptest! {
    #[test]
    fn what_was_built_is_read_again(send in any_send(), stale in any::<u8>()) {
        let mut buf = vec![stale; 16384];
        let len = build(&send, &mut buf);
        prop_assert!(buf[len..].iter().all(|byte| *byte == stale));
        let read = SendDescriptor::parse(&buf[..len], &send.rules()).unwrap();
        walk(&read);
        prop_assert_eq!(read.sender(), send.header.sender);
        prop_assert_eq!(read.attributes(), send.header.attributes);
        prop_assert_eq!(read.flags(), send.header.flags);
        prop_assert_eq!(read.tag(), send.header.tag);
        prop_assert_eq!(read.receivers().collect::<Vec<_>>(), &send.receivers[..]);
        prop_assert_eq!(read.ranges().collect::<Vec<_>>(), joined(&send.ranges));

        // Building what was read gives the same bytes: the form is canonical.
        let mut again = vec![!stale; len];
        let ranges = read.ranges().collect();
        prop_assert_eq!(build(&Send { ranges, ..send }, &mut again), len);
        prop_assert_eq!(&again[..], &buf[..len]);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in vec(any::<u8>(), 0..300),
        version in any_version(),
        transaction in any_transaction(),
    ) {
        let rules = SendRules { version, transaction, sender: GUEST };
        if let Ok(send) = SendDescriptor::parse(&bytes, &rules) {
            walk(&send);
        }
    }

    #[test]
    fn mutated_vectors_are_read_or_refused(
        version in any_version(),
        transaction in any_transaction(),
        more in 0..3_u16,
        mutations in vec(any_mutation(), 1..4),
        len in prop_oneof![4 => Just(None), 1 => (0..200_usize).prop_map(Some)],
    ) {
        let mut vector = match transaction {
            Transaction::Share => Vector::share(version),
            Transaction::Lend => Vector::lend(version),
            Transaction::Donate => Vector::donate(version),
        };
        vector = vector.with_receivers(&[0x8002, 0x8003][..usize::from(more).min(2)]);
        for (at, value) in mutations {
            let at = at % vector.bytes.len();
            vector.bytes[at] = value;
        }
        if let Some(len) = len {
            vector.bytes.resize(len, 0);
        }
        match vector.parse() {
            Ok(send) => walk(&send),
            Err(error) => {
                // An error can be told and answered, whatever is in it.
                prop_assert!(!error.to_string().is_empty());
                prop_assert!(error.status().code() < 0);
            }
        }
    }

    #[test]
    fn the_short_pass_over_ranges_agrees_with_the_rules(
        ranges in vec(
            (
                prop_oneof![8 => (0..1_u64 << 40).prop_map(|page| page << 12), 1 => any::<u64>(),
                    1 => (0..8_u64).prop_map(|page| u64::MAX << 12 & !(page << 12))],
                prop_oneof![8 => 1..100_u32, 1 => Just(0), 1 => any::<u32>()],
                prop_oneof![16 => Just(0_u32), 1 => Just(1), 1 => any::<u32>()],
            ),
            1..40,
        ),
        total in prop_oneof![8 => Just(None), 1 => any::<u32>().prop_map(Some)],
    ) {
        let mut vector = Vector::share(Version::V1_1);
        let at = vector.composite_at;
        vector.bytes.truncate(vector.range(0));
        let mut sum = 0;
        let mut expected = Ok(());
        for (index, (address, pages, reserved)) in (0..).zip(&ranges) {
            vector.bytes.extend(address.to_le_bytes());
            vector.bytes.extend(pages.to_le_bytes());
            vector.bytes.extend(reserved.to_le_bytes());
            sum += u64::from(*pages);
            let range = IpaRange::new(*address, *pages);
            expected = expected.and(match range {
                Err(source) => Err(DescriptorError::Range { index, source }),
                Ok(_) if *reserved != 0 => Err(DescriptorError::RangeReserved { index, value: *reserved }),
                Ok(_) => Ok(()),
            });
        }
        let total = total.unwrap_or(sum as u32);
        if u64::from(total) != sum {
            expected = expected.and(Err(DescriptorError::TotalPages { total, sum }));
        }
        let vector = vector.put_u32(at, total).put_u32(at + 4, ranges.len() as u32);
        prop_assert_eq!(vector.parse().map(|_| ()), expected);
    }
}
