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
        check_flags(request.flags(), terms.transaction)?;
        if request.tag() != terms.tag {
            return Err(Status::InvalidParameters);
        }
        let borrowers = self.loans().of(handle).count();
        let own = self.own_entry(vm, request, &loan, borrowers)?;
        let permissions =
            permissions(terms.transaction, borrowers, loan.receiver.permissions, own.permissions)?;
        // The mapping is what a share must be, and what it is given for a loan that leaves it open.
        let attributes = request.attributes();
        if attributes.has_type() && attributes != MemoryAttributes::NORMAL_WRITE_BACK_INNER {
            return Err(Status::Denied);
        }
        if loan.stage != Stage::Offered {
            return Err(Status::Denied);
        }
        Ok(Grant { at, loan, permissions })
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
        let handle = loan.terms.handle;
        let is_borrower = |entry: Receiver| self.loans().of(handle).any(|loan| loan.receiver.id == entry.id);
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

/// Shared memory is its owner's as well, so that nobody zeroes it.
fn check_flags(flags: RetrieveFlags, transaction: Transaction) -> Result<(), Status> {
    let unsupported = [RetrieveFlags::ZERO_BEFORE, RetrieveFlags::ZERO_AFTER, RetrieveFlags::TIME_SLICE];
    let wrong_type = flags.transaction().is_some_and(|named| named != transaction);
    if wrong_type || flags.has_hint() || unsupported.iter().any(|flag| flags.contains(*flag)) {
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
        (DataAccess::Unspecified, given) => given,
        (asked, DataAccess::Unspecified) => asked,
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
