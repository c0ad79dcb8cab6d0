use ffa_abi::{Handle, PartitionId, Version};
use zerocopy::IntoBytes;

use super::RetrieveFlags;
use crate::builder::{Head, HeadFields};
use crate::wire::{Composite, Constituent, EmadV1_0, EmadV1_2, HeaderV1_0, HeaderV1_1};
use crate::{IpaRange, MemoryAttributes, Receiver};

/// What a retrieve response says, but for its ranges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetrieveResponse {
    /// The version in use with the borrower; it chooses the layout.
    pub version: Version,
    /// The owner.
    pub sender: PartitionId,
    /// Memory attributes.
    pub attributes: MemoryAttributes,
    /// Flags.
    pub flags: RetrieveFlags,
    /// The transaction.
    pub handle: Handle,
    /// The owner's tag.
    pub tag: u64,
    /// The borrower, and what it has.
    pub receiver: Receiver,
    /// Ranges.
    pub range_count: u32,
    /// 4 KiB pages of all of them.
    pub total_pages: u32,
}

impl RetrieveResponse {
    /// Bytes of a range.
    pub const RANGE_LEN: usize = size_of::<Constituent>();

    /// Bytes before the ranges, for a borrower of this version.
    #[must_use]
    pub const fn head_len(version: Version) -> usize {
        let (header, emad) = if version.minor() == 0 {
            (size_of::<HeaderV1_0>(), size_of::<EmadV1_0>())
        } else if version.minor() == 1 {
            (size_of::<HeaderV1_1>(), size_of::<EmadV1_0>())
        } else {
            (size_of::<HeaderV1_1>(), size_of::<EmadV1_2>())
        };
        header + emad + size_of::<Composite>()
    }

    /// Bytes of the whole.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        Self::head_len(self.version) + self.range_count as usize * size_of::<Constituent>()
    }

    /// Writes all but the ranges to the start of `out`, and gives the part behind it that ranges fit; `None` if there is
    /// too little room.
    pub fn write_head<'a>(&self, out: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let fields = HeadFields {
            version: self.version,
            sender: self.sender,
            attributes: self.attributes,
            flags: self.flags.word(),
            handle: self.handle.get(),
            tag: self.tag,
        };
        let head = Head::write(out, &fields, [self.receiver]).ok()?;
        *head.composite = Composite {
            total_pages: self.total_pages.into(),
            range_count: self.range_count.into(),
            reserved: 0.into(),
        };
        Some(head.ranges.as_mut_bytes())
    }

    /// Writes ranges to the start of `out`, as many as fit, and gives their length in bytes.
    pub fn write_ranges(ranges: impl Iterator<Item = IpaRange>, out: &mut [u8]) -> usize {
        let mut len = 0;
        for (slot, range) in out.chunks_exact_mut(size_of::<Constituent>()).zip(ranges) {
            slot.copy_from_slice(Constituent::new(range.base(), range.pages()).as_bytes());
            len += size_of::<Constituent>();
        }
        len
    }
}
