//! FFA_MSG_SEND_DIRECT_REQ, FFA_MSG_SEND_DIRECT_REQ2 and FFA_RUN.

use ffa_abi::{
    Answer, Call, DirectRequest2, DirectResponse2, Function, FunctionId, Message, PartitionId, Properties,
    Regs, RunTarget, Status, Version, Width,
};
use ffa_teardown::{BeginError, Begun, CallId, Engine};

use crate::dispatch::Reply;
use crate::mediator::{Guard, refusal};
use crate::{Caller, Case, Mediator, Platform, Relation, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    #[inline(always)] // the most frequent call
    pub(crate) fn direct_request(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        caller: Caller,
        version: Version,
        id: FunctionId,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let own = caller.vm.id();
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        // A framework message from a guest would forge the life of another VM. All else in w2 is reserved.
        if regs.w::<2>() != 0 || sender != own || receiver == own {
            return Err(Status::InvalidParameters);
        }
        let not_there = || self.not_there(Function::MsgSendDirectReq, receiver);
        let sp = state.partitions.find(receiver).ok_or_else(not_there)?;
        if !hyp.permits(own, Relation::Message, receiver) {
            return Err(Status::InvalidParameters);
        }
        if !sp.properties.contains(Properties::RECEIVES_DIRECT_REQUESTS) {
            return Err(Status::Denied);
        }
        let (engine, record) = state.engine_and_record(caller.vm)?;
        let begun = self.begin_request(engine, caller, receiver)?;
        record.enter();
        drop(state);
        self.take_reference(hyp, caller.vm, begun.take_reference);
        let answer = hyp.call(&forwarded(regs, id));
        let response = match id.width() {
            Width::Smc32 => FunctionId::smc32(Function::MsgSendDirectResp),
            Width::Smc64 => FunctionId::smc64(Function::MsgSendDirectResp),
        };
        let expected = [response.w0(), PartitionId::pair(receiver, own), 0];
        if [answer.w::<0>(), answer.w::<1>(), answer.w::<2>()] != expected {
            return self.call_ended(
                hyp,
                caller,
                version,
                begun.id,
                receiver,
                Some(Form::Direct(id.width())),
                &answer,
                regs,
            );
        }
        let mut state = self.lock();
        let noted = state.engine.call_over(caller.vm, begun.id);
        debug_assert!(noted.is_ok());
        self.leave(hyp, state, caller.vm);
        *regs = forwarded(&answer, response);
        Ok(Reply::InPlace)
    }

    pub(crate) fn direct_request2(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        caller: Caller,
        version: Version,
        request: &DirectRequest2,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let own = caller.vm.id();
        let receiver = request.receiver;
        if request.sender != own || receiver == own {
            return Err(Status::InvalidParameters);
        }
        let mut services = state.partitions.records().iter().filter(|sp| sp.id == receiver).peekable();
        let sp = services.peek().filter(|_| hyp.permits(own, Relation::Message, receiver)).copied();
        let sp = sp.ok_or_else(|| self.not_there(Function::MsgSendDirectReq2, receiver))?;
        if !request.uuid.is_nil() && !services.any(|service| service.uuid == request.uuid) {
            return Err(Status::InvalidParameters);
        }
        if !sp.properties.contains(Properties::RECEIVES_DIRECT_REQUESTS2) {
            return Err(Status::Denied);
        }
        let (engine, record) = state.engine_and_record(caller.vm)?;
        let begun = self.begin_request(engine, caller, receiver)?;
        record.enter();
        drop(state);
        self.take_reference(hyp, caller.vm, begun.take_reference);
        let answer = hyp.call(&request.to_regs());
        self.call_ended(hyp, caller, version, begun.id, receiver, Some(Form::Direct2), &answer, regs)
    }

    pub(crate) fn run_target(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        caller: Caller,
        version: Version,
        target: RunTarget,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        // Also for an SP that works for another VM: what it does is none of this guest's business.
        let (engine, record) = state.engine_and_record(caller.vm)?;
        let call = match engine.begin_run(caller.vm, caller.vcpu, target) {
            Ok(call) => call,
            Err(error) => {
                // What it has begun it may see to its end. Else an SP that is hidden looks like none.
                if state.partitions.find(target.endpoint).is_none() {
                    return Err(self.not_there(Function::Run, target.endpoint));
                }
                let seen = hyp.permits(caller.vm.id(), Relation::Message, target.endpoint);
                return Err(if seen { status(&error) } else { Status::InvalidParameters });
            }
        };
        record.enter();
        drop(state);
        let answer = hyp.call(&Call::Run(target).to_regs());
        self.call_ended(hyp, caller, version, call, target.endpoint, None, &answer, regs)
    }

    /// Has the engine take note of a direct request, if the VM may have another one.
    #[inline(always)] // before every direct request
    fn begin_request(
        &self,
        engine: &mut Engine<S::Vms, S::Duties>,
        caller: Caller,
        sp: PartitionId,
    ) -> Result<Begun<CallId>, Status> {
        if engine.has_calls(caller.vm, self.settings.calls_per_vm) {
            return Err(Status::Busy);
        }
        engine.begin_call(caller.vm, caller.vcpu, sp).map_err(|error| status(&error))
    }

    /// What a guest is told that names an SP in a call of `function`, where it has none of that ID.
    #[cold]
    pub(crate) fn not_there(&self, function: Function, id: PartitionId) -> Status {
        let strict = Status::InvalidParameters;
        if id.is_secure() { strict } else { self.settings.compat.status(function, Case::NoSp, strict) }
    }

    /// Takes note of how a direct request to `sp` stands, and makes the guest's reply of the answer.
    #[expect(clippy::too_many_arguments, reason = "the parts of one call, which have no life of their own")]
    fn call_ended(
        &self,
        hyp: &mut P,
        caller: Caller,
        version: Version,
        call: CallId,
        sp: PartitionId,
        form: Option<Form>,
        answer: &Regs,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let payload = answer;
        let answer = Answer::from_regs(answer);
        let mut state = self.lock();
        let noted = state.engine.call_answered(caller.vm, call, &answer);
        debug_assert!(noted.is_ok());
        self.leave(hyp, state, caller.vm);
        match answer {
            Answer::DirectResponse(response)
                if response.sender == sp
                    && response.receiver == caller.vm.id()
                    && form.is_none_or(|form| form == Form::Direct(response.width))
                    && matches!(response.message, Message::Partition(_)) =>
            {
                *regs = response.to_regs();
            }
            Answer::DirectResponse2 { sender, receiver }
                if sender == sp
                    && receiver == caller.vm.id()
                    && version >= Version::V1_2
                    && form.is_none_or(|form| form == Form::Direct2) =>
            {
                let response = DirectResponse2::from_answer(payload).map_err(|answer| refusal(&answer))?;
                *regs = response.to_regs();
            }
            // FF-A 1.0 has no time in it, and Linux before 6.12 does not know the call at all.
            Answer::Yield { target, .. } if target.endpoint == sp && version < Version::V1_1 => {
                *regs = Answer::Interrupt(target).to_regs();
            }
            Answer::Interrupt(target) | Answer::Yield { target, .. } if target.endpoint == sp => {
                *regs = answer.to_regs();
            }
            Answer::MsgWait => *regs = answer.to_regs(),
            _ => return Err(refusal(&answer)),
        }
        Ok(Reply::InPlace)
    }
}

/// How a direct request was made, and its response is expected.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Form {
    /// FFA_MSG_SEND_DIRECT_REQ of this width.
    Direct(Width),
    /// FFA_MSG_SEND_DIRECT_REQ2.
    Direct2,
}

/// The message of one partition to another in `regs`, to be passed on as `id`: what is no part of it is zero.
///
/// Whoever decoded it and encoded it again would get the same, and pay twice.
#[inline]
fn forwarded(regs: &Regs, id: FunctionId) -> Regs {
    let mask = match id.width() {
        Width::Smc32 => u64::from(u32::MAX),
        Width::Smc64 => u64::MAX,
    };
    Regs::new([
        u64::from(id.w0()),
        u64::from(regs.w::<1>()),
        0,
        regs.x::<3>() & mask,
        regs.x::<4>() & mask,
        regs.x::<5>() & mask,
        regs.x::<6>() & mask,
        regs.x::<7>() & mask,
    ])
}

/// What a guest is told when its call cannot begin.
pub(crate) fn status(error: &BeginError) -> Status {
    match error {
        BeginError::NoRoom => Status::NoMemory,
        BeginError::NotLive(_) | BeginError::NotFound | BeginError::Busy => Status::Denied,
        _ => Status::Denied,
    }
}
