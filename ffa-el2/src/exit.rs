//! The ways a run ends.

use core::panic::PanicInfo;

use crate::{console, fw_cfg};

/// Exit status of a run in which a check failed.
pub const FAILED: i32 = 1;
/// Exit status after a panic, the one `std` uses.
pub const PANICKED: i32 = 101;

/// Ends the run with `status` where somebody listens, else stops this CPU.
///
/// Only QEMU, started with semihosting, understands the call; elsewhere it is an undefined instruction. So whoever
/// starts QEMU that way says so in `opt/ffa/semihosting`.
pub fn with_status(status: i32) -> ! {
    if fw_cfg::is("opt/ffa/semihosting", "on") {
        semihosting::process::exit(status);
    }
    park()
}

/// Stops this CPU for good.
pub fn park() -> ! {
    loop {
        arm_gic::wfi();
    }
}

/// Reports a panic of the image `who` and ends the run.
pub fn after_panic(who: &str, panic: &PanicInfo) -> ! {
    console::line_in_panic(format_args!("{who}: {panic}"));
    with_status(PANICKED)
}
