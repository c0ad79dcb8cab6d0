//! Hands every interrupt of the machine to the normal world.

use core::ptr::NonNull;

use arm_gic::UniqueMmioPointer;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicRedistributor, GicRedistributorIterator};
use ffa_el2::machine::{GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS};

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

/// Puts the private interrupts of this CPU into non-secure group 1 and lets EL2 use the GIC's system registers.
pub fn start_cpu(cpu: usize) {
    let mut redistributor = redistributors().nth(cpu).expect("every CPU has a redistributor");
    // The error is "awake already", which is what a second power-on finds.
    _ = redistributor.mark_core_awake();
    redistributor.configure_default_settings();
    GicCpuInterface::enable_system_register_el3(true);
}

fn redistributors() -> impl Iterator<Item = GicRedistributor<'static>> {
    let first = NonNull::new(GIC_REDISTRIBUTORS as *mut GicrSgi).expect("the address is not zero");
    // SAFETY: The boot map has this machine's redistributors there, as device memory. Each CPU changes only its own,
    // before the normal world runs on it; the others it only asks whether they are the last.
    unsafe { GicRedistributorIterator::new(first) }.expect("the machine has a GICv3")
}
