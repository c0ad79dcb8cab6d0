//! Memory that is shared with, lent or donated to VMs, alone or beside SPs.

use ffa_abi::{Function, Handle, Status, Transaction};
use ffa_mem::{MemoryAttributes, Receiver, Receivers, SendFlags, SendHead};
use ffa_teardown::{ShareId, VmKey};

use super::loan::{Loan, Loans, Stage, Terms, is_vm};
use crate::dispatch::Reply;
use crate::mediator::State;
use crate::memory::report;
use crate::{EventKind, Mediator, Platform, Relation, Stores};

/// How many receivers of each kind a transaction has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parties {
    pub(crate) sps: usize,
    pub(crate) vms: usize,
}

impl Parties {
    /// The SPs among the receivers that were counted.
    pub(crate) fn sps_among<'a>(
        &self,
        receivers: Receivers<'a>,
    ) -> impl ExactSizeIterator<Item = Receiver> + use<'a> {
        SpsAmong { receivers, left: self.sps }
    }
}

struct SpsAmong<'a> {
    receivers: Receivers<'a>,
    left: usize,
}

impl Iterator for SpsAmong<'_> {
    type Item = Receiver;

    fn next(&mut self) -> Option<Receiver> {
        let sp = self.receivers.find(|receiver| !is_vm(receiver.id))?;
        self.left = self.left.saturating_sub(1);
        Some(sp)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for SpsAmong<'_> {}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Whether the guest may send to these receivers, and who they are.
    ///
    /// # Errors
    /// The status for the guest. A VM or an SP that does not exist and one that is denied look the same.
    pub(crate) fn check_parties(
        &self,
        hyp: &mut P,
        state: &mut State<P, S>,
        vm: VmKey,
        function: Function,
        head: &SendHead<'_>,
    ) -> Result<Parties, Status> {
        let all = head.receivers().len();
        if !self.served.lends() {
            self.check_receivers(hyp, state, vm, head.receivers())?;
            return Ok(Parties { sps: all, vms: 0 });
        }
        self.check_receivers(hyp, state, vm, head.receivers().filter(|receiver| !is_vm(receiver.id)))?;
        let vms = head.receivers().filter(|receiver| is_vm(receiver.id));
        for receiver in vms.clone() {
            let peer = state.peer(&self.settings, vm, receiver.id);
            peer.filter(|peer| hyp.permits(vm.id(), Relation::Share, peer.id()))
                .ok_or(Status::InvalidParameters)?;
        }
        let vms = vms.count();
        let parties = Parties { sps: all - vms, vms };
        if parties.sps > 0 && !self.spmc.abilities().any_width(function) {
            return Err(Status::NotSupported);
        }
        // What VMs have of each other is mapped as what it is.
        let attributes = head.attributes();
        if vms > 0 && attributes.has_type() && attributes != MemoryAttributes::NORMAL_WRITE_BACK_INNER {
            return Err(Status::Denied);
        }
        Ok(parties)
    }

    /// Offers what is held for a transaction to its receivers, which are VMs, and ends the call.
    pub(crate) fn offer(
        &self,
        hyp: &mut P,
        vm: VmKey,
        pages: ShareId,
        total_pages: u32,
    ) -> Result<Reply, Status> {
        let mut state = self.lock();
        let terms = state.loans().terms(vm, pages);
        if let Some(Terms { handle, .. }) = terms {
            state.offer(vm, pages, handle);
        }
        self.leave(hyp, state, vm);
        let Terms { handle, transaction, .. } = terms.ok_or(Status::Aborted)?;
        report(hyp, vm, Some(handle), EventKind::sent(transaction, total_pages));
        Ok(Reply::handle(handle))
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// A name for a transaction with so many receivers, for which there is room.
    ///
    /// # Errors
    /// NO_MEMORY if there is not.
    pub(crate) fn reserve_offer(&mut self, receivers: usize) -> Result<Handle, Status> {
        if !self.loans().have_room(receivers) {
            return Err(Status::NoMemory);
        }
        self.handles.next().ok_or(Status::NoMemory)
    }

    /// Enters a transaction for which all is reserved. Nobody finds it before it is [offered](Self::offer).
    pub(crate) fn begin_offer(
        &mut self,
        handle: Handle,
        owner: VmKey,
        (pages, loan): (ShareId, ShareId),
        transaction: Transaction,
        head: &SendHead<'_>,
    ) {
        let zeroed = head.flags().contains(SendFlags::ZERO);
        let terms = Terms { handle, transaction, owner, pages, loan, tag: head.tag(), zeroed };
        let Self { engine, loans, .. } = self;
        Loans(loans.as_mut()).add(head.receivers().map(|receiver| {
            let borrower = if is_vm(receiver.id) { engine.find(receiver.id) } else { None };
            Loan { terms, borrower, receiver, stage: Stage::Withheld }
        }));
        if let (true, Ok(record)) = (terms.has_sps(), self.record(owner)) {
            record.mixes = true;
        }
    }

    /// Whether VMs have, or may have, something of a transaction.
    pub(crate) fn is_lent(&mut self, owner: VmKey, pages: ShareId) -> bool {
        self.loans().terms(owner, pages).is_some()
    }

    /// Lets VMs have what they were to have of a transaction, under this name. Whether there are any.
    pub(crate) fn offer(&mut self, owner: VmKey, pages: ShareId, handle: Handle) -> bool {
        let Some(terms) = self.loans().terms(owner, pages) else { return false };
        self.loans().offer(&terms, handle);
        true
    }

    /// A transaction does not come about: no VM hears of it. Whether that is all, since no SP was to have a part in it.
    pub(crate) fn withdraw(&mut self, owner: VmKey, pages: ShareId) -> bool {
        let Some(terms) = self.loans().terms(owner, pages) else { return false };
        self.forget_offer(&terms);
        if !terms.has_sps() {
            self.loan_over(owner, pages);
        }
        !terms.has_sps()
    }

    /// Forgets what VMs were to have of a transaction, which none of them has.
    pub(crate) fn forget_offer(&mut self, terms: &Terms) {
        self.loans().remove(terms);
        if !terms.has_sps() {
            return;
        }
        let ended = self.engine.end_loan(terms.owner, terms.loan);
        debug_assert_eq!(ended, Ok(()));
    }
}
