//! Pages that must not be reused although the VM that they belonged to is gone.
//!
//! They stay held in the book of frames. This list says where the pages are that the VM's stage 2 no longer tells.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

use ffa_abi::PartitionId;
use ffa_el2::lock::Mutex;
use ffa_el2::println;
use ffa_mem::IpaRange;

use crate::frames::{self, FRAMES, Run};

/// What does not fit is never freed.
const ENTRIES: usize = 64;

/// Pages of `range` of a VM, and where they are.
#[derive(Clone, Copy)]
struct Entry {
    vm: PartitionId,
    range: IpaRange,
    run: Run,
}

static LIST: Mutex<[Option<Entry>; ENTRIES]> = Mutex::new([None; ENTRIES]);

/// Whether anything was ever added: mostly not, and pages are released all the time.
static IS_USED: AtomicBool = AtomicBool::new(false);

/// Whether there was ever more than the list has room for: then there may be pages to release of which nobody knows where
/// they are.
static HAS_LOST: AtomicBool = AtomicBool::new(false);

/// Whether anything was ever added.
#[inline]
pub fn is_used() -> bool {
    IS_USED.load(Acquire)
}

/// Adds `run`, a part of `range`.
pub fn add(vm: PartitionId, range: IpaRange, run: Run) {
    IS_USED.store(true, Release);
    FRAMES.lock().keep(run);
    match LIST.lock().iter_mut().find(|entry| entry.is_none()) {
        Some(free) => *free = Some(Entry { vm, range, run }),
        None => {
            HAS_LOST.store(true, Release);
            println!("hypervisor: {run:x?} is lost for ever, the list of such pages is full");
        }
    }
}

/// Takes note of how something went that is to be done to pages of a VM, which may be gone if the list was full.
///
/// # Panics
/// If it was not, and nothing is left of the VM.
#[inline]
pub fn done_or_lost(done: Option<()>) {
    assert!(done.is_some() || HAS_LOST.load(Acquire), "its pages keep what is left of a VM");
}

/// Releases all of `range` and takes it off the list. Whether it was there.
#[inline]
pub fn release(vm: PartitionId, range: IpaRange) -> bool {
    is_used() && release_listed(vm, range)
}

#[cold]
fn release_listed(vm: PartitionId, range: IpaRange) -> bool {
    take(vm, range, frames::release)
}

/// Takes all of `range` off the list and passes it on. Whether it was there.
pub fn take(vm: PartitionId, range: IpaRange, pass_on: impl Fn(Run)) -> bool {
    let is_wanted = |entry: &mut Entry| entry.vm == vm && entry.range == range;
    let mut found = false;
    for slot in LIST.lock().iter_mut() {
        if let Some(entry) = slot.take_if(is_wanted) {
            pass_on(entry.run);
            found = true;
        }
    }
    found
}
