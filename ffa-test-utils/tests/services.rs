//! Direct requests of 1.2, which name a service of a partition.

mod common;

use common::*;
use ffa_abi::Status::*;
use ffa_abi::{
    Answer, DirectRequest2, DirectResponse2, PartitionId, Properties, Regs, RunTarget, Status, Uuid,
};
use ffa_test_utils::spmc::*;

const MINE: Uuid = Uuid([7; 16]);
const OTHERS: Uuid = Uuid([8; 16]);
const DEAF: PartitionId = PartitionId(0x8003);

/// `version` negotiated. SP 2 serves [`MINE`]; SP 1 has a UUID of its own, and under OP-TEE is a part of the SPMC.
fn world_of(preset: Preset, version: u64, script: Script) -> World {
    let both = Properties::RECEIVES_DIRECT_REQUESTS.or(Properties::RECEIVES_DIRECT_REQUESTS2);
    let sp = |id| SpConfig::new(id, script).with_properties(both);
    let mine = SpConfig { uuids: vec![OTHERS, MINE], ..sp(SP2) };
    let deaf = sp(DEAF).with_properties(Properties::RECEIVES_DIRECT_REQUESTS);
    let mut world = World::raw(preset, [sp(SP1), mine, deaf]);
    world.call([0x8400_0063, version]);
    world
}

fn world(preset: Preset) -> World {
    world_of(preset, 0x1_0002, Script::GOOD)
}

fn request(sender: PartitionId, receiver: PartitionId, uuid: Uuid) -> DirectRequest2 {
    let mut payload = [0; 14];
    for (i, x) in (0..).zip(&mut payload) {
        *x = 0x1_0000_0000 * i + i;
    }
    DirectRequest2 { sender, receiver, uuid, payload }
}

fn ask(world: &mut World, request: &DirectRequest2) -> Regs {
    world.spmc.call(&mut world.memory, world.now, &request.to_regs())
}

fn refusal(answer: &Regs) -> Option<Status> {
    match DirectResponse2::from_answer(answer) {
        Ok(_) => None,
        Err(Answer::Error(status)) => Some(status.for_guest()),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn requests_are_checked() {
    let (good, inv, den) = (None, Some(InvalidParameters), Some(Denied));
    let nobody = PartitionId(0x8055);
    let stranger = Uuid([9; 16]);
    type Answers = [Option<Status>; 4];
    let rows: [(&str, DirectRequest2, Answers); 9] = [
        ("nil", request(VM1, SP2, Uuid::NIL), [good; 4]),
        ("its first", request(VM1, SP2, OTHERS), [good; 4]),
        ("its second", request(VM1, SP2, MINE), [good; 4]),
        ("none of its own", request(VM1, SP2, stranger), [inv, good, inv, inv]),
        ("to itself", request(SP2, SP2, MINE), [inv; 4]),
        ("to a VM", request(VM1, VM2, MINE), [inv; 4]),
        ("from a partition", request(SP1, SP2, MINE), [inv; 4]),
        ("to nobody", request(VM1, nobody, MINE), [inv; 4]),
        ("to the deaf", request(VM1, DEAF, Uuid::NIL), [den; 4]),
    ];
    for (what, request, answers) in rows {
        for (preset, expected) in Preset::ALL.into_iter().zip(answers) {
            let answer = ask(&mut world(preset), &request);
            assert_eq!(refusal(&answer), expected, "{preset:?}: {what}");
        }
    }
}

#[test]
fn optee_itself_takes_none() {
    for (preset, expected) in Preset::ALL.into_iter().zip([None, None, Some(NotSupported), None]) {
        let answer = ask(&mut world(preset), &request(VM1, SP1, Uuid::NIL));
        assert_eq!(refusal(&answer), expected, "{preset:?}");
    }
}

#[test]
fn callers_before_1_2_have_none() {
    for preset in Preset::ALL {
        let mut world = world_of(preset, 0x1_0001, Script::GOOD);
        let answer = ask(&mut world, &request(VM1, SP2, MINE));
        assert_eq!(refusal(&answer), Some(NotSupported), "{preset:?}");
    }
}

#[test]
fn the_answer_is_an_echo_with_the_mark_of_this_run() {
    for preset in Preset::ALL {
        let mut world = world(preset);
        let nonce = u64::from(world.spmc.config().nonce);
        let asked = request(VM1, SP2, MINE);
        let answer = DirectResponse2::from_answer(&ask(&mut world, &asked)).unwrap();
        let mut payload = asked.payload;
        (payload[0], payload[13]) = (nonce, nonce);
        let expected = DirectResponse2 { sender: SP2, receiver: VM1, payload };
        assert_eq!(answer, expected, "{preset:?}");
    }
}

#[test]
fn scripts_work_as_for_other_requests() {
    let turn = Turn::refuse(Aborted).preempted(1);
    let script = Script::GOOD.on_request(Reaction::first(1, turn));
    let mut world = world_of(Preset::Strict, 0x1_0002, script);
    let asked = request(VM1, SP2, MINE);
    let target = RunTarget { endpoint: SP2, vcpu: 0 };
    assert_eq!(Answer::from_regs(&ask(&mut world, &asked)), Answer::Interrupt(target));
    assert_eq!(refusal(&ask(&mut world, &asked)), Some(Busy), "the context is taken");
    let plain = world.direct(VM1, SP2, [0; 5]);
    assert_eq!(Answer::from_regs(&plain), Answer::Error(Busy.into()), "by either form");
    let answer = DirectResponse2::from_answer(&world.run(SP2, 0)).unwrap();
    assert_eq!(answer.payload[0] as i32, Aborted.code());
    assert_eq!(answer.payload[1..], [0; 13]);
    assert_eq!(refusal(&ask(&mut world, &asked)), None);
}

#[test]
fn spoiled_answers_are_not_taken_for_answers() {
    for mangling in Mangling::ALL {
        let turn = Turn::new(Outcome::Mangled(mangling));
        let script = Script::GOOD.on_request(Reaction::always(turn));
        let mut world = world_of(Preset::Strict, 0x1_0002, script);
        let answer = DirectResponse2::from_answer(&ask(&mut world, &request(VM1, SP2, MINE)));
        let good = answer.is_ok_and(|answer| answer.sender == SP2 && answer.receiver == VM1);
        assert!(!good, "{mangling:?}");
    }
}

#[test]
fn the_dead_answer_as_each_one_does() {
    for (preset, expected) in Preset::ALL.into_iter().zip([Busy, Busy, Busy, Aborted]) {
        let mut world = world(preset);
        world.spmc.crash(SP2);
        assert_eq!(refusal(&ask(&mut world, &request(VM1, SP2, MINE))), Some(expected), "{preset:?}");
    }
}

#[test]
fn features_say_who_has_them() {
    for (preset, expected) in
        Preset::ALL.into_iter().zip([[true, true], [true, true], [false, true], [false, true]])
    {
        let has = [0x1_0001, 0x1_0002].map(|version| {
            let mut world = world_of(preset, version, Script::GOOD);
            status_of(&world.call([0x8400_0064, 0xc400_008d])).is_ok()
        });
        assert_eq!(has, expected, "{preset:?}: by a caller of 1.1, and of 1.2");
    }
}
