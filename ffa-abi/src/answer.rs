use core::fmt;

use crate::{
    DirectResponse, DirectResponse2, FirmwareStatus, Function, FunctionId, MemFragRx, MemFragTx, PartitionId,
    Regs, Width,
};

/// An execution context of an endpoint, as w1 of FFA_RUN, FFA_INTERRUPT and FFA_YIELD names it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RunTarget {
    /// The endpoint, bits 31:16.
    pub endpoint: PartitionId,
    /// Its vCPU, bits 15:0.
    pub vcpu: u16,
}

impl RunTarget {
    /// Reads w1.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        let (endpoint, PartitionId(vcpu)) = PartitionId::split(word);
        Self { endpoint, vcpu }
    }

    /// The word for w1.
    #[must_use]
    pub const fn word(self) -> u32 {
        PartitionId::pair(self.endpoint, PartitionId(self.vcpu))
    }
}

impl fmt::Display for RunTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.endpoint, self.vcpu)
    }
}

/// The values of FFA_SUCCESS that most calls use. Answers that fill more registers have types of their own, which
/// read the registers again: [`PendingNotifications`](crate::PendingNotifications),
/// [`NotificationInfo`](crate::NotificationInfo), [`PartitionInfoWindow`](crate::PartitionInfoWindow).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Success {
    /// Width of the answer; in the 32-bit form the values are cut to 32 bits.
    pub width: Width,
    /// x2.
    pub x2: u64,
    /// x3.
    pub x3: u64,
}

impl Success {
    /// w2.
    #[must_use]
    pub const fn w2(&self) -> u32 {
        self.x2 as u32
    }

    /// w3.
    #[must_use]
    pub const fn w3(&self) -> u32 {
        self.x3 as u32
    }

    /// Registers of the answer.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        let id = match self.width {
            Width::Smc32 => FunctionId::smc32(Function::Success),
            Width::Smc64 => FunctionId::smc64(Function::Success),
        };
        let cut = |x| crate::call::cut(self.width, x);
        Regs::new([u64::from(id.w0()), 0, cut(self.x2), cut(self.x3)])
    }
}

/// What came back from a call, whatever the call was.
///
/// The type is open: firmware may be newer than we are, or wrong, so what fits no row is
/// [`Unexpected`](Self::Unexpected), and nothing but [`Success`](Self::Success),
/// [`DirectResponse`](Self::DirectResponse) and [`DirectResponse2`](Self::DirectResponse2) is ever one.
///
/// It keeps what every caller looks at. The few answers that fill more registers have types of their own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// FFA_SUCCESS.
    Success(Success),
    /// FFA_ERROR with w2.
    Error(FirmwareStatus),
    /// FFA_INTERRUPT: the target was preempted and wants FFA_RUN.
    Interrupt(RunTarget),
    /// FFA_YIELD: the target wants FFA_RUN, not before so many nanoseconds have passed.
    Yield {
        /// Who yielded.
        target: RunTarget,
        /// Nanoseconds to wait; zero for whenever it suits (1.1).
        timeout: u64,
    },
    /// FFA_MSG_WAIT: the target of FFA_RUN had nothing to do.
    MsgWait,
    /// FFA_MSG_SEND_DIRECT_RESP.
    DirectResponse(DirectResponse),
    /// FFA_MSG_SEND_DIRECT_RESP2, without its payload: [`DirectResponse2::from_answer`] reads that from the registers.
    DirectResponse2 {
        /// Bits 31:16 of w1.
        sender: PartitionId,
        /// Bits 15:0 of w1.
        receiver: PartitionId,
    },
    /// FFA_MEM_FRAG_RX: more of a descriptor is wanted.
    MemFragRx(MemFragRx),
    /// FFA_MEM_FRAG_TX: the next part of a descriptor is in RX.
    MemFragTx(MemFragTx),
    /// Anything else, malformed answers included.
    Unexpected {
        /// w0 as it came.
        w0: u32,
    },
}

impl Answer {
    /// Decodes the registers that a call left behind. Total: what cannot be decoded is
    /// [`Unexpected`](Self::Unexpected).
    #[must_use]
    #[inline]
    pub fn from_regs(regs: &Regs) -> Self {
        const SUCCESS: u32 = FunctionId::smc32(Function::Success).w0();
        // What nearly every call comes back with, told by one comparison.
        if regs.w::<0>() == SUCCESS {
            let (x2, x3) = (u64::from(regs.w::<2>()), u64::from(regs.w::<3>()));
            return Self::Success(Success { width: Width::Smc32, x2, x3 });
        }
        Self::of_any(regs)
    }

    fn of_any(regs: &Regs) -> Self {
        let w0 = regs.w::<0>();
        let unexpected = Self::Unexpected { w0 };
        let Ok(id) = FunctionId::from_w0(w0) else { return unexpected };
        let cut = |x| crate::call::cut(id.width(), x);
        // Each arm makes the whole answer: joining them first costs as much again.
        match id.function() {
            Function::Success => {
                Self::Success(Success { width: id.width(), x2: cut(regs.x::<2>()), x3: cut(regs.x::<3>()) })
            }
            Function::Error => Self::Error(FirmwareStatus::from_code(regs.w::<2>() as i32)),
            Function::Interrupt => Self::Interrupt(RunTarget::from_word(regs.w::<1>())),
            Function::Yield => Self::Yield {
                target: RunTarget::from_word(regs.w::<1>()),
                timeout: u64::from(regs.w::<3>()) << 32 | u64::from(regs.w::<2>()),
            },
            Function::MsgWait => Self::MsgWait,
            Function::MsgSendDirectResp => {
                DirectResponse::from_regs(id, regs).map_or(unexpected, Self::DirectResponse)
            }
            Function::MsgSendDirectResp2 => {
                DirectResponse2::from_regs(id, regs).map_or(unexpected, |response| response.without_payload())
            }
            Function::MemFragRx => MemFragRx::from_regs(id, regs).map_or(unexpected, Self::MemFragRx),
            Function::MemFragTx => MemFragTx::from_regs(id, regs).map_or(unexpected, Self::MemFragTx),
            _ => unexpected,
        }
    }

    /// Registers of this answer; those it does not define are zero, and so is what this type does not keep of
    /// FFA_SUCCESS and FFA_MSG_SEND_DIRECT_RESP2.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        const fn word(function: Function) -> u64 {
            FunctionId::smc32(function).w0() as u64
        }
        match self {
            Self::Success(success) => success.to_regs(),
            Self::Error(status) => Regs::new([word(Function::Error), 0, u64::from(status.code() as u32)]),
            Self::Interrupt(target) => Regs::new([word(Function::Interrupt), u64::from(target.word())]),
            Self::Yield { target, timeout } => Regs::new([
                word(Function::Yield),
                u64::from(target.word()),
                timeout & 0xffff_ffff,
                timeout >> 32,
            ]),
            Self::MsgWait => Regs::new([word(Function::MsgWait)]),
            Self::DirectResponse(response) => response.to_regs(),
            Self::DirectResponse2 { sender, receiver } => {
                DirectResponse2 { sender: *sender, receiver: *receiver, payload: [0; 14] }.to_regs()
            }
            Self::MemFragRx(rx) => rx.to_regs(),
            Self::MemFragTx(tx) => tx.to_regs(),
            Self::Unexpected { w0 } => Regs::new([u64::from(*w0)]),
        }
    }
}

/// The width of FFA_SUCCESS, for answers that use more registers than [`Success`] keeps.
pub(crate) fn success_width(regs: &Regs) -> Result<Width, Answer> {
    match Answer::from_regs(regs) {
        Answer::Success(success) => Ok(success.width),
        other => Err(other),
    }
}
