//! The walks over what each VM owes: what is due next, and what a whole walk has found.

use crate::duty::{Duty, DutySlot, Held, Resume, State, Told};
use crate::index::Index;
use crate::vm::{Pass, Phase, Place, VmKey, VmSlot};
use crate::{Action, Disposal, End, Engine, IdReuse, SecureCall, ShareId, Storage, Time};

/// Duties that one step examines at most, so that a step costs the same however many a VM has.
const EXAMINED: usize = 16;

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
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

    pub(crate) fn die(&mut self, index: Index) {
        let vm = &mut self.vms[index.get()];
        vm.phase = Some(Phase::Dying);
        vm.begin_pass();
        if vm.in_flight.is_none() {
            self.queue.ready(&mut self.vms, index);
        }
    }

    /// Sees to it that a VM with something owed is walked over once more.
    #[inline(always)] // after every call of a guest; there is little to do for one that lives
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
                State::Lent { .. } | State::GivenUp { .. } => (false, false),
            };
            if vm.phase == Some(Phase::Dying) && !vm.settled {
                vm.pass.open |= in_flight;
            } else if !due {
                vm.note(slot);
            } else if Self::is_void(vm, slot) {
                if let Duty::NewBitmap { in_doubt: true, .. } = duty {
                    vm.pass.again = true;
                    self.bitmap_may_be_there(index, at, true);
                } else {
                    self.remove(index, at);
                }
            } else if vm.phase == Some(Phase::Creating) && matches!(duty, Duty::Sp { told: Told::MaySo, .. })
            {
                // Owed, but for the VM's end.
            } else if matches!(duty, Duty::NewBitmap { .. }) && vm.pass.is_to_be_repeated() {
                // It comes last: OP-TEE keeps nothing for a VM that it has not been told of.
            } else if duty.is_donation() && (duty.is_unsent() || self.doubt.hides(slot, self.can_ask)) {
                slot.state = State::Returning { vm: index };
                vm.in_flight = Some(at);
                let vm = VmKey { index, id: vm.id };
                self.forget_target(at);
                return Action::Gone { vm, share: ShareId(at) };
            } else if let Some(call) = Self::call_due(vm, slot) {
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

    /// The call by which a duty is met, or `None` for a share without a handle.
    fn call_due(vm: &VmSlot, slot: &mut DutySlot) -> Option<SecureCall> {
        let is_dead = vm.phase == Some(Phase::Dying);
        let run = slot.run();
        let duty = slot.duty.as_mut()?;
        if let Duty::Sp { told: told @ Told::Perhaps, .. } = duty {
            // Nobody is asked anew for the sake of a VM that is dead.
            if is_dead && run.is_none() {
                *told = Told::MaySo;
                (slot.tries, slot.step) = (0, 0);
            }
        }
        duty.call(vm.id, run)
    }

    /// An SP that was never told of the VM is not told of its end, no bitmap is created for a dead VM, and a direct request
    /// that no SP works for is over. So is a half-sent transaction without pages whose handle is another one's.
    pub(crate) fn is_void(vm: &VmSlot, slot: &DutySlot) -> bool {
        let nothing_left = match slot.duty {
            Some(Duty::Call { .. } | Duty::NewBitmap { .. } | Duty::Sp { told: Told::NotYet, .. }) => {
                slot.resume == Resume::Anew
            }
            Some(Duty::Sp { destroyed, .. }) => !destroyed,
            Some(Duty::Half { handle: None, held: Held::No, .. }) => true,
            _ => false,
        };
        nothing_left && vm.phase == Some(Phase::Dying)
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
}
