//! What an operating system relies on in a guest that has a board, one check each: the smallest thing that boots there.
//!
//! It is an arm64 `Image`, linked for the place where the memory of such a guest begins. If all is well it turns its VM off;
//! else it jumps to where there is nothing, which ends the VM in another way. With the kernel argument `soak` it checks nothing
//! of this, but [shares memory](soak) until its VM is killed.

#![no_std]
#![no_main]

mod calls;
mod device_tree;
mod devices;
mod exceptions;
mod floating_point;
mod interrupts;
mod soak;

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

use aarch64_paging::descriptor::El1Attributes as Attributes;
use aarch64_rt::{InitialPagetable, enable_mmu, entry};
use ffa_el2::machine::{DEVICES, RAM};
use ffa_el2::no_heap::NoHeap;
use ffa_el2::{clock, console, println};
use smccc::{Hvc, psci};

entry!(main, 16);

// The header of an Image of 2 MiB, little-endian, to be put at any multiple of 2 MiB: but the device tree of a guest leaves
// no choice. Linux, `Documentation/arch/arm64/booting.rst`, section 4.
global_asm!(
    ".section .header, \"a\"",
    "b entry",
    ".word 0",
    ".quad 0",
    ".quad 0x200000",
    ".quad 0b1010",
    ".quad 0, 0, 0",
    ".ascii \"ARM\\x64\"",
    ".word 0",
    ".previous",
);

const GIB: usize = 1 << 30;
/// What this is allowed to execute, but does not have.
const NOTHING: usize = RAM.end;
const DEVICE: Attributes = Attributes::VALID
    .union(Attributes::ATTRIBUTE_INDEX_0)
    .union(Attributes::ACCESSED)
    .union(Attributes::PXN)
    .union(Attributes::UXN);
const MEMORY: Attributes = Attributes::VALID
    .union(Attributes::ATTRIBUTE_INDEX_1)
    .union(Attributes::INNER_SHAREABLE)
    .union(Attributes::ACCESSED)
    .union(Attributes::UXN);

static PAGE_TABLE: InitialPagetable = {
    let mut table = [0; 512];
    table[DEVICES.start / GIB] = DEVICES.start | DEVICE.bits();
    table[RAM.start / GIB] = RAM.start | MEMORY.bits();
    table[NOTHING / GIB] = NOTHING | MEMORY.bits();
    InitialPagetable(table)
};
enable_mmu!(PAGE_TABLE);

#[global_allocator]
static NO_HEAP: NoHeap = NoHeap;

type Check = fn() -> bool;

const CHECKS: &[(&str, Check)] = &[
    ("calls are answered by HVC and by SMC", calls::are_answered),
    ("the hypervisor's own calls are not for everybody", calls::are_refused),
    ("ID registers show nothing that there is not", devices::id_registers_are_modest),
    ("debug registers read as zero", devices::debug_registers_are_zero),
    ("loads and stores of any size reach a device", devices::accesses_have_sizes),
    ("an instruction that there is not is an exception", exceptions::of_undefined_instruction),
    ("where nothing answers, loads and stores are aborted", exceptions::of_nowhere),
    ("an interrupt is taken when it is enabled, and once", interrupts::wait_until_enabled),
    ("the more urgent interrupt is taken first", interrupts::have_priorities),
    ("the virtual timer ends a wait, every time", interrupts::of_timer),
    ("the serial port interrupts as long as it asks to", interrupts::of_serial_port),
    ("the virtual timer ends a wait of a second", interrupts::end_long_wait),
    ("floating-point registers are kept while others run", floating_point::is_kept),
];

/// The argument is the device tree: but for the kernel's argument, this knows already what is in it.
fn main(tree: u64, _: u64, _: u64, _: u64) -> ! {
    console::start();
    clock::start();
    interrupts::start();
    if device_tree::has_argument(tree, soak::ARGUMENT) {
        soak::run();
        fail();
    }
    let mut passed = 0;
    for (name, check) in CHECKS {
        let good = check();
        passed += usize::from(good);
        println!("check: {name}: {}", if good { "passed" } else { "FAILED" });
    }
    if passed < CHECKS.len() {
        fail();
    }
    println!("payload: all is well");
    let error = psci::system_off::<Hvc>();
    println!("payload: cannot turn the VM off: {error:?}");
    fail()
}

/// Ends the VM as if something had gone wrong.
fn fail() -> ! {
    // SAFETY: There is no memory, which is the end.
    unsafe { asm!("br {}", in(reg) NOTHING, options(noreturn)) }
}

#[panic_handler]
fn panic(panic: &PanicInfo) -> ! {
    console::line_in_panic(format_args!("payload: {panic}"));
    fail()
}
