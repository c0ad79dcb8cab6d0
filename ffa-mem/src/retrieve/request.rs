use ffa_abi::{Handle, PartitionId, Version};

use super::RetrieveFlags;
use crate::emads::Emads;
use crate::layout::Header;
use crate::wire::{Emad, EmadV1_0, HeaderV1_0};
use crate::{DescriptorError, MAX_RECEIVERS, MemoryAttributes, Permissions, Receivers};

/// The descriptor of an FFA_MEM_RETRIEVE_REQ, checked as far as it can be without knowing the transaction.
///
/// A view of the bytes that were parsed.
#[derive(Clone, Copy, Debug)]
pub struct RetrieveRequest<'a> {
    header: &'a HeaderV1_0,
    emads: Emads<'a>,
}

impl<'a> RetrieveRequest<'a> {
    /// Reads a whole request of a caller of this version. `bytes` is a private copy, exactly as long as the call says.
    ///
    /// The borrower must leave it to the relayer where the memory is mapped.
    ///
    /// # Errors
    /// The rule that is broken; [`DescriptorError::status`] is what to answer.
    ///
    /// # Specification
    /// FF-A v1.1 (DEN0077A issue E) section 16.4; from v1.2, DEN0140.
    pub fn parse(bytes: &'a [u8], version: Version) -> Result<Self, DescriptorError> {
        let header = Header::read(bytes, version)?;
        let flags = header.fields.flags.get();
        if flags & !RetrieveFlags::KNOWN != 0 {
            return Err(DescriptorError::Reserved { field: "flags", value: flags.into() });
        }
        let attributes = header.fields.attributes.get();
        if MemoryAttributes::from_bits(attributes)?.is_non_secure() {
            return Err(DescriptorError::NonSecure { attributes });
        }
        let count = header.fields.emad_count.get();
        if count > MAX_RECEIVERS {
            return Err(DescriptorError::TooManyReceivers { count });
        }
        let (emads, rest) = if header.emad_size == size_of::<EmadV1_0>() {
            let (emads, rest) = header.emads(bytes)?;
            (Emads::V1_0(check(emads)?), rest)
        } else {
            let (emads, rest) = header.emads(bytes)?;
            (Emads::V1_2(check(emads)?), rest)
        };
        if !rest.is_empty() {
            let have = bytes.len() as u64;
            return Err(DescriptorError::Excess { end: have.wrapping_sub(rest.len() as u64), have });
        }
        Ok(Self { header: header.fields, emads })
    }

    /// Whom the caller takes for the owner.
    #[must_use]
    pub fn sender(&self) -> PartitionId {
        PartitionId(self.header.sender.get())
    }

    /// Memory attributes.
    #[must_use]
    pub fn attributes(&self) -> MemoryAttributes {
        MemoryAttributes::from_checked(self.header.attributes.get())
    }

    /// Flags.
    #[must_use]
    pub fn flags(&self) -> RetrieveFlags {
        RetrieveFlags(self.header.flags.get())
    }

    /// The transaction; `None` for all ones.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        Handle::new(self.header.handle.get()).ok()
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.header.tag.get()
    }

    /// The borrowers, at least one and at most [`MAX_RECEIVERS`]. One may be named twice.
    #[must_use]
    pub fn receivers(&self) -> Receivers<'a> {
        self.emads.receivers()
    }
}

/// Checks what each borrower asks for, and that there is one.
fn check<E: Emad>(emads: &[E]) -> Result<&[E], DescriptorError> {
    if emads.is_empty() {
        return Err(DescriptorError::NoReceivers);
    }
    for (index, emad) in (0_u32..).zip(emads) {
        let head = emad.head();
        Permissions::from_bits(head.permissions)
            .ok_or(DescriptorError::Permissions { index, permissions: head.permissions })?;
        if head.flags > 1 {
            return Err(DescriptorError::ReceiverFlags { index, flags: head.flags });
        }
        if emad.reserved() != 0 {
            return Err(DescriptorError::ReceiverReserved { index, value: emad.reserved() });
        }
        let offset = head.composite_offset.get();
        if offset != 0 {
            return Err(DescriptorError::Reserved { field: "composite offset", value: offset.into() });
        }
    }
    Ok(emads)
}
