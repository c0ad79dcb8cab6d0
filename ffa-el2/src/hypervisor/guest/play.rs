//! A guest of a scenario, at EL1: its calls are SMC and HVC, its memory is what stage 2 gives it.

use core::fmt::Arguments;

use ffa_abi::{Regs, Status};
use ffa_teardown::Span;
use ffa_test_utils::scenario::{GuestCpu, Instruction, Layout, Scenario, run_guest};

use super::conduit::{self, AllRegisters, HVC, SMC};
use super::{aborts, console, interrupts, layout, memory};
use crate::hypercall::{SLEEP, YIELD};

/// Where programs find their memory.
pub const LAYOUT: Layout = Layout { block: layout::DATA.start, loose: layout::LOOSE_PAGES.start };
/// How often a call that came to nothing because another CPU was in the way is made again.
const PATIENCE: u32 = 1000;
const NANOS_PER_MICRO: u64 = 1000;
/// The first register that no call changes.
const PRESERVED: usize = 18;

/// Plays the guest, both named by position. Returns how many things were wrong.
pub fn run(scenario: u8, guest: u8) -> u64 {
    interrupts::start();
    let scenario = &Scenario::ALL[usize::from(scenario)];
    run_guest(&mut Cpu, LAYOUT, &scenario.guests[usize::from(guest)]).into()
}

/// A vCPU: calls trap, interrupts come, and memory is what stage 2 has.
pub struct Cpu;

impl GuestCpu for Cpu {
    fn call(&mut self, by: Instruction, regs: &mut Regs) {
        let conduit = match by {
            Instruction::Smc => SMC,
            Instruction::Hvc => HVC,
        };
        let before: AllRegisters = core::array::from_fn(|register| match regs.0.get(register) {
            Some(value) => *value,
            None => 0x5eed_0000_0000_0000 | register as u64,
        });
        let mut after = before;
        for _ in 0..PATIENCE {
            after = before;
            // SAFETY: The hypervisor writes to RX at most, where no Rust object lives.
            unsafe { conduit(&mut after) };
            let answer = Regs(*after.first_chunk().expect("x0 to x30 begin with x0 to x17"));
            if answer != Regs::error(Status::Busy) {
                break;
            }
            conduit::hvc(YIELD, &[]);
        }
        if after[PRESERVED..] != before[PRESERVED..] {
            self.wrong(format_args!("a call changed one of x18 to x30"));
        }
        regs.0.copy_from_slice(&after[..PRESERVED]);
    }

    fn read(&mut self, address: u64) -> u64 {
        memory::read(address)
    }

    fn write(&mut self, address: u64, value: u64) {
        memory::write(address, value);
    }

    fn is_aborted(&mut self, address: u64, value: Option<u64>) -> bool {
        aborts::are_caused_by(|| match value {
            Some(value) => memory::write(address, value),
            None => _ = memory::read(address),
        })
    }

    fn sleep(&mut self, span: Span) {
        conduit::hvc(SLEEP, &[span.as_nanos()]);
    }

    fn interrupted(&mut self, intid: u32, within: Span) -> bool {
        let came = interrupts::wait_for(intid, 1, within.as_nanos() / NANOS_PER_MICRO);
        interrupts::forget(intid);
        came
    }

    fn wrong(&mut self, what: Arguments) {
        console::wrong(what);
    }
}
