//! Rows of the negative cases about memory that take more than one field, or an SP that does something.

mod common;

use common::sends::*;
use common::*;
use ffa_abi::{Function, Handle, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::Creation;
use ffa_mem::{MemoryAttributes, Receiver, SendFlags, SendHeader};
use ffa_test_utils::hypervisor::{Machine, Region};
use ffa_test_utils::spmc::Control;

const INVALID: Status = Status::InvalidParameters;
const DENIED: Status = Status::Denied;

/// One to both partitions, with what 1.2 has for each.
fn with_both(send: Send, version: Version) -> Vec<u8> {
    let receiver = |id| Receiver { id, permissions: send.permissions, impdef: [0x1111, 0x2222] };
    let attributes = MemoryAttributes::NORMAL_WRITE_BACK_INNER;
    let header = SendHeader { version, sender: VM1, attributes, flags: SendFlags::NONE, tag: 0 };
    describe(&header, [SP1, SP2].map(receiver).into(), &[(PAGES, 1)])
}

/// The same to one of them.
fn with_one(send: Send, version: Version) -> Vec<u8> {
    let receiver = Receiver { id: SP1, permissions: send.permissions, impdef: [0x1111, 0x2222] };
    let attributes = send.attributes;
    let header = SendHeader { version, sender: VM1, attributes, flags: SendFlags::NONE, tag: 0 };
    describe(&header, vec![receiver], &[(PAGES, 1)])
}

/// The descriptor is refused, nobody hears of it, and it takes nothing.
#[track_caller]
fn refused(world: &mut World, send: Send, what: &str, bytes: &[u8], status: Status) {
    let smcs = world.hypervisor.smcs();
    assert_eq!(send.make(world, VM1, bytes), Regs::error(status), "{}: {what}", world.preset);
    assert_eq!(world.hypervisor.smcs(), smcs, "{}: {what} reached the secure world", world.preset);
    assert_eq!(world.hypervisor.report(VM1).expect("it lives").shares, 0, "{what}");
    assert_eq!(world.hypervisor.store(VM1, PAGES, &[1; 8]), Ok(()), "{what}");
}

#[track_caller]
fn end(world: &mut World) {
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
    each_send_at(Version::V1_0, |world, send| {
        let inside = 48_u32.to_le_bytes();
        let bad = broken(&with_both(send, Version::V1_0), &[(32 + 4, &inside), (48 + 4, &inside)]);
        refused(world, send, "D35", &bad, INVALID);
        end(world);
    });
}

#[test]
fn e05_e14_receivers_that_do_not_go_together() {
    each_send(|world, send| {
        let good = with_both(send, Version::V1_1);
        refused(world, send, "E05 one receiver twice", &broken(&good, &[(64, &[1])]), INVALID);
        refused(world, send, "E14 a composite of its own", &broken(&good, &[(64 + 4, &[96])]), INVALID);
        end(world);
    });
}

/// E13: what 1.2 has for receivers goes on as it is, to whoever knows it.
#[test]
fn e13_the_implementation_defined_value_reaches_the_secure_world() {
    each_send_at(Version::V1_2, |world, send| {
        let version = world.hypervisor.mediator().spmc().version();
        assert_eq!(version, Version::V1_2, "{}", world.preset);
        let both = with_both(send, Version::V1_2);
        // A donation has one receiver.
        let (bytes, receivers) = match send.function {
            Function::MemDonate => (with_one(send, Version::V1_2), vec![48]),
            _ => (both, vec![48, 80]),
        };
        // OP-TEE alone knows who is second; whoever judges the whole, the descriptor was written.
        let _ = send.make(world, VM1, &bytes);
        let tx = world.hypervisor.spmc_buffers().0;
        let bytes = world.hypervisor.read_physical(tx, 48 + 64);
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        for receiver in receivers {
            assert_eq!([word(receiver + 8), word(receiver + 16)], [0x1111, 0x2222], "{}", world.preset);
        }
        end(world);
    });
}

/// E22 and E26: whatever is between two ranges, and in whichever order they come.
#[test]
fn e22_e26_pages_that_are_named_twice() {
    let page = |n: u64| PAGES + n * PAGE;
    each_send(|world, send| {
        for ranges in [
            [(page(0), 5), (page(1), 2)],
            [(page(1), 2), (page(0), 5)],
            [(page(0), 5), (page(0), 5)],
            [(page(0), 5), (page(3), 2)],
            [(page(0), 5), (page(4), 1)],
            [(page(4), 5), (page(0), 5)],
        ] {
            refused(world, send, "E26", &send.bytes(&ranges), INVALID);
        }
        // 5 pages, none elsewhere, and 2 of the 5.
        let three = send.bytes(&[(page(0), 5), (page(9), 1), (page(1), 2)]);
        let empty = broken(&three, &[(64, &[7]), (80 + 16 + 8, &[0])]);
        refused(world, send, "E22", &empty, INVALID);
        // Side by side is not twice.
        send.send(world, &[(page(5), 5), (page(0), 5), (page(10), 1)]);
        assert_eq!(world.hypervisor.report(VM1).expect("it lives").pages, 11);
        end(world);
    });
}

/// E35: as many as there may be, and one more; by the settings, and by the room that was lent.
#[test]
fn e35_as_many_ranges_as_there_may_be_and_one_more() {
    const MOST: u64 = 128;
    let ranges = |count: u64| (0..count).map(|n| (LOOSE + 2 * n * PAGE, 1)).collect::<Vec<_>>();
    // RX and TX touch, and are one.
    for (room, most) in [(1024, MOST), (100, 99)] {
        each_send_on(
            |preset| Machine { ranges: room, ..machine(preset, lazy_sps()) },
            |world, send| {
                let memory = [Region::block(TX, 4), Region::block(LOOSE, 2 * MOST as u32 + 2)];
                assert_eq!(world.hypervisor.create(VM1, &memory), Ok(Creation::Live));
                world.negotiate(VM1, Version::V1_1);
                world.map(VM1);
                let smcs = world.hypervisor.smcs();
                let one_more = send.make(world, VM1, &send.bytes(&ranges(most + 1)));
                assert_eq!(one_more, Regs::error(Status::NoMemory), "E35: {}", world.preset);
                assert_eq!(world.hypervisor.smcs(), smcs);
                send.send(world, &ranges(most));
                end(world);
            },
        );
    }
}

#[test]
fn r06_what_a_partition_has_is_not_reclaimed() {
    each(&[SHARE, LEND], |world, send| {
        let handle = send.send(world, &[(PAGES, 2)]);
        ask(world, SP1, Control::Retrieve(handle));
        for _ in 0..3 {
            assert_eq!(world.call(VM1, reclaim(handle, 0)), Regs::error(DENIED), "{}", world.preset);
        }
        // Still spoken for.
        let again = descriptor(Version::V1_1, VM1, SP2, &[(PAGES + PAGE, 1)]);
        let smcs = world.hypervisor.smcs();
        assert_eq!(world.send(VM1, &again), Regs::error(DENIED));
        assert_eq!(world.hypervisor.smcs(), smcs);
        world.check();
        ask(world, SP1, Control::Relinquish(handle));
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        assert!(handle_of(&world.send(VM1, &again)).is_some());
        end(world);
    });
}

#[test]
fn r11_what_a_partition_had_that_died_is_reclaimed() {
    each(&[SHARE, LEND], |world, send| {
        let handle = send.send(world, &[(PAGES, 2)]);
        ask(world, SP1, Control::Retrieve(handle));
        assert_eq!(world.call(VM1, reclaim(handle, 0)), Regs::error(DENIED));
        ask(world, SP1, Control::Crash);
        assert!(world.hypervisor.spmc().is_crashed(SP1));
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0), "{}", world.preset);
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
        end(&mut world);
    });
}
