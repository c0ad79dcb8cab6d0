//! Memory that a guest gives away: it is back, or its receiver's for good, and nothing in between is taken for either.

mod common;

use common::*;
use ffa_abi::{Answer, RunTarget, Status};
use ffa_teardown::{
    Action, BeginError, Decision, Disposal, End, Policy, Progress, ReclaimOutcome, SendOutcome, ShareId,
    Subject, Unexpected, VmKey,
};

const OTHER: ffa_abi::PartitionId = ffa_abi::PartitionId(2);

/// The guest donates memory; the secure world gives `raw` as the handle.
fn donate(engine: &mut Boxed, vm: VmKey, raw: u64) -> ShareId {
    let donation = engine.begin_donation(vm).expect("room for a donation").id;
    let outcome = engine.send_answered(vm, donation, &success(raw), NOW).expect("being sent");
    assert_eq!(outcome, SendOutcome::Sent(handle(raw)));
    donation
}

fn gone(engine: &mut Boxed) -> (VmKey, ShareId) {
    match next(engine, NOW) {
        Action::Gone { vm, share } => (vm, share),
        action => panic!("{action:?} instead of the end of a donation"),
    }
}

#[test]
fn a_guest_has_it_back_as_long_as_the_secure_world_says_so() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[]);
    let donation = donate(&mut engine, vm, 7);
    assert_eq!(engine.begin_reclaim(vm, handle(7)), Err(BeginError::NotFound), "it is no share");
    assert_eq!(engine.begin_donation_reclaim(vm, handle(8)), Err(BeginError::NotFound));
    assert!(engine.has_donation(vm, handle(7)) && !engine.has_donation(vm, handle(8)));
    assert_eq!(engine.begin_donation_reclaim(vm, handle(7)), Ok((donation, None)));
    assert_eq!(engine.reclaim_answered(vm, donation, &success(0)), Ok(ReclaimOutcome::Confirmed));
    assert_eq!(engine.released(vm, donation), Ok(()));
    assert_eq!(engine.shares(vm).count(), 0);
}

#[test]
fn asked_for_too_late_it_is_gone_and_otherwise_it_stands() {
    for status in Status::ALL {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let donation = donate(&mut engine, vm, 7);
        engine.begin_donation_reclaim(vm, handle(7)).expect("its own");
        let outcome = engine.reclaim_answered(vm, donation, &error(*status)).expect("being reclaimed");
        if matches!(status, Status::Denied | Status::InvalidParameters) {
            assert_eq!(outcome, ReclaimOutcome::Gone((*status).into()));
            engine.released(vm, donation).expect("on its way");
            assert_eq!(engine.shares(vm).count(), 0);
        } else {
            assert_eq!(outcome, ReclaimOutcome::Refused((*status).into()), "{status}");
            assert_eq!(engine.begin_donation_reclaim(vm, handle(7)), Ok((donation, None)));
        }
    }
}

#[test]
fn of_a_dead_guest_it_is_asked_for_once() {
    for status in [Status::Denied, Status::InvalidParameters] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let donation = donate(&mut engine, vm, 7);
        engine.destroy(vm).expect("alive");
        // What passes is tried again.
        let again = answer(&mut engine, NOW, reclaim(7), error(Status::Busy));
        assert_eq!(again, Decision::TryAgain { until: millis(10) });
        let (asked, call) = next_call(&mut engine, millis(10));
        assert!(engine.asks_for_donation(asked) && engine.may_ask_for_donation(asked));
        let judged = engine.answered(asked, call, &error(status), millis(10)).expect("in flight");
        assert_eq!(judged.decision, Decision::Gone { share: donation });
        // It is on the list until its pages have left.
        assert_eq!(engine.shares(vm).next().map(|shown| shown.progress), Some(Progress::InFlight));
        engine.released(vm, donation).expect("on its way");
        assert_eq!(finished(&mut engine, millis(10)), (End::Gone, true), "{status}");
        assert_eq!(engine.quarantined().count(), 0);
    }
}

#[test]
fn other_answers_keep_its_pages_as_those_of_a_share() {
    for status in [Status::Aborted, Status::NotSupported, Status::NoData] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let donation = donate(&mut engine, vm, 7);
        engine.destroy(vm).expect("alive");
        let decision = answer(&mut engine, NOW, reclaim(7), error(status));
        assert_eq!(decision, Decision::GivenUp { share: Some(donation) }, "{status}");
        assert_eq!(finished(&mut engine, NOW), (End::Zombie, false));
        assert_eq!(engine.retry(vm), Ok(1));
        comes_back(&mut engine, NOW, 7);
        assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    }
}

#[test]
fn its_handle_may_be_another_shares_and_is_not_asked_for_any_more() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, OTHER, &[]));
    let donation = donate(&mut engine, vm, 7);
    let shared = share(&mut engine, other, 7);
    assert_eq!(engine.begin_donation_reclaim(vm, handle(7)), Err(BeginError::NotFound));
    assert_eq!(engine.begin_reclaim(other, handle(7)), Ok((shared, None)), "it is the later one's");
    assert_eq!(
        engine.reclaim_answered(other, shared, &error(Status::Busy)),
        Ok(ReclaimOutcome::Refused(Status::Busy.into()))
    );
    engine.destroy(vm).expect("alive");
    assert_eq!(gone(&mut engine), (vm, donation));
    engine.released(vm, donation).expect("on its way");
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    let left = engine.shares(other).map(|shown| shown.subject).collect::<Vec<_>>();
    assert_eq!(left, [Subject::Share { share: shared, handle: Some(handle(7)) }]);
}

#[test]
fn of_a_live_guest_it_is_over_when_its_handle_is_another_transactions() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, OTHER, &[]));
    let donation = donate(&mut engine, vm, 7);
    assert_eq!(engine.next_lost_donation(vm), None);
    let next = donate(&mut engine, vm, 7);
    assert_eq!([vm, other].map(|vm| engine.next_lost_donation(vm)), [Some(donation), None]);
    assert_eq!(engine.next_lost_donation(vm), None, "it is on its way");
    assert_eq!(engine.released(vm, donation), Ok(()));
    assert_eq!(engine.begin_donation_reclaim(vm, handle(7)), Ok((next, None)));
    engine.destroy(vm).expect("alive");
    assert_eq!(engine.next_lost_donation(vm), None);
}

#[test]
fn a_call_about_it_is_not_made_when_its_handle_went_elsewhere_meanwhile() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, OTHER, &[]));
    let donation = donate(&mut engine, vm, 7);
    engine.destroy(vm).expect("alive");
    let (asked, call) = next_call(&mut engine, NOW);
    share(&mut engine, other, 7);
    assert!(engine.asks_for_donation(asked) && !engine.may_ask_for_donation(asked));
    let judged = engine.answered(vm, call, &error(Status::Busy), NOW).expect("in flight");
    assert_eq!(judged.decision, Decision::Gone { share: donation });
    engine.released(vm, donation).expect("on its way");
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
}

#[test]
fn while_some_handle_is_in_doubt_none_is_asked_for() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, OTHER, &[]));
    let donation = donate(&mut engine, vm, 7);
    // It may have come about under the handle that the donation had, if that was retrieved.
    let lost = engine.begin_send(other).expect("room").id;
    let outcome = engine.send_answered(other, lost, &Answer::Unexpected { w0: 0 }, NOW);
    assert_eq!(outcome, Ok(SendOutcome::Unknown { handle: None }));
    assert_eq!(engine.begin_donation_reclaim(vm, handle(7)), Err(BeginError::NotFound));
    assert!(!engine.has_donation(vm, handle(7)));
    engine.destroy(vm).expect("alive");
    assert_eq!(gone(&mut engine), (vm, donation));
}

/// An SP was preempted over the reclaim, and then the handle went to another transaction. Whoever has its place next is not
/// taken for what the SP works for.
#[test]
fn nobody_is_run_for_one_that_is_gone() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, OTHER, &[]));
    let target = RunTarget { endpoint: A, vcpu: 1 };
    let call = engine.begin_call(other, 0, A).expect("room").id;
    assert_eq!(engine.call_answered(other, call, &Answer::Interrupt(target)), Ok(true));
    let donation = donate(&mut engine, vm, 7);
    engine.destroy(vm).expect("alive");
    let preempted = answer(&mut engine, NOW, reclaim(7), interrupt(A));
    assert!(matches!(preempted, Decision::TryAgain { .. }), "{preempted:?}");
    share(&mut engine, other, 7);
    assert_eq!(gone(&mut engine), (vm, donation));
    engine.released(vm, donation).expect("on its way");
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    assert_eq!(share(&mut engine, other, 8).position(), donation.position());
    engine.works_elsewhere(target);
    assert_eq!(engine.begin_run(other, 0, target), Err(BeginError::NotFound));
}

/// Answers to a send after which no handle of a donation is certain, and whether the send may still come about.
fn doubtful() -> [(Vec<Answer>, bool); 5] {
    [
        (vec![error(Status::Aborted)], false),
        (vec![success(u64::MAX)], false),
        (vec![Answer::Unexpected { w0: 0 }], true),
        (vec![Answer::MsgWait], true),
        (vec![interrupt(A), error(Status::Aborted)], true),
    ]
}

/// An engine that can ask, with a donation of handle 7 and a send of another VM that was answered so.
fn in_doubt(answers: &[Answer]) -> (Boxed, VmKey, ShareId) {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    engine.can_ask_what_handles_name();
    let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, OTHER, &[]));
    let donation = donate(&mut engine, vm, 7);
    assert!(!engine.must_ask_first());
    let lost = engine.begin_send(other).expect("room").id;
    let outcomes = answers.iter().map(|answer| engine.send_answered(other, lost, answer, NOW));
    assert_eq!(outcomes.last(), Some(Ok(SendOutcome::Unknown { handle: None })));
    assert!(engine.must_ask_first());
    (engine, vm, donation)
}

#[test]
fn what_is_in_doubt_is_asked_for_by_a_guest_if_no_send_can_still_come_about() {
    for (answers, open) in doubtful() {
        let (mut engine, vm, donation) = in_doubt(&answers);
        assert_eq!(engine.has_donation(vm, handle(7)), !open, "{answers:?}");
        let begun = engine.begin_donation_reclaim(vm, handle(7));
        if open {
            assert_eq!(begun, Err(BeginError::NotFound), "{answers:?}");
            continue;
        }
        assert_eq!(begun, Ok((donation, None)), "{answers:?}");
        // It names something else: no call is made.
        assert_eq!(engine.abandon_reclaim(vm, donation), Ok(()));
        assert_eq!(engine.begin_donation_reclaim(vm, handle(7)), Ok((donation, None)));
        assert_eq!(engine.reclaim_answered(vm, donation, &success(0)), Ok(ReclaimOutcome::Confirmed));
    }
}

#[test]
fn what_is_in_doubt_of_a_dead_guest_comes_back_or_is_gone() {
    for (answers, open) in doubtful() {
        for named in [true, false] {
            let (mut engine, vm, donation) = in_doubt(&answers);
            engine.destroy(vm).expect("alive");
            if open {
                assert_eq!(gone(&mut engine), (vm, donation), "{answers:?}");
                assert_eq!(engine.donation_lost(vm), Err(Unexpected::NotInFlight { vm: VM }));
                continue;
            }
            assert_eq!(engine.donation_lost(vm), Err(Unexpected::NotInFlight { vm: VM }));
            let (asked, call) = next_call(&mut engine, NOW);
            assert_eq!((asked, call), (vm, reclaim(7)));
            assert!(engine.asks_for_donation(vm) && engine.may_ask_for_donation(vm));
            assert_eq!(engine.donation_asked_for(vm), Some((donation, handle(7))));
            if named {
                let judged = engine.answered(vm, call, &success(0), NOW).expect("in flight");
                assert_eq!(judged.decision, Decision::Confirmed { share: donation });
            } else {
                assert_eq!(engine.donation_lost(vm), Ok(donation));
                assert_eq!(engine.donation_lost(vm), Err(Unexpected::NotInFlight { vm: VM }));
            }
            engine.released(vm, donation).expect("on its way");
            assert_eq!(finished(&mut engine, NOW), (End::Gone, true), "{answers:?}");
        }
    }
}

#[test]
fn a_reclaim_in_which_an_sp_was_preempted_before_the_doubt_is_not_resumed() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    engine.can_ask_what_handles_name();
    let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, OTHER, &[]));
    let donation = donate(&mut engine, vm, 7);
    engine.begin_donation_reclaim(vm, handle(7)).expect("its own");
    let mut outcomes =
        core::iter::repeat_with(|| engine.reclaim_answered(vm, donation, &interrupt(A))).take(256);
    let last = outcomes.find(|outcome| !matches!(outcome, Ok(ReclaimOutcome::Resume(_))));
    assert_eq!(last, Some(Ok(ReclaimOutcome::Refused(Status::Retry.into()))));
    assert!(engine.has_donation(vm, handle(7)));
    let lost = engine.begin_send(other).expect("room").id;
    let outcome = engine.send_answered(other, lost, &error(Status::Aborted), NOW);
    assert_eq!(outcome, Ok(SendOutcome::Unknown { handle: None }));
    assert_eq!(engine.begin_donation_reclaim(vm, handle(7)), Err(BeginError::NotFound));
    engine.destroy(vm).expect("alive");
    assert_eq!(gone(&mut engine), (vm, donation));
}

/// What the secure world says of pages that were handed over could be compared with nothing.
#[test]
fn what_was_handed_over_is_not_asked_about() {
    let mut engine = engine(2, 4, Policy { disposal: Disposal::HandOver, tries: 1, ..Policy::DEFAULT });
    engine.can_ask_what_handles_name();
    let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, OTHER, &[]));
    let donation = donate(&mut engine, vm, 7);
    engine.destroy(vm).expect("alive");
    let refused = answer(&mut engine, NOW, reclaim(7), error(Status::Aborted));
    assert_eq!(refused, Decision::HandOver { share: donation });
    engine.handed_over(vm, donation).expect("to be handed over");
    assert_eq!(finished(&mut engine, NOW), (End::Retired, true));
    let lost = engine.begin_send(other).expect("room").id;
    let outcome = engine.send_answered(other, lost, &error(Status::Aborted), NOW);
    assert_eq!(outcome, Ok(SendOutcome::Unknown { handle: None }));
    assert_eq!(engine.retry(vm), Ok(1));
    assert_eq!(gone(&mut engine), (vm, donation));
}
