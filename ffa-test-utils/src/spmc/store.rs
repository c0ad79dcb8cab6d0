use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use ffa_abi::{Handle, PartitionId, Transaction};

use super::config::HandlePolicy;
use super::handle::Handles;
use super::memory::Extent;
use super::reach::{ExtentIndex, Serial};

/// A share whose descriptor arrived completely.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub handle: Handle,
    pub owner: PartitionId,
    pub transaction: Transaction,
    /// Which life of the owner's ID it belongs to.
    pub generation: u32,
    pub receivers: Vec<Receiver>,
    pub extents: Vec<Extent>,
    pub attributes: u16,
    pub flags: u32,
    /// Bytes of its descriptor.
    pub len: u64,
    /// Of an answer to the hypervisor, what it has yet to fetch.
    pub told: Option<Unfetched>,
    /// Whether the SPMC still knows the handle.
    pub known: bool,
}

/// A partition that a share was sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver {
    pub id: PartitionId,
    /// As the sender gave them.
    pub permissions: u8,
    pub writable: bool,
    pub mapped: bool,
}

/// What the hypervisor was told of a share, and fetches part by part.
#[derive(Clone, Debug)]
pub(super) struct Unfetched {
    pub bytes: Vec<u8>,
    /// Where the last part that it got begins and ends.
    pub last: (usize, usize),
}

/// A descriptor of which bytes are still missing.
#[derive(Clone, Debug)]
pub(super) struct Incomplete {
    pub handle: Handle,
    pub transaction: Transaction,
    pub owner: PartitionId,
    pub generation: u32,
    pub total: u64,
    /// Bytes of the first part.
    pub first_len: usize,
    pub parts: u32,
    pub bytes: Vec<u8>,
}

/// A life of a guest's ID, as a SPMC that keeps a partition per guest sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guest {
    pub generation: u32,
    /// Times VM_CREATED was taken without a VM_DESTROYED.
    pub live: u32,
}

/// All memory transactions.
#[derive(Clone, Debug)]
pub(super) struct Store {
    policy: HandlePolicy,
    handles: Handles,
    next: Serial,
    shares: BTreeMap<Serial, Share>,
    by_handle: BTreeMap<u64, Vec<Serial>>,
    by_owner: BTreeMap<PartitionId, BTreeSet<Serial>>,
    index: ExtentIndex,
    half_sent: BTreeMap<u64, Incomplete>,
    guests: BTreeMap<PartitionId, Guest>,
    /// Bytes of all descriptors.
    bytes: u64,
    known: u32,
}

impl Store {
    pub fn new(policy: HandlePolicy) -> Self {
        Self {
            policy,
            handles: Handles::new(policy),
            next: 0,
            shares: BTreeMap::new(),
            by_handle: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            index: ExtentIndex::default(),
            half_sent: BTreeMap::new(),
            guests: BTreeMap::new(),
            bytes: 0,
            known: 0,
        }
    }

    pub fn guest(&self, id: PartitionId) -> Guest {
        self.guests.get(&id).copied().unwrap_or_default()
    }

    pub fn guest_mut(&mut self, id: PartitionId) -> &mut Guest {
        self.guests.entry(id).or_default()
    }

    /// Bytes of all descriptors, complete or not.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Shares that the SPMC knows, complete or not: all, or where handles are tagged those of `owner`'s present life.
    pub fn count(&self, owner: PartitionId) -> u32 {
        if self.policy != HandlePolicy::GuestTagged {
            return self.known + self.half_sent.len() as u32;
        }
        let generation = self.guest(owner).generation;
        let same = |id, of| id == owner && of == generation;
        let whole = self.of_owner(owner).filter(|&serial| {
            self.shares.get(&serial).is_some_and(|share| share.known && same(share.owner, share.generation))
        });
        let half = self.half_sent.values().filter(|half| same(half.owner, half.generation));
        (whole.count() + half.count()) as u32
    }

    pub fn allocate(&mut self, owner: PartitionId, limit: u32, built_in: bool) -> Option<u64> {
        let generation = self.guest(owner).generation;
        self.handles.allocate(owner, generation, limit, built_in)
    }

    /// Remembers a descriptor of which more is to come, or that is about to be judged.
    pub fn begin(&mut self, half: Incomplete) {
        self.bytes += half.total;
        self.half_sent.insert(half.handle.get(), half);
    }

    pub fn half_sent(&self, handle: u64) -> Option<&Incomplete> {
        self.half_sent.get(&handle)
    }

    pub fn half_sent_mut(&mut self, handle: u64) -> Option<&mut Incomplete> {
        self.half_sent.get_mut(&handle)
    }

    pub fn all_half_sent(&self) -> impl Iterator<Item = &Incomplete> {
        self.half_sent.values()
    }

    /// Forgets a descriptor that was bad; its handle is free.
    pub fn abandon(&mut self, handle: u64) {
        if let Some(half) = self.half_sent.remove(&handle) {
            self.bytes -= half.total;
            self.handles.free(handle, half.owner, half.generation);
        }
    }

    /// Forgets what this VM has sent a part of.
    pub fn abandon_of(&mut self, owner: PartitionId) {
        let of_owner = |half: &&Incomplete| half.owner == owner;
        let handles: Vec<_> =
            self.half_sent.values().filter(of_owner).map(|half| half.handle.get()).collect();
        handles.into_iter().for_each(|handle| self.abandon(handle));
    }

    /// Makes a share of a descriptor that is complete and good.
    pub fn complete(
        &mut self,
        handle: u64,
        (attributes, flags): (u16, u32),
        receivers: Vec<Receiver>,
        extents: Vec<Extent>,
    ) -> Option<Serial> {
        let half = self.half_sent.remove(&handle)?;
        let serial = self.next;
        self.next += 1;
        self.known += 1;
        self.index.insert(serial, &extents);
        self.by_handle.entry(handle).or_default().push(serial);
        self.by_owner.entry(half.owner).or_default().insert(serial);
        let share = Share {
            handle: half.handle,
            owner: half.owner,
            transaction: half.transaction,
            generation: half.generation,
            receivers,
            extents,
            attributes,
            flags,
            len: half.total,
            told: None,
            known: true,
        };
        self.shares.insert(serial, share);
        Some(serial)
    }

    /// The share that `handle` names now. With tagged handles a live guest comes before a dead one of the same ID.
    pub fn find(&self, handle: u64) -> Option<Serial> {
        let named = self.by_handle.get(&handle)?;
        let newest = named.last().copied();
        if self.policy != HandlePolicy::GuestTagged {
            return newest;
        }
        let guest = self.guest(self.shares.get(&newest?)?.owner);
        if guest.live == 0 {
            return newest;
        }
        let of_the_living = |serial: &&Serial| {
            self.shares.get(serial).is_some_and(|share| share.generation == guest.generation)
        };
        named.iter().rev().find(of_the_living).copied()
    }

    pub fn get(&self, serial: Serial) -> Option<&Share> {
        self.shares.get(&serial)
    }

    pub fn get_mut(&mut self, serial: Serial) -> Option<&mut Share> {
        self.shares.get_mut(&serial)
    }

    pub fn shares(&self) -> impl Iterator<Item = (Serial, &Share)> {
        self.shares.iter().map(|(&serial, share)| (serial, share))
    }

    /// Shares of `owner`, whichever life of its ID.
    pub fn of_owner(&self, owner: PartitionId) -> impl Iterator<Item = Serial> + use<'_> {
        self.by_owner.get(&owner).into_iter().flatten().copied()
    }

    /// Shares that have a byte in `extent`.
    pub fn overlapping(&self, extent: Extent) -> impl Iterator<Item = Serial> + use<'_> {
        self.index.overlapping(extent)
    }

    /// The SPMC forgets the handle, which is free from now on; the memory stays where it is.
    pub fn forget(&mut self, serial: Serial) {
        let Some(share) = self.shares.get_mut(&serial) else { return };
        if !core::mem::replace(&mut share.known, false) {
            return;
        }
        self.known -= 1;
        self.bytes -= share.len;
        self.handles.free(share.handle.get(), share.owner, share.generation);
        let handle = share.handle.get();
        if let Some(named) = self.by_handle.get_mut(&handle) {
            named.retain(|&other| other != serial);
            if named.is_empty() {
                self.by_handle.remove(&handle);
            }
        }
    }

    /// Ends a share: nobody reaches its memory any more.
    pub fn remove(&mut self, serial: Serial) -> Option<Share> {
        self.forget(serial);
        let share = self.shares.remove(&serial)?;
        self.index.remove(serial, &share.extents);
        if let Some(owned) = self.by_owner.get_mut(&share.owner) {
            owned.remove(&serial);
            if owned.is_empty() {
                self.by_owner.remove(&share.owner);
            }
        }
        Some(share)
    }
}
