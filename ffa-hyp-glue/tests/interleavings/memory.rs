//! Shares, reclaims, the death of their VM, and ticks.

use ffa_abi::{Handle, Regs, Status};

use super::*;

/// VM 1 with a share, and a descriptor of another one in TX.
fn sharing(preset: Preset, script: Script) -> (World, Handle) {
    let mut world = world(small(preset, script), &[VM1]);
    let handle = world.share(VM1, SP1, &[(PAGES, 2)]);
    let next = descriptor(Version::V1_1, VM1, SP1, &[(PAGES + 3 * PAGE, 1)]);
    world.write_tx(VM1, &next);
    (world, handle)
}

/// FFA_MEM_SHARE of what is in TX.
fn share(world: &World, vm: PartitionId, vcpu: u16) -> Regs {
    let len = descriptor(Version::V1_1, vm, SP1, &[(PAGES + 3 * PAGE, 1)]).len() as u64;
    call(world, vm, vcpu, &[MEM_SHARE, len, len])
}

fn reclaim(world: &World, vm: PartitionId, vcpu: u16, handle: Handle) -> Regs {
    let [low, high] = handle.words();
    call(world, vm, vcpu, &[MEM_RECLAIM, low, high])
}

#[test]
fn a_share_that_two_vcpus_reclaim_comes_back_once() {
    over(&Preset::ALL, "two reclaims", Search::Every, |preset| {
        let (world, handle) = sharing(preset, Script::LAZY);
        Race::new(world)
            .cpu(move |world| vec![reclaim(world, VM1, 0, handle)])
            .cpu(move |world| vec![reclaim(world, VM1, 1, handle)])
            .then(|mut world, seen| {
                assert_eq!(seen.iter().filter(|seen| succeeds(&seen[0])).count(), 1);
                ends(&mut world);
            })
    });
}

/// One TX, the same pages, and a VM that shares what it takes back.
#[test]
fn two_vcpus_that_share_the_same_page_share_it_once() {
    over(&Preset::ALL, "two shares", Search::Every, |preset| {
        let (world, _) = sharing(preset, Script::LAZY);
        Race::new(world).cpu(|world| vec![share(world, VM1, 0)]).cpu(|world| vec![share(world, VM1, 1)]).then(
            |mut world, seen| {
                let shared = seen.iter().filter(|seen| succeeds(&seen[0])).count();
                assert!(shared <= 1, "the second one overlaps");
                ends(&mut world);
            },
        )
    });
}

#[test]
fn a_vm_dies_while_it_shares_and_reclaims() {
    for script in [Script::LAZY, Script::GOOD] {
        over(&Preset::ALL, "share and destroy", Search::Every, move |preset| {
            Race::new(sharing(preset, script).0)
                .cpu(|world| vec![share(world, VM1, 0)])
                .cpu(|world| {
                    destroys(VM1)(world);
                    ticks(1)(world)
                })
                .then(|mut world, _| ends(&mut world))
        });
        over(&Preset::ALL, "reclaim and destroy", Search::Every, move |preset| {
            let (world, handle) = sharing(preset, script);
            Race::new(world)
                .cpu(move |world| vec![reclaim(world, VM1, 0, handle)])
                .cpu(|world| {
                    destroys(VM1)(world);
                    ticks(1)(world)
                })
                .then(|mut world, _| ends(&mut world))
        });
    }
}

#[test]
fn a_vm_dies_on_one_cpu_of_four() {
    let race = |preset| {
        let (world, handle) = sharing(preset, Script::LAZY);
        Race::new(world)
            .cpu(|world| vec![share(world, VM1, 0)])
            .cpu(move |world| vec![reclaim(world, VM1, 1, handle)])
            .cpu(destroys(VM1))
            .cpu(ticks(2))
            .then(|mut world, _| ends(&mut world))
    };
    over(&[Preset::Strict], "share, reclaim, destroy, tick", Search::HeldUp(2), race);
    over(&Preset::ALL, "share, reclaim, destroy, tick", Search::Random(20_000), race);
}

#[test]
fn two_cpus_that_tear_a_vm_down_do_each_thing_once() {
    let race = |preset| {
        let (mut world, _) = sharing(preset, Script::LAZY);
        world.destroy(VM1);
        Race::new(world).cpu(ticks(1)).cpu(ticks(1)).then(|mut world, _| {
            ends(&mut world);
            assert_eq!(world.hypervisor.spmc().told(VM1, SP1).len(), 2, "of each end of its life once");
        })
    };
    over(&Preset::ALL, "two ticks", Search::HeldUp(3), race);
}

/// One TX towards the secure world: nobody waits for it, and no share is lost over it.
#[test]
fn two_vms_that_share_at_the_same_time_both_get_an_answer() {
    over(&Preset::ALL, "shares of two VMs", Search::HeldUp(4), |preset| {
        let mut world = world(small(preset, Script::LAZY), &[VM1, VM2]);
        for vm in [VM1, VM2] {
            let bytes = descriptor(Version::V1_1, vm, SP1, &[(PAGES + 3 * PAGE, 1)]);
            world.write_tx(vm, &bytes);
        }
        Race::new(world).cpu(|world| vec![share(world, VM1, 0)]).cpu(|world| vec![share(world, VM2, 0)]).then(
            |mut world, seen| {
                let busy = Regs::error(Status::Busy);
                assert!(seen.iter().all(|seen| succeeds(&seen[0]) || seen[0] == busy));
                assert!(seen.iter().any(|seen| succeeds(&seen[0])));
                ends(&mut world);
            },
        )
    });
}
