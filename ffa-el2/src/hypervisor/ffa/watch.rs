//! Shows what the mediator does, and counts it.

use ffa_el2::lock::Mutex;
use ffa_el2::{clock, println};
use ffa_hyp_glue::Event;
use ffa_teardown::Time;
use ffa_test_utils::scenario::Tally;
use ffa_test_utils::timeline::Line;

static TALLY: Mutex<Tally> = Mutex::new(Tally::EMPTY);

/// What happened so far.
pub fn tally() -> Tally {
    *TALLY.lock()
}

/// Something happened.
pub fn event(event: &Event) {
    let now = Time::from_nanos(clock::now());
    TALLY.lock().add(now, event);
    println!("{}", Line::Event(now, event));
}
