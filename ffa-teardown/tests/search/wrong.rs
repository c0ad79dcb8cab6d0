//! Engines that are wrong on purpose, to prove that the oracle notices.

use ffa_abi::{Answer, Status, VmAvailability};
use ffa_teardown::SecureCall;

use crate::answers;
use crate::reading::{self, Reading};

/// What is wrong with the engine, as far as its answer table cannot say it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wrong {
    #[default]
    Nothing,
    /// VM_DESTROYED counts as delivered and is never sent.
    ForgetsDestroyed,
    /// A preempted VM_DESTROYED is sent anew.
    StartsDestroyedAgain,
    /// FFA_ERROR with code 0 counts as success.
    TakesCodeZeroForSuccess,
    /// An answer without sense to a reclaim counts as success.
    TakesNonsenseForSuccess,
    /// An unclear answer to FFA_MEM_SHARE counts as a refusal.
    TakesUnclearForRefused,
    /// The reference of a VM that is gone is never dropped.
    KeepsReference,
    /// The clock runs ahead.
    Hastes,
    /// What passes is given up.
    GivesUpOnBusy,
    /// FFA_NOTIFICATION_GET is never made.
    FetchesNothing,
    /// Memory is sent while a donation is asked for.
    SendsMeanwhile,
    /// Nobody is asked what the handle of a donation names that may be another's.
    AsksNobody,
}

impl Wrong {
    /// The answer that the engine gets without anybody being asked.
    pub fn swallows(self, call: SecureCall) -> Option<Answer> {
        let destroyed = matches!(call, SecureCall::Tell { event: VmAvailability::Destroyed, .. });
        let get = matches!(call, SecureCall::NotificationGet { .. });
        let swallowed =
            (self == Self::ForgetsDestroyed && destroyed) || (self == Self::FetchesNothing && get);
        swallowed.then(|| answers::kind(call, None))
    }

    /// What the engine takes `answer` for.
    pub fn misread(self, call: SecureCall, answer: Answer) -> Answer {
        let destroyed = matches!(call, SecureCall::Tell { event: VmAvailability::Destroyed, .. });
        let reclaim = matches!(call, SecureCall::MemReclaim { .. });
        match (self, reading::read(&answer)) {
            (Self::StartsDestroyedAgain, Reading::Preempted { .. }) if destroyed => {
                Answer::Error(Status::Retry.into())
            }
            (Self::TakesCodeZeroForSuccess, Reading::Error(0)) => answers::kind(call, None),
            (Self::TakesNonsenseForSuccess, Reading::Nonsense) if reclaim => answers::kind(call, None),
            (Self::GivesUpOnBusy, Reading::Error(-4)) if reclaim => Answer::Error(Status::Aborted.into()),
            _ => answer,
        }
    }

    pub fn misread_send(self, answer: Answer) -> Answer {
        match (self, reading::read(&answer)) {
            (Self::TakesUnclearForRefused, Reading::Error(reading::ABORTED) | Reading::Nonsense) => {
                Answer::Error(Status::Denied.into())
            }
            _ => answer,
        }
    }

    pub fn gives_back(self, give_back: bool) -> bool {
        give_back && self != Self::KeepsReference
    }

    /// By how much more than it should the clock goes forward.
    pub fn haste(self) -> u64 {
        u64::from(self == Self::Hastes)
    }
}
