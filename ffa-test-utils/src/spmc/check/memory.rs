//! Conditions of memory transactions.

/// What can be wrong with FFA_MEM_SHARE, FFA_MEM_LEND or FFA_MEM_DONATE and the first part of its descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SendCheck {
    /// It is a donation.
    Donate,
    /// x3 or w4 name a buffer other than TX.
    OtherBuffer,
    /// w4 counts pages of a buffer that x3 does not name.
    BufferPagesOnly,
    /// w5, w6 or w7 is not zero.
    UnusedRegisters,
    /// The part is longer than the whole.
    PartPastTotal,
    /// The part is shorter than the header.
    PartBelowHeader,
    /// The caller has no TX buffer.
    NoBuffer,
    /// The part is longer than the buffer, or than 4096 bytes from a 1.0 caller.
    PartPastBuffer,
    /// The whole is not a multiple of 16 bytes.
    TotalUnaligned,
    /// Whole or part is not a multiple of 16 bytes.
    LengthUnaligned,
    /// The whole does not fit what is left of the store for descriptors.
    StoreFull,
    /// The buffer cannot be read.
    CopyFault,
    /// Reserved header bytes are not zero.
    HeaderReserved,
    /// The access descriptor size is neither 16 nor 32, or is newer than the caller; or the offset is below 48.
    AccessLayout,
    /// The access descriptor size is below 16 or not a multiple of 16; or the offset is below 48 or not aligned.
    AccessLayoutLoose,
    /// There are no access descriptors.
    NoAccess,
    /// There are no access descriptors, or more than the limit.
    AccessCount,
    /// Attributes, flags, access size or count above 255, offset above 65535 or not a multiple of 16.
    FieldWidths,
    /// The access descriptors end past the part.
    AccessPastPart,
    /// The access descriptors and a composite header end past the whole.
    AccessPastTotal,
    /// The composite offset is zero, before the end of the access descriptors, or its header ends past the part.
    CompositePastPart,
    /// The composite header ends past the part, or its offset is not a multiple of 8.
    CompositeLoose,
    /// The reserved field of an access descriptor is not zero.
    AccessReserved,
    /// The flags of an access descriptor are not zero.
    AccessFlags,
    /// The access descriptors disagree on the composite offset.
    CompositesDiffer,
    /// Flag bits 31:2 are set, or a share asks for zeroing.
    FlagsReserved,
    /// A share asks for zeroing, or any flag but zeroing is set.
    FlagsBeyondZero,
    /// Flags that are neither zero nor exactly the transaction type of this call.
    FlagsBeyondType,
    /// A donation to other than one receiver.
    DonateReceivers,
    /// A receiver is a secure ID without a partition, or the caller.
    UnknownReceiver,
    /// The receivers' worlds do not suit the transaction.
    ReceiverWorld,
    /// The sender's ID is a secure one.
    SecureSender,
    /// The sender is not a guest that the SPMC was told of.
    UnknownSender,
    /// The whole has no room for a range; or the composite is not aligned to 16 or before the access descriptors' end.
    TotalTooShort,
    /// The number of ranges is not what the whole has room for.
    RangeCount,
    /// No pages, no ranges, or ranges past the whole.
    RangesLoose,
    /// A receiver is the sender or there twice, or a permission has a reserved encoding.
    Receivers,
    /// Instruction access is specified.
    InstructionAccess,
    /// Data access is not specified for a share or lend, or is for a donation.
    DataAccess,
    /// The NS attribute is set.
    NsBit,
    /// The memory type is given for a donation or a lend to one receiver.
    TypeGiven,
    /// The attributes are not normal, write-back, inner shareable memory where they must be given.
    NotNormalMemory,
    /// The attributes are not exactly 0x2f for a share or 0 for a lend.
    AttributesExact,
    /// The built-in partition is not among the receivers, or its permissions are not exactly RW.
    BuiltInAccess,
    /// A lend that names another partition before the built-in one.
    OtherPartitionLend,
    /// A descriptor in parts that names another partition before the built-in one.
    OtherPartitionParts,
    /// A receiver that is unknown or there twice, where another partition comes before the built-in one.
    OtherPartitionUnknown,
    /// The header names a handle that is not the hypervisor's to give.
    HandleGiven,
    /// No share can be remembered.
    NoShareState,
}

/// What can be wrong with a descriptor when its last byte has arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WholeCheck {
    /// A receiver is a secure ID without a partition.
    UnknownReceiver,
    /// The access descriptors disagree on the composite offset.
    CompositesDiffer,
    /// A receiver is there twice.
    DuplicateReceiver,
    /// The composite is before the end of the access descriptors, not aligned, or past the end.
    CompositeBounds,
    /// The number of ranges does not fill the descriptor exactly.
    RangeCount,
    /// Two ranges overlap.
    Overlap,
    /// The ranges' pages do not add up to the total.
    PageSum,
    /// A range has no pages.
    EmptyRange,
    /// An address is not aligned to 4 KiB.
    Unaligned,
    /// An address is past the supported width, or a range wraps.
    PastMemory,
    /// A range is not plain non-secure memory.
    NotNonSecure,
    /// A range holds a page of somebody's RX or TX buffer.
    BufferPage,
    /// A range overlaps one that is shared, lent or donated already.
    AlreadySent,
}

/// What can be wrong with FFA_MEM_FRAG_TX.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PartCheck {
    /// Shorter than 16 bytes, not a multiple of 16, or longer than the buffer.
    Length,
    /// No buffer, or longer than it.
    PastBuffer,
    /// More than is still missing.
    PastTotal,
    /// No transaction with this handle waits for more.
    UnknownHandle,
    /// w4 does not name the sender.
    WrongSender,
    /// w4 does not name a known guest.
    UnknownGuest,
    /// The limit of parts is reached.
    TooMany,
    /// The buffer cannot be read.
    CopyFault,
}

/// What can be wrong with FFA_MEM_RECLAIM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReclaimCheck {
    /// Any flag is set.
    AnyFlag,
    /// A flag other than zeroing is set.
    FlagsBeyondZero,
    /// Any of w3 to w7 is not zero.
    UnusedRegisters,
    /// No such handle.
    UnknownHandle,
    /// The descriptor has not arrived completely.
    Incomplete,
    /// A borrower has it retrieved.
    InUse,
}

/// What can be wrong with the hypervisor's FFA_MEM_RETRIEVE_REQ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RetrieveCheck {
    /// x3 or w4 name a buffer other than TX.
    OtherBuffer,
    /// The descriptor does not come in one part.
    InParts,
    /// No buffers; or the part is shorter than the header, or longer than the buffer.
    Length,
    /// The buffer cannot be read.
    CopyFault,
    /// Something besides the handle is not zero.
    BesidesHandle,
    /// There are receivers, so that it is not the hypervisor's own.
    Receivers,
    /// The NS attribute is set, or flags name a transaction.
    NsBitOrType,
    /// RX is the hypervisor's.
    RxFull,
    /// No whole transaction has this handle.
    UnknownHandle,
    /// The hypervisor has yet to fetch the rest of an earlier answer.
    InProgress,
    /// There are several receivers in the normal world.
    SeveralVms,
}

/// What can be wrong with FFA_MEM_FRAG_RX, by which the hypervisor fetches more of the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FetchCheck {
    /// Nothing is left to be fetched of a transaction with this handle.
    UnknownHandle,
    /// w4 does not name the sender.
    WrongSender,
    /// w4 names neither the sender nor nobody.
    OtherSender,
    /// The offset is not that of the next part.
    NotNext,
    /// The offset is neither that of the next part nor that of the last one.
    NeitherNextNorLast,
    /// RX is the hypervisor's.
    RxFull,
}
