//! The calls that send memory, each with what its descriptors have that those of others have not.

use ffa_abi::{Function, Handle, PartitionId, Regs, Version};
use ffa_mem::{
    DataAccess, IpaRange, MemoryAttributes, Permissions, Receiver, SendBuilder, SendFlags, SendHeader,
};
use ffa_test_utils::hypervisor::Machine;
use ffa_test_utils::spmc::{Preset, Script, SpConfig};

use super::{SP1, SP2, VM1, World, handle_of, machine};

/// A call that sends memory.
#[derive(Clone, Copy, Debug)]
pub struct Send {
    pub function: Function,
    /// Of 32 bits.
    pub w0: u64,
    /// With one receiver; with several all are typed.
    pub attributes: MemoryAttributes,
    pub permissions: Permissions,
    /// By what FFA_FEATURES of each preset says.
    pub served_by: &'static [Preset],
}

pub const SHARE: Send = Send {
    function: Function::MemShare,
    w0: 0x8400_0073,
    attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
    permissions: Permissions::READ_WRITE,
    served_by: &Preset::ALL,
};
pub const LEND: Send = Send {
    function: Function::MemLend,
    w0: 0x8400_0072,
    attributes: MemoryAttributes::UNSPECIFIED,
    permissions: Permissions::READ_WRITE,
    served_by: &[Preset::Strict, Preset::Hafnium, Preset::TfaEl3],
};
pub const DONATE: Send = Send {
    function: Function::MemDonate,
    w0: 0x8400_0071,
    attributes: MemoryAttributes::UNSPECIFIED,
    permissions: Permissions::data(DataAccess::Unspecified),
    served_by: &[Preset::Strict, Preset::Hafnium],
};

impl Send {
    /// A good descriptor of version 1.1 from VM 1.
    pub fn describe(&self, with: &[PartitionId], ranges: &[(u64, u32)], flags: SendFlags) -> Vec<u8> {
        self.describe_in(Version::V1_1, VM1, with, ranges, flags)
    }

    pub fn describe_in(
        &self,
        version: Version,
        sender: PartitionId,
        with: &[PartitionId],
        ranges: &[(u64, u32)],
        flags: SendFlags,
    ) -> Vec<u8> {
        let receivers = with.iter().map(|&id| Receiver { id, permissions: self.permissions, impdef: [0; 2] });
        let attributes = match with.len() {
            1 => self.attributes,
            _ => MemoryAttributes::NORMAL_WRITE_BACK_INNER,
        };
        let header = SendHeader { version, sender, attributes, flags, tag: 0x1122 };
        describe(&header, receivers.collect(), ranges)
    }

    /// The same to SP 1.
    pub fn bytes(&self, ranges: &[(u64, u32)]) -> Vec<u8> {
        self.describe(&[SP1], ranges, SendFlags::NONE)
    }

    pub fn make(&self, world: &mut World, vm: PartitionId, bytes: &[u8]) -> Regs {
        world.write_tx(vm, bytes);
        world.call(vm, [self.w0, bytes.len() as u64, bytes.len() as u64])
    }

    /// One of VM 1's that must work.
    pub fn send(&self, world: &mut World, ranges: &[(u64, u32)]) -> Handle {
        let answer = self.make(world, VM1, &self.bytes(ranges));
        handle_of(&answer).unwrap_or_else(|| panic!("{}: {self:x?}: {answer:x?}", world.preset))
    }
}

pub fn describe(header: &SendHeader, receivers: Vec<Receiver>, ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut builder = SendBuilder::new(&mut bytes, header, receivers).expect("room");
    for &(base, pages) in ranges {
        builder.push(IpaRange::new(base, pages).expect("a range")).expect("room");
    }
    let len = builder.finish().expect("complete");
    bytes.truncate(len);
    bytes
}

/// Two partitions that retrieve nothing by themselves.
pub fn lazy_sps() -> Vec<SpConfig> {
    vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::LAZY)]
}

/// A world with these.
pub fn lazy(preset: Preset) -> World {
    World::with(machine(preset, lazy_sps()))
}

/// Each of these calls over every secure world that serves it.
pub fn each(sends: &[Send], work: impl Fn(&mut World, Send)) {
    for send in sends {
        for &preset in send.served_by {
            work(&mut lazy(preset), *send);
        }
    }
}

/// Every call that sends memory over every secure world that serves it, on these machines.
pub fn each_send_on(machine: impl Fn(Preset) -> Machine, work: impl Fn(&mut World, Send)) {
    for send in [SHARE, LEND, DONATE] {
        for &preset in send.served_by {
            work(&mut World::boot(machine(preset)), send);
        }
    }
}

/// The same with VM 1 at this version.
pub fn each_send_at(version: Version, work: impl Fn(&mut World, Send)) {
    let lazy = |preset| machine(preset, lazy_sps());
    each_send_on(lazy, |world, send| {
        world.live(VM1, version);
        work(world, send);
    });
}

/// The same at version 1.1.
pub fn each_send(work: impl Fn(&mut World, Send)) {
    each_send_at(Version::V1_1, work);
}
