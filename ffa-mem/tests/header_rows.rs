//! Send descriptors with one header field broken. The names are those of the rows of the catalogue of requests to
//! refuse: one whole valid vector, one field broken, one exact error, in each version where the field exists.

mod common;

use common::{GUEST, SP, VERSIONS, Vector};
use ffa_abi::{PartitionId, Status, Transaction, Version};
use ffa_mem::{DescriptorError, MAX_RECEIVERS, MemoryAttributes, SendFlags};

const LATER: [Version; 2] = [Version::V1_1, Version::V1_2];

fn header_len(version: Version) -> u64 {
    if version == Version::V1_0 { 32 } else { 48 }
}

#[test]
fn valid_vectors_are_taken() {
    for version in VERSIONS {
        for vector in [Vector::share(version), Vector::lend(version), Vector::donate(version)] {
            vector.parse().unwrap();
        }
        let ids: Vec<u16> = (0x8002..).take(MAX_RECEIVERS as usize - 1).collect();
        let most = Vector::share(version).with_receivers(&ids);
        assert_eq!(most.parse().unwrap().receivers().len(), MAX_RECEIVERS as usize);
    }
}

#[test]
fn d01_d04_shorter_than_a_header() {
    for version in VERSIONS {
        let need = header_len(version);
        for have in [0, 1, 16, need - 1] {
            let mut vector = Vector::share(version);
            vector.bytes.truncate(have as usize);
            assert_eq!(vector.error(), DescriptorError::Truncated { field: "header", offset: 0, need, have });
        }
    }
}

#[test]
fn d05_length_not_in_steps_of_16() {
    for version in VERSIONS {
        let end = Vector::share(version).have();
        for more in [1, 4, 8, 15] {
            let mut vector = Vector::share(version);
            vector.bytes.resize(vector.bytes.len() + more, 0);
            assert_eq!(vector.error(), DescriptorError::Excess { end, have: end + more as u64 });
        }
    }
}

#[test]
fn d06_d07_length_is_not_the_true_size() {
    for version in VERSIONS {
        let mut vector = Vector::share(version);
        let end = vector.have();
        vector.bytes.resize(vector.bytes.len() + 16, 0);
        assert_eq!(vector.error(), DescriptorError::Excess { end, have: end + 16 });
        vector.bytes.truncate(end as usize - 16);
        let offset = vector.range(0) as u64;
        let have = end - 16;
        assert_eq!(
            vector.error(),
            DescriptorError::Truncated { field: "constituents", offset, need: 32, have }
        );
    }
}

#[test]
fn d12_reserved_header_bytes() {
    let attributes = Vector::share(Version::V1_0).put(3, &[0x01]).error();
    assert_eq!(attributes, DescriptorError::Reserved { field: "memory attributes", value: 0x012f });
    for (at, value) in [(24, 0x80), (25, 0x8000), (27, 0x8000_0000)] {
        let error = Vector::share(Version::V1_0).put(at, &[0x80]).error();
        assert_eq!(error, DescriptorError::Reserved { field: "header bytes 24 to 27", value });
    }
    for version in LATER {
        for at in 36..48 {
            let error = Vector::share(version).put(at, &[0x80]).error();
            let (field, first) =
                if at < 40 { ("header bytes 36 to 39", 36) } else { ("header bytes 40 to 47", 40) };
            assert_eq!(error, DescriptorError::Reserved { field, value: 0x80 << ((at - first) * 8) });
        }
    }
}

#[test]
fn d13_sender_is_not_the_caller() {
    for version in VERSIONS {
        for found in [0, 4, SP.0, 0xffff].map(PartitionId) {
            let error = Vector::share(version).put(0, &found.0.to_le_bytes()).error();
            assert_eq!(error, DescriptorError::Sender { found, caller: GUEST });
            assert_eq!(error.status(), Status::Denied);
        }
    }
}

#[test]
fn d14_reserved_attribute_bits() {
    for version in LATER {
        for bit in 7..16 {
            let value = 0x2f | 1 << bit;
            let error = Vector::share(version).put(2, &(value as u16).to_le_bytes()).error();
            assert_eq!(error, DescriptorError::Reserved { field: "memory attributes", value });
        }
    }
    let error = Vector::share(Version::V1_0).put(2, &[0xaf]).error();
    assert_eq!(error, DescriptorError::Reserved { field: "memory attributes", value: 0xaf });
}

#[test]
fn d15_non_secure_bit() {
    for version in VERSIONS {
        let error = Vector::share(version).put(2, &[0x6f]).error();
        assert_eq!(error, DescriptorError::NonSecure { attributes: 0x6f });
        for vector in [Vector::lend(version), Vector::donate(version)] {
            assert_eq!(vector.put(2, &[0x40]).error(), DescriptorError::NonSecure { attributes: 0x40 });
        }
    }
}

#[test]
fn d16_reserved_attribute_encodings() {
    for version in VERSIONS {
        // Type 3; normal memory of cacheability 0 and 2; shareability 1.
        for attributes in [0x3f, 0x30, 0x23, 0x2b, 0x2d] {
            for vector in [Vector::share(version), Vector::lend(version), Vector::donate(version)] {
                let error = vector.put(2, &[attributes as u8]).error();
                assert_eq!(error, DescriptorError::Attributes { attributes });
                assert_eq!(error.status(), Status::InvalidParameters);
            }
        }
    }
}

#[test]
fn d17_share_of_other_than_normal_write_back_inner() {
    for version in VERSIONS {
        // Device of each kind; non-cacheable; non and outer shareable; no type.
        for attributes in [0x13, 0x17, 0x1b, 0x1f, 0x27, 0x2c, 0x2e, 0x00, 0x0f] {
            let error = Vector::share(version).put(2, &[attributes as u8]).error();
            assert_eq!(error, DescriptorError::ShareAttributes { attributes });
            assert_eq!(error.status(), Status::Denied);
        }
    }
}

#[test]
fn d18_type_specified_for_one_receiver() {
    for version in VERSIONS {
        for attributes in [0x2f, 0x10] {
            for vector in [Vector::lend(version), Vector::donate(version)] {
                let error = vector.clone().put(2, &[attributes as u8]).error();
                let transaction = vector.rules.transaction;
                assert_eq!(error, DescriptorError::TypeSpecified { transaction, attributes });
            }
        }
        // What is said beside an unspecified type is not for us to judge.
        let vector = Vector::lend(version).put(2, &[0x0f]);
        assert_eq!(vector.parse().unwrap().attributes().bits(), 0x0f);
    }
}

#[test]
fn d19_type_missing_for_several_borrowers() {
    for version in VERSIONS {
        let vector = Vector::lend(version).with_receivers(&[0x8002]);
        assert_eq!(vector.error(), DescriptorError::TypeMissing { attributes: 0 });
        let vector = vector.put(2, &[0x2f]);
        let send = vector.parse().unwrap();
        assert_eq!(send.attributes(), MemoryAttributes::NORMAL_WRITE_BACK_INNER);
    }
}

#[test]
fn d20_zero_flag_with_share() {
    for version in VERSIONS {
        let error = Vector::share(version).put_u32(4, 1).error();
        assert_eq!(error, DescriptorError::ZeroShared { flags: 1 });
        for vector in [Vector::lend(version), Vector::donate(version)] {
            let vector = vector.put_u32(4, 1);
            assert_eq!(vector.parse().unwrap().flags(), SendFlags::ZERO);
        }
    }
}

#[test]
fn d21_time_slice_flag() {
    for version in VERSIONS {
        for vector in [Vector::share(version), Vector::lend(version), Vector::donate(version)] {
            for flags in [2, 3] {
                let error = vector.clone().put_u32(4, flags).error();
                assert_eq!(error, DescriptorError::TimeSlice { flags });
                assert_eq!(error.status(), Status::InvalidParameters);
            }
        }
    }
}

#[test]
fn d22_reserved_flags() {
    for version in VERSIONS {
        for vector in [Vector::share(version), Vector::lend(version), Vector::donate(version)] {
            for bit in 2..32 {
                let error = vector.clone().put_u32(4, 1 << bit).error();
                assert_eq!(error, DescriptorError::Reserved { field: "flags", value: 1 << bit });
            }
        }
    }
}

#[test]
fn d23_d24_handle_of_the_sender() {
    for version in VERSIONS {
        for handle in [1, 1 << 32, 1 << 63, u64::MAX] {
            let error = Vector::share(version).put_u64(8, handle).error();
            assert_eq!(error, DescriptorError::Handle { handle });
        }
    }
}

#[test]
fn d25_any_tag() {
    for version in VERSIONS {
        for tag in [0, 1, 0x1122_3344_5566_7788, u64::MAX] {
            assert_eq!(Vector::share(version).put_u64(16, tag).parse().unwrap().tag(), tag);
        }
    }
}

#[test]
fn d26_no_receivers() {
    for version in VERSIONS {
        assert_eq!(Vector::share(version).put_u32(28, 0).error(), DescriptorError::NoReceivers);
        assert_eq!(Vector::donate(version).put_u32(28, 0).error(), DescriptorError::NoReceivers);
    }
}

#[test]
fn d27_too_many_receivers() {
    for version in VERSIONS {
        for count in [MAX_RECEIVERS + 1, 0x1000_0000, u32::MAX] {
            let error = Vector::share(version).put_u32(28, count).error();
            assert_eq!(error, DescriptorError::TooManyReceivers { count });
        }
        let vector = Vector::share(version).put_u32(28, MAX_RECEIVERS);
        let offset = vector.receivers_at as u64;
        let need = u64::from(MAX_RECEIVERS) * vector.receiver_size as u64;
        let have = vector.have();
        let field = "endpoint memory access descriptors";
        assert_eq!(vector.error(), DescriptorError::Truncated { field, offset, need, have });
    }
}

#[test]
fn several_receivers_of_a_donation() {
    for version in VERSIONS {
        let vector = Vector::donate(version).with_receivers(&[0x8002]);
        assert_eq!(vector.error(), DescriptorError::DonateReceivers { count: 2 });
    }
}

#[test]
fn d28_receiver_size_of_no_version() {
    for version in LATER {
        for size in [0, 8, 15, 17, 24, 33, 48, 64, 0x1000_0010, 0xffff_fff0] {
            let error = Vector::share(version).put_u32(24, size).error();
            assert_eq!(error, DescriptorError::EmadSize { size, version });
        }
    }
}

#[test]
fn d29_receiver_size_of_another_version() {
    let version = Version::V1_1;
    let mut vector = Vector::share(Version::V1_2);
    vector.rules.version = version;
    assert_eq!(vector.error(), DescriptorError::EmadSize { size: 32, version });
    vector = Vector::share(Version::V1_1);
    vector.rules.version = Version::V1_2;
    assert_eq!(vector.parse().unwrap().receivers().next().unwrap().impdef, [0; 2]);
}

#[test]
fn d30_receiver_offset_in_the_header_or_unaligned() {
    for version in LATER {
        for offset in [0, 16, 32, 47, 49, 56, 63] {
            let error = Vector::share(version).put_u32(32, offset).error();
            assert_eq!(error, DescriptorError::EmadOffset { offset });
        }
        // A gap behind the header is allowed, and never read.
        let mut vector = Vector::share(version);
        vector.bytes.splice(48..48, [0xa5; 16]);
        vector.receivers_at += 16;
        vector.composite_at += 16;
        let composite = vector.composite_at as u32;
        let vector = vector.put_u32(32, 64).put_u32(64 + 4, composite);
        assert_eq!(vector.parse().unwrap().receivers().next().unwrap().id, SP);
    }
}

#[test]
fn d31_d32_receivers_past_the_end() {
    for version in LATER {
        let have = Vector::share(version).have();
        for offset in [have as u32, 0xffff_ffe0, 0xffff_fff0] {
            let vector = Vector::share(version).put_u32(32, offset);
            let (offset, need) = (u64::from(offset), vector.receiver_size as u64);
            let field = "endpoint memory access descriptors";
            assert_eq!(vector.error(), DescriptorError::Truncated { field, offset, need, have });
        }
    }
}

#[test]
fn d33_receivers_overlap_the_composite() {
    for version in VERSIONS {
        let vector = Vector::share(version).put_u32(28, 2);
        let offset = vector.composite_at as u32;
        // The second receiver is read out of the composite; ID 3 makes it the sender.
        assert_eq!(vector.error(), DescriptorError::SelfReceiver { index: 1 });
        // With one that could be a receiver, the composite it names must still come after it.
        let at = vector.composite_at;
        let head = vector.bytes[vector.receiver(0)..][..vector.receiver_size].to_vec();
        let vector = vector.put(at, &head).put(at, &[0x02, 0x80]);
        let after = (at + vector.receiver_size) as u64;
        assert_eq!(vector.error(), DescriptorError::CompositeOffset { offset, after });
    }
}

#[test]
fn d34_layout_of_another_version() {
    let mut vector = Vector::share(Version::V1_0);
    for version in LATER {
        vector.rules.version = version;
        // Where 1.1 has the receiver's size, 1.0 has zero; where it has reserved bytes, 1.0 has the receiver.
        let field = "header bytes 36 to 39";
        assert_eq!(vector.error(), DescriptorError::Reserved { field, value: 0x30 });
        assert_eq!(vector.clone().put_u32(36, 0).error(), DescriptorError::EmadSize { size: 0, version });
    }
    for version in LATER {
        let mut vector = Vector::share(version);
        vector.rules.version = Version::V1_0;
        let value = vector.receiver_size as u64;
        let field = "header bytes 24 to 27";
        assert_eq!(vector.error(), DescriptorError::Reserved { field, value });
    }
}

#[test]
fn d35_composite_inside_the_second_receiver() {
    let vector = Vector::share(Version::V1_0).with_receivers(&[0x8002]);
    let vector = vector.put_u32(32 + 4, 48).put_u32(48 + 4, 48);
    assert_eq!(vector.error(), DescriptorError::CompositeOffset { offset: 48, after: 64 });
}

#[test]
fn sender_zero_is_no_exception() {
    let mut vector = Vector::share(Version::V1_1).put(0, &[0, 0]);
    vector.rules.sender = PartitionId::HYPERVISOR;
    assert_eq!(vector.parse().unwrap().sender(), PartitionId::HYPERVISOR);
    assert_eq!(vector.rules.transaction, Transaction::Share);
}
