use core::slice;

use ffa_abi::{PartitionId, Transaction, Version};

use self::layout::Header;
use crate::wire::{Constituent, Emad, EmadV1_0, EmadV1_2, HeaderV1_0};
use crate::{DescriptorError, IpaRange, MemoryAttributes, Permissions, Receiver};

mod check;
mod layout;

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

/// The memory transaction descriptor of an FFA_MEM_SHARE, FFA_MEM_LEND or FFA_MEM_DONATE, checked.
///
/// A view of the bytes that were parsed: it copies neither receivers nor ranges.
#[derive(Clone, Copy, Debug)]
pub struct SendDescriptor<'a> {
    header: &'a HeaderV1_0,
    total_pages: u32,
    emads: Emads<'a>,
    ranges: &'a [Constituent],
}

/// The endpoint memory access descriptors, in the size that the descriptor has.
#[derive(Clone, Copy, Debug)]
enum Emads<'a> {
    V1_0(&'a [EmadV1_0]),
    V1_2(&'a [EmadV1_2]),
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
        let header = Header::read(bytes, rules.version)?;
        header.check(rules)?;
        let (emads, composite_offset, rest) = if header.emad_size == size_of::<EmadV1_0>() {
            let (emads, rest) = header.emads(bytes)?;
            (Emads::V1_0(emads), check::receivers(emads, rules)?, rest)
        } else {
            let (emads, rest) = header.emads(bytes)?;
            (Emads::V1_2(emads), check::receivers(emads, rules)?, rest)
        };
        let (total_pages, ranges) = layout::composite(bytes, composite_offset, rest)?;
        check::ranges(ranges, total_pages)?;
        Ok(Self { header: header.fields, total_pages, emads, ranges })
    }

    /// The sender, who is the caller.
    #[must_use]
    #[inline]
    pub fn sender(&self) -> PartitionId {
        PartitionId(self.header.sender.get())
    }

    /// Memory attributes.
    #[must_use]
    #[inline]
    pub fn attributes(&self) -> MemoryAttributes {
        MemoryAttributes::from_checked(self.header.attributes.get())
    }

    /// Flags.
    #[must_use]
    #[inline]
    pub fn flags(&self) -> SendFlags {
        SendFlags(self.header.flags.get()) // checked by `parse`
    }

    /// The sender's tag: any value, for the receivers.
    #[must_use]
    #[inline]
    pub fn tag(&self) -> u64 {
        self.header.tag.get()
    }

    /// The receivers: at least one, at most [`MAX_RECEIVERS`](crate::MAX_RECEIVERS), none twice.
    #[must_use]
    #[inline]
    pub fn receivers(&self) -> Receivers<'a> {
        Receivers(self.emads)
    }

    /// The ranges, at least one, in the order of the descriptor.
    #[must_use]
    #[inline]
    pub fn ranges(&self) -> Ranges<'a> {
        Ranges(self.ranges.iter())
    }

    /// Number of 4 KiB pages of all ranges together.
    #[must_use]
    #[inline]
    pub const fn total_pages(&self) -> u32 {
        self.total_pages
    }
}

/// The receivers of a [`SendDescriptor`].
#[derive(Clone, Debug)]
pub struct Receivers<'a>(Emads<'a>);

impl Iterator for Receivers<'_> {
    type Item = Receiver;

    #[inline]
    fn next(&mut self) -> Option<Receiver> {
        match &mut self.0 {
            Emads::V1_0(emads) => next_receiver(emads),
            Emads::V1_2(emads) => next_receiver(emads),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = match self.0 {
            Emads::V1_0(emads) => emads.len(),
            Emads::V1_2(emads) => emads.len(),
        };
        (len, Some(len))
    }
}

impl ExactSizeIterator for Receivers<'_> {}

#[inline]
fn next_receiver<E: Emad>(emads: &mut &[E]) -> Option<Receiver> {
    let (emad, rest) = emads.split_first()?;
    *emads = rest;
    let head = emad.head();
    Some(Receiver {
        id: PartitionId(head.receiver.get()),
        permissions: Permissions::from_bits(head.permissions).unwrap_or_default(), // checked by `parse`
        impdef: emad.impdef(),
    })
}

/// The ranges of a [`SendDescriptor`].
#[derive(Clone, Debug)]
pub struct Ranges<'a>(slice::Iter<'a, Constituent>);

impl Iterator for Ranges<'_> {
    type Item = IpaRange;

    #[inline]
    fn next(&mut self) -> Option<IpaRange> {
        self.0.next().map(range)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    #[inline]
    fn fold<B, F: FnMut(B, IpaRange) -> B>(self, init: B, mut f: F) -> B {
        self.0.fold(init, |folded, constituent| f(folded, range(constituent)))
    }
}

impl ExactSizeIterator for Ranges<'_> {}

#[inline]
fn range(constituent: &Constituent) -> IpaRange {
    IpaRange::from_checked(constituent.address.get(), constituent.page_count.get()) // by `parse`
}
