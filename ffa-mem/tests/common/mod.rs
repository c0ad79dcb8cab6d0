//! Whole valid descriptors, written byte by byte from the tables of the specification, and fields to break in them.

#![allow(dead_code)] // each test file uses a part

pub mod any;

use ffa_abi::{PartitionId, Transaction, Version};
use ffa_mem::{DescriptorError, SendDescriptor, SendRules};

pub const GUEST: PartitionId = PartitionId(0x0003);
pub const SP: PartitionId = PartitionId(0x8001);
pub const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

/// A share by [`GUEST`] with [`SP`]: tag 0x1122334455667788, pages 0x48000..0x48002 and 0x40000, in version 1.0.
#[rustfmt::skip]
pub const SHARE_V1_0: [u8; 96] = [
    0x03, 0x00, 0x2f, 0x00, 0x00, 0x00, 0x00, 0x00, // sender, attributes, reserved, flags
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // handle
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // tag
    0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // reserved, receiver count
    0x01, 0x80, 0x02, 0x00, 0x30, 0x00, 0x00, 0x00, // receiver, permissions, flags, composite offset
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // reserved
    0x03, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, // total pages, range count
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // reserved
    0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00, 0x00, // address
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // page count, reserved
    0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, // address
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // page count, reserved
];

/// The same in version 1.1.
#[rustfmt::skip]
pub const SHARE_V1_1: [u8; 112] = [
    0x03, 0x00, 0x2f, 0x00, 0x00, 0x00, 0x00, 0x00, // sender, attributes, flags
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // handle
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // tag
    0x10, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // receiver size, receiver count
    0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // receiver offset, reserved
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // reserved
    0x01, 0x80, 0x02, 0x00, 0x40, 0x00, 0x00, 0x00, // receiver, permissions, flags, composite offset
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // reserved
    0x03, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, // total pages, range count
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // reserved
    0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00, 0x00, // address
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // page count, reserved
    0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, // address
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // page count, reserved
];

/// The same in version 1.2, with an implementation-defined value.
#[rustfmt::skip]
pub const SHARE_V1_2: [u8; 128] = [
    0x03, 0x00, 0x2f, 0x00, 0x00, 0x00, 0x00, 0x00, // sender, attributes, flags
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // handle
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // tag
    0x20, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // receiver size, receiver count
    0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // receiver offset, reserved
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // reserved
    0x01, 0x80, 0x02, 0x00, 0x50, 0x00, 0x00, 0x00, // receiver, permissions, flags, composite offset
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, // implementation defined
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, // implementation defined
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // reserved
    0x03, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, // total pages, range count
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // reserved
    0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00, 0x00, // address
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // page count, reserved
    0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, // address
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // page count, reserved
];

/// A descriptor to break a field of, and what it is held against.
#[derive(Clone, Debug)]
pub struct Vector {
    pub bytes: Vec<u8>,
    pub rules: SendRules,
    pub receivers_at: usize,
    pub receiver_size: usize,
    pub composite_at: usize,
}

impl Vector {
    /// The golden share of `version`.
    pub fn share(version: Version) -> Self {
        let (bytes, receivers_at, receiver_size) = match version {
            Version::V1_0 => (SHARE_V1_0.to_vec(), 32, 16),
            Version::V1_1 => (SHARE_V1_1.to_vec(), 48, 16),
            _ => (SHARE_V1_2.to_vec(), 48, 32),
        };
        let rules = SendRules { version, transaction: Transaction::Share, sender: GUEST };
        Self { bytes, rules, receivers_at, receiver_size, composite_at: receivers_at + receiver_size }
    }

    /// The same as a lend to one borrower.
    pub fn lend(version: Version) -> Self {
        let mut vector = Self::share(version);
        vector.rules.transaction = Transaction::Lend;
        vector.put(2, &[0])
    }

    /// The same as a donation.
    pub fn donate(version: Version) -> Self {
        let mut vector = Self::lend(version);
        vector.rules.transaction = Transaction::Donate;
        let at = vector.receiver(0) + 2;
        vector.put(at, &[0])
    }

    /// Appends receivers with these IDs behind the first one, otherwise alike.
    pub fn with_receivers(mut self, ids: &[u16]) -> Self {
        let first = self.bytes[self.receivers_at..self.composite_at].to_vec();
        for id in ids {
            let mut emad = first.clone();
            emad[..2].copy_from_slice(&id.to_le_bytes());
            self.bytes.splice(self.composite_at..self.composite_at, emad);
            self.composite_at += self.receiver_size;
        }
        let (count, composite_at) = (1 + ids.len(), self.composite_at as u32);
        for index in 0..count {
            let at = self.receiver(index) + 4;
            self = self.put_u32(at, composite_at);
        }
        self.put_u32(28, count as u32)
    }

    /// Where receiver `index` begins.
    pub fn receiver(&self, index: usize) -> usize {
        self.receivers_at + index * self.receiver_size
    }

    /// Where range `index` begins.
    pub fn range(&self, index: usize) -> usize {
        self.composite_at + 16 + index * 16
    }

    /// With `bytes` at offset `at`.
    pub fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn put_u32(self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_le_bytes())
    }

    pub fn put_u64(self, at: usize, value: u64) -> Self {
        self.put(at, &value.to_le_bytes())
    }

    pub fn parse(&self) -> Result<SendDescriptor<'_>, DescriptorError> {
        SendDescriptor::parse(&self.bytes, &self.rules)
    }

    /// The error of this vector, which must have one.
    #[track_caller]
    pub fn error(&self) -> DescriptorError {
        self.parse().expect_err("a broken vector")
    }

    /// The length, as errors give it.
    pub fn have(&self) -> u64 {
        self.bytes.len() as u64
    }
}
