use alloc::collections::{BTreeMap, BTreeSet};

use ffa_abi::PartitionId;

use super::config::HandlePolicy;

/// Chooses handles as the policy says, and takes them back.
#[derive(Clone, Debug)]
pub(super) struct Handles {
    policy: HandlePolicy,
    /// Next value of a policy that counts up.
    next: u64,
    /// Freed slots below `next`.
    free: BTreeSet<u64>,
    /// Slots in use, by guest and its generation.
    tagged: BTreeMap<(PartitionId, u32), BTreeSet<u16>>,
}

/// The hypervisor chose the handle.
pub(super) const HYPERVISOR_ALLOCATED: u64 = 1 << 63;
const NON_SECURE_SHARE: u64 = 1 << 44;
const OTHER_PARTITION: u64 = 1 << 45;

impl Handles {
    pub fn new(policy: HandlePolicy) -> Self {
        let next = if let HandlePolicy::Monotonic(first) = policy { first } else { 0 };
        Self { policy, next, free: BTreeSet::new(), tagged: BTreeMap::new() }
    }

    /// A handle for a share of `owner`, or `None` if all are in use.
    pub fn allocate(
        &mut self,
        owner: PartitionId,
        generation: u32,
        limit: u32,
        built_in: bool,
    ) -> Option<u64> {
        match self.policy {
            HandlePolicy::Monotonic(_) => Some(self.count_up()),
            HandlePolicy::GuestTagged if built_in => {
                let slots = self.tagged.entry((owner, generation)).or_default();
                let limit = u16::try_from(limit).unwrap_or(u16::MAX);
                let slot = (0..limit).find(|slot| !slots.contains(slot))?;
                slots.insert(slot);
                Some(NON_SECURE_SHARE | u64::from(owner.0) << 16 | u64::from(slot))
            }
            HandlePolicy::SlotIndex | HandlePolicy::GuestTagged => {
                let slot = self.free.pop_first().unwrap_or_else(|| self.count_up());
                Some(if self.policy == HandlePolicy::GuestTagged { OTHER_PARTITION | slot } else { slot })
            }
        }
    }

    fn count_up(&mut self) -> u64 {
        let value = self.next;
        self.next = self.next.wrapping_add(1);
        value
    }

    /// Takes `handle` back.
    pub fn free(&mut self, handle: u64, owner: PartitionId, generation: u32) {
        match self.policy {
            HandlePolicy::Monotonic(_) => {}
            HandlePolicy::GuestTagged if handle & HYPERVISOR_ALLOCATED != 0 => {}
            HandlePolicy::SlotIndex => {
                self.free.insert(handle);
            }
            HandlePolicy::GuestTagged if handle & OTHER_PARTITION != 0 => {
                self.free.insert(handle & !OTHER_PARTITION);
            }
            HandlePolicy::GuestTagged => {
                let key = (owner, generation);
                if let Some(slots) = self.tagged.get_mut(&key) {
                    slots.remove(&(handle as u16));
                    if slots.is_empty() {
                        self.tagged.remove(&key);
                    }
                }
            }
        }
    }
}
