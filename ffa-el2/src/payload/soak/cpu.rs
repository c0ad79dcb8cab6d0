//! The vCPU as a guest's program uses it.

use core::fmt::Arguments;

use ffa_abi::{Regs, Status};
use ffa_el2::println;
use ffa_teardown::Span;
use ffa_test_utils::scenario::{GuestCpu, Instruction};
use smccc::{Call, Hvc, Smc};

use crate::{exceptions, interrupts};

/// How often a call is made again that came to nothing because somebody else was in the way.
const PATIENCE: u32 = 10_000;
/// What is waited in between: about as long as a call takes.
const A_MOMENT: Span = Span::from_nanos(10_000);

/// Calls trap, and memory is what stage 2 has.
pub struct Cpu;

impl GuestCpu for Cpu {
    fn call(&mut self, by: Instruction, regs: &mut Regs) {
        let [function, arguments @ ..] = regs.0;
        let call = match by {
            Instruction::Smc => Smc::call64,
            Instruction::Hvc => Hvc::call64,
        };
        for _ in 0..PATIENCE {
            *regs = Regs(call(function as u32, arguments));
            if *regs != Regs::error(Status::Busy) {
                break;
            }
            self.sleep(A_MOMENT);
        }
    }

    fn read(&mut self, address: u64) -> u64 {
        // SAFETY: The program names no other memory than its own, of which there is no reference.
        unsafe { (address as *const u64).read_volatile() }
    }

    fn write(&mut self, address: u64, value: u64) {
        // SAFETY: As in `read`.
        unsafe { (address as *mut u64).write_volatile(value) }
    }

    fn is_aborted(&mut self, address: u64, value: Option<u64>) -> bool {
        exceptions::is_aborted(|| match value {
            Some(value) => self.write(address, value),
            None => _ = self.read(address),
        })
    }

    fn sleep(&mut self, span: Span) {
        interrupts::sleep(span.as_nanos());
    }

    /// Only the timer's interrupt is enabled.
    fn interrupted(&mut self, _: u32, within: Span) -> bool {
        self.sleep(within);
        false
    }

    fn wrong(&mut self, what: Arguments) {
        println!("soak: {what}");
    }
}
