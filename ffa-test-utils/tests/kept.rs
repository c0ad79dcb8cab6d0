//! What the SPMC keeps for a VM: random calls leave anything there, and the calls that undo them leave nothing.

mod common;

use common::*;
use ffa_abi::{PartitionId, Properties, Regs, VmAvailability};
use ffa_teardown::Span;
use ffa_test_utils::Rng;
use ffa_test_utils::spmc::*;

fn world(preset: Preset, version: u64, receive: Receive) -> World {
    let able = SpConfig::SUBSCRIBED
        .or(Properties::INDIRECT_MESSAGES)
        .or(Properties::RECEIVES_NOTIFICATIONS)
        .or(Properties::RECEIVES_DIRECT_REQUESTS2);
    let script = Script { receive, ..Script::GOOD };
    let mut world = World::raw(preset, [SP1, SP2].map(|sp| SpConfig::new(sp, script).with_properties(able)));
    world.call([0x8400_0063, version]);
    world.map_buffers();
    for sp in [SP1, SP2] {
        world.tell(VmAvailability::Created, VM1, sp);
    }
    world
}

/// A call about VM 1 that often makes sense.
fn any_call(world: &mut World, rng: &mut Rng) -> Regs {
    let sp = *rng.pick(&[SP1, SP2]).unwrap();
    let ids = 1 << rng.below(4) | rng.below(4);
    let (to_vm, to_sp) = (PartitionId::pair(sp, VM1).into(), u64::from(PartitionId::pair(VM1, sp)));
    let control = match rng.below(4) {
        0 => Control::Notify { vm: VM1, id: rng.below(4) as u8, vcpu: None, after_ms: rng.below(50) as u32 },
        1 => Control::AllowNotifications { vm: VM1, ids: ffa_abi::NotificationBitmap(ids) },
        2 => Control::SendMessage { vm: VM1, size: rng.below(9) as u32, first: 0 },
        _ => Control::TakeMessage,
    };
    let [c3, c4, c5, c6, c7] = control.payload();
    let mut regs = match rng.below(14) {
        0 => {
            let words = |words: [u32; 4]| words.map(u32::to_le_bytes).concat();
            let buffer = |address: u64| [words([1, 1, 0, 0]), words([address as u32, 0, 1, 0])].concat();
            let bytes = [words([1, 16, 48, 0]), buffer(VM_RX), buffer(VM_TX)].concat();
            world.memory.write(TX, &bytes).unwrap();
            Regs::new([0xc400_0066])
        }
        1 => Regs::new([0x8400_0067, 1 << 16]),
        2 => Regs::new([0x8400_0084, 1]),
        3 => Regs::new([0x8400_0065, 1]),
        4 => {
            let receiver = u32::from(sp.0) | 1 << 16;
            let header = [0, 0, 40, receiver, 4, 0, 0, 0, 0, 0].map(u32::to_le_bytes).concat();
            world.memory.write(VM_TX, &header).unwrap();
            Regs::new([0x8400_0086, 1 << 16])
        }
        5 => Regs::new([0x8400_007d, 1, 1 + rng.below(3)]),
        6 => Regs::new([0x8400_007e, 1]),
        7 => Regs::new([0x8400_007f, to_vm, rng.below(2), ids]),
        8 => Regs::new([0x8400_0080, to_vm, 0, ids]),
        9 => Regs::new([0x8400_0081, to_sp, 0, ids]),
        10 => Regs::new([0x8400_0082, rng.below(3) << 16 | 1, rng.below(8)]),
        11 => Regs::new([0xc400_0083]),
        12 => Regs::new([0xc400_008b, 0, 0, rng.below(3)]),
        _ => Regs::new([0x8400_006f, to_sp, 0, c3, c4, c5, c6, c7]),
    };
    if rng.one_in(10) {
        regs[rng.below(18) as usize] = rng.next_u64();
    }
    regs
}

/// Undoes all that can have been done for VM 1, whatever it was.
fn undo(world: &mut World) {
    for vcpu in 0..0x100 {
        world.call([0x8400_0082, vcpu << 16 | 1, 0b101]);
    }
    for sp in [SP1, SP2] {
        for id in 0..64 {
            let bit = 1_u64 << id;
            let w1 = u64::from(PartitionId::pair(sp, VM1));
            world.call([0x8400_0080, w1, 0, bit & 0xffff_ffff, bit >> 32]);
        }
    }
    world.call([0x8400_007e, 1]);
    world.call([0x8400_0067, 1 << 16]);
}

#[test]
fn what_was_done_can_be_undone() {
    let mut left = 0;
    for (seed, preset) in (0..120).zip(Preset::ALL.into_iter().cycle()) {
        let mut rng = Rng::new(seed);
        let version = 0x1_0001 + rng.below(2);
        let mut world = world(preset, version, *rng.pick(&[Receive::AtOnce, Receive::WhenRun]).unwrap());
        for _ in 0..200 {
            let regs = any_call(&mut world, &mut rng);
            world.pass(Span::from_millis(rng.below(20)));
            world.spmc.call(&mut world.memory, world.now, &regs);
        }
        let kept = world.spmc.kept().find(|kept| kept.vm == VM1);
        left += usize::from(kept.is_some_and(|kept| kept.bitmap && kept.buffers && kept.bound.0 != 0));
        // What partitions still have in mind happens before the VM's end.
        world.pass(Span::from_millis(100));
        undo(&mut world);
        let kept = world.spmc.kept().find(|kept| kept.vm == VM1);
        assert_eq!(kept, None, "seed {seed}, {preset:?}");
    }
    assert!(left > 5, "only {left} runs left much to undo");
}

#[test]
fn a_guest_that_nobody_tidied_up_after_is_kept() {
    for (preset, kept) in Preset::ALL.into_iter().zip([true, false, false, true]) {
        let mut world = world(preset, 0x1_0002, Receive::AtOnce);
        world.call([0x8400_007d, 1, 1]);
        for sp in [SP1, SP2] {
            world.tell(VmAvailability::Destroyed, VM1, sp);
        }
        assert_eq!(world.spmc.kept().count(), usize::from(kept), "{preset:?}");
    }
}

#[test]
fn a_census_counts_what_there_is_of_a_vm() {
    let script = Script::LAZY.on_request(Reaction::always(Turn::ACCEPT.preempted(1)));
    let mut world =
        World::new(Preset::Strict, [SpConfig::new(SP1, script), SpConfig::new(SP2, Script::LAZY)]);
    let known = Census { known: 2, ..Census::default() };
    assert_eq!(world.spmc.census(Some(VM1)), known);
    assert_eq!(world.spmc.census(Some(VM2)), Census::default());
    let handle = world.share(&Descriptor::good());
    map_buffers_for_vm1(&mut world);
    assert_eq!(world.call([0x8400_007d, 1, 1]), Regs::success(0, 0));
    let answer = world.direct(VM1, SP1, [0; 5]);
    assert_eq!(answer.w::<0>(), 0x8400_0062, "{answer:x?}");
    let all = Census { handles: 1, pages: 2, kept: 1, requests: 1, ..known };
    assert_eq!(world.spmc.census(Some(VM1)), all);
    assert_eq!(world.spmc.census(None), all);
    assert_eq!(world.spmc.census(Some(VM2)), Census::default());
    world.run(SP1, 0);
    assert_eq!(world.spmc.census(None), Census { requests: 0, ..all });
    assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
    assert_eq!(world.call([0x8400_0067, 1 << 16]), Regs::success(0, 0));
    assert_eq!(world.spmc.census(None), Census { kept: 1, ..known });
    assert_eq!(world.call([0x8400_007e, 1]), Regs::success(0, 0));
    assert_eq!(world.spmc.census(None), known);
    for sp in [SP1, SP2] {
        world.tell(VmAvailability::Destroyed, VM1, sp);
    }
    assert_eq!(world.spmc.census(None), Census::default());
}
