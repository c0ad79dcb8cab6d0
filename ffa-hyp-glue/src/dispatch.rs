//! From registers to the handler of a call: decode, check against the table, serve.

use ffa_abi::{Call, CallError, Function, FunctionId, Regs, Status, version_answer};

use crate::mediator::{Guard, Reply};
use crate::{Caller, Mediator, Platform, Scratch, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn dispatch(
        &self,
        hyp: &mut P,
        caller: Caller,
        id: FunctionId,
        regs: &mut Regs,
        scratch: &mut Scratch,
    ) -> Reply {
        let mut state = self.lock();
        let record = state.record(caller.vm)?;
        if id.function() == Function::Version {
            *regs = self.version(state, caller, regs.w::<1>());
            return Ok(());
        }
        if record.dying {
            return Err(Status::Denied);
        }
        let version = record.negotiation.fix()?;
        if !self.served.contains(id, version) {
            return Err(Status::NotSupported);
        }
        match Call::decode(id, regs).map_err(|error| status(&error))? {
            Call::Features(query) => *regs = self.features(version, query)?,
            Call::IdGet => *regs = Regs::success(u32::from(caller.vm.id().0), 0),
            Call::RxTxMap(map) => {
                self.rxtx_map(hyp, state, caller.vm, map)?;
                *regs = Regs::success(0, 0);
            }
            Call::RxTxUnmap(unmap) => {
                self.rxtx_unmap(hyp, state, caller.vm, unmap)?;
                *regs = Regs::success(0, 0);
            }
            Call::RxRelease(release) => {
                self.rx_release(state, caller.vm, release)?;
                *regs = Regs::success(0, 0);
            }
            Call::PartitionInfoGet(get) => {
                *regs = self.partition_info_get(hyp, state, caller.vm, version, get, scratch)?;
            }
            Call::DirectRequest(request) => {
                self.direct_request(hyp, state, caller, version, request, regs)?;
            }
            Call::Run(target) => self.run_target(hyp, state, caller, version, target, regs)?,
            Call::MemSend(send) => {
                let handle = self.mem_send(hyp, state, caller.vm, version, send, scratch)?;
                let [low, high] = handle.words();
                *regs = Regs::success(low as u32, high as u32);
            }
            Call::MemReclaim(reclaim) => {
                self.mem_reclaim(hyp, state, caller.vm, reclaim)?;
                *regs = Regs::success(0, 0);
            }
            _ => return Err(Status::NotSupported),
        }
        Ok(())
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
