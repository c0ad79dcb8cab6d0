//! Properties of parsing and building, for descriptors and bytes of any kind.

mod common;

use common::{GUEST, VERSIONS, Vector};
use ffa_abi::{PartitionId, Transaction, Version};
use ffa_mem::{
    DataAccess, DescriptorError, IpaRange, MAX_RECEIVERS, MemoryAttributes, PAGE_SIZE, Permissions, Receiver,
    SendBuilder, SendDescriptor, SendFlags, SendHeader, SendRules,
};
use proptest::collection::{hash_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

fn any_version() -> impl Strategy<Value = Version> {
    select(&VERSIONS[..])
}

fn any_transaction() -> impl Strategy<Value = Transaction> {
    select(vec![Transaction::Share, Transaction::Lend, Transaction::Donate])
}

/// What a valid send says.
#[derive(Clone, Debug)]
struct Send {
    header: SendHeader,
    transaction: Transaction,
    receivers: Vec<Receiver>,
    ranges: Vec<IpaRange>,
}

fn any_receivers(transaction: Transaction, version: Version) -> impl Strategy<Value = Vec<Receiver>> {
    let most = if transaction == Transaction::Donate { 1 } else { MAX_RECEIVERS as usize };
    let ids = hash_set(1..=u16::MAX, 1..=most);
    (ids, any::<[u64; 2]>(), any::<bool>()).prop_map(move |(ids, impdef, writes)| {
        let data = match (transaction, writes) {
            (Transaction::Donate, _) => DataAccess::Unspecified,
            (_, true) => DataAccess::ReadWrite,
            (_, false) => DataAccess::ReadOnly,
        };
        let impdef = if version < Version::V1_2 { [0; 2] } else { impdef };
        let receiver = |id| Receiver { id: PartitionId(id), permissions: Permissions::data(data), impdef };
        ids.into_iter()
            .filter(|id| *id != GUEST.0)
            .chain([0x8001; 1])
            .take(1.max(most))
            .map(receiver)
            .collect()
    })
}

fn any_range() -> impl Strategy<Value = IpaRange> {
    (0..1_u64 << 52, prop_oneof![1..16_u32, 1..=0x10_0000_u32])
        .prop_filter_map("wraps", |(page, pages)| IpaRange::new(page.wrapping_mul(PAGE_SIZE), pages).ok())
}

prop_compose! {
    fn any_send()(version in any_version(), transaction in any_transaction())(
        receivers in any_receivers(transaction, version),
        ranges in vec(any_range(), 1..600),
        tag in any::<u64>(),
        zeroes in any::<bool>(),
        low in select(vec![0x0, 0xc, 0xf, 0xe]),
        version in Just(version),
        transaction in Just(transaction),
    ) -> Send {
        let mut seen = Vec::new();
        let receivers: Vec<Receiver> = receivers.into_iter().filter(|receiver| {
            let is_new = !seen.contains(&receiver.id);
            seen.push(receiver.id);
            is_new
        }).collect();
        let bits = match transaction {
            Transaction::Share => 0x2f,
            Transaction::Lend if receivers.len() > 1 => 0x20 | 0x4 | low,
            Transaction::Lend | Transaction::Donate => low,
        };
        let zeroes = zeroes && transaction != Transaction::Share;
        let header = SendHeader {
            version,
            sender: GUEST,
            attributes: MemoryAttributes::from_bits(bits).unwrap(),
            flags: if zeroes { SendFlags::ZERO } else { SendFlags::NONE },
            tag,
        };
        Send { header, transaction, receivers, ranges }
    }
}

fn build(send: &Send, buf: &mut [u8]) -> usize {
    let mut builder = SendBuilder::new(buf, &send.header, send.receivers.iter().copied()).unwrap();
    for range in &send.ranges {
        builder.push(*range).unwrap();
    }
    builder.finish().unwrap()
}

fn joined(ranges: &[IpaRange]) -> Vec<IpaRange> {
    let mut all: Vec<IpaRange> = Vec::new();
    for range in ranges {
        match all.last().and_then(|last| last.join(range)) {
            Some(joined) => *all.last_mut().unwrap() = joined,
            None => all.push(*range),
        }
    }
    all
}

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
        let rules = SendRules {
            version: send.header.version,
            transaction: send.transaction,
            sender: send.header.sender,
        };
        let read = SendDescriptor::parse(&buf[..len], &rules).unwrap();
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
