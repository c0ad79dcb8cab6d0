use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use ffa_abi::{
    Answer, Function, FunctionId, Handle, MemFragRx, PartitionId, Regs, Status, Transaction, Version, Width,
};

use super::check::SendCheck;
use super::config::{HandlePolicy, NextPartNames, VmMessages};
use super::descriptor::{Access, Descriptor, Layout};
use super::handle::HYPERVISOR_ALLOCATED;
use super::memory::{PAGE_SIZE, PhysMemory};
use super::model::{SpmcModel, error};
use super::store::Incomplete;

/// More is never read at once, whatever a register says.
const MOST_BYTES: u64 = 1 << 20;

/// The registers of a send.
struct Request {
    transaction: Transaction,
    total: u64,
    part: u32,
    /// Buffer other than TX, or zero.
    buffer: u64,
    buffer_pages: u32,
    unused: bool,
}

impl Request {
    fn from_regs(id: FunctionId, regs: &Regs, wide_total: bool) -> Self {
        Self {
            transaction: match id.function() {
                Function::MemLend => Transaction::Lend,
                Function::MemDonate => Transaction::Donate,
                _ => Transaction::Share,
            },
            total: if wide_total { regs.x::<1>() } else { u64::from(regs.w::<1>()) },
            part: regs.w::<2>(),
            buffer: if id.width() == Width::Smc32 { u64::from(regs.w::<3>()) } else { regs.x::<3>() },
            buffer_pages: regs.w::<4>(),
            unused: (regs.w::<5>() | regs.w::<6>() | regs.w::<7>()) != 0,
        }
    }
}

/// A request with the bytes that came with it.
struct FirstPart<'a> {
    model: &'a SpmcModel,
    request: Request,
    descriptor: Descriptor<'a>,
    /// Bytes of the buffer; none if there is no buffer.
    room: Option<u64>,
    fault: bool,
}

impl SpmcModel {
    pub(super) fn mem_send(&mut self, memory: &mut dyn PhysMemory, id: FunctionId, regs: &Regs) -> Regs {
        let request = Request::from_regs(id, regs, self.config.quirks.wide_total);
        let other = request.buffer != 0 && self.config.quirks.other_buffer;
        let source = if other {
            Some((request.buffer, u64::from(request.buffer_pages) * PAGE_SIZE))
        } else {
            self.mailbox.map(|mailbox| (mailbox.tx, mailbox.bytes()))
        };
        let (bytes, fault) = match source {
            Some((address, room)) => copy_in(memory, address, u64::from(request.part).min(room)),
            None => (Vec::new(), false),
        };
        let layout = Layout::for_version(self.caller_version());
        let descriptor = Descriptor::new(&bytes, layout);
        let room = source.map(|(_, room)| room);
        let first = FirstPart { model: self, request, descriptor, room, fault };
        if let Some(&(_, status)) = self.config.send.iter().find(|&&(check, _)| first.broken(check)) {
            return error(status);
        }
        let request = first.request;

        let owner = descriptor.sender();
        let built_in =
            descriptor.accesses().next().is_none_or(|access| !self.is_other_partition(access.receiver));
        let given = descriptor.handle();
        let raw = if self.takes_handle(given) {
            Some(given).filter(|&raw| self.store.find(raw).is_none() && self.store.half_sent(raw).is_none())
        } else {
            self.store.allocate(owner, self.config.limits.shares, built_in)
        };
        let Some(handle) = raw.and_then(|raw| Handle::new(raw).ok()) else { return error(Status::NoMemory) };
        self.store.begin(Incomplete {
            handle,
            transaction: request.transaction,
            owner,
            generation: self.store.guest(owner).generation,
            total: request.total,
            first_len: bytes.len(),
            parts: 1,
            bytes,
        });
        self.next_step(memory, handle)
    }

    /// Asks for the next part, or judges the whole if nothing is missing.
    pub(super) fn next_step(&mut self, memory: &mut dyn PhysMemory, handle: Handle) -> Regs {
        let Some(half) = self.store.half_sent(handle.get()) else {
            return error(Status::InvalidParameters);
        };
        if half.bytes.len() as u64 == half.total {
            return self.finish_send(memory, handle);
        }
        let endpoint = match self.config.next_part_names {
            NextPartNames::Sender => half.owner,
            NextPartNames::Zero => PartitionId(0),
        };
        Answer::MemFragRx(MemFragRx { handle, offset: half.bytes.len() as u32, endpoint }).to_regs()
    }

    /// Whether a handle in the header is the hypervisor's own, and is used.
    fn takes_handle(&self, handle: u64) -> bool {
        self.config.handles == HandlePolicy::GuestTagged && handle & HYPERVISOR_ALLOCATED != 0
    }

    /// Whether `id` is a partition other than the one built into the SPMC, where there is one.
    pub(super) fn is_other_partition(&self, id: PartitionId) -> bool {
        matches!(self.config.vm_messages, VmMessages::BuiltIn { .. })
            && self.partitions.len() > 1
            && !self.is_built_in(id)
    }

    pub(super) fn is_known_guest(&self, id: PartitionId) -> bool {
        match self.config.vm_messages {
            VmMessages::BuiltIn { virtualization: true } => self.store.guest(id).live > 0,
            VmMessages::BuiltIn { virtualization: false } => id == PartitionId::HYPERVISOR,
            VmMessages::PerSpSubscription { .. } | VmMessages::Unfiltered => !id.is_secure(),
        }
    }
}

/// Reads `len` bytes; true if they cannot be read.
pub(super) fn copy_in(memory: &dyn PhysMemory, address: u64, len: u64) -> (Vec<u8>, bool) {
    let mut bytes = vec![0; len.min(MOST_BYTES) as usize];
    let fault = memory.read(address, &mut bytes).is_err() || len > MOST_BYTES;
    (bytes, fault)
}

impl FirstPart<'_> {
    fn accesses(&self) -> impl Iterator<Item = Access> {
        self.descriptor.accesses()
    }

    fn any_access(&self, wrong: impl FnMut(Access) -> bool) -> bool {
        self.accesses().any(wrong)
    }

    /// Whether another partition comes before the built-in one, so that its rules do not apply.
    fn is_for_other(&self) -> bool {
        self.accesses().next().is_some_and(|access| self.model.is_other_partition(access.receiver))
    }

    fn broken(&self, check: SendCheck) -> bool {
        let Self { model, request, descriptor, room, fault } = self;
        let part = u64::from(request.part);
        let limits = &model.config.limits;
        let version = model.caller_version();
        let composite = u64::from(descriptor.composite_offset());
        let (size, count, offset) =
            (descriptor.access_size(), descriptor.access_count(), descriptor.access_offset());
        let flags = descriptor.flags();
        let attributes = descriptor.attributes();
        match check {
            SendCheck::Donate => request.transaction == Transaction::Donate,
            SendCheck::OtherBuffer => request.buffer != 0 || request.buffer_pages != 0,
            SendCheck::BufferPagesOnly => request.buffer == 0 && request.buffer_pages != 0,
            SendCheck::UnusedRegisters => request.unused,
            SendCheck::PartPastTotal => part > request.total,
            SendCheck::PartBelowHeader => request.part < descriptor.layout.header_size(),
            SendCheck::NoBuffer => room.is_none(),
            SendCheck::PartPastBuffer => {
                room.is_some_and(|room| part > room) || version < Version::V1_1 && part > PAGE_SIZE
            }
            SendCheck::TotalUnaligned => request.total % 16 != 0,
            SendCheck::LengthUnaligned => request.total % 16 != 0 || request.part % 16 != 0,
            SendCheck::StoreFull => {
                model.store.bytes().checked_add(request.total).is_none_or(|sum| sum > limits.store_bytes)
            }
            SendCheck::CopyFault => *fault,
            SendCheck::HeaderReserved => descriptor.header_reserved(),
            SendCheck::AccessLayout => {
                descriptor.layout == Layout::V1_1
                    && (size != 16 && (size != 32 || version < Version::V1_2) || offset < 48)
            }
            SendCheck::AccessLayoutLoose => {
                descriptor.layout == Layout::V1_1
                    && (size < 16 || size % 16 != 0 || offset < 48 || offset % 16 != 0)
            }
            SendCheck::NoAccess => count == 0,
            SendCheck::AccessCount => count == 0 || count > limits.receivers,
            SendCheck::FieldWidths => {
                attributes > 255
                    || flags > 255
                    || size > 255
                    || count > 255
                    || offset > 65535
                    || offset % 16 != 0
            }
            SendCheck::AccessPastPart => descriptor.access_end() > part,
            SendCheck::AccessPastTotal => descriptor.access_end() + 16 > request.total,
            SendCheck::CompositePastPart => {
                composite == 0 || composite < descriptor.access_end() || composite + 16 > part
            }
            SendCheck::CompositeLoose => {
                !self.is_for_other() && (composite + 16 > part || composite % 8 != 0)
            }
            SendCheck::AccessReserved => self.any_access(|access| access.reserved != 0),
            SendCheck::AccessFlags => self.any_access(|access| access.flags != 0),
            SendCheck::CompositesDiffer => {
                self.any_access(|access| u64::from(access.composite_offset) != composite)
            }
            SendCheck::FlagsReserved => {
                flags & !3 != 0 || request.transaction == Transaction::Share && flags & 1 != 0
            }
            SendCheck::FlagsBeyondZero => {
                flags & !1 != 0 || request.transaction == Transaction::Share && flags != 0
            }
            SendCheck::FlagsBeyondType => {
                let own = match request.transaction {
                    Transaction::Share => 0x08,
                    Transaction::Lend => 0x10,
                    Transaction::Donate => 0x18,
                };
                flags != 0 && flags != own
            }
            SendCheck::DonateReceivers => request.transaction == Transaction::Donate && count != 1,
            SendCheck::UnknownReceiver => self.any_access(|access| {
                access.receiver == PartitionId::HYPERVISOR
                    || access.receiver.is_secure() && model.partition(access.receiver).is_none()
            }),
            SendCheck::ReceiverWorld => {
                let secure = self.accesses().filter(|access| access.receiver.is_secure()).count();
                let mixed_share = request.transaction == Transaction::Share && count > 1 && secure > 0;
                secure != count as usize && !mixed_share
            }
            SendCheck::SecureSender => descriptor.sender().is_secure(),
            SendCheck::UnknownSender => !self.is_for_other() && !model.is_known_guest(descriptor.sender()),
            SendCheck::TotalTooShort => {
                request.total < composite + 32 || composite % 16 != 0 || composite < descriptor.access_end()
            }
            SendCheck::RangeCount => {
                u64::from(descriptor.range_count())
                    != request.total.saturating_sub(descriptor.ranges_offset()) / 16
            }
            SendCheck::RangesLoose => {
                let (pages, ranges) = (descriptor.total_pages(), descriptor.range_count());
                pages == 0
                    || ranges == 0
                    || descriptor.ranges_offset() + u64::from(ranges) * 16 > request.total
            }
            SendCheck::Receivers => {
                let mut seen = BTreeSet::from([descriptor.sender()]);
                self.any_access(|access| {
                    !seen.insert(access.receiver)
                        || access.permissions & 0b11 == 0b11
                        || access.permissions >> 2 & 0b11 == 0b11
                })
            }
            SendCheck::InstructionAccess => self.any_access(|access| access.permissions & 0b1100 != 0),
            SendCheck::DataAccess => {
                let specified = request.transaction != Transaction::Donate;
                self.any_access(|access| (access.permissions & 0b11 != 0) != specified)
            }
            SendCheck::NsBit => attributes & 0x40 != 0,
            SendCheck::TypeGiven => self.attributes_are_implied() && attributes & 0x30 != 0,
            SendCheck::NotNormalMemory => !self.attributes_are_implied() && attributes & 0x3f != 0x2f,
            SendCheck::AttributesExact => {
                let wanted = if request.transaction == Transaction::Share { 0x2f } else { 0 };
                !self.is_for_other() && attributes != wanted
            }
            SendCheck::BuiltInAccess => {
                let right = |access: Access| model.is_built_in(access.receiver) && access.permissions == 0b10;
                !self.is_for_other() && !self.any_access(right)
            }
            SendCheck::OtherPartitionLend => self.is_for_other() && request.transaction == Transaction::Lend,
            SendCheck::OtherPartitionParts => self.is_for_other() && part != request.total,
            SendCheck::OtherPartitionUnknown => {
                let mut seen = BTreeSet::new();
                self.is_for_other()
                    && self.any_access(|access| {
                        !seen.insert(access.receiver) || model.partition(access.receiver).is_none()
                    })
            }
            SendCheck::HandleGiven => {
                let handle = descriptor.handle();
                handle != 0 && !model.takes_handle(handle)
            }
            SendCheck::NoShareState => model.store.count(descriptor.sender()) >= limits.shares,
        }
    }

    /// Whether the owner leaves the attributes to the one receiver.
    fn attributes_are_implied(&self) -> bool {
        match self.request.transaction {
            Transaction::Share => false,
            Transaction::Lend => self.descriptor.access_count() == 1,
            Transaction::Donate => true,
        }
    }
}
