use core::slice;

use super::head::{Head, room};
use super::{BuildError, SendHeader};
use crate::wire::{Composite, Constituent};
use crate::{PageRange, Receiver};

/// How much memory a descriptor describes, and in how many ranges.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SendTotals {
    /// 4 KiB pages.
    pub pages: u32,
    /// Ranges.
    pub ranges: u32,
}

impl SendTotals {
    /// Every page as a range of its own, for when nothing is known yet but how many there are.
    #[must_use]
    pub const fn single_pages(pages: u32) -> Self {
        Self { pages, ranges: pages }
    }

    /// What is left without a range of `pages`, if ranges can add up to it.
    fn without(self, pages: u32) -> Option<Self> {
        let left = Self { pages: self.pages.checked_sub(pages)?, ranges: self.ranges.checked_sub(1)? };
        (left.ranges <= left.pages && (left.pages == 0 || left.ranges != 0)).then_some(left)
    }
}

/// Writes a send descriptor in fragments, as many as it takes, each into a buffer that may be the same one.
///
/// The form is that of [`SendBuilder`](crate::SendBuilder), but for ranges: their number is declared in advance, and none
/// is joined with another or cut in two.
///
/// ```
/// # use ffa_abi::{PartitionId, Version};
/// # use ffa_mem::{MemoryAttributes, Permissions, Receiver, SendFlags, SendHeader};
/// use ffa_mem::{FragmentBuilder, PhysRange, SendTotals};
///
/// # let header = SendHeader {
/// #     version: Version::V1_1,
/// #     sender: PartitionId(1),
/// #     attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
/// #     flags: SendFlags::NONE,
/// #     tag: 0,
/// # };
/// # let receivers = [Receiver { id: PartitionId(0x8001), permissions: Permissions::READ_WRITE, impdef: [0; 2] }];
/// let pages = PhysRange::new(0x8000_0000, 1000)?;
/// let mut tx = [0; 4096];
/// let mut fragment = FragmentBuilder::first(&mut tx, &header, receivers, SendTotals::single_pages(1000))?;
/// let mut lens = Vec::new();
/// for page in pages.single_pages() {
///     if fragment.room() == 0 {
///         let (len, unsent) = fragment.finish()?;
///         lens.push(len); // is sent here, and then:
///         fragment = unsent.next(&mut tx);
///     }
///     fragment.push(page)?;
/// }
/// let (len, unsent) = fragment.finish()?;
/// lens.push(len);
/// assert_eq!(lens, [4096, 4096, 4096, 3792]);
/// assert_eq!((unsent.is_empty(), unsent.offset()), (true, 48 + 16 + 16 + 16 * 1000));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FragmentBuilder<'a> {
    free: slice::IterMut<'a, Constituent>,
    len: usize, // in bytes
    unsent: Unsent,
}

impl<'a> FragmentBuilder<'a> {
    /// Begins the first fragment in `buf` with everything but the ranges. It may be as short as that.
    ///
    /// # Errors
    /// [`BuildError::Receivers`] for none or too many, [`BuildError::BufferFull`]; [`BuildError::NoRanges`],
    /// [`BuildError::Totals`] for fewer pages than ranges, [`BuildError::TotalLen`].
    pub fn first<I>(
        buf: &'a mut [u8],
        header: &SendHeader,
        receivers: I,
        totals: SendTotals,
    ) -> Result<Self, BuildError>
    where
        I: IntoIterator<Item = Receiver, IntoIter: ExactSizeIterator>,
    {
        let Head { composite, ranges, len } = Head::write(buf, &header.fields(), receivers)?;
        if totals.ranges == 0 {
            return Err(BuildError::NoRanges);
        }
        if totals.pages < totals.ranges {
            return Err(BuildError::Totals { pages: 0, left: totals });
        }
        *composite = Composite {
            total_pages: totals.pages.into(),
            range_count: totals.ranges.into(),
            reserved: 0.into(),
        };
        let total_len = u64::from(totals.ranges) * size_of::<Constituent>() as u64 + len as u64; // below 2^37
        let total_len = u32::try_from(total_len).map_err(|_| BuildError::TotalLen)?;
        Ok(Self { free: ranges.iter_mut(), len, unsent: Unsent { total_len, left: totals } })
    }

    /// How many more ranges can be pushed: there is room for them in the buffer, and they were declared.
    #[must_use]
    pub fn room(&self) -> usize {
        self.free.len().min(self.unsent.left.ranges as usize)
    }

    /// Appends `range`.
    ///
    /// # Errors
    /// [`BuildError::BufferFull`], [`BuildError::Totals`]; what was pushed before stays.
    pub fn push<Space>(&mut self, range: PageRange<Space>) -> Result<(), BuildError> {
        let (pages, left) = (range.pages(), self.unsent.left);
        let left_then = left.without(pages).ok_or(BuildError::Totals { pages, left })?;
        let slot = self.free.next().ok_or(BuildError::BufferFull)?;
        *slot = Constituent::new(range.base(), pages);
        self.len = self.len.wrapping_add(size_of::<Constituent>()); // no more than the buffer has
        self.unsent.left = left_then;
        Ok(())
    }

    /// Ends the fragment. Gives its length in bytes, from the start of the buffer, and what is left of the descriptor.
    ///
    /// # Errors
    /// [`BuildError::NoRanges`] for a fragment without anything.
    pub fn finish(self) -> Result<(usize, Unsent), BuildError> {
        if self.len == 0 { Err(BuildError::NoRanges) } else { Ok((self.len, self.unsent)) }
    }
}

/// What of a descriptor has yet to be sent. 12 bytes, whatever its length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a descriptor that is not sent to its end stays with the receiver"]
pub struct Unsent {
    total_len: u32, // in bytes
    left: SendTotals,
}

impl Unsent {
    /// Length in bytes of the whole descriptor, for w1 of FFA_MEM_SHARE, FFA_MEM_LEND and FFA_MEM_DONATE.
    #[must_use]
    pub const fn total_len(&self) -> u32 {
        self.total_len
    }

    /// Offset in bytes of what is to be sent next, which FFA_MEM_FRAG_RX asks for in w3.
    #[must_use]
    pub const fn offset(&self) -> u32 {
        self.total_len.wrapping_sub(self.left.ranges.wrapping_mul(size_of::<Constituent>() as u32)) // a part of it
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left.ranges == 0
    }

    /// What is left.
    #[must_use]
    pub const fn left(&self) -> SendTotals {
        self.left
    }

    /// Begins the next fragment in `buf`.
    #[must_use]
    pub fn next(self, buf: &mut [u8]) -> FragmentBuilder<'_> {
        FragmentBuilder { free: room(buf).iter_mut(), len: 0, unsent: self }
    }

    /// Writes a next fragment that makes the receiver drop the descriptor: ranges at address zero without pages. Gives
    /// its length in bytes and what is left then.
    ///
    /// FF-A has no call for that. Some receivers refuse such a range at once, all of them a descriptor whose ranges have
    /// fewer pages than its total; so there may be several such fragments to send, until an error comes back.
    pub fn spoil(self, buf: &mut [u8]) -> (usize, Self) {
        let ranges = room(buf);
        let count = ranges.len().min(self.left.ranges as usize);
        ranges.iter_mut().take(count).for_each(|range| *range = Constituent::new(0, 0));
        let left = SendTotals { ranges: self.left.ranges.wrapping_sub(count as u32), ..self.left };
        (count.wrapping_mul(size_of::<Constituent>()), Self { left, ..self })
    }
}
