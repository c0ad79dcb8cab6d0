//! Notifications: what each secure world lets the hypervisor do for a VM, and how partitions and VMs signal.

mod common;

use common::*;
use ffa_abi::Status::*;
use ffa_abi::{
    Answer, NotificationBitmap, NotificationInfo, PartitionId, PendingNotifications, PendingReceiver, Regs,
    Status, VmAvailability,
};
use ffa_teardown::Span;
use ffa_test_utils::spmc::*;

const CREATE: u64 = 0x8400_007d;
const DESTROY: u64 = 0x8400_007e;
const BIND: u64 = 0x8400_007f;
const UNBIND: u64 = 0x8400_0080;
const SET: u64 = 0x8400_0081;
const GET: u64 = 0x8400_0082;
const INFO_GET: u64 = 0xc400_0083;

/// w1 of a call about notifications from SP 1 to VM 1.
const SP1_TO_VM1: u64 = 0x8001_0001;
/// w1 of a call about notifications from VM 1 to SP 1.
const VM1_TO_SP1: u64 = 0x0001_8001;

/// Presets that have notifications.
const SERVE: [Preset; 3] = [Preset::Hafnium, Preset::Optee, Preset::Strict];
/// Presets in which VMs can signal partitions.
const BOTH_WAYS: [Preset; 2] = [Preset::Hafnium, Preset::Strict];

type Answers = [Result<(), Status>; 3];
const OK: Result<(), Status> = Ok(());
const INV: Result<(), Status> = Err(InvalidParameters);
const DEN: Result<(), Status> = Err(Denied);
const NSUP: Result<(), Status> = Err(NotSupported);

/// Two partitions that take notifications.
fn world_of(preset: Preset, script: Script) -> World {
    let properties = SpConfig::SUBSCRIBED.or(ffa_abi::Properties::RECEIVES_NOTIFICATIONS);
    World::new(preset, [SP1, SP2].map(|sp| SpConfig::new(sp, script).with_properties(properties)))
}

/// VM 1 has a bitmap for two vCPUs, in which SP 1 may set notifications 0 and 1.
fn bound(preset: Preset) -> World {
    let mut world = world_of(preset, Script::GOOD);
    assert_eq!(status_of(&world.call([CREATE, 1, 2])), OK);
    assert_eq!(status_of(&world.call([BIND, SP1_TO_VM1, 0, 3])), OK);
    world
}

/// The same with notification 0 pending.
fn pending(preset: Preset) -> World {
    let mut world = bound(preset);
    assert_eq!(world.spmc.set_notification(SP1, VM1, NotificationBitmap(1), None), OK);
    world
}

fn check(what: &str, preset: Preset, mut world: World, head: [u64; 8], expected: Result<(), Status>) {
    let answer = world.call(head);
    assert_eq!(status_of(&answer), expected, "{preset:?}: {what}");
}

/// Makes each call in the world that `before` makes.
fn judge(before: fn(Preset) -> World, rows: &[(&str, [u64; 8], Answers)]) {
    for &(what, head, answers) in rows {
        for (preset, expected) in SERVE.into_iter().zip(answers) {
            check(what, preset, before(preset), head, expected);
        }
    }
}

fn fresh(preset: Preset) -> World {
    world_of(preset, Script::GOOD)
}

fn kept(world: &World) -> Option<Kept> {
    world.spmc.kept().find(|kept| kept.vm == VM1)
}

fn got(regs: &Regs) -> [u64; 2] {
    let got = PendingNotifications::from_answer(regs).unwrap();
    assert!(got.from_vms.is_empty() && got.from_hypervisor.0 == 0, "these are the hypervisor's");
    [got.from_sps.0, u64::from(got.from_spm.0)]
}

fn listed(regs: &Regs) -> Vec<PendingReceiver> {
    NotificationInfo::from_answer(regs).unwrap().receivers().collect()
}

#[test]
fn bitmaps_are_created() {
    judge(
        fresh,
        &[
            ("good", [CREATE, 1, 2, 0, 0, 0, 0, 0], [OK, OK, OK]),
            ("a partition", [CREATE, 0x8001, 1, 0, 0, 0, 0, 0], [INV, INV, INV]),
            ("the hypervisor", [CREATE, 0, 1, 0, 0, 0, 0, 0], [OK, INV, INV]),
            ("a stranger", [CREATE, 2, 1, 0, 0, 0, 0, 0], [OK, INV, OK]),
            ("no vCPUs", [CREATE, 1, 0, 0, 0, 0, 0, 0], [OK, OK, INV]),
            ("reserved", [CREATE, 1, 2, 1, 0, 0, 0, 0], [OK, INV, INV]),
            ("reserved in w1", [CREATE, 0x1_0001, 2, 0, 0, 0, 0, 0], [OK, INV, INV]),
        ],
    );
    judge(bound, &[("twice", [CREATE, 1, 2, 0, 0, 0, 0, 0], [DEN, DEN, DEN])]);
}

#[test]
fn bitmaps_are_destroyed() {
    let destroy = [DESTROY, 1, 0, 0, 0, 0, 0, 0];
    judge(fresh, &[("never created", destroy, [DEN, OK, DEN])]);
    judge(fresh, &[("of a stranger", [DESTROY, 2, 0, 0, 0, 0, 0, 0], [DEN, INV, DEN])]);
    judge(bound, &[("bound", destroy, [OK, DEN, DEN])]);
    judge(pending, &[("pending", destroy, [DEN, DEN, DEN])]);
    judge(bound, &[("reserved", [DESTROY, 1, 0, 0, 5, 0, 0, 0], [OK, INV, INV])]);
    for preset in SERVE {
        let mut world = pending(preset);
        assert_eq!(got(&world.call([GET, 1, 1])), [1, 0]);
        assert_eq!(status_of(&world.call([UNBIND, SP1_TO_VM1, 0, 3])), OK);
        assert_eq!(status_of(&world.call(destroy)), OK, "{preset:?}: neither bound nor pending");
        assert_eq!(kept(&world), None);
    }
}

#[test]
fn a_bitmap_takes_a_slot() {
    for preset in BOTH_WAYS {
        let mut world = fresh(preset);
        let slots = u64::from(world.spmc.config().limits.vms);
        for vm in 1..=slots {
            assert_eq!(status_of(&world.call([CREATE, vm, 1])), OK, "{preset:?} {vm}");
        }
        assert_eq!(status_of(&world.call([CREATE, slots + 1, 1])), Err(NoMemory), "{preset:?}");
        assert_eq!(status_of(&world.call([DESTROY, 1])), OK);
        assert_eq!(status_of(&world.call([CREATE, slots + 1, 1])), OK, "{preset:?}");
    }
}

#[test]
fn notifications_are_bound() {
    let head = |w1, w2, w3, w4| [BIND, w1, w2, w3, w4, 0, 0, 0];
    judge(
        bound,
        &[
            ("good", head(SP1_TO_VM1, 0, 4, 0), [OK, OK, OK]),
            ("the last one", head(SP1_TO_VM1, 0, 0, 0x8000_0000), [OK, OK, OK]),
            ("per vCPU", head(SP1_TO_VM1, 1, 4, 0), [INV, DEN, OK]),
            ("reserved flag", head(SP1_TO_VM1, 2, 4, 0), [INV, DEN, INV]),
            ("none", head(SP1_TO_VM1, 0, 0, 0), [INV, OK, INV]),
            ("for a partition", head(0x8002_8001, 0, 4, 0), [INV, INV, INV]),
            ("of nobody", head(0x8055_0001, 0, 4, 0), [INV, OK, INV]),
            ("of a VM", head(0x0002_0001, 0, 4, 0), [INV, OK, INV]),
            ("for a stranger", head(0x8001_0002, 0, 4, 0), [INV, INV, INV]),
            ("the same again", head(SP1_TO_VM1, 0, 3, 0), [OK, DEN, OK]),
            ("another's", head(0x8002_0001, 0, 1, 0), [DEN, DEN, DEN]),
            ("another's among others", head(0x8002_0001, 0, 5, 0), [DEN, DEN, DEN]),
            ("reserved", [BIND, SP1_TO_VM1, 0, 4, 0, 1, 0, 0], [OK, OK, INV]),
        ],
    );
    judge(fresh, &[("without a bitmap", head(SP1_TO_VM1, 0, 1, 0), [INV, OK, INV])]);
    judge(pending, &[("pending", head(SP1_TO_VM1, 0, 1, 0), [DEN, DEN, DEN])]);
}

#[test]
fn a_vm_with_buffers_and_no_bitmap() {
    let mut world = fresh(Preset::Hafnium);
    map_buffers_for_vm1(&mut world);
    for function in [BIND, UNBIND] {
        assert_eq!(status_of(&world.call([function, SP1_TO_VM1, 0, 1])), NSUP);
    }
}

#[test]
fn notifications_are_unbound() {
    let head = |w1, w2, w3| [UNBIND, w1, w2, w3, 0, 0, 0, 0];
    judge(
        bound,
        &[
            ("good", head(SP1_TO_VM1, 0, 3), [OK, OK, OK]),
            ("flags", head(SP1_TO_VM1, 1, 3), [OK, INV, INV]),
            ("none", head(SP1_TO_VM1, 0, 0), [INV, OK, INV]),
            ("for a partition", head(0x8002_8001, 0, 1), [INV, INV, INV]),
            ("of nobody", head(0x8055_0001, 0, 1), [INV, OK, INV]),
            ("another's", head(0x8002_0001, 0, 1), [DEN, OK, DEN]),
            ("not bound", head(SP1_TO_VM1, 0, 4), [DEN, OK, DEN]),
        ],
    );
    judge(fresh, &[("without a bitmap", head(SP1_TO_VM1, 0, 1), [INV, OK, INV])]);
    judge(pending, &[("pending", head(SP1_TO_VM1, 0, 1), [DEN, DEN, DEN])]);
    judge(pending, &[("another than the pending one", head(SP1_TO_VM1, 0, 2), [OK, OK, OK])]);
}

#[test]
fn what_is_bound_is_kept_until_it_is_unbound() {
    for preset in SERVE {
        let mut world = bound(preset);
        let bits = |world: &World| kept(world).map(|kept| (kept.bitmap, kept.bound.0, kept.pending.0));
        assert_eq!(bits(&world), Some((true, 3, 0)), "{preset:?}");
        world.call([UNBIND, SP1_TO_VM1, 0, 1]);
        assert_eq!(bits(&world), Some((true, 2, 0)), "{preset:?}");
        let set = |world: &mut World, id| world.spmc.set_notification(SP1, VM1, NotificationBitmap(id), None);
        assert_eq!(set(&mut world, 1), DEN, "{preset:?}: no longer its own");
        assert_eq!(set(&mut world, 2), OK, "{preset:?}");
        assert_eq!(bits(&world), Some((true, 2, 2)), "{preset:?}");
    }
}

#[test]
fn a_destroyed_guest_of_optee_leaves_nothing_and_others_do() {
    for (preset, left) in SERVE.into_iter().zip([true, false, true]) {
        let mut world = pending(preset);
        world.tell(VmAvailability::Destroyed, VM1, SP1);
        assert_eq!(kept(&world).is_some(), left, "{preset:?}");
    }
}

#[test]
fn partitions_signal_vms() {
    for preset in SERVE {
        let mut world = bound(preset);
        let mut set = |sp, vm, ids, vcpu| world.spmc.set_notification(sp, vm, NotificationBitmap(ids), vcpu);
        assert_eq!(set(SP1, VM1, 4, None), DEN, "{preset:?}: not bound");
        assert_eq!(set(SP2, VM1, 1, None), DEN, "{preset:?}: bound to another");
        assert_eq!(set(SP1, VM1, 1, Some(0)), DEN, "{preset:?}: global");
        assert_eq!(set(SP1, VM1, 1, Some(2)), INV, "{preset:?}: no such vCPU");
        assert_eq!(set(SP1, VM2, 1, None), INV, "{preset:?}: no such VM");
        assert_eq!(set(PartitionId(0x8055), VM1, 1, None), INV, "{preset:?}: no such partition");
        assert!(!world.spmc.is_sri_pending(), "{preset:?}");
        assert_eq!(world.spmc.set_notification(SP1, VM1, NotificationBitmap(3), None), OK, "{preset:?}");
        assert_eq!(got(&world.call([GET, 1, 1])), [3, 0], "{preset:?}");
        assert_eq!(got(&world.call([GET, 1, 1])), [0, 0], "{preset:?}: taken");
    }
}

#[test]
fn the_interrupt_is_the_one_that_features_name() {
    for (preset, expected) in Preset::ALL.into_iter().zip([Some(8), None, Some(9), Some(10)]) {
        let mut world = fresh(preset);
        let features = world.call([0x8400_0064, 2]);
        let intid = status_of(&features).is_ok().then(|| features.w::<2>());
        assert_eq!(intid, expected, "{preset:?}");
        assert_eq!(world.spmc.take_sri(), None, "{preset:?}: nothing happened");
        if intid.is_some() {
            let mut world = pending(preset);
            assert!(world.spmc.is_sri_pending(), "{preset:?}");
            assert_eq!(world.spmc.take_sri(), expected, "{preset:?}");
            assert_eq!(world.spmc.take_sri(), None, "{preset:?}: taken");
        }
    }
}

#[test]
fn notifications_are_taken() {
    judge(
        pending,
        &[
            ("good", [GET, 1, 1, 0, 0, 0, 0, 0], [OK, OK, OK]),
            ("nobody's", [GET, 1, 0, 0, 0, 0, 0, 0], [OK, OK, OK]),
            ("the framework's", [GET, 1, 4, 0, 0, 0, 0, 0], [OK, OK, OK]),
            ("of VMs", [GET, 1, 3, 0, 0, 0, 0, 0], [INV, OK, INV]),
            ("of the hypervisor", [GET, 1, 9, 0, 0, 0, 0, 0], [INV, OK, INV]),
            ("reserved flag", [GET, 1, 17, 0, 0, 0, 0, 0], [INV, OK, INV]),
            ("the last vCPU", [GET, 0x1_0001, 1, 0, 0, 0, 0, 0], [OK, OK, OK]),
            ("no such vCPU", [GET, 0x2_0001, 1, 0, 0, 0, 0, 0], [INV, OK, INV]),
            ("a stranger's", [GET, 2, 1, 0, 0, 0, 0, 0], [INV, INV, INV]),
            ("reserved", [GET, 1, 1, 0, 0, 0, 0, 1], [OK, OK, INV]),
        ],
    );
    for preset in SERVE {
        let mut world = pending(preset);
        assert_eq!(got(&world.call([GET, 1, 0])), [0, 0], "{preset:?}: nobody's");
        assert_eq!(got(&world.call([GET, 1, 1])), [1, 0], "{preset:?}: still there");
    }
}

#[test]
fn the_scheduler_hears_of_each_once() {
    for preset in SERVE {
        let mut world = bound(preset);
        assert_eq!(status_of(&world.call([INFO_GET])), Err(NoData), "{preset:?}");
        world.spmc.set_notification(SP1, VM1, NotificationBitmap(1), None).unwrap();
        let all = PendingReceiver { endpoint: VM1, vcpu: None };
        assert_eq!(listed(&world.call([INFO_GET])), [all], "{preset:?}");
        assert_eq!(status_of(&world.call([INFO_GET])), Err(NoData), "{preset:?}: told already");
        world.spmc.set_notification(SP1, VM1, NotificationBitmap(2), None).unwrap();
        assert_eq!(listed(&world.call([INFO_GET])), [all], "{preset:?}: something new");
        world.spmc.set_notification(SP1, VM1, NotificationBitmap(2), None).unwrap();
        assert_eq!(got(&world.call([GET, 1, 1])), [3, 0]);
        assert_eq!(status_of(&world.call([INFO_GET])), Err(NoData), "{preset:?}: taken before it was told");
    }
}

#[test]
fn who_is_pending_is_told_in_each_width() {
    let narrow = 0x8400_0083;
    for (preset, [narrow_answer, wide_answer, argument]) in
        SERVE.into_iter().zip([[NSUP, OK, OK], [OK, OK, INV], [OK, OK, INV]])
    {
        for (w0, expected) in [(narrow, narrow_answer), (INFO_GET, wide_answer)] {
            let mut world = pending(preset);
            let answer = world.call([w0]);
            assert_eq!(status_of(&answer), expected, "{preset:?} {w0:x}");
            if expected.is_ok() {
                assert_eq!(answer.w::<0>(), if w0 == narrow { 0x8400_0061 } else { 0xc400_0061 });
            }
        }
        assert_eq!(status_of(&pending(preset).call([INFO_GET, 0, 1])), argument, "{preset:?}");
    }
}

#[test]
fn what_does_not_fit_the_registers_waits() {
    let mut world = fresh(Preset::Strict);
    for vm in 1..=25 {
        assert_eq!(status_of(&world.call([CREATE, vm, 4])), OK);
        assert_eq!(status_of(&world.call([BIND, 0x8001_0000 | vm, 0, 1])), OK);
        assert_eq!(status_of(&world.call([BIND, 0x8001_0000 | vm, 1, 2])), OK);
    }
    let mut set = |vm, id, vcpu| {
        world.spmc.set_notification(SP1, PartitionId(vm), NotificationBitmap(id), vcpu).unwrap();
    };
    (1..=25).for_each(|vm| set(vm, 1, None));
    (0..4).for_each(|vcpu| set(25, 2, Some(vcpu)));
    let mut all = Vec::new();
    let mut calls = 0;
    loop {
        let answer = world.call([INFO_GET]);
        let info = NotificationInfo::from_answer(&answer).unwrap();
        all.extend(info.receivers());
        calls += 1;
        if !info.more_pending {
            break;
        }
    }
    let globals = (1..=25).map(|vm| PendingReceiver { endpoint: PartitionId(vm), vcpu: None });
    let vcpus = (0..4).map(|vcpu| PendingReceiver { endpoint: PartitionId(25), vcpu: Some(vcpu) });
    assert_eq!(all, globals.chain(vcpus).collect::<Vec<_>>());
    assert_eq!(calls, 2, "20 IDs, then 5 and two lists of vCPUs");
    assert_eq!(got(&world.call([GET, 0x2_0019, 1])), [3, 0]);
    assert_eq!(got(&world.call([GET, 0x2_0019, 1])), [0, 0]);
    assert_eq!(got(&world.call([GET, 0x3_0019, 1])), [2, 0], "each vCPU takes its own");
}

#[test]
fn vms_signal_partitions() {
    let head = |w1, w2, w3| [SET, w1, w2, w3, 0, 0, 0, 0];
    let rows = [
        ("good", head(VM1_TO_SP1, 0, 1), [OK, OK]),
        ("not bound", head(VM1_TO_SP1, 0, 8), [DEN, DEN]),
        ("bound to another", head(0x0002_8001, 0, 1), [DEN, DEN]),
        ("per vCPU", head(VM1_TO_SP1, 1, 1), [INV, DEN]),
        ("a vCPU", head(VM1_TO_SP1, 0x1_0000, 1), [INV, INV]),
        ("no such vCPU", head(VM1_TO_SP1, 0x1_0001, 1), [INV, INV]),
        ("delayed", head(VM1_TO_SP1, 2, 1), [INV, INV]),
        ("reserved flag", head(VM1_TO_SP1, 4, 1), [INV, INV]),
        ("none", head(VM1_TO_SP1, 0, 0), [OK, INV]),
        ("to a VM", head(0x0001_0002, 0, 1), [INV, INV]),
        ("from a partition", head(0x8002_8001, 0, 1), [INV, INV]),
        ("to nobody", head(0x0001_8055, 0, 1), [INV, INV]),
        ("to one that takes none", head(0x0001_8003, 0, 1), [DEN, DEN]),
        ("reserved", [SET, VM1_TO_SP1, 0, 1, 0, 0, 1, 0], [OK, INV]),
    ];
    for (what, head, answers) in rows {
        for (preset, expected) in BOTH_WAYS.into_iter().zip(answers) {
            let mut world = fresh(preset);
            let deaf = SpConfig::new(PartitionId(0x8003), Script::GOOD);
            let receives = SpConfig::SUBSCRIBED.or(ffa_abi::Properties::RECEIVES_NOTIFICATIONS);
            let sps = [SpConfig::new(SP1, Script::GOOD).with_properties(receives), deaf];
            world.spmc = SpmcModel::new(preset, sps);
            world.call([0x8400_0063, 0x1_0001]);
            world.spmc.allow_notifications(SP1, VM1, NotificationBitmap(3)).unwrap();
            assert_eq!(status_of(&world.call(head)), expected, "{preset:?}: {what}");
            let taken = world.spmc.taken_notifications(SP1).0;
            assert_eq!(taken, if expected.is_ok() { head[3] } else { 0 }, "{preset:?}: {what}");
        }
    }
    let mut world = fresh(Preset::Optee);
    assert_eq!(status_of(&world.call(head(VM1_TO_SP1, 0, 1))), NSUP);
    assert_eq!(world.spmc.allow_notifications(SP1, VM1, NotificationBitmap(1)), NSUP);
}

#[test]
fn a_partition_that_must_be_run_is_in_the_list() {
    for preset in BOTH_WAYS {
        let mut world = world_of(preset, Script { receive: Receive::WhenRun, ..Script::GOOD });
        world.spmc.allow_notifications(SP1, VM1, NotificationBitmap(6)).unwrap();
        assert_eq!(status_of(&world.call([SET, VM1_TO_SP1, 0, 2])), OK);
        assert!(world.spmc.take_sri().is_some(), "{preset:?}");
        assert_eq!(listed(&world.call([INFO_GET])), [PendingReceiver { endpoint: SP1, vcpu: None }]);
        assert_eq!(world.spmc.taken_notifications(SP1).0, 0, "{preset:?}: not before it runs");
        let others = world.spmc.allow_notifications(SP1, VM2, NotificationBitmap(4));
        assert_eq!(others, DEN, "{preset:?}: VM 1's");
        assert_eq!(Answer::from_regs(&world.run(SP1, 0)), Answer::MsgWait, "{preset:?}");
        assert_eq!(world.spmc.taken_notifications(SP1).0, 2, "{preset:?}");
    }
}

#[test]
fn controls_make_partitions_signal_and_take() {
    for preset in SERVE {
        let mut world = bound(preset);
        let mut control = |control: Control| {
            let answer = world.direct(VM1, SP1, control.payload());
            (answer.w::<4>(), [answer.w::<6>(), answer.w::<7>()], world.spmc.is_sri_pending())
        };
        let notify = |id, after_ms| Control::Notify { vm: VM1, id, vcpu: None, after_ms };
        assert_eq!(control(notify(5, 0)), (0, [0, 0], false), "{preset:?}: not bound");
        assert_eq!(control(notify(1, 250)), (1, [0, 0], false), "{preset:?}: later");
        assert_eq!(control(notify(0, 0)), (1, [0, 0], true), "{preset:?}: at once");
        assert_eq!(got(&world.call([GET, 1, 1])), [1, 0]);
        world.pass(Span::from_millis(249));
        assert_eq!(got(&world.call([GET, 1, 1])), [0, 0]);
        world.pass(Span::from_millis(1));
        assert_eq!(got(&world.call([GET, 1, 1])), [2, 0], "{preset:?}");
    }
    for preset in BOTH_WAYS {
        let mut world = fresh(preset);
        let ids = NotificationBitmap(1 << 40 | 1);
        world.direct(VM1, SP1, Control::AllowNotifications { vm: VM1, ids }.payload());
        assert_eq!(status_of(&world.call([SET, VM1_TO_SP1, 0, 1, 0x100])), OK);
        let mut take = || {
            let answer = world.direct(VM1, SP1, Control::TakeNotifications.payload());
            [answer.w::<6>(), answer.w::<7>()]
        };
        assert_eq!(take(), [1, 0x100], "{preset:?}");
        assert_eq!(take(), [0, 0], "{preset:?}: handed over");
    }
}

#[test]
fn controls_survive_the_registers() {
    let all = [
        Control::Notify { vm: VM2, id: 63, vcpu: None, after_ms: u32::MAX },
        Control::Notify { vm: VM2, id: 0, vcpu: Some(0), after_ms: 0 },
        Control::AllowNotifications { vm: VM1, ids: NotificationBitmap(u64::MAX - 1) },
        Control::TakeNotifications,
    ];
    for control in all {
        assert_eq!(Control::from_payload(&control.payload()), Some(control));
    }
}

#[test]
fn a_partition_forgets_the_dead_and_itself() {
    for end in ["the VM's", "its own"] {
        let mut world = fresh(Preset::Strict);
        world.spmc.allow_notifications(SP1, VM1, NotificationBitmap(1)).unwrap();
        match end {
            "its own" => world.spmc.restart(SP1),
            _ => drop(world.tell(VmAvailability::Destroyed, VM1, SP1)),
        }
        assert_eq!(status_of(&world.call([SET, VM1_TO_SP1, 0, 1])), DEN, "{end}");
    }
}

#[test]
fn without_notifications_nothing_of_them_is_there() {
    let mut world = fresh(Preset::TfaEl3);
    for function in [CREATE, DESTROY, BIND, UNBIND, SET, GET, INFO_GET, 0x8400_0083] {
        assert_eq!(status_of(&world.call([function, 1, 1, 1])), NSUP, "{function:x}");
        assert_eq!(status_of(&world.call([0x8400_0064, function])), NSUP, "{function:x}");
    }
    assert_eq!(world.spmc.set_notification(SP1, VM1, NotificationBitmap(1), None), NSUP);
}
