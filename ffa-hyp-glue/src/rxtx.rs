//! FFA_RXTX_MAP and FFA_RXTX_UNMAP.
//!
//! An SPMC that passes indirect messages on needs the buffers of VMs. It is given them then, and has to give them back
//! before their pages are anybody else's: they are held like those of a share. A VM with larger buffers than one page
//! exchanges no such messages with SPs.

use ffa_abi::{Answer, FirmwareStatus, PartitionId, RxTxMap, RxTxUnmap, Status, Width};
use ffa_mem::{EndpointBuffers, InsertError, IpaRange, PhysRange};
use ffa_teardown::{BeginError, Phase, Standing, StandingId, VmKey};

use crate::dispatch::Reply;
use crate::mediator::{Guard, refusal};
use crate::record::{Buffers, Forwarded, Mailbox, RxState};
use crate::{Access, Mediator, OwnerAccess, PageError, Platform, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn rxtx_map(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        map: RxTxMap,
    ) -> Result<Reply, Status> {
        if map.pages > self.settings.rxtx_pages {
            return Err(Status::InvalidParameters);
        }
        let range =
            |address| IpaRange::new(address, u32::from(map.pages)).map_err(|_| Status::InvalidParameters);
        let buffers = Buffers { tx: range(map.tx)?, rx: range(map.rx)? };
        let (engine, record) = state.engine_and_record(vm)?;
        // A creation that fails is undone by the engine alone, which knows nothing of these pages.
        if record.mailbox != Mailbox::Unmapped || engine.phase(vm) != Ok(Phase::Live) {
            return Err(Status::Denied);
        }
        // One page is what every SPMC takes, and one physical range.
        let forwards = self.served.forwards_buffers() && !record.buffers_in_doubt;
        let (forwarded, take_reference) = if forwards && map.pages == 1 {
            let begun = engine.begin_standing(vm, Standing::RxTxMapped).map_err(|error| match error {
                BeginError::NoRoom => Status::NoMemory,
                _ => Status::Denied,
            })?;
            (Some(begun.id), begun.take_reference)
        } else {
            // Other VMs' calls will reach into these pages, which must not go with their VM meanwhile.
            (None, self.settings.vm_to_vm && engine.refer_to(vm))
        };
        if let Err(error) = record.track_buffers(&buffers, forwarded) {
            if let Some(standing) = forwarded {
                let over = engine.standing_over(vm, standing);
                debug_assert_eq!(over, Ok(()));
            }
            // What the engine counts as taken is taken, whatever it was for.
            record.enter();
            drop(state);
            self.take_reference(hyp, vm, take_reference);
            self.leave(hyp, self.lock(), vm);
            return Err(match error {
                InsertError::Full(_) => Status::NoMemory,
                // With each other or with what is shared.
                _ => Status::InvalidParameters,
            });
        }
        record.mailbox = Mailbox::Changing;
        record.enter();
        drop(state);
        self.take_reference(hyp, vm, take_reference);
        let (mapped, forwarded) = match forwarded {
            Some(standing) => match self.map_and_forward(hyp, vm, &buffers, standing) {
                Ok(()) => {
                    let forwarded = Forwarded { mapped: standing, rx_owned: None };
                    (Ok(RxState::Spmc), Some(forwarded))
                }
                // It has no room for this VM: the guest has its buffers all the same.
                Err(Status::NoMemory | Status::Denied) => (self.map_own(hyp, vm, &buffers), None),
                Err(status) => (Err(status), None),
            },
            None => (hold_both(hyp, vm.id(), &buffers, None).map(|_| RxState::Free), None),
        };
        let mut state = self.lock();
        if let Ok(record) = state.record(vm) {
            record.mailbox = match mapped {
                Ok(rx) => Mailbox::Mapped { buffers, rx, forwarded },
                Err(_) => {
                    record.untrack_buffers(None);
                    Mailbox::Unmapped
                }
            };
        }
        self.leave(hyp, state, vm);
        mapped.map(|_| Reply::DONE)
    }

    /// Holds buffers that the SPMC did not want.
    fn map_own(&self, hyp: &mut P, vm: VmKey, buffers: &Buffers) -> Result<RxState, Status> {
        self.lock().record(vm)?.track_buffers(buffers, None).map_err(|_| Status::NoMemory)?;
        hold_both(hyp, vm.id(), buffers, None).map(|_| RxState::Free)
    }

    /// Holds both buffers and gives them to the SPMC.
    ///
    /// # Errors
    /// What the SPMC said: it does not have them, and neither are they tracked any more. ABORTED if it may have them:
    /// the guest gets none, but these pages stay held until the SPMC says that it does not.
    fn map_and_forward(
        &self,
        hyp: &mut P,
        vm: VmKey,
        buffers: &Buffers,
        standing: StandingId,
    ) -> Result<(), Status> {
        let given = match hold_both(hyp, vm.id(), buffers, Some(standing)) {
            Ok(runs) => {
                let given = self.forward(hyp, vm.id(), runs);
                if let Given::No(_) = given {
                    self.release(hyp, vm, standing.pages());
                }
                given
            }
            Err(status) => Given::No(status),
        };
        let mut state = self.lock();
        let (engine, record) = state.engine_and_record(vm)?;
        let (noted, result) = match given {
            Given::Yes => (engine.standing_incurred(vm, standing), Ok(())),
            Given::MaySo => {
                record.buffers_in_doubt = true;
                (engine.standing_incurred(vm, standing), Err(Status::Aborted))
            }
            Given::No(status) => {
                record.untrack_buffers(Some(standing));
                (engine.standing_over(vm, standing), Err(status))
            }
        };
        debug_assert_eq!(noted, Ok(()));
        result
    }

    /// FFA_RXTX_MAP on behalf of a VM.
    fn forward(&self, hyp: &mut P, vm: PartitionId, [tx, rx]: [Option<PhysRange>; 2]) -> Given {
        // Empty only if the hypervisor's seam is broken.
        let (Some(tx), Some(rx)) = (tx, rx) else { return Given::No(Status::InvalidParameters) };
        // Another CPU's call to the SPMC is worth a moment: guests give up for good if they get no buffers.
        if !self.take_tx_patiently() {
            return Given::No(Status::Busy);
        }
        hyp.write_tx(&EndpointBuffers { endpoint: vm, rx, tx }.to_bytes());
        let map = RxTxMap { width: Width::Smc64, tx: 0, rx: 0, pages: 0 };
        let answer = Answer::from_regs(&self.call_through(hyp, &map.to_regs()));
        self.tx_read();
        match answer {
            Answer::Success(_) => Given::Yes,
            Answer::Error(FirmwareStatus::Known(status)) if status != Status::Aborted => Given::No(status),
            _ => Given::MaySo,
        }
    }

    /// Has the SPMC unmap a VM's buffers and releases their pages.
    fn take_back(&self, hyp: &mut P, vm: VmKey, forwarded: Forwarded) -> Result<(), NotUnmapped> {
        // Who has RX ends with the mapping, whatever the SPMC says to this.
        let rx_owned = forwarded.rx_owned.filter(|&owned| self.return_rx(hyp, vm, Some(owned)).is_err());
        let forwarded = Forwarded { rx_owned, ..forwarded };
        let rx = if rx_owned.is_some() { RxState::Owned } else { RxState::Spmc };
        let failed = |status| NotUnmapped { status, rx, forwarded };
        let ending = self.lock().engine.end_standing(vm, forwarded.mapped);
        ending.map_err(|_| failed(Status::Denied))?;
        let answer = Answer::from_regs(&self.call_once(hyp, &RxTxUnmap { endpoint: vm.id() }.to_regs()));
        let unmapped = matches!(answer, Answer::Success(_));
        if unmapped {
            self.release(hyp, vm, forwarded.mapped.pages());
        }
        let engine = &mut self.lock().engine;
        if !unmapped {
            let noted = engine.standing_incurred(vm, forwarded.mapped);
            debug_assert_eq!(noted, Ok(()));
            return Err(failed(refusal(&answer)));
        }
        let noted = engine.standing_over(vm, forwarded.mapped);
        debug_assert_eq!(noted, Ok(()));
        Ok(())
    }

    pub(crate) fn rxtx_unmap(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        unmap: RxTxUnmap,
    ) -> Result<Reply, Status> {
        own_or_none(vm, unmap.endpoint)?;
        let record = state.record(vm)?;
        let (buffers, forwarded) = match record.mailbox {
            Mailbox::Mapped { rx: RxState::Filling, .. } | Mailbox::Changing => return Err(Status::Denied),
            Mailbox::Mapped { buffers, forwarded, .. } => (buffers, forwarded),
            Mailbox::Unmapped => return Err(Status::InvalidParameters),
        };
        record.mailbox = Mailbox::Changing;
        record.enter();
        drop(state);
        let unmapped = match forwarded {
            Some(forwarded) => self.take_back(hyp, vm, forwarded),
            None => {
                release_both(hyp, vm.id(), &buffers);
                Ok(())
            }
        };
        let mut state = self.lock();
        if let Ok(record) = state.record(vm) {
            record.mailbox = match unmapped {
                Ok(()) => {
                    record.untrack_buffers(forwarded.map(|forwarded| forwarded.mapped));
                    Mailbox::Unmapped
                }
                Err(NotUnmapped { rx, forwarded, .. }) => {
                    Mailbox::Mapped { buffers, rx, forwarded: Some(forwarded) }
                }
            };
        }
        drop(state);
        if unmapped.is_ok() {
            self.cancel_drafts(hyp, vm);
        }
        self.leave(hyp, self.lock(), vm);
        unmapped.map(|()| Reply::DONE).map_err(|error| error.status)
    }
}

/// What became of buffers that were to be given to the SPMC.
enum Given {
    Yes,
    No(Status),
    MaySo,
}

/// An unmapping that failed, and how things stand now.
#[derive(Clone, Copy)]
struct NotUnmapped {
    status: Status,
    rx: RxState,
    forwarded: Forwarded,
}

/// Holds TX and RX, and gives the first physical range behind each.
fn hold_both<P: Platform>(
    hyp: &mut P,
    vm: PartitionId,
    buffers: &Buffers,
    forwarded: Option<StandingId>,
) -> Result<[Option<PhysRange>; 2], Status> {
    let mut hold = |range| {
        let mut first = None;
        let note = |run: PhysRange| {
            first.get_or_insert(run);
        };
        let held = match forwarded {
            Some(standing) => {
                hyp.hold_for(standing.pages(), vm, range, Access::ReadWrite, OwnerAccess::Kept, note)
            }
            None => hyp.hold(vm, range, Access::ReadWrite, OwnerAccess::Kept, note),
        };
        held.map(|()| first).map_err(|error| match error {
            PageError::NotOwned { .. } => Status::InvalidParameters,
            PageError::NoResources => Status::NoMemory,
        })
    };
    let tx = hold(buffers.tx)?;
    let rx = hold(buffers.rx);
    if rx.is_err() && !forwarded.is_some_and(|standing| hyp.release_share(vm, standing.pages())) {
        hyp.release(vm, buffers.tx);
    }
    Ok([tx, rx?])
}

/// Releases TX and RX that the SPMC does not have.
pub(crate) fn release_both<P: Platform>(hyp: &mut P, vm: PartitionId, buffers: &Buffers) {
    hyp.release(vm, buffers.tx);
    hyp.release(vm, buffers.rx);
}

/// A guest may leave its ID out or name itself, as Linux before 7.0 does, but nobody else.
pub(crate) fn own_or_none(vm: VmKey, endpoint: PartitionId) -> Result<(), Status> {
    if endpoint == PartitionId(0) || endpoint == vm.id() { Ok(()) } else { Err(Status::InvalidParameters) }
}
