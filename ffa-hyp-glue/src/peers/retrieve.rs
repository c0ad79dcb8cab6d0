//! FFA_MEM_RETRIEVE_REQ of what another VM has offered.

use ffa_abi::{Function, MemRetrieveReq, MemRetrieveResp, Status, Version};
use ffa_mem::{
    DataAccess, InstructionAccess, IpaRange, MemoryAttributes, Receiver, RetrieveFlags, RetrieveRequest,
    RetrieveResponse,
};
use ffa_teardown::VmKey;

use super::grant::Grant;
use super::loan::{Borrowed, Stage, Terms};
use crate::mediator::Guard;
use crate::message::status;
use crate::record::tag;
use crate::{Access, Case, Event, EventKind, Lending, Mediator, PageError, Platform, Scratch, Stores};

/// A retrieval for which all is reserved.
#[derive(Clone, Copy)]
struct Retrieval {
    grant: Grant,
    borrowed: Borrowed,
    /// Pages, which count as the borrower's from the beginning.
    lent: u32,
    take_reference: bool,
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn mem_retrieve(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        request: MemRetrieveReq,
        scratch: &mut Scratch,
    ) -> Result<MemRetrieveResp, Status> {
        if request.address != 0 || request.pages != 0 || request.fragment_len > request.total_len {
            return Err(Status::InvalidParameters);
        }
        // It has no ranges, so that it is short.
        if request.fragment_len != request.total_len {
            return Err(Status::NotSupported);
        }
        let record = state.record(vm)?;
        let tx = record.tx().filter(|tx| u64::from(request.total_len) <= tx.bytes());
        let tx = tx.ok_or(Status::InvalidParameters)?;
        record.enter();
        drop(state);
        let retrieved = self.retrieve(hyp, vm, version, tx, request.total_len, scratch);
        self.leave(hyp, self.lock(), vm);
        retrieved
    }

    fn retrieve(
        &self,
        hyp: &mut P,
        vm: VmKey,
        version: Version,
        tx: IpaRange,
        len: u32,
        scratch: &mut Scratch,
    ) -> Result<MemRetrieveResp, Status> {
        let Scratch { input, output } = scratch;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = input.get_mut(..len).ok_or(Status::NoMemory)?;
        hyp.read(vm.id(), tx.base(), bytes).map_err(|_| Status::InvalidParameters)?;
        let request = RetrieveRequest::parse(bytes, version).map_err(|error| error.status())?;
        let mut state = self.lock();
        state.grant(vm, &request)?;
        // Nobody is kept from anything for the sake of a response that cannot be given.
        let rx = self.begin_filling(hyp, state, vm, (Function::MemRetrieveReq, Case::NoRx))?;
        let retrieval = match self.begin_retrieving(vm, &request) {
            Ok(retrieval) => retrieval,
            Err(status) => {
                self.end_filling(hyp, self.lock(), vm, false);
                return Err(status);
            }
        };
        self.take_reference(hyp, vm, retrieval.take_reference);
        let Retrieval { grant, borrowed, lent, .. } = retrieval;
        let Terms { owner, pages, handle, .. } = grant.loan.terms;
        if grant.zero_before {
            self.each_range(hyp, owner, pages, |hyp, range| hyp.zero(owner.id(), range));
        }
        let responded = self
            .map_lent(hyp, vm, &retrieval)
            .and_then(|()| self.respond(hyp, vm, version, &retrieval, rx, output));
        let response = match responded {
            Ok(response) => response,
            Err(status) => {
                let unmapped = self.unmap(hyp, grant.at, vm, Borrowed { zero_after: false, ..borrowed });
                let mut state = self.lock();
                if let Ok(record) = state.record(vm) {
                    // Only what was mapped has been taken off.
                    record.pages = record.pages.saturating_sub(lent.saturating_sub(unmapped).into());
                }
                self.end_filling(hyp, state, vm, false);
                self.settle(hyp, self.lock(), grant.at);
                return Err(status);
            }
        };
        let mut state = self.lock();
        let total = state.pages(vm, borrowed.pages);
        let is_whole = response.fragment_len == response.total_len;
        let is_given = is_whole && state.begin_giving(grant.at);
        if let (false, Some(loan)) = (is_given, state.loans().get(grant.at)) {
            loan.stage = Stage::Retrieved(borrowed);
        }
        drop(state);
        let handle = Some(handle);
        hyp.event(&Event { handle, ..Event::new(vm.id(), EventKind::Retrieved { pages: total }) });
        if is_given {
            self.give(hyp, grant.at, vm, borrowed.pages);
        }
        self.end_filling(hyp, self.lock(), vm, true);
        // Its owner may have died meanwhile.
        self.settle(hyp, self.lock(), grant.at);
        Ok(response)
    }

    /// Reserves all that the borrower's part of the loan will need, and keeps everybody else from the loan.
    ///
    /// # Errors
    /// The status for the guest; nothing has begun.
    fn begin_retrieving(&self, vm: VmKey, request: &RetrieveRequest<'_>) -> Result<Retrieval, Status> {
        let mut state = self.lock();
        // Much may have happened since it was looked at first.
        let grant = state.grant(vm, request)?;
        let Terms { owner, pages, .. } = grant.loan.terms;
        let lent = state.pages(owner, pages);
        let (engine, record) = state.engine_and_record(vm)?;
        let pages = self.check_quota(record, lent)?;
        let begun = engine.begin_loan(vm).map_err(|error| status(&error))?;
        record.shares += 1;
        // Before they are mapped, or another vCPU could come to have more than it may meanwhile.
        record.pages = pages;
        state.loans().get(grant.at).ok_or(Status::Aborted)?.stage = Stage::Retrieving;
        let writable = grant.permissions.data != DataAccess::ReadOnly;
        let borrowed = Borrowed { pages: begun.id, writable, zero_after: grant.zero_after };
        Ok(Retrieval { grant, borrowed, lent, take_reference: begun.take_reference })
    }

    /// Maps the owner's pages for the borrower, and keeps the borrower from offering them to others. After an error a part may
    /// be mapped, and all that is, is tracked.
    fn map_lent(&self, hyp: &mut P, vm: VmKey, retrieval: &Retrieval) -> Result<(), Status> {
        let Retrieval { grant: Grant { loan, permissions, .. }, borrowed, .. } = *retrieval;
        let lending = Lending {
            owner: loan.terms.owner.id(),
            borrower: vm.id(),
            access: match permissions.data {
                DataAccess::ReadOnly => Access::ReadOnly,
                DataAccess::ReadWrite | DataAccess::Unspecified => Access::ReadWrite,
            },
            executable: permissions.instruction == InstructionAccess::Executable,
        };
        self.in_order(loan.terms.owner, loan.terms.pages).try_for_each(|range| {
            let there = hyp.map(&lending, range).map_err(|error| match error {
                PageError::NoResources => Status::NoMemory,
                PageError::NotOwned { .. } => Status::Denied,
            })?;
            debug_assert_eq!(there.pages(), range.pages(), "as many pages as are lent");
            let tracked = self.lock().record(vm)?.ranges.extend_draft(tag(borrowed.pages), [there]);
            tracked.map_err(|error| error.status()).inspect_err(|_| hyp.unmap(vm.id(), there))
        })?;
        let mut state = self.lock();
        state.record(vm)?.ranges.seal(tag(borrowed.pages)).map_err(|_| Status::Denied)
    }

    /// Writes the response to RX, or as much of it as there is room for.
    fn respond(
        &self,
        hyp: &mut P,
        vm: VmKey,
        version: Version,
        retrieval: &Retrieval,
        rx: IpaRange,
        output: &mut [u8],
    ) -> Result<MemRetrieveResp, Status> {
        let Grant { loan, permissions, .. } = retrieval.grant;
        let pages = retrieval.borrowed.pages;
        let (range_count, total_pages) = {
            let mut state = self.lock();
            let ranges = state.record(vm)?.ranges.run(tag(pages)).len();
            (u32::try_from(ranges).unwrap_or(u32::MAX), state.pages(vm, pages))
        };
        let is_zeroed = loan.terms.zeroed || retrieval.grant.zero_before;
        let zeroed = if is_zeroed { RetrieveFlags::ZERO_BEFORE } else { RetrieveFlags::default() };
        let response = RetrieveResponse {
            version,
            sender: loan.terms.owner.id(),
            attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
            flags: zeroed.with_transaction(loan.terms.transaction),
            handle: loan.terms.handle,
            tag: loan.terms.tag,
            receiver: Receiver { permissions, ..loan.receiver },
            range_count,
            total_pages,
        };
        let room = output.len().min(usize::try_from(rx.bytes()).unwrap_or(usize::MAX));
        let out = output.get_mut(..room).ok_or(Status::NoMemory)?;
        let rest = response.write_head(out).ok_or(Status::NoMemory)?;
        let ranges_len = RetrieveResponse::write_ranges(self.in_order(vm, pages), rest);
        let fragment_len = RetrieveResponse::head_len(version) + ranges_len;
        let fragment = out.get(..fragment_len).ok_or(Status::Aborted)?;
        hyp.write(vm.id(), rx.base(), fragment).map_err(|_| Status::Aborted)?;
        Ok(MemRetrieveResp { total_len: response.total_len() as u32, fragment_len: fragment_len as u32 })
    }
}
