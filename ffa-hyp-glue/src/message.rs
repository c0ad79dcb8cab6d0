//! FFA_MSG_SEND_DIRECT_REQ and FFA_RUN.

use ffa_abi::{
    Answer, Call, DirectRequest, Message, PartitionId, Properties, Regs, RunTarget, Status, Version, Width,
};
use ffa_teardown::{BeginError, CallId};

use crate::mediator::{Guard, Reply, refusal};
use crate::{Caller, Mediator, Platform, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn direct_request(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        caller: Caller,
        version: Version,
        request: DirectRequest,
        regs: &mut Regs,
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
        let begun = state.engine.begin_call(caller.vm, caller.vcpu, request.receiver);
        let begun = begun.map_err(|error| status(&error))?;
        state.enter(caller.vm)?;
        drop(state);
        self.take_reference(hyp, caller.vm, begun.take_reference);
        *regs = hyp.call(&request.to_regs());
        self.call_ended(hyp, caller, version, begun.id, request.receiver, Some(request.width), regs)
    }

    pub(crate) fn run_target(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        caller: Caller,
        version: Version,
        target: RunTarget,
        regs: &mut Regs,
    ) -> Reply {
        self.spmc.partition(target.endpoint).ok_or(Status::InvalidParameters)?;
        // Also for an SP that works for another VM: what it does is none of this guest's business.
        let call = state.engine.begin_run(caller.vm, caller.vcpu, target);
        let call = call.map_err(|error| status(&error))?;
        state.enter(caller.vm)?;
        drop(state);
        *regs = hyp.call(&Call::Run(target).to_regs());
        self.call_ended(hyp, caller, version, call, target.endpoint, None, regs)
    }

    /// Takes note of how a direct request to `sp` stands, and makes the guest's reply of the answer in `regs`.
    #[expect(clippy::too_many_arguments, reason = "the parts of one call, which have no life of their own")]
    fn call_ended(
        &self,
        hyp: &mut P,
        caller: Caller,
        version: Version,
        call: CallId,
        sp: PartitionId,
        width: Option<Width>,
        regs: &mut Regs,
    ) -> Reply {
        let answer = Answer::from_regs(regs);
        let mut state = self.lock();
        let noted = state.engine.call_answered(caller.vm, call, &answer);
        debug_assert!(noted.is_ok());
        self.leave(hyp, state, caller.vm);
        match answer {
            Answer::DirectResponse(response)
                if response.sender == sp
                    && response.receiver == caller.vm.id()
                    && width.is_none_or(|width| response.width == width)
                    && matches!(response.message, Message::Partition(_)) =>
            {
                *regs = response.to_regs();
                Ok(())
            }
            // FF-A 1.0 has no time in it, and Linux before 6.12 does not know the call at all.
            Answer::Yield { target, .. } if target.endpoint == sp && version < Version::V1_1 => {
                *regs = Answer::Interrupt(target).to_regs();
                Ok(())
            }
            Answer::Interrupt(target) | Answer::Yield { target, .. } if target.endpoint == sp => {
                *regs = answer.to_regs();
                Ok(())
            }
            Answer::MsgWait => {
                *regs = answer.to_regs();
                Ok(())
            }
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
