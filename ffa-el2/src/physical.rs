//! Memory that is no Rust object because somebody else may change it at any moment: guests, or the other world.
//!
//! Copies read each byte once and write it once; no reference into such memory ever exists. Both images map it as
//! everybody else does, write-back and shared, so no cache needs maintenance.

const WORD: usize = size_of::<u64>();

/// Copies `dst.len()` bytes from `address`.
///
/// # Safety
/// All of it is mapped memory, readable for this image, and no Rust reference to it exists.
pub unsafe fn read(address: usize, dst: &mut [u8]) {
    let (head, rest) = dst.split_at_mut(bytes_to_word(address, dst.len()));
    let words_at = address + head.len();
    for (index, byte) in head.iter_mut().enumerate() {
        // SAFETY: The caller vouches for `dst.len()` bytes from `address`.
        *byte = unsafe { ((address + index) as *const u8).read_volatile() };
    }
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    let tail_at = words_at + words.len() * WORD;
    for (index, word) in words.iter_mut().enumerate() {
        // SAFETY: As above, and `words_at` is a whole word.
        *word = unsafe { ((words_at + index * WORD) as *const u64).read_volatile() }.to_ne_bytes();
    }
    for (index, byte) in tail.iter_mut().enumerate() {
        // SAFETY: As above.
        *byte = unsafe { ((tail_at + index) as *const u8).read_volatile() };
    }
}

/// Copies `src` to `address`.
///
/// # Safety
/// All of it is mapped memory, writable for this image, and no Rust reference to it exists.
pub unsafe fn write(address: usize, src: &[u8]) {
    let (head, rest) = src.split_at(bytes_to_word(address, src.len()));
    let words_at = address + head.len();
    for (index, byte) in head.iter().enumerate() {
        // SAFETY: The caller vouches for `src.len()` bytes from `address`.
        unsafe { ((address + index) as *mut u8).write_volatile(*byte) }
    }
    let (words, tail) = rest.as_chunks::<WORD>();
    let tail_at = words_at + words.len() * WORD;
    for (index, word) in words.iter().enumerate() {
        // SAFETY: As above, and `words_at` is a whole word.
        unsafe { ((words_at + index * WORD) as *mut u64).write_volatile(u64::from_ne_bytes(*word)) }
    }
    for (index, byte) in tail.iter().enumerate() {
        // SAFETY: As above.
        unsafe { ((tail_at + index) as *mut u8).write_volatile(*byte) }
    }
}

/// How many of `len` bytes from `address` come before the first whole word.
fn bytes_to_word(address: usize, len: usize) -> usize {
    (address.wrapping_neg() % WORD).min(len)
}
