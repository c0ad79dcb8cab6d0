//! Conditions of listing partitions.

/// What can be wrong with FFA_PARTITION_INFO_GET.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InfoCheck {
    /// Reserved bits of w5 are set.
    Flags,
    /// No partition has the UUID.
    UnknownUuid,
    /// RX is not mapped or not free.
    BufferBusy,
    /// The records do not fit RX.
    TooLarge,
}

/// What can be wrong with FFA_PARTITION_INFO_GET_REGS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InfoRegsCheck {
    /// The caller is older than 1.2.
    OldCaller,
    /// No partition has the UUID.
    UnknownUuid,
    /// The tag is not that of the list; without one the list is read from its start.
    Tag,
    /// The start is past the end of the list.
    Start,
}
