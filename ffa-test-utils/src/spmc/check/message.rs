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

/// What can be wrong with FFA_MSG_SEND2 from the normal world.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IndirectCheck {
    /// Any flag is set: only partitions may delay the schedule receiver interrupt.
    Flags,
    /// A register that the call does not use is not zero.
    Reserved,
    /// No buffers are mapped for the sender.
    NoTx,
    /// TX cannot be read.
    CopyFault,
    /// Flags in the header are set.
    HeaderFlags,
    /// The header names another sender, or the sender as the receiver.
    Sender,
    /// The receiver is no partition.
    UnknownReceiver,
    /// The receiver takes no indirect messages.
    NoIndirectMessages,
    /// The service is not one of the receiver's.
    UnknownService,
    /// The receiver has not read the message before.
    Busy,
    /// The payload begins inside the header or ends past TX.
    Payload,
    /// The sender is older than 1.1.
    OldSender,
}
