//! What partitions do with memory, and by themselves.

use alloc::vec::Vec;

use ffa_abi::{Handle, NotificationBitmap, PartitionId, Transaction};
use ffa_teardown::Time;

use super::memory::PhysMemory;
use super::model::SpmcModel;
use super::notifications::Notifications;
use super::partition::Context;
use super::reach::Serial;
use super::script::{Cleanup, Release, Retrieve, Writes};

/// Bytes of a [`mark`].
pub const MARK_SIZE: usize = 16;

/// What partition `sp` writes to the start of each page of share `handle` that it still holds: who finds it in a page
/// of its own got the page too early.
#[must_use]
pub fn mark(sp: PartitionId, handle: Handle) -> [u8; MARK_SIZE] {
    let mut mark = *b"SP\0\0 dma\0\0\0\0\0\0\0\0";
    mark[2..4].copy_from_slice(&sp.0.to_le_bytes());
    mark[8..].copy_from_slice(&handle.get().to_le_bytes());
    mark
}

/// Something that a partition does by itself later.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Relinquish(Serial, PartitionId),
    RetrieveAgain(Serial, PartitionId),
    Restart(PartitionId),
    Notify { sp: PartitionId, vm: PartitionId, ids: NotificationBitmap, vcpu: Option<u16> },
}

impl SpmcModel {
    /// Lets time pass without a call: what is due by `now` happens, and partitions write to what they hold.
    pub fn advance(&mut self, memory: &mut dyn PhysMemory, now: Time) {
        self.now = self.now.max(now);
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Due::Relinquish(serial, sp) => self.set_mapped(serial, sp, false),
                Due::RetrieveAgain(serial, sp) => {
                    let crashed = self.partition(sp).is_none_or(|sp| sp.crashed);
                    let known = self.store.get(serial).is_some_and(|share| share.known);
                    if known && !crashed {
                        self.set_mapped(serial, sp, true);
                        self.start_writing(serial, sp);
                    }
                }
                Due::Restart(sp) => self.restart(sp),
                Due::Notify { sp, vm, ids, vcpu } => {
                    // By now the VM may be gone, or the partition.
                    let _ = self.set_notification(sp, vm, ids, vcpu);
                }
            }
        }
        self.write_marks(memory);
    }

    pub(super) fn schedule(&mut self, at: Time, due: Due) {
        self.due.insert((at, self.next_due), due);
        self.next_due += 1;
    }

    /// Tells the receivers of a new share, which may retrieve it.
    pub(super) fn offer(&mut self, serial: Serial) {
        let Some(share) = self.store.get(serial) else { return };
        let receivers: Vec<_> = share.receivers.iter().map(|receiver| receiver.id).collect();
        for id in receivers {
            let eager = self
                .partition(id)
                .is_some_and(|sp| sp.config.script.retrieve == Retrieve::AtOnce && !sp.crashed);
            if eager {
                self.set_mapped(serial, id, true);
            }
        }
    }

    /// Maps or unmaps a share for a partition that it was sent to. A donation becomes the partition's own when it is
    /// mapped: the SPMC forgets it, and nothing ever unmaps it.
    pub(super) fn set_mapped(&mut self, serial: Serial, sp: PartitionId, mapped: bool) {
        let writes = self.partition(sp).map_or(Writes::Never, |sp| sp.config.script.writes);
        let Some(share) = self.store.get_mut(serial) else { return };
        let donated = share.transaction == Transaction::Donate;
        if donated && !mapped {
            return;
        }
        for receiver in share.receivers.iter_mut().filter(|receiver| receiver.id == sp) {
            receiver.mapped = mapped;
        }
        if donated {
            self.store.forget(serial);
        }
        if !mapped {
            self.writers.remove(&(serial, sp));
            self.drop_if_unreachable(serial);
        } else if writes == Writes::Always {
            self.start_writing(serial, sp);
        }
    }

    /// A share that the SPMC has forgotten ends when nobody has it mapped.
    pub(super) fn drop_if_unreachable(&mut self, serial: Serial) {
        let gone = self
            .store
            .get(serial)
            .is_some_and(|share| !share.known && !share.receivers.iter().any(|receiver| receiver.mapped));
        if gone {
            self.store.remove(serial);
        }
    }

    /// Whether `sp` has the share mapped.
    pub(super) fn has_mapped(&self, serial: Serial, sp: PartitionId) -> bool {
        self.store
            .get(serial)
            .is_some_and(|share| share.receivers.iter().any(|receiver| receiver.id == sp && receiver.mapped))
    }

    fn start_writing(&mut self, serial: Serial, sp: PartitionId) {
        let writes = self.partition(sp).map_or(Writes::Never, |sp| sp.config.script.writes);
        let writable = self.store.get(serial).is_some_and(|share| {
            share.receivers.iter().any(|receiver| receiver.id == sp && receiver.writable)
        });
        if writes != Writes::Never && writable && self.has_mapped(serial, sp) {
            self.writers.insert((serial, sp));
        }
    }

    /// Shares of `vm` that `sp` has mapped.
    pub(super) fn held_of(&self, sp: PartitionId, vm: PartitionId) -> Vec<Serial> {
        self.store.of_owner(vm).filter(|&serial| self.has_mapped(serial, sp)).collect()
    }

    /// `sp` hears of the end of `vm`: from now on, what it writes is wrong.
    pub(super) fn hear_of_end(&mut self, sp: PartitionId, vm: PartitionId) {
        for serial in self.held_of(sp, vm) {
            self.start_writing(serial, sp);
        }
    }

    /// `sp` lets go of a dead VM: of its signals at once, and of its memory as its script says.
    pub(super) fn release(&mut self, sp: PartitionId, vm: PartitionId) {
        let Some(partition) = self.partition_mut(sp) else { return };
        let release = partition.config.script.release;
        partition.notifications.unbind(partition.notifications.bound_to(vm));
        for serial in self.held_of(sp, vm) {
            match release {
                Release::AtOnce => self.set_mapped(serial, sp, false),
                Release::After(span) => self.schedule(self.now + span, Due::Relinquish(serial, sp)),
                Release::ThenRetrieveAgain(span) => {
                    self.set_mapped(serial, sp, false);
                    self.schedule(self.now + span, Due::RetrieveAgain(serial, sp));
                }
                Release::Never => {}
            }
        }
    }

    pub(super) fn unmap_all(&mut self, sp: PartitionId) {
        let held: Vec<_> = self
            .store
            .shares()
            .filter(|(_, share)| share.receivers.iter().any(|receiver| receiver.id == sp && receiver.mapped))
            .map(|(serial, _)| serial)
            .collect();
        for serial in held {
            self.set_mapped(serial, sp, false);
        }
    }

    /// The partition dies. What it had mapped is taken from it now or when it restarts, as its script says.
    pub fn crash(&mut self, sp: PartitionId) {
        let Some(partition) = self.partition_mut(sp) else { return };
        partition.crashed = true;
        partition.contexts.fill(Context::Waiting);
        if partition.config.script.crash.cleanup == Cleanup::AtCrash {
            self.unmap_all(sp);
        }
    }

    /// The partition begins anew: it holds nothing, remembers nothing, and takes messages. The list of partitions
    /// counts as changed.
    pub fn restart(&mut self, sp: PartitionId) {
        self.unmap_all(sp);
        let Some(partition) = self.partition_mut(sp) else { return };
        partition.crashed = false;
        partition.restarts = partition.restarts.saturating_add(1);
        partition.contexts.fill(Context::Waiting);
        partition.vms.clear();
        partition.sticky.clear();
        partition.notifications = Notifications::default();
        partition.taken = NotificationBitmap::NONE;
        partition.rx = None;
        partition.received.clear();
        self.list_tag = self.list_tag.wrapping_add(1);
    }

    /// Partitions write to what they hold, some pages each time, going round.
    fn write_marks(&mut self, memory: &mut dyn PhysMemory) {
        let mut left = self.config.writes_per_call;
        let (first, first_page) = self.next_write;
        let from_first = self.writers.range(first..).chain(self.writers.range(..first));
        let turn: Vec<_> = from_first.copied().take(left).collect();
        for writer @ (serial, sp) in turn {
            let Some(share) = self.store.get(serial).filter(|_| left > 0) else { break };
            let bytes = mark(sp, share.handle);
            let begin = if writer == first { first_page } else { 0 };
            let mut page = begin;
            let pages = share.extents.iter().flat_map(|extent| extent.page_addresses());
            for address in pages.skip(begin as usize).take(left) {
                let _ = memory.write(address, &bytes);
                left -= 1;
                page += 1;
            }
            let next = (serial, PartitionId(sp.0.wrapping_add(1)));
            self.next_write = if left == 0 { (writer, page) } else { (next, 0) };
        }
    }
}
