//! Who has a guest's RX buffer: FFA_RX_RELEASE, and writing to it in the guest's stead.

use ffa_abi::{Answer, Function, RxAcquire, RxRelease, Status};
use ffa_mem::IpaRange;
use ffa_teardown::{Standing, StandingId, VmKey};

use crate::dispatch::Reply;
use crate::mediator::{Guard, refusal};
use crate::record::{Mailbox, RxState};
use crate::rxtx::own_or_none;
use crate::{Case, Mediator, Platform, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn rx_release(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        release: RxRelease,
    ) -> Result<Reply, Status> {
        own_or_none(vm, release.endpoint)?;
        let record = state.record(vm)?;
        let Mailbox::Mapped { rx, forwarded, .. } = &mut record.mailbox else { return Err(Status::Denied) };
        let was = *rx;
        let owned = match (was, &forwarded) {
            (RxState::Owned, None) => {
                *rx = RxState::Free;
                return Ok(Reply::DONE);
            }
            // What the SPMC wrote there by itself, it alone knows.
            (RxState::Owned | RxState::Spmc, Some(forwarded)) => forwarded.rx_owned,
            _ => return Err(Status::Denied),
        };
        *rx = RxState::Filling;
        record.enter();
        drop(state);
        let returned = self.return_rx(hyp, vm, owned);
        let mut state = self.lock();
        state.set_rx(vm, if returned.is_ok() { RxState::Spmc } else { was });
        self.leave(hyp, state, vm);
        returned.map(|()| Reply::DONE)
    }

    /// FFA_RX_RELEASE on behalf of a VM whose RX nobody else touches meanwhile.
    pub(crate) fn return_rx(&self, hyp: &mut P, vm: VmKey, owned: Option<StandingId>) -> Result<(), Status> {
        if let Some(owned) = owned {
            self.lock().engine.end_standing(vm, owned).map_err(|_| Status::Denied)?;
        }
        let answer = Answer::from_regs(&self.call_through(hyp, &RxRelease { endpoint: vm.id() }.to_regs()));
        let returned = matches!(answer, Answer::Success(_));
        let mut state = self.lock();
        if let Some(owned) = owned {
            let noted = if returned {
                state.engine.standing_over(vm, owned)
            } else {
                state.engine.standing_incurred(vm, owned)
            };
            debug_assert_eq!(noted, Ok(()));
        }
        if returned {
            state.set_rx_owned(vm, None);
            Ok(())
        } else {
            Err(refusal(&answer))
        }
    }

    /// Takes RX from the guest that it is free for, to be written to outside the lock until
    /// [`end_filling`](Self::end_filling).
    ///
    /// # Errors
    /// BUSY if there is none, to which the call of `function` has come by the case beside it, or if somebody has it; what
    /// the SPMC says if it has it.
    pub(crate) fn begin_filling(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        (function, without_rx): (Function, Case),
    ) -> Result<IpaRange, Status> {
        let record = state.record(vm)?;
        let (buffers, rx, forwarded) = match &mut record.mailbox {
            Mailbox::Mapped { buffers, rx, forwarded } => (buffers, rx, forwarded),
            Mailbox::Unmapped => {
                return Err(self.settings.compat.status(function, without_rx, Status::Busy));
            }
            Mailbox::Changing => return Err(Status::Busy),
        };
        let range = buffers.rx;
        let acquire = match (*rx, forwarded) {
            (RxState::Free, _) => false,
            (RxState::Spmc, Some(forwarded)) if forwarded.rx_owned.is_none() => true,
            _ => return Err(Status::Busy),
        };
        *rx = RxState::Filling;
        record.enter();
        if acquire {
            self.acquire(hyp, state, vm).inspect_err(|_| {
                let mut state = self.lock();
                state.set_rx(vm, RxState::Spmc);
                self.leave(hyp, state, vm);
            })?;
        }
        Ok(range)
    }

    /// FFA_RX_ACQUIRE on behalf of a VM.
    fn acquire(&self, hyp: &mut P, mut state: Guard<'_, P, S>, vm: VmKey) -> Result<(), Status> {
        let begun = state.engine.begin_standing(vm, Standing::RxOwned).map_err(|_| Status::NoMemory)?;
        drop(state);
        // The buffers were forwarded, so that there is one already.
        debug_assert!(!begun.take_reference);
        let answer = Answer::from_regs(&self.call_through(hyp, &RxAcquire { endpoint: vm.id() }.to_regs()));
        let mut state = self.lock();
        if let Answer::Error(status) = answer {
            let over = state.engine.standing_over(vm, begun.id);
            debug_assert_eq!(over, Ok(()));
            // The guest has yet to read what an SP sent.
            return Err(match status.for_guest() {
                Status::Denied => Status::Busy,
                status => status,
            });
        }
        let incurred = state.engine.standing_incurred(vm, begun.id);
        debug_assert_eq!(incurred, Ok(()));
        state.set_rx_owned(vm, Some(begun.id));
        if let Answer::Success(_) = answer { Ok(()) } else { Err(Status::Aborted) }
    }

    /// RX is the guest's, if it was `filled`, or goes back to whom it was taken from.
    pub(crate) fn end_filling<'a>(
        &'a self,
        hyp: &mut P,
        mut state: Guard<'a, P, S>,
        vm: VmKey,
        filled: bool,
    ) {
        let forwarded = state.record(vm).ok().and_then(|record| match record.mailbox {
            Mailbox::Mapped { forwarded, .. } => forwarded,
            _ => None,
        });
        let rx = match forwarded {
            _ if filled => RxState::Owned,
            None => RxState::Free,
            Some(forwarded) => {
                drop(state);
                // If it fails the guest can do it, or teardown.
                let _ = self.return_rx(hyp, vm, forwarded.rx_owned);
                state = self.lock();
                RxState::Spmc
            }
        };
        state.set_rx(vm, rx);
        self.leave(hyp, state, vm);
    }
}
