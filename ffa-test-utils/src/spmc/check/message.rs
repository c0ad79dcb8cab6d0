//! Conditions of messages and of running partitions.

/// What can be wrong with a direct request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DirectCheck {
    /// w2 of a partition message is not zero.
    Flags,
    /// w2 has bits other than bit 31 and bits 7:0.
    FlagsReserved,
    /// Sender and receiver are the same, the receiver is not secure, or the sender is.
    Endpoints,
    /// No such partition.
    UnknownReceiver,
    /// The partition takes no direct requests.
    NoDirectRequests,
    /// The partition takes no direct requests of 1.2.
    NoDirectRequests2,
    /// The caller is older than 1.2.
    OldCaller,
    /// The receiver is the partition built into the SPMC.
    BuiltIn,
    /// The service is not one of the partition's.
    UnknownService,
    /// The partition crashed and was not restarted; a script may answer otherwise.
    Crashed,
    /// The execution context serves another request.
    ContextBusy,
}

/// What can be wrong with FFA_RUN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RunCheck {
    /// x8 to x17 are not zero, from a caller of 1.2.
    HighRegisters,
    /// The target is an endpoint of the normal world.
    NormalWorld,
    /// No such partition.
    UnknownTarget,
    /// The target is the partition built into the SPMC.
    BuiltIn,
    /// No such execution context, or it belongs to another CPU.
    WrongContext,
    /// The partition crashed and was not restarted.
    Crashed,
    /// The context is not preempted, and nothing waits for the partition.
    NotPreempted,
}
