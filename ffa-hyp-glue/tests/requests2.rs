//! FFA_MSG_SEND_DIRECT_REQ2: requests to one service of a partition, of 1.2.

mod common;

use common::*;
use ffa_abi::{Function, PartitionId, Properties, Regs, RunTarget, Status, Uuid, Version};
use ffa_hyp_glue::Relation;
use ffa_teardown::Span;
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::Machine;
use ffa_test_utils::spmc::{Mangling, Outcome, Preset, Reaction, Script, SpConfig, Turn};

const REQ2: u64 = 0xc400_008d;
const RESP2: u64 = 0xc400_008e;
const RUN: u64 = 0x8400_006d;
const REQ: u64 = 0x8400_006f;
const FEATURES: u64 = 0x8400_0064;

const INVALID: Status = Status::InvalidParameters;
const BOTH: Properties =
    SpConfig::SUBSCRIBED.or(Properties::RECEIVES_DIRECT_REQUESTS).or(Properties::RECEIVES_DIRECT_REQUESTS2);
/// Services of SP 1.
const SERVICES: [Uuid; 2] = [Uuid([0x11; 16]), Uuid([0x22; 16])];

/// SP 1 has two services, SP 2 behaves as it is told, SP 3 takes only requests of the older form. The first one is built
/// into OP-TEE, which has no such requests for it.
fn sps(second: Script) -> Vec<SpConfig> {
    let mut first = SpConfig::new(SP1, Script::GOOD).with_properties(BOTH);
    first.uuids = SERVICES.to_vec();
    let old = SpConfig::SUBSCRIBED.or(Properties::RECEIVES_DIRECT_REQUESTS);
    vec![
        SpConfig::new(PartitionId(0x8004), Script::GOOD).with_properties(BOTH),
        first,
        SpConfig::new(SP2, second).with_properties(BOTH),
        SpConfig::new(SP3, Script::GOOD).with_properties(old),
    ]
}

fn with_plan(preset: Preset, second: Script, plan: FaultPlan) -> World {
    let mut world = World::boot(Machine { plan, ..machine(preset, sps(second)) });
    world.live(VM1, Version::V1_2);
    world.live(VM2, Version::V1_2);
    world
}

fn world(preset: Preset, second: Script) -> World {
    with_plan(preset, second, FaultPlan::none())
}

/// The request with a payload that counts up from x4.
fn request(vm: PartitionId, sp: PartitionId, uuid: Uuid) -> Regs {
    let [x2, x3] = uuid.halves();
    let mut regs = Regs::new([REQ2, u64::from(PartitionId::pair(vm, sp)), x2, x3]);
    for (at, x) in regs.0.iter_mut().enumerate().skip(4) {
        *x = 0x0abc_0000_0000 + at as u64;
    }
    regs
}

/// The echo of a modelled partition: x4 and x17 are marked by this run.
fn echo(preset: Preset, vm: PartitionId, sp: PartitionId) -> Regs {
    let mut regs = request(vm, sp, Uuid::NIL);
    (regs[0], regs[1]) = (RESP2, u64::from(PartitionId::pair(sp, vm)));
    let nonce = u64::from(preset.config().nonce);
    regs[4] = u64::from((regs[4] as u32).wrapping_add(nonce as u32));
    regs[17] = nonce;
    regs
}

/// All registers are the guest's to give here.
fn call(world: &mut World, vm: PartitionId, vcpu: u16, mut regs: Regs) -> Regs {
    let _ = world.hypervisor.call(vm, vcpu, &mut regs).expect("the VM is there");
    regs
}

fn refused(world: &mut World, what: &str, vm: PartitionId, regs: Regs, status: Status) {
    let smcs = world.hypervisor.smcs();
    assert_eq!(call(world, vm, 0, regs), Regs::error(status), "{}: {what}", world.preset);
    assert_eq!(world.hypervisor.smcs(), smcs, "{}: {what} reached the secure world", world.preset);
}

fn all_gone(world: &mut World) {
    for vm in [VM1, VM2] {
        world.destroy(vm);
    }
    assert!(world.hypervisor.settle(LONG), "{}", world.preset);
    world.check_all_gone();
}

#[test]
fn all_14_words_go_to_the_service_and_come_back() {
    every_preset(|preset| {
        let mut world = world(preset, Script::GOOD);
        for (sp, uuid) in [(SP1, SERVICES[0]), (SP1, SERVICES[1]), (SP1, Uuid::NIL), (SP2, Uuid::NIL)] {
            if uuid == SERVICES[1] && !preset.config().quirks.record_per_uuid {
                // Nobody was told of this service.
                refused(&mut world, "not listed", VM1, request(VM1, sp, uuid), INVALID);
                continue;
            }
            let _ = world.hypervisor.take_smcs();
            let answer = call(&mut world, VM1, 0, request(VM1, sp, uuid));
            assert_eq!(answer, echo(preset, VM1, sp), "{} {uuid:?}", preset.name());
            let smcs = world.hypervisor.take_smcs();
            assert_eq!(smcs.iter().map(|smc| smc.regs).collect::<Vec<_>>(), [request(VM1, sp, uuid)]);
        }
        world.check();
        all_gone(&mut world);
    });
}

#[test]
fn guests_below_1_2_do_not_have_it() {
    every_preset(|preset| {
        for version in [Version::V1_0, Version::V1_1] {
            let mut world = World::boot(machine(preset, sps(Script::GOOD)));
            world.live(VM1, version);
            refused(&mut world, "1.1", VM1, request(VM1, SP1, Uuid::NIL), Status::NotSupported);
            world.refused("FEATURES", VM1, [FEATURES, REQ2], Status::NotSupported);
        }
        // Nor does anybody have it in 32 bits.
        let mut world = world(preset, Script::GOOD);
        let narrow = Regs::new([0x8400_008d, u64::from(PartitionId::pair(VM1, SP1))]);
        refused(&mut world, "32 bits", VM1, narrow, Status::NotSupported);
        assert_eq!(world.call(VM1, [FEATURES, REQ2]), Regs::success(0, 0), "{}", preset.name());
        // The response is the SP's to give.
        let response = echo(preset, VM1, SP1);
        refused(&mut world, "X17", VM1, response, Status::NotSupported);
    });
}

#[test]
fn x12_x14_what_is_refused() {
    every_preset(|preset| {
        let mut world = world(preset, Script::GOOD);
        let nil = |sender, receiver| request(sender, receiver, Uuid::NIL);
        let (nobody, hypervisor) = (PartitionId(0x8055), PartitionId(0));
        let rows = [
            ("X12 another sender", nil(VM2, SP1), INVALID),
            ("X12 the hypervisor as sender", nil(hypervisor, SP1), INVALID),
            ("X12 an SP as sender", nil(SP2, SP1), INVALID),
            ("X12 to itself", nil(VM1, VM1), INVALID),
            ("X12 to the hypervisor", nil(VM1, hypervisor), INVALID),
            ("X12 to another guest", nil(VM1, VM2), INVALID),
            ("X12 to the SPMC", nil(VM1, PartitionId(0x8000)), INVALID),
            ("X12 to nobody", nil(VM1, nobody), INVALID),
            ("X14 to an SP that takes only the older form", nil(VM1, SP3), Status::Denied),
            ("a service that nobody has", request(VM1, SP1, Uuid([9; 16])), INVALID),
            ("another SP's service", request(VM1, SP2, SERVICES[0]), INVALID),
        ];
        for (name, regs, status) in rows {
            refused(&mut world, name, VM1, regs, status);
        }
        world.hypervisor.permit(|vm, what, sp| (vm, what, sp) != (VM1, Relation::Message, SP1));
        refused(&mut world, "not permitted", VM1, nil(VM1, SP1), INVALID);
        assert_eq!(call(&mut world, VM2, 0, nil(VM2, SP1)), echo(preset, VM2, SP1));
        world.check();
        all_gone(&mut world);
    });
}

/// H-9: only the vCPU that an SP works for may resume it, and only that one gets the answer.
#[test]
fn a_request_that_is_interrupted_is_run_by_the_vcpu_that_made_it() {
    every_preset(|preset| {
        let busy =
            Script::GOOD.on_request(Reaction::first(1, Turn::ACCEPT.preempted(2).yields(1, Span::ZERO)));
        let mut world = world(preset, busy);
        let target = RunTarget { endpoint: SP2, vcpu: 0 };
        let run = Regs::new([RUN, u64::from(target.word())]);
        let interrupted = Regs::new([0x8400_0062, u64::from(target.word())]);
        assert_eq!(call(&mut world, VM1, 0, request(VM1, SP2, Uuid::NIL)), interrupted);
        refused(&mut world, "another VM", VM2, run, Status::Denied);
        assert_eq!(call(&mut world, VM1, 1, run), Regs::error(Status::Denied), "another vCPU");
        // X15.
        let second = call(&mut world, VM2, 0, request(VM2, SP2, Uuid::NIL));
        assert_eq!(second, Regs::error(Status::Busy), "{}", preset.name());
        assert_eq!(call(&mut world, VM1, 0, run), interrupted, "{}", preset.name());
        assert_eq!(call(&mut world, VM1, 0, run), Regs::new([0x8400_006c, u64::from(target.word())]));
        assert_eq!(call(&mut world, VM1, 0, run), echo(preset, VM1, SP2), "{}", preset.name());
        refused(&mut world, "it has ended", VM1, run, Status::Denied);
        world.check();
        all_gone(&mut world);
    });
}

/// X26: a dead guest's request is finished on its behalf.
#[test]
fn a_request_of_a_dead_guest_is_finished_and_holds_nobody_up() {
    every_preset(|preset| {
        let busy = Script::GOOD.on_request(Reaction::first(1, Turn::ACCEPT.preempted(3)));
        let mut world = world(preset, busy);
        let answer = call(&mut world, VM1, 0, request(VM1, SP2, Uuid::NIL));
        assert_eq!(answer, Regs::new([0x8400_0062, 0x8002_0000]), "{}", preset.name());
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.hypervisor.report(VM1), None);
        assert!(!world.hypervisor.spmc().is_paused(SP2));
        assert_eq!(call(&mut world, VM2, 0, request(VM2, SP2, Uuid::NIL)), echo(preset, VM2, SP2));
        world.destroy(VM2);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

/// A response that is not the one to this request is an error, and no word of it reaches the guest.
#[test]
fn a_response_that_does_not_fit_is_an_error() {
    let request2 = CallKind::function(Function::MsgSendDirectReq2);
    let actions = [
        // In the other width, and in the form of the older request.
        FaultAction::W0(0x8400_008e),
        FaultAction::W0(0xc400_0070),
        FaultAction::W0(0x8400_0070),
        FaultAction::W0(0x8400_0061),
        FaultAction::W0(0xc400_0061),
        FaultAction::W0(0xffff_ffff),
        FaultAction::Mangle(Mangling::SwappedIds),
        FaultAction::Mangle(Mangling::OtherSender),
        FaultAction::Lose(Status::Aborted.into()),
    ];
    every_preset(|preset| {
        for action in actions {
            let plan = FaultPlan::new([Fault { call: request2, when: When::Nth(1), action }]);
            let mut world = with_plan(preset, Script::GOOD, plan);
            let answer = call(&mut world, VM1, 0, request(VM1, SP1, Uuid::NIL));
            assert_eq!(world.hypervisor.plan_mut().fired(0), 1, "{action:?}");
            assert_eq!(answer, Regs::error(Status::Aborted), "{}: {action:?}", preset.name());
            let answer = call(&mut world, VM1, 0, request(VM1, SP1, Uuid::NIL));
            assert_eq!(answer, echo(preset, VM1, SP1), "{}: {action:?}", preset.name());
            world.check();
            all_gone(&mut world);
        }
    });
}

/// What the secure world says instead of a response.
#[test]
fn an_error_is_passed_on_with_nothing_beside_it() {
    every_preset(|preset| {
        for status in [Status::Busy, Status::Denied, Status::NoMemory, Status::Retry] {
            let fails = Script::GOOD.on_request(Reaction::always(Turn::new(Outcome::Error(status))));
            let mut world = world(preset, fails);
            let answer = call(&mut world, VM1, 0, request(VM1, SP2, Uuid::NIL));
            assert_eq!(answer, Regs::error(status), "{}", preset.name());
            all_gone(&mut world);
        }
    });
}

/// Both forms, one after the other, on one vCPU: what was asked in one is not answered in the other.
#[test]
fn the_older_form_is_answered_in_the_older_form() {
    every_preset(|preset| {
        let mut world = world(preset, Script::GOOD);
        for _ in 0..2 {
            let answer = call(&mut world, VM1, 0, request(VM1, SP1, SERVICES[0]));
            assert_eq!(answer, echo(preset, VM1, SP1));
            let answer = world.call(VM1, [REQ, u64::from(PartitionId::pair(VM1, SP1)), 0, 1, 2]);
            assert_eq!(answer[0], 0x8400_0070, "{}", preset.name());
            assert_eq!(answer.0[8..], [0; 10]);
        }
        all_gone(&mut world);
    });
}
