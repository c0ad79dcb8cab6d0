//! Notifications between VMs and from SPs, while bindings change and VMs die.

use ffa_abi::{NotificationBitmap, Regs, Status};

use super::*;

const BIND_VM2: &[u64] = &[0x8400_007f, 0x2_0001, 0, 1];
const UNBIND_VM2: &[u64] = &[0x8400_0080, 0x2_0001, 0, 1];
const SET_VM1: &[u64] = &[0x8400_0081, 0x2_0001, 0, 1];
const GET: &[u64] = &[0x8400_0082, 1, 0xf];
const BIND_SP1: &[u64] = &[0x8400_007f, 0x8001_0001, 0, 2];

/// Those of the presets that keep notifications.
const KEEP: [Preset; 3] = [Preset::Hafnium, Preset::Optee, Preset::Strict];

fn bound(preset: Preset) -> World {
    let mut world = world(small(preset, Script::GOOD), &[VM1, VM2]);
    assert!(succeeds(&call(&world, VM1, 0, BIND_VM2)));
    world.hypervisor.take_interrupts();
    world
}

/// How often notification 0 was taken from what VMs had signalled.
fn taken(seen: &[Regs]) -> usize {
    seen.iter().filter(|regs| regs[0] == 0x8400_0061 && regs[4] & 1 != 0).count()
}

#[test]
fn what_is_signalled_is_taken_once_or_refused() {
    over(&Preset::ALL, "set, get, unbind and bind", Search::HeldUp(4), |preset| {
        Race::new(bound(preset))
            .cpu(calls(VM2, 0, &[SET_VM1]))
            .cpu(calls(VM1, 0, &[GET]))
            .cpu(calls(VM1, 1, &[UNBIND_VM2, BIND_VM2]))
            .then(|mut world, seen| {
                let rest = call(&world, VM1, 0, GET);
                let taken = taken(&seen[1]) + taken(&[rest]);
                assert_eq!(taken, usize::from(succeeds(&seen[0][0])), "{seen:x?}");
                assert_eq!(world.hypervisor.take_interrupts().len(), taken);
                let again = call(&world, VM2, 0, SET_VM1);
                assert!(succeeds(&again), "bound again, or never unbound");
                ends(&mut world);
            })
    });
}

/// Nobody who comes to have the ID later may signal in the dead one's stead.
#[test]
fn the_bindings_of_a_sender_that_dies_die_with_it() {
    let race = |preset| {
        Race::new(bound(preset))
            .cpu(calls(VM2, 0, &[SET_VM1]))
            .cpu(calls(VM1, 1, &[UNBIND_VM2, BIND_VM2]))
            .cpu(|world| {
                destroys(VM2)(world);
                ticks(2)(world)
            })
            .then(|mut world, _| {
                assert!(world.hypervisor.settle(LONG));
                start(&mut world, VM2);
                assert_eq!(call(&world, VM2, 0, SET_VM1), Regs::error(Status::Denied));
                ends(&mut world);
            })
    };
    over(&Preset::ALL, "set, bind, destroy of the sender", Search::HeldUp(3), race);
}

/// What an SP signals is found by the interrupt's handler or taken by the guest, and the VM may be gone by then.
#[test]
fn receivers_are_scheduled_while_they_take_and_die() {
    let race = |preset| {
        let mut world = world(small(preset, Script::GOOD), &[VM1]);
        assert!(succeeds(&call(&world, VM1, 0, BIND_SP1)));
        let signalled = world.hypervisor.spmc_mut().set_notification(SP1, VM1, NotificationBitmap(2), None);
        signalled.expect("it is bound");
        Race::new(world)
            .cpu(|world| {
                world.hypervisor.mediator().schedule_receivers(&mut world.hypervisor.cpu(8));
                vec![]
            })
            .cpu(calls(VM1, 0, &[GET]))
            .cpu(|world| {
                destroys(VM1)(world);
                ticks(1)(world)
            })
            .then(|mut world, _| ends(&mut world))
    };
    over(&KEEP, "schedule, get, destroy", Search::HeldUp(3), race);
}

#[test]
fn a_receiver_that_takes_while_it_is_scheduled_loses_nothing() {
    over(&KEEP, "schedule and get", Search::HeldUp(3), |preset| {
        let mut world = world(small(preset, Script::GOOD), &[VM1]);
        assert!(succeeds(&call(&world, VM1, 0, BIND_SP1)));
        let signalled = world.hypervisor.spmc_mut().set_notification(SP1, VM1, NotificationBitmap(2), None);
        signalled.expect("it is bound");
        Race::new(world)
            .cpu(|world| {
                world.hypervisor.mediator().schedule_receivers(&mut world.hypervisor.cpu(8));
                vec![]
            })
            .cpu(calls(VM1, 0, &[GET]))
            .cpu(calls(VM1, 1, &[&[0x8400_0082, 0x1_0001, 0xf]]))
            .then(|mut world, seen| {
                let taken = seen[1..].iter().filter(|seen| seen[0][2] == 2).count();
                assert_eq!(taken, 1, "{seen:x?}");
                ends(&mut world);
            })
    });
}
