//! A direct request that an SP is preempted in, and who may let it go on.

use ffa_abi::{Regs, Status};
use ffa_test_utils::spmc::{Reaction, Turn};

use super::*;

const RUN: &[u64] = &[0x8400_006d, 0x8001_0000];
const REQUEST: &[u64] = &[0x8400_006f, 0x1_8001, 0, 0x55];

fn preempted(preset: Preset) -> World {
    let script = Script::GOOD.on_request(Reaction::always(Turn::ACCEPT.preempted(1)));
    let mut world = world(small(preset, script), &[VM1, VM2]);
    let answer = world.call(VM1, [REQUEST[0], REQUEST[1], REQUEST[2], REQUEST[3]]);
    assert_eq!(answer, Regs::new([0x8400_0062, 0x8001_0000]));
    world
}

/// H-9: of all that run a preempted SP only the vCPU that it works for gets its answer.
#[test]
fn h9_one_vcpu_gets_the_answer_whoever_runs_the_sp() {
    over(&Preset::ALL, "three that run one SP", Search::Every, |preset| {
        Race::new(preempted(preset))
            .cpu(calls(VM1, 0, &[RUN]))
            .cpu(calls(VM1, 1, &[RUN]))
            .cpu(calls(VM2, 0, &[RUN]))
            .then(|mut world, seen| {
                let response = Regs::new([0x8400_0070, 0x8001_0001]);
                assert_eq!(seen[0][0].0[..2], response.0[..2]);
                for other in &seen[1..] {
                    assert_eq!(other, &[Regs::error(Status::Denied)]);
                }
                ends(&mut world);
            })
    });
}

/// One vCPU cannot be in two calls, but a hypervisor may believe so: it gets one answer.
#[test]
fn one_vcpu_that_calls_twice_at_the_same_time_gets_one_answer() {
    over(&Preset::ALL, "one vCPU twice", Search::Every, |preset| {
        Race::new(preempted(preset)).cpu(calls(VM1, 0, &[RUN])).cpu(calls(VM1, 0, &[RUN])).then(
            |mut world, seen| {
                let answered = seen.iter().filter(|seen| seen[0][0] == 0x8400_0070).count();
                assert_eq!(answered, 1);
                ends(&mut world);
            },
        )
    });
}

/// The SP is run to the end for the dead guest, and then takes the other's request.
#[test]
fn a_vm_dies_while_its_request_is_run() {
    over(&Preset::ALL, "run and destroy", Search::HeldUp(3), |preset| {
        Race::new(preempted(preset))
            .cpu(calls(VM1, 0, &[RUN]))
            .cpu(|world| {
                destroys(VM1)(world);
                ticks(2)(world)
            })
            .cpu(calls(VM2, 0, &[&[0x8400_006f, 0x2_8001]]))
            .then(|mut world, _| {
                ends(&mut world);
                assert!(!world.hypervisor.spmc().is_paused(SP1));
            })
    });
}
