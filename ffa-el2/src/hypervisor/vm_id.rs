//! Names of VMs.

use core::fmt::{self, Display, Formatter};
use core::num::NonZeroU16;

use ffa_abi::PartitionId;

/// Most VMs that exist at one time.
pub const MAX_VMS: usize = 16;

/// Names a VM: its slot, its VMID in the TLBs and its FF-A id. Zero is the hypervisor's FF-A id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VmId(NonZeroU16);

impl VmId {
    /// The VM of slot `index`, which is below [`MAX_VMS`].
    pub fn of_slot(index: usize) -> Self {
        assert!(index < MAX_VMS);
        Self(NonZeroU16::MIN.saturating_add(index as u16))
    }

    /// The VM with this FF-A id, if it is one that a VM can have here.
    pub fn of_partition(id: PartitionId) -> Option<Self> {
        NonZeroU16::new(id.0).map(Self).filter(|id| id.slot() < MAX_VMS)
    }

    /// The VM's FF-A id.
    pub fn partition(self) -> PartitionId {
        PartitionId(self.number())
    }

    /// The index of the VM's slot.
    pub fn slot(self) -> usize {
        usize::from(self.0.get()) - 1
    }

    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl Display for VmId {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "vm{}", self.0)
    }
}
