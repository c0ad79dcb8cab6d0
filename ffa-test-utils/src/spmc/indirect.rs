//! Indirect messages: from the TX buffer of a VM to a partition, and from a partition to the RX buffer of a VM.

use alloc::vec;
use alloc::vec::Vec;

use ffa_abi::{
    FrameworkNotifications, IndirectFormat, IndirectMessage, PartitionId, Properties, Regs, Status, Uuid,
    Version,
};

use super::check::IndirectCheck;
use super::memory::PhysMemory;
use super::model::{SpmcModel, error};
use super::send::copy_in;
use super::vm::RxOwner;

/// An indirect message as its receiver read it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Received {
    /// Who sent it.
    pub sender: PartitionId,
    /// The service spoken to; nil if none was named.
    pub uuid: Uuid,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Received {
    /// Sender and length in one word, and the sum of the bytes.
    pub(super) fn summary(&self) -> [u64; 2] {
        let len = (self.payload.len() as u64) << 16;
        [u64::from(self.sender.0) | len, self.payload.iter().map(|&byte| u64::from(byte)).sum()]
    }
}

/// A copy of a TX buffer that begins with a message. What lies past its end reads as zero.
struct Message<'a> {
    bytes: &'a [u8],
    format: IndirectFormat,
}

impl Message<'_> {
    fn word(&self, at: usize) -> u32 {
        let word = self.bytes.get(at..at + 4).and_then(|word| word.first_chunk());
        u32::from_le_bytes(word.copied().unwrap_or_default())
    }

    fn flags(&self) -> u32 {
        self.word(0)
    }

    fn receiver(&self) -> PartitionId {
        PartitionId(self.word(12) as u16)
    }

    fn sender(&self) -> PartitionId {
        PartitionId((self.word(12) >> 16) as u16)
    }

    fn uuid(&self) -> Uuid {
        match self.format {
            IndirectFormat::V1_1 => Uuid::NIL,
            IndirectFormat::V1_2 => Uuid::from_words([24, 28, 32, 36].map(|at| self.word(at))),
        }
    }

    /// The payload, if it is behind the header and within the buffer.
    fn payload(&self) -> Option<&[u8]> {
        let (offset, size) = (self.word(8) as usize, self.word(16) as usize);
        let end = offset.checked_add(size)?;
        self.bytes.get(offset..end).filter(|_| offset >= self.format.size())
    }
}

impl SpmcModel {
    /// Header of what the hypervisor or a VM sends and gets.
    fn header_of(&self, endpoint: PartitionId) -> IndirectFormat {
        let newest = self.config.quirks.vms_speak_newest && endpoint != PartitionId::HYPERVISOR;
        IndirectFormat::for_version(if newest { self.config.version } else { self.caller_version() })
    }

    /// FFA_MSG_SEND2 of a VM or of the hypervisor.
    pub(super) fn msg_send2(&mut self, memory: &mut dyn PhysMemory, regs: &Regs) -> Regs {
        let Some(checks) = self.config.indirect else { return error(Status::NotSupported) };
        let (sender, _) = PartitionId::split(regs.w::<1>());
        let mailbox = self.mailbox_of(sender);
        let (bytes, fault) =
            mailbox.map_or((Vec::new(), false), |mailbox| copy_in(memory, mailbox.tx, mailbox.bytes()));
        let message = Message { bytes: &bytes, format: self.header_of(sender) };
        for &(check, status) in checks {
            let broken = match check {
                IndirectCheck::NoTx => mailbox.is_none(),
                IndirectCheck::CopyFault => fault,
                _ => self.message_broken(check, regs, &message),
            };
            if broken {
                return error(status);
            }
        }
        let (uuid, payload) = (message.uuid(), message.payload().map(<[u8]>::to_vec));
        let receiver = message.receiver();
        let (Some(partition), Some(payload)) = (self.partition_mut(receiver), payload) else {
            return error(Status::InvalidParameters);
        };
        partition.rx = Some(Received { sender, uuid, payload });
        partition.notifications.set_framework(FrameworkNotifications::RX_BUFFER_FULL);
        self.sri |= !partition.takes_at_once();
        Regs::success(0, 0)
    }

    fn message_broken(&self, check: IndirectCheck, regs: &Regs, message: &Message<'_>) -> bool {
        let (sender, reserved) = PartitionId::split(regs.w::<1>());
        let receiver = self.partition(message.receiver());
        match check {
            IndirectCheck::NoTx | IndirectCheck::CopyFault => false,
            IndirectCheck::Flags => regs.w::<2>() != 0,
            IndirectCheck::Reserved => reserved.0 != 0 || regs.0[3..8].iter().any(|&x| x as u32 != 0),
            IndirectCheck::HeaderFlags => message.flags() != 0,
            IndirectCheck::Sender => message.sender() != sender || message.receiver() == sender,
            IndirectCheck::UnknownReceiver => receiver.is_none(),
            IndirectCheck::NoIndirectMessages => {
                receiver.is_some_and(|sp| !sp.config.properties.contains(Properties::INDIRECT_MESSAGES))
            }
            IndirectCheck::UnknownService => receiver.is_some_and(|sp| {
                let uuid = message.uuid();
                !uuid.is_nil() && !sp.config.uuids.contains(&uuid)
            }),
            IndirectCheck::Busy => receiver.is_some_and(|sp| sp.rx.is_some()),
            IndirectCheck::Payload => message.payload().is_none(),
            IndirectCheck::OldSender => self.caller_version() < Version::V1_1,
        }
    }

    /// Partition `sp` sends `vm` an indirect message. The VM is told of it if it has a notification bitmap.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` if this secure world has no indirect messages; `INVALID_PARAMETERS` if there is no such
    /// partition or VM, or the message does not fit the VM's RX; `DENIED` if the partition has no indirect messages;
    /// `BUSY` if RX is not mapped, or not the SPMC's; `ABORTED` if it cannot be written.
    pub fn send_message(
        &mut self,
        memory: &mut dyn PhysMemory,
        sp: PartitionId,
        vm: PartitionId,
        payload: &[u8],
    ) -> Result<(), Status> {
        self.config.indirect.ok_or(Status::NotSupported)?;
        let format = self.header_of(vm);
        let partition = self.partition(sp).filter(|sp| !sp.crashed).ok_or(Status::InvalidParameters)?;
        if !partition.config.properties.contains(Properties::INDIRECT_MESSAGES) {
            return Err(Status::Denied);
        }
        let kept = self.vms.get_mut(&vm).ok_or(Status::InvalidParameters)?;
        let mailbox = kept.mailbox.filter(|_| kept.rx == RxOwner::Spmc).ok_or(Status::Busy)?;
        let room = mailbox.bytes() as usize;
        let header = IndirectMessage::new(format, sp, vm, Uuid::NIL, payload.len() as u32, room)?;
        let mut bytes = vec![0; format.size()];
        header.write(&mut bytes)?;
        bytes.extend_from_slice(payload);
        memory.write(mailbox.rx, &bytes).map_err(|_| Status::Aborted)?;
        kept.rx = RxOwner::Vm;
        if kept.vcpus.is_some() {
            kept.notifications.set_framework(FrameworkNotifications::RX_BUFFER_FULL);
            self.sri = true;
        }
        Ok(())
    }
}
