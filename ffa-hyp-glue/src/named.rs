//! What a handle names, in the words of the SPMC: asked where the mediator's own books leave it open.

use core::sync::atomic::Ordering;

use ffa_abi::{
    Answer, Call, Function, FunctionId, Handle, MemFragRx, MemFragTx, MemRetrieveReq, MemRetrieveResp,
    PartitionId, Regs, RxRelease, Status, Width,
};
use ffa_mem::{
    HypervisorRetrieveRequest, HypervisorRetrieveResponse, PAGE_SIZE, PhysRange, Physical, Ranges,
};
use ffa_teardown::{ShareId, VmKey};

use crate::{Mediator, Platform, Stores};

/// What the SPMC says of a handle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Named {
    /// It names the transaction in question.
    Own,
    /// It does not, or the answer makes no sense.
    NotOwn,
    /// It cannot be asked at this moment.
    Later,
}

/// Our copy of what the SPMC writes to RX.
type Page = [u8; PAGE_SIZE as usize];

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Asks the SPMC whether `handle` names the whole transaction `share` of `vm`, whose pages are held: if what it names is
    /// of that VM, and all of its pages are among those, which no other transaction can have. The caller has our TX page.
    ///
    /// Makes a call for each page of the answer, and one more for each to release RX.
    #[cold]
    #[inline(never)] // 4 KiB of stack, for nobody else
    pub(crate) fn ask_what_it_names(&self, hyp: &mut P, vm: VmKey, share: ShareId, handle: Handle) -> Named {
        S::before_lock();
        if self.rx_busy.swap(true, Ordering::Acquire) {
            return Named::Later;
        }
        let request = HypervisorRetrieveRequest { version: self.spmc.version(), handle };
        let named = self.read_what_it_names(hyp, vm, share, &request);
        self.rx_busy.store(false, Ordering::Release);
        named
    }

    fn read_what_it_names(
        &self,
        hyp: &mut P,
        vm: VmKey,
        share: ShareId,
        request: &HypervisorRetrieveRequest,
    ) -> Named {
        let mut page: Page = [0; PAGE_SIZE as usize];
        let Some(len) = request.write(&mut page) else { return Named::NotOwn };
        hyp.write_tx(page.get(..len).unwrap_or_default());
        let len = len as u32;
        let call =
            MemRetrieveReq { width: Width::Smc32, total_len: len, fragment_len: len, address: 0, pages: 0 };
        let regs = hyp.call(&call.to_regs());
        let Some(MemRetrieveResp { total_len, fragment_len }) = MemRetrieveResp::from_answer(&regs) else {
            return refused(hyp, &regs);
        };
        let pages = self.lock().pages(vm, share);
        let first = take_rx(hyp, &mut page, fragment_len);
        let Ok(HypervisorRetrieveResponse { head, ranges, mut rest }) =
            HypervisorRetrieveResponse::parse(first, total_len, request)
        else {
            return Named::NotOwn;
        };
        // No two ranges have a page in common, so there are as many as pages at most.
        if head.sender() != vm.id() || rest.range_count() > pages {
            return Named::NotOwn;
        }
        let mut left = pages;
        // A page of RX is as much as we read, and as little as the SPMC has reason to write.
        let mut fragments = total_len.div_ceil(PAGE_SIZE as u32);
        let mut own = self.takes_from(hyp, vm, share, ranges, &mut left);
        while own && !rest.is_whole() {
            if fragments == 0 {
                return Named::NotOwn;
            }
            fragments -= 1;
            let next = MemFragRx { handle: request.handle, offset: rest.offset(), endpoint: vm.id() };
            let regs = hyp.call(&next.to_regs());
            own = match fetched(&regs, &next) {
                Some(len) => {
                    let fragment = take_rx(hyp, &mut page, len);
                    let ranges = rest.take(fragment);
                    ranges.is_ok_and(|ranges| self.takes_from(hyp, vm, share, ranges, &mut left))
                }
                None => return refused(hyp, &regs),
            };
        }
        if own && left == 0 { Named::Own } else { Named::NotOwn }
    }

    /// Whether all pages of these ranges are those of a transaction, of which so many are `left`.
    fn takes_from(
        &self,
        hyp: &mut P,
        vm: VmKey,
        share: ShareId,
        ranges: Ranges<'_, Physical>,
        left: &mut u32,
    ) -> bool {
        let named = ranges.clone().fold(0_u64, |pages, range| pages.saturating_add(range.pages().into()));
        let mut own = 0_u64;
        self.each_range(hyp, vm, share, |hyp, range| {
            hyp.runs(vm.id(), range, |run| {
                own = ranges.clone().fold(own, |own, range| own.saturating_add(common_pages(&range, &run)));
            });
        });
        let rest = u32::try_from(named).ok().and_then(|named| left.checked_sub(named));
        *left = rest.unwrap_or(0);
        rest.is_some() && own == named
    }
}

/// Copies what the SPMC has put into RX, and gives RX back. Nothing if it is more than there is room for.
fn take_rx<'a, P: Platform>(hyp: &mut P, page: &'a mut Page, len: u32) -> &'a [u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let fragment = page.get_mut(..len).unwrap_or_default();
    hyp.read_rx(0, fragment);
    release_rx(hyp);
    fragment
}

fn release_rx<P: Platform>(hyp: &mut P) {
    let release = Call::RxRelease(RxRelease { endpoint: PartitionId::HYPERVISOR });
    let _refused_if_not_ours = hyp.call(&release.to_regs());
}

/// The length of the fragment that was asked for, if that is what came.
fn fetched(regs: &Regs, asked: &MemFragRx) -> Option<u32> {
    let id = const { FunctionId::smc32(Function::MemFragTx) };
    let fragment = MemFragTx::from_regs(id, regs).ok().filter(|_| regs.w::<0>() == id.w0())?;
    let right = fragment.handle == asked.handle && fragment.endpoint == asked.endpoint;
    right.then_some(fragment.fragment_len)
}

/// What follows from an answer other than the one that was asked for. It may have come with RX all the same.
fn refused<P: Platform>(hyp: &mut P, regs: &Regs) -> Named {
    release_rx(hyp);
    match Answer::from_regs(regs) {
        Answer::Error(status) if [Status::Busy, Status::Retry].map(Status::code).contains(&status.code()) => {
            Named::Later
        }
        _ => Named::NotOwn,
    }
}

fn common_pages(one: &PhysRange, other: &PhysRange) -> u64 {
    let (base, end) = (one.base().max(other.base()), one.end().min(other.end()));
    end.saturating_sub(base) / PAGE_SIZE
}
