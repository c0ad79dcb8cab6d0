//! Memory of the guest that is nobody's Rust object, by IPA.

use core::ops::Range;

use ffa_el2::physical;

const WORD: usize = size_of::<u64>();

/// Reads the word at `ipa`.
pub fn read(ipa: u64) -> u64 {
    // SAFETY: The programs name only `DATA` and `LOOSE_PAGES`, where no Rust object lives, or memory that they do not
    // have, which ends the guest and nothing else.
    unsafe { (ipa as *const u64).read_volatile() }
}

/// Writes the word at `ipa`.
pub fn write(ipa: u64, value: u64) {
    // SAFETY: As in `read`.
    unsafe { (ipa as *mut u64).write_volatile(value) }
}

/// IPAs of all words in `range`.
pub fn words(range: Range<u64>) -> impl Iterator<Item = u64> {
    range.step_by(WORD)
}

/// Copies from `ipa`.
pub fn copy_from(ipa: u64, target: &mut [u8]) {
    // SAFETY: As in `read`.
    unsafe { physical::read(ipa as usize, target) }
}

/// Copies to `ipa`.
pub fn copy_to(ipa: u64, source: &[u8]) {
    // SAFETY: As in `write`.
    unsafe { physical::write(ipa as usize, source) }
}
