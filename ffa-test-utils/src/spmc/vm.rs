use ffa_abi::PartitionId;

use super::mailbox::Mailbox;
use super::model::SpmcModel;
use super::notifications::Notifications;

/// Whose an RX buffer is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum RxOwner {
    /// The SPMC's: it may put a message in.
    #[default]
    Spmc,
    /// The hypervisor's, by FFA_RX_ACQUIRE.
    Hypervisor,
    /// The VM's, which has a message to read.
    Vm,
}

/// What the SPMC keeps for one VM besides its shares.
#[derive(Clone, Debug, Default)]
pub(super) struct Vm {
    pub mailbox: Option<Mailbox>,
    pub rx: RxOwner,
    /// How many vCPUs it has, once there is a notification bitmap.
    pub vcpus: Option<u32>,
    pub notifications: Notifications,
}

impl Vm {
    fn is_unused(&self) -> bool {
        self.mailbox.is_none() && self.vcpus.is_none() && self.notifications.is_empty()
    }
}

impl SpmcModel {
    /// Whether something can be kept for `vm`.
    pub(super) fn has_slot(&self, vm: PartitionId) -> bool {
        self.vms.contains_key(&vm) || self.vms.len() < self.config.limits.vms as usize
    }

    /// What is kept for `vm`, from now on at the latest.
    pub(super) fn vm_mut(&mut self, vm: PartitionId) -> &mut Vm {
        self.vms.entry(vm).or_default()
    }

    /// Gives the slot of a VM back for which nothing is kept any more.
    pub(super) fn free_unused(&mut self, vm: PartitionId) {
        if self.vms.get(&vm).is_some_and(Vm::is_unused) {
            self.vms.remove(&vm);
        }
    }
}
