use ffa_abi::{
    Answer, FRAMEWORK_FLAG, FirmwareStatus, FunctionId, PartitionId, Properties, Regs, RunTarget, Status,
    Uuid, Version, VmAvailability, Width,
};

use super::check::{Checks, DirectCheck};
use super::control::Control;
use super::memory::PhysMemory;
use super::model::{SpmcModel, error};
use super::partition::{Context, Job, Request, RequestKind, Service};
use super::response::{mangle, respond, respond_with};
use super::script::Outcome;
use super::truth::ToldAnswer;

impl SpmcModel {
    pub(super) fn direct_request(
        &mut self,
        memory: &mut dyn PhysMemory,
        cpu: u16,
        id: FunctionId,
        regs: &Regs,
    ) -> Regs {
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        let w2 = regs.w::<2>();
        let payload = [regs.x::<3>(), regs.x::<4>(), regs.x::<5>(), regs.x::<6>(), regs.x::<7>()]
            .map(|x| if id.width() == Width::Smc32 { x & 0xffff_ffff } else { x });
        let framework = w2 & FRAMEWORK_FLAG != 0;
        let kind = if framework {
            match self.vm_request(w2, sender, receiver, &payload) {
                Ok(kind) => kind,
                Err(status) => return error(status),
            }
        } else {
            RequestKind::Partition(payload)
        };
        let request = Request { width: id.width(), sender, receiver, kind };
        if let (RequestKind::Partition(payload), true) = (kind, self.partition(receiver).is_some()) {
            if let Some(control) = Control::from_payload(&payload) {
                return self.control(memory, request, control);
            }
        }
        if let Err(status) = self.judge_request(self.config.direct, cpu, w2, request) {
            return error(status);
        }
        let guests_only = self.is_built_in(receiver) && !framework && !self.is_known_guest(sender);
        if let (Some(word), true) = (self.config.quirks.unknown_guest_word, guests_only) {
            return respond(request, [u64::from(word), 0, 0, 0, 0]);
        }
        self.deliver(memory, cpu, request)
    }

    /// FFA_MSG_SEND_DIRECT_REQ2.
    pub(super) fn direct_request2(&mut self, memory: &mut dyn PhysMemory, cpu: u16, regs: &Regs) -> Regs {
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        let uuid = Uuid::from_halves([regs.x::<2>(), regs.x::<3>()]);
        let [_, _, _, _, payload @ ..] = regs.0;
        let kind = RequestKind::Service { uuid, payload };
        let request = Request { width: Width::Smc64, sender, receiver, kind };
        if let Err(status) = self.judge_request(self.config.direct2, cpu, 0, request) {
            return error(status);
        }
        self.deliver(memory, cpu, request)
    }

    /// Whether a request may be delivered. The answer for a crashed partition may come from its script.
    fn judge_request(
        &self,
        checks: Checks<DirectCheck>,
        cpu: u16,
        w2: u32,
        request: Request,
    ) -> Result<(), Status> {
        let broken = checks.iter().find(|&&(check, _)| self.direct_broken(check, cpu, w2, request));
        let Some(&(check, status)) = broken else { return Ok(()) };
        Err(self.crash_answer(check, request.receiver).unwrap_or(status))
    }

    /// A request reaches its partition, which begins to work on it.
    fn deliver(&mut self, memory: &mut dyn PhysMemory, cpu: u16, request: Request) -> Regs {
        let Request { receiver, kind, .. } = request;
        let Some(partition) = self.partition_mut(receiver) else { return error(Status::InvalidParameters) };
        let vcpu = partition.context_for(cpu);
        let turn = partition.next_turn(kind);
        if let RequestKind::Vm { event, vm } = kind {
            self.record_told(receiver, vm, event);
            if event == VmAvailability::Destroyed {
                self.hear_of_end(receiver, vm);
            }
        }
        self.proceed(memory, RunTarget { endpoint: receiver, vcpu }, Job { request, turn })
    }

    fn direct_broken(&self, check: DirectCheck, cpu: u16, w2: u32, request: Request) -> bool {
        let receiver = self.partition(request.receiver);
        match check {
            DirectCheck::Flags => w2 & FRAMEWORK_FLAG == 0 && w2 != 0,
            DirectCheck::FlagsReserved => w2 & !(FRAMEWORK_FLAG | 0xff) != 0,
            DirectCheck::Endpoints => {
                request.sender == request.receiver
                    || !request.receiver.is_secure()
                    || request.sender.is_secure()
            }
            DirectCheck::UnknownReceiver => receiver.is_none(),
            DirectCheck::NoDirectRequests => receiver
                .is_some_and(|sp| !sp.config.properties.contains(Properties::RECEIVES_DIRECT_REQUESTS)),
            DirectCheck::OldCaller => self.caller_version() < Version::V1_2,
            DirectCheck::BuiltIn => self.is_built_in(request.receiver),
            DirectCheck::NoDirectRequests2 => receiver
                .is_some_and(|sp| !sp.config.properties.contains(Properties::RECEIVES_DIRECT_REQUESTS2)),
            DirectCheck::UnknownService => receiver.is_some_and(|sp| {
                matches!(request.kind, RequestKind::Service { uuid, .. }
                    if !uuid.is_nil() && !sp.config.uuids.contains(&uuid))
            }),
            DirectCheck::Crashed => receiver.is_some_and(|sp| sp.crashed),
            DirectCheck::ContextBusy => receiver.is_some_and(|sp| {
                sp.contexts.get(usize::from(sp.context_for(cpu))) != Some(&Context::Waiting)
            }),
        }
    }

    fn crash_answer(&self, check: DirectCheck, receiver: PartitionId) -> Option<Status> {
        let sp = self.partition(receiver).filter(|_| check == DirectCheck::Crashed)?;
        sp.config.script.crash.answer
    }

    /// Takes a message one step further: to the next interruption, or to its answer.
    pub(super) fn proceed(&mut self, memory: &mut dyn PhysMemory, target: RunTarget, mut job: Job) -> Regs {
        let turn = &mut job.turn;
        let (answer, not_before) = if turn.preempted > 0 {
            // The highest count is for ever.
            turn.preempted -= u32::from(turn.preempted != u32::MAX);
            (Answer::Interrupt(target), self.now)
        } else if turn.yields > 0 {
            turn.yields -= 1;
            (Answer::Yield { target, timeout: turn.rest.as_nanos() }, self.now + turn.rest)
        } else {
            self.set_context(target, Context::Waiting);
            return self.finish(memory, job);
        };
        self.set_context(target, Context::Paused { job, not_before });
        answer.to_regs()
    }

    fn set_context(&mut self, target: RunTarget, to: Context) {
        let contexts = self.partition_mut(target.endpoint).map(|sp| &mut sp.contexts);
        if let Some(context) = contexts.and_then(|contexts| contexts.get_mut(usize::from(target.vcpu))) {
            *context = to;
        }
    }

    /// The partition has made up its mind.
    fn finish(&mut self, memory: &mut dyn PhysMemory, job: Job) -> Regs {
        let request = job.request;
        let sp = request.receiver;
        let (answer, told) = match job.turn.outcome {
            Outcome::Accept => {
                let refused = self.carry_out(request);
                (self.respond_as_itself(memory, request, refused), ToldAnswer::from_status(refused))
            }
            Outcome::Refuse(status) => {
                (respond_with(request, Some(status), self.config.nonce), ToldAnswer::Refused(status))
            }
            Outcome::Error(status) => (error(status), ToldAnswer::Error(status)),
            Outcome::Mangled(mangling) => {
                let refused = self.carry_out(request);
                let good = self.respond_as_itself(memory, request, refused);
                (mangle(&good, mangling), ToldAnswer::Mangled(mangling))
            }
            Outcome::Crash => {
                self.crash(sp);
                (error(Status::Aborted), ToldAnswer::Crashed)
            }
        };
        if let RequestKind::Vm { vm, .. } = request.kind {
            self.record_answer(sp, vm, told);
        }
        answer
    }

    /// The answer of a partition that does what it was asked, or has refused it.
    fn respond_as_itself(
        &mut self,
        memory: &mut dyn PhysMemory,
        request: Request,
        refused: Option<FirmwareStatus>,
    ) -> Regs {
        let service = self.partition(request.receiver).map(|sp| sp.config.service);
        match (service, request.kind) {
            (Some(Service::Tee), RequestKind::Partition(payload)) => {
                respond(request, self.serve_as_tee(memory, request, payload))
            }
            _ => respond_with(request, refused, self.config.nonce),
        }
    }
}
