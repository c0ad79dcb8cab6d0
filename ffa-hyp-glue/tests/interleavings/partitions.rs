//! The list of SPs is read anew while guests look at it, and VMs are created by it.

use ffa_abi::{Records, Regs};
use ffa_hyp_glue::Scratch;

use super::*;

/// SPs 1 and 2 are listed; the SPMC by now has SPs 2, 3 and 4. SP 2 wants to hear of VMs, and SP 3 if it is `loud`.
fn out_of_date(preset: Preset, vms: &[PartitionId], loud: bool) -> World {
    let sp = |id| SpConfig::new(id, Script::GOOD);
    let quiet = |id| sp(id).with_properties(Properties::RECEIVES_DIRECT_REQUESTS);
    let machine = Machine { partitions: vec![quiet(SP1), sp(SP2)], ..small(preset, Script::GOOD) };
    let mut world = world(machine, vms);
    let third = if loud { sp(SP3) } else { quiet(SP3) };
    for new in [third, quiet(PartitionId(0x8004))] {
        world.hypervisor.spmc_mut().add_partition(new);
    }
    world.hypervisor.spmc_mut().remove_partition(SP1);
    world
}

/// A CPU on which the hypervisor has heard that the list is another one.
fn refreshes(world: &World) -> Vec<Regs> {
    // Another CPU may be at it.
    let _done_or_busy =
        world.hypervisor.mediator().refresh_partitions(&mut world.hypervisor.cpu(8), &mut Scratch::new());
    vec![]
}

/// The guest's list is the old one or the new one.
fn is_whole(world: &World, vm: PartitionId, answer: &Regs) {
    let mut rx = [0; 4096];
    world.hypervisor.read(vm, RX, &mut rx);
    let records = Records::new(&rx, answer.w::<2>(), 24).expect("records");
    let sps: Vec<u16> = records.map(|record| record.id.0).filter(|id| id >> 15 == 1).collect();
    assert!(sps == [0x8001, 0x8002] || sps == [0x8002, 0x8003, 0x8004], "{}: {sps:x?}", world.preset);
}

#[test]
fn a_guest_is_shown_one_list_or_the_other() {
    let race = |preset| {
        Race::new(out_of_date(preset, &[VM1, VM2], false))
            .cpu(calls(VM1, 0, &[LIST]))
            .cpu(calls(VM2, 0, &[LIST]))
            .cpu(refreshes)
            .then(|mut world, seen| {
                for (vm, seen) in [VM1, VM2].into_iter().zip(seen) {
                    assert!(succeeds(&seen[0]), "{seen:x?}");
                    is_whole(&world, vm, &seen[0]);
                }
                // Whoever was first, nobody leaves the list half read.
                assert_eq!(refreshes(&world), []);
                assert_eq!(world.call(VM1, [0x8400_0068, 0, 0, 0, 0, 1]).w::<2>(), 3 + 1);
                ends(&mut world);
            })
    };
    over(&Preset::ALL, "two lists and a refresh", Search::HeldUp(2), race);
    over(&Preset::ALL, "two lists and a refresh", Search::Random(5_000), race);
}

/// A VM is announced to all SPs of one list, and what it was announced to hears of its end.
#[test]
fn a_vm_is_announced_by_one_list_or_the_other() {
    let race = |preset| {
        Race::new(out_of_date(preset, &[], true))
            .cpu(|world| {
                let _looked_up_later = world.hypervisor.create(VM2, &MEMORY).expect("there is room");
                vec![]
            })
            .cpu(refreshes)
            .then(|mut world, _| {
                let told = |world: &World| [SP2, SP3].map(|sp| world.hypervisor.spmc().told(VM2, sp).len());
                assert!(world.hypervisor.settle(LONG));
                let born = told(&world);
                assert!(born == [1, 1] || born == [1, 0], "{}: {born:?}", world.preset);
                world.destroy(VM2);
                assert!(world.hypervisor.settle(LONG));
                assert_eq!(told(&world), born.map(|times| 2 * times), "{}", world.preset);
                assert_eq!(world.hypervisor.report(VM2), None);
            })
    };
    over(&Preset::ALL, "create and refresh", Search::HeldUp(3), race);
}
