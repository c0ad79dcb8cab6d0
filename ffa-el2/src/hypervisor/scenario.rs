//! What a run of the image does, and whether it ended as it must.
//!
//! `opt/ffa/scenario` names it; without a name it is a survey of whatever firmware there is.

use ffa_el2::{fw_cfg, println};
use ffa_test_utils::scenario::Scenario;

use crate::{bench, self_test, stage, survey};

/// Something was not as it must be. What, was said when it was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failed;

/// Does what QEMU was told.
pub fn run() -> Result<(), Failed> {
    match fw_cfg::text("opt/ffa/scenario", &mut [0; 64]) {
        None => survey::run(),
        Some("self-test") => self_test::run(),
        Some("bench") => bench::run(),
        Some(name) => match Scenario::find(name) {
            Some(scenario) => stage::play_scenario(scenario),
            None => {
                println!("hypervisor: there is no scenario {name:?}");
                Err(Failed)
            }
        },
    }
}
