//! Memory that a VM has donated becomes its receiver's, when that has retrieved it and knows where all of it is.

use ffa_abi::Transaction;
use ffa_mem::IpaRange;
use ffa_teardown::{ShareId, VmKey};

use super::loan::{Stage, Terms};
use crate::mediator::State;
use crate::{Event, EventKind, Mediator, Platform, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Makes what is mapped for a receiver its own. The loan at `at` is [`Stage::Ending`] and nobody else's; neither VM has
    /// anything to do with it afterwards.
    pub(crate) fn give(&self, hyp: &mut P, at: usize, receiver: VmKey, borrowed: ShareId) {
        let Some(terms) = self.lock().loans().get(at).map(|loan| loan.terms) else { return };
        let Terms { owner, pages, handle, .. } = terms;
        let (mut all_from, mut all_to) = (self.in_order(owner, pages), self.in_order(receiver, borrowed));
        let (mut from, mut to) = (all_from.next(), all_to.next());
        // Ranges that touch on one side need not touch on the other.
        while let (Some(given), Some(taken)) = (from, to) {
            let pages = given.pages().min(taken.pages());
            let (given, rest_given) = cut(given, pages);
            let (taken, rest_taken) = cut(taken, pages);
            hyp.give(owner.id(), given, receiver.id(), taken);
            from = rest_given.or_else(|| all_from.next());
            to = rest_taken.or_else(|| all_to.next());
        }
        let mut state = self.lock();
        state.loans().remove(&terms);
        state.loan_over(receiver, borrowed);
        let total = state.loan_over(owner, pages);
        if state.is_torn_down(owner) {
            hyp.arm(state.next_deadline());
        }
        drop(state);
        let handle = Some(handle);
        hyp.event(&Event { handle, ..Event::new(owner.id(), EventKind::Gone { pages: total }) });
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// Keeps everybody else from the loan at `at` if it is a donation, which its receiver is to have now. Whether it is one.
    pub(crate) fn begin_giving(&mut self, at: usize) -> bool {
        let donation = self.loans().get(at).filter(|loan| loan.terms.transaction == Transaction::Donate);
        donation.map(|loan| loan.stage = Stage::Ending).is_some()
    }
}

/// The first `pages` of a range, and the rest. It has as many at least.
fn cut(range: IpaRange, pages: u32) -> (IpaRange, Option<IpaRange>) {
    match IpaRange::new(range.base(), pages) {
        Ok(first) => (first, IpaRange::new(first.end(), range.pages().saturating_sub(pages)).ok()),
        Err(_) => (range, None),
    }
}
