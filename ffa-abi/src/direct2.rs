use crate::call::reserved;
use crate::{Answer, CallError, Function, FunctionId, PartitionId, Regs, Uuid};

/// FFA_MSG_SEND_DIRECT_REQ2: a direct request to one service of a partition, with twice the room and more.
///
/// There is no framework message of this form.
///
/// # Specification
/// DEN0077A v1.2, FFA_MSG_SEND_DIRECT_REQ2: x2 and x3 UUID, x4 to x17 payload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DirectRequest2 {
    /// Bits 31:16 of w1.
    pub sender: PartitionId,
    /// Bits 15:0 of w1.
    pub receiver: PartitionId,
    /// The service; nil for the partition as such.
    pub uuid: Uuid,
    /// x4 to x17.
    pub payload: [u64; 14],
}

impl DirectRequest2 {
    /// Decodes the registers of the call.
    #[must_use]
    #[inline]
    pub fn from_regs(regs: &Regs) -> Self {
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        let uuid = Uuid::from_halves([regs.x::<2>(), regs.x::<3>()]);
        Self { sender, receiver, uuid, payload: payload(regs) }
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let w0 = FunctionId::smc64(Function::MsgSendDirectReq2);
        to_regs(w0, self.sender, self.receiver, self.uuid.halves(), &self.payload)
    }
}

/// FFA_MSG_SEND_DIRECT_RESP2: sender and receiver are the request's, swapped.
///
/// # Specification
/// DEN0077A v1.2, FFA_MSG_SEND_DIRECT_RESP2: x2 and x3 must be zero, x4 to x17 payload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DirectResponse2 {
    /// Bits 31:16 of w1.
    pub sender: PartitionId,
    /// Bits 15:0 of w1.
    pub receiver: PartitionId,
    /// x4 to x17.
    pub payload: [u64; 14],
}

impl DirectResponse2 {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        reserved(id, 2, regs.x::<2>(), 0)?;
        reserved(id, 3, regs.x::<3>(), 0)?;
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        Ok(Self { sender, receiver, payload: payload(regs) })
    }

    pub(crate) const fn without_payload(&self) -> Answer {
        Answer::DirectResponse2 { sender: self.sender, receiver: self.receiver }
    }

    /// Reads the registers that FFA_MSG_SEND_DIRECT_REQ2 or FFA_RUN left behind.
    ///
    /// # Errors
    /// The answer itself, if it is not a well-formed FFA_MSG_SEND_DIRECT_RESP2.
    pub fn from_answer(regs: &Regs) -> Result<Self, Answer> {
        match Answer::from_regs(regs) {
            Answer::DirectResponse2 { sender, receiver } => {
                Ok(Self { sender, receiver, payload: payload(regs) })
            }
            other => Err(other),
        }
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let w0 = FunctionId::smc64(Function::MsgSendDirectResp2);
        to_regs(w0, self.sender, self.receiver, [0, 0], &self.payload)
    }
}

fn payload(regs: &Regs) -> [u64; 14] {
    let [_, _, _, _, payload @ ..] = regs.0;
    payload
}

fn to_regs(
    id: FunctionId,
    sender: PartitionId,
    receiver: PartitionId,
    [x2, x3]: [u64; 2],
    payload: &[u64; 14],
) -> Regs {
    let w1 = PartitionId::pair(sender, receiver);
    let mut regs = Regs::new([u64::from(id.w0()), u64::from(w1), x2, x3]);
    regs.0[4..].copy_from_slice(payload);
    regs
}
