//! What the hypervisor itself asks an SPMC: which memory a handle names.

use ffa_abi::{Handle, PartitionId, Version};
use zerocopy::IntoBytes;

use super::RetrieveFlags;
use crate::emads::Emads;
use crate::layout::{self, Header};
use crate::wire::{Emad, EmadV1_0, HeaderV1_0, HeaderV1_1};
use crate::{
    DescriptorError, MAX_RECEIVERS, MemoryAttributes, Permissions, Physical, Ranges, Reassembly, Receivers,
};

/// The hypervisor's FFA_MEM_RETRIEVE_REQ: without receivers, so that nothing is retrieved, and nothing but a handle.
///
/// # Specification
/// FF-A v1.1 (DEN0077A issue E) section 16.4.3; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct HypervisorRetrieveRequest {
    /// The version in use with the SPMC; it chooses the layout.
    pub version: Version,
    /// The transaction.
    pub handle: Handle,
}

impl HypervisorRetrieveRequest {
    /// Writes the descriptor to the start of `out`, and gives its length in bytes: 32 in 1.0, 48 from 1.1 on. `None` if
    /// it does not fit.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let start = HeaderV1_0 {
            sender: 0.into(),
            attributes: 0.into(),
            flags: 0.into(),
            handle: self.handle.get().into(),
            tag: 0.into(),
            emad_size: 0.into(),
            emad_count: 0.into(),
        };
        if self.version < Version::V1_1 {
            start.write_to_prefix(out).ok()?;
            return Some(size_of::<HeaderV1_0>());
        }
        // Hafnium wants size and offset of what there is none of to be zero, too.
        let header =
            HeaderV1_1 { start, emad_offset: 0.into(), reserved_36: 0.into(), reserved_40: 0.into() };
        header.write_to_prefix(out).ok()?;
        Some(size_of::<HeaderV1_1>())
    }
}

/// The first fragment of what an SPMC answers to that, checked as far as it can be: firmware may be wrong, too.
#[derive(Clone, Debug)]
pub struct HypervisorRetrieveResponse<'a> {
    /// All but the ranges.
    pub head: RetrievedHead<'a>,
    /// The first ranges; there may be none.
    pub ranges: Ranges<'a, Physical>,
    /// What is yet to come, with FFA_MEM_FRAG_TX.
    pub rest: Reassembly<Physical>,
}

impl<'a> HypervisorRetrieveResponse<'a> {
    /// Reads what came with FFA_MEM_RETRIEVE_RESP. `fragment` is the start of RX, as long as w2 says; `total_len` is w1.
    ///
    /// # Errors
    /// The rule that is broken; [`DescriptorError::OtherHandle`] if this is not what was asked for. Permissions and
    /// attributes are checked for reserved encodings alone.
    ///
    /// # Specification
    /// FF-A v1.1 (DEN0077A issue E) sections 16.4.3 and 16.5; from v1.2, DEN0140.
    pub fn parse(
        fragment: &'a [u8],
        total_len: u32,
        request: &HypervisorRetrieveRequest,
    ) -> Result<Self, DescriptorError> {
        let header = Header::read(fragment, request.version)?;
        let (found, asked) = (header.fields.handle.get(), request.handle);
        if found != asked.get() {
            return Err(DescriptorError::OtherHandle { found, asked });
        }
        MemoryAttributes::from_bits(header.fields.attributes.get())?;
        let count = header.fields.emad_count.get();
        if count > MAX_RECEIVERS {
            return Err(DescriptorError::TooManyReceivers { count });
        }
        let (emads, composite_offset, behind) = if header.emad_size == size_of::<EmadV1_0>() {
            let (emads, behind) = header.emads(fragment)?;
            (Emads::V1_0(emads), check(emads)?, behind)
        } else {
            let (emads, behind) = header.emads(fragment)?;
            (Emads::V1_2(emads), check(emads)?, behind)
        };
        // TF-A leaves all of the one receiver zero that it names.
        let composite_offset = match composite_offset {
            0 => u32::try_from(fragment.len().wrapping_sub(behind.len())).unwrap_or(u32::MAX),
            offset => offset,
        };
        let (composite, after) = layout::composite(fragment, composite_offset, behind)?;
        let (range_count, total_pages) = (composite.range_count.get(), composite.total_pages.get());
        let (rest, ranges) = Reassembly::begin(fragment, after, range_count, total_pages, total_len)?;
        Ok(Self { head: RetrievedHead { header: header.fields, emads }, ranges, rest })
    }
}

/// Checks the permissions of each receiver, and gives the composite offset of the first.
fn check<E: Emad>(emads: &[E]) -> Result<u32, DescriptorError> {
    for (index, emad) in (0_u32..).zip(emads) {
        let permissions = emad.head().permissions;
        Permissions::from_bits(permissions).ok_or(DescriptorError::Permissions { index, permissions })?;
    }
    emads.first().map(|emad| emad.head().composite_offset.get()).ok_or(DescriptorError::NoReceivers)
}

/// What an SPMC says of a transaction, but for its ranges.
#[derive(Clone, Copy, Debug)]
pub struct RetrievedHead<'a> {
    header: &'a HeaderV1_0,
    emads: Emads<'a>,
}

impl<'a> RetrievedHead<'a> {
    /// The sender.
    #[must_use]
    pub fn sender(&self) -> PartitionId {
        PartitionId(self.header.sender.get())
    }

    /// Memory attributes.
    #[must_use]
    pub fn attributes(&self) -> MemoryAttributes {
        MemoryAttributes::from_checked(self.header.attributes.get())
    }

    /// Flags, as they came.
    #[must_use]
    pub fn flags(&self) -> RetrieveFlags {
        RetrieveFlags(self.header.flags.get())
    }

    /// The tag; SPMCs give zero.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.header.tag.get()
    }

    /// The receivers: at least one, at most [`MAX_RECEIVERS`]. From TF-A, one with ID zero.
    #[must_use]
    pub fn receivers(&self) -> Receivers<'a> {
        self.emads.receivers()
    }
}
