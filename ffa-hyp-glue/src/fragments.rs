//! FFA_MEM_FRAG_TX: memory transactions whose descriptor a guest sends in fragments, or in buffers larger than ours; and
//! all that it lends or donates.
//!
//! The head goes to the SPMC at once, since its handle is the one that the guest is shown from the first answer on. The
//! ranges are collected until the last is there: only then is any page held, and the SPMC told of it.

use arrayvec::ArrayVec;
use ffa_abi::{
    Function, FunctionId, Handle, MemFragRx, MemFragTx, MemSend, PartitionId, Regs, Status, Transaction,
    Version, Width,
};
use ffa_mem::{
    FirstFragment, IpaRange, MemoryAttributes, PAGE_SIZE, RangeStore, Reassembly, SendFlags, SendHead,
    SendHeader, SendRules, SendTotals, Unsent,
};
use ffa_teardown::{Progress, SendOutcome, ShareId, Subject, VmKey};

use crate::dispatch::Reply;
use crate::mediator::{Guard, State};
use crate::memory::{HoldError, access, report};
use crate::message::status;
use crate::peers::Parties;
use crate::record::{Mailbox, Record, tag};
use crate::stream::{CONSTITUENT, Stopped, Stream};
use crate::{Access, EventKind, Mediator, OwnerAccess, Platform, Scratch, Stores, VmReferences};

/// Room for one memory transaction that a VM has sent a part of, in storage that the hypervisor lends.
#[derive(Clone, Copy, Debug)]
pub struct DraftSlot(Option<Draft>);

impl DraftSlot {
    /// An empty slot.
    pub const VACANT: Self = Self(None);
}

#[derive(Clone, Copy, Debug)]
struct Draft {
    share: ShareId,
    /// What the guest was shown. `None`: a call works on it.
    handle: Option<Handle>,
    rest: Reassembly,
    total_pages: u32,
    terms: Terms,
    /// What the SPMC lacks: all but the head.
    unsent: Option<Unsent>,
}

/// What has begun with a draft.
struct Begun {
    share: ShareId,
    /// Where it is kept, if the guest is to bring more of it.
    slot: Option<usize>,
    parties: Parties,
    take_reference: bool,
    /// Whether there is room for what VMs are to have of it.
    offered: Result<(), Status>,
}

/// What is to become of the pages.
#[derive(Clone, Copy, Debug)]
struct Terms {
    transaction: Transaction,
    access: Access,
    /// They are zeroed before the secure world hears of them.
    zeroed: bool,
}

impl Terms {
    fn of(head: &SendHead<'_>, transaction: Transaction) -> Self {
        let zeroed = head.flags().contains(SendFlags::ZERO);
        // Whoever has its pages zeroed writes to them.
        let access = if zeroed { Access::ReadWrite } else { access(head.receivers()) };
        Self { transaction, access, zeroed }
    }

    const fn owner(self) -> OwnerAccess {
        match self.transaction {
            Transaction::Share => OwnerAccess::Kept,
            Transaction::Lend | Transaction::Donate => OwnerAccess::Lost,
        }
    }
}

/// The ranges of a share in the order in which they came, read a few at a time under the lock.
pub(crate) struct InOrder<'a, P: Platform, S: Stores<P>> {
    mediator: &'a Mediator<P, S>,
    vm: VmKey,
    share: ShareId,
    next: usize,
    batch: ArrayVec<IpaRange, BATCH>,
}

/// Ranges copied at a time: 1 KiB of stack.
const BATCH: usize = 64;

impl<P: Platform, S: Stores<P>> Iterator for InOrder<'_, P, S> {
    type Item = IpaRange;

    fn next(&mut self) -> Option<IpaRange> {
        if self.batch.is_empty() {
            let mut state = self.mediator.lock();
            let record = state.record(self.vm).ok()?;
            self.batch = record.ranges.in_order::<BATCH>(tag(self.share), self.next).collect();
            self.next += self.batch.len();
            self.batch.reverse();
        }
        self.batch.pop()
    }
}

/// What of a fragment is copied at a time, of `left` bytes: whole constituents, as many as fit.
fn piece(left: usize, total_len: u32) -> usize {
    const MOST: usize = PAGE_SIZE as usize;
    // Heads of any length come first, and constituents end where the whole does.
    let odd = total_len as usize % CONSTITUENT as usize;
    if left <= MOST {
        left
    } else if odd == 0 {
        MOST
    } else {
        MOST - CONSTITUENT as usize + odd
    }
}

/// A call takes a draft, which no longer waits for anything.
///
/// # Errors
/// INVALID_PARAMETERS: the secure world has given its handle to another transaction, and it is no more.
fn begin_rest<P: Platform, S: Stores<P>>(
    state: &mut State<P, S>,
    vm: VmKey,
    slot: usize,
    draft: &Draft,
) -> Result<(), Status> {
    let (engine, record) = state.engine_and_record(vm)?;
    if let Some(slot) = record.drafts.as_mut().get_mut(slot) {
        *slot = DraftSlot::VACANT;
    }
    // The secure world waits for nothing of which it is to have no part.
    if draft.unsent.is_none() {
        return Ok(());
    }
    let begun = engine.begin_rest(vm, draft.share);
    if begun.is_err() {
        record.forget(draft.share);
        state.withdraw(vm, draft.share);
    }
    begun.map_err(|_| Status::InvalidParameters)
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// A send of which not all has come with the call, or more than fits the CPU's buffer, or that is not a share.
    #[cold]
    #[inline(never)] // its locals are not to be on the stack of every call
    #[expect(clippy::too_many_arguments, reason = "those of every send")]
    pub(crate) fn mem_send_in_parts(
        &self,
        hyp: &mut P,
        vm: VmKey,
        version: Version,
        send: MemSend,
        tx: IpaRange,
        scratch: &mut Scratch,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let fragments = FunctionId::smc32(Function::MemFragTx);
        if send.fragment_len != send.total_len && !self.served.contains(fragments, version) {
            return self.refuse(hyp, self.lock(), vm, Status::NotSupported);
        }
        let first_len = piece(send.fragment_len as usize, send.total_len);
        let first = scratch.input.get_mut(..first_len).ok_or(Status::NoMemory);
        let read = first
            .and_then(|bytes| hyp.read(vm.id(), tx.base(), bytes).map_err(|_| Status::InvalidParameters));
        match read {
            Ok(()) => self.mem_send_read(hyp, vm, version, send, tx, first_len, scratch, regs),
            Err(status) => self.refuse(hyp, self.lock(), vm, status),
        }
    }

    /// A share of which all `len` bytes have been copied to the CPU's buffer, and there is no room for it or not all receivers
    /// are SPs that the guest may share with. Room may be made, and there may be VMs among them; or it is refused.
    #[cold]
    pub(crate) fn share_otherwise(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        len: u32,
        scratch: &mut Scratch,
    ) -> Result<Reply, Status> {
        let record = state.record(vm);
        let known = record.ok().and_then(|record| record.negotiation.version().zip(record.tx()));
        let Some((version, tx)) = known else {
            return self.refuse(hyp, state, vm, Status::InvalidParameters);
        };
        drop(state);
        let send = MemSend {
            width: Width::Smc32, // both say the same
            transaction: Transaction::Share,
            total_len: len,
            fragment_len: len,
            address: 0,
            pages: 0,
        };
        let mut unused = Regs::ZERO; // what came whole is answered with a handle
        self.mem_send_read(hyp, vm, version, send, tx, len as usize, scratch, &mut unused)
    }

    /// The same, when the first `first_len` bytes have been copied to the CPU's buffer.
    #[cold]
    #[inline(never)] // likewise
    #[expect(clippy::too_many_arguments, reason = "those of every send")]
    pub(crate) fn mem_send_read(
        &self,
        hyp: &mut P,
        vm: VmKey,
        version: Version,
        send: MemSend,
        tx: IpaRange,
        first_len: usize,
        scratch: &mut Scratch,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        self.make_room(hyp, vm);
        let is_whole = send.fragment_len == send.total_len;
        let Scratch { input, output } = scratch;
        let rules = SendRules { version, transaction: send.transaction, sender: vm.id() };
        let bytes = input.get(..first_len).unwrap_or_default();
        let FirstFragment { head, ranges, mut rest } = match self.read_first(bytes, send.total_len, &rules) {
            Ok(first) => first,
            Err(status) => return self.refuse(hyp, self.lock(), vm, status),
        };
        let (total_pages, terms) = (head.total_pages(), Terms::of(&head, send.transaction));
        let mut state = self.lock();
        let function = send.transaction.function();
        let begun = self
            .check_parties(hyp, &mut state, vm, function, &head)
            .and_then(|parties| self.begin_draft(&mut state, vm, &head, &rest, terms, parties, !is_whole));
        let Begun { share, slot, parties, take_reference, offered } = match begun {
            Ok(begun) => begun,
            Err(status) => return self.refuse(hyp, state, vm, status),
        };
        let kept = offered.and_then(|()| {
            let tracked = state.record(vm)?.ranges.extend_draft(tag(share), ranges);
            tracked.map_err(|error| error.status())
        });
        drop(state);
        self.take_reference(hyp, vm, take_reference);
        // The head stays where it is.
        let len = send.fragment_len as usize;
        let kept = kept.and_then(|()| self.collect(hyp, vm, share, &mut rest, tx, first_len..len, output));
        if parties.sps == 0 {
            let draft = Draft { share, handle: None, rest, total_pages, terms, unsent: None };
            return self.offer_draft(hyp, vm, kept, draft, slot, regs);
        }
        let totals = match kept {
            Ok(()) if is_whole => self.hold_collected(hyp, vm, share, total_pages, terms).map(|()| {
                let ranges = self.count_runs(hyp, vm.id(), self.in_order(vm, share));
                SendTotals { pages: total_pages, ranges }
            }),
            Ok(()) => Ok(SendTotals::single_pages(total_pages)),
            Err(status) => Err(status),
        };
        let header = self.header_for_sps(vm.id(), &head, send.transaction, parties);
        let stream = totals.and_then(|totals| {
            let subject = (vm, share);
            let sps = parties.sps_among(head.receivers());
            let stream = Stream::new(subject, send.transaction, output, &header, sps, totals);
            stream.map_err(|error| {
                if is_whole {
                    self.release(hyp, vm, share);
                }
                HoldError::from(&error).status()
            })
        });
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(status) => {
                self.drop_draft(vm, share, slot);
                self.abandon_draft(hyp, vm, share);
                return Err(status);
            }
        };
        if is_whole {
            let stopped = self.send_ranges(hyp, &mut stream, self.in_order(vm, share));
            return self.ended(hyp, &stream, stopped, total_pages).map(Reply::handle);
        }
        let begun = self.send_head(hyp, &mut stream);
        match (begun, stream.handle()) {
            (Ok(()), Some(handle)) => {
                let unsent = Some(stream.unsent());
                let draft = Draft { share, handle: Some(handle), rest, total_pages, terms, unsent };
                let mut state = self.lock();
                let waits = state.engine.await_rest(vm, share);
                debug_assert_eq!(waits, Ok(()));
                self.ask_for_more(hyp, state, vm, slot, draft, regs)
            }
            (begun, _) => {
                self.drop_draft(vm, share, slot);
                let stopped = begun.err().unwrap_or(Stopped::Unsent);
                self.ended(hyp, &stream, stopped, 0).map(Reply::handle)
            }
        }
    }

    /// Checks all that can be of the first bytes of a descriptor without changing anything.
    fn read_first<'a>(
        &self,
        bytes: &'a [u8],
        total_len: u32,
        rules: &SendRules,
    ) -> Result<FirstFragment<'a>, Status> {
        let first = FirstFragment::parse(bytes, total_len, rules).map_err(|error| error.status())?;
        self.check_size(first.head.total_pages())?;
        Ok(first)
    }

    /// Reserves what a draft needs.
    ///
    /// # Errors
    /// The status for the guest; nothing has begun.
    #[expect(clippy::too_many_arguments, reason = "all that is known of it")]
    fn begin_draft(
        &self,
        state: &mut State<P, S>,
        vm: VmKey,
        head: &SendHead<'_>,
        rest: &Reassembly,
        terms: Terms,
        parties: Parties,
        waits: bool,
    ) -> Result<Begun, Status> {
        let record = state.record(vm)?;
        self.check_quota(record, head.total_pages())?;
        let vacant = |slot: &DraftSlot| slot.0.is_none();
        let slot = match record.drafts.as_mut() {
            _ if !waits => None,
            [] => return Err(Status::NotSupported),
            slots => Some(slots.iter().position(vacant).ok_or(Status::Busy)?),
        };
        record.ranges.try_reserve(rest.range_count() as usize).map_err(|_| Status::NoMemory)?;
        let handle = match parties.vms {
            0 => None,
            _ => Some(state.reserve_offer(parties.sps + parties.vms)?),
        };
        let (engine, record) = state.engine_and_record(vm)?;
        let begun = match (parties, terms.transaction) {
            (Parties { sps: 0, .. }, _) => engine.begin_loan(vm),
            (_, Transaction::Share | Transaction::Lend) => engine.begin_send(vm),
            (_, Transaction::Donate) => engine.begin_donation(vm),
        };
        let begun = begun.map_err(|error| status(&error))?;
        let share = begun.id;
        record.shares += 1;
        if let Some(slot) = slot.and_then(|slot| record.drafts.as_mut().get_mut(slot)) {
            let total_pages = head.total_pages();
            slot.0 = Some(Draft { share, handle: None, rest: *rest, total_pages, terms, unsent: None });
        }
        let offered = match handle {
            None => Ok(()),
            Some(handle) => {
                let loan =
                    if parties.sps == 0 { Ok(share) } else { engine.begin_loan(vm).map(|begun| begun.id) };
                loan.map_err(|error| status(&error)).map(|loan| {
                    state.begin_offer(handle, vm, (share, loan), terms.transaction, head);
                })
            }
        };
        Ok(Begun { share, slot, parties, take_reference: begun.take_reference, offered })
    }

    /// Reads the rest of a fragment, whose bytes in `tx` are `at`.
    #[expect(clippy::too_many_arguments, reason = "where from and where to")]
    fn collect(
        &self,
        hyp: &mut P,
        vm: VmKey,
        share: ShareId,
        rest: &mut Reassembly,
        tx: IpaRange,
        mut at: core::ops::Range<usize>,
        input: &mut [u8],
    ) -> Result<(), Status> {
        while !at.is_empty() {
            let len = at.len().min(PAGE_SIZE as usize);
            let bytes = input.get_mut(..len).ok_or(Status::NoMemory)?;
            let address = tx.base() + at.start as u64; // within TX
            hyp.read(vm.id(), address, bytes).map_err(|_| Status::InvalidParameters)?;
            let ranges = rest.take(bytes).map_err(|error| error.status())?;
            let mut state = self.lock();
            let record = state.record(vm)?;
            record.ranges.extend_draft(tag(share), ranges).map_err(|error| error.status())?;
            at.start += len;
        }
        Ok(())
    }

    /// Answers the guest with FFA_MEM_FRAG_RX, and ends the call.
    fn ask_for_more(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        slot: Option<usize>,
        draft: Draft,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let handle = draft.handle.ok_or(Status::Aborted)?;
        let record = state.record(vm)?;
        if let Some(slot) = slot.and_then(|slot| record.drafts.as_mut().get_mut(slot)) {
            slot.0 = Some(draft);
        }
        self.leave(hyp, state, vm);
        *regs = MemFragRx { handle, offset: draft.rest.offset(), endpoint: PartitionId(0) }.to_regs();
        Ok(Reply::InPlace)
    }

    #[inline(never)] // likewise
    pub(crate) fn mem_frag_tx(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        frag: MemFragTx,
        scratch: &mut Scratch,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let record = state.record(vm)?;
        if record.drafts.as_mut().is_empty() {
            return Err(Status::NotSupported);
        }
        let named = |slot: &DraftSlot| slot.0.is_some_and(|draft| draft.handle == Some(frag.handle));
        let slot = record.drafts.as_mut().iter().position(named).filter(|_| frag.endpoint == PartitionId(0));
        let slot = slot.ok_or(Status::InvalidParameters)?;
        let taken = record.drafts.as_mut().get_mut(slot).and_then(|slot| slot.0.as_mut());
        let Some(mut draft) = taken.map(|draft| {
            let copy = *draft;
            draft.handle = None;
            copy
        }) else {
            return Err(Status::InvalidParameters);
        };
        let tx = match record.mailbox {
            Mailbox::Mapped { buffers, .. } if u64::from(frag.fragment_len) <= buffers.tx.bytes() => {
                Ok(buffers.tx)
            }
            _ => Err(Status::InvalidParameters),
        };
        record.enter();
        drop(state);
        let Scratch { input, output } = scratch;
        let len = frag.fragment_len as usize;
        let collected = match tx {
            Ok(_) if len == 0 => Err(Status::InvalidParameters),
            Ok(tx) => self.collect(hyp, vm, draft.share, &mut draft.rest, tx, 0..len, input),
            Err(status) => Err(status),
        };
        let mut state = self.lock();
        if collected.is_ok() && !draft.rest.is_whole() {
            return self.ask_for_more(hyp, state, vm, Some(slot), draft, regs);
        }
        if let Err(status) = begin_rest(&mut state, vm, slot, &draft) {
            return self.refuse(hyp, state, vm, status);
        }
        drop(state);
        if let Err(status) = collected {
            self.drop_draft(vm, draft.share, None);
            self.cancel_draft(hyp, vm, draft.share);
            return Err(status);
        }
        let Draft { share, total_pages, terms, unsent, .. } = draft;
        if let Err(status) = self.hold_collected(hyp, vm, share, total_pages, terms) {
            self.cancel_draft(hyp, vm, share);
            return Err(status);
        }
        let Some(unsent) = unsent else { return self.offer(hyp, vm, share, total_pages) };
        let mut stream = Stream::rest((vm, share), terms.transaction, output, frag.handle, unsent);
        let stopped = self.send_ranges(hyp, &mut stream, self.in_order(vm, share));
        self.ended(hyp, &stream, stopped, total_pages).map(Reply::handle)
    }

    /// A guest without TX brings no more fragments: a driver that begins anew has forgotten what it had begun.
    #[cold]
    #[inline(never)]
    pub(crate) fn cancel_drafts(&self, hyp: &mut P, vm: VmKey) {
        let mut state = self.lock();
        let slots = state.record(vm).map_or(0, |record| record.drafts.as_mut().len());
        for slot in 0..slots {
            let Ok(record) = state.record(vm) else { return };
            let waits = record.drafts.as_mut().get(slot).and_then(|slot| slot.0);
            let Some(draft @ Draft { share, handle: Some(_), .. }) = waits else { continue };
            // Under the same lock: TX may be there again, and with it a call that goes on.
            if let (Ok(()), Ok(record)) = (begin_rest(&mut state, vm, slot, &draft), state.record(vm)) {
                record.enter();
                drop(state);
                self.untrack(vm, share);
                self.cancel_draft(hyp, vm, share);
                state = self.lock();
            }
        }
    }

    /// Tries once more to cancel a half-sent transaction that the guest has given up, or that could not be completed, if there
    /// is one left. The call that is in progress goes on.
    pub(crate) fn cancel_again(&self, hyp: &mut P, vm: VmKey) {
        let mut state = self.lock();
        let Some(share) = state.next_cancellation(vm) else { return };
        let Ok((engine, record)) = state.engine_and_record(vm) else { return };
        if engine.begin_rest(vm, share).is_err() {
            record.forget(share);
            return;
        }
        record.enter();
        drop(state);
        self.cancel(hyp, vm, share);
    }

    pub(crate) fn in_order(&self, vm: VmKey, share: ShareId) -> InOrder<'_, P, S> {
        self.in_order_from(vm, share, 0)
    }

    /// Likewise, from the range at `place` on.
    pub(crate) fn in_order_from(&self, vm: VmKey, share: ShareId, place: usize) -> InOrder<'_, P, S> {
        InOrder { mediator: self, vm, share, next: place, batch: ArrayVec::new() }
    }

    /// Holds the pages of all ranges that were collected, and zeroes them if that is wanted. Whatever may fail on the
    /// guest's side has been done when this returns.
    ///
    /// # Errors
    /// The status for the guest. Nothing is held, nor spoken for any more.
    fn hold_collected(
        &self,
        hyp: &mut P,
        vm: VmKey,
        share: ShareId,
        pages: u32,
        terms: Terms,
    ) -> Result<(), Status> {
        let mut held = 0;
        let all_held = self.seal(vm, share, pages).and_then(|()| {
            self.in_order(vm, share).try_for_each(|range| {
                let range = hyp.hold_for(share, vm.id(), range, terms.access, terms.owner(), |_| {});
                range.map_err(|error| HoldError::from(&error).status())?;
                held += 1;
                Ok(())
            })
        });
        if all_held.is_err() {
            if !hyp.release_share(vm.id(), share) {
                self.in_order(vm, share).take(held).for_each(|range| hyp.release(vm.id(), range));
            }
            self.untrack(vm, share);
        } else if terms.zeroed {
            self.in_order(vm, share).for_each(|range| hyp.zero(vm.id(), range));
        }
        all_held
    }

    /// From now on the pages are spoken for.
    fn seal(&self, vm: VmKey, share: ShareId, pages: u32) -> Result<(), Status> {
        let mut state = self.lock();
        let record = state.record(vm)?;
        let pages = self.check_pages(record, pages)?;
        record.ranges.seal(tag(share)).map_err(|error| error.status())?;
        record.pages = pages;
        Ok(())
    }

    /// Ends the call by what a transaction came to. Gives its handle if it is a share now.
    pub(crate) fn ended(
        &self,
        hyp: &mut P,
        stream: &Stream<'_>,
        stopped: Stopped,
        pages: u32,
    ) -> Result<Handle, Status> {
        let (vm, share) = stream.subject();
        if !matches!(stopped, Stopped::Judged(SendOutcome::Sent(_))) {
            self.lock().withdraw(vm, share);
        }
        match stopped {
            Stopped::Judged(SendOutcome::Sent(handle)) => {
                let mut state = self.lock();
                // Their order matters to VMs alone.
                let is_lent = state.offer(vm, share, handle);
                if let (false, Ok(record)) = (is_lent, state.record(vm)) {
                    record.ranges.settle(tag(share));
                }
                self.leave(hyp, state, vm);
                report(hyp, vm, Some(handle), EventKind::sent(stream.transaction(), pages));
                Ok(handle)
            }
            Stopped::Judged(SendOutcome::Spoilt) => {
                self.cancel(hyp, vm, share);
                Err(Status::Aborted)
            }
            Stopped::Judged(outcome) => Err(self.not_sent(hyp, self.lock(), vm, share, Ok(outcome), pages)),
            Stopped::Unsent if stream.has_told() => {
                self.cancel(hyp, vm, share);
                Err(Status::Busy)
            }
            Stopped::Unsent => {
                self.release(hyp, vm, share);
                self.untrack(vm, share);
                if stream.handle().is_some() {
                    self.cancel(hyp, vm, share);
                } else {
                    self.abandon(hyp, vm, share);
                }
                Err(Status::Busy)
            }
        }
    }

    /// Ends a call of a guest with VMs alone for receivers: offers what it has sent, or asks for what is missing.
    fn offer_draft(
        &self,
        hyp: &mut P,
        vm: VmKey,
        collected: Result<(), Status>,
        mut draft: Draft,
        slot: Option<usize>,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let Draft { share, total_pages, terms, .. } = draft;
        let held = match slot {
            Some(_) => collected,
            None => collected.and_then(|()| self.hold_collected(hyp, vm, share, total_pages, terms)),
        };
        if let Err(status) = held {
            self.drop_draft(vm, share, slot);
            self.abandon_draft(hyp, vm, share);
            return Err(status);
        }
        if slot.is_none() {
            return self.offer(hyp, vm, share, total_pages);
        }
        let mut state = self.lock();
        draft.handle = state.loans().terms(vm, share).map(|terms| terms.handle);
        self.ask_for_more(hyp, state, vm, slot, draft, regs)
    }

    /// Ends the call for a transaction that was never sent, and of which nothing is held any more.
    fn abandon_draft(&self, hyp: &mut P, vm: VmKey, share: ShareId) {
        let mut state = self.lock();
        if state.withdraw(vm, share) {
            self.leave(hyp, state, vm);
        } else {
            drop(state);
            self.abandon(hyp, vm, share);
        }
    }

    /// Cancels a half-sent transaction on which this call works, and ends the call.
    fn cancel_draft(&self, hyp: &mut P, vm: VmKey, share: ShareId) {
        let mut state = self.lock();
        if state.withdraw(vm, share) {
            self.leave(hyp, state, vm);
        } else {
            drop(state);
            self.cancel(hyp, vm, share);
        }
    }

    /// The header of a descriptor for the SPMC, of what SPs are to have of a transaction.
    fn header_for_sps(
        &self,
        vm: PartitionId,
        head: &SendHead<'_>,
        transaction: Transaction,
        parties: Parties,
    ) -> SendHeader {
        let header = self.header(vm, head);
        let is_lent_to_one = transaction == Transaction::Lend && parties.sps == 1 && parties.vms > 0;
        // Where there are several borrowers the lender says what it is, and where there is one nobody does.
        let attributes = if is_lent_to_one { MemoryAttributes::UNSPECIFIED } else { header.attributes };
        SendHeader { attributes, ..header }
    }

    /// The pages of a share are spoken for no more, which still is one.
    fn untrack(&self, vm: VmKey, share: ShareId) {
        if let Ok(record) = self.lock().record(vm) {
            let is_draft = record.ranges.run(tag(share)).first().is_some_and(|range| range.is_draft());
            let pages = record.ranges.remove(tag(share));
            record.pages = record.pages.saturating_sub(if is_draft { 0 } else { pages });
        }
    }

    /// Forgets what a guest has told of a share.
    fn drop_draft(&self, vm: VmKey, share: ShareId, slot: Option<usize>) {
        self.untrack(vm, share);
        if let Ok(record) = self.lock().record(vm) {
            if let Some(slot) = slot.and_then(|slot| record.drafts.as_mut().get_mut(slot)) {
                *slot = DraftSlot::VACANT;
            }
        }
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// A half-sent transaction of which the guest brings no more, and on which no call works.
    fn next_cancellation(&mut self, vm: VmKey) -> Option<ShareId> {
        let (engine, record) = self.engine_and_record(vm).ok()?;
        if !record.owes_cancellations {
            return None;
        }
        let drafts = record.drafts.as_ref();
        let is_draft = |share| drafts.iter().any(|slot| slot.0.is_some_and(|draft| draft.share == share));
        let next = engine.obligations(vm).find_map(|owed| match (owed.subject, owed.progress) {
            (Subject::HalfSent { share, .. }, Progress::Owed) if !is_draft(share) => Some(share),
            _ => None,
        });
        record.owes_cancellations = next.is_some();
        next
    }
}

impl<P: VmReferences, R: RangeStore, C, F: AsMut<[DraftSlot]>> Record<P, R, C, F> {
    /// Forgets what a dead guest has told of shares. The engine cancels them.
    pub(crate) fn drop_drafts(&mut self) {
        for slot in self.drafts.as_mut() {
            if let Some(draft) = slot.0.take() {
                self.ranges.remove(tag(draft.share));
            }
        }
    }
}
