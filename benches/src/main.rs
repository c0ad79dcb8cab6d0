//! Runs one case so many times: `benches CASE ITERATIONS`.
//!
//! `cargo xtask bench` counts the instructions of this under callgrind, for N and for 2 N iterations: the difference,
//! divided by N, is what one iteration costs. Nothing here allocates, reads or prints inside a loop, and what a case
//! sets up must not depend on the number of iterations.

mod calls;
mod descriptors;
mod guest;
mod teardown;

use std::hint::black_box;
use std::process::ExitCode;

/// A case by its name, and what runs it so many times.
type Case = (&'static str, fn(u32));

/// What the loop itself costs, which every other case includes.
const LOOP: &[Case] = &[("loop", |iterations| repeat(iterations, || ()))];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(Ok(iterations))) = (arguments.next(), arguments.next().map(|n| n.parse())) else {
        eprintln!("usage: benches CASE ITERATIONS, where CASE is one of");
        cases().for_each(|(name, _)| eprintln!("  {name}"));
        return ExitCode::FAILURE;
    };
    let Some((_, run)) = cases().find(|(known, _)| *known == name) else {
        eprintln!("error: no case is called {name}");
        return ExitCode::FAILURE;
    };
    run(iterations);
    ExitCode::SUCCESS
}

fn cases() -> impl Iterator<Item = Case> {
    [LOOP, calls::CASES, descriptors::CASES, guest::CASES, teardown::CASES].into_iter().flatten().copied()
}

/// Calls `body` so many times. What it returns counts as used.
#[inline(always)]
fn repeat<T>(iterations: u32, mut body: impl FnMut() -> T) {
    for _ in 0..iterations {
        black_box(body());
    }
}
