//! Counts what calls of a guest cost at EL2.
//!
//! The machine must count one tick an instruction, have one CPU, and let the virtual counter stand still while EL3 works.
//! What of an SMC to EL3 is counted all the same, its residue, is measured here and left to the reader to subtract.

use core::arch::asm;

use ffa_el2::println;

use crate::guest::Program;
use crate::lifecycle::{self, Born};
use crate::scenario::Failed;
use crate::vcpu::Stop;
use crate::vm_id::VmId;
use crate::{ffa, scheduler, vms};

const LOOSE_PAGES: usize = 4;

/// Prints a line `bench residue TICKS`, and one for each call that the guest times: `bench NAME TICKS SMCS`.
///
/// # Errors
/// If a call was not answered as it must be.
pub fn run() -> Result<(), Failed> {
    ffa::be_silent();
    println!("bench residue {}", residue());
    let id = VmId::of_slot(0);
    let Born::Live(key) = lifecycle::create(id, LOOSE_PAGES) else { return Err(Failed) };
    lifecycle::start(id, key, Program::Bench.into());
    scheduler::run(|| vms::stopped(id).is_some());
    let stop = vms::stopped(id);
    lifecycle::destroy(id);
    if stop == Some(Stop::Exited(0)) { Ok(()) } else { Err(Failed) }
}

/// Ticks of an SMC that EL3 refuses.
fn residue() -> u64 {
    const UNKNOWN: u64 = 0x8200_0000;
    let (start, end): (u64, u64);
    // SAFETY: EL3 refuses the call; of the registers, SMCCC lets it change x0 to x17.
    unsafe {
        asm!(
            "mrs {start}, cntvct_el0",
            "smc #0",
            "mrs {end}, cntvct_el0",
            start = out(reg) start,
            end = out(reg) end,
            inout("x0") UNKNOWN => _,
            out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
            out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _,
            out("x14") _, out("x15") _, out("x16") _, out("x17") _,
            options(nomem, nostack),
        );
    }
    // Both the first reading and the SMC itself are EL2's own.
    end - start - 2
}
