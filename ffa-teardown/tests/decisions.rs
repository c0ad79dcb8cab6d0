//! Each decision about teardown as a test of its own.

mod common;

use common::*;
use ffa_abi::{Answer, PartitionId, Status, VmAvailability};
use ffa_teardown::{
    Action, Decision, End, Phase, Policy, Progress, SecureCall, SendOutcome, ShareId, Span, Subscription,
    Time, VmKey,
};

const A: PartitionId = PartitionId(0x8001);
const B: PartitionId = PartitionId(0x8002);
const C: PartitionId = PartitionId(0x8003);
const VM: PartitionId = PartitionId(1);
const NOW: Time = Time::ZERO;

/// Creates a VM; every SP accepts.
fn live(engine: &mut Boxed, id: PartitionId, subscribers: &[Subscription]) -> VmKey {
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
fn share(engine: &mut Boxed, vm: VmKey, raw: u64) -> ShareId {
    let share = engine.begin_send(vm).expect("room for a share").id;
    let outcome = engine.send_answered(vm, share, &success(raw), NOW).expect("being sent");
    assert_eq!(outcome, SendOutcome::Sent(handle(raw)));
    share
}

fn told(sp: PartitionId, event: VmAvailability) -> SecureCall {
    SecureCall::Tell { sp, vm: VM, event }
}

fn destroyed(sp: PartitionId) -> SecureCall {
    told(sp, VmAvailability::Destroyed)
}

fn reclaim(raw: u64) -> SecureCall {
    SecureCall::MemReclaim { handle: handle(raw) }
}

/// Expects `call` next and answers it.
fn answer(engine: &mut Boxed, now: Time, call: SecureCall, answer: Answer) -> Decision {
    let (vm, asked) = next_call(engine, now);
    assert_eq!(asked, call);
    let decision = engine.answered(vm, call, &answer, now).expect("in flight").decision;
    if let Decision::Confirmed { share } = decision {
        engine.released(vm, share).expect("on its way back");
    }
    decision
}

/// The reclaim of `raw` is answered DENIED, and due again in a second.
fn denied(engine: &mut Boxed, now: Time, raw: u64) {
    let decision = answer(engine, now, reclaim(raw), error(Status::Denied));
    assert_eq!(decision, Decision::TryAgain { until: now + Span::from_secs(1) });
}

/// The reclaim of `raw` works.
fn comes_back(engine: &mut Boxed, now: Time, raw: u64) {
    let decision = answer(engine, now, reclaim(raw), success(0));
    assert!(matches!(decision, Decision::Confirmed { .. }), "{decision:?}");
}

fn finished(engine: &mut Boxed, now: Time) -> (End, bool) {
    match next(engine, now) {
        Action::Finished { end, give_back, .. } => (end, give_back),
        action => panic!("{action:?} instead of the end"),
    }
}

fn idle(engine: &mut Boxed, now: Time) -> Option<Time> {
    match next(engine, now) {
        Action::Idle { until } => {
            assert_eq!(until, engine.next_deadline());
            until
        }
        action => panic!("{action:?} instead of rest"),
    }
}

#[test]
fn decision_1_an_sp_that_was_never_told_of_the_vm_is_not_told_of_its_end() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let created = |sp| told(sp, VmAvailability::Created);
    let vm = engine.create(VM, [both(A), both(B), both(C), only_destroyed(PartitionId(0x8004))].into_iter());
    let vm = vm.expect("room").vm;
    assert_eq!(answer(&mut engine, NOW, created(A), accept(created(A))), Decision::Told);
    let refused = refuse(created(B), Status::Denied);
    assert_eq!(answer(&mut engine, NOW, created(B), refused), Decision::CreationFailed);
    assert_eq!(engine.phase(vm), Ok(Phase::Dying));
    // A was told, B refused, C was never asked, and the last one wants to hear of every end.
    for sp in [A, PartitionId(0x8004)] {
        assert_eq!(answer(&mut engine, NOW, destroyed(sp), accept(destroyed(sp))), Decision::Met);
    }
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    assert_eq!(idle(&mut engine, NOW), None);
}

#[test]
fn decision_1_an_sp_that_may_have_been_told_is_told_of_the_end() {
    let nonsense = [
        Answer::Unexpected { w0: 0xffff_ffff },
        Answer::MsgWait,
        error(Status::Aborted),
        Answer::Error(ffa_abi::FirmwareStatus::from_code(0)),
        accept(told(B, VmAvailability::Created)),
        accept(destroyed(A)),
    ];
    for wrong in nonsense {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        engine.create(VM, [both(A), both(B)].into_iter()).expect("room");
        let call = told(A, VmAvailability::Created);
        assert_eq!(answer(&mut engine, NOW, call, wrong), Decision::CreationFailed, "{wrong:?}");
        assert_eq!(answer(&mut engine, NOW, destroyed(A), accept(destroyed(A))), Decision::Met, "{wrong:?}");
        assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    }
}

#[test]
fn decision_2_interrupted_and_retry_keep_vm_destroyed_owed_and_the_rest_ends_it() {
    for status in Status::ALL.iter().copied() {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[both(A)]);
        engine.destroy(vm).expect("alive");
        let decision = answer(&mut engine, NOW, destroyed(A), refuse(destroyed(A), status));
        match status {
            Status::Interrupted | Status::Retry | Status::Busy | Status::NotReady | Status::NoMemory => {
                assert_eq!(decision, Decision::TryAgain { until: millis(10) }, "{status}");
                assert_eq!(idle(&mut engine, millis(9)), Some(millis(10)));
                let again = answer(&mut engine, millis(10), destroyed(A), accept(destroyed(A)));
                assert_eq!(again, Decision::Met);
                assert_eq!(finished(&mut engine, millis(10)), (End::Gone, true));
            }
            _ => {
                assert_eq!(decision, Decision::GivenUp { share: None }, "{status}");
                assert_eq!(finished(&mut engine, NOW), (End::Retired, true));
            }
        }
        assert_eq!(idle(&mut engine, millis(10)), None);
    }
}

#[test]
fn decision_3_an_undelivered_vm_destroyed_keeps_the_vm_in_teardown() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[both(A)]);
    share(&mut engine, vm, 7);
    engine.destroy(vm).expect("alive");
    let decision = answer(&mut engine, NOW, destroyed(A), refuse(destroyed(A), Status::Retry));
    assert_eq!(decision, Decision::TryAgain { until: millis(10) });
    comes_back(&mut engine, NOW, 7);
    assert_eq!(engine.shares(vm).count(), 0);
    assert_eq!(idle(&mut engine, NOW), Some(millis(10)));
    assert_eq!(engine.phase(vm), Ok(Phase::Dying));
}

#[test]
fn decision_4_denied_is_tried_each_second_until_it_works() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[]);
    share(&mut engine, vm, 7);
    engine.destroy(vm).expect("alive");
    for second in 0..100 {
        let now = millis(1000 * second);
        denied(&mut engine, now, 7);
        assert_eq!(idle(&mut engine, now), Some(now + Span::from_secs(1)));
    }
    comes_back(&mut engine, millis(100_000), 7);
    assert_eq!(finished(&mut engine, millis(100_000)), (End::Gone, true));
}

#[test]
fn decision_4_invalid_parameters_and_aborted_end_it_with_the_pages_held() {
    for status in [Status::InvalidParameters, Status::Aborted] {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let held = share(&mut engine, vm, 7);
        engine.destroy(vm).expect("alive");
        let decision = answer(&mut engine, NOW, reclaim(7), error(status));
        assert_eq!(decision, Decision::GivenUp { share: Some(held) });
        assert_eq!(finished(&mut engine, NOW), (End::Zombie, false));
        assert_eq!(idle(&mut engine, NOW), None);
        let kept: Vec<_> = engine.quarantined().collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].progress, Progress::GivenUp(NOW));
        assert_eq!(kept[0].last.and_then(|last| last.status()), Some(status.into()));
    }
}

#[test]
fn decision_5_the_reference_is_taken_with_the_first_obligation_and_dropped_after_the_last() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let created = engine.create(VM, core::iter::empty()).expect("room");
    assert!(!created.take_reference, "nothing is owed yet");
    let vm = created.vm;
    let first = engine.begin_send(vm).expect("room");
    assert!(first.take_reference);
    let second = engine.begin_send(vm).expect("room");
    assert!(!second.take_reference);
    for (share, raw) in [(first.id, 1), (second.id, 2)] {
        let outcome = engine.send_answered(vm, share, &success(raw), NOW);
        assert_eq!(outcome, Ok(SendOutcome::Sent(handle(raw))));
    }
    engine.destroy(vm).expect("alive");
    denied(&mut engine, NOW, 1);
    comes_back(&mut engine, NOW, 2);
    let later = idle(&mut engine, NOW).expect("a share is left");
    comes_back(&mut engine, later, 1);
    assert_eq!(finished(&mut engine, later), (End::Gone, true));
    assert!(engine.phase(vm).is_err(), "the key is void");

    let unused = engine.create(VM, core::iter::empty()).expect("room").vm;
    engine.destroy(unused).expect("alive");
    assert_eq!(finished(&mut engine, NOW), (End::Gone, false), "no reference was taken");
}

#[test]
fn decision_6_one_retry_moves_no_other_deadline_and_the_timer_is_set_for_the_earliest() {
    let mut engine = engine(3, 8, Policy::DEFAULT);
    for (id, at) in [(1, 0), (2, 300), (3, 600)] {
        let vm = live(&mut engine, PartitionId(id), &[]);
        share(&mut engine, vm, u64::from(id));
        engine.destroy(vm).expect("alive");
        denied(&mut engine, millis(at), u64::from(id));
        assert_eq!(idle(&mut engine, millis(at)), Some(millis(1000)));
    }
    denied(&mut engine, millis(1000), 1);
    assert_eq!(idle(&mut engine, millis(1000)), Some(millis(1300)));
    comes_back(&mut engine, millis(1300), 2);
    assert_eq!(finished(&mut engine, millis(1300)), (End::Gone, true));
    assert_eq!(idle(&mut engine, millis(1300)), Some(millis(1600)));
    comes_back(&mut engine, millis(1600), 3);
    assert_eq!(finished(&mut engine, millis(1600)), (End::Gone, true));
    assert_eq!(idle(&mut engine, millis(1600)), Some(millis(2000)));
    comes_back(&mut engine, millis(2000), 1);
    assert_eq!(finished(&mut engine, millis(2000)), (End::Gone, true));
    assert_eq!(idle(&mut engine, millis(2000)), None, "nothing waits");
}
