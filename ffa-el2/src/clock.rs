//! Time since reset, in nanoseconds, from the architected counter.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arm_sysregs::el0::accessors::{read_cntfrq_el0, read_cntpct_el0};

/// Nanoseconds per tick and ticks per nanosecond, as fixed-point numbers with 32 fraction bits: dividing 128-bit
/// numbers on every reading would cost hundreds of instructions.
static NANOSECONDS_PER_TICK: AtomicU64 = AtomicU64::new(0);
static TICKS_PER_NANOSECOND: AtomicU64 = AtomicU64::new(0);

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
const FRACTION_BITS: u32 = 32;

/// Learns the frequency of the counter. Before, [`now`] is always 0.
///
/// # Panics
/// If firmware left `CNTFRQ_EL0` at zero.
pub fn start() {
    let frequency = u64::from(read_cntfrq_el0().bits() as u32);
    assert!(frequency != 0, "firmware left CNTFRQ_EL0 at zero");
    NANOSECONDS_PER_TICK.store((NANOSECONDS_PER_SECOND << FRACTION_BITS) / frequency, Relaxed);
    TICKS_PER_NANOSECOND.store((frequency << FRACTION_BITS) / NANOSECONDS_PER_SECOND, Relaxed);
}

/// Nanoseconds since reset, the same on all CPUs.
pub fn now() -> u64 {
    time_at(read_cntpct_el0().bits())
}

/// The value of the counter at `nanoseconds` since reset, for a timer's compare register; one tick is added because
/// rounding down would fire the timer before its time.
pub fn ticks_at(nanoseconds: u64) -> u64 {
    scale(nanoseconds, TICKS_PER_NANOSECOND.load(Relaxed)).saturating_add(1)
}

/// When the counter has the value `ticks`, in nanoseconds since reset.
pub fn time_at(ticks: u64) -> u64 {
    scale(ticks, NANOSECONDS_PER_TICK.load(Relaxed))
}

fn scale(value: u64, factor: u64) -> u64 {
    u64::try_from((u128::from(value) * u128::from(factor)) >> FRACTION_BITS).unwrap_or(u64::MAX)
}
