use ffa_abi::PartitionId;

use super::{SendFlags, SendRules, check};
use crate::emads::Emads;
use crate::layout::{self, Header};
use crate::wire::{EmadV1_0, HeaderV1_0};
use crate::{DescriptorError, MemoryAttributes, Receivers};

/// All of a send descriptor but its ranges, checked: header, endpoint memory access descriptors, and what the composite
/// says of the ranges.
///
/// A view of the bytes that were parsed: it copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct SendHead<'a> {
    header: &'a HeaderV1_0,
    emads: Emads<'a>,
    total_pages: u32,
}

impl<'a> SendHead<'a> {
    /// Reads and checks the head at the start of `bytes`. Gives also the number of ranges, and the bytes that follow.
    #[inline(always)] // every share comes through here
    pub(super) fn read(bytes: &'a [u8], rules: &SendRules) -> Result<(Self, u32, &'a [u8]), DescriptorError> {
        let header = Header::read(bytes, rules.version)?;
        header.check(rules)?;
        let (emads, composite_offset, rest) = if header.emad_size == size_of::<EmadV1_0>() {
            let (emads, rest) = header.emads(bytes)?;
            (Emads::V1_0(emads), check::receivers(emads, rules)?, rest)
        } else {
            let (emads, rest) = header.emads(bytes)?;
            (Emads::V1_2(emads), check::receivers(emads, rules)?, rest)
        };
        let (composite, rest) = layout::composite(bytes, composite_offset, rest)?;
        let head = Self { header: header.fields, emads, total_pages: composite.total_pages.get() };
        Ok((head, composite.range_count.get(), rest))
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
        SendFlags::from_checked(self.header.flags.get())
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
        self.emads.receivers()
    }

    /// Number of 4 KiB pages of all ranges together, as the composite says.
    #[must_use]
    #[inline]
    pub const fn total_pages(&self) -> u32 {
        self.total_pages
    }
}
