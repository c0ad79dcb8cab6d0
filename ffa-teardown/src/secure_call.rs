use core::fmt;

use ffa_abi::{
    Call, Handle, MemFragTx, MemReclaim, NotificationBitmap, NotificationBitmapCreate,
    NotificationBitmapDestroy, NotificationGet, NotificationSources, NotificationUnbind, PartitionId,
    ReclaimFlags, Regs, RunTarget, RxRelease, RxTxUnmap, VmAvailability,
};

use crate::duty::EventMessage;

/// A call that the engine wants made.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SecureCall {
    /// FFA_RUN: let a preempted SP finish.
    Run {
        /// Who.
        target: RunTarget,
    },
    /// FFA_RX_RELEASE on behalf of the VM.
    RxRelease {
        /// The VM.
        vm: PartitionId,
    },
    /// FFA_RXTX_UNMAP on behalf of the VM.
    RxTxUnmap {
        /// The VM.
        vm: PartitionId,
    },
    /// FFA_NOTIFICATION_GET on behalf of the VM, of vCPU 0 and what is global, from SPs and the SPM. What it gives is
    /// thrown away.
    NotificationGet {
        /// The VM.
        vm: PartitionId,
    },
    /// FFA_NOTIFICATION_UNBIND on behalf of the VM.
    NotificationUnbind {
        /// The SP that may signal.
        sp: PartitionId,
        /// The VM.
        vm: PartitionId,
        /// Which notifications.
        bits: NotificationBitmap,
    },
    /// FFA_NOTIFICATION_BITMAP_CREATE.
    BitmapCreate {
        /// The VM.
        vm: PartitionId,
        /// How many vCPUs it has.
        vcpus: u32,
    },
    /// FFA_NOTIFICATION_BITMAP_DESTROY.
    BitmapDestroy {
        /// The VM.
        vm: PartitionId,
    },
    /// VM_CREATED or VM_DESTROYED to an SP.
    Tell {
        /// The SP.
        sp: PartitionId,
        /// The VM.
        vm: PartitionId,
        /// Which message.
        event: VmAvailability,
    },
    /// FFA_MEM_RECLAIM without flags.
    MemReclaim {
        /// The share.
        handle: Handle,
    },
    /// FFA_MEM_FRAG_TX of a fragment of zeroes, which no descriptor has where constituents are: no SPMC can be told to
    /// forget a half-sent transaction but by an end that it refuses. The fragment is to be in TX when the call is made.
    MemCancel {
        /// The transaction.
        handle: Handle,
        /// The VM that began it.
        vm: PartitionId,
        /// Bytes of the fragment.
        len: u32,
    },
}

impl SecureCall {
    /// Registers of the call, all 18 of them.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        match *self {
            Self::Run { target } => Call::Run(target).to_regs(),
            Self::RxRelease { vm } => RxRelease { endpoint: vm }.to_regs(),
            Self::RxTxUnmap { vm } => RxTxUnmap { endpoint: vm }.to_regs(),
            Self::NotificationGet { vm } => {
                let sources = NotificationSources::SPS.or(NotificationSources::SPM);
                NotificationGet { receiver: vm, vcpu: 0, sources }.to_regs()
            }
            Self::NotificationUnbind { sp, vm, bits } => {
                NotificationUnbind { sender: sp, receiver: vm, bitmap: bits }.to_regs()
            }
            Self::BitmapCreate { vm, vcpus } => NotificationBitmapCreate { vm, vcpus }.to_regs(),
            Self::BitmapDestroy { vm } => NotificationBitmapDestroy { vm }.to_regs(),
            Self::Tell { sp, vm, event } => event.message(sp, vm).request().to_regs(),
            Self::MemReclaim { handle } => MemReclaim { handle, flags: ReclaimFlags::NONE }.to_regs(),
            Self::MemCancel { handle, vm, len } => {
                MemFragTx { handle, fragment_len: len, endpoint: vm }.to_regs()
            }
        }
    }
}

impl fmt::Display for SecureCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Run { .. } => "FFA_RUN",
            Self::RxRelease { .. } => "FFA_RX_RELEASE",
            Self::RxTxUnmap { .. } => "FFA_RXTX_UNMAP",
            Self::NotificationGet { .. } => "FFA_NOTIFICATION_GET",
            Self::NotificationUnbind { .. } => "FFA_NOTIFICATION_UNBIND",
            Self::BitmapCreate { .. } => "FFA_NOTIFICATION_BITMAP_CREATE",
            Self::BitmapDestroy { .. } => "FFA_NOTIFICATION_BITMAP_DESTROY",
            Self::Tell { event: VmAvailability::Created, .. } => "VM_CREATED",
            Self::Tell { event: VmAvailability::Destroyed, .. } => "VM_DESTROYED",
            Self::MemReclaim { .. } => "FFA_MEM_RECLAIM",
            Self::MemCancel { .. } => "FFA_MEM_FRAG_TX",
        })
    }
}
