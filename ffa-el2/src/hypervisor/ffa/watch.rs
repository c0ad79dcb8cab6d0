//! Shows what the mediator does, and counts it.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};

use ffa_el2::lock::Mutex;
use ffa_el2::{clock, println};
use ffa_hyp_glue::{Event, EventKind};
use ffa_teardown::Time;
use ffa_test_utils::scenario::Tally;
use ffa_test_utils::timeline::Line;

use crate::vm_id::{MAX_VMS, VmId};

static SILENT: AtomicBool = AtomicBool::new(false);
static SHOWN: AtomicU8 = AtomicU8::new(Shown::All as u8);
/// VMs that are dead and not gone, by slot.
static DEAD: AtomicU32 = AtomicU32::new(0);
const _: () = assert!(MAX_VMS <= u32::BITS as usize);
static TALLY: Mutex<Tally> = Mutex::new(Tally::EMPTY);

/// Which events are shown. All are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    All,
    /// Those of VMs that are dead.
    Teardown,
    Nothing,
}

/// Shows these from now on.
pub fn show(shown: Shown) {
    SHOWN.store(shown as u8, Relaxed);
}

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
        count_and_show(*event);
    }
}

#[cold]
fn count_and_show(event: Event) {
    let now = Time::from_nanos(clock::now());
    TALLY.lock().add(now, &event);
    let is_of_dead = is_of_dead(&event);
    let shown = SHOWN.load(Relaxed);
    if shown == Shown::All as u8 || shown == Shown::Teardown as u8 && is_of_dead {
        println!("{}", Line::Event(now, &event));
    }
}

/// Whether the event belongs to the end of a VM.
fn is_of_dead(event: &Event) -> bool {
    let Some(vm) = VmId::of_partition(event.vm) else { return false };
    let bit = 1 << vm.slot();
    let before = match event.kind {
        EventKind::Destroyed { .. } => DEAD.fetch_or(bit, Relaxed) | bit,
        EventKind::Finished { .. } => DEAD.fetch_and(!bit, Relaxed),
        _ => DEAD.load(Relaxed),
    };
    before & bit != 0
}
