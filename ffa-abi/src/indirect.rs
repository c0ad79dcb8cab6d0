use core::mem::size_of;

use zerocopy::{FromBytes, IntoBytes};

use crate::call::reserved;
use crate::{CallError, Function, FunctionId, PartitionId, Regs, Status, Uuid, Version};

mod wire {
    use zerocopy::little_endian::{U16, U32};
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

    /// Header of an indirect message, 40 bytes; 1.1 has the first 20 of them.
    /// DEN0077A v1.1 and v1.2, partition message header.
    #[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
    #[repr(C)]
    pub struct Header {
        pub flags: U32, // MBZ
        pub reserved: U32,
        pub payload_offset: U32, // bytes from the start of the header
        pub receiver: U16,
        pub sender: U16,
        pub payload_size: U32, // bytes
        pub reserved_1_2: U32,
        pub uuid: [u8; 16],
    }
    const _: () = assert!(size_of::<Header>() == 40);
}

/// FFA_MSG_SEND2: the message in the TX buffer shall go to the RX buffer of its receiver.
///
/// # Specification
/// DEN0077A v1.1, FFA_MSG_SEND2.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MsgSend2 {
    /// The VM for which the hypervisor speaks, bits 31:16 of w1; zero from everybody else.
    pub sender: PartitionId,
    /// Bit 1 of w2: the schedule receiver interrupt may wait until the sender gives its processor up.
    pub delay_schedule_receiver: bool,
}

impl MsgSend2 {
    const DELAY: u64 = 2;

    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let w1 = reserved(id, 1, u64::from(regs.w::<1>()), 0xffff_0000)?;
        let w2 = reserved(id, 2, u64::from(regs.w::<2>()), Self::DELAY)?;
        Ok(Self { sender: PartitionId((w1 >> 16) as u16), delay_schedule_receiver: w2 != 0 })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let flags = if self.delay_schedule_receiver { Self::DELAY } else { 0 };
        Regs::new([
            u64::from(FunctionId::smc32(Function::MsgSend2).w0()),
            u64::from(self.sender.0) << 16,
            flags,
        ])
    }
}

/// Layout of the header of an indirect message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum IndirectFormat {
    /// 20 bytes, FF-A 1.1.
    V1_1,
    /// 40 bytes, FF-A 1.2: a UUID names the service.
    V1_2,
}

impl IndirectFormat {
    /// The header that an endpoint of `version` writes and reads.
    #[must_use]
    pub fn for_version(version: Version) -> Self {
        if version < Version::V1_2 { Self::V1_1 } else { Self::V1_2 }
    }

    /// Bytes of the header.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::V1_1 => 20,
            Self::V1_2 => 40,
        }
    }
}

/// Why a buffer holds no indirect message, or cannot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IndirectError {
    /// The header does not fit.
    #[error("a header of {need} bytes, the buffer has {have}")]
    Truncated {
        /// Bytes of the header.
        need: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// The flags set bits that must be zero; so far that is each of them.
    #[error("flags = {flags:#x} set bits that must be zero")]
    Reserved {
        /// The flags.
        flags: u32,
    },
    /// The header names another sender than who sends.
    #[error("sender {named} in a message of {sender}")]
    Sender {
        /// In the header.
        named: PartitionId,
        /// Who sends.
        sender: PartitionId,
    },
    /// The sender names itself as the receiver.
    #[error("a message from {sender} to itself")]
    ToSender {
        /// Sender and receiver.
        sender: PartitionId,
    },
    /// The payload begins inside the header.
    #[error("payload at offset {offset}, the header ends at {least}")]
    PayloadOffset {
        /// Offset in bytes.
        offset: u32,
        /// The lowest that there can be.
        least: u32,
    },
    /// The payload ends outside the buffer.
    #[error("payload of {size} bytes at offset {offset}, the buffer has {have}")]
    PayloadSize {
        /// Offset in bytes.
        offset: u32,
        /// Size in bytes.
        size: u32,
        /// Bytes of the buffer.
        have: usize,
    },
}

impl From<IndirectError> for Status {
    fn from(error: IndirectError) -> Self {
        match error {
            IndirectError::Truncated { .. }
            | IndirectError::Reserved { .. }
            | IndirectError::Sender { .. }
            | IndirectError::ToSender { .. }
            | IndirectError::PayloadOffset { .. }
            | IndirectError::PayloadSize { .. } => Self::InvalidParameters,
        }
    }
}

/// The checked header of an indirect message: where the payload is, and between whom it goes.
///
/// The payload lies behind the header and within the buffer of which the header was told. It may be empty.
///
/// # Specification
/// DEN0077A v1.1 and v1.2, partition message header.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IndirectMessage {
    format: IndirectFormat,
    sender: PartitionId,
    receiver: PartitionId,
    uuid: Uuid,
    payload_offset: u32,
    payload_size: u32,
}

impl IndirectMessage {
    /// A message of `payload_size` bytes right behind a header of `format`, in a buffer of `buffer_len` bytes.
    /// In a header of 1.1 there is no room for `uuid`, and it is dropped.
    ///
    /// # Errors
    /// [`IndirectError::ToSender`], or [`IndirectError::PayloadSize`] if the payload does not fit.
    pub fn new(
        format: IndirectFormat,
        sender: PartitionId,
        receiver: PartitionId,
        uuid: Uuid,
        payload_size: u32,
        buffer_len: usize,
    ) -> Result<Self, IndirectError> {
        let uuid = match format {
            IndirectFormat::V1_1 => Uuid::NIL,
            IndirectFormat::V1_2 => uuid,
        };
        let payload_offset = format.size() as u32;
        Self { format, sender, receiver, uuid, payload_offset, payload_size }.checked(buffer_len)
    }

    /// Reads the header at the start of `bytes`, a private copy of the first bytes of a buffer that is `buffer_len`
    /// bytes long and belongs to `sender`. Fields that are reserved, but not as flags, are ignored.
    ///
    /// # Errors
    /// The first rule that is broken, in the order of [`IndirectError`].
    pub fn parse(
        bytes: &[u8],
        format: IndirectFormat,
        sender: PartitionId,
        buffer_len: usize,
    ) -> Result<Self, IndirectError> {
        let truncated = IndirectError::Truncated { need: format.size(), have: bytes.len() };
        let mut whole = [0; size_of::<wire::Header>()];
        let known = bytes.get(..format.size()).ok_or(truncated)?;
        whole.get_mut(..known.len()).ok_or(truncated)?.copy_from_slice(known);
        let header = wire::Header::read_from_bytes(&whole).map_err(|_| truncated)?;
        if header.flags.get() != 0 {
            return Err(IndirectError::Reserved { flags: header.flags.get() });
        }
        let named = PartitionId(header.sender.get());
        if named != sender {
            return Err(IndirectError::Sender { named, sender });
        }
        Self {
            format,
            sender,
            receiver: PartitionId(header.receiver.get()),
            uuid: Uuid(header.uuid),
            payload_offset: header.payload_offset.get(),
            payload_size: header.payload_size.get(),
        }
        .checked(buffer_len)
    }

    fn checked(self, buffer_len: usize) -> Result<Self, IndirectError> {
        let (offset, size, least) = (self.payload_offset, self.payload_size, self.format.size() as u32);
        if self.receiver == self.sender {
            return Err(IndirectError::ToSender { sender: self.sender });
        }
        if offset < least {
            return Err(IndirectError::PayloadOffset { offset, least });
        }
        if u64::from(offset) + u64::from(size) > buffer_len as u64 {
            return Err(IndirectError::PayloadSize { offset, size, have: buffer_len });
        }
        Ok(self)
    }

    /// Writes the header to the start of `buffer`; the payload is the caller's to copy.
    ///
    /// # Errors
    /// [`IndirectError::Truncated`] if the header does not fit.
    pub fn write(&self, buffer: &mut [u8]) -> Result<(), IndirectError> {
        let header = wire::Header {
            flags: 0.into(),
            reserved: 0.into(),
            payload_offset: self.payload_offset.into(),
            receiver: self.receiver.0.into(),
            sender: self.sender.0.into(),
            payload_size: self.payload_size.into(),
            reserved_1_2: 0.into(),
            uuid: self.uuid.0,
        };
        let (need, have) = (self.format.size(), buffer.len());
        let truncated = IndirectError::Truncated { need, have };
        let bytes = header.as_bytes().get(..need).ok_or(truncated)?;
        buffer.get_mut(..need).ok_or(truncated)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Layout of the header.
    #[must_use]
    pub const fn format(&self) -> IndirectFormat {
        self.format
    }

    /// Who sends it.
    #[must_use]
    pub const fn sender(&self) -> PartitionId {
        self.sender
    }

    /// Who gets it; never the sender.
    #[must_use]
    pub const fn receiver(&self) -> PartitionId {
        self.receiver
    }

    /// The service spoken to; nil if none is named, and in a header of 1.1.
    #[must_use]
    pub const fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Offset of the payload in bytes from the start of the buffer.
    #[must_use]
    pub const fn payload_offset(&self) -> u32 {
        self.payload_offset
    }

    /// Size of the payload in bytes.
    #[must_use]
    pub const fn payload_size(&self) -> u32 {
        self.payload_size
    }
}
