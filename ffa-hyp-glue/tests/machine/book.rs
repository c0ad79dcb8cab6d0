//! What guests know, and what they may be told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ffa_abi::{
    Answer, FirmwareStatus, Function, FunctionId, Handle, PartitionId, Regs, Status, Transaction, Version,
    Width,
};

use crate::offer::Offer;
use crate::tally::Tally;

/// A descriptor that was sent in part.
#[derive(Clone, Debug)]
pub struct Draft {
    pub handle: Handle,
    pub how: Transaction,
    pub bytes: Vec<u8>,
    /// Bytes that were sent.
    pub sent: usize,
}

/// A memory transaction.
#[derive(Clone, Debug)]
pub struct Sent {
    pub handle: Handle,
    pub how: Transaction,
    pub offer: Offer,
}

/// What one guest knows.
#[derive(Debug, Default)]
pub struct Guest {
    pub version: Option<Version>,
    /// Physical address of each of its pages.
    pub frames: BTreeMap<u64, u64>,
    /// Its memory transactions, the newest last.
    pub sent: Vec<Sent>,
    /// Its descriptors that were sent in part, the newest last.
    pub drafts: Vec<Draft>,
    /// Pages that it has given away for good.
    pub gone: BTreeSet<u64>,
    /// Guest-physical addresses of TX and RX, and pages of each.
    pub buffers: Option<(u64, u64, u8)>,
    /// SPs that were preempted for a vCPU, as FFA_RUN names them.
    pub paused: BTreeSet<(u16, u32)>,
}

impl Guest {
    /// Whether a page is offered already.
    pub fn offers(&self, page: u64) -> bool {
        self.sent.iter().any(|sent| sent.offer.pages.contains(&page))
            || self.gone.contains(&page)
            || self.buffers.is_some_and(|(tx, rx, pages)| {
                let len = u64::from(pages) * 0x1000;
                [tx, rx].iter().any(|base| (*base..base + len).contains(&page))
            })
    }

    /// Which of its transactions a handle names. A donation that was taken has left its handle to others.
    pub fn named(&self, handle: Handle) -> Option<usize> {
        let is_it = |donated: bool| {
            move |sent: &Sent| sent.handle == handle && (sent.how == Transaction::Donate) == donated
        };
        // While one is being reclaimed, the next may have its handle.
        self.sent.iter().position(is_it(false)).or_else(|| self.sent.iter().rposition(is_it(true)))
    }

    /// Pages that it must not reach.
    pub fn lost(&self) -> impl Iterator<Item = u64> {
        let away = self.sent.iter().filter(|sent| sent.how != Transaction::Share);
        away.flat_map(|sent| sent.offer.pages.iter().copied()).chain(self.gone.iter().copied())
    }
}

/// What a VM has lent to others.
#[derive(Clone, Debug)]
pub struct Loan {
    pub handle: Handle,
    pub owner: u8,
    pub owner_lives: bool,
    pub offer: Offer,
    pub borrowers: Vec<Borrower>,
}

#[derive(Clone, Debug)]
pub struct Borrower {
    pub vm: u8,
    /// Where it has the pages, in order: once, but for what two CPUs do at once.
    pub has: VecDeque<Vec<(u64, u32)>>,
    /// It was relinquished on another CPU before the retrieval had returned.
    pub returned: u32,
}

impl Loan {
    pub fn borrower(&mut self, vm: u8) -> Option<&mut Borrower> {
        self.borrowers.iter_mut().find(|borrower| borrower.vm == vm)
    }

    /// Pages that a VM has of it.
    pub fn pages_of(&self, vm: u8) -> usize {
        let of = self.borrowers.iter().filter(|borrower| borrower.vm == vm);
        of.map(|borrower| borrower.has.len() * self.offer.pages.len()).sum()
    }
}

/// What all of them know, and what was wrong.
#[derive(Debug, Default)]
pub struct Book {
    pub guests: [Guest; 3],
    pub loans: Vec<Loan>,
    /// Handles that the mediator has given out by itself.
    pub names: BTreeSet<u64>,
    /// Handles of transactions that are no more.
    pub spent: Vec<Handle>,
    /// VMs and SPs whose messages the mediator has given up.
    pub given_up: BTreeSet<(PartitionId, PartitionId)>,
    /// The vCPU that is in the middle of a call.
    pub busy: Option<(u8, u16)>,
    /// Something else happens during this step.
    pub raced: bool,
    /// What was read of guests' memory during this step, if they write over it: addresses and bytes.
    pub read: Vec<(u64, Vec<u8>)>,
    /// What guests were answered.
    pub answers: Vec<Regs>,
    pub wrong: Vec<String>,
    pub tally: Tally,
}

/// Whether `answer` is one that FF-A has for a call of `function`, with nothing but what it defines.
pub fn is_defined(call: &Regs, answer: &Regs) -> bool {
    let Ok(called) = FunctionId::from_w0(call.w::<0>()).map(FunctionId::function) else {
        return *answer == Regs::error(Status::NotSupported);
    };
    if called == Function::Version {
        // A VM that does not live yet, or no more, is told so.
        return *answer == Regs::error(Status::Denied)
            || answer.0[1..] == [0; 17] && matches!(answer[0], 0x1_0000..=0x1_0002 | u64::MAX);
    }
    let wide = FunctionId::from_w0(answer.w::<0>()).is_ok_and(|id| id.width() == Width::Smc64);
    if !wide && (answer.0[8..] != [0; 10] || answer.0.iter().any(|x| x >> 32 != 0)) {
        return false;
    }
    let request = matches!(called, Function::MsgSendDirectReq | Function::MsgSendDirectReq2 | Function::Run);
    match Answer::from_regs(answer) {
        Answer::Error(FirmwareStatus::Known(status)) => *answer == Regs::error(status),
        Answer::Success(_) => !request && called != Function::MemRetrieveReq,
        Answer::DirectResponse(_) | Answer::DirectResponse2 { .. } | Answer::MsgWait => request,
        Answer::Interrupt(_) | Answer::Yield { .. } => request,
        Answer::MemFragRx(_) => {
            use Function::{MemDonate, MemFragTx, MemLend, MemShare};
            matches!(called, MemShare | MemLend | MemDonate | MemFragTx)
        }
        Answer::MemFragTx(_) => called == Function::MemFragRx,
        Answer::Unexpected { w0 } => {
            let retrieved = FunctionId::smc32(Function::MemRetrieveResp).w0();
            called == Function::MemRetrieveReq && w0 == retrieved && answer.0[3..] == [0; 15]
        }
        _ => false,
    }
}
