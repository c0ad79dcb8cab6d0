//! A call of our firmware's own, in the range of SMCCC for makers of machines: how much its secure world has of a VM. No other
//! firmware knows it.

use ffa_test_utils::spmc::Census;

/// x1 is the VM's id, or zero for all VMs. The answer has zero in x0, and the counts behind it.
pub const FUNCTION: u32 = 0xc300_0001;
const SUCCESS: u64 = 0;

/// The first registers of an answer.
pub fn to_registers(census: Census) -> [u64; 6] {
    let Census { handles, pages, kept, known, requests } = census;
    [SUCCESS, handles, pages, kept, known, requests]
}

/// What an answer says; `None` if the firmware does not know the call.
pub fn from_registers(registers: &[u64; 18]) -> Option<Census> {
    let [SUCCESS, handles, pages, kept, known, requests, ..] = *registers else { return None };
    Some(Census { handles, pages, kept, known, requests })
}
