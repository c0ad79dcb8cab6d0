//! What is bound and pending, as the oracle knows it.

use ffa_abi::{Answer, PartitionId};
use ffa_teardown::{BindingId, BindingOutcome, Decision, SecureCall, Standing, Subject};

use super::{Kept, May, Name, Oracle, Pace, Rule, Smc, Terms};
use crate::Tested;
use crate::reading::{self, Reading};

/// What a guest's call about a binding is to do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Asked {
    Bind,
    Unbind,
}

/// Notifications of the first SP that may be bound, and are unbound by one call.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Binding {
    pub id: Name<Option<BindingId>>,
    pub bits: u64,
    /// The guest was told that they are bound.
    pub known: bool,
    /// The guest's call is in flight.
    pub asked: Option<Asked>,
    /// An SP was preempted over the call about it.
    pub in_hand: bool,
    /// The guest's FFA_RUN is in flight, of an SP that works for something else by now.
    pub lost: bool,
    /// FFA_NOTIFICATION_GET came before the call that is next.
    pub drained: bool,
    pub written_off: bool,
    pub pace: Pace,
}

/// What an honest secure world has for a VM.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Notifications {
    pub bitmap: bool,
    pub bound: u64,
    pub pending: bool,
}

impl Oracle {
    /// Whether the guest may begin `asked`: nothing else works on what is bound, and of each bit it is known whether
    /// it is.
    pub fn may_ask(&self, vm: usize, asked: Asked, bits: u64) -> bool {
        let one = &self.vms[vm];
        let bitmap = one.kept.iter().any(|kept| kept.what == Standing::Bitmap && !kept.in_flight);
        let idle = one.bindings.iter().all(|binding| binding.asked.is_none());
        let in_doubt = one.bindings.iter().any(|binding| !binding.known && binding.bits & bits != 0);
        let known = one.bindings.iter().any(|binding| binding.known && binding.bits & bits == bits);
        idle && match asked {
            Asked::Bind => bitmap && !in_doubt,
            Asked::Unbind => known,
        }
    }

    /// The guest's call is in flight: its bits stand for themselves.
    pub fn asks(&mut self, vm: usize, id: BindingId, asked: Asked, bits: u64) {
        let bindings = &mut self.vms[vm].bindings;
        if asked == Asked::Unbind {
            let all = bindings.iter_mut().find(|binding| binding.known).expect("bound");
            if all.bits == bits {
                (all.id, all.asked) = (Name(Some(id)), Some(asked));
                return;
            }
            all.bits &= !bits;
        }
        let known = bindings.iter().find(|binding| binding.known).map_or(0, |binding| binding.bits);
        bindings.push(Binding {
            id: Name(Some(id)),
            bits: bits & !known,
            known: asked == Asked::Unbind,
            asked: Some(asked),
            in_hand: false,
            lost: false,
            drained: false,
            written_off: false,
            pace: Pace::default(),
        });
    }

    pub fn binding_answered(
        &mut self,
        terms: &Terms,
        vm: usize,
        at: usize,
        answer: &Answer,
        outcome: BindingOutcome,
    ) {
        if let Some(target) = Self::preempted_anew(answer, self.vms[vm].bindings[at].in_hand, None) {
            self.displace(terms, target);
        }
        let bindings = &mut self.vms[vm].bindings;
        let binding = &mut bindings[at];
        let bits = binding.bits;
        let refusal = |code: i32| code != reading::ABORTED && (-10..0).contains(&code);
        let holds = match (reading::read(answer), outcome) {
            (_, outcome) if binding.lost => outcome == BindingOutcome::Unknown,
            (Reading::Success { .. }, outcome) => outcome == BindingOutcome::Done,
            (Reading::Error(code), outcome) if !binding.in_hand && refusal(code) => {
                matches!(outcome, BindingOutcome::Refused(status) if status.code() == code)
            }
            (Reading::Preempted { .. }, BindingOutcome::Resume(_)) => binding.pace.tries < terms.policy.tries,
            (_, outcome) => outcome == BindingOutcome::Unknown,
        };
        if let BindingOutcome::Resume(_) = outcome {
            binding.in_hand = true;
            binding.pace.tries += 1;
            return self.demand(Rule::P31, holds);
        }
        let asked = binding.asked.take();
        (binding.in_hand, binding.lost, binding.pace) = (false, false, Pace::default());
        binding.known = outcome != BindingOutcome::Unknown;
        if bits == 0 {
            bindings.remove(at);
        } else if binding.known {
            let bound = (outcome == BindingOutcome::Done) == (asked == Some(Asked::Bind));
            let others = (0..bindings.len()).find(|&other| bound && other != at && bindings[other].known);
            if let Some(others) = others {
                bindings[others].bits |= bits;
            }
            if others.is_some() || !bound {
                bindings.remove(at);
            }
        }
        self.demand(Rule::P31, holds);
    }

    /// Whether `call` may be one for `binding`, whatever came before.
    pub(super) fn binding_called(
        binding: &Binding,
        sp: PartitionId,
        id: PartitionId,
        call: SecureCall,
    ) -> bool {
        match call {
            SecureCall::NotificationGet { vm } => vm == id && !binding.in_hand,
            SecureCall::NotificationUnbind { sp: of, vm, bits } => {
                of == sp && vm == id && bits.0 == binding.bits && !binding.in_hand
            }
            SecureCall::Run { .. } => binding.in_hand,
            _ => false,
        }
    }

    /// Whether `call` may be one for something that is kept.
    pub(super) fn kept_called(kept: &Kept, id: PartitionId, call: SecureCall) -> bool {
        let (what, of) = match call {
            SecureCall::RxRelease { vm } => (Standing::RxOwned, vm),
            SecureCall::RxTxUnmap { vm } => (Standing::RxTxMapped, vm),
            // One may be asked for that is there already, so that it certainly is.
            SecureCall::BitmapCreate { vcpus, .. } if vcpus != 1 || !kept.in_doubt => return false,
            SecureCall::NotificationGet { .. } if kept.in_doubt => return false,
            SecureCall::BitmapCreate { vm, .. }
            | SecureCall::NotificationGet { vm }
            | SecureCall::BitmapDestroy { vm } => (Standing::Bitmap, vm),
            SecureCall::Run { .. } => return kept.in_hand,
            _ => return false,
        };
        kept.what == what && of == id && !kept.in_hand
    }

    /// FFA_NOTIFICATION_GET comes before each try of the calls that what is pending stands in the way of, and once. In its
    /// place comes FFA_NOTIFICATION_BITMAP_CREATE where nobody knows whether there is a bitmap.
    pub(super) fn is_drained_for(drained: bool, call: SecureCall) -> bool {
        match call {
            SecureCall::NotificationGet { .. } | SecureCall::BitmapCreate { .. } => !drained,
            SecureCall::NotificationUnbind { .. } | SecureCall::BitmapDestroy { .. } => drained,
            _ => true,
        }
    }

    /// An answer to either: unless it was preempted, the call behind it is next.
    pub(super) fn drain_judged(
        &mut self,
        terms: &Terms,
        pace: &mut Pace,
        smc: &Smc,
        answer: &Answer,
        decision: Decision,
    ) -> (bool, bool) {
        if let Reading::Preempted { rest, .. } = reading::read(answer) {
            let rest = (!smc.lost).then_some(rest);
            self.judge(terms, pace, May::AGAIN, false, rest, decision);
            return (false, !smc.lost);
        }
        self.demand(Rule::P30, decision == Decision::Drained);
        (pace.wait, pace.ahead) = (0, false);
        (true, false)
    }

    pub(super) fn binding_judged(
        &mut self,
        terms: &Terms,
        vm: usize,
        at: usize,
        smc: &Smc,
        answer: &Answer,
        decision: Decision,
    ) {
        let running = matches!(smc.call, SecureCall::Run { .. });
        let Binding { mut pace, drained, .. } = self.vms[vm].bindings[at];
        if !drained {
            let (drained, in_hand) = self.drain_judged(terms, &mut pace, smc, answer, decision);
            let binding = &mut self.vms[vm].bindings[at];
            (binding.pace, binding.drained, binding.in_hand) = (pace, drained, in_hand);
            return;
        }
        let (may, rest) = Self::service_may(answer, smc, true);
        let slow = !running && reading::read(answer) == Reading::Error(reading::DENIED);
        self.judge(terms, &mut pace, may, slow, rest, decision);
        let bindings = &mut self.vms[vm].bindings;
        if decision == Decision::Met {
            bindings.remove(at);
            return;
        }
        let binding = &mut bindings[at];
        binding.pace = pace;
        binding.written_off = matches!(decision, Decision::GivenUp { .. });
        binding.in_hand = Self::next_to_run(answer).is_some() && !smc.lost;
        binding.drained = binding.in_hand;
    }

    /// Compares the bindings that the engine shows with what must be.
    pub(super) fn compare_bindings(&mut self, terms: &Terms, vm: usize, engine: &Tested) {
        let Some(key) = self.vms[vm].key.0 else { return };
        let shown = engine.obligations(key).filter_map(|obligation| match obligation.subject {
            Subject::Binding { sp, bits } => Some((sp, bits, obligation.progress)),
            _ => None,
        });
        let expected = self.vms[vm].bindings.iter();
        let mut fits = engine.obligations(key).count() >= expected.len();
        let mut left = expected.clone();
        for (sp, bits, progress) in shown {
            fits &= left.next().is_some_and(|binding| {
                let given_up = matches!(progress, ffa_teardown::Progress::GivenUp(_));
                sp == terms.first_sp() && bits.0 == binding.bits && given_up == binding.written_off
            });
        }
        fits &= left.next().is_none();
        self.demand(Rule::P31, fits);
    }
}
