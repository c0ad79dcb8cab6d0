use ffa_abi::{
    Answer, DirectResponse, FRAMEWORK_FLAG, FirmwareStatus, Function, FunctionId, Message, PartitionId, Regs,
    RunTarget, Status, VmAvailability, VmMessage, Width, framework,
};

use super::check::DirectCheck;
use super::config::{VmMemory, VmMessages, VmSender};
use super::control::Control;
use super::model::{SpmcModel, error};
use super::partition::{Context, Job, Request, RequestKind};
use super::script::{Mangling, Outcome};
use super::truth::ToldAnswer;

impl SpmcModel {
    pub(super) fn direct_request(&mut self, cpu: u16, id: FunctionId, regs: &Regs) -> Regs {
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
                return self.control(request, control);
            }
        }
        for &(check, status) in self.config.direct {
            if self.direct_broken(check, cpu, w2, request) {
                return error(self.crash_answer(check, receiver).unwrap_or(status));
            }
        }
        let guests_only = self.is_built_in(receiver) && !framework && !self.is_known_guest(sender);
        if let (Some(word), true) = (self.config.quirks.unknown_guest_word, guests_only) {
            return respond(request, [u64::from(word), 0, 0, 0, 0]);
        }
        let Some(partition) = self.partition_mut(receiver) else { return error(Status::InvalidParameters) };
        let vcpu = partition.context_for(cpu);
        let turn = partition.next_turn(kind);
        if let RequestKind::Vm { event, vm } = kind {
            self.record_told(receiver, vm, event);
            if event == VmAvailability::Destroyed {
                self.hear_of_end(receiver, vm);
            }
        }
        self.proceed(RunTarget { endpoint: receiver, vcpu }, Job { request, turn })
    }

    /// The message about a VM in a framework request, if it may be delivered.
    fn vm_request(
        &self,
        w2: u32,
        sender: PartitionId,
        receiver: PartitionId,
        payload: &[u64; 5],
    ) -> Result<RequestKind, Status> {
        let event = match w2 as u8 {
            framework::VM_CREATED => VmAvailability::Created,
            framework::VM_DESTROYED => VmAvailability::Destroyed,
            _ => return Err(Status::InvalidParameters),
        };
        let subscribed = self.partition(receiver).is_some_and(|sp| sp.wants(event));
        let from_hypervisor = sender == PartitionId::HYPERVISOR;
        let refused = match self.config.vm_messages {
            VmMessages::PerSpSubscription { from } => {
                !subscribed || from == VmSender::Hypervisor && !from_hypervisor
            }
            VmMessages::Unfiltered => false,
            VmMessages::BuiltIn { virtualization } if self.is_built_in(receiver) => {
                if !virtualization {
                    return Err(Status::NotSupported);
                }
                false
            }
            VmMessages::BuiltIn { .. } => !subscribed || !from_hypervisor,
        };
        if refused {
            return Err(Status::InvalidParameters);
        }
        Ok(RequestKind::Vm { event, vm: PartitionId(payload[2] as u16) })
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
            DirectCheck::NoDirectRequests => receiver.is_some_and(|sp| {
                !sp.config.properties.contains(ffa_abi::Properties::RECEIVES_DIRECT_REQUESTS)
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
    pub(super) fn proceed(&mut self, target: RunTarget, mut job: Job) -> Regs {
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
            return self.finish(job);
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
    fn finish(&mut self, job: Job) -> Regs {
        let request = job.request;
        let sp = request.receiver;
        let (answer, told) = match job.turn.outcome {
            Outcome::Accept => {
                let refused = self.carry_out(request);
                (respond_with(request, refused, self.config.nonce), ToldAnswer::from_status(refused))
            }
            Outcome::Refuse(status) => {
                (respond_with(request, Some(status), self.config.nonce), ToldAnswer::Refused(status))
            }
            Outcome::Error(status) => (error(status), ToldAnswer::Error(status)),
            Outcome::Mangled(mangling) => {
                let refused = self.carry_out(request);
                let good = respond_with(request, refused, self.config.nonce);
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

    /// The partition does what it was asked; a status if its memory of the VM is against it.
    fn carry_out(&mut self, request: Request) -> Option<FirmwareStatus> {
        let RequestKind::Vm { event, vm } = request.kind else { return None };
        let sp = request.receiver;
        if self.remembers_otherwise(sp, event, vm) {
            return Some(Status::InvalidParameters.into());
        }
        let built_in = self.is_built_in(sp);
        match event {
            VmAvailability::Created => {
                if let Some(partition) = self.partition_mut(sp) {
                    partition.vms.insert(vm);
                }
                if built_in {
                    let guest = self.store.guest_mut(vm);
                    guest.generation += u32::from(guest.live == 0);
                    guest.live += 1;
                }
            }
            VmAvailability::Destroyed => {
                if let Some(partition) = self.partition_mut(sp) {
                    partition.vms.remove(&vm);
                }
                if built_in {
                    let guest = self.store.guest_mut(vm);
                    guest.live = guest.live.saturating_sub(1);
                    if guest.live == 0 {
                        // The guest's partition goes with all that was kept in it.
                        self.vms.remove(&vm);
                    }
                }
                self.release(sp, vm);
            }
        }
        None
    }

    fn remembers_otherwise(&mut self, sp: PartitionId, event: VmAvailability, vm: PartitionId) -> bool {
        if self.is_built_in(sp) {
            return event == VmAvailability::Created && vm == PartitionId::HYPERVISOR;
        }
        let policy = self.config.vm_memory;
        let Some(partition) = self.partition_mut(sp).filter(|_| policy != VmMemory::None) else {
            return false;
        };
        let known = partition.vms.contains(&vm);
        let wrong = match event {
            VmAvailability::Created => known,
            // Who is told of ends alone knows nobody.
            VmAvailability::Destroyed => !known && partition.wants(VmAvailability::Created),
        };
        if wrong && policy == VmMemory::Sticky {
            partition.sticky.insert(vm);
        }
        wrong || partition.sticky.contains(&vm)
    }
}

/// The response to a message: a status, or the echo that shows that a partition of this run was there.
fn respond_with(request: Request, refused: Option<FirmwareStatus>, nonce: u32) -> Regs {
    let code = refused.map_or(0, FirmwareStatus::code) as u32;
    match (request.kind, refused) {
        (RequestKind::Vm { event, vm }, _) => {
            let told = VmMessage { event, sp: request.receiver, vm, vm_handle: 0 };
            DirectResponse { receiver: request.sender, ..told.response(refused) }.to_regs()
        }
        (RequestKind::Partition(_), Some(_)) => respond(request, [u64::from(code), 0, 0, 0, 0]),
        (RequestKind::Partition([x3, x4, x5, x6, _]), None) => {
            let nonce = u64::from(nonce);
            respond(request, [u64::from((x3 as u32).wrapping_add(nonce as u32)), x4, x5, x6, nonce])
        }
    }
}

pub(super) fn respond(request: Request, payload: [u64; 5]) -> Regs {
    DirectResponse {
        width: request.width,
        sender: request.receiver,
        receiver: request.sender,
        message: Message::Partition(payload),
    }
    .to_regs()
}

/// A direct response, spoiled.
#[must_use]
pub fn mangle(response: &Regs, how: Mangling) -> Regs {
    let mut regs = *response;
    match how {
        Mangling::WrongFunction => regs[0] = u64::from(FunctionId::smc32(Function::MsgWait).w0()),
        Mangling::SwappedIds => regs[1] = u64::from(regs.w::<1>().rotate_left(16)),
        Mangling::OtherSender => regs[1] ^= 0x0100_0000,
        Mangling::WrongCode => regs[2] ^= 2,
        Mangling::NotFramework => regs[2] ^= u64::from(FRAMEWORK_FLAG),
    }
    regs
}
