//! The EL2 physical timer of this CPU: one interrupt at one time.

use arm_sysregs::el2::accessors::{
    read_cnthp_ctl_el2, read_cnthp_cval_el2, write_cnthp_ctl_el2, write_cnthp_cval_el2,
};
use arm_sysregs::el2::registers::{CnthpCtlEl2, CnthpCvalEl2};
use ffa_el2::clock;

/// Asks for the interrupt at `time`, in nanoseconds since reset, instead of what was asked for before.
pub fn arm(time: u64) {
    write_cnthp_cval_el2(CnthpCvalEl2::from_bits_retain(clock::ticks_at(time)));
    write_cnthp_ctl_el2(CnthpCtlEl2::ENABLE);
}

/// Asks for the interrupt at `time`, unless one comes earlier.
pub fn arm_no_later(time: u64) {
    let armed = read_cnthp_ctl_el2().contains(CnthpCtlEl2::ENABLE);
    if !armed || read_cnthp_cval_el2().bits() > clock::ticks_at(time) {
        arm(time);
    }
}

/// Asks for no interrupt. Also ends one: it stays asserted as long as the timer is armed and its time has come.
pub fn disarm() {
    write_cnthp_ctl_el2(CnthpCtlEl2::empty());
}
