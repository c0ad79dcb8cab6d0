//! A hypervisor that is nothing but memory and SMCs, and descriptors made of bytes.

#![allow(dead_code)] // Every test file uses its own part.

use std::collections::BTreeMap;

use ffa_abi::{Answer, FirmwareStatus, Handle, PartitionId, Regs, Status, VmAvailability, VmMessage};
use ffa_teardown::{Span, Time};
use ffa_test_utils::spmc::{Config, PhysFault, PhysMemory, SpConfig, SpmcModel};

pub const TX: u64 = 0x7000_0000;
pub const RX: u64 = 0x7000_1000;
pub const PAGE: u64 = 0x1000;
pub const SP1: PartitionId = PartitionId(0x8001);
pub const SP2: PartitionId = PartitionId(0x8002);
pub const VM1: PartitionId = PartitionId(1);
pub const VM2: PartitionId = PartitionId(2);

/// Memory that is there when it is touched, except above `END`.
#[derive(Clone, Default)]
pub struct Memory(BTreeMap<u64, u8>);

pub const END: u64 = 0x1_0000_0000;

impl PhysMemory for Memory {
    fn read(&self, address: u64, dst: &mut [u8]) -> Result<(), PhysFault> {
        for (at, byte) in (address..).zip(dst) {
            if at >= END {
                return Err(PhysFault { address: at });
            }
            *byte = self.0.get(&at).copied().unwrap_or(0);
        }
        Ok(())
    }

    fn write(&mut self, address: u64, src: &[u8]) -> Result<(), PhysFault> {
        for (at, &byte) in (address..).zip(src) {
            if at >= END {
                return Err(PhysFault { address: at });
            }
            self.0.insert(at, byte);
        }
        Ok(())
    }
}

/// The secure world with memory and a clock.
pub struct World {
    pub spmc: SpmcModel,
    pub memory: Memory,
    pub now: Time,
}

impl World {
    /// As it is before the first call.
    pub fn raw(config: impl Into<Config>, partitions: impl IntoIterator<Item = SpConfig>) -> Self {
        Self { spmc: SpmcModel::new(config, partitions), memory: Memory::default(), now: Time::ZERO }
    }

    /// With 1.1 negotiated, buffers mapped, and VM 1 announced to everybody.
    pub fn new(config: impl Into<Config>, partitions: impl IntoIterator<Item = SpConfig>) -> Self {
        let mut world = Self::raw(config, partitions);
        let version = world.call([0x8400_0063, 0x1_0001]);
        assert!(version.w::<0>() >= 0x1_0001, "{version:x?}");
        world.map_buffers();
        let sps: Vec<_> = [SP1, SP2].into_iter().filter(|&sp| world.has(sp)).collect();
        for sp in sps {
            world.tell(VmAvailability::Created, VM1, sp);
        }
        world
    }

    fn has(&mut self, sp: PartitionId) -> bool {
        // Only an unknown partition is INVALID_PARAMETERS to a query that changes nothing.
        let payload = ffa_test_utils::spmc::Control::Query.payload();
        let answer = self.direct(PartitionId(0), sp, payload);
        answer.w::<0>() == 0x8400_0070
    }

    pub fn map_buffers(&mut self) {
        assert_eq!(self.call([0xc400_0066, TX, RX, 1]), Regs::success(0, 0));
    }

    pub fn call<const N: usize>(&mut self, head: [u64; N]) -> Regs {
        self.spmc.call(&mut self.memory, self.now, &Regs::new(head))
    }

    pub fn pass(&mut self, span: Span) {
        self.now = self.now + span;
    }

    pub fn direct(&mut self, from: PartitionId, to: PartitionId, payload: [u64; 5]) -> Regs {
        let [x3, x4, x5, x6, x7] = payload;
        self.call([0x8400_006f, u64::from(PartitionId::pair(from, to)), 0, x3, x4, x5, x6, x7])
    }

    pub fn message(event: VmAvailability, vm: PartitionId, sp: PartitionId) -> VmMessage {
        VmMessage { event, sp, vm, vm_handle: 0 }
    }

    pub fn tell(&mut self, event: VmAvailability, vm: PartitionId, sp: PartitionId) -> Regs {
        let regs = Self::message(event, vm, sp).request().to_regs();
        self.spmc.call(&mut self.memory, self.now, &regs)
    }

    pub fn run(&mut self, sp: PartitionId, vcpu: u16) -> Regs {
        self.call([0x8400_006d, u64::from(sp.0) << 16 | u64::from(vcpu)])
    }

    /// A send of `descriptor` in one part.
    pub fn send(&mut self, function: u64, descriptor: &[u8]) -> Regs {
        self.memory.write(TX, descriptor).unwrap();
        let len = descriptor.len() as u64;
        self.call([function, len, len])
    }

    /// A share that must work.
    pub fn share(&mut self, descriptor: &Descriptor) -> Handle {
        handle_of(&self.send(MEM_SHARE, &descriptor.bytes()))
    }

    pub fn reclaim(&mut self, handle: Handle) -> Regs {
        let [low, high] = handle.words();
        self.call([0x8400_0077, low, high])
    }

    pub fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(address, &mut bytes).unwrap();
        bytes
    }
}

pub const MEM_DONATE: u64 = 0x8400_0071;
pub const MEM_LEND: u64 = 0x8400_0072;
pub const MEM_SHARE: u64 = 0x8400_0073;

pub fn handle_of(regs: &Regs) -> Handle {
    let Answer::Success(success) = Answer::from_regs(regs) else { panic!("no success: {regs:x?}") };
    Handle::from_words(success.w2(), success.w3()).unwrap()
}

pub fn status_of(regs: &Regs) -> Result<(), Status> {
    match Answer::from_regs(regs) {
        Answer::Success(_) => Ok(()),
        Answer::Error(FirmwareStatus::Known(status)) => Err(status),
        other => panic!("neither success nor error: {other:?}"),
    }
}

/// The buffers of VM 1.
pub const VM_RX: u64 = 0x6000_0000;
pub const VM_TX: u64 = 0x6000_1000;

/// Maps [`VM_RX`] and [`VM_TX`] for VM 1.
pub fn map_buffers_for_vm1(world: &mut World) {
    let words = |words: [u32; 4]| words.map(u32::to_le_bytes).concat();
    let composite = |address: u64| [words([1, 1, 0, 0]), words([address as u32, 0, 1, 0])].concat();
    let descriptor = [words([1, 16, 48, 0]), composite(VM_RX), composite(VM_TX)].concat();
    world.memory.write(TX, &descriptor).unwrap();
    assert_eq!(world.call([0xc400_0066]), Regs::success(0, 0));
}

/// A memory transaction descriptor of 1.1, field by field.
#[derive(Clone, Debug)]
pub struct Descriptor {
    pub sender: u16,
    pub attributes: u16,
    pub flags: u32,
    pub handle: u64,
    pub access_size: u32,
    pub access_offset: u32,
    pub receivers: Vec<(u16, u8)>,
    pub ranges: Vec<(u64, u32)>,
    pub total_pages: Option<u32>,
    pub range_count: Option<u32>,
    pub composite_offset: Option<u32>,
    pub header_reserved: u8,
    pub access_reserved: u8,
}

impl Descriptor {
    /// A share of two pages of VM 1 with SP 1, as every secure world takes it.
    pub fn good() -> Self {
        Self {
            sender: 1,
            attributes: 0x2f,
            flags: 0,
            handle: 0,
            access_size: 16,
            access_offset: 48,
            receivers: vec![(SP1.0, 0b10)],
            ranges: vec![(0x4000_0000, 2)],
            total_pages: None,
            range_count: None,
            composite_offset: None,
            header_reserved: 0,
            access_reserved: 0,
        }
    }

    pub fn pages(first: u64, pages: u32) -> Self {
        Self { ranges: vec![(first, pages)], ..Self::good() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.sender.to_le_bytes());
        bytes.extend(self.attributes.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.handle.to_le_bytes());
        bytes.extend(0x7a6_u64.to_le_bytes());
        bytes.extend(self.access_size.to_le_bytes());
        bytes.extend((self.receivers.len() as u32).to_le_bytes());
        bytes.extend(self.access_offset.to_le_bytes());
        bytes.extend([self.header_reserved; 12]);
        let composite = 48 + self.receivers.len() as u32 * 16;
        for (id, permissions) in &self.receivers {
            bytes.extend(id.to_le_bytes());
            bytes.extend([*permissions, 0]);
            bytes.extend(self.composite_offset.unwrap_or(composite).to_le_bytes());
            bytes.extend([self.access_reserved; 8]);
        }
        let sum = self.ranges.iter().fold(0_u32, |sum, &(_, pages)| sum.wrapping_add(pages));
        bytes.extend(self.total_pages.unwrap_or(sum).to_le_bytes());
        bytes.extend(self.range_count.unwrap_or(self.ranges.len() as u32).to_le_bytes());
        bytes.extend([0; 8]);
        for (address, pages) in &self.ranges {
            bytes.extend(address.to_le_bytes());
            bytes.extend(pages.to_le_bytes());
            bytes.extend([0; 4]);
        }
        bytes
    }
}
