//! Every fault that secure worlds were seen to have, at every step of every call about memory.
//!
//! A [story](stories) is played once without faults, which shows its steps: the calls to the secure world, from the creation of
//! a VM to its last page. Then it is played once more for each step and each way in which one of the [faults](plans) can happen
//! to it. After each
//!
//! - every call of a guest had an answer that FF-A [defines](answers);
//! - no page went back that the secure world had not let go of, and nothing else happened that must not;
//! - what is held is tried again, or given up and told of, and the mediator says of it what is so;
//! - when the secure world does what it should, all comes back, but for [what nobody can know](fate);
//! - the next VM with the same ID sees nothing of this one, and another VM has noticed nothing.
//!
//! The same holds with too [little](capacity) of anything, and when anything fails that may.

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod capacity;
mod cell;
mod end;
mod fate;
mod life;
mod plans;
mod stories;
mod variant;

use ffa_test_utils::spmc::Preset;
use life::{Left, Life, Step};
use stories::{BOOT, Story};

impl Life {
    /// The end of a life to which nothing has happened.
    pub fn end(mut self, story: &Story) {
        self.check_books();
        self.heal();
        self.end_other();
        let donated = if story.takes { story.pages } else { 0 };
        assert_eq!(self.left(), Left { kept: 0, donated }, "{}: {}", self.world.preset, story.name);
        assert_eq!(self.stale(), []);
        self.check_kept();
        self.newborn();
        assert_eq!(self.violations(), [], "{}: {}", self.world.preset, story.name);
    }
}

/// The steps of such a life.
pub fn steps(preset: Preset, story: &'static Story) -> Vec<Step> {
    let mut life = Life::boot(preset, story, |_| {}).expect("it boots");
    let at_boot = life.steps(true);
    life.begin();
    life.add_faults(Vec::new());
    life.live();
    let steps = life.steps(false);
    let refused: Vec<_> = life.answers.iter().filter_map(common::status_of).collect();
    assert_eq!(
        refused,
        story.refused.iter().map(|&status| status.into()).collect::<Vec<_>>(),
        "{}",
        story.name
    );
    life.end(story);
    if story.name == BOOT.name { at_boot } else { steps }
}
