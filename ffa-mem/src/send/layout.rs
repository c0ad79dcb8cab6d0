//! Where things are in a descriptor: header, endpoint memory access descriptors, composite.

use ffa_abi::{PartitionId, Version};
use zerocopy::FromBytes;

use crate::DescriptorError;
use crate::wire::{Composite, Constituent, Emad, EmadV1_0, EmadV1_2, HeaderV1_0, HeaderV1_1};

/// The header's fields, whichever its layout.
pub(super) struct Header {
    pub sender: PartitionId,
    pub attributes: u16,
    pub flags: u32,
    pub handle: u64,
    pub tag: u64,
    pub emad_size: u32, // 16 or 32
    pub emad_count: u32,
    pub emad_offset: u32,
}

impl Header {
    #[inline]
    pub fn read(bytes: &[u8], version: Version) -> Result<Self, DescriptorError> {
        if version < Version::V1_1 { Self::v1_0(bytes) } else { Self::v1_1(bytes, version) }
    }

    #[inline]
    fn v1_0(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let (wire, _) = HeaderV1_0::ref_from_prefix(bytes)
            .map_err(|_| truncated("header", 0, size_of::<HeaderV1_0>() as u64, bytes))?;
        if wire.reserved_3 != 0 {
            return Err(reserved("header byte 3", u64::from(wire.reserved_3)));
        }
        if wire.reserved_24.get() != 0 {
            return Err(reserved("header bytes 24 to 27", u64::from(wire.reserved_24.get())));
        }
        Ok(Self {
            sender: PartitionId(wire.sender.get()),
            attributes: u16::from(wire.attributes),
            flags: wire.flags.get(),
            handle: wire.handle.get(),
            tag: wire.tag.get(),
            emad_size: size_of::<EmadV1_0>() as u32,
            emad_count: wire.emad_count.get(),
            emad_offset: size_of::<HeaderV1_0>() as u32,
        })
    }

    #[inline]
    fn v1_1(bytes: &[u8], version: Version) -> Result<Self, DescriptorError> {
        let (wire, _) = HeaderV1_1::ref_from_prefix(bytes)
            .map_err(|_| truncated("header", 0, size_of::<HeaderV1_1>() as u64, bytes))?;
        if wire.reserved_36.get() != 0 {
            return Err(reserved("header bytes 36 to 39", u64::from(wire.reserved_36.get())));
        }
        if wire.reserved_40.get() != 0 {
            return Err(reserved("header bytes 40 to 47", wire.reserved_40.get()));
        }
        let size = wire.emad_size.get();
        let is_v1_2 = size == size_of::<EmadV1_2>() as u32 && version >= Version::V1_2;
        if size != size_of::<EmadV1_0>() as u32 && !is_v1_2 {
            return Err(DescriptorError::EmadSize { size, version });
        }
        let offset = wire.emad_offset.get();
        let usual = size_of::<HeaderV1_1>() as u32;
        if offset != usual && (offset < usual || offset % 16 != 0) {
            return Err(DescriptorError::EmadOffset { offset });
        }
        Ok(Self {
            sender: PartitionId(wire.sender.get()),
            attributes: wire.attributes.get(),
            flags: wire.flags.get(),
            handle: wire.handle.get(),
            tag: wire.tag.get(),
            emad_size: size,
            emad_count: wire.emad_count.get(),
            emad_offset: offset,
        })
    }

    /// The endpoint memory access descriptors, of which `E` has the size, and what follows them.
    #[inline]
    pub fn emads<'a, E: Emad>(&self, bytes: &'a [u8]) -> Result<(&'a [E], &'a [u8]), DescriptorError> {
        let at = tail(bytes, self.emad_offset);
        let emads = at.zip(usize::try_from(self.emad_count).ok());
        emads.and_then(|(at, count)| <[E]>::ref_from_prefix_with_elems(at, count).ok()).ok_or_else(|| {
            // 32 by 6 bits at most.
            let need = u64::from(self.emad_count).wrapping_mul(u64::from(self.emad_size));
            truncated("endpoint memory access descriptors", self.emad_offset.into(), need, bytes)
        })
    }
}

/// The composite at `offset`: its total page count, and its constituents, which must end where `bytes` do.
///
/// `after_emads` is the part of `bytes` that it may be in.
#[inline]
pub(super) fn composite<'a>(
    bytes: &'a [u8],
    offset: u32,
    after_emads: &'a [u8],
) -> Result<(u32, &'a [Constituent]), DescriptorError> {
    let start = u64::from(offset);
    let after = (bytes.len() as u64).wrapping_sub(after_emads.len() as u64);
    // Right after the endpoint memory access descriptors it is aligned, since those are.
    let at = if start == after {
        Some(after_emads)
    } else if start < after || offset % 16 != 0 {
        return Err(DescriptorError::CompositeOffset { offset, after });
    } else {
        tail(bytes, offset)
    };
    let (composite, rest) = at
        .and_then(|at| Composite::ref_from_prefix(at).ok())
        .ok_or_else(|| truncated("composite", start, size_of::<Composite>() as u64, bytes))?;
    if composite.reserved.get() != 0 {
        return Err(reserved("composite bytes 8 to 15", composite.reserved.get()));
    }
    let count = composite.range_count.get();
    let need = u64::from(count).wrapping_mul(size_of::<Constituent>() as u64); // 36 bits
    match <[Constituent]>::ref_from_bytes(rest) {
        Ok(ranges) if rest.len() as u64 == need => Ok((composite.total_pages.get(), ranges)),
        _ => Err(wrong_length(start, need, bytes)),
    }
}

/// Says why the constituents of a composite at `start` do not end where `bytes` do.
#[cold]
fn wrong_length(start: u64, need: u64, bytes: &[u8]) -> DescriptorError {
    let first = start.saturating_add(size_of::<Composite>() as u64);
    let end = first.saturating_add(need);
    let have = bytes.len() as u64;
    if end > have {
        truncated("constituents", first, need, bytes)
    } else {
        DescriptorError::Excess { end, have }
    }
}

#[inline]
fn tail(bytes: &[u8], offset: u32) -> Option<&[u8]> {
    bytes.get(usize::try_from(offset).ok()?..)
}

#[cold]
fn truncated(field: &'static str, offset: u64, need: u64, bytes: &[u8]) -> DescriptorError {
    DescriptorError::Truncated { field, offset, need, have: bytes.len() as u64 }
}

#[cold]
fn reserved(field: &'static str, value: u64) -> DescriptorError {
    DescriptorError::Reserved { field, value }
}
