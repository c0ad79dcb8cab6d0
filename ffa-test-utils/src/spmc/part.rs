use ffa_abi::{Handle, PartitionId, Regs, Status};

use super::check::PartCheck;
use super::memory::PhysMemory;
use super::model::{SpmcModel, error};
use super::send::copy_in;

impl SpmcModel {
    pub(super) fn mem_frag_tx(&mut self, memory: &mut dyn PhysMemory, regs: &Regs) -> Regs {
        let raw = u64::from(regs.w::<2>()) << 32 | u64::from(regs.w::<1>());
        let (len, w4) = (u64::from(regs.w::<3>()), regs.w::<4>());
        let room = self.mailbox.map(|mailbox| mailbox.bytes());
        let (bytes, fault) = match self.mailbox {
            Some(mailbox) => copy_in(memory, mailbox.tx, len.min(mailbox.bytes())),
            None => (alloc::vec::Vec::new(), false),
        };
        for &(check, status) in self.config.part {
            let half = self.store.half_sent(raw);
            let broken = match check {
                PartCheck::Length => len < 16 || len % 16 != 0 || room.is_none_or(|room| len > room),
                PartCheck::PastBuffer => room.is_none_or(|room| len > room),
                PartCheck::PastTotal => half.is_some_and(|half| len > half.total - half.bytes.len() as u64),
                PartCheck::UnknownHandle => half.is_none(),
                PartCheck::WrongSender => half.is_some_and(|half| w4 != u32::from(half.owner.0) << 16),
                PartCheck::UnknownGuest => !self.is_known_guest(PartitionId((w4 >> 16) as u16)),
                PartCheck::TooMany => half.is_some_and(|half| half.parts >= self.config.limits.parts),
                PartCheck::CopyFault => fault,
            };
            if broken {
                // Who names the wrong sender has no say over the transaction, and the limit is always final.
                let fatal = match check {
                    PartCheck::TooMany => true,
                    PartCheck::UnknownHandle | PartCheck::WrongSender | PartCheck::UnknownGuest => false,
                    PartCheck::Length
                    | PartCheck::PastBuffer
                    | PartCheck::PastTotal
                    | PartCheck::CopyFault => !self.config.quirks.bad_part_is_forgiven,
                };
                if fatal {
                    self.store.abandon(raw);
                }
                return error(status);
            }
        }
        let (Ok(handle), Some(half)) = (Handle::new(raw), self.store.half_sent_mut(raw)) else {
            return error(Status::InvalidParameters);
        };
        // Without a row for it, more than was declared is kept and the transaction never becomes complete. It must
        // not grow for ever either.
        let spare = usize::try_from(half.total).unwrap_or(usize::MAX).saturating_add(1 << 16);
        let fits = spare.saturating_sub(half.bytes.len()).min(bytes.len());
        half.bytes.extend_from_slice(&bytes[..fits]);
        half.parts += 1;
        self.next_step(memory, handle)
    }
}
