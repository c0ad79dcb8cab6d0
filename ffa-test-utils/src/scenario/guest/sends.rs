//! Memory that a guest sends and takes back.

use ffa_abi::{
    Answer, Handle, MemFragTx, MemReclaim, MemSend, PartitionId, ReclaimFlags, Regs, Status, Transaction,
    Width,
};
use ffa_mem::{
    DataAccess, IpaRange, MemoryAttributes, PAGE_SIZE, Permissions, Receiver, SendBuilder, SendFlags,
    SendHeader,
};

use super::{DESCRIPTOR, GuestCpu, Interpreter};
use crate::scenario::Pages;

impl<C: GuestCpu> Interpreter<'_, C> {
    /// Writes a descriptor into `bytes`; its length.
    pub(super) fn describe(
        &self,
        transaction: Transaction,
        pages: Pages,
        with: PartitionId,
        bytes: &mut [u8],
    ) -> Option<usize> {
        let attributes = match transaction {
            Transaction::Share => MemoryAttributes::NORMAL_WRITE_BACK_INNER,
            Transaction::Lend | Transaction::Donate => MemoryAttributes::UNSPECIFIED,
        };
        let permissions = match transaction {
            Transaction::Share | Transaction::Lend => Permissions::READ_WRITE,
            Transaction::Donate => Permissions::data(DataAccess::Unspecified),
        };
        let header = SendHeader {
            version: self.version,
            sender: self.id,
            attributes,
            flags: SendFlags::NONE,
            tag: 0x7a6,
        };
        let receiver = Receiver { id: with, permissions, impdef: [0; 2] };
        let mut builder = SendBuilder::new(bytes, &header, [receiver]).ok()?;
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

    /// Sends `pages`, the last bytes of whose descriptor come in a second fragment.
    pub(super) fn send(&mut self, transaction: Transaction, pages: Pages, with: PartitionId, last: usize) {
        let mut bytes = [0; DESCRIPTOR];
        let Some(len) = self.describe(transaction, pages, with, &mut bytes) else {
            return self.fail(format_args!("the program sends what cannot be described"));
        };
        let what = transaction.function().info().name;
        let (first, rest) = bytes[..len].split_at(len - last);
        self.write_tx(first);
        let mut call = send(transaction, len as i64, first.len() as i64);
        if last != 0 {
            let answer = self.call(what, &call);
            let Answer::MemFragRx(more) = Answer::from_regs(&answer) else {
                return self.fail(format_args!("{what} of a part: {:x?}", answer.0));
            };
            self.expect(more.offset as usize == first.len(), format_args!("FFA_MEM_FRAG_RX: {more:?}"));
            self.write_tx(rest);
            let fragment =
                MemFragTx { handle: more.handle, fragment_len: last as u32, endpoint: PartitionId(0) };
            call = fragment.to_regs();
        }
        let Some((low, high)) = self.succeed(what, &call) else { return };
        match (Handle::from_words(low as u32, high as u32), self.shares.get_mut(self.count)) {
            (Ok(handle), Some(share)) => *share = Some(handle),
            _ => self.fail(format_args!("{what} gave handle {high:#x}:{low:#x}")),
        }
        self.count += 1;
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

    pub(super) fn reclaim_of(&mut self, share: u8) -> Option<Regs> {
        match self.shares.get(usize::from(share)).copied().flatten() {
            Some(handle) => Some(reclaim(handle)),
            None => {
                self.fail(format_args!("share {share} has no handle"));
                None
            }
        }
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
