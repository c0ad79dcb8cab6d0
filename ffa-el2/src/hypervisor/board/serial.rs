//! The serial port of a guest: a PL011 (DDI 0183) that takes every byte at once, and to which nobody ever types.
//!
//! What a guest writes comes out line by line, each with the name of its VM in front.

use core::fmt::{self, Display, Formatter};
use core::mem;

use ffa_el2::println;

use crate::hosting;
use crate::vm_id::VmId;

/// Longest line that is printed as one.
const LINE_BYTES: usize = 240;

/// Registers, by offset.
const DATA: u64 = 0x00;
const FLAGS: u64 = 0x18;
/// From here on, registers that only keep what is written: baud rate, line control, control, FIFO levels.
const KEPT: u64 = 0x20;
const KEPT_END: u64 = 0x38;
const INTERRUPT_MASK: u64 = 0x38;
const RAW_INTERRUPTS: u64 = 0x3c;
const MASKED_INTERRUPTS: u64 = 0x40;
const CLEAR_INTERRUPTS: u64 = 0x44;
const IDENTITY: u64 = 0xfe0;
const IDENTITY_END: u64 = 0x1000;

/// `UARTFR`: nothing to transmit, nothing received.
const EMPTY: u32 = 1 << 7 | 1 << 4;
/// The interrupt that tells of room to transmit.
const TRANSMIT: u32 = 1 << 5;
const INTERRUPTS: u32 = 0x7ff;
/// `UARTPeriphID0` to `UARTPCellID3`: a PL011 of revision r1p5.
const IDENTITIES: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
const REGISTER_BYTES: u64 = 4;

pub struct Serial {
    line: [u8; LINE_BYTES],
    length: usize,
    kept: [u32; ((KEPT_END - KEPT) / REGISTER_BYTES) as usize],
    mask: u32,
    raw: u32,
}

impl Serial {
    /// One that was just switched on.
    pub const fn new() -> Self {
        Self { line: [0; LINE_BYTES], length: 0, kept: [0; 6], mask: 0, raw: 0 }
    }

    /// Whether the port asks for an interrupt.
    pub fn is_asserted(&self) -> bool {
        self.raw & self.mask != 0
    }

    /// Loads from the register at `offset`, or stores to it, for the guest of `vm`. What is loaded is 0 for a store.
    pub fn access(&mut self, vm: VmId, offset: u64, stored: Option<u64>) -> u64 {
        match stored {
            Some(value) => {
                self.store(vm, offset, value as u32);
                0
            }
            None => self.load(offset).into(),
        }
    }

    /// Prints what has been written since the last line's end.
    pub fn flush(&mut self, vm: VmId) {
        let length = mem::take(&mut self.length);
        if length > 0 {
            let line = &self.line[..length];
            println!("{vm}: {}", Text(line));
            hosting::printed(vm, line);
        }
    }

    fn load(&self, offset: u64) -> u32 {
        match offset {
            FLAGS => EMPTY,
            KEPT..KEPT_END => self.kept[((offset - KEPT) / REGISTER_BYTES) as usize],
            INTERRUPT_MASK => self.mask,
            RAW_INTERRUPTS => self.raw,
            MASKED_INTERRUPTS => self.raw & self.mask,
            IDENTITY..IDENTITY_END => IDENTITIES[((offset - IDENTITY) / REGISTER_BYTES) as usize].into(),
            _ => 0,
        }
    }

    fn store(&mut self, vm: VmId, offset: u64, value: u32) {
        match offset {
            DATA => {
                self.print(vm, value as u8);
                // It has been transmitted by now.
                self.raw |= TRANSMIT;
            }
            KEPT..KEPT_END => self.kept[((offset - KEPT) / REGISTER_BYTES) as usize] = value,
            INTERRUPT_MASK => self.mask = value & INTERRUPTS,
            CLEAR_INTERRUPTS => self.raw &= !value,
            _ => {}
        }
    }

    /// Adds a byte to the line. No guest moves the cursor, or begins a line that looks like somebody else's.
    fn print(&mut self, vm: VmId, byte: u8) {
        if byte == b'\n' {
            self.flush(vm);
        } else if byte == b'\t' || !byte.is_ascii_control() {
            self.line[self.length] = byte;
            self.length += 1;
            if self.length == LINE_BYTES {
                self.flush(vm);
            }
        }
    }
}

/// Bytes that are probably text.
struct Text<'a>(&'a [u8]);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| {
            f.write_str(chunk.valid())?;
            if chunk.invalid().is_empty() { Ok(()) } else { f.write_str("\u{fffd}") }
        })
    }
}
