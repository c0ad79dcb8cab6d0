//! Hands the interrupts of the machine to the normal world, but for one by which CPUs wake each other here.

use core::arch::asm;
use core::ptr::NonNull;

use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{
    GicCpuInterface, GicDistributor, GicRedistributor, GicRedistributorIterator, Group, SecureIntGroup,
    SgiTarget, SgiTargetGroup,
};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use ffa_el2::machine::{GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS};

/// One of the software-generated interrupts that by convention belong to the secure world: 8 to 15.
const WAKE: IntId = IntId::sgi(15);
const HIGHEST_PRIORITY: u8 = 0;
const LOWEST_PRIORITY: u8 = 0xff;

/// Puts all shared interrupts into non-secure group 1 and returns the number of CPUs of the machine.
pub fn start() -> usize {
    let registers = NonNull::new(GIC_DISTRIBUTOR as *mut Gicd).expect("the address is not zero");
    // SAFETY: The boot map has this machine's distributor there, as device memory; only the boot CPU comes here, and
    // the normal world does not run yet.
    let mut distributor = GicDistributor::new(unsafe { UniqueMmioPointer::new(registers) });
    distributor.enable_affinity_routing_non_secure(true);
    distributor.configure_default_settings();
    redistributors().count()
}

/// Puts the private interrupts of this CPU into non-secure group 1, but for ours, and lets EL2 use the GIC's system
/// registers.
pub fn start_cpu(cpu: usize) {
    let mut redistributor = redistributors().nth(cpu).expect("every CPU has a redistributor");
    // The error is "awake already", which is what the normal world may have left.
    _ = redistributor.mark_core_awake();
    redistributor.configure_default_settings();
    redistributor.set_group(WAKE, Group::Secure(SecureIntGroup::Group0)).expect("it is private");
    redistributor.set_interrupt_priority(WAKE, HIGHEST_PRIORITY).expect("it is private");
    redistributor.enable_interrupt(WAKE, true).expect("it is private");
    GicCpuInterface::enable_system_register_el3(true);
}

/// Waits until another CPU calls [`wake`] and then `condition` holds.
///
/// No instruction is executed meanwhile, other than with an event: so where time is virtual, it can pass.
pub fn wait_until(condition: impl Fn() -> bool) {
    // What the normal world left pending on this CPU must not end the wait again and again.
    GicCpuInterface::enable_group1_non_secure(false);
    GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
    GicCpuInterface::enable_group0(true);
    while !condition() {
        arm_gic::wfi();
        while GicCpuInterface::handle_interrupt(InterruptGroup::Group0, |_| {}) {}
    }
    GicCpuInterface::enable_group0(false);
}

/// Wakes `cpu` if it waits.
pub fn wake(cpu: usize) {
    let target = SgiTarget::List { affinity3: 0, affinity2: 0, affinity1: 0, target_list: 1 << cpu };
    // SAFETY: A barrier: whoever is woken sees what was written before.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) }
    GicCpuInterface::send_sgi(WAKE, target, SgiTargetGroup::Group0).expect("it is an SGI");
}

fn redistributors() -> impl Iterator<Item = GicRedistributor<'static>> {
    let first = NonNull::new(GIC_REDISTRIBUTORS as *mut GicrSgi).expect("the address is not zero");
    // SAFETY: The boot map has this machine's redistributors there, as device memory. Each CPU changes only its own,
    // before the normal world runs on it; the others it only asks whether they are the last.
    unsafe { GicRedistributorIterator::new(first) }.expect("the machine has a GICv3")
}
