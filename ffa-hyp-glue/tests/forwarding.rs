//! RX and TX that the SPMC has: what becomes of their pages when it refuses, forgets or says nothing of use.

mod common;

use common::*;
use ffa_abi::{FirmwareStatus, Function, Properties, Regs, Status, Version};
use ffa_hyp_glue::{Creation, EventKind, Settings};
use ffa_teardown::{Disposal, Phase, Policy, Span, Standing, Subject};
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::Machine;
use ffa_test_utils::spmc::{Config, Limits, Preset, RxOwner, Script, SpConfig};

const MAP: u64 = 0xc400_0066;
const UNMAP: u64 = 0x8400_0067;
const RELEASE: u64 = 0x8400_0065;
const LIST: u64 = 0x8400_0068;

const DONE: Regs = Regs([0x8400_0061, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// Those of the presets that have the buffers of VMs.
const SERVE: [Preset; 2] = [Preset::Hafnium, Preset::Strict];

/// Every status of FF-A but one.
const STATUSES: [Status; 9] = [
    Status::NotSupported,
    Status::InvalidParameters,
    Status::NoMemory,
    Status::Busy,
    Status::Interrupted,
    Status::Denied,
    Status::Retry,
    Status::NoData,
    Status::NotReady,
];

/// Answers of which nobody can tell what was done. The call was carried out.
const UNCLEAR: [FaultAction; 5] = [
    FaultAction::Lose(FirmwareStatus::Known(Status::Aborted)),
    FaultAction::Lose(FirmwareStatus::Other(-77)),
    FaultAction::Lose(FirmwareStatus::Other(0)),
    FaultAction::W0(0x8400_006b),
    FaultAction::W0(0xffff_ffff),
];

fn once(function: Function, action: FaultAction) -> FaultPlan {
    plan(function, When::Nth(1), action)
}

fn plan(function: Function, when: When, action: FaultAction) -> FaultPlan {
    FaultPlan::new([Fault { call: CallKind::function(function), when, action }])
}

fn refuse(status: Status) -> FaultAction {
    FaultAction::Refuse(status.into())
}

fn booted(config: impl Into<Config>, disposal: Disposal) -> World {
    let properties = SpConfig::SUBSCRIBED.or(Properties::INDIRECT_MESSAGES);
    let sps = [SP1, SP2].map(|sp| SpConfig::new(sp, Script::GOOD).with_properties(properties));
    let settings =
        Settings { teardown: Policy { disposal, ..Policy::DEFAULT }, vm_to_vm: true, ..Settings::DEFAULT };
    World::boot(Machine { settings, ..machine(config, sps.to_vec()) })
}

/// VM 1 has negotiated, and the plan begins.
fn negotiated(preset: Preset, disposal: Disposal, faults: FaultPlan) -> World {
    let mut world = booted(preset, disposal);
    assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
    world.negotiate(VM1, Version::V1_1);
    *world.hypervisor.plan_mut() = faults;
    world
}

/// VM 1 has buffers, and then the plan begins.
fn mapped(preset: Preset, disposal: Disposal, faults: FaultPlan) -> World {
    let mut world = negotiated(preset, disposal, FaultPlan::none());
    world.map(VM1);
    assert!(has_buffers(&world));
    *world.hypervisor.plan_mut() = faults;
    world
}

/// Whether the SPMC has buffers of VM 1.
fn has_buffers(world: &World) -> bool {
    world.hypervisor.spmc().kept().any(|kept| kept.vm == VM1 && kept.buffers)
}

fn rx(world: &World) -> Option<RxOwner> {
    world.hypervisor.spmc().kept().find(|kept| kept.vm == VM1 && kept.buffers).map(|kept| kept.rx)
}

fn all_gone(world: &mut World) {
    world.destroy(VM1);
    gone(world);
}

fn gone(world: &mut World) {
    assert!(world.hypervisor.settle(LONG), "{}", world.preset);
    world.check_all_gone();
    assert_eq!(world.hypervisor.spmc().kept().count(), 0, "{}", world.preset);
}

/// Sharing a page tells whether it is held.
fn is_free(world: &mut World, page: u64) -> bool {
    // From buffers of its own.
    let buffers = [PAGES + 8 * PAGE, PAGES + 9 * PAGE];
    assert_eq!(world.call(VM1, [MAP, buffers[0], buffers[1], 1]), DONE, "{}", world.preset);
    let bytes = descriptor(Version::V1_1, VM1, SP1, &[(page, 1)]);
    world.hypervisor.write(VM1, buffers[0], &bytes);
    let answer = world.call(VM1, [MEM_SHARE, bytes.len() as u64, bytes.len() as u64]);
    let free = handle_of(&answer).is_some();
    assert!(free || answer == Regs::error(Status::Denied), "{answer:x?}");
    free
}

#[test]
fn an_spmc_that_does_not_want_the_buffers_does_not_have_them() {
    for preset in SERVE {
        for status in STATUSES {
            let faults = once(Function::RxTxMap, refuse(status));
            let mut world = negotiated(preset, Disposal::Zombie, faults);
            let answer = world.call(VM1, [MAP, TX, RX, 1]);
            assert!(!has_buffers(&world));
            if matches!(status, Status::NoMemory | Status::Denied) {
                // It has no room for them: the guest has its buffers all the same, but for messages of SPs.
                assert_eq!(answer, DONE, "{} {status}", preset.name());
                assert_eq!(world.call(VM1, [LIST])[0], DONE[0]);
                assert_eq!(world.call(VM1, [RELEASE]), DONE);
                assert_eq!(world.call(VM1, [RELEASE]), Regs::error(Status::Denied));
                assert_eq!(world.call(VM1, [UNMAP]), DONE);
                assert!(!has_buffers(&world));
            } else {
                assert_eq!(answer, Regs::error(status), "{}", preset.name());
            }
            assert!(is_free(&mut world, RX), "{} {status}", preset.name());
            all_gone(&mut world);
        }
    }
}

#[test]
fn buffers_that_the_spmc_may_have_stay_held_until_it_says_that_it_has_not() {
    for preset in SERVE {
        for action in UNCLEAR {
            let faults = once(Function::RxTxMap, action);
            let mut world = negotiated(preset, Disposal::Zombie, faults);
            let answer = world.call(VM1, [MAP, TX, RX, 1]);
            assert_eq!(answer, Regs::error(Status::Aborted), "{} {action:?}", preset.name());
            assert!(has_buffers(&world));
            assert_eq!(world.call(VM1, [UNMAP]), Regs::error(Status::InvalidParameters));
            // The SPMC has buffers of this VM already, so that others are the guest's and the mediator's alone.
            assert!(!is_free(&mut world, TX), "{} {action:?}", preset.name());
            assert_eq!(world.call(VM1, [MAP, TX, RX, 1]), Regs::error(Status::Denied));
            world.check();
            all_gone(&mut world);
        }
        // One that never had them says that it cannot unmap them, which is no confirmation.
        let faults = once(Function::RxTxMap, refuse(Status::Aborted));
        let mut world = negotiated(preset, Disposal::Zombie, faults);
        assert_eq!(world.call(VM1, [MAP, TX, RX, 1]), Regs::error(Status::Aborted));
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check();
        assert_eq!(world.hypervisor.frames().orphans, 2, "{}", preset.name());
        assert_eq!(world.hypervisor.report(VM1).unwrap().quarantined, 1);
    }
}

#[test]
fn a_guest_whose_buffers_are_not_unmapped_has_them_still() {
    for preset in SERVE {
        for owned in [false, true] {
            for status in STATUSES {
                let faults = once(Function::RxTxUnmap, refuse(status));
                let mut world = mapped(preset, Disposal::Zombie, faults);
                if owned {
                    assert_eq!(world.call(VM1, [LIST])[0], DONE[0]);
                }
                assert_eq!(world.call(VM1, [UNMAP]), Regs::error(status), "{}", preset.name());
                assert!(has_buffers(&world));
                assert_eq!(world.call(VM1, [MAP, TX, RX, 1]), Regs::error(Status::Denied));
                // RX was given back before that.
                assert_eq!(world.call(VM1, [LIST])[0], DONE[0], "{} {status}", preset.name());
                assert_eq!(world.call(VM1, [UNMAP]), DONE);
                assert!(is_free(&mut world, RX));
                all_gone(&mut world);
            }
        }
    }
}

/// H-23: what passes is tried again.
#[test]
fn h23_an_unmapping_that_fails_in_teardown_is_tried_again() {
    for preset in SERVE {
        for status in [Status::Busy, Status::Retry, Status::Interrupted, Status::Denied, Status::NoMemory] {
            let faults = plan(Function::RxTxUnmap, When::First(3), refuse(status));
            let mut world = mapped(preset, Disposal::Zombie, faults);
            world.destroy(VM1);
            gone(&mut world);
            assert_eq!(world.hypervisor.plan_mut().fired(0), 3, "{} {status}", preset.name());
        }
    }
}

#[test]
fn buffers_whose_unmapping_is_given_up_are_quarantined_named_and_come_back_with_a_retry() {
    for preset in SERVE {
        for status in [Status::InvalidParameters, Status::Aborted, Status::NotSupported] {
            for disposal in [Disposal::Zombie, Disposal::HandOver] {
                let faults = plan(Function::RxTxUnmap, When::Every, refuse(status));
                let mut world = mapped(preset, disposal, faults);
                world.share(VM1, SP1, &[(PAGES, 3)]);
                world.destroy(VM1);
                assert!(world.hypervisor.settle(LONG), "the timer falls silent");
                world.check();
                let what = format!("{} {status} {disposal:?}", preset.name());
                let report = world.hypervisor.report(VM1).expect("its buffers are held");
                assert_eq!((report.shares, report.quarantined, report.pages), (0, 1, 2), "{what}");
                let frames = world.hypervisor.frames();
                let held = if disposal == Disposal::Zombie { (0, 2) } else { (2, 0) };
                assert_eq!((frames.leaked, frames.orphans), held, "{what}");
                let listed = world.hypervisor.mediator().quarantined(0).expect("listed");
                assert_eq!((listed.vm, listed.pages), (VM1, 2), "{what}");
                let is_buffers =
                    matches!(listed.subject, Subject::Standing { what: Standing::RxTxMapped, .. });
                assert!(is_buffers, "{what}");
                assert_eq!(listed.last.and_then(|last| last.status()), Some(status.into()));
                assert_eq!(world.hypervisor.mediator().quarantined(1), None);
                let events = world.hypervisor.take_events().into_iter();
                let told = events.filter(|(_, event)| event.kind == EventKind::Quarantined { pages: 2 });
                assert_eq!(told.count(), 1, "{what}: told once");
                assert!(world.hypervisor.create(VM1, &REGIONS).is_err(), "the ID is not free");
                // A retry that is of no use changes nothing.
                assert_eq!(world.hypervisor.retry(Some(VM1)), Ok(1));
                assert!(world.hypervisor.settle(LONG));
                world.check();
                let frames = world.hypervisor.frames();
                assert_eq!((frames.leaked, frames.orphans), held, "{what}");
                *world.hypervisor.plan_mut() = FaultPlan::none();
                assert_eq!(world.hypervisor.retry(Some(VM1)), Ok(1));
                gone(&mut world);
                assert_eq!(world.hypervisor.frames().leaked, 0, "{what}");
                assert_eq!(world.hypervisor.mediator().quarantined(0), None);
            }
        }
    }
}

#[test]
fn an_unmapping_of_which_nobody_knows_keeps_the_pages() {
    for preset in SERVE {
        for action in UNCLEAR {
            for by_guest in [false, true] {
                let faults = once(Function::RxTxUnmap, action);
                let mut world = mapped(preset, Disposal::Zombie, faults);
                if by_guest {
                    let answer = world.call(VM1, [UNMAP]);
                    assert_ne!(answer[0], DONE[0], "{} {action:?}", preset.name());
                    assert_eq!(world.call(VM1, [MAP, TX, RX, 1]), Regs::error(Status::Denied));
                }
                world.destroy(VM1);
                assert!(world.hypervisor.settle(LONG));
                world.check();
                // The SPMC has forgotten them, but has not said so in a way that can be believed.
                assert_eq!(world.hypervisor.frames().orphans, 2, "{} {action:?}", preset.name());
                assert_eq!(world.hypervisor.report(VM1).unwrap().quarantined, 1);
            }
        }
    }
}

#[test]
fn rx_that_the_spmc_does_not_lend_stays_where_it_is() {
    for preset in SERVE {
        for status in STATUSES {
            let mut world = mapped(preset, Disposal::Zombie, once(Function::RxAcquire, refuse(status)));
            // An SP may just have put a message there.
            let told = if status == Status::Denied { Status::Busy } else { status };
            assert_eq!(world.call(VM1, [LIST]), Regs::error(told), "{}", preset.name());
            assert_eq!(rx(&world), Some(RxOwner::Spmc));
            assert_eq!(world.call(VM1, [RELEASE]), Regs::error(Status::Denied));
            assert_eq!(world.call(VM1, [LIST])[0], DONE[0], "{} {status}", preset.name());
            all_gone(&mut world);
        }
        for action in UNCLEAR {
            let mut world = mapped(preset, Disposal::Zombie, once(Function::RxAcquire, action));
            let answer = world.call(VM1, [LIST]);
            assert_ne!(answer[0], DONE[0], "{} {action:?}", preset.name());
            // It may be the mediator's: the guest can give it back, and all is well.
            assert_eq!(world.call(VM1, [LIST]), Regs::error(Status::Busy), "{action:?}");
            assert_eq!(world.call(VM1, [RELEASE]), DONE, "{} {action:?}", preset.name());
            assert_eq!(world.call(VM1, [LIST])[0], DONE[0], "{} {action:?}", preset.name());
            all_gone(&mut world);
        }
    }
}

#[test]
fn rx_that_is_not_taken_back_is_the_guests_still() {
    for preset in SERVE {
        for status in STATUSES {
            let mut world = mapped(preset, Disposal::Zombie, once(Function::RxRelease, refuse(status)));
            assert_eq!(world.call(VM1, [LIST])[0], DONE[0]);
            assert_eq!(world.call(VM1, [RELEASE]), Regs::error(status), "{}", preset.name());
            assert_eq!(rx(&world), Some(RxOwner::Hypervisor));
            assert_eq!(world.call(VM1, [LIST]), Regs::error(Status::Busy));
            assert_eq!(world.call(VM1, [RELEASE]), DONE, "{} {status}", preset.name());
            assert_eq!(world.call(VM1, [LIST])[0], DONE[0]);
            all_gone(&mut world);
        }
    }
}

/// The SPMC has taken RX back, or never does: with its mapping that is over, and the guest can go on with another.
#[test]
fn a_release_that_fails_keeps_no_guest_from_unmapping() {
    for preset in SERVE {
        let refused = STATUSES.map(refuse).into_iter().map(|action| (When::Every, action));
        for (when, action) in refused.chain(UNCLEAR.map(|action| (When::Nth(1), action))) {
            let mut world = mapped(preset, Disposal::Zombie, plan(Function::RxRelease, when, action));
            assert_eq!(world.call(VM1, [LIST])[0], DONE[0]);
            assert_ne!(world.call(VM1, [RELEASE])[0], DONE[0], "{} {action:?}", preset.name());
            assert_eq!(world.call(VM1, [UNMAP]), DONE, "{} {action:?}", preset.name());
            assert!(!has_buffers(&world));
            *world.hypervisor.plan_mut() = FaultPlan::none();
            world.map(VM1);
            assert_eq!(world.call(VM1, [LIST])[0], DONE[0], "{} {action:?}", preset.name());
            all_gone(&mut world);
        }
    }
}

/// The SPMC has taken RX back, and denies that there is anything to release. With the mapping that is over, in either order.
#[test]
fn a_release_that_is_lost_keeps_neither_pages_nor_the_id() {
    for preset in SERVE {
        for action in UNCLEAR {
            let mut world = mapped(preset, Disposal::Zombie, once(Function::RxRelease, action));
            assert_eq!(world.call(VM1, [LIST])[0], DONE[0]);
            assert_ne!(world.call(VM1, [RELEASE])[0], DONE[0], "{} {action:?}", preset.name());
            assert_eq!(world.call(VM1, [RELEASE]), Regs::error(Status::Denied));
            all_gone(&mut world);
            // As new.
            world.live(VM1, Version::V1_1);
            assert_eq!(world.call(VM1, [LIST])[0], DONE[0], "{} {action:?}", preset.name());
            all_gone(&mut world);
        }
        // Both are given up, and the unmapping alone works when it is tried again.
        let fault = |function| Fault {
            call: CallKind::function(function),
            when: When::Every,
            action: refuse(Status::NotSupported),
        };
        let release = fault(Function::RxRelease);
        let faults = FaultPlan::new([release, fault(Function::RxTxUnmap)]);
        let mut world = mapped(preset, Disposal::Zombie, faults);
        assert_eq!(world.call(VM1, [LIST])[0], DONE[0]);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.hypervisor.report(VM1).unwrap().phase, Phase::Over);
        *world.hypervisor.plan_mut() = FaultPlan::new([release]);
        assert_eq!(world.hypervisor.retry(Some(VM1)), Ok(2));
        gone(&mut world);
    }
}

/// No SP runs for these calls as far as FF-A knows. An SPMC for which one does may be interrupted all the same.
#[test]
fn an_spmc_that_is_interrupted_over_buffers_is_resumed() {
    let every = |function, action| plan(function, When::Every, action);
    for preset in SERVE {
        for times in [1, 8] {
            for action in [FaultAction::Interrupt(times), FaultAction::Yield(times, Span::from_millis(3))] {
                let what = format!("{} {action:?}", preset.name());
                let mut world = negotiated(preset, Disposal::Zombie, every(Function::RxTxMap, action));
                assert_eq!(world.call(VM1, [MAP, TX, RX, 1]), DONE, "{what}");
                assert!(has_buffers(&world));
                *world.hypervisor.plan_mut() = every(Function::RxAcquire, action);
                assert_eq!(world.call(VM1, [LIST])[0], DONE[0], "{what}");
                *world.hypervisor.plan_mut() = every(Function::RxRelease, action);
                assert_eq!(world.call(VM1, [RELEASE]), DONE, "{what}");
                *world.hypervisor.plan_mut() = FaultPlan::none();
                all_gone(&mut world);
            }
        }
        // Not for ever: the SPMC may have the buffers, and whoever knows no better keeps their pages.
        let action = FaultAction::Interrupt(9);
        let mut world = negotiated(preset, Disposal::Zombie, every(Function::RxTxMap, action));
        assert_eq!(world.call(VM1, [MAP, TX, RX, 1]), Regs::error(Status::Aborted), "{}", preset.name());
        assert!(!is_free(&mut world, TX));
        world.check();
    }
}

/// Success to FFA_RUN could be another call's, and would give pages back: that is left to teardown, which knows.
#[test]
fn an_unmapping_over_which_an_sp_is_preempted_is_no_confirmation() {
    for preset in SERVE {
        let faults = once(Function::RxTxUnmap, FaultAction::Interrupt(1));
        let mut world = mapped(preset, Disposal::Zombie, faults);
        assert_eq!(world.call(VM1, [UNMAP]), Regs::error(Status::Aborted), "{}", preset.name());
        assert!(has_buffers(&world));
        all_gone(&mut world);
    }
}

/// An SPMC that has room for one VM: the other one has its own buffers, and reaches VMs through them.
#[test]
fn a_vm_for_which_the_spmc_has_no_room_has_its_own_buffers() {
    for preset in SERVE {
        let config = preset.config();
        let limits = Limits { vms: 1, ..config.limits };
        let mut world = booted(Config { limits, ..config }, Disposal::Zombie);
        world.live(VM1, Version::V1_1);
        world.live(VM2, Version::V1_1);
        let with_buffers: Vec<_> = world.hypervisor.spmc().kept().map(|kept| kept.vm).collect();
        assert_eq!(with_buffers, [VM1], "{}", preset.name());
        for vm in [VM1, VM2] {
            assert_eq!(world.call(vm, [LIST])[0], DONE[0]);
            assert_eq!(world.call(vm, [RELEASE]), DONE);
            world.share(vm, SP1, &[(PAGES, 1)]);
        }
        world.destroy(VM2);
        all_gone(&mut world);
    }
}
