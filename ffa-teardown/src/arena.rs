//! Lists of duties and the index of handles, inside the lent slots.

use ffa_abi::Handle;

use crate::duty::{Duty, DutySlot, Held, STAGE_CALL, STAGE_SHARE, State};
use crate::index::Index;
use crate::vm::VmSlot;

/// The vacant slots of the lent duty storage.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Arena {
    vacant: Option<Index>,
}

impl Arena {
    /// Links all of `slots` as vacant; the first is taken first.
    pub(crate) fn new(slots: &mut [DutySlot]) -> Self {
        let mut vacant = None;
        for position in (0..slots.len()).rev() {
            slots[position] = DutySlot { next: vacant, ..DutySlot::VACANT };
            vacant = Index::new(position);
        }
        Self { vacant }
    }

    /// Takes a slot for `duty` in `state` and puts it into its stage's list of `vm`; `None` if none is vacant.
    #[inline(always)] // before every call that may incur something
    pub(crate) fn add(
        &mut self,
        slots: &mut [DutySlot],
        vm: &mut VmSlot,
        duty: Duty,
        state: State,
    ) -> Option<Index> {
        let index = self.vacant?;
        let list = &mut vm.lists[duty.stage()];
        let slot = &mut slots[index.get()];
        self.vacant = slot.next;
        *slot =
            DutySlot { duty: Some(duty), state, prev: list.tail, bucket: slot.bucket, ..DutySlot::VACANT };
        match list.tail.replace(index) {
            Some(tail) => slots[tail.get()].next = Some(index),
            None => list.head = Some(index),
        }
        Some(index)
    }

    /// Takes a duty out of the list of `vm` and makes its slot vacant. A walk that was about to examine it goes on
    /// with the next.
    #[inline(always)] // ends every direct request and every share
    pub(crate) fn remove(&mut self, slots: &mut [DutySlot], vm: &mut VmSlot, index: Index) {
        let slot = &slots[index.get()];
        let Some(duty) = slot.duty else { return };
        // The two that end often are told from the others, and from each other, once.
        let stage = match duty {
            Duty::Share { handle, .. } => {
                if let Some(handle) = handle {
                    Self::forget_handle(slots, handle, index);
                }
                STAGE_SHARE
            }
            Duty::Call { .. } => STAGE_CALL,
            other => {
                if let Some(handle) = other.handle() {
                    Self::forget_handle(slots, handle, index);
                }
                other.stage()
            }
        };
        Self::unlink(slots, vm, stage, index);
        // What else is in the slot is of no account until the next duty comes, but for its bucket: that belongs to the
        // position.
        let slot = &mut slots[index.get()];
        (slot.duty, slot.state, slot.next) = (None, State::Owed, self.vacant.replace(index));
    }

    /// Makes another duty of the one at `index`, which has come further.
    #[cold]
    pub(crate) fn turn_into(slots: &mut [DutySlot], vm: &mut VmSlot, index: Index, duty: Duty) {
        let Some(before) = slots[index.get()].duty.replace(duty) else { return };
        if before.stage() == duty.stage() {
            return;
        }
        Self::unlink(slots, vm, before.stage(), index);
        let list = &mut vm.lists[duty.stage()];
        let tail = list.tail.replace(index);
        match tail {
            Some(tail) => slots[tail.get()].next = Some(index),
            None => list.head = Some(index),
        }
        (slots[index.get()].prev, slots[index.get()].next) = (tail, None);
    }

    /// Takes the slot at `index` out of a list of `vm`.
    #[inline(always)] // see `remove`
    fn unlink(slots: &mut [DutySlot], vm: &mut VmSlot, stage: usize, index: Index) {
        let (prev, next) = (slots[index.get()].prev, slots[index.get()].next);
        let list = &mut vm.lists[stage];
        match prev {
            Some(prev) => slots[prev.get()].next = next,
            None => list.head = next,
        }
        match next {
            Some(next) => slots[next.get()].prev = prev,
            None => list.tail = prev,
        }
        if vm.pass.cursor == Some(index) {
            vm.pass.cursor = next;
        }
    }

    /// Whether `handle`, which the share at `index` had, names another share by now. Where one of the two is a donation,
    /// that is the later one, as a donation can leave its handle without being asked for.
    pub(crate) fn names_another(slots: &[DutySlot], handle: Handle, index: Index) -> bool {
        let is_donation = |at: Index| slots[at.get()].duty.as_ref().is_some_and(Duty::is_donation);
        let first = slots[Self::bucket(slots, handle)].bucket;
        // The latest is the first.
        let mut is_later = true;
        Self::named(slots, first, handle).any(|other| {
            is_later &= other != index;
            other != index && (is_later || !is_donation(other) && !is_donation(index))
        })
    }

    /// Enters the share at `index` under `handle`, if all others that have it may have left it. Returns whether it did.
    #[inline(always)] // of every share, and short
    pub(crate) fn learn_handle(slots: &mut [DutySlot], handle: Handle, index: Index) -> bool {
        let bucket = Self::bucket(slots, handle);
        let first = slots[bucket].bucket;
        if Self::named(slots, first, handle).next().is_some() && !Self::leave(slots, handle) {
            return false;
        }
        slots[index.get()].chain = slots[bucket].bucket.replace(index);
        true
    }

    /// Whether all that have `handle` may have left it. One that is being reclaimed right now may: the answer that says so
    /// can come after the one that gives the handle out again. And so may a half-sent transaction without pages, of which
    /// nobody knows whether it was cancelled, and a donation, which has no handle any more when its receiver has retrieved
    /// it: they are not asked for again.
    #[cold]
    fn leave(slots: &mut [DutySlot], handle: Handle) -> bool {
        let is_asked = |slot: &DutySlot| {
            matches!(slot.state, State::Guest { .. } | State::InFlight | State::Returning { .. })
        };
        let has_left = |slot: &DutySlot| match slot.duty {
            Some(Duty::Half { held: Held::No, .. }) => !is_asked(slot),
            Some(duty) => duty.is_donation() && matches!(slot.state, State::Owed | State::Waiting { .. }),
            None => false,
        };
        let first = slots[Self::bucket(slots, handle)].bucket;
        if !Self::named(slots, first, handle)
            .all(|other| is_asked(&slots[other.get()]) || has_left(&slots[other.get()]))
        {
            return false;
        }
        loop {
            let first = slots[Self::bucket(slots, handle)].bucket;
            let left = Self::named(slots, first, handle).find(|other| has_left(&slots[other.get()]));
            let Some(left) = left else { return true };
            Self::forget_handle(slots, handle, left);
            if let Some(Duty::Half { handle, .. } | Duty::Share { handle, .. }) = &mut slots[left.get()].duty
            {
                *handle = None;
            }
        }
    }

    /// The shares with `handle` in the bucket that begins with `first`.
    fn named(slots: &[DutySlot], first: Option<Index>, handle: Handle) -> impl Iterator<Item = Index> {
        let chain = core::iter::successors(first, |index| slots[index.get()].chain);
        chain.filter(move |index| slots[index.get()].duty.is_some_and(|duty| duty.handle() == Some(handle)))
    }

    /// Strikes the share at `index` out from under `handle`.
    #[inline]
    pub(crate) fn forget_handle(slots: &mut [DutySlot], handle: Handle, index: Index) {
        let bucket = Self::bucket(slots, handle);
        let after = slots[index.get()].chain.take();
        if slots[bucket].bucket == Some(index) {
            slots[bucket].bucket = after;
            return;
        }
        let mut at = slots[bucket].bucket;
        while let Some(before) = at {
            at = slots[before.get()].chain;
            if at == Some(index) {
                slots[before.get()].chain = after;
                return;
            }
        }
    }

    /// Hafnium counts from 0, TF-A up from 0xffff_ffc0, OP-TEE sets bits 16 to 44: multiply, and take the top.
    fn bucket(slots: &[DutySlot], handle: Handle) -> usize {
        let mixed = handle.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        // Both are below 2^32: no more slots than an `Index` names are ever in use.
        (mixed.wrapping_mul(slots.len() as u64) >> 32) as usize
    }
}
