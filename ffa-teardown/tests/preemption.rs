//! An SP that is preempted for one VM takes no message about another: it is run before anything else, and for nothing
//! else. That it does take another shows that it was restarted.

mod common;

use common::*;
use ffa_abi::{Answer, PartitionId, RunTarget, Status, VmAvailability};
use ffa_teardown::{
    Action, BeginError, Decision, End, Phase, Policy, ReclaimOutcome, SecureCall, SendOutcome, Span,
    Subscription, Time, VmKey,
};

const SP: PartitionId = PartitionId(0x8001);
const TARGET: RunTarget = RunTarget { endpoint: SP, vcpu: 0 };
const FIRST: PartitionId = PartitionId(1);
const RUN: SecureCall = SecureCall::Run { target: TARGET };

fn tell(vm: PartitionId) -> SecureCall {
    SecureCall::Tell { sp: SP, vm, event: VmAvailability::Destroyed }
}

/// Two dead VMs of which the SP is to be told.
fn two_dead() -> (Boxed, [VmKey; 2]) {
    let mut engine = engine(2, 8, Policy::DEFAULT);
    let only_end = Subscription { sp: SP, created: false, destroyed: true };
    let vms = [FIRST, PartitionId(2)]
        .map(|id| engine.create(id, [only_end].into_iter()).expect("room for a VM").vm);
    for vm in vms {
        engine.destroy(vm).expect("it lives");
    }
    (engine, vms)
}

fn answered(engine: &mut Boxed, vm: VmKey, call: SecureCall, answer: Answer, now: Time) -> Decision {
    assert_eq!(next_call(engine, now), (vm, call));
    engine.answered(vm, call, &answer, now).expect("in flight").decision
}

#[test]
fn interrupted_it_is_the_very_next_to_run() {
    let (mut engine, [first, second]) = two_dead();
    let now = Time::ZERO;
    let again = Decision::TryAgain { until: now };
    assert_eq!(answered(&mut engine, first, tell(FIRST), Answer::Interrupt(TARGET), now), again);
    assert_eq!(answered(&mut engine, first, RUN, Answer::Interrupt(TARGET), now), again);
    assert_eq!(answered(&mut engine, first, RUN, accept(tell(FIRST)), now), Decision::Met);
    assert_eq!(next_call(&mut engine, now), (second, tell(second.id())));
}

#[test]
fn yielding_it_goes_ahead_of_all_others_when_its_time_has_come() {
    let (mut engine, [first, second]) = two_dead();
    let now = Time::ZERO;
    let until = now + Span::from_millis(2);
    let yields = Answer::Yield { target: TARGET, timeout: 2_000_000 };
    assert_eq!(answered(&mut engine, first, tell(FIRST), yields, now), Decision::TryAgain { until });
    let busy = error(Status::Busy);
    assert_ne!(answered(&mut engine, second, tell(second.id()), busy, now), Decision::Met);
    // Both are due by then, and the other one was due in the line before.
    let late = now + Span::from_secs(1);
    assert_eq!(answered(&mut engine, first, RUN, accept(tell(FIRST)), late), Decision::Met);
}

#[test]
fn for_ever_it_is_run_at_the_pace_of_the_policy() {
    let (mut engine, [first, second]) = two_dead();
    let now = Time::ZERO;
    let mut runs = 0;
    let mut call = tell(FIRST);
    while answered(&mut engine, first, call, Answer::Interrupt(TARGET), now)
        == (Decision::TryAgain { until: now })
    {
        (call, runs) = (RUN, runs + 1);
        assert!(runs < 100);
    }
    assert_eq!(next_call(&mut engine, now), (second, tell(second.id())));
}

/// The target of FFA_RUN may work for another share by then, whose success must not be taken for this one's.
#[test]
fn a_reclaim_whose_run_was_refused_is_asked_for_anew_by_its_handle() {
    for status in Status::ALL {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = engine.create(FIRST, core::iter::empty()).expect("room for a VM").vm;
        let share = engine.begin_send(vm).expect("room for a share").id;
        let sent = engine.send_answered(vm, share, &success(7), Time::ZERO).expect("being sent");
        assert_eq!(sent, SendOutcome::Sent(handle(7)));
        engine.destroy(vm).expect("it lives");
        let reclaim = SecureCall::MemReclaim { handle: handle(7) };
        let mut now = Time::ZERO;
        let _again = answered(&mut engine, vm, reclaim, Answer::Interrupt(TARGET), now);
        let decision = answered(&mut engine, vm, RUN, error(*status), now);
        if let Decision::TryAgain { until } = decision {
            now = until;
            assert_eq!(next_call(&mut engine, now), (vm, reclaim), "{status}");
        }
    }
}

/// Two dead VMs, and an SP that was preempted over the end of the first, restarted, and preempted over that of the second.
fn displaced() -> (Boxed, [VmKey; 2]) {
    let (mut engine, [first, second]) = two_dead();
    let now = Time::ZERO;
    let later = Answer::Yield { target: TARGET, timeout: 20_000_000 };
    let _waits = answered(&mut engine, first, tell(FIRST), later, now);
    let _ahead = answered(&mut engine, second, tell(second.id()), Answer::Interrupt(TARGET), now);
    (engine, [first, second])
}

#[test]
fn only_what_it_was_preempted_over_last_may_run_it() {
    let (mut engine, [first, second]) = displaced();
    let late = Time::ZERO + Span::from_millis(20);
    assert_eq!(answered(&mut engine, second, RUN, accept(tell(second.id())), late), Decision::Met);
    assert_eq!(next(&mut engine, late), gone(second));
    // Owed anew: to run the SP again would end what it has in hand by then.
    assert_eq!(answered(&mut engine, first, tell(FIRST), accept(tell(FIRST)), late), Decision::Met);
    assert_eq!(next(&mut engine, late), gone(first));
}

fn gone(vm: VmKey) -> Action {
    Action::Finished { vm, end: End::Gone, give_back: true }
}

/// A run that is under way when its SP turns out to work for something else.
#[test]
fn overtaken_it_says_nothing_of_a_share() {
    let mut engine = engine(2, 8, Policy::DEFAULT);
    let vm = live(&mut engine, FIRST, &[]);
    let _share = share(&mut engine, vm, 7);
    let dead = live(&mut engine, PartitionId(2), &[only_destroyed(SP)]);
    let (asked, resume) = engine.begin_reclaim(vm, handle(7)).expect("its own");
    assert_eq!(resume, None);
    let outcome = engine.reclaim_answered(vm, asked, &Answer::Interrupt(TARGET));
    assert_eq!(outcome, Ok(ReclaimOutcome::Resume(TARGET)));
    engine.destroy(dead).expect("it lives");
    let _ahead = answered(&mut engine, dead, tell(dead.id()), Answer::Interrupt(TARGET), Time::ZERO);
    let outcome = engine.reclaim_answered(vm, asked, &success(0));
    assert_eq!(outcome, Ok(ReclaimOutcome::Refused(Status::Retry.into())));
    assert_eq!(engine.begin_reclaim(vm, handle(7)), Ok((asked, None)));
    assert_eq!(engine.reclaim_answered(vm, asked, &success(0)), Ok(ReclaimOutcome::Confirmed));
}

#[test]
fn overtaken_its_message_still_says_what_it_answers() {
    let (mut engine, [first, second]) = two_dead();
    let now = Time::ZERO;
    let _ahead = answered(&mut engine, first, tell(FIRST), Answer::Interrupt(TARGET), now);
    assert_eq!(next_call(&mut engine, now), (first, RUN));
    assert_eq!(
        answered(&mut engine, second, tell(second.id()), Answer::Interrupt(TARGET), now),
        Decision::TryAgain { until: now }
    );
    let judged = engine.answered(first, RUN, &accept(tell(FIRST)), now).expect("in flight");
    assert_eq!(judged.decision, Decision::Met);
    assert_eq!(answered(&mut engine, second, RUN, accept(tell(second.id())), now), Decision::Met);
}

#[test]
fn overtaken_its_error_says_nothing() {
    let (mut engine, [first, second]) = two_dead();
    let now = Time::ZERO;
    let _ahead = answered(&mut engine, first, tell(FIRST), Answer::Interrupt(TARGET), now);
    assert_eq!(next_call(&mut engine, now), (first, RUN));
    let _ahead = answered(&mut engine, second, tell(second.id()), Answer::Interrupt(TARGET), now);
    let judged = engine.answered(first, RUN, &error(Status::Aborted), now).expect("in flight");
    let Decision::TryAgain { until } = judged.decision else { panic!("{judged:?}") };
    assert_eq!(answered(&mut engine, second, RUN, accept(tell(second.id())), now), Decision::Met);
    assert_eq!(next(&mut engine, now), gone(second));
    assert_eq!(next_call(&mut engine, until), (first, tell(FIRST)));
}

/// It may have heard of the VM before it was restarted, or after.
#[test]
fn a_creation_that_it_lost_is_told_anew_and_refused_it_is_told_of_the_end() {
    let mut engine = engine(2, 8, Policy::DEFAULT);
    let vms = [FIRST, PartitionId(2)]
        .map(|id| engine.create(id, [both(SP)].into_iter()).expect("room for a VM").vm);
    let created = |vm: VmKey| SecureCall::Tell { sp: SP, vm: vm.id(), event: VmAvailability::Created };
    let [first, second] = vms;
    let now = Time::ZERO;
    let later = Answer::Yield { target: TARGET, timeout: 20_000_000 };
    let _waits = answered(&mut engine, first, created(first), later, now);
    let _ahead = answered(&mut engine, second, created(second), Answer::Interrupt(TARGET), now);
    let late = now + Span::from_millis(20);
    assert_eq!(answered(&mut engine, second, RUN, accept(created(second)), late), Decision::Told);
    assert_eq!(next(&mut engine, late), Action::Created { vm: second });
    let refused = refuse(created(first), Status::InvalidParameters);
    assert_eq!(answered(&mut engine, first, created(first), refused, late), Decision::CreationFailed);
    assert_eq!(answered(&mut engine, first, tell(FIRST), accept(tell(FIRST)), late), Decision::Met);
}

#[test]
fn a_guest_cannot_run_it_for_a_request_that_it_lost() {
    let mut engine = engine(2, 8, Policy::DEFAULT);
    let [first, second] = [FIRST, PartitionId(2)].map(|id| live(&mut engine, id, &[]));
    let interrupt = Answer::Interrupt(TARGET);
    let requests = [first, second].map(|vm| {
        let request = engine.begin_call(vm, 0, SP).expect("room for a request").id;
        assert_eq!(engine.call_answered(vm, request, &interrupt), Ok(true));
        request
    });
    assert_eq!(engine.begin_run(first, 0, TARGET), Err(BeginError::NotFound));
    assert_eq!(engine.obligations(first).count(), 0);
    assert_eq!(engine.begin_run(second, 0, TARGET), Ok(requests[1]));
}

/// A VM that was given up because FFA_RUN of the SP is refused.
fn refused_to_the_end() -> (Boxed, VmKey, Time) {
    let mut engine = engine(1, 2, Policy::DEFAULT);
    let vm = live(&mut engine, FIRST, &[only_destroyed(SP)]);
    engine.destroy(vm).expect("it lives");
    let mut now = Time::ZERO;
    let mut decision = answered(&mut engine, vm, tell(FIRST), Answer::Interrupt(TARGET), now);
    while let Decision::TryAgain { until } = decision {
        now = until;
        decision = answered(&mut engine, vm, RUN, error(Status::InvalidParameters), now);
    }
    assert_eq!(decision, Decision::GivenUp { share: None });
    assert_eq!(finished(&mut engine, now), (End::Retired, true));
    assert_eq!(engine.retry(vm), Ok(1));
    (engine, vm, now)
}

#[test]
fn a_retry_after_a_restart_sends_the_message_anew() {
    let (mut engine, vm, mut now) = refused_to_the_end();
    match answered(&mut engine, vm, RUN, error(Status::InvalidParameters), now) {
        Decision::TryAgain { until } => now = until,
        decision => panic!("{decision:?}"),
    }
    assert_eq!(answered(&mut engine, vm, tell(FIRST), accept(tell(FIRST)), now), Decision::Met);
    assert_eq!(finished(&mut engine, now), (End::Gone, false));
}

#[test]
fn a_retry_without_a_restart_lets_it_finish() {
    let (mut engine, vm, now) = refused_to_the_end();
    let _ahead = answered(&mut engine, vm, RUN, Answer::Interrupt(TARGET), now);
    assert_eq!(answered(&mut engine, vm, RUN, accept(tell(FIRST)), now), Decision::Met);
    assert_eq!(finished(&mut engine, now), (End::Gone, false));
}

#[test]
fn a_request_that_was_given_up_can_be_retried() {
    let mut engine = engine(1, 2, Policy::DEFAULT);
    let vm = live(&mut engine, FIRST, &[]);
    let request = engine.begin_call(vm, 0, SP).expect("room for a request").id;
    assert_eq!(engine.call_answered(vm, request, &Answer::Interrupt(TARGET)), Ok(true));
    engine.destroy(vm).expect("it lives");
    let now = Time::ZERO;
    let nonsense = Answer::Unexpected { w0: 0 };
    for _ in 0..3 {
        assert_eq!(answered(&mut engine, vm, RUN, nonsense, now), Decision::GivenUp { share: None });
        assert!(matches!(next(&mut engine, now), Action::Finished { end: End::Retired, .. }));
        assert_eq!(engine.phase(vm), Ok(Phase::Over));
        assert_eq!(engine.retry(vm), Ok(1));
    }
    // The SP was restarted: there is nothing to run any more.
    assert_eq!(answered(&mut engine, vm, RUN, error(Status::InvalidParameters), now), Decision::Met);
    assert_eq!(finished(&mut engine, now), (End::Gone, false));
}

/// An SP that was preempted over a call of which the engine knows nothing has that in hand. What comes of running it says
/// nothing of the share that it was to be run for.
#[test]
fn an_sp_that_works_elsewhere_is_run_for_nothing() {
    for in_flight in [false, true] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        share(&mut engine, vm, 7);
        engine.destroy(vm).expect("it lives");
        let now = Time::ZERO;
        assert_eq!(
            answer(&mut engine, now, reclaim(7), Answer::Interrupt(TARGET)),
            Decision::TryAgain { until: now }
        );
        let mut later = now;
        if in_flight {
            assert_eq!(next_call(&mut engine, now), (vm, RUN));
            engine.works_elsewhere(TARGET);
            later = now + Span::from_millis(20);
            let judged = engine.answered(vm, RUN, &success(0), now).expect("in flight");
            assert_eq!(judged.decision, Decision::TryAgain { until: later });
        } else {
            engine.works_elsewhere(TARGET);
        }
        comes_back(&mut engine, later, 7);
        assert_eq!(finished(&mut engine, later), (End::Gone, true));
    }
}
