//! Scripts of everything that guests, partitions, hypervisors and faults can do, drawn by chance, with an oracle that watches
//! each step. One that fails is shrunk, and printed so that it can be pasted into `stories.rs`.
//!
//! An optimised build takes a million steps over each secure world, in half of which it lies. `FFA_MACHINE=10000000` takes so
//! many of either kind, `FFA_MACHINE_SEED=7` begins at that seed, and `FFA_MACHINE_PRESET=optee` is for one secure world alone.

#[path = "../common/mod.rs"]
mod common;

mod act;
mod book;
mod calls;
mod catalogue;
mod generate;
mod host;
mod memory;
mod offer;
mod peers;
mod run;
mod setup;
mod shrink;
mod stories;
mod story;
mod tally;
mod tape;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use ffa_test_utils::Rng;
use ffa_test_utils::fault::Trust;
use ffa_test_utils::spmc::Preset;

use crate::act::Step;
use crate::generate::{draft, script};
use crate::run::run;
use crate::setup::{Setup, Wrong};
use crate::tally::Tally;

/// Steps over each secure world, honest and lying, if nobody asks for more.
const STEPS: u64 = if cfg!(debug_assertions) { 4_000 } else { 500_000 };

/// After so many steps everything must have had an effect.
const ENOUGH: u64 = 150_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().expect("a number"))
}

thread_local! {
    /// Whether a panic is nothing that anybody needs to hear of.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a script; a panic is something wrong like any other.
fn try_run(setup: &Setup, steps: &[Step]) -> Result<Tally, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                loud(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| run(setup, steps, false)));
    IS_QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        Err(what.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").into())
    })
}

/// A script that breaks a promise.
struct Broken {
    setup: Setup,
    steps: Vec<Step>,
    what: String,
}

/// The script of a seed, run. What is left of it if it fails is as short as it can be.
fn try_seed(preset: Preset, trust: Trust, wrong: Wrong, seed: u64) -> Result<Tally, Broken> {
    let mut rng = Rng::new(seed << 8 | (preset as u64) << 1 | trust as u64);
    let draft = draft(&mut rng);
    let try_draft = |draft: &shrink::Draft| {
        let (setup, steps) = script(draft, preset, trust);
        let setup = Setup { wrong, ..setup };
        try_run(&setup, &steps).map_err(|what| Broken { setup, steps, what })
    };
    try_draft(&draft).map_err(|broken| {
        let small = shrink::shrink(draft, |draft| try_draft(draft).is_err());
        try_draft(&small).err().unwrap_or(broken)
    })
}

/// Scripts until so many steps are done. Returns what they came to.
fn search(preset: Preset, trust: Trust) -> Tally {
    let (steps, first) = (number("FFA_MACHINE", STEPS), number("FFA_MACHINE_SEED", 0));
    let mut all = Tally::default();
    let mut seed = first;
    while all.steps < steps {
        match try_seed(preset, trust, Wrong::Nothing, seed) {
            Ok(tally) => all.add(&tally),
            Err(Broken { setup, steps, what }) => {
                // Once more, with all that happened.
                let _ = catch_unwind(AssertUnwindSafe(|| run(&setup, &steps, true)));
                let lines: String = steps.iter().map(|step| format!("    {step:?},\n")).collect();
                panic!("{} {trust:?} seed {seed}: {what}\n{setup:?}\n[\n{lines}]", preset.name());
            }
        }
        seed += 1;
    }
    println!("{} {trust:?}: seeds {first} to {}, {all}", preset.name(), seed - 1);
    all
}

fn search_all(trust: Trust) {
    let mut all = Tally::default();
    let only = std::env::var("FFA_MACHINE_PRESET").ok();
    for preset in Preset::ALL {
        if only.as_ref().is_none_or(|only| only == preset.name()) {
            all.add(&search(preset, trust));
        }
    }
    if all.steps >= ENOUGH {
        assert_eq!(all.vacuous(), Vec::<&str>::new(), "these never had an effect:\n{all}");
    }
}

#[test]
fn no_script_breaks_a_promise_over_an_honest_secure_world() {
    search_all(Trust::Honest);
}

#[test]
fn no_script_breaks_what_is_ours_over_a_secure_world_that_lies() {
    search_all(Trust::Lying);
}

/// Whatever was drawn, little is left of a script that shows what is wrong.
#[test]
fn a_mediator_that_is_wrong_is_caught_by_a_short_script() {
    for wrong in [Wrong::Denied, Wrong::Aborted, Wrong::Unsent, Wrong::Told] {
        for &preset in stories::WORLDS {
            let Broken { steps, what, .. } = (0..2000)
                .find_map(|seed| try_seed(preset, Trust::Honest, wrong, seed).err())
                .unwrap_or_else(|| panic!("{}: {wrong:?} is not caught", preset.name()));
            println!("{}: {wrong:?}: {steps:?}: {what}", preset.name());
            assert!(steps.len() <= 6, "{}: {wrong:?}: {steps:#?}", preset.name());
        }
    }
}
