use core::marker::PhantomData;

use ffa_abi::{Answer, PartitionId};

use crate::arena::Arena;
use crate::duty::{Duty, DutySlot, LastAnswer, State, Told};
use crate::index::Index;
use crate::queue::Queue;
use crate::vm::{Pass, Phase, Place, VmKey, VmSlot};
use crate::{
    Disposal, IdReuse, Pace, Policy, SecureCall, ShareId, Span, Storage, Subscription, Time, Verdict,
};

/// Duties that one step examines at most, so that a step costs the same however many a VM has.
const EXAMINED: usize = 16;

/// The life of all VMs as the secure world sees it: events in, actions out.
///
/// `V` and `D` are the storage for VMs and for what they owe: one [`DutySlot`] for each SP that wants to hear of a
/// VM, each share, each direct request in flight, and each [`Standing`](crate::Standing).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Engine<V, D> {
    pub(crate) vms: Slots<V, VmSlot>,
    pub(crate) duties: Slots<D, DutySlot>,
    pub(crate) arena: Arena,
    pub(crate) queue: Queue,
    vacant_vm: Option<Index>,
    pub(crate) policy: Policy,
}

/// Lent storage that reads as a slice.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Slots<S, T>(S, PhantomData<T>);

impl<T, S: Storage<T>> core::ops::Deref for Slots<S, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_ref()
    }
}

impl<T, S: Storage<T>> core::ops::DerefMut for Slots<S, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_mut()
    }
}

/// What the hypervisor is to do next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub enum Action {
    /// Make this call for this VM, then report with [`Engine::answered`]. No other call for this VM is asked for
    /// meanwhile.
    Call {
        /// For whom.
        vm: VmKey,
        /// What.
        call: SecureCall,
    },
    /// Every SP was told of the VM: it is [`Phase::Live`].
    Created {
        /// The VM.
        vm: VmKey,
    },
    /// Nothing more will be done for this VM by itself.
    Finished {
        /// The VM.
        vm: VmKey,
        /// How it ended.
        end: End,
        /// Drop the VM reference now, outside every lock, as the last touch of the VM.
        give_back: bool,
    },
    /// Nothing came of this step; it counts against a budget like any other.
    Continue,
    /// Nothing is due before this time; never, if `None`.
    Idle {
        /// When to call again.
        until: Option<Time>,
    },
}

/// How a VM ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum End {
    /// Every obligation is met or, by policy, forgotten. The key is void and the ID is free.
    Gone,
    /// The VM may go, its ID may not be used again: something was given up.
    Retired,
    /// Its quarantined pages keep it.
    Zombie,
}

/// What became of an obligation through an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Judgement {
    /// What the answer was taken for.
    pub answer: LastAnswer,
    /// What follows.
    pub decision: Decision,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub enum Decision {
    /// The obligation is met.
    Met,
    /// The SP took note of the VM's creation.
    Told,
    /// The secure world has let go of the share: give its pages back, then call [`Engine::released`].
    Confirmed {
        /// The share.
        share: ShareId,
    },
    /// The same call, or FFA_RUN, is due again then.
    TryAgain {
        /// When.
        until: Time,
    },
    /// Given up. Told once; the pages of a share are now quarantined.
    GivenUp {
        /// The share, if it was one.
        share: Option<ShareId>,
    },
    /// Creation has failed, and the VM is being torn down.
    CreationFailed,
}

/// The event does not fit what the engine waits for. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unexpected {
    /// No VM has this key any more.
    #[error("VM {vm} is not known")]
    UnknownVm {
        /// Its ID.
        vm: PartitionId,
    },
    /// The VM is in another phase.
    #[error("VM {vm} is in phase {phase:?}")]
    Phase {
        /// Its ID.
        vm: PartitionId,
        /// The phase.
        phase: Phase,
    },
    /// No such call is in flight for the VM.
    #[error("VM {vm} has no such call in flight")]
    NotInFlight {
        /// Its ID.
        vm: PartitionId,
    },
}

/// Why a VM cannot be created. Nothing was incurred.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The ID is in use, or retired.
    #[error("the ID {vm} is in use or retired")]
    IdTaken {
        /// The ID.
        vm: PartitionId,
    },
    /// The lent storage is full.
    #[error("no room for VM {vm}")]
    NoRoom {
        /// The ID.
        vm: PartitionId,
    },
}

/// A VM whose creation has begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Created {
    /// Its key.
    pub vm: VmKey,
    /// Take the VM reference now: the first obligation is there.
    pub take_reference: bool,
}

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// An engine without VMs over storage whose content does not matter.
    pub fn new(vms: V, duties: D, policy: Policy) -> Self {
        let (mut vms, mut duties) = (Slots(vms, PhantomData), Slots(duties, PhantomData));
        let arena = Arena::new(&mut duties);
        let mut vacant_vm = None;
        for position in (0..vms.len()).rev() {
            vms[position] = VmSlot { chain: vacant_vm, ..VmSlot::VACANT };
            vacant_vm = Index::new(position);
        }
        Self { vms, duties, arena, queue: Queue::default(), vacant_vm, policy }
    }

    /// Begins the life of a VM: room is reserved for every SP of `subscribers`, which are then told by
    /// [`next`](Self::next). Without one that wants VM_CREATED the VM is live at once.
    ///
    /// # Errors
    /// [`CreateError`]; nothing was incurred.
    pub fn create(
        &mut self,
        id: PartitionId,
        subscribers: impl Iterator<Item = Subscription>,
    ) -> Result<Created, CreateError> {
        if self.find(id).is_some() {
            return Err(CreateError::IdTaken { vm: id });
        }
        let no_room = CreateError::NoRoom { vm: id };
        let index = self.vacant_vm.ok_or(no_room)?;
        // The bucket and the heap cell belong to the position, not to the VM that comes to stand there.
        let VmSlot { bucket, heap_cell, .. } = self.vms[index.get()];
        let mut vm = VmSlot { id, bucket, heap_cell, ..VmSlot::VACANT };
        let mut phase = Phase::Live;
        for Subscription { sp, created, destroyed } in subscribers {
            let told = if created { Told::NotYet } else { Told::MaySo };
            if created {
                phase = Phase::Creating;
            }
            let duty = Duty::Sp { sp, told, destroyed };
            if self.arena.add(&mut self.duties, &mut vm, duty, State::Owed).is_none() {
                self.clear(&mut vm);
                return Err(no_room);
            }
            vm.reference = true;
        }
        vm.phase = Some(phase);
        self.vacant_vm = self.vms[index.get()].chain;
        let take_reference = vm.reference;
        self.vms[index.get()] = vm;
        let bucket = self.bucket(id);
        let first = self.vms[bucket].bucket.replace(index);
        self.vms[index.get()].chain = first;
        if phase == Phase::Creating {
            self.wake(index);
        }
        Ok(Created { vm: VmKey { index, id }, take_reference })
    }

    /// The VM is dead: its guest makes no new calls from now on. Also gives up a creation that is under way.
    ///
    /// # Errors
    /// [`Unexpected`] if it was dead already.
    pub fn destroy(&mut self, vm: VmKey) -> Result<(), Unexpected> {
        match self.phase(vm)? {
            Phase::Creating | Phase::Live => {
                self.die(vm.index);
                Ok(())
            }
            phase @ (Phase::Dying | Phase::Over) => Err(Unexpected::Phase { vm: vm.id, phase }),
        }
    }

    /// Tries once more all that was given up for this VM, because something has changed (an SP was restarted).
    ///
    /// Returns how many obligations are due again; zero if nothing was given up, or if what was has no handle to
    /// ask with.
    ///
    /// # Errors
    /// [`Unexpected`] if the VM is not dead.
    pub fn retry(&mut self, vm: VmKey) -> Result<u32, Unexpected> {
        let phase = self.phase(vm)?;
        if !matches!(phase, Phase::Dying | Phase::Over) {
            return Err(Unexpected::Phase { vm: vm.id, phase });
        }
        let mut due = 0;
        for list in self.vms[vm.index.get()].lists {
            let mut at = list.head;
            while let Some(index) = at {
                let slot = &mut self.duties[index.get()];
                at = slot.next;
                let callable = slot.duty.is_some_and(|duty| duty.call(vm.id, slot.resume).is_some());
                if matches!(slot.state, State::GivenUp { .. }) && callable {
                    (slot.state, slot.tries, slot.step) = (State::Owed, 0, 0);
                    due += 1;
                }
            }
        }
        if due > 0 {
            self.vms[vm.index.get()].phase = Some(Phase::Dying);
            self.wake(vm.index);
        }
        Ok(due)
    }

    /// [`retry`](Self::retry) for every dead VM.
    pub fn retry_quarantined(&mut self) -> u32 {
        let mut due = 0;
        for position in 0..self.vms.len() {
            if let Some(vm) = self.key_at(position) {
                due += self.retry(vm).unwrap_or(0);
            }
        }
        due
    }

    /// One step of whatever is due: at most one secure call, and bounded work. VMs take turns, and so do the
    /// obligations of each.
    pub fn next(&mut self, now: Time) -> Action {
        self.queue.promote(&mut self.vms, now);
        match self.queue.pop_ready(&mut self.vms) {
            Some(index) => self.step(index, now),
            None => Action::Idle { until: self.queue.deadline(&self.vms) },
        }
    }

    /// When [`next`](Self::next) has something to do: [`Time::ZERO`] for at once, `None` for never.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.queue.deadline(&self.vms)
    }

    /// Reports the answer to the call that [`Action::Call`] asked for.
    ///
    /// # Errors
    /// [`Unexpected`] if that call is not in flight for this VM.
    pub fn answered(
        &mut self,
        vm: VmKey,
        call: SecureCall,
        answer: &Answer,
        now: Time,
    ) -> Result<Judgement, Unexpected> {
        let phase = self.phase(vm)?;
        let stale = Unexpected::NotInFlight { vm: vm.id };
        let index = self.vms[vm.index.get()].in_flight.ok_or(stale)?;
        let slot = &mut self.duties[index.get()];
        let duty = slot.duty.ok_or(stale)?;
        if slot.state != State::InFlight || duty.call(vm.id, slot.resume) != Some(call) {
            return Err(stale);
        }
        let class = duty.classify(vm.id, answer);
        let (verdict, keep_running) = duty.judge(&self.policy.answers, class, slot.resume.is_some(), answer);
        let last = LastAnswer::new(class, answer);
        slot.last = Some(last);
        slot.resume = match answer {
            Answer::Interrupt(target) | Answer::Yield { target, .. } if verdict == Verdict::Resume => {
                Some(*target)
            }
            _ => slot.resume.filter(|_| keep_running),
        };
        let lost = verdict != Verdict::Done && self.lose_handle(index);
        let slot = &mut self.duties[index.get()];
        // The VM may have died meanwhile, so that nothing needs to be said to this SP any more.
        let moot = lost || Self::is_void(&self.vms[vm.index.get()], slot);
        let rest = match answer {
            Answer::Yield { timeout, .. } => Span::from_nanos(*timeout),
            _ => Span::ZERO,
        };
        if verdict == Verdict::Resume
            && !moot
            && rest <= self.policy.first
            && slot.step < self.policy.runs_first
        {
            slot.step += 1;
            let decision = self.run_first(vm.index, index, now, rest);
            return Ok(Judgement { answer: last, decision });
        }
        // A creation must come to an end; a dead VM's duty is tried as often as it takes.
        let limited = phase == Phase::Creating || matches!(verdict, Verdict::Limited(_));
        if limited {
            slot.tries = slot.tries.saturating_add(1);
        }
        let spent = limited && slot.tries >= self.policy.tries;
        let wait = match verdict {
            _ if moot || spent => None,
            Verdict::Done | Verdict::GiveUp | Verdict::Unknown => None,
            Verdict::Retry(pace) | Verdict::Limited(pace) => Some(self.policy.wait(pace, slot.step)),
            // It works whenever it is run: no reason to wait longer each time.
            Verdict::Resume => {
                let (first, _) = self.policy.wait(Pace::BackOff, 0);
                Some((first.max(rest).min(self.policy.longest), slot.step))
            }
        };
        let decision = match wait {
            Some((span, step)) => {
                let until = now + span;
                (slot.state, slot.step) = (State::Waiting { until }, step);
                Decision::TryAgain { until }
            }
            None => self.settle(vm.index, index, duty, verdict, last, now),
        };
        if !matches!(decision, Decision::Confirmed { .. }) {
            let (vm_slot, slot) = (&mut self.vms[vm.index.get()], &self.duties[index.get()]);
            vm_slot.in_flight = None;
            // The walk is past this duty. While the VM is being created, what is owed for its end does not count.
            let at_end = vm_slot.phase == Some(Phase::Creating) && slot.state == State::Owed;
            if slot.duty.is_some() && !at_end {
                vm_slot.note(slot);
            }
            self.queue.ready(&mut self.vms, vm.index);
        }
        Ok(Judgement { answer: last, decision })
    }

    /// An SP was preempted and takes no message about any other VM until it has finished: this VM does nothing else
    /// before, and when its time has come it goes ahead of all others.
    fn run_first(&mut self, vm: Index, at: Index, now: Time, rest: Span) -> Decision {
        let until = now + rest;
        self.duties[at.get()].state = State::Waiting { until };
        let slot = &mut self.vms[vm.get()];
        slot.in_flight = None;
        slot.pass.cursor = Some(at);
        if rest == Span::ZERO {
            self.queue.ready_first(&mut self.vms, vm);
        } else {
            slot.first = true;
            self.queue.wait(&mut self.vms, vm, until);
        }
        Decision::TryAgain { until }
    }

    /// Ends what an answer ended: `verdict` is final, or its tries are used up.
    fn settle(
        &mut self,
        vm: Index,
        index: Index,
        duty: Duty,
        verdict: Verdict,
        last: LastAnswer,
        now: Time,
    ) -> Decision {
        let done = verdict == Verdict::Done;
        let slot = &mut self.duties[index.get()];
        match duty {
            Duty::Sp { sp, told: Told::NotYet, destroyed } => {
                let creating = self.vms[vm.get()].phase == Some(Phase::Creating);
                // Refused, or not ready to the end: it never took note of the VM. Anything else it may have.
                let unheard = matches!(verdict, Verdict::GiveUp | Verdict::Limited(_) | Verdict::Retry(_))
                    && slot.resume.is_none();
                if creating && slot.resume.is_some() {
                    // It still has the message in hand: teardown lets it finish.
                    slot.state = State::Owed;
                } else if destroyed && !unheard {
                    (slot.duty, slot.resume) = (Some(Duty::Sp { sp, told: Told::MaySo, destroyed }), None);
                    slot.state = State::Owed;
                } else {
                    self.arena.remove(&mut self.duties, &mut self.vms[vm.get()], index);
                }
                let slot = &mut self.duties[index.get()];
                (slot.tries, slot.step) = (0, 0);
                match (done, creating) {
                    (true, _) => Decision::Told,
                    (false, false) => Decision::Met,
                    (false, true) => {
                        self.vms[vm.get()].failure = Some(last);
                        self.die(vm);
                        Decision::CreationFailed
                    }
                }
            }
            Duty::Share { .. } if done => {
                slot.state = State::Returning { vm };
                Decision::Confirmed { share: ShareId(index) }
            }
            _ if done => {
                self.arena.remove(&mut self.duties, &mut self.vms[vm.get()], index);
                Decision::Met
            }
            Duty::Share { .. } => {
                // A later try asks anew: FFA_MEM_RECLAIM may be repeated, and whom to run may be out of date.
                (slot.state, slot.resume) = (State::GivenUp { at: now }, None);
                Decision::GivenUp { share: Some(ShareId(index)) }
            }
            Duty::Sp { .. } | Duty::Call { .. } | Duty::Standing(_) => {
                slot.state = State::GivenUp { at: now };
                Decision::GivenUp { share: None }
            }
        }
    }

    /// The pages of a share are back where they belong: the share is no more.
    ///
    /// # Errors
    /// [`Unexpected`] if its pages were not on their way back.
    #[inline]
    pub fn released(&mut self, vm: VmKey, share: ShareId) -> Result<(), Unexpected> {
        self.phase(vm)?;
        let stale = Unexpected::NotInFlight { vm: vm.id };
        let slot = self.duties.get(share.0.get()).ok_or(stale)?;
        if slot.state != (State::Returning { vm: vm.index }) {
            return Err(stale);
        }
        let vm_slot = &mut self.vms[vm.index.get()];
        self.arena.remove(&mut self.duties, vm_slot, share.0);
        if vm_slot.in_flight == Some(share.0) {
            vm_slot.in_flight = None;
            self.queue.ready(&mut self.vms, vm.index);
        } else {
            self.wake(vm.index);
        }
        Ok(())
    }

    /// Where the VM stands.
    ///
    /// # Errors
    /// [`Unexpected::UnknownVm`] if the key is void.
    pub fn phase(&self, vm: VmKey) -> Result<Phase, Unexpected> {
        vm.phase_in(&self.vms)
    }

    /// The answer that made the VM's creation fail.
    #[must_use]
    pub fn failure(&self, vm: VmKey) -> Option<LastAnswer> {
        self.phase(vm).ok()?;
        self.vms[vm.index.get()].failure
    }

    /// The key of the VM that has this ID, dead ones and retired ones included.
    #[must_use]
    pub fn find(&self, id: PartitionId) -> Option<VmKey> {
        let mut at = self.vms.get(self.bucket(id))?.bucket;
        while let Some(index) = at {
            let slot = &self.vms[index.get()];
            if slot.id == id {
                return Some(VmKey { index, id });
            }
            at = slot.chain;
        }
        None
    }

    pub(crate) fn key_at(&self, position: usize) -> Option<VmKey> {
        let slot = self.vms.get(position)?;
        slot.phase?;
        Some(VmKey { index: Index::new(position)?, id: slot.id })
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn bucket(&self, id: PartitionId) -> usize {
        usize::from(id.0) % self.vms.len().max(1)
    }

    fn die(&mut self, index: Index) {
        let vm = &mut self.vms[index.get()];
        vm.phase = Some(Phase::Dying);
        vm.begin_pass();
        if vm.in_flight.is_none() {
            self.queue.ready(&mut self.vms, index);
        }
    }

    /// Sees to it that a VM with something owed is walked over once more.
    pub(crate) fn wake(&mut self, index: Index) {
        let vm = &mut self.vms[index.get()];
        if !matches!(vm.phase, Some(Phase::Creating | Phase::Dying)) {
            return;
        }
        if vm.in_flight.is_some() || vm.place == Place::Ready {
            vm.pass.again = true;
        } else {
            vm.begin_pass();
            self.queue.ready(&mut self.vms, index);
        }
    }

    fn step(&mut self, index: Index, now: Time) -> Action {
        for _ in 0..EXAMINED {
            let Some(at) = self.advance(index) else { return self.end_pass(index, now) };
            let (vm, slot) = (&mut self.vms[index.get()], &mut self.duties[at.get()]);
            let Some(duty) = slot.duty else { continue };
            let (due, in_flight) = match slot.state {
                State::Owed => (true, false),
                State::Waiting { until } => (until <= now || Self::is_void(vm, slot), false),
                State::Guest { .. } | State::InFlight | State::Returning { .. } => (false, true),
                State::GivenUp { .. } => (false, false),
            };
            if vm.phase == Some(Phase::Dying) && !vm.settled {
                vm.pass.open |= in_flight;
            } else if !due {
                vm.note(slot);
            } else if Self::is_void(vm, slot) {
                self.arena.remove(&mut self.duties, vm, at);
            } else if vm.phase == Some(Phase::Creating) && matches!(duty, Duty::Sp { told: Told::MaySo, .. })
            {
                // Owed, but for the VM's end.
            } else if let Some(call) = duty.call(vm.id, slot.resume) {
                slot.state = State::InFlight;
                vm.in_flight = Some(at);
                return Action::Call { vm: VmKey { index, id: vm.id }, call };
            } else {
                slot.state = State::GivenUp { at: now };
                vm.note(slot);
            }
        }
        self.queue.ready(&mut self.vms, index);
        Action::Continue
    }

    /// The first decision of the review: an SP that was never told of the VM is not told of its end.
    fn is_void(vm: &VmSlot, slot: &DutySlot) -> bool {
        let untold = match slot.duty {
            Some(Duty::Sp { told: Told::NotYet, .. }) => slot.resume.is_none(),
            Some(Duty::Sp { destroyed, .. }) => !destroyed,
            _ => false,
        };
        untold && vm.phase == Some(Phase::Dying)
    }

    /// The next duty of the walk.
    fn advance(&mut self, index: Index) -> Option<Index> {
        let vm = &mut self.vms[index.get()];
        loop {
            if let Some(at) = vm.pass.cursor {
                vm.pass.cursor = self.duties[at.get()].next;
                return Some(at);
            }
            vm.pass.cursor = vm.next_stage()?.head;
        }
    }

    fn end_pass(&mut self, index: Index, now: Time) -> Action {
        let slot = &mut self.vms[index.get()];
        let vm = VmKey { index, id: slot.id };
        let pass = core::mem::replace(&mut slot.pass, Pass::IDLE);
        if slot.phase == Some(Phase::Dying) && !slot.settled {
            // The first walk of a dead VM makes no call, but waits for those of its guest. No new one can begin.
            slot.settled = !pass.open;
            if slot.settled || pass.again {
                slot.begin_pass();
                self.queue.ready(&mut self.vms, index);
            }
            return Action::Continue;
        }
        if pass.again {
            slot.begin_pass();
            self.queue.ready(&mut self.vms, index);
            return Action::Continue;
        }
        if let Some(until) = pass.earliest {
            slot.begin_pass();
            if until <= now {
                self.queue.ready(&mut self.vms, index);
            } else {
                self.queue.wait(&mut self.vms, index, until);
            }
            return Action::Continue;
        }
        if pass.open {
            return Action::Continue;
        }
        if slot.phase == Some(Phase::Creating) {
            slot.phase = Some(Phase::Live);
            return Action::Created { vm };
        }
        slot.phase = Some(Phase::Over);
        let end = match (self.policy.disposal, self.policy.id_reuse) {
            (Disposal::Zombie, _) if pass.kept_share => End::Zombie,
            (_, IdReuse::WhenMet) if pass.kept_share || pass.kept_other => End::Retired,
            (_, IdReuse::WhenOver) if pass.kept_share => End::Retired,
            _ => End::Gone,
        };
        let give_back = end != End::Zombie && core::mem::take(&mut slot.reference);
        if end == End::Gone {
            self.free(index);
        }
        Action::Finished { vm, end, give_back }
    }

    fn free(&mut self, index: Index) {
        let mut vm = core::mem::replace(&mut self.vms[index.get()], VmSlot::VACANT);
        self.clear(&mut vm);
        let bucket = self.bucket(vm.id);
        // The bucket and the heap cell belong to the position, not to the VM that stood there.
        let slot = &mut self.vms[index.get()];
        (slot.bucket, slot.heap_cell) = (vm.bucket, vm.heap_cell);
        if self.vms[bucket].bucket == Some(index) {
            self.vms[bucket].bucket = vm.chain;
        } else {
            let mut at = self.vms[bucket].bucket;
            while let Some(before) = at {
                at = self.vms[before.get()].chain;
                if at == Some(index) {
                    self.vms[before.get()].chain = vm.chain;
                    break;
                }
            }
        }
        self.vms[index.get()].chain = self.vacant_vm;
        self.vacant_vm = Some(index);
    }

    /// Takes all duties out of `vm`.
    fn clear(&mut self, vm: &mut VmSlot) {
        for stage in 0..vm.lists.len() {
            while let Some(index) = vm.lists[stage].head {
                self.arena.remove(&mut self.duties, vm, index);
            }
        }
    }
}
