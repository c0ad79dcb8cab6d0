use core::slice;

use ffa_abi::{PartitionId, Version};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

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
        /// How many there were.
        count: usize,
    },
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
/// FF-A v1.0 (DEN0077A issue A) section 5.12; v1.1 (issue E) section 10.11; from v1.2, DEN0140.
#[derive(Debug)]
pub struct SendBuilder<'a> {
    composite: &'a mut Composite,
    free: slice::IterMut<'a, Constituent>,
    last: Option<&'a mut Constituent>,
    end: u64, // of the last range; `NO_END` before the first
    total_pages: u32,
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
        let emad_count = u32::try_from(receivers.len()).unwrap_or(u32::MAX);
        if emad_count == 0 || emad_count > MAX_RECEIVERS {
            return Err(BuildError::Receivers { count: receivers.len() });
        }
        let have = buf.len();
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
        composite.zero();
        let capacity = rest.len() / size_of::<Constituent>();
        let (free, rest) = <[Constituent]>::mut_from_prefix_with_elems(rest, capacity)
            .map_err(|_| BuildError::BufferFull)?;
        let head_len = have - size_of_val(free) - rest.len();
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
    /// [`BuildError::BufferFull`], [`BuildError::TotalPages`]; what was pushed before stays.
    #[inline]
    pub fn push<Space>(&mut self, range: PageRange<Space>) -> Result<(), BuildError> {
        let total_pages = self.total_pages.checked_add(range.pages()).ok_or(BuildError::TotalPages)?;
        match &mut self.last {
            // The sum is at most `total_pages`.
            Some(last) if self.end == range.base() => {
                last.page_count = last.page_count.get().wrapping_add(range.pages()).into();
            }
            _ => {
                let slot = self.free.next().ok_or(BuildError::BufferFull)?;
                *slot = Constituent {
                    address: range.base().into(),
                    page_count: range.pages().into(),
                    reserved: 0.into(),
                };
                self.last = Some(slot);
            }
        }
        self.end = range.end();
        self.total_pages = total_pages;
        Ok(())
    }

    /// Completes the descriptor and gives its length in bytes, from the start of the buffer.
    ///
    /// One without a range says so and will be refused by whoever parses it.
    #[must_use]
    #[inline]
    pub fn finish(self) -> usize {
        let count = self.capacity.wrapping_sub(self.free.len());
        self.composite.total_pages = self.total_pages.into();
        // Each range has a page, and the pages fit 32 bits.
        self.composite.range_count = u32::try_from(count).unwrap_or(u32::MAX).into();
        // Both are parts of the buffer's length.
        self.head_len.wrapping_add(count.wrapping_mul(size_of::<Constituent>()))
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
    let announced = receivers.len();
    let (slots, rest) =
        <[E]>::mut_from_prefix_with_elems(buf, announced).map_err(|_| BuildError::BufferFull)?;
    for (count, slot) in slots.iter_mut().enumerate() {
        *slot = emad(receivers.next().ok_or(BuildError::Receivers { count })?);
    }
    Ok(rest)
}
