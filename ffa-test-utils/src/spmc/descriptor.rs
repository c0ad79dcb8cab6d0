//! A reader of memory transaction descriptors that knows offsets and nothing else. It is a second implementation
//! on purpose and shares no code with the one under test.

use alloc::vec::Vec;

use ffa_abi::{PartitionId, Version};

use super::memory::Extent;

/// Which of the two header layouts a descriptor has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Layout {
    /// 1.0: 32 bytes, access descriptors follow at once.
    V1_0,
    /// From 1.1: 48 bytes, size and offset of the access descriptors are fields.
    V1_1,
}

impl Layout {
    pub fn for_version(version: Version) -> Self {
        if version < Version::V1_1 { Self::V1_0 } else { Self::V1_1 }
    }

    pub const fn header_size(self) -> u32 {
        match self {
            Self::V1_0 => 32,
            Self::V1_1 => 48,
        }
    }
}

/// An endpoint memory access descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub receiver: PartitionId,
    pub permissions: u8,
    pub flags: u8,
    pub composite_offset: u32,
    pub reserved: u64,
}

/// The bytes of a descriptor. What lies past their end reads as zero: bounds are rows of the check tables, since
/// each secure world checks them at another place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor<'a> {
    pub bytes: &'a [u8],
    pub layout: Layout,
}

impl<'a> Descriptor<'a> {
    pub const fn new(bytes: &'a [u8], layout: Layout) -> Self {
        Self { bytes, layout }
    }

    fn number<const N: usize>(&self, offset: u64) -> u64 {
        let mut whole = [0; 8];
        let bytes = usize::try_from(offset).ok().and_then(|at| self.bytes.get(at..at.checked_add(N)?));
        if let (Some(to), Some(from)) = (whole.get_mut(..N), bytes) {
            to.copy_from_slice(from);
        }
        u64::from_le_bytes(whole)
    }

    fn u32(&self, offset: u64) -> u32 {
        self.number::<4>(offset) as u32
    }

    pub fn sender(&self) -> PartitionId {
        PartitionId(self.number::<2>(0) as u16)
    }

    pub fn attributes(&self) -> u16 {
        match self.layout {
            Layout::V1_0 => self.number::<1>(2) as u16,
            Layout::V1_1 => self.number::<2>(2) as u16,
        }
    }

    pub fn flags(&self) -> u32 {
        self.u32(4)
    }

    pub fn handle(&self) -> u64 {
        self.number::<8>(8)
    }

    pub fn access_size(&self) -> u32 {
        match self.layout {
            Layout::V1_0 => 16,
            Layout::V1_1 => self.u32(24),
        }
    }

    pub fn access_count(&self) -> u32 {
        self.u32(28)
    }

    pub fn access_offset(&self) -> u32 {
        match self.layout {
            Layout::V1_0 => 32,
            Layout::V1_1 => self.u32(32),
        }
    }

    /// Whether bytes of the header that should be zero are not.
    pub fn header_reserved(&self) -> bool {
        match self.layout {
            Layout::V1_0 => self.number::<1>(3) != 0 || self.u32(24) != 0,
            Layout::V1_1 => self.u32(36) != 0 || self.number::<8>(40) != 0,
        }
    }

    /// First byte after the access descriptors.
    pub fn access_end(&self) -> u64 {
        u64::from(self.access_offset()) + u64::from(self.access_size()) * u64::from(self.access_count())
    }

    /// The access descriptors that are there, at most 256.
    pub fn accesses(&self) -> impl Iterator<Item = Access> + use<'a> {
        let this = *self;
        let size = u64::from(this.access_size().max(1));
        let first = u64::from(this.access_offset());
        (0..u64::from(this.access_count().min(256)))
            .map(move |index| first + index * size)
            .take_while(move |&at| at < this.bytes.len() as u64)
            .map(move |at| Access {
                receiver: PartitionId(this.number::<2>(at) as u16),
                permissions: this.number::<1>(at + 2) as u8,
                flags: this.number::<1>(at + 3) as u8,
                composite_offset: this.u32(at + 4),
                reserved: this.number::<8>(at + if this.access_size() < 32 { 8 } else { 24 }),
            })
    }

    /// Offset of the composite descriptor, as the first access descriptor gives it.
    pub fn composite_offset(&self) -> u32 {
        self.accesses().next().map_or(0, |access| access.composite_offset)
    }

    pub fn total_pages(&self) -> u32 {
        self.u32(u64::from(self.composite_offset()))
    }

    pub fn range_count(&self) -> u32 {
        self.u32(u64::from(self.composite_offset()) + 4)
    }

    /// Offset of the first range.
    pub fn ranges_offset(&self) -> u64 {
        u64::from(self.composite_offset()) + 16
    }

    /// The declared ranges of which every byte is there.
    pub fn ranges(&self) -> Vec<Extent> {
        let first = self.ranges_offset();
        let room = (self.bytes.len() as u64).saturating_sub(first) / 16;
        (0..room.min(u64::from(self.range_count())))
            .map(|index| first + index * 16)
            .map(|at| Extent { base: self.number::<8>(at), pages: self.u32(at + 8) })
            .collect()
    }
}
