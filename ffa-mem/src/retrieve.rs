//! FFA_MEM_RETRIEVE_REQ and FFA_MEM_RETRIEVE_RESP, as a relayer reads the one and writes the other.

use ffa_abi::{Handle, PartitionId, Transaction, Version};
use zerocopy::{FromBytes, IntoBytes};

use crate::wire::{Composite, Constituent, Emad, EmadHead, EmadV1_0, EmadV1_2, HeaderV1_0, HeaderV1_1};
use crate::{DescriptorError, IpaRange, MAX_RECEIVERS, MemoryAttributes, Permissions, Receiver};

/// Flags of a retrieve request or response.
///
/// # Specification
/// FF-A v1.1 (DEN0077A issue E) Tables 10.22 and 10.23; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct RetrieveFlags(u32);

impl RetrieveFlags {
    /// Bit 0: zero the memory before it is retrieved; in a response, that it was.
    pub const ZERO_BEFORE: Self = Self(1);
    /// Bit 1: the operation may be time-sliced.
    pub const TIME_SLICE: Self = Self(1 << 1);
    /// Bit 2: zero the memory after it is relinquished.
    pub const ZERO_AFTER: Self = Self(1 << 2);
    /// Bit 9: bits 8:5 are an alignment hint.
    pub const HINT_VALID: Self = Self(1 << 9);
    /// Bit 10: the other borrowers are not named.
    pub const OWN_ENTRY_ONLY: Self = Self(1 << 10);

    const TYPE: u32 = 3 << 3;
    const KNOWN: u32 = (1 << 11) - 1;

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags word.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// Whether bits 9:5 say anything of alignment.
    #[must_use]
    pub const fn has_hint(self) -> bool {
        self.0 >> 5 & 0x1f != 0
    }

    /// The transaction that bits 4:3 name, if they name one.
    #[must_use]
    pub const fn transaction(self) -> Option<Transaction> {
        match self.0 & Self::TYPE {
            0x08 => Some(Transaction::Share),
            0x10 => Some(Transaction::Lend),
            0x18 => Some(Transaction::Donate),
            _ => None,
        }
    }

    /// With bits 4:3 for this transaction.
    #[must_use]
    pub const fn with_transaction(self, transaction: Transaction) -> Self {
        let bits = match transaction {
            Transaction::Share => 0x08,
            Transaction::Lend => 0x10,
            Transaction::Donate => 0x18,
        };
        Self(self.0 & !Self::TYPE | bits)
    }
}

/// The descriptor of an FFA_MEM_RETRIEVE_REQ, checked as far as it can be without knowing the transaction.
#[derive(Clone, Copy, Debug)]
pub struct RetrieveRequest<'a> {
    header: &'a HeaderV1_0,
    emads: Emads<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Emads<'a> {
    V1_0(&'a [EmadV1_0]),
    V1_2(&'a [EmadV1_2]),
}

impl<'a> RetrieveRequest<'a> {
    /// Reads a whole request of a caller of this version. `bytes` is a private copy, exactly as long as the call says.
    ///
    /// The borrower must leave it to the relayer where the memory is mapped.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn parse(bytes: &'a [u8], version: Version) -> Result<Self, DescriptorError> {
        let (header, size, offset) = if version < Version::V1_1 {
            let (header, _) =
                HeaderV1_0::ref_from_prefix(bytes).map_err(|_| truncated::<HeaderV1_0>(bytes))?;
            if header.emad_size.get() != 0 {
                let value = header.emad_size.get().into();
                return Err(DescriptorError::Reserved { field: "header bytes 24 to 27", value });
            }
            (header, size_of::<EmadV1_0>() as u32, size_of::<HeaderV1_0>() as u32)
        } else {
            let (header, _) =
                HeaderV1_1::ref_from_prefix(bytes).map_err(|_| truncated::<HeaderV1_1>(bytes))?;
            let (size, offset) = (header.start.emad_size.get(), header.emad_offset.get());
            if size != 16 && (size != 32 || version < Version::V1_2) {
                return Err(DescriptorError::EmadSize { size, version });
            }
            if (offset as usize) < size_of::<HeaderV1_1>() || offset % 16 != 0 {
                return Err(DescriptorError::EmadOffset { offset });
            }
            let value = u64::from(header.reserved_36.get()) | header.reserved_40.get();
            if value != 0 {
                return Err(DescriptorError::Reserved { field: "header bytes 36 to 47", value });
            }
            (&header.start, size, offset)
        };
        let flags = header.flags.get();
        if flags & !RetrieveFlags::KNOWN != 0 {
            return Err(DescriptorError::Reserved { field: "flags", value: flags.into() });
        }
        MemoryAttributes::from_bits(header.attributes.get())?;
        let count = header.emad_count.get();
        if count == 0 {
            return Err(DescriptorError::NoReceivers);
        }
        if count > MAX_RECEIVERS {
            return Err(DescriptorError::TooManyReceivers { count });
        }
        let (need, have) = (u64::from(count * size), bytes.len() as u64); // no more than 64 of 32
        let end = u64::from(offset) + need;
        if have > end {
            return Err(DescriptorError::Excess { end, have });
        }
        let whole = || DescriptorError::Truncated {
            field: "endpoint memory access descriptors",
            offset: offset.into(),
            need,
            have,
        };
        let behind = bytes.get(offset as usize..).ok_or_else(whole)?;
        let emads = if size as usize == size_of::<EmadV1_0>() {
            Emads::V1_0(<[EmadV1_0]>::ref_from_bytes_with_elems(behind, count as usize).map_err(|_| whole())?)
        } else {
            Emads::V1_2(<[EmadV1_2]>::ref_from_bytes_with_elems(behind, count as usize).map_err(|_| whole())?)
        };
        let request = Self { header, emads };
        match emads {
            Emads::V1_0(emads) => check(emads)?,
            Emads::V1_2(emads) => check(emads)?,
        }
        Ok(request)
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
    pub fn receivers(&self) -> impl Iterator<Item = Receiver> + Clone + use<'a> {
        let (old, new) = match self.emads {
            Emads::V1_0(emads) => (emads, &[][..]),
            Emads::V1_2(emads) => (&[][..], emads),
        };
        old.iter().map(receiver).chain(new.iter().map(receiver))
    }
}

#[cold]
fn truncated<Header>(bytes: &[u8]) -> DescriptorError {
    let (need, have) = (size_of::<Header>() as u64, bytes.len() as u64);
    DescriptorError::Truncated { field: "header", offset: 0, need, have }
}

fn receiver<E: Emad>(emad: &E) -> Receiver {
    let head = emad.head();
    Receiver {
        id: PartitionId(head.receiver.get()),
        permissions: Permissions::from_bits(head.permissions).unwrap_or_default(), // checked by `parse`
        impdef: emad.impdef(),
    }
}

fn check<E: Emad>(emads: &[E]) -> Result<(), DescriptorError> {
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
    Ok(())
}

/// What a retrieve response says, but for its ranges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetrieveResponse {
    /// The version in use with the borrower; it chooses the layout.
    pub version: Version,
    /// The owner.
    pub sender: PartitionId,
    /// Memory attributes.
    pub attributes: MemoryAttributes,
    /// Flags.
    pub flags: RetrieveFlags,
    /// The transaction.
    pub handle: Handle,
    /// The owner's tag.
    pub tag: u64,
    /// The borrower, and what it has.
    pub receiver: Receiver,
    /// Ranges.
    pub range_count: u32,
    /// 4 KiB pages of all of them.
    pub total_pages: u32,
}

impl RetrieveResponse {
    /// Bytes of a range.
    pub const RANGE_LEN: usize = size_of::<Constituent>();

    /// Bytes before the ranges, for a borrower of this version.
    #[must_use]
    pub const fn head_len(version: Version) -> usize {
        let (header, emad) = if version.minor() == 0 {
            (size_of::<HeaderV1_0>(), size_of::<EmadV1_0>())
        } else if version.minor() == 1 {
            (size_of::<HeaderV1_1>(), size_of::<EmadV1_0>())
        } else {
            (size_of::<HeaderV1_1>(), size_of::<EmadV1_2>())
        };
        header + emad + size_of::<Composite>()
    }

    /// Bytes of the whole.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        Self::head_len(self.version) + self.range_count as usize * size_of::<Constituent>()
    }

    /// Writes all but the ranges to the start of `out`, and gives what is behind; `None` if it does not fit.
    pub fn write_head<'a>(&self, out: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let composite_offset = (Self::head_len(self.version) - size_of::<Composite>()) as u32;
        let has_impdef = self.version >= Version::V1_2;
        let start = HeaderV1_0 {
            sender: self.sender.0.into(),
            attributes: self.attributes.bits().into(),
            flags: self.flags.0.into(),
            handle: self.handle.get().into(),
            tag: self.tag.into(),
            emad_size: 0.into(),
            emad_count: 1.into(),
        };
        let rest = if self.version < Version::V1_1 {
            start.write_to_prefix(out).ok()?;
            out.get_mut(size_of::<HeaderV1_0>()..)?
        } else {
            let emad_size = if has_impdef { size_of::<EmadV1_2>() } else { size_of::<EmadV1_0>() } as u32;
            let header = HeaderV1_1 {
                start: HeaderV1_0 { emad_size: emad_size.into(), ..start },
                emad_offset: (size_of::<HeaderV1_1>() as u32).into(),
                reserved_36: 0.into(),
                reserved_40: 0.into(),
            };
            header.write_to_prefix(out).ok()?;
            out.get_mut(size_of::<HeaderV1_1>()..)?
        };
        let head = EmadHead {
            receiver: self.receiver.id.0.into(),
            permissions: self.receiver.permissions.bits(),
            flags: 0,
            composite_offset: composite_offset.into(),
        };
        let rest = if has_impdef {
            let impdef = self.receiver.impdef.map(Into::into);
            EmadV1_2 { head, impdef, reserved: 0.into() }.write_to_prefix(rest).ok()?;
            rest.get_mut(size_of::<EmadV1_2>()..)?
        } else {
            EmadV1_0 { head, reserved: 0.into() }.write_to_prefix(rest).ok()?;
            rest.get_mut(size_of::<EmadV1_0>()..)?
        };
        let composite = Composite {
            total_pages: self.total_pages.into(),
            range_count: self.range_count.into(),
            reserved: 0.into(),
        };
        composite.write_to_prefix(rest).ok()?;
        rest.get_mut(size_of::<Composite>()..)
    }

    /// Writes ranges to the start of `out`, as many as fit, and gives their length in bytes.
    pub fn write_ranges(ranges: impl Iterator<Item = IpaRange>, out: &mut [u8]) -> usize {
        let mut len = 0;
        for (slot, range) in out.chunks_exact_mut(size_of::<Constituent>()).zip(ranges) {
            slot.copy_from_slice(Constituent::new(range.base(), range.pages()).as_bytes());
            len += size_of::<Constituent>();
        }
        len
    }
}
