//! Direct messages and messages about VMs: what each secure world lets through, and what its partitions remember.

mod common;

use common::*;
use ffa_abi::Status::*;
use ffa_abi::{Answer, PartitionId, Properties, Regs, Status, VmAvailability, VmAvailabilityAnswer};
use ffa_test_utils::spmc::*;

use VmAvailability::{Created, Destroyed};

/// SP 1 wants everything, SP 2 takes direct requests and wants to hear nothing of VMs.
fn partitions() -> [SpConfig; 2] {
    let plain = SpConfig::new(SP2, Script::GOOD).with_properties(Properties::RECEIVES_DIRECT_REQUESTS);
    [SpConfig::new(SP1, Script::GOOD), plain]
}

fn error_of(regs: &Regs) -> Option<Status> {
    match Answer::from_regs(regs) {
        Answer::Error(status) => Some(status.for_guest()),
        Answer::DirectResponse(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn direct_requests_are_checked() {
    let deaf = SpConfig::new(PartitionId(0x8003), Script::GOOD).with_properties(Properties(0));
    let (good, inv, den) = (None, Some(InvalidParameters), Some(Denied));
    type Answers = [Option<Status>; 4];
    let rows: [(&str, [u64; 2], Answers); 8] = [
        ("good", [0x0001_8001, 0], [good, good, good, good]),
        ("flags", [0x0001_8001, 1], [inv, good, inv, inv]),
        ("high flags", [0x0001_8001, 0x100], [inv, inv, inv, inv]),
        ("to itself", [0x8001_8001, 0], [inv, inv, inv, inv]),
        ("to a VM", [0x0001_0002, 0], [inv, inv, inv, inv]),
        ("from a partition", [0x8002_8001, 0], [inv, inv, inv, inv]),
        ("to nobody", [0x0001_8055, 0], [inv, inv, inv, inv]),
        ("to the deaf", [0x0001_8003, 0], [den, den, den, den]),
    ];
    for (what, [w1, w2], answers) in rows {
        for (preset, expected) in Preset::ALL.into_iter().zip(answers) {
            let [one, two] = partitions();
            let mut world = World::new(preset, [one, two, deaf.clone()]);
            let answer = world.call([0x8400_006f, w1, w2, 5]);
            assert_eq!(error_of(&answer), expected, "{preset:?}: {what}");
        }
    }
}

#[test]
fn optee_answers_strangers_in_its_own_words() {
    let mut world = World::new(Preset::Optee, partitions());
    let answer = world.direct(VM2, SP1, [1, 0, 0, 0, 0]);
    assert_eq!(answer, Regs::new([0x8400_0070, 0x8001_0002, 0, 0xffff_0008]));
}

#[test]
fn messages_about_vms_go_to_those_whom_each_one_lets_have_them() {
    let inv = Some(InvalidParameters);
    let unknown = PartitionId(0x8055);
    for (preset, [plain, stranger]) in
        Preset::ALL.into_iter().zip([[inv, inv], [None, inv], [inv, inv], [inv, inv]])
    {
        let mut world = World::raw(preset, partitions());
        world.call([0x8400_0063, 0x1_0001]);
        assert_eq!(error_of(&world.tell(Created, VM2, SP1)), None, "{preset:?}");
        assert_eq!(error_of(&world.tell(Created, VM2, SP2)), plain, "{preset:?}");
        assert_eq!(error_of(&world.tell(Created, VM2, unknown)), stranger, "{preset:?}");
        assert_eq!(world.spmc.told(VM2, SP2).len(), usize::from(plain.is_none()), "{preset:?}");
    }
}

#[test]
fn only_the_strict_one_looks_at_the_sender() {
    for (preset, expected) in Preset::ALL.into_iter().zip([None, None, None, Some(InvalidParameters)]) {
        let mut world = World::raw(preset, partitions());
        world.call([0x8400_0063, 0x1_0001]);
        // A guest's direct request with bit 31 set, forwarded as it is.
        let forged = world.call([0x8400_006f, 0x0003_8001, 0x8000_0004, 0, 0, 2]);
        assert_eq!(error_of(&forged), expected, "{preset:?}");
    }
}

#[test]
fn without_virtualization_optee_knows_no_vms() {
    let config =
        Config { vm_messages: VmMessages::BuiltIn { virtualization: false }, ..Preset::Optee.config() };
    let mut world = World::raw(config, partitions());
    world.call([0x8400_0063, 0x1_0001]);
    assert_eq!(error_of(&world.tell(Created, VM1, SP1)), Some(NotSupported));
    world.map_buffers();
    world.call([0x8400_0068]);
    let record: [u8; 8] = world.read(RX);
    assert_eq!(record[4] & 0xc0, 0, "nor does it ask for them");
}

#[test]
fn what_is_no_message_about_vms_is_refused() {
    for preset in Preset::ALL {
        let mut world = World::new(preset, partitions());
        for code in [0, 1, 2, 5, 7, 8, 14, 0xff] {
            let answer = world.call([0x8400_006f, 0x0000_8001, 0x8000_0000 | code, 0, 0, 1]);
            assert_eq!(error_of(&answer), Some(InvalidParameters), "{preset:?} {code}");
        }
    }
}

fn status(answer: &Regs, event: VmAvailability, vm: PartitionId) -> Option<Status> {
    match World::message(event, vm, SP1).answer(&Answer::from_regs(answer)) {
        Ok(VmAvailabilityAnswer::Accepted) => None,
        Ok(VmAvailabilityAnswer::Refused(status)) => Some(status.for_guest()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_partitions_remember_of_vms() {
    let inv = Some(InvalidParameters);
    let steps = [
        (Destroyed, VM2),
        (Created, VM2),
        (Created, VM2),
        (Destroyed, VM2),
        (Destroyed, VM2),
        (Created, VM2),
    ];
    for (preset, answers) in Preset::ALL.into_iter().zip([
        [inv, inv, inv, inv, inv, inv], // in a sticky state of error from the first
        [inv, None, inv, None, inv, None],
        [None, None, None, None, None, None],
        [inv, None, inv, None, inv, None],
    ]) {
        let mut world = World::new(preset, partitions());
        for (step, ((event, vm), expected)) in steps.into_iter().zip(answers).enumerate() {
            let answer = world.tell(event, vm, SP1);
            assert_eq!(status(&answer, event, vm), expected, "{preset:?} step {step}");
        }
    }
}

#[test]
fn a_restarted_partition_remembers_nobody() {
    let mut world = World::new(Preset::Hafnium, partitions());
    world.spmc.restart(SP1);
    let answer = world.tell(Destroyed, VM1, SP1);
    assert_eq!(status(&answer, Destroyed, VM1), Some(InvalidParameters));
}

#[test]
fn optee_knows_no_guest_zero() {
    let mut world = World::new(Preset::Optee, partitions());
    let answer = world.tell(Created, PartitionId(0), SP1);
    assert_eq!(status(&answer, Created, PartitionId(0)), Some(InvalidParameters));
}

#[test]
fn running_what_is_not_preempted() {
    for (preset, [idle, vm, nobody, vcpu]) in Preset::ALL.into_iter().zip([
        [Ok(()), Err(Denied), Err(InvalidParameters), Err(InvalidParameters)],
        [Ok(()), Err(InvalidParameters), Err(InvalidParameters), Err(InvalidParameters)],
        [Err(InvalidParameters), Err(InvalidParameters), Err(InvalidParameters), Err(Denied)],
        [Err(Denied), Err(InvalidParameters), Err(InvalidParameters), Err(InvalidParameters)],
    ]) {
        let mut world = World::new(preset, partitions());
        let mut run = |sp: PartitionId, vcpu| match Answer::from_regs(&world.run(sp, vcpu)) {
            Answer::MsgWait => Ok(()),
            Answer::Error(status) => Err(status.for_guest()),
            other => panic!("{other:?}"),
        };
        assert_eq!(run(SP1, 0), idle, "{preset:?}: idle");
        assert_eq!(run(VM1, 0), vm, "{preset:?}: a VM");
        assert_eq!(run(PartitionId(0x8055), 0), nobody, "{preset:?}: nobody");
        assert_eq!(run(SP1, 9), vcpu, "{preset:?}: no such context");
    }
}

#[test]
fn the_64_bit_form_keeps_its_width_and_its_words() {
    let mut world = World::new(Preset::Hafnium, partitions());
    let wide = 0x1_0000_0007;
    let answer = world.call([0xc400_006f, 0x0001_8001, 0, 5, wide]);
    assert_eq!((answer.x::<0>(), answer.x::<4>()), (0xc400_0070, wide));
    let answer = world.call([0x8400_006f, 0x0001_8001, 0, 5, wide]);
    assert_eq!((answer.x::<0>(), answer.x::<4>()), (0x8400_0070, 7));
}
