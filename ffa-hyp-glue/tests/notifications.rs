//! Notifications: from SPs, from other VMs, to SPs; who hears of them, and what is left of them.

mod common;

use common::*;
use ffa_abi::{NotificationBitmap, PartitionId, Properties, Regs, Status, Version};
use ffa_hyp_glue::{EventKind, GuestInterrupts, Settings};
use ffa_teardown::Span;
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Interrupt, Machine};
use ffa_test_utils::spmc::{Preset, Script, SpConfig};

const FEATURES: u64 = 0x8400_0064;
const BIND: u64 = 0x8400_007f;
const UNBIND: u64 = 0x8400_0080;
const SET: u64 = 0x8400_0081;
const GET: u64 = 0x8400_0082;
const INFO_GET_32: u64 = 0x8400_0083;
const INFO_GET: u64 = 0xc400_0083;

const INVALID: Status = Status::InvalidParameters;
const DONE: Regs = Regs([0x8400_0061, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const NPI: u32 = GuestInterrupts::SGI.notification_pending;

/// Those of the presets that keep notifications.
const SERVE: [Preset; 3] = [Preset::Hafnium, Preset::Optee, Preset::Strict];

fn from_sp1(vm: PartitionId) -> u64 {
    u64::from(SP1.0) << 16 | u64::from(vm.0)
}

fn pair(sender: PartitionId, receiver: PartitionId) -> u64 {
    u64::from(sender.0) << 16 | u64::from(receiver.0)
}

/// Two partitions with notifications, and VMs 1 and 2 that may reach each other.
fn world(preset: Preset) -> World {
    with_plan(preset, FaultPlan::none())
}

fn with_plan(preset: Preset, plan: FaultPlan) -> World {
    let properties = SpConfig::SUBSCRIBED.or(Properties::RECEIVES_NOTIFICATIONS);
    let sps = [SP1, SP2].map(|sp| SpConfig::new(sp, Script::GOOD).with_properties(properties));
    let settings = Settings { interrupts: Some(GuestInterrupts::SGI), vm_to_vm: true, ..Settings::DEFAULT };
    let mut world = World::boot(Machine { settings, plan, ..machine(preset, sps.to_vec()) });
    world.hypervisor.permit(|_, _, _| true);
    world.live(VM1, Version::V1_1);
    world.live(VM2, Version::V1_2);
    world.hypervisor.take_interrupts();
    world
}

fn all_gone(world: &mut World) {
    for vm in [VM1, VM2] {
        if world.hypervisor.report(vm).is_some() {
            world.destroy(vm);
        }
    }
    assert!(world.hypervisor.settle(LONG), "{}", world.preset);
    world.check_all_gone();
    assert_eq!(world.hypervisor.spmc().kept().count(), 0, "{}", world.preset);
}

fn signal(world: &mut World, vm: PartitionId, bits: u64) {
    world
        .hypervisor
        .spmc_mut()
        .set_notification(SP1, vm, NotificationBitmap(bits), None)
        .expect("it is bound");
    // The interrupt is taken when the normal world runs again.
    world.hypervisor.advance(Span::from_millis(1));
}

fn interrupt(vm: PartitionId, vcpu: u16) -> Interrupt {
    Interrupt { vm, vcpu, intid: NPI }
}

#[test]
fn what_an_sp_signals_reaches_the_vm_that_let_it() {
    for preset in SERVE {
        let mut world = world(preset);
        assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 0x5, 1 << 31]), DONE, "{}", preset.name());
        signal(&mut world, VM1, 0x4);
        assert_eq!(world.hypervisor.take_interrupts(), [interrupt(VM1, 0)], "{}", preset.name());
        assert_eq!(world.call(VM2, [INFO_GET]), Regs::error(Status::NoData), "not its business");
        let listed = [0xc400_0061, 0, 1 << 7, 1];
        assert_eq!(world.call(VM1, [INFO_GET]), Regs::new(listed), "{}", preset.name());
        assert_eq!(world.call(VM1, [INFO_GET]), Regs::error(Status::NoData), "told once");
        // Pending ones cannot be unbound.
        let denied = Regs::error(Status::Denied);
        assert_eq!(world.call(VM1, [UNBIND, from_sp1(VM1), 0, 0x4, 0]), denied);
        assert_eq!(world.call(VM2, [GET, 2, 5]), DONE);
        assert_eq!(world.call(VM1, [GET, 1, 5]), Regs::new([0x8400_0061, 0, 0x4]));
        assert_eq!(world.call(VM1, [GET, 1 << 16 | 1, 0xf]), DONE);
        assert_eq!(world.call(VM1, [UNBIND, from_sp1(VM1), 0, 0x4, 0]), DONE);
        assert_eq!(world.call(VM1, [UNBIND, from_sp1(VM1), 0, 0x4, 0]), denied);
        world.check();
        all_gone(&mut world);
    }
}

#[test]
fn sps_take_what_a_vm_signals_where_the_secure_world_lets_it() {
    for preset in SERVE {
        let mut world = world(preset);
        let ids = NotificationBitmap(1 << 40);
        let answer = world.call(VM1, [SET, pair(VM1, SP1), 0, 0, 1 << 8]);
        if world.hypervisor.spmc_mut().allow_notifications(SP1, VM1, ids).is_err() {
            assert_eq!(answer, Regs::error(Status::NotSupported), "OP-TEE says so only when it is asked");
            continue;
        }
        assert_eq!(answer, Regs::error(Status::Denied), "not bound yet");
        assert_eq!(world.call(VM1, [SET, pair(VM1, SP1), 0, 0, 1 << 8]), DONE);
        assert_eq!(world.call(VM2, [SET, pair(VM2, SP1), 0, 0, 1 << 8]), Regs::error(Status::Denied));
        world.check();
        all_gone(&mut world);
    }
}

#[test]
fn vms_signal_each_other_globally_and_by_vcpu() {
    every_preset(|preset| {
        let mut world = world(preset);
        assert_eq!(world.call(VM1, [BIND, pair(VM2, VM1), 0, 1]), DONE);
        assert_eq!(world.call(VM1, [BIND, pair(VM2, VM1), 1, 2]), DONE);
        assert_eq!(world.call(VM1, [BIND, pair(VM2, VM1), 0, 3]), Regs::error(Status::Denied), "once");
        let smcs = world.hypervisor.smcs();
        assert_eq!(world.call(VM2, [SET, pair(VM2, VM1), 0, 1]), DONE);
        assert_eq!(world.hypervisor.take_interrupts(), [interrupt(VM1, 0)]);
        assert_eq!(world.call(VM2, [SET, pair(VM2, VM1), 0, 1]), DONE);
        assert_eq!(world.hypervisor.take_interrupts(), [], "it is pending already");
        assert_eq!(world.call(VM2, [SET, pair(VM2, VM1), 1 << 16 | 1, 2]), DONE);
        assert_eq!(world.hypervisor.take_interrupts(), [interrupt(VM1, 1)]);
        // One list for the VM, one with its vCPU 1; four IDs of 16 bits in x3, or two in w3.
        let lists = 2 << 7 | 1 << 14;
        assert_eq!(world.call(VM1, [INFO_GET]), Regs::new([0xc400_0061, 0, lists, 0x1_0001_0001]));
        assert_eq!(world.call(VM1, [INFO_GET_32]), Regs::error(Status::NoData));
        assert_eq!(world.call(VM1, [GET, 1, 2]), Regs::new([0x8400_0061, 0, 0, 0, 1]));
        assert_eq!(world.call(VM1, [GET, 1, 2]), DONE, "not the other vCPU's");
        assert_eq!(world.call(VM1, [GET, 1 << 16 | 1, 2]), Regs::new([0x8400_0061, 0, 0, 0, 2]));
        assert_eq!(world.hypervisor.smcs(), smcs, "the secure world has no part in this");
        assert_eq!(world.call(VM1, [UNBIND, pair(VM2, VM1), 0, 3]), DONE);
        assert_eq!(world.call(VM2, [SET, pair(VM2, VM1), 0, 1]), Regs::error(Status::Denied));
        all_gone(&mut world);
    });
}

#[test]
fn x18_to_x22_what_is_refused() {
    every_preset(|preset| {
        let mut world = world(preset);
        assert_eq!(world.call(VM1, [BIND, pair(VM2, VM1), 0, 1]), DONE);
        assert_eq!(world.call(VM1, [BIND, pair(VM2, VM1), 1, 2]), DONE);
        let set = pair(VM2, VM1);
        let rows: &[(&str, PartitionId, [u64; 5], Status)] = &[
            ("X18 a flag", VM1, [BIND, from_sp1(VM1), 2, 4, 0], INVALID),
            ("X18 itself", VM1, [BIND, pair(VM1, VM1), 0, 4, 0], INVALID),
            ("X18 nobody", VM1, [BIND, pair(PartitionId(0x8055), VM1), 0, 4, 0], INVALID),
            ("X18 a VM that is not there", VM1, [BIND, pair(PartitionId(7), VM1), 0, 4, 0], INVALID),
            ("X18 the hypervisor", VM1, [BIND, pair(PartitionId(0), VM1), 0, 4, 0], INVALID),
            ("X18 in another's name", VM1, [BIND, from_sp1(VM2), 0, 4, 0], INVALID),
            ("X18 nothing", VM1, [BIND, from_sp1(VM1), 0, 0, 0], INVALID),
            ("X18 bound to another", VM1, [BIND, pair(VM2, VM1), 0, 5, 0], Status::Denied),
            ("X19 not bound", VM2, [UNBIND, pair(VM1, VM2), 0, 1, 0], Status::Denied),
            ("X19 not the sender's", VM1, [UNBIND, from_sp1(VM1), 0, 1, 0], Status::Denied),
            ("X19 nobody's", VM1, [UNBIND, pair(PartitionId(0), VM1), 0, 8, 0], Status::Denied),
            ("X19 flags", VM1, [UNBIND, pair(VM2, VM1), 1, 2, 0], INVALID),
            ("X20 in another's name", VM1, [SET, set, 0, 1, 0], INVALID),
            ("X20 nobody", VM2, [SET, pair(VM2, PartitionId(0x8055)), 0, 1, 0], INVALID),
            ("X20 a VM that is not there", VM2, [SET, pair(VM2, PartitionId(7)), 0, 1, 0], INVALID),
            ("X20 not bound", VM2, [SET, set, 0, 4, 0], Status::Denied),
            ("X20 for one vCPU, bound for all", VM2, [SET, set, 1, 1, 0], INVALID),
            ("X20 for all, bound for one vCPU", VM2, [SET, set, 0, 2, 0], INVALID),
            ("X20 no such vCPU", VM2, [SET, set, 2 << 16 | 1, 2, 0], INVALID),
            ("X20 a vCPU of all", VM2, [SET, set, 1 << 16, 1, 0], INVALID),
            ("X20 to be delayed", VM2, [SET, set, 2, 1, 0], INVALID),
            ("X20 to be delayed, to an SP", VM2, [SET, pair(VM2, SP1), 2, 1, 0], INVALID),
            ("X21 in another's name", VM1, [GET, 2, 2, 0, 0], INVALID),
            ("X21 no such vCPU", VM1, [GET, 2 << 16 | 1, 2, 0, 0], INVALID),
            ("X21 a flag", VM1, [GET, 1, 0x10, 0, 0], INVALID),
            ("X22 an argument", VM1, [INFO_GET, 1, 0, 0, 0], INVALID),
            ("X22 nothing pending", VM1, [INFO_GET, 0, 0, 0, 0], Status::NoData),
        ];
        for &(name, vm, head, status) in rows {
            world.refused(name, vm, head, status);
        }
        all_gone(&mut world);
    });
}

/// H-20: what is advertised works, and what does not work is not advertised.
#[test]
fn h20_features_tell_of_notifications_that_work() {
    every_preset(|preset| {
        for (interrupts, vm_to_vm) in [(None, true), (Some(GuestInterrupts::SGI), false)] {
            let settings = Settings { interrupts, vm_to_vm, ..Settings::DEFAULT };
            let mut world = World::with(Machine { settings, ..machine(preset, good_sps()) });
            let works = interrupts.is_some() && SERVE.contains(&preset);
            for id in [BIND, UNBIND, SET, GET, INFO_GET, INFO_GET_32, 1, 2] {
                let told = world.call(VM1, [FEATURES, id])[0] == 0x8400_0061;
                assert_eq!(told, works, "{} {id:#x}", preset.name());
            }
            assert_eq!(world.call(VM1, [FEATURES, 3]), Regs::error(Status::NotSupported));
            if !works {
                let smcs = world.hypervisor.smcs();
                for id in [BIND, UNBIND, SET, GET, INFO_GET] {
                    assert_eq!(world.call(VM1, [id, from_sp1(VM1), 0, 1]), Regs::error(Status::NotSupported));
                }
                assert_eq!(world.hypervisor.smcs(), smcs);
            }
        }
    });
}

#[test]
fn an_interrupt_finds_the_vcpu_that_is_online_and_waits_for_one() {
    let mut world = world(Preset::Strict);
    assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 1]), DONE);
    assert_eq!(world.call(VM1, [BIND, pair(VM2, VM1), 1, 2]), DONE);
    world.hypervisor.set_online(VM1, 0, false);
    signal(&mut world, VM1, 1);
    assert_eq!(world.hypervisor.take_interrupts(), [interrupt(VM1, 1)], "the one that is there");
    assert_eq!(world.call(VM1, [GET, 1, 5]), Regs::new([0x8400_0061, 0, 1]));
    world.hypervisor.set_online(VM1, 1, false);
    signal(&mut world, VM1, 1);
    assert_eq!(world.call(VM2, [SET, pair(VM2, VM1), 1 << 16 | 1, 2]), DONE);
    assert_eq!(world.hypervisor.take_interrupts(), []);
    world.hypervisor.set_online(VM1, 0, true);
    assert_eq!(world.hypervisor.take_interrupts(), [interrupt(VM1, 0)]);
    world.hypervisor.set_online(VM1, 1, true);
    assert_eq!(world.hypervisor.take_interrupts(), [interrupt(VM1, 1)]);
    assert_eq!(world.call(VM1, [GET, 1 << 16 | 1, 7]), Regs::new([0x8400_0061, 0, 1, 0, 2]));
    world.hypervisor.set_online(VM1, 1, true);
    assert_eq!(world.hypervisor.take_interrupts(), [], "nothing is pending");
    all_gone(&mut world);
}

/// Linux before 6.8 asks for the schedule receiver interrupt alone.
#[test]
fn a_guest_that_only_schedules_is_told_to() {
    let mut world = world(Preset::Strict);
    assert_eq!(world.call(VM1, [FEATURES, 2]), Regs::success(9, 0));
    assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 1]), DONE);
    signal(&mut world, VM1, 1);
    assert_eq!(world.hypervisor.take_interrupts(), [Interrupt { vm: VM1, vcpu: 0, intid: 9 }]);
    assert_eq!(world.call(VM1, [FEATURES, 1]), Regs::success(8, 0));
    assert_eq!(world.call(VM1, [GET, 1, 5]), Regs::new([0x8400_0061, 0, 1]));
    signal(&mut world, VM1, 1);
    assert_eq!(world.hypervisor.take_interrupts(), [interrupt(VM1, 0)]);
    all_gone(&mut world);
}

/// H-31: an SPMC that has more to tell for ever, or is never ready to tell, gets a bounded number of calls at a time.
#[test]
fn h31_an_spmc_that_never_ends_telling_delays_nobody() {
    let info_get = CallKind::function(ffa_abi::Function::NotificationInfoGet);
    for action in [FaultAction::Pending(VM1), FaultAction::Refuse(Status::Busy.into())] {
        let plan = FaultPlan::new([Fault { call: info_get, when: When::Every, action }]);
        let mut world = with_plan(Preset::Strict, plan);
        assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 1]), DONE);
        let calls = |world: &mut World| {
            world.hypervisor.take_smcs().iter().filter(|smc| smc.regs[0] == INFO_GET).count()
        };
        calls(&mut world);
        let ids = NotificationBitmap(1);
        world.hypervisor.spmc_mut().set_notification(SP1, VM1, ids, None).expect("it is bound");
        // With the interrupt first as many as a tick may make; later one in each tick.
        world.hypervisor.advance(Span::from_nanos(1));
        let first = calls(&mut world);
        assert!((1..=Settings::DEFAULT.budget as usize).contains(&first), "{first}");
        world.hypervisor.advance(Span::from_millis(100));
        let later = calls(&mut world);
        assert!((90..=101).contains(&later), "{later}");
        // Nobody else is kept from anything.
        world.share(VM2, SP1, &[(PAGES, 1)]);
        world.destroy(VM2);
        world.hypervisor.advance(Span::from_secs(5));
        assert_eq!(world.hypervisor.report(VM2), None);
        world.check();
    }
}

/// H-16: a bitmap that the SPMC does not destroy at once is an obligation like any other.
#[test]
fn h16_notifications_of_a_dead_vm_are_taken_unbound_and_destroyed() {
    for preset in SERVE {
        let mut world = world(preset);
        assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 0xff]), DONE);
        assert_eq!(world.call(VM1, [BIND, pair(SP2, VM1), 0, 0xff00]), DONE);
        signal(&mut world, VM1, 0x81);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.hypervisor.report(VM1), None, "{}", preset.name());
        // Its successor of the same ID finds nothing of it, and can have all of it.
        world.live(VM1, Version::V1_1);
        assert_eq!(world.call(VM1, [GET, 1, 0xf]), DONE);
        assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 0xffff]), DONE);
        all_gone(&mut world);
    }
}

/// Whoever comes to have a dead VM's ID may not signal in its stead, and what it had signalled is not lost.
#[test]
fn what_is_bound_to_a_dead_vm_is_bound_to_nobody() {
    let mut world = world(Preset::TfaEl3);
    assert_eq!(world.call(VM1, [BIND, pair(VM2, VM1), 0, 7]), DONE);
    assert_eq!(world.call(VM2, [SET, pair(VM2, VM1), 0, 1]), DONE);
    world.destroy(VM2);
    assert!(world.hypervisor.settle(LONG));
    world.live(VM2, Version::V1_1);
    assert_eq!(world.call(VM2, [SET, pair(VM2, VM1), 0, 2]), Regs::error(Status::Denied));
    assert_eq!(world.call(VM1, [BIND, pair(VM2, VM1), 0, 7]), Regs::error(Status::Denied), "still pending");
    assert_eq!(world.call(VM1, [GET, 1, 2]), Regs::new([0x8400_0061, 0, 0, 0, 1]));
    assert_eq!(world.call(VM1, [BIND, pair(VM2, VM1), 0, 7]), DONE);
    all_gone(&mut world);
}

/// By default guests do not reach guests, and cannot tell one that is not there from one that is.
#[test]
fn a_vm_that_may_not_be_reached_is_as_one_that_is_not_there() {
    every_preset(|preset| {
        let settings =
            Settings { interrupts: Some(GuestInterrupts::SGI), vm_to_vm: true, ..Settings::DEFAULT };
        let mut world = World::with(Machine { settings, ..machine(preset, good_sps()) });
        world.live(VM2, Version::V1_1);
        for other in [VM2, PartitionId(7)] {
            world.refused("BIND", VM1, [BIND, pair(other, VM1), 0, 1], INVALID);
            world.refused("SET", VM1, [SET, pair(VM1, other), 0, 1], INVALID);
        }
    });
}

/// Where VMs alone signal each other, SPs are signalled by nobody, and the secure world is not asked.
#[test]
fn an_sp_is_not_signalled_through_an_spmc_without_notifications() {
    let mut world = world(Preset::TfaEl3);
    world.refused("SET", VM1, [SET, pair(VM1, SP1), 0, 1], Status::Denied);
    all_gone(&mut world);
}

/// A VM for which the SPMC keeps nothing lives without notifications of SPs, and leaves nothing behind.
#[test]
fn a_bitmap_that_is_refused_or_in_doubt_is_not_used() {
    let create = CallKind::function(ffa_abi::Function::NotificationBitmapCreate);
    for preset in SERVE {
        for action in [FaultAction::Refuse(Status::NoMemory.into()), FaultAction::W0(0x8400_006b)] {
            let plan = FaultPlan::new([Fault { call: create, when: When::Nth(1), action }]);
            let mut world = with_plan(preset, plan);
            let answer = world.call(VM1, [BIND, from_sp1(VM1), 0, 1]);
            assert_eq!(answer, Regs::error(Status::Denied), "{} {action:?}", preset.name());
            assert_eq!(world.call(VM1, [GET, 1, 5]), DONE);
            assert_eq!(world.call(VM2, [BIND, from_sp1(VM2), 0, 1]), DONE, "the other one has its own");
            world.check();
            world.destroy(VM1);
            assert!(world.hypervisor.settle(LONG));
            assert!(world.hypervisor.spmc().kept().all(|kept| kept.vm != VM1), "{action:?}");
        }
    }
}

/// OP-TEE keeps nothing for a VM that it has not been told of, and may have to be told more than once.
#[test]
fn a_bitmap_is_created_when_every_partition_has_taken_note() {
    let created = CallKind::vm_message(ffa_abi::VmAvailability::Created).of(VM1);
    for preset in SERVE {
        let action = FaultAction::Refuse(Status::Busy.into());
        let fault = Fault { call: created, when: When::First(2), action };
        let mut world = with_plan(preset, FaultPlan::new([fault]));
        assert_eq!(world.hypervisor.plan_mut().fired(0), 2);
        assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 1]), DONE, "{}", preset.name());
        all_gone(&mut world);
    }
}

/// An SPMC that has no time for a bitmap, or no memory of its own to work in, is asked again as often as an SP would be.
#[test]
fn a_bitmap_that_is_refused_for_now_is_asked_for_again() {
    let create = CallKind::function(ffa_abi::Function::NotificationBitmapCreate);
    let [busy, retry, interrupted] =
        [Status::Busy, Status::Retry, Status::Interrupted].map(|status| FaultAction::Refuse(status.into()));
    let run = [FaultAction::Interrupt(3), FaultAction::Yield(12, Span::from_millis(3))];
    for preset in SERVE {
        for action in [busy, retry, interrupted].into_iter().chain(run) {
            let when = if run.contains(&action) { When::Nth(1) } else { When::First(7) };
            let mut world = with_plan(preset, FaultPlan::new([Fault { call: create, when, action }]));
            assert!(world.hypervisor.plan_mut().fired(0) > 0);
            assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 1]), DONE, "{} {action:?}", preset.name());
            signal(&mut world, VM1, 1);
            assert_eq!(world.call(VM1, [GET, 1, 5]), Regs::new([0x8400_0061, 0, 1]));
            assert_eq!(told(&mut world), [(1, 0), (1, 0)], "{} {action:?}", preset.name());
            all_gone(&mut world);
        }
        // Not for ever: the VM lives without.
        for action in [busy, FaultAction::Interrupt(u32::MAX)] {
            let when = if action == busy { When::First(8) } else { When::Nth(1) };
            let mut world = with_plan(preset, FaultPlan::new([Fault { call: create, when, action }]));
            assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 1]), Regs::error(Status::Denied));
            assert_eq!(world.call(VM2, [BIND, from_sp1(VM2), 0, 1]), DONE, "the other one has its own");
            assert_eq!(told(&mut world), [(1, 1), (1, 0)], "{}", preset.name());
            world.check();
        }
    }
}

/// How often each VM was said to be live, and to be without notifications.
fn told(world: &mut World) -> [(usize, usize); 2] {
    let events = world.hypervisor.take_events();
    [VM1, VM2].map(|vm| {
        let count = |kind| events.iter().filter(|(_, event)| event.vm == vm && event.kind == kind).count();
        (count(EventKind::Live), count(EventKind::WithoutNotifications))
    })
}

/// No SP runs for these calls as far as FF-A knows. An SPMC for which one does may be interrupted all the same.
#[test]
fn an_spmc_that_is_interrupted_over_a_guests_call_is_resumed() {
    let actions = |times| [FaultAction::Interrupt(times), FaultAction::Yield(times, Span::from_millis(3))];
    let with = |function, action| {
        FaultPlan::new([Fault { call: CallKind::function(function), when: When::Every, action }])
    };
    let set = [SET, pair(VM1, SP1), 0, 0, 1 << 8];
    let get = [GET, 1, 5];
    for action in [1, 8].into_iter().flat_map(actions) {
        let mut world = world(Preset::Strict);
        world
            .hypervisor
            .spmc_mut()
            .allow_notifications(SP1, VM1, NotificationBitmap(1 << 40))
            .expect("it has them");
        assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 1]), DONE);
        signal(&mut world, VM1, 1);
        *world.hypervisor.plan_mut() = with(ffa_abi::Function::NotificationSet, action);
        assert_eq!(world.call(VM1, set), DONE, "{action:?}");
        *world.hypervisor.plan_mut() = with(ffa_abi::Function::NotificationGet, action);
        assert_eq!(world.call(VM1, get), Regs::new([0x8400_0061, 0, 1]), "{action:?}");
        *world.hypervisor.plan_mut() = FaultPlan::none();
        all_gone(&mut world);
    }
    // Not for ever: nobody knows what came of it.
    for action in actions(9) {
        let mut world = world(Preset::Strict);
        let aborted = Regs::error(Status::Aborted);
        *world.hypervisor.plan_mut() = with(ffa_abi::Function::NotificationSet, action);
        assert_eq!(world.call(VM1, set), aborted, "{action:?}");
        *world.hypervisor.plan_mut() = with(ffa_abi::Function::NotificationGet, action);
        assert_eq!(world.call(VM1, get), aborted, "{action:?}");
        *world.hypervisor.plan_mut() = FaultPlan::none();
        all_gone(&mut world);
    }
}

/// What an SPMC that was interrupted has not told of is not lost: it raises its interrupt once.
#[test]
fn an_spmc_that_is_interrupted_is_asked_again() {
    let call = CallKind::function(ffa_abi::Function::NotificationInfoGet);
    for action in [FaultAction::Interrupt(1), FaultAction::Yield(1, Span::from_millis(3))] {
        let plan = FaultPlan::new([Fault { call, when: When::Nth(1), action }]);
        let mut world = with_plan(Preset::Strict, plan);
        assert_eq!(world.call(VM1, [BIND, from_sp1(VM1), 0, 1]), DONE);
        signal(&mut world, VM1, 1);
        assert_eq!(world.hypervisor.plan_mut().fired(0), 1);
        world.hypervisor.advance(Span::from_millis(10));
        assert_eq!(world.hypervisor.take_interrupts(), [interrupt(VM1, 0)], "{action:?}");
        all_gone(&mut world);
    }
}
