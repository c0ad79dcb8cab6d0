use ffa_abi::{
    Answer, Call, DirectRequest, Function, FunctionId, Message, PartitionId, Regs, VmAvailability, VmMessage,
};

/// Which calls a fault is for. What is `None` is not looked at; a call that has no such thing does not match a
/// `Some`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CallKind {
    /// The call.
    pub what: What,
    /// The partition spoken to, run or signalled, or whose signals it is about.
    pub sp: Option<PartitionId>,
    /// The VM spoken of or for; of a direct request, the one that speaks. The hypervisor is 0 where it means itself.
    /// Sends and reclaims do not name theirs in registers.
    pub vm: Option<PartitionId>,
    /// The share, by the order in which their handles were issued, from 0: of FFA_MEM_RECLAIM alone. A handle that was
    /// reused names the latest.
    pub share: Option<u32>,
}

/// What is called.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum What {
    /// Anything.
    Any,
    /// A function. Messages about VMs are no direct requests here.
    Function(Function),
    /// A message about a VM.
    Vm(VmAvailability),
    /// FFA_RUN of a call that another fault has paused. If ABORTED or FFA_MSG_WAIT are said instead, that call is over,
    /// undone.
    Resume,
}

impl CallKind {
    /// Every call.
    pub const ANY: Self = Self { what: What::Any, sp: None, vm: None, share: None };

    /// Every call of `function`.
    #[must_use]
    pub const fn function(function: Function) -> Self {
        Self { what: What::Function(function), ..Self::ANY }
    }

    /// Every VM_CREATED or VM_DESTROYED.
    #[must_use]
    pub const fn vm_message(event: VmAvailability) -> Self {
        Self { what: What::Vm(event), ..Self::ANY }
    }

    /// Every FFA_RUN of a call that another fault has paused.
    pub const RESUME: Self = Self { what: What::Resume, ..Self::ANY };

    /// Only to this partition.
    #[must_use]
    pub const fn to(self, sp: PartitionId) -> Self {
        Self { sp: Some(sp), ..self }
    }

    /// Only of this VM.
    #[must_use]
    pub const fn of(self, vm: PartitionId) -> Self {
        Self { vm: Some(vm), ..self }
    }

    /// Only the share that was issued as number `ordinal`, from 0.
    #[must_use]
    pub const fn share(self, ordinal: u32) -> Self {
        Self { share: Some(ordinal), ..self }
    }
}

/// What the registers of a call say about it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub function: Option<Function>,
    pub event: Option<VmAvailability>,
    pub sp: Option<PartitionId>,
    pub vm: Option<PartitionId>,
    pub handle: Option<u64>,
}

impl Facts {
    pub fn of(regs: &Regs) -> Self {
        let function = FunctionId::from_w0(regs.w::<0>()).ok().map(FunctionId::function);
        let plain = Self { function, ..Self::default() };
        match Call::from_regs(regs) {
            Ok(Call::DirectRequest(request)) => Self::of_request(&request),
            Ok(Call::Run(target)) => Self { sp: Some(target.endpoint), ..plain },
            Ok(Call::MemReclaim(reclaim)) => Self { handle: Some(reclaim.handle.get()), ..plain },
            Ok(Call::MemFragTx(part)) => Self { handle: Some(part.handle.get()), ..plain },
            Ok(Call::DirectRequest2(request)) => plain.between(request.receiver, request.sender),
            Ok(Call::NotificationBind(bind)) => plain.between(bind.sender, bind.receiver),
            Ok(Call::NotificationUnbind(unbind)) => plain.between(unbind.sender, unbind.receiver),
            Ok(Call::NotificationSet(set)) => plain.between(set.receiver, set.sender),
            Ok(Call::NotificationGet(get)) => Self { vm: Some(get.receiver), ..plain },
            Ok(Call::NotificationBitmapCreate(create)) => Self { vm: Some(create.vm), ..plain },
            Ok(Call::NotificationBitmapDestroy(destroy)) => Self { vm: Some(destroy.vm), ..plain },
            Ok(Call::MsgSend2(send)) => Self { vm: Some(send.sender), ..plain },
            Ok(Call::RxAcquire(acquire)) => Self { vm: Some(acquire.endpoint), ..plain },
            Ok(Call::RxRelease(release)) => Self { vm: Some(release.endpoint), ..plain },
            Ok(Call::RxTxUnmap(unmap)) => Self { vm: Some(unmap.endpoint), ..plain },
            _ => plain,
        }
    }

    fn between(self, sp: PartitionId, vm: PartitionId) -> Self {
        Self { sp: Some(sp), vm: Some(vm), ..self }
    }

    fn of_request(request: &DirectRequest) -> Self {
        let told = VmMessage::from_request(request);
        let event = told.map(|told| told.event);
        Self {
            function: matches!(request.message, Message::Partition(_)).then_some(Function::MsgSendDirectReq),
            event,
            sp: Some(request.receiver),
            vm: Some(told.map_or(request.sender, |told| told.vm)),
            handle: None,
        }
    }

    /// Whether it is a direct request, about a VM or not.
    pub fn is_message(&self) -> bool {
        let request = matches!(self.function, Some(Function::MsgSendDirectReq | Function::MsgSendDirectReq2));
        request || self.event.is_some()
    }

    /// Whether `kind` means this call, which `resumes` one that a fault has paused; `ordinal` numbers the share of its
    /// handle.
    pub fn match_kind(&self, kind: &CallKind, resumes: bool, ordinal: Option<u32>) -> bool {
        let what = match kind.what {
            What::Resume => resumes,
            _ if resumes => false,
            What::Any => true,
            What::Function(function) => self.function == Some(function),
            What::Vm(event) => self.event == Some(event),
        };
        let named = |wanted: Option<PartitionId>, got| wanted.is_none() || wanted == got;
        let share = kind.share.is_none() || kind.share == ordinal;
        what && named(kind.sp, self.sp) && named(kind.vm, self.vm) && share
    }
}

/// The execution context that an answer says is to be run, if it does.
pub(super) fn paused_context(answer: &Regs) -> Option<u32> {
    match Answer::from_regs(answer) {
        Answer::Interrupt(target) | Answer::Yield { target, .. } => Some(target.word()),
        _ => None,
    }
}
