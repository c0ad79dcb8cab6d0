//! Memory of other VMs, and what VMs tell each other of it.

use ffa_abi::{
    Answer, Function, FunctionId, Handle, MemFragRx, MemRetrieveReq, MemRetrieveResp, PartitionId, Regs,
    Status, Transaction, Version, Width,
};
use ffa_mem::PAGE_SIZE;
use ffa_teardown::Span;

use super::sends::TAG;
use super::{DESCRIPTOR, GuestCpu, Interpreter, Reply, pattern};
use crate::scenario::Pages;

/// What a borrower writes where the owner had its pattern.
fn taken(pattern: u64) -> u64 {
    !pattern
}

/// Normal memory, write-back, inner shareable.
const ATTRIBUTES: u64 = 0x2f;
/// Read and write, and where nobody else has it, not execute.
const READ_WRITE: u64 = 2;
const NOT_EXECUTABLE: u64 = 1 << 2;
/// Flags: the type of the transaction, and that other borrowers are not named.
const TYPE: u32 = 3;
const ALONE: u64 = 1 << 10;
/// Bytes of a header from 1.1 on, of a composite, and of a range.
const HEADER: u64 = 48;
const COMPOSITE: u64 = 16;
const RANGE: u64 = 16;
/// Where the last word of a page is.
const LAST_WORD: u64 = PAGE_SIZE - 8;
/// How long a guest waits before it tries again.
const PAUSE: Span = Span::from_millis(50);
/// How often it uses memory between two pauses.
const USES: u32 = 64;

impl<C: GuestCpu> Interpreter<'_, C> {
    pub(super) fn tell(&mut self, to: PartitionId) {
        let mut bytes = [0; DESCRIPTOR];
        let handles = self.shares.iter().flatten().map(|handle| handle.get().to_le_bytes());
        let mut len = 0;
        for (chunk, handle) in bytes.chunks_exact_mut(8).zip(handles) {
            chunk.copy_from_slice(&handle);
            len += 8;
        }
        self.send_bytes(to, len, |at| bytes[at]);
    }

    pub(super) fn hear(&mut self, from: PartitionId) {
        let mut bytes = [0; DESCRIPTOR];
        let said = self.message_of(from, &mut bytes);
        let handles = said.unwrap_or_default().chunks_exact(8).map(|chunk| {
            let word = chunk.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            Handle::new(word).ok()
        });
        for (share, handle) in self.shares.iter_mut().skip(self.count).zip(handles) {
            *share = handle;
            self.count += 1;
        }
        self.expect(said.is_some(), format_args!("{from} has said nothing"));
        self.release_rx();
    }

    /// Bytes of what describes a receiver.
    fn emad_len(&self) -> u64 {
        if self.version >= Version::V1_2 { 32 } else { 16 }
    }

    /// FFA_MEM_RETRIEVE_REQ.
    fn request_of(&mut self, handle: Handle, owner: PartitionId, transaction: Transaction) -> Regs {
        let (kind, permissions) = match transaction {
            Transaction::Share => (1, READ_WRITE),
            Transaction::Lend => (2, READ_WRITE | NOT_EXECUTABLE),
            Transaction::Donate => (3, READ_WRITE | NOT_EXECUTABLE),
        };
        let emad_len = self.emad_len();
        let words = [
            u64::from(owner.0) | ATTRIBUTES << 16 | (kind << TYPE | ALONE) << 32,
            handle.get(),
            TAG,
            emad_len | 1 << 32,
            HEADER,
            0,
            u64::from(self.id.0) | permissions << 16,
            0,
            0,
            0,
        ];
        let len = HEADER + emad_len;
        for (at, word) in (self.tx()..self.tx() + len).step_by(8).zip(words) {
            self.cpu.write(at, word);
        }
        let len = len as u32;
        let width = Width::Smc32;
        MemRetrieveReq { width, total_len: len, fragment_len: len, address: 0, pages: 0 }.to_regs()
    }

    pub(super) fn retrieve(&mut self, share: u8, owner: PartitionId, transaction: Transaction, pages: Pages) {
        let Some(handle) = self.handle_of(share) else { return };
        let call = self.request_of(handle, owner, transaction);
        let answer = self.call("FFA_MEM_RETRIEVE_REQ", &call);
        let Some(response) = MemRetrieveResp::from_answer(&answer) else {
            return self.fail(format_args!("FFA_MEM_RETRIEVE_REQ of share {share}: {:x?}", answer.0));
        };
        let head = HEADER + self.emad_len() + COMPOSITE;
        let composite = self.cpu.read(self.rx() + head - COMPOSITE);
        let mut expected = self.pages(pages);
        let mut found: Option<[u64; 2]> = None;
        let (mut done, mut from) = (u64::from(response.fragment_len), head);
        let mut len = done;
        loop {
            for at in (self.rx() + from..self.rx() + len).step_by(RANGE as usize) {
                let (base, pages) = (self.cpu.read(at), self.cpu.read(at + 8));
                for page in (0..pages).map(|page| base + page * PAGE_SIZE) {
                    found = Some([found.map_or(page, |[first, _]| first), page]);
                    let good = expected.next().is_some_and(|owners| self.take_page(owners, page));
                    self.expect(good, format_args!("the page at {page:#x} is not what {owner} has sent"));
                }
            }
            self.release_rx();
            if done >= response.total_len.into() {
                break;
            }
            let next = MemFragRx { handle, offset: done as u32, endpoint: PartitionId(0) };
            let answer = self.call("FFA_MEM_FRAG_RX", &next.to_regs());
            let Answer::MemFragTx(more) = Answer::from_regs(&answer) else {
                return self.fail(format_args!("FFA_MEM_FRAG_RX of share {share}: {:x?}", answer.0));
            };
            (len, from) = (more.fragment_len.into(), 0);
            done += len;
        }
        let whole = expected.next().is_none() && composite as u32 == u32::from(pages.count);
        self.expect(whole, format_args!("share {share} has {composite:#x} ranges and pages"));
        if let Some(loan) = self.loans.get_mut(usize::from(share)) {
            *loan = found;
        }
    }

    /// Whether the page at `page` ends with the pattern that the owner's has; then that is overwritten. SPs write where pages
    /// begin.
    fn take_page(&mut self, owners: u64, page: u64) -> bool {
        let expected = pattern(owners + LAST_WORD);
        let good = self.cpu.read(page + LAST_WORD) == expected;
        self.cpu.write(page + LAST_WORD, taken(expected));
        good
    }

    pub(super) fn see_taken(&mut self, pages: Pages) {
        for address in self.pages(pages).map(|page| page + LAST_WORD) {
            let found = self.cpu.read(address);
            let good = found == taken(pattern(address));
            self.expect(
                good,
                format_args!("memory at {address:#x} holds {found:#x}, and no borrower's word"),
            );
        }
    }

    pub(super) fn see_withdrawn(&mut self, share: u8, owner: PartitionId, transaction: Transaction) {
        let Some(handle) = self.handle_of(share) else { return };
        let call = self.request_of(handle, owner, transaction);
        self.refused("FFA_MEM_RETRIEVE_REQ of what is another's", &call, Status::InvalidParameters);
    }

    pub(super) fn relinquish(&mut self, share: u8) {
        let Some(handle) = self.handle_of(share) else { return };
        // No flags, and one endpoint.
        for (at, word) in (self.tx()..).step_by(8).zip([handle.get(), 1 << 32, self.id.0.into()]) {
            self.cpu.write(at, word);
        }
        let w0 = FunctionId::smc32(Function::MemRelinquish).w0();
        self.succeed("FFA_MEM_RELINQUISH", &Regs::new([w0.into()]));
    }

    fn loan(&mut self, share: u8) -> [u64; 2] {
        let loan = self.loans.get(usize::from(share)).copied().flatten();
        self.expect(loan.is_some(), format_args!("share {share} was not retrieved"));
        loan.unwrap_or([self.tx(); 2])
    }

    pub(super) fn see_loan_lost(&mut self, share: u8) {
        for page in self.loan(share) {
            let lost = self.cpu.is_aborted(page, None) && self.cpu.is_aborted(page, Some(!0));
            self.expect(lost, format_args!("memory at {page:#x} is another's, and can be used"));
        }
    }

    pub(super) fn see_loan(&mut self, share: u8) {
        for page in self.loan(share) {
            let there = !self.cpu.is_aborted(page, None);
            self.expect(there, format_args!("memory at {page:#x} is not there any more"));
        }
    }

    pub(super) fn use_until_lost(&mut self, share: u8, within: Span) {
        let [page, _] = self.loan(share);
        for pause in 0..=within.as_nanos() / PAUSE.as_nanos() {
            for number in 0..USES {
                if self.cpu.is_aborted(page, Some(number.into())) {
                    return self.expect(pause > 0, format_args!("share {share} was lost before"));
                }
            }
            self.cpu.sleep(PAUSE);
        }
        self.fail(format_args!("memory at {page:#x} can still be used"));
    }

    pub(super) fn reclaim_when_free(&mut self, share: u8, within: Span) {
        let Some(call) = self.reclaim_of(share) else { return };
        for pause in 0..=within.as_nanos() / PAUSE.as_nanos() {
            match self.reply("FFA_MEM_RECLAIM", &call) {
                Reply::Error(Some(Status::Denied)) => self.cpu.sleep(PAUSE),
                Reply::Success(..) => {
                    return self.expect(pause > 0, format_args!("share {share} was free before"));
                }
                other => return self.fail(format_args!("FFA_MEM_RECLAIM of share {share}: {other:?}")),
            }
        }
        self.fail(format_args!("share {share} stays in use"));
    }
}
