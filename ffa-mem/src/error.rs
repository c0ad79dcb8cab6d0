use ffa_abi::{Handle, PartitionId, Status, Transaction, Version};

use crate::{DataAccess, InstructionAccess, MAX_RECEIVERS, RangeError};

/// Why bytes are not a send descriptor of this caller: the rule that is broken, and with what.
///
/// `index` counts from zero: receivers in the order of the descriptor, or constituents likewise.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// Something does not fit the descriptor.
    #[error("{field} needs {need} bytes at offset {offset}, the descriptor has {have}")]
    Truncated {
        /// What does not fit.
        field: &'static str,
        /// Where it begins, in bytes from the start of the descriptor.
        offset: u64,
        /// Its length in bytes.
        need: u64,
        /// Length in bytes of the whole descriptor, or of the first fragment if the head does not fit that.
        have: u64,
    },
    /// Bytes follow the last constituent, so the range count and the length disagree.
    #[error("the last constituent ends at {end}, the descriptor has {have} bytes")]
    Excess {
        /// Where the last constituent ends, in bytes from the start of the descriptor.
        end: u64,
        /// Length of the whole descriptor in bytes.
        have: u64,
    },
    /// A fragment is empty, ends within a constituent, or has more than is to come.
    #[error("fragment of {len} bytes, need whole constituents of 16 bytes and at most {left} bytes of them")]
    FragmentLength {
        /// Length of the fragment in bytes, without the head.
        len: u64,
        /// How many bytes are to come.
        left: u32,
    },
    /// Bits that must be zero are not.
    #[error("{field} = {value:#x} sets bits that must be zero")]
    Reserved {
        /// The field.
        field: &'static str,
        /// Its value, or the first eight bytes of it that are not zero.
        value: u64,
    },
    /// The sender field names somebody other than the caller.
    #[error("sender is {found}, the caller is {caller}")]
    Sender {
        /// Who is named.
        found: PartitionId,
        /// Who calls.
        caller: PartitionId,
    },
    /// The attributes have a reserved encoding of type, cacheability or shareability.
    #[error("memory attributes {attributes:#x} have a reserved encoding")]
    Attributes {
        /// The field.
        attributes: u16,
    },
    /// The NS attribute, which only an SPMC may set.
    #[error("memory attributes {attributes:#x} set NS")]
    NonSecure {
        /// The field.
        attributes: u16,
    },
    /// Only normal memory, write-back, inner shareable (0x2f) can be shared.
    #[error("memory attributes {attributes:#x} cannot be shared, only 0x2f can")]
    ShareAttributes {
        /// The field.
        attributes: u16,
    },
    /// A donation, or a lend to one borrower, must leave the memory type to the receiver.
    #[error("{transaction:?} to one receiver specifies a memory type in attributes {attributes:#x}")]
    TypeSpecified {
        /// The transaction.
        transaction: Transaction,
        /// The field.
        attributes: u16,
    },
    /// A lend to several borrowers must specify the memory type.
    #[error("lend to several borrowers leaves the memory type open in attributes {attributes:#x}")]
    TypeMissing {
        /// The field.
        attributes: u16,
    },
    /// Shared memory cannot be zeroed: its owner keeps it.
    #[error("flags {flags:#x} ask to zero shared memory")]
    ZeroShared {
        /// The field.
        flags: u32,
    },
    /// Time slicing is not supported.
    #[error("flags {flags:#x} ask for time slicing")]
    TimeSlice {
        /// The field.
        flags: u32,
    },
    /// A sender does not choose the handle.
    #[error("handle is {handle:#x}, must be zero")]
    Handle {
        /// The field.
        handle: u64,
    },
    /// An SPMC describes another transaction than it was asked for.
    #[error("handle is {found:#x}, asked for was {asked:?}")]
    OtherHandle {
        /// The field.
        found: u64,
        /// The handle asked for.
        asked: Handle,
    },
    /// No receivers.
    #[error("no receivers")]
    NoReceivers,
    /// More than [`MAX_RECEIVERS`].
    #[error("{count} receivers, at most {max} are supported", max = MAX_RECEIVERS)]
    TooManyReceivers {
        /// The receiver count.
        count: u32,
    },
    /// Memory can be donated to one receiver only.
    #[error("donation to {count} receivers")]
    DonateReceivers {
        /// The receiver count.
        count: u32,
    },
    /// The size of an endpoint memory access descriptor is none that this version has.
    #[error("endpoint memory access descriptors of {size} bytes in version {version}")]
    EmadSize {
        /// Size in bytes.
        size: u32,
        /// The caller's version.
        version: Version,
    },
    /// The endpoint memory access descriptors begin inside the header or unaligned.
    #[error("endpoint memory access descriptors at offset {offset}, need 48 or more in steps of 16")]
    EmadOffset {
        /// Offset in bytes.
        offset: u32,
    },
    /// The sender is among the receivers.
    #[error("receiver {index} is the sender")]
    SelfReceiver {
        /// Which receiver.
        index: u32,
    },
    /// ID 0 is the hypervisor's, which receives nothing.
    #[error("receiver {index} is the hypervisor")]
    HypervisorReceiver {
        /// Which receiver.
        index: u32,
    },
    /// A receiver is named twice.
    #[error("receiver {index} names {id} again")]
    DuplicateReceiver {
        /// Which receiver: the second of the two.
        index: u32,
        /// Its ID.
        id: PartitionId,
    },
    /// The permissions of a receiver set reserved bits or have a reserved encoding.
    #[error("receiver {index}: permissions {permissions:#x} are reserved")]
    Permissions {
        /// Which receiver.
        index: u32,
        /// The byte.
        permissions: u8,
    },
    /// A share or a lend must specify data access, a donation must not.
    #[error("receiver {index}: data access {access:?} in a {transaction:?}")]
    DataAccess {
        /// Which receiver.
        index: u32,
        /// The data access.
        access: DataAccess,
        /// The transaction.
        transaction: Transaction,
    },
    /// A sender must not specify instruction access.
    #[error("receiver {index}: instruction access {access:?} from a sender")]
    InstructionAccess {
        /// Which receiver.
        index: u32,
        /// The instruction access.
        access: InstructionAccess,
    },
    /// The flags of a receiver are for answers of the SPMC only.
    #[error("receiver {index}: flags are {flags:#x}, must be zero")]
    ReceiverFlags {
        /// Which receiver.
        index: u32,
        /// The byte.
        flags: u8,
    },
    /// The reserved field of a receiver is not zero.
    #[error("receiver {index}: reserved field is {value:#x}")]
    ReceiverReserved {
        /// Which receiver.
        index: u32,
        /// The field.
        value: u64,
    },
    /// All receivers of a transaction share one composite descriptor.
    #[error("receiver {index}: composite at offset {offset}, the first receiver's is at {first}")]
    CompositeMismatch {
        /// Which receiver.
        index: u32,
        /// Its composite offset in bytes.
        offset: u32,
        /// That of the first receiver.
        first: u32,
    },
    /// The composite descriptor begins before the receivers end, or unaligned.
    #[error("composite at offset {offset}, need {after} or more in steps of 16")]
    CompositeOffset {
        /// Offset in bytes.
        offset: u32,
        /// Where the endpoint memory access descriptors end.
        after: u64,
    },
    /// No constituents.
    #[error("no constituents")]
    NoRanges,
    /// The total is not the sum of the page counts, taken in 64 bits.
    #[error("total page count is {total}, the constituents have {sum}")]
    TotalPages {
        /// The total in the composite descriptor.
        total: u32,
        /// Sum over the constituents, of one page for each that is yet to come.
        sum: u64,
    },
    /// A constituent is not a range.
    #[error("constituent {index}: {source}")]
    Range {
        /// Which constituent.
        index: u32,
        /// What is wrong with it.
        source: RangeError,
    },
    /// The reserved word of a constituent is not zero.
    #[error("constituent {index}: reserved word is {value:#x}")]
    RangeReserved {
        /// Which constituent.
        index: u32,
        /// The word.
        value: u32,
    },
}

impl DescriptorError {
    /// The status that the caller of FFA_MEM_SHARE, FFA_MEM_LEND or FFA_MEM_DONATE gets.
    ///
    /// # Specification
    /// FF-A v1.1 (DEN0077A issue E) sections 16.1 to 16.3; from v1.2, DEN0140.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Sender { .. } | Self::ShareAttributes { .. } => Status::Denied,
            Self::Truncated { .. }
            | Self::Excess { .. }
            | Self::FragmentLength { .. }
            | Self::Reserved { .. }
            | Self::Attributes { .. }
            | Self::NonSecure { .. }
            | Self::TypeSpecified { .. }
            | Self::TypeMissing { .. }
            | Self::ZeroShared { .. }
            | Self::TimeSlice { .. }
            | Self::Handle { .. }
            | Self::OtherHandle { .. }
            | Self::NoReceivers
            | Self::TooManyReceivers { .. }
            | Self::DonateReceivers { .. }
            | Self::EmadSize { .. }
            | Self::EmadOffset { .. }
            | Self::SelfReceiver { .. }
            | Self::HypervisorReceiver { .. }
            | Self::DuplicateReceiver { .. }
            | Self::Permissions { .. }
            | Self::DataAccess { .. }
            | Self::InstructionAccess { .. }
            | Self::ReceiverFlags { .. }
            | Self::ReceiverReserved { .. }
            | Self::CompositeMismatch { .. }
            | Self::CompositeOffset { .. }
            | Self::NoRanges
            | Self::TotalPages { .. }
            | Self::Range { .. }
            | Self::RangeReserved { .. } => Status::InvalidParameters,
        }
    }
}
