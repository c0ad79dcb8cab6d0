//! Copies between EL2 and the physical memory of guests.
//!
//! A guest may write at any moment, so no Rust reference to its memory exists: copies go word by word and never read a
//! byte twice. EL2 maps the memory as the guests do, write-back and shared, so no cache needs maintenance.

use crate::frames::{POOL, Run};

const WORD: usize = size_of::<u64>();

/// Fills the memory of `run` with zeros.
pub fn clear(run: Run) {
    check(run);
    assert!(run.bytes.is_multiple_of(WORD));
    for address in (run.address..run.address + run.bytes).step_by(WORD) {
        // SAFETY: `check` found the run in the pool, at a whole word, and EL2 maps all of the pool for writing.
        unsafe { (address as *mut u64).write_volatile(0) }
    }
}

/// Copies `source` to the start of the memory of `run`, which has room for it.
pub fn write(run: Run, source: &[u8]) {
    check(run);
    assert!(source.len() <= run.bytes);
    let (words, rest) = source.as_chunks::<WORD>();
    for (index, word) in words.iter().enumerate() {
        let target = (run.address + index * WORD) as *mut u64;
        // SAFETY: As in `clear`; `source` is not longer than the run.
        unsafe { target.write_volatile(u64::from_ne_bytes(*word)) }
    }
    for (index, byte) in rest.iter().enumerate() {
        let target = (run.address + words.len() * WORD + index) as *mut u8;
        // SAFETY: As above.
        unsafe { target.write_volatile(*byte) }
    }
}

fn check(run: Run) {
    let inside = run.address >= POOL.start && run.address + run.bytes <= POOL.end;
    assert!(inside && run.address.is_multiple_of(WORD), "{run:x?} is not guest memory from a whole word on");
}
