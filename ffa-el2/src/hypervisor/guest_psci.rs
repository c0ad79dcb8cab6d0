//! PSCI 1.1 (DEN0022) as guests have it: a VM has one vCPU.

use smccc::arch::SMCCC_VERSION;
use smccc::psci::{
    PSCI_AFFINITY_INFO_32, PSCI_AFFINITY_INFO_64, PSCI_CPU_OFF, PSCI_CPU_ON_32, PSCI_CPU_ON_64,
    PSCI_CPU_SUSPEND_32, PSCI_CPU_SUSPEND_64, PSCI_FEATURES, PSCI_MIGRATE_INFO_TYPE, PSCI_SYSTEM_OFF,
    PSCI_SYSTEM_RESET, PSCI_VERSION,
};

use crate::vcpu::Stop;

const SUCCESS: u64 = 0;
const NOT_SUPPORTED: u64 = -1i64 as u64;
const INVALID_PARAMETERS: u64 = -2i64 as u64;
const DENIED: u64 = -3i64 as u64;
const ALREADY_ON: u64 = -4i64 as u64;
const VERSION_1_1: u64 = 0x1_0001;
/// There is no trusted OS that would have to be migrated.
const NO_MIGRATION: u64 = 2;
/// What AFFINITY_INFO says of a CPU that is on.
const ON: u64 = 0;
/// The affinity of the one vCPU.
const SELF: u64 = 0;
/// In a power state: CPU_SUSPEND shall turn the CPU off.
const POWER_DOWN: u64 = 1 << 16;

/// What a call comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It returns this.
    Return(u64),
    /// It succeeds when an interrupt is pending.
    Wait,
    /// It does not return.
    Stop(Stop),
}

/// Does what the PSCI function with these arguments does. What is no function of PSCI, or optional, is not supported.
pub fn call(function: u32, arguments: [u64; 3]) -> Outcome {
    let is_64 = matches!(function, PSCI_CPU_ON_64 | PSCI_AFFINITY_INFO_64 | PSCI_CPU_SUSPEND_64);
    let [first, second, _] = if is_64 { arguments } else { arguments.map(|value| u64::from(value as u32)) };
    Outcome::Return(match function {
        PSCI_VERSION => VERSION_1_1,
        PSCI_FEATURES => features(first as u32),
        PSCI_MIGRATE_INFO_TYPE => NO_MIGRATION,
        PSCI_CPU_ON_32 | PSCI_CPU_ON_64 if first == SELF => ALREADY_ON,
        PSCI_CPU_ON_32 | PSCI_CPU_ON_64 => INVALID_PARAMETERS,
        PSCI_AFFINITY_INFO_32 | PSCI_AFFINITY_INFO_64 if (first, second) == (SELF, 0) => ON,
        PSCI_AFFINITY_INFO_32 | PSCI_AFFINITY_INFO_64 => INVALID_PARAMETERS,
        // Only standby.
        PSCI_CPU_SUSPEND_32 | PSCI_CPU_SUSPEND_64 if first & POWER_DOWN != 0 => INVALID_PARAMETERS,
        PSCI_CPU_SUSPEND_32 | PSCI_CPU_SUSPEND_64 => return Outcome::Wait,
        // Nobody could turn it on again.
        PSCI_CPU_OFF => DENIED,
        PSCI_SYSTEM_OFF | PSCI_SYSTEM_RESET => return Outcome::Stop(Stop::TurnedOff),
        _ => NOT_SUPPORTED,
    })
}

fn features(function: u32) -> u64 {
    match function {
        SMCCC_VERSION
        | PSCI_VERSION
        | PSCI_FEATURES
        | PSCI_MIGRATE_INFO_TYPE
        | PSCI_CPU_ON_32
        | PSCI_CPU_ON_64
        | PSCI_CPU_OFF
        | PSCI_CPU_SUSPEND_32
        | PSCI_CPU_SUSPEND_64
        | PSCI_AFFINITY_INFO_32
        | PSCI_AFFINITY_INFO_64
        | PSCI_SYSTEM_OFF
        | PSCI_SYSTEM_RESET => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}
