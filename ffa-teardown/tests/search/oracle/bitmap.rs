//! The bitmap that a VM is to have from the beginning, as the oracle knows it: created when every SP has taken note of the
//! VM, tried again a limited number of times, and owed to the secure world if it may be there.

use ffa_abi::{Answer, PartitionId};
use ffa_teardown::{Decision, SecureCall, Standing, StandingId};

use super::{About, Heard, Kept, Life, May, Name, Oracle, Pace, Rule, Smc, Terms, Vm};
use crate::reading::{self, Reading};

/// The vCPUs of each VM.
pub const VCPUS: u32 = 2;

/// A bitmap that is to be created.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NewBitmap {
    pub id: Name<StandingId>,
    /// An SP was preempted over it, and is to be resumed.
    pub in_hand: bool,
    /// One was: whatever is said later, it may be there.
    pub may_be_there: bool,
    pub pace: Pace,
}

impl NewBitmap {
    pub fn new(id: StandingId) -> Self {
        Self { id: Name(id), in_hand: false, may_be_there: false, pace: Pace::default() }
    }
}

impl Oracle {
    /// Whether `call` may be one for the bitmap that `vm` is to have.
    pub(super) fn new_bitmap_called(
        &mut self,
        terms: &Terms,
        vm: usize,
        id: PartitionId,
        call: SecureCall,
    ) -> bool {
        let one = &self.vms[vm];
        let in_hand = one.new_bitmap.is_some_and(|bitmap| bitmap.in_hand);
        let told = one.sps.iter().zip(&terms.sps).all(|(sp, wants)| sp.heard == Heard::Yes || !wants.created);
        let in_time = told && one.life == Life::Creating;
        match call {
            SecureCall::BitmapCreate { vm, vcpus } => {
                self.demand(Rule::P12, in_time);
                vm == id && vcpus == VCPUS && !in_hand
            }
            SecureCall::Run { .. } => in_hand,
            _ => false,
        }
    }

    pub(super) fn new_bitmap_judged(
        &mut self,
        terms: &Terms,
        vm: usize,
        smc: &Smc,
        answer: &Answer,
        decision: Decision,
    ) {
        let Some(mut bitmap) = self.vms[vm].new_bitmap else { return self.demand(Rule::P9, false) };
        let creating = self.vms[vm].life == Life::Creating;
        let running = matches!(smc.call, SecureCall::Run { .. });
        let read = reading::read(answer);
        let preempted = matches!(read, Reading::Preempted { .. });
        let done = matches!(read, Reading::Success { .. }) && !smc.lost;
        // FFA_RUN's error says nothing of what it was to resume.
        let refused = matches!(read, Reading::Error(code) if reading::refuses(code)) && !running;
        let (may, rest) = match read {
            _ if done => (May::CONFIRM, None),
            // Nobody is asked anew for the sake of a VM that is dead.
            _ if !creating && (smc.lost || !preempted) => (May::CONFIRM, None),
            _ if smc.lost => (May::LIMITED, None),
            Reading::Preempted { rest, .. } if creating => (May::LIMITED, Some(rest)),
            Reading::Preempted { rest, .. } => (May::AGAIN, Some(rest)),
            Reading::Error(code) if reading::passes(code) => (May::LIMITED, None),
            Reading::Error(reading::DENIED | reading::INVALID | reading::NO_MEMORY) if running => {
                (May::LIMITED, None)
            }
            _ => (May::END, None),
        };
        self.judge(terms, &mut bitmap.pace, may, false, rest, decision);
        self.demand(Rule::P12, (decision == Decision::BitmapCreated) == done);
        bitmap.may_be_there |= preempted;
        if let Decision::TryAgain { .. } = decision {
            bitmap.in_hand = preempted && !smc.lost;
            self.vms[vm].new_bitmap = Some(bitmap);
            return;
        }
        bitmap.may_be_there |= !refused;
        self.vms[vm].new_bitmap_over(bitmap, !done);
    }
}

impl Vm {
    /// No bitmap is created any more: what may be there is to be destroyed.
    fn new_bitmap_over(&mut self, bitmap: NewBitmap, in_doubt: bool) {
        self.new_bitmap = None;
        if bitmap.may_be_there {
            self.kept.push(Kept { in_flight: false, in_doubt, ..Kept::new(bitmap.id.0, Standing::Bitmap) });
        }
    }

    /// None is created for a dead VM, but what is in somebody's hands comes to its end.
    pub(super) fn creates_no_more(&mut self) {
        let asks = self.smc.as_ref().is_some_and(|smc| smc.about == About::NewBitmap);
        if let Some(bitmap) = self.new_bitmap.filter(|bitmap| !bitmap.in_hand && !asks) {
            self.new_bitmap_over(bitmap, true);
        }
    }
}
