//! What the tests of the engine have in common: how the secure world would put an answer.

#![allow(dead_code, reason = "each test binary uses its own part")]

use ffa_abi::{
    Answer, FirmwareStatus, Handle, PartitionId, RunTarget, Status, Success, VmAvailability, VmMessage, Width,
};
use ffa_teardown::{
    Action, Decision, DutySlot, End, Engine, Phase, Policy, SecureCall, SendOutcome, ShareId, Span,
    Subscription, Time, VmKey, VmSlot,
};

pub const A: PartitionId = PartitionId(0x8001);
pub const B: PartitionId = PartitionId(0x8002);
pub const VM: PartitionId = PartitionId(1);
pub const NOW: Time = Time::ZERO;

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

/// Creates a VM; every SP accepts.
pub fn live(engine: &mut Boxed, id: PartitionId, subscribers: &[Subscription]) -> VmKey {
    let vm = engine.create(id, subscribers.iter().copied()).expect("room for a VM").vm;
    while engine.phase(vm) == Ok(Phase::Creating) {
        match next(engine, NOW) {
            Action::Call { vm, call } => {
                let judgement = engine.answered(vm, call, &accept(call), NOW).expect("in flight");
                assert_eq!(judgement.decision, Decision::Told);
            }
            Action::Created { vm: created } => assert_eq!(created, vm),
            action => panic!("{action:?} during creation"),
        }
    }
    vm
}

/// The guest shares memory; the secure world gives `raw` as the handle.
pub fn share(engine: &mut Boxed, vm: VmKey, raw: u64) -> ShareId {
    let share = engine.begin_send(vm).expect("room for a share").id;
    let outcome = engine.send_answered(vm, share, &success(raw), NOW).expect("being sent");
    assert_eq!(outcome, SendOutcome::Sent(handle(raw)));
    share
}

pub fn told(sp: PartitionId, event: VmAvailability) -> SecureCall {
    SecureCall::Tell { sp, vm: VM, event }
}

pub fn destroyed(sp: PartitionId) -> SecureCall {
    told(sp, VmAvailability::Destroyed)
}

pub fn reclaim(raw: u64) -> SecureCall {
    SecureCall::MemReclaim { handle: handle(raw) }
}

/// Expects `call` next and answers it.
pub fn answer(engine: &mut Boxed, now: Time, call: SecureCall, answer: Answer) -> Decision {
    let (vm, asked) = next_call(engine, now);
    assert_eq!(asked, call);
    let decision = engine.answered(vm, call, &answer, now).expect("in flight").decision;
    if let Decision::Confirmed { share } = decision {
        engine.released(vm, share).expect("on its way back");
    }
    decision
}

/// The reclaim of `raw` is answered DENIED, and due again in a second.
pub fn denied(engine: &mut Boxed, now: Time, raw: u64) {
    let decision = answer(engine, now, reclaim(raw), error(Status::Denied));
    assert_eq!(decision, Decision::TryAgain { until: now + Span::from_secs(1) });
}

/// The reclaim of `raw` works.
pub fn comes_back(engine: &mut Boxed, now: Time, raw: u64) {
    let decision = answer(engine, now, reclaim(raw), success(0));
    assert!(matches!(decision, Decision::Confirmed { .. }), "{decision:?}");
}

pub fn finished(engine: &mut Boxed, now: Time) -> (End, bool) {
    match next(engine, now) {
        Action::Finished { end, give_back, .. } => (end, give_back),
        action => panic!("{action:?} instead of the end"),
    }
}

pub fn idle(engine: &mut Boxed, now: Time) -> Option<Time> {
    match next(engine, now) {
        Action::Idle { until } => {
            assert_eq!(until, engine.next_deadline());
            until
        }
        action => panic!("{action:?} instead of rest"),
    }
}
