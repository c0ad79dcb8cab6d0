//! RX and TX: two vCPUs of one VM, and two VMs that write to each other.

use ffa_abi::{IndirectFormat, IndirectMessage, Regs, Status, Uuid};

use super::*;

/// H-5: RX is filled for one vCPU while another one releases, unmaps or maps it.
#[test]
fn h5_rx_has_one_owner_whatever_two_vcpus_do() {
    const SEQUENCES: [&[&[u64]]; 5] =
        [&[LIST, RX_RELEASE], &[UNMAP, MAP], &[RX_RELEASE, LIST], &[LIST, UNMAP], &[LIST]];
    for (nth, first) in SEQUENCES.into_iter().enumerate() {
        for second in SEQUENCES.into_iter().skip(nth) {
            let race = move |preset| {
                Race::new(world(small(preset, Script::GOOD), &[VM1]))
                    .cpu(calls(VM1, 0, first))
                    .cpu(calls(VM1, 1, second))
                    .then(move |mut world, seen| {
                        rx_is_as_told(&mut world, &[first, second], seen);
                        ends(&mut world);
                    })
            };
            over(&[Preset::TfaEl3, Preset::Optee], "RX of one VM", Search::Every, race);
            // These are asked in between whether the list is still the same: too many orders to try all.
            over(&[Preset::Hafnium, Preset::Strict], "RX of one VM", Search::HeldUp(4), race);
        }
    }
}

/// Whoever was told that RX is full had to release it before it was full again: no fill and no release is lost.
fn rx_is_as_told(world: &mut World, made: &[&[&[u64]]], seen: &[Vec<Regs>]) {
    let count = |head: &[u64]| -> usize {
        let of_cpu = |(made, seen): (&&[&[u64]], &Vec<Regs>)| {
            made.iter().zip(seen).filter(|(made, seen)| **made == head && succeeds(seen)).count()
        };
        made.iter().zip(seen).map(of_cpu).sum()
    };
    let (fills, releases, unmaps, maps) = (count(LIST), count(RX_RELEASE), count(UNMAP), count(MAP));
    // Unmapped while full it is as good as released.
    assert!(fills - releases <= 1 + unmaps, "{fills} {releases} {unmaps}");
    assert!(maps <= unmaps);
    if unmaps == 0 {
        let full = fills > releases;
        let expected = if full { Regs::error(Status::Busy) } else { Regs::success(1, 24) };
        assert_eq!(world.call(VM1, [LIST[0]]), expected, "{}: {seen:x?}", world.preset);
    }
}

/// Puts a message to `to` into a VM's TX.
fn write_message(world: &mut World, from: PartitionId, to: PartitionId) {
    let mut bytes = [from.0 as u8; 64];
    let size = 64 - IndirectFormat::V1_1.size();
    let message = IndirectMessage::new(IndirectFormat::V1_1, from, to, Uuid::NIL, size as u32, 4096);
    message.and_then(|message| message.write(&mut bytes)).expect("it fits");
    world.write_tx(from, &bytes);
}

pub fn two_vms(preset: Preset) -> World {
    let mut world = world(small(preset, Script::GOOD), &[VM1, VM2]);
    write_message(&mut world, VM1, VM2);
    write_message(&mut world, VM2, VM1);
    world
}

/// H-7: two VMs send to each other and unmap the buffers that this needs. Each has one CPU, then two.
#[test]
fn h7_two_vms_that_send_to_each_other_and_unmap_wait_for_nobody() {
    let two = |preset| {
        Race::new(two_vms(preset))
            .cpu(calls(VM1, 0, &[SEND2, UNMAP]))
            .cpu(calls(VM2, 0, &[SEND2, UNMAP]))
            .then(|mut world, _| ends(&mut world))
    };
    let four = |preset| {
        Race::new(two_vms(preset))
            .cpu(calls(VM1, 0, &[SEND2]))
            .cpu(calls(VM2, 1, &[UNMAP]))
            .cpu(calls(VM2, 0, &[SEND2]))
            .cpu(calls(VM1, 1, &[UNMAP]))
            .then(|mut world, _| ends(&mut world))
    };
    over(&[Preset::TfaEl3, Preset::Strict], "two VMs, two CPUs", Search::HeldUp(3), two);
    over(&[Preset::TfaEl3, Preset::Strict], "two VMs, four CPUs", Search::HeldUp(2), four);
    over(&Preset::ALL, "two VMs, four CPUs", Search::Random(20_000), four);
}

/// H-15: the receiver dies, and is torn down, while a message is copied into its RX.
#[test]
fn h15_a_receiver_that_dies_is_there_until_the_message_is_copied() {
    let race = |preset| {
        Race::new(two_vms(preset))
            .cpu(calls(VM1, 0, &[SEND2]))
            .cpu(|world| {
                destroys(VM2)(world);
                ticks(3)(world)
            })
            .then(|mut world, _| ends(&mut world))
    };
    over(&Preset::ALL, "a receiver that dies", Search::HeldUp(2), race);
}

/// As [`small`], where no SP wants to hear of VMs and nobody keeps notifications: all that a VM's reference can be held for is
/// its buffers.
fn unsubscribed(preset: Preset) -> Machine {
    let machine = small(preset, Script::GOOD);
    let settings = Settings { interrupts: None, ..machine.settings };
    let partitions =
        vec![SpConfig::new(SP1, Script::GOOD).with_properties(Properties::RECEIVES_DIRECT_REQUESTS)];
    Machine { settings, partitions, ..machine }
}

/// H-15 once more: the secure world is owed nothing for the receiver, but others reach into its buffers.
#[test]
fn h15_a_receiver_that_no_sp_has_heard_of_is_there_until_the_message_is_copied() {
    over(&Preset::ALL, "a receiver that no SP has heard of", Search::HeldUp(2), |preset| {
        let mut world = world(unsubscribed(preset), &[VM1, VM2]);
        assert_eq!(world.hypervisor.spmc().told(VM2, SP1), []);
        write_message(&mut world, VM1, VM2);
        Race::new(world)
            .cpu(calls(VM1, 0, &[SEND2]))
            .cpu(|world| {
                destroys(VM2)(world);
                ticks(2)(world)
            })
            .then(|mut world, _| ends(&mut world))
    });
}

/// A VM that dies in the middle of a call has its buffers until that call is done.
#[test]
fn a_vm_dies_while_its_buffers_are_used() {
    for heads in [&[LIST, RX_RELEASE][..], &[UNMAP, MAP]] {
        over(&Preset::ALL, "a user of buffers that dies", Search::HeldUp(3), move |preset| {
            Race::new(world(small(preset, Script::GOOD), &[VM1]))
                .cpu(calls(VM1, 0, heads))
                .cpu(|world| {
                    destroys(VM1)(world);
                    ticks(2)(world)
                })
                .then(|mut world, _| ends(&mut world))
        });
    }
}

/// What a vCPU was told is in RX stays there until that VM releases it, whoever else writes to the VM.
#[test]
fn what_a_guest_reads_does_not_change_under_its_eyes() {
    let read = |world: &World| {
        let mut bytes = [0_u8; 24];
        world.hypervisor.read(VM1, RX, &mut bytes);
        bytes
    };
    over(&Preset::ALL, "a reader", Search::HeldUp(3), move |preset| {
        Race::new(two_vms(preset))
            .cpu(move |world| {
                let listed = call(world, VM1, 0, LIST);
                if !succeeds(&listed) {
                    return vec![listed];
                }
                let before = read(world);
                assert_eq!(before[..2], SP1.0.to_le_bytes());
                let release = call(world, VM1, 0, RX_RELEASE);
                vec![listed, release]
            })
            .cpu(calls(VM2, 0, &[SEND2, SEND2]))
            .then(move |mut world, seen| {
                let sent = seen[1].iter().filter(|regs| succeeds(regs)).count();
                // Nobody has read a message, so that there is one at most, and it is whole.
                assert!(sent <= 1);
                if sent == 1 {
                    // Receiver, sender, size and the first bytes of the payload.
                    assert_eq!(read(&world)[12..], [1, 0, 2, 0, 44, 0, 0, 0, 2, 2, 2, 2]);
                    assert_eq!(world.call(VM1, [RX_RELEASE[0]]), Regs::success(0, 0));
                }
                assert_eq!(succeeds(&seen[0][0]), seen[0].len() == 2);
                assert!(seen[0].iter().all(succeeds) || sent == 1, "it was busy for a reason");
                ends(&mut world);
            })
    });
}
