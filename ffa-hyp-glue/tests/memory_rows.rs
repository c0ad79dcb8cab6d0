//! Rows of the negative cases about memory that take more than one field, or an SP that does something.

mod common;

use common::*;
use ffa_abi::{Handle, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::Creation;
use ffa_mem::{IpaRange, MemoryAttributes, Permissions, Receiver, SendBuilder, SendFlags, SendHeader};
use ffa_test_utils::hypervisor::{Machine, Region};
use ffa_test_utils::spmc::{Control, Preset, Script, SpConfig};

const INVALID: Status = Status::InvalidParameters;
const DENIED: Status = Status::Denied;

fn lazy(preset: Preset) -> World {
    let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::LAZY)];
    World::with(machine(preset, sps))
}

/// A share with both partitions.
fn with_both(version: Version) -> Vec<u8> {
    let receiver = |id| Receiver { id, permissions: Permissions::READ_WRITE, impdef: [0x1111, 0x2222] };
    let header = SendHeader {
        version,
        sender: VM1,
        attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
        flags: SendFlags::NONE,
        tag: 0,
    };
    let mut bytes = vec![0; 4096];
    let mut builder = SendBuilder::new(&mut bytes, &header, [SP1, SP2].map(receiver)).expect("room");
    builder.push(IpaRange::new(PAGES, 1).expect("a range")).expect("room");
    let len = builder.finish().expect("complete");
    bytes.truncate(len);
    bytes
}

/// The descriptor is refused, and nobody hears of it.
#[track_caller]
fn refused(world: &mut World, what: &str, bytes: &[u8], status: Status) {
    let smcs = world.hypervisor.smcs();
    assert_eq!(world.send(VM1, bytes), Regs::error(status), "{}: {what}", world.preset);
    assert_eq!(world.hypervisor.smcs(), smcs, "{}: {what} reached the secure world", world.preset);
    assert_eq!(world.hypervisor.report(VM1).expect("it lives").shares, 0, "{what}");
}

#[track_caller]
fn end(mut world: World) {
    world.destroy(VM1);
    assert!(world.hypervisor.settle(LONG), "{}", world.preset);
    world.check_all_gone();
}

/// Has a partition do something that it must be able to do.
fn ask(world: &mut World, sp: PartitionId, control: Control) {
    let mut regs = [0; 8];
    (regs[0], regs[1]) = (0x8400_006f, u64::from(PartitionId::pair(VM1, sp)));
    regs[3..].copy_from_slice(&control.payload());
    let answer = world.call(VM1, regs);
    assert_eq!((answer[0], answer[4]), (0x8400_0070, 1), "{}: {control:?}", world.preset);
}

fn reclaim(handle: Handle, flags: u64) -> [u64; 4] {
    let [low, high] = handle.words();
    [MEM_RECLAIM, low, high, flags]
}

/// D35: where a 1.1 header ends a 1.0 descriptor has its second receiver.
#[test]
fn d35_a_composite_inside_the_second_receiver_of_1_0() {
    every_preset(|preset| {
        let mut world = World::boot(machine(preset, good_sps()));
        world.live(VM1, Version::V1_0);
        let good = with_both(Version::V1_0);
        let inside = 48_u32.to_le_bytes();
        let bad = broken(&good, &[(32 + 4, &inside), (48 + 4, &inside)]);
        refused(&mut world, "D35", &bad, INVALID);
        end(world);
    });
}

#[test]
fn e05_e14_receivers_that_do_not_go_together() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, good_sps()));
        let good = with_both(Version::V1_1);
        refused(&mut world, "E05 one receiver twice", &broken(&good, &[(64, &[1])]), INVALID);
        refused(&mut world, "E14 a composite of its own", &broken(&good, &[(64 + 4, &[96])]), INVALID);
        end(world);
    });
}

/// E13: what 1.2 has for receivers goes on as it is, to whoever knows it.
#[test]
fn e13_the_implementation_defined_value_reaches_the_secure_world() {
    every_preset(|preset| {
        let mut world = World::boot(machine(preset, good_sps()));
        world.live(VM1, Version::V1_2);
        let version = world.hypervisor.mediator().spmc().version();
        assert_eq!(version, Version::V1_2, "{}", preset.name());
        let tx = world.hypervisor.spmc_buffers().0;
        // OP-TEE alone knows who is second; whoever judges the whole, the descriptor was written.
        let _ = world.send(VM1, &with_both(Version::V1_2));
        let bytes = world.hypervisor.read_physical(tx, 48 + 64);
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        for receiver in [48, 80] {
            assert_eq!([word(receiver + 8), word(receiver + 16)], [0x1111, 0x2222], "{}", preset.name());
        }
        end(world);
    });
}

/// E22 and E26: whatever is between two ranges, and in whichever order they come.
#[test]
fn e22_e26_pages_that_are_named_twice() {
    let page = |n: u64| PAGES + n * PAGE;
    every_preset(|preset| {
        let mut world = lazy(preset);
        for ranges in [
            [(page(0), 5), (page(1), 2)],
            [(page(1), 2), (page(0), 5)],
            [(page(0), 5), (page(0), 5)],
            [(page(0), 5), (page(3), 2)],
            [(page(0), 5), (page(4), 1)],
            [(page(4), 5), (page(0), 5)],
        ] {
            let bytes = descriptor(Version::V1_1, VM1, SP1, &ranges);
            refused(&mut world, "E26", &bytes, INVALID);
        }
        // 5 pages, none elsewhere, and 2 of the 5.
        let three = descriptor(Version::V1_1, VM1, SP1, &[(page(0), 5), (page(9), 1), (page(1), 2)]);
        let empty = broken(&three, &[(64, &[7]), (80 + 16 + 8, &[0])]);
        refused(&mut world, "E22", &empty, INVALID);
        // Side by side is not twice.
        let beside = [(page(5), 5), (page(0), 5), (page(10), 1)];
        assert!(handle_of(&world.send(VM1, &descriptor(Version::V1_1, VM1, SP1, &beside))).is_some());
        assert_eq!(world.hypervisor.report(VM1).expect("it lives").pages, 11);
        end(world);
    });
}

/// E35: as many as there may be, and one more; by the settings, and by the room that was lent.
#[test]
fn e35_as_many_ranges_as_there_may_be_and_one_more() {
    const MOST: u64 = 128;
    let ranges = |count: u64| (0..count).map(|n| (LOOSE + 2 * n * PAGE, 1)).collect::<Vec<_>>();
    every_preset(|preset| {
        // RX and TX touch, and are one.
        for (room, most) in [(1024, MOST), (100, 99)] {
            let mut world = World::boot(Machine { ranges: room, ..machine(preset, good_sps()) });
            let memory = [Region::block(TX, 4), Region::block(LOOSE, 2 * MOST as u32 + 2)];
            assert_eq!(world.hypervisor.create(VM1, &memory), Ok(Creation::Live));
            world.negotiate(VM1, Version::V1_1);
            world.map(VM1);
            let one_more = descriptor(Version::V1_1, VM1, SP1, &ranges(most + 1));
            refused(&mut world, "E35", &one_more, Status::NoMemory);
            world.share(VM1, SP1, &ranges(most));
            end(world);
        }
    });
}

#[test]
fn r06_what_a_partition_has_is_not_reclaimed() {
    every_preset(|preset| {
        let mut world = lazy(preset);
        let handle = world.share(VM1, SP1, &[(PAGES, 2)]);
        ask(&mut world, SP1, Control::Retrieve(handle));
        for _ in 0..3 {
            assert_eq!(world.call(VM1, reclaim(handle, 0)), Regs::error(DENIED), "{}", preset.name());
        }
        // Still spoken for.
        let again = descriptor(Version::V1_1, VM1, SP2, &[(PAGES + PAGE, 1)]);
        let smcs = world.hypervisor.smcs();
        assert_eq!(world.send(VM1, &again), Regs::error(DENIED));
        assert_eq!(world.hypervisor.smcs(), smcs);
        world.check();
        ask(&mut world, SP1, Control::Relinquish(handle));
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        assert!(handle_of(&world.send(VM1, &again)).is_some());
        end(world);
    });
}

#[test]
fn r11_what_a_partition_had_that_died_is_reclaimed() {
    every_preset(|preset| {
        let mut world = lazy(preset);
        let handle = world.share(VM1, SP1, &[(PAGES, 2)]);
        ask(&mut world, SP1, Control::Retrieve(handle));
        assert_eq!(world.call(VM1, reclaim(handle, 0)), Regs::error(DENIED));
        ask(&mut world, SP1, Control::Crash);
        assert!(world.hypervisor.spmc().is_crashed(SP1));
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0), "{}", preset.name());
        world.check();
        assert_eq!(world.hypervisor.spmc().reaches().count(), 0);
    });
}

/// What borrowers and new owners call, where FFA_FEATURES does not offer it: whatever stands in the registers, and whoever
/// asks.
#[test]
fn f15_f16_r12_r13_r14_r15_r16_no_guest_borrows_or_donates_what_is_not_offered() {
    every_preset(|preset| {
        let mut world = lazy(preset);
        world.live(VM2, Version::V1_2);
        let [low, high] = world.share(VM1, SP1, &[(PAGES, 1)]).words();
        for vm in [VM1, VM2] {
            for (name, head) in [
                ("F-15 FRAG_RX at the start", [0x8400_007a, low, high, 0, 0]),
                ("F-15 FRAG_RX further on", [0x8400_007a, low, high, 64, 0]),
                ("F-16 FRAG_RX at an odd offset", [0x8400_007a, low, high, 7, 0]),
                ("R12 DONATE", [0x8400_0071, 96, 96, 0, 0]),
                ("R13 R15 RETRIEVE_REQ", [0x8400_0074, 64, 64, 0, 0]),
                ("R14 RETRIEVE_REQ of 64 bits", [0xc400_0074, 64, 64, 0, 0]),
                ("R16 RELINQUISH", [0x8400_0076, 0, 0, 0, 0]),
            ] {
                if status_of(&world.call(vm, [0x8400_0064, head[0]])).is_none() {
                    continue;
                }
                world.refused(name, vm, head, Status::NotSupported);
            }
        }
        world.destroy(VM2);
        end(world);
    });
}
