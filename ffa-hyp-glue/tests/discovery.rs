//! Lists of partitions: in registers, window by window, and with other VMs in them.

mod common;

use common::*;
use ffa_abi::{
    Answer, PartitionId, PartitionInfo, PartitionInfoGetRegs, PartitionInfoWindow, Properties, Records, Regs,
    Status, Uuid, Version, WindowError,
};
use ffa_hyp_glue::{Creation, GuestInterrupts, Relation, Settings};
use ffa_test_utils::hypervisor::{Machine, Region};
use ffa_test_utils::spmc::{Preset, Script, SpConfig};

const FEATURES: u64 = 0x8400_0064;
const INFO_GET: u64 = 0x8400_0068;
const RX_RELEASE: u64 = 0x8400_0065;
const INFO_GET_REGS: u64 = 0xc400_008b;
const VM3: PartitionId = PartitionId(3);

const ALL: PartitionInfoGetRegs = PartitionInfoGetRegs { uuid: Uuid::NIL, start: 0, tag: 0 };

/// So many partitions from 0x8001 on, which want to hear of nobody.
fn sps(count: u16) -> Vec<SpConfig> {
    let config = |n| SpConfig::new(PartitionId(0x8000 | n), Script::GOOD);
    (1..=count).map(|n| config(n).with_properties(Properties::RECEIVES_DIRECT_REQUESTS)).collect()
}

fn ask(
    world: &mut World,
    vm: PartitionId,
    request: PartitionInfoGetRegs,
) -> Result<PartitionInfoWindow, Status> {
    let answer = world.call_on(vm, 0, request.to_regs());
    match PartitionInfoWindow::from_answer(request, &answer) {
        Ok(window) => {
            let used = 3 + 3 * window.len() as usize;
            assert!(answer.0[used..].iter().all(|x| *x == 0), "{answer:x?}");
            Ok(window)
        }
        Err(WindowError::NotSuccess(Answer::Error(status))) => {
            assert_eq!(answer, Regs::error(status.for_guest()));
            Err(status.for_guest())
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// The list in registers, and its tag.
fn in_registers(world: &mut World, vm: PartitionId, uuid: Uuid) -> (Vec<PartitionInfo>, u16) {
    let (mut all, mut tag, mut next) = (Vec::new(), 0, Some(PartitionInfoGetRegs { uuid, ..ALL }));
    while let Some(request) = next {
        let window = ask(world, vm, request).expect("a window");
        assert_eq!(
            window.len(),
            (window.total() - u32::from(request.start)).min(5),
            "as many as there is room for"
        );
        all.extend(window.records());
        next = window.next_request();
        tag = next.map_or(tag, |next| next.tag);
    }
    (all, tag)
}

/// The list in RX, which the count agrees with.
fn in_buffer(world: &mut World, vm: PartitionId, uuid: Uuid) -> Vec<PartitionInfo> {
    let [a, b, c, d] = uuid.words().map(u64::from);
    let counted = world.call(vm, [INFO_GET, a, b, c, d, 1]);
    let listed = world.call(vm, [INFO_GET, a, b, c, d]);
    assert_eq!(listed, Regs::success(counted.w::<2>(), 24), "{}", world.preset);
    let mut rx = [0; 4096];
    world.hypervisor.read(vm, RX, &mut rx);
    assert_eq!(world.call(vm, [RX_RELEASE]), Regs::success(0, 0));
    Records::new(&rx, listed.w::<2>(), 24).expect("records").collect()
}

fn ids(records: &[PartitionInfo]) -> Vec<u16> {
    records.iter().map(|record| record.id.0).collect()
}

fn is_advertised(world: &mut World, vm: PartitionId) -> bool {
    let answer = world.call(vm, [FEATURES, INFO_GET_REGS]);
    assert!(answer == Regs::success(0, 0) || answer == Regs::error(Status::NotSupported));
    answer == Regs::success(0, 0)
}

#[test]
fn the_list_comes_in_windows_that_say_what_the_buffer_says() {
    every_preset(|preset| {
        for count in [1, 5, 6, 12] {
            let mut world = World::boot(machine(preset, sps(count)));
            world.live(VM1, Version::V1_2);
            let (list, _) = in_registers(&mut world, VM1, Uuid::NIL);
            assert_eq!(ids(&list), (0x8001..=0x8000 + count).collect::<Vec<_>>(), "{}", preset.name());
            assert_eq!(list, in_buffer(&mut world, VM1, Uuid::NIL));
            for sp in &list {
                let (found, _) = in_registers(&mut world, VM1, sp.uuid);
                assert_eq!(found, [PartitionInfo { uuid: Uuid::NIL, ..*sp }]);
                assert_eq!(found, in_buffer(&mut world, VM1, sp.uuid));
            }
            // Linux 6.12 loses its way in a second window.
            assert_eq!(is_advertised(&mut world, VM1), count <= 5, "{count}");
            world.check();
        }
    });
}

#[test]
fn x09_a_window_has_a_place_in_the_list_that_its_tag_names() {
    let mut world = World::boot(machine(Preset::Strict, sps(7)));
    world.live(VM1, Version::V1_2);
    let tag = ask(&mut world, VM1, ALL).unwrap().next_request().expect("two records are left").tag;
    assert_ne!(tag, 0);
    let smcs = world.hypervisor.smcs();
    let nobody = Uuid::from_words([1, 2, 3, 4]);
    let uuid = sps(1)[0].uuids[0];
    for (request, status) in [
        (PartitionInfoGetRegs { tag, ..ALL }, Status::InvalidParameters),
        (PartitionInfoGetRegs { uuid: nobody, ..ALL }, Status::InvalidParameters),
        (PartitionInfoGetRegs { uuid: nobody, start: 1, tag }, Status::InvalidParameters),
        (PartitionInfoGetRegs { uuid, start: 1, tag }, Status::InvalidParameters),
        (PartitionInfoGetRegs { start: 5, tag: 0, ..ALL }, Status::Retry),
        (PartitionInfoGetRegs { start: 5, tag: tag + 1, ..ALL }, Status::Retry),
        (PartitionInfoGetRegs { start: 7, tag: 0, ..ALL }, Status::Retry),
        (PartitionInfoGetRegs { start: 7, tag, ..ALL }, Status::InvalidParameters),
        (PartitionInfoGetRegs { start: u16::MAX, tag, ..ALL }, Status::InvalidParameters),
    ] {
        assert_eq!(ask(&mut world, VM1, request), Err(status), "{request:x?}");
    }
    for start in 1..7 {
        let window = ask(&mut world, VM1, PartitionInfoGetRegs { start, tag, ..ALL }).expect("a window");
        assert_eq!(window.records().next().map(|sp| sp.id.0), Some(0x8001 + start));
    }
    // One list was asked for from its start, and the SPMC whether it is still the same.
    assert_eq!(world.hypervisor.smcs(), smcs + 1);
    // The upper half of x3 means nothing.
    let [low, high] = [ALL, PartitionInfoGetRegs { start: 5, tag, ..ALL }].map(|request| {
        let mut regs = request.to_regs();
        regs[3] |= 0xdead_beef_0000_0000;
        world.call_on(VM1, 0, regs).w::<0>()
    });
    assert_eq!([low, high], [0xc400_0061; 2]);
    // Older guests have no such call.
    for (vm, version) in [(VM2, Version::V1_0), (VM3, Version::V1_1)] {
        world.live(vm, version);
        assert_eq!(ask(&mut world, vm, ALL), Err(Status::NotSupported));
        assert!(!is_advertised(&mut world, vm));
    }
    world.check();
}

/// VMs 1 (1.2), 2 (1.1) and 3 (1.0) that may see each other, and two partitions.
fn sociable() -> World {
    let settings = Settings { interrupts: Some(GuestInterrupts::SGI), vm_to_vm: true, ..Settings::DEFAULT };
    let mut world = World::boot(Machine { settings, vcpus: 3, ..machine(Preset::Strict, sps(2)) });
    world.hypervisor.permit(|_, _, _| true);
    for (vm, version) in [(VM1, Version::V1_2), (VM2, Version::V1_1), (VM3, Version::V1_0)] {
        world.live(vm, version);
    }
    world
}

#[test]
fn vms_are_listed_after_sps_with_what_works_between_them() {
    let mut world = sociable();
    let works = Properties::INDIRECT_MESSAGES.or(Properties::RECEIVES_NOTIFICATIONS);
    let none = Properties::default();
    let vm = |id, properties| PartitionInfo { id, contexts: 3, properties, uuid: Uuid::NIL };
    let (list, _) = in_registers(&mut world, VM1, Uuid::NIL);
    assert_eq!(ids(&list[..2]), [0x8001, 0x8002]);
    assert_eq!(list[2..], [vm(VM2, works), vm(VM3, none)], "never itself");
    assert_eq!(list, in_buffer(&mut world, VM1, Uuid::NIL));
    let list = in_buffer(&mut world, VM2, Uuid::NIL);
    assert_eq!(list[2..], [vm(VM1, works), vm(VM3, none)]);
    // Without a flag to count, and without UUIDs.
    assert_eq!(world.call(VM3, [INFO_GET]), Regs::success(4, 0));
    let mut rx = [0; 32];
    world.hypervisor.read(VM3, RX, &mut rx);
    let list: Vec<_> = Records::new(&rx, 4, 8).unwrap().collect();
    assert_eq!(list[2..], [vm(VM1, none), vm(VM2, none)]);
    // A VM has no UUID to be asked for.
    let uuid = sps(1)[0].uuids[0];
    assert_eq!(ids(&in_buffer(&mut world, VM1, uuid)), [0x8001]);
    world.check();
}

#[test]
fn a_vm_sees_those_that_it_may_see_and_no_other() {
    let mut world = sociable();
    world.hypervisor.permit(|vm, relation, other| {
        other.is_secure() || relation == Relation::See && (vm, other) == (VM1, VM3)
    });
    assert_eq!(ids(&in_buffer(&mut world, VM1, Uuid::NIL)), [0x8001, 0x8002, 3]);
    assert_eq!(ids(&in_buffer(&mut world, VM2, Uuid::NIL)), [0x8001, 0x8002]);
    world.hypervisor.permit(|_, _, other| other == SP2);
    assert_eq!(ids(&in_buffer(&mut world, VM1, Uuid::NIL)), [0x8002]);
    world.hypervisor.permit(|_, _, _| false);
    assert_eq!(in_buffer(&mut world, VM1, Uuid::NIL), []);
    assert_eq!(ask(&mut world, VM1, ALL), Err(Status::InvalidParameters), "there is no first record");
    world.check();
}

#[test]
fn vms_that_come_and_go_change_the_tag() {
    let mut world = sociable();
    assert_eq!(world.hypervisor.create(PartitionId(4), &REGIONS[..1]), Ok(Creation::Live));
    let second = PartitionInfoGetRegs { start: 1, ..ALL };
    let tag = |world: &mut World| {
        let regs = world.call_on(VM1, 0, ALL.to_regs());
        (regs[2] >> 32) as u16
    };
    let before = tag(&mut world);
    assert_eq!(ids(&in_registers(&mut world, VM1, Uuid::NIL).0), [0x8001, 0x8002, 2, 3]);
    // It has to have asked for a version, and to have used it.
    world.negotiate(PartitionId(4), Version::V1_1);
    assert_eq!(tag(&mut world), before);
    world.call(PartitionId(4), [0x8400_0069]);
    let with = tag(&mut world);
    assert_ne!(with, before);
    assert_eq!(ask(&mut world, VM1, PartitionInfoGetRegs { tag: before, ..second }), Err(Status::Retry));
    assert_eq!(ids(&in_registers(&mut world, VM1, Uuid::NIL).0), [0x8001, 0x8002, 2, 3, 4]);
    // A call more changes nothing.
    world.call(PartitionId(4), [0x8400_0069]);
    assert_eq!(tag(&mut world), with);
    world.destroy(PartitionId(4));
    assert_eq!(ask(&mut world, VM1, PartitionInfoGetRegs { tag: with, ..second }), Err(Status::Retry));
    assert_eq!(ids(&in_registers(&mut world, VM1, Uuid::NIL).0), [0x8001, 0x8002, 2, 3]);
    world.check();
}

#[test]
fn vms_that_nobody_sees_change_no_tag() {
    let mut world = World::boot(machine(Preset::Strict, sps(7)));
    world.live(VM1, Version::V1_2);
    let next = ask(&mut world, VM1, ALL).unwrap().next_request().unwrap();
    world.live(VM2, Version::V1_2);
    assert_eq!(in_buffer(&mut world, VM1, Uuid::NIL).len(), 7);
    world.destroy(VM2);
    assert!(ask(&mut world, VM1, next).is_ok());
}

#[test]
fn more_vms_than_are_looked_at_at_a_time_are_all_listed_once() {
    const VMS: u16 = 150;
    let settings = Settings { vm_to_vm: true, ..Settings::DEFAULT };
    let mut world = World::boot(Machine { settings, vms: 256, ..machine(Preset::TfaEl3, sps(2)) });
    world.hypervisor.permit(|_, _, _| true);
    world.live(VM1, Version::V1_2);
    for vm in (2..=VMS).map(PartitionId) {
        assert_eq!(world.hypervisor.create(vm, &[Region::block(TX, 4)]), Ok(Creation::Live));
        world.negotiate(vm, Version::V1_2);
        world.call(vm, [0x8400_0069]);
        assert_eq!(is_advertised(&mut world, VM1), vm.0 <= 4);
    }
    let (list, _) = in_registers(&mut world, VM1, Uuid::NIL);
    assert_eq!(list, in_buffer(&mut world, VM1, Uuid::NIL));
    let mut ids = ids(&list);
    ids.sort_unstable();
    assert_eq!(ids, (2..=VMS).chain([0x8001, 0x8002]).collect::<Vec<_>>());
    // What does not fit a page is no list.
    for vm in (VMS + 1..=VMS + 30).map(PartitionId) {
        assert_eq!(world.hypervisor.create(vm, &[Region::block(TX, 4)]), Ok(Creation::Live));
        world.negotiate(vm, Version::V1_2);
        world.call(vm, [0x8400_0069]);
    }
    assert_eq!(world.call(VM1, [INFO_GET]), Regs::error(Status::NoMemory));
    assert_eq!(world.call(VM1, [INFO_GET, 0, 0, 0, 0, 1]), Regs::success(181, 0));
    assert_eq!(in_registers(&mut world, VM1, Uuid::NIL).0.len(), 181);
    world.check();
}
