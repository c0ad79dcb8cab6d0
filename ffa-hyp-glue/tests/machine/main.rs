//! Scripts of everything that guests, partitions, hypervisors and faults can do, drawn by chance, with an oracle that watches
//! each step. One that fails is shrunk, and printed so that it can be pasted into `stories.rs`.
//!
//! `FFA_MACHINE=1000000` runs as many steps over each secure world, honest and lying; `FFA_MACHINE_SEED=7` begins at another
//! seed.

#[path = "../common/mod.rs"]
mod common;

mod act;
mod book;
mod calls;
mod catalogue;
mod generate;
mod host;
mod run;
mod setup;
mod stories;
mod tally;

use ffa_test_utils::fault::Trust;
use ffa_test_utils::spmc::Preset;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::act::Step;
use crate::generate::scripts;
use crate::run::run;
use crate::setup::Setup;
use crate::tally::Tally;

/// Most steps of one script.
const LENGTH: usize = 160;
/// Steps over each secure world, honest and lying, if nobody asks for more.
const STEPS: u64 = if cfg!(debug_assertions) { 4_000 } else { 40_000 };

/// After so many steps everything must have had an effect.
const ENOUGH: u64 = 150_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().expect("a number"))
}

/// The script of a seed, run. What is left of it if it fails is as short as it can be.
fn try_seed(
    preset: Preset,
    trust: Trust,
    naive: bool,
    seed: u64,
) -> Result<Tally, (String, Setup, Vec<Step>)> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8] = preset as u8;
    bytes[9] = trust as u8;
    let config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let scripts =
        scripts(preset, trust, LENGTH).prop_map(move |(setup, steps)| (Setup { naive, ..setup }, steps));
    let tree = scripts.new_tree(&mut runner).expect("nothing is filtered out");
    let tally = std::cell::RefCell::new(Tally::default());
    let result = runner.run_one(tree, |(setup, steps)| {
        *tally.borrow_mut() = run(&setup, &steps, false).map_err(TestCaseError::fail)?;
        Ok(())
    });
    match result {
        Ok(_) => Ok(tally.into_inner()),
        Err(TestError::Fail(reason, (setup, steps))) => Err((reason.to_string(), setup, steps)),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// Scripts until so many steps are done. Returns what they came to.
fn search(preset: Preset, trust: Trust) -> Tally {
    let (steps, first) = (number("FFA_MACHINE", STEPS), number("FFA_MACHINE_SEED", 0));
    let mut all = Tally::default();
    let mut seed = first;
    while all.steps < steps {
        match try_seed(preset, trust, false, seed) {
            Ok(tally) => all.add(&tally),
            Err((reason, setup, script)) => {
                // Once more, with all that happened.
                let _ = run(&setup, &script, true);
                let lines: String = script.iter().map(|step| format!("    {step:?},\n")).collect();
                panic!("{} {trust:?} seed {seed}: {reason}\n{setup:?}\n[\n{lines}]", preset.name());
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
    for preset in Preset::ALL {
        let (reason, _, script) = (0..200)
            .find_map(|seed| try_seed(preset, Trust::Honest, true, seed).err())
            .unwrap_or_else(|| panic!("{}: not caught", preset.name()));
        println!("{}: {script:?}: {reason}", preset.name());
        assert!(script.len() <= 6, "{}: {script:#?}", preset.name());
    }
}
