//! The one queue of VMs: a line of those whose turn has come, and a heap of those that wait for a deadline.
//!
//! Two structures, since one ordered by deadline alone would let VMs that are due at the same moment starve each
//! other. Both live inside the VM slots. Each operation costs at most the heap's height.

use crate::Time;
use crate::index::Index;
use crate::vm::{Place, VmSlot};

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Queue {
    head: Option<Index>,
    tail: Option<Index>,
    waiting: u32,
}

impl Queue {
    /// Puts `vm` at the end of the line, if it is not in it already.
    pub(crate) fn ready(&mut self, vms: &mut [VmSlot], vm: Index) {
        match vms[vm.get()].place {
            Place::Ready => return,
            Place::Waiting => self.remove(vms, vm),
            Place::Out => {}
        }
        let slot = &mut vms[vm.get()];
        (slot.place, slot.ready_next, slot.first) = (Place::Ready, None, false);
        match self.tail.replace(vm) {
            Some(tail) => vms[tail.get()].ready_next = Some(vm),
            None => self.head = Some(vm),
        }
    }

    /// Puts `vm`, which stands nowhere, at the head of the line.
    pub(crate) fn ready_first(&mut self, vms: &mut [VmSlot], vm: Index) {
        debug_assert_eq!(vms[vm.get()].place, Place::Out);
        let slot = &mut vms[vm.get()];
        (slot.place, slot.ready_next, slot.first) = (Place::Ready, self.head.replace(vm), false);
        self.tail.get_or_insert(vm);
    }

    /// Takes the first of the line.
    pub(crate) fn pop_ready(&mut self, vms: &mut [VmSlot]) -> Option<Index> {
        let vm = self.head?;
        let slot = &mut vms[vm.get()];
        slot.place = Place::Out;
        self.head = slot.ready_next.take();
        if self.head.is_none() {
            self.tail = None;
        }
        Some(vm)
    }

    /// Lets `vm`, which stands nowhere, wait until `deadline`.
    pub(crate) fn wait(&mut self, vms: &mut [VmSlot], vm: Index, deadline: Time) {
        debug_assert_eq!(vms[vm.get()].place, Place::Out);
        let slot = &mut vms[vm.get()];
        (slot.place, slot.deadline) = (Place::Waiting, deadline);
        let at = self.waiting;
        self.waiting += 1;
        Self::sift_up(vms, at, vm);
    }

    /// Moves up to two of those whose deadline has passed into the line: two for each one served, so that the
    /// line never keeps them waiting for long.
    pub(crate) fn promote(&mut self, vms: &mut [VmSlot], now: Time) {
        for _ in 0..2 {
            match self.first(vms) {
                Some(vm) if vms[vm.get()].deadline <= now => {
                    if vms[vm.get()].first {
                        self.remove(vms, vm);
                        self.ready_first(vms, vm);
                    } else {
                        self.ready(vms, vm);
                    }
                }
                _ => return,
            }
        }
    }

    /// When there is something to do: at once if anybody stands in line, never if nobody waits.
    pub(crate) fn deadline(&self, vms: &[VmSlot]) -> Option<Time> {
        match self.head {
            Some(_) => Some(Time::ZERO),
            None => self.first(vms).map(|vm| vms[vm.get()].deadline),
        }
    }

    /// The line, then the heap from its top.
    pub(crate) fn order(&self, vms: &[VmSlot]) -> impl Iterator<Item = Index> {
        let line = core::iter::successors(self.head, |vm| vms[vm.get()].ready_next);
        line.chain(vms.iter().take(self.waiting as usize).filter_map(|slot| slot.heap_cell))
    }

    fn first(&self, vms: &[VmSlot]) -> Option<Index> {
        if self.waiting == 0 { None } else { vms[0].heap_cell }
    }

    fn remove(&mut self, vms: &mut [VmSlot], vm: Index) {
        let slot = &mut vms[vm.get()];
        let at = core::mem::take(&mut slot.heap_at);
        (slot.place, slot.deadline) = (Place::Out, Time::ZERO);
        self.waiting -= 1;
        let last = vms[self.waiting as usize].heap_cell.take();
        if at < self.waiting {
            if let Some(last) = last {
                let at = Self::sift_up(vms, at, last);
                self.sift_down(vms, at, last);
            }
        }
    }

    fn put(vms: &mut [VmSlot], at: u32, vm: Index) {
        vms[at as usize].heap_cell = Some(vm);
        vms[vm.get()].heap_at = at;
    }

    fn entry(vms: &[VmSlot], at: u32) -> Option<(Time, Index)> {
        let vm = vms[at as usize].heap_cell?;
        Some((vms[vm.get()].deadline, vm))
    }

    /// Finds the place of `vm` from the hole at `at` upwards; those that are later move down.
    fn sift_up(vms: &mut [VmSlot], mut at: u32, vm: Index) -> u32 {
        let deadline = vms[vm.get()].deadline;
        while at > 0 {
            let parent = (at - 1) / 2;
            match Self::entry(vms, parent) {
                Some((above, other)) if above > deadline => Self::put(vms, at, other),
                _ => break,
            }
            at = parent;
        }
        Self::put(vms, at, vm);
        at
    }

    /// Likewise downwards.
    fn sift_down(&self, vms: &mut [VmSlot], mut at: u32, vm: Index) {
        let deadline = vms[vm.get()].deadline;
        loop {
            let left = at.saturating_mul(2).saturating_add(1);
            if left >= self.waiting {
                break;
            }
            let Some((mut below, mut other)) = Self::entry(vms, left) else { break };
            let mut child = left;
            if left + 1 < self.waiting {
                if let Some((right, vm)) = Self::entry(vms, left + 1) {
                    if right < below {
                        (below, other, child) = (right, vm, left + 1);
                    }
                }
            }
            if deadline <= below {
                break;
            }
            Self::put(vms, at, other);
            at = child;
        }
        Self::put(vms, at, vm);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;

    /// A small generator with a full period, so that the runs below are the same each time.
    fn next(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 33
    }

    #[test]
    fn the_earliest_comes_first_whatever_was_added_moved_and_removed() {
        for mut seed in 0..50 {
            let mut vms: Vec<VmSlot> = (0..20).map(|_| VmSlot::VACANT).collect();
            let mut queue = Queue::default();
            let mut naive = BTreeSet::new();
            for _ in 0..200 {
                let position = next(&mut seed) as usize % vms.len();
                let vm = Index::new(position).unwrap();
                match vms[position].place {
                    Place::Out => {
                        let deadline = next(&mut seed) % 16;
                        queue.wait(&mut vms, vm, Time::from_nanos(deadline));
                        naive.insert((deadline, position));
                    }
                    _ => {
                        naive.remove(&(vms[position].deadline.as_nanos(), position));
                        queue.ready(&mut vms, vm);
                        assert_eq!(queue.deadline(&vms), Some(Time::ZERO));
                        assert_eq!(queue.pop_ready(&mut vms), Some(vm));
                    }
                }
                let earliest = naive.first().map(|&(deadline, _)| Time::from_nanos(deadline));
                assert_eq!(queue.deadline(&vms), earliest);
            }
            let mut last = Time::ZERO;
            while queue.deadline(&vms).is_some() {
                queue.promote(&mut vms, Time::from_nanos(16));
                while let Some(vm) = queue.pop_ready(&mut vms) {
                    assert!(vms[vm.get()].deadline >= last);
                    last = vms[vm.get()].deadline;
                }
            }
        }
    }

    #[test]
    fn those_in_line_take_turns() {
        let mut vms: Vec<VmSlot> = (0..4).map(|_| VmSlot::VACANT).collect();
        let mut queue = Queue::default();
        for position in 0..4 {
            queue.wait(&mut vms, Index::new(position).unwrap(), Time::ZERO);
        }
        let mut served = Vec::new();
        for _ in 0..12 {
            queue.promote(&mut vms, Time::ZERO);
            let vm = queue.pop_ready(&mut vms).unwrap();
            served.push(vm.get());
            queue.ready(&mut vms, vm);
        }
        for round in served.chunks(4).skip(1) {
            assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 4, "{served:?}");
        }
    }
}
