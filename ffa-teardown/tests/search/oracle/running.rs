//! Whom preempted SPs work for, as the oracle knows it: an SP that is preempted over a new call has nothing else in hand.

use ffa_abi::{Answer, RunTarget};

use super::{About, Heard, Hold, Life, Oracle, Terms, Vm};
use crate::reading::{self, Reading};

impl Oracle {
    /// Whom an answer to a call that is none of `resumed` says was preempted, if it is one of `endpoint`'s.
    pub(super) fn preempted_anew(answer: &Answer, resumed: bool, endpoint: Option<u16>) -> Option<RunTarget> {
        let Reading::Preempted { endpoint: of, .. } = reading::read(answer) else { return None };
        Self::next_to_run(answer).filter(|_| !resumed && endpoint.is_none_or(|endpoint| endpoint == of))
    }

    /// `target` was preempted over a new call. What else it had in hand is lost: an FFA_RUN that is in flight for that
    /// says nothing of it.
    pub(super) fn displace(&mut self, terms: &Terms, target: RunTarget) {
        let works_for_spmc = target.endpoint == terms.first_sp();
        for one in &mut self.vms {
            let asks = one.smc.as_ref().map(|smc| smc.about);
            let mut lost = false;
            for (at, sp) in
                one.sps.iter_mut().enumerate().filter(|(at, _)| terms.sps[*at].sp == target.endpoint)
            {
                if asks == Some(About::Sp(at)) {
                    lost |= sp.heard == Heard::InHand || sp.leaving;
                } else {
                    sp.lose();
                }
            }
            for (at, share) in
                one.shares.iter_mut().enumerate().filter(|(_, share)| share.in_hand == Some(target))
            {
                match share.hold {
                    Hold::Sending { .. } | Hold::Asked => share.lost = true,
                    _ if asks == Some(About::Share(at)) => lost = true,
                    _ => share.in_hand = None,
                }
            }
            let requests = one.requests.iter_mut().enumerate();
            for (at, request) in
                requests.filter(|(_, request)| request.sp == target.endpoint && request.in_hand)
            {
                if request.in_flight {
                    request.lost = true;
                } else if asks == Some(About::Request(at)) {
                    lost = true;
                } else {
                    request.in_hand = false;
                }
            }
            let kept = one.kept.iter_mut().enumerate().filter(|(_, kept)| works_for_spmc && kept.in_hand);
            for (at, kept) in kept {
                if asks == Some(About::Kept(at)) {
                    lost = true;
                } else {
                    (kept.in_hand, kept.drained) = (false, false);
                }
            }
            let bindings = one.bindings.iter_mut().enumerate();
            for (at, binding) in bindings.filter(|(_, binding)| works_for_spmc && binding.in_hand) {
                if binding.asked.is_some() {
                    binding.lost = true;
                } else if asks == Some(About::Binding(at)) {
                    lost = true;
                } else {
                    (binding.in_hand, binding.drained) = (false, false);
                }
            }
            if let Some(bitmap) = one.new_bitmap.as_mut().filter(|bitmap| works_for_spmc && bitmap.in_hand) {
                let asked = asks == Some(About::NewBitmap);
                (lost, bitmap.in_hand) = (lost || asked, asked);
                if one.life == Life::Dying {
                    one.creates_no_more();
                }
            }
            if let Some(smc) = &mut one.smc {
                smc.lost |= lost;
            }
        }
    }
}

impl Vm {
    /// How much of what is owed has an SP in hand, as far as anybody knows yet: FFA_RUN may come before the call itself.
    pub fn in_hand(&self) -> usize {
        let replies =
            self.shares.iter().map(|share| share.reply).chain([self.smc.as_ref().and_then(|smc| smc.reply)]);
        let preempted = |reply: &Answer| Oracle::next_to_run(reply).is_some();
        replies.flatten().filter(preempted).count()
            + self.sps.iter().filter(|sp| sp.heard == Heard::InHand || sp.leaving).count()
            + self.shares.iter().filter(|share| share.in_hand.is_some()).count()
            + self.kept.iter().filter(|kept| kept.in_hand).count()
            + self.bindings.iter().filter(|binding| binding.in_hand).count()
            + self.new_bitmap.iter().filter(|bitmap| bitmap.in_hand).count()
    }
}

impl super::Sp {
    /// It has nothing in hand any more; what it made of a VM_CREATED nobody knows.
    pub(super) fn lose(&mut self) {
        if self.heard == Heard::InHand {
            (self.heard, self.may_have_heard) = (Heard::Nothing, true);
        }
        (self.leaving, self.run_once) = (false, false);
    }
}
