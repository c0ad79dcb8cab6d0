//! A mediator over the modelled hypervisor and secure world, with calls as a guest makes them.

#![allow(dead_code)] // Every test file uses its own part.

pub mod peers;
pub mod sends;

use ffa_abi::{FirmwareStatus, Handle, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::{Creation, Occupancy, Outcome, Settings};
use ffa_mem::SendFlags;
use ffa_teardown::Span;
use ffa_test_utils::fault::FaultPlan;
use ffa_test_utils::hypervisor::{Kind, Machine, ModelHypervisor, Region, Violation};
use ffa_test_utils::spmc::{Config, Preset, Script, SpConfig};

pub const SP1: PartitionId = PartitionId(0x8001);
pub const SP2: PartitionId = PartitionId(0x8002);
pub const SP3: PartitionId = PartitionId(0x8003);
pub const VM1: PartitionId = PartitionId(1);
pub const VM2: PartitionId = PartitionId(2);

pub const TX: u64 = 0x4000_0000;
pub const RX: u64 = 0x4000_1000;
/// First page of plain memory that is neither RX nor TX.
pub const PAGES: u64 = 0x4000_2000;
pub const LOOSE: u64 = 0x7000_0000;
pub const READ_ONLY: u64 = 0x7100_0000;
pub const DEVICE: u64 = 0x7200_0000;
pub const HYPERVISORS: u64 = 0x7300_0000;
pub const FOREIGN: u64 = 0x7400_0000;
pub const PAGE: u64 = 0x1000;

pub const MEM_SHARE: u64 = 0x8400_0073;
pub const MEM_RECLAIM: u64 = 0x8400_0077;
/// Long enough for whatever the default policy does by itself, but for DENIED.
pub const LONG: Span = Span::from_secs(60);

pub const REGIONS: [Region; 6] = [
    Region::block(TX, 64),
    Region::loose(LOOSE, 16),
    Region::block(READ_ONLY, 2).of(Kind::ReadOnly),
    Region::block(DEVICE, 2).of(Kind::Device),
    Region::block(HYPERVISORS, 2).of(Kind::Hypervisors),
    Region::block(FOREIGN, 2).of(Kind::Foreign),
];

/// What a guest finds in registers before a call, and must not find after it.
pub const POISON: u64 = 0xbad0_bad0_bad0_bad0;

pub struct World {
    pub hypervisor: ModelHypervisor,
    pub preset: &'static str,
}

/// Two good partitions that want to hear of VMs.
pub fn good_sps() -> Vec<SpConfig> {
    vec![SpConfig::new(SP1, Script::GOOD), SpConfig::new(SP2, Script::GOOD)]
}

pub fn machine(config: impl Into<Config>, sps: Vec<SpConfig>) -> Machine {
    Machine::new(config, sps)
}

impl World {
    pub fn boot(machine: Machine) -> Self {
        let preset = machine.secure.name;
        Self { hypervisor: ModelHypervisor::new(machine).expect("the secure world answers"), preset }
    }

    /// Two good partitions, and VM 1 at version 1.1 with RX and TX.
    pub fn new(config: impl Into<Config>) -> Self {
        Self::with(machine(config, good_sps()))
    }

    /// VM 1 at version 1.1 with RX and TX.
    pub fn with(machine: Machine) -> Self {
        let mut world = Self::boot(machine);
        world.live(VM1, Version::V1_1);
        world
    }

    pub fn faulty(config: impl Into<Config>, plan: FaultPlan) -> Self {
        Self::with(Machine { plan, ..machine(config, good_sps()) })
    }

    /// A VM that has negotiated and mapped its buffers.
    pub fn live(&mut self, vm: PartitionId, version: Version) {
        assert_eq!(self.hypervisor.create(vm, &REGIONS), Ok(Creation::Live), "{}", self.preset);
        self.negotiate(vm, version);
        self.map(vm);
    }

    pub fn negotiate(&mut self, vm: PartitionId, version: Version) {
        let answer = self.call(vm, [0x8400_0063, u64::from(version.word())]);
        assert_eq!(answer[0], u64::from(version.word()));
    }

    pub fn map(&mut self, vm: PartitionId) {
        assert_eq!(self.call(vm, [0xc400_0066, TX, RX, 1]), Regs::success(0, 0));
    }

    /// A call with x0 and on; what is not given is zero up to x7 and poison from x8 on.
    pub fn call<const N: usize>(&mut self, vm: PartitionId, head: [u64; N]) -> Regs {
        self.call_on(vm, 0, Regs::new(head))
    }

    pub fn call_on(&mut self, vm: PartitionId, vcpu: u16, mut regs: Regs) -> Regs {
        for x in regs.0.iter_mut().skip(8) {
            *x = POISON;
        }
        let outcome = self.hypervisor.call(vm, vcpu, &mut regs).expect("the VM is there");
        assert_eq!(outcome, Outcome::Return);
        regs
    }

    /// A call that must be refused, with no register but x0 and x2 set, and without an SMC.
    pub fn refused<const N: usize>(&mut self, what: &str, vm: PartitionId, head: [u64; N], status: Status) {
        let smcs = self.hypervisor.smcs();
        let answer = self.call(vm, head);
        assert_eq!(answer, Regs::error(status), "{}: {what}", self.preset);
        assert_eq!(self.hypervisor.smcs(), smcs, "{}: {what} reached the secure world", self.preset);
    }

    pub fn write_tx(&mut self, vm: PartitionId, bytes: &[u8]) {
        self.hypervisor.write(vm, TX, bytes);
    }

    /// FFA_MEM_SHARE of a descriptor in one part.
    pub fn send(&mut self, vm: PartitionId, bytes: &[u8]) -> Regs {
        self.write_tx(vm, bytes);
        let len = bytes.len() as u64;
        self.call(vm, [MEM_SHARE, len, len])
    }

    /// A share that must work.
    pub fn share(&mut self, vm: PartitionId, with: PartitionId, ranges: &[(u64, u32)]) -> Handle {
        let bytes = descriptor(Version::V1_1, vm, with, ranges);
        let answer = self.send(vm, &bytes);
        handle_of(&answer).unwrap_or_else(|| panic!("{}: {answer:x?}", self.preset))
    }

    pub fn reclaim(&mut self, vm: PartitionId, handle: Handle) -> Regs {
        let [low, high] = handle.words();
        self.call(vm, [MEM_RECLAIM, low, high])
    }

    pub fn destroy(&mut self, vm: PartitionId) {
        self.hypervisor.destroy(vm).expect("it lives");
    }

    /// Nothing that must never happen has happened.
    #[track_caller]
    pub fn check(&self) {
        assert_eq!(self.hypervisor.violations(), Vec::<Violation>::new(), "{}", self.preset);
    }

    /// Everything of these VMs is back, and nothing has gone wrong.
    #[track_caller]
    pub fn check_all_gone(&self) {
        self.check();
        for vm in [VM1, VM2] {
            assert_eq!(self.hypervisor.report(vm), None, "{}", self.preset);
        }
        assert_eq!(self.hypervisor.occupancy(), Occupancy::default(), "{}", self.preset);
        assert_eq!(self.hypervisor.deadline(), None);
        assert_eq!(self.hypervisor.frames().orphans, 0);
        assert_eq!(self.hypervisor.spmc().live_handles().count(), 0);
    }
}

/// FFA_ERROR of a call, or none.
pub fn status_of(regs: &Regs) -> Option<FirmwareStatus> {
    match ffa_abi::Answer::from_regs(regs) {
        ffa_abi::Answer::Error(status) => Some(status),
        _ => None,
    }
}

pub fn handle_of(regs: &Regs) -> Option<Handle> {
    match ffa_abi::Answer::from_regs(regs) {
        ffa_abi::Answer::Success(success) => Handle::from_words(success.w2(), success.w3()).ok(),
        _ => None,
    }
}

/// A good descriptor of a share with one partition.
pub fn descriptor(version: Version, vm: PartitionId, with: PartitionId, ranges: &[(u64, u32)]) -> Vec<u8> {
    sends::SHARE.describe_in(version, vm, &[with], ranges, SendFlags::NONE)
}

/// The same with some bytes replaced.
pub fn broken(good: &[u8], patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for (at, patch) in patches {
        bytes[*at..*at + patch.len()].copy_from_slice(patch);
    }
    bytes
}

pub fn settings() -> Settings {
    Settings::DEFAULT
}

pub fn every_preset(test: impl Fn(Preset)) {
    Preset::ALL.into_iter().for_each(test);
}
