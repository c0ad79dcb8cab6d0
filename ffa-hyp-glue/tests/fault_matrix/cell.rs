//! One life for each step, fault and variant.

use ffa_abi::{Function, Status};
use ffa_teardown::{AnswerClass, AnswerTable, Disposal, Policy, Row, Verdict};
use ffa_test_utils::fault::{FaultAction, FaultPlan, What};
use ffa_test_utils::hypervisor::Violation;
use ffa_test_utils::spmc::{Config, HandlePolicy, Preset};

use crate::fate;
use crate::life::{Life, Step};
use crate::plans::PLANS;
use crate::steps;
use crate::stories::{STORIES, Story};
use crate::variant::{Variant, once};

/// One life with one fault.
#[derive(Clone, Copy)]
struct Cell<'a> {
    preset: Preset,
    story: &'static Story,
    policy: Policy,
    step: &'a Step,
    fault: &'static str,
    variant: &'a Variant,
}

/// Names a cell if something is wrong with it.
struct Named<'a>(Cell<'a>);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Cell { preset, story, policy, step, fault, variant } = self.0;
            eprintln!("{}, {}, {:?}: {fault}", preset.name(), story.name, policy.disposal);
            eprintln!("{variant:x?}\nat {step:x?}");
        }
    }
}

impl Cell<'_> {
    /// Lives it. Says whether there was a life: no mediator comes up over some secure worlds.
    fn live(&self) -> bool {
        let _named = Named(*self);
        let faults = self.variant.faults(self.step);
        let booted = Life::boot(self.preset, self.story, |machine| {
            machine.settings.teardown = self.policy;
            if self.step.at_boot {
                machine.plan = FaultPlan::new(faults.clone());
            }
        });
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
        assert_eq!(life.violations().first(), None);
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
        let _named = Named(*self);
        let mut life = Life::boot(self.preset, self.story, |_| {}).expect("it boots");
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

/// Faults that a secure world cannot have, since it has no such call.
fn cannot_have(preset: Preset) -> &'static [u8] {
    match preset {
        // Of Hafnium and the strict one the list comes in registers.
        Preset::Hafnium | Preset::Strict => &[],
        Preset::TfaEl3 => &[18, 19, 20],
        Preset::Optee => &[18],
    }
}

/// Has `work` done for each step of each story, each plan and each variant, with the number of the plan's place.
fn each_cell(preset: Preset, policy: Policy, mut work: impl FnMut(usize, &Cell<'_>)) {
    for story in STORIES.iter().filter(|story| story.served_by.contains(&preset)) {
        for step in &steps(preset, story) {
            for (at, plan) in PLANS.iter().enumerate() {
                for variant in &(plan.variants)(step) {
                    work(at, &Cell { preset, story, policy, step, fault: plan.what, variant });
                }
            }
        }
    }
}

fn matrix(preset: Preset) {
    let (mut cells, mut lives) = ([0; PLANS.len()], 0);
    each_cell(preset, Policy::DEFAULT, |at, cell| {
        // The disposal is about what is kept.
        let is_kept = fate::of(cell.story, cell.step, cell.variant).iter().any(|left| left.kept > 0);
        let handed_over = Policy { disposal: Disposal::HandOver, ..Policy::DEFAULT };
        let other = Cell { policy: handed_over, ..*cell };
        for cell in [Some(cell), is_kept.then_some(&other)].into_iter().flatten() {
            lives += u32::from(cell.live());
            cells[at] += 1;
        }
    });
    println!("{}: {} cells, {lives} lives; by fault {cells:?}", preset.name(), cells.iter().sum::<u32>());
    let never: Vec<_> =
        PLANS.iter().zip(cells).filter(|(_, cells)| *cells == 0).map(|(plan, _)| plan.number).collect();
    assert_eq!(never, cannot_have(preset));
}

/// A mediator that takes an answer for what it is not is noticed.
#[test]
fn wrong_tables_of_answers() {
    type Of = fn(&mut AnswerTable) -> &mut Row;
    let wrong: [(&str, Of, AnswerClass, Verdict); 7] = [
        ("a reclaim that is denied", |table| &mut table.mem_reclaim, AnswerClass::Denied, Verdict::Done),
        (
            "a handle that is lost",
            |table| &mut table.mem_reclaim,
            AnswerClass::InvalidParameters,
            Verdict::Done,
        ),
        ("a send with code 0", |table| &mut table.mem_send, AnswerClass::OtherStatus, Verdict::GiveUp),
        ("a send that nobody knows", |table| &mut table.mem_send, AnswerClass::Malformed, Verdict::GiveUp),
        ("an unmapping with code 0", |table| &mut table.buffers, AnswerClass::OtherStatus, Verdict::Done),
        ("an SP that is busy", |table| &mut table.vm_destroyed, AnswerClass::Busy, Verdict::Done),
        ("a bitmap in use", |table| &mut table.bitmap_destroy, AnswerClass::Denied, Verdict::Done),
    ];
    for (name, row, class, verdict) in wrong {
        let mut policy = Policy::DEFAULT;
        let row = row(&mut policy.answers);
        *row = row.with(&[class], verdict);
        let mut noticed = false;
        each_cell(Preset::Strict, policy, |_, cell| {
            noticed = noticed || std::panic::catch_unwind(|| cell.live()).is_err();
        });
        assert!(noticed, "{name} is not noticed");
    }
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
                let mut life = Life::boot(config, story, |_| {}).expect("it boots");
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
                    let policy = Policy::DEFAULT;
                    let cell = Cell { preset, story, policy, step, fault: "a lie", variant: &variant };
                    lies += 1;
                    believed += u32::from(cell.lie());
                }
            }
        }
        println!("{}: {believed} of {lies} lies gave pages back that an SP can reach", preset.name());
        assert!(believed > 0 && lies > believed, "{}: {believed} of {lies}", preset.name());
    }
}
