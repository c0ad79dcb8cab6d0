//! The normal world's memory, as the secure world reaches it.

use core::ops::Range;

use ffa_el2::machine::{FIRMWARE, RAM};
use ffa_el2::physical;
use ffa_test_utils::spmc::{Extent, PhysFault, PhysMemory};

const PAGE: usize = 4096;

/// All memory of the machine but our own.
const PARTS: [Range<usize>; 2] = [RAM.start..FIRMWARE.start, FIRMWARE.end..RAM.end];

/// Access to the normal world's memory.
pub struct NormalMemory;

impl NormalMemory {
    /// The memory as an SPMC's configuration has it.
    pub fn extents() -> impl Iterator<Item = Extent> {
        let pages = |part: &Range<usize>| u32::try_from(part.len() / PAGE).expect("the machine has a GiB");
        PARTS.iter().map(move |part| Extent { base: part.start as u64, pages: pages(part) })
    }

    /// The address of `len` bytes that are all there.
    fn locate(address: u64, len: usize) -> Result<usize, PhysFault> {
        let fault = PhysFault { address };
        let start = usize::try_from(address).map_err(|_| fault)?;
        let end = start.checked_add(len).ok_or(fault)?;
        let inside = |part: &Range<usize>| part.start <= start && end <= part.end;
        if PARTS.iter().any(inside) { Ok(start) } else { Err(fault) }
    }
}

impl PhysMemory for NormalMemory {
    fn read(&self, address: u64, dst: &mut [u8]) -> Result<(), PhysFault> {
        let start = Self::locate(address, dst.len())?;
        // SAFETY: The boot map has all memory of the machine; `locate` left out our own, so no Rust object is there.
        unsafe { physical::read(start, dst) }
        Ok(())
    }

    fn write(&mut self, address: u64, src: &[u8]) -> Result<(), PhysFault> {
        let start = Self::locate(address, src.len())?;
        // SAFETY: As in `read`. The normal world has to reckon with what its shares let us do.
        unsafe { physical::write(start, src) }
        Ok(())
    }
}
