//! What a run of the image does, and whether it ended as it must.
//!
//! `opt/ffa/scenario` names it; without a name it is a survey of whatever firmware there is.

use ffa_el2::lock::Yield;
use ffa_el2::{fw_cfg, println};
use ffa_test_utils::scenario::Scenario;

use spin::once::Once;

use crate::{bench, hosting, self_test, stage, survey};

const NAME: &str = "opt/ffa/scenario";
/// What the run is called in which guests with a board are hosted.
pub const HOSTING: &str = "hosting";

/// Something was not as it must be. What, was said when it was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failed;

static PLAYED: Once<Option<&'static Scenario>, Yield> = Once::new();

/// The scenario that this run plays, if it plays one.
pub fn played() -> Option<&'static Scenario> {
    *PLAYED.call_once(|| fw_cfg::text(NAME, &mut [0; 64]).and_then(Scenario::find))
}

/// Whether guests with a board are hosted, which need more memory.
pub fn hosts() -> bool {
    fw_cfg::is(NAME, HOSTING)
}

/// Does what QEMU was told.
pub fn run() -> Result<(), Failed> {
    match fw_cfg::text(NAME, &mut [0; 64]) {
        None => survey::run(),
        Some("self-test") => self_test::run(),
        Some("bench") => bench::run(),
        Some(HOSTING) => hosting::run(),
        Some(name) => match Scenario::find(name) {
            Some(scenario) => stage::play_scenario(scenario),
            None => {
                println!("hypervisor: there is no scenario {name:?}");
                Err(Failed)
            }
        },
    }
}
