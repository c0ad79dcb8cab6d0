//! The hypervisor asks what a handle names: FFA_MEM_RETRIEVE_REQ with nothing but the handle, and FFA_MEM_FRAG_RX for
//! what does not fit RX at once.

use alloc::vec::Vec;

use ffa_abi::{FunctionId, MemFragTx, MemRetrieveReq, MemRetrieveResp, Regs, Status, Version};

use super::check::{FetchCheck, RetrieveCheck};
use super::config::Tells;
use super::descriptor::{Descriptor, Layout};
use super::memory::PhysMemory;
use super::model::{SpmcModel, error};
use super::reach::Serial;
use super::send::copy_in;
use super::store::{Share, Unfetched};

impl SpmcModel {
    pub(super) fn mem_retrieve(&mut self, memory: &mut dyn PhysMemory, id: FunctionId, regs: &Regs) -> Regs {
        let Some(rules) = self.config.retrieve else { return error(Status::NotSupported) };
        let request = MemRetrieveReq::from_regs(id, regs);
        let room = self.mailbox.map_or(0, |mailbox| mailbox.bytes());
        let len = u64::from(request.fragment_len);
        let (bytes, fault) = match self.mailbox {
            Some(mailbox) => copy_in(memory, mailbox.tx, len.min(room)),
            None => (Vec::new(), false),
        };
        let descriptor = Descriptor::new(&bytes, Layout::for_version(self.caller_version()));
        let found = self.store.find(descriptor.handle());
        let share = found.and_then(|serial| self.store.get(serial));
        let header = descriptor.layout.header_size();
        let broken = |&&(check, _): &&(RetrieveCheck, Status)| match check {
            RetrieveCheck::OtherBuffer => request.address != 0 || request.pages != 0,
            RetrieveCheck::InParts => request.fragment_len != request.total_len,
            RetrieveCheck::Length => len < u64::from(header) || len > room,
            RetrieveCheck::CopyFault => fault,
            RetrieveCheck::BesidesHandle => {
                bytes.iter().enumerate().any(|(at, &byte)| !(8..16).contains(&at) && byte != 0)
            }
            RetrieveCheck::Receivers => descriptor.access_count() != 0,
            RetrieveCheck::NsBitOrType => {
                descriptor.attributes() & 0x40 != 0 || descriptor.flags() & 0b11000 != 0
            }
            RetrieveCheck::RxFull => self.rx_full,
            RetrieveCheck::UnknownHandle => share.is_none(),
            RetrieveCheck::InProgress => share.is_some_and(|share| share.told.is_some()),
            RetrieveCheck::SeveralVms => share.is_some_and(|share| {
                share.receivers.iter().filter(|receiver| !receiver.id.is_secure()).count() > 1
            }),
        };
        if let Some(&(_, status)) = rules.request.iter().find(broken) {
            return error(status);
        }
        let (Some(serial), Some(share)) = (found, share) else { return error(Status::InvalidParameters) };
        let told = told(share, self.caller_version(), rules.tells);
        let total_len = told.len() as u32;
        match self.put_into_rx(memory, serial, told, 0) {
            Some(fragment_len) => MemRetrieveResp { total_len, fragment_len }.to_regs(),
            None => error(Status::Aborted),
        }
    }

    pub(super) fn mem_frag_rx(&mut self, memory: &mut dyn PhysMemory, regs: &Regs) -> Regs {
        let Some(rules) = self.config.retrieve else { return error(Status::NotSupported) };
        let raw = u64::from(regs.w::<2>()) << 32 | u64::from(regs.w::<1>());
        let (offset, w4) = (regs.w::<3>() as usize, regs.w::<4>());
        let found = self.store.find(raw);
        let share = found.and_then(|serial| self.store.get(serial));
        let unfetched = share.and_then(|share| share.told.as_ref());
        let is_sender = share.is_some_and(|share| w4 == u32::from(share.owner.0) << 16);
        let last = unfetched.map_or((0, 0), |told| told.last);
        let broken = |&&(check, _): &&(FetchCheck, Status)| match check {
            FetchCheck::UnknownHandle => unfetched.is_none(),
            FetchCheck::WrongSender => !is_sender,
            FetchCheck::OtherSender => !is_sender && w4 != 0,
            FetchCheck::NotNext => offset != last.1,
            FetchCheck::NeitherNextNorLast => offset != last.1 && offset != last.0,
            FetchCheck::RxFull => self.rx_full,
        };
        if let Some(&(_, status)) = rules.fetch.iter().find(broken) {
            return error(status);
        }
        let (Some(serial), Some(share)) = (found, share) else { return error(Status::InvalidParameters) };
        let (handle, endpoint) = (share.handle, share.owner);
        let Some(told) = share.told.as_ref().map(|told| told.bytes.clone()) else {
            return error(Status::InvalidParameters);
        };
        match self.put_into_rx(memory, serial, told, offset) {
            Some(fragment_len) => MemFragTx { handle, fragment_len, endpoint }.to_regs(),
            None => error(Status::Aborted),
        }
    }

    /// Hands RX over with as much of an answer as it has room for, from `from` on. Returns the number of bytes, or `None`
    /// if it cannot be written. What is left is there to be fetched.
    fn put_into_rx(
        &mut self,
        memory: &mut dyn PhysMemory,
        serial: Serial,
        told: Vec<u8>,
        from: usize,
    ) -> Option<u32> {
        let mailbox = self.mailbox?;
        let to = told.len().min(from + mailbox.bytes() as usize);
        memory.write(mailbox.rx, told.get(from..to)?).ok()?;
        self.rx_full = true;
        let is_last = to == told.len();
        let rest = Unfetched { bytes: told, last: (from, to) };
        self.store.get_mut(serial)?.told = (!is_last).then_some(rest);
        Some((to - from) as u32)
    }
}

/// The descriptor that says what a share is, for a caller of this version.
fn told(share: &Share, version: Version, tells: Tells) -> Vec<u8> {
    /// Bit 6 of the attributes.
    const NON_SECURE: u16 = 1 << 6;
    let layout = Layout::for_version(version);
    let zeros = |count: usize| core::iter::repeat_n(0_u8, count);
    let (attributes, flags, receivers) = match tells {
        Tells::AsSent => {
            let receivers = share.receivers.iter().map(|receiver| (receiver.id.0, receiver.permissions));
            (share.attributes, share.flags, receivers.collect())
        }
        Tells::NoReceiver => {
            let non_secure = if version < Version::V1_1 { 0 } else { NON_SECURE };
            (share.attributes | non_secure, share.flags, Vec::from([(0, 0)]))
        }
    };
    let named = tells == Tells::AsSent;
    let access_size = if named && version >= Version::V1_2 { 32 } else { 16 };
    let composite = layout.header_size() as usize + access_size * receivers.len();
    let mut bytes = Vec::new();
    bytes.extend(share.owner.0.to_le_bytes());
    bytes.extend(attributes.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(share.handle.get().to_le_bytes());
    bytes.extend(zeros(8));
    match layout {
        Layout::V1_0 => bytes.extend(0_u32.to_le_bytes()),
        Layout::V1_1 => bytes.extend((access_size as u32).to_le_bytes()),
    }
    bytes.extend((receivers.len() as u32).to_le_bytes());
    if layout == Layout::V1_1 {
        bytes.extend(layout.header_size().to_le_bytes());
        bytes.extend(zeros(12));
    }
    for (id, permissions) in receivers {
        let offset = if named { composite as u32 } else { 0 };
        bytes.extend(id.to_le_bytes());
        bytes.extend([permissions, 0]);
        bytes.extend(offset.to_le_bytes());
        bytes.extend(zeros(access_size - 8));
    }
    let pages = share.extents.iter().fold(0_u32, |pages, extent| pages.wrapping_add(extent.pages));
    bytes.extend(pages.to_le_bytes());
    bytes.extend((share.extents.len() as u32).to_le_bytes());
    bytes.extend(zeros(8));
    for extent in &share.extents {
        bytes.extend(extent.base.to_le_bytes());
        bytes.extend(extent.pages.to_le_bytes());
        bytes.extend(zeros(4));
    }
    bytes
}
