//! What a descriptor begins with, as it is written.

use ffa_abi::{PartitionId, Version};
use zerocopy::{FromBytes, IntoBytes};

use super::BuildError;
use crate::wire::{Composite, Constituent, Emad, EmadHead, EmadV1_0, EmadV1_2, HeaderV1_0, HeaderV1_1};
use crate::{MAX_RECEIVERS, MemoryAttributes, Receiver};

/// What the header of any memory transaction descriptor says.
pub(crate) struct HeadFields {
    pub version: Version,
    pub sender: PartitionId,
    pub attributes: MemoryAttributes,
    pub flags: u32,
    pub handle: u64,
    pub tag: u64,
}

/// The start of a descriptor in a buffer, whose composite is yet to be filled in.
pub(crate) struct Head<'a> {
    pub composite: &'a mut Composite,
    /// What there is room for.
    pub ranges: &'a mut [Constituent],
    /// Length in bytes.
    pub len: usize,
}

impl<'a> Head<'a> {
    /// Writes everything before the composite to the start of `buf`.
    #[inline(always)] // every share comes through here
    pub fn write<I>(buf: &'a mut [u8], header: &HeadFields, receivers: I) -> Result<Self, BuildError>
    where
        I: IntoIterator<Item = Receiver, IntoIter: ExactSizeIterator>,
    {
        let receivers = receivers.into_iter();
        let count = receivers.len();
        if count == 0 || count > MAX_RECEIVERS as usize {
            return Err(BuildError::Receivers { count });
        }
        let emad_count = count as u32; // at most `MAX_RECEIVERS`
        let has_impdef = header.version >= Version::V1_2;
        let emad_size = if has_impdef { size_of::<EmadV1_2>() } else { size_of::<EmadV1_0>() } as u32;
        let (header_len, rest) = header.write(buf, emad_count, emad_size)?;
        let composite_offset = header_len + emad_count * emad_size; // at most 48 + 64 * 32
        let rest = if has_impdef {
            write_emads(rest, receivers, |receiver| EmadV1_2 {
                head: emad_head(receiver, composite_offset),
                impdef: receiver.impdef.map(Into::into),
                reserved: 0.into(),
            })?
        } else {
            write_emads(rest, receivers, |receiver| EmadV1_0 {
                head: emad_head(receiver, composite_offset),
                reserved: 0.into(),
            })?
        };
        let (composite, rest) = Composite::mut_from_prefix(rest).map_err(|_| BuildError::BufferFull)?;
        let len = composite_offset as usize + size_of::<Composite>();
        Ok(Self { composite, ranges: room(rest), len })
    }
}

/// The constituents that `buf` has room for.
#[inline(always)] // every share comes through here
pub(super) fn room(buf: &mut [u8]) -> &mut [Constituent] {
    let capacity = buf.len() / size_of::<Constituent>();
    <[Constituent]>::mut_from_prefix_with_elems(buf, capacity).map_or(&mut [], |(ranges, _)| ranges)
}

impl HeadFields {
    /// Writes the header to the start of `buf`; gives its length and what follows it.
    #[inline(always)] // every share comes through here
    fn write<'a>(
        &self,
        buf: &'a mut [u8],
        emad_count: u32,
        emad_size: u32,
    ) -> Result<(u32, &'a mut [u8]), BuildError> {
        let start = HeaderV1_0 {
            sender: self.sender.0.into(),
            attributes: self.attributes.bits().into(),
            flags: self.flags.into(),
            handle: self.handle.into(),
            tag: self.tag.into(),
            emad_size: 0.into(),
            emad_count: emad_count.into(),
        };
        if self.version < Version::V1_1 {
            let (slot, rest) = HeaderV1_0::mut_from_prefix(buf).map_err(|_| BuildError::BufferFull)?;
            *slot = start;
            return Ok((size_of::<HeaderV1_0>() as u32, rest));
        }
        let len = size_of::<HeaderV1_1>() as u32;
        let (slot, rest) = HeaderV1_1::mut_from_prefix(buf).map_err(|_| BuildError::BufferFull)?;
        *slot = HeaderV1_1 {
            start: HeaderV1_0 { emad_size: emad_size.into(), ..start },
            emad_offset: len.into(),
            reserved_36: 0.into(),
            reserved_40: 0.into(),
        };
        Ok((len, rest))
    }
}

#[inline(always)] // every share comes through here
fn emad_head(receiver: Receiver, composite_offset: u32) -> EmadHead {
    EmadHead {
        receiver: receiver.id.0.into(),
        permissions: receiver.permissions.bits(),
        flags: 0,
        composite_offset: composite_offset.into(),
    }
}

/// Writes one `E` per receiver to the start of `buf` and gives what follows them.
#[inline(always)] // every share comes through here
fn write_emads<'a, E: Emad + IntoBytes + 'a>(
    buf: &'a mut [u8],
    mut receivers: impl ExactSizeIterator<Item = Receiver>,
    emad: impl Fn(Receiver) -> E,
) -> Result<&'a mut [u8], BuildError> {
    let count = receivers.len();
    let (slots, rest) = <[E]>::mut_from_prefix_with_elems(buf, count).map_err(|_| BuildError::BufferFull)?;
    for slot in slots {
        *slot = emad(receivers.next().ok_or(BuildError::Receivers { count })?);
    }
    Ok(rest)
}
