//! The device tree that the guest is started with, as far as this looks at it.

use core::ffi::CStr;

use ffa_el2::physical;

/// More than the tree of such a guest has, in bytes.
const MOST: usize = 4096;

/// Tokens of the structure block. Devicetree Specification v0.4 section 5.4.1.
const BEGIN_NODE: usize = 1;
const END_NODE: usize = 2;
const PROPERTY: usize = 3;
const NOP: usize = 4;
const TOKEN_BYTES: usize = 4;

/// Where the header has the offsets of two blocks. Section 5.2.
const STRUCTURE: usize = 8;
const STRINGS: usize = 12;

/// Whether this is the kernel's one argument.
pub fn has_argument(tree: u64, argument: &str) -> bool {
    let mut blob = [0; MOST];
    // SAFETY: The page table has all memory of the guest, and no Rust object is where its device tree is.
    unsafe { physical::read(tree as usize, &mut blob) }
    bootargs(&blob) == Some(argument)
}

/// The kernel's arguments; `None` if the tree has none, or is longer than this.
fn bootargs(blob: &[u8]) -> Option<&str> {
    let word = |at: usize| Some(u32::from_be_bytes(*blob.get(at..)?.first_chunk()?) as usize);
    let text = |at: usize| CStr::from_bytes_until_nul(blob.get(at..)?).ok();
    let strings = word(STRINGS)?;
    let mut at = word(STRUCTURE)?;
    loop {
        let end = match word(at)? {
            BEGIN_NODE => at + TOKEN_BYTES + text(at + TOKEN_BYTES)?.to_bytes_with_nul().len(),
            PROPERTY => {
                let (bytes, name) = (word(at + 4)?, word(at + 8)?);
                let value = at + 12;
                if text(strings + name)? == c"bootargs" {
                    return text(value)?.to_str().ok();
                }
                value + bytes
            }
            END_NODE | NOP => at + TOKEN_BYTES,
            _ => return None,
        };
        at = end.next_multiple_of(TOKEN_BYTES);
    }
}
