use super::{SendHead, SendRules};
use crate::{DescriptorError, Ranges, Reassembly};

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
        let (head, range_count, after) = SendHead::read(fragment, rules)?;
        let (rest, ranges) = Reassembly::begin(fragment, after, range_count, head.total_pages(), total_len)?;
        Ok(FirstFragment { head, ranges, rest })
    }
}
