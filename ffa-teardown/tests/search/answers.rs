//! The answers that the secure world may give to each call.

use ffa_abi::{
    Answer, DirectResponse, FirmwareStatus, Handle, MemFragRx, Message, PartitionId, RunTarget, Status,
    Success, VmAvailability, VmMessage, Width,
};
use ffa_teardown::SecureCall;

/// How many answers there are to choose from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alphabet {
    /// Every status, every wrong shape.
    All,
    /// One for each verdict that the default table can reach, which is all that an answer can bring about.
    Kinds,
}

/// Nobody's ID: neither an SP's nor a VM's.
const STRANGER: PartitionId = PartitionId(0x8fff);

pub fn success(width: Width, value: u64) -> Answer {
    Answer::Success(Success { width, x2: value & 0xffff_ffff, x3: value >> 32 })
}

fn error(code: i32) -> Answer {
    Answer::Error(FirmwareStatus::from_code(code))
}

/// There is something else to do.
pub fn busy() -> Answer {
    Answer::Error(Status::Busy.into())
}

/// There is no such handle.
pub fn unknown() -> Answer {
    Answer::Error(Status::InvalidParameters.into())
}

fn errors(all: &mut Vec<Answer>) {
    all.extend(Status::ALL.iter().map(|status| Answer::Error((*status).into())));
    all.extend([0, 3, -99].map(error));
}

fn interrupt(endpoint: PartitionId) -> Answer {
    Answer::Interrupt(RunTarget { endpoint, vcpu: 0 })
}

fn yields(endpoint: PartitionId, timeout: u64) -> Answer {
    Answer::Yield { target: RunTarget { endpoint, vcpu: 0 }, timeout }
}

fn stray_response(sender: PartitionId, receiver: PartitionId) -> Answer {
    Answer::DirectResponse(DirectResponse {
        width: Width::Smc32,
        sender,
        receiver,
        message: Message::Partition([0; 5]),
    })
}

const NONSENSE: [Answer; 2] = [Answer::Unexpected { w0: 0xffff_ffff }, Answer::Unexpected { w0: 0 }];

/// To VM_CREATED or VM_DESTROYED, or with `running` to the FFA_RUN that resumes it.
pub fn to_message(
    alphabet: Alphabet,
    sp: PartitionId,
    vm: PartitionId,
    event: VmAvailability,
    running: bool,
) -> Vec<Answer> {
    let message = VmMessage { event, sp, vm, vm_handle: 0 };
    let says = |code: i32| {
        Answer::DirectResponse(message.response((code != 0).then(|| FirmwareStatus::from_code(code))))
    };
    let wrong_sp = Answer::DirectResponse(VmMessage { sp: STRANGER, ..message }.response(None));
    if alphabet == Alphabet::Kinds {
        let mut kinds = vec![says(0), says(-7), says(-6), interrupt(sp), wrong_sp];
        match (running, event) {
            (true, _) => kinds.extend([error(-4), error(-2), error(-8), Answer::MsgWait]),
            (false, VmAvailability::Created) => kinds.push(error(-8)),
            (false, VmAvailability::Destroyed) => kinds.push(error(-3)),
        }
        return kinds;
    }
    let mut all = vec![says(0)];
    all.extend(Status::ALL.iter().map(|status| says(status.code())));
    all.extend([says(1), says(-99), wrong_sp]);
    let other = match event {
        VmAvailability::Created => VmAvailability::Destroyed,
        VmAvailability::Destroyed => VmAvailability::Created,
    };
    all.push(Answer::DirectResponse(VmMessage { event: other, ..message }.response(None)));
    let accepted = message.response(None);
    let swapped = DirectResponse { sender: accepted.receiver, receiver: accepted.sender, ..accepted };
    all.push(Answer::DirectResponse2 { sender: accepted.sender, receiver: accepted.receiver });
    all.extend([swapped, DirectResponse { width: Width::Smc64, ..accepted }].map(Answer::DirectResponse));
    all.extend([stray_response(sp, PartitionId::HYPERVISOR), interrupt(sp), interrupt(STRANGER)]);
    all.extend([yields(sp, 0), yields(sp, 2), yields(sp, u64::MAX), yields(STRANGER, 0), Answer::MsgWait]);
    all.push(success(Width::Smc32, 0));
    errors(&mut all);
    all.extend(NONSENSE);
    all
}

/// To a call that the SPMC itself serves, or with `running` to the FFA_RUN that resumes it.
pub fn to_service(alphabet: Alphabet, sp: PartitionId, running: bool) -> Vec<Answer> {
    let done = success(Width::Smc32, 0);
    if alphabet == Alphabet::Kinds {
        let mut kinds = vec![done, error(-4), error(-6), error(-2), interrupt(sp), Answer::MsgWait];
        if running {
            kinds.push(error(-8));
        }
        return kinds;
    }
    let mut all = vec![done, success(Width::Smc64, 0), interrupt(sp), yields(sp, 0), yields(sp, 2)];
    errors(&mut all);
    all.extend([Answer::MsgWait, stray_response(sp, PartitionId::HYPERVISOR)]);
    all.extend(NONSENSE);
    all
}

/// To a direct request of `vm`, or to FFA_RUN.
pub fn to_request(alphabet: Alphabet, sp: PartitionId, vm: PartitionId) -> Vec<Answer> {
    let mut all =
        vec![stray_response(sp, vm), interrupt(sp), error(-4), error(-6), error(-1), Answer::MsgWait];
    if alphabet == Alphabet::All {
        errors(&mut all);
        all.extend(
            [(sp, vm), (vm, sp)].map(|(sender, receiver)| Answer::DirectResponse2 { sender, receiver }),
        );
        all.extend([stray_response(vm, sp), interrupt(STRANGER), yields(sp, 1), success(Width::Smc32, 0)]);
        all.extend(NONSENSE);
    }
    all
}

/// To FFA_MEM_SHARE, with the handle that the secure world would give.
pub fn to_send(alphabet: Alphabet, sp: PartitionId, fresh: u64) -> Vec<Answer> {
    let more = |raw| {
        let handle = Handle::new(raw).expect("small");
        Answer::MemFragRx(MemFragRx { handle, offset: 0, endpoint: PartitionId(0) })
    };
    let sent = success(Width::Smc32, fresh);
    if alphabet == Alphabet::Kinds {
        return vec![sent, success(Width::Smc64, fresh), error(-6), error(-8), interrupt(sp)];
    }
    let mut all = vec![sent, success(Width::Smc64, fresh), more(fresh), interrupt(sp), yields(sp, 0)];
    errors(&mut all);
    all.extend([Answer::MsgWait, stray_response(sp, PartitionId::HYPERVISOR)]);
    all.extend(NONSENSE);
    all
}

/// Answers to FFA_MEM_SHARE that only a lying secure world gives: a handle that is none, or `known` a second time.
pub fn lies_to_send(known: Option<u64>) -> Vec<Answer> {
    let mut all = vec![success(Width::Smc32, Handle::INVALID)];
    all.extend(known.map(|known| success(Width::Smc32, known)));
    all
}

/// The answer that ends what `call` asks for well; `resumed` is what FFA_RUN resumes.
pub fn kind(call: SecureCall, resumed: Option<Answer>) -> Answer {
    match call {
        SecureCall::Tell { sp, vm, event } => {
            Answer::DirectResponse(VmMessage { event, sp, vm, vm_handle: 0 }.response(None))
        }
        SecureCall::Run { .. } => resumed.unwrap_or(success(Width::Smc32, 0)),
        _ => success(Width::Smc32, 0),
    }
}

/// A direct response of `sp` to a request of `vm`.
pub fn response(sp: PartitionId, vm: PartitionId) -> Answer {
    stray_response(sp, vm)
}
