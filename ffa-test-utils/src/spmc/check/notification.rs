//! Conditions of notifications.

/// What can be wrong with FFA_NOTIFICATION_BITMAP_CREATE or FFA_NOTIFICATION_BITMAP_DESTROY.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BitmapCheck {
    /// A register that the call does not use is not zero.
    Reserved,
    /// The endpoint is a secure one.
    Secure,
    /// The endpoint is the hypervisor.
    Hypervisor,
    /// The endpoint is no guest that the SPMC was told of.
    UnknownGuest,
    /// It has no vCPUs.
    NoVcpus,
    /// There is no room for another VM.
    NoSlot,
    /// There is a bitmap already.
    Created,
    /// There is no bitmap.
    NotCreated,
    /// A notification of a partition is pending.
    Pending,
    /// A notification is bound.
    Bound,
}

/// What can be wrong with FFA_NOTIFICATION_BIND or FFA_NOTIFICATION_UNBIND.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindCheck {
    /// Any flag is set.
    Flags,
    /// A flag other than that of notifications per vCPU is set.
    FlagsReserved,
    /// A register that the call does not use is not zero.
    Reserved,
    /// No notification is named.
    Empty,
    /// The receiver is not in the normal world.
    Receiver,
    /// The sender is no partition.
    Sender,
    /// Nothing is kept for the receiver.
    UnknownReceiver,
    /// The receiver is no guest that the SPMC was told of.
    UnknownGuest,
    /// The receiver has no bitmap.
    NoBitmap,
    /// A notification is bound to another sender.
    OtherSender,
    /// A notification is bound, to whomever.
    Bound,
    /// A notification is not bound to this sender.
    NotBound,
    /// A notification is pending.
    Pending,
}

/// What can be wrong with FFA_NOTIFICATION_SET from a VM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SetCheck {
    /// It is for one vCPU.
    PerVcpu,
    /// A vCPU is named for a notification that is not for one.
    Vcpu,
    /// The schedule receiver interrupt is to be delayed, which only partitions may ask for.
    Delay,
    /// A reserved flag is set.
    FlagsReserved,
    /// A register that the call does not use is not zero.
    Reserved,
    /// No notification is named.
    Empty,
    /// The sender is not in the normal world.
    Sender,
    /// The receiver is no partition.
    Receiver,
    /// The receiver takes no notifications.
    NotEnabled,
    /// A notification is not bound to this sender, or not in this scope.
    NotBound,
    /// The receiver has no such vCPU.
    VcpuRange,
}

/// What can be wrong with FFA_NOTIFICATION_GET for a VM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GetCheck {
    /// A reserved flag is set.
    FlagsReserved,
    /// Notifications are wanted that are the hypervisor's to keep.
    HypervisorsOwn,
    /// A register that the call does not use is not zero.
    Reserved,
    /// The receiver has no bitmap.
    UnknownReceiver,
    /// The receiver is no guest that the SPMC was told of.
    UnknownGuest,
    /// The receiver has no such vCPU.
    VcpuRange,
}

/// What can be wrong with FFA_NOTIFICATION_INFO_GET.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InfoGetCheck {
    /// The 32-bit form.
    Narrow,
    /// A register is not zero.
    Arguments,
}
