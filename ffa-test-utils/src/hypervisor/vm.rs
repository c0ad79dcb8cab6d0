use std::collections::BTreeSet;
use std::vec::Vec;

use ffa_abi::PartitionId;

use super::frames::{Life, PAGE};

/// Guest-physical address of the first page that a VM borrows.
pub const BORROWED: u64 = 1 << 36;

/// What lies behind a part of a VM's address space.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Plain memory that the VM owns.
    Ram,
    /// Plain memory that it may only read.
    ReadOnly,
    /// A device.
    Device,
    /// A page of the hypervisor, mapped into the VM like memory: shared info, grants.
    Hypervisors,
    /// Memory of another VM, mapped into this one.
    Foreign,
    /// Likewise, and only to be read.
    ForeignReadOnly,
}

/// A run of guest-physical pages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Region {
    /// Guest-physical address of the first page.
    pub base: u64,
    /// 4 KiB pages.
    pub pages: u32,
    /// What they are.
    pub kind: Kind,
    /// No two neighbours are neighbours physically.
    pub scattered: bool,
}

impl Region {
    /// Physically contiguous memory.
    #[must_use]
    pub const fn block(base: u64, pages: u32) -> Self {
        Self { base, pages, kind: Kind::Ram, scattered: false }
    }

    /// Memory in single pages.
    #[must_use]
    pub const fn loose(base: u64, pages: u32) -> Self {
        Self { base, pages, kind: Kind::Ram, scattered: true }
    }

    /// The same addresses with something else behind them.
    #[must_use]
    pub const fn of(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
}

/// A VM, or what is left of it.
#[derive(Debug)]
pub(super) struct Vm {
    pub id: PartitionId,
    pub life: Life,
    pub regions: Vec<(Region, Vec<u32>)>,
    /// What it has borrowed of other VMs.
    pub borrowed: Vec<(Region, Vec<u32>)>,
    /// Where it had pages that it has given to other VMs.
    pub given: BTreeSet<u64>,
    /// Pages from [`BORROWED`] on that were given out. No address is used twice.
    pub windows: u32,
    /// The mediator has it.
    pub announced: bool,
    /// Its guest makes no calls any more.
    pub dead: bool,
    /// References: the hypervisor's own while it lives, the mediator's, and one for each vCPU in a call.
    pub references: u32,
    /// How many of them are the mediator's.
    pub lent: u32,
    /// Whether each of its vCPUs is online.
    pub vcpus: Vec<bool>,
}

impl Vm {
    /// The vCPU with this number if it is online, or the first one that is.
    pub fn online(&self, vcpu: Option<u16>) -> Option<u16> {
        let first = || self.vcpus.iter().position(|online| *online).and_then(|at| u16::try_from(at).ok());
        match vcpu {
            Some(vcpu) => self.vcpus.get(usize::from(vcpu)).is_some_and(|online| *online).then_some(vcpu),
            None => first(),
        }
    }

    /// The frame behind the page at `address`, and what it is.
    pub fn frame(&self, address: u64) -> Option<(u32, Kind)> {
        if self.given.contains(&(address & !(PAGE - 1))) {
            return None;
        }
        self.regions.iter().chain(&self.borrowed).find_map(|(region, frames)| {
            let page = address.checked_sub(region.base)? / PAGE;
            let frame = frames.get(usize::try_from(page).ok()?)?;
            Some((*frame, region.kind))
        })
    }

    /// Makes the borrowed page at `address` its own.
    pub fn take(&mut self, address: u64) {
        for (region, frames) in core::mem::take(&mut self.borrowed) {
            for (index, frame) in frames.into_iter().enumerate() {
                let page = Region::block(region.base + index as u64 * PAGE, 1);
                if page.base == address {
                    self.regions.push((page, std::vec![frame]));
                } else {
                    self.borrowed.push((page.of(region.kind), std::vec![frame]));
                }
            }
        }
    }

    /// Whether it has borrowed the frame.
    pub fn borrows(&self, frame: u32) -> bool {
        self.borrowed.iter().any(|(_, frames)| frames.contains(&frame))
    }

    /// The frames that are its own.
    pub fn frames(&self) -> impl Iterator<Item = u32> + '_ {
        self.regions.iter().flat_map(|(_, frames)| frames.iter().copied())
    }
}
