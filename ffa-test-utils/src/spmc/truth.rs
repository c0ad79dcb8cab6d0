//! What an oracle may know and a hypervisor may not.

use ffa_abi::{
    FirmwareStatus, FrameworkNotifications, Handle, NotificationBitmap, PartitionId, Status, VmAvailability,
};
use ffa_teardown::Time;

use super::indirect::Received;
use super::memory::{Extent, PAGE_SIZE};
use super::model::SpmcModel;
use super::partition::Context;
use super::reach::{Reach, Reached};
use super::script::Mangling;
use super::store::Share;
use super::vm::RxOwner;

/// A handle that the SPMC knows.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LiveHandle {
    /// The handle.
    pub handle: Handle,
    /// Who sent it, as the descriptor says.
    pub owner: PartitionId,
    /// Whether the whole descriptor has arrived.
    pub complete: bool,
}

/// What the SPMC keeps for a VM, other than shares: nothing of it may outlive the VM.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Kept {
    /// The VM.
    pub vm: PartitionId,
    /// Whether its RX and TX buffers are mapped.
    pub buffers: bool,
    /// Whose its RX buffer is.
    pub rx: RxOwner,
    /// Whether it has a notification bitmap.
    pub bitmap: bool,
    /// Its notifications that are bound to partitions.
    pub bound: NotificationBitmap,
    /// Its notifications that partitions have set and it has not taken.
    pub pending: NotificationBitmap,
    /// Those of the framework.
    pub framework: FrameworkNotifications,
}

/// How much a secure world has of one VM, or of all: nothing of a VM that is gone.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Census {
    /// Handles that the SPMC knows, those of half-sent descriptors included.
    pub handles: u64,
    /// 4 KiB pages that partitions can reach, counted for each share and receiver.
    pub pages: u64,
    /// VMs for which buffers, bitmaps or notifications are kept.
    pub kept: u64,
    /// Partitions that were told of a VM and not of its end, counted for each VM.
    pub known: u64,
    /// Requests of VMs that partitions work on.
    pub requests: u64,
}

/// One message about a VM that reached a partition.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Told {
    /// What it said.
    pub event: VmAvailability,
    /// When it arrived.
    pub at: Time,
    /// What the partition made of it.
    pub answer: ToldAnswer,
}

/// What a partition made of a message about a VM.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ToldAnswer {
    /// It has not answered, and may never.
    Pending,
    /// It did what was asked and said so.
    Accepted,
    /// It did nothing and gave this status.
    Refused(FirmwareStatus),
    /// It did nothing and answered FFA_ERROR.
    Error(Status),
    /// It did what was asked and spoiled the answer.
    Mangled(Mangling),
    /// It died of the message.
    Crashed,
}

impl ToldAnswer {
    pub(super) fn from_status(refused: Option<FirmwareStatus>) -> Self {
        refused.map_or(Self::Accepted, Self::Refused)
    }
}

/// The history of one partition and VM is cut to this many messages; the oldest go.
const MOST_TOLD: usize = 256;

impl SpmcModel {
    /// All memory that partitions can reach and that is not their own, one item for each extent, share and receiver.
    pub fn reaches(&self) -> impl Iterator<Item = Reached> {
        self.store.shares().flat_map(move |(_, share)| {
            share.extents.iter().flat_map(move |&extent| {
                share.receivers.iter().filter_map(move |receiver| self.reached(share, extent, receiver.id))
            })
        })
    }

    /// Who can reach a byte of the 4 KiB page at `address`, and how; the strongest reach if there are several. Fast
    /// enough to ask for every page that is released.
    #[must_use]
    pub fn can_reach(&self, address: u64) -> Option<Reached> {
        let page = Extent { base: address & !(PAGE_SIZE - 1), pages: 1 };
        self.store
            .overlapping(page)
            .filter_map(|serial| self.store.get(serial))
            .flat_map(|share| {
                let touched = share.extents.iter().filter(move |extent| extent.overlaps(&page));
                touched.flat_map(move |&extent| {
                    share
                        .receivers
                        .iter()
                        .filter_map(move |receiver| self.reached(share, extent, receiver.id))
                })
            })
            .max_by_key(|reached| reached.reach)
    }

    fn reached(&self, share: &Share, extent: Extent, sp: PartitionId) -> Option<Reached> {
        let receiver = share.receivers.iter().find(|receiver| receiver.id == sp)?;
        self.partition(sp)?;
        let reach = match (receiver.mapped, share.known) {
            (true, _) => Reach::Mapped,
            (false, true) => Reach::Retrievable,
            (false, false) => return None,
        };
        let Share { handle, owner, transaction, .. } = *share;
        Some(Reached { extent, sp, handle, owner, transaction, reach })
    }

    /// Handles that the SPMC knows, those of half-sent descriptors included.
    pub fn live_handles(&self) -> impl Iterator<Item = LiveHandle> {
        let whole = self.store.shares().filter(|(_, share)| share.known).map(|(_, share)| LiveHandle {
            handle: share.handle,
            owner: share.owner,
            complete: true,
        });
        let half = self.store.all_half_sent().map(|half| LiveHandle {
            handle: half.handle,
            owner: half.owner,
            complete: false,
        });
        whole.chain(half)
    }

    /// What is kept for VMs other than shares, by VM. One for which nothing is kept does not come up.
    pub fn kept(&self) -> impl Iterator<Item = Kept> {
        self.vms.iter().map(|(&id, vm)| Kept {
            vm: id,
            buffers: vm.mailbox.is_some(),
            rx: vm.rx,
            bitmap: vm.vcpus.is_some(),
            bound: vm.notifications.bound(),
            pending: vm.notifications.pending(),
            framework: vm.notifications.framework,
        })
    }

    /// How much there is of `vm`, or of all VMs.
    #[must_use]
    pub fn census(&self, vm: Option<PartitionId>) -> Census {
        let is_theirs = |id: PartitionId| vm.is_none_or(|vm| vm == id);
        let reached = self.reaches().filter(|reached| is_theirs(reached.owner));
        let contexts = self.partitions.iter().flat_map(|partition| &partition.contexts);
        let works = |context: &&Context| matches!(context, Context::Paused { job, .. } if is_theirs(job.request.sender));
        let known = self.partitions.iter().flat_map(|partition| &partition.vms);
        Census {
            handles: self.live_handles().filter(|handle| is_theirs(handle.owner)).count() as u64,
            pages: reached.map(|reached| u64::from(reached.extent.pages)).sum(),
            kept: self.kept().filter(|kept| is_theirs(kept.vm)).count() as u64,
            known: known.filter(|&&vm| is_theirs(vm)).count() as u64,
            requests: contexts.filter(works).count() as u64,
        }
    }

    /// What `sp` was told of `vm`, in order.
    #[must_use]
    pub fn told(&self, vm: PartitionId, sp: PartitionId) -> &[Told] {
        self.told.get(&(vm, sp)).map_or(&[], |told| told)
    }

    /// All that was told: VM, partition, messages in order.
    pub fn all_told(&self) -> impl Iterator<Item = (PartitionId, PartitionId, &[Told])> {
        self.told.iter().map(|(&(vm, sp), told)| (vm, sp, told.as_slice()))
    }

    /// Pages that `sp` has mapped.
    #[must_use]
    pub fn mapped_pages(&self, sp: PartitionId) -> u64 {
        let mapped = self.reaches().filter(|reached| reached.sp == sp && reached.reach == Reach::Mapped);
        mapped.map(|reached| u64::from(reached.extent.pages)).sum()
    }

    /// Whether the hypervisor's RX buffer is full, and so the hypervisor's until it releases it.
    #[must_use]
    pub fn is_rx_full(&self) -> bool {
        self.rx_full
    }

    /// Whether `sp` has crashed and was not restarted.
    #[must_use]
    pub fn is_crashed(&self, sp: PartitionId) -> bool {
        self.partition(sp).is_some_and(|sp| sp.crashed)
    }

    /// Notifications that `sp` has taken since it was asked for them with
    /// [`Control::TakeNotifications`](super::Control::TakeNotifications).
    #[must_use]
    pub fn taken_notifications(&self, sp: PartitionId) -> NotificationBitmap {
        self.partition(sp).map(|sp| sp.taken).unwrap_or_default()
    }

    /// Indirect messages that `sp` has read, oldest first, without those that it was asked about with
    /// [`Control::TakeMessage`](super::Control::TakeMessage).
    #[must_use]
    pub fn received(&self, sp: PartitionId) -> &[Received] {
        self.partition(sp).map_or(&[], |sp| &sp.received)
    }

    pub(super) fn record_told(&mut self, sp: PartitionId, vm: PartitionId, event: VmAvailability) {
        let told = self.told.entry((vm, sp)).or_default();
        if told.len() == MOST_TOLD {
            told.remove(0);
        }
        told.push(Told { event, at: self.now, answer: ToldAnswer::Pending });
    }

    pub(super) fn record_answer(&mut self, sp: PartitionId, vm: PartitionId, answer: ToldAnswer) {
        if let Some(last) = self.told.get_mut(&(vm, sp)).and_then(|told| told.last_mut()) {
            last.answer = answer;
        }
    }
}
