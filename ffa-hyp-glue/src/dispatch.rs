//! From registers to the handler of a call: decode, check against the table, serve.

use ffa_abi::{
    DirectRequest2, FeatureQuery, Function, FunctionId, Handle, MemFragRx, MemFragTx, MemReclaim,
    MemRetrieveReq, MemSend, MsgSend2, NotificationBind, NotificationGet, NotificationInfoGet,
    NotificationSet, NotificationUnbind, PartitionInfoGet, PartitionInfoGetRegs, Regs, RunTarget, RxRelease,
    RxTxMap, RxTxUnmap, Status, version_answer,
};

use crate::{Caller, Case, Mediator, Platform, Scratch, Stores};

/// What a guest's call came to, unless it is a status for FFA_ERROR.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// FFA_SUCCESS with these values.
    Success { w2: u32, w3: u32 },
    /// The registers of the answer are in place.
    InPlace,
}

impl Reply {
    /// FFA_SUCCESS, which says it all.
    pub(crate) const DONE: Self = Self::Success { w2: 0, w3: 0 };

    /// FFA_SUCCESS with a handle.
    pub(crate) const fn handle(handle: Handle) -> Self {
        let [low, high] = handle.words();
        Self::Success { w2: low as u32, w3: high as u32 }
    }
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn dispatch(
        &self,
        hyp: &mut P,
        caller: Caller,
        id: FunctionId,
        regs: &mut Regs,
        scratch: &mut Scratch,
    ) -> Result<Reply, Status> {
        let mut state = self.lock();
        let vm = caller.vm;
        let record = state.record(vm)?;
        if id.function() == Function::Version {
            let version = if record.dying {
                None
            } else {
                record.negotiation.ask(regs.w::<1>(), self.settings.version).ok()
            };
            *regs = version_answer::to_regs(version);
            return Ok(Reply::InPlace);
        }
        if record.dying {
            return Err(Status::Denied);
        }
        let version = match record.negotiation.version() {
            Some(version) => version,
            None => {
                let version = record.negotiation.fix()?;
                state.vms_changed(&self.settings);
                version
            }
        };
        if !self.served.contains(id, version) {
            return Err(Status::NotSupported);
        }
        match id.function() {
            Function::Features => self.features(hyp, state, vm, version, FeatureQuery::from_regs(regs)),
            Function::IdGet => Ok(Reply::Success { w2: u32::from(vm.id().0), w3: 0 }),
            Function::RxTxMap => self.rxtx_map(hyp, state, vm, RxTxMap::from_regs(id, regs)?),
            Function::RxTxUnmap => self.rxtx_unmap(hyp, state, vm, RxTxUnmap::from_regs(id, regs)?),
            Function::RxRelease => self.rx_release(hyp, state, vm, RxRelease::from_regs(id, regs)?),
            Function::PartitionInfoGet => {
                let get = PartitionInfoGet::from_regs(id, regs)?;
                self.partition_info_get(hyp, state, vm, version, get, scratch)
            }
            Function::PartitionInfoGetRegs => {
                let get = PartitionInfoGetRegs::from_regs(regs);
                self.partition_info_get_regs(hyp, state, vm, version, get, regs)
            }
            // Passed on nearly as it is, so not decoded.
            Function::MsgSendDirectReq => self.direct_request(hyp, state, caller, version, id, regs),
            Function::MsgSendDirectReq2 => {
                let request = DirectRequest2::from_regs(regs);
                self.direct_request2(hyp, state, caller, version, &request, regs)
            }
            Function::Run => {
                let target = RunTarget::from_word(regs.w::<1>());
                self.run_target(hyp, state, caller, version, target, regs)
            }
            Function::MemShare => {
                self.mem_send(hyp, state, vm, version, MemSend::from_regs(id, regs), scratch, regs)
            }
            Function::MemLend | Function::MemDonate => {
                self.mem_lend_or_donate(hyp, state, vm, version, MemSend::from_regs(id, regs), scratch, regs)
            }
            Function::MemFragTx => {
                self.mem_frag_tx(hyp, state, vm, MemFragTx::from_regs(id, regs)?, scratch, regs)
            }
            Function::MemRetrieveReq => {
                let request = MemRetrieveReq::from_regs(id, regs);
                *regs = self.mem_retrieve(hyp, state, vm, version, request, scratch)?.to_regs();
                Ok(Reply::InPlace)
            }
            Function::MemFragRx => {
                let wanted = MemFragRx::from_regs(id, regs)?;
                *regs = self.mem_frag_rx(hyp, state, vm, version, wanted, scratch)?.to_regs();
                Ok(Reply::InPlace)
            }
            Function::MemRelinquish => self.mem_relinquish(hyp, state, vm).map(|()| Reply::DONE),
            Function::MemReclaim => self.mem_reclaim(hyp, state, vm, MemReclaim::from_regs(id, regs)?),
            Function::MsgSend2 => {
                self.msg_send2(hyp, state, vm, version, MsgSend2::from_regs(id, regs)?, scratch)
            }
            Function::NotificationBind => {
                let bind = NotificationBind::from_regs(id, regs).map_err(|error| {
                    self.settings.compat.status(Function::NotificationBind, Case::Flags, error.into())
                })?;
                self.notification_bind(hyp, state, vm, bind)
            }
            Function::NotificationUnbind => {
                self.notification_unbind(hyp, state, vm, NotificationUnbind::from_regs(id, regs)?)
            }
            Function::NotificationSet => {
                self.notification_set(hyp, state, vm, NotificationSet::from_regs(id, regs)?)
            }
            Function::NotificationGet => {
                self.notification_get(hyp, state, vm, NotificationGet::from_regs(id, regs)?, regs)
            }
            Function::NotificationInfoGet => {
                self.notification_info_get(state, vm, NotificationInfoGet::from_regs(id, regs)?, regs)
            }
            _ => Err(Status::NotSupported),
        }
    }
}
