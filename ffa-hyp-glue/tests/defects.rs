//! Defects that live in other mediators, each impossible here. Those that a refused call or a race shows are in
//! `refusals.rs` and `races.rs`.

mod common;

use common::*;
use ffa_abi::{FirmwareStatus, Function, Properties, Regs, Status, Version, VmAvailability};
use ffa_hyp_glue::{Creation, EventKind, Settings};
use ffa_teardown::{Disposal, End, Phase, Policy, Span};
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Machine, ModelHypervisor, Violation};
use ffa_test_utils::spmc::{Preset, Reaction, Script, SpConfig, Turn};

fn fault(call: CallKind, when: When, action: FaultAction) -> FaultPlan {
    FaultPlan::new([Fault { call, when, action }])
}

const RECLAIM: CallKind = CallKind::function(Function::MemReclaim);
const SHARE: CallKind = CallKind::function(Function::MemShare);
const DESTROYED: CallKind = CallKind::vm_message(VmAvailability::Destroyed);

fn refuse(status: Status) -> FaultAction {
    FaultAction::Refuse(FirmwareStatus::Known(status))
}

fn finished(world: &mut World) -> Vec<End> {
    let ends = world.hypervisor.take_events().into_iter().filter_map(|(_, event)| match event.kind {
        EventKind::Finished { end } => Some(end),
        _ => None,
    });
    ends.collect()
}

/// H-2: a VM of which only VM_DESTROYED is left is not freed before that is delivered.
#[test]
fn h2_an_undelivered_vm_destroyed_keeps_the_vm() {
    every_preset(|preset| {
        let plan =
            fault(DESTROYED.to(SP1), When::First(11), FaultAction::RefuseAsPartition(Status::Retry.into()));
        let mut world = World::faulty(preset, plan);
        world.destroy(VM1);
        world.hypervisor.advance(Span::from_secs(2));
        let report = world.hypervisor.report(VM1).expect("a zombie");
        assert_eq!((report.phase, report.shares, report.referenced), (Phase::Dying, 0, true));
        assert!(world.hypervisor.create(VM1, &REGIONS).is_err(), "the ID is not free");
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
        // Second form: the last share comes back while the message is still refused.
        let plan =
            fault(DESTROYED.to(SP2), When::First(3), FaultAction::RefuseAsPartition(Status::Retry.into()));
        let mut world = World::faulty(preset, plan);
        world.share(VM1, SP1, &[(PAGES, 1)]);
        world.destroy(VM1);
        world.hypervisor.advance(Span::from_millis(1));
        let report = world.hypervisor.report(VM1).expect("not yet");
        assert_eq!((report.shares, report.referenced), (0, true));
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

/// H-3: what failed for good is not tried again each second for ever, and is reported once.
#[test]
fn h3_the_timer_falls_silent_after_a_permanent_failure() {
    every_preset(|preset| {
        for status in [Status::Aborted, Status::InvalidParameters, Status::NotSupported] {
            let mut world = World::faulty(preset, fault(RECLAIM, When::Every, refuse(status)));
            world.share(VM1, SP1, &[(PAGES, 3)]);
            world.destroy(VM1);
            assert!(world.hypervisor.settle(LONG), "{status}");
            let smcs = world.hypervisor.smcs();
            world.hypervisor.advance(Span::from_secs(3600));
            assert_eq!((world.hypervisor.smcs(), world.hypervisor.deadline()), (smcs, None));
            let reports = world.hypervisor.take_events().into_iter();
            let reports = reports.filter(|(_, event)| matches!(event.kind, EventKind::Quarantined { .. }));
            assert_eq!(reports.count(), 1);
            let listed = world.hypervisor.mediator().quarantined(0).expect("it is listed");
            assert_eq!((listed.vm, listed.pages), (VM1, 3));
            assert_eq!(listed.last.and_then(|last| last.status()), Some(status.into()));
            assert_eq!(world.hypervisor.frames().orphans, 3);
            world.check();
            // Nothing is stranded that could be had back.
            *world.hypervisor.plan_mut() = FaultPlan::none();
            assert_eq!(world.hypervisor.retry(Some(VM1)), Ok(1));
            assert!(world.hypervisor.settle(LONG));
            world.check_all_gone();
        }
    });
}

/// H-4: whatever creation had incurred is undone, and the ID is good for another try.
#[test]
fn h4_x24_a_creation_that_fails_is_undone() {
    every_preset(|preset| {
        let refuses = Script::GOOD.on_created(Reaction::first(1, Turn::refuse(Status::Denied)));
        let sps = vec![
            SpConfig::new(SP1, Script::GOOD),
            SpConfig::new(SP2, refuses),
            SpConfig::new(SP3, Script::GOOD),
        ];
        let mut world = World::boot(machine(preset, sps));
        assert!(matches!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Failed(Some(_)))));
        assert!(world.hypervisor.settle(LONG));
        let told = |world: &World, sp| {
            let spmc = world.hypervisor.spmc();
            spmc.told(VM1, sp).iter().map(|told| told.event).collect::<Vec<_>>()
        };
        use VmAvailability::{Created, Destroyed};
        assert_eq!(told(&world, SP1), [Created, Destroyed]);
        assert_eq!(told(&world, SP2), [Created]);
        assert_eq!(told(&world, SP3), []);
        world.check_all_gone();
        world.live(VM1, Version::V1_1);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

/// H-13: an SP that is preempted while it is told is resumed.
#[test]
fn h13_x25_a_message_that_is_interrupted_is_completed_with_run() {
    every_preset(|preset| {
        let slow = Script::GOOD
            .on_created(Reaction::always(Turn::ACCEPT.preempted(2)))
            .on_destroyed(Reaction::always(Turn::ACCEPT.preempted(20).yields(2, Span::from_millis(5))));
        let mut world =
            World::with(machine(preset, vec![SpConfig::new(SP1, slow), SpConfig::new(SP2, Script::GOOD)]));
        world.share(VM1, SP1, &[(PAGES, 1)]);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
        assert_eq!(world.hypervisor.spmc().told(VM1, SP1).len(), 2, "told once of each");
    });
}

/// H-19: an answer to a share that is not understood never gives the pages back.
#[test]
fn h19_f24_an_answer_to_a_share_that_is_not_understood_keeps_the_pages() {
    let spoiled = [
        FaultAction::OtherWidth,
        FaultAction::W0(0x8400_007a),
        FaultAction::W0(0xffff_ffff),
        FaultAction::W0(0x8400_006b),
        FaultAction::Lose(Status::Aborted.into()),
        FaultAction::Lose(FirmwareStatus::from_code(0)),
        FaultAction::Lose(FirmwareStatus::from_code(96)),
        FaultAction::Lose(FirmwareStatus::from_code(-77)),
        FaultAction::GiveHandle(u64::MAX),
    ];
    every_preset(|preset| {
        for action in spoiled {
            let mut world = World::faulty(preset, fault(SHARE, When::Nth(1), action));
            let answer = world.send(VM1, &descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 2)]));
            assert_eq!(answer, Regs::error(Status::Aborted), "{action:?}");
            // The pages cannot be offered again, nor can their handle be named.
            let again = world.send(VM1, &descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 1)]));
            assert_eq!(again, Regs::error(Status::Denied), "{action:?}");
            world.destroy(VM1);
            assert!(world.hypervisor.settle(LONG));
            world.check();
            let held = world.hypervisor.frames().orphans;
            let known = !world.hypervisor.spmc().live_handles().any(|live| live.owner == VM1);
            assert_eq!(held == 0, known, "{}: {action:?}: {held} pages", preset.name());
            assert_eq!(world.hypervisor.report(VM1).is_some(), held > 0);
        }
    });
}

/// F: a handle that is in use already belongs to whoever has it.
#[test]
fn a_handle_that_is_in_use_is_not_taken_for_a_new_share() {
    every_preset(|preset| {
        let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)];
        let plan = fault(SHARE, When::Nth(2), FaultAction::DuplicateHandle);
        let mut world = World::with(Machine { plan, ..machine(preset, sps) });
        let first = world.share(VM1, SP1, &[(PAGES, 1)]);
        let answer = world.send(VM1, &descriptor(Version::V1_1, VM1, SP1, &[(PAGES + 4 * PAGE, 1)]));
        assert_eq!(answer, Regs::error(Status::Aborted));
        assert_eq!(world.reclaim(VM1, first), Regs::success(0, 0));
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check();
        assert_eq!(world.hypervisor.frames().orphans, 1, "the second share's page is kept");
    });
}

/// H-30: what passes is tried again.
#[test]
fn h30_a_reclaim_that_is_not_refused_for_good_is_tried_again() {
    every_preset(|preset| {
        for status in [
            Status::Retry,
            Status::Busy,
            Status::Interrupted,
            Status::NotReady,
            Status::NoMemory,
            Status::Denied,
        ] {
            let mut world = World::faulty(preset, fault(RECLAIM, When::First(3), refuse(status)));
            world.share(VM1, SP1, &[(PAGES, 3)]);
            world.destroy(VM1);
            assert!(world.hypervisor.settle(Span::from_secs(10)), "{status}");
            world.check_all_gone();
        }
    });
}

/// H-21: buffers whose unmapping failed are lost on purpose, and the caller is told.
#[test]
fn h21_a_failed_probe_unmaps_before_it_gives_up() {
    every_preset(|preset| {
        let refused = |function, status| Fault {
            call: CallKind::function(function),
            when: When::Every,
            action: refuse(status),
        };
        let broken = [Function::PartitionInfoGet, Function::PartitionInfoGetRegs]
            .map(|list| refused(list, Status::Aborted));
        let kept = refused(Function::RxTxUnmap, Status::Busy);
        let plans =
            [(FaultPlan::new(broken), false), (FaultPlan::new(broken.into_iter().chain([kept])), true)];
        for (plan, lost) in plans {
            let failure = ModelHypervisor::new(Machine { plan, ..machine(preset, good_sps()) }).unwrap_err();
            assert_eq!(failure.buffers_lost, lost);
        }
    });
}

/// H-29, H-34: there is no mediator whose pages for the SPMC are missing. What another CPU has in use is BUSY, each time.
#[test]
fn h29_h34_without_buffers_for_the_spmc_nothing_is_served() {
    every_preset(|preset| {
        let map = CallKind::function(Function::RxTxMap);
        let plan = fault(map, When::Every, refuse(Status::NoMemory));
        let failure = ModelHypervisor::new(Machine { plan, ..machine(preset, good_sps()) }).unwrap_err();
        assert!(!failure.buffers_lost, "{}", preset.name());
    });
}

/// F21 and F22: versions and lists that make no sense end the probe with an error, not with a panic.
#[test]
fn f21_f22_a_probe_of_nonsense_is_an_error() {
    use FaultAction::{Lose, Values, W0};
    let version = CallKind::function(Function::Version);
    let info = CallKind::function(Function::PartitionInfoGet);
    let bad = [
        (version, W0(0xffff_ffff)),
        (version, W0(0x1_0000)),
        (version, W0(0x2_0000)),
        (version, W0(0)),
        (version, W0(0x8000_0001)),
        (info, Values { w2: 2, w3: 0 }),
        (info, Values { w2: 2, w3: 8 }),
        (info, Values { w2: 2, w3: 25 }),
        (info, Values { w2: 2, w3: u32::MAX }),
        (info, Values { w2: u32::MAX, w3: 24 }),
        (info, Values { w2: 171, w3: 24 }),
        (info, W0(0x8400_0060)),
        (info, W0(0x8400_0062)),
        (info, Lose(Status::Aborted.into())),
        (CallKind::function(Function::RxTxMap), refuse(Status::Denied)),
        (CallKind::function(Function::RxTxMap), W0(0xffff_ffff)),
    ];
    every_preset(|preset| {
        for (call, action) in bad {
            // Whoever does not get the list in registers asks for it in RX.
            let registers = CallKind::function(Function::PartitionInfoGetRegs);
            let plan = FaultPlan::new([
                Fault { call: registers, when: When::Every, action: refuse(Status::NotSupported) },
                Fault { call, when: When::Every, action },
            ]);
            let booted = ModelHypervisor::new(Machine { plan, ..machine(preset, good_sps()) });
            assert!(booted.is_err(), "{}: {call:?} {action:?}", preset.name());
        }
        // A list that is longer than what was counted, or has records of another size, is read by its own stride.
        let mut world = World::new(preset);
        assert_eq!((0..).map_while(|n| world.hypervisor.mediator().partition_at(n)).count(), 2);
        assert!(!world.hypervisor.spmc().is_rx_full());
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
    });
}

/// P14: a VM whose first share was refused still has its reference taken with the next one.
#[test]
fn the_reference_is_taken_with_the_first_share_that_stays() {
    let quiet = |id| SpConfig::new(id, Script::GOOD).with_properties(Properties::RECEIVES_DIRECT_REQUESTS);
    // Without buffers of VMs that the SPMC maps, which are obligations of their own.
    {
        let preset = Preset::TfaEl3;
        let mut world = World::with(machine(preset, vec![quiet(SP1), quiet(SP2)]));
        assert!(!world.hypervisor.report(VM1).unwrap().referenced);
        for ranges in [[(TX, 1)], [(DEVICE, 1)]] {
            let answer = world.send(VM1, &descriptor(Version::V1_1, VM1, SP1, &ranges));
            assert_eq!(answer, Regs::error(Status::Denied));
        }
        world.share(VM1, SP1, &[(PAGES, 2)]);
        assert!(world.hypervisor.report(VM1).unwrap().referenced, "{}", preset.name());
        world.destroy(VM1);
        world.hypervisor.advance(Span::from_millis(10));
        // Nobody told the SP, so it still has the share.
        assert_eq!(world.hypervisor.frames().orphans, 2);
        world.hypervisor.restart(SP1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    }
}

/// The other policy: the VM goes, its pages stay on the hypervisor's list, and a retry still gets them back.
#[test]
fn handed_over_pages_outlive_their_vm_and_come_back_with_a_retry() {
    every_preset(|preset| {
        let teardown = Policy { disposal: Disposal::HandOver, ..Policy::DEFAULT };
        let sps = vec![SpConfig::new(SP1, Script::lost(Status::Aborted)), SpConfig::new(SP2, Script::GOOD)];
        let settings = Settings { teardown, ..Settings::DEFAULT };
        let mut world = World::with(Machine { settings, ..machine(preset, sps) });
        world.share(VM1, SP1, &[(PAGES, 3)]);
        world.share(VM1, SP2, &[(LOOSE, 2)]);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check();
        assert_eq!(finished(&mut world), [End::Retired]);
        assert!(!world.hypervisor.report(VM1).unwrap().referenced);
        assert_eq!((world.hypervisor.frames().leaked, world.hypervisor.frames().orphans), (3, 0));
        assert!(world.hypervisor.create(VM1, &REGIONS).is_err(), "the ID is retired");
        world.live(VM2, Version::V1_1);
        // A retry that is of no use changes nothing: the hypervisor has them on its list.
        assert_eq!(world.hypervisor.retry(None), Ok(1));
        assert!(world.hypervisor.settle(LONG));
        world.check();
        assert_eq!(finished(&mut world), [End::Retired]);
        assert_eq!((world.hypervisor.frames().leaked, world.hypervisor.frames().orphans), (3, 0));
        world.hypervisor.restart(SP1);
        assert_eq!(world.hypervisor.retry(None), Ok(1));
        assert!(world.hypervisor.settle(LONG));
        world.check();
        assert_eq!((world.hypervisor.frames().leaked, world.hypervisor.report(VM1)), (0, None));
    });
}

/// X27: the next VM with the same ID sees nothing of the one before.
#[test]
fn x27_an_id_is_as_new_when_it_is_used_again() {
    every_preset(|preset| {
        let mut world = World::new(preset);
        let handle = world.share(VM1, SP1, &[(PAGES, 1)]);
        assert_eq!(world.call(VM1, [0x8400_0068]).w::<0>(), 0x8400_0061);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
        assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
        assert_eq!(world.call(VM1, [0x8400_0069]), Regs::error(Status::NotSupported), "no version yet");
        world.negotiate(VM1, Version::V1_0);
        world.refused("RX", VM1, [0x8400_0065, 0], Status::Denied);
        world.refused("unmap", VM1, [0x8400_0067, 0], Status::InvalidParameters);
        let [low, high] = handle.words();
        world.refused("an old handle", VM1, [MEM_RECLAIM, low, high], Status::InvalidParameters);
        world.map(VM1);
        world.check();
    });
}

/// The oracle itself: what no mediator of ours does is seen when it is done.
#[test]
fn the_oracle_sees_a_page_that_is_released_too_early_and_one_that_is_released_twice() {
    use ffa_hyp_glue::Pages;
    let mut world = World::new(Preset::Strict);
    world.share(VM1, SP1, &[(PAGES, 1)]);
    let range = ffa_mem::IpaRange::new(PAGES, 1).unwrap();
    let mut cpu = world.hypervisor.cpu(0);
    cpu.release(VM1, range);
    cpu.release(VM1, range);
    let violations = world.hypervisor.violations();
    assert!(
        matches!(violations[0], Violation::Reachable { when: "released", sp: SP1, .. }),
        "{violations:?}"
    );
    assert!(violations.contains(&Violation::ReleasedTwice { vm: VM1, page: PAGES }));
    cpu.release(ffa_abi::PartitionId(99), range);
    let used = Violation::UsedAfterFree { vm: ffa_abi::PartitionId(99), seam: "Pages::release" };
    assert!(world.hypervisor.violations().contains(&used));
}

/// P14: a mapping that fails after the engine has counted the VM's reference as taken has taken it.
#[test]
fn the_reference_is_taken_even_if_the_buffers_are_not() {
    every_preset(|preset| {
        let settings = Settings { vm_to_vm: true, ..Settings::DEFAULT };
        let mut world = World::boot(Machine { settings, ..machine(preset, good_sps()) });
        assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(ffa_hyp_glue::Creation::Live));
        world.negotiate(VM1, Version::V1_1);
        assert_eq!(world.call(VM1, [0xc400_0066, TX, TX, 1]), Regs::error(Status::InvalidParameters));
        world.map(VM1);
        world.share(VM1, SP1, &[(PAGES, 2)]);
        assert!(world.hypervisor.report(VM1).unwrap().referenced, "{}", preset.name());
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}
