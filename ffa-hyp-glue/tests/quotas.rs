//! How many direct requests of one VM are under way at the same time, and that others do not pay for it.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::*;
use ffa_abi::{Function, PartitionId, Properties, Regs, Status, Version};
use ffa_hyp_glue::{Caller, Scratch, Settings};
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Machine, Moment};
use ffa_test_utils::spmc::{Preset, Reaction, Script, SpConfig, Turn};

const REQUEST: u64 = 0x8400_006f;
const RESPONSE: u64 = 0x8400_0070;
const REQUEST2: u64 = 0xc400_008d;
const RUN: u64 = 0x8400_006d;
const BUSY: Status = Status::Busy;

/// Room for two requests of each VM. SP 1 and SP 2 are preempted over each request once, SP 3 answers at once.
fn booted(preset: Preset, plan: FaultPlan) -> World {
    let properties = SpConfig::SUBSCRIBED
        .or(Properties::RECEIVES_DIRECT_REQUESTS)
        .or(Properties::RECEIVES_DIRECT_REQUESTS2);
    let slow = Script::GOOD.on_request(Reaction::always(Turn::ACCEPT.preempted(1)));
    let sps = [(SP1, slow), (SP2, slow), (SP3, Script::GOOD)];
    let sps = sps.map(|(id, script)| SpConfig::new(id, script).with_properties(properties));
    let settings = Settings { calls_per_vm: 2, ..Settings::DEFAULT };
    let mut world = World::boot(Machine { settings, plan, ..machine(preset, sps.into()) });
    for vm in [VM1, VM2] {
        world.live(vm, Version::V1_2);
    }
    world
}

fn world(preset: Preset) -> World {
    booted(preset, FaultPlan::none())
}

fn request(vm: PartitionId, sp: PartitionId) -> [u64; 2] {
    [REQUEST, u64::from(PartitionId::pair(vm, sp))]
}

fn target(sp: PartitionId) -> u64 {
    u64::from(sp.0) << 16
}

/// Requests of VM 1 that SP 1 and SP 2 are preempted in: as many as there may be.
fn reach_the_limit(world: &mut World) {
    for sp in [SP1, SP2] {
        assert_eq!(world.call(VM1, request(VM1, sp)), Regs::new([0x8400_0062, target(sp)]));
    }
}

fn answered(world: &mut World, vm: PartitionId, sp: PartitionId) {
    let answer = world.call(vm, request(vm, sp));
    let response = [RESPONSE, u64::from(PartitionId::pair(sp, vm))];
    assert_eq!(answer.0[..2], response, "{}: {answer:x?}", world.preset);
}

fn ends(world: &mut World) {
    for vm in [VM1, VM2] {
        world.destroy(vm);
    }
    assert!(world.hypervisor.settle(LONG), "{}", world.preset);
    world.check_all_gone();
}

#[test]
fn a_vm_at_its_limit_is_busy_until_one_of_its_requests_ends() {
    every_preset(|preset| {
        let mut world = world(preset);
        reach_the_limit(&mut world);
        for sp in [SP1, SP3] {
            world.refused("one more", VM1, request(VM1, sp), BUSY);
        }
        answered(&mut world, VM2, SP3);
        // To resume is to send nothing new.
        assert_eq!(world.call(VM1, [RUN, target(SP1)]).w::<0>(), RESPONSE as u32);
        answered(&mut world, VM1, SP3);
        assert_eq!(world.call(VM1, request(VM1, SP1)).w::<0>(), 0x8400_0062);
        world.refused("at its limit again", VM1, request(VM1, SP3), BUSY);
        ends(&mut world);
    });
}

#[test]
fn requests_of_both_kinds_count() {
    for preset in [Preset::Hafnium, Preset::Strict] {
        let mut world = world(preset);
        let request2 = |sp| [REQUEST2, u64::from(PartitionId::pair(VM1, sp))];
        assert_eq!(world.call(VM1, request2(SP1)).w::<0>(), 0x8400_0062);
        assert_eq!(world.call(VM1, request(VM1, SP2)).w::<0>(), 0x8400_0062);
        world.refused("1.2", VM1, request2(SP3), BUSY);
        world.refused("1.0", VM1, request(VM1, SP3), BUSY);
        assert_eq!(world.call(VM1, [RUN, target(SP1)]).w::<0>(), 0xc400_008e);
        answered(&mut world, VM1, SP3);
        ends(&mut world);
    }
}

/// Whatever else of a VM is under way is no direct request.
#[test]
fn a_half_sent_transaction_does_not_count() {
    every_preset(|preset| {
        let mut world = world(preset);
        for page in [0, 8] {
            let ranges: Vec<_> = (0..3).map(|n| (PAGES + (page + 2 * n) * PAGE, 1)).collect();
            let bytes = descriptor(Version::V1_2, VM1, SP1, &ranges);
            world.write_tx(VM1, &bytes);
            let answer = world.call(VM1, [MEM_SHARE, bytes.len() as u64, bytes.len() as u64 - 16]);
            assert_eq!(answer.w::<0>(), 0x8400_007a, "{}: {answer:x?}", world.preset);
        }
        reach_the_limit(&mut world);
        world.refused("one more", VM1, request(VM1, SP3), BUSY);
        ends(&mut world);
    });
}

#[test]
fn a_vm_that_comes_again_begins_at_none() {
    every_preset(|preset| {
        let mut world = world(preset);
        reach_the_limit(&mut world);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.hypervisor.report(VM1), None, "{}", preset.name());
        world.live(VM1, Version::V1_2);
        answered(&mut world, VM1, SP3);
        reach_the_limit(&mut world);
        world.refused("one more", VM1, request(VM1, SP3), BUSY);
        ends(&mut world);
    });
}

#[test]
fn what_the_secure_world_refuses_does_not_count() {
    let call = CallKind::function(Function::MsgSendDirectReq);
    let refuse =
        |nth: u32| Fault { call, when: When::Nth(nth), action: FaultAction::Refuse(Status::Denied.into()) };
    let mut world = booted(Preset::Strict, FaultPlan::new([1, 2, 3].map(refuse)));
    for _ in 0..3 {
        assert_eq!(world.call(VM1, request(VM1, SP3)), Regs::error(Status::Denied));
    }
    answered(&mut world, VM1, SP3);
    ends(&mut world);
}

/// SPs work on two requests at this moment: a third vCPU is refused, and one of another VM is not.
#[test]
fn requests_that_are_being_worked_on_count() {
    let mut world = world(Preset::Strict);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let note = Rc::clone(&seen);
    let keys = [VM1, VM2].map(|vm| world.hypervisor.key(vm).expect("it lives"));
    let mediator = Rc::downgrade(world.hypervisor.mediator());
    assert_eq!(world.call(VM1, request(VM1, SP1)).w::<0>(), 0x8400_0062);
    world.hypervisor.set_interloper(Some(Box::new(move |cpu, moment| {
        if matches!(moment, Moment::Smc(regs) if regs.0[..2] == request(VM1, SP3)) {
            let mediator = mediator.upgrade().expect("it is there");
            for vm in keys {
                let mut regs = Regs::new(request(vm.id(), SP2));
                let caller = Caller { vm, vcpu: 1 };
                let _ = mediator.guest_call(cpu, caller, &mut regs, &mut Scratch::new());
                note.borrow_mut().push(regs);
            }
        }
    })));
    answered(&mut world, VM1, SP3);
    world.hypervisor.set_interloper(None);
    assert_eq!(*seen.borrow(), [Regs::error(BUSY), Regs::new([0x8400_0062, target(SP2)])]);
    ends(&mut world);
}

#[test]
fn no_requests_may_be_allowed_at_all() {
    let settings = Settings { calls_per_vm: 0, ..Settings::DEFAULT };
    let mut world = World::with(Machine { settings, ..machine(Preset::Strict, good_sps()) });
    world.refused("a request", VM1, request(VM1, SP1), BUSY);
}
