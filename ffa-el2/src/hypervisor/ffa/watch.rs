//! Shows what the mediator does, and counts it.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use ffa_el2::lock::Mutex;
use ffa_el2::{clock, println};
use ffa_hyp_glue::Event;
use ffa_teardown::Time;
use ffa_test_utils::scenario::Tally;
use ffa_test_utils::timeline::Line;

static SILENT: AtomicBool = AtomicBool::new(false);
static TALLY: Mutex<Tally> = Mutex::new(Tally::EMPTY);

/// Shows and counts nothing from now on, so that it costs nothing either.
pub fn be_silent() {
    SILENT.store(true, Relaxed);
}

/// What happened so far.
pub fn tally() -> Tally {
    *TALLY.lock()
}

/// Something happened.
#[inline]
pub fn event(event: &Event) {
    if !SILENT.load(Relaxed) {
        // By value: then whoever reports an event that nobody sees need not put it into memory.
        show(*event);
    }
}

#[cold]
fn show(event: Event) {
    let now = Time::from_nanos(clock::now());
    TALLY.lock().add(now, &event);
    println!("{}", Line::Event(now, &event));
}
