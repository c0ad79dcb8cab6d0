//! FFA_MEM_SHARE and FFA_MEM_RECLAIM.

use core::sync::atomic::Ordering;

use ffa_abi::{
    Answer, Call, Handle, MemReclaim, MemSend, PartitionId, ReclaimFlags, Status, Transaction, Version,
};
use ffa_mem::{BuildError, DataAccess, IpaRange, SendBuilder, SendDescriptor, SendHeader, SendRules};
use ffa_teardown::{BeginError, Begun, ReclaimOutcome, SendOutcome, ShareId, VmKey};

use crate::mediator::{Guard, Reply, State, refusal};
use crate::message::status;
use crate::record::{Mailbox, tag};
use crate::spmc::share_width;
use crate::{Access, Event, EventKind, Mediator, PageError, Platform, Scratch, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn mem_send(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        send: MemSend,
        scratch: &mut Scratch,
    ) -> Result<Handle, Status> {
        let tx = check_lengths(&send).and_then(|()| begin_reading(state, vm, send.fragment_len))?;
        let Scratch { input, output } = scratch;
        let len = usize::try_from(send.fragment_len).unwrap_or(usize::MAX);
        // The one copy of the guest's descriptor.
        let copied = match input.get_mut(..len) {
            None => Err(Status::NoMemory),
            Some(bytes) => match hyp.read(vm.id(), tx.base(), bytes) {
                Ok(()) => Ok(&*bytes),
                Err(_) => Err(Status::InvalidParameters),
            },
        };
        let rules = SendRules { version, transaction: Transaction::Share, sender: vm.id() };
        let checked = copied.and_then(|bytes| self.check(bytes, &rules));
        let mut state = self.lock();
        let begun =
            checked.and_then(|descriptor| self.begin_share(&mut state, vm).map(|begun| (descriptor, begun)));
        let (descriptor, begun) = match begun {
            Ok(begun) => begun,
            Err(status) => {
                self.leave(hyp, state, vm);
                return Err(status);
            }
        };
        let share = begun.id;
        let tracked = track(&mut state, vm, share, &descriptor);
        drop(state);
        // Also for a share that is refused: the engine does not ask a second time.
        self.take_reference(hyp, vm, begun.take_reference);
        if let Err(status) = tracked {
            let mut state = self.lock();
            forget(&mut state, vm, share);
            self.leave(hyp, state, vm);
            return Err(status);
        }
        match self.hold(hyp, vm.id(), &descriptor, output) {
            Ok(len) => self.send(hyp, vm, share, output.get(..len).unwrap_or_default(), &descriptor),
            Err((status, held)) => {
                for range in descriptor.ranges().take(held) {
                    hyp.release(vm.id(), range);
                }
                let mut state = self.lock();
                forget(&mut state, vm, share);
                self.leave(hyp, state, vm);
                Err(status)
            }
        }
    }

    /// All that can be checked without changing anything.
    fn check<'a>(&self, bytes: &'a [u8], rules: &SendRules) -> Result<SendDescriptor<'a>, Status> {
        let descriptor = SendDescriptor::parse(bytes, rules).map_err(|error| error.status())?;
        for receiver in descriptor.receivers() {
            // Another guest, an SP that does not exist and one that is hidden look the same.
            self.spmc.partition(receiver.id).ok_or(Status::InvalidParameters)?;
        }
        if descriptor.total_pages() > self.settings.pages_per_share {
            return Err(Status::NoMemory);
        }
        Ok(descriptor)
    }

    /// Reserves all that the share will need but its ranges. Nothing has changed after an error.
    fn begin_share(&self, state: &mut State<P, S>, vm: VmKey) -> Result<Begun<ShareId>, Status> {
        if state.record(vm)?.shares >= self.settings.shares_per_vm {
            return Err(Status::NoMemory);
        }
        let begun = state.engine.begin_send(vm).map_err(|error| status(&error))?;
        state.record(vm)?.shares += 1;
        Ok(begun)
    }

    /// Holds the pages and builds the descriptor of what is physically behind them. Returns its length.
    ///
    /// # Errors
    /// The status for the guest, and how many ranges are held.
    fn hold(
        &self,
        hyp: &mut P,
        vm: PartitionId,
        descriptor: &SendDescriptor<'_>,
        output: &mut [u8],
    ) -> Result<usize, (Status, usize)> {
        let header = SendHeader {
            version: self.spmc.version(),
            sender: vm,
            attributes: descriptor.attributes(),
            flags: descriptor.flags(),
            tag: descriptor.tag(),
        };
        let mut builder = SendBuilder::new(output, &header, descriptor.receivers())
            .map_err(|error| (build_status(&error), 0))?;
        let writable =
            descriptor.receivers().any(|receiver| receiver.permissions.data != DataAccess::ReadOnly);
        let access = if writable { Access::ReadWrite } else { Access::ReadOnly };
        for (held, range) in descriptor.ranges().enumerate() {
            let mut built = Ok(());
            hyp.hold(vm, range, access, |run| {
                if built.is_ok() {
                    built = builder.push(run);
                }
            })
            .map_err(|error| match error {
                PageError::NotOwned { .. } => (Status::Denied, held),
                PageError::NoResources => (Status::NoMemory, held),
            })?;
            built.map_err(|error| (build_status(&error), held + 1))?;
        }
        builder.finish().map_err(|error| (build_status(&error), descriptor.ranges().count()))
    }

    /// Makes the call, and commits or rolls back by its answer.
    fn send(
        &self,
        hyp: &mut P,
        vm: VmKey,
        share: ShareId,
        bytes: &[u8],
        descriptor: &SendDescriptor<'_>,
    ) -> Result<Handle, Status> {
        if self.tx_busy.swap(true, Ordering::Acquire) {
            // Another CPU's descriptor is in our TX page: this one was never sent.
            let mut state = self.lock();
            let abandoned = state.engine.abandon_send(vm, share);
            debug_assert_eq!(abandoned, Ok(()));
            let (_, state) = self.release(hyp, state, vm, share);
            self.leave(hyp, state, vm);
            return Err(Status::Busy);
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
                    regs = hyp.call(&Call::Run(target).to_regs());
                }
                outcome => break (outcome, state),
            }
        };
        self.tx_busy.store(false, Ordering::Release);
        let pages = descriptor.total_pages();
        match outcome {
            Ok(SendOutcome::Sent(handle)) => {
                self.leave(hyp, state, vm);
                report(hyp, vm, Some(handle), EventKind::Shared { pages });
                Ok(handle)
            }
            Ok(SendOutcome::Refused(status)) => {
                let (_, state) = self.release(hyp, state, vm, share);
                self.leave(hyp, state, vm);
                Err(status.for_guest())
            }
            Ok(SendOutcome::Unknown { handle }) => {
                drop(state);
                report(hyp, vm, handle, EventKind::Doubtful { pages });
                if handle.is_none() {
                    let pages = self.quarantine(hyp, vm, share);
                    report(hyp, vm, None, EventKind::Quarantined { pages });
                }
                self.leave(hyp, self.lock(), vm);
                Err(Status::Aborted)
            }
            Ok(SendOutcome::Resume(_)) | Err(_) => {
                self.leave(hyp, state, vm);
                Err(Status::Aborted)
            }
        }
    }

    pub(crate) fn mem_reclaim(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        reclaim: MemReclaim,
    ) -> Reply {
        if reclaim.flags.contains(ReclaimFlags::TIME_SLICE) {
            return Err(Status::InvalidParameters);
        }
        let begun = state.engine.begin_reclaim(vm, reclaim.handle);
        let (share, resume) = begun.map_err(|error| match error {
            // A foreign handle and an unknown one look the same.
            BeginError::NotFound => Status::InvalidParameters,
            _ => status(&error),
        })?;
        state.enter(vm)?;
        drop(state);
        let first = resume.map_or_else(|| reclaim.to_regs(), |target| Call::Run(target).to_regs());
        let mut regs = hyp.call(&first);
        loop {
            let answer = Answer::from_regs(&regs);
            let mut state = self.lock();
            let refused = match state.engine.reclaim_answered(vm, share, &answer) {
                Ok(ReclaimOutcome::Confirmed) => {
                    let (pages, state) = self.release(hyp, state, vm, share);
                    self.leave(hyp, state, vm);
                    report(hyp, vm, Some(reclaim.handle), EventKind::Released { pages });
                    return Ok(());
                }
                Ok(ReclaimOutcome::Resume(target)) => {
                    drop(state);
                    regs = hyp.call(&Call::Run(target).to_regs());
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
fn check_lengths(send: &MemSend) -> Result<(), Status> {
    if send.address != 0 || send.pages != 0 || send.fragment_len > send.total_len {
        Err(Status::InvalidParameters)
    } else if send.fragment_len != send.total_len {
        Err(Status::NotSupported)
    } else {
        Ok(())
    }
}

/// The TX buffer, which has room for `len` bytes. The VM is not torn down before it is read.
fn begin_reading<P: Platform, S: Stores<P>>(
    mut state: Guard<'_, P, S>,
    vm: VmKey,
    len: u32,
) -> Result<IpaRange, Status> {
    match state.record(vm)?.mailbox {
        Mailbox::Mapped { buffers, .. } if u64::from(len) <= buffers.tx.bytes() => {
            state.enter(vm)?;
            Ok(buffers.tx)
        }
        _ => Err(Status::InvalidParameters),
    }
}

/// Keeps the pages of a share from being offered again.
fn track<P: Platform, S: Stores<P>>(
    state: &mut State<P, S>,
    vm: VmKey,
    share: ShareId,
    descriptor: &SendDescriptor<'_>,
) -> Result<(), Status> {
    let ranges = &mut state.record(vm)?.ranges;
    ranges.insert(tag(share), descriptor.ranges()).map_err(|error| error.status())
}

/// A share that never came to be: nothing of it is held any more, and no call was made.
fn forget<P: Platform, S: Stores<P>>(state: &mut State<P, S>, vm: VmKey, share: ShareId) {
    if let Ok(record) = state.record(vm) {
        record.ranges.remove(tag(share));
        record.shares = record.shares.saturating_sub(1);
    }
    let over = state.engine.abandon_send(vm, share).and_then(|()| state.engine.released(vm, share));
    debug_assert_eq!(over, Ok(()));
}

fn report<P: Platform>(hyp: &mut P, vm: VmKey, handle: Option<Handle>, kind: EventKind) {
    hyp.event(&Event { handle, ..Event::new(vm.id(), kind) });
}

/// What a guest is told when what is physically behind its pages cannot be described to the SPMC.
fn build_status(error: &BuildError) -> Status {
    match error {
        BuildError::BufferFull => Status::NoMemory,
        BuildError::Receivers { .. } | BuildError::NoRanges | BuildError::TotalPages => {
            Status::InvalidParameters
        }
        _ => Status::NoMemory,
    }
}
