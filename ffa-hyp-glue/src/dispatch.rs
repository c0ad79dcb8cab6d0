//! From registers to the handler of a call: decode, check against the table, serve.

use ffa_abi::{Call, CallError, Function, FunctionId, Regs, Status, version_answer};

use crate::mediator::Guard;
use crate::{Caller, Mediator, Platform, Scratch, Stores};

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
        let record = state.record(caller.vm)?;
        if id.function() == Function::Version {
            *regs = self.version(state, caller, regs.w::<1>());
            return Ok(Reply::InPlace);
        }
        if record.dying {
            return Err(Status::Denied);
        }
        let version = record.negotiation.fix()?;
        if !self.served.contains(id, version) {
            return Err(Status::NotSupported);
        }
        // Passed on nearly as it is, so not decoded.
        if id.function() == Function::MsgSendDirectReq {
            return self.direct_request(hyp, state, caller, version, id, regs);
        }
        let vm = caller.vm;
        match Call::decode(id, regs) {
            Ok(Call::Features(query)) => self.features(version, query),
            Ok(Call::IdGet) => Ok(Reply::Success { w2: u32::from(vm.id().0), w3: 0 }),
            Ok(Call::RxTxMap(map)) => self.rxtx_map(hyp, state, vm, map),
            Ok(Call::RxTxUnmap(unmap)) => self.rxtx_unmap(hyp, state, vm, unmap),
            Ok(Call::RxRelease(release)) => self.rx_release(state, vm, release),
            Ok(Call::PartitionInfoGet(get)) => self.partition_info_get(hyp, state, vm, version, get, scratch),
            Ok(Call::Run(target)) => self.run_target(hyp, state, caller, version, target, regs),
            Ok(Call::MemSend(send)) => self.mem_send(hyp, state, vm, version, send, scratch),
            Ok(Call::MemReclaim(reclaim)) => self.mem_reclaim(hyp, state, vm, reclaim),
            Ok(_) => Err(Status::NotSupported),
            Err(error) => Err(status(&error)),
        }
    }

    fn version(&self, mut state: Guard<'_, P, S>, caller: Caller, word: u32) -> Regs {
        let version = match state.record(caller.vm) {
            Ok(record) if !record.dying => record.negotiation.ask(word, self.settings.version).ok(),
            _ => None,
        };
        version_answer::to_regs(version)
    }
}

/// What a guest is told of registers that are no call.
fn status(error: &CallError) -> Status {
    match error {
        CallError::Unknown(_) => Status::NotSupported,
        CallError::Reserved { .. } | CallError::Handle { .. } => Status::InvalidParameters,
        _ => Status::NotSupported,
    }
}
