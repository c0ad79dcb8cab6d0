//! The scenarios, one file each.

mod big;
mod clean;
mod dma;
mod half_born;
mod hostile;
mod lend;
mod lost;
mod peers;
mod preempted;
mod stuck;
mod talk;

use ffa_abi::{PartitionId, Properties, Version};
use ffa_teardown::Span;

use super::{Guest, GuestOp, Pages, Scenario, SpSpec};
use crate::spmc::{Script, SpConfig};

pub const ALL: &[Scenario] = &[
    clean::SCENARIO,
    dma::SCENARIO,
    stuck::SCENARIO,
    lost::SCENARIO,
    preempted::SCENARIO,
    half_born::SCENARIO,
    hostile::SCENARIO,
    lend::SCENARIO,
    big::SCENARIO,
    peers::SCENARIO,
    talk::SCENARIO,
];

const SP1: PartitionId = PartitionId(0x8001);
const SP2: PartitionId = PartitionId(0x8002);
const SP3: PartitionId = PartitionId(0x8003);

const VM1: PartitionId = PartitionId(1);
const VM2: PartitionId = PartitionId(2);
const VM3: PartitionId = PartitionId(3);

/// What "at once" means: the calls that it takes, and a tick or two.
const AT_ONCE: Span = Span::from_millis(100);

/// A partition that wants to hear of both ends of a VM's life.
const fn sp(id: PartitionId, script: Script) -> SpSpec {
    SpSpec { id, properties: SpConfig::SUBSCRIBED, contexts: 1, script }
}

const fn sp_with(id: PartitionId, script: Script, properties: Properties) -> SpSpec {
    SpSpec { id, properties, contexts: 1, script }
}

const TAKES_REQUESTS: Properties = Properties::RECEIVES_DIRECT_REQUESTS.or(Properties::AARCH64);

/// A VM of the usual size.
const fn guest(vm: PartitionId, program: &'static [GuestOp]) -> Guest {
    Guest { vm, block_pages: 32, loose_pages: 8, acquainted: &[], program }
}

/// A VM that comes after another one: its memory must be zero and stay so, however long a partition goes on writing
/// to pages that are still held.
const fn heir(vm: PartitionId) -> Guest {
    guest(vm, HEIR)
}

const HEIR: &[GuestOp] = &[
    GuestOp::CheckAllZero,
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Sleep(Span::from_millis(1500)),
    GuestOp::CheckAllZero,
    GuestOp::Sleep(Span::from_millis(2500)),
    GuestOp::CheckAllZero,
];

/// Four shares with two partitions: two neighbours, scattered pages, one page, and pages with gaps. 10 pages.
const fn four_shares(a: PartitionId, b: PartitionId) -> [GuestOp; 4] {
    [
        GuestOp::Share(Pages::block(2, 2), a),
        GuestOp::Share(Pages::loose(0, 4), b),
        GuestOp::Share(Pages::block(6, 1), a),
        GuestOp::Share(Pages::block(8, 3).with_gaps(), b),
    ]
}
