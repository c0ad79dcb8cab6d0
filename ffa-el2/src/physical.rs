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
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    let mut source = address as *const u8;
    for byte in head {
        // SAFETY: The caller vouches for as many bytes as `dst` has, of which the three loops read one after another.
        *byte = unsafe { source.read_volatile() };
        source = source.wrapping_add(1);
    }
    for word in words {
        // SAFETY: As above, and `source` is at a whole word since `head` is over.
        *word = unsafe { source.cast::<u64>().read_volatile() }.to_ne_bytes();
        source = source.wrapping_add(WORD);
    }
    for byte in tail {
        // SAFETY: As above.
        *byte = unsafe { source.read_volatile() };
        source = source.wrapping_add(1);
    }
}

/// Copies `src` to `address`.
///
/// # Safety
/// All of it is mapped memory, writable for this image, and no Rust reference to it exists.
pub unsafe fn write(address: usize, src: &[u8]) {
    let (head, rest) = src.split_at(bytes_to_word(address, src.len()));
    let (words, tail) = rest.as_chunks::<WORD>();
    let mut target = address as *mut u8;
    for byte in head {
        // SAFETY: The caller vouches for as many bytes as `src` has, of which the three loops write one after another.
        unsafe { target.write_volatile(*byte) }
        target = target.wrapping_add(1);
    }
    for word in words {
        // SAFETY: As above, and `target` is at a whole word since `head` is over.
        unsafe { target.cast::<u64>().write_volatile(u64::from_ne_bytes(*word)) }
        target = target.wrapping_add(WORD);
    }
    for byte in tail {
        // SAFETY: As above.
        unsafe { target.write_volatile(*byte) }
        target = target.wrapping_add(1);
    }
}

/// How many of `len` bytes from `address` come before the first whole word.
fn bytes_to_word(address: usize, len: usize) -> usize {
    (address.wrapping_neg() % WORD).min(len)
}
