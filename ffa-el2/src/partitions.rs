//! The secure partitions of a machine that was not given a scenario: what the self-test of the hypervisor relies on.

use ffa_abi::{PartitionId, Properties};
use ffa_test_utils::spmc::{Reaction, Retrieve, Script, SpConfig, Turn, Writes};

/// Leaves alone what it is sent, until its owner is dead. Takes requests of 1.2, notifications and indirect messages.
pub const QUIET: PartitionId = PartitionId(0x8001);
/// Writes its mark to what it is sent, from the beginning and whenever the secure world gets control.
pub const SCRIBBLER: PartitionId = PartitionId(0x8002);
/// Uses memory only when it is asked to, and is preempted once in each request.
pub const LAZY: PartitionId = PartitionId(0x8003);

/// A trusted OS for the drivers of guests that bring an operating system, which is preempted in each call.
pub const TEE: PartitionId = PartitionId(0x8001);

/// Those for guests that bring an operating system.
pub fn for_hosting() -> [SpConfig; 2] {
    let on_request = Reaction::always(Turn::ACCEPT.preempted(1));
    [
        SpConfig::new(TEE, Script { retrieve: Retrieve::OnRequest, ..Script::GOOD }.on_request(on_request))
            .as_tee(),
        SpConfig::new(LAZY, Script::LAZY),
    ]
}

/// The partitions.
pub fn default() -> [SpConfig; 3] {
    let talkative = SpConfig::SUBSCRIBED
        .or(Properties::RECEIVES_DIRECT_REQUESTS2)
        .or(Properties::RECEIVES_NOTIFICATIONS)
        .or(Properties::INDIRECT_MESSAGES);
    [
        SpConfig::new(QUIET, Script::GOOD).with_properties(talkative),
        SpConfig::new(SCRIBBLER, Script { writes: Writes::Always, ..Script::GOOD }),
        SpConfig::new(LAZY, Script::LAZY.on_request(Reaction::always(Turn::ACCEPT.preempted(1)))),
    ]
}
