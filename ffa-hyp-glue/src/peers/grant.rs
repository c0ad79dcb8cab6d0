//! What a borrower asks for, held against what the owner offers.

use ffa_abi::{Status, Transaction};
use ffa_mem::{
    DataAccess, InstructionAccess, MemoryAttributes, Permissions, Receiver, RetrieveFlags, RetrieveRequest,
};
use ffa_teardown::VmKey;

use super::loan::{Loan, Stage};
use crate::mediator::State;
use crate::{Platform, Stores};

/// A request that is good.
#[derive(Clone, Copy)]
pub(crate) struct Grant {
    /// Where the loan is.
    pub(crate) at: usize,
    pub(crate) loan: Loan,
    /// What the borrower gets: no more than it asks for, and no more than it may have.
    pub(crate) permissions: Permissions,
    /// The pages are to be zeroed before it gets them.
    pub(crate) zero_before: bool,
    /// They are to be zeroed when it has them no longer.
    pub(crate) zero_after: bool,
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// What `vm` gets if it asks for this. Changes nothing.
    ///
    /// # Errors
    /// INVALID_PARAMETERS if there is no such offer to it, and if it takes it for what it is not; DENIED if it asks for more
    /// than it was offered, names another owner, or has it already.
    ///
    /// # Specification
    /// DEN0077A v1.1 section 16.4; from v1.2, DEN0140.
    pub(crate) fn grant(&mut self, vm: VmKey, request: &RetrieveRequest<'_>) -> Result<Grant, Status> {
        let handle = request.handle().ok_or(Status::InvalidParameters)?;
        let at = self.loans().find(handle, vm).ok_or(Status::InvalidParameters)?;
        let loan = *self.loans().get(at).ok_or(Status::InvalidParameters)?;
        let terms = loan.terms;
        if self.is_torn_down(terms.owner) {
            return Err(Status::InvalidParameters);
        }
        if request.sender() != terms.owner.id() {
            return Err(Status::Denied);
        }
        if request.tag() != terms.tag {
            return Err(Status::InvalidParameters);
        }
        let flags = request.flags();
        let borrowers = self.loans().of(&terms).count();
        check_flags(flags, terms.transaction, borrowers)?;
        let own = self.own_entry(vm, request, &loan, borrowers)?;
        let permissions =
            permissions(terms.transaction, borrowers, loan.receiver.permissions, own.permissions)?;
        let (zero_before, zero_after) =
            (flags.contains(RetrieveFlags::ZERO_BEFORE), flags.contains(RetrieveFlags::ZERO_AFTER));
        // Who has others zero what it cannot write to itself writes to it.
        if (zero_before || zero_after) && permissions.data == DataAccess::ReadOnly {
            return Err(Status::Denied);
        }
        // The mapping is what a share must be, and what it is given for a loan that leaves it open.
        let attributes = request.attributes();
        if attributes.has_type() && attributes != MemoryAttributes::NORMAL_WRITE_BACK_INNER {
            return Err(Status::Denied);
        }
        if loan.stage != Stage::Offered {
            return Err(Status::Denied);
        }
        Ok(Grant { at, loan, permissions, zero_before, zero_after })
    }

    /// The caller's own entry, among those of the other borrowers unless it leaves them out.
    fn own_entry(
        &mut self,
        vm: VmKey,
        request: &RetrieveRequest<'_>,
        loan: &Loan,
        borrowers: usize,
    ) -> Result<Receiver, Status> {
        let named = request.receivers().count();
        let may_leave_out = request.flags().contains(RetrieveFlags::OWN_ENTRY_ONLY);
        if named != borrowers && !(may_leave_out && named == 1) {
            return Err(Status::InvalidParameters);
        }
        let is_borrower =
            |entry: Receiver| self.loans().of(&loan.terms).any(|loan| loan.receiver.id == entry.id);
        if !request.receivers().all(is_borrower) {
            return Err(Status::InvalidParameters);
        }
        let mut own = request.receivers().filter(|entry| entry.id == vm.id());
        match (own.next(), own.next()) {
            (Some(own), None) => Ok(own),
            _ => Err(Status::InvalidParameters),
        }
    }
}

/// Nobody zeroes memory that is its owner's or another borrower's as well, and what is donated is not relinquished.
fn check_flags(flags: RetrieveFlags, transaction: Transaction, borrowers: usize) -> Result<(), Status> {
    let wrong_type = flags.transaction().is_some_and(|named| named != transaction);
    let is_alone = transaction != Transaction::Share && borrowers == 1;
    let zeroes = flags.contains(RetrieveFlags::ZERO_BEFORE) || flags.contains(RetrieveFlags::ZERO_AFTER);
    let is_kept = transaction == Transaction::Donate && flags.contains(RetrieveFlags::ZERO_AFTER);
    let is_sliced = flags.contains(RetrieveFlags::TIME_SLICE);
    if wrong_type || flags.has_hint() || is_sliced || zeroes && !is_alone || is_kept {
        return Err(Status::InvalidParameters);
    }
    Ok(())
}

/// What a borrower gets that was `given` permissions and has `asked` for some.
///
/// # Specification
/// DEN0077A v1.1 sections 10.10.2 and 10.10.3; from v1.2, DEN0140.
fn permissions(
    transaction: Transaction,
    borrowers: usize,
    given: Permissions,
    asked: Permissions,
) -> Result<Permissions, Status> {
    let data = match (asked.data, given.data) {
        // It is the receiver's own from now on.
        (DataAccess::Unspecified, DataAccess::Unspecified) => DataAccess::ReadWrite,
        (DataAccess::Unspecified, given) => given,
        (DataAccess::ReadWrite, DataAccess::ReadOnly) => return Err(Status::Denied),
        (asked, _) => asked,
    };
    let is_several = transaction == Transaction::Share || borrowers > 1;
    let instruction = match asked.instruction {
        // Nobody executes what others can write to.
        InstructionAccess::Executable if is_several => return Err(Status::Denied),
        _ if is_several => InstructionAccess::NotExecutable,
        InstructionAccess::Unspecified => return Err(Status::InvalidParameters),
        asked => asked,
    };
    Ok(Permissions { data, instruction })
}
