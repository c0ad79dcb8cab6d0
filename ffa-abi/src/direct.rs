use crate::call::{cut, reserved};
use crate::{Answer, CallError, FirmwareStatus, Function, FunctionId, PartitionId, Regs, Width};

/// Bit 31 of w2: the message is the framework's, not a partition's.
pub const FRAMEWORK_FLAG: u32 = 1 << 31;

/// Codes of framework messages, bits 7:0 of w2.
///
/// # Specification
/// DEN0077A v1.1 section 18.
pub mod framework {
    /// A VM was created.
    pub const VM_CREATED: u8 = 4;
    /// Answer to [`VM_CREATED`].
    pub const VM_CREATED_ANSWER: u8 = 5;
    /// A VM was destroyed.
    pub const VM_DESTROYED: u8 = 6;
    /// Answer to [`VM_DESTROYED`].
    pub const VM_DESTROYED_ANSWER: u8 = 7;
}

/// What a direct message carries: x3 to x7, and whose words they are.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Message {
    /// The two partitions' own business.
    Partition([u64; 5]),
    /// A message of the framework. A guest may never send one.
    Framework {
        /// Code, see [`framework`].
        code: u8,
        /// x3 to x7.
        payload: [u64; 5],
    },
}

impl Message {
    #[inline]
    fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let payload = [regs.x::<3>(), regs.x::<4>(), regs.x::<5>(), regs.x::<6>(), regs.x::<7>()]
            .map(|x| cut(id.width(), x));
        let w2 = regs.w::<2>();
        if w2 & FRAMEWORK_FLAG == 0 {
            reserved(id, 2, u64::from(w2), 0)?;
            Ok(Self::Partition(payload))
        } else {
            reserved(id, 2, u64::from(w2), u64::from(FRAMEWORK_FLAG | 0xff))?;
            Ok(Self::Framework { code: w2 as u8, payload })
        }
    }

    fn to_regs(self, w0: u32, w1: u32, width: Width) -> Regs {
        let (w2, payload) = match self {
            Self::Partition(payload) => (0, payload),
            Self::Framework { code, payload } => (FRAMEWORK_FLAG | u32::from(code), payload),
        };
        let [x3, x4, x5, x6, x7] = payload.map(|x| cut(width, x));
        Regs::new([u64::from(w0), u64::from(w1), u64::from(w2), x3, x4, x5, x6, x7])
    }
}

macro_rules! direct_message {
    ($(#[$doc:meta])* $name:ident, $function:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub struct $name {
            /// Width of the call.
            pub width: Width,
            /// Bits 31:16 of w1.
            pub sender: PartitionId,
            /// Bits 15:0 of w1.
            pub receiver: PartitionId,
            /// w2 and the payload.
            pub message: Message,
        }

        impl $name {
            /// Decodes the registers of the call, whose w0 is known to be `id`.
            ///
            /// # Errors
            /// [`CallError::Reserved`] if a register sets bits that must be zero.
            #[inline]
            pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
                let (sender, receiver) = PartitionId::split(regs.w::<1>());
                Ok(Self { width: id.width(), sender, receiver, message: Message::from_regs(id, regs)? })
            }

            /// Registers of the call.
            #[must_use]
            #[inline]
            pub fn to_regs(&self) -> Regs {
                let id = match self.width {
                    Width::Smc32 => FunctionId::smc32(Function::$function),
                    Width::Smc64 => FunctionId::smc64(Function::$function),
                };
                self.message.to_regs(id.w0(), PartitionId::pair(self.sender, self.receiver), self.width)
            }
        }
    };
}

direct_message! {
    /// FFA_MSG_SEND_DIRECT_REQ.
    ///
    /// # Specification
    /// DEN0077A v1.1 section 14.
    DirectRequest, MsgSendDirectReq
}

direct_message! {
    /// FFA_MSG_SEND_DIRECT_RESP: sender and receiver are the request's, swapped.
    ///
    /// # Specification
    /// DEN0077A v1.1 section 14.
    DirectResponse, MsgSendDirectResp
}

/// Which event of a VM's life an SP is told.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum VmAvailability {
    /// The VM was created.
    Created,
    /// The VM was destroyed.
    Destroyed,
}

impl VmAvailability {
    const fn request_code(self) -> u8 {
        match self {
            Self::Created => framework::VM_CREATED,
            Self::Destroyed => framework::VM_DESTROYED,
        }
    }

    const fn answer_code(self) -> u8 {
        match self {
            Self::Created => framework::VM_CREATED_ANSWER,
            Self::Destroyed => framework::VM_DESTROYED_ANSWER,
        }
    }
}

/// The framework message by which the hypervisor tells an SP of a VM.
///
/// # Specification
/// DEN0077A v1.1 section 18.3.1: w3 and w4 carry a 64-bit handle for the VM, w5 its ID.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct VmMessage {
    /// What happened.
    pub event: VmAvailability,
    /// The SP to be told.
    pub sp: PartitionId,
    /// The VM.
    pub vm: PartitionId,
    /// Handle that tells this VM from a later one with the same ID; zero if there is none.
    pub vm_handle: u64,
}

impl VmMessage {
    /// The request, from the hypervisor in the 32-bit convention.
    #[must_use]
    pub fn request(&self) -> DirectRequest {
        DirectRequest {
            width: Width::Smc32,
            sender: PartitionId::HYPERVISOR,
            receiver: self.sp,
            message: Message::Framework {
                code: self.event.request_code(),
                payload: [self.vm_handle & 0xffff_ffff, self.vm_handle >> 32, u64::from(self.vm.0), 0, 0],
            },
        }
    }

    /// The answer with which the SP gives `status`; `None` is success.
    #[must_use]
    pub fn response(&self, status: Option<FirmwareStatus>) -> DirectResponse {
        let code = status.map_or(0, FirmwareStatus::code) as u32;
        DirectResponse {
            width: Width::Smc32,
            sender: self.sp,
            receiver: PartitionId::HYPERVISOR,
            message: Message::Framework {
                code: self.event.answer_code(),
                payload: [u64::from(code), 0, 0, 0, 0],
            },
        }
    }

    /// The message in a direct request, if it is one of these; bits 31:16 of w5 are ignored (SBZ).
    #[must_use]
    pub fn from_request(request: &DirectRequest) -> Option<Self> {
        let Message::Framework { code, payload } = request.message else { return None };
        let event = match code {
            framework::VM_CREATED => VmAvailability::Created,
            framework::VM_DESTROYED => VmAvailability::Destroyed,
            _ => return None,
        };
        Some(Self {
            event,
            sp: request.receiver,
            vm: PartitionId(payload[2] as u16),
            vm_handle: payload[0] & 0xffff_ffff | payload[1] << 32,
        })
    }

    /// What `answer` says of this message. An answer of another SP, to another message or in another shape is
    /// [`VmAvailabilityAnswer::Malformed`]; what is not a direct response at all is handed back.
    ///
    /// # Errors
    /// The answer itself, if it is not a direct response.
    pub fn answer(&self, answer: &Answer) -> Result<VmAvailabilityAnswer, Answer> {
        let Answer::DirectResponse(response) = answer else { return Err(*answer) };
        let addressed = response.sender == self.sp && response.receiver == PartitionId::HYPERVISOR;
        match response.message {
            Message::Framework { code, payload } if addressed && code == self.event.answer_code() => {
                Ok(match payload[0] as u32 as i32 {
                    0 => VmAvailabilityAnswer::Accepted,
                    code => VmAvailabilityAnswer::Refused(FirmwareStatus::from_code(code)),
                })
            }
            _ => Ok(VmAvailabilityAnswer::Malformed),
        }
    }
}

/// What an SP made of a [`VmMessage`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum VmAvailabilityAnswer {
    /// Status 0.
    Accepted,
    /// Another status in w3.
    Refused(FirmwareStatus),
    /// A direct response that does not answer this message.
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    const TOLD: VmMessage = VmMessage {
        event: VmAvailability::Destroyed,
        sp: PartitionId(0x8001),
        vm: PartitionId(3),
        vm_handle: 0x1_0000_0007,
    };

    #[test]
    fn golden_registers_of_vm_destroyed() {
        let regs = TOLD.request().to_regs();
        assert_eq!(regs, Regs::new([0x8400_006f, 0x8001, 0x8000_0006, 7, 1, 3]));
        let answer = TOLD.response(Some(Status::Retry.into())).to_regs();
        assert_eq!(answer, Regs::new([0x8400_0070, 0x8001_0000, 0x8000_0007, 0xffff_fff9]));
    }

    #[test]
    fn an_answer_counts_only_for_its_own_message() {
        let accepted = TOLD.response(None);
        let answer = |response| TOLD.answer(&Answer::DirectResponse(response));
        assert_eq!(answer(accepted), Ok(VmAvailabilityAnswer::Accepted));
        let refused = VmAvailabilityAnswer::Refused(Status::Denied.into());
        assert_eq!(answer(TOLD.response(Some(Status::Denied.into()))), Ok(refused));
        let wrong = [
            DirectResponse { sender: PartitionId(0x8002), ..accepted },
            DirectResponse { receiver: PartitionId(1), ..accepted },
            DirectResponse { message: Message::Partition([0; 5]), ..accepted },
            DirectResponse {
                message: Message::Framework { code: framework::VM_CREATED_ANSWER, payload: [0; 5] },
                ..accepted
            },
        ];
        for response in wrong {
            assert_eq!(answer(response), Ok(VmAvailabilityAnswer::Malformed), "{response:?}");
        }
        let error = Answer::Error(Status::Busy.into());
        assert_eq!(TOLD.answer(&error), Err(error));
    }
}
