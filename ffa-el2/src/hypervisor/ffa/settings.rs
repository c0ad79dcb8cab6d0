//! What this hypervisor decides about its mediator.

use ffa_hyp_glue::{GuestInterrupts, Settings};
use ffa_test_utils::scenario::Scenario;

use crate::scenario;

/// Those of this run: guests have to do with each other only where a scenario acquaints some.
pub fn settings() -> Settings {
    let vm_to_vm = scenario::played().is_some_and(Scenario::has_acquaintances);
    Settings { vm_to_vm, ..SETTINGS }
}

#[cfg(not(feature = "broken-release-on-denied"))]
const SETTINGS: Settings = OURS;

/// A guest may share two whole blocks at once, and is interrupted by notifications.
const OURS: Settings = Settings {
    pages_per_share: 1024,
    pages_per_vm: 16 * 1024,
    interrupts: Some(GuestInterrupts::SGI),
    ..Settings::DEFAULT
};

/// Breaks the first promise, so that a test can see it noticed: an SP that refuses to let go loses its pages.
#[cfg(feature = "broken-release-on-denied")]
const SETTINGS: Settings = {
    use ffa_teardown::{AnswerClass, Verdict};
    let mut settings = OURS;
    let answers = &mut settings.teardown.answers;
    answers.mem_reclaim = answers.mem_reclaim.with(&[AnswerClass::Denied], Verdict::Done);
    settings
};
