//! The rules of a send: header, receivers, ranges.

use ffa_abi::{PartitionId, Transaction};

use super::{SendFlags, SendRules};
use crate::layout::Header;
use crate::range::PAGE_SIZE;
use crate::ranges::each_range;
use crate::wire::{Constituent, Emad};
use crate::{DataAccess, DescriptorError, InstructionAccess, MAX_RECEIVERS, MemoryAttributes, Permissions};

impl Header<'_> {
    /// Checks all but the receivers.
    #[inline(always)] // every share comes through here
    pub(super) fn check(&self, rules: &SendRules) -> Result<(), DescriptorError> {
        let found = PartitionId(self.fields.sender.get());
        if found != rules.sender {
            return Err(DescriptorError::Sender { found, caller: rules.sender });
        }
        let handle = self.fields.handle.get();
        if handle != 0 {
            return Err(DescriptorError::Handle { handle });
        }
        let count = self.fields.emad_count.get();
        if count > 1 {
            if count > MAX_RECEIVERS {
                return Err(DescriptorError::TooManyReceivers { count });
            }
            if rules.transaction == Transaction::Donate {
                return Err(DescriptorError::DonateReceivers { count });
            }
        }
        self.check_attributes(rules.transaction)?;
        self.check_flags(rules.transaction)
    }

    #[inline(always)] // every share comes through here
    fn check_attributes(&self, transaction: Transaction) -> Result<(), DescriptorError> {
        let bits = self.fields.attributes.get();
        if transaction == Transaction::Share && bits == MemoryAttributes::NORMAL_WRITE_BACK_INNER.bits() {
            return Ok(());
        }
        let attributes = MemoryAttributes::from_bits(bits)?;
        if attributes.is_non_secure() {
            return Err(DescriptorError::NonSecure { attributes: bits });
        }
        let several = self.fields.emad_count.get() > 1;
        match (transaction, attributes.has_type()) {
            (Transaction::Share, _) => Err(DescriptorError::ShareAttributes { attributes: bits }),
            (Transaction::Lend, false) if several => Err(DescriptorError::TypeMissing { attributes: bits }),
            (Transaction::Lend, true) if several => Ok(()),
            (Transaction::Lend | Transaction::Donate, false) => Ok(()),
            (Transaction::Lend | Transaction::Donate, true) => {
                Err(DescriptorError::TypeSpecified { transaction, attributes: bits })
            }
        }
    }

    #[inline(always)] // every share comes through here
    fn check_flags(&self, transaction: Transaction) -> Result<(), DescriptorError> {
        let flags = self.fields.flags.get();
        if flags == SendFlags::NONE.word() {
            Ok(())
        } else if flags & !(SendFlags::ZERO.word() | SendFlags::TIME_SLICE) != 0 {
            Err(DescriptorError::Reserved { field: "flags", value: u64::from(flags) })
        } else if flags & SendFlags::TIME_SLICE != 0 {
            Err(DescriptorError::TimeSlice { flags })
        } else if transaction == Transaction::Share {
            Err(DescriptorError::ZeroShared { flags })
        } else {
            Ok(())
        }
    }
}

/// Checks the receivers and gives the composite offset that all of them name.
#[inline(always)] // every share comes through here
pub(super) fn receivers<E: Emad>(emads: &[E], rules: &SendRules) -> Result<u32, DescriptorError> {
    let (first, others) = emads.split_first().ok_or(DescriptorError::NoReceivers)?;
    let composite_offset = first.head().composite_offset.get();
    // One good receiver is the rule; else each is checked, rule by rule.
    if !others.is_empty() || !is_good(first, rules) {
        each_receiver(emads, rules, composite_offset)?;
    }
    Ok(composite_offset)
}

#[inline(always)] // every share comes through here
fn is_good<E: Emad>(emad: &E, rules: &SendRules) -> bool {
    const READ_ONLY: u16 = Permissions::READ_ONLY.bits() as u16;
    const READ_WRITE: u16 = Permissions::READ_WRITE.bits() as u16;

    let head = emad.head();
    let access = u16::from_le_bytes([head.permissions, head.flags]);
    head.receiver.get() != rules.sender.0
        && head.receiver.get() != PartitionId::HYPERVISOR.0
        && emad.reserved() == 0
        && match rules.transaction {
            Transaction::Share | Transaction::Lend => access == READ_ONLY || access == READ_WRITE,
            Transaction::Donate => access == 0,
        }
}

/// Names the first bad receiver, if there is one.
#[inline(never)]
fn each_receiver<E: Emad>(
    emads: &[E],
    rules: &SendRules,
    composite_offset: u32,
) -> Result<(), DescriptorError> {
    // One bit per ID modulo 64: where none is hit twice, no ID is, and nothing needs to be compared.
    let mut seen = 0_u64;
    for (index, emad) in (0_u32..).zip(emads) {
        let head = emad.head();
        let id = PartitionId(head.receiver.get());
        if id == rules.sender {
            return Err(DescriptorError::SelfReceiver { index });
        }
        if id == PartitionId::HYPERVISOR {
            return Err(DescriptorError::HypervisorReceiver { index });
        }
        let bit = 1 << (id.0 % 64);
        if seen & bit != 0 && emads.iter().zip(0..index).any(|(other, _)| other.head().receiver.get() == id.0)
        {
            return Err(DescriptorError::DuplicateReceiver { index, id });
        }
        seen |= bit;
        check_permissions(index, head.permissions, rules.transaction)?;
        if head.flags != 0 {
            return Err(DescriptorError::ReceiverFlags { index, flags: head.flags });
        }
        if emad.reserved() != 0 {
            return Err(DescriptorError::ReceiverReserved { index, value: emad.reserved() });
        }
        let offset = head.composite_offset.get();
        if offset != composite_offset {
            return Err(DescriptorError::CompositeMismatch { index, offset, first: composite_offset });
        }
    }
    Ok(())
}

fn check_permissions(index: u32, bits: u8, transaction: Transaction) -> Result<(), DescriptorError> {
    let permissions =
        Permissions::from_bits(bits).ok_or(DescriptorError::Permissions { index, permissions: bits })?;
    if permissions.instruction != InstructionAccess::Unspecified {
        return Err(DescriptorError::InstructionAccess { index, access: permissions.instruction });
    }
    let is_specified = permissions.data != DataAccess::Unspecified;
    if is_specified == (transaction == Transaction::Donate) {
        return Err(DescriptorError::DataAccess { index, access: permissions.data, transaction });
    }
    Ok(())
}

/// Checks every constituent and that their page counts add up to `total`.
///
/// One pass gathers what is wrong anywhere, without a branch per rule; only when something may be, a second pass
/// finds out what and where.
#[inline]
pub(super) fn ranges(ranges: &[Constituent], total: u32) -> Result<(), DescriptorError> {
    let (first, others) = ranges.split_first().ok_or(DescriptorError::NoRanges)?;
    let mut gathered = Gathered::new(first);
    for constituent in others {
        gathered.add(constituent);
    }
    if gathered.is_good(ranges.len(), total) { Ok(()) } else { find_bad_range(ranges, total) }
}

/// What several constituents have in common.
struct Gathered {
    addresses: u64, // all bits of any address
    counts: u64,    // all bits of any page count less one
    sum: u64,       // of page counts less one
}

impl Gathered {
    #[inline]
    fn new(constituent: &Constituent) -> Self {
        let count = Self::count_less_one(constituent);
        Self { addresses: constituent.address.get(), counts: count, sum: count }
    }

    #[inline]
    fn add(&mut self, constituent: &Constituent) {
        let count = Self::count_less_one(constituent);
        self.addresses |= constituent.address.get();
        self.counts |= count;
        self.sum = self.sum.wrapping_add(count);
    }

    /// The reserved word above the page count, less one: more than 32 bits if the word is not zero or the count is.
    /// The one exception, word 1 with count 0, makes the sum exceed any total.
    #[inline]
    fn count_less_one(constituent: &Constituent) -> u64 {
        let word = u64::from(constituent.reserved.get()) << 32 | u64::from(constituent.page_count.get());
        word.wrapping_sub(1)
    }

    /// False if anything is wrong, and now and then when nothing is.
    #[inline(always)] // every share comes through here
    fn is_good(&self, len: usize, total: u32) -> bool {
        /// Bits no address has: the page offset is zero, and without the top bit no page count can wrap.
        const SUSPECT: u64 = (PAGE_SIZE - 1) | 1 << 63;
        let expected = u64::from(total).wrapping_sub(len as u64);
        self.addresses & SUSPECT | self.counts >> 32 | (self.sum ^ expected) == 0
    }
}

/// Names the first bad constituent or the bad sum, if there is either.
#[cold]
#[inline(never)]
fn find_bad_range(ranges: &[Constituent], total: u32) -> Result<(), DescriptorError> {
    let sum = each_range(ranges, 0)?;
    if sum == u64::from(total) { Ok(()) } else { Err(DescriptorError::TotalPages { total, sum }) }
}
