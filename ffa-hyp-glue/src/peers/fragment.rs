//! The rest of a retrieve response that is longer than RX.

use ffa_abi::{Function, MemFragRx, MemFragTx, PartitionId, Status, Version};
use ffa_mem::RetrieveResponse;
use ffa_teardown::{ShareId, VmKey};

use super::loan::Stage;
use crate::mediator::{Guard, State};
use crate::record::tag;
use crate::{Case, Mediator, Platform, Scratch, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Writes to RX what follows `offset` in the response that a borrower was given. It may ask for any part of it, again and
    /// in any order: nothing is kept for it but the memory that it has.
    pub(crate) fn mem_frag_rx(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        wanted: MemFragRx,
        scratch: &mut Scratch,
    ) -> Result<MemFragTx, Status> {
        if wanted.endpoint != PartitionId(0) {
            return Err(Status::InvalidParameters);
        }
        let (at, pages) = state.retrieved(vm, &wanted)?;
        let ranges = state.record(vm)?.ranges.run(tag(pages)).len();
        let place = place(wanted.offset, version).filter(|place| *place < ranges);
        let place = place.ok_or(Status::InvalidParameters)?;
        let rx = self.begin_filling(hyp, state, vm, (Function::MemFragRx, Case::NoRx))?;
        let room = scratch.output.len().min(usize::try_from(rx.bytes()).unwrap_or(usize::MAX));
        let out = scratch.output.get_mut(..room).unwrap_or_default();
        // If it has let go meanwhile, nothing is left to be told.
        let len = RetrieveResponse::write_ranges(self.in_order_from(vm, pages, place), out);
        let fragment = out.get(..len).unwrap_or_default();
        let written = hyp.write(vm.id(), rx.base(), fragment);
        let mut state = self.lock();
        let still = state.retrieved(vm, &wanted) == Ok((at, pages)) && written.is_ok() && len > 0;
        // It knows all of what is given to it, and has it from now on.
        let is_last = still && place + len / RetrieveResponse::RANGE_LEN >= ranges;
        if is_last && state.begin_giving(at) {
            drop(state);
            self.give(hyp, at, vm, pages);
            state = self.lock();
        }
        self.end_filling(hyp, state, vm, still);
        if !still {
            return Err(Status::Aborted);
        }
        let fragment_len = u32::try_from(len).unwrap_or(u32::MAX);
        Ok(MemFragTx { handle: wanted.handle, fragment_len, endpoint: PartitionId(0) })
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// Where the loan is that a borrower has retrieved, and under which its pages are tracked.
    fn retrieved(&mut self, vm: VmKey, wanted: &MemFragRx) -> Result<(usize, ShareId), Status> {
        let at = self.loans().find(wanted.handle, vm).ok_or(Status::InvalidParameters)?;
        match self.loans().get(at).map(|loan| loan.stage) {
            Some(Stage::Retrieved(borrowed)) => Ok((at, borrowed.pages)),
            _ => Err(Status::InvalidParameters),
        }
    }
}

/// Which range begins at `offset` in a response to a borrower of this version.
fn place(offset: u32, version: Version) -> Option<usize> {
    let behind = usize::try_from(offset).ok()?.checked_sub(RetrieveResponse::head_len(version))?;
    let size = RetrieveResponse::RANGE_LEN;
    (behind % size == 0).then_some(behind / size)
}
