use core::mem::size_of;

use zerocopy::{FromBytes, IntoBytes};

use crate::{PartitionId, Uuid, Version};

mod wire {
    use zerocopy::little_endian::{U16, U32};
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

    /// What 1.0 has of a partition information descriptor, 8 bytes. DEN0077A v1.1 Table 6.1.
    #[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
    #[repr(C)]
    pub struct Head {
        pub id: U16,
        pub contexts: U16,
        pub properties: U32,
    }
    const _: () = assert!(size_of::<Head>() == 8);

    /// Partition information descriptor, 24 bytes; 1.3 adds 24 more. DEN0077A v1.1 Table 6.1.
    #[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
    #[repr(C)]
    pub struct PartitionInfo {
        pub head: Head,
        pub uuid: [u8; 16],
    }
    const _: () = assert!(size_of::<PartitionInfo>() == 24);
}

/// Properties of a partition.
///
/// # Specification
/// DEN0077A v1.1 Table 6.2, v1.2 Table 6.3.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Properties(pub u32);

impl Properties {
    /// Takes direct requests.
    pub const RECEIVES_DIRECT_REQUESTS: Self = Self(1);
    /// Sends direct requests.
    pub const SENDS_DIRECT_REQUESTS: Self = Self(1 << 1);
    /// Sends and receives indirect messages.
    pub const INDIRECT_MESSAGES: Self = Self(1 << 2);
    /// Receives notifications (1.1).
    pub const RECEIVES_NOTIFICATIONS: Self = Self(1 << 3);
    /// Must be told when a VM is created (1.1).
    pub const WANTS_VM_CREATED: Self = Self(1 << 6);
    /// Must be told when a VM is destroyed (1.1).
    pub const WANTS_VM_DESTROYED: Self = Self(1 << 7);
    /// Runs in AArch64 (1.1).
    pub const AARCH64: Self = Self(1 << 8);
    /// Takes FFA_MSG_SEND_DIRECT_REQ2 (1.2).
    pub const RECEIVES_DIRECT_REQUESTS2: Self = Self(1 << 9);
    /// Sends FFA_MSG_SEND_DIRECT_REQ2 (1.2).
    pub const SENDS_DIRECT_REQUESTS2: Self = Self(1 << 10);

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Only the bits that a reader of `version` knows.
    #[must_use]
    pub fn known_to(self, version: Version) -> Self {
        let mask = if version < Version::V1_1 {
            0x7
        } else if version < Version::V1_2 {
            0x1ff
        } else if version < Version::V1_3 {
            0x7ff
        } else {
            0x1fff
        };
        Self(self.0 & mask)
    }
}

/// One entry of the list of partitions.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(C)] // the ID first, for which lists are searched: a load with no offset moves on to the next by itself
pub struct PartitionInfo {
    /// The partition.
    pub id: PartitionId,
    /// Number of its execution contexts.
    pub contexts: u16,
    /// Properties.
    pub properties: Properties,
    /// Its UUID; nil if the query named one, and in a 1.0 record.
    pub uuid: Uuid,
}

/// Size of the records in an RX buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordFormat {
    /// 8 bytes, FF-A 1.0.
    V1_0,
    /// 24 bytes, FF-A 1.1 and 1.2.
    V1_1,
}

impl RecordFormat {
    /// The records that a caller of `version` reads.
    #[must_use]
    pub fn for_version(version: Version) -> Self {
        if version < Version::V1_1 { Self::V1_0 } else { Self::V1_1 }
    }

    /// Bytes of one record.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::V1_0 => 8,
            Self::V1_1 => 24,
        }
    }

    /// w3 of the answer: the size of one record, or zero for 1.0.
    #[must_use]
    pub const fn size_word(self) -> u32 {
        match self {
            Self::V1_0 => 0,
            Self::V1_1 => 24,
        }
    }
}

/// Why a list of partitions cannot be read or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionInfoError {
    /// No version has records of this size.
    #[error("records of {stride} bytes")]
    Stride {
        /// Bytes between two records, as the answer gave it.
        stride: u32,
    },
    /// The records do not fit the buffer.
    #[error("{count} records of {stride} bytes do not fit {have} bytes")]
    TooMany {
        /// Number of records.
        count: u32,
        /// Bytes between two records.
        stride: u32,
        /// Bytes that the buffer has.
        have: usize,
    },
}

impl PartitionInfo {
    /// Writes one record of `format` to the start of `buffer` and returns what is left of it; properties should be
    /// cut for the reader before.
    ///
    /// # Errors
    /// [`PartitionInfoError::TooMany`] if the record does not fit.
    #[inline]
    pub fn write<'a>(
        &self,
        format: RecordFormat,
        buffer: &'a mut [u8],
    ) -> Result<&'a mut [u8], PartitionInfoError> {
        let head = wire::Head {
            id: self.id.0.into(),
            contexts: self.contexts.into(),
            properties: self.properties.0.into(),
        };
        let have = buffer.len();
        let too_many = PartitionInfoError::TooMany { count: 1, stride: format.size() as u32, have };
        let (record, rest) = buffer.split_at_mut_checked(format.size()).ok_or(too_many)?;
        let written = match format {
            RecordFormat::V1_0 => head.write_to(record).ok(),
            RecordFormat::V1_1 => wire::PartitionInfo { head, uuid: self.uuid.0 }.write_to(record).ok(),
        };
        written.map(|()| rest).ok_or(too_many)
    }
}

/// The records in a private copy of an RX buffer, stepped through by the stride that the answer gave.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    stride: usize,
}

impl<'a> Records<'a> {
    /// `count` records in `bytes`. `stride` is w3 of the answer: 0 or 8 for records of 1.0, 24, 48, or more if a
    /// later version appends to them.
    ///
    /// # Errors
    /// [`PartitionInfoError::Stride`] if no version has such records, [`PartitionInfoError::TooMany`] if `count`
    /// of them do not fit `bytes`.
    pub fn new(bytes: &'a [u8], count: u32, stride: u32) -> Result<Self, PartitionInfoError> {
        let stride = if stride == 0 { 8 } else { stride };
        if !(stride == 8 || stride >= 24 && stride % 8 == 0) {
            return Err(PartitionInfoError::Stride { stride });
        }
        let too_many = PartitionInfoError::TooMany { count, stride, have: bytes.len() };
        let len = u64::from(count) * u64::from(stride);
        let len = usize::try_from(len).map_err(|_| too_many)?;
        let bytes = bytes.get(..len).ok_or(too_many)?;
        Ok(Self { bytes, stride: stride as usize })
    }

    /// Whole records of a stride that [`new`](Self::new) has already taken.
    pub(crate) const fn of_checked(bytes: &'a [u8], stride: usize) -> Self {
        Self { bytes, stride }
    }
}

impl Iterator for Records<'_> {
    type Item = PartitionInfo;

    fn next(&mut self) -> Option<PartitionInfo> {
        let (record, rest) = self.bytes.split_at_checked(self.stride)?;
        self.bytes = rest;
        let mut whole = [0; size_of::<wire::PartitionInfo>()];
        let known = record.len().min(whole.len());
        whole.get_mut(..known)?.copy_from_slice(record.get(..known)?);
        let wire = wire::PartitionInfo::read_from_bytes(&whole).ok()?;
        Some(PartitionInfo {
            id: PartitionId(wire.head.id.get()),
            contexts: wire.head.contexts.get(),
            properties: Properties(wire.head.properties.get()),
            uuid: Uuid(wire.uuid),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.bytes.len() / self.stride;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    const SP: PartitionInfo = PartitionInfo {
        id: PartitionId(0x8001),
        contexts: 2,
        properties: Properties(0x1c1),
        uuid: Uuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    };

    #[test]
    fn golden_record() {
        let head = [0x01, 0x80, 2, 0, 0xc1, 1, 0, 0];
        let mut bytes = [0xee; 25];
        assert_eq!(SP.write(RecordFormat::V1_1, &mut bytes), Ok(&mut [0xee][..]));
        assert_eq!(bytes[..8], head);
        assert_eq!(bytes[8..24], SP.uuid.0);
        let mut bytes = [0xee; 10];
        assert_eq!(SP.write(RecordFormat::V1_0, &mut bytes), Ok(&mut [0xee; 2][..]));
        assert_eq!(bytes[..8], head);
    }

    #[test]
    fn a_record_that_does_not_fit_is_not_written() {
        for (format, stride) in [(RecordFormat::V1_0, 8), (RecordFormat::V1_1, 24)] {
            let have = stride as usize - 1;
            let mut bytes = [0xee; 23];
            let error = PartitionInfoError::TooMany { count: 1, stride, have };
            assert_eq!(SP.write(format, &mut bytes[..have]), Err(error));
            assert_eq!(bytes, [0xee; 23]);
        }
    }

    #[test]
    fn reads_every_stride_and_refuses_the_odd_ones() {
        let mut bytes = [0xee; 96];
        for stride in [8_usize, 24, 48] {
            let format = if stride == 8 { RecordFormat::V1_0 } else { RecordFormat::V1_1 };
            SP.write(format, &mut bytes[..stride]).unwrap();
            let other = PartitionInfo { id: PartitionId(0x8002), ..SP };
            other.write(format, &mut bytes[stride..]).unwrap();
            let mut records = Records::new(&bytes, 2, stride as u32).unwrap();
            let uuid = if stride == 8 { Uuid::NIL } else { SP.uuid };
            assert_eq!(records.next(), Some(PartitionInfo { uuid, ..SP }));
            assert_eq!(records.next(), Some(PartitionInfo { uuid, ..other }));
            assert_eq!(records.next(), None);
        }
        for stride in [1, 7, 16, 23, 25, 0xffff_ffff] {
            let error = Records::new(&bytes, 1, stride).err();
            assert_eq!(error, Some(PartitionInfoError::Stride { stride }));
        }
        let have = bytes.len();
        for (count, stride) in [(5, 24), (u32::MAX, 24), (u32::MAX, 0xffff_fff8)] {
            let error = Records::new(&bytes, count, stride).err();
            assert_eq!(error, Some(PartitionInfoError::TooMany { count, stride, have }));
        }
    }
}
