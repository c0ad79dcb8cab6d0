//! Valid sends of any kind.

use ffa_abi::{PartitionId, Transaction, Version};
use ffa_mem::{
    DataAccess, IpaRange, MAX_RECEIVERS, MemoryAttributes, PAGE_SIZE, Permissions, Receiver, SendBuilder,
    SendFlags, SendHeader, SendRules,
};
use proptest::collection::{hash_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::{GUEST, VERSIONS};

pub fn any_version() -> impl Strategy<Value = Version> {
    select(&VERSIONS[..])
}

pub fn any_transaction() -> impl Strategy<Value = Transaction> {
    select(vec![Transaction::Share, Transaction::Lend, Transaction::Donate])
}

/// What a valid send says.
#[derive(Clone, Debug)]
pub struct Send {
    pub header: SendHeader,
    pub transaction: Transaction,
    pub receivers: Vec<Receiver>,
    pub ranges: Vec<IpaRange>,
}

impl Send {
    /// What its descriptor is held against.
    pub fn rules(&self) -> SendRules {
        SendRules { version: self.header.version, transaction: self.transaction, sender: self.header.sender }
    }
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

pub fn any_range() -> impl Strategy<Value = IpaRange> {
    (0..1_u64 << 52, prop_oneof![1..16_u32, 1..=0x10_0000_u32])
        .prop_filter_map("wraps", |(page, pages)| IpaRange::new(page.wrapping_mul(PAGE_SIZE), pages).ok())
}

prop_compose! {
    pub fn any_send()(version in any_version(), transaction in any_transaction())(
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

/// Writes the descriptor, and gives its length.
pub fn build(send: &Send, buf: &mut [u8]) -> usize {
    let mut builder = SendBuilder::new(buf, &send.header, send.receivers.iter().copied()).unwrap();
    for range in &send.ranges {
        builder.push(*range).unwrap();
    }
    builder.finish().unwrap()
}

/// With neighbours joined, as a builder does.
pub fn joined(ranges: &[IpaRange]) -> Vec<IpaRange> {
    let mut all: Vec<IpaRange> = Vec::new();
    for range in ranges {
        match all.last().and_then(|last| last.join(range)) {
            Some(joined) => *all.last_mut().unwrap() = joined,
            None => all.push(*range),
        }
    }
    all
}
