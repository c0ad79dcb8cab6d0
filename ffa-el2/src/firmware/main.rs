//! EL3 firmware: the secure world of the test machine.
//!
//! It starts the hypervisor, answers PSCI and SMCCC calls itself, and hands FF-A calls to the [`secure_world`]. It is
//! linked into the 2 MiB at 0x42000000, is entered by all CPUs at EL3 with the MMU off, and uses no other memory.
//!
//! **Not supported:** interrupts of the secure world, S-EL1 and S-EL0, suspending a CPU, reset.

#![no_std]
#![no_main]

extern crate alloc;

mod bench_clock;
mod exceptions;
mod heap;
mod interrupts;
mod normal_memory;
mod normal_world;
mod psci;
mod reset;
mod secure_world;
mod smc;
mod spmc;

use core::panic::PanicInfo;

use aarch64_paging::descriptor::El23Attributes;
use aarch64_rt::entry;
use ffa_el2::{boot_map, clock, console, exit, machine, println};

entry!(main, 16);
// All memory here is non-secure: a secure address for the same cell would name another cell to the caches.
boot_map!(boot_map::MEMORY.union(El23Attributes::NS));

/// Starts the boot CPU; the others wait in [`reset`] for PSCI.
fn main(_: u64, _: u64, _: u64, _: u64) -> ! {
    console::start();
    heap::start();
    normal_world::prepare_cpu();
    clock::start();
    let cpus = interrupts::start();
    interrupts::start_cpu();
    psci::start(cpus);
    secure_world::start();
    bench_clock::start();
    println!("firmware: entering the normal world at {:#x}", machine::HYPERVISOR);
    normal_world::enter(machine::HYPERVISOR as u64, 0)
}

#[panic_handler]
fn panic(panic: &PanicInfo) -> ! {
    exit::after_panic("firmware", panic)
}
