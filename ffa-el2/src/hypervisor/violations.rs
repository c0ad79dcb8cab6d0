//! Promises that were broken, as far as the hypervisor itself can see it.

use core::fmt::Arguments;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use ffa_el2::{clock, println};
use ffa_teardown::Time;
use ffa_test_utils::timeline::Line;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Says that one was broken, and counts it.
pub fn report(what: Arguments) {
    COUNT.fetch_add(1, Relaxed);
    println!("{}", Line::Wrong(Time::from_nanos(clock::now()), what));
}

/// How many there were.
pub fn count() -> u64 {
    COUNT.load(Relaxed)
}
