//! The virtual timer of a guest, which it programs itself.
//!
//! Its interrupt is level-sensitive. The physical one only ends the guest's turn, or is disabled while the virtual one is
//! pending already; nobody acknowledges it, since the timer of this CPU is stopped whenever no guest runs.

use arm_sysregs::el0::accessors::{read_cntv_ctl_el0, read_cntv_cval_el0, write_cntv_ctl_el0};
use arm_sysregs::el0::registers::CntvCtlEl0;
use ffa_el2::clock;

use crate::alarm::NEVER;
use crate::interrupts;
use crate::virtual_gic::VirtualGic;

/// PPI 11, by convention: Arm BSA (DEN0094) section 3.8.
pub const INTID: u32 = 27;

/// Looks at the timer in this CPU, which is the vCPU's, and sets its line.
pub fn refresh(gic: &mut VirtualGic) {
    let is_asserted = is_on() && read_cntv_ctl_el0().contains(CntvCtlEl0::ISTATUS);
    gic.set_line(INTID, is_asserted);
    interrupts::watch_virtual_timer(!is_asserted);
}

/// When the timer in this CPU asserts its line, in nanoseconds since reset, or [`NEVER`].
pub fn deadline() -> u64 {
    if is_on() { clock::time_at(read_cntv_cval_el0().bits()) } else { NEVER }
}

/// Stops the timer in this CPU.
pub fn stop() {
    write_cntv_ctl_el0(CntvCtlEl0::empty());
}

fn is_on() -> bool {
    let control = read_cntv_ctl_el0();
    control.contains(CntvCtlEl0::ENABLE) && !control.contains(CntvCtlEl0::IMASK)
}
