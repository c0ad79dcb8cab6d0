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
