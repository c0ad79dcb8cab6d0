use core::marker::PhantomData;

use ffa_abi::PartitionId;

use crate::arena::Arena;
use crate::donation::Doubt;
use crate::duty::{Duty, DutySlot, LastAnswer, Resume, State, Told};
use crate::index::Index;
use crate::queue::Queue;
use crate::vm::{Phase, VmKey, VmSlot};
use crate::{CreateError, Created, Policy, Storage, Subscription, Unexpected};

/// The life of all VMs as the secure world sees it: events in, actions out.
///
/// `V` and `D` are the storage for VMs and for what they owe: one [`DutySlot`] for each SP that wants to hear of a
/// VM, each share, each loan, each direct request in flight, each [`Standing`](crate::Standing), each SP of which it has
/// bound notifications, and each call in flight that binds or unbinds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Engine<V, D> {
    pub(crate) vms: Slots<V, VmSlot>,
    pub(crate) duties: Slots<D, DutySlot>,
    pub(crate) arena: Arena,
    pub(crate) queue: Queue,
    vacant_vm: Option<Index>,
    /// The secure world may have memory under a handle that nobody knows. It may be one that a donation had until its
    /// receiver retrieved it, so that no success to the reclaim of a donation says any more which of the two came back.
    /// For ever, since nothing rids the books of such a share: one that is given up and has no name of any kind.
    pub(crate) doubt: Doubt,
    /// Whether the secure world says what a handle names.
    pub(crate) can_ask: bool,
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
        Self {
            vms,
            duties,
            arena,
            queue: Queue::default(),
            vacant_vm,
            doubt: Doubt::None,
            can_ask: false,
            policy,
        }
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
        self.begin_life(id, subscribers, None)
    }

    /// As [`create`](Self::create), for a VM of so many vCPUs for which the SPMC is to keep notifications: when every SP has
    /// taken note of the VM its bitmap is created. The VM is live after that, with a bitmap or without.
    ///
    /// # Errors
    /// [`CreateError`]; nothing was incurred.
    pub fn create_with_bitmap(
        &mut self,
        id: PartitionId,
        subscribers: impl Iterator<Item = Subscription>,
        vcpus: u32,
    ) -> Result<Created, CreateError> {
        self.begin_life(id, subscribers, Some(Duty::NewBitmap { vcpus, in_doubt: false }))
    }

    fn begin_life(
        &mut self,
        id: PartitionId,
        subscribers: impl Iterator<Item = Subscription>,
        bitmap: Option<Duty>,
    ) -> Result<Created, CreateError> {
        if self.find(id).is_some() {
            return Err(CreateError::IdTaken { vm: id });
        }
        let no_room = CreateError::NoRoom { vm: id };
        let index = self.vacant_vm.ok_or(no_room)?;
        // The buckets and the heap cell belong to the position, not to the VM that comes to stand there.
        let VmSlot { bucket, runs, heap_cell, .. } = self.vms[index.get()];
        let mut vm = VmSlot { id, bucket, runs, heap_cell, ..VmSlot::VACANT };
        let mut phase = Phase::Live;
        let told = |created| if created { Told::NotYet } else { Told::MaySo };
        let tell = |Subscription { sp, created, destroyed }| Duty::Sp { sp, told: told(created), destroyed };
        for duty in subscribers.map(tell).chain(bitmap) {
            if !matches!(duty, Duty::Sp { told: Told::MaySo, .. }) {
                phase = Phase::Creating;
            }
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

    /// Tries once more all that was given up for this VM, because something has changed (an SP was restarted). An SP
    /// that was preempted is run once more; if there is nothing to run, what it had in hand is gone with it: a message
    /// is sent anew, and a direct request is over.
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
                let askable = slot.duty.is_some_and(|duty| !duty.is_nameless());
                if matches!(slot.state, State::GivenUp { .. }) && askable {
                    (slot.state, slot.tries, slot.step) = (State::Owed, 0, 0);
                    if slot.resume == Resume::Run {
                        slot.resume = Resume::Last;
                    }
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

    pub(crate) fn free(&mut self, index: Index) {
        for list in self.vms[index.get()].lists {
            let mut at = list.head;
            while let Some(duty) = at {
                at = self.duties[duty.get()].next;
                self.forget_target(duty);
            }
        }
        let mut vm = core::mem::replace(&mut self.vms[index.get()], VmSlot::VACANT);
        self.clear(&mut vm);
        let bucket = self.bucket(vm.id);
        // The buckets and the heap cell belong to the position, not to the VM that stood there.
        let slot = &mut self.vms[index.get()];
        (slot.bucket, slot.runs, slot.heap_cell) = (vm.bucket, vm.runs, vm.heap_cell);
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
