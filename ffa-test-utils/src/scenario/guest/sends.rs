//! Memory that a guest sends and takes back.

use ffa_abi::{
    Answer, Handle, MemFragTx, MemReclaim, MemSend, PartitionId, ReclaimFlags, Regs, Status, Transaction,
    Width,
};
use ffa_mem::{
    BuildError, DataAccess, FragmentBuilder, IpaRange, MemoryAttributes, PAGE_SIZE, Permissions, Receiver,
    SendBuilder, SendFlags, SendHeader, SendTotals,
};

use super::{DESCRIPTOR, GuestCpu, Interpreter};
use crate::scenario::Pages;

/// The tag of all that a guest sends.
pub(super) const TAG: u64 = 0x7a6;

impl<C: GuestCpu> Interpreter<'_, C> {
    fn header(&self, transaction: Transaction) -> SendHeader {
        let attributes = match transaction {
            Transaction::Share => MemoryAttributes::NORMAL_WRITE_BACK_INNER,
            Transaction::Lend | Transaction::Donate => MemoryAttributes::UNSPECIFIED,
        };
        SendHeader { version: self.version, sender: self.id, attributes, flags: SendFlags::NONE, tag: TAG }
    }

    /// Writes a descriptor into `bytes`; its length.
    pub(super) fn describe(
        &self,
        transaction: Transaction,
        pages: Pages,
        with: &[PartitionId],
        bytes: &mut [u8],
    ) -> Option<usize> {
        let header = self.header(transaction);
        let receivers = with.iter().map(|&id| receiver(transaction, id));
        let mut builder = SendBuilder::new(bytes, &header, receivers).ok()?;
        for page in self.pages(pages) {
            builder.push(IpaRange::new(page, 1).ok()?).ok()?;
        }
        builder.finish().ok()
    }

    pub(super) fn write_tx(&mut self, bytes: &[u8]) {
        for (at, chunk) in (self.tx()..).step_by(8).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.cpu.write(at, u64::from_le_bytes(word));
        }
    }

    /// Sends `pages` in one go.
    pub(super) fn send(&mut self, transaction: Transaction, pages: Pages, with: &[PartitionId]) {
        let mut bytes = [0; DESCRIPTOR];
        let Some(len) = self.describe(transaction, pages, with, &mut bytes) else {
            return self.fail(format_args!("the program sends what cannot be described"));
        };
        self.write_tx(&bytes[..len]);
        let call = send(transaction, len as i64, len as i64);
        self.sent(transaction.function().info().name, &call);
    }

    /// Makes the call that ends a transaction, and keeps the handle.
    fn sent(&mut self, what: &str, call: &Regs) {
        let Some((low, high)) = self.succeed(what, call) else { return };
        match (Handle::from_words(low as u32, high as u32), self.shares.get_mut(self.count)) {
            (Ok(handle), Some(share)) => *share = Some(handle),
            _ => self.fail(format_args!("{what} gave handle {high:#x}:{low:#x}")),
        }
        self.count += 1;
    }

    /// Shares `pages`, each a range of its own, in fragments of at most `room` bytes. Only the first `most` are sent.
    pub(super) fn share_in_fragments(&mut self, pages: Pages, with: PartitionId, room: u16, most: u16) {
        let mut bytes = [0; PAGE_SIZE as usize];
        if let Err(error) = self.try_share_in_fragments(pages, with, &mut bytes[..usize::from(room)], most) {
            self.fail(format_args!("the program shares what cannot be described: {error}"));
        }
    }

    fn try_share_in_fragments(
        &mut self,
        pages: Pages,
        with: PartitionId,
        bytes: &mut [u8],
        most: u16,
    ) -> Result<(), BuildError> {
        let header = self.header(Transaction::Share);
        let receivers = [receiver(Transaction::Share, with)];
        let totals = SendTotals::single_pages(pages.count.into());
        let mut ranges = self.pages(pages).filter_map(|page| IpaRange::new(page, 1).ok());
        let mut fragment = FragmentBuilder::first(bytes, &header, receivers, totals)?;
        let mut handle = None;
        for _ in 0..most {
            let room = fragment.room();
            ranges.by_ref().take(room).try_for_each(|range| fragment.push(range))?;
            let (len, unsent) = fragment.finish()?;
            self.write_tx(&bytes[..len]);
            let (what, call) = match handle {
                None => ("FFA_MEM_SHARE", send(Transaction::Share, unsent.total_len().into(), len as i64)),
                Some(handle) => {
                    let next = MemFragTx { handle, fragment_len: len as u32, endpoint: PartitionId(0) };
                    ("FFA_MEM_FRAG_TX", next.to_regs())
                }
            };
            if unsent.is_empty() {
                self.sent(what, &call);
                break;
            }
            let answer = self.call(what, &call);
            match Answer::from_regs(&answer) {
                Answer::MemFragRx(more)
                    if more.offset == unsent.offset()
                        && handle.is_none_or(|handle| handle == more.handle) =>
                {
                    handle = Some(more.handle);
                }
                _ => {
                    self.fail(format_args!("{what} of a part: {:x?}", answer.0));
                    break;
                }
            }
            fragment = unsent.next(bytes);
        }
        Ok(())
    }

    /// The first and the last word of each of these pages can be neither read nor written.
    pub(super) fn see_lost(&mut self, pages: Pages) {
        for page in self.pages(pages) {
            for address in [page, page + PAGE_SIZE - 8] {
                let lost = self.cpu.is_aborted(address, None) && self.cpu.is_aborted(address, Some(!0));
                self.expect(lost, format_args!("memory at {address:#x} is another's, and can be used"));
            }
        }
    }

    pub(super) fn handle_of(&mut self, share: u8) -> Option<Handle> {
        let handle = self.shares.get(usize::from(share)).copied().flatten();
        self.expect(handle.is_some(), format_args!("share {share} has no handle"));
        handle
    }

    pub(super) fn reclaim_of(&mut self, share: u8) -> Option<Regs> {
        self.handle_of(share).map(reclaim)
    }

    /// Tries what secure worlds are known to hand out, and whatever others might have got.
    pub(super) fn reclaim_foreign(&mut self) {
        let tagged = |id: u64, slot: u64| 1 << 44 | id << 16 | slot;
        let slots = (0..8).chain((0..8).map(|slot| 0xffff_ffc0 + slot));
        let others = (1..4).flat_map(|id| (0..4).map(move |slot| tagged(id, slot)));
        for value in slots.chain(others).chain([0xffff_ffff, 1 << 63]) {
            let Ok(handle) = Handle::from_words(value as u32, (value >> 32) as u32) else { continue };
            if !self.shares.contains(&Some(handle)) {
                self.refused(
                    "FFA_MEM_RECLAIM of another's handle",
                    &reclaim(handle),
                    Status::InvalidParameters,
                );
            }
        }
    }
}

fn receiver(transaction: Transaction, id: PartitionId) -> Receiver {
    let permissions = match transaction {
        Transaction::Share | Transaction::Lend => Permissions::READ_WRITE,
        Transaction::Donate => Permissions::data(DataAccess::Unspecified),
    };
    Receiver { id, permissions, impdef: [0; 2] }
}

pub(super) fn send(transaction: Transaction, total: i64, fragment: i64) -> Regs {
    MemSend {
        width: Width::Smc32,
        transaction,
        total_len: total as u32,
        fragment_len: fragment as u32,
        address: 0,
        pages: 0,
    }
    .to_regs()
}

fn reclaim(handle: Handle) -> Regs {
    MemReclaim { handle, flags: ReclaimFlags::NONE }.to_regs()
}
