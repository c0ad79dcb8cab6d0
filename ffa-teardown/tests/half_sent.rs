//! Memory transactions in several fragments: what each answer makes of them, and how they are cancelled.

mod common;

use common::*;
use ffa_abi::{Answer, FirmwareStatus, MemFragRx, PartitionId, RunTarget, Status, Success, Width};
use ffa_teardown::{
    Action, BeginError, CancelOutcome, Decision, Disposal, End, Fragment, Phase, Policy, Progress,
    SecureCall, SendOutcome, ShareId, Span, Subject, VmKey,
};

/// The first 96 bytes of 8192, as all tests send them.
const HEAD: Fragment = Fragment { sent: 96, total: 8192 + 96, room: 1, holds_pages: false };
const FIRST: Fragment = Fragment { sent: 96 + 4096, holds_pages: true, ..HEAD };
const LAST: Fragment = Fragment { sent: HEAD.total, holds_pages: true, ..HEAD };

fn more(raw: u64, offset: u32) -> Answer {
    Answer::MemFragRx(MemFragRx { handle: handle(raw), offset, endpoint: VM })
}

fn cancel(raw: u64, len: u32) -> SecureCall {
    SecureCall::MemCancel { handle: handle(raw), vm: VM, len }
}

/// A VM whose guest has sent the head of a descriptor.
fn half(engine: &mut Boxed, raw: u64) -> (VmKey, ShareId) {
    let vm = engine.find(VM).unwrap_or_else(|| live(engine, VM, &[]));
    let share = engine.begin_send(vm).expect("room").id;
    let outcome = engine.fragment_answered(vm, share, &more(raw, 96), HEAD, NOW);
    assert_eq!(outcome, Ok(SendOutcome::More(handle(raw))));
    engine.await_rest(vm, share).expect("half-sent");
    (vm, share)
}

/// The same, with the first fragment of pages on its way.
fn sending(engine: &mut Boxed, raw: u64) -> (VmKey, ShareId) {
    let (vm, share) = half(engine, raw);
    engine.begin_rest(vm, share).expect("nobody works on it");
    (vm, share)
}

#[test]
fn a_descriptor_in_fragments_becomes_a_share_with_its_last_byte() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let (vm, share) = half(&mut engine, 7);
    // Until then it cannot be reclaimed, and no other call may work on it.
    assert_eq!(engine.begin_reclaim(vm, handle(7)), Err(BeginError::NotFound));
    engine.begin_rest(vm, share).expect("nobody works on it");
    assert_eq!(engine.begin_rest(vm, share), Err(BeginError::NotFound));
    let listed: Vec<_> = engine.obligations(vm).map(|shown| (shown.subject, shown.progress)).collect();
    let subject = Subject::HalfSent { share, handle: Some(handle(7)), holds_pages: false };
    assert_eq!(listed, [(subject, Progress::InFlight)]);
    let outcome = engine.fragment_answered(vm, share, &more(7, FIRST.sent), FIRST, NOW);
    assert_eq!(outcome, Ok(SendOutcome::More(handle(7))));
    let outcome = engine.fragment_answered(vm, share, &success(7), LAST, NOW);
    assert_eq!(outcome, Ok(SendOutcome::Sent(handle(7))));
    engine.destroy(vm).expect("alive");
    comes_back(&mut engine, NOW, 7);
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
}

#[test]
fn it_is_no_direct_request() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let (vm, _) = half(&mut engine, 7);
    engine.begin_call(vm, 0, A).expect("room");
    half(&mut engine, 8);
    assert_eq!([0, 1, 2].map(|count| engine.has_calls(vm, count)), [true, true, false]);
}

#[test]
fn a_whole_descriptor_is_one_fragment() {
    let whole = Fragment { sent: HEAD.total, holds_pages: true, ..HEAD };
    let cases = [
        (success(7), SendOutcome::Sent(handle(7))),
        // It may have come about, by this name or by another: only that it is reclaimed gives anything back.
        (more(7, HEAD.total), SendOutcome::Unknown { handle: Some(handle(7)) }),
        (error(Status::Busy), SendOutcome::Refused(Status::Busy.into())),
        (error(Status::Aborted), SendOutcome::Unknown { handle: None }),
        (Answer::MsgWait, SendOutcome::Unknown { handle: None }),
    ];
    for (answer, expected) in cases {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let share = engine.begin_send(vm).expect("room").id;
        assert_eq!(engine.fragment_answered(vm, share, &answer, whole, NOW), Ok(expected), "{answer:?}");
    }
}

/// OP-TEE names nobody in FFA_MEM_FRAG_RX.
#[test]
fn an_answer_that_names_nobody_is_right_and_one_that_names_another_is_not() {
    for (endpoint, right) in [(VM, true), (PartitionId(0), true), (PartitionId(2), false)] {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let share = engine.begin_send(vm).expect("room").id;
        let answer = Answer::MemFragRx(MemFragRx { handle: handle(7), offset: 96, endpoint });
        let expected = if right { SendOutcome::More(handle(7)) } else { SendOutcome::Spoilt };
        assert_eq!(engine.fragment_answered(vm, share, &answer, HEAD, NOW), Ok(expected));
    }
}

/// Every answer to a head: without pages and without a name nothing is owed.
#[test]
fn each_answer_to_a_head() {
    let sixty_four = Answer::Success(Success { width: Width::Smc64, x2: 7, x3: 0 });
    let mut cases = vec![
        (more(7, 0), SendOutcome::Spoilt),
        (more(7, 97), SendOutcome::Spoilt),
        (more(7, u32::MAX), SendOutcome::Spoilt),
        (more(3, 96), SendOutcome::Refused(Status::Aborted.into())), // another share has it
        // It is no share yet, whatever is said.
        (success(7), SendOutcome::Spoilt),
        (sixty_four, SendOutcome::Spoilt),
        (success(3), SendOutcome::Refused(Status::Aborted.into())),
        (Answer::MsgWait, SendOutcome::Refused(Status::Aborted.into())),
        (Answer::Unexpected { w0: 1 }, SendOutcome::Refused(Status::Aborted.into())),
    ];
    for code in (-11..=1).map(FirmwareStatus::from_code) {
        cases.push((Answer::Error(code), SendOutcome::Refused(code)));
    }
    for (answer, expected) in cases {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        common::share(&mut engine, vm, 3);
        let share = engine.begin_send(vm).expect("room").id;
        assert_eq!(engine.fragment_answered(vm, share, &answer, HEAD, NOW), Ok(expected), "{answer:?}");
        if let SendOutcome::Refused(_) = expected {
            engine.released(vm, share).expect("nothing is held");
            assert_eq!(engine.obligations(vm).count(), 1);
        }
    }
}

/// Every answer to a fragment in the middle and to the last one, with pages held.
#[test]
fn each_answer_to_a_fragment() {
    let refused = |status: Status| SendOutcome::Refused(status.into());
    let unknown = SendOutcome::Unknown { handle: None };
    let asked = SendOutcome::Unknown { handle: Some(handle(7)) };
    let mut cases = vec![
        // The offset is not what was sent, or it wants more than there is.
        (more(7, 96), [SendOutcome::Spoilt; 2]),
        (more(7, LAST.sent), [SendOutcome::Spoilt; 2]),
        // Another handle says nothing of this one.
        (more(8, FIRST.sent), [SendOutcome::Spoilt, asked]),
        (success(8), [SendOutcome::Spoilt, asked]),
        (Answer::MsgWait, [SendOutcome::Spoilt, asked]),
        (Answer::Unexpected { w0: 1 }, [SendOutcome::Spoilt, asked]),
        // It is a share, and in the middle it can hardly be one.
        (success(7), [SendOutcome::Spoilt, SendOutcome::Sent(handle(7))]),
        (error(Status::Aborted), [unknown; 2]),
        (Answer::Error(FirmwareStatus::from_code(0)), [unknown; 2]),
        (Answer::Error(FirmwareStatus::from_code(-99)), [unknown; 2]),
    ];
    for status in [Status::Busy, Status::Retry, Status::Interrupted, Status::NotReady] {
        cases.push((error(status), [SendOutcome::Spoilt; 2]));
    }
    use Status::{Denied, InvalidParameters, NoData, NoMemory, NotSupported};
    for status in [Denied, InvalidParameters, NoData, NoMemory, NotSupported] {
        cases.push((error(status), [refused(status); 2]));
    }
    for (answer, expected) in cases {
        for (fragment, expected) in [FIRST, LAST].into_iter().zip(expected) {
            let mut engine = engine(1, 8, Policy::DEFAULT);
            let (vm, share) = sending(&mut engine, 7);
            let outcome = engine.fragment_answered(vm, share, &answer, fragment, NOW);
            assert_eq!(outcome, Ok(expected), "{answer:?} {fragment:?}");
            engine.destroy(vm).expect("alive");
            match expected {
                SendOutcome::Sent(_) | SendOutcome::Unknown { handle: Some(_) } => {
                    comes_back(&mut engine, NOW, 7);
                    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
                }
                SendOutcome::Unknown { handle: None } => {
                    assert_eq!(finished(&mut engine, NOW), (End::Zombie, false));
                    assert_eq!(engine.retry(vm), Ok(0));
                }
                SendOutcome::Refused(_) => {
                    engine.released(vm, share).expect("on its way back");
                    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
                }
                SendOutcome::Spoilt => {
                    // With its last byte it may have come about, whatever more is asked for; and before, if nothing is.
                    let beyond = matches!(answer, Answer::MemFragRx(_)) && fragment == LAST;
                    if beyond || answer == success(7) {
                        assert_eq!(engine.cancel(vm, share), Ok(reclaim(7)));
                        let outcome = engine.cancel_answered(vm, share, &error(InvalidParameters), NOW);
                        assert_eq!(outcome, Ok(CancelOutcome::GoesOn));
                    }
                    assert!(matches!(engine.cancel(vm, share), Ok(SecureCall::MemCancel { .. })));
                    let outcome = engine.cancel_answered(vm, share, &error(InvalidParameters), NOW);
                    assert_eq!(outcome, Ok(CancelOutcome::Gone));
                    engine.released(vm, share).expect("on its way back");
                    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
                }
                SendOutcome::More(_) | SendOutcome::Resume(_) => unreachable!(),
            }
        }
    }
}

/// Whose last byte is there and of which more is asked for: a share or not, it comes back by the word of the secure world
/// alone.
#[test]
fn what_is_asked_for_beyond_its_last_byte_may_be_a_share() {
    let begin = || {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let (vm, share) = sending(&mut engine, 7);
        let outcome = engine.fragment_answered(vm, share, &more(7, LAST.sent), LAST, NOW);
        assert_eq!(outcome, Ok(SendOutcome::Spoilt));
        assert_eq!(engine.cancel(vm, share), Ok(reclaim(7)));
        (engine, vm, share)
    };
    let invalid = error(Status::InvalidParameters);
    let ends = |mut engine: Boxed, vm, share, outcome| {
        assert_eq!(outcome, Ok(CancelOutcome::Gone));
        engine.released(vm, share).expect("on its way back");
        engine.destroy(vm).expect("alive");
        assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    };
    let (mut engine, vm, share) = begin();
    let outcome = engine.cancel_answered(vm, share, &success(0), NOW);
    ends(engine, vm, share, outcome);
    let (mut engine, vm, share) = begin();
    assert_eq!(engine.cancel_answered(vm, share, &invalid, NOW), Ok(CancelOutcome::GoesOn));
    assert_eq!(engine.cancel(vm, share), Ok(cancel(7, 4096)));
    let outcome = engine.cancel_answered(vm, share, &invalid, NOW);
    ends(engine, vm, share, outcome);
    let (mut engine, vm, share) = begin();
    let outcome = engine.cancel_answered(vm, share, &interrupt(A), NOW);
    assert!(matches!(outcome, Ok(CancelOutcome::Resume(_))));
    let outcome = engine.cancel_answered(vm, share, &success(0), NOW);
    ends(engine, vm, share, outcome);
    // An SP has it, or nobody can tell: it is a share that the guest knows nothing of.
    let unclear = Answer::Unexpected { w0: 1 };
    for answer in [error(Status::Denied), error(Status::Busy), error(Status::Aborted), unclear] {
        let (mut engine, vm, share) = begin();
        assert_eq!(engine.cancel_answered(vm, share, &answer, NOW), Ok(CancelOutcome::Left));
        assert_eq!(engine.begin_reclaim(vm, handle(7)), Err(BeginError::NotFound));
        engine.destroy(vm).expect("alive");
        comes_back(&mut engine, NOW, 7);
        assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    }
    // What FFA_RUN fails with says nothing of it.
    let (mut engine, vm, share) = begin();
    let _resumed = engine.cancel_answered(vm, share, &interrupt(A), NOW);
    assert_eq!(engine.cancel_answered(vm, share, &invalid, NOW), Ok(CancelOutcome::Left));
    engine.destroy(vm).expect("alive");
    comes_back(&mut engine, NOW, 7);
}

/// The same for a VM that dies before anybody has asked.
#[test]
fn a_dead_vms_transaction_may_be_a_share_beyond_its_last_byte() {
    let begin = || {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let (vm, share) = sending(&mut engine, 7);
        let outcome = engine.fragment_answered(vm, share, &more(7, 0), LAST, NOW);
        assert_eq!(outcome, Ok(SendOutcome::Spoilt));
        engine.await_rest(vm, share).expect("half-sent");
        engine.destroy(vm).expect("alive");
        (engine, share)
    };
    let again = Decision::TryAgain { until: NOW };
    let (mut engine, share) = begin();
    assert_eq!(answer(&mut engine, NOW, reclaim(7), success(0)), Decision::Confirmed { share });
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    let (mut engine, share) = begin();
    let goes_on = answer(&mut engine, NOW, reclaim(7), error(Status::InvalidParameters));
    assert_eq!(goes_on, Decision::GoesOn);
    let gone = answer(&mut engine, NOW, cancel(7, 4096), error(Status::InvalidParameters));
    assert_eq!(gone, Decision::Confirmed { share });
    assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
    let (mut engine, share) = begin();
    assert_eq!(answer(&mut engine, NOW, reclaim(7), error(Status::Denied)), again);
    denied(&mut engine, NOW, 7);
    assert_eq!(answer(&mut engine, millis(1000), reclaim(7), success(0)), Decision::Confirmed { share });
    assert_eq!(finished(&mut engine, millis(1000)), (End::Gone, true));
}

/// A donation is left to the care that donations take.
#[test]
fn a_donation_beyond_its_last_byte_is_asked_for_as_one() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[]);
    let share = engine.begin_donation(vm).expect("room").id;
    let outcome = engine.fragment_answered(vm, share, &more(7, 96), HEAD, NOW);
    assert_eq!(outcome, Ok(SendOutcome::More(handle(7))));
    let outcome = engine.fragment_answered(vm, share, &more(7, LAST.sent), LAST, NOW);
    assert_eq!(outcome, Ok(SendOutcome::Unknown { handle: Some(handle(7)) }));
    engine.destroy(vm).expect("alive");
    assert_eq!(answer(&mut engine, NOW, reclaim(7), success(0)), Decision::Confirmed { share });
    // The same for one that comes about too early, unless it cannot have.
    let cases = [(FIRST, SendOutcome::Unknown { handle: Some(handle(7)) }), (HEAD, SendOutcome::Spoilt)];
    for (fragment, expected) in cases {
        let mut engine = common::engine(1, 8, Policy::DEFAULT);
        let vm = live(&mut engine, VM, &[]);
        let share = engine.begin_donation(vm).expect("room").id;
        assert_eq!(engine.fragment_answered(vm, share, &success(7), fragment, NOW), Ok(expected));
        if expected == SendOutcome::Spoilt {
            assert!(matches!(engine.cancel(vm, share), Ok(SecureCall::MemCancel { .. })));
        }
    }
}

/// FFA_RUN goes on with a fragment; what it fails with says nothing of the transaction.
#[test]
fn a_fragment_over_which_an_sp_is_preempted_goes_on_with_run() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let (vm, share) = sending(&mut engine, 7);
    let outcome = engine.fragment_answered(vm, share, &interrupt(A), FIRST, NOW);
    assert!(matches!(outcome, Ok(SendOutcome::Resume(_))));
    let outcome = engine.fragment_answered(vm, share, &more(7, FIRST.sent), FIRST, NOW);
    assert_eq!(outcome, Ok(SendOutcome::More(handle(7))));
    let outcome = engine.fragment_answered(vm, share, &interrupt(A), LAST, NOW);
    assert!(matches!(outcome, Ok(SendOutcome::Resume(_))));
    let outcome = engine.fragment_answered(vm, share, &error(Status::InvalidParameters), LAST, NOW);
    assert_eq!(outcome, Ok(SendOutcome::Unknown { handle: Some(handle(7)) }));
    for _ in 0..2 {
        let (vm, share) = sending(&mut engine, 9);
        let outcome = engine.fragment_answered(vm, share, &interrupt(A), FIRST, NOW);
        assert!(matches!(outcome, Ok(SendOutcome::Resume(_))));
        let outcome = engine.fragment_answered(vm, share, &error(Status::InvalidParameters), FIRST, NOW);
        assert_eq!(outcome, Ok(SendOutcome::Spoilt));
        assert!(matches!(engine.cancel(vm, share), Ok(SecureCall::MemCancel { .. })));
        let outcome = engine.cancel_answered(vm, share, &interrupt(A), NOW);
        assert!(matches!(outcome, Ok(CancelOutcome::Resume(_))));
        assert!(matches!(engine.cancel(vm, share), Ok(SecureCall::Run { .. })));
        let outcome = engine.cancel_answered(vm, share, &error(Status::InvalidParameters), NOW);
        assert_eq!(outcome, Ok(CancelOutcome::Left), "that was FFA_RUN's own");
        engine.begin_rest(vm, share).expect("left");
        let outcome = engine.cancel_answered(vm, share, &error(Status::InvalidParameters), NOW);
        assert_eq!(outcome, Ok(CancelOutcome::Gone));
        engine.released(vm, share).expect("on its way back");
    }
}

/// A guest dies between two fragments: zeroes until the secure world refuses them, before anything else is done. OP-TEE knows
/// no VM any more of whose end it was told, and refuses its fragments for that.
#[test]
fn a_half_sent_transaction_of_a_dead_vm_is_cancelled_first() {
    let mut engine = engine(1, 8, Policy::DEFAULT);
    let vm = live(&mut engine, VM, &[both(A)]);
    share(&mut engine, vm, 3);
    half(&mut engine, 7);
    engine.destroy(vm).expect("alive");
    let again = Decision::GoesOn;
    assert_eq!(answer(&mut engine, NOW, cancel(7, 4096), more(7, 96 + 4096)), again);
    assert_eq!(answer(&mut engine, NOW, cancel(7, 4096), more(7, 96 + 8192)), again);
    // Nothing should be missing any more, but a secure world may be slow to notice.
    let gone = answer(&mut engine, NOW, cancel(7, 4096), error(Status::NoMemory));
    assert!(matches!(gone, Decision::Confirmed { .. }), "{gone:?}");
    assert_eq!(answer(&mut engine, NOW, destroyed(A), accept(destroyed(A))), Decision::Met);
    denied(&mut engine, NOW, 3);
    comes_back(&mut engine, millis(1000), 3);
    assert_eq!(finished(&mut engine, millis(1000)), (End::Gone, true));
}

#[test]
fn each_answer_to_a_cancellation_in_teardown() {
    for holds_pages in [false, true] {
        let begin = |policy| {
            let mut engine = engine(1, 8, policy);
            let (vm, share) = sending(&mut engine, 7);
            if holds_pages {
                let outcome = engine.fragment_answered(vm, share, &more(7, FIRST.sent), FIRST, NOW);
                assert_eq!(outcome, Ok(SendOutcome::More(handle(7))));
            }
            engine.await_rest(vm, share).expect("half-sent");
            engine.destroy(vm).expect("alive");
            (engine, share)
        };
        let call = cancel(7, 4096);
        // All of these say that the transaction is no more.
        use Status::{Denied, InvalidParameters, NoData, NoMemory, NotSupported};
        for status in [Denied, InvalidParameters, NoData, NoMemory, NotSupported] {
            let (mut engine, share) = begin(Policy::DEFAULT);
            assert_eq!(answer(&mut engine, NOW, call, error(status)), Decision::Confirmed { share });
            assert_eq!(finished(&mut engine, NOW), (End::Gone, true), "{status}");
        }
        for status in [Status::Busy, Status::Retry, Status::Interrupted, Status::NotReady] {
            let (mut engine, share) = begin(Policy::DEFAULT);
            let again = Decision::TryAgain { until: millis(10) };
            assert_eq!(answer(&mut engine, NOW, call, error(status)), again, "{status}");
            let gone = answer(&mut engine, millis(10), call, error(InvalidParameters));
            assert_eq!(gone, Decision::Confirmed { share });
        }
        // It has come about: it is a share like any other.
        let (mut engine, share) = begin(Policy::DEFAULT);
        assert_eq!(answer(&mut engine, NOW, call, success(7)), Decision::TryAgain { until: NOW });
        denied(&mut engine, NOW, 7);
        assert_eq!(answer(&mut engine, millis(1000), reclaim(7), success(0)), Decision::Confirmed { share });
        assert_eq!(finished(&mut engine, millis(1000)), (End::Gone, true));
        // An error that says nothing leaves no handle to ask by.
        for status in [Status::Aborted.into(), FirmwareStatus::from_code(0), FirmwareStatus::from_code(-20)] {
            let (mut engine, share) = begin(Policy::DEFAULT);
            let decision = answer(&mut engine, NOW, call, Answer::Error(status));
            if holds_pages {
                assert_eq!(decision, Decision::GivenUp { share: Some(share) });
                assert_eq!(finished(&mut engine, NOW), (End::Zombie, false));
                assert_eq!(engine.retry_quarantined(), 0);
            } else {
                assert_eq!(decision, Decision::Confirmed { share });
                assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
            }
        }
        // What is no answer is asked again, until it is given up; an operator may ask once more. Without pages there is
        // nothing to ask for.
        for nonsense in [success(8), more(8, 0), Answer::MsgWait, Answer::Unexpected { w0: 3 }] {
            let (mut engine, share) = begin(Policy::DEFAULT);
            let mut now = NOW;
            let decision = loop {
                match answer(&mut engine, now, call, nonsense) {
                    Decision::TryAgain { until } => now = until,
                    decision => break decision,
                }
            };
            if !holds_pages {
                assert_eq!((decision, now), (Decision::Confirmed { share }, NOW));
                assert_eq!(finished(&mut engine, NOW), (End::Gone, true));
                continue;
            }
            assert_eq!(decision, Decision::GivenUp { share: Some(share) });
            assert_eq!(finished(&mut engine, now), (End::Zombie, false));
            assert_eq!(engine.quarantined().count(), 1);
            assert_eq!(engine.retry_quarantined(), 1);
            let gone = answer(&mut engine, now, call, error(InvalidParameters));
            assert_eq!(gone, Decision::Confirmed { share });
            assert_eq!(finished(&mut engine, now), (End::Gone, true));
        }
        let handing_over = Policy { disposal: Disposal::HandOver, ..Policy::DEFAULT };
        let (mut engine, share) = begin(handing_over);
        let vm = engine.find(VM).expect("dying");
        let decision = answer(&mut engine, NOW, call, error(Status::Aborted));
        if holds_pages {
            assert_eq!(decision, Decision::HandOver { share });
            engine.handed_over(vm, share).expect("to be handed over");
            assert_eq!(finished(&mut engine, NOW), (End::Retired, true));
        } else {
            assert_eq!(decision, Decision::Confirmed { share });
        }
    }
}

/// A secure world that wants more for ever is asked no more.
#[test]
fn a_cancellation_ends_even_if_the_secure_world_never_has_enough() {
    for holds_pages in [false, true] {
        let mut engine = engine(1, 8, Policy::DEFAULT);
        let (vm, share) = sending(&mut engine, 7);
        if holds_pages {
            let outcome = engine.fragment_answered(vm, share, &more(7, FIRST.sent), FIRST, NOW);
            assert_eq!(outcome, Ok(SendOutcome::More(handle(7))));
        }
        engine.await_rest(vm, share).expect("half-sent");
        engine.destroy(vm).expect("alive");
        let (mut now, mut calls) = (NOW, 0);
        let decision = loop {
            calls += 1;
            assert!(calls < 100);
            match answer(&mut engine, now, cancel(7, 4096), more(7, 1)) {
                Decision::GoesOn => {}
                Decision::TryAgain { until } => now = until,
                decision => break decision,
            }
        };
        assert!(now < NOW + Span::from_secs(2));
        if holds_pages {
            assert_eq!(decision, Decision::GivenUp { share: Some(share) });
            assert_eq!(finished(&mut engine, now), (End::Zombie, false));
            assert_eq!(engine.phase(vm), Ok(Phase::Over));
        } else {
            assert_eq!(decision, Decision::Confirmed { share });
            assert_eq!(finished(&mut engine, now), (End::Gone, true));
        }
    }
}

/// The secure world may give a handle out again before the answer arrives that says that it is free.
#[test]
fn a_handle_that_is_given_out_anew_during_a_cancellation_is_left_to_the_new_share() {
    for holds_pages in [false, true] {
        let mut engine = engine(2, 8, Policy::DEFAULT);
        let (vm, share) = sending(&mut engine, 7);
        if holds_pages {
            let _ =
                engine.fragment_answered(vm, share, &more(7, FIRST.sent), FIRST, NOW).expect("being sent");
        }
        engine.await_rest(vm, share).expect("half-sent");
        engine.destroy(vm).expect("alive");
        let (_, call) = next_call(&mut engine, NOW);
        let other = live_beside(&mut engine);
        common::share(&mut engine, other, 7);
        let decision = engine.answered(vm, call, &error(Status::Busy), NOW).expect("in flight").decision;
        let expected = if holds_pages {
            Decision::GivenUp { share: Some(share) }
        } else {
            Decision::Confirmed { share }
        };
        assert_eq!(decision, expected);
        // The new share is nobody else's.
        assert!(engine.begin_reclaim(other, handle(7)).is_ok());
    }
}

/// An SP was preempted over the cancellation, which is over for the sake of whoever has the handle by now: whoever has its
/// place next is not taken for what the SP works for.
#[test]
fn nobody_is_run_for_a_cancellation_that_is_over() {
    for teardown in [false, true] {
        let mut engine = engine(2, 8, Policy::DEFAULT);
        let (vm, share) = half(&mut engine, 7);
        let other = live_beside(&mut engine);
        let target = RunTarget { endpoint: A, vcpu: 1 };
        let call = engine.begin_call(other, 0, A).expect("room").id;
        assert_eq!(engine.call_answered(other, call, &Answer::Interrupt(target)), Ok(true));
        if teardown {
            engine.destroy(vm).expect("alive");
            let (_, cancel) = next_call(&mut engine, NOW);
            common::share(&mut engine, other, 7);
            let decision = engine.answered(vm, cancel, &interrupt(A), NOW).expect("in flight").decision;
            assert_eq!(decision, Decision::Confirmed { share });
        } else {
            engine.begin_rest(vm, share).expect("nobody works on it");
            common::share(&mut engine, other, 7);
            let outcome = engine.cancel_answered(vm, share, &interrupt(A), NOW);
            assert_eq!(outcome, Ok(CancelOutcome::Gone));
        }
        engine.released(vm, share).expect("on its way back");
        assert_eq!(common::share(&mut engine, other, 8).position(), share.position());
        engine.works_elsewhere(target);
        assert_eq!(engine.begin_run(other, 0, target), Err(BeginError::NotFound), "{teardown}");
    }
}

/// FFA_RUN fails, and may have cancelled the transaction all the same: whoever gets the handle next has it.
#[test]
fn a_handle_that_may_be_free_keeps_nothing_from_others() {
    for state in ["left", "waiting"] {
        let mut engine = engine(2, 8, Policy::DEFAULT);
        let (vm, share) = sending(&mut engine, 7);
        let outcome = engine.cancel_answered(vm, share, &error(Status::Busy), NOW);
        assert_eq!(outcome, Ok(CancelOutcome::Left));
        if state == "waiting" {
            engine.destroy(vm).expect("alive");
            let again = answer(&mut engine, NOW, cancel(7, 4096), error(Status::Busy));
            assert_eq!(again, Decision::TryAgain { until: millis(10) });
        }
        let other = engine.create(PartitionId(2), core::iter::empty()).expect("room").vm;
        common::share(&mut engine, other, 7);
        let subject = Subject::HalfSent { share, handle: None, holds_pages: false };
        assert_eq!(engine.obligations(vm).next().map(|shown| shown.subject), Some(subject));
        if state == "left" {
            assert_eq!(engine.begin_rest(vm, share), Err(BeginError::NotFound));
            assert_eq!(engine.obligations(vm).next(), None);
            engine.destroy(vm).expect("alive");
        }
        assert_eq!(finished(&mut engine, millis(10)), (End::Gone, true), "{state}");
        assert!(engine.begin_reclaim(other, handle(7)).is_ok());
    }
}

/// Another VM, with a call of the first one in flight.
fn live_beside(engine: &mut Boxed) -> VmKey {
    let vm = engine.create(PartitionId(2), core::iter::empty()).expect("room").vm;
    assert!(matches!(next(engine, NOW), Action::Idle { .. }));
    vm
}
