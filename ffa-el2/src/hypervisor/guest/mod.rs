//! The guests.
//!
//! A guest runs functions of this image at EL1, from a copy at the address that they are linked for, with its stage 1 off.
//! Only code and constants are copied: guest code owns no statics, and calls nothing that does.

mod aborts;
mod bench;
mod conduit;
mod console;
mod driver;
mod every_call;
mod ffa;
mod interrupt_checks;
mod interrupts;
pub mod layout;
mod memory;
mod notifications;
mod play;
mod programs;
mod rogue;
mod survey;
mod system_registers;
mod task;

use core::panic::PanicInfo;

pub use aborts::take as take_abort;
pub use every_call::EVERY_CALLS_VM;
pub use interrupts::take as take_interrupts;
pub use notifications::SIGNALLED;
pub use programs::Program;
pub use rogue::ACTS;
pub use task::Task;

use crate::hypercall;

/// Where a guest starts, with its [`Task`] in x0 and nothing but a stack.
pub extern "C" fn entry(task: u64) -> ! {
    let status = match Task::from_bits(task) {
        Task::Program(program) => programs::run(program),
        Task::Act(act) => rogue::run(act),
        Task::Play { scenario, guest } => play::run(scenario, guest),
    };
    exit(status)
}

/// Reports a panic of the guest that runs this and ends it.
pub fn after_panic(panic: &PanicInfo) -> ! {
    console::line(format_args!("{panic}"));
    exit(programs::PANICKED)
}

fn exit(status: u64) -> ! {
    conduit::hvc(hypercall::EXIT, &[status]);
    unreachable!("EXIT does not return");
}
