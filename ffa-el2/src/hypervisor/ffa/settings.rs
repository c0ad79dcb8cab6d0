//! What this hypervisor decides about its mediator.

use ffa_hyp_glue::Settings;

#[cfg(not(feature = "broken-release-on-denied"))]
pub const SETTINGS: Settings = OURS;

/// A guest may share a whole block at once.
const OURS: Settings = Settings { pages_per_share: 512, ..Settings::DEFAULT };

/// Breaks the first promise, so that a test can see it noticed: an SP that refuses to let go loses its pages.
#[cfg(feature = "broken-release-on-denied")]
pub const SETTINGS: Settings = {
    use ffa_teardown::{AnswerClass, Verdict};
    let mut settings = OURS;
    let answers = &mut settings.teardown.answers;
    answers.mem_reclaim = answers.mem_reclaim.with(&[AnswerClass::Denied], Verdict::Done);
    settings
};
