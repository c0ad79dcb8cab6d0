use core::num::NonZeroU32;
use core::slice;

use ffa_abi::{PartitionId, Transaction, Version};
use zerocopy::FromBytes;

use crate::wire::{Composite, Constituent, Emad, EmadV1_0, EmadV1_2, HeaderV1_0, HeaderV1_1};
use crate::{DescriptorError, IpaRange, MemoryAttributes, Permissions, Receiver};

mod check;

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
    tag: u64,
    flags: SendFlags,
    total_pages: u32,
    sender: PartitionId,
    attributes: MemoryAttributes,
    emads: Emads<'a>,
    ranges: &'a [Constituent],
}

/// The endpoint memory access descriptors, in the size that the descriptor has.
#[derive(Clone, Copy, Debug)]
enum Emads<'a> {
    V1_0(&'a [EmadV1_0]),
    V1_2(&'a [EmadV1_2]),
}

/// The header's fields, whichever its layout.
struct Header {
    sender: PartitionId,
    attributes: u16,
    flags: u32,
    handle: u64,
    tag: u64,
    emad_size: u32,
    emad_count: u32,
    emad_offset: u32,
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
    /// FF-A v1.0 (DEN0077A issue A) section 5.12; v1.1 (issue E) section 10.11; from v1.2, DEN0140.
    pub fn parse(bytes: &'a [u8], rules: &SendRules) -> Result<Self, DescriptorError> {
        let header = if rules.version < Version::V1_1 {
            Header::v1_0(bytes)?
        } else {
            Header::v1_1(bytes, rules.version)?
        };
        let (attributes, flags) = header.check(rules)?;
        let (emads, composite_offset) = if header.emad_size == size_of::<EmadV1_0>() as u32 {
            let emads = header.emads(bytes)?;
            (Emads::V1_0(emads), check::receivers(emads, rules)?)
        } else {
            let emads = header.emads(bytes)?;
            (Emads::V1_2(emads), check::receivers(emads, rules)?)
        };
        let (composite, ranges) = composite_at(bytes, composite_offset, header.emads_end())?;
        let total_pages = composite.total_pages.get();
        check::ranges(ranges, total_pages)?;
        Ok(Self { tag: header.tag, flags, total_pages, sender: header.sender, attributes, emads, ranges })
    }

    /// The sender, who is the caller.
    #[must_use]
    #[inline]
    pub const fn sender(&self) -> PartitionId {
        self.sender
    }

    /// Memory attributes.
    #[must_use]
    #[inline]
    pub const fn attributes(&self) -> MemoryAttributes {
        self.attributes
    }

    /// Flags.
    #[must_use]
    #[inline]
    pub const fn flags(&self) -> SendFlags {
        self.flags
    }

    /// The sender's tag: any value, for the receivers.
    #[must_use]
    #[inline]
    pub const fn tag(&self) -> u64 {
        self.tag
    }

    /// The receivers: at least one, at most [`MAX_RECEIVERS`](crate::MAX_RECEIVERS), none twice.
    #[must_use]
    #[inline]
    pub fn receivers(&self) -> Receivers<'a> {
        Receivers(match self.emads {
            Emads::V1_0(emads) => ReceiversInner::V1_0(emads.iter()),
            Emads::V1_2(emads) => ReceiversInner::V1_2(emads.iter()),
        })
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

impl Header {
    #[inline]
    fn v1_0(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let (wire, _) = HeaderV1_0::ref_from_prefix(bytes)
            .map_err(|_| truncated("header", 0, size_of::<HeaderV1_0>() as u64, bytes))?;
        if wire.reserved_3 != 0 {
            return Err(reserved("header byte 3", u64::from(wire.reserved_3)));
        }
        if wire.reserved_24.get() != 0 {
            return Err(reserved("header bytes 24 to 27", u64::from(wire.reserved_24.get())));
        }
        Ok(Self {
            sender: PartitionId(wire.sender.get()),
            attributes: u16::from(wire.attributes),
            flags: wire.flags.get(),
            handle: wire.handle.get(),
            tag: wire.tag.get(),
            emad_size: size_of::<EmadV1_0>() as u32,
            emad_count: wire.emad_count.get(),
            emad_offset: size_of::<HeaderV1_0>() as u32,
        })
    }

    #[inline]
    fn v1_1(bytes: &[u8], version: Version) -> Result<Self, DescriptorError> {
        let (wire, _) = HeaderV1_1::ref_from_prefix(bytes)
            .map_err(|_| truncated("header", 0, size_of::<HeaderV1_1>() as u64, bytes))?;
        let [first, second, third] = wire.reserved.map(|word| word.get());
        if first | second | third != 0 {
            let low = u64::from(second) << 32 | u64::from(first);
            return Err(reserved("header bytes 36 to 47", if low != 0 { low } else { u64::from(third) }));
        }
        let size = wire.emad_size.get();
        let is_v1_0 = size == size_of::<EmadV1_0>() as u32;
        let is_v1_2 = size == size_of::<EmadV1_2>() as u32 && version >= Version::V1_2;
        if !(is_v1_0 || is_v1_2) {
            return Err(DescriptorError::EmadSize { size, version });
        }
        let offset = wire.emad_offset.get();
        if offset < size_of::<HeaderV1_1>() as u32 || offset % 16 != 0 {
            return Err(DescriptorError::EmadOffset { offset });
        }
        Ok(Self {
            sender: PartitionId(wire.sender.get()),
            attributes: wire.attributes.get(),
            flags: wire.flags.get(),
            handle: wire.handle.get(),
            tag: wire.tag.get(),
            emad_size: size,
            emad_count: wire.emad_count.get(),
            emad_offset: offset,
        })
    }

    /// Where the endpoint memory access descriptors end. The factors have 32 and 6 bits.
    #[inline]
    fn emads_end(&self) -> u64 {
        u64::from(self.emad_offset).wrapping_add(self.emads_len())
    }

    #[inline]
    fn emads_len(&self) -> u64 {
        u64::from(self.emad_count).wrapping_mul(u64::from(self.emad_size))
    }

    /// The endpoint memory access descriptors, of which `E` has the size.
    #[inline]
    fn emads<'a, E: Emad>(&self, bytes: &'a [u8]) -> Result<&'a [E], DescriptorError> {
        let whole = || {
            truncated("endpoint memory access descriptors", self.emad_offset.into(), self.emads_len(), bytes)
        };
        let rest = tail(bytes, self.emad_offset).ok_or_else(whole)?;
        let count = usize::try_from(self.emad_count).map_err(|_| whole())?;
        let (emads, _) = <[E]>::ref_from_prefix_with_elems(rest, count).map_err(|_| whole())?;
        Ok(emads)
    }
}

/// The composite at `offset` with its constituents, which must end where `bytes` do.
#[inline]
fn composite_at(
    bytes: &[u8],
    offset: u32,
    emads_end: u64,
) -> Result<(&Composite, &[Constituent]), DescriptorError> {
    const SIZE: u64 = size_of::<Constituent>() as u64;
    let start = u64::from(offset);
    if start < emads_end || offset % 16 != 0 {
        return Err(DescriptorError::CompositeOffset { offset, after: emads_end });
    }
    let (composite, rest) = tail(bytes, offset)
        .and_then(|rest| Composite::ref_from_prefix(rest).ok())
        .ok_or_else(|| truncated("composite", start, size_of::<Composite>() as u64, bytes))?;
    if composite.reserved.get() != 0 {
        return Err(reserved("composite bytes 8 to 15", composite.reserved.get()));
    }
    let need = u64::from(composite.range_count.get()).wrapping_mul(SIZE); // 36 bits
    if rest.len() as u64 != need {
        let first = start.wrapping_add(size_of::<Composite>() as u64);
        return Err(if need > rest.len() as u64 {
            truncated("constituents", first, need, bytes)
        } else {
            DescriptorError::Excess { end: first.wrapping_add(need), have: bytes.len() as u64 }
        });
    }
    let ranges = <[Constituent]>::ref_from_bytes(rest)
        .map_err(|_| DescriptorError::Excess { end: start, have: bytes.len() as u64 })?;
    Ok((composite, ranges))
}

#[inline]
fn tail(bytes: &[u8], offset: u32) -> Option<&[u8]> {
    bytes.get(usize::try_from(offset).ok()?..)
}

#[cold]
fn truncated(field: &'static str, offset: u64, need: u64, bytes: &[u8]) -> DescriptorError {
    DescriptorError::Truncated { field, offset, need, have: bytes.len() as u64 }
}

#[cold]
fn reserved(field: &'static str, value: u64) -> DescriptorError {
    DescriptorError::Reserved { field, value }
}

/// The receivers of a [`SendDescriptor`].
#[derive(Clone, Debug)]
pub struct Receivers<'a>(ReceiversInner<'a>);

#[derive(Clone, Debug)]
enum ReceiversInner<'a> {
    V1_0(slice::Iter<'a, EmadV1_0>),
    V1_2(slice::Iter<'a, EmadV1_2>),
}

impl Iterator for Receivers<'_> {
    type Item = Receiver;

    #[inline]
    fn next(&mut self) -> Option<Receiver> {
        match &mut self.0 {
            ReceiversInner::V1_0(emads) => emads.next().map(receiver),
            ReceiversInner::V1_2(emads) => emads.next().map(receiver),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            ReceiversInner::V1_0(emads) => emads.size_hint(),
            ReceiversInner::V1_2(emads) => emads.size_hint(),
        }
    }
}

impl ExactSizeIterator for Receivers<'_> {}

#[inline]
fn receiver<E: Emad>(emad: &E) -> Receiver {
    let head = emad.head();
    Receiver {
        id: PartitionId(head.receiver.get()),
        permissions: Permissions::from_bits(head.permissions).unwrap_or_default(), // checked by `parse`
        impdef: emad.impdef(),
    }
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
    // `parse` found no empty one.
    let pages = NonZeroU32::new(constituent.page_count.get()).unwrap_or(NonZeroU32::MIN);
    IpaRange::from_checked(constituent.address.get(), pages)
}
