//! An SP that is preempted for one VM takes no message about another: it is run before anything else.

mod common;

use common::*;
use ffa_abi::{Answer, PartitionId, RunTarget, Status, VmAvailability};
use ffa_teardown::{Decision, Policy, SecureCall, SendOutcome, Span, Subscription, Time, VmKey};

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
