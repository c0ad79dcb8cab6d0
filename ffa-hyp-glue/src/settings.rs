use ffa_abi::Version;
use ffa_teardown::Policy;

use crate::{Compat, LenderDeath};

/// What a hypervisor may set. Plain data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The highest version offered to guests and asked of the SPMC, 1.0 to 1.2.
    pub version: Version,
    /// Whose codes guests are refused with, where they differ.
    pub compat: Compat,
    /// Memory transactions that a VM may have open at the same time.
    pub shares_per_vm: u32,
    /// Pages of 4 KiB in one memory transaction.
    pub pages_per_share: u32,
    /// Pages of 4 KiB in all memory transactions that a VM has open. RX and TX do not count.
    pub pages_per_vm: u32,
    /// Direct requests of a VM that are not over at the same time: those that SPs work on, and those that they were preempted
    /// in and have not been resumed to the end. At none a VM sends no direct requests at all.
    pub calls_per_vm: u32,
    /// Pages of 4 KiB in each RX or TX buffer of a guest, 1 to 63.
    pub rxtx_pages: u8,
    /// Whether guests have to do with each other at all. If so, [`Permissions`](crate::Permissions) is asked who with whom.
    pub vm_to_vm: bool,
    /// What becomes of memory that other VMs have borrowed when its owner dies.
    pub lender_death: LenderDeath,
    /// Interrupts by which guests hear of notifications, or `None` for guests without notifications.
    pub interrupts: Option<GuestInterrupts>,
    /// Secure calls that one tick makes at most.
    pub budget: u32,
    /// Pace and limits of teardown.
    pub teardown: Policy,
}

impl Settings {
    /// FF-A 1.2 with its own codes; 32 shares of 512 KiB per VM, and so 16 MiB; 64 direct requests; RX and TX of up to 64 KiB; guests that do not reach each other; borrowers that lose what a dead VM lent; no notifications; 16
    /// secure calls a tick.
    pub const DEFAULT: Self = Self {
        version: Version::V1_2,
        compat: Compat::Strict,
        shares_per_vm: 32,
        pages_per_share: 128,
        pages_per_vm: 32 * 128,
        calls_per_vm: 64,
        rxtx_pages: 16,
        vm_to_vm: false,
        lender_death: LenderDeath::Revoke,
        interrupts: None,
        budget: 16,
        teardown: Policy::DEFAULT,
    };
}

/// INTIDs of a guest's edge-triggered interrupts, as FFA_FEATURES shows them: SGIs or PPIs that every vCPU can take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GuestInterrupts {
    /// Notification pending interrupt.
    pub notification_pending: u32,
    /// Schedule receiver interrupt, for a guest that asks for this one alone, as Linux 6.7 does.
    pub schedule_receiver: u32,
}

impl GuestInterrupts {
    /// SGIs 8 and 9, which Linux leaves to the secure world.
    pub const SGI: Self = Self { notification_pending: 8, schedule_receiver: 9 };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
