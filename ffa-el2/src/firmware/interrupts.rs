//! Hands the interrupts of the machine to the normal world, but for one by which CPUs wake each other here. One of the normal
//! world is sent from here: that the secure world has notifications for it.

use core::arch::asm;
use core::ptr::NonNull;

use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{
    GicCpuInterface, GicDistributor, GicRedistributor, GicRedistributorIterator, Group, SecureIntGroup,
    SgiTarget, SgiTargetGroup,
};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use arm_sysregs::el1::accessors::read_mpidr_el1;
use ffa_el2::machine::{GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS};

/// One of the software-generated interrupts that by convention belong to the secure world: 8 to 15.
const WAKE: IntId = IntId::sgi(15);
const HIGHEST_PRIORITY: u8 = 0;
const LOWEST_PRIORITY: u8 = 0xff;

/// Puts all interrupts but ours into non-secure group 1, on behalf of all CPUs, and returns how many CPUs there are.
pub fn start() -> usize {
    let registers = NonNull::new(GIC_DISTRIBUTOR as *mut Gicd).expect("the address is not zero");
    // SAFETY: The boot map has this machine's distributor there, as device memory; only the boot CPU comes here, and
    // the normal world does not run yet.
    let mut distributor = GicDistributor::new(unsafe { UniqueMmioPointer::new(registers) });
    distributor.enable_affinity_routing_non_secure(true);
    distributor.configure_default_settings();
    distributor.enable_group0(true);
    redistributors().map(start_redistributor).count()
}

/// Lets this CPU and its EL2 use the system registers of the GIC.
pub fn start_cpu() {
    GicCpuInterface::enable_system_register_el3(true);
}

/// Waits until another CPU calls [`wake`].
///
/// No instruction is executed meanwhile, as one would be after every WFE: so where time is virtual, it can pass.
pub fn wait() {
    // What the normal world left pending on this CPU must not end the wait.
    GicCpuInterface::enable_group1_non_secure(false);
    GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
    GicCpuInterface::enable_group0(true);
    // The interrupt is taken in any case: left pending, it would be in the way of all others, as it has their priority
    // or a higher one.
    while !GicCpuInterface::handle_interrupt(InterruptGroup::Group0, |_| {}) {
        arm_gic::wfi();
    }
    GicCpuInterface::enable_group0(false);
}

/// Ends the wait of `cpu`, even one that has yet to begin.
pub fn wake(cpu: usize) {
    let target = SgiTarget::List { affinity3: 0, affinity2: 0, affinity1: 0, target_list: 1 << cpu };
    // SAFETY: A barrier: whoever is woken sees what was written before.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) }
    GicCpuInterface::send_sgi(WAKE, target, SgiTargetGroup::Group0).expect("it is an SGI");
}

/// Makes an SGI of the normal world pending on this CPU, as if the normal world had sent it.
pub fn send_to_normal_world(sgi: u32) {
    let this = 1 << (read_mpidr_el1().bits() & 0xff);
    let target = SgiTarget::List { affinity3: 0, affinity2: 0, affinity1: 0, target_list: this };
    // EL3 is secure, whatever it returns to.
    GicCpuInterface::send_sgi(IntId::sgi(sgi), target, SgiTargetGroup::OtherGroup1).expect("it is an SGI");
}

fn start_redistributor(mut redistributor: GicRedistributor) {
    // The error is "awake already".
    _ = redistributor.mark_core_awake();
    redistributor.configure_default_settings();
    redistributor.set_group(WAKE, Group::Secure(SecureIntGroup::Group0)).expect("it is private");
    redistributor.set_interrupt_priority(WAKE, HIGHEST_PRIORITY).expect("it is private");
    redistributor.enable_interrupt(WAKE, true).expect("it is private");
}

fn redistributors() -> impl Iterator<Item = GicRedistributor<'static>> {
    let first = NonNull::new(GIC_REDISTRIBUTORS as *mut GicrSgi).expect("the address is not zero");
    // SAFETY: The boot map has this machine's redistributors there, as device memory; only the boot CPU comes here, and
    // neither the other CPUs nor the normal world use them yet.
    unsafe { GicRedistributorIterator::new(first) }.expect("the machine has a GICv3")
}
