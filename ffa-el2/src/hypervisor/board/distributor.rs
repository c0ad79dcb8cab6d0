//! The distributor and the one redistributor of a guest's GICv3 (IHI 0069) chapter 12: which interrupts are enabled, with
//! what priority, and which are pending.
//!
//! There is one security state, affinity routing is always on, everything is group 1, and goes to the only vCPU. So what
//! says otherwise reads as zero and ignores writes.

use crate::virtual_gic::{IntIds, VirtualGic};

/// What the distributor has besides the interrupts.
pub struct Distributor {
    /// Whether it forwards interrupts.
    is_enabled: bool,
    /// What is enabled as soon as it does.
    enabled: IntIds,
}

/// Interrupts in one word of the registers that have a bit for each.
const WORD: u32 = 32;

/// Registers of the distributor, by offset.
const CTLR: u64 = 0x0000;
const TYPER: u64 = 0x0004;
/// Of the redistributor.
const REDISTRIBUTOR_TYPER: u64 = 0x0008;
const REDISTRIBUTOR_TYPER_HIGH: u64 = 0x000c;
/// Of both, and of the second frame of the redistributor.
const ISENABLER: u64 = 0x0100;
const ICENABLER: u64 = 0x0180;
const ISPENDR: u64 = 0x0200;
const ICPENDR: u64 = 0x0280;
const ISACTIVER: u64 = 0x0300;
const ICACTIVER: u64 = 0x0380;
const IPRIORITYR: u64 = 0x0400;
const IPRIORITYR_END: u64 = 0x0800;
const IGROUPR: u64 = 0x0080;
const ICFGR: u64 = 0x0c00;
const ICFGR_END: u64 = 0x0d00;
const PIDR2: u64 = 0xffe8;

/// `GICD_CTLR`: group 1 is forwarded; affinity routing; one security state.
const CTLR_GROUP_1: u64 = 1 << 1;
const CTLR_FIXED: u64 = 1 << 4 | 1 << 6;
/// `GICD_TYPER`: INTIDs below 64, with 16 bits; none is for one of N.
const TYPER_VALUE: u64 = 1 | 15 << 19 | 1 << 25;
/// `GICR_TYPER`: the last one.
const REDISTRIBUTOR_TYPER_VALUE: u64 = 1 << 4;
/// `GICD_PIDR2`: GICv3.
const PIDR2_VALUE: u64 = 0x3b;
/// The second frame of the redistributor, that of the private interrupts.
const PRIVATE_FRAME: u64 = 0x1_0000;
/// `GICD_ICFGR<n>`, of an interrupt: edge-triggered.
const EDGE_TRIGGERED: u64 = 0b10;

impl Distributor {
    /// That of a board which was just switched on.
    pub const fn new() -> Self {
        Self { is_enabled: false, enabled: 0 }
    }

    /// Loads from the distributor, or stores to it. What is loaded is 0 for a store.
    pub fn access(&mut self, gic: &mut VirtualGic, offset: u64, bytes: u32, stored: Option<u64>) -> u64 {
        match (offset, stored) {
            (CTLR, None) => CTLR_FIXED | if self.is_enabled { CTLR_GROUP_1 } else { 0 },
            (CTLR, Some(value)) => {
                self.is_enabled = value & CTLR_GROUP_1 != 0;
                self.forward(gic);
                0
            }
            (TYPER, None) => TYPER_VALUE,
            (PIDR2, None) => PIDR2_VALUE,
            (ICFGR..ICFGR_END, None) => triggers(gic, offset),
            // What is private has no registers here.
            (IPRIORITYR..IPRIORITYR_END, _) if offset - IPRIORITYR >= WORD.into() => {
                priorities(gic, (offset - IPRIORITYR) as usize, bytes, stored)
            }
            _ => self.access_word(gic, WORD, offset.wrapping_sub(4), stored),
        }
    }

    /// The same with the redistributor.
    pub fn access_redistributor(
        &mut self,
        gic: &mut VirtualGic,
        offset: u64,
        bytes: u32,
        stored: Option<u64>,
    ) -> u64 {
        match (offset, stored) {
            (REDISTRIBUTOR_TYPER, None) => REDISTRIBUTOR_TYPER_VALUE,
            (REDISTRIBUTOR_TYPER_HIGH, None) => REDISTRIBUTOR_TYPER_VALUE >> 32,
            (PIDR2, None) => PIDR2_VALUE,
            (PRIVATE_FRAME.., _) => match offset - PRIVATE_FRAME {
                offset @ IPRIORITYR..IPRIORITYR_END if offset - IPRIORITYR < WORD.into() => {
                    priorities(gic, (offset - IPRIORITYR) as usize, bytes, stored)
                }
                offset @ ICFGR..ICFGR_END if stored.is_none() => triggers(gic, offset),
                offset => self.access_word(gic, 0, offset, stored),
            },
            _ => 0,
        }
    }

    /// A register that has a bit, or two, for each of the 32 interrupts from `first` on, by its offset in the block of those
    /// from 0 on.
    fn access_word(&mut self, gic: &mut VirtualGic, first: u32, offset: u64, stored: Option<u64>) -> u64 {
        let word = |intids: IntIds| u64::from((intids >> first) as u32);
        let Some(value) = stored else {
            return match offset {
                IGROUPR => u64::from(u32::MAX),
                ISENABLER | ICENABLER => word(self.enabled),
                ISPENDR | ICPENDR => word(gic.all_pending()),
                ISACTIVER | ICACTIVER => word(gic.active),
                _ => 0,
            };
        };
        let named = IntIds::from(value as u32) << first;
        match offset {
            ISENABLER => self.enabled |= named,
            ICENABLER => self.enabled &= !named,
            ISPENDR => gic.pending |= named,
            ICPENDR => gic.pending &= !named,
            ISACTIVER => gic.active |= named,
            ICACTIVER => gic.active &= !named,
            _ => {}
        }
        self.forward(gic);
        0
    }

    fn forward(&self, gic: &mut VirtualGic) {
        gic.enabled = if self.is_enabled { self.enabled } else { 0 };
    }
}

/// Priorities, a byte each, of `bytes` interrupts from `first` on.
fn priorities(gic: &mut VirtualGic, first: usize, bytes: u32, stored: Option<u64>) -> u64 {
    let last = first.saturating_add(bytes as usize);
    let Some(priorities) = gic.priorities.get_mut(first..last) else { return 0 };
    match stored {
        None => priorities.iter().rev().fold(0, |word, &priority| word << 8 | u64::from(priority)),
        Some(value) => {
            priorities.iter_mut().zip(value.to_le_bytes()).for_each(|(priority, byte)| *priority = byte);
            0
        }
    }
}

/// How the 16 interrupts of a register from `ICFGR` on are triggered, which cannot be changed.
fn triggers(gic: &VirtualGic, offset: u64) -> u64 {
    const INTERRUPTS: u64 = 16;
    let first = (offset - ICFGR) / 4 * INTERRUPTS;
    (first..first + INTERRUPTS).rev().fold(0, |word, intid| {
        let is_level_sensitive =
            u32::try_from(intid).is_ok_and(|intid| gic.level_sensitive().unbounded_shr(intid) & 1 != 0);
        word << 2 | if is_level_sensitive { 0 } else { EDGE_TRIGGERED }
    })
}
