use ffa_abi::{
    Answer, DirectRequest, FirmwareStatus, Function, FunctionId, Handle, MemFragRx, Message,
    NotificationInfo, PartitionId, PendingReceiver, Regs, Status, VmMessage, Width,
};
use ffa_teardown::Span;

use super::call::Facts;
use crate::Rng;
use crate::spmc::{Control, Mangling, mangle};

/// What happens to a call. Where the real answer has nothing to spoil in this way it is left as it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FaultAction {
    /// FFA_ERROR with this status, zero and unknown ones included; the secure world never sees the call.
    Refuse(FirmwareStatus),
    /// As `Refuse`, and if the call was FFA_MEM_FRAG_TX the secure world has nothing of the transaction any more: see
    /// [`FaultPlan::take_forgotten`](super::FaultPlan::take_forgotten).
    Fail(FirmwareStatus),
    /// As `Refuse`, with the status where a partition gives it: in w3 of the response to a message about a VM.
    RefuseAsPartition(FirmwareStatus),
    /// The call is carried out, and the answer is FFA_ERROR with this status.
    Lose(FirmwareStatus),
    /// FFA_ERROR with the code in w1 and zero in w2; the secure world never sees the call, and as for `Fail` has nothing of
    /// what it was a part of.
    CodeInW1(Status),
    /// The answer of success without the call being carried out: a lie.
    Pretend,
    /// This is the answer; the secure world never sees the call.
    Instead(Regs),
    /// The call is carried out, and the answer is this.
    Replace(Regs),
    /// This partition dies, and then the call is carried out.
    Crash(PartitionId),
    /// The call is carried out, and w0 of the answer is this.
    W0(u32),
    /// The call is carried out, and success has these values.
    Values {
        /// w2.
        w2: u32,
        /// w3.
        w3: u32,
    },
    /// The call is carried out, and success or response come in the other width.
    OtherWidth,
    /// The call is carried out, and the upper halves of 32-bit results are not zero.
    DirtyUpperHalves,
    /// The call is carried out, and x8 to x17 hold anything. Success of 64 bits has nothing to spoil: all of it may mean
    /// something.
    ClobberHighRegisters,
    /// So many times FFA_INTERRUPT; the FFA_RUN after them carries the call out and has the real answer.
    Interrupt(u32),
    /// So many times FFA_YIELD with this timeout; the FFA_RUN after them carries the call out.
    Yield(u32, Span),
    /// The call is carried out, and the handle in the answer is that of another live share, if there is one.
    DuplicateHandle,
    /// The call is carried out, and the handle in the answer is this: zero and all ones are worth trying.
    GiveHandle(u64),
    /// The call is carried out, and FFA_MEM_FRAG_RX asks for the descriptor from so many bytes further on.
    ShiftOffset(i32),
    /// The call is carried out, and the direct response is spoiled.
    Mangle(Mangling),
    /// The call is carried out, and success has these bits in a register.
    Bits {
        /// Number of the register.
        register: u8,
        /// Which bits are replaced,
        mask: u64,
        /// and what by.
        value: u64,
    },
    /// FFA_NOTIFICATION_INFO_GET is answered with this endpoint, and that there is more; the secure world never sees
    /// the call.
    Pending(PartitionId),
}

impl FaultAction {
    /// FFA_NOTIFICATION_INFO_GET's answer claims so many lists, of which 31 never fit.
    #[must_use]
    pub const fn list_count(lists: u8) -> Self {
        Self::Bits { register: 2, mask: 0x1f << 7, value: (lists as u64) << 7 }
    }

    /// FFA_PARTITION_INFO_GET_REGS's answer has this index of the last record of the list.
    #[must_use]
    pub const fn last_index(last: u16) -> Self {
        Self::Bits { register: 2, mask: 0xffff, value: last as u64 }
    }

    /// FFA_PARTITION_INFO_GET_REGS's answer has this index of the last record that it shows.
    #[must_use]
    pub const fn current_index(current: u16) -> Self {
        Self::Bits { register: 2, mask: 0xffff << 16, value: (current as u64) << 16 }
    }

    /// FFA_PARTITION_INFO_GET_REGS's answer has this tag.
    #[must_use]
    pub const fn list_tag(tag: u16) -> Self {
        Self::Bits { register: 2, mask: 0xffff << 32, value: (tag as u64) << 32 }
    }

    /// FFA_PARTITION_INFO_GET_REGS's answer has records of this size.
    #[must_use]
    pub const fn record_size(bytes: u16) -> Self {
        Self::Bits { register: 2, mask: 0xffff << 48, value: (bytes as u64) << 48 }
    }

    /// The answer in place of a call that is not carried out.
    pub(super) fn instead(self, regs: &Regs, facts: &Facts) -> Option<Regs> {
        match self {
            Self::Refuse(status) | Self::Fail(status) => Some(refusal(status)),
            Self::RefuseAsPartition(status) => {
                Some(vm_response(regs, facts, Some(status)).unwrap_or_else(|| refusal(status)))
            }
            Self::CodeInW1(status) => {
                let code = u64::from(status.code() as u32);
                Some(Regs::new([u64::from(FunctionId::smc32(Function::Error).w0()), code]))
            }
            Self::Pretend => Some(vm_response(regs, facts, None).unwrap_or_else(|| Regs::success(0, 0))),
            Self::Pending(endpoint) => pending(regs, endpoint),
            Self::Instead(answer) => Some(answer),
            _ => None,
        }
    }

    /// What the secure world is told before the call.
    pub(super) fn before(self) -> Option<Regs> {
        let Self::Crash(sp) = self else { return None };
        let [w3, w4, w5, w6, w7] = Control::Crash.payload();
        let w0 = FunctionId::smc32(Function::MsgSendDirectReq).w0();
        let ids = PartitionId::pair(PartitionId::HYPERVISOR, sp);
        Some(Regs::new([u64::from(w0), u64::from(ids), 0, w3, w4, w5, w6, w7]))
    }

    /// The real `answer`, spoiled; `None` if there is nothing to spoil. `other` is another live handle.
    pub(super) fn spoil(self, answer: &Regs, other: Option<u64>, rng: &mut Rng) -> Option<Regs> {
        let mut regs = *answer;
        match self {
            Self::Lose(status) => return Some(refusal(status)),
            Self::Replace(answer) => return Some(answer),
            Self::W0(w0) => regs[0] = u64::from(w0),
            Self::Values { w2, w3 } => {
                success(answer)?;
                (regs[2], regs[3]) = (u64::from(w2), u64::from(w3));
            }
            Self::OtherWidth => {
                let id = FunctionId::from_w0(answer.w::<0>()).ok()?;
                let other = match id.width() {
                    Width::Smc32 => Width::Smc64,
                    Width::Smc64 => Width::Smc32,
                };
                regs[0] = u64::from(FunctionId::new(id.function(), other)?.w0());
            }
            Self::DirtyUpperHalves => {
                let wide = FunctionId::from_w0(answer.w::<0>()).is_ok_and(|id| id.width() == Width::Smc64);
                // In a 64-bit answer only w0 and w1 are words.
                let words = if wide { 2 } else { 8 };
                for x in regs.0.iter_mut().take(words) {
                    *x = *x & 0xffff_ffff | 0xdead_beef << 32;
                }
            }
            Self::ClobberHighRegisters if answer.w::<0>() == FunctionId::smc64(Function::Success).w0() => {
                return None;
            }
            Self::ClobberHighRegisters => {
                for x in regs.0.iter_mut().skip(8) {
                    *x = rng.next_u64();
                }
            }
            Self::DuplicateHandle => return with_handle(answer, other?),
            Self::GiveHandle(handle) => return with_handle(answer, handle),
            Self::ShiftOffset(by) => {
                let Answer::MemFragRx(next) = Answer::from_regs(answer) else { return None };
                let offset = next.offset.wrapping_add_signed(by);
                return Some(Answer::MemFragRx(MemFragRx { offset, ..next }).to_regs());
            }
            Self::Mangle(how) => {
                let (Answer::DirectResponse(_) | Answer::DirectResponse2 { .. }) = Answer::from_regs(answer)
                else {
                    return None;
                };
                return Some(mangle(answer, how));
            }
            Self::Bits { register, mask, value } => {
                success(answer)?;
                let x = regs.0.get_mut(usize::from(register))?;
                *x = *x & !mask | value & mask;
            }
            Self::Pending(_)
            | Self::Refuse(_)
            | Self::Fail(_)
            | Self::RefuseAsPartition(_)
            | Self::CodeInW1(_)
            | Self::Pretend
            | Self::Instead(_)
            | Self::Crash(_)
            | Self::Interrupt(_)
            | Self::Yield(..) => return None,
        }
        Some(regs)
    }
}

fn refusal(status: FirmwareStatus) -> Regs {
    Answer::Error(status).to_regs()
}

fn success(answer: &Regs) -> Option<()> {
    matches!(Answer::from_regs(answer), Answer::Success(_)).then_some(())
}

/// The response to a message about a VM, if `regs` are one.
fn vm_response(regs: &Regs, facts: &Facts, status: Option<FirmwareStatus>) -> Option<Regs> {
    facts.event?;
    let ffa_abi::Call::DirectRequest(request) = ffa_abi::Call::from_regs(regs).ok()? else { return None };
    let DirectRequest { sender, message: Message::Framework { .. }, .. } = request else { return None };
    let response = VmMessage::from_request(&request)?.response(status);
    Some(ffa_abi::DirectResponse { receiver: sender, ..response }.to_regs())
}

/// An answer to FFA_NOTIFICATION_INFO_GET, if `regs` are that call.
fn pending(regs: &Regs, endpoint: PartitionId) -> Option<Regs> {
    let Ok(ffa_abi::Call::NotificationInfoGet(get)) = ffa_abi::Call::from_regs(regs) else { return None };
    let mut info = NotificationInfo::new(get.width);
    info.push(PendingReceiver { endpoint, vcpu: None }).ok()?;
    info.more_pending = true;
    Some(info.to_regs())
}

/// A success or FFA_MEM_FRAG_RX with another handle, all ones included.
fn with_handle(answer: &Regs, handle: u64) -> Option<Regs> {
    let at = match Answer::from_regs(answer) {
        Answer::Success(_) => 2,
        Answer::MemFragRx(_) => 1,
        _ => return None,
    };
    let mut regs = *answer;
    (regs[at], regs[at + 1]) = (handle & 0xffff_ffff, handle >> 32);
    Some(regs)
}

/// The handle that an answer to a send hands out, once it is complete.
pub(super) fn issued_handle(answer: &Regs) -> Option<u64> {
    let Answer::Success(success) = Answer::from_regs(answer) else { return None };
    Handle::from_words(success.w2(), success.w3()).ok().map(Handle::get)
}
