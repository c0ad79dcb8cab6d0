//! What the tests of the engine have in common: how the secure world would put an answer.

#![allow(dead_code, reason = "each test binary uses its own part")]

use ffa_abi::{
    Answer, FirmwareStatus, Handle, PartitionId, RunTarget, Status, Success, VmAvailability, VmMessage, Width,
};
use ffa_teardown::{Action, DutySlot, Engine, Policy, SecureCall, Subscription, Time, VmKey, VmSlot};

/// The engine over storage of its own, so that it can be cloned and compared.
pub type Boxed = Engine<Vec<VmSlot>, Vec<DutySlot>>;

pub fn engine(vms: usize, duties: usize, policy: Policy) -> Boxed {
    Engine::new(vec![VmSlot::VACANT; vms], vec![DutySlot::VACANT; duties], policy)
}

pub const fn both(sp: PartitionId) -> Subscription {
    Subscription { sp, created: true, destroyed: true }
}

pub const fn only_created(sp: PartitionId) -> Subscription {
    Subscription { sp, created: true, destroyed: false }
}

pub const fn only_destroyed(sp: PartitionId) -> Subscription {
    Subscription { sp, created: false, destroyed: true }
}

pub const fn millis(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

pub fn handle(raw: u64) -> Handle {
    Handle::new(raw).expect("not all ones")
}

/// FFA_SUCCESS with a handle, or with nothing.
pub fn success(value: u64) -> Answer {
    Answer::Success(Success { width: Width::Smc32, x2: value & 0xffff_ffff, x3: value >> 32 })
}

pub fn error(status: Status) -> Answer {
    Answer::Error(status.into())
}

pub fn interrupt(endpoint: PartitionId) -> Answer {
    Answer::Interrupt(RunTarget { endpoint, vcpu: 0 })
}

pub const fn message(sp: PartitionId, vm: PartitionId, event: VmAvailability) -> VmMessage {
    VmMessage { event, sp, vm, vm_handle: 0 }
}

/// The answer that confirms `call`; for FFA_RUN, which it depends on what was resumed, plain success.
pub fn accept(call: SecureCall) -> Answer {
    match call {
        SecureCall::Tell { sp, vm, event } => Answer::DirectResponse(message(sp, vm, event).response(None)),
        _ => success(0),
    }
}

/// The answer that refuses `call` with `status`, from the SP where the call goes to one.
pub fn refuse(call: SecureCall, status: impl Into<FirmwareStatus>) -> Answer {
    let status = status.into();
    match call {
        SecureCall::Tell { sp, vm, event } => {
            Answer::DirectResponse(message(sp, vm, event).response(Some(status)))
        }
        _ => Answer::Error(status),
    }
}

/// The next action that is not [`Action::Continue`].
pub fn next(engine: &mut Boxed, now: Time) -> Action {
    for _ in 0..1000 {
        match engine.next(now) {
            Action::Continue => {}
            action => return action,
        }
    }
    panic!("the engine goes round in circles");
}

/// The next call, which there must be.
pub fn next_call(engine: &mut Boxed, now: Time) -> (VmKey, SecureCall) {
    match next(engine, now) {
        Action::Call { vm, call } => (vm, call),
        action => panic!("{action:?} instead of a call"),
    }
}
