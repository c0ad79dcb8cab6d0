//! What partitions do: with the memory of the dead, when preempted, when they crash.

mod common;

use common::*;
use ffa_abi::{Answer, Regs, RunTarget, Status, VmAvailability, VmAvailabilityAnswer};
use ffa_teardown::Span;
use ffa_test_utils::spmc::*;

fn world(script: Script) -> World {
    World::new(Preset::Hafnium, [SpConfig::new(SP1, script)])
}

fn destroy(world: &mut World) -> Regs {
    world.tell(VmAvailability::Destroyed, VM1, SP1)
}

fn accepted(regs: &Regs, event: VmAvailability) -> bool {
    let message = World::message(event, VM1, SP1);
    message.answer(&Answer::from_regs(regs)) == Ok(VmAvailabilityAnswer::Accepted)
}

fn refused(regs: &Regs, status: Status) -> bool {
    let message = World::message(VmAvailability::Destroyed, VM1, SP1);
    message.answer(&Answer::from_regs(regs)) == Ok(VmAvailabilityAnswer::Refused(status.into()))
}

#[test]
fn a_good_partition_holds_until_it_is_told_and_gives_back_at_once() {
    for preset in Preset::ALL {
        let mut world = World::new(preset, [SpConfig::new(SP1, Script::GOOD)]);
        let handle = world.share(&Descriptor::good());
        let page = 0x4000_1000;
        assert_eq!(world.spmc.can_reach(page).map(|reached| reached.reach), Some(Reach::Mapped));
        assert_eq!(world.spmc.can_reach(0x4000_2000), None);
        assert_eq!(status_of(&world.reclaim(handle)), Err(Status::Denied), "{preset:?}");
        assert!(accepted(&destroy(&mut world), VmAvailability::Destroyed), "{preset:?}");
        assert_eq!(world.spmc.can_reach(page).map(|reached| reached.reach), Some(Reach::Retrievable));
        assert_eq!(status_of(&world.reclaim(handle)), Ok(()), "{preset:?}");
        assert_eq!(world.spmc.can_reach(page), None);
        assert_eq!(world.spmc.reaches().count(), 0);
        assert_eq!(status_of(&world.reclaim(handle)), Err(Status::InvalidParameters), "{preset:?}");
        let told: Vec<_> = world.spmc.told(VM1, SP1).iter().map(|told| (told.event, told.answer)).collect();
        let expected = [VmAvailability::Created, VmAvailability::Destroyed];
        assert_eq!(told, expected.map(|event| (event, ToldAnswer::Accepted)), "{preset:?}");
    }
}

#[test]
fn a_device_keeps_the_pages_and_writes_to_them_until_it_is_done() {
    let mut world = world(Script::dma(Span::from_secs(3)));
    let handle = world.share(&Descriptor::good());
    assert_eq!(world.read(0x4000_0000), [0; MARK_SIZE], "the owner is alive");
    assert!(accepted(&destroy(&mut world), VmAvailability::Destroyed));
    world.pass(Span::from_millis(2999));
    assert_eq!(status_of(&world.reclaim(handle)), Err(Status::Denied));
    assert_eq!(world.read(0x4000_0000), mark(SP1, handle));
    assert_eq!(world.read(0x4000_1000), mark(SP1, handle));
    world.memory.write(0x4000_1000, &[0; 16]).unwrap();
    world.pass(Span::from_millis(1));
    assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
    assert_eq!(world.read(0x4000_1000), [0; MARK_SIZE], "it stopped before it let go");
}

#[test]
fn writers_take_turns_when_they_hold_more_than_is_written_at_once() {
    let config = Config { writes_per_call: 3, ..Preset::Hafnium.config() };
    let mut world = World::new(config, [SpConfig::new(SP1, Script::STUCK)]);
    let first = world.share(&Descriptor::pages(0x4000_0000, 4));
    let second = world.share(&Descriptor::pages(0x5000_0000, 4));
    destroy(&mut world);
    for _ in 0..3 {
        world.spmc.advance(&mut world.memory, world.now);
    }
    for page in 0..4 {
        assert_eq!(world.read(0x4000_0000 + page * PAGE), mark(SP1, first), "{page}");
        assert_eq!(world.read(0x5000_0000 + page * PAGE), mark(SP1, second), "{page}");
    }
}

#[test]
fn memory_can_be_retrieved_again_between_two_tries_to_reclaim_it() {
    let again = Release::ThenRetrieveAgain(Span::from_secs(1));
    let mut world = world(Script { release: again, ..Script::GOOD });
    let handle = world.share(&Descriptor::good());
    destroy(&mut world);
    world.pass(Span::from_secs(1));
    assert_eq!(status_of(&world.reclaim(handle)), Err(Status::Denied));
}

#[test]
fn preempted_messages_end_with_run() {
    let turn = Turn::ACCEPT.preempted(2).yields(1, Span::from_nanos(500));
    let mut world = world(Script::GOOD.on_destroyed(Reaction::always(turn)));
    let handle = world.share(&Descriptor::good());
    let target = RunTarget { endpoint: SP1, vcpu: 0 };
    assert_eq!(Answer::from_regs(&destroy(&mut world)), Answer::Interrupt(target));
    assert_eq!(status_of(&destroy(&mut world)), Err(Status::Busy), "a second request meanwhile");
    assert_eq!(status_of(&world.reclaim(handle)), Err(Status::Denied), "nothing happened yet");
    assert_eq!(world.spmc.told(VM1, SP1)[1].answer, ToldAnswer::Pending);
    assert_eq!(Answer::from_regs(&world.run(SP1, 0)), Answer::Interrupt(target));
    assert_eq!(Answer::from_regs(&world.run(SP1, 0)), Answer::Yield { target, timeout: 500 });
    world.pass(Span::from_nanos(100));
    assert_eq!(Answer::from_regs(&world.run(SP1, 0)), Answer::Yield { target, timeout: 400 });
    world.pass(Span::from_nanos(400));
    assert!(accepted(&world.run(SP1, 0), VmAvailability::Destroyed));
    assert_eq!(Answer::from_regs(&world.run(SP1, 0)), Answer::MsgWait);
    assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
}

#[test]
fn each_cpu_has_its_own_context_of_a_partition_with_many() {
    let slow = Script::GOOD.on_request(Reaction::first(1, Turn::ACCEPT.preempted(1)));
    let sp = SpConfig { contexts: 2, ..SpConfig::new(SP1, slow) };
    let mut world = World::new(Preset::Hafnium, [sp]);
    let request = Regs::new([0x8400_006f, 0x0001_8001, 0, 5]);
    let now = world.now;
    let mut call_on = |cpu, regs: &Regs| world.spmc.call_on(cpu, &mut world.memory, now, regs);
    assert_eq!(
        Answer::from_regs(&call_on(1, &request)),
        Answer::Interrupt(RunTarget { endpoint: SP1, vcpu: 1 })
    );
    let run = Regs::new([0x8400_006d, 0x8001_0001]);
    assert!(matches!(Answer::from_regs(&call_on(0, &request)), Answer::DirectResponse(_)));
    assert_eq!(status_of(&call_on(0, &run)), Err(Status::InvalidParameters), "another CPU's");
    assert!(matches!(Answer::from_regs(&call_on(1, &run)), Answer::DirectResponse(_)));
}

#[test]
fn a_status_is_given_as_often_as_the_script_says_and_nothing_is_done_meanwhile() {
    for status in [Status::Retry, Status::Interrupted, Status::Denied, Status::InvalidParameters] {
        let mut world = world(Script::GOOD.on_destroyed(Reaction::first(2, Turn::refuse(status))));
        let handle = world.share(&Descriptor::good());
        for _ in 0..2 {
            assert!(refused(&destroy(&mut world), status));
            assert_eq!(status_of(&world.reclaim(handle)), Err(Status::Denied));
        }
        assert!(accepted(&destroy(&mut world), VmAvailability::Destroyed));
        assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
    }
}

#[test]
fn spoiled_answers_are_none_but_the_work_is_done() {
    for mangling in Mangling::ALL {
        let turn = Turn::new(Outcome::Mangled(mangling));
        let mut world = world(Script::GOOD.on_destroyed(Reaction::first(1, turn)));
        let handle = world.share(&Descriptor::good());
        let answer = destroy(&mut world);
        assert!(!accepted(&answer, VmAvailability::Destroyed), "{mangling:?}: {answer:x?}");
        assert_eq!(world.spmc.told(VM1, SP1)[1].answer, ToldAnswer::Mangled(mangling));
        assert_eq!(status_of(&world.reclaim(handle)), Ok(()), "{mangling:?}");
    }
}

#[test]
fn a_crash_leaves_the_memory_to_the_spmc_or_to_nobody() {
    for (cleanup, reclaim) in [(Cleanup::AtCrash, Ok(())), (Cleanup::AtRestart, Err(Status::Denied))] {
        let script = Script {
            on_destroyed: Reaction::first(1, Turn::new(Outcome::Crash)),
            crash: Crash { cleanup, answer: Some(Status::InvalidParameters) },
            ..Script::GOOD
        };
        let mut world = world(script);
        let handle = world.share(&Descriptor::good());
        assert_eq!(status_of(&destroy(&mut world)), Err(Status::Aborted));
        assert!(world.spmc.is_crashed(SP1));
        assert_eq!(status_of(&destroy(&mut world)), Err(Status::InvalidParameters));
        assert_eq!(status_of(&world.run(SP1, 0)), Err(Status::Aborted));
        assert_eq!(status_of(&world.reclaim(handle)), reclaim);
        if reclaim.is_err() {
            assert_eq!(world.read(0x4000_0000), mark(SP1, handle), "its device goes on");
            world.spmc.restart(SP1);
            assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
        }
    }
}

#[test]
fn a_lost_share_is_refused_until_the_partition_restarts() {
    for status in [Status::InvalidParameters, Status::Aborted] {
        let mut world = world(Script::lost(status));
        let handle = world.share(&Descriptor::good());
        destroy(&mut world);
        for _ in 0..3 {
            assert_eq!(status_of(&world.reclaim(handle)), Err(status));
        }
        assert_eq!(world.spmc.can_reach(0x4000_0000).map(|reached| reached.reach), Some(Reach::Mapped));
        let answer = world.direct(VM2, SP1, Control::Restart.payload());
        assert_eq!((answer.w::<0>(), answer.w::<4>(), answer.w::<5>()), (0x8400_0070, 1, 0));
        assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
    }
}

#[test]
fn a_forgotten_share_is_still_reached_and_its_handle_names_another() {
    let refusal = Refusal { status: Status::InvalidParameters, until: Until::Forgotten };
    let mut world = world(Script { on_reclaim: Some(refusal), ..Script::STUCK });
    let lost = world.share(&Descriptor::good());
    assert_eq!(status_of(&world.reclaim(lost)), Err(Status::InvalidParameters));
    assert_eq!(world.spmc.live_handles().count(), 0);
    assert_eq!(world.spmc.can_reach(0x4000_0000).map(|reached| reached.reach), Some(Reach::Mapped));
    let other = world.share(&Descriptor { sender: 2, ..Descriptor::pages(0x5000_0000, 1) });
    assert_eq!(other, lost);
    world.spmc.restart(SP1);
    assert_eq!(world.spmc.can_reach(0x4000_0000), None);
    assert_eq!(status_of(&world.reclaim(lost)), Ok(()), "this is the other VM's share");
}

#[test]
fn a_partition_restarts_by_itself_at_its_time() {
    let at = ffa_teardown::Time::from_nanos(1000);
    let mut world = world(Script { restart_at: Some(at), ..Script::lost(Status::Aborted) });
    let handle = world.share(&Descriptor::good());
    world.pass(Span::from_nanos(999));
    assert_eq!(status_of(&world.reclaim(handle)), Err(Status::Aborted));
    world.pass(Span::from_nanos(1));
    assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
}

#[test]
fn a_lazy_partition_retrieves_when_asked() {
    let mut world = world(Script::LAZY);
    let handle = world.share(&Descriptor::good());
    let answer = world.direct(VM1, SP1, Control::Retrieve(handle).payload());
    assert_eq!((answer.w::<4>(), answer.w::<5>()), (1, 2), "done, two pages");
    assert_eq!(status_of(&world.reclaim(handle)), Err(Status::Denied));
    let answer = world.direct(VM1, SP1, Control::Relinquish(handle).payload());
    assert_eq!((answer.w::<4>(), answer.w::<5>()), (1, 0));
    assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
    let answer = world.direct(VM1, SP1, Control::Retrieve(handle).payload());
    assert_eq!(answer.w::<4>(), 0, "no such share");
}

#[test]
fn the_echo_bears_the_mark_of_the_run() {
    for preset in Preset::ALL {
        let mut world = World::new(preset, [SpConfig::new(SP1, Script::GOOD)]);
        let nonce = u64::from(preset.config().nonce);
        let answer = world.direct(VM1, SP1, [5, 6, 7, 8, 9]);
        let expected = Regs::new([0x8400_0070, 0x8001_0001, 0, 5 + nonce, 6, 7, 8, nonce]);
        assert_eq!(answer, expected, "{preset:?}");
    }
}
