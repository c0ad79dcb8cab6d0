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

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod fate;
mod life;
mod plans;
mod stories;
mod variant;

use ffa_abi::{Function, Status};
use ffa_teardown::Disposal;
use ffa_test_utils::fault::{FaultAction, FaultPlan, What};
use ffa_test_utils::hypervisor::Violation;
use ffa_test_utils::spmc::{Config, HandlePolicy, Preset};
use life::{Left, Life, Step};
use plans::PLANS;
use stories::{BOOT, STORIES, Story};
use variant::{Variant, once};

/// One life with one fault, named if something is wrong with it.
struct Cell<'a> {
    preset: Preset,
    story: &'static Story,
    disposal: Disposal,
    step: &'a Step,
    fault: &'static str,
    variant: &'a Variant,
}

impl Drop for Cell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { preset, story, disposal, step, fault, variant } = self;
            eprintln!("{}, {}, {disposal:?}: {fault}", preset.name(), story.name);
            eprintln!("{variant:x?}\nat {step:x?}");
        }
    }
}

impl Cell<'_> {
    /// Lives it. Says whether there was a life: no mediator comes up over some secure worlds.
    fn live(&self) -> bool {
        let faults = self.variant.faults(self.step);
        let plan = FaultPlan::new(if self.step.at_boot { faults.clone() } else { Vec::new() });
        let booted = Life::boot(self.preset, self.story, self.disposal, plan);
        let Ok(mut life) = booted else {
            assert!(self.step.at_boot);
            return false;
        };
        life.serves_less = self.step.at_boot;
        life.begin();
        if !self.step.at_boot {
            life.add_faults(faults);
        }
        life.live();
        assert!(life.world.hypervisor.plan_mut().fired(0) > 0, "it does not happen");
        life.check_books();
        assert_eq!(life.violations(), []);
        life.heal();
        life.end_other();
        let (left, may_be) = (life.left(), fate::of(self.story, self.step, self.variant));
        assert!(may_be.contains(&left), "{left:?} is none of {may_be:?}");
        life.check_kept();
        for (live, named) in life.stale() {
            let is_excused = fate::is_excused(self.story, self.step, self.variant, &live, named);
            assert!(is_excused, "{live:?} is still there");
        }
        let stale: Vec<_> = life.stale().iter().map(|(live, _)| live.handle).collect();
        life.newborn();
        for violation in life.violations() {
            let known = matches!(violation, Violation::IdReused { handle, .. } if stale.contains(&handle));
            assert!(known, "{violation}");
        }
        true
    }

    /// Lives it with a lie. Says whether pages went back that a partition can reach.
    fn lie(&self) -> bool {
        let booted = Life::boot(self.preset, self.story, self.disposal, FaultPlan::none());
        let mut life = booted.expect("it boots");
        life.begin();
        life.add_faults(self.variant.faults(self.step));
        life.live();
        assert_eq!(life.world.hypervisor.plan_mut().fired(0), 1);
        life.check_books();
        life.heal();
        life.end_other();
        // Of what was lied about, and of nothing else: no page twice, none of VM 2's, none lost.
        let violations = life.violations();
        for violation in &violations {
            let (Violation::Reachable { handle, .. } | Violation::OwnerAccess { handle, .. }) = violation
            else {
                panic!("{violation}")
            };
            assert!(self.step.names(*handle) || life.told.contains(handle), "{violation}");
        }
        !violations.is_empty()
    }
}

impl Life {
    /// The end of a life to which nothing has happened.
    fn end(mut self, story: &Story) {
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
fn steps(preset: Preset, story: &'static Story) -> Vec<Step> {
    let mut life = Life::boot(preset, story, Disposal::Zombie, FaultPlan::none()).expect("it boots");
    let at_boot = life.steps(true);
    life.begin();
    life.add_faults(Vec::new());
    life.live();
    let steps = life.steps(false);
    life.end(story);
    if story.name == BOOT.name { at_boot } else { steps }
}

/// Faults that a secure world cannot have, since it has no such call.
fn cannot_have(preset: Preset) -> &'static [u8] {
    match preset {
        // Of Hafnium and the strict one the list comes in registers.
        Preset::Hafnium | Preset::Strict => &[],
        Preset::TfaEl3 => &[18, 19, 20],
        Preset::Optee => &[18],
    }
}

fn matrix(preset: Preset) {
    let (mut cells, mut lives) = ([0; PLANS.len()], 0);
    for story in STORIES.iter().filter(|story| story.served_by.contains(&preset)) {
        for step in &steps(preset, story) {
            for (plan, cells) in PLANS.iter().zip(&mut cells) {
                for variant in &(plan.variants)(step) {
                    // The policy is about what is kept.
                    let is_kept = fate::of(story, step, variant).iter().any(|left| left.kept > 0);
                    let policies = [Some(Disposal::Zombie), is_kept.then_some(Disposal::HandOver)];
                    for disposal in policies.into_iter().flatten() {
                        let cell = Cell { preset, story, disposal, step, fault: plan.what, variant };
                        lives += u32::from(cell.live());
                        *cells += 1;
                    }
                }
            }
        }
    }
    println!("{}: {} cells, {lives} lives; by fault {cells:?}", preset.name(), cells.iter().sum::<u32>());
    let never: Vec<_> =
        PLANS.iter().zip(cells).filter(|(_, cells)| *cells == 0).map(|(plan, _)| plan.number).collect();
    assert_eq!(never, cannot_have(preset));
}

#[test]
fn hafnium() {
    matrix(Preset::Hafnium);
}

#[test]
fn tfa_el3() {
    matrix(Preset::TfaEl3);
}

#[test]
fn optee() {
    matrix(Preset::Optee);
}

#[test]
fn strict() {
    matrix(Preset::Strict);
}

/// Handles are what the secure world says that they are: zero in either word, or nearly all ones.
#[test]
fn f24_handles_of_every_value() {
    for preset in Preset::ALL {
        for first in [0, 0xffff_fffe, 1 << 32, 1 << 63, u64::MAX - 9] {
            for story in STORIES.iter().filter(|story| story.served_by.contains(&preset)) {
                let handles = HandlePolicy::Monotonic(first);
                let config = Config { handles, ..preset.config() };
                let mut life =
                    Life::boot(config, story, Disposal::Zombie, FaultPlan::none()).expect("it boots");
                life.begin();
                life.live();
                life.end(story);
            }
        }
    }
}

/// What no mediator can survive, since nothing it is told is true: memory that is said to be back and is not, or not to have
/// been taken. It believes it, since it must believe that much; all else it keeps.
#[test]
fn lies_about_what_the_secure_world_has() {
    let clear =
        [Status::Denied, Status::NoMemory, Status::InvalidParameters, Status::NotSupported, Status::Busy];
    for preset in Preset::ALL {
        let (mut lies, mut believed) = (0, 0);
        for story in STORIES.iter().filter(|story| story.served_by.contains(&preset)) {
            for step in steps(preset, story).iter().filter(|step| !step.at_boot) {
                let actions = match step.call.what {
                    What::Function(Function::MemReclaim) => vec![FaultAction::Pretend],
                    _ if step.holds_pages => clear.map(|status| FaultAction::Lose(status.into())).into(),
                    _ => continue,
                };
                for action in actions {
                    let variant = once(action);
                    let cell = Cell {
                        preset,
                        story,
                        disposal: Disposal::Zombie,
                        step,
                        fault: "a lie",
                        variant: &variant,
                    };
                    lies += 1;
                    believed += u32::from(cell.lie());
                }
            }
        }
        println!("{}: {believed} of {lies} lies gave pages back that an SP can reach", preset.name());
        assert!(believed > 0 && lies > believed, "{}: {believed} of {lies}", preset.name());
    }
}
