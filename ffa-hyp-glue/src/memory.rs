//! FFA_MEM_SHARE, and what FFA_MEM_LEND and FFA_MEM_DONATE have in common with it.

use ffa_abi::{Answer, Function, Handle, MemSend, PartitionId, Regs, Status, Transaction, Version};
use ffa_mem::{
    BuildError, DataAccess, IpaRange, PAGE_SIZE, Receiver, Receivers, SendBuilder, SendDescriptor, SendFlags,
    SendHead, SendHeader, SendRules, SendTotals,
};
use ffa_teardown::{Begun, Disposal, SendOutcome, ShareId, Unexpected, VmKey};

use crate::dispatch::Reply;
use crate::mediator::{Guard, RecordOf, State};
use crate::message::status;
use crate::reclaim::resume;
use crate::record::{Mailbox, tag};
use crate::spmc::send_width;
use crate::stream::Stream;
use crate::{
    Access, Case, Compat, Event, EventKind, Mediator, OwnerAccess, PageError, Platform, Relation, Scratch,
    Stores,
};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    #[expect(clippy::too_many_arguments, reason = "the parts of one call, which have no life of their own")]
    pub(crate) fn mem_send(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        send: MemSend,
        scratch: &mut Scratch,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let tx = check_lengths(&send)
            .and_then(|()| begin_reading(state, vm, send.fragment_len))
            .map_err(|error| error.status(self.settings.compat, Function::MemShare))?;
        if send.fragment_len != send.total_len {
            return self.mem_send_in_parts(hyp, vm, version, send, tx, scratch, regs);
        }
        let Scratch { input, output } = scratch;
        let descriptor = match self.receive(hyp, vm.id(), version, tx, send.fragment_len, input) {
            Ok(descriptor) => descriptor,
            // More than there is room for here.
            Err(_) if u64::from(send.fragment_len) > PAGE_SIZE => {
                return self.mem_send_in_parts(hyp, vm, version, send, tx, scratch, regs);
            }
            Err(status) => return self.refuse(hyp, self.lock(), vm, status),
        };
        let mut state = self.lock();
        if self.check_receivers(hyp, &state, vm, descriptor.receivers()).is_err() {
            return self.share_otherwise(hyp, state, vm, send.fragment_len, scratch);
        }
        let (begun, tracked) = match self.begin_share(&mut state, vm, &descriptor) {
            Ok(begun) => begun,
            Err(_) => return self.share_otherwise(hyp, state, vm, send.fragment_len, scratch),
        };
        let share = begun.id;
        drop(state);
        // Also for a share that is refused: the engine does not ask a second time.
        self.take_reference(hyp, vm, begun.take_reference);
        let held = match tracked {
            Ok(()) => self.hold(hyp, vm.id(), share, &descriptor, output),
            Err(status) => Err((HoldError::Untracked(status), 0)),
        };
        match held {
            Ok(len) => self.send(hyp, vm, share, output.get(..len).unwrap_or_default(), &descriptor),
            Err((HoldError::Scattered, held)) => self.send_large(hyp, vm, share, descriptor, held, output),
            Err((error, held)) => {
                self.undo(hyp, vm, share, descriptor.ranges().take(held));
                Err(error.status())
            }
        }
    }

    /// What is lent or donated goes the way of fragments, whatever its size: a share pays for nothing that only these need.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "those of every send")]
    pub(crate) fn mem_lend_or_donate(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        send: MemSend,
        scratch: &mut Scratch,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let tx = check_lengths(&send)
            .and_then(|()| begin_reading(state, vm, send.fragment_len))
            .map_err(|error| error.status(self.settings.compat, send.transaction.function()))?;
        self.mem_send_in_parts(hyp, vm, version, send, tx, scratch, regs)
    }

    /// Ends a call of which nothing has begun.
    #[cold]
    pub(crate) fn refuse<T>(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        status: Status,
    ) -> Result<T, Status> {
        self.leave(hyp, state, vm);
        Err(status)
    }

    /// Ends what transactions of the guest are over but for a call or a note of it, before it begins another one.
    #[cold]
    #[inline(never)]
    pub(crate) fn make_room(&self, hyp: &mut P, vm: VmKey) {
        self.cancel_again(hyp, vm);
        self.end_lost_donations(hyp, vm);
    }

    /// Ends the call for a share of which no more than `held` could be held.
    #[cold]
    fn undo(&self, hyp: &mut P, vm: VmKey, share: ShareId, held: impl Iterator<Item = IpaRange>) {
        if !hyp.release_share(vm.id(), share) {
            for range in held {
                hyp.release(vm.id(), range);
            }
        }
        self.abandon(hyp, vm, share);
    }

    /// Copies a guest's descriptor, once, and checks it by itself.
    fn receive<'a>(
        &self,
        hyp: &mut P,
        vm: PartitionId,
        version: Version,
        tx: IpaRange,
        len: u32,
        input: &'a mut [u8],
    ) -> Result<SendDescriptor<'a>, Status> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = input.get_mut(..len).ok_or(Status::NoMemory)?;
        hyp.read(vm, tx.base(), bytes).map_err(|_| Status::InvalidParameters)?;
        let rules = SendRules { version, transaction: Transaction::Share, sender: vm };
        let bytes = &*bytes;
        let descriptor = SendDescriptor::parse(bytes, &rules)
            .map_err(|error| self.settings.compat.descriptor_status(error.status(), bytes, &rules))?;
        self.check_size(descriptor.total_pages())?;
        Ok(descriptor)
    }

    /// Whether the guest may share with these.
    #[inline(always)] // of every share
    pub(crate) fn check_receivers(
        &self,
        hyp: &mut P,
        state: &State<P, S>,
        vm: VmKey,
        mut receivers: impl Iterator<Item = Receiver>,
    ) -> Result<(), Status> {
        let sps = state.partitions.records();
        // Another guest, an SP that does not exist and one that is hidden look the same.
        let refused = receivers.find(|receiver| {
            sps.iter().all(|sp| sp.id != receiver.id) || !hyp.permits(vm.id(), Relation::Share, receiver.id)
        });
        match refused {
            Some(receiver) => Err(self.not_there(Function::MemShare, receiver.id)),
            None => Ok(()),
        }
    }

    /// Whether one share may have so many pages.
    #[inline(always)] // of every share
    pub(crate) fn check_size(&self, pages: u32) -> Result<(), Status> {
        if pages > self.settings.pages_per_share {
            return Err(Status::NoMemory);
        }
        Ok(())
    }

    /// Whether the VM may have one more share, of so many pages. Gives how many it has in shares then.
    #[inline(always)] // of every share
    pub(crate) fn check_quota(&self, record: &RecordOf<P, S>, pages: u32) -> Result<u64, Status> {
        if record.shares >= self.settings.shares_per_vm {
            return Err(Status::NoMemory);
        }
        self.check_pages(record, pages)
    }

    /// Whether the VM may have so many more pages in shares. Gives how many it has then.
    #[inline(always)] // of every share
    pub(crate) fn check_pages(&self, record: &RecordOf<P, S>, pages: u32) -> Result<u64, Status> {
        // No share has more than the limit of all, so the sum does not wrap.
        let sum = record.pages.wrapping_add(pages.into());
        if sum > u64::from(self.settings.pages_per_vm) { Err(Status::NoMemory) } else { Ok(sum) }
    }

    /// Reserves all that the share will need, and keeps its pages from being offered again. Says beside what has begun
    /// whether that could be; nothing has begun after an error.
    fn begin_share(
        &self,
        state: &mut State<P, S>,
        vm: VmKey,
        descriptor: &SendDescriptor<'_>,
    ) -> Result<(Begun<ShareId>, Result<(), Status>), Status> {
        let (engine, record) = state.engine_and_record(vm)?;
        let pages = self.check_quota(record, descriptor.total_pages())?;
        let begun = engine.begin_send(vm).map_err(|error| status(&error))?;
        record.shares += 1;
        let tracked = record.ranges.insert(tag(begun.id), descriptor.ranges());
        if tracked.is_ok() {
            record.pages = pages;
        }
        Ok((begun, tracked.map_err(|error| error.status())))
    }

    /// Holds the pages and builds the descriptor of what is physically behind them. Returns its length.
    ///
    /// # Errors
    /// Why the guest is refused, and how many ranges are held.
    fn hold(
        &self,
        hyp: &mut P,
        vm: PartitionId,
        share: ShareId,
        descriptor: &SendDescriptor<'_>,
        output: &mut [u8],
    ) -> Result<usize, (HoldError, usize)> {
        let header = SendHeader {
            version: self.spmc.version(),
            sender: vm,
            attributes: descriptor.attributes(),
            flags: SendFlags::NONE,
            tag: descriptor.tag(),
        };
        let mut builder = SendBuilder::new(output, &header, descriptor.receivers())
            .map_err(|error| (HoldError::from(&error), 0))?;
        let access = access(descriptor.receivers());
        for (held, range) in descriptor.ranges().enumerate() {
            let mut built = Ok(());
            hyp.hold_for(share, vm, range, access, OwnerAccess::Kept, |run| {
                if built.is_ok() {
                    built = builder.push(run);
                }
            })
            .map_err(|error| (HoldError::from(&error), held))?;
            built.map_err(|error| (HoldError::from(&error), held + 1))?;
        }
        builder.finish().map_err(|error| (HoldError::from(&error), descriptor.ranges().count()))
    }

    /// Sends what is physically behind a descriptor in fragments, since it does not fit one. Some of its ranges are `held`.
    #[cold]
    #[inline(never)] // its locals are not to be on the stack of every share
    fn send_large(
        &self,
        hyp: &mut P,
        vm: VmKey,
        share: ShareId,
        descriptor: SendDescriptor<'_>,
        mut held: usize,
        output: &mut [u8],
    ) -> Result<Reply, Status> {
        let access = access(descriptor.receivers());
        let mut rest = descriptor.ranges().skip(held);
        let all_held = rest.try_for_each(|range| {
            hyp.hold_for(share, vm.id(), range, access, OwnerAccess::Kept, |_| {})
                .map_err(|error| HoldError::from(&error))?;
            held += 1;
            Ok(())
        });
        if let Err(error) = all_held {
            self.undo(hyp, vm, share, descriptor.ranges().take(held));
            return Err(HoldError::status(error));
        }
        let ranges = self.count_runs(hyp, vm.id(), descriptor.ranges());
        let totals = SendTotals { pages: descriptor.total_pages(), ranges };
        let head = descriptor.head();
        let header = self.header(vm.id(), &head);
        match Stream::new((vm, share), Transaction::Share, output, &header, head.receivers(), totals) {
            Ok(mut stream) => {
                let stopped = self.send_ranges(hyp, &mut stream, descriptor.ranges());
                self.ended(hyp, &stream, stopped, descriptor.total_pages()).map(Reply::handle)
            }
            Err(error) => {
                self.undo(hyp, vm, share, descriptor.ranges());
                Err(HoldError::from(&error).status())
            }
        }
    }

    /// The header of a descriptor for the SPMC that says the same as `head`.
    #[inline(always)] // of every share
    pub(crate) fn header(&self, vm: PartitionId, head: &SendHead<'_>) -> SendHeader {
        SendHeader {
            version: self.spmc.version(),
            sender: vm,
            attributes: head.attributes(),
            // What is to be zeroed is zeroed by ourselves: some SPMCs refuse to, and some do not.
            flags: SendFlags::NONE,
            tag: head.tag(),
        }
    }

    /// Makes the call, and commits or rolls back by its answer.
    fn send(
        &self,
        hyp: &mut P,
        vm: VmKey,
        share: ShareId,
        bytes: &[u8],
        descriptor: &SendDescriptor<'_>,
    ) -> Result<Reply, Status> {
        if !self.take_tx() {
            return self.busy(hyp, vm, share);
        }
        hyp.write_tx(bytes);
        let call = MemSend {
            width: send_width(self.spmc.abilities(), Transaction::Share),
            transaction: Transaction::Share,
            total_len: bytes.len() as u32,
            fragment_len: bytes.len() as u32,
            address: 0,
            pages: 0,
        };
        let mut regs = hyp.call(&call.to_regs());
        let (outcome, state) = loop {
            let now = hyp.now();
            let answer = Answer::from_regs(&regs);
            let mut state = self.lock();
            match state.engine.send_answered(vm, share, &answer, now) {
                Ok(SendOutcome::Resume(target)) => {
                    drop(state);
                    regs = resume(hyp, target);
                }
                outcome => break (outcome, state),
            }
        };
        self.tx_read();
        let pages = descriptor.total_pages();
        match outcome {
            Ok(SendOutcome::Sent(handle)) => {
                self.leave(hyp, state, vm);
                report(hyp, vm, Some(handle), EventKind::Shared { pages });
                Ok(Reply::handle(handle))
            }
            outcome => Err(self.not_sent(hyp, state, vm, share, outcome, pages)),
        }
    }

    /// Another CPU's descriptor is in our TX page: this share was never sent.
    #[cold]
    fn busy<T>(&self, hyp: &mut P, vm: VmKey, share: ShareId) -> Result<T, Status> {
        self.release(hyp, vm, share);
        self.abandon(hyp, vm, share);
        Err(Status::Busy)
    }

    /// Ends the call for a share of `pages` that the secure world has not taken, or not certainly. Returns the status for
    /// the guest.
    #[cold]
    pub(crate) fn not_sent(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        share: ShareId,
        outcome: Result<SendOutcome, Unexpected>,
        pages: u32,
    ) -> Status {
        match outcome {
            Ok(SendOutcome::Refused(status)) => {
                self.release_and_leave(hyp, state, vm, share);
                status.for_guest()
            }
            Ok(SendOutcome::Unknown { handle }) => {
                drop(state);
                report(hyp, vm, handle, EventKind::Doubtful { pages });
                if handle.is_none() {
                    self.quarantine(hyp, vm, share, pages);
                }
                self.leave(hyp, self.lock(), vm);
                Status::Aborted
            }
            Ok(_) | Err(_) => {
                self.leave(hyp, state, vm);
                Status::Aborted
            }
        }
    }

    /// Reports that nobody can ask for a live guest's share, and hands its pages over if they are to be.
    #[cold]
    pub(crate) fn quarantine(&self, hyp: &mut P, vm: VmKey, share: ShareId, pages: u32) {
        if self.settings.teardown.disposal == Disposal::HandOver {
            self.hand_over(hyp, vm, share);
        }
        report(hyp, vm, None, EventKind::Quarantined { pages });
    }

    /// Ends the call for a share that was never sent, and of which nothing is held any more.
    pub(crate) fn abandon(&self, hyp: &mut P, vm: VmKey, share: ShareId) {
        let mut state = self.lock();
        let Ok((engine, record)) = state.engine_and_record(vm) else { return };
        let abandoned = engine.abandon_send(vm, share);
        debug_assert_eq!(abandoned, Ok(()));
        record.forget(share);
        if record.leave() {
            self.begin_teardown(hyp, state, vm);
        }
    }
}

/// How receivers may access the pages, all together.
#[inline(always)] // of every share
pub(crate) fn access(mut receivers: Receivers<'_>) -> Access {
    let writable = receivers.any(|receiver| receiver.permissions.data != DataAccess::ReadOnly);
    if writable { Access::ReadWrite } else { Access::ReadOnly }
}

/// What the registers alone tell of a descriptor.
fn check_lengths(send: &MemSend) -> Result<(), TxError> {
    if send.address != 0 || send.pages != 0 || send.fragment_len > send.total_len {
        Err(if send.address != 0 { TxError::OtherBuffer } else { TxError::Lengths })
    } else {
        Ok(())
    }
}

/// The TX buffer, which has room for `len` bytes. The VM is not torn down before it is read.
fn begin_reading<P: Platform, S: Stores<P>>(
    mut state: Guard<'_, P, S>,
    vm: VmKey,
    len: u32,
) -> Result<IpaRange, TxError> {
    let record = state.record(vm).map_err(|_| TxError::VmIsGone)?;
    match record.mailbox {
        Mailbox::Mapped { buffers, .. } if u64::from(len) <= buffers.tx.bytes() => {
            record.enter();
            Ok(buffers.tx)
        }
        Mailbox::Unmapped => Err(TxError::NoTx),
        Mailbox::Mapped { .. } | Mailbox::Changing => Err(TxError::Lengths),
    }
}

pub(crate) fn report<P: Platform>(hyp: &mut P, vm: VmKey, handle: Option<Handle>, kind: EventKind) {
    hyp.event(&Event { handle, ..Event::new(vm.id(), kind) });
}

/// Why there is nothing to be read in TX.
#[derive(Clone, Copy, Debug)]
enum TxError {
    VmIsGone,
    /// The descriptor is said to be elsewhere.
    OtherBuffer,
    NoTx,
    /// The lengths do not fit each other, or TX.
    Lengths,
}

impl TxError {
    #[cold]
    fn status(self, compat: Compat, function: Function) -> Status {
        let case = match self {
            Self::VmIsGone => return Status::Denied,
            Self::Lengths => return Status::InvalidParameters,
            Self::OtherBuffer => Case::OtherBuffer,
            Self::NoTx => Case::NoTx,
        };
        compat.status(function, case, Status::InvalidParameters)
    }
}

/// Why pages are not held, or what is physically behind them is not described to the SPMC.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HoldError {
    NotOwned,
    NoMemory,
    /// It has more pieces than fit one fragment.
    Scattered,
    Malformed,
    /// They are spoken for, or there is no room to say so.
    Untracked(Status),
}

impl HoldError {
    #[cold]
    pub(crate) fn status(self) -> Status {
        match self {
            Self::NotOwned => Status::Denied,
            Self::NoMemory | Self::Scattered => Status::NoMemory,
            Self::Malformed => Status::InvalidParameters,
            Self::Untracked(status) => status,
        }
    }
}

impl From<&PageError> for HoldError {
    #[cold]
    fn from(error: &PageError) -> Self {
        match error {
            PageError::NotOwned { .. } => Self::NotOwned,
            PageError::NoResources => Self::NoMemory,
        }
    }
}

impl From<&BuildError> for HoldError {
    #[cold]
    fn from(error: &BuildError) -> Self {
        match error {
            BuildError::BufferFull => Self::Scattered,
            BuildError::Receivers { .. } | BuildError::NoRanges | BuildError::TotalPages => Self::Malformed,
            _ => Self::NoMemory,
        }
    }
}
