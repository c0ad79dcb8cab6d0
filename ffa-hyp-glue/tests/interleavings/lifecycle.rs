//! VMs that come and go at the same time.

use ffa_abi::Regs;

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
