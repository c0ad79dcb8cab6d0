//! FFA_MEM_SHARE and FFA_MEM_RECLAIM.

use ffa_abi::{
    Answer, Call, Handle, MemReclaim, MemSend, PartitionId, ReclaimFlags, Regs, Status, Transaction, Version,
};
use ffa_mem::{BuildError, DataAccess, SendBuilder, SendDescriptor, SendHeader, SendRules};
use ffa_teardown::{BeginError, ReclaimOutcome, SendOutcome, ShareId};

use crate::mediator::{Reply, refusal};
use crate::message::status;
use crate::record::{Mailbox, tag};
use crate::spmc::share_width;
use crate::{Access, Caller, Event, EventKind, Mediator, PageError, Platform, Scratch, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn mem_send(
        &self,
        hyp: &mut P,
        caller: Caller,
        version: Version,
        send: MemSend,
        scratch: &mut Scratch,
    ) -> Reply {
        let Scratch { input, output } = scratch;
        let bytes = self.copy_descriptor(hyp, caller, &send, input)?;
        let rules = SendRules { version, transaction: Transaction::Share, sender: caller.vm.id() };
        let descriptor = SendDescriptor::parse(bytes, &rules).map_err(|error| error.status())?;
        for receiver in descriptor.receivers() {
            // Another guest, an SP that does not exist and one that is hidden look the same.
            self.spmc.partition(receiver.id).ok_or(Status::InvalidParameters)?;
        }
        if descriptor.total_pages() > self.settings.pages_per_share {
            return Err(Status::NoMemory);
        }
        let share = self.begin_share(hyp, caller, &descriptor)?;
        match self.hold(hyp, caller.vm.id(), &descriptor, output) {
            Ok(len) => self.send(hyp, caller, share, len, output, descriptor.total_pages()),
            Err((status, held)) => {
                for range in descriptor.ranges().take(held) {
                    hyp.release(caller.vm.id(), range);
                }
                self.forget(hyp, caller, share);
                Err(status)
            }
        }
    }

    /// The one copy of the guest's descriptor.
    fn copy_descriptor<'a>(
        &self,
        hyp: &mut P,
        caller: Caller,
        send: &MemSend,
        input: &'a mut [u8],
    ) -> Result<&'a [u8], Status> {
        if send.address != 0 || send.pages != 0 || send.fragment_len > send.total_len {
            return Err(Status::InvalidParameters);
        }
        if send.fragment_len != send.total_len {
            return Err(Status::NotSupported);
        }
        let Mailbox::Mapped { buffers, .. } = self.lock().record(caller.vm)?.mailbox else {
            return Err(Status::InvalidParameters);
        };
        if u64::from(send.fragment_len) > buffers.tx.bytes() {
            return Err(Status::InvalidParameters);
        }
        let len = usize::try_from(send.fragment_len).map_err(|_| Status::NoMemory)?;
        let bytes = input.get_mut(..len).ok_or(Status::NoMemory)?;
        hyp.read(caller.vm.id(), buffers.tx.base(), bytes).map_err(|_| Status::InvalidParameters)?;
        Ok(bytes)
    }

    /// Reserves all that the share will need, and keeps its pages from being offered again.
    fn begin_share(
        &self,
        hyp: &mut P,
        caller: Caller,
        descriptor: &SendDescriptor<'_>,
    ) -> Result<ShareId, Status> {
        let mut guard = self.enter(caller)?;
        let state = &mut *guard;
        let begun = match state.engine.begin_send(caller.vm) {
            Ok(begun) => begun,
            Err(error) => {
                self.leave(hyp, guard, caller.vm);
                return Err(status(&error));
            }
        };
        let record = state.record(caller.vm)?;
        let refused = if record.shares >= self.settings.shares_per_vm {
            Some(Status::NoMemory)
        } else {
            let inserted = record.ranges.insert(tag(begun.id), descriptor.ranges());
            inserted.err().map(|error| error.status())
        };
        record.shares += 1;
        drop(guard);
        self.take_reference(hyp, caller.vm, begun.take_reference);
        match refused {
            None => Ok(begun.id),
            Some(status) => {
                self.forget(hyp, caller, begun.id);
                Err(status)
            }
        }
    }

    /// A share that never came to be: nothing of it is held any more, and no call was made.
    fn forget(&self, hyp: &mut P, caller: Caller, share: ShareId) {
        let mut state = self.lock();
        if let Ok(record) = state.record(caller.vm) {
            record.ranges.remove(tag(share));
            record.shares = record.shares.saturating_sub(1);
        }
        let over = state
            .engine
            .abandon_send(caller.vm, share)
            .and_then(|()| state.engine.released(caller.vm, share));
        debug_assert_eq!(over, Ok(()));
        self.leave(hyp, state, caller.vm);
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
        caller: Caller,
        share: ShareId,
        len: usize,
        output: &[u8],
        pages: u32,
    ) -> Reply {
        if core::mem::replace(&mut self.lock().tx_busy, true) {
            // Another CPU's descriptor is in our TX page: this one was never sent.
            let abandoned = self.lock().engine.abandon_send(caller.vm, share);
            debug_assert_eq!(abandoned, Ok(()));
            self.release(hyp, caller.vm, share);
            self.leave(hyp, self.lock(), caller.vm);
            return Err(Status::Busy);
        }
        hyp.write_tx(output.get(..len).unwrap_or_default());
        let call = MemSend {
            width: share_width(self.spmc.abilities()),
            transaction: Transaction::Share,
            total_len: len as u32,
            fragment_len: len as u32,
            address: 0,
            pages: 0,
        };
        let mut regs = hyp.call(&call.to_regs());
        let outcome = loop {
            let now = hyp.now();
            let answer = Answer::from_regs(&regs);
            let mut state = self.lock();
            let outcome = state.engine.send_answered(caller.vm, share, &answer, now);
            if let Ok(SendOutcome::Resume(target)) = outcome {
                drop(state);
                regs = hyp.call(&Call::Run(target).to_regs());
                continue;
            }
            state.tx_busy = false;
            break outcome;
        };
        let vm = caller.vm;
        let reply = match outcome {
            Ok(SendOutcome::Sent(handle)) => {
                report(hyp, caller, Some(handle), EventKind::Shared { pages });
                let [low, high] = handle.words();
                Ok(Regs::success(low as u32, high as u32))
            }
            Ok(SendOutcome::Refused(status)) => {
                self.release(hyp, vm, share);
                Err(status.for_guest())
            }
            Ok(SendOutcome::Unknown { handle }) => {
                report(hyp, caller, handle, EventKind::Doubtful { pages });
                if handle.is_none() {
                    let pages = self.quarantine(hyp, vm, share);
                    report(hyp, caller, None, EventKind::Quarantined { pages });
                }
                Err(Status::Aborted)
            }
            Ok(SendOutcome::Resume(_)) | Err(_) => Err(Status::Aborted),
        };
        self.leave(hyp, self.lock(), vm);
        reply
    }

    pub(crate) fn mem_reclaim(&self, hyp: &mut P, caller: Caller, reclaim: MemReclaim) -> Reply {
        if reclaim.flags.contains(ReclaimFlags::TIME_SLICE) {
            return Err(Status::InvalidParameters);
        }
        let (share, resume) = {
            let mut state = self.enter(caller)?;
            match state.engine.begin_reclaim(caller.vm, reclaim.handle) {
                Ok(begun) => begun,
                Err(error) => {
                    self.leave(hyp, state, caller.vm);
                    // A foreign handle and an unknown one look the same.
                    return Err(match error {
                        BeginError::NotFound => Status::InvalidParameters,
                        _ => status(&error),
                    });
                }
            }
        };
        let first = resume.map_or_else(|| reclaim.to_regs(), |target| Call::Run(target).to_regs());
        let mut regs = hyp.call(&first);
        let reply = loop {
            let answer = Answer::from_regs(&regs);
            let outcome = self.lock().engine.reclaim_answered(caller.vm, share, &answer);
            match outcome {
                Ok(ReclaimOutcome::Confirmed) => {
                    let pages = self.release(hyp, caller.vm, share);
                    report(hyp, caller, Some(reclaim.handle), EventKind::Released { pages });
                    break Ok(Regs::success(0, 0));
                }
                Ok(ReclaimOutcome::Refused(status)) => break Err(status.for_guest()),
                Ok(ReclaimOutcome::Resume(target)) => {
                    regs = hyp.call(&Call::Run(target).to_regs());
                }
                Err(_) => break Err(refusal(&answer)),
            }
        };
        self.leave(hyp, self.lock(), caller.vm);
        reply
    }
}

fn report<P: Platform>(hyp: &mut P, caller: Caller, handle: Option<Handle>, kind: EventKind) {
    hyp.event(&Event { handle, ..Event::new(caller.vm.id(), kind) });
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
