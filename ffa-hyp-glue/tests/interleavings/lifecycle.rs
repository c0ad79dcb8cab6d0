//! VMs that come and go at the same time.

use ffa_abi::Regs;
use ffa_hyp_glue::{Caller, Event, EventKind, Scratch};
use ffa_teardown::VmKey;

use super::*;

/// Destroys VM 2 if it is there yet. Says so with a register.
fn destroys_what_is_there(world: &World) -> Vec<Regs> {
    let mediator = world.hypervisor.mediator();
    let destroyed =
        mediator.find(VM2).is_some_and(|key| mediator.destroy_vm(&mut world.hypervisor.cpu(7), key).is_ok());
    vec![Regs::new([u64::from(destroyed)])]
}

/// Whether VM 2 lives when everything has had its time. If not, it is no more.
fn lives(world: &mut World) -> bool {
    assert!(world.hypervisor.settle(LONG), "{}", world.preset);
    let mediator = world.hypervisor.mediator();
    match world.hypervisor.key(VM2).map(|key| mediator.creation(key)) {
        Some(Creation::Live) => true,
        Some(Creation::Failed(_)) => {
            if world.hypervisor.is_there(VM2) {
                world.hypervisor.bury(VM2);
            }
            false
        }
        other => panic!("{}: {other:?}", world.preset),
    }
}

#[test]
fn a_vm_is_destroyed_while_it_is_created() {
    let race = |preset| {
        Race::new(world(small(preset, Script::GOOD), &[]))
            .cpu(|world| {
                let _looked_up_later = world.hypervisor.create(VM2, &MEMORY).expect("there is room");
                vec![]
            })
            .cpu(destroys_what_is_there)
            .cpu(ticks(2))
            .then(|mut world, seen| {
                let destroyed = seen[1][0][0] == 1;
                // Another CPU may have had the last word on its creation.
                assert_eq!(lives(&mut world), !destroyed);
                ends(&mut world);
            })
    };
    over(&Preset::ALL, "create, destroy, tick", Search::HeldUp(3), race);
    over(&Preset::ALL, "create, destroy, tick", Search::Random(10_000), race);
}

/// Whoever is the one to end a creation, its end is told once, when it has come, and whoever waits for a tick gets one.
#[test]
fn a_vm_is_live_once_whoever_creates_it() {
    const LIVES: Regs = Regs([1; 18]);
    let looks = |world: &World| {
        let mediator = world.hypervisor.mediator();
        let lives = |&key: &VmKey| mediator.creation(key) == Creation::Live;
        mediator.find(VM2).filter(lives)
    };
    let seen = move |world: &World| if looks(world).is_some() { LIVES } else { Regs::ZERO };
    // Whoever lives may call, and has all that it will have.
    let binds = |world: &World, key| {
        let heads = [&[0x8400_0063, 0x1_0001][..], &[0x8400_007f, 0x8001_0002, 0, 1]];
        let call = |head: &[u64]| {
            let mut regs = Regs::ZERO;
            regs.0[..head.len()].copy_from_slice(head);
            let (caller, cpu) = (Caller { vm: key, vcpu: 0 }, &mut world.hypervisor.cpu(8));
            let _ = world.hypervisor.mediator().guest_call(cpu, caller, &mut regs, &mut Scratch::new());
            regs
        };
        heads.map(call).to_vec()
    };
    let race = move |preset| {
        let machine = Machine { log: 64, ..small(preset, Script::GOOD) };
        Race::new(world(machine, &[]))
            .cpu(|world| {
                let created = world.hypervisor.begin_create(VM2, &MEMORY).expect("there is room");
                // A timer that is armed, or none: looked at before anything else can happen.
                vec![match created {
                    Creation::Live => LIVES,
                    Creation::Pending if world.hypervisor.deadline().is_some() => Regs::ZERO,
                    other => panic!("{other:?} and no tick to come"),
                }]
            })
            .cpu(move |world| {
                ticks(1)(world);
                let first = seen(world);
                ticks(1)(world);
                vec![first, seen(world)]
            })
            .cpu(move |world| looks(world).map_or(vec![], |key| binds(world, key)))
            .then(move |mut world, seen| {
                let keeps = preset != Preset::TfaEl3;
                assert!(seen[2].get(1).is_none_or(|bound| succeeds(bound) == keeps), "{:?}", seen[2]);
                let known = seen[..2].iter().flatten().any(|seen| *seen == LIVES);
                assert!(known || world.hypervisor.deadline().is_some(), "nobody will know");
                assert!(lives(&mut world));
                let events = world.hypervisor.take_events();
                let live = events.iter().position(|(_, event)| event.kind == EventKind::Live).expect("told");
                // Whoever was to say that it began may have been held up.
                let early = |(_, event): &&(_, Event)| {
                    !matches!(event.kind, EventKind::Creating | EventKind::GuestCall { .. })
                };
                assert_eq!(events[live + 1..].iter().find(early), None, "{events:?}");
                ends(&mut world);
            })
    };
    over(&Preset::ALL, "create, tick", Search::HeldUp(3), race);
}

#[test]
fn a_vm_dies_while_its_neighbour_is_born() {
    let race = |preset| {
        let mut world = world(small(preset, Script::LAZY), &[VM1]);
        world.share(VM1, SP1, &[(PAGES, 2)]);
        Race::new(world)
            .cpu(|world| {
                destroys(VM1)(world);
                ticks(1)(world)
            })
            .cpu(|world| {
                let _looked_up_later = world.hypervisor.create(VM2, &MEMORY).expect("there is room");
                vec![]
            })
            .then(|mut world, _| {
                assert!(lives(&mut world));
                ends(&mut world);
            })
    };
    over(&Preset::ALL, "one dies, one is born", Search::HeldUp(3), race);
}
