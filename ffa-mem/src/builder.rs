use core::slice;

use ffa_abi::{PartitionId, Version};

pub use self::fragment::{FragmentBuilder, SendTotals, Unsent};
pub(crate) use self::head::{Head, HeadFields};
use crate::wire::{Composite, Constituent};
use crate::{MAX_RECEIVERS, MemoryAttributes, PageRange, Receiver, SendFlags};

mod fragment;
mod head;

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

impl SendHeader {
    #[inline]
    fn fields(&self) -> HeadFields {
        HeadFields {
            version: self.version,
            sender: self.sender,
            attributes: self.attributes,
            flags: self.flags.word(),
            handle: 0, // not for a sender to choose
            tag: self.tag,
        }
    }
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
    /// The length of the descriptor exceeds 32 bits.
    #[error("the descriptor has 2^32 bytes or more")]
    TotalLen,
    /// With this range the descriptor could no longer have the totals that it begins with.
    #[error("{pages} pages are no range of {left:?}")]
    Totals {
        /// Pages of the range.
        pages: u32,
        /// What is left of the totals.
        left: SendTotals,
    },
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
        let Head { composite, ranges, len } = Head::write(buf, &header.fields(), receivers)?;
        let capacity = ranges.len();
        Ok(Self {
            composite,
            free: ranges.iter_mut(),
            last: None,
            end: NO_END,
            total_pages: 0,
            head_len: len,
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
