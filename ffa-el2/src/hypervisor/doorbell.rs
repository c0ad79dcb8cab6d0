//! Where interrupts wait for their vCPU to be entered.
//!
//! A vCPU stays locked by the CPU that runs it, so whoever raises an interrupt does not touch the vCPU: it leaves the
//! interrupt here, and learns which CPU has to be told. All is in one word, so that no interrupt falls between "it is not
//! there" and "it is entered".

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// The private interrupts of a vCPU, SGIs and PPIs, by INTID: a bit each.
pub type IntIds = u32;

/// Where the vCPU is, above the interrupts.
const PLACE_SHIFT: u32 = IntIds::BITS;
const NOWHERE: u64 = 0 << PLACE_SHIFT;
const WAITS: u64 = 1 << PLACE_SHIFT;
const RUNS: u64 = 2 << PLACE_SHIFT;

/// What was raised at a vCPU since it was entered last, and where it is.
pub struct Doorbell(AtomicU64);

/// Where an interrupt found the vCPU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// There is none that could take it. It is lost.
    Nobody,
    /// It does not run, and takes the interrupt when it does.
    Waiting,
    /// It runs on the CPU with this number, and has to be entered again to take the interrupt.
    Running(usize),
}

impl Doorbell {
    /// Of a vCPU that does not exist.
    pub const fn of_nobody() -> Self {
        Self(AtomicU64::new(NOWHERE))
    }

    /// There is a new vCPU. Nothing was raised at it.
    pub fn connect(&self) {
        self.0.store(WAITS, Release);
    }

    /// The vCPU will not run again.
    pub fn disconnect(&self) {
        self.0.store(NOWHERE, Release);
    }

    /// Raises an edge-triggered interrupt. Once more changes nothing, until the vCPU is entered.
    pub fn ring(&self, intid: u32) -> Found {
        let Some(bit) = 1u32.checked_shl(intid) else { return Found::Nobody };
        let ring = |word| (word >> PLACE_SHIFT != 0).then_some(word | u64::from(bit));
        match self.0.fetch_update(AcqRel, Acquire, ring) {
            Err(_) => Found::Nobody,
            Ok(word) => match (word >> PLACE_SHIFT).checked_sub(RUNS >> PLACE_SHIFT) {
                None => Found::Waiting,
                Some(cpu) => Found::Running(cpu as usize),
            },
        }
    }

    /// Whether something was raised since the vCPU was entered.
    pub fn has_rung(&self) -> bool {
        self.0.load(Acquire) as IntIds != 0
    }

    /// The vCPU, which exists, is about to be entered on `cpu`. Hands over what was raised.
    pub fn enter(&self, cpu: usize) -> IntIds {
        self.0.swap(RUNS + ((cpu as u64) << PLACE_SHIFT), AcqRel) as IntIds
    }

    /// The vCPU has been left, and may be entered again.
    pub fn leave(&self) {
        let leave = |word| Some(WAITS | u64::from(word as IntIds));
        self.0.fetch_update(AcqRel, Acquire, leave).expect("it is always changed");
    }
}
