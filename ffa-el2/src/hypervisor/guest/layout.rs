//! What a guest finds at which IPA.

use core::ops::Range;

use ffa_el2::machine::HYPERVISOR;

use crate::frames::BLOCK;

/// Memory in blocks of 2 MiB. It begins with the copy of this image.
pub const BLOCKS: Range<u64> = HYPERVISOR as u64..HYPERVISOR as u64 + 2 * BLOCK as u64;

/// The stack, at the end of the first block.
pub const STACK_TOP: u64 = BLOCKS.start + BLOCK as u64;
pub const STACK_BOTTOM: u64 = STACK_TOP - 0x2_0000;

/// How often the guest took which interrupt: a word for each SGI and PPI, below the stack.
pub const INTERRUPTS: Range<u64> = STACK_BOTTOM - 32 * 8..STACK_BOTTOM;

/// How many aborts the guest took: one word, below that.
pub const ABORTS: u64 = INTERRUPTS.start - 8;

/// The second block, for whatever a program wants.
pub const DATA: Range<u64> = STACK_TOP..BLOCKS.end;

/// Memory in single pages, as many as the VM was made with.
pub const LOOSE_PAGES: Range<u64> = 0x7000_0000..0x7080_0000;

/// Memory of other VMs, in single pages.
pub const BORROWED: Range<u64> = 0x7a00_0000..0x7a20_0000;

/// No guest has memory here.
pub const NOTHING: u64 = 0x7800_0000;
