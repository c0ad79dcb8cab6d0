use std::boxed::Box;
use std::collections::BTreeSet;
use std::vec::Vec;

use crate::spmc::{PhysFault, PhysMemory};

/// Physical address of the first frame.
pub const RAM: u64 = 0x8000_0000;

pub(super) const PAGE: u64 = 4096;

/// Which life of which VM ID: IDs are reused, lives are not.
pub type Life = u32;

/// Whose a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// Nobody's: any VM may get it.
    Free,
    /// The hypervisor's own.
    Hypervisor,
    /// A VM's. When the VM is dead, only the holds keep it.
    Vm {
        /// The VM.
        life: Life,
        /// How often it is held: each share and each buffer counts.
        holds: u16,
        /// The VM is dead: the last release frees the frame.
        orphan: bool,
    },
    /// On the hypervisor's own list of frames that must not be reused.
    Leaked {
        /// The VM that it was part of.
        life: Life,
    },
    /// The secure world's for good: a VM gave it away.
    Donated,
}

/// Frames by whose they are. The sum never changes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FrameCount {
    /// Nobody's.
    pub free: u64,
    /// The hypervisor's.
    pub hypervisor: u64,
    /// Of VMs that live.
    pub living: u64,
    /// Of dead VMs, held.
    pub orphans: u64,
    /// Leaked on purpose.
    pub leaked: u64,
    /// Given away by VMs.
    pub donated: u64,
}

impl FrameCount {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.free + self.hypervisor + self.living + self.orphans + self.leaked + self.donated
    }
}

/// The machine's memory, 4 KiB a frame. What was never written reads as zero and takes no room.
#[derive(Debug)]
pub(super) struct Frames {
    frames: Vec<Frame>,
    free: BTreeSet<u32>,
}

#[derive(Clone, Debug)]
struct Frame {
    owner: Owner,
    /// Its owner has no access to it.
    hidden: bool,
    bytes: Option<Box<[u8; PAGE as usize]>>,
}

impl Frames {
    pub fn new(count: u32) -> Self {
        let vacant = Frame { owner: Owner::Free, hidden: false, bytes: None };
        Self { frames: std::vec![vacant; count as usize], free: (0..count).collect() }
    }

    pub const fn address(frame: u32) -> u64 {
        RAM + frame as u64 * PAGE
    }

    /// Takes `count` free frames for `owner`: the lowest ones, or, `scattered`, every other of them.
    pub fn take(&mut self, count: u32, scattered: bool, owner: Owner) -> Option<Vec<u32>> {
        let step = if scattered && self.free.len() >= 2 * count as usize { 2 } else { 1 };
        let taken: Vec<u32> = self.free.iter().copied().step_by(step).take(count as usize).collect();
        if taken.len() < count as usize {
            return None;
        }
        for frame in &taken {
            self.free.remove(frame);
            self.frames[*frame as usize].owner = owner;
        }
        Some(taken)
    }

    pub fn owner(&self, frame: u32) -> Owner {
        self.frames[frame as usize].owner
    }

    pub fn set_owner(&mut self, frame: u32, owner: Owner) {
        self.frames[frame as usize].owner = owner;
    }

    pub fn is_hidden(&self, frame: u32) -> bool {
        self.frames[frame as usize].hidden
    }

    pub fn set_hidden(&mut self, frame: u32, hidden: bool) {
        self.frames[frame as usize].hidden = hidden;
    }

    pub fn zero(&mut self, frame: u32) {
        self.frames[frame as usize].bytes = None;
    }

    /// The frame that holds a byte of physical memory.
    pub fn at(&self, address: u64) -> Option<u32> {
        self.locate(address).ok().map(|(frame, _)| frame as u32)
    }

    /// Zeroes a frame and gives it to whoever comes next.
    pub fn free(&mut self, frame: u32) {
        self.frames[frame as usize] = Frame { owner: Owner::Free, hidden: false, bytes: None };
        self.free.insert(frame);
    }

    pub fn count(&self) -> FrameCount {
        let mut count = FrameCount::default();
        for frame in &self.frames {
            *match frame.owner {
                Owner::Free => &mut count.free,
                Owner::Hypervisor => &mut count.hypervisor,
                Owner::Vm { orphan: false, .. } => &mut count.living,
                Owner::Vm { orphan: true, .. } => &mut count.orphans,
                Owner::Leaked { .. } => &mut count.leaked,
                Owner::Donated => &mut count.donated,
            } += 1;
        }
        count
    }

    /// The frame at a physical address, and the offset in it.
    fn locate(&self, address: u64) -> Result<(usize, usize), PhysFault> {
        let offset = address.checked_sub(RAM).ok_or(PhysFault { address })?;
        let frame = (offset / PAGE) as usize;
        if frame < self.frames.len() {
            Ok((frame, (offset % PAGE) as usize))
        } else {
            Err(PhysFault { address })
        }
    }
}

/// Calls `work` with the address and the range of bytes of each piece of `len` bytes from `address` on that lies in
/// one page.
pub(super) fn pieces(address: u64, len: usize) -> impl Iterator<Item = (u64, core::ops::Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let at = address.wrapping_add(done as u64);
        let room = (PAGE - at % PAGE) as usize;
        let piece = done..len.min(done + room);
        done = piece.end;
        (!piece.is_empty()).then_some((at, piece))
    })
}

impl PhysMemory for Frames {
    fn read(&self, address: u64, dst: &mut [u8]) -> Result<(), PhysFault> {
        for (at, piece) in pieces(address, dst.len()) {
            let (frame, offset) = self.locate(at)?;
            match &self.frames[frame].bytes {
                Some(bytes) => {
                    let len = piece.len();
                    dst[piece].copy_from_slice(&bytes[offset..offset + len]);
                }
                None => dst[piece].fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, address: u64, src: &[u8]) -> Result<(), PhysFault> {
        for (at, piece) in pieces(address, src.len()) {
            let (frame, offset) = self.locate(at)?;
            let bytes = self.frames[frame].bytes.get_or_insert_with(|| Box::new([0; PAGE as usize]));
            bytes[offset..offset + piece.len()].copy_from_slice(&src[piece]);
        }
        Ok(())
    }
}
