//! A memory transaction on its way to the SPMC in fragments, and its cancellation.

use ffa_abi::{Answer, Handle, MemFragTx, MemSend, PartitionId, Status, Transaction};
use ffa_mem::{
    BuildError, FragmentBuilder, IpaRange, Joiner, PAGE_SIZE, PhysRange, Physical, Receiver, SendHeader,
    SendTotals, Unsent,
};
use ffa_teardown::{CancelOutcome, Fragment, SecureCall, SendOutcome, ShareId, VmKey};

use crate::reclaim::resume;
use crate::spmc::send_width;
use crate::{Mediator, Platform, Stores};

/// Bytes of one constituent.
pub(crate) const CONSTITUENT: u32 = 16;

/// What fills a fragment that cancels a transaction.
static ZEROES: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];

/// How a descriptor tells of the physical runs behind its pages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// Page by page: their number was told before anybody knew what is behind them.
    Pages,
    /// Run by run.
    Runs,
}

/// A descriptor that goes to the SPMC piece by piece, through a CPU's own buffer.
pub(crate) struct Stream<'a> {
    vm: VmKey,
    share: ShareId,
    transaction: Transaction,
    cut: Cut,
    /// Holds what is to be copied to TX next.
    buffer: &'a mut [u8],
    filled: usize,
    /// Bytes of the present fragment that are in TX, which is ours while there are some.
    in_tx: usize,
    /// Keeps a run that the next one may still join.
    joiner: Joiner<Physical>,
    is_joining: bool,
    /// What has yet to come into the buffer.
    unsent: Unsent,
    /// Its name, once the SPMC has begun it.
    handle: Option<Handle>,
    /// Bytes that the SPMC has.
    sent: u32,
    /// Some fragment had more than the head.
    has_told: bool,
}

/// Why a descriptor goes no further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stopped {
    /// The SPMC has not got all of it: another CPU has TX for ever so long, or what is behind the pages has changed.
    Unsent,
    /// It has, or its last answer is not one to go on after.
    Judged(SendOutcome),
}

impl<'a> Stream<'a> {
    /// A descriptor of which nothing is sent yet.
    ///
    /// # Errors
    /// [`BuildError`]: there is no such descriptor.
    pub(crate) fn new(
        (vm, share): (VmKey, ShareId),
        transaction: Transaction,
        buffer: &'a mut [u8],
        header: &SendHeader,
        receivers: impl ExactSizeIterator<Item = Receiver>,
        totals: SendTotals,
    ) -> Result<Self, BuildError> {
        let (filled, unsent) = FragmentBuilder::first(buffer, header, receivers, totals)?.finish()?;
        Ok(Self {
            vm,
            share,
            transaction,
            cut: Cut::Runs,
            buffer,
            filled,
            in_tx: 0,
            joiner: Joiner::new(),
            is_joining: false,
            unsent,
            handle: None,
            sent: 0,
            has_told: false,
        })
    }

    /// One of which the SPMC has the head, and was told that pages come one by one.
    pub(crate) fn rest(
        (vm, share): (VmKey, ShareId),
        transaction: Transaction,
        buffer: &'a mut [u8],
        handle: Handle,
        unsent: Unsent,
    ) -> Self {
        Self {
            vm,
            share,
            transaction,
            cut: Cut::Pages,
            buffer,
            filled: 0,
            in_tx: 0,
            joiner: Joiner::new(),
            is_joining: false,
            unsent,
            handle: Some(handle),
            sent: unsent.offset(),
            has_told: false,
        }
    }

    /// Whose it is, and which.
    pub(crate) const fn subject(&self) -> (VmKey, ShareId) {
        (self.vm, self.share)
    }

    /// What it is.
    pub(crate) const fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// Its name, once the SPMC has begun it.
    pub(crate) const fn handle(&self) -> Option<Handle> {
        self.handle
    }

    /// What has yet to be told.
    pub(crate) const fn unsent(&self) -> Unsent {
        self.unsent
    }

    /// Whether the SPMC has been told of a page.
    pub(crate) const fn has_told(&self) -> bool {
        self.has_told
    }

    /// How many pages may come, each a run of its own, before the buffer is full.
    fn free(&self) -> u32 {
        let slots = self.buffer.len().saturating_sub(self.filled) / CONSTITUENT as usize;
        slots.saturating_sub(usize::from(self.is_joining)) as u32 // no more than 256
    }

    /// Appends what tells of a run.
    fn append(&mut self, run: PhysRange) {
        if self.cut == Cut::Pages {
            run.single_pages().for_each(|page| self.write(page));
            return;
        }
        self.is_joining = true;
        if let Some(done) = self.joiner.push(run) {
            self.write(done);
        }
    }

    /// More than was announced is left out: then there are too few bytes in the end, or too few pages.
    fn write(&mut self, run: PhysRange) {
        let slots = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let mut fragment = self.unsent.next(slots);
        if fragment.push(run).is_ok() {
            if let Ok((len, unsent)) = fragment.finish() {
                self.filled += len;
                self.unsent = unsent;
            }
        }
    }
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Number of physical runs behind `ranges`, which are held.
    pub(crate) fn count_runs(
        &self,
        hyp: &mut P,
        vm: PartitionId,
        ranges: impl Iterator<Item = IpaRange>,
    ) -> u32 {
        let (mut joiner, mut count) = (Joiner::new(), 0_u32);
        for range in ranges {
            hyp.runs(vm, range, |run| count = count.saturating_add(u32::from(joiner.push(run).is_some())));
        }
        count.saturating_add(u32::from(joiner.finish().is_some()))
    }

    /// Sends what is behind `ranges`, which are held, to the last byte.
    pub(crate) fn send_ranges(
        &self,
        hyp: &mut P,
        stream: &mut Stream<'_>,
        mut ranges: impl Iterator<Item = IpaRange>,
    ) -> Stopped {
        let pushed = ranges.try_for_each(|range| self.push(hyp, stream, range));
        if let Some(last) = core::mem::take(&mut stream.joiner).finish() {
            stream.write(last);
        }
        let sent = pushed
            .and_then(|()| self.copy_to_tx(hyp, stream))
            .and_then(|()| self.send_fragment(hyp, stream, true, true));
        sent.err().unwrap_or(Stopped::Unsent)
    }

    /// Sends the head alone.
    pub(crate) fn send_head(&self, hyp: &mut P, stream: &mut Stream<'_>) -> Result<(), Stopped> {
        self.copy_to_tx(hyp, stream)?;
        self.send_fragment(hyp, stream, false, false)
    }

    /// Appends what is behind `range`, and sends the fragments that become full.
    fn push(&self, hyp: &mut P, stream: &mut Stream<'_>, range: IpaRange) -> Result<(), Stopped> {
        let (mut base, mut left) = (range.base(), range.pages());
        while left > 0 {
            let pages = left.min(stream.free());
            let Ok(part) = IpaRange::new(base, pages) else {
                // The buffer is full.
                self.pass_on(hyp, stream)?;
                continue;
            };
            hyp.runs(stream.vm.id(), part, |run| stream.append(run));
            (base, left) = (part.end(), left - pages);
        }
        Ok(())
    }

    /// Empties the buffer, and sends the fragment if TX is full.
    fn pass_on(&self, hyp: &mut P, stream: &mut Stream<'_>) -> Result<(), Stopped> {
        self.copy_to_tx(hyp, stream)?;
        let room = usize::from(self.spmc.buffer_pages()) * PAGE_SIZE as usize;
        if stream.in_tx + stream.buffer.len() > room {
            self.send_fragment(hyp, stream, true, false)?;
        }
        Ok(())
    }

    fn copy_to_tx(&self, hyp: &mut P, stream: &mut Stream<'_>) -> Result<(), Stopped> {
        if stream.in_tx == 0 && !self.take_tx_patiently() {
            return Err(Stopped::Unsent);
        }
        hyp.write_tx_at(stream.in_tx, stream.buffer.get(..stream.filled).unwrap_or_default());
        stream.in_tx += stream.filled;
        stream.filled = 0;
        Ok(())
    }

    /// Makes the call for what is in TX, the `last` one or not, and has its answer judged.
    fn send_fragment(
        &self,
        hyp: &mut P,
        stream: &mut Stream<'_>,
        holds_pages: bool,
        last: bool,
    ) -> Result<(), Stopped> {
        let fragment_len = core::mem::take(&mut stream.in_tx) as u32; // TX has no more than 63 pages
        let sent = stream.sent.saturating_add(fragment_len);
        let total = stream.unsent.total_len();
        if last != (sent == total) || sent > total {
            self.tx_read();
            return Err(Stopped::Unsent);
        }
        let call = match stream.handle {
            None => MemSend {
                width: send_width(self.spmc.abilities(), stream.transaction),
                transaction: stream.transaction,
                total_len: total,
                fragment_len,
                address: 0,
                pages: 0,
            }
            .to_regs(),
            Some(handle) => MemFragTx { handle, fragment_len, endpoint: stream.vm.id() }.to_regs(),
        };
        let fragment = Fragment { sent, total, room: self.spmc.buffer_pages(), holds_pages };
        stream.has_told |= holds_pages;
        let mut regs = hyp.call(&call);
        let outcome = loop {
            let now = hyp.now();
            let answer = Answer::from_regs(&regs);
            let mut state = self.lock();
            let outcome = state.engine.fragment_answered(stream.vm, stream.share, &answer, fragment, now);
            drop(state);
            match outcome {
                Ok(SendOutcome::Resume(target)) => regs = resume(hyp, target),
                outcome => break outcome,
            }
        };
        self.tx_read();
        stream.sent = sent;
        match outcome {
            Ok(SendOutcome::More(handle)) => {
                stream.handle = Some(handle);
                Ok(())
            }
            Ok(outcome) => Err(Stopped::Judged(outcome)),
            Err(_) => Err(Stopped::Unsent),
        }
    }

    /// Cancels a half-sent transaction on which this call works, gives back what pages are held for it if the SPMC lets
    /// go, and ends the call.
    pub(crate) fn cancel(&self, hyp: &mut P, vm: VmKey, share: ShareId) {
        loop {
            let Ok(call) = self.lock().engine.cancel(vm, share) else { break };
            let answer = self.make(hyp, call);
            let now = hyp.now();
            let mut state = self.lock();
            match state.engine.cancel_answered(vm, share, &answer, now) {
                Ok(CancelOutcome::GoesOn | CancelOutcome::Resume(_)) => {}
                Ok(CancelOutcome::Gone) => {
                    self.release_and_leave(hyp, state, vm, share);
                    return;
                }
                Ok(CancelOutcome::Unknown) => {
                    let pages = state.pages(vm, share);
                    let unknown = Ok(SendOutcome::Unknown { handle: None });
                    let _told_already = self.not_sent(hyp, state, vm, share, unknown, pages);
                    return;
                }
                Ok(CancelOutcome::Left) | Err(_) => break,
            }
        }
        let mut state = self.lock();
        if let Ok(record) = state.record(vm) {
            record.owes_cancellations = true;
        }
        self.leave(hyp, state, vm);
    }

    /// Makes a call of the engine's.
    pub(crate) fn make(&self, hyp: &mut P, call: SecureCall) -> Answer {
        let SecureCall::MemCancel { len, .. } = call else {
            return Answer::from_regs(&hyp.call(&call.to_regs()));
        };
        if !self.take_tx_patiently() {
            return Answer::Error(Status::Busy.into());
        }
        let mut done = 0;
        while done < len as usize {
            let piece = ZEROES.get(..len as usize - done).unwrap_or(&ZEROES);
            hyp.write_tx_at(done, piece);
            done += piece.len();
        }
        let regs = hyp.call(&call.to_regs());
        self.tx_read();
        Answer::from_regs(&regs)
    }
}
