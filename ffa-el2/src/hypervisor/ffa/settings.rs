//! What this hypervisor decides about its mediator.

use ffa_hyp_glue::{GuestInterrupts, Settings};

#[cfg(not(feature = "broken-release-on-denied"))]
pub const SETTINGS: Settings = OURS;

/// A guest may share a whole block at once, and is interrupted by notifications.
const OURS: Settings = Settings {
    pages_per_share: 512,
    pages_per_vm: 32 * 512,
    interrupts: Some(GuestInterrupts::SGI),
    ..Settings::DEFAULT
};

/// Breaks the first promise, so that a test can see it noticed: an SP that refuses to let go loses its pages.
#[cfg(feature = "broken-release-on-denied")]
pub const SETTINGS: Settings = {
    use ffa_teardown::{AnswerClass, Verdict};
    let mut settings = OURS;
    let answers = &mut settings.teardown.answers;
    answers.mem_reclaim = answers.mem_reclaim.with(&[AnswerClass::Denied], Verdict::Done);
    settings
};
