//! When teardown has to go on: one moment for all CPUs.
//!
//! Every CPU takes it into account when it decides for how long it runs a vCPU or waits, and whoever comes first does the
//! work.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::timer;

/// No moment at all.
pub const NEVER: u64 = u64::MAX;

static NEXT: AtomicU64 = AtomicU64::new(NEVER);

/// Sets the moment, in nanoseconds since reset, or [`NEVER`].
pub fn set(time: u64) {
    NEXT.store(time, Release);
    if time != NEVER {
        // Other CPUs need not know: this one looks at it in time.
        timer::arm_no_later(time);
    }
}

/// The moment, or [`NEVER`].
pub fn next() -> u64 {
    NEXT.load(Acquire)
}

/// Whether it has come, for the first who asks.
pub fn take_due(now: u64) -> bool {
    let next = next();
    next <= now && NEXT.compare_exchange(next, NEVER, AcqRel, Relaxed).is_ok()
}
