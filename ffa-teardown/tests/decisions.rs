//! Each decision about teardown as a test of its own.

mod common;

use common::*;
use ffa_abi::{
    Answer, DirectResponse, FirmwareStatus, MemFragRx, Message, NotificationBitmap, PartitionId, RunTarget,
    Status, Success, VmAvailability, Width,
};
use ffa_teardown::{
    Action, AnswerClass, BeginError, BindingOutcome, CreateError, Decision, Disposal, End, IdReuse, Phase,
    Policy, Progress, ReclaimOutcome, SecureCall, SendOutcome, Span, Standing, Subject, Unexpected, VmKey,
};

const C: PartitionId = PartitionId(0x8003);

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

#[test]
fn a_creation_that_fails_at_any_point_tells_those_of_the_end_who_may_know() {
    let sps = [A, B, C];
    let created = |sp| told(sp, VmAvailability::Created);
    for bad in sps {
        let refused = refuse(created(bad), Status::NoMemory);
        let busy = error(Status::Busy);
        let unclear = Answer::Unexpected { w0: 0 };
        for (last, knows) in [(refused, false), (busy, false), (unclear, true), (interrupt(bad), true)] {
            let preempted = last == interrupt(bad);
            let mut engine = engine(1, 3, Policy { runs_first: 0, ..Policy::DEFAULT });
            let vm = engine.create(VM, sps.map(both).into_iter()).expect("room").vm;
            let (mut now, mut tries, mut accepted) = (NOW, 0, Vec::new());
            let failed = loop {
                match next(&mut engine, now) {
                    Action::Call { vm, call: SecureCall::Tell { sp, vm: id, event } } if sp != bad => {
                        let call = SecureCall::Tell { sp, vm: id, event };
                        let judged = engine.answered(vm, call, &accept(call), now).expect("in flight");
                        assert_eq!(judged.decision, Decision::Told);
                        accepted.push(sp);
                    }
                    Action::Call { vm, call } => {
                        tries += 1;
                        let judged = engine.answered(vm, call, &last, now).expect("in flight");
                        if judged.decision == Decision::CreationFailed {
                            break judged.answer;
                        }
                    }
                    Action::Idle { until } => now = until.expect("the creation goes on"),
                    action => panic!("{action:?} during creation"),
                }
            };
            // BUSY and preemption are borne for so many tries.
            assert_eq!(tries, if preempted || last == busy { Policy::DEFAULT.tries } else { 1 });
            assert_eq!(engine.failure(vm), Some(failed));
            assert_eq!(failed.class, class_of(last));
            let mut ended = Vec::new();
            loop {
                match next(&mut engine, now) {
                    Action::Call { vm, call } => {
                        // What it still has in hand it finishes first, and then it knows.
                        let resumed = matches!(call, SecureCall::Run { target } if target.endpoint == bad);
                        assert!(!resumed || preempted);
                        let with = if resumed { accept(created(bad)) } else { accept(call) };
                        let decision = engine.answered(vm, call, &with, now).expect("in flight").decision;
                        assert_eq!(decision, if resumed { Decision::Told } else { Decision::Met });
                        if let SecureCall::Tell { sp, event: VmAvailability::Destroyed, .. } = call {
                            ended.push(sp);
                        }
                    }
                    action => {
                        let gone = Action::Finished { vm, end: End::Gone, give_back: true };
                        assert_eq!(action, gone);
                        break;
                    }
                }
            }
            accepted.extend(knows.then_some(bad));
            accepted.sort();
            ended.sort();
            assert_eq!(ended, accepted, "{bad} answered {last:?}");
            assert_eq!(idle(&mut engine, now), None);
        }
    }
}

fn class_of(answer: Answer) -> AnswerClass {
    match answer {
        Answer::Interrupt(_) => AnswerClass::Preempted,
        Answer::Error(_) => AnswerClass::Busy,
        Answer::DirectResponse(_) => AnswerClass::NoMemory,
        _ => AnswerClass::Malformed,
    }
}

#[test]
fn a_preempted_vm_destroyed_is_resumed_and_no_second_one_is_sent() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[both(A)]);
    engine.destroy(vm).expect("alive");
    let run = SecureCall::Run { target: RunTarget { endpoint: A, vcpu: 0 } };
    let mut now = NOW;
    let mut call = destroyed(A);
    // FFA_RUN may fail for now, or find the SP preempted again: the message stays in its hands.
    for with in [interrupt(A), error(Status::Busy), interrupt(A), error(Status::Denied), error(Status::Retry)]
    {
        match answer(&mut engine, now, call, with) {
            Decision::TryAgain { until } => now = until,
            decision => panic!("{decision:?} to {with:?}"),
        }
        call = run;
    }
    assert_eq!(answer(&mut engine, now, run, accept(destroyed(A))), Decision::Met);
    assert_eq!(finished(&mut engine, now), (End::Gone, true));
}

#[test]
fn an_sp_can_only_be_resumed_as_itself() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[both(A)]);
    engine.destroy(vm).expect("alive");
    assert_eq!(answer(&mut engine, NOW, destroyed(A), interrupt(B)), Decision::GivenUp { share: None });
    assert_eq!(finished(&mut engine, NOW), (End::Retired, true));
}

#[test]
fn quarantine_is_told_once_the_timer_falls_silent_and_a_retry_gets_the_pages_back() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[]);
    let lost = share(&mut engine, vm, 7);
    share(&mut engine, vm, 8);
    engine.destroy(vm).expect("alive");
    let decision = answer(&mut engine, NOW, reclaim(7), error(Status::Aborted));
    assert_eq!(decision, Decision::GivenUp { share: Some(lost) });
    comes_back(&mut engine, NOW, 8);
    assert_eq!(finished(&mut engine, NOW), (End::Zombie, false));
    for second in 0..100 {
        assert_eq!(idle(&mut engine, millis(1000 * second)), None);
    }
    assert_eq!(engine.quarantined().count(), 1);
    assert_eq!(engine.retry_quarantined(), 1);
    assert_eq!(engine.retry_quarantined(), 0, "it is due already");
    assert_eq!(engine.next_deadline(), Some(NOW));
    comes_back(&mut engine, NOW, 7);
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    assert_eq!(engine.quarantined().count(), 0);
}

#[test]
fn quarantined_pages_keep_a_zombie_or_are_handed_over() {
    for (disposal, end, give_back) in
        [(Disposal::Zombie, End::Zombie, false), (Disposal::HandOver, End::Retired, true)]
    {
        let mut engine = engine(1, 4, Policy { disposal, ..Policy::DEFAULT });
        let vm = live(&mut engine, VM, &[]);
        share(&mut engine, vm, 7);
        engine.destroy(vm).expect("alive");
        let decision = answer(&mut engine, NOW, reclaim(7), error(Status::NotSupported));
        match (disposal, decision) {
            (Disposal::Zombie, Decision::GivenUp { share: Some(_) }) => {}
            (Disposal::HandOver, Decision::HandOver { share }) => {
                // The VM is there until the hypervisor has the pages on its list.
                assert_eq!(next(&mut engine, NOW), Action::Idle { until: None });
                engine.handed_over(vm, share).expect("to be handed over");
                assert_eq!(engine.handed_over(vm, share), Err(Unexpected::NotInFlight { vm: vm.id() }));
            }
            _ => panic!("{disposal:?}: {decision:?}"),
        }
        assert_eq!(finished(&mut engine, NOW), (end, give_back));
        // Either way it is listed, can be had back, and its reference is dropped once.
        assert_eq!(engine.retry(vm), Ok(1));
        comes_back(&mut engine, NOW, 7);
        assert_eq!(finished(&mut engine, NOW), (End::Gone, !give_back));
    }
}

#[test]
fn pages_are_handed_over_once_however_often_they_are_given_up() {
    let mut engine = engine(1, 4, Policy { disposal: Disposal::HandOver, ..Policy::DEFAULT });
    let vm = live(&mut engine, VM, &[]);
    share(&mut engine, vm, 7);
    engine.destroy(vm).expect("alive");
    let decision = answer(&mut engine, NOW, reclaim(7), error(Status::Aborted));
    let Decision::HandOver { share } = decision else { panic!("{decision:?}") };
    // A retry that is asked for meanwhile waits until the hypervisor has the pages.
    assert_eq!(engine.retry(vm), Ok(1));
    assert_eq!(next(&mut engine, NOW), Action::Idle { until: None });
    engine.handed_over(vm, share).expect("to be handed over");
    let decision = answer(&mut engine, NOW, reclaim(7), error(Status::Aborted));
    assert_eq!(decision, Decision::GivenUp { share: Some(share) });
    assert_eq!(engine.handed_over(vm, share), Err(Unexpected::NotInFlight { vm: vm.id() }));
    assert_eq!(finished(&mut engine, NOW), (End::Retired, true));
}

fn answer_and_expect(engine: &mut Boxed, call: SecureCall, with: Answer, fits: fn(Decision) -> bool) {
    let decision = answer(engine, NOW, call, with);
    assert!(fits(decision), "{call} answered {with:?}: {decision:?}");
}

#[test]
fn an_id_is_free_when_all_is_met_or_by_policy_when_all_is_over() {
    for (id_reuse, end) in [(IdReuse::WhenMet, End::Retired), (IdReuse::WhenOver, End::Gone)] {
        let mut engine = engine(2, 4, Policy { id_reuse, ..Policy::DEFAULT });
        let vm = live(&mut engine, VM, &[both(A)]);
        assert_eq!(engine.create(VM, core::iter::empty()), Err(CreateError::IdTaken { vm: VM }));
        engine.destroy(vm).expect("alive");
        assert_eq!(engine.create(VM, core::iter::empty()), Err(CreateError::IdTaken { vm: VM }));
        let decision = answer(&mut engine, NOW, destroyed(A), refuse(destroyed(A), Status::Denied));
        assert_eq!(decision, Decision::GivenUp { share: None });
        assert_eq!(finished(&mut engine, NOW), (end, true));
        assert_eq!(engine.create(VM, core::iter::empty()).is_ok(), end == End::Gone);
    }
    // Pages that an SP may write to keep the ID in any case.
    let mut engine = engine(2, 4, Policy { id_reuse: IdReuse::WhenOver, ..Policy::DEFAULT });
    let vm = live(&mut engine, VM, &[]);
    share(&mut engine, vm, 7);
    engine.destroy(vm).expect("alive");
    answer_and_expect(&mut engine, reclaim(7), error(Status::Aborted), |decision| {
        matches!(decision, Decision::GivenUp { .. })
    });
    assert_eq!(finished(&mut engine, NOW), (End::Zombie, false));
    assert_eq!(engine.create(VM, core::iter::empty()), Err(CreateError::IdTaken { vm: VM }));
}

#[test]
fn a_handle_that_is_in_use_is_no_handle_for_another_share() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    let first = live(&mut engine, VM, &[]);
    let second = live(&mut engine, PartitionId(2), &[]);
    share(&mut engine, first, 7);
    for vm in [first, second] {
        let twin = engine.begin_send(vm).expect("room").id;
        let outcome = engine.send_answered(vm, twin, &success(7), NOW);
        assert_eq!(outcome, Ok(SendOutcome::Unknown { handle: None }));
    }
    assert_eq!(engine.begin_reclaim(second, handle(7)), Err(BeginError::NotFound));
    assert_eq!(engine.quarantined().count(), 2, "pages of which nobody knows who has them");
}

#[test]
fn a_handle_may_come_back_before_the_reclaim_that_freed_it_is_reported() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    let (dying, living) = (live(&mut engine, VM, &[]), live(&mut engine, PartitionId(2), &[]));
    share(&mut engine, dying, 7);
    engine.destroy(dying).expect("alive");
    let (vm, call) = next_call(&mut engine, NOW);
    // Another CPU is handed the same handle; only then does the answer to the reclaim arrive.
    share(&mut engine, living, 7);
    let mut lost = engine.clone();
    let decision = engine.answered(vm, call, &success(0), NOW).expect("in flight").decision;
    let Decision::Confirmed { share } = decision else { panic!("{decision:?}") };
    engine.released(vm, share).expect("on its way back");
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    assert!(engine.begin_reclaim(living, handle(7)).is_ok());
    // If that answer is not the success it should be, asking again would take the other VM's share away.
    let decision = lost.answered(vm, call, &error(Status::Busy), NOW).expect("in flight").decision;
    assert!(matches!(decision, Decision::GivenUp { share: Some(_) }), "{decision:?}");
    assert_eq!(finished(&mut lost, NOW), (End::Zombie, false));
    assert_eq!(lost.retry(vm), Ok(0));
}

#[test]
fn answers_to_a_send_that_are_not_plain_success_leave_the_pages_held() {
    let wide = |value| {
        let Answer::Success(plain) = success(value) else { unreachable!() };
        Answer::Success(Success { width: Width::Smc64, ..plain })
    };
    let more = Answer::MemFragRx(MemFragRx { handle: handle(9), offset: 0, endpoint: PartitionId(0) });
    let known = |raw| SendOutcome::Unknown { handle: Some(handle(raw)) };
    let unknown = SendOutcome::Unknown { handle: None };
    for (with, expected) in [
        (success(0), SendOutcome::Sent(handle(0))), // Hafnium counts from zero
        (success(u64::MAX), unknown),
        (wide(9), known(9)),
        (more, known(9)),
        (error(Status::Aborted), unknown),
        (Answer::Error(FirmwareStatus::from_code(0)), unknown),
        (Answer::MsgWait, unknown),
        (Answer::Unexpected { w0: 0x8400_0061 }, unknown),
    ] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let id = engine.begin_send(vm).expect("room").id;
        assert_eq!(engine.send_answered(vm, id, &with, NOW), Ok(expected), "{with:?}");
        assert_eq!(engine.shares(vm).count(), 1);
        if let SendOutcome::Unknown { handle: Some(handle) } = expected {
            // The guest never learnt the name, but teardown asks by it.
            assert_eq!(engine.begin_reclaim(vm, handle), Err(BeginError::NotFound));
            engine.destroy(vm).expect("alive");
            comes_back(&mut engine, NOW, handle.get());
            assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
        }
    }
}

#[test]
fn a_refused_send_gives_the_pages_back_unless_ffa_run_came_between() {
    for status in [Status::Denied, Status::Busy, Status::NoMemory, Status::InvalidParameters] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let id = engine.begin_send(vm).expect("room").id;
        assert_eq!(
            engine.send_answered(vm, id, &error(status), NOW),
            Ok(SendOutcome::Refused(status.into()))
        );
        engine.released(vm, id).expect("on its way back");
        let id = engine.begin_send(vm).expect("room").id;
        let target = RunTarget { endpoint: A, vcpu: 0 };
        assert_eq!(engine.send_answered(vm, id, &interrupt(A), NOW), Ok(SendOutcome::Resume(target)));
        let outcome = engine.send_answered(vm, id, &error(status), NOW);
        assert_eq!(outcome, Ok(SendOutcome::Unknown { handle: None }), "whose error was it?");
    }
}

#[test]
fn teardown_waits_for_the_guest_whose_reclaim_is_in_flight() {
    for with in [success(0), error(Status::Denied), error(Status::InvalidParameters)] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[both(A)]);
        let id = share(&mut engine, vm, 7);
        assert_eq!(engine.begin_reclaim(vm, handle(7)), Ok((id, None)));
        assert_eq!(engine.begin_reclaim(vm, handle(7)), Err(BeginError::NotFound), "another vCPU asks");
        engine.destroy(vm).expect("alive");
        assert_eq!(idle(&mut engine, NOW), None, "not even VM_DESTROYED goes out");
        let outcome = engine.reclaim_answered(vm, id, &with).expect("in flight");
        let back = outcome == ReclaimOutcome::Confirmed;
        assert_eq!(back, with == success(0));
        if back {
            engine.released(vm, id).expect("on its way back");
        }
        assert_eq!(answer(&mut engine, NOW, destroyed(A), accept(destroyed(A))), Decision::Met);
        if !back {
            comes_back(&mut engine, NOW, 7);
        }
        assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    }
}

#[test]
fn a_guest_that_settles_behind_a_long_walk_is_noticed() {
    // More than one step of the walk looks at.
    const SHARES: u64 = 40;
    let mut engine = engine(1, 64, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[]);
    let first = share(&mut engine, vm, 0);
    for raw in 1..SHARES {
        share(&mut engine, vm, raw);
    }
    assert_eq!(engine.begin_reclaim(vm, handle(0)), Ok((first, None)));
    engine.destroy(vm).expect("alive");
    assert_eq!(engine.next(NOW), Action::Continue);
    let outcome = engine.reclaim_answered(vm, first, &error(Status::Denied));
    assert_eq!(outcome, Ok(ReclaimOutcome::Refused(Status::Denied.into())));
    for raw in 0..SHARES {
        comes_back(&mut engine, NOW, raw);
    }
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
}

#[test]
fn a_share_that_loses_its_handle_while_it_is_reclaimed_can_be_given_up() {
    let other = PartitionId(2);
    for success in [false, true] {
        let mut engine = engine(2, 4, Policy::DEFAULT);
        let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, other, &[]));
        let [lost, kept] = [7, 8].map(|raw| share(&mut engine, vm, raw));
        engine.begin_reclaim(vm, handle(7)).expect("its own");
        share(&mut engine, other, 7);
        assert!(!engine.give_up_nameless(vm, lost, NOW), "it is being reclaimed");
        let answer = if success { common::success(0) } else { error(Status::Aborted) };
        let outcome = engine.reclaim_answered(vm, lost, &answer);
        assert_eq!(outcome == Ok(ReclaimOutcome::Confirmed), success);
        assert_eq!([lost, kept].map(|share| engine.give_up_nameless(vm, share, NOW)), [!success, false]);
        assert_eq!(engine.quarantined().count(), usize::from(!success));
    }
}

#[test]
fn a_direct_request_in_flight_is_waited_for_and_a_preempted_one_is_finished_first() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[both(A)]);
    let call = engine.begin_call(vm, 3, A).expect("room").id;
    engine.destroy(vm).expect("alive");
    assert_eq!(idle(&mut engine, NOW), None);
    assert_eq!(engine.call_answered(vm, call, &interrupt(A)), Ok(true));
    let target = RunTarget { endpoint: A, vcpu: 0 };
    let late = engine.begin_run(vm, 3, target);
    let dead = Unexpected::Phase { vm: VM, phase: Phase::Dying };
    assert_eq!(late, Err(BeginError::NotLive(dead)));
    let response =
        DirectResponse { width: Width::Smc32, sender: A, receiver: VM, message: Message::Partition([0; 5]) };
    let decision = answer(&mut engine, NOW, SecureCall::Run { target }, Answer::DirectResponse(response));
    assert_eq!(decision, Decision::Met);
    assert_eq!(answer(&mut engine, NOW, destroyed(A), accept(destroyed(A))), Decision::Met);
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
}

#[test]
fn direct_requests_are_counted_until_they_are_over() {
    let mut engine = engine(2, 8, Policy::DEFAULT);
    let vms = [VM, PartitionId(2)].map(|vm| live(&mut engine, vm, &[]));
    let counts = |engine: &Boxed| vms.map(|vm| (0..5).rfind(|&count| engine.has_calls(vm, count)));
    assert_eq!(counts(&engine), [Some(0); 2]);
    let calls = [A, B].map(|sp| engine.begin_call(vms[0], 0, sp).expect("room").id);
    engine.begin_send(vms[0]).expect("room for a share");
    engine.begin_call(vms[1], 0, A).expect("room");
    assert_eq!(counts(&engine), [Some(2), Some(1)]);
    assert_eq!(engine.call_answered(vms[0], calls[0], &interrupt(A)), Ok(true));
    assert_eq!(counts(&engine), [Some(2), Some(1)]);
    assert_eq!(engine.call_over(vms[0], calls[1]), Ok(()));
    assert_eq!(counts(&engine), [Some(1), Some(1)]);
}

#[test]
fn an_answer_to_either_form_of_direct_request_ends_it_if_it_is_the_right_ones() {
    let first = |sender, receiver| {
        let message = Message::Partition([0; 5]);
        Answer::DirectResponse(DirectResponse { width: Width::Smc64, sender, receiver, message })
    };
    let second = |sender, receiver| Answer::DirectResponse2 { sender, receiver };
    for (with, is_right) in [
        (first(A, VM), true),
        (second(A, VM), true),
        (first(B, VM), false),
        (second(B, VM), false),
        (second(VM, A), false),
        (second(A, PartitionId(2)), false),
    ] {
        let mut engine = engine(1, 4, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let call = engine.begin_call(vm, 3, A).expect("room").id;
        engine.destroy(vm).expect("alive");
        assert_eq!(engine.call_answered(vm, call, &interrupt(A)), Ok(true));
        let run = SecureCall::Run { target: RunTarget { endpoint: A, vcpu: 0 } };
        let decision = answer(&mut engine, NOW, run, with);
        assert_eq!(decision == Decision::Met, is_right, "{with:?}: {decision:?}");
        assert_eq!(finished(&mut engine, NOW).0 == End::Gone, is_right, "{with:?}");
    }
    // No SP takes note of a VM's end in the second form.
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[both(A)]);
    engine.destroy(vm).expect("alive");
    let wrong = second(A, PartitionId::HYPERVISOR);
    assert_eq!(answer(&mut engine, NOW, destroyed(A), wrong), Decision::GivenUp { share: None });
}

#[test]
fn only_the_vcpu_whose_request_an_sp_works_for_may_run_it() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    let (vm, other) = (live(&mut engine, VM, &[]), live(&mut engine, PartitionId(2), &[]));
    let target = RunTarget { endpoint: A, vcpu: 0 };
    let call = engine.begin_call(vm, 3, A).expect("room").id;
    assert_eq!(engine.begin_run(vm, 3, target), Err(BeginError::NotFound), "it is not preempted");
    assert_eq!(engine.call_answered(vm, call, &interrupt(A)), Ok(true));
    for (vm, vcpu, target) in [
        (vm, 2, target),
        (other, 3, target),
        (vm, 3, RunTarget { endpoint: B, vcpu: 0 }),
        (vm, 3, RunTarget { endpoint: A, vcpu: 1 }),
    ] {
        assert_eq!(engine.begin_run(vm, vcpu, target), Err(BeginError::NotFound));
    }
    assert_eq!(engine.begin_run(vm, 3, target), Ok(call));
    assert_eq!(engine.begin_run(vm, 3, target), Err(BeginError::NotFound), "it runs already");
}

#[test]
fn one_stuck_vm_among_sixty_four_delays_nobody() {
    const BUDGET: usize = 8;
    const SHARES: u64 = 4;
    let mut engine = engine(64, 64 * 5, Policy::DEFAULT);
    for id in 1..=64 {
        let vm = live(&mut engine, PartitionId(id), &[only_destroyed(A)]);
        for raw in 0..SHARES {
            share(&mut engine, vm, u64::from(id) * SHARES + raw);
        }
        engine.destroy(vm).expect("alive");
    }
    let (mut ticks, mut gone) = (0, 0);
    while gone < 63 {
        ticks += 1;
        assert!(ticks < 1000, "{gone} gone");
        let mut calls = 0;
        for _ in 0..BUDGET {
            match engine.next(NOW) {
                Action::Call { vm, call } => {
                    calls += 1;
                    let stuck = vm.id() == PartitionId(64);
                    let with = if stuck { refuse(call, Status::Retry) } else { accept(call) };
                    let decision = engine.answered(vm, call, &with, NOW).expect("in flight").decision;
                    if let Decision::Confirmed { share } = decision {
                        engine.released(vm, share).expect("on its way back");
                    }
                }
                Action::Finished { end, .. } => {
                    assert_eq!(end, End::Gone);
                    gone += 1;
                }
                Action::Continue => {}
                action => panic!("{action:?}"),
            }
        }
        assert!(calls <= BUDGET);
    }
    // Five calls each and an end, and for each VM two steps of walking.
    assert!(ticks * BUDGET <= 64 * (5 + 1 + 3), "{ticks} ticks");
    assert_eq!(idle(&mut engine, NOW), Some(millis(10)));
}

#[test]
fn an_event_that_does_not_fit_is_an_error_and_changes_nothing() {
    let mut engine = engine(3, 12, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[both(A)]);
    let other = live(&mut engine, PartitionId(2), &[]);
    let sending = engine.begin_send(vm).expect("room").id;
    let held = share(&mut engine, vm, 7);
    let call = engine.begin_call(vm, 0, A).expect("room").id;
    let kept = engine.begin_standing(vm, Standing::Bitmap).expect("room").id;
    let gone = live(&mut engine, PartitionId(3), &[]);
    engine.destroy(gone).expect("alive");
    assert_eq!(finished(&mut engine, NOW), (End::Gone, false));

    let before = engine.clone();
    let stale = |vm: VmKey| Unexpected::NotInFlight { vm: vm.id() };
    let unknown = Unexpected::UnknownVm { vm: gone.id() };
    assert_eq!(engine.answered(vm, destroyed(A), &accept(destroyed(A)), NOW), Err(stale(vm)));
    assert_eq!(engine.answered(gone, reclaim(7), &success(0), NOW), Err(unknown));
    assert_eq!(engine.send_answered(vm, held, &success(9), NOW), Err(stale(vm)), "sent already");
    assert_eq!(engine.send_answered(other, sending, &success(9), NOW), Err(stale(other)), "another's");
    assert_eq!(engine.abandon_send(vm, held), Err(stale(vm)));
    assert_eq!(engine.abandon_send(other, sending), Err(stale(other)));
    assert_eq!(engine.reclaim_answered(vm, sending, &success(0)), Err(stale(vm)));
    assert_eq!(engine.reclaim_answered(vm, held, &success(0)), Err(stale(vm)), "nobody asked");
    assert_eq!(engine.released(vm, held), Err(stale(vm)));
    assert_eq!(engine.released(other, sending), Err(stale(other)));
    assert_eq!(engine.call_answered(other, call, &success(0)), Err(stale(other)));
    assert_eq!(engine.standing_incurred(other, kept), Err(stale(other)));
    assert_eq!(engine.standing_over(other, kept), Err(stale(other)));
    assert_eq!(engine.end_standing(vm, kept), Err(BeginError::NotFound), "not in force yet");
    assert_eq!(engine.end_standing(other, kept), Err(BeginError::NotFound));
    assert_eq!(engine.destroy(gone), Err(unknown));
    assert_eq!(engine.retry(vm), Err(Unexpected::Phase { vm: VM, phase: Phase::Live }));
    assert_eq!(engine, before);

    // One answer counts once.
    assert_eq!(engine.call_answered(vm, call, &interrupt(A)), Ok(true));
    assert_eq!(engine.standing_incurred(vm, kept), Ok(()));
    let before = engine.clone();
    assert_eq!(engine.call_answered(vm, call, &interrupt(A)), Err(stale(vm)));
    assert_eq!(engine.standing_incurred(vm, kept), Err(stale(vm)));
    assert_eq!(engine, before);
}

#[test]
fn a_creation_for_which_there_is_no_room_takes_none() {
    let sps = [both(A), only_destroyed(B), both(C)];
    for room in 0..sps.len() {
        let mut engine = engine(2, room, Policy::DEFAULT);
        assert_eq!(engine.create(VM, sps.into_iter()), Err(CreateError::NoRoom { vm: VM }));
        assert_eq!(engine.find(VM), None);
        assert_eq!(idle(&mut engine, NOW), None);
        // All of it is there: for another VM, and under the same ID.
        let vm = live(&mut engine, VM, &sps[..room]);
        assert_eq!(engine.begin_send(vm).map(|begun| begun.take_reference), Err(BeginError::NoRoom));
    }
    let mut engine = engine(1, 8, Policy::DEFAULT);
    live(&mut engine, VM, &[]);
    let second = PartitionId(2);
    assert_eq!(engine.create(second, sps.into_iter()), Err(CreateError::NoRoom { vm: second }));
}

#[test]
fn what_has_no_room_changes_nothing() {
    let mut engine = engine(1, 1, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[both(A)]);
    let before = engine.clone();
    assert_eq!(engine.begin_send(vm), Err(BeginError::NoRoom));
    assert_eq!(engine.begin_call(vm, 0, A), Err(BeginError::NoRoom));
    assert_eq!(engine.begin_standing(vm, Standing::RxOwned), Err(BeginError::NoRoom));
    assert_eq!(engine, before);
}

#[test]
fn without_any_storage_nothing_is_possible_and_nothing_breaks() {
    let mut engine = engine(0, 0, Policy::DEFAULT);
    assert_eq!(engine.create(VM, core::iter::empty()), Err(CreateError::NoRoom { vm: VM }));
    assert_eq!(idle(&mut engine, NOW), None);
    assert_eq!(engine.retry_quarantined(), 0);
}

#[test]
fn when_the_clock_is_set_back_deadlines_go_with_it() {
    let mut engine = engine(1, 4, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[]);
    share(&mut engine, vm, 7);
    engine.destroy(vm).expect("alive");
    denied(&mut engine, millis(5000), 7);
    assert_eq!(idle(&mut engine, millis(5000)), Some(millis(6000)));
    engine.clock_set_back(Span::from_secs(4));
    assert_eq!(idle(&mut engine, millis(1000)), Some(millis(2000)));
    engine.clock_set_back(Span::from_secs(100));
    comes_back(&mut engine, NOW, 7);
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
}

#[test]
fn a_vm_in_the_slot_of_an_earlier_one_disturbs_nobody_who_waits() {
    let mut engine = engine(2, 4, Policy::DEFAULT);
    let first = live(&mut engine, VM, &[]);
    let second = live(&mut engine, PartitionId(2), &[]);
    share(&mut engine, second, 7);
    engine.destroy(second).expect("alive");
    denied(&mut engine, NOW, 7);
    assert_eq!(idle(&mut engine, NOW), Some(millis(1000)));
    engine.destroy(first).expect("alive");
    assert_eq!(finished(&mut engine, NOW), (End::Gone, false));
    live(&mut engine, PartitionId(3), &[]);
    assert_eq!(idle(&mut engine, NOW), Some(millis(1000)));
}

#[test]
fn what_the_spmc_keeps_goes_in_its_order_and_before_vm_destroyed() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[both(A)]);
    share(&mut engine, vm, 7);
    let [_, buffers, _] = [Standing::Bitmap, Standing::RxTxMapped, Standing::RxOwned].map(|standing| {
        let id = engine.begin_standing(vm, standing).expect("room").id;
        engine.standing_incurred(vm, id).expect("about to begin");
        id
    });
    let binding = engine.begin_bind(vm, A, NotificationBitmap(1)).expect("room").id;
    assert_eq!(engine.bind_answered(vm, binding, &success(0)), Ok(BindingOutcome::Done));
    engine.destroy(vm).expect("alive");
    let order = [
        (SecureCall::RxRelease { vm: VM }, Decision::Met),
        (SecureCall::RxTxUnmap { vm: VM }, Decision::Returned { pages: buffers.pages() }),
        (SecureCall::NotificationGet { vm: VM }, Decision::Drained),
        (SecureCall::NotificationUnbind { sp: A, vm: VM, bits: NotificationBitmap(1) }, Decision::Met),
        (SecureCall::NotificationGet { vm: VM }, Decision::Drained),
        (SecureCall::BitmapDestroy { vm: VM }, Decision::Met),
        (destroyed(A), Decision::Met),
    ];
    for (call, decision) in order {
        assert_eq!(answer(&mut engine, NOW, call, accept(call)), decision);
        if let Decision::Returned { pages } = decision {
            assert_eq!(idle(&mut engine, NOW), None, "their pages go back first");
            assert_eq!(engine.released(vm, pages), Ok(()));
        }
    }
    comes_back(&mut engine, NOW, 7);
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
}

/// Their pages are the VM's: whoever cannot have them unmapped keeps the VM, or gets them on its list.
#[test]
fn buffers_that_are_not_unmapped_are_quarantined_like_a_share() {
    for disposal in [Disposal::Zombie, Disposal::HandOver] {
        let mut engine = engine(1, 8, Policy { disposal, ..Policy::DEFAULT });
        let vm = live(&mut engine, VM, &[]);
        let buffers = engine.begin_standing(vm, Standing::RxTxMapped).expect("room").id;
        engine.standing_incurred(vm, buffers).expect("about to begin");
        engine.destroy(vm).expect("alive");
        let (call, pages) = (SecureCall::RxTxUnmap { vm: VM }, buffers.pages());
        let decision = answer(&mut engine, NOW, call, error(Status::Aborted));
        let end = match disposal {
            Disposal::Zombie => {
                assert_eq!(decision, Decision::GivenUp { share: Some(pages) });
                End::Zombie
            }
            Disposal::HandOver => {
                assert_eq!(decision, Decision::HandOver { share: pages });
                engine.handed_over(vm, pages).expect("to be handed over");
                End::Retired
            }
        };
        assert_eq!(finished(&mut engine, NOW).0, end);
        let listed: Vec<_> = engine.quarantined().map(|kept| (kept.vm, kept.subject.pages())).collect();
        assert_eq!(listed, [(vm, Some(pages))]);
        assert_eq!(engine.retry(vm), Ok(1));
        assert_eq!(engine.quarantined().count(), 0);
        assert_eq!(answer(&mut engine, NOW, call, accept(call)), Decision::Returned { pages });
        engine.released(vm, pages).expect("on their way back");
        assert_eq!(finished(&mut engine, NOW).0, End::Gone);
    }
}

#[test]
fn a_loan_keeps_the_reference_and_the_id_and_nothing_else() {
    let mut engine = engine(2, 8, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[only_destroyed(A)]);
    let other = live(&mut engine, PartitionId(2), &[]);
    let loan = engine.begin_loan(vm).expect("room");
    assert!(!loan.take_reference, "it is there for the SP's sake");
    let borrowed = engine.begin_loan(other).expect("room");
    assert!(borrowed.take_reference);
    engine.destroy(vm).expect("alive");
    assert_eq!(answer(&mut engine, NOW, destroyed(A), accept(destroyed(A))), Decision::Met);
    assert_eq!(idle(&mut engine, NOW), None);
    assert_eq!(engine.phase(vm), Ok(Phase::Dying));
    let lent: Vec<_> = engine.obligations(vm).map(|shown| (shown.subject, shown.progress)).collect();
    assert_eq!(lent, [(Subject::Loan(loan.id), Progress::Lent)]);
    assert_eq!(engine.retry(vm), Ok(0), "there is nothing to try");
    // Another VM's is not its own.
    let stale = Err(Unexpected::NotInFlight { vm: VM });
    assert_eq!(engine.end_loan(vm, borrowed.id), stale);
    assert_eq!(engine.end_loan(vm, loan.id), Ok(()));
    assert_eq!(engine.end_loan(vm, loan.id), stale);
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    assert_eq!(engine.phase(other), Ok(Phase::Live));
}
