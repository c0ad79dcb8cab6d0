//! What becomes of loans when a VM dies.

use ffa_teardown::VmKey;

use super::loan::{Borrowed, Stage, Terms};
use crate::mediator::{Guard, State};
use crate::{Event, EventKind, Mediator, Platform, Settings, Stores};

/// What becomes of memory that other VMs have borrowed when its owner dies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LenderDeath {
    /// They lose it at once. The default: else each borrower could keep a dead VM's memory, its ID and what is left of it
    /// for as long as it likes. A borrower must be prepared for faults where it accesses what is lent.
    #[default]
    Revoke,
    /// Each keeps it until it relinquishes it, or dies. What no borrower has by then is gone at once, and so is what SPs
    /// were to have as well: the secure world is asked for that back when its owner dies.
    Keep,
}

/// What the deaths of its VMs ask for, of a loan that nobody is at work on.
enum Due {
    /// The borrower's mapping goes.
    Unmap(VmKey, Borrowed),
    /// The whole transaction is over.
    TakeBack(Terms),
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// The VM is dead, and what it has lent or borrowed follows from that. Loans that another CPU is at work on are that CPU's
    /// to [settle](Self::settle) when it is done.
    pub(crate) fn settle_loans_of(&self, hyp: &mut P, vm: VmKey) {
        let slots = self.lock().loans.as_ref().len();
        for at in 0..slots {
            let mut state = self.lock();
            if state.loans().get(at).is_some_and(|loan| loan.is_of(vm)) {
                self.settle(hyp, state, at);
            }
        }
    }

    /// Does with a loan that has just become idle, or may be, what the deaths of its VMs ask for.
    pub(crate) fn settle<'a>(&'a self, hyp: &mut P, mut state: Guard<'a, P, S>, at: usize) {
        while let Some(due) = state.due(&self.settings, at) {
            drop(state);
            match due {
                Due::Unmap(borrower, borrowed) => {
                    let pages = self.unmap(hyp, at, borrower, borrowed);
                    hyp.event(&Event::new(borrower.id(), EventKind::Revoked { pages }));
                }
                Due::TakeBack(terms) => return self.return_lent(hyp, &terms),
            }
            state = self.lock();
        }
    }

    /// Takes from a borrower what it has, or a part of which it has not come to have. Its loan is [`Stage::Ending`] or
    /// [`Stage::Retrieving`] and nobody else's; it is idle afterwards. Returns the number of pages.
    pub(crate) fn unmap(&self, hyp: &mut P, at: usize, borrower: VmKey, borrowed: Borrowed) -> u32 {
        self.each_range(hyp, borrower, borrowed.pages, |hyp, range| hyp.unmap(borrower.id(), range));
        let mut state = self.lock();
        if let (true, Some(Terms { owner, pages, .. })) =
            (borrowed.zero_after, state.loans().get(at).map(|loan| loan.terms))
        {
            drop(state);
            self.each_range(hyp, owner, pages, |hyp, range| hyp.zero(owner.id(), range));
            state = self.lock();
        }
        let unmapped = state.loan_over(borrower, borrowed.pages);
        if let Some(loan) = state.loans().get(at) {
            loan.stage = Stage::Offered;
        }
        if state.is_torn_down(borrower) {
            hyp.arm(state.next_deadline());
        }
        unmapped
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// What is due for the loan at `at`. Whoever asks has to do it: nobody else is told.
    fn due(&mut self, settings: &Settings, at: usize) -> Option<Due> {
        let loan = *self.loans().get(at)?;
        let owner_is_dead = self.is_torn_down(loan.terms.owner);
        let dead_borrower = loan.borrower.filter(|&borrower| self.is_torn_down(borrower));
        let keeps = settings.lender_death == LenderDeath::Keep && !loan.terms.has_sps();
        let revoked = owner_is_dead && !keeps;
        match (loan.stage, loan.borrower) {
            (Stage::Retrieved(borrowed), Some(borrower)) if revoked || dead_borrower.is_some() => {
                self.loans().get(at)?.stage = Stage::Ending;
                Some(Due::Unmap(borrower, borrowed))
            }
            (Stage::Retrieved(_), _) => None,
            _ => {
                if dead_borrower.is_some() {
                    // From here on somebody else may come to have its ID.
                    self.loans().get(at)?.borrower = None;
                }
                let withheld = owner_is_dead.then(|| self.loans().withhold(&loan.terms))??;
                withheld.ok().map(|()| Due::TakeBack(loan.terms))
            }
        }
    }

    /// Forgets what a guest that makes no calls any more was about to offer: it has sent a part of it.
    pub(crate) fn drop_offers(&mut self, vm: VmKey) {
        while let Some(terms) = self.loans().withheld(vm) {
            self.withdraw(vm, terms.pages);
        }
    }

    /// Whether the teardown of a VM has begun.
    pub(crate) fn is_torn_down(&mut self, vm: VmKey) -> bool {
        self.record(vm).map_or(true, |record| record.torn_down)
    }
}
