use alloc::vec::Vec;

use ffa_abi::{Handle, NotificationBitmap, PartitionId, Regs};
use ffa_teardown::Span;

use super::actor::Due;
use super::memory::PhysMemory;
use super::model::SpmcModel;
use super::partition::{Partition, Request};
use super::reach::Serial;
use super::response::respond;

/// A back door to a partition's script: a direct request whose payload begins with [`Control::MAGIC`]. It is no part
/// of FF-A and works whatever state the partition is in, so that a hypervisor image can drive a scenario through
/// nothing but SMCs. From a guest it is a direct request like any other.
///
/// The answer is a direct response with [`Control::MAGIC`] in w3, 1 in w4 if it was done and 0 if not, in w5 the
/// number of pages that the partition has mapped then, and in w6 and w7 what was asked for, if anything was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Control {
    /// Changes nothing; for the number of mapped pages.
    Query,
    /// Retrieve the share, which must have been sent to this partition.
    Retrieve(Handle),
    /// Relinquish the share.
    Relinquish(Handle),
    /// Relinquish everything that was sent by this VM.
    RelinquishAll(PartitionId),
    /// Die.
    Crash,
    /// Restart; it forgets everything and holds nothing.
    Restart,
    /// Set a notification of the VM: after so many milliseconds, or at once after none.
    Notify {
        /// The VM.
        vm: PartitionId,
        /// Which notification, 0 to 63.
        id: u8,
        /// For which of its vCPUs, or for all of it.
        vcpu: Option<u16>,
        /// Milliseconds until then.
        after_ms: u32,
    },
    /// Let the VM set these notifications of the partition.
    AllowNotifications {
        /// The VM.
        vm: PartitionId,
        /// Which.
        ids: NotificationBitmap,
    },
    /// Tell which notifications it was sent since it was asked last, as a bitmap in w6 and w7; it takes those that are
    /// pending first.
    TakeNotifications,
    /// Send the VM an indirect message. Its bytes count up.
    SendMessage {
        /// The VM.
        vm: PartitionId,
        /// Bytes of the payload.
        size: u32,
        /// The first byte of the payload.
        first: u8,
    },
    /// Tell of the oldest indirect message that it was not yet asked about: in w6 the sender and the number of bytes in
    /// bits 31:16, in w7 their sum. It reads what is in RX first. Not done if there is none.
    TakeMessage,
}

impl Control {
    /// First word of the payload.
    pub const MAGIC: u32 = 0x4c52_5443; // "CTRL"

    /// w3 to w7 of the request.
    #[must_use]
    pub fn payload(self) -> [u64; 5] {
        let magic = u64::from(Self::MAGIC);
        match self {
            Self::Query => [magic, 0, 0, 0, 0],
            Self::Retrieve(handle) => Self::with_handle(1, handle),
            Self::Relinquish(handle) => Self::with_handle(2, handle),
            Self::RelinquishAll(vm) => [magic, 3, u64::from(vm.0), 0, 0],
            Self::Crash => [magic, 4, 0, 0, 0],
            Self::Restart => [magic, 5, 0, 0, 0],
            Self::Notify { vm, id, vcpu, after_ms } => {
                let vcpu = vcpu.map_or(0, |vcpu| 1 << 16 | u64::from(vcpu));
                [magic, 6, u64::from(vm.0) | u64::from(id) << 16, vcpu, u64::from(after_ms)]
            }
            Self::AllowNotifications { vm, ids } => {
                let [low, high] = ids.words();
                [magic, 7, u64::from(vm.0), low, high]
            }
            Self::TakeNotifications => [magic, 8, 0, 0, 0],
            Self::SendMessage { vm, size, first } => {
                [magic, 9, u64::from(vm.0), u64::from(size), u64::from(first)]
            }
            Self::TakeMessage => [magic, 10, 0, 0, 0],
        }
    }

    fn with_handle(operation: u64, handle: Handle) -> [u64; 5] {
        let [low, high] = handle.words();
        [u64::from(Self::MAGIC), operation, low, high, 0]
    }

    /// The control that a payload asks for, if it does.
    #[must_use]
    pub fn from_payload(payload: &[u64; 5]) -> Option<Self> {
        let [magic, operation, low, high, last] = payload.map(|word| word as u32);
        if magic != Self::MAGIC {
            return None;
        }
        let handle = || Handle::from_words(low, high).ok();
        let vm = PartitionId(low as u16);
        Some(match operation {
            0 => Self::Query,
            1 => Self::Retrieve(handle()?),
            2 => Self::Relinquish(handle()?),
            3 => Self::RelinquishAll(vm),
            4 => Self::Crash,
            5 => Self::Restart,
            6 => Self::Notify {
                vm,
                id: (low >> 16) as u8 & 0x3f,
                vcpu: (high >> 16 != 0).then_some(high as u16),
                after_ms: last,
            },
            7 => Self::AllowNotifications { vm, ids: NotificationBitmap::from_words(high, last) },
            8 => Self::TakeNotifications,
            9 => Self::SendMessage { vm, size: high, first: last as u8 },
            10 => Self::TakeMessage,
            _ => return None,
        })
    }
}

impl SpmcModel {
    /// Does what a control says, and answers.
    pub(super) fn control(
        &mut self,
        memory: &mut dyn PhysMemory,
        request: Request,
        control: Control,
    ) -> Regs {
        let sp = request.receiver;
        let (done, [x6, x7]) = self.obey(memory, sp, control);
        let (done, pages) = (u64::from(done), self.mapped_pages(sp));
        respond(request, [u64::from(Control::MAGIC), done, pages, x6, x7])
    }

    /// Has a partition do what a control says without a call. Returns whether it could.
    pub fn steer(&mut self, memory: &mut dyn PhysMemory, sp: PartitionId, control: Control) -> bool {
        self.obey(memory, sp, control).0
    }

    /// Whether it was done, and what was asked for.
    fn obey(&mut self, memory: &mut dyn PhysMemory, sp: PartitionId, control: Control) -> (bool, [u64; 2]) {
        match control {
            Control::Query => (true, [0; 2]),
            Control::Retrieve(handle) => (self.map_sent(handle, sp, true), [0; 2]),
            Control::Relinquish(handle) => (self.map_sent(handle, sp, false), [0; 2]),
            Control::RelinquishAll(vm) => {
                for serial in self.held_of(sp, vm) {
                    self.set_mapped(serial, sp, false);
                }
                (true, [0; 2])
            }
            Control::Crash => {
                self.crash(sp);
                (true, [0; 2])
            }
            Control::Restart => {
                self.restart(sp);
                (true, [0; 2])
            }
            Control::Notify { vm, id, vcpu, after_ms } => {
                let ids = NotificationBitmap(1 << id);
                if after_ms == 0 {
                    (self.set_notification(sp, vm, ids, vcpu).is_ok(), [0; 2])
                } else {
                    let at = self.now + Span::from_millis(u64::from(after_ms));
                    self.schedule(at, Due::Notify { sp, vm, ids, vcpu });
                    (true, [0; 2])
                }
            }
            Control::AllowNotifications { vm, ids } => {
                (self.allow_notifications(sp, vm, ids).is_ok(), [0; 2])
            }
            Control::TakeNotifications => (true, self.hand_over_notifications(sp).words()),
            Control::SendMessage { vm, size, first } => {
                // No buffer has room for more.
                let size = size.min(1 << 20);
                let payload: Vec<_> = (0..size).map(|at| first.wrapping_add(at as u8)).collect();
                (self.send_message(memory, sp, vm, &payload).is_ok(), [0; 2])
            }
            Control::TakeMessage => {
                let taken = self.partition_mut(sp).and_then(Partition::hand_over_message);
                (taken.is_some(), taken.map_or([0; 2], |message| message.summary()))
            }
        }
    }

    /// Maps or unmaps a share for a partition, if it was sent to it.
    fn map_sent(&mut self, handle: Handle, sp: PartitionId, mapped: bool) -> bool {
        let sent = |serial: &Serial| {
            let share = self.store.get(*serial);
            share.is_some_and(|share| share.receivers.iter().any(|receiver| receiver.id == sp))
        };
        let Some(serial) = self.store.find(handle.get()).filter(sent) else { return false };
        self.set_mapped(serial, sp, mapped);
        true
    }

    fn hand_over_notifications(&mut self, sp: PartitionId) -> NotificationBitmap {
        let Some(partition) = self.partition_mut(sp) else { return NotificationBitmap::NONE };
        partition.take_pending();
        core::mem::take(&mut partition.taken)
    }
}
