//! What the mediator asks of this hypervisor, on one CPU.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use ffa_abi::{PartitionId, Regs};
use ffa_el2::clock;
use ffa_hyp_glue::{
    Conduit, Event, Observer, Permissions, Relation, Smccc, SpmcBuffers, Timer, VirtualInterrupts,
    VmReferences,
};
use ffa_teardown::Time;
use smccc::Smc;

use super::buffers::{RX, TX};
use super::watch;
use crate::alarm::{self, NEVER};
use crate::vm_id::VmId;
use crate::{cpu, scenario, vms};

/// SMCs made so far, by CPU, so that none waits for another's count.
static SMCS: [AtomicU64; cpu::MAX] = [const { AtomicU64::new(0) }; cpu::MAX];

/// How many SMCs were made to the secure world.
pub fn smcs() -> u64 {
    SMCS.iter().map(|count| count.load(Relaxed)).sum()
}

/// Every seam of the mediator. All state is where the rest of the hypervisor has it.
pub struct Platform {
    firmware: Smccc<Smc>,
    /// How many SMCs this CPU has made.
    smcs: &'static AtomicU64,
}

impl Platform {
    /// That of the CPU with this number.
    pub const fn of_cpu(cpu: usize) -> Self {
        Self { firmware: Smccc::new(), smcs: &SMCS[cpu] }
    }
}

impl Conduit for Platform {
    #[inline]
    fn call(&mut self, regs: &Regs) -> Regs {
        // Nobody else writes to it.
        self.smcs.store(self.smcs.load(Relaxed).wrapping_add(1), Relaxed);
        self.firmware.call(regs)
    }
}

/// Keeps what is left of a VM. Given back once, since it cannot be copied.
pub struct Reference(VmId);

impl VmReferences for Platform {
    type Reference = Reference;

    fn take(&mut self, vm: PartitionId) -> Reference {
        let id = VmId::of_partition(vm).expect("the mediator knows no other VMs");
        vms::take_reference(id);
        Reference(id)
    }

    fn give_back(&mut self, _: PartitionId, Reference(id): Reference) {
        vms::drop_reference(id);
    }
}

impl Timer for Platform {
    fn now(&mut self) -> Time {
        Time::from_nanos(clock::now())
    }

    fn arm(&mut self, deadline: Option<Time>) {
        alarm::set(deadline.map_or(NEVER, Time::as_nanos));
    }
}

impl SpmcBuffers for Platform {
    fn addresses(&mut self) -> (u64, u64) {
        (TX.address() as u64, RX.address() as u64)
    }

    fn write_tx(&mut self, bytes: &[u8]) {
        TX.write(bytes);
    }

    fn read_rx(&mut self, offset: usize, dst: &mut [u8]) {
        RX.read(offset, dst);
    }
}

/// Guests reach every SP, and the guests that the scenario acquaints them with.
impl Permissions for Platform {
    #[inline]
    fn permits(&mut self, vm: PartitionId, _: Relation, partner: PartitionId) -> bool {
        partner.is_secure() || are_acquainted(vm, partner)
    }
}

#[cold] // no part of what guests do with SPs
fn are_acquainted(vm: PartitionId, other: PartitionId) -> bool {
    scenario::played().is_some_and(|scenario| scenario.acquaints(vm, other))
}

impl VirtualInterrupts for Platform {
    fn raise(&mut self, vm: PartitionId, vcpu: Option<u16>, intid: u32) -> bool {
        // Each VM has one vCPU.
        vcpu.unwrap_or(0) == 0 && VmId::of_partition(vm).is_some_and(|id| vms::raise(id, intid))
    }
}

impl Observer for Platform {
    #[inline]
    fn event(&mut self, event: &Event) {
        watch::event(event);
    }
}
