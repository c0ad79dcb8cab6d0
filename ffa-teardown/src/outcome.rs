use ffa_abi::PartitionId;

use crate::duty::LastAnswer;
use crate::vm::{Phase, VmKey};
use crate::{SecureCall, ShareId, Time};

/// What the hypervisor is to do next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub enum Action {
    /// Make this call for this VM, then report with [`Engine::answered`](crate::Engine::answered). No other call for this VM is asked for
    /// meanwhile.
    Call {
        /// For whom.
        vm: VmKey,
        /// What.
        call: SecureCall,
    },
    /// Every SP was told of the VM, and what it is to have from the beginning is settled: it is [`Phase::Live`]. Said
    /// once, unless the VM lived when [`Engine::create`](crate::Engine::create) had returned.
    Created {
        /// The VM.
        vm: VmKey,
    },
    /// Nothing more will be done for this VM by itself.
    Finished {
        /// The VM.
        vm: VmKey,
        /// How it ended.
        end: End,
        /// Drop the VM reference now, outside every lock, as the last touch of the VM.
        give_back: bool,
    },
    /// A donation may be its receiver's, and cannot be asked for: the secure world has given its handle out again, or
    /// may have. Take the pages from the VM for good, then call [`Engine::released`](crate::Engine::released).
    Gone {
        /// The VM.
        vm: VmKey,
        /// The donation.
        share: ShareId,
    },
    /// Nothing came of this step; it counts against a budget like any other.
    Continue,
    /// Nothing is due before this time; never, if `None`.
    Idle {
        /// When to call again.
        until: Option<Time>,
    },
}

/// How a VM ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum End {
    /// Every obligation is met or, by policy, forgotten. The key is void and the ID is free.
    Gone,
    /// The VM may go, its ID may not be used again: something was given up.
    Retired,
    /// Its quarantined pages keep it.
    Zombie,
}

/// What became of an obligation through an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Judgement {
    /// What the answer was taken for.
    pub answer: LastAnswer,
    /// What follows.
    pub decision: Decision,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub enum Decision {
    /// The obligation is met.
    Met,
    /// The SP took note of the VM's creation.
    Told,
    /// The SPMC keeps notifications for the VM that is being created.
    BitmapCreated,
    /// It does not, or nobody knows: the VM will live without.
    NoBitmap,
    /// The secure world has let go of the share: give its pages back, then call [`Engine::released`](crate::Engine::released).
    Confirmed {
        /// The share.
        share: ShareId,
    },
    /// The SPMC has unmapped the VM's buffers: give their pages back, then call
    /// [`Engine::released`](crate::Engine::released).
    Returned {
        /// Their name.
        pages: ShareId,
    },
    /// What was pending for the VM is fetched: the call in whose way it stood is next.
    Drained,
    /// The same call, or FFA_RUN, is due again then.
    TryAgain {
        /// When.
        until: Time,
    },
    /// Given up. Told once; the pages of a share, or of buffers, are now quarantined.
    GivenUp {
        /// The share, or [`StandingId::pages`](crate::StandingId::pages), if there are pages.
        share: Option<ShareId>,
    },
    /// A share was given up under [`Disposal::HandOver`](crate::Disposal::HandOver), for the first time: hand its pages over,
    /// then call [`Engine::handed_over`](crate::Engine::handed_over).
    HandOver {
        /// The share.
        share: ShareId,
    },
    /// A half-sent transaction is not over yet, as the secure world asks for more of it: the next fragment follows.
    GoesOn,
    /// A donation is its receiver's: take its pages from the VM for good, then call
    /// [`Engine::released`](crate::Engine::released).
    Gone {
        /// The donation.
        share: ShareId,
    },
    /// Creation has failed, and the VM is being torn down.
    CreationFailed,
}

/// The event does not fit what the engine waits for. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unexpected {
    /// No VM has this key any more.
    #[error("VM {vm} is not known")]
    UnknownVm {
        /// Its ID.
        vm: PartitionId,
    },
    /// The VM is in another phase.
    #[error("VM {vm} is in phase {phase:?}")]
    Phase {
        /// Its ID.
        vm: PartitionId,
        /// The phase.
        phase: Phase,
    },
    /// No such call is in flight for the VM.
    #[error("VM {vm} has no such call in flight")]
    NotInFlight {
        /// Its ID.
        vm: PartitionId,
    },
}

/// Why a VM cannot be created. Nothing was incurred.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The ID is in use, or retired.
    #[error("the ID {vm} is in use or retired")]
    IdTaken {
        /// The ID.
        vm: PartitionId,
    },
    /// The lent storage is full.
    #[error("no room for VM {vm}")]
    NoRoom {
        /// The ID.
        vm: PartitionId,
    },
}

/// A VM whose creation has begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Created {
    /// Its key.
    pub vm: VmKey,
    /// Take the VM reference now: the first obligation is there.
    pub take_reference: bool,
}
