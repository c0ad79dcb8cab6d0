//! The secure partitions of a machine that was not given a scenario: what the self-test of the hypervisor relies on.

use ffa_abi::PartitionId;
use ffa_test_utils::spmc::{Script, SpConfig, Writes};

/// Leaves alone what it is sent, until its owner is dead.
pub const QUIET: PartitionId = PartitionId(0x8001);
/// Writes its mark to what it is sent, from the beginning and whenever the secure world gets control.
pub const SCRIBBLER: PartitionId = PartitionId(0x8002);
/// Uses memory only when it is asked to.
pub const LAZY: PartitionId = PartitionId(0x8003);

/// The partitions.
pub fn default() -> [SpConfig; 3] {
    [
        SpConfig::new(QUIET, Script::GOOD),
        SpConfig::new(SCRIBBLER, Script { writes: Writes::Always, ..Script::GOOD }),
        SpConfig::new(LAZY, Script::LAZY),
    ]
}
