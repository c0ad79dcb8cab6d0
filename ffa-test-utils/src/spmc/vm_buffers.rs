//! FFA_RXTX_MAP on behalf of a VM: a descriptor in the hypervisor's TX names the VM and its buffers.

use ffa_abi::{FunctionId, PartitionId, Regs, Width};

use super::check::{Checks, VmMapCheck};
use super::mailbox::Mailbox;
use super::memory::{PhysFault, PhysMemory};
use super::model::{SpmcModel, error};

/// Bytes of the endpoint RX/TX descriptor.
const HEADER: u64 = 16;
/// Bytes of a composite descriptor with one range.
const COMPOSITE: u64 = 32;

/// What the hypervisor's TX says: where the buffers of which VM are.
struct VmBuffers {
    vm: PartitionId,
    reserved: u64,
    rx_offset: u32,
    tx_offset: u32,
    rx: Composite,
    tx: Composite,
}

/// The first range of a composite descriptor, and how much there should be.
#[derive(Clone, Copy)]
struct Composite {
    pages: u32,
    ranges: u32,
    first_base: u64,
    first_pages: u32,
}

impl VmBuffers {
    /// Reads the descriptor at `tx` and what it refers to, wherever that leads.
    fn read(memory: &dyn PhysMemory, tx: u64) -> Result<Self, PhysFault> {
        let mut header = [0; HEADER as usize];
        memory.read(tx, &mut header)?;
        let (rx_offset, tx_offset) = (word(&header, 4), word(&header, 8));
        let composite = |offset: u32| {
            let mut bytes = [0; COMPOSITE as usize];
            memory.read(tx.wrapping_add(u64::from(offset)), &mut bytes)?;
            Ok(Composite {
                pages: word(&bytes, 0),
                ranges: word(&bytes, 4),
                first_base: u64::from(word(&bytes, 20)) << 32 | u64::from(word(&bytes, 16)),
                first_pages: word(&bytes, 24),
            })
        };
        Ok(Self {
            vm: PartitionId(word(&header, 0) as u16),
            reserved: u64::from(word(&header, 0) >> 16 | word(&header, 12)),
            rx_offset,
            tx_offset,
            rx: composite(rx_offset)?,
            tx: composite(tx_offset)?,
        })
    }
}

impl SpmcModel {
    pub(super) fn map_for_vm(
        &mut self,
        memory: &dyn PhysMemory,
        checks: Checks<VmMapCheck>,
        id: FunctionId,
    ) -> Regs {
        let read = self.mailbox.and_then(|mailbox| VmBuffers::read(memory, mailbox.tx).ok());
        for &(check, status) in checks {
            let broken = match (check, &read) {
                (VmMapCheck::Narrow, _) => id.width() == Width::Smc32,
                (_, None) => true,
                (check, Some(asked)) => self.map_for_vm_broken(check, asked),
            };
            if broken {
                return error(status);
            }
        }
        // With neither rows nor a descriptor there is nothing to map.
        let Some(VmBuffers { vm, rx, tx, .. }) = read else {
            return error(ffa_abi::Status::InvalidParameters);
        };
        // The size of both is that of RX.
        let asked = Mailbox { tx: tx.first_base, rx: rx.first_base, pages: rx.pages };
        self.map_for(vm, id, asked, 0)
    }

    fn map_for_vm_broken(&self, check: VmMapCheck, asked: &VmBuffers) -> bool {
        let offsets = [asked.rx_offset, asked.tx_offset];
        match check {
            VmMapCheck::Narrow | VmMapCheck::NoBuffer => false,
            VmMapCheck::Reserved => asked.reserved != 0,
            VmMapCheck::Unaligned => offsets.iter().any(|offset| offset % 8 != 0),
            VmMapCheck::PastBuffer => {
                let room = self.mailbox.map_or(0, |mailbox| mailbox.bytes());
                let inside =
                    |&offset: &u32| (HEADER..=room.saturating_sub(COMPOSITE)).contains(&u64::from(offset));
                !offsets.iter().all(inside)
                    || u64::from(asked.rx_offset.abs_diff(asked.tx_offset)) < COMPOSITE
            }
            VmMapCheck::Pieces => {
                let whole = |buffer: Composite| buffer.ranges == 1 && buffer.first_pages == buffer.pages;
                !whole(asked.rx) || !whole(asked.tx) || asked.rx.pages != asked.tx.pages
            }
            VmMapCheck::NotVm => asked.vm.is_secure() || asked.vm == PartitionId::HYPERVISOR,
            VmMapCheck::NoSlot => !self.has_slot(asked.vm),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}
