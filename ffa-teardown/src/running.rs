//! Whom a preempted SP works for. An SP's vCPU has one thing in hand at a time, and the answer to FFA_RUN does not say
//! which: only the duty whose call it was last preempted over may run it.

use ffa_abi::{Answer, RunTarget};

use crate::duty::{DutySlot, Resume, State};
use crate::index::Index;
use crate::vm::VmSlot;
use crate::{Engine, Storage};

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// `target` was preempted over the call of the duty at `index`. Whatever else it was to be resumed for it has in hand
    /// no more: it was restarted meanwhile, or that was finished and the answer lost.
    pub(crate) fn works_for(&mut self, target: RunTarget, index: Index) {
        let slot = &mut self.duties[index.get()];
        if slot.run() == Some(target) {
            slot.resume = Resume::Run;
            return;
        }
        self.forget_target(index);
        self.works_elsewhere(target);
        let bucket = self.target_bucket(target);
        let slot = &mut self.duties[index.get()];
        (slot.target, slot.resume) = (target, Resume::Run);
        slot.runs = self.vms[bucket].runs.replace(index);
    }

    /// `target` was preempted over a call of which the engine knows nothing. Whatever it was to be resumed for it has in hand
    /// no more; that is owed anew, and the answer to an FFA_RUN that is in flight for it says nothing.
    pub fn works_elsewhere(&mut self, target: RunTarget) {
        // An engine without room for VMs has nothing to resume.
        let first = self.vms.get(self.target_bucket(target)).and_then(|slot| slot.runs);
        let other = core::iter::successors(first, |index| self.duties[index.get()].runs)
            .find(|other| self.duties[other.get()].target == target);
        if let Some(other) = other {
            self.lose(other);
        }
    }

    /// Nobody is to be resumed for the duty at `index` any more.
    pub(crate) fn forget_target(&mut self, index: Index) {
        if matches!(self.duties[index.get()].resume, Resume::Run | Resume::Last) {
            self.unlink_target(index);
        }
        self.duties[index.get()].resume = Resume::Anew;
    }

    /// Ends a duty of `vm`.
    #[inline(always)] // ends every direct request
    pub(crate) fn remove(&mut self, vm: Index, index: Index) {
        if self.duties[index.get()].resume != Resume::Anew {
            self.forget_target(index);
        }
        self.arena.remove(&mut self.duties, &mut self.vms[vm.get()], index);
    }

    /// Whom the duty at `index` was to run works for something else.
    fn lose(&mut self, index: Index) {
        self.unlink_target(index);
        let slot = &mut self.duties[index.get()];
        if matches!(slot.state, State::Guest { .. } | State::InFlight) {
            slot.resume = Resume::Lost;
            return;
        }
        slot.resume = Resume::Anew;
        if let Some(duty) = &mut slot.duty {
            duty.lose();
        }
    }

    #[cold]
    fn unlink_target(&mut self, index: Index) {
        let bucket = self.target_bucket(self.duties[index.get()].target);
        let after = self.duties[index.get()].runs.take();
        if self.vms[bucket].runs == Some(index) {
            self.vms[bucket].runs = after;
            return;
        }
        let mut at = self.vms[bucket].runs;
        while let Some(before) = at {
            at = self.duties[before.get()].runs;
            if at == Some(index) {
                self.duties[before.get()].runs = after;
                return;
            }
        }
    }

    /// SPs have IDs in a row, and few vCPUs.
    fn target_bucket(&self, target: RunTarget) -> usize {
        usize::from(target.endpoint.0 ^ target.vcpu << 8) % self.vms.len().max(1)
    }
}

/// The SP that an answer says was preempted.
pub(crate) const fn preempted_target(answer: &Answer) -> Option<RunTarget> {
    match *answer {
        Answer::Interrupt(target) | Answer::Yield { target, .. } => Some(target),
        _ => None,
    }
}
