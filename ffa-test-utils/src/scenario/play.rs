//! The hypervisor's side: plays the steps of a scenario and sees whether it ends as it must.

use core::fmt;

use ffa_abi::PartitionId;
use ffa_teardown::{Span, Time};

use super::{Expected, Guest, Scenario, Step, Tally};
use crate::timeline::Summary;

/// What became of a VM that was to be created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Born {
    /// It lives.
    Live,
    /// Its creation failed, and what it had incurred is being undone.
    Failed,
    /// Nothing was done: its ID is not free, or there is no room.
    Refused,
}

/// A hypervisor with a mediator, as a scenario drives it. No method returns before what it asks for has happened.
pub trait Stage {
    /// Makes a VM with the memory that the guest's program needs. Its guest does not run yet.
    fn create(&mut self, guest: &Guest) -> Born;

    /// Runs guests to the end of their programs. Returns how many things they saw that were wrong.
    fn run(&mut self, scenario: &Scenario, guests: &[u8]) -> u32;

    /// The same, and so long after they have begun destroys the VMs of `dead`, which are others.
    fn run_and_destroy(&mut self, scenario: &Scenario, guests: &[u8], after: Span, dead: &[u8]) -> u32;

    /// Destroys a VM. Does not wait for its teardown.
    fn destroy(&mut self, vm: PartitionId);

    /// The time.
    fn now(&mut self) -> Time;

    /// Lets time pass, until this moment, while the timer drives teardown.
    fn pass(&mut self, until: Time);

    /// Whether the mediator knows nothing of a VM any more.
    fn is_gone(&mut self, vm: PartitionId) -> bool;

    /// Pages of a dead VM, or of all, that nobody else can have yet.
    fn pages_held(&mut self, vm: Option<PartitionId>) -> u64;

    /// Whether the timer is armed.
    fn is_timer_armed(&mut self) -> bool;

    /// Shares in quarantine.
    fn quarantined(&mut self) -> u32;

    /// Retries what was given up, for all VMs.
    fn retry(&mut self) -> u32;

    /// Restarts a partition.
    fn restart(&mut self, sp: PartitionId);

    /// What the mediator's events add up to so far.
    fn tally(&mut self) -> Tally;

    /// SMCs made so far.
    fn smcs(&mut self) -> u64;

    /// Broken promises that the hypervisor itself saw so far; those that guests saw are counted apart.
    fn violations(&mut self) -> u64;

    /// Something for the timeline.
    fn note(&mut self, text: fmt::Arguments<'_>);

    /// Something is not as the scenario says.
    fn wrong(&mut self, text: fmt::Arguments<'_>);
}

/// How a scenario ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Outcome {
    /// The counts.
    pub summary: Summary,
    /// Things that were not as the scenario says, its expected counts included.
    pub wrong: u32,
}

impl Outcome {
    /// Whether it ended as it must.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.wrong == 0 && self.summary.violations == 0
    }
}

/// Plays all steps of a scenario.
pub fn play(scenario: &Scenario, stage: &mut impl Stage) -> Outcome {
    let mut player = Player { scenario, stage, died: [None; MAX_GUESTS], wrong: 0, seen_by_guests: 0 };
    for step in scenario.steps {
        player.step(step);
    }
    player.end()
}

/// Guests of one scenario.
const MAX_GUESTS: usize = 16;
/// In how many steps time is let pass while something is waited for.
const PATIENCE: u64 = 256;

struct Player<'a, S> {
    scenario: &'a Scenario,
    stage: &'a mut S,
    died: [Option<Time>; MAX_GUESTS],
    wrong: u32,
    seen_by_guests: u32,
}

impl<S: Stage> Player<'_, S> {
    fn expect(&mut self, good: bool, text: fmt::Arguments<'_>) {
        if !good {
            self.wrong += 1;
            self.stage.wrong(text);
        }
    }

    fn guest(&self, guest: u8) -> &'static Guest {
        &self.scenario.guests[usize::from(guest)]
    }

    fn create(&mut self, guest: u8, expected: Born) {
        let vm = self.guest(guest).vm;
        let born = self.stage.create(self.guest(guest));
        self.expect(born == expected, format_args!("VM {vm}: {born:?} instead of {expected:?}"));
        // What is left of an earlier VM with this ID is gone, or it could not have been created.
        for (other, died) in self.scenario.guests.iter().zip(&mut self.died) {
            if other.vm == vm && born != Born::Refused {
                *died = None;
            }
        }
        if born == Born::Failed {
            self.died[usize::from(guest)] = Some(self.stage.now());
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Note(text) => self.stage.note(format_args!("{text}")),
            Step::Create(guest) => self.create(guest, Born::Live),
            Step::CreateFails(guest) => self.create(guest, Born::Failed),
            Step::CreateRefused(guest) => self.create(guest, Born::Refused),
            Step::Run(guests) => {
                let wrong = self.stage.run(self.scenario, guests);
                self.seen_by_guests += wrong;
            }
            Step::Destroy(guests) => {
                for &guest in guests {
                    self.died[usize::from(guest)] = Some(self.stage.now());
                    self.stage.destroy(self.guest(guest).vm);
                }
            }
            Step::DestroyWhile(guests, after, dead) => {
                let when = self.stage.now() + after;
                dead.iter().for_each(|&guest| self.died[usize::from(guest)] = Some(when));
                self.seen_by_guests += self.stage.run_and_destroy(self.scenario, guests, after, dead);
            }
            Step::Wait(span) => {
                let until = self.stage.now() + span;
                self.stage.pass(until);
            }
            Step::Gone(guest, within) => {
                let vm = self.guest(guest).vm;
                let limit = self.limit(guest, within);
                self.wait(limit, |stage| stage.is_gone(vm));
                let gone = self.stage.is_gone(vm);
                self.expect(gone, format_args!("VM {vm} is not gone"));
                let ended = self.stage.tally().ended(vm);
                let in_time = ended.is_some_and(|ended| ended <= limit);
                self.expect(!gone || in_time, format_args!("VM {vm} took longer than until {limit}"));
            }
            Step::OnlyHeld(guest, within, pages) => {
                let vm = self.guest(guest).vm;
                let limit = self.limit(guest, within);
                self.wait(limit, |stage| stage.pages_held(Some(vm)) <= u64::from(pages));
                let held = self.stage.pages_held(Some(vm));
                self.expect(
                    held == u64::from(pages),
                    format_args!("{held} pages of VM {vm} are held, not {pages}"),
                );
            }
            Step::Zombie(guest) => {
                let vm = self.guest(guest).vm;
                let there = !self.stage.is_gone(vm);
                self.expect(there, format_args!("VM {vm} is gone"));
            }
            Step::Quarantined(shares) => {
                let found = self.stage.quarantined();
                self.expect(found == shares, format_args!("{found} shares are quarantined, not {shares}"));
            }
            Step::Silent => {
                let armed = self.stage.is_timer_armed();
                self.expect(!armed, format_args!("the timer is armed"));
            }
            Step::Restart(sp) => {
                self.stage.note(format_args!("SP {sp} is restarted"));
                self.stage.restart(sp);
            }
            Step::Retry(due) => {
                let found = self.stage.retry();
                self.expect(found == due, format_args!("{found} obligations are due again, not {due}"));
            }
            Step::Told(sp, created, destroyed) => {
                let found = self.stage.tally().told(sp);
                let good = found == (created, destroyed);
                self.expect(good, format_args!("SP {sp} took note of {found:?} beginnings and ends"));
            }
            Step::Resumed(times) => {
                let found = self.stage.tally().resumed;
                self.expect(found >= times, format_args!("{found} FFA_RUNs, fewer than {times}"));
            }
        }
    }

    /// When the time is over that `within` gives to the teardown of a guest.
    fn limit(&mut self, guest: u8, within: Span) -> Time {
        let now = self.stage.now();
        self.died[usize::from(guest)].unwrap_or(now) + within
    }

    /// Lets time pass until something is so, or until `limit`.
    fn wait(&mut self, limit: Time, mut so: impl FnMut(&mut S) -> bool) {
        let step = Span::from_nanos(limit.since(self.stage.now()).as_nanos() / PATIENCE + 1);
        while !so(self.stage) && self.stage.now() < limit {
            let next = self.stage.now() + step;
            self.stage.pass(limit.min(next));
        }
    }

    fn end(mut self) -> Outcome {
        let tally = self.stage.tally();
        let mut zombies = 0;
        for (number, guest) in self.scenario.guests.iter().enumerate() {
            let earlier = self.scenario.guests.iter().take(number).any(|other| other.vm == guest.vm);
            let dead = self
                .scenario
                .guests
                .iter()
                .zip(self.died)
                .any(|(other, died)| other.vm == guest.vm && died.is_some());
            zombies += u32::from(!earlier && dead && !self.stage.is_gone(guest.vm));
        }
        let ended = Expected {
            shares: tally.shares,
            reclaimed: tally.reclaimed,
            gone: tally.gone,
            quarantined: self.stage.quarantined(),
            pages_held: self.stage.pages_held(None),
            zombies,
        };
        let expected = self.scenario.expected;
        self.expect(ended == expected, format_args!("it should have ended with {expected:?}"));
        let Expected { shares, reclaimed, gone, quarantined, pages_held, zombies } = ended;
        let summary = Summary {
            scenario: self.scenario.name,
            shares,
            reclaimed,
            gone,
            quarantined,
            pages_held,
            zombies,
            smcs: self.stage.smcs(),
            violations: self.stage.violations() + u64::from(self.seen_by_guests),
        };
        Outcome { summary, wrong: self.wrong }
    }
}
