use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};

use arrayvec::ArrayVec;
use ffa_abi::{Answer, FunctionId, PartitionId, PartitionInfo, Regs, Status};
use ffa_mem::{IpaRange, RangeStore, TrackedRange};
use ffa_teardown::{
    DutySlot, Engine, LastAnswer, Phase, ShareId, StandingId, Storage, Subject, Time, VmKey, VmSlot,
};
use spin::RelaxStrategy;
use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::dispatch::Reply;
use crate::partitions::Partitions;
use crate::peers::{Handles, LoanSlot, Loans};
use crate::record::{Mailbox, Record, RxState, tag};
use crate::served::Served;
use crate::spmc::Spmc;
use crate::visible::ListTag;
use crate::{DraftSlot, Event, EventKind, Platform, Settings, VcpuSlot, VmReferences};

/// The memory that a hypervisor lends to its [`Mediator`].
pub trait Stores<P: VmReferences> {
    /// A slot for each VM, dead ones and retired ones included.
    type Vms: Storage<VmSlot>;
    /// A slot for each obligation: one per VM and subscribed SP, one per share, one per direct request in flight, of which
    /// a VM has no more than [`Settings`] allow, one per memory transaction between VMs and one more for each borrower that
    /// has it.
    type Duties: Storage<DutySlot>;
    /// As many as [`Vms`](Self::Vms), all `None`.
    type Records: Storage<Option<Record<P, Self::Ranges, Self::Vcpus, Self::Drafts>>>;
    /// Room for the page ranges of one VM, lent when it is created.
    type Ranges: RangeStore;
    /// A slot for each vCPU of one VM, lent when it is created.
    type Vcpus: Storage<VcpuSlot>;
    /// A slot for each memory transaction that one VM may have sent a part of at the same time, lent when it is created.
    /// Without one the VM sends nothing in fragments.
    type Drafts: Storage<DraftSlot>;
    /// A record for each UUID of each SP, lent twice.
    type Partitions: Storage<PartitionInfo>;
    /// A slot for each borrower of each memory transaction between VMs. Without any, VMs lend each other nothing.
    type Loans: Storage<LoanSlot>;

    /// What a CPU does while another one has the mediator's lock, over and over.
    #[inline]
    fn relax() {
        core::hint::spin_loop();
    }

    /// What a CPU does before it takes the lock, or tries to take the SPMC's TX: nothing, unless somebody explores
    /// what happens if others come first. Called without the lock.
    #[inline]
    fn before_lock() {}
}

/// [`Stores::relax`], as the lock wants it.
pub(crate) struct Relax<P, S>(PhantomData<(fn(P), S)>);

impl<P: VmReferences, S: Stores<P>> RelaxStrategy for Relax<P, S> {
    #[inline]
    fn relax() {
        S::relax();
    }
}

/// [`Stores`] made of arrays and slices, or with an allocator of boxed slices. In the order of the trait's types.
#[derive(Debug)]
pub struct StoresOf<V, D, M, R, C, F, L, B = [LoanSlot; 0]>(
    PhantomData<(V, D, M, R)>,
    PhantomData<(C, F, L, B)>,
);

impl<P, V, D, M, R, C, F, L, B> Stores<P> for StoresOf<V, D, M, R, C, F, L, B>
where
    P: VmReferences,
    V: Storage<VmSlot>,
    D: Storage<DutySlot>,
    M: Storage<Option<Record<P, R, C, F>>>,
    R: RangeStore,
    C: Storage<VcpuSlot>,
    F: Storage<DraftSlot>,
    L: Storage<PartitionInfo>,
    B: Storage<LoanSlot>,
{
    type Vms = V;
    type Duties = D;
    type Records = M;
    type Ranges = R;
    type Vcpus = C;
    type Drafts = F;
    type Partitions = L;
    type Loans = B;
}

/// The FF-A mediator: serves the calls of guests, and takes back what a dead one shared.
///
/// All methods take `&self` and may be called from any CPU at the same time, each with the CPU's own platform object.
/// One spin lock guards the state; it is never held across a secure call, a copy of guest memory or whatever may run
/// a destructor. It does not mask interrupts: on one CPU the mediator must not be entered while it is being executed,
/// so an interrupt handler that calls [`tick`](Self::tick) must not preempt it.
pub struct Mediator<P: Platform, S: Stores<P>> {
    pub(crate) spmc: Spmc,
    pub(crate) settings: Settings,
    pub(crate) served: Served,
    /// A CPU is using our TX page and waits for the SPMC to have read it.
    tx_busy: AtomicBool,
    /// A CPU is reading the list of SPs anew, or what our RX page says of a handle.
    pub(crate) rx_busy: AtomicBool,
    state: SpinMutex<State<P, S>, Relax<P, S>>,
}

/// What is kept of each VM.
pub(crate) type RecordOf<P, S> =
    Record<P, <S as Stores<P>>::Ranges, <S as Stores<P>>::Vcpus, <S as Stores<P>>::Drafts>;

/// The lock, held.
pub(crate) type Guard<'a, P, S> = SpinMutexGuard<'a, State<P, S>, Relax<P, S>>;

pub(crate) struct State<P: Platform, S: Stores<P>> {
    pub(crate) engine: Engine<S::Vms, S::Duties>,
    pub(crate) records: S::Records,
    pub(crate) partitions: Partitions<S::Partitions>,
    /// What VMs lend each other.
    pub(crate) loans: S::Loans,
    /// Names for it.
    pub(crate) handles: Handles,
    /// When to ask the SPMC for more receivers of notifications.
    pub(crate) schedule_at: Option<Time>,
    /// When to tick for the sake of those who look then how a creation goes.
    pub(crate) look_at: Option<Time>,
    /// Of the partitions that guests see.
    pub(crate) list: ListTag,
    pub(crate) platform: PhantomData<fn(&mut P)>,
}

/// The vCPU that makes a call, as the trap that brought it tells. Never believed from registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Its VM.
    pub vm: VmKey,
    /// Its number within the VM.
    pub vcpu: u16,
}

/// What to do with a guest's SMC or HVC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Outcome {
    /// Give the guest x0 to x17 as they are now; leave x18 to x30 alone. The program counter is the
    /// hypervisor's business: SMC is trapped before it, HVC after it.
    Return,
    /// Not a function ID of FF-A: the registers are as they were.
    NotFfa,
}

/// Private buffers of one CPU, into which guest memory and the SPMC's is copied once.
pub struct Scratch {
    /// What was copied in.
    pub(crate) input: [u8; 4096],
    /// What is to be copied out.
    pub(crate) output: [u8; 4096],
}

impl Scratch {
    /// Zeroed.
    #[must_use]
    pub const fn new() -> Self {
        Self { input: [0; 4096], output: [0; 4096] }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// A mediator for the secure world that [`Spmc::probe`] found, over lent memory whose content does not matter,
    /// but that every record is `None`.
    pub fn new(
        (spmc, partitions): (Spmc, Partitions<S::Partitions>),
        settings: Settings,
        vms: S::Vms,
        duties: S::Duties,
        records: S::Records,
        mut loans: S::Loans,
    ) -> Self {
        loans.as_mut().fill(LoanSlot::VACANT);
        let served = Served::new(&spmc, &settings, loans.as_ref().len());
        let mut engine = Engine::new(vms, duties, settings.teardown);
        if spmc.says_what_handles_name() {
            engine.can_ask_what_handles_name();
        }
        let state = State {
            engine,
            records,
            partitions,
            loans,
            handles: Handles::NEW,
            schedule_at: None,
            look_at: None,
            list: ListTag::FIRST,
            platform: PhantomData,
        };
        Self {
            spmc,
            settings,
            served,
            tx_busy: AtomicBool::new(false),
            rx_busy: AtomicBool::new(false),
            state: SpinMutex::new(state),
        }
    }

    /// The secure world.
    pub fn spmc(&self) -> &Spmc {
        &self.spmc
    }

    /// The record at a position of the list of SPs, from 0 on, or `None` after the last. The list changes when it is
    /// [read anew](Self::refresh_partitions).
    pub fn partition_at(&self, position: usize) -> Option<PartitionInfo> {
        self.lock().partitions.records().get(position).copied()
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether some CPU holds the lock at this moment. A seam that asks on a machine with one CPU finds out whether
    /// it was called under the lock; elsewhere the answer is out of date as soon as it is given.
    pub fn is_locked(&self) -> bool {
        self.state.is_locked()
    }

    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, P, S> {
        S::before_lock();
        self.state.lock()
    }

    /// Takes our TX page, until [`tx_read`](Self::tx_read). Says false if another CPU has it.
    #[inline]
    pub(crate) fn take_tx(&self) -> bool {
        S::before_lock();
        !self.tx_busy.swap(true, Ordering::Acquire)
    }

    /// The same with patience, where another CPU's call is worth a moment.
    #[cold]
    pub(crate) fn take_tx_patiently(&self) -> bool {
        /// How often TX is looked at.
        const PATIENCE: u32 = 1 << 14;
        (0..PATIENCE).any(|_| {
            let free = self.take_tx();
            if !free {
                S::relax();
            }
            free
        })
    }

    /// The SPMC has read our TX page.
    #[inline]
    pub(crate) fn tx_read(&self) {
        self.tx_busy.store(false, Ordering::Release);
    }

    /// Serves a guest's SMC or HVC, trapped with immediate 0. `regs` are x0 to x17 of the vCPU, in and out.
    ///
    /// A call with another immediate belongs to the hypervisor, and so does one that is not FF-A's.
    pub fn guest_call(&self, hyp: &mut P, caller: Caller, regs: &mut Regs, scratch: &mut Scratch) -> Outcome {
        let w0 = regs.w::<0>();
        let reply = match FunctionId::from_w0(w0) {
            Ok(id) => self.dispatch(hyp, caller, id, regs, scratch),
            Err(_) if FunctionId::is_ffa(w0) => Err(Status::NotSupported),
            Err(_) => return Outcome::NotFfa,
        };
        let status = match reply {
            Ok(Reply::Success { w2, w3 }) => {
                *regs = Regs::success(w2, w3);
                None
            }
            Ok(Reply::InPlace) => None,
            Err(status) => {
                *regs = Regs::error(status);
                Some(status)
            }
        };
        hyp.event(&Event::new(caller.vm.id(), EventKind::GuestCall { function: w0, status }));
        Outcome::Return
    }

    /// Ends a call that [`Record::enter`] began. The last one of a VM that died meanwhile begins its teardown.
    #[inline(always)] // ends every call, and has little to do but once
    pub(crate) fn leave(&self, hyp: &mut P, mut state: Guard<'_, P, S>, vm: VmKey) {
        if state.record(vm).is_ok_and(Record::leave) {
            self.begin_teardown(hyp, state, vm);
        }
    }

    /// Takes the VM reference, if the engine says that this is the moment.
    #[inline(always)] // once in a VM's life
    pub(crate) fn take_reference(&self, hyp: &mut P, vm: VmKey, take: bool) {
        if take {
            self.take_first_reference(hyp, vm);
        }
    }

    #[cold]
    fn take_first_reference(&self, hyp: &mut P, vm: VmKey) {
        let reference = hyp.take(vm.id());
        if let Ok(record) = self.lock().record(vm) {
            record.reference = Some(reference);
        }
    }

    /// Gives the pages of a share back, or of buffers that the SPMC had.
    #[inline]
    pub(crate) fn release(&self, hyp: &mut P, vm: VmKey, share: ShareId) {
        if !hyp.release_share(vm.id(), share) {
            self.each_range(hyp, vm, share, |hyp, range| hyp.release(vm.id(), range));
        }
    }

    /// Calls `work` for each range of a share, outside the lock.
    pub(crate) fn each_range(
        &self,
        hyp: &mut P,
        vm: VmKey,
        share: ShareId,
        mut work: impl FnMut(&mut P, IpaRange),
    ) {
        /// Ranges copied at a time: 1 KiB of stack.
        const BATCH: usize = 64;
        let mut done = 0;
        loop {
            let mut state = self.lock();
            let run = state.record(vm).map_or(&[][..], |record| record.ranges.run(tag(share)));
            let batch: ArrayVec<IpaRange, BATCH> =
                run.iter().skip(done).take(BATCH).map(TrackedRange::range).collect();
            done += BATCH;
            let is_last = done >= run.len();
            drop(state);
            for range in batch {
                work(hyp, range);
            }
            if is_last {
                return;
            }
        }
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// The VM with this ID that `vm` may have to do with, if there is one that lives.
    pub(crate) fn peer(&mut self, settings: &Settings, vm: VmKey, id: PartitionId) -> Option<VmKey> {
        let peer = self.engine.find(id).filter(|peer| settings.vm_to_vm && *peer != vm)?;
        let lives = self.engine.phase(peer) == Ok(Phase::Live);
        self.record(peer).is_ok_and(|record| lives && !record.dying).then_some(peer)
    }

    /// What VMs lend each other.
    pub(crate) fn loans(&mut self) -> Loans<'_> {
        Loans(self.loans.as_mut())
    }

    /// Forgets a dead VM's buffers, whose pages are back.
    pub(crate) fn buffers_are_back(&mut self, vm: VmKey, pages: ShareId) {
        if let Ok(record) = self.record(vm) {
            record.ranges.remove(tag(pages));
        }
        let released = self.engine.released(vm, pages);
        debug_assert_eq!(released, Ok(()), "the engine said that they are on their way back");
    }

    /// Notes who has a VM's RX buffer.
    pub(crate) fn set_rx(&mut self, vm: VmKey, now: RxState) {
        if let Ok(Record { mailbox: Mailbox::Mapped { rx, .. }, .. }) = self.record(vm) {
            *rx = now;
        }
    }

    /// Notes whether the SPMC has to be told when the guest has read its RX buffer.
    pub(crate) fn set_rx_owned(&mut self, vm: VmKey, owned: Option<StandingId>) {
        if let Ok(Record { mailbox: Mailbox::Mapped { forwarded: Some(forwarded), .. }, .. }) =
            self.record(vm)
        {
            forwarded.rx_owned = owned;
        }
    }

    /// When there is something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let engine = self.engine.next_deadline();
        engine.into_iter().chain(self.schedule_at).chain(self.look_at).min()
    }

    /// The record of a VM that has one.
    ///
    /// # Errors
    /// DENIED if the VM is gone.
    #[inline]
    pub(crate) fn record(&mut self, vm: VmKey) -> Result<&mut RecordOf<P, S>, Status> {
        self.engine_and_record(vm).map(|(_, record)| record)
    }

    /// The number of pages of a share.
    #[inline]
    pub(crate) fn pages(&mut self, vm: VmKey, share: ShareId) -> u32 {
        let ranges = self.record(vm).map_or(&[][..], |record| record.ranges.run(tag(share)));
        // No more than one share may have.
        ranges.iter().fold(0, |pages, range| pages.wrapping_add(range.pages()))
    }

    /// [`record`](Self::record), and the engine beside it.
    ///
    /// # Errors
    /// DENIED if the VM is gone.
    #[inline]
    #[expect(clippy::type_complexity, reason = "two references, and what they refer to is generic")]
    pub(crate) fn engine_and_record(
        &mut self,
        vm: VmKey,
    ) -> Result<(&mut Engine<S::Vms, S::Duties>, &mut RecordOf<P, S>), Status> {
        match self.records.as_mut().get_mut(vm.position()) {
            // At its position, so the rest of the key is the same as well.
            Some(Some(record)) if record.vm.id() == vm.id() => Ok((&mut self.engine, record)),
            _ => Err(Status::Denied),
        }
    }

    /// Tells the engine that the pages of a share are back, which the secure world let go of. Gives the record, which is to
    /// [forget](Record::forget) it as well.
    ///
    /// # Errors
    /// DENIED if the VM is gone.
    #[inline(always)] // ends every share
    pub(crate) fn released(&mut self, vm: VmKey, share: ShareId) -> Result<&mut RecordOf<P, S>, Status> {
        let (engine, record) = self.engine_and_record(vm)?;
        let released = engine.released(vm, share);
        debug_assert_eq!(released, Ok(()), "the engine said that it is on its way back");
        Ok(record)
    }
}

impl<P: Platform, S: Stores<P>> fmt::Debug for Mediator<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mediator").field("spmc", &self.spmc).field("settings", &self.settings).finish()
    }
}

/// What a call to the secure world came to, in the words of a guest.
pub(crate) fn refusal(answer: &Answer) -> Status {
    match answer {
        Answer::Error(status) => status.for_guest(),
        _ => Status::Aborted,
    }
}

/// A VM as a report shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VmReport {
    /// The VM.
    pub vm: VmKey,
    /// Where it stands.
    pub phase: ffa_teardown::Phase,
    /// Memory transactions that are not over, quarantined ones included, and what it has borrowed.
    pub shares: u32,
    /// 4 KiB pages of all these, and of the RX and TX of a dead VM that the SPMC still has.
    pub pages: u64,
    /// Page ranges that stand in the memory lent for them, RX and TX and those of half-sent transactions included. 16 bytes
    /// each.
    pub ranges: usize,
    /// How many of `shares` are quarantined, and one more if RX and TX are.
    pub quarantined: u32,
    /// Obligations of every kind that are neither met nor given up.
    pub open: u32,
    /// Whether the mediator holds a reference to the VM.
    pub referenced: bool,
}

/// How many slots of the memory lent to a mediator are taken. When no VM is left, and no ID is retired, none is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Occupancy {
    /// VMs: alive, dying, zombies and retired.
    pub vms: usize,
    /// Obligations of all VMs, met ones not included.
    pub duties: usize,
    /// Borrowers of what VMs lend each other.
    pub loans: usize,
}

/// Pages that are quarantined together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quarantined {
    /// Whose they are.
    pub vm: PartitionId,
    /// A share with its names, or RX and TX that the SPMC did not unmap.
    pub subject: Subject,
    /// 4 KiB pages.
    pub pages: u64,
    /// The last answer of the secure world.
    pub last: Option<LastAnswer>,
    /// When it was given up.
    pub since: Time,
}
