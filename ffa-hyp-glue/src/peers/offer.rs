//! FFA_MEM_SHARE between VMs.

use ffa_abi::{Handle, Status, Transaction};
use ffa_mem::{DataAccess, SendDescriptor};
use ffa_teardown::VmKey;

use super::loan::{Loan, Loans, Stage, Terms, is_vm};
use crate::dispatch::Reply;
use crate::mediator::{Guard, State};
use crate::message::status;
use crate::{Access, Event, EventKind, Mediator, OwnerAccess, PageError, Platform, Relation, Stores};

/// Loans that are about to be offered.
struct Offer {
    terms: Terms,
    take_reference: bool,
    /// Whether their pages are spoken for.
    tracked: Result<(), Status>,
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Offers memory to other VMs if all its receivers are VMs, or else refuses it with `status`, and ends the call.
    #[cold]
    pub(crate) fn lend_to_vms(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        descriptor: SendDescriptor<'_>,
        status: Status,
    ) -> Result<Reply, Status> {
        if !self.served.lends() || !is_between_vms(&descriptor) {
            return self.refuse(hyp, state, vm, status);
        }
        let offered = self.offer(hyp, state, vm, Transaction::Share, &descriptor);
        self.leave(hyp, self.lock(), vm);
        let handle = offered?;
        let pages = descriptor.total_pages();
        hyp.event(&Event { handle: Some(handle), ..Event::new(vm.id(), EventKind::Shared { pages }) });
        Ok(Reply::handle(handle))
    }

    fn offer(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        transaction: Transaction,
        descriptor: &SendDescriptor<'_>,
    ) -> Result<Handle, Status> {
        for receiver in descriptor.receivers() {
            // One that does not exist and one that is denied look the same.
            let peer = state.peer(&self.settings, vm, receiver.id);
            peer.filter(|peer| hyp.permits(vm.id(), Relation::Share, peer.id()))
                .ok_or(Status::InvalidParameters)?;
        }
        let Offer { terms, take_reference, tracked } =
            self.begin_offer(&mut state, vm, transaction, descriptor)?;
        drop(state);
        // Also for an offer that is refused: the engine does not ask a second time.
        self.take_reference(hyp, vm, take_reference);
        let held = tracked.map_err(|status| (status, 0)).and_then(|()| hold(hyp, &terms, descriptor));
        if let Err((status, held)) = held {
            if !hyp.release_share(vm.id(), terms.pages) {
                descriptor.ranges().take(held).for_each(|range| hyp.release(vm.id(), range));
            }
            self.lock().transaction_over(&terms);
            return Err(status);
        }
        self.lock().loans().offer(terms.handle);
        Ok(terms.handle)
    }

    /// Reserves all that the loans will need, and keeps their pages from being offered again.
    ///
    /// # Errors
    /// The status for the guest; nothing has begun.
    fn begin_offer(
        &self,
        state: &mut State<P, S>,
        vm: VmKey,
        transaction: Transaction,
        descriptor: &SendDescriptor<'_>,
    ) -> Result<Offer, Status> {
        self.check_quota(state.record(vm)?, descriptor.total_pages())?;
        if !state.loans().have_room(descriptor.receivers().len()) {
            return Err(Status::NoMemory);
        }
        let handle = state.handles.next().ok_or(Status::NoMemory)?;
        let begun = state.engine.begin_loan(vm).map_err(|error| status(&error))?;
        let terms = Terms { handle, transaction, owner: vm, pages: begun.id, tag: descriptor.tag() };
        let State { engine, loans, .. } = state;
        Loans(loans.as_mut()).add(descriptor.receivers().map(|receiver| {
            let borrower = engine.find(receiver.id);
            Loan { terms, borrower, receiver, stage: Stage::Withheld }
        }));
        let tracked = state.record(vm)?.track(begun.id, descriptor.ranges());
        Ok(Offer { terms, take_reference: begun.take_reference, tracked })
    }
}

/// Holds the pages that are to be lent.
///
/// # Errors
/// The status for the guest, and how many ranges are held.
fn hold<P: Platform>(
    hyp: &mut P,
    terms: &Terms,
    descriptor: &SendDescriptor<'_>,
) -> Result<(), (Status, usize)> {
    let writable = descriptor.receivers().any(|receiver| receiver.permissions.data != DataAccess::ReadOnly);
    let access = if writable { Access::ReadWrite } else { Access::ReadOnly };
    for (held, range) in descriptor.ranges().enumerate() {
        hyp.hold_for(terms.pages, terms.owner.id(), range, access, OwnerAccess::Kept, |_| ()).map_err(
            |error| match error {
                PageError::NotOwned { .. } => (Status::Denied, held),
                PageError::NoResources => (Status::NoMemory, held),
            },
        )?;
    }
    Ok(())
}

/// Whether a transaction is between VMs alone.
fn is_between_vms(descriptor: &SendDescriptor<'_>) -> bool {
    descriptor.receivers().all(|receiver| is_vm(receiver.id))
}
