//! What the secure world was given, and what it has said of it. Other than its own truth this is all that a hypervisor can know:
//! pages may go back on the word of the secure world alone, be it true or not.

use std::collections::BTreeMap;
use std::vec::Vec;

use ffa_abi::{Answer, Call, FirmwareStatus, Function, FunctionId, Handle, PartitionId, Regs, Status};

/// Physical addresses of pages.
type Pages = Vec<u64>;

/// A memory transaction, as far as it was sent.
#[derive(Clone, Debug)]
struct Sent {
    pages: Pages,
    /// Ranges to come.
    left: u32,
    is_donation: bool,
}

/// What a call gives or takes.
#[derive(Clone, Debug)]
enum Transfer {
    Send(Sent),
    /// The next part of the transaction with this handle, and what came before.
    Part(u64, Sent),
    Reclaim(u64),
    Map(PartitionId, Pages),
    Unmap(PartitionId),
}

/// A call that gives or takes, on its way.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    transfer: Transfer,
    /// It was preempted before: an error may be that of FFA_RUN.
    resumed: bool,
    /// What FFA_RUN named.
    target: u32,
}

/// Every page that the secure world may believe to be its own.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// How often each page was given and has not come back.
    pages: BTreeMap<u64, u32>,
    /// By handle, also what was sent in part.
    sent: BTreeMap<u64, Sent>,
    buffers: BTreeMap<PartitionId, Pages>,
    /// By what FFA_RUN must name.
    paused: BTreeMap<u32, Transfer>,
}

impl Owed {
    /// Whether the secure world was given the page and has not said that it is back.
    pub fn contains(&self, page: u64) -> bool {
        self.pages.contains_key(&page)
    }

    /// Takes note of a call that is about to be made. `tx` reads so many bytes that the hypervisor wrote for it.
    pub fn called(&mut self, regs: &Regs, tx: impl FnOnce(usize) -> Vec<u8>) -> Option<Pending> {
        let function = FunctionId::from_w0(regs.w::<0>()).ok()?.function();
        let mut given = Pages::new();
        let transfer = match (function, Call::from_regs(regs)) {
            (Function::Run, _) => {
                let target = regs.w::<1>();
                let transfer = self.paused.remove(&target)?;
                return Some(Pending { transfer, resumed: true, target });
            }
            (_, Ok(Call::MemReclaim(reclaim))) => Transfer::Reclaim(reclaim.handle.get()),
            (_, Ok(Call::RxTxUnmap(unmap))) => Transfer::Unmap(unmap.endpoint),
            (Function::RxTxMap, _) if regs.0[1..4] == [0; 3] => {
                let bytes = tx(ENDPOINT_SIZE);
                for offset in [word(&bytes, 4), word(&bytes, 8)] {
                    composite(&bytes, offset as usize, &mut given);
                }
                self.give(&given);
                Transfer::Map(PartitionId(word(&bytes, 0) as u16), given)
            }
            (Function::MemShare | Function::MemLend | Function::MemDonate, _) => {
                let bytes = tx(regs.w::<2>() as usize);
                let first_access = word(&bytes, 32) as usize;
                let left = composite(&bytes, word(&bytes, first_access + 4) as usize, &mut given);
                self.give(&given);
                let is_donation = function == Function::MemDonate;
                Transfer::Send(Sent { pages: given, left, is_donation })
            }
            (_, Ok(Call::MemFragTx(part))) => {
                let handle = part.handle.get();
                let mut sent = self.sent.remove(&handle)?;
                sent.left = constituents(&tx(part.fragment_len as usize), sent.left, &mut given);
                self.give(&given);
                sent.pages.append(&mut given);
                Transfer::Part(handle, sent)
            }
            _ => return None,
        };
        Some(Pending { transfer, resumed: false, target: 0 })
    }

    /// Takes note of the answer.
    pub fn answered(&mut self, pending: Option<Pending>, answer: &Regs) {
        let answer = Answer::from_regs(answer);
        if let Answer::Interrupt(target) | Answer::Yield { target, .. } = answer {
            // Who is run under that name from now on works for this call.
            self.paused.remove(&target.word());
            if let Some(Pending { transfer, .. }) = pending {
                self.paused.insert(target.word(), transfer);
            }
            return;
        }
        let Some(Pending { transfer, resumed, target }) = pending else { return };
        let refusal = match answer {
            // FFA_RUN may have been refused, and then it may be tried again.
            Answer::Error(_) if resumed => {
                self.paused.insert(target, transfer);
                return;
            }
            Answer::Error(FirmwareStatus::Known(status)) => Some(status).filter(|is| *is != Status::Aborted),
            _ => None,
        };
        // Such a part was not taken, and the transaction stays as it was.
        let again =
            matches!(refusal, Some(Status::Busy | Status::Retry | Status::Interrupted | Status::NotReady));
        let refused = refusal.is_some();
        // In either width: a call of 32 bits may be answered in 64.
        let done = matches!(answer, Answer::Success(_));
        match transfer {
            Transfer::Send(Sent { pages, .. }) | Transfer::Map(_, pages) if refused => self.take(&pages),
            Transfer::Part(_, Sent { pages, .. }) if refused && !again => self.take(&pages),
            // Nobody knows, and the name may be another's next.
            Transfer::Part(..) if matches!(answer, Answer::Error(_)) && !again => {}
            // Whatever it says: that name is the one to ask by.
            Transfer::Part(handle, sent) => {
                self.sent.insert(handle, sent);
            }
            Transfer::Send(sent) => self.send_answered(sent, &answer),
            Transfer::Map(vm, mut pages) => self.buffers.entry(vm).or_default().append(&mut pages),
            Transfer::Reclaim(handle) if done => {
                let pages = self.sent.remove(&handle).map(|sent| sent.pages).unwrap_or_default();
                self.take(&pages);
            }
            Transfer::Unmap(vm) if done => {
                let pages = self.buffers.remove(&vm).unwrap_or_default();
                self.take(&pages);
            }
            Transfer::Reclaim(_) | Transfer::Unmap(_) => {}
        }
    }

    /// A send that was not refused. Without a handle that is new nothing can confirm that its pages are back.
    fn send_answered(&mut self, sent: Sent, answer: &Answer) {
        let handle = match answer {
            Answer::Success(success) => Handle::from_words(success.w2(), success.w3()).ok(),
            Answer::MemFragRx(next) => Some(next.handle),
            _ => None,
        };
        let Some(handle) = handle.map(Handle::get) else { return };
        // A donation may have left its handle to others, and what has no pages stands in nobody's way.
        let is_another = |other: &Sent| !other.is_donation && !other.pages.is_empty();
        if !self.sent.get(&handle).is_some_and(is_another) {
            self.sent.insert(handle, sent);
        }
    }

    fn give(&mut self, pages: &[u64]) {
        for page in pages {
            *self.pages.entry(*page).or_default() += 1;
        }
    }

    fn take(&mut self, pages: &[u64]) {
        for page in pages {
            let Some(times) = self.pages.get_mut(page) else { continue };
            *times -= 1;
            if *times == 0 {
                self.pages.remove(page);
            }
        }
    }
}

/// Bytes of an endpoint RX/TX descriptor with one range for each buffer.
const ENDPOINT_SIZE: usize = 80;
const PAGE: u64 = 4096;

/// A little-endian word; zero past the end.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes(word.try_into().expect("four bytes")))
}

/// Adds the pages of a composite memory region descriptor. Returns how many of its ranges are not there yet.
fn composite(bytes: &[u8], at: usize, pages: &mut Pages) -> u32 {
    let count = word(bytes, at + 4);
    constituents(bytes.get(at + 16..).unwrap_or_default(), count, pages)
}

/// Adds the pages of `count` ranges, as far as they are there. Returns how many are not.
fn constituents(bytes: &[u8], count: u32, pages: &mut Pages) -> u32 {
    let mut left = count;
    for range in bytes.chunks_exact(16).take(count as usize) {
        let base = u64::from(word(range, 4)) << 32 | u64::from(word(range, 0));
        pages.extend((0..u64::from(word(range, 8))).map(|page| base + page * PAGE));
        left -= 1;
    }
    left
}
