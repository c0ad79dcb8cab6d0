//! What a VM has bound is unbound, what is pending for it is fetched, and its bitmap goes.

mod common;

use common::*;
use ffa_abi::{Answer, FirmwareStatus, NotificationBitmap, PartitionId, RunTarget, Status, VmAvailability};
use ffa_teardown::{
    Action, BeginError, BindingId, BindingOutcome, CreateError, Decision, Disposal, End, Phase, Policy,
    Progress, SecureCall, Span, Standing, StandingId, Subject, Time, Unexpected, VmKey,
};

const TARGET: RunTarget = RunTarget { endpoint: A, vcpu: 0 };
const GET: SecureCall = SecureCall::NotificationGet { vm: VM };
const DESTROY: SecureCall = SecureCall::BitmapDestroy { vm: VM };
const RUN: SecureCall = SecureCall::Run { target: TARGET };

fn unbind(bits: u64) -> SecureCall {
    SecureCall::NotificationUnbind { sp: A, vm: VM, bits: NotificationBitmap(bits) }
}

fn begin_bind(engine: &mut Boxed, vm: VmKey, sp: PartitionId, bits: u64) -> Result<BindingId, BeginError> {
    engine.begin_bind(vm, sp, NotificationBitmap(bits)).map(|begun| begun.id)
}

fn begin_unbind(engine: &mut Boxed, vm: VmKey, sp: PartitionId, bits: u64) -> Result<BindingId, BeginError> {
    engine.begin_unbind(vm, sp, NotificationBitmap(bits))
}

/// A VM with a notification bitmap.
fn with_bitmap(engine: &mut Boxed) -> (VmKey, StandingId) {
    let vm = live(engine, VM, &[]);
    let bitmap = engine.begin_standing(vm, Standing::Bitmap).expect("room").id;
    engine.standing_incurred(vm, bitmap).expect("about to begin");
    (vm, bitmap)
}

/// The guest binds `bits` of A, and is answered `with`.
fn bind(engine: &mut Boxed, vm: VmKey, bits: u64, with: Answer) -> BindingOutcome {
    let binding = begin_bind(engine, vm, A, bits).expect("room, and a bitmap");
    engine.bind_answered(vm, binding, &with).expect("in flight")
}

/// The guest unbinds `bits` of A, and is answered `with`.
fn guest_unbinds(engine: &mut Boxed, vm: VmKey, bits: u64, with: Answer) -> BindingOutcome {
    let binding = begin_unbind(engine, vm, A, bits).expect("bound");
    engine.unbind_answered(vm, binding, &with).expect("in flight")
}

/// The bits of each binding, in the order in which they are unbound.
fn bound(engine: &Boxed, vm: VmKey) -> Vec<u64> {
    let bits = |subject| match subject {
        Subject::Binding { sp, bits } => {
            assert_eq!(sp, A);
            Some(bits.0)
        }
        _ => None,
    };
    engine.obligations(vm).filter_map(|obligation| bits(obligation.subject)).collect()
}

/// A dead VM with a bitmap, in which bits 0 and 40 of A are bound.
fn dead_with_bound(engine: &mut Boxed) -> VmKey {
    let (vm, _) = with_bitmap(engine);
    assert_eq!(bind(engine, vm, BITS, success(0)), BindingOutcome::Done);
    engine.destroy(vm).expect("alive");
    vm
}

const BITS: u64 = 1 << 40 | 1;

fn drained(engine: &mut Boxed, now: Time) {
    assert_eq!(answer(engine, now, GET, success(BITS)), Decision::Drained);
}

const CREATE: SecureCall = SecureCall::BitmapCreate { vm: VM, vcpus: 4 };
/// That there is one, whoever may have created it.
const SURE: SecureCall = SecureCall::BitmapCreate { vm: VM, vcpus: 1 };

/// A VM that is to have a bitmap, of which no SP has taken note yet.
fn being_created(engine: &mut Boxed) -> VmKey {
    let sps = [both(A), both(B)].into_iter();
    engine.create_with_bitmap(VM, sps, 4).expect("room").vm
}

fn created(sp: PartitionId) -> SecureCall {
    told(sp, VmAvailability::Created)
}

#[test]
fn a_bitmap_is_created_when_the_last_sp_has_taken_note() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = being_created(&mut engine);
    let again = Decision::TryAgain { until: millis(10) };
    assert_eq!(answer(&mut engine, NOW, created(A), error(Status::Busy)), again);
    assert_eq!(answer(&mut engine, NOW, created(B), accept(created(B))), Decision::Told);
    assert_eq!(idle(&mut engine, NOW), Some(millis(10)));
    assert_eq!(answer(&mut engine, millis(10), created(A), accept(created(A))), Decision::Told);
    let mut now = millis(10);
    for wait in [10, 20, 40] {
        let until = now + Span::from_millis(wait);
        assert_eq!(answer(&mut engine, now, CREATE, error(Status::Retry)), Decision::TryAgain { until });
        assert_eq!(engine.phase(vm), Ok(Phase::Creating));
        now = until;
    }
    assert_eq!(answer(&mut engine, now, CREATE, success(0)), Decision::BitmapCreated);
    assert_eq!(next(&mut engine, now), Action::Created { vm });
    assert_eq!(bind(&mut engine, vm, BITS, success(0)), BindingOutcome::Done);
    engine.destroy(vm).expect("alive");
    drained(&mut engine, now);
    assert_eq!(answer(&mut engine, now, unbind(BITS), success(0)), Decision::Met);
    drained(&mut engine, now);
    assert_eq!(answer(&mut engine, now, DESTROY, success(0)), Decision::Met);
}

#[test]
fn a_vm_without_bitmap_lives_and_owes_what_may_be_there() {
    let refused: &[Answer] = &[error(Status::Denied), error(Status::NotSupported), error(Status::NoMemory)];
    let unclear: &[Answer] = &[
        Answer::Unexpected { w0: 1 },
        Answer::MsgWait,
        error(Status::Aborted),
        Answer::Error(FirmwareStatus::from_code(0)),
    ];
    for (answers, owes) in [(refused, false), (unclear, true)] {
        for with in answers {
            let mut engine = engine(1, 4, Policy::DEFAULT);
            let vm = engine.create_with_bitmap(VM, core::iter::empty(), 4).expect("room").vm;
            assert_eq!(answer(&mut engine, NOW, CREATE, *with), Decision::NoBitmap);
            assert_eq!(next(&mut engine, NOW), Action::Created { vm });
            assert_eq!(engine.obligations(vm).count(), usize::from(owes), "{with:?}");
        }
    }
    // Nor for ever.
    let mut engine = engine(1, 4, Policy::DEFAULT);
    engine.create_with_bitmap(VM, core::iter::empty(), 4).expect("room");
    let busy = |engine: &mut Boxed, now| answer(engine, now, CREATE, error(Status::Busy));
    let mut now = NOW;
    for _ in 1..Policy::DEFAULT.tries {
        let Decision::TryAgain { until } = busy(&mut engine, now) else { panic!("it passes") };
        now = until;
    }
    assert_eq!(busy(&mut engine, now), Decision::NoBitmap);
}

/// An error after FFA_RUN may be FFA_RUN's own: the bitmap may be there, also when a second try is refused.
#[test]
fn a_bitmap_over_which_an_sp_was_preempted_may_be_there() {
    for dies in [false, true] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = engine.create_with_bitmap(VM, core::iter::empty(), 4).expect("room").vm;
        let at_once = Decision::TryAgain { until: NOW };
        assert_eq!(answer(&mut engine, NOW, CREATE, Answer::Interrupt(TARGET)), at_once);
        let again = Decision::TryAgain { until: millis(20) };
        assert_eq!(answer(&mut engine, NOW, RUN, error(Status::Busy)), again);
        if dies {
            engine.destroy(vm).expect("alive");
        } else {
            assert_eq!(answer(&mut engine, millis(20), CREATE, error(Status::Denied)), Decision::NoBitmap);
            assert_eq!(next(&mut engine, millis(20)), Action::Created { vm });
            engine.destroy(vm).expect("alive");
        }
        assert_eq!(answer(&mut engine, millis(20), SURE, error(Status::Denied)), Decision::Drained);
        assert_eq!(answer(&mut engine, millis(20), DESTROY, success(0)), Decision::Met);
        assert_eq!(finished(&mut engine, millis(20)), (End::Gone, true));
    }
}

/// One of which nobody knows is created before it is destroyed, once: DENIED would be the answer to both that it is there
/// and that it is not. Then what is pending is fetched.
#[test]
fn a_bitmap_in_doubt_is_made_sure_of() {
    let unclear = Answer::Unexpected { w0: 1 };
    for (is_there, in_the_way) in [(false, false), (true, false), (true, true)] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = engine.create_with_bitmap(VM, core::iter::empty(), 4).expect("room").vm;
        assert_eq!(answer(&mut engine, NOW, CREATE, unclear), Decision::NoBitmap);
        assert_eq!(next(&mut engine, NOW), Action::Created { vm });
        engine.destroy(vm).expect("alive");
        let made = if is_there { error(Status::Denied) } else { success(0) };
        assert_eq!(answer(&mut engine, NOW, SURE, made), Decision::Drained);
        let mut now = NOW;
        if in_the_way {
            let until = now + Span::from_secs(1);
            let again = Decision::TryAgain { until };
            assert_eq!(answer(&mut engine, now, DESTROY, error(Status::Denied)), again);
            now = until;
            drained(&mut engine, now);
        }
        assert_eq!(answer(&mut engine, now, DESTROY, success(0)), Decision::Met);
        assert_eq!(finished(&mut engine, now), (End::Gone, true));
    }
}

/// The same when somebody asks once more for one that was given up.
#[test]
fn a_bitmap_that_was_given_up_is_made_sure_of_when_it_is_tried_again() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let (vm, _) = with_bitmap(&mut engine);
    engine.destroy(vm).expect("alive");
    drained(&mut engine, NOW);
    let given_up = Decision::GivenUp { share: None };
    assert_eq!(answer(&mut engine, NOW, DESTROY, Answer::Unexpected { w0: 1 }), given_up);
    assert_eq!(engine.retry(vm), Ok(1));
    assert_eq!(answer(&mut engine, NOW, SURE, success(0)), Decision::Drained);
    assert_eq!(answer(&mut engine, NOW, DESTROY, success(0)), Decision::Met);
}

/// One that nobody has asked for yet is not created for a VM that dies, or whose creation fails.
#[test]
fn no_bitmap_is_created_for_a_dead_vm() {
    for fails in [false, true] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = being_created(&mut engine);
        if fails {
            let refused = answer(&mut engine, NOW, created(A), error(Status::Denied));
            assert_eq!(refused, Decision::CreationFailed);
        } else {
            engine.destroy(vm).expect("alive");
        }
        assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    }
}

#[test]
fn what_is_pending_is_fetched_before_each_try_until_the_bitmap_is_destroyed() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    dead_with_bound(&mut engine);
    let next_try = Decision::TryAgain { until: millis(1000) };
    // The SP signals in between, so that both are denied.
    for call in [unbind(BITS), DESTROY] {
        drained(&mut engine, NOW);
        assert_eq!(answer(&mut engine, NOW, call, error(Status::Denied)), next_try);
    }
    assert_eq!(idle(&mut engine, NOW), Some(millis(1000)));
    for call in [unbind(BITS), DESTROY] {
        drained(&mut engine, millis(1000));
        assert_eq!(answer(&mut engine, millis(1000), call, success(0)), Decision::Met);
    }
    assert_eq!(finished(&mut engine, millis(1000)), (End::Gone, true));
    assert_eq!(idle(&mut engine, millis(1000)), None);
}

#[test]
fn an_sp_that_signals_for_ever_keeps_the_id_and_delays_nobody() {
    let policy = Policy { disposal: Disposal::HandOver, ..Policy::DEFAULT };
    let mut engine = engine(2, 8, policy);
    let (vm, _) = with_bitmap(&mut engine);
    assert_eq!(bind(&mut engine, vm, BITS, success(0)), BindingOutcome::Done);
    let kept = share(&mut engine, vm, 7);
    let other = live(&mut engine, PartitionId(2), &[]);
    share(&mut engine, other, 8);
    engine.destroy(vm).expect("alive");
    let mut reclaimed = Vec::new();
    for second in 0..100 {
        let now = millis(1000 * second);
        if second == 50 {
            engine.destroy(other).expect("alive");
        }
        for tries in 0.. {
            match next(&mut engine, now) {
                Action::Call { vm: whose, call } => {
                    let with = match call {
                        SecureCall::MemReclaim { handle } if whose == other => {
                            reclaimed.push((second, tries, handle.get()));
                            success(0)
                        }
                        SecureCall::MemReclaim { .. } => error(Status::Aborted),
                        GET => success(BITS),
                        _ => error(Status::Denied),
                    };
                    let decision = engine.answered(whose, call, &with, now).expect("in flight").decision;
                    match decision {
                        Decision::Confirmed { share } => engine.released(whose, share).expect("returning"),
                        Decision::HandOver { share } => {
                            assert_eq!((share, second), (kept, 0));
                            engine.handed_over(whose, share).expect("to be handed over");
                        }
                        Decision::TryAgain { until } => assert_eq!(until, now + Span::from_secs(1)),
                        decision => assert_eq!((decision, call), (Decision::Drained, GET)),
                    }
                }
                Action::Finished { vm, end, .. } => {
                    assert_eq!((vm, end, second), (other, End::Gone, 50));
                }
                action => {
                    let until = Some(now + Span::from_secs(1));
                    assert_eq!(action, Action::Idle { until });
                    // Twice GET and the call behind it, and once in all what else there is.
                    assert!(tries <= 4 + 2, "{tries} tries at {second} s");
                    break;
                }
            }
        }
        let taken = CreateError::IdTaken { vm: VM };
        assert_eq!(engine.create(VM, core::iter::empty()), Err(taken));
    }
    assert_eq!(reclaimed.len(), 1, "{reclaimed:?}");
    let quarantined: Vec<_> = engine.quarantined().map(|share| share.progress).collect();
    assert_eq!(quarantined, [Progress::GivenUp(NOW)]);
}

#[test]
fn whatever_get_is_answered_the_call_behind_it_is_made() {
    let nonsense = Answer::Unexpected { w0: 0xffff_ffff };
    let mut answers =
        vec![success(0), Answer::MsgWait, nonsense, Answer::Error(FirmwareStatus::from_code(0))];
    answers.extend(Status::ALL.iter().map(|status| error(*status)));
    for with in answers {
        for preempted in [false, true] {
            let mut engine = engine(1, 4, Policy::DEFAULT);
            dead_with_bound(&mut engine);
            for call in [unbind(BITS), DESTROY] {
                let mut get = GET;
                if preempted {
                    let run = Decision::TryAgain { until: NOW };
                    assert_eq!(answer(&mut engine, NOW, GET, interrupt(A)), run);
                    get = RUN;
                }
                assert_eq!(answer(&mut engine, NOW, get, with), Decision::Drained, "{with:?}");
                assert_eq!(answer(&mut engine, NOW, call, success(0)), Decision::Met, "{with:?}");
            }
            assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
        }
    }
}

#[test]
fn a_preempted_unbind_is_resumed_and_its_own_success_counts() {
    // So that other calls of the VM come between the two.
    let mut engine = engine(1, 4, Policy { runs_first: 0, ..Policy::DEFAULT });
    dead_with_bound(&mut engine);
    drained(&mut engine, NOW);
    let later = Decision::TryAgain { until: millis(10) };
    assert_eq!(answer(&mut engine, NOW, unbind(BITS), interrupt(A)), later);
    drained(&mut engine, NOW);
    assert_eq!(answer(&mut engine, NOW, DESTROY, error(Status::Busy)), later);
    assert_eq!(answer(&mut engine, millis(10), RUN, success(0)), Decision::Met);
    drained(&mut engine, millis(10));
    assert_eq!(answer(&mut engine, millis(10), DESTROY, success(0)), Decision::Met);
    assert_eq!(finished(&mut engine, millis(10)), (End::Gone, true));
}

#[test]
fn an_unbind_that_can_be_resumed_no_more_begins_with_get() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    dead_with_bound(&mut engine);
    drained(&mut engine, NOW);
    assert_eq!(answer(&mut engine, NOW, unbind(BITS), interrupt(A)), Decision::TryAgain { until: NOW });
    let decision = answer(&mut engine, NOW, RUN, error(Status::Denied));
    assert!(matches!(decision, Decision::TryAgain { .. }), "{decision:?}");
    let until = loop {
        match next(&mut engine, NOW) {
            Action::Call { vm, call } => {
                assert!(matches!(call, GET | DESTROY), "{call}");
                let _ = engine.answered(vm, call, &error(Status::Denied), NOW).expect("in flight");
            }
            Action::Idle { until } => break until.expect("something is owed"),
            action => panic!("{action:?}"),
        }
    };
    drained(&mut engine, until);
    assert_eq!(answer(&mut engine, until, unbind(BITS), success(0)), Decision::Met);
}

#[test]
fn a_bitmap_that_is_destroyed_takes_what_was_bound_in_it_along() {
    for with in [error(Status::Denied), error(Status::InvalidParameters), Answer::MsgWait] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = dead_with_bound(&mut engine);
        drained(&mut engine, NOW);
        let decision = answer(&mut engine, NOW, unbind(BITS), with);
        let given_up = with == error(Status::InvalidParameters);
        assert_eq!(decision == Decision::GivenUp { share: None }, given_up, "{decision:?}");
        drained(&mut engine, NOW);
        assert_eq!(bound(&engine, vm), [BITS]);
        assert_eq!(answer(&mut engine, NOW, DESTROY, success(0)), Decision::Met);
        assert_eq!(finished(&mut engine, NOW), (End::Gone, true), "{with:?}");
    }
    // Also while the VM lives.
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let (vm, bitmap) = with_bitmap(&mut engine);
    assert_eq!(bind(&mut engine, vm, BITS, success(0)), BindingOutcome::Done);
    let binding = begin_bind(&mut engine, vm, A, 2).expect("room");
    assert_eq!(engine.end_standing(vm, bitmap), Err(BeginError::Busy));
    assert_eq!(engine.bind_answered(vm, binding, &success(0)), Ok(BindingOutcome::Done));
    assert_eq!(engine.end_standing(vm, bitmap), Ok(()));
    assert_eq!(begin_bind(&mut engine, vm, A, 4), Err(BeginError::NotFound), "its end is in flight");
    assert_eq!(begin_unbind(&mut engine, vm, A, 1), Err(BeginError::NotFound));
    assert_eq!(engine.standing_over(vm, bitmap), Ok(()));
    engine.destroy(vm).expect("alive");
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
}

#[test]
fn what_was_given_up_is_tried_again_from_get_on_when_an_operator_asks() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = dead_with_bound(&mut engine);
    for call in [unbind(BITS), DESTROY] {
        drained(&mut engine, NOW);
        let decision = answer(&mut engine, NOW, call, error(Status::NotSupported));
        assert_eq!(decision, Decision::GivenUp { share: None });
    }
    assert_eq!(finished(&mut engine, NOW), (End::Retired, true));
    assert_eq!(engine.retry(vm), Ok(2));
    drained(&mut engine, NOW);
    assert_eq!(answer(&mut engine, NOW, unbind(BITS), success(0)), Decision::Met);
    assert_eq!(answer(&mut engine, NOW, SURE, error(Status::Denied)), Decision::Drained);
    assert_eq!(answer(&mut engine, NOW, DESTROY, success(0)), Decision::Met);
    assert_eq!(finished(&mut engine, NOW), (End::Gone, false));
}

#[test]
fn what_is_bound_to_an_sp_is_unbound_by_one_call_that_names_each_bit() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let (vm, _) = with_bitmap(&mut engine);
    for (bits, with, outcome, all) in [
        (0b0011, success(0), BindingOutcome::Done, 0b0011),
        (0b0110, success(0), BindingOutcome::Done, 0b0111),
        (0b1000, error(Status::Denied), BindingOutcome::Refused(Status::Denied.into()), 0b0111),
        // Once more: as the SPMC pleases, and bound all the same.
        (0b0001, success(0), BindingOutcome::Done, 0b0111),
        (0b0001, error(Status::Denied), BindingOutcome::Refused(Status::Denied.into()), 0b0111),
        (0b0001, Answer::MsgWait, BindingOutcome::Unknown, 0b0111),
    ] {
        assert_eq!(bind(&mut engine, vm, bits, with), outcome);
        assert_eq!(bound(&engine, vm), [all]);
    }
    for (bits, with, outcome, all) in [
        (0b0101, success(0), BindingOutcome::Done, vec![0b0010]),
        (0b0010, error(Status::Denied), BindingOutcome::Refused(Status::Denied.into()), vec![0b0010]),
        (0b0010, success(0), BindingOutcome::Done, vec![]),
    ] {
        assert_eq!(guest_unbinds(&mut engine, vm, bits, with), outcome);
        assert_eq!(bound(&engine, vm), all);
    }
    assert_eq!(bind(&mut engine, vm, 0b0110, success(0)), BindingOutcome::Done);
    let refused = guest_unbinds(&mut engine, vm, 0b0010, error(Status::Busy));
    assert_eq!(refused, BindingOutcome::Refused(Status::Busy.into()));
    assert_eq!(bound(&engine, vm), [0b0110], "together again");
}

#[test]
fn bits_in_doubt_are_unbound_by_a_call_of_their_own() {
    let unclear = [
        error(Status::Aborted),
        Answer::Error(FirmwareStatus::from_code(0)),
        Answer::MsgWait,
        Answer::Unexpected { w0: 0 },
    ];
    for with in unclear {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let (vm, _) = with_bitmap(&mut engine);
        assert_eq!(bind(&mut engine, vm, 0b0111, success(0)), BindingOutcome::Done);
        assert_eq!(bind(&mut engine, vm, 0b1000, with), BindingOutcome::Unknown, "{with:?}");
        assert_eq!(begin_unbind(&mut engine, vm, A, 0b1000), Err(BeginError::NotFound));
        assert_eq!(begin_bind(&mut engine, vm, A, 0b1000), Err(BeginError::Busy));
        assert_eq!(guest_unbinds(&mut engine, vm, 0b0011, with), BindingOutcome::Unknown, "{with:?}");
        assert_eq!(begin_unbind(&mut engine, vm, A, 0b0111), Err(BeginError::NotFound));
        assert_eq!(bound(&engine, vm), [0b0100, 0b1000, 0b0011]);
        engine.destroy(vm).expect("alive");
        for bits in [0b0100, 0b1000, 0b0011] {
            drained(&mut engine, NOW);
            assert_eq!(answer(&mut engine, NOW, unbind(bits), success(0)), Decision::Met);
        }
        drained(&mut engine, NOW);
        assert_eq!(answer(&mut engine, NOW, DESTROY, success(0)), Decision::Met);
        assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    }
}

#[test]
fn a_preempted_bind_is_run_and_an_error_after_that_leaves_it_in_doubt() {
    for (with, outcome) in
        [(success(0), BindingOutcome::Done), (error(Status::Denied), BindingOutcome::Unknown)]
    {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let (vm, _) = with_bitmap(&mut engine);
        let binding = begin_bind(&mut engine, vm, A, 1).expect("room");
        let resume = engine.bind_answered(vm, binding, &interrupt(A));
        assert_eq!(resume, Ok(BindingOutcome::Resume(TARGET)));
        assert_eq!(engine.bind_answered(vm, binding, &with), Ok(outcome));
        assert_eq!(bound(&engine, vm), [1]);
    }
    // Not for ever.
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let (vm, _) = with_bitmap(&mut engine);
    let binding = begin_bind(&mut engine, vm, A, 1).expect("room");
    for _ in 0..Policy::DEFAULT.tries {
        let resume = engine.bind_answered(vm, binding, &interrupt(A));
        assert_eq!(resume, Ok(BindingOutcome::Resume(TARGET)));
    }
    assert_eq!(engine.bind_answered(vm, binding, &interrupt(A)), Ok(BindingOutcome::Unknown));
}

#[test]
fn one_call_at_a_time_works_on_what_is_bound_to_an_sp() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[]);
    assert_eq!(begin_bind(&mut engine, vm, A, 1), Err(BeginError::NotFound), "there is no bitmap");
    let bitmap = engine.begin_standing(vm, Standing::Bitmap).expect("room").id;
    assert_eq!(begin_bind(&mut engine, vm, A, 1), Err(BeginError::NotFound), "not yet");
    engine.standing_incurred(vm, bitmap).expect("about to begin");
    assert_eq!(begin_bind(&mut engine, vm, A, 0), Err(BeginError::NotFound), "no bits");
    assert_eq!(bind(&mut engine, vm, 0b11, success(0)), BindingOutcome::Done);
    for bits in [0, 0b100, 0b110] {
        assert_eq!(begin_unbind(&mut engine, vm, A, bits), Err(BeginError::NotFound), "{bits:#b}");
    }
    assert_eq!(begin_unbind(&mut engine, vm, B, 0b01), Err(BeginError::NotFound), "that is A's");

    let binding = begin_bind(&mut engine, vm, A, 0b100).expect("room");
    let before = engine.clone();
    assert_eq!(begin_bind(&mut engine, vm, A, 0b1000), Err(BeginError::Busy));
    assert_eq!(begin_unbind(&mut engine, vm, A, 0b01), Err(BeginError::Busy));
    let stale = Unexpected::NotInFlight { vm: VM };
    assert_eq!(engine.unbind_answered(vm, binding, &success(0)), Err(stale), "it is a BIND");
    assert_eq!(engine, before);
    let second = begin_bind(&mut engine, vm, B, 0b1000).expect("another SP's");
    assert_eq!(begin_bind(&mut engine, vm, PartitionId(0x8003), 1), Err(BeginError::NoRoom));
    for binding in [second, binding] {
        assert_eq!(engine.bind_answered(vm, binding, &error(Status::Denied)).ok(), Some(DENIED));
        assert_eq!(engine.bind_answered(vm, binding, &error(Status::Denied)), Err(stale), "told already");
    }

    // All of it needs no room, some of it does.
    let share = engine.begin_send(vm).expect("room").id;
    let other = engine.begin_send(vm).expect("room").id;
    assert_eq!(begin_unbind(&mut engine, vm, A, 0b01), Err(BeginError::NoRoom));
    assert_eq!(bound(&engine, vm), [0b11]);
    let all = begin_unbind(&mut engine, vm, A, 0b11).expect("bound");
    assert_eq!(engine.bind_answered(vm, all, &success(0)), Err(stale), "it is an UNBIND");
    assert_eq!(begin_bind(&mut engine, vm, A, 0b100), Err(BeginError::Busy));
    for share in [share, other] {
        engine.abandon_send(vm, share).expect("being sent");
    }
    assert_eq!(engine.unbind_answered(vm, all, &success(0)), Ok(BindingOutcome::Done));
    assert_eq!(bound(&engine, vm), []);
}

const DENIED: BindingOutcome = BindingOutcome::Refused(FirmwareStatus::Known(Status::Denied));

#[test]
fn teardown_waits_for_the_guest_whose_call_about_bindings_is_in_flight() {
    for unbinds in [false, true] {
        for with in [success(0), error(Status::Denied), error(Status::Aborted), Answer::MsgWait] {
            let mut engine = engine(1, 8, Policy::DEFAULT);
            let (vm, _) = with_bitmap(&mut engine);
            assert_eq!(bind(&mut engine, vm, 0b11, success(0)), BindingOutcome::Done);
            let binding = match unbinds {
                false => begin_bind(&mut engine, vm, A, 0b100).expect("room"),
                true => begin_unbind(&mut engine, vm, A, 0b01).expect("bound"),
            };
            engine.destroy(vm).expect("alive");
            assert_eq!(idle(&mut engine, NOW), None);
            let dead = BeginError::NotLive(Unexpected::Phase { vm: VM, phase: Phase::Dying });
            assert_eq!(begin_bind(&mut engine, vm, A, 0b1000), Err(dead));
            assert_eq!(begin_unbind(&mut engine, vm, A, 0b10), Err(dead));
            let outcome = match unbinds {
                false => engine.bind_answered(vm, binding, &with),
                true => engine.unbind_answered(vm, binding, &with),
            };
            let owed = bound(&engine, vm);
            let expected = match (outcome, unbinds) {
                (Ok(BindingOutcome::Done), false) => vec![0b111],
                (Ok(BindingOutcome::Done), true) => vec![0b10],
                (Ok(BindingOutcome::Refused(_)), _) => vec![0b11],
                (Ok(BindingOutcome::Unknown), false) => vec![0b11, 0b100],
                (Ok(BindingOutcome::Unknown), true) => vec![0b10, 0b01],
                outcome => panic!("{outcome:?}"),
            };
            assert_eq!(owed, expected);
            for bits in owed {
                drained(&mut engine, NOW);
                assert_eq!(answer(&mut engine, NOW, unbind(bits), success(0)), Decision::Met);
            }
            drained(&mut engine, NOW);
            assert_eq!(answer(&mut engine, NOW, DESTROY, success(0)), Decision::Met);
            assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
        }
    }
}

#[test]
fn the_calls_have_these_registers() {
    let registers = |call: SecureCall| call.to_regs().0;
    let mut get = [0; 18];
    // For vCPU 0 of VM 1: from SPs (bit 0) and from the SPM (bit 2).
    get[..3].copy_from_slice(&[0x8400_0082, 1, 0b101]);
    assert_eq!(registers(GET), get);
    let mut unbound = [0; 18];
    unbound[..5].copy_from_slice(&[0x8400_0080, 0x8001_0001, 0, 1, 1 << 8]);
    assert_eq!(registers(unbind(BITS)), unbound);
}
