//! What a guest with a board finds at which IPA. `xtask` describes the same to it in a device tree.

use core::ops::Range;

use crate::guest::layout;

/// The distributor of the GICv3.
pub const DISTRIBUTOR: Range<u64> = 0x0800_0000..0x0801_0000;
/// The two frames of the one redistributor.
pub const REDISTRIBUTOR: Range<u64> = 0x080a_0000..0x080c_0000;
/// The PL011.
pub const SERIAL: Range<u64> = 0x0900_0000..0x0900_1000;
/// Memory begins here, and has the size that it was given.
pub const MEMORY: u64 = 0x4000_0000;
/// Most memory that there can be: behind it is that of other VMs, if they lend it.
pub const MOST_MEMORY: u64 = layout::LOOSE_PAGES.start - MEMORY;

/// SPI 1: the serial port's.
pub const SERIAL_INTID: u32 = 33;
