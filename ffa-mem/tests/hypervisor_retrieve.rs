//! What an SPMC answers when the hypervisor asks for a transaction: good answers of each kind, and bad ones.

mod common;

use common::{GUEST, SP, VERSIONS, Vector};
use ffa_abi::{Handle, PartitionId, Transaction, Version};
use ffa_mem::{
    DescriptorError, HypervisorRetrieveRequest, HypervisorRetrieveResponse, IpaRange, MemoryAttributes,
    PAGE_SIZE, Permissions, PhysRange, Receiver, RetrieveFlags, RetrieveResponse,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn request(version: Version) -> HypervisorRetrieveRequest {
    HypervisorRetrieveRequest { version, handle: Handle::new(0x8877_6655_4433_2211).unwrap() }
}

/// The golden share with a handle, and the tag zero, as Hafnium answers.
fn response(version: Version) -> Vector {
    Vector::share(version).put_u64(8, request(version).handle.get()).put_u64(16, 0)
}

fn parse(vector: &Vector) -> Result<HypervisorRetrieveResponse<'_>, DescriptorError> {
    let request = request(vector.rules.version);
    HypervisorRetrieveResponse::parse(&vector.bytes, vector.bytes.len() as u32, &request)
}

fn range(page: u64, pages: u32) -> PhysRange {
    PhysRange::new(page * PAGE_SIZE, pages).unwrap()
}

#[test]
fn a_request_is_a_header_with_nothing_but_a_handle() {
    for (version, len) in VERSIONS.into_iter().zip([32, 48, 48]) {
        let mut bytes = [0xa5; 64];
        assert_eq!(request(version).write(&mut bytes), Some(len));
        let mut expected = [0xa5; 64];
        expected[..len].fill(0);
        expected[8..16].copy_from_slice(&[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        assert_eq!(bytes, expected);
        for len in 0..len {
            assert_eq!(request(version).write(&mut bytes[..len]), None);
        }
    }
}

#[test]
fn reads_a_whole_response() {
    for version in VERSIONS {
        let vector = response(version).put(2, &[0x6f]).put(4, &[0x08]);
        let HypervisorRetrieveResponse { head, ranges, rest } = parse(&vector).unwrap();
        assert_eq!((head.sender(), head.tag(), head.flags().word()), (GUEST, 0, 0x08));
        assert!(head.attributes().is_non_secure());
        let receivers: Vec<_> =
            head.receivers().map(|receiver| (receiver.id, receiver.permissions)).collect();
        assert_eq!(receivers, [(SP, Permissions::READ_WRITE)]);
        assert_eq!(ranges.collect::<Vec<_>>(), [range(0x48000, 2), range(0x40000, 1)]);
        assert!(rest.is_whole());
    }
}

#[test]
fn reads_a_response_in_fragments() {
    for version in VERSIONS {
        let vector = response(version).with_receivers(&[0x8002]);
        let (len, at) = (vector.bytes.len() as u32, vector.range(1));
        let (first, second) = vector.bytes.split_at(at);
        let HypervisorRetrieveResponse { head, ranges, mut rest } =
            HypervisorRetrieveResponse::parse(first, len, &request(version)).unwrap();
        assert_eq!((head.receivers().len(), rest.offset()), (2, at as u32));
        assert_eq!(ranges.collect::<Vec<_>>(), [range(0x48000, 2)]);
        assert_eq!(rest.take(second).unwrap().collect::<Vec<_>>(), [range(0x40000, 1)]);
        assert!(rest.is_whole());
    }
}

/// One receiver of which all is zero, also the offset of the composite.
#[test]
fn reads_a_response_that_names_no_receiver() {
    for version in [Version::V1_0, Version::V1_1] {
        let vector = response(version);
        let at = vector.receiver(0);
        let vector = vector.put(at, &[0; 16]);
        let HypervisorRetrieveResponse { head, ranges, .. } = parse(&vector).unwrap();
        assert_eq!(head.receivers().map(|receiver| receiver.id).collect::<Vec<_>>(), [PartitionId(0)]);
        assert_eq!((ranges.len(), head.attributes()), (2, MemoryAttributes::NORMAL_WRITE_BACK_INNER));
    }
}

#[test]
fn refuses_what_is_no_answer_to_the_request() {
    for version in VERSIONS {
        let good = response(version);
        let (receiver, composite) = (good.receiver(0), good.composite_at);
        let asked = request(version).handle;
        let after = composite as u64;
        let low = composite as u32 - 16;
        let cases = [
            (good.clone().put_u64(8, 0), DescriptorError::OtherHandle { found: 0, asked }),
            (good.clone().put(2, &[0x30]), DescriptorError::Attributes { attributes: 0x30 }),
            (good.clone().put_u32(28, 0), DescriptorError::NoReceivers),
            (good.clone().put_u32(28, 65), DescriptorError::TooManyReceivers { count: 65 }),
            (good.clone().put(receiver + 2, &[3]), DescriptorError::Permissions { index: 0, permissions: 3 }),
            (
                good.clone().put_u32(receiver + 4, low),
                DescriptorError::CompositeOffset { offset: low, after },
            ),
            (good.clone().put_u32(composite, 4), DescriptorError::TotalPages { total: 4, sum: 3 }),
        ];
        for (vector, error) in cases {
            assert_eq!(parse(&vector).unwrap_err(), error, "{version}");
        }
        for len in 0..good.range(0) {
            let error = HypervisorRetrieveResponse::parse(&good.bytes[..len], 4096, &request(version));
            assert!(matches!(error, Err(DescriptorError::Truncated { .. })), "{len}: {error:?}");
        }
    }
}

proptest! {
    #[test]
    fn what_was_written_for_a_borrower_is_read_alike(
        version in select(&VERSIONS[..]),
        id in any::<u16>(),
        tag in any::<u64>(),
        impdef in any::<[u64; 2]>(),
        ranges in vec((0..1_u64 << 40, 1..1000_u32), 1..40),
        room in 0..40_usize,
    ) {
        let ranges: Vec<_> = ranges.into_iter().map(|(page, pages)| range(page, pages)).collect();
        let impdef = if version < Version::V1_2 { [0; 2] } else { impdef };
        let receiver = Receiver { id: PartitionId(id), permissions: Permissions::READ_ONLY, impdef };
        let response = RetrieveResponse {
            version,
            sender: GUEST,
            attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
            flags: RetrieveFlags::default().with_transaction(Transaction::Donate),
            handle: request(version).handle,
            tag,
            receiver,
            range_count: ranges.len() as u32,
            total_pages: ranges.iter().map(|range| range.pages()).sum(),
        };
        let mut buf = vec![0xa5; response.total_len()];
        let as_guests = ranges.iter().map(|range| IpaRange::new(range.base(), range.pages()).unwrap());
        let behind = response.write_head(&mut buf).unwrap();
        prop_assert_eq!(RetrieveResponse::write_ranges(as_guests, behind), ranges.len() * 16);
        let cut = RetrieveResponse::head_len(version) + 16 * room.min(ranges.len());
        let (first, second) = buf.split_at(cut);
        let read = HypervisorRetrieveResponse::parse(first, response.total_len() as u32, &request(version));
        let HypervisorRetrieveResponse { head, ranges: found, mut rest } = read.unwrap();
        let mut found: Vec<_> = found.collect();
        if !second.is_empty() {
            found.extend(rest.take(second).unwrap());
        }
        prop_assert_eq!(found, ranges);
        prop_assert_eq!((head.sender(), head.tag(), head.flags()), (GUEST, tag, response.flags));
        prop_assert!(head.receivers().eq([receiver]) && rest.is_whole());
    }

    #[test]
    fn any_answer_is_read_or_refused(
        version in select(&VERSIONS[..]),
        mutations in vec((0..130_usize, any::<u8>()), 0..4),
        total in prop_oneof![4 => Just(None), 1 => any::<u32>().prop_map(Some)],
    ) {
        let mut vector = response(version);
        for (at, value) in mutations {
            let at = at % vector.bytes.len();
            vector.bytes[at] = value;
        }
        let total = total.unwrap_or(vector.bytes.len() as u32);
        match HypervisorRetrieveResponse::parse(&vector.bytes, total, &request(version)) {
            Ok(HypervisorRetrieveResponse { head, ranges, rest }) => {
                prop_assert!(head.receivers().len() >= 1 && rest.offset() as usize == vector.bytes.len());
                for range in ranges {
                    prop_assert_eq!(PhysRange::new(range.base(), range.pages()), Ok(range));
                }
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
