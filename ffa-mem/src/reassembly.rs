use core::marker::PhantomData;

use zerocopy::FromBytes;

use crate::ranges::each_range;
use crate::wire::Constituent;
use crate::{DescriptorError, Guest, Ranges, layout};

/// How far a descriptor has come that is sent in fragments.
///
/// Keeps no byte of it: 20 bytes, whatever the length of the descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reassembly<Space = Guest> {
    head_len: u32,
    offset: u32, // bytes that have come
    total_len: u32,
    pages: u32, // of the ranges that have come; no more than the total
    total_pages: u32,
    space: PhantomData<Space>,
}

impl<Space> Reassembly<Space> {
    /// Begins with the first fragment: a head, and `after` it the ranges that came along.
    pub(crate) fn begin<'a>(
        fragment: &[u8],
        after: &'a [u8],
        range_count: u32,
        total_pages: u32,
        total_len: u32,
    ) -> Result<(Self, Ranges<'a, Space>), DescriptorError> {
        let head_len = (fragment.len() as u64).wrapping_sub(after.len() as u64); // `after` is a part of it
        let head_len = layout::head_len(head_len, range_count, total_len)?;
        if range_count == 0 {
            return Err(DescriptorError::NoRanges);
        }
        let mut begun =
            Self { head_len, offset: head_len, total_len, pages: 0, total_pages, space: PhantomData };
        let ranges = begun.read(after)?;
        Ok((begun, ranges))
    }

    /// Reads the next fragment, which came with FFA_MEM_FRAG_TX. `fragment` is a private copy of it, as long as w3
    /// says.
    ///
    /// # Errors
    /// [`DescriptorError::FragmentLength`] for no byte, for more than are to come, and for a fragment that ends within a
    /// range; [`DescriptorError::Range`] and [`DescriptorError::RangeReserved`], whose index counts from the first range
    /// of the descriptor; [`DescriptorError::TotalPages`] as soon as the total cannot be right. Nothing changes then.
    ///
    /// # Specification
    /// FF-A v1.1 (DEN0077A issue E) section 16.9; from v1.2, DEN0140.
    pub fn take<'a>(&mut self, fragment: &'a [u8]) -> Result<Ranges<'a, Space>, DescriptorError> {
        if fragment.is_empty() { Err(self.wrong_length(fragment)) } else { self.read(fragment) }
    }

    /// Offset in bytes of what is to come next, for w3 of FFA_MEM_FRAG_RX.
    #[must_use]
    pub const fn offset(&self) -> u32 {
        self.offset
    }

    /// Whether nothing is to come.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.offset == self.total_len
    }

    /// Number of ranges of the whole descriptor, at least 1.
    #[must_use]
    pub const fn range_count(&self) -> u32 {
        ranges_in(self.total_len, self.head_len)
    }

    /// Reads ranges that come next, which may be none.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<Ranges<'a, Space>, DescriptorError> {
        let end = u32::try_from(bytes.len()).ok().and_then(|len| self.offset.checked_add(len));
        let end = end.filter(|end| *end <= self.total_len).ok_or_else(|| self.wrong_length(bytes))?;
        let ranges = <[Constituent]>::ref_from_bytes(bytes).map_err(|_| self.wrong_length(bytes))?;
        let pages = each_range(ranges, ranges_in(self.offset, self.head_len))?;
        // Each range that is to come has one page at least.
        let left = ranges_in(self.total_len, end);
        let sum = u64::from(self.pages).saturating_add(pages).saturating_add(left.into());
        let total = self.total_pages;
        if sum > total.into() || left == 0 && sum != total.into() {
            return Err(DescriptorError::TotalPages { total, sum });
        }
        self.offset = end;
        self.pages = sum.wrapping_sub(left.into()) as u32; // no more than the total
        Ok(Ranges::new(ranges))
    }

    fn wrong_length(&self, fragment: &[u8]) -> DescriptorError {
        let left = self.total_len.wrapping_sub(self.offset);
        DescriptorError::FragmentLength { len: fragment.len() as u64, left }
    }
}

/// Number of ranges between two offsets.
const fn ranges_in(end: u32, start: u32) -> u32 {
    end.wrapping_sub(start) / size_of::<Constituent>() as u32 // `start` is no more than `end`
}
