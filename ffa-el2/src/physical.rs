//! Memory that is no Rust object because somebody else may change it at any moment: guests, or the other world.
//!
//! Copies read each byte once and write it once; no reference into such memory ever exists. Both images map it as
//! everybody else does, write-back and shared, so no cache needs maintenance.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Copies `dst.len()` bytes from `address`.
///
/// # Safety
/// All of it is mapped memory, readable for this image, and no Rust reference to it exists.
pub unsafe fn read(address: usize, dst: &mut [u8]) {
    let (head, rest) = dst.split_at_mut(bytes_to_word(address, dst.len()));
    // SAFETY: The caller vouches for as many bytes as `dst` has, which are read one after another; behind `head` the
    // address is a multiple of the longest word's length, and behind words of one length a multiple of the shorter ones'.
    unsafe {
        let (source, _) = read_words::<u8>(address as *const u8, head);
        let (source, rest) = read_words::<u128>(source, rest);
        let (source, rest) = read_words::<u64>(source, rest);
        read_words::<u8>(source, rest);
    }
}

/// Copies `src` to `address`.
///
/// # Safety
/// All of it is mapped memory, writable for this image, and no Rust reference to it exists.
#[inline]
pub unsafe fn write(address: usize, src: &[u8]) {
    let (head, rest) = src.split_at(bytes_to_word(address, src.len()));
    // SAFETY: As in `read`.
    unsafe {
        let (target, _) = write_words::<u8>(address as *mut u8, head);
        let (target, rest) = write_words::<u128>(target, rest);
        let (target, rest) = write_words::<u64>(target, rest);
        write_words::<u8>(target, rest);
    }
}

/// How many of `len` bytes from `address` come before the first of the longest words.
fn bytes_to_word(address: usize, len: usize) -> usize {
    (address.wrapping_neg() % size_of::<u128>()).min(len)
}

/// Copies whole words to the start of `dst`, as many as there is room for. Returns the address behind them, and what is left
/// of `dst`.
///
/// # Safety
/// That of [`read`], and `source` is aligned for `W` or `dst` has no room for one.
#[inline]
unsafe fn read_words<W: FromBytes + IntoBytes + Immutable>(
    mut source: *const u8,
    dst: &mut [u8],
) -> (*const u8, &mut [u8]) {
    let (words, rest) = dst.split_at_mut(dst.len() - dst.len() % size_of::<W>());
    for word in words.chunks_exact_mut(size_of::<W>()) {
        // SAFETY: As many bytes of `dst` are left, so as many can be read.
        word.copy_from_slice(unsafe { source.cast::<W>().read_volatile() }.as_bytes());
        source = source.wrapping_add(size_of::<W>());
    }
    (source, rest)
}

/// Copies the whole words of `src` to `target`. Returns the address behind them, and what is left of `src`.
///
/// # Safety
/// That of [`write`], and `target` is aligned for `W` or `src` is shorter than one.
#[inline]
unsafe fn write_words<W: FromBytes>(mut target: *mut u8, src: &[u8]) -> (*mut u8, &[u8]) {
    let (words, rest) = src.split_at(src.len() - src.len() % size_of::<W>());
    for word in words.chunks_exact(size_of::<W>()) {
        let word = W::read_from_bytes(word).expect("it is as long as a word");
        // SAFETY: As many bytes of `src` are left, so as many can be written.
        unsafe { target.cast::<W>().write_volatile(word) }
        target = target.wrapping_add(size_of::<W>());
    }
    (target, rest)
}
