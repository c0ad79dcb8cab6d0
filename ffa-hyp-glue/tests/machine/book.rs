//! What guests know, and what they may be told.

use std::collections::BTreeSet;

use ffa_abi::{
    Answer, FirmwareStatus, Function, FunctionId, Handle, PartitionId, Regs, Status, Version, Width,
};

use crate::tally::Tally;

/// A descriptor that was sent in part.
#[derive(Clone, Debug)]
pub struct Draft {
    pub handle: Handle,
    pub bytes: Vec<u8>,
    /// Bytes that were sent.
    pub sent: usize,
    pub offer: Offer,
}

/// What a descriptor offers.
#[derive(Clone, Debug)]
pub struct Offer {
    pub pages: BTreeSet<u64>,
    /// Whether all of them are the guest's to share.
    pub own: bool,
}

/// What one guest knows.
#[derive(Debug, Default)]
pub struct Guest {
    pub version: Option<Version>,
    /// Its shares, the newest last: handle and pages.
    pub shares: Vec<(Handle, BTreeSet<u64>)>,
    /// Its descriptors that were sent in part, the newest last.
    pub drafts: Vec<Draft>,
    /// Guest-physical addresses of TX and RX, and pages of each.
    pub buffers: Option<(u64, u64, u8)>,
    /// SPs that were preempted for a vCPU, as FFA_RUN names them.
    pub paused: BTreeSet<(u16, u32)>,
}

impl Guest {
    /// Whether a page is offered already.
    pub fn offers(&self, page: u64) -> bool {
        self.shares.iter().any(|(_, pages)| pages.contains(&page))
            || self.buffers.is_some_and(|(tx, rx, pages)| {
                let len = u64::from(pages) * 0x1000;
                [tx, rx].iter().any(|base| (*base..base + len).contains(&page))
            })
    }
}

/// What all of them know, and what was wrong.
#[derive(Debug, Default)]
pub struct Book {
    pub guests: [Guest; 3],
    /// Handles of shares that are no more.
    pub spent: Vec<Handle>,
    /// VMs and SPs whose messages the mediator has given up.
    pub given_up: BTreeSet<(PartitionId, PartitionId)>,
    /// The vCPU that is in the middle of a call.
    pub busy: Option<(u8, u16)>,
    /// Something else happens during this step.
    pub raced: bool,
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
        Answer::Success(_) => !request,
        Answer::DirectResponse(_) | Answer::DirectResponse2 { .. } | Answer::MsgWait => request,
        Answer::Interrupt(_) | Answer::Yield { .. } => request,
        Answer::MemFragRx(_) => {
            use Function::{MemDonate, MemFragTx, MemLend, MemShare};
            matches!(called, MemShare | MemLend | MemDonate | MemFragTx)
        }
        _ => false,
    }
}
