//! Send descriptors with one field of a receiver or of the composite broken, named as in `header_rows`.

mod common;

use common::{GUEST, VERSIONS, Vector};
use ffa_abi::{PartitionId, Status, Transaction, Version};
use ffa_mem::{DataAccess, DescriptorError, InstructionAccess, MAX_RECEIVERS, Permissions};

/// Each vector with one receiver and, broken in the second one, with two.
fn one_and_two(version: Version) -> [(Vector, u32); 2] {
    [(Vector::share(version), 0), (Vector::share(version).with_receivers(&[0x8002]), 1)]
}

#[test]
fn e01_receiver_is_the_sender() {
    for version in VERSIONS {
        for (vector, index) in one_and_two(version) {
            let at = vector.receiver(index as usize);
            let error = vector.put(at, &GUEST.0.to_le_bytes()).error();
            assert_eq!(error, DescriptorError::SelfReceiver { index });
        }
    }
}

#[test]
fn e03_receiver_is_the_hypervisor() {
    for version in VERSIONS {
        for (vector, index) in one_and_two(version) {
            let at = vector.receiver(index as usize);
            assert_eq!(vector.put(at, &[0, 0]).error(), DescriptorError::HypervisorReceiver { index });
        }
        // Whether any other one exists is not for the descriptor to say.
        for id in [0xffff, 0x8000, 0x7fff] {
            let vector = Vector::share(version);
            let at = vector.receiver(0);
            let vector = vector.put(at, &u16::to_le_bytes(id));
            assert_eq!(vector.parse().unwrap().receivers().next().unwrap().id, PartitionId(id));
        }
    }
}

#[test]
fn e05_duplicate_receiver() {
    for version in VERSIONS {
        let vector = Vector::share(version).with_receivers(&[0x8002, 0x8001]);
        let id = PartitionId(0x8001);
        assert_eq!(vector.error(), DescriptorError::DuplicateReceiver { index: 2, id });
        // The last two of the most there can be; and IDs that only look alike.
        let mut ids: Vec<u16> = (0x8002..).take(MAX_RECEIVERS as usize - 1).collect();
        ids[62] = ids[61];
        let vector = Vector::share(version).with_receivers(&ids);
        let id = PartitionId(ids[62]);
        assert_eq!(vector.error(), DescriptorError::DuplicateReceiver { index: 63, id });
        let alike: Vec<u16> = (1..MAX_RECEIVERS as u16).map(|i| 0x8001 + i * 64).collect();
        Vector::share(version).with_receivers(&alike).parse().unwrap();
    }
}

#[test]
fn e06_e10_reserved_permissions() {
    for version in VERSIONS {
        for (vector, index) in one_and_two(version) {
            let at = vector.receiver(index as usize) + 2;
            for permissions in [0xff, 0x03, 0x0e, 0x12, 0x22, 0x42, 0x82] {
                let error = vector.clone().put(at, &[permissions]).error();
                assert_eq!(error, DescriptorError::Permissions { index, permissions });
            }
        }
    }
}

#[test]
fn e07_data_access_unspecified_for_share_and_lend() {
    for version in VERSIONS {
        for vector in [Vector::share(version), Vector::lend(version)] {
            let transaction = vector.rules.transaction;
            let at = vector.receiver(0) + 2;
            let error = vector.put(at, &[0]).error();
            let access = DataAccess::Unspecified;
            assert_eq!(error, DescriptorError::DataAccess { index: 0, access, transaction });
        }
    }
}

#[test]
fn e08_data_access_specified_for_donate() {
    for version in VERSIONS {
        for (bits, access) in [(1, DataAccess::ReadOnly), (2, DataAccess::ReadWrite)] {
            let vector = Vector::donate(version);
            let at = vector.receiver(0) + 2;
            let transaction = Transaction::Donate;
            let error = vector.put(at, &[bits]).error();
            assert_eq!(error, DescriptorError::DataAccess { index: 0, access, transaction });
        }
    }
}

#[test]
fn e09_instruction_access_from_a_sender() {
    for version in VERSIONS {
        for (vector, index) in one_and_two(version) {
            let at = vector.receiver(index as usize) + 2;
            let cases = [(0x06, InstructionAccess::NotExecutable), (0x0a, InstructionAccess::Executable)];
            for (bits, access) in cases {
                let error = vector.clone().put(at, &[bits]).error();
                assert_eq!(error, DescriptorError::InstructionAccess { index, access });
            }
        }
    }
}

#[test]
fn permissions_of_each_receiver_are_its_own() {
    let vector = Vector::share(Version::V1_2).with_receivers(&[0x8002]);
    let at = vector.receiver(1) + 2;
    let vector = vector.put(at, &[1]);
    let permissions: Vec<_> = vector.parse().unwrap().receivers().map(|r| r.permissions).collect();
    assert_eq!(permissions, [Permissions::READ_WRITE, Permissions::READ_ONLY]);
}

#[test]
fn e11_receiver_flags() {
    for version in VERSIONS {
        for (vector, index) in one_and_two(version) {
            let at = vector.receiver(index as usize) + 3;
            for flags in [1, 0x80, 0xff] {
                let error = vector.clone().put(at, &[flags]).error();
                assert_eq!(error, DescriptorError::ReceiverFlags { index, flags });
            }
        }
    }
}

#[test]
fn e12_receiver_reserved_field() {
    for version in VERSIONS {
        for (vector, index) in one_and_two(version) {
            let at = vector.receiver(index as usize) + vector.receiver_size - 8;
            for value in [1, 1 << 63] {
                let error = vector.clone().put_u64(at, value).error();
                assert_eq!(error, DescriptorError::ReceiverReserved { index, value });
            }
        }
    }
}

#[test]
fn e13_implementation_defined_value_is_carried() {
    let vector = Vector::share(Version::V1_2);
    let impdef = [0x0807_0605_0403_0201, 0x1817_1615_1413_1211];
    assert_eq!(vector.parse().unwrap().receivers().next().unwrap().impdef, impdef);
}

#[test]
fn e14_composite_offsets_differ() {
    for version in VERSIONS {
        let vector = Vector::share(version).with_receivers(&[0x8002]);
        let first = vector.composite_at as u32;
        let at = vector.receiver(1) + 4;
        for offset in [0, first - 16, first + 16, u32::MAX] {
            let error = vector.clone().put_u32(at, offset).error();
            assert_eq!(error, DescriptorError::CompositeMismatch { index: 1, offset, first });
        }
    }
}

#[test]
fn e15_composite_offset_too_low_or_unaligned() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let (at, after) = (vector.receiver(0) + 4, vector.composite_at as u64);
        let low = vector.composite_at as u32;
        for offset in [0, 16, low - 16, low - 1, low + 1, low + 4, low + 8] {
            let error = vector.clone().put_u32(at, offset).error();
            assert_eq!(error, DescriptorError::CompositeOffset { offset, after });
        }
        // A gap before it is allowed, and never read.
        let mut vector = vector.put_u32(at, low + 32);
        vector.bytes.splice(low as usize..low as usize, [0xa5; 32]);
        assert_eq!(vector.parse().unwrap().total_pages(), 3);
    }
}

#[test]
fn e15_e16_composite_past_the_end() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let (at, have) = (vector.receiver(0) + 4, vector.have());
        for offset in [have, have + 16, 0xffff_fff0] {
            let error = vector.clone().put_u32(at, offset as u32).error();
            assert_eq!(error, DescriptorError::Truncated { field: "composite", offset, need: 16, have });
        }
        let mut straddling = vector.clone();
        straddling.bytes.truncate(vector.composite_at + 8);
        let (offset, have) = (vector.composite_at as u64, vector.composite_at as u64 + 8);
        assert_eq!(
            straddling.error(),
            DescriptorError::Truncated { field: "composite", offset, need: 16, have }
        );
    }
}

#[test]
fn e17_composite_reserved_field() {
    for version in VERSIONS {
        for value in [1, 1 << 32, 1 << 63] {
            let vector = Vector::share(version);
            let at = vector.composite_at + 8;
            let error = vector.put_u64(at, value).error();
            assert_eq!(error, DescriptorError::Reserved { field: "composite bytes 8 to 15", value });
            assert_eq!(error.status(), Status::InvalidParameters);
        }
    }
}
