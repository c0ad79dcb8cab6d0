use zerocopy::FromBytes;

use super::{Ranges, SendHead, SendRules, check};
use crate::wire::Constituent;
use crate::{DescriptorError, layout};

/// The first fragment of a send descriptor, checked: the head, and as many ranges as came with it.
///
/// ```
/// # fn doc(tx: &[u8], total_len: u32, rules: &ffa_mem::SendRules) -> Result<(), ffa_mem::DescriptorError> {
/// use ffa_mem::FirstFragment;
///
/// let FirstFragment { head, ranges, mut rest } = FirstFragment::parse(tx, total_len, rules)?;
/// // FFA_MEM_FRAG_RX asks for what begins at `rest.offset()`; the next FFA_MEM_FRAG_TX brings it:
/// let more = rest.take(tx)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FirstFragment<'a> {
    /// All but the ranges.
    pub head: SendHead<'a>,
    /// The first ranges; there may be none.
    pub ranges: Ranges<'a>,
    /// What is yet to come.
    pub rest: Reassembly,
}

impl<'a> FirstFragment<'a> {
    /// Reads what came with FFA_MEM_SHARE, FFA_MEM_LEND or FFA_MEM_DONATE. `fragment` is a private copy of it, as long
    /// as w2 says; `total_len` is w1. A descriptor that came whole is one fragment.
    ///
    /// Checked and left to the caller is what [`SendDescriptor::parse`](crate::SendDescriptor::parse) says, ranges as
    /// they come.
    ///
    /// # Errors
    /// As in [`SendDescriptor::parse`](crate::SendDescriptor::parse), and [`DescriptorError::Truncated`] if the fragment
    /// ends within the head. The number of ranges must be what `total_len` has room for, else
    /// [`DescriptorError::Truncated`] or [`DescriptorError::Excess`]. Then as in [`Reassembly::take`].
    ///
    /// # Specification
    /// FF-A v1.1 (DEN0077A issue E) sections 16.1 to 16.3; from v1.2, DEN0140.
    pub fn parse(
        fragment: &'a [u8],
        total_len: u32,
        rules: &SendRules,
    ) -> Result<FirstFragment<'a>, DescriptorError> {
        let (head, range_count, first) = SendHead::read(fragment, rules)?;
        let head_len = (fragment.len() as u64).wrapping_sub(first.len() as u64); // `first` is a part of it
        let head_len = layout::head_len(head_len, range_count, total_len)?;
        if range_count == 0 {
            return Err(DescriptorError::NoRanges);
        }
        let mut rest =
            Reassembly { head_len, offset: head_len, total_len, pages: 0, total_pages: head.total_pages() };
        let ranges = rest.read(first)?;
        Ok(FirstFragment { head, ranges, rest })
    }
}

/// How far a send descriptor has come that is sent in fragments.
///
/// Keeps no byte of it: 20 bytes, whatever the length of the descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reassembly {
    head_len: u32,
    offset: u32, // bytes that have come
    total_len: u32,
    pages: u32, // of the ranges that have come; no more than the total
    total_pages: u32,
}

impl Reassembly {
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
    pub fn take<'a>(&mut self, fragment: &'a [u8]) -> Result<Ranges<'a>, DescriptorError> {
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
    fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<Ranges<'a>, DescriptorError> {
        let end = u32::try_from(bytes.len()).ok().and_then(|len| self.offset.checked_add(len));
        let end = end.filter(|end| *end <= self.total_len).ok_or_else(|| self.wrong_length(bytes))?;
        let ranges = <[Constituent]>::ref_from_bytes(bytes).map_err(|_| self.wrong_length(bytes))?;
        let pages = check::each_range(ranges, ranges_in(self.offset, self.head_len))?;
        // Each range that is to come has one page at least.
        let left = ranges_in(self.total_len, end);
        let sum = u64::from(self.pages).saturating_add(pages).saturating_add(left.into());
        let total = self.total_pages;
        if sum > total.into() || left == 0 && sum != total.into() {
            return Err(DescriptorError::TotalPages { total, sum });
        }
        self.offset = end;
        self.pages = sum.wrapping_sub(left.into()) as u32; // no more than the total
        Ok(Ranges(ranges.iter()))
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
