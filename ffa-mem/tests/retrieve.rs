//! Retrieve requests, responses and relinquishments, byte by byte.

use ffa_abi::{Handle, PartitionId, Status, Transaction, Version};
use ffa_mem::{
    DataAccess, DescriptorError, InstructionAccess, IpaRange, MemoryAttributes, Permissions, Receiver,
    RelinquishDescriptor, RetrieveFlags, RetrieveRequest, RetrieveResponse,
};

/// Of VM 2, for what VM 1 has lent to it and to VM 3.
fn request(version: Version) -> Vec<u8> {
    let size = if version < Version::V1_2 { 16 } else { 32 };
    let mut bytes = vec![1, 0, 0x2f, 0];
    bytes.extend(0x414_u32.to_le_bytes()); // zero after, a lend, the others are not named
    bytes.extend(0x8000_0000_0000_0007_u64.to_le_bytes());
    bytes.extend(0x1122_u64.to_le_bytes());
    bytes.extend(if version < Version::V1_1 { 0_u32 } else { size }.to_le_bytes());
    bytes.extend(2_u32.to_le_bytes());
    if version >= Version::V1_1 {
        bytes.extend(48_u32.to_le_bytes());
        bytes.extend([0; 12]);
    }
    for (id, permissions) in [(2_u8, 6_u8), (3, 1)] {
        bytes.extend([id, 0, permissions, 0, 0, 0, 0, 0]);
        if size == 32 {
            bytes.extend(0xaa_u64.to_le_bytes());
            bytes.extend(0xbb_u64.to_le_bytes());
        }
        bytes.extend([0; 8]);
    }
    bytes
}

const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

#[test]
fn reads_a_request_of_each_version() {
    for version in VERSIONS {
        let bytes = request(version);
        let request = RetrieveRequest::parse(&bytes, version).expect("good");
        assert_eq!(request.sender(), PartitionId(1));
        assert_eq!(request.attributes(), MemoryAttributes::NORMAL_WRITE_BACK_INNER);
        assert_eq!(request.flags().transaction(), Some(Transaction::Lend));
        assert!(request.flags().contains(RetrieveFlags::ZERO_AFTER));
        assert!(request.flags().contains(RetrieveFlags::OWN_ENTRY_ONLY));
        assert!(!request.flags().contains(RetrieveFlags::ZERO_BEFORE) && !request.flags().has_hint());
        assert_eq!(request.handle(), Handle::new(0x8000_0000_0000_0007).ok());
        assert_eq!(request.tag(), 0x1122);
        let impdef = if version < Version::V1_2 { [0; 2] } else { [0xaa, 0xbb] };
        let entry = |id, data, instruction| Receiver {
            id: PartitionId(id),
            permissions: Permissions { data, instruction },
            impdef,
        };
        let expected = [
            entry(2, DataAccess::ReadWrite, InstructionAccess::NotExecutable),
            entry(3, DataAccess::ReadOnly, InstructionAccess::Unspecified),
        ];
        assert!(request.receivers().eq(expected), "{version}");
    }
}

#[test]
fn every_prefix_is_truncated_and_more_is_too_much() {
    for version in VERSIONS {
        let good = request(version);
        for len in 0..good.len() {
            let error = RetrieveRequest::parse(&good[..len], version).expect_err("too short");
            assert!(matches!(error, DescriptorError::Truncated { .. }), "{version} {len}: {error}");
        }
        let mut long = good.clone();
        long.push(0);
        let (end, have) = (good.len() as u64, good.len() as u64 + 1);
        assert_eq!(
            RetrieveRequest::parse(&long, version).map(|_| ()),
            Err(DescriptorError::Excess { end, have })
        );
    }
}

#[test]
fn refuses_each_broken_field_by_name_and_value() {
    let rows: [(usize, &[u8], DescriptorError); 14] = [
        (2, &[0x80], DescriptorError::Reserved { field: "memory attributes", value: 0x80 }),
        (2, &[0x30], DescriptorError::Attributes { attributes: 0x30 }),
        (5, &[0x08], DescriptorError::Reserved { field: "flags", value: 0x814 }),
        (7, &[0x80], DescriptorError::Reserved { field: "flags", value: 0x8000_0414 }),
        (24, &[32], DescriptorError::EmadSize { size: 32, version: Version::V1_1 }),
        (28, &[0], DescriptorError::NoReceivers),
        (28, &[65], DescriptorError::TooManyReceivers { count: 65 }),
        (32, &[49], DescriptorError::EmadOffset { offset: 49 }),
        (2, &[0x6f], DescriptorError::NonSecure { attributes: 0x6f }),
        (36, &[1], DescriptorError::Reserved { field: "header bytes 36 to 39", value: 1 }),
        (47, &[1], DescriptorError::Reserved { field: "header bytes 40 to 47", value: 1 << 56 }),
        (50, &[0x13], DescriptorError::Permissions { index: 0, permissions: 0x13 }),
        (67, &[2], DescriptorError::ReceiverFlags { index: 1, flags: 2 }),
        (68, &[64], DescriptorError::Reserved { field: "composite offset", value: 64 }),
    ];
    let good = request(Version::V1_1);
    for (at, patch, expected) in rows {
        let mut bytes = good.clone();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        assert_eq!(RetrieveRequest::parse(&bytes, Version::V1_1).map(|_| ()), Err(expected), "{at}");
    }
    let mut old = request(Version::V1_0);
    old[24] = 16;
    let reserved = DescriptorError::Reserved { field: "header bytes 24 to 27", value: 16 };
    assert_eq!(RetrieveRequest::parse(&old, Version::V1_0).map(|_| ()), Err(reserved));
    // Without a handle there is nothing to find.
    let mut nameless = good;
    nameless[8..16].fill(0xff);
    assert_eq!(RetrieveRequest::parse(&nameless, Version::V1_1).map(|request| request.handle()), Ok(None));
}

#[test]
fn r14_reserved_flags() {
    for version in VERSIONS {
        for value in [0xffff_ffff, 0xffff_ffe0, 0xffff_fde0, 0xffff_fc00, 0x800, 0x8000_0000_u32] {
            let mut bytes = request(version);
            bytes[4..8].copy_from_slice(&value.to_le_bytes());
            let error = RetrieveRequest::parse(&bytes, version).unwrap_err();
            assert_eq!(error, DescriptorError::Reserved { field: "flags", value: value.into() });
            assert_eq!(error.status(), Status::InvalidParameters);
        }
        // The other flags are for the relayer to judge.
        let mut bytes = request(version);
        bytes[4..8].copy_from_slice(&0x7ff_u32.to_le_bytes());
        let flags = RetrieveRequest::parse(&bytes, version).unwrap().flags();
        assert_eq!(
            (flags.word(), flags.transaction(), flags.has_hint()),
            (0x7ff, Some(Transaction::Donate), true)
        );
    }
}

#[test]
fn writes_a_response_of_each_version() {
    let lengths = [64, 80, 96];
    for (version, head_len) in VERSIONS.into_iter().zip(lengths) {
        let response = RetrieveResponse {
            version,
            sender: PartitionId(1),
            attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
            flags: RetrieveFlags::default().with_transaction(Transaction::Share),
            handle: Handle::new(1 << 63).unwrap(),
            tag: 0x1122,
            receiver: Receiver {
                id: PartitionId(2),
                permissions: Permissions {
                    data: DataAccess::ReadOnly,
                    instruction: InstructionAccess::NotExecutable,
                },
                impdef: [0xaa, 0xbb],
            },
            range_count: 2,
            total_pages: 3,
        };
        assert_eq!((RetrieveResponse::head_len(version), response.total_len()), (head_len, head_len + 32));
        let mut bytes = vec![0xee; head_len + 47];
        let rest = response.write_head(&mut bytes).expect("room");
        let ranges = [(0x4000_0000, 1), (0x3000_0000, 2), (0x2000_0000, 1)];
        let ranges = ranges.map(|(base, pages)| IpaRange::new(base, pages).unwrap());
        assert_eq!(RetrieveResponse::write_ranges(ranges.into_iter(), rest), 32, "no more than fit");
        let has_impdef = version >= Version::V1_2;
        let size = if has_impdef { 32_u32 } else { 16 };
        let mut expected = vec![1, 0, 0x2f, 0, 8, 0, 0, 0];
        expected.extend((1_u64 << 63).to_le_bytes());
        expected.extend(0x1122_u64.to_le_bytes());
        expected.extend(if version < Version::V1_1 { 0 } else { size }.to_le_bytes());
        expected.extend(1_u32.to_le_bytes());
        if version >= Version::V1_1 {
            expected.extend(48_u32.to_le_bytes());
            expected.extend([0; 12]);
        }
        expected.extend([2, 0, 5, 0]);
        expected.extend((head_len as u32 - 16).to_le_bytes());
        if has_impdef {
            expected.extend(0xaa_u64.to_le_bytes());
            expected.extend(0xbb_u64.to_le_bytes());
        }
        expected.extend([0; 8]);
        for word in [3, 2, 0, 0, 0x4000_0000, 0, 1, 0, 0x3000_0000, 0, 2, 0_u32] {
            expected.extend(word.to_le_bytes());
        }
        assert_eq!(bytes[..head_len + 32], expected);
        assert!(bytes[head_len + 32..].iter().all(|byte| *byte == 0xee));
        for len in 0..head_len {
            assert_eq!(response.write_head(&mut bytes[..len]), None, "{version} {len}");
        }
    }
}

#[test]
fn r16_a_relinquishment_is_of_one_endpoint() {
    let good = [7, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0];
    let expected = RelinquishDescriptor {
        handle: Handle::new(0x8000_0000_0000_0007).ok(),
        zero: false,
        endpoint: PartitionId(2),
    };
    assert_eq!(RelinquishDescriptor::parse(&good), Ok(expected));
    assert_eq!(expected.to_bytes(), good);
    let broken = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        RelinquishDescriptor::parse(&bytes)
    };
    let zeroing = RelinquishDescriptor { zero: true, ..expected };
    assert_eq!(broken(8, 1), Ok(zeroing));
    assert_eq!(RelinquishDescriptor::parse(&zeroing.to_bytes()), Ok(zeroing));
    let mut nameless = good;
    nameless[..8].fill(0xff);
    let found = RelinquishDescriptor::parse(&nameless).unwrap();
    assert_eq!((found.handle, found.to_bytes()), (None, nameless));
    assert_eq!(broken(8, 2), Err(DescriptorError::Reserved { field: "flags", value: 2 }));
    assert_eq!(broken(11, 0x80), Err(DescriptorError::Reserved { field: "flags", value: 0x8000_0000 }));
    assert_eq!(broken(12, 0), Err(DescriptorError::NoReceivers));
    assert_eq!(broken(12, 2), Err(DescriptorError::TooManyReceivers { count: 2 }));
}
