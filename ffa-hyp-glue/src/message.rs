//! FFA_MSG_SEND_DIRECT_REQ and FFA_RUN.

use ffa_abi::{Answer, Call, DirectRequest, Message, Properties, Regs, RunTarget, Status, Version};
use ffa_teardown::{BeginError, CallId};

use crate::mediator::{Reply, refusal};
use crate::{Caller, Mediator, Platform, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn direct_request(
        &self,
        hyp: &mut P,
        caller: Caller,
        version: Version,
        request: DirectRequest,
    ) -> Reply {
        let own = caller.vm.id();
        // A framework message from a guest would forge the life of another VM.
        let Message::Partition(_) = request.message else { return Err(Status::InvalidParameters) };
        if request.sender != own || request.receiver == own {
            return Err(Status::InvalidParameters);
        }
        let sp = self.spmc.partition(request.receiver).ok_or(Status::InvalidParameters)?;
        if !sp.properties.contains(Properties::RECEIVES_DIRECT_REQUESTS) {
            return Err(Status::Denied);
        }
        let begun = {
            let mut state = self.enter(caller)?;
            match state.engine.begin_call(caller.vm, caller.vcpu, request.receiver) {
                Ok(begun) => begun,
                Err(error) => {
                    self.leave(hyp, state, caller.vm);
                    return Err(status(&error));
                }
            }
        };
        self.take_reference(hyp, caller.vm, begun.take_reference);
        let regs = hyp.call(&request.to_regs());
        self.call_ended(hyp, caller, version, begun.id, &regs, |answer| match answer {
            Answer::DirectResponse(response) => {
                response.width == request.width && response.sender == request.receiver
            }
            Answer::Interrupt(target) | Answer::Yield { target, .. } => target.endpoint == request.receiver,
            _ => true,
        })
    }

    pub(crate) fn run_target(
        &self,
        hyp: &mut P,
        caller: Caller,
        version: Version,
        target: RunTarget,
    ) -> Reply {
        self.spmc.partition(target.endpoint).ok_or(Status::InvalidParameters)?;
        let call = {
            let mut state = self.enter(caller)?;
            match state.engine.begin_run(caller.vm, caller.vcpu, target) {
                Ok(call) => call,
                Err(error) => {
                    self.leave(hyp, state, caller.vm);
                    // Also for an SP that works for another VM: what it does is none of this guest's business.
                    return Err(status(&error));
                }
            }
        };
        let regs = hyp.call(&Call::Run(target).to_regs());
        self.call_ended(hyp, caller, version, call, &regs, |answer| match answer {
            Answer::DirectResponse(response) => response.sender == target.endpoint,
            Answer::Interrupt(again) | Answer::Yield { target: again, .. } => {
                again.endpoint == target.endpoint
            }
            _ => true,
        })
    }

    /// Takes note of how a direct request stands, and makes the guest's reply of what came back.
    fn call_ended(
        &self,
        hyp: &mut P,
        caller: Caller,
        version: Version,
        call: CallId,
        regs: &Regs,
        fits: impl FnOnce(&Answer) -> bool,
    ) -> Reply {
        let answer = Answer::from_regs(regs);
        let mut state = self.lock();
        let noted = state.engine.call_answered(caller.vm, call, &answer);
        debug_assert!(noted.is_ok());
        self.leave(hyp, state, caller.vm);
        if !fits(&answer) {
            return Err(Status::Aborted);
        }
        match answer {
            Answer::DirectResponse(response)
                if response.receiver == caller.vm.id()
                    && matches!(response.message, Message::Partition(_)) =>
            {
                Ok(response.to_regs())
            }
            Answer::Interrupt(_) | Answer::MsgWait => Ok(answer.to_regs()),
            // FF-A 1.0 has no time in it, and Linux before 6.12 does not know the call at all.
            Answer::Yield { target, .. } if version < Version::V1_1 => {
                Ok(Answer::Interrupt(target).to_regs())
            }
            Answer::Yield { .. } => Ok(answer.to_regs()),
            _ => Err(refusal(&answer)),
        }
    }
}

/// What a guest is told when its call cannot begin.
pub(crate) fn status(error: &BeginError) -> Status {
    match error {
        BeginError::NoRoom => Status::NoMemory,
        BeginError::NotLive(_) | BeginError::NotFound => Status::Denied,
        _ => Status::Denied,
    }
}
