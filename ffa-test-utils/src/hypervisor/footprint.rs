//! What state costs, in bytes.

use std::vec::Vec;

use ffa_abi::{PartitionId, Version};
use ffa_hyp_glue::{Creation, DraftSlot, Settings, VcpuSlot};
use ffa_mem::TrackedRange;
use ffa_teardown::{DutySlot, VmSlot};

use super::model::{Machine, ModelHypervisor};
use super::stores::VmRecord;
use super::storm::{LAYOUT, Lightweight};
use super::vm::Region;
use crate::scenario::{Guest, GuestOp, Pages, run_guest};
use crate::spmc::{Preset, Script, SpConfig};

/// What state costs, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Footprint {
    /// A VM, engine and mediator.
    pub vm: usize,
    /// Each of its vCPUs.
    pub vcpu: usize,
    /// Each transaction that it may have half-sent at the same time.
    pub draft: usize,
    /// Each SP that wants to hear of it.
    pub sp: usize,
    /// A share.
    pub share: usize,
    /// Each range of a share.
    pub range: usize,
}

impl Footprint {
    /// As compiled.
    pub const MEASURED: Self = Self {
        vm: size_of::<VmSlot>() + size_of::<Option<VmRecord>>(),
        vcpu: size_of::<VcpuSlot>(),
        draft: size_of::<DraftSlot>(),
        sp: size_of::<DutySlot>(),
        share: size_of::<DutySlot>(),
        range: size_of::<TrackedRange>(),
    };

    /// What it may be at most.
    pub const LIMIT: Self = Self { vm: 512, vcpu: 16, draft: 64, sp: 64, share: 64, range: 16 };
}

/// Memory that a hypervisor lends for one VM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// Slots for obligations.
    pub duties: usize,
    /// Slots for page ranges.
    pub ranges: usize,
}

/// Something that a VM with RX and TX shares, in fragments of 4 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// For a person.
    pub what: &'static str,
    /// Ranges that it consists of.
    pub ranges: u32,
    program: &'static [GuestOp],
}

const SP: PartitionId = PartitionId(0x8001);
const VM: PartitionId = PartitionId(1);
const TX: u16 = 4096;
const VERSION: GuestOp = GuestOp::Version(Version::V1_1, Version::V1_1);

struct Scattered<const PAGES: u16>;

impl<const PAGES: u16> Scattered<PAGES> {
    const PROGRAM: &'static [GuestOp] =
        &[VERSION, GuestOp::Map, GuestOp::ShareInFragments(Pages::loose(0, PAGES).with_gaps(), SP, TX)];

    const fn load(what: &'static str) -> Load {
        Load { what, ranges: PAGES as u32, program: Self::PROGRAM }
    }
}

impl Load {
    /// Nothing.
    pub const IDLE: Self = Self { what: "nothing", ranges: 0, program: &[VERSION, GuestOp::Map] };

    /// Shares of more and more ranges, and one that is large all the same.
    pub const ALL: &'static [Self] = &[
        Scattered::<1>::load("4 KiB"),
        Self {
            what: "64 MiB in one piece",
            ranges: 1,
            program: &[VERSION, GuestOp::Map, GuestOp::Share(Pages::loose(0, MOST), SP)],
        },
        Scattered::<100>::load("400 KiB, scattered"),
        Scattered::<1024>::load("4 MiB, scattered"),
        Scattered::<MOST>::load("64 MiB, scattered"),
    ];
}

/// Pages of 64 MiB.
const MOST: u16 = 1 << 14;

impl Room {
    /// More than any load takes.
    const PLENTY: Self = Self { duties: 64, ranges: 1 << 15 };

    /// The least room with which a VM can have this load, found by trying; `None` if none is enough.
    #[must_use]
    pub fn least(load: &Load) -> Option<Self> {
        let mut room = Self::PLENTY;
        room.duties = least(room.duties, |duties| Self { duties, ..room }.is_enough(load))?;
        room.ranges = least(room.ranges, |ranges| Self { ranges, ..room }.is_enough(load))?;
        Some(room)
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        let Footprint { share, range, .. } = Footprint::MEASURED;
        self.duties * share + self.ranges * range
    }

    /// Whether the VM comes to life, and its guest gets what it asks for.
    fn is_enough(self, load: &Load) -> bool {
        let all = u32::from(MOST);
        let settings = Settings { pages_per_share: all, pages_per_vm: all, ..Settings::DEFAULT };
        let machine = Machine {
            settings,
            vms: 1,
            duties: self.duties,
            ranges: self.ranges,
            frames: 2 * all + 64,
            log: 0,
            ..Machine::new(Preset::Strict, [SpConfig::new(SP, Script::LAZY)])
        };
        let Ok(mut hypervisor) = ModelHypervisor::new(machine) else { return false };
        let guest =
            Guest { vm: VM, block_pages: 2, loose_pages: 2 * MOST, acquainted: &[], program: load.program };
        let regions = [
            Region::block(LAYOUT.block, guest.block_pages.into()),
            Region::loose(LAYOUT.loose, guest.loose_pages.into()),
        ];
        if hypervisor.create(VM, &regions) != Ok(Creation::Live) {
            return false;
        }
        let mut wrong = Vec::new();
        let mut cpu = Lightweight { hypervisor: &mut hypervisor, vm: VM, wrong: &mut wrong };
        run_guest(&mut cpu, LAYOUT, &guest) == 0
    }
}

/// The least number up to `most` that is enough, where what is more than enough is enough as well.
fn least(most: usize, is_enough: impl Fn(usize) -> bool) -> Option<usize> {
    let numbers: Vec<_> = (0..=most).collect();
    let first = numbers.partition_point(|&number| !is_enough(number));
    numbers.get(first).copied()
}
