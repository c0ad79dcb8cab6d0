//! Where Xen's mediator refuses a call as this one does, but with another code.

use core::fmt;

use ffa_abi::{Function, Status};
use ffa_mem::{DescriptorError, SendDescriptor, SendRules};

/// Whose codes a guest is refused with where the specification and Xen's mediator differ. Nothing else depends on it: what
/// is refused with one is refused with the other, as early, and with as much left behind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Compat {
    /// Those of the specification.
    #[default]
    Strict,
    /// Those of Xen's mediator, as [`DIFFERENCES`] lists them: for guests that were written for it.
    Xen,
}

/// Why a call is refused that Xen refuses with another code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Case {
    /// The caller has no RX.
    NoRx,
    /// The caller has no TX.
    NoTx,
    /// The other one is a VM or the hypervisor, and only SPs have what is asked for.
    NoSp,
    /// The receiver is an SP, and the SPMC passes no messages on.
    NotPassedOn,
    /// The receiver is a VM that has not asked for its version yet.
    NotNegotiated,
    /// The receiver is a VM without RX.
    ReceiverWithoutRx,
    /// x3 is not zero: the descriptor is not in TX.
    OtherBuffer,
    /// The sender in the descriptor is not the caller.
    Sender,
    /// Memory attributes that are reserved.
    ReservedAttributes,
    /// Memory attributes that are none of memory that can be shared.
    OtherAttributes,
    /// No receivers, too many, one twice, or each with a composite descriptor of its own.
    Receivers,
    /// Permissions that are reserved, or not for a sender to give.
    Permissions,
    /// The header of the composite descriptor is not within the whole.
    Composite,
    /// Flags that are reserved.
    Flags,
    /// The other one is a VM, and VMs do not reach each other; or it is an SP, and the SPMC keeps no notifications.
    NoNotifications,
}

impl fmt::Display for Case {
    /// As a table shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRx => "the caller has no RX",
            Self::NoTx => "the caller has no TX",
            Self::NoSp => "a VM or the hypervisor is named, where only an SP will do",
            Self::NotPassedOn => "to an SP, and the SPMC passes no messages on",
            Self::NotNegotiated => "to a VM that has not called FFA_VERSION",
            Self::ReceiverWithoutRx => "to a VM without RX",
            Self::OtherBuffer => "a descriptor outside TX: x3 is not zero",
            Self::Sender => "another sender than the caller",
            Self::ReservedAttributes => "reserved memory attributes",
            Self::OtherAttributes => "memory attributes other than 0x2f",
            Self::Receivers => "no receivers, too many, one twice, or several composites",
            Self::Permissions => "permissions that are reserved, or not for a sender to give",
            Self::Composite => "a composite that does not fit",
            Self::Flags => "reserved flags",
            Self::NoNotifications => "with an SP or a VM, and those of its kind have none",
        })
    }
}

/// A case in which the two codes differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The guest's call.
    pub function: Function,
    /// Why it is refused.
    pub case: Case,
    /// The code of [`Compat::Strict`].
    pub strict: Status,
    /// The code of [`Compat::Xen`].
    pub xen: Status,
    /// The file of Xen's that decides it, in its `xen/arch/arm/tee` at commit c447b7308b.
    pub source: &'static str,
}

const fn row(
    function: Function,
    case: Case,
    strict: Status,
    xen: Status,
    source: &'static str,
) -> Difference {
    Difference { function, case, strict, xen, source }
}

/// Every difference. A case has several rows where the strict code depends on more.
pub const DIFFERENCES: &[Difference] = {
    use Status::{Busy, Denied, InvalidParameters, NotSupported};
    const RXTX: &str = "ffa_rxtx.c";
    const MSG: &str = "ffa_msg.c";
    const SHM: &str = "ffa_shm.c";
    const NOTIF: &str = "ffa_notif.c";
    &[
        row(Function::PartitionInfoGet, Case::NoRx, Busy, Denied, RXTX),
        row(Function::MsgSendDirectReq, Case::NoSp, InvalidParameters, NotSupported, MSG),
        row(Function::MsgSendDirectReq2, Case::NoSp, InvalidParameters, NotSupported, MSG),
        row(Function::Run, Case::NoSp, InvalidParameters, NotSupported, MSG),
        row(Function::MsgSend2, Case::NotPassedOn, Denied, NotSupported, MSG),
        // If there is no such SP.
        row(Function::MsgSend2, Case::NotPassedOn, InvalidParameters, NotSupported, MSG),
        row(Function::MsgSend2, Case::NotNegotiated, Busy, InvalidParameters, MSG),
        row(Function::MsgSend2, Case::ReceiverWithoutRx, Busy, Denied, RXTX),
        row(Function::MemShare, Case::OtherBuffer, InvalidParameters, NotSupported, SHM),
        row(Function::MemShare, Case::NoTx, InvalidParameters, Denied, SHM),
        row(Function::MemShare, Case::Sender, Denied, InvalidParameters, SHM),
        row(Function::MemShare, Case::ReservedAttributes, InvalidParameters, NotSupported, SHM),
        row(Function::MemShare, Case::OtherAttributes, Denied, NotSupported, SHM),
        row(Function::MemShare, Case::Receivers, InvalidParameters, NotSupported, SHM),
        row(Function::MemShare, Case::NoSp, InvalidParameters, NotSupported, SHM),
        row(Function::MemShare, Case::Permissions, InvalidParameters, NotSupported, SHM),
        row(Function::MemShare, Case::Composite, InvalidParameters, NotSupported, SHM),
        row(Function::NotificationBind, Case::Flags, InvalidParameters, Denied, NOTIF),
        row(Function::NotificationBind, Case::NoNotifications, Denied, NotSupported, NOTIF),
        // If it is a VM, or there is no such SP.
        row(Function::NotificationBind, Case::NoNotifications, InvalidParameters, NotSupported, NOTIF),
        row(Function::NotificationUnbind, Case::NoNotifications, Denied, NotSupported, NOTIF),
        row(Function::NotificationSet, Case::NoNotifications, Denied, NotSupported, NOTIF),
        row(Function::NotificationSet, Case::NoNotifications, InvalidParameters, NotSupported, NOTIF),
    ]
};

impl Compat {
    /// What a guest is told whose call of `function` is refused: `strict`, or Xen's code for that.
    #[cold]
    #[inline(never)]
    pub(crate) fn status(self, function: Function, case: Case, strict: Status) -> Status {
        if self == Self::Strict {
            return strict;
        }
        let refused = (function, case, strict);
        let row = DIFFERENCES.iter().find(|row| (row.function, row.case, row.strict) == refused);
        row.map_or(strict, |row| row.xen)
    }

    /// What a guest is told of its descriptor, which is refused with `strict`.
    #[inline(always)] // so that nobody needs to know why, as a rule
    pub(crate) fn descriptor_status(self, strict: Status, bytes: &[u8], rules: &SendRules) -> Status {
        match self {
            Self::Strict => strict,
            Self::Xen => self.status_by_case(strict, bytes, rules),
        }
    }

    /// Reads the descriptor once more, to say why it is refused.
    #[cold]
    #[inline(never)]
    fn status_by_case(self, strict: Status, bytes: &[u8], rules: &SendRules) -> Status {
        let case = SendDescriptor::parse(bytes, rules).err().as_ref().and_then(case_of);
        case.map_or(strict, |case| self.status(Function::MemShare, case, strict))
    }
}

/// Which of the cases an error in a descriptor is, if it is one.
fn case_of(error: &DescriptorError) -> Option<Case> {
    // Xen refuses what is more than a byte, and NS, before all else and as FF-A does.
    const NS: u64 = 1 << 6;
    const BYTE: u64 = 0xff;
    let reserved = |bits| (bits <= BYTE && bits & NS == 0).then_some(Case::ReservedAttributes);
    match *error {
        DescriptorError::Sender { .. } => Some(Case::Sender),
        DescriptorError::Reserved { field: "memory attributes", value } => reserved(value),
        DescriptorError::Attributes { attributes } => reserved(attributes.into()),
        DescriptorError::ShareAttributes { .. } => Some(Case::OtherAttributes),
        DescriptorError::TooManyReceivers { count } if u64::from(count) > BYTE => None,
        DescriptorError::NoReceivers
        | DescriptorError::TooManyReceivers { .. }
        | DescriptorError::DuplicateReceiver { .. }
        | DescriptorError::CompositeMismatch { .. } => Some(Case::Receivers),
        DescriptorError::SelfReceiver { .. } | DescriptorError::HypervisorReceiver { .. } => Some(Case::NoSp),
        DescriptorError::Permissions { .. }
        | DescriptorError::DataAccess { .. }
        | DescriptorError::InstructionAccess { .. } => Some(Case::Permissions),
        DescriptorError::Truncated { field: "composite", .. } => Some(Case::Composite),
        _ => None,
    }
}
