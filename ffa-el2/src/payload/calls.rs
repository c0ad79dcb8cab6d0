//! Calls to the hypervisor.

use smccc::arch::SMCCC_VERSION;
use smccc::psci::{
    PSCI_AFFINITY_INFO_64, PSCI_CPU_ON_64, PSCI_CPU_SUSPEND_64, PSCI_FEATURES, PSCI_MIGRATE_INFO_TYPE,
    PSCI_SYSTEM_OFF, PSCI_VERSION,
};
use smccc::{Call, Hvc, Smc};

const NOT_SUPPORTED: u64 = -1i64 as u64;
const INVALID_PARAMETERS: u64 = -2i64 as u64;
const ALREADY_ON: u64 = -4i64 as u64;

pub fn are_answered() -> bool {
    let calls: [(u32, [u64; 3], u64); 9] = [
        (PSCI_VERSION, [0; 3], 0x1_0001),
        (SMCCC_VERSION, [0; 3], 0x1_0002),
        (PSCI_FEATURES, [PSCI_SYSTEM_OFF.into(), 0, 0], 0),
        (PSCI_FEATURES, [0x8400_001f, 0, 0], NOT_SUPPORTED),
        (PSCI_MIGRATE_INFO_TYPE, [0; 3], 2),
        (PSCI_CPU_ON_64, [0; 3], ALREADY_ON),
        (PSCI_CPU_ON_64, [1, 0x4000_0000, 0], INVALID_PARAMETERS),
        (PSCI_AFFINITY_INFO_64, [0; 3], 0),
        // It asks for standby, which may end for no reason.
        (PSCI_CPU_SUSPEND_64, [0; 3], 0),
    ];
    calls.iter().all(|&(function, [a, b, c], expected)| {
        let mut arguments = [0; 17];
        arguments[..3].copy_from_slice(&[a, b, c]);
        [Hvc::call64(function, arguments)[0], Smc::call64(function, arguments)[0]].iter().all(|&answer| {
            // A call of 32 bits has an answer of as many.
            answer == expected || answer as u32 == expected as u32 && function >> 30 & 1 == 0
        })
    })
}

/// Those that guests of the hypervisor's own image make.
pub fn are_refused() -> bool {
    const EXIT: u32 = 0xc600_0003;
    Hvc::call64(EXIT, [0; 17])[0] == NOT_SUPPORTED && Smc::call64(EXIT, [0; 17])[0] == NOT_SUPPORTED
}
