//! FFA_MEM_SHARE and FFA_MEM_RECLAIM.

use ffa_abi::{
    Answer, Call, Function, Handle, MemReclaim, MemSend, PartitionId, ReclaimFlags, Regs, RunTarget, Status,
    Transaction, Version,
};
use ffa_mem::{BuildError, DataAccess, IpaRange, SendBuilder, SendDescriptor, SendHeader, SendRules};
use ffa_teardown::{BeginError, Begun, Disposal, ReclaimOutcome, SendOutcome, ShareId, Unexpected, VmKey};

use crate::dispatch::Reply;
use crate::mediator::{Guard, State, refusal};
use crate::message::status;
use crate::record::{Mailbox, tag};
use crate::spmc::share_width;
use crate::{
    Access, Case, Compat, Event, EventKind, Mediator, PageError, Platform, Relation, Scratch, Stores,
};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn mem_send(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        send: MemSend,
        scratch: &mut Scratch,
    ) -> Result<Reply, Status> {
        let tx = check_lengths(&send)
            .and_then(|()| begin_reading(state, vm, send.fragment_len))
            .map_err(|error| error.status(self.settings.compat))?;
        let Scratch { input, output } = scratch;
        let descriptor = match self.receive(hyp, vm.id(), version, tx, send.fragment_len, input) {
            Ok(descriptor) => descriptor,
            Err(status) => return self.refuse(hyp, self.lock(), vm, status),
        };
        let mut state = self.lock();
        let sps = state.partitions.records();
        // Another guest, an SP that does not exist and one that is hidden look the same.
        let refused = descriptor.receivers().find(|receiver| {
            sps.iter().all(|sp| sp.id != receiver.id) || !hyp.permits(vm.id(), Relation::Share, receiver.id)
        });
        if let Some(receiver) = refused {
            return self.refuse(hyp, state, vm, self.not_there(Function::MemShare, receiver.id));
        }
        let (begun, tracked) = match self.begin_share(&mut state, vm, &descriptor) {
            Ok(begun) => begun,
            Err(status) => return self.refuse(hyp, state, vm, status),
        };
        let share = begun.id;
        drop(state);
        // Also for a share that is refused: the engine does not ask a second time.
        self.take_reference(hyp, vm, begun.take_reference);
        let held = match tracked {
            Ok(()) => self
                .hold(hyp, vm.id(), share, &descriptor, output)
                .map_err(|(error, held)| (error.status(self.settings.compat), held)),
            Err(status) => Err((status, 0)),
        };
        match held {
            Ok(len) => self.send(hyp, vm, share, output.get(..len).unwrap_or_default(), &descriptor),
            Err((status, held)) => {
                self.undo(hyp, vm, share, descriptor.ranges().take(held));
                Err(status)
            }
        }
    }

    /// Ends a call of which nothing has begun.
    #[cold]
    fn refuse<T>(&self, hyp: &mut P, state: Guard<'_, P, S>, vm: VmKey, status: Status) -> Result<T, Status> {
        self.leave(hyp, state, vm);
        Err(status)
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
        if descriptor.total_pages() > self.settings.pages_per_share {
            return Err(Status::NoMemory);
        }
        Ok(descriptor)
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
        let pages = record.pages + u64::from(descriptor.total_pages());
        if record.shares >= self.settings.shares_per_vm || pages > u64::from(self.settings.pages_per_vm) {
            return Err(Status::NoMemory);
        }
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
            flags: descriptor.flags(),
            tag: descriptor.tag(),
        };
        let mut builder = SendBuilder::new(output, &header, descriptor.receivers())
            .map_err(|error| (HoldError::from(&error), 0))?;
        let writable =
            descriptor.receivers().any(|receiver| receiver.permissions.data != DataAccess::ReadOnly);
        let access = if writable { Access::ReadWrite } else { Access::ReadOnly };
        for (held, range) in descriptor.ranges().enumerate() {
            let mut built = Ok(());
            hyp.hold_for(share, vm, range, access, |run| {
                if built.is_ok() {
                    built = builder.push(run);
                }
            })
            .map_err(|error| match error {
                PageError::NotOwned { .. } => (HoldError::NotOwned, held),
                PageError::NoResources => (HoldError::NoMemory, held),
            })?;
            built.map_err(|error| (HoldError::from(&error), held + 1))?;
        }
        builder.finish().map_err(|error| (HoldError::from(&error), descriptor.ranges().count()))
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
            width: share_width(self.spmc.abilities()),
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
                let [low, high] = handle.words();
                Ok(Reply::Success { w2: low as u32, w3: high as u32 })
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
    fn not_sent(
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
                    if self.settings.teardown.disposal == Disposal::HandOver {
                        self.hand_over(hyp, vm, share);
                    }
                    report(hyp, vm, None, EventKind::Quarantined { pages });
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

    /// Ends the call for a share that was never sent, and of which nothing is held any more.
    fn abandon(&self, hyp: &mut P, vm: VmKey, share: ShareId) {
        let mut state = self.lock();
        let Ok((engine, record)) = state.engine_and_record(vm) else { return };
        let abandoned = engine.abandon_send(vm, share);
        debug_assert_eq!(abandoned, Ok(()));
        record.forget(share);
        if record.leave() {
            self.begin_teardown(hyp, state, vm);
        }
    }

    /// Gives the pages of a share back that the secure world let go of, only then forgets it, and ends the call. Returns
    /// the number of pages.
    #[inline(always)] // a reclaim is hardly more than this
    fn release_and_leave(&self, hyp: &mut P, state: Guard<'_, P, S>, vm: VmKey, share: ShareId) -> u32 {
        drop(state);
        self.release(hyp, vm, share);
        let mut state = self.lock();
        let Ok(record) = state.released(vm, share) else { return 0 };
        let pages = record.forget(share);
        if record.leave() {
            self.begin_teardown(hyp, state, vm);
        }
        pages
    }

    pub(crate) fn mem_reclaim(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        reclaim: MemReclaim,
    ) -> Result<Reply, Status> {
        if reclaim.flags.contains(ReclaimFlags::TIME_SLICE) {
            return Err(Status::InvalidParameters);
        }
        let (engine, record) = state.engine_and_record(vm)?;
        let begun = engine.begin_reclaim(vm, reclaim.handle);
        let (share, resumed) = begun.map_err(|error| reclaim_status(&error))?;
        record.enter();
        drop(state);
        let mut regs = match resumed {
            None => hyp.call(&reclaim.to_regs()),
            Some(target) => resume(hyp, target),
        };
        loop {
            let answer = Answer::from_regs(&regs);
            let mut state = self.lock();
            let refused = match state.engine.reclaim_answered(vm, share, &answer) {
                Ok(ReclaimOutcome::Confirmed) => {
                    let pages = self.release_and_leave(hyp, state, vm, share);
                    report(hyp, vm, Some(reclaim.handle), EventKind::Released { pages });
                    return Ok(Reply::DONE);
                }
                Ok(ReclaimOutcome::Resume(target)) => {
                    drop(state);
                    regs = resume(hyp, target);
                    continue;
                }
                Ok(ReclaimOutcome::Refused(status)) => status.for_guest(),
                Err(_) => refusal(&answer),
            };
            self.leave(hyp, state, vm);
            return Err(refused);
        }
    }
}

/// What the registers alone tell of a descriptor.
fn check_lengths(send: &MemSend) -> Result<(), TxError> {
    if send.address != 0 || send.pages != 0 || send.fragment_len > send.total_len {
        Err(if send.address != 0 { TxError::OtherBuffer } else { TxError::Lengths })
    } else if send.fragment_len != send.total_len {
        Err(TxError::InParts)
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

fn report<P: Platform>(hyp: &mut P, vm: VmKey, handle: Option<Handle>, kind: EventKind) {
    hyp.event(&Event { handle, ..Event::new(vm.id(), kind) });
}

/// Lets the secure partition go on that was preempted in a call.
#[cold]
fn resume<P: Platform>(hyp: &mut P, target: RunTarget) -> Regs {
    hyp.call(&Call::Run(target).to_regs())
}

/// What a guest is told of a share that it cannot reclaim.
#[cold]
fn reclaim_status(error: &BeginError) -> Status {
    match error {
        // A foreign handle and an unknown one look the same.
        BeginError::NotFound => Status::InvalidParameters,
        _ => status(error),
    }
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
    /// There are to be more fragments.
    InParts,
}

impl TxError {
    #[cold]
    fn status(self, compat: Compat) -> Status {
        let case = match self {
            Self::VmIsGone => return Status::Denied,
            Self::Lengths => return Status::InvalidParameters,
            Self::InParts => return Status::NotSupported,
            Self::OtherBuffer => Case::OtherBuffer,
            Self::NoTx => Case::NoTx,
        };
        compat.status(Function::MemShare, case, Status::InvalidParameters)
    }
}

/// Why pages are not held, or what is physically behind them is not described to the SPMC.
#[derive(Clone, Copy, Debug)]
enum HoldError {
    NotOwned,
    NoMemory,
    /// It has more pieces than fit.
    Scattered,
    Malformed,
}

impl HoldError {
    #[cold]
    fn status(self, compat: Compat) -> Status {
        match self {
            Self::NotOwned => Status::Denied,
            Self::NoMemory => Status::NoMemory,
            Self::Scattered => compat.status(Function::MemShare, Case::Scattered, Status::NoMemory),
            Self::Malformed => Status::InvalidParameters,
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
