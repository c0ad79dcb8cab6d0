use ffa_abi::{Handle, PartitionId};

/// A back door to a partition's script: a direct request whose payload begins with [`Control::MAGIC`]. It is no part
/// of FF-A and works whatever state the partition is in, so that a hypervisor image can drive a scenario through
/// nothing but SMCs. From a guest it is a direct request like any other.
///
/// The answer is a direct response with [`Control::MAGIC`] in w3, 1 in w4 if it was done and 0 if not, and in w5 the
/// number of pages that the partition has mapped then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Control {
    /// Changes nothing; for the number of mapped pages.
    Query,
    /// Retrieve the share, which must have been sent to this partition.
    Retrieve(Handle),
    /// Relinquish the share.
    Relinquish(Handle),
    /// Relinquish everything that was sent by this VM.
    RelinquishAll(PartitionId),
    /// Die.
    Crash,
    /// Restart; it forgets everything and holds nothing.
    Restart,
}

impl Control {
    /// First word of the payload.
    pub const MAGIC: u32 = 0x4c52_5443; // "CTRL"

    /// w3 to w7 of the request.
    #[must_use]
    pub fn payload(self) -> [u64; 5] {
        let magic = u64::from(Self::MAGIC);
        match self {
            Self::Query => [magic, 0, 0, 0, 0],
            Self::Retrieve(handle) => Self::with_handle(1, handle),
            Self::Relinquish(handle) => Self::with_handle(2, handle),
            Self::RelinquishAll(vm) => [magic, 3, u64::from(vm.0), 0, 0],
            Self::Crash => [magic, 4, 0, 0, 0],
            Self::Restart => [magic, 5, 0, 0, 0],
        }
    }

    fn with_handle(operation: u64, handle: Handle) -> [u64; 5] {
        let [low, high] = handle.words();
        [u64::from(Self::MAGIC), operation, low, high, 0]
    }

    /// The control that a payload asks for, if it does.
    #[must_use]
    pub fn from_payload(payload: &[u64; 5]) -> Option<Self> {
        let [magic, operation, low, high, _] = payload.map(|word| word as u32);
        if magic != Self::MAGIC {
            return None;
        }
        let handle = || Handle::from_words(low, high).ok();
        Some(match operation {
            0 => Self::Query,
            1 => Self::Retrieve(handle()?),
            2 => Self::Relinquish(handle()?),
            3 => Self::RelinquishAll(PartitionId(low as u16)),
            4 => Self::Crash,
            5 => Self::Restart,
            _ => return None,
        })
    }
}
