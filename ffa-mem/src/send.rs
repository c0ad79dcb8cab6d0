use ffa_abi::{PartitionId, Transaction, Version};

pub use self::fragment::FirstFragment;
pub use self::head::SendHead;
use crate::wire::Constituent;
use crate::{DescriptorError, MemoryAttributes, Ranges, Receivers, layout};

mod check;
mod fragment;
mod head;

/// What a send descriptor is held against.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SendRules {
    /// The version in use with the caller. It alone chooses the layout; no field of the descriptor does.
    pub version: Version,
    /// The call that the descriptor came with.
    pub transaction: Transaction,
    /// Who makes the call.
    pub sender: PartitionId,
}

/// Flags of a send: the one that is supported.
///
/// # Specification
/// FF-A v1.1 (DEN0077A issue E) Table 10.21; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct SendFlags(u32);

impl SendFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Bit 0: zero the memory before a receiver gets it. Not for a share.
    pub const ZERO: Self = Self(1);

    const TIME_SLICE: u32 = 2;

    /// For a word that [`SendHead`] checked.
    #[inline]
    const fn from_checked(word: u32) -> Self {
        Self(word)
    }

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags word.
    #[must_use]
    #[inline]
    pub const fn word(self) -> u32 {
        self.0
    }
}

/// The memory transaction descriptor of an FFA_MEM_SHARE, FFA_MEM_LEND or FFA_MEM_DONATE, whole and checked.
///
/// A view of the bytes that were parsed: it copies neither receivers nor ranges.
#[derive(Clone, Copy, Debug)]
pub struct SendDescriptor<'a> {
    head: SendHead<'a>,
    ranges: &'a [Constituent],
}

impl<'a> SendDescriptor<'a> {
    /// Reads a whole descriptor. `bytes` is a private copy of it, exactly as long as the call says (w1 and w2): what
    /// a guest can still write to must not be parsed.
    ///
    /// Checked is all that the descriptor alone can decide. Left to the caller are: whether receivers exist and may
    /// be reached, whether the pages are the caller's, and whether ranges overlap each other or anything else,
    /// which [`RangeSet::insert`](crate::RangeSet::insert) finds.
    ///
    /// A gap before the endpoint memory access descriptors or before the composite is allowed and never read.
    ///
    /// # Errors
    /// The rule that is broken; [`DescriptorError::status`] is what to answer. Where several are broken, headers go
    /// before receivers, and those before ranges.
    ///
    /// # Specification
    /// FF-A v1.0 (DEN0077A issue A) Table 5.19; v1.1 (issue E) Tables 10.13 to 10.21; from v1.2, DEN0140.
    #[inline]
    pub fn parse(bytes: &'a [u8], rules: &SendRules) -> Result<Self, DescriptorError> {
        let (head, range_count, rest) = SendHead::read(bytes, rules)?;
        let ranges = layout::constituents(rest, range_count, bytes)?;
        check::ranges(ranges, head.total_pages())?;
        Ok(Self { head, ranges })
    }

    /// All but the ranges.
    #[must_use]
    #[inline]
    pub const fn head(&self) -> SendHead<'a> {
        self.head
    }

    /// The sender, who is the caller.
    #[must_use]
    #[inline]
    pub fn sender(&self) -> PartitionId {
        self.head.sender()
    }

    /// Memory attributes.
    #[must_use]
    #[inline]
    pub fn attributes(&self) -> MemoryAttributes {
        self.head.attributes()
    }

    /// Flags.
    #[must_use]
    #[inline]
    pub fn flags(&self) -> SendFlags {
        self.head.flags()
    }

    /// The sender's tag: any value, for the receivers.
    #[must_use]
    #[inline]
    pub fn tag(&self) -> u64 {
        self.head.tag()
    }

    /// The receivers: at least one, at most [`MAX_RECEIVERS`](crate::MAX_RECEIVERS), none twice.
    #[must_use]
    #[inline]
    pub fn receivers(&self) -> Receivers<'a> {
        self.head.receivers()
    }

    /// The ranges, at least one, in the order of the descriptor.
    #[must_use]
    #[inline]
    pub fn ranges(&self) -> Ranges<'a> {
        Ranges::new(self.ranges)
    }

    /// Number of 4 KiB pages of all ranges together.
    #[must_use]
    #[inline]
    pub const fn total_pages(&self) -> u32 {
        self.head.total_pages()
    }
}
