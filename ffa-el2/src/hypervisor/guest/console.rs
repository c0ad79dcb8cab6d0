//! Lines of a guest on the hypervisor's console.

use core::fmt::{self, Arguments, Write};

use super::conduit;
use crate::hypercall::{LINE_BYTES, PRINT, WRONG};

/// One line; what does not fit is cut off.
struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

/// Prints one line.
pub fn line(text: Arguments) {
    send(PRINT, text);
}

/// Prints one line about something that is wrong.
pub fn wrong(text: Arguments) {
    send(WRONG, text);
}

fn send(function: u32, text: Arguments) {
    let mut line = Line { bytes: [0; LINE_BYTES], length: 0 };
    // It fails where the line is full.
    _ = line.write_fmt(text);
    let mut arguments = [0; 1 + LINE_BYTES / 8];
    arguments[0] = line.length as u64;
    for (argument, bytes) in arguments[1..].iter_mut().zip(line.bytes.as_chunks().0) {
        *argument = u64::from_le_bytes(*bytes);
    }
    conduit::hvc(function, &arguments);
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let end = self.length + character.len_utf8();
            let target = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
            character.encode_utf8(target);
            self.length = end;
        }
        Ok(())
    }
}
