//! FFA_RXTX_MAP, FFA_RXTX_UNMAP and FFA_RX_RELEASE.

use ffa_abi::{PartitionId, RxRelease, RxTxMap, RxTxUnmap, Status};
use ffa_mem::{InsertError, IpaRange};
use ffa_teardown::{Phase, VmKey};

use crate::dispatch::Reply;
use crate::mediator::Guard;
use crate::record::{Buffers, Mailbox, RxState};
use crate::{Access, Mediator, PageError, Platform, Stores};

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
        {
            // A creation that fails is undone by the engine alone, which knows nothing of these pages.
            let live = state.engine.phase(vm) == Ok(Phase::Live);
            let record = state.record(vm)?;
            record.enter();
            let refused = match record.mailbox {
                _ if !live => Some(Status::Denied),
                Mailbox::Unmapped => record.track_buffers(&buffers).err().map(|error| match error {
                    InsertError::Full(_) => Status::NoMemory,
                    // With each other or with what is shared.
                    _ => Status::InvalidParameters,
                }),
                Mailbox::Changing | Mailbox::Mapped { .. } => Some(Status::Denied),
            };
            if let Some(status) = refused {
                self.leave(hyp, state, vm);
                return Err(status);
            }
            record.mailbox = Mailbox::Changing;
            drop(state);
        }
        let held = self.hold_buffers(hyp, vm.id(), &buffers);
        let mut state = self.lock();
        if let Ok(record) = state.record(vm) {
            record.mailbox = match held {
                Ok(()) => Mailbox::Mapped { buffers, rx: RxState::Free },
                Err(_) => {
                    record.untrack_buffers();
                    Mailbox::Unmapped
                }
            };
        }
        self.leave(hyp, state, vm);
        held.map(|()| Reply::DONE)
    }

    fn hold_buffers(&self, hyp: &mut P, vm: PartitionId, buffers: &Buffers) -> Result<(), Status> {
        let status = |error| match error {
            PageError::NotOwned { .. } => Status::InvalidParameters,
            PageError::NoResources => Status::NoMemory,
        };
        hyp.hold(vm, buffers.tx, Access::ReadWrite, |_| {}).map_err(status)?;
        hyp.hold(vm, buffers.rx, Access::ReadWrite, |_| {}).map_err(|error| {
            hyp.release(vm, buffers.tx);
            status(error)
        })
    }

    pub(crate) fn rxtx_unmap(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        unmap: RxTxUnmap,
    ) -> Result<Reply, Status> {
        own_or_none(vm, unmap.endpoint)?;
        let buffers = {
            let record = state.record(vm)?;
            record.enter();
            let taken = match record.mailbox {
                Mailbox::Mapped { rx: RxState::Filling, .. } | Mailbox::Changing => Err(Status::Denied),
                Mailbox::Mapped { buffers, .. } => Ok(buffers),
                Mailbox::Unmapped => Err(Status::InvalidParameters),
            };
            match taken {
                Ok(buffers) => {
                    record.mailbox = Mailbox::Changing;
                    drop(state);
                    buffers
                }
                Err(status) => {
                    self.leave(hyp, state, vm);
                    return Err(status);
                }
            }
        };
        hyp.release(vm.id(), buffers.tx);
        hyp.release(vm.id(), buffers.rx);
        let mut state = self.lock();
        if let Ok(record) = state.record(vm) {
            record.untrack_buffers();
            record.mailbox = Mailbox::Unmapped;
        }
        self.leave(hyp, state, vm);
        Ok(Reply::DONE)
    }

    pub(crate) fn rx_release(
        &self,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        release: RxRelease,
    ) -> Result<Reply, Status> {
        own_or_none(vm, release.endpoint)?;
        match &mut state.record(vm)?.mailbox {
            Mailbox::Mapped { rx, .. } if *rx == RxState::Owned => {
                *rx = RxState::Free;
                Ok(Reply::DONE)
            }
            _ => Err(Status::Denied),
        }
    }
}

/// A guest may leave its ID out or name itself, as Linux before 7.0 does, but nobody else.
fn own_or_none(vm: VmKey, endpoint: PartitionId) -> Result<(), Status> {
    if endpoint == PartitionId(0) || endpoint == vm.id() { Ok(()) } else { Err(Status::InvalidParameters) }
}
