//! Direct requests: the echo of a partition, and what a partition can be asked to do.

use ffa_abi::{
    Call, DirectRequest, DirectRequest2, Function, FunctionId, Message, PartitionId, Regs, RunTarget, Uuid,
    Width,
};

use super::{GuestCpu, Interpreter};
use crate::spmc::Control;

/// How a direct request is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// FFA_MSG_SEND_DIRECT_REQ of this width.
    Direct(Width),
    /// FFA_MSG_SEND_DIRECT_REQ2, to no service in particular.
    Direct2,
}

impl Form {
    /// A request, and the answer to it of a partition whose mark is `mark`.
    fn request(self, own: PartitionId, sp: PartitionId, word: u32) -> Regs {
        match self {
            Self::Direct(width) => {
                let message = Message::Partition(payload(width, word));
                DirectRequest { width, sender: own, receiver: sp, message }.to_regs()
            }
            Self::Direct2 => {
                DirectRequest2 { sender: own, receiver: sp, uuid: Uuid::NIL, payload: payload2(word) }
                    .to_regs()
            }
        }
    }

    /// The register in which a partition gives its mark away.
    const fn mark_at(self) -> usize {
        match self {
            Self::Direct(_) => 7,
            Self::Direct2 => 17,
        }
    }

    /// The echo of a partition whose mark is `mark`: its mark is added to the first word, and stands in the last.
    fn echo(self, own: PartitionId, sp: PartitionId, word: u32, mark: u32) -> Regs {
        let mut regs = self.request(sp, own, word.wrapping_add(mark));
        let response = match self {
            Self::Direct(Width::Smc32) => FunctionId::smc32(Function::MsgSendDirectResp),
            Self::Direct(Width::Smc64) => FunctionId::smc64(Function::MsgSendDirectResp),
            Self::Direct2 => FunctionId::smc64(Function::MsgSendDirectResp2),
        };
        regs[0] = response.w0().into();
        regs.0[self.mark_at()] = mark.into();
        regs
    }
}

/// Five registers, of which a request of 64 bits uses all bits.
fn payload(width: Width, word: u32) -> [u64; 5] {
    let high = match width {
        Width::Smc32 => 0,
        Width::Smc64 => 0x6464_0000_0000_0000,
    };
    [word.into(), high | 0x1111, high | 0x2222, high | 0x3333, 0x4444]
}

/// Fourteen registers.
fn payload2(word: u32) -> [u64; 14] {
    core::array::from_fn(|at| if at == 0 { word.into() } else { 0x0222_0000_0000_0000 | at as u64 })
}

impl<C: GuestCpu> Interpreter<'_, C> {
    pub(super) fn request(&mut self, form: Form, sp: PartitionId, preempted: u8) {
        self.requests += 1;
        let word = 0x5e9_0000 + self.requests;
        let mut answer = self.call("a direct request", &form.request(self.id, sp, word));
        for _ in 0..preempted {
            let target = RunTarget::from_word(answer.w::<1>());
            if !is(&answer, Function::Interrupt) || target.endpoint != sp {
                return self.fail(format_args!("SP {sp} was not preempted: {:#x}", answer[0]));
            }
            answer = self.call("FFA_RUN", &Call::Run(target).to_regs());
        }
        // Only a partition of this run knows its mark, which a stub that echoes would not add.
        let mark = answer.0[form.mark_at()] as u32;
        let good = mark != 0 && answer == form.echo(self.id, sp, word, mark);
        self.expect(good, format_args!("SP {sp} answered {:x?}", answer.0));
    }

    pub(super) fn stay_in_call(&mut self, sp: PartitionId) {
        let request = Form::Direct(Width::Smc32).request(self.id, sp, 1);
        let answer = self.call("a direct request", &request);
        let interrupted = is(&answer, Function::Interrupt);
        self.expect(interrupted, format_args!("SP {sp} was not preempted: {:#x}", answer[0]));
    }

    /// What a partition says to a control in w6 and w7; `None` if it did not do it.
    pub(super) fn ask(&mut self, sp: PartitionId, control: Control) -> Option<[u32; 2]> {
        let message = Message::Partition(control.payload());
        let request = DirectRequest { width: Width::Smc32, sender: self.id, receiver: sp, message };
        let answer = self.call("a control", &request.to_regs());
        let done = is(&answer, Function::MsgSendDirectResp)
            && answer.w::<3>() == Control::MAGIC
            && answer.w::<4>() == 1;
        done.then(|| [answer.w::<6>(), answer.w::<7>()])
    }
}

fn is(answer: &Regs, function: Function) -> bool {
    answer.w::<0>() == FunctionId::smc32(function).w0()
}
