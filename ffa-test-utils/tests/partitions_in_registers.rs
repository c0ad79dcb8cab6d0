//! Listing partitions in registers: windows of the list, and what happens when it changes.

mod common;

use common::*;
use ffa_abi::Status::*;
use ffa_abi::{
    Answer, PartitionId, PartitionInfo, PartitionInfoGetRegs, PartitionInfoWindow, Regs, Status, Uuid,
    WindowError,
};
use ffa_test_utils::spmc::*;

/// Presets that list partitions in registers.
const SERVE: [Preset; 2] = [Preset::Hafnium, Preset::Strict];

const ALL: PartitionInfoGetRegs = PartitionInfoGetRegs { uuid: Uuid::NIL, start: 0, tag: 0 };

/// 1.2 negotiated, and so many partitions from 0x8001 on.
fn world(preset: Preset, partitions: u16) -> World {
    let sps = (1..=partitions).map(|n| SpConfig::new(PartitionId(0x8000 | n), Script::GOOD));
    let mut world = World::raw(preset, sps);
    world.call([0x8400_0063, 0x1_0002]);
    world
}

fn ask(world: &mut World, request: PartitionInfoGetRegs) -> Result<PartitionInfoWindow, WindowError> {
    let regs = world.spmc.call(&mut world.memory, world.now, &request.to_regs());
    PartitionInfoWindow::from_answer(request, &regs)
}

fn refusal(result: Result<PartitionInfoWindow, WindowError>) -> Option<Status> {
    match result {
        Ok(_) => None,
        Err(WindowError::NotSuccess(Answer::Error(status))) => Some(status.for_guest()),
        Err(other) => panic!("{other:?}"),
    }
}

/// The whole list, and the number of calls that it took.
fn list(world: &mut World, first: PartitionInfoGetRegs) -> (Vec<PartitionInfo>, usize) {
    let (mut all, mut calls, mut next) = (Vec::new(), 0, Some(first));
    while let Some(request) = next {
        let window = ask(world, request).unwrap();
        all.extend(window.records());
        calls += 1;
        next = window.next_request();
    }
    (all, calls)
}

#[test]
fn the_list_comes_in_windows() {
    for (preset, [one, five, seven]) in SERVE.into_iter().zip([[1, 3, 4], [1, 1, 2]]) {
        for (partitions, calls) in [(1, one), (5, five), (7, seven)] {
            let mut world = world(preset, partitions);
            let (all, made) = list(&mut world, ALL);
            let ids: Vec<_> = all.iter().map(|info| info.id.0).collect();
            assert_eq!(ids, (0x8001..=0x8000 + partitions).collect::<Vec<_>>(), "{preset:?}");
            assert_eq!(made, calls, "{preset:?}: {partitions} partitions");
        }
    }
}

#[test]
fn records_are_those_of_the_rx_buffer() {
    for preset in SERVE {
        let mut world = world(preset, 3);
        let (in_registers, _) = list(&mut world, ALL);
        world.map_buffers();
        let answer = world.call([0x8400_0068]);
        let bytes: [u8; 4096] = world.read(RX);
        let in_buffer = ffa_abi::Records::new(&bytes, answer.w::<2>(), answer.w::<3>()).unwrap();
        assert_eq!(in_registers, in_buffer.collect::<Vec<_>>(), "{preset:?}");
    }
}

#[test]
fn a_uuid_narrows_the_list() {
    for preset in SERVE {
        let mut world = world(preset, 3);
        let uuid = SpConfig::new(SP2, Script::GOOD).uuids[0];
        let (found, _) = list(&mut world, PartitionInfoGetRegs { uuid, ..ALL });
        assert_eq!(found.len(), 1, "{preset:?}");
        assert_eq!((found[0].id, found[0].uuid), (SP2, Uuid::NIL), "{preset:?}");
        let unknown = PartitionInfoGetRegs { uuid: Uuid([9; 16]), ..ALL };
        assert_eq!(refusal(ask(&mut world, unknown)), Some(InvalidParameters), "{preset:?}");
    }
}

#[test]
fn the_start_is_in_the_list_and_the_tag_is_its_own() {
    for preset in SERVE {
        let mut world = world(preset, 3);
        let mut refused = |start, tag| refusal(ask(&mut world, PartitionInfoGetRegs { start, tag, ..ALL }));
        assert_eq!(refused(2, 0), None, "{preset:?}");
        assert_eq!(refused(3, 0), Some(InvalidParameters), "{preset:?}");
        assert_eq!(refused(0, 1), Some(Retry), "{preset:?}");
        assert_eq!(refused(2, 1), Some(Retry), "{preset:?}");
    }
}

#[test]
fn a_list_that_changes_must_be_read_again() {
    let eighth = || SpConfig::new(PartitionId(0x8008), Script::GOOD);
    type Change = (&'static str, fn(&mut SpmcModel), usize);
    let changes: [Change; 3] = [
        ("added", |spmc| spmc.add_partition(SpConfig::new(PartitionId(0x8008), Script::GOOD)), 8),
        ("removed", |spmc| spmc.remove_partition(SP2), 6),
        ("restarted", |spmc| spmc.restart(SP2), 7),
    ];
    for preset in SERVE {
        for (what, change, count) in changes {
            let mut world = world(preset, 7);
            let first = ask(&mut world, ALL).unwrap();
            change(&mut world.spmc);
            let next = first.next_request().unwrap();
            assert_eq!(refusal(ask(&mut world, next)), Some(Retry), "{preset:?}: {what}");
            assert_eq!(list(&mut world, ALL).0.len(), count, "{preset:?}: {what}");
            world.spmc.remove_partition(PartitionId(0x8008));
            world.spmc.add_partition(eighth());
            let (again, _) = list(&mut world, ALL);
            assert_eq!(again.last().unwrap().id, eighth().id, "{preset:?}: {what}");
        }
    }
}

#[test]
fn what_a_removed_partition_had_is_nobodys() {
    let mut world = World::new(Preset::Strict, [SP1, SP2].map(|sp| SpConfig::new(sp, Script::STUCK)));
    let handle = world.share(&Descriptor::good());
    world.spmc.remove_partition(SP1);
    assert_eq!(world.spmc.reaches().count(), 0);
    assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
}

#[test]
fn who_has_the_call() {
    for (preset, expected) in
        Preset::ALL.into_iter().zip([[true, true], [false; 2], [false; 2], [false, true]])
    {
        let has = [0x1_0001, 0x1_0002].map(|version| {
            let mut world = World::raw(preset, [SpConfig::new(SP1, Script::GOOD)]);
            world.call([0x8400_0063, version]);
            let served = refusal(ask(&mut world, ALL)) != Some(NotSupported);
            let said = world.call([0x8400_0064, 0xc400_008b]) == Regs::success(0, 0);
            assert_eq!(served, said, "{preset:?}");
            served
        });
        assert_eq!(has, expected, "{preset:?}: a caller of 1.1, and of 1.2");
    }
}
