use ffa_abi::{Handle, PartitionId, Status, Transaction};
use ffa_teardown::{Decision, End, LastAnswer, SecureCall};

/// Something that the mediator did, or had done to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The VM concerned.
    pub vm: PartitionId,
    /// The SP concerned, if it is one.
    pub sp: Option<PartitionId>,
    /// The memory transaction concerned, if there is one.
    pub handle: Option<Handle>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// A VM's creation began.
    Creating,
    /// A VM may run.
    Live,
    /// The SPMC keeps no notifications for a VM that is about to live: its guest finds none.
    WithoutNotifications,
    /// A VM's creation failed; what it had incurred is being undone.
    CreationFailed,
    /// A VM died with this many memory transactions open.
    Destroyed {
        /// Memory transactions that the secure world or other VMs still have.
        shares: u32,
    },
    /// A guest's call was answered; `None` is any answer but FFA_ERROR.
    GuestCall {
        /// w0 of the call.
        function: u32,
        /// The status of FFA_ERROR.
        status: Option<Status>,
    },
    /// A guest shared this many pages.
    Shared {
        /// 4 KiB pages.
        pages: u32,
    },
    /// A guest lent this many pages.
    Lent {
        /// 4 KiB pages.
        pages: u32,
    },
    /// A guest donated this many pages. Until their receiver has them it can still have them back.
    Donated {
        /// 4 KiB pages.
        pages: u32,
    },
    /// A guest has retrieved this many pages of another one.
    Retrieved {
        /// 4 KiB pages.
        pages: u32,
    },
    /// A guest has relinquished this many pages of another one.
    Relinquished {
        /// 4 KiB pages.
        pages: u32,
    },
    /// This many pages of another one were taken from a guest, since one of the two is dead.
    Revoked {
        /// 4 KiB pages.
        pages: u32,
    },
    /// The fate of a guest's memory transaction is unknown: its pages stay held.
    Doubtful {
        /// 4 KiB pages.
        pages: u32,
    },
    /// The engine's call to the secure world was answered; or it was one for a donation, and could not be made at this
    /// moment, which counts as BUSY.
    SecureCall {
        /// The call.
        call: SecureCall,
        /// What the answer was taken for.
        answer: LastAnswer,
        /// What follows.
        decision: Decision,
    },
    /// Pages went back to the VM, or if it is dead to the hypervisor.
    Released {
        /// 4 KiB pages.
        pages: u32,
    },
    /// Donated pages have left their VM for good: their receiver has them, or it cannot be found out any more whether it has.
    Gone {
        /// 4 KiB pages.
        pages: u32,
    },
    /// Pages are quarantined from now on.
    Quarantined {
        /// 4 KiB pages.
        pages: u32,
    },
    /// The list of SPs was read anew.
    Listed,
    /// The list of SPs could not be read anew: it stays what it was.
    NotListed,
    /// An operator had what was given up tried again.
    Retried {
        /// Obligations that are due again.
        due: u32,
    },
    /// Nothing more will be done for a VM by itself.
    Finished {
        /// How it ended.
        end: End,
    },
}

impl EventKind {
    /// A guest sent this many 4 KiB pages.
    pub(crate) const fn sent(transaction: Transaction, pages: u32) -> Self {
        match transaction {
            Transaction::Share => Self::Shared { pages },
            Transaction::Lend => Self::Lent { pages },
            Transaction::Donate => Self::Donated { pages },
        }
    }
}

impl Event {
    pub(crate) const fn new(vm: PartitionId, kind: EventKind) -> Self {
        Self { vm, sp: None, handle: None, kind }
    }

    pub(crate) fn of_call(vm: PartitionId, call: SecureCall, answer: LastAnswer, decision: Decision) -> Self {
        let (sp, handle) = match call {
            SecureCall::Run { target } => (Some(target.endpoint), None),
            SecureCall::Tell { sp, .. } | SecureCall::NotificationUnbind { sp, .. } => (Some(sp), None),
            SecureCall::MemReclaim { handle } | SecureCall::MemCancel { handle, .. } => (None, Some(handle)),
            SecureCall::RxRelease { .. }
            | SecureCall::RxTxUnmap { .. }
            | SecureCall::NotificationGet { .. }
            | SecureCall::BitmapCreate { .. }
            | SecureCall::BitmapDestroy { .. } => (None, None),
        };
        Self { vm, sp, handle, kind: EventKind::SecureCall { call, answer, decision } }
    }
}
