//! Runs a script, and looks at everything after each step.

use std::cell::RefCell;
use std::rc::Rc;

use ffa_abi::{Handle, PartitionId, Regs, Transaction};
use ffa_hyp_glue::{EventKind, VmReport};
use ffa_teardown::{Decision, Span};
use ffa_test_utils::fault::Trust;
use ffa_test_utils::hypervisor::{Copy, ModelHypervisor, Moment, Preemption, Violation, set_preemption};
use ffa_test_utils::spmc::{Reached, Script};

use crate::act::{Act, Step};
use crate::book::{Book, Guest};
use crate::common::PAGE;
use crate::setup::{SPS, Setup, VMS};
use crate::tally::Tally;

/// A machine on which a script runs.
pub struct Run {
    pub setup: Setup,
    pub hypervisor: ModelHypervisor,
    pub book: RefCell<Book>,
    seen: RefCell<usize>,
    loud: bool,
}

/// An act that waits for its moment, on another CPU.
struct Interloper {
    run: Rc<Run>,
    left: u8,
    act: Act,
}

thread_local! {
    static INTERLOPER: RefCell<Option<Interloper>> = const { RefCell::new(None) };
}

/// Lets the interloper in, if this is its moment.
fn interlope(at: Preemption) {
    if at == Preemption::Waits {
        return;
    }
    let now = INTERLOPER.with_borrow_mut(|waiting| match waiting {
        Some(Interloper { left: 0, .. }) => waiting.take(),
        Some(interloper) => {
            interloper.left -= 1;
            None
        }
        None => None,
    });
    if let Some(Interloper { run, act, .. }) = now {
        run.say(|| format!("    meanwhile {act:?}"));
        run.moment("two CPUs at once");
        let effect = run.act(act);
        run.book.borrow_mut().tally.act(act.name(), effect);
    }
}

/// Runs a script to its end, and then ends everything. Returns what it came to.
///
/// # Errors
/// What was wrong, and at which step.
pub fn run(setup: &Setup, steps: &[Step], loud: bool) -> Result<Tally, String> {
    let mut tally = match Run::boot(setup, loud) {
        Some(run) => {
            Rc::clone(&run).steps(steps)?;
            run.end()?;
            std::mem::take(&mut run.book.borrow_mut().tally)
        }
        None => {
            let mut tally = Tally::default();
            tally.moment("no secure world to work with", 1);
            tally
        }
    };
    (tally.runs, tally.steps) = (1, steps.len() as u64);
    Ok(tally)
}

/// What the guests of a script were answered, call by call.
pub fn answers(setup: &Setup, steps: &[Step]) -> Vec<Regs> {
    let run = Run::boot(setup, false).expect("a secure world");
    Rc::clone(&run).steps(steps).expect("a script that breaks nothing");
    std::mem::take(&mut run.book.borrow_mut().answers)
}

impl Run {
    /// None if there is no secure world to work with.
    fn boot(setup: &Setup, loud: bool) -> Option<Rc<Self>> {
        let mut hypervisor = ModelHypervisor::new(setup.machine()).ok()?;
        hypervisor.permit(|_, _, _| true);
        set_preemption(interlope);
        INTERLOPER.set(None);
        let (book, seen) = (RefCell::default(), RefCell::default());
        Some(Rc::new(Self { setup: *setup, hypervisor, book, seen, loud }))
    }

    /// The machine, to meddle with.
    pub fn machine(&self) -> ModelHypervisor {
        self.hypervisor.clone()
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.loud {
            println!("[{}] {}", self.hypervisor.now(), what());
        }
    }

    pub fn moment(&self, name: &'static str) {
        self.book.borrow_mut().tally.moment(name, 1);
    }

    /// Something is not as it must be.
    pub fn wrong(&self, what: String) {
        self.say(|| format!("    WRONG: {what}"));
        self.book.borrow_mut().wrong.push(what);
    }

    fn steps(self: Rc<Self>, steps: &[Step]) -> Result<(), String> {
        for (number, step) in steps.iter().enumerate() {
            self.say(|| format!("{number}: {step:?}"));
            let act = match *step {
                Step::Do(act) => act,
                Step::Race(act, left, other) => {
                    let interloper = Interloper { run: Rc::clone(&self), left, act: other };
                    INTERLOPER.set(Some(interloper));
                    act
                }
                Step::Torn(act, nth, byte) => {
                    self.tear(nth, byte);
                    act
                }
            };
            self.book.borrow_mut().raced = matches!(step, Step::Race(..));
            let effect = self.act(act);
            INTERLOPER.set(None);
            self.machine().set_interloper(None);
            if !std::mem::take(&mut self.book.borrow_mut().read).is_empty() {
                self.moment("a descriptor torn");
            }
            // What is due is done before the next step, as a timer interrupt would have it.
            self.hypervisor.advance(Span::ZERO);
            self.book.borrow_mut().tally.act(act.name(), effect);
            self.look().map_err(|wrong| format!("step {number}, {step:?}: {wrong}"))?;
        }
        Ok(())
    }

    /// The guest fills its TX with `byte` after it was read once, and `nth` times more.
    fn tear(self: &Rc<Self>, nth: u8, byte: u8) {
        let run = Rc::downgrade(self);
        let interloper = move |_: &mut _, moment| {
            let (Moment::Read(Copy { vm, address, len }), Some(run)) = (moment, run.upgrade()) else {
                return;
            };
            let mut bytes = vec![0; len];
            run.hypervisor.read(vm, address, &mut bytes);
            let read = &mut run.book.borrow_mut().read;
            read.push((address, bytes));
            if read.len() == usize::from(nth) + 1 {
                let page = address & !(PAGE - 1);
                let _ = run.machine().store(vm, page, &[byte; PAGE as usize]);
            }
        };
        self.machine().set_interloper(Some(Box::new(interloper)));
    }

    /// Looks at all that must never happen.
    fn look(&self) -> Result<(), String> {
        for (at, event) in self.machine().take_events() {
            if self.loud {
                println!("    [{at}] {} {:?} {:x?} {:?}", event.vm, event.sp, event.handle, event.kind);
            }
            if let EventKind::Gone { .. } = event.kind {
                self.gone(event.vm, event.handle);
            }
            self.note(event.vm, event.sp, &event.kind);
        }
        if !self.is_raced() {
            self.look_at_pages();
        }
        for smc in self.machine().take_smcs() {
            if self.loud {
                println!("    [{}] {:x?} -> {:x?}", smc.at, &smc.regs.0[..8], &smc.answer.0[..8]);
            }
        }
        let violations = self.hypervisor.violations();
        let new = violations.iter().skip(self.seen.replace(violations.len()));
        let bad: Vec<_> =
            new.filter(|violation| !self.is_excused(violation)).map(Violation::to_string).collect();
        let book = &mut *self.book.borrow_mut();
        let wrong: Vec<_> = std::mem::take(&mut book.wrong).into_iter().chain(bad).collect();
        if self.hypervisor.mediator().is_locked() {
            return Err("the lock is still held".into());
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    fn note(&self, vm: PartitionId, sp: Option<PartitionId>, kind: &EventKind) {
        match kind {
            EventKind::SecureCall { decision, .. } => match decision {
                Decision::GivenUp { share: None } => {
                    self.moment("a message given up");
                    self.book.borrow_mut().given_up.extend(sp.map(|sp| (vm, sp)));
                }
                Decision::TryAgain { .. } => self.moment("a call of a teardown tried again"),
                _ => {}
            },
            EventKind::Quarantined { .. } => self.moment("pages quarantined"),
            EventKind::Released { .. } => self.moment("pages released"),
            EventKind::Doubtful { .. } => self.moment("a share in doubt"),
            EventKind::Revoked { .. } => self.moment("a borrower that lost what it had"),
            EventKind::CreationFailed => self.moment("a creation that failed"),
            _ => {}
        }
    }

    fn is_excused(&self, violation: &Violation) -> bool {
        let book = self.book.borrow();
        match violation {
            // By the truth, which a hypervisor cannot know: it goes by what it is told.
            Violation::Reachable { .. } | Violation::OwnerAccess { .. } => self.setup.trust == Trust::Lying,
            Violation::IdReused { handle, .. } => self.setup.trust == Trust::Lying || self.is_let_go(*handle),
            Violation::NotTold { vm, sp } => {
                self.setup.trust == Trust::Lying || book.given_up.contains(&(*vm, *sp))
            }
            // The calls of two CPUs are counted together.
            Violation::OverBudget { .. } => book.raced,
            _ => false,
        }
    }

    /// Faults that have happened.
    fn faults(&self) -> u64 {
        let before = self.book.borrow().tally.moments("a fault that happened");
        before + self.machine().plan_mut().fired_total()
    }

    /// Whether nobody has to end what a handle names, after an answer that made no sense: no more than a descriptor of which a
    /// part is missing, or a donation, whose pages have left their VM in any case.
    fn is_let_go(&self, handle: Handle) -> bool {
        if self.faults() == 0 {
            return false;
        }
        let spmc = self.hypervisor.spmc();
        let is_whole = spmc.live_handles().any(|live| live.handle == handle && live.complete);
        let is_donation =
            |reached: Reached| reached.handle == handle && reached.transaction == Transaction::Donate;
        !is_whole || spmc.reaches().any(is_donation)
    }

    /// All VMs die, the faults end, and all partitions behave: what is not back then must be listed, with a reason.
    fn end(&self) -> Result<(), String> {
        self.say(|| "the end".into());
        let hypervisor = &self.hypervisor;
        self.act(Act::Calm);
        for vm in 0..3 {
            self.act(Act::Destroy(vm));
        }
        hypervisor.advance(MINUTE);
        self.look().map_err(|wrong| format!("when all VMs had died: {wrong}"))?;
        for sp in SPS {
            self.machine().spmc_mut().set_script(sp, Script::GOOD);
            self.machine().restart(sp);
        }
        for _ in 0..3 {
            let _ = hypervisor.retry(None);
            hypervisor.advance(MINUTE);
        }
        self.look().and_then(|()| self.look_at_rest()).map_err(|wrong| format!("in the end: {wrong}"))
    }

    /// Whatever is left is listed.
    fn look_at_rest(&self) -> Result<(), String> {
        let hypervisor = &self.hypervisor;
        let left: Vec<_> = VMS.iter().filter_map(|vm| hypervisor.report(*vm)).collect();
        let listed: Vec<_> = (0..).map_while(|skip| hypervisor.mediator().quarantined(skip)).collect();
        let faults = self.faults();
        // An SPMC whose answer was lost may deny for ever to destroy what is no more: no page waits for that.
        let denied = |report: &VmReport| {
            let of_vm = listed.iter().filter(|quarantined| quarantined.vm == report.vm.id());
            faults > 0 && report.pages == of_vm.map(|quarantined| quarantined.pages).sum()
        };
        if let Some(report) = left.iter().find(|report| report.open != 0 && !denied(report)) {
            return Err(format!("still to be done: {report:?}"));
        }
        if let Some(deadline) = hypervisor.deadline().filter(|_| left.iter().all(|report| report.open == 0)) {
            return Err(format!("nothing is to be done, but the timer is armed for {deadline}"));
        }
        let pages: u64 = listed.iter().map(|quarantined| quarantined.pages).sum();
        let frames = hypervisor.frames();
        if frames.orphans + frames.leaked != pages {
            return Err(format!("{pages} pages are listed as quarantined, but {frames:?}"));
        }
        if frames.living != 0 {
            return Err(format!("nobody lives, but {frames:?}"));
        }
        if faults == 0 && !listed.is_empty() {
            return Err(format!("nothing went wrong, but quarantined are {listed:?}"));
        }
        if self.setup.trust == Trust::Lying {
            return Ok(());
        }
        let forgotten = |vm: PartitionId| left.iter().all(|report| report.vm.id() != vm);
        let spmc = hypervisor.spmc();
        // The policy to go without what was given up leaves that behind.
        if let Some(kept) = spmc.kept().find(|kept| forgotten(kept.vm) && !self.setup.ids_early) {
            return Err(format!("the secure world still has {kept:?}"));
        }
        let live: Vec<_> = spmc.live_handles().filter(|live| forgotten(live.owner)).collect();
        drop(spmc);
        if let Some(handle) = live.into_iter().find(|live| !self.is_let_go(live.handle)) {
            return Err(format!("the secure world still has {handle:?}"));
        }
        Ok(())
    }

    pub fn guest<T>(&self, vm: u8, work: impl FnOnce(&mut Guest) -> T) -> T {
        work(&mut self.book.borrow_mut().guests[usize::from(vm) % VMS.len()])
    }
}

/// Longer than anything that the default policy waits for.
const MINUTE: Span = Span::from_secs(60);
