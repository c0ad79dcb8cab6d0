//! Calls to the secure world over which a secure partition is preempted, although none runs for them.
//!
//! FF-A has FFA_INTERRUPT and FFA_YIELD for what an SP runs for: direct requests, messages about VMs, FFA_RUN. An SPMC that has an SP
//! do its work may give them in answer to other calls as well. The engine knows what to do about its own calls and those that guests
//! make about memory and bindings; the rest is resumed here, a few times at most.

use ffa_abi::{Answer, Call, Function, FunctionId, Regs, RunTarget};

use crate::{Mediator, Platform, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Makes a call whose success gives no pages back. If an SP is preempted over it, that is resumed,
    /// [`Policy::tries`](ffa_teardown::Policy::tries) times at most.
    ///
    /// The answer is FFA_INTERRUPT or FFA_YIELD if nobody can tell what became of the call: it came to no end, or to an error, which
    /// may be FFA_RUN's own.
    #[inline]
    pub(crate) fn call_through(&self, hyp: &mut P, call: &Regs) -> Regs {
        let answer = hyp.call(call);
        if is_preempted(&answer) { self.resume(hyp, answer) } else { answer }
    }

    /// Makes a call that is not resumed here: FFA_RUN's success might be another call's, if the SP is restarted meanwhile.
    pub(crate) fn call_once(&self, hyp: &mut P, call: &Regs) -> Regs {
        let answer = hyp.call(call);
        if is_preempted(&answer) {
            self.note_preempted(&answer);
        }
        answer
    }

    #[cold]
    fn resume(&self, hyp: &mut P, mut answer: Regs) -> Regs {
        for _ in 0..self.settings.teardown.tries {
            let Some(target) = self.note_preempted(&answer) else { break };
            let ended = hyp.call(&Call::Run(target).to_regs());
            if let Answer::Error(_) = Answer::from_regs(&ended) {
                break;
            }
            answer = ended;
        }
        answer
    }

    /// Whoever is preempted works for nothing that the engine would run it for.
    #[cold]
    fn note_preempted(&self, answer: &Regs) -> Option<RunTarget> {
        let (Answer::Interrupt(target) | Answer::Yield { target, .. }) = Answer::from_regs(answer) else {
            return None;
        };
        self.lock().engine.works_elsewhere(target);
        Some(target)
    }
}

#[inline]
fn is_preempted(answer: &Regs) -> bool {
    let w0 = answer.w::<0>();
    w0 == FunctionId::smc32(Function::Interrupt).w0() || w0 == FunctionId::smc32(Function::Yield).w0()
}
