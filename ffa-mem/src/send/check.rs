//! The rules of a send: header, receivers, ranges.

use ffa_abi::{PartitionId, Transaction};

use super::layout::Header;
use super::{SendFlags, SendRules};
use crate::range::PAGE_SIZE;
use crate::wire::{Constituent, Emad};
use crate::{
    DataAccess, DescriptorError, InstructionAccess, IpaRange, MAX_RECEIVERS, MemoryAttributes, Permissions,
};

impl Header {
    /// Checks all but the receivers.
    #[inline]
    pub(super) fn check(&self, rules: &SendRules) -> Result<(MemoryAttributes, SendFlags), DescriptorError> {
        if self.sender != rules.sender {
            return Err(DescriptorError::Sender { found: self.sender, caller: rules.sender });
        }
        if self.handle != 0 {
            return Err(DescriptorError::Handle { handle: self.handle });
        }
        let count = self.emad_count;
        if count > 1 {
            if count > MAX_RECEIVERS {
                return Err(DescriptorError::TooManyReceivers { count });
            }
            if rules.transaction == Transaction::Donate {
                return Err(DescriptorError::DonateReceivers { count });
            }
        }
        let attributes = self.attributes(rules.transaction)?;
        let flags = self.flags(rules.transaction)?;
        Ok((attributes, flags))
    }

    #[inline]
    fn attributes(&self, transaction: Transaction) -> Result<MemoryAttributes, DescriptorError> {
        if transaction == Transaction::Share
            && self.attributes == MemoryAttributes::NORMAL_WRITE_BACK_INNER.bits()
        {
            return Ok(MemoryAttributes::NORMAL_WRITE_BACK_INNER);
        }
        let attributes = MemoryAttributes::from_bits(self.attributes)?;
        let bits = self.attributes;
        if attributes.is_non_secure() {
            return Err(DescriptorError::NonSecure { attributes: bits });
        }
        match transaction {
            Transaction::Share => Err(DescriptorError::ShareAttributes { attributes: bits }),
            Transaction::Lend if self.emad_count > 1 => {
                if attributes.has_type() {
                    Ok(attributes)
                } else {
                    Err(DescriptorError::TypeMissing { attributes: bits })
                }
            }
            Transaction::Lend | Transaction::Donate => {
                if attributes.has_type() {
                    Err(DescriptorError::TypeSpecified { transaction, attributes: bits })
                } else {
                    Ok(attributes)
                }
            }
        }
    }

    #[inline]
    fn flags(&self, transaction: Transaction) -> Result<SendFlags, DescriptorError> {
        let flags = self.flags;
        if flags == SendFlags::NONE.word() {
            Ok(SendFlags::NONE)
        } else if flags & !(SendFlags::ZERO.word() | SendFlags::TIME_SLICE) != 0 {
            Err(DescriptorError::Reserved { field: "flags", value: u64::from(flags) })
        } else if flags & SendFlags::TIME_SLICE != 0 {
            Err(DescriptorError::TimeSlice { flags })
        } else if transaction == Transaction::Share {
            Err(DescriptorError::ZeroShared { flags })
        } else {
            Ok(SendFlags::ZERO)
        }
    }
}

/// Checks the receivers and gives the composite offset that all of them name.
///
/// As with the ranges, a short pass says whether anything may be wrong, and another one finds out what.
#[inline]
pub(super) fn receivers<E: Emad>(emads: &[E], rules: &SendRules) -> Result<u32, DescriptorError> {
    let first = emads.first().ok_or(DescriptorError::NoReceivers)?.head().composite_offset.get();
    // One bit per ID modulo 64: as long as no bit is hit twice, no ID is.
    let mut seen = 0_u64;
    for emad in emads {
        let head = emad.head();
        let id = head.receiver.get();
        let access = u16::from_le_bytes([head.permissions, head.flags]);
        let bit = 1 << (id % 64);
        let good = id != rules.sender.0
            && id != PartitionId::HYPERVISOR.0
            && seen & bit == 0
            && match rules.transaction {
                Transaction::Share | Transaction::Lend => access == READ_ONLY || access == READ_WRITE,
                Transaction::Donate => access == 0,
            }
            && emad.reserved() == 0
            && head.composite_offset.get() == first;
        if !good {
            find_bad_receiver(emads, rules, first)?;
            break;
        }
        seen |= bit;
    }
    Ok(first)
}

const READ_ONLY: u16 = Permissions::READ_ONLY.bits() as u16;
const READ_WRITE: u16 = Permissions::READ_WRITE.bits() as u16;

/// Names the first bad receiver, if there is one.
#[cold]
#[inline(never)]
fn find_bad_receiver<E: Emad>(emads: &[E], rules: &SendRules, first: u32) -> Result<(), DescriptorError> {
    for (index, emad) in (0_u32..).zip(emads) {
        let head = emad.head();
        let id = PartitionId(head.receiver.get());
        if id == rules.sender {
            return Err(DescriptorError::SelfReceiver { index });
        }
        if id == PartitionId::HYPERVISOR {
            return Err(DescriptorError::HypervisorReceiver { index });
        }
        if emads.iter().zip(0..index).any(|(other, _)| other.head().receiver.get() == id.0) {
            return Err(DescriptorError::DuplicateReceiver { index, id });
        }
        check_permissions(index, head.permissions, rules.transaction)?;
        if head.flags != 0 {
            return Err(DescriptorError::ReceiverFlags { index, flags: head.flags });
        }
        if emad.reserved() != 0 {
            return Err(DescriptorError::ReceiverReserved { index, value: emad.reserved() });
        }
        let offset = head.composite_offset.get();
        if offset != first {
            return Err(DescriptorError::CompositeMismatch { index, offset, first });
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
/// One pass gathers what is wrong anywhere without a branch per rule; only when something may be, a second pass
/// finds out what and where.
#[inline]
pub(super) fn ranges(ranges: &[Constituent], total: u32) -> Result<(), DescriptorError> {
    /// Bits no address has: the page offset must be zero; without the top bit no page count can wrap.
    const SUSPECT: u64 = (PAGE_SIZE - 1) | 1 << 63;

    if ranges.is_empty() {
        return Err(DescriptorError::NoRanges);
    }
    let (mut addresses, mut counts, mut sum) = (0, 0, 0_u64);
    for constituent in ranges {
        // The reserved word above the page count, less one: above 32 bits if the word is not zero or the count is.
        // The one exception, word 1 with count 0, makes the sum exceed any total.
        let word = u64::from(constituent.reserved.get()) << 32 | u64::from(constituent.page_count.get());
        let less_one = word.wrapping_sub(1);
        addresses |= constituent.address.get();
        counts |= less_one;
        sum = sum.wrapping_add(less_one);
    }
    let expected = u64::from(total).wrapping_sub(ranges.len() as u64);
    if addresses & SUSPECT == 0 && counts >> 32 == 0 && sum == expected {
        return Ok(());
    }
    find_bad_range(ranges, total)
}

/// Names the first bad constituent or the bad sum, if there is either.
#[cold]
#[inline(never)]
fn find_bad_range(ranges: &[Constituent], total: u32) -> Result<(), DescriptorError> {
    let mut sum = 0_u64;
    for (index, constituent) in (0_u32..).zip(ranges) {
        let pages = constituent.page_count.get();
        IpaRange::new(constituent.address.get(), pages)
            .map_err(|source| DescriptorError::Range { index, source })?;
        let value = constituent.reserved.get();
        if value != 0 {
            return Err(DescriptorError::RangeReserved { index, value });
        }
        sum = sum.saturating_add(u64::from(pages));
    }
    if sum == u64::from(total) { Ok(()) } else { Err(DescriptorError::TotalPages { total, sum }) }
}
