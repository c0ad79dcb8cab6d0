//! Memory transaction descriptors: parse and build, ours and arm-ffa's.
//!
//! All are of FF-A 1.1: a header of 48 bytes, one receiver in 16 bytes, and single pages 8 KiB apart.

use std::hint::black_box;

use arm_ffa::memory_management::{
    Cacheability, ConstituentMemRegion, DataAccessPerm, Handle, MemAccessPerm, MemRegionAttributes,
    MemRegionSecurity, MemTransactionDesc, MemTransactionFlags, MemType, Shareability,
};
use ffa_abi::{PartitionId, Transaction, Version};
use ffa_mem::{
    MemoryAttributes, Permissions, PhysRange, Receiver, SendBuilder, SendDescriptor, SendFlags, SendHeader,
    SendRules,
};

use crate::{Case, repeat};

pub const SENDER: PartitionId = PartitionId(1);
pub const RECEIVER: PartitionId = PartitionId(0x8001);

/// Room for a descriptor of 512 ranges.
const ROOM: usize = 16 * 1024;

const RULES: SendRules =
    SendRules { version: Version::V1_1, transaction: Transaction::Share, sender: SENDER };

const HEADER: SendHeader = SendHeader {
    version: Version::V1_1,
    sender: SENDER,
    attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
    flags: SendFlags::NONE,
    tag: 0,
};

const RECEIVERS: [Receiver; 1] =
    [Receiver { id: RECEIVER, permissions: Permissions::READ_WRITE, impdef: [0; 2] }];

pub const CASES: &[Case] = &[
    ("check-1", |n| check(n, 1)),
    ("check-100", |n| check(n, 100)),
    ("check-512", |n| check(n, 512)),
    ("parse-1", |n| parse(n, 1)),
    ("parse-100", |n| parse(n, 100)),
    ("parse-512", |n| parse(n, 512)),
    ("build-1", |n| build(n, 1)),
    ("build-100", |n| build(n, 100)),
    ("build-512", |n| build(n, 512)),
    ("peer-check-1", |n| peer_check(n, 1)),
    ("peer-check-100", |n| peer_check(n, 100)),
    ("peer-check-512", |n| peer_check(n, 512)),
    ("peer-parse-1", |n| peer_parse(n, 1)),
    ("peer-parse-100", |n| peer_parse(n, 100)),
    ("peer-parse-512", |n| peer_parse(n, 512)),
    ("peer-build-1", |n| peer_build(n, 1)),
    ("peer-build-100", |n| peer_build(n, 100)),
    ("peer-build-512", |n| peer_build(n, 512)),
];

fn address(index: usize) -> u64 {
    0x4000_0000 + index as u64 * 0x2000
}

fn ranges(count: usize) -> Vec<PhysRange> {
    (0..count).map(|index| PhysRange::new(address(index), 1).unwrap()).collect()
}

fn peer_header() -> MemTransactionDesc {
    let normal = MemType::Normal { cacheability: Cacheability::WriteBack, shareability: Shareability::Inner };
    MemTransactionDesc {
        sender_id: SENDER.0,
        mem_region_attr: MemRegionAttributes { security: MemRegionSecurity::Secure, mem_type: normal },
        flags: MemTransactionFlags(0),
        handle: Handle(0),
        tag: 0,
    }
}

fn peer_receivers() -> [MemAccessPerm; 1] {
    let data_access = DataAccessPerm::ReadWrite;
    [MemAccessPerm { endpoint_id: RECEIVER.0, data_access, ..Default::default() }]
}

fn peer_ranges(count: usize) -> Vec<ConstituentMemRegion> {
    (0..count).map(|index| ConstituentMemRegion { address: address(index), page_cnt: 1 }).collect()
}

/// The descriptor that both sides parse, as arm-ffa builds it.
pub fn share(ranges: usize) -> Vec<u8> {
    let mut bytes = vec![0; ROOM];
    let len = peer_header().pack(&peer_ranges(ranges), &peer_receivers(), &mut bytes);
    bytes.truncate(len);
    bytes
}

/// All that is checked, and nothing read after that.
#[inline(never)]
fn checked(bytes: &[u8]) -> u64 {
    let descriptor = SendDescriptor::parse(bytes, &RULES).unwrap();
    black_box(&descriptor);
    u64::from(descriptor.sender().0)
}

/// All that is checked, and every receiver and range read after that.
#[inline(never)]
fn parsed(bytes: &[u8]) -> u64 {
    let descriptor = SendDescriptor::parse(bytes, &RULES).unwrap();
    let mut sum = u64::from(descriptor.sender().0);
    for receiver in descriptor.receivers() {
        sum = sum.wrapping_add(receiver.id.0.into());
    }
    for range in descriptor.ranges() {
        sum = sum.wrapping_add(range.base()).wrapping_add(range.pages().into());
    }
    sum
}

#[inline(never)]
fn built(header: &SendHeader, receivers: &[Receiver; 1], ranges: &[PhysRange], bytes: &mut [u8]) -> usize {
    let mut builder = SendBuilder::new(bytes, header, receivers.iter().copied()).unwrap();
    for range in ranges {
        builder.push(*range).unwrap();
    }
    builder.finish().unwrap()
}

#[inline(never)]
fn peer_checked(bytes: &[u8]) -> u64 {
    let (header, receivers, ranges) = MemTransactionDesc::unpack(bytes).unwrap();
    black_box((&header, &receivers as *const _ as usize, ranges.is_some()));
    u64::from(header.sender_id)
}

#[inline(never)]
fn peer_parsed(bytes: &[u8]) -> u64 {
    let (header, receivers, ranges) = MemTransactionDesc::unpack(bytes).unwrap();
    let mut sum = u64::from(header.sender_id);
    for receiver in receivers {
        sum = sum.wrapping_add(receiver.unwrap().endpoint_id.into());
    }
    for range in ranges.unwrap() {
        let range = range.unwrap();
        sum = sum.wrapping_add(range.address).wrapping_add(range.page_cnt.into());
    }
    sum
}

#[inline(never)]
fn peer_built(
    header: &MemTransactionDesc,
    receivers: &[MemAccessPerm],
    ranges: &[ConstituentMemRegion],
    bytes: &mut [u8],
) -> usize {
    header.pack(ranges, receivers, bytes)
}

fn check(iterations: u32, count: usize) {
    let bytes = share(count);
    repeat(iterations, || checked(black_box(&bytes)));
}

fn parse(iterations: u32, count: usize) {
    let bytes = share(count);
    repeat(iterations, || parsed(black_box(&bytes)));
    assert_eq!(parsed(&bytes), peer_parsed(&bytes));
}

fn build(iterations: u32, count: usize) {
    let ranges = ranges(count);
    let mut bytes = vec![0; ROOM];
    let mut len = 0;
    repeat(iterations, || {
        len = built(black_box(&HEADER), black_box(&RECEIVERS), black_box(&ranges), black_box(&mut bytes));
    });
    assert_eq!(bytes[..len], share(count));
}

fn peer_check(iterations: u32, count: usize) {
    let bytes = share(count);
    repeat(iterations, || peer_checked(black_box(&bytes)));
}

fn peer_parse(iterations: u32, count: usize) {
    let bytes = share(count);
    repeat(iterations, || peer_parsed(black_box(&bytes)));
}

fn peer_build(iterations: u32, count: usize) {
    let (header, receivers, ranges) = (peer_header(), peer_receivers(), peer_ranges(count));
    let mut bytes = vec![0; ROOM];
    let mut len = 0;
    repeat(iterations, || {
        len =
            peer_built(black_box(&header), black_box(&receivers), black_box(&ranges), black_box(&mut bytes));
    });
    assert_eq!(bytes[..len], share(count));
}
