//! Steps of the teardown engine.

use std::hint::black_box;

use ffa_abi::{Answer, Handle, PartitionId, Status, Success, Width};
use ffa_teardown::{
    Action, Decision, DutySlot, Engine, Policy, SecureCall, SendOutcome, Span, Time, VmKey, VmSlot,
};

use crate::{Case, repeat};

pub const CASES: &[Case] =
    &[("teardown-step", step), ("queue-100", |n| queue(n, 100)), ("queue-10000", |n| queue(n, 10_000))];

type Bench = Engine<Vec<VmSlot>, Vec<DutySlot>>;

const RECLAIMED: Answer = Answer::Success(Success { width: Width::Smc32, x2: 0, x3: 0 });

/// An engine with so many dead VMs, each with so many shares to be reclaimed.
fn dead_vms(vms: u16, shares: usize) -> Bench {
    let slots = usize::from(vms);
    let mut engine =
        Engine::new(vec![VmSlot::VACANT; slots], vec![DutySlot::VACANT; slots * shares], Policy::DEFAULT);
    for id in 0..vms {
        let vm = engine.create(PartitionId(id + 1), [].into_iter()).unwrap().vm;
        for share in 0..shares {
            let handle = Handle::new(u64::from(id) << 16 | share as u64).unwrap();
            let begun = engine.begin_send(vm).unwrap();
            let [x2, x3] = handle.words();
            let answer = Answer::Success(Success { width: Width::Smc32, x2, x3 });
            let sent = engine.send_answered(vm, begun.id, &answer, Time::ZERO);
            assert_eq!(sent, Ok(SendOutcome::Sent(handle)));
        }
        engine.destroy(vm).unwrap();
    }
    engine
}

/// Steps until there is a call to make.
fn next_call(engine: &mut Bench, now: Time) -> (VmKey, SecureCall) {
    loop {
        match engine.next(now) {
            Action::Call { vm, call } => return (vm, call),
            Action::Continue => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Answers a call, and gives the pages back if it was confirmed.
fn answer(engine: &mut Bench, (vm, call): (VmKey, SecureCall), answer: &Answer, now: Time) {
    match engine.answered(vm, call, answer, now).unwrap().decision {
        Decision::Confirmed { share } => engine.released(vm, share).unwrap(),
        decision => _ = black_box(decision),
    }
}

/// One share of many is asked for, confirmed and given back.
fn step(iterations: u32) {
    const VMS: u16 = 64;
    const SHARES: usize = 32;
    assert!(iterations < u32::from(VMS) * SHARES as u32, "then a VM would end");
    let mut engine = dead_vms(VMS, SHARES);
    // Behind the walk that only settles the guests' calls.
    for _ in 0..VMS {
        assert_eq!(engine.next(Time::ZERO), Action::Continue);
    }
    repeat(iterations, || {
        let now = black_box(Time::ZERO);
        let call = next_call(&mut engine, now);
        answer(&mut engine, call, black_box(&RECLAIMED), now);
    });
    assert!(engine.next_deadline().is_some());
}

/// The VM whose turn has come leaves the queue, its reclaim is refused, and it goes back behind all others.
fn queue(iterations: u32, vms: u16) {
    let denied = Answer::Error(Status::Denied.into());
    let mut engine = dead_vms(vms, 1);
    // Every VM waits for a second from a moment of its own.
    let apart = Policy::DEFAULT.fixed.as_nanos() / u64::from(vms);
    let mut now = Time::ZERO;
    for _ in 0..vms {
        let call = next_call(&mut engine, now);
        answer(&mut engine, call, &denied, now);
        now = now + Span::from_nanos(apart);
    }
    wait(&mut engine, now);
    repeat(iterations, || {
        now = engine.next_deadline().unwrap();
        let call = next_call(&mut engine, now);
        answer(&mut engine, call, black_box(&denied), now);
        wait(&mut engine, now);
    });
    let far = Time::from_nanos(u64::MAX);
    assert!(engine.next_deadline() > Some(Time::ZERO) && engine.next_deadline() < Some(far));
}

/// Steps until all wait.
fn wait(engine: &mut Bench, now: Time) {
    while engine.next(now) == Action::Continue {}
}
