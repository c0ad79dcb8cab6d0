//! From registers to the handler of a call: decode, check against the table, serve.

use ffa_abi::{Call, CallError, Function, FunctionId, Regs, Status, version_answer};

use crate::mediator::Reply;
use crate::served::serves;
use crate::{Caller, Mediator, Platform, Scratch, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn dispatch(
        &self,
        hyp: &mut P,
        caller: Caller,
        id: FunctionId,
        regs: &Regs,
        scratch: &mut Scratch,
    ) -> Reply {
        if id.function() == Function::Version {
            return Ok(self.version(caller, regs.w::<1>()));
        }
        let version = {
            let mut state = self.lock();
            let record = state.record(caller.vm)?;
            if record.dying {
                return Err(Status::Denied);
            }
            record.negotiation.fix()?
        };
        if !serves(id, version, self.spmc.abilities()) {
            return Err(Status::NotSupported);
        }
        match Call::decode(id, regs).map_err(|error| status(&error))? {
            Call::Features(query) => self.features(version, query),
            Call::IdGet => Ok(Regs::success(u32::from(caller.vm.id().0), 0)),
            Call::RxTxMap(map) => self.rxtx_map(hyp, caller, map),
            Call::RxTxUnmap(unmap) => self.rxtx_unmap(hyp, caller, unmap),
            Call::RxRelease(release) => self.rx_release(caller, release),
            Call::PartitionInfoGet(get) => self.partition_info_get(hyp, caller, version, get, scratch),
            Call::DirectRequest(request) => self.direct_request(hyp, caller, version, request),
            Call::Run(target) => self.run_target(hyp, caller, version, target),
            Call::MemSend(send) => self.mem_send(hyp, caller, version, send, scratch),
            Call::MemReclaim(reclaim) => self.mem_reclaim(hyp, caller, reclaim),
            _ => Err(Status::NotSupported),
        }
    }

    fn version(&self, caller: Caller, word: u32) -> Regs {
        let mut state = self.lock();
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
