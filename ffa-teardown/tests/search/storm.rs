//! Crowds at random: far more VMs, SPs and shares than a search can take, under the same oracle.

use std::mem::discriminant;

use ffa_teardown::Time;
use proptest::prelude::*;

use crate::oracle::Life;
use crate::scopes;
use crate::world::{Search, Step, World};

/// Calls that one tick may make.
const BUDGET: usize = 16;

/// A small generator, so that a seed means the same run for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    /// First the kind of step, so that many answers do not drown the rest; then the step.
    fn choose(&mut self, steps: &[Step]) -> Step {
        let mut kinds = Vec::new();
        for step in steps {
            if !kinds.contains(&discriminant(step)) {
                kinds.push(discriminant(step));
            }
        }
        let kind = kinds[self.roll(kinds.len())];
        let first = steps.iter().position(|step| discriminant(step) == kind).expect("of this kind");
        let of_kind: Vec<_> = steps[first..].iter().filter(|step| discriminant(*step) == kind).collect();
        *of_kind[self.roll(of_kind.len())]
    }
}

/// What a run showed.
#[derive(Debug, Default)]
struct Figures {
    steps: usize,
    /// Calls that a VM which was due had to let others go first.
    longest_age: u16,
    calls_in_a_tick: usize,
    /// Calls until all VMs were over, once all answers were kind.
    calls_to_the_end: usize,
}

fn check(world: &World, seed: u64, step: Step) {
    assert_eq!(world.oracle.broken, 0, "seed {seed:#x}: broken after {step:?}");
}

/// Guests, secure world, hypervisor and time do what they please for a while; then every VM dies, a tick comes now and
/// then, and the secure world becomes kind.
fn run(vms: usize, honest: bool, seed: u64, steps: usize) -> Figures {
    let search = Search::new(scopes::crowd(vms, honest));
    let mut world = search.start();
    let mut dice = Dice(seed);
    let mut figures = Figures::default();
    let mut choices = Vec::new();
    for _ in 0..steps {
        // Without some luck no VM would ever come to life.
        let lucky = dice.roll(4) > 0;
        let step = search.kind_step(&world).filter(|_| lucky).unwrap_or_else(|| {
            choices.clear();
            search.steps(&world, &mut choices);
            // Nor live long.
            let die = dice.roll(64) == 0;
            choices.retain(|step| die || !matches!(step, Step::Destroy(_)));
            dice.choose(&choices)
        });
        search.make(&mut world, step);
        check(&world, seed, step);
        figures.steps += 1;
    }
    for vm in 0..vms {
        if matches!(world.oracle.vms[vm].life, Life::Creating | Life::Live) {
            search.make(&mut world, Step::Destroy(vm));
        }
    }
    // Bad answers for a while, all through ticks.
    for kind in [false, true] {
        let ticks = if kind { 10_000 } else { 8 };
        let open: usize = world.engine.vms().map(|vm| search.calls_to_end(&world, vm)).sum();
        for _ in 0..ticks {
            let mut calls = 0;
            for _ in 0..BUDGET {
                while let Some(step) = search.kind_step(&world) {
                    let step = if kind || dice.roll(2) == 0 {
                        step
                    } else {
                        unkind(&search, &world, step, &mut dice)
                    };
                    calls += usize::from(matches!(step, Step::Answer(..)));
                    search.make(&mut world, step);
                    check(&world, seed, step);
                }
                if world.engine.next_deadline() != Some(Time::ZERO) {
                    break;
                }
                search.make(&mut world, Step::Next);
                check(&world, seed, Step::Next);
                let age = world.oracle.vms.iter().map(|vm| vm.age).max().unwrap_or(0);
                figures.longest_age = figures.longest_age.max(age);
            }
            figures.calls_in_a_tick = figures.calls_in_a_tick.max(calls);
            figures.calls_to_the_end += if kind { calls } else { 0 };
            if world.engine.next_deadline().is_some_and(|deadline| deadline > Time::ZERO) {
                search.make(&mut world, Step::Wait(1));
            }
        }
        // A half-born VM's SP may have to be told twice.
        assert!(!kind || figures.calls_to_the_end <= 2 * open, "seed {seed:#x}: {figures:?}, {open} open");
    }
    let over = world.oracle.vms.iter().all(|vm| matches!(vm.life, Life::Absent | Life::Over(_)));
    assert!(over && world.engine.next_deadline().is_none(), "seed {seed:#x}: something is left to do");
    figures
}

/// Any other answer to the same call, or the same step if there is none.
fn unkind(search: &Search, world: &World, step: Step, dice: &mut Dice) -> Step {
    let mut choices = Vec::new();
    search.steps(world, &mut choices);
    let same_call = |other: &&Step| match (step, other) {
        (Step::Answer(vm, _), Step::Answer(other, _)) => vm == *other,
        (Step::AnswerSend(vm, share, _), Step::AnswerSend(other, position, _))
        | (Step::AnswerReclaim(vm, share, _), Step::AnswerReclaim(other, position, _))
        | (Step::AnswerBinding(vm, share, ..), Step::AnswerBinding(other, position, ..)) => {
            vm == *other && share == *position
        }
        _ => false,
    };
    let others: Vec<_> = choices.iter().filter(same_call).collect();
    if others.is_empty() { step } else { *others[dice.roll(others.len())] }
}

fn report(name: &str, figures: &Figures) {
    println!(
        "storm: {name}: {} steps; at most {} calls for others while due, {} calls in a tick of {BUDGET}; {} calls to the end",
        figures.steps, figures.longest_age, figures.calls_in_a_tick, figures.calls_to_the_end,
    );
    assert!(figures.calls_in_a_tick <= BUDGET);
}

#[test]
fn sixty_four_vms_eight_sps_eight_shares() {
    let steps = if cfg!(debug_assertions) { 2_000 } else { 30_000 };
    for (name, honest, seed) in [("honest", true, 0x5eed_0001), ("lying", false, 0x5eed_0002)] {
        report(name, &run(64, honest, seed, steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(debug_assertions) { 4 } else { 48 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_crowd_obeys_the_rules(vms in 1_usize..12, honest: bool, seed: u64) {
        run(vms, honest, seed, 2_000);
    }
}
