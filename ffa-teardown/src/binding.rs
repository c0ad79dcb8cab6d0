//! Notifications that guests bind and unbind: the bits have their place before the call that may change what is bound.

use ffa_abi::{Answer, FirmwareStatus, NotificationBitmap, PartitionId, RunTarget};

use crate::arena::Arena;
use crate::duty::{Duty, DutySlot, LastAnswer, Resume, STAGE_BITMAP, STAGE_BOUND, Standing, State};
use crate::guest::status;
use crate::index::Index;
use crate::running::preempted_target;
use crate::vm::{VmKey, VmSlot};
use crate::{BeginError, Begun, Engine, Storage, Unexpected, Verdict};

/// Names one FFA_NOTIFICATION_BIND or FFA_NOTIFICATION_UNBIND of a guest while it lasts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BindingId(Index);

/// What became of an FFA_NOTIFICATION_BIND or FFA_NOTIFICATION_UNBIND that a guest asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub enum BindingOutcome {
    /// The SPMC has done it.
    Done,
    /// It has not: bound is what was bound before.
    Refused(FirmwareStatus),
    /// Nobody can tell. The bits count as bound, and are unbound when the VM dies, by a call of their own: the SPMC
    /// refuses one that names a bit too many. The guest can neither bind nor unbind them any more.
    Unknown,
    /// An SP was preempted: make FFA_RUN and report its answer the same way.
    Resume(RunTarget),
}

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// A guest is about to bind the notifications `bits`, which `sp` may signal then.
    ///
    /// # Errors
    /// [`BeginError::NotFound`] if the VM has no bitmap, or there are no bits; [`BeginError::Busy`] if another call
    /// works on what is bound to that SP, or has left one of the bits in doubt. Nothing has changed.
    pub fn begin_bind(
        &mut self,
        vm: VmKey,
        sp: PartitionId,
        bits: NotificationBitmap,
    ) -> Result<Begun<BindingId>, BeginError> {
        self.may_bind(vm, bits)?;
        let in_doubt = |bound: &Bound| !bound.named && !bound.bits.and(bits).is_empty();
        if self.bound(vm, sp).any(|bound| bound.in_flight || in_doubt(&bound)) {
            return Err(BeginError::Busy);
        }
        // What is bound already stays so, whatever comes of this.
        let known = self.bound(vm, sp).filter(|bound| bound.named);
        let bits = known.fold(bits, |bits, bound| bits.without(bound.bits));
        self.begin(vm, Duty::Bound { sp, bits, named: false, drained: false })
            .map(|(index, take_reference)| Begun { id: BindingId(index), take_reference })
    }

    /// Reports the answer to FFA_NOTIFICATION_BIND, or to the FFA_RUN that resumes it.
    ///
    /// # Errors
    /// [`Unexpected`] if it is not in flight.
    pub fn bind_answered(
        &mut self,
        vm: VmKey,
        binding: BindingId,
        answer: &Answer,
    ) -> Result<BindingOutcome, Unexpected> {
        self.binding_answered(vm, binding, answer, false)
    }

    /// A guest is about to unbind the notifications `bits` from `sp`: all that are bound to it, or some.
    ///
    /// # Errors
    /// [`BeginError::NotFound`] if the guest does not know all of them to be bound to it, or there are none; [`BeginError::Busy`] if another
    /// call works on what is; [`BeginError::NoRoom`] if there is no place for what becomes of some of them. Nothing has
    /// changed.
    pub fn begin_unbind(
        &mut self,
        vm: VmKey,
        sp: PartitionId,
        bits: NotificationBitmap,
    ) -> Result<BindingId, BeginError> {
        self.may_bind(vm, bits)?;
        if self.bound(vm, sp).any(|bound| bound.in_flight) {
            return Err(BeginError::Busy);
        }
        let known = self.bound(vm, sp).find(|bound| bound.named && bound.bits.contains(bits));
        let Bound { index, bits: all, .. } = known.ok_or(BeginError::NotFound)?;
        if all == bits {
            self.duties[index.get()].state = State::Guest { vm: vm.index };
            return Ok(BindingId(index));
        }
        let named = |bits| Duty::Bound { sp, bits, named: true, drained: false };
        let (part, _) = self.begin(vm, named(bits))?;
        self.duties[index.get()].duty = Some(named(all.without(bits)));
        Ok(BindingId(part))
    }

    /// Reports the answer to a guest's FFA_NOTIFICATION_UNBIND, or to the FFA_RUN that resumes it.
    ///
    /// # Errors
    /// [`Unexpected`] if it is not in flight.
    pub fn unbind_answered(
        &mut self,
        vm: VmKey,
        binding: BindingId,
        answer: &Answer,
    ) -> Result<BindingOutcome, Unexpected> {
        self.binding_answered(vm, binding, answer, true)
    }

    /// `unbinds`: whether the call was to unbind. The guest knew of the bits if and only if it was.
    fn binding_answered(
        &mut self,
        vm: VmKey,
        BindingId(index): BindingId,
        answer: &Answer,
        unbinds: bool,
    ) -> Result<BindingOutcome, Unexpected> {
        let kind = |duty: &Duty| matches!(duty, Duty::Bound { named, .. } if *named == unbinds);
        let slot = Self::guest_duty(&self.vms, &mut self.duties, vm, index, kind)?;
        let Some(duty @ Duty::Bound { sp, bits, .. }) = slot.duty else {
            return Err(Unexpected::NotInFlight { vm: vm.id });
        };
        let class = duty.classify(vm.id, answer);
        slot.set_last(LastAnswer::new(class, answer));
        let resumed = slot.resume != Resume::Anew;
        let is_lost = slot.resume == Resume::Lost;
        let verdict = self.policy.answers.bind.verdict(class);
        if let Some(target) = preempted_target(answer).filter(|_| !is_lost) {
            let again = verdict == Verdict::Resume && slot.tries < self.policy.tries;
            slot.tries = slot.tries.saturating_add(1);
            self.works_for(target, index);
            if again {
                return Ok(BindingOutcome::Resume(target));
            }
        }
        self.forget_target(index);
        let outcome = match verdict {
            _ if is_lost => BindingOutcome::Unknown,
            Verdict::Done => BindingOutcome::Done,
            // After FFA_RUN an error may be FFA_RUN's own, and say nothing of the bits.
            Verdict::GiveUp | Verdict::Retry(_) | Verdict::Limited(_) if !resumed => {
                BindingOutcome::Refused(status(answer))
            }
            _ => BindingOutcome::Unknown,
        };
        let slot = &mut self.duties[index.get()];
        (slot.state, slot.tries) = (State::Owed, 0);
        let named = outcome != BindingOutcome::Unknown;
        slot.duty = Some(Duty::Bound { sp, bits, named, drained: false });
        let none_left = bits.is_empty() || named && (outcome == BindingOutcome::Done) == unbinds;
        if none_left {
            self.remove(vm.index, index);
        } else if named {
            self.join(vm, sp, index, bits);
        }
        self.wake(vm.index);
        Ok(outcome)
    }

    /// Puts the bits at `index`, which are bound for certain, together with the others of that SP.
    fn join(&mut self, vm: VmKey, sp: PartitionId, index: Index, bits: NotificationBitmap) {
        let others = self.bound(vm, sp).find(|other| other.named && other.index != index);
        let Some(Bound { index: into, bits: others, .. }) = others else { return };
        self.remove(vm.index, index);
        let bits = bits.or(others);
        self.duties[into.get()].duty = Some(Duty::Bound { sp, bits, named: true, drained: false });
    }

    /// The bitmap that was to be created is there, or if that is `in_doubt` may be: it is to be destroyed when the VM dies.
    pub(crate) fn bitmap_may_be_there(&mut self, vm: Index, index: Index, in_doubt: bool) {
        self.forget_target(index);
        let mut bitmap = Duty::new_standing(Standing::Bitmap);
        bitmap.doubt(in_doubt);
        Arena::turn_into(&mut self.duties, &mut self.vms[vm.get()], index, bitmap);
        let slot = &mut self.duties[index.get()];
        (slot.state, slot.tries, slot.step) = (State::Owed, 0, 0);
    }

    /// What was bound in a bitmap is gone with it.
    pub(crate) fn unbound_with_bitmap(&mut self, vm: Index) {
        let mut at = self.vms[vm.get()].lists[STAGE_BOUND].head;
        while let Some(index) = at {
            at = self.duties[index.get()].next;
            if let Some(Duty::Bound { .. }) = self.duties[index.get()].duty {
                self.remove(vm, index);
                self.vms[vm.get()].pass.again = true;
            }
        }
    }

    /// Whether the VM lives, has a bitmap that is not about to go, and names bits.
    fn may_bind(&self, vm: VmKey, bits: NotificationBitmap) -> Result<(), BeginError> {
        self.live(vm)?;
        let bitmap = self.bitmap(vm).ok_or(BeginError::NotFound)?;
        if self.duties[bitmap.get()].state != State::Owed || bits.is_empty() {
            return Err(BeginError::NotFound);
        }
        Ok(())
    }

    /// The VM's notification bitmap.
    pub(crate) fn bitmap(&self, vm: VmKey) -> Option<Index> {
        self.vms[vm.index.get()].lists[STAGE_BITMAP].head
    }

    /// What may be bound to `sp`.
    fn bound(&self, vm: VmKey, sp: PartitionId) -> impl Iterator<Item = Bound> + '_ {
        self.bindings(vm).filter(move |bound| bound.sp == sp)
    }

    /// What may be bound to any SP.
    pub(crate) fn bindings(&self, vm: VmKey) -> impl Iterator<Item = Bound> + '_ {
        let next = |index: &Index| self.duties[index.get()].next;
        let all = core::iter::successors(self.vms[vm.index.get()].lists[STAGE_BOUND].head, next);
        all.filter_map(|index| {
            let slot = &self.duties[index.get()];
            let Duty::Bound { sp, bits, named, .. } = slot.duty? else { return None };
            let in_flight = matches!(slot.state, State::Guest { .. });
            Some(Bound { index, sp, bits, named, in_flight })
        })
    }
}

/// Notifications that may be bound.
pub(crate) struct Bound {
    index: Index,
    sp: PartitionId,
    bits: NotificationBitmap,
    /// The guest knows of them.
    named: bool,
    /// A call of the guest works on them.
    pub(crate) in_flight: bool,
}
