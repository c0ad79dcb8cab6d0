//! Where every CPU starts.

use core::arch::naked_asm;

use aarch64_rt::Stack;
use ffa_el2::machine::MAX_CPUS;

use crate::{interrupts, normal_world, psci};

/// Stacks of all CPUs but the boot CPU, whose stack `aarch64-rt` provides. Never named from Rust.
#[unsafe(link_section = ".stack.secondary")]
static mut STACKS: [Stack<STACK_PAGES>; MAX_CPUS - 1] = [const { Stack::new() }; MAX_CPUS - 1];
const STACK_PAGES: usize = 8;
const STACK_BYTES: usize = size_of::<Stack<STACK_PAGES>>();

/// CPU 0 goes on to `aarch64-rt`, which clears the data and calls `main`. The others touch only their stack until
/// PSCI has started, which they find out from a word that is zero before and after it is cleared.
///
/// # Safety
/// For the linker alone: entered at EL3 with the MMU off, the image loaded, and its memory otherwise zero.
#[unsafe(naked)]
#[unsafe(export_name = "reset")]
#[unsafe(link_section = ".init.reset")]
unsafe extern "C" fn reset() -> ! {
    naked_asm!(
        "mrs x19, mpidr_el1",
        "and x19, x19, #0xff",
        "cbz x19, entry",
        "cmp x19, #{cpus}",
        "b.hs 2f",
        "bl enable_mmu",
        "adrp x9, {stacks}",
        "mov x10, #{stack_bytes}",
        "madd x9, x19, x10, x9",
        "mov sp, x9",
        "bl {set_exception_vector}",
        "mov x0, x19",
        "b {secondary}",
        "2:",
        "wfe",
        "b 2b",
        cpus = const MAX_CPUS,
        stacks = sym STACKS,
        stack_bytes = const STACK_BYTES,
        set_exception_vector = sym aarch64_rt::set_exception_vector,
        secondary = sym secondary,
    )
}

extern "C" fn secondary(cpu: usize) -> ! {
    psci::wait_for_start();
    interrupts::start_cpu();
    let start = psci::wait_for_power(cpu);
    normal_world::prepare_cpu();
    normal_world::enter(start.entry, start.argument)
}
