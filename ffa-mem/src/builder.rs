use core::slice;

use ffa_abi::{PartitionId, Version};
use zerocopy::{FromBytes, IntoBytes};

use crate::wire::{Composite, Constituent, Emad, EmadHead, EmadV1_0, EmadV1_2, HeaderV1_0, HeaderV1_1};
use crate::{MAX_RECEIVERS, MemoryAttributes, PageRange, Receiver, SendFlags};

/// What the header of a send descriptor says, beside receivers and ranges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SendHeader {
    /// The version in use with whoever reads the descriptor; it chooses the layout.
    pub version: Version,
    /// The sender.
    pub sender: PartitionId,
    /// Memory attributes.
    pub attributes: MemoryAttributes,
    /// Flags.
    pub flags: SendFlags,
    /// The sender's tag.
    pub tag: u64,
}

/// Why a descriptor could not be built. What is in the buffer by then is no descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The descriptor is longer than the buffer.
    #[error("the descriptor does not fit its buffer")]
    BufferFull,
    /// No receivers, more than [`MAX_RECEIVERS`], or fewer than their iterator announced.
    #[error("{count} receivers, need 1 to {max}", max = MAX_RECEIVERS)]
    Receivers {
        /// How many there are, or should have been.
        count: usize,
    },
    /// No ranges.
    #[error("no ranges")]
    NoRanges,
    /// The page counts of all ranges together exceed 32 bits.
    #[error("the ranges have 2^32 pages or more")]
    TotalPages,
}

/// Writes a send descriptor into a buffer, in canonical form.
///
/// Canonical: no handle, reserved fields zero, receivers right after the header, the composite right after them, and
/// nothing after the last constituent. Every byte of the result is written, so nothing that was in the buffer before
/// is sent along.
///
/// | version | header | per receiver |
/// | --- | --- | --- |
/// | 1.0 | 32 bytes | 16 bytes, no implementation-defined value |
/// | 1.1 | 48 bytes | 16 bytes, no implementation-defined value |
/// | 1.2 | 48 bytes | 32 bytes |
///
/// # Specification
/// FF-A v1.0 (DEN0077A issue A) Table 5.19; v1.1 (issue E) Tables 10.13 to 10.21; from v1.2, DEN0140.
#[derive(Debug)]
pub struct SendBuilder<'a> {
    composite: &'a mut Composite,
    free: slice::IterMut<'a, Constituent>,
    last: Option<&'a mut Constituent>,
    end: u64, // of the last range; `NO_END` before the first
    total_pages: u64,
    head_len: usize,
    capacity: usize, // constituents
}

/// Not page aligned, so no range begins there.
const NO_END: u64 = u64::MAX;

impl<'a> SendBuilder<'a> {
    /// Begins a descriptor in `buf` with everything but the ranges.
    ///
    /// # Errors
    /// [`BuildError::Receivers`] for none or too many, [`BuildError::BufferFull`].
    pub fn new<I>(buf: &'a mut [u8], header: &SendHeader, receivers: I) -> Result<Self, BuildError>
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
        let capacity = rest.len() / size_of::<Constituent>();
        let (free, _) = <[Constituent]>::mut_from_prefix_with_elems(rest, capacity)
            .map_err(|_| BuildError::BufferFull)?;
        let head_len = composite_offset as usize + size_of::<Composite>();
        Ok(Self {
            composite,
            free: free.iter_mut(),
            last: None,
            end: NO_END,
            total_pages: 0,
            head_len,
            capacity,
        })
    }

    /// Appends `range`, joined with the one before it where they touch.
    ///
    /// # Errors
    /// [`BuildError::BufferFull`]; what was pushed before stays.
    #[inline]
    pub fn push<Space>(&mut self, range: PageRange<Space>) -> Result<(), BuildError> {
        if range.base() == self.end && self.join(range.pages()) {
            self.end = range.end();
            return Ok(());
        }
        let slot = self.free.next().ok_or(BuildError::BufferFull)?;
        *slot = Constituent::new(range.base(), range.pages());
        self.last = Some(slot);
        self.end = range.end();
        self.total_pages = self.total_pages.wrapping_add(range.pages().into()); // 2^32 of 2^32 at most
        Ok(())
    }

    /// Lengthens the last range by `pages`, if there is one and it can be.
    #[cold]
    #[inline]
    fn join(&mut self, pages: u32) -> bool {
        let Some(last) = &mut self.last else { return false };
        let Some(sum) = last.page_count.get().checked_add(pages) else { return false };
        last.page_count = sum.into();
        self.total_pages = self.total_pages.wrapping_add(pages.into());
        true
    }

    /// Completes the descriptor and gives its length in bytes, from the start of the buffer.
    ///
    /// # Errors
    /// [`BuildError::NoRanges`], [`BuildError::TotalPages`].
    #[inline]
    pub fn finish(self) -> Result<usize, BuildError> {
        if self.last.is_none() {
            return Err(BuildError::NoRanges);
        }
        let count = self.capacity.wrapping_sub(self.free.len());
        let total_pages = u32::try_from(self.total_pages).map_err(|_| BuildError::TotalPages)?;
        let range_count = count as u32; // no more than there are pages
        *self.composite = Composite {
            total_pages: total_pages.into(),
            range_count: range_count.into(),
            reserved: 0.into(),
        };
        // Both are parts of the buffer's length.
        Ok(self.head_len.wrapping_add(count.wrapping_mul(size_of::<Constituent>())))
    }
}

impl SendHeader {
    /// Writes the header to the start of `buf`; gives its length and what follows it.
    #[inline]
    fn write<'a>(
        &self,
        buf: &'a mut [u8],
        emad_count: u32,
        emad_size: u32,
    ) -> Result<(u32, &'a mut [u8]), BuildError> {
        let start = HeaderV1_0 {
            sender: self.sender.0.into(),
            attributes: self.attributes.bits().into(),
            flags: self.flags.word().into(),
            handle: 0.into(),
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

#[inline]
fn emad_head(receiver: Receiver, composite_offset: u32) -> EmadHead {
    EmadHead {
        receiver: receiver.id.0.into(),
        permissions: receiver.permissions.bits(),
        flags: 0,
        composite_offset: composite_offset.into(),
    }
}

/// Writes one `E` per receiver to the start of `buf` and gives what follows them.
#[inline]
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
