//! The list of SPs, in memory that the hypervisor lends, and how it follows the SPMC's.

use core::mem;
use core::sync::atomic::Ordering;

use ffa_abi::{PartitionId, PartitionInfo, Properties, Status};
use ffa_teardown::{Storage, Subscription, VmKey};

use crate::listing::{Found, ListError, ask_tag, read, read_registers};
use crate::mediator::Guard;
use crate::record::{Mailbox, RxState};
use crate::{Event, EventKind, Mediator, Platform, Scratch, Stores};

/// The list of SPs, and room to read the next one, in memory that the hypervisor lends.
#[derive(Clone, Debug)]
pub struct Partitions<L> {
    current: List<L>,
    next: List<L>,
    /// The SPMC's name for the current one, if it came in registers.
    tag: Option<u16>,
}

/// Where a guest is shown the list, or its length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shown {
    InRx,
    InRegisters,
}

#[derive(Clone, Debug)]
struct List<L> {
    /// Those of one SP stand together.
    records: L,
    len: usize,
}

impl<L: Storage<PartitionInfo>> Partitions<L> {
    /// Empty, over lent memory whose content does not matter. As many records fit as there are in the smaller one.
    pub(crate) fn new(lists: [L; 2]) -> Self {
        let [current, next] = lists.map(|records| List { records, len: 0 });
        Self { current, next, tag: None }
    }

    /// The records, those of one SP together; one with several UUIDs may have several.
    #[inline(always)] // of most calls, and short
    pub(crate) fn records(&self) -> &[PartitionInfo] {
        let records = self.current.records.as_ref();
        &records[..self.current.len.min(records.len())]
    }

    /// The first record of an SP.
    #[inline(always)] // of most calls, and short
    pub(crate) fn find(&self, id: PartitionId) -> Option<&PartitionInfo> {
        self.records().iter().find(|sp| sp.id == id)
    }

    /// What SPs want to be told of each VM.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = Subscription> + '_ {
        self.records().chunk_by(|one, other| one.id == other.id).filter_map(|records| {
            let all = records.iter().fold(Properties::default(), |all, record| all.or(record.properties));
            Subscription::of(records.first()?.id, all)
        })
    }

    /// Takes note of what is found of the next list.
    ///
    /// # Errors
    /// [`ListError::NoRoom`] if the lent memory is too small.
    pub(crate) fn note(&mut self, found: Found) -> Result<(), ListError> {
        let room = self.current.records.as_ref().len().min(self.next.records.as_ref().len());
        let List { records, len } = &mut self.next;
        match found {
            Found::Start => *len = 0,
            // An ID without bit 15 would be taken for a VM.
            Found::Record(record) if !record.id.is_secure() => {}
            Found::Record(record) => {
                let used = records.as_mut().get_mut(..=*len).filter(|_| *len < room);
                let used = used.ok_or(ListError::NoRoom { room })?;
                let last = used.iter().take(*len).rposition(|listed| listed.id == record.id);
                let place = last.map_or(*len, |last| last + 1);
                if let Some(moved) = used.get_mut(place..) {
                    moved.rotate_right(1);
                    moved.iter_mut().take(1).for_each(|slot| *slot = record);
                }
                *len += 1;
            }
        }
        Ok(())
    }

    /// What was noted is the list from now on. Moves the lent memory, which is nothing for references.
    pub(crate) fn replace(&mut self, tag: Option<u16>) {
        mem::swap(&mut self.current, &mut self.next);
        self.tag = tag;
    }
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Reads the list of SPs anew, as when the hypervisor learns that one was loaded or restarted. If the SPMC lists
    /// them in registers there is no need to: then the mediator asks for the tag of the list before it shows the list to a
    /// guest or creates a VM, and reads what has changed.
    ///
    /// An SP that is new is told of VMs that are created from now on. One that is gone is owed what it was owed: its
    /// calls are made, and what the SPMC answers decides, as for any other SP. To guests it does not exist any more, but
    /// what one of them had begun it may end.
    ///
    /// # Errors
    /// [`ListError`]: the list is as it was before.
    pub fn refresh_partitions(&self, hyp: &mut P, scratch: &mut Scratch) -> Result<(), ListError> {
        let in_registers = self.spmc.lists_in_registers();
        self.replace_partitions(hyp, |hyp, note| read(hyp, in_registers, scratch, note))
    }

    /// The list as it is read outside the lock takes the place of the one in use, which others go on to read until then.
    fn replace_partitions(
        &self,
        hyp: &mut P,
        read: impl FnOnce(
            &mut P,
            &mut dyn FnMut(Found) -> Result<(), ListError>,
        ) -> Result<Option<u16>, ListError>,
    ) -> Result<(), ListError> {
        S::before_lock();
        if self.rx_busy.swap(true, Ordering::Acquire) {
            return Err(ListError::Busy);
        }
        let read = read(hyp, &mut |found| self.lock().partitions.note(found)).map(|tag| {
            let mut state = self.lock();
            state.partitions.replace(tag);
            state.list.changed();
        });
        self.rx_busy.store(false, Ordering::Release);
        let kind = if read.is_ok() { EventKind::Listed } else { EventKind::NotListed };
        hyp.event(&Event::new(PartitionId::HYPERVISOR, kind));
        read
    }

    /// Looks whether the list is still that of the SPMC, if the SPMC lists partitions in registers: by one call, as long
    /// as the tag is the same.
    #[inline]
    pub(crate) fn follow_spmc(&self, hyp: &mut P) {
        if self.spmc.lists_in_registers() {
            let ours = self.lock().partitions.tag;
            self.compare_tags(hyp, ours);
        }
    }

    #[cold]
    fn compare_tags(&self, hyp: &mut P, ours: Option<u16>) {
        if ask_tag(hyp).is_some_and(|theirs| Some(theirs) != ours) {
            // If it fails there is the old list, and an event says so.
            let _ = self.replace_partitions(hyp, |hyp, note| read_registers(hyp, note).map(Some));
        }
    }

    /// [`follow_spmc`](Self::follow_spmc) in the middle of a guest's call.
    ///
    /// # Errors
    /// DENIED if the VM died meanwhile.
    #[inline]
    pub(crate) fn look_again<'a>(
        &'a self,
        hyp: &mut P,
        state: Guard<'a, P, S>,
        vm: VmKey,
        shown: Shown,
    ) -> Result<Guard<'a, P, S>, Status> {
        if self.spmc.lists_in_registers() { self.look_outside(hyp, state, vm, shown) } else { Ok(state) }
    }

    #[cold]
    fn look_outside<'a>(
        &'a self,
        hyp: &mut P,
        mut state: Guard<'a, P, S>,
        vm: VmKey,
        shown: Shown,
    ) -> Result<Guard<'a, P, S>, Status> {
        let record = state.record(vm)?;
        // A guest that cannot be shown any list is refused without a call to the SPMC.
        if shown == Shown::InRx
            && !matches!(record.mailbox, Mailbox::Mapped { rx: RxState::Free | RxState::Spmc, .. })
        {
            return Ok(state);
        }
        record.enter();
        let ours = state.partitions.tag;
        drop(state);
        self.compare_tags(hyp, ours);
        let mut state = self.lock();
        if state.record(vm)?.dying {
            self.leave(hyp, state, vm);
            return Err(Status::Denied);
        }
        // The VM lives, so there is nothing to begin.
        state.record(vm)?.leave();
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use ffa_abi::Uuid;

    use super::*;

    fn record(id: u16, service: u32, properties: Properties) -> PartitionInfo {
        PartitionInfo {
            id: PartitionId(id),
            contexts: 1,
            properties,
            uuid: Uuid::from_words([service, 0, 0, 0]),
        }
    }

    #[test]
    fn records_of_one_sp_stand_together_and_are_one_subscription() {
        let (created, destroyed) = (Properties::WANTS_VM_CREATED, Properties::WANTS_VM_DESTROYED);
        let (none, vm) = (Properties::default(), 0x1);
        let mut partitions = Partitions::new([[PartitionInfo::default(); 6]; 2]);
        let found = [
            record(0x8001, 1, destroyed),
            record(0x8002, 2, none),
            record(vm, 3, created),
            record(0x8001, 4, created),
            record(0x8003, 5, destroyed),
            record(0x8002, 6, none),
            record(0x8001, 7, none),
        ];
        for _twice in 0..2 {
            assert_eq!(partitions.note(Found::Start), Ok(()));
            for record in found {
                assert_eq!(partitions.note(Found::Record(record)), Ok(()));
            }
        }
        assert_eq!(partitions.records(), [], "nobody sees it before it is whole");
        assert_eq!(partitions.note(Found::Record(found[0])), Err(ListError::NoRoom { room: 6 }));
        partitions.replace(Some(7));
        let services = partitions.records().iter().map(|sp| (sp.id.0, sp.uuid.words()[0]));
        assert!(services.eq([(0x8001, 1), (0x8001, 4), (0x8001, 7), (0x8002, 2), (0x8002, 6), (0x8003, 5)]));
        assert_eq!(partitions.find(PartitionId(0x8002)), Some(&found[1]));
        assert_eq!(partitions.find(PartitionId(vm)), None);
        let wants = |sp, created, destroyed| Subscription { sp: PartitionId(sp), created, destroyed };
        assert!(partitions.subscriptions().eq([wants(0x8001, true, true), wants(0x8003, false, true)]));
    }

    #[test]
    fn as_many_records_fit_as_in_the_smaller_half() {
        for lengths in [[2, 3], [3, 2]] {
            let mut halves = [[PartitionInfo::default(); 3]; 2];
            let [one, other] = &mut halves;
            let mut partitions = Partitions::new([&mut one[..lengths[0]], &mut other[..lengths[1]]]);
            let sp = |n: u16| Found::Record(record(0x8000 + n, 0, Properties::default()));
            assert_eq!([1, 2].map(|n| partitions.note(sp(n))), [Ok(()); 2]);
            assert_eq!(partitions.note(sp(3)), Err(ListError::NoRoom { room: 2 }));
        }
    }
}
