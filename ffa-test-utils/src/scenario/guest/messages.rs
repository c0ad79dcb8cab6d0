//! Indirect messages, to and from SPs and other VMs.

use ffa_abi::{IndirectFormat, IndirectMessage, MsgSend2, PartitionId, Uuid};
use ffa_mem::PAGE_SIZE;

use super::{DESCRIPTOR, GuestCpu, Interpreter};
use crate::spmc::Control;

/// With this byte every message begins, and the next ones count up.
pub const FIRST_BYTE: u8 = 0x21;

fn byte(at: usize) -> u8 {
    FIRST_BYTE.wrapping_add(at as u8)
}

impl<C: GuestCpu> Interpreter<'_, C> {
    pub(super) fn send_message(&mut self, to: PartitionId, payload: u32) {
        self.send_bytes(to, payload, byte);
    }

    /// FFA_MSG_SEND2 of so many bytes.
    pub(super) fn send_bytes(&mut self, to: PartitionId, payload: u32, byte: impl Fn(usize) -> u8) {
        let format = IndirectFormat::for_version(self.version);
        let mut bytes = [0; DESCRIPTOR];
        let message = IndirectMessage::new(format, self.id, to, Uuid::NIL, payload, DESCRIPTOR);
        let Some(message) = message.ok().filter(|message| message.write(&mut bytes).is_ok()) else {
            return self.fail(format_args!("the program sends what does not fit"));
        };
        let from = message.payload_offset() as usize;
        let whole = from + payload as usize;
        for (at, target) in bytes[from..whole].iter_mut().enumerate() {
            *target = byte(at);
        }
        self.write_tx(&bytes[..whole]);
        let send = MsgSend2 { sender: PartitionId(0), delay_schedule_receiver: false };
        self.succeed("FFA_MSG_SEND2", &send.to_regs());
    }

    pub(super) fn see_delivered(&mut self, sp: PartitionId, payload: u32) {
        let sum = (0..payload as usize).map(|at| u32::from(byte(at))).sum();
        let expected = [u32::from(self.id.0) | payload << 16, sum];
        let taken = self.ask(sp, Control::TakeMessage);
        self.expect(taken == Some(expected), format_args!("SP {sp} read {taken:x?}, not {expected:x?}"));
    }

    pub(super) fn receive(&mut self, from: PartitionId, payload: u32) {
        let mut bytes = [0; DESCRIPTOR];
        let said = self.message_of(from, &mut bytes);
        let good = said.is_some_and(|said| {
            said.len() == payload as usize && said.iter().enumerate().all(|(at, found)| *found == byte(at))
        });
        self.expect(good, format_args!("a message of {from} is another one"));
        self.release_rx();
    }

    /// What a message in RX says.
    pub(super) fn message_of<'b>(&mut self, from: PartitionId, bytes: &'b mut [u8]) -> Option<&'b [u8]> {
        for (at, chunk) in (self.rx()..).step_by(8).zip(bytes.chunks_mut(8)) {
            chunk.copy_from_slice(&self.cpu.read(at).to_le_bytes());
        }
        let format = IndirectFormat::for_version(self.version);
        let message = IndirectMessage::parse(bytes, format, from, PAGE_SIZE as usize);
        let message = message.ok().filter(|message| message.receiver() == self.id)?;
        let start = message.payload_offset() as usize;
        bytes.get(start..start + message.payload_size() as usize)
    }
}
