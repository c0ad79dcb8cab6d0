//! Notifications.

/// What the mediator keeps of one vCPU, in storage that the hypervisor lends with each VM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VcpuSlot {
    /// Notifications of other VMs that are pending for this vCPU alone.
    pub(crate) pending: u64,
}

impl VcpuSlot {
    /// Of a vCPU that has nothing pending.
    pub const IDLE: Self = Self { pending: 0 };
}

impl Default for VcpuSlot {
    fn default() -> Self {
        Self::IDLE
    }
}
