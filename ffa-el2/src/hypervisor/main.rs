//! A small hypervisor at EL2.
//!
//! The image is entered at its first instruction, at EL2 with the MMU off, on one CPU. It asks its firmware for nothing
//! but PSCI and SMCCC, so it runs on the `firmware` image beside it as well as on TF-A. It takes the machine to be QEMU's
//! `virt`, and of its memory only the image itself and the pool in [`frames`].
//!
//! Most of its guests are functions of the same image. Others bring an operating system: what those find is in [`board`].
//!
//! **Not supported:** more than one vCPU in a VM, interrupts of real devices, debugging in guests;
//! floating point in those of the image.

#![no_std]
#![no_main]

mod alarm;
mod bench;
mod board;
mod cpu;
mod doorbell;
mod el1_registers;
mod ffa;
mod frames;
mod guest;
mod guest_call;
mod guest_exception;
mod guest_memory;
mod guest_psci;
mod hosting;
mod hypercall;
mod interrupt_test;
mod interrupts;
mod lifecycle;
mod memory_functions;
mod notification_test;
mod recipe;
mod scenario;
mod scheduler;
mod self_test;
mod stage;
mod stage1;
mod stage2;
mod survey;
mod table_pool;
mod timer;
mod tlb;
mod trap;
mod vcpu;
mod violations;
mod virtual_gic;
mod vm_id;
mod vms;
mod world_switch;

use core::panic::PanicInfo;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

use crate::scenario::Failed;
use aarch64_rt::{ExceptionHandlers, RegisterStateRef, entry, exception_handlers};
use arm_sysregs::el0::accessors::read_currentel;
use arm_sysregs::el1::accessors::{read_esr_el1, read_far_el1};
use arm_sysregs::el2::accessors::{read_esr_el2, read_far_el2};
use ffa_el2::no_heap::NoHeap;
use ffa_el2::{boot_map, clock, console, exit, println};
use smccc::{Smc, psci};

entry!(main, 32);
boot_map!(boot_map::MEMORY);
exception_handlers!(Exceptions);

const INSTRUCTION_BYTES: usize = 4;

#[global_allocator]
static NO_HEAP: NoHeap = NoHeap;

/// Set when the other CPUs shall stop.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Whatever firmware passes on is not needed: a device tree, or nothing.
fn main(_: u64, _: u64, _: u64, _: u64) -> ! {
    console::start();
    clock::start();
    stage1::build();
    interrupts::start();
    cpu::start_this();
    frames::start(if scenario::hosts() { frames::POOL.len() } else { frames::LITTLE });
    match psci::version::<Smc>() {
        Ok(version) => println!("hypervisor: started, PSCI {version}"),
        Err(error) => println!("hypervisor: started, without PSCI: {error}"),
    }
    match ffa::start() {
        Ok(mediator) => {
            println!("hypervisor: FF-A {}", mediator.spmc().version());
            if let Some(intid) = mediator.spmc().schedule_receiver_interrupt()
                && !interrupts::start_schedule_receiver(intid)
            {
                println!("hypervisor: no notifications of SPs, since interrupt {intid} cannot be theirs");
            }
        }
        Err(failure) => println!("hypervisor: no FF-A: {failure}"),
    }
    cpu::start_others(other_main);
    let verdict = scenario::run();

    STOPPING.store(true, Release);
    interrupts::kick_others();
    cpu::wait_for_others_to_stop();
    match verdict {
        Ok(()) => {
            println!("hypervisor: all is well");
            // It returns only if it fails, and then there is nothing else to do.
            _ = psci::system_off::<Smc>();
            exit::park()
        }
        Err(Failed) => {
            println!("hypervisor: not everything is well");
            exit::with_status(exit::FAILED)
        }
    }
}

fn other_main() {
    cpu::start_this();
    scheduler::run(|| STOPPING.load(Acquire));
    cpu::stop_this()
}

struct Exceptions;

/// Exceptions that an exception level takes from itself: EL2, and guests that use the same vectors at EL1. Those from
/// guests to EL2 are taken by the vectors in [`world_switch`].
impl ExceptionHandlers for Exceptions {
    extern "C" fn sync_current(mut state: RegisterStateRef) {
        if !is_el2() && guest::take_abort() {
            // SAFETY: The next instruction, and no register has changed but what the one before would have read.
            unsafe { state.get_mut() }.elr += INSTRUCTION_BYTES;
            return;
        }
        let (syndrome, address) = if is_el2() {
            (read_esr_el2().bits(), read_far_el2().bits())
        } else {
            (read_esr_el1().bits(), read_far_el1().bits())
        };
        panic!("exception {syndrome:#x} at {:#x}, address {address:#x}", state.elr);
    }

    extern "C" fn irq_current(_: RegisterStateRef) {
        assert!(!is_el2(), "EL2 runs with interrupts masked");
        guest::take_interrupts();
    }
}

/// Whether this is the hypervisor, not one of the guests that run the same functions.
fn is_el2() -> bool {
    const EL2: u8 = 2;
    read_currentel().el() == EL2
}

/// Panics of EL2, and of guests: they run the same functions at EL1.
#[panic_handler]
fn panic(panic: &PanicInfo) -> ! {
    if is_el2() { exit::after_panic("hypervisor", panic) } else { guest::after_panic(panic) }
}
