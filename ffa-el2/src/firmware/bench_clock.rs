//! The counter of the guests, which stands still for whoever measures them while EL3 works.
//!
//! A guest that counts what its calls cost reads the virtual counter, which is the physical one less `CNTVOFF_EL2`. With
//! `opt/ffa/scenario=bench` the time spent here goes into that offset. What is left is what comes before [`stop`] and
//! after [`go_on`]: the same for every SMC, so it can be measured and subtracted.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use arm_sysregs::el0::accessors::read_cntpct_el0;
use arm_sysregs::el2::accessors::{read_cntvoff_el2, write_cntvoff_el2};
use arm_sysregs::el2::registers::CntvoffEl2;
use ffa_el2::fw_cfg;

static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// Finds out whether somebody measures.
pub fn start() {
    IS_WANTED.store(fw_cfg::is("opt/ffa/scenario", "bench"), Relaxed);
}

/// Stops the clock. To be handed to [`go_on`].
pub fn stop() -> u64 {
    read_cntpct_el0().bits()
}

/// Lets the clock go on from where it was.
pub fn go_on(stopped: u64) {
    if IS_WANTED.load(Relaxed) {
        let offset = read_cntvoff_el2().bits();
        let offset = offset.wrapping_add(read_cntpct_el0().bits().wrapping_sub(stopped));
        write_cntvoff_el2(CntvoffEl2::from_bits_retain(offset));
    }
}
