//! Where things are in a descriptor: header, endpoint memory access descriptors, composite.

use ffa_abi::Version;
use zerocopy::FromBytes;

use crate::DescriptorError;
use crate::wire::{Composite, Constituent, Emad, EmadV1_0, EmadV1_2, HeaderV1_0, HeaderV1_1};

/// A header, and what depends on its layout.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a> {
    pub fields: &'a HeaderV1_0, // without `emad_size`
    pub emad_size: usize,       // 16 or 32
    pub emad_offset: usize,
}

impl<'a> Header<'a> {
    #[inline(always)] // every share comes through here
    pub fn read(bytes: &'a [u8], version: Version) -> Result<Self, DescriptorError> {
        if version < Version::V1_1 { Self::v1_0(bytes) } else { Self::v1_1(bytes, version) }
    }

    #[inline(always)] // every share comes through here
    fn v1_0(bytes: &'a [u8]) -> Result<Self, DescriptorError> {
        let len = size_of::<HeaderV1_0>();
        let (fields, _) =
            HeaderV1_0::ref_from_prefix(bytes).map_err(|_| truncated("header", 0, len as u64, bytes))?;
        if fields.emad_size.get() != 0 {
            return Err(reserved("header bytes 24 to 27", fields.emad_size.get().into()));
        }
        Ok(Self { fields, emad_size: size_of::<EmadV1_0>(), emad_offset: len })
    }

    #[inline(always)] // every share comes through here
    fn v1_1(bytes: &'a [u8], version: Version) -> Result<Self, DescriptorError> {
        let len = size_of::<HeaderV1_1>();
        let (wire, _) =
            HeaderV1_1::ref_from_prefix(bytes).map_err(|_| truncated("header", 0, len as u64, bytes))?;
        if u64::from(wire.reserved_36.get()) | wire.reserved_40.get() != 0 {
            return Err(if wire.reserved_36.get() != 0 {
                reserved("header bytes 36 to 39", wire.reserved_36.get().into())
            } else {
                reserved("header bytes 40 to 47", wire.reserved_40.get())
            });
        }
        let emad_size = match wire.start.emad_size.get() {
            16 => size_of::<EmadV1_0>(),
            32 if version >= Version::V1_2 => size_of::<EmadV1_2>(),
            size => return Err(DescriptorError::EmadSize { size, version }),
        };
        let offset = wire.emad_offset.get();
        let emad_offset = to_usize(offset);
        if emad_offset != len && (emad_offset < len || offset % 16 != 0) {
            return Err(DescriptorError::EmadOffset { offset });
        }
        Ok(Self { fields: &wire.start, emad_size, emad_offset })
    }

    /// The endpoint memory access descriptors, of which `E` has the size, and what follows them.
    #[inline(always)] // every share comes through here
    pub fn emads<E: Emad>(&self, bytes: &'a [u8]) -> Result<(&'a [E], &'a [u8]), DescriptorError> {
        let whole = || {
            let need = u64::from(self.fields.emad_count.get()).wrapping_mul(size_of::<E>() as u64); // 38 bits
            truncated("endpoint memory access descriptors", self.emad_offset as u64, need, bytes)
        };
        let rest = bytes.get(self.emad_offset..).ok_or_else(whole)?;
        let count = to_usize(self.fields.emad_count.get());
        <[E]>::ref_from_prefix_with_elems(rest, count).map_err(|_| whole())
    }
}

/// The composite at `offset`, and what follows it.
///
/// `after_emads` is the part of `bytes` that it may be in.
#[inline(always)] // every share comes through here
pub(crate) fn composite<'a>(
    bytes: &'a [u8],
    offset: u32,
    after_emads: &'a [u8],
) -> Result<(&'a Composite, &'a [u8]), DescriptorError> {
    let start = u64::from(offset);
    let after = (bytes.len() as u64).wrapping_sub(after_emads.len() as u64);
    // Right after the endpoint memory access descriptors it is aligned, since those are.
    let at = if start == after {
        Some(after_emads)
    } else if start < after || offset % 16 != 0 {
        return Err(DescriptorError::CompositeOffset { offset, after });
    } else {
        bytes.get(to_usize(offset)..)
    };
    let (composite, rest) = at
        .and_then(|at| Composite::ref_from_prefix(at).ok())
        .ok_or_else(|| truncated("composite", start, size_of::<Composite>() as u64, bytes))?;
    if composite.reserved.get() != 0 {
        return Err(reserved("composite bytes 8 to 15", composite.reserved.get()));
    }
    Ok((composite, rest))
}

/// The `count` constituents that `rest` must consist of, which is the end of `bytes`.
#[inline(always)] // every share comes through here
pub(crate) fn constituents<'a>(
    rest: &'a [u8],
    count: u32,
    bytes: &[u8],
) -> Result<&'a [Constituent], DescriptorError> {
    let need = u64::from(count).wrapping_mul(size_of::<Constituent>() as u64); // 36 bits
    let wrong = || {
        let start = (bytes.len() as u64).wrapping_sub(rest.len() as u64);
        wrong_length(start, need, bytes.len() as u64)
    };
    if rest.len() as u64 != need {
        return Err(wrong());
    }
    let (ranges, _) =
        <[Constituent]>::ref_from_prefix_with_elems(rest, to_usize(count)).map_err(|_| wrong())?;
    Ok(ranges)
}

/// The length of a head that ends at `start`, where `count` constituents after it end where the descriptor does.
pub(crate) fn head_len(start: u64, count: u32, total_len: u32) -> Result<u32, DescriptorError> {
    let need = u64::from(count).wrapping_mul(size_of::<Constituent>() as u64); // 36 bits
    let len = u32::try_from(start).ok().filter(|_| start.saturating_add(need) == total_len.into());
    len.ok_or_else(|| wrong_length(start, need, total_len.into()))
}

/// Says why `need` bytes of constituents from `start` on do not end where the descriptor of `have` bytes does.
#[cold]
fn wrong_length(start: u64, need: u64, have: u64) -> DescriptorError {
    let end = start.saturating_add(need);
    if end > have {
        DescriptorError::Truncated { field: "constituents", offset: start, need, have }
    } else {
        DescriptorError::Excess { end, have }
    }
}

/// What does not fit is more than any slice has.
#[inline(always)] // every share comes through here
fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cold]
fn truncated(field: &'static str, offset: u64, need: u64, bytes: &[u8]) -> DescriptorError {
    DescriptorError::Truncated { field, offset, need, have: bytes.len() as u64 }
}

#[cold]
fn reserved(field: &'static str, value: u64) -> DescriptorError {
    DescriptorError::Reserved { field, value }
}
