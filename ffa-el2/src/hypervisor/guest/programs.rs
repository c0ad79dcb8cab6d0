//! What the guests do. Each program finds out by itself whether all went well, and says so with its status.

use core::ops::Range;

use core::arch::asm;
use core::hint;

use arm_sysregs::el0::accessors::{read_cntfrq_el0, read_cntvct_el0};
use arm_sysregs::el1::accessors::write_cpacr_el1;
use arm_sysregs::el1::registers::CpacrEl1;
use smccc::arch::SMCCC_VERSION;
use smccc::psci::PSCI_VERSION;

use super::conduit::{self, AllRegisters, Conduit, HVC, SMC};
use super::{
    bench, console, every_call, ffa, interrupt_checks, layout, memory, notifications, survey,
    system_registers,
};
use crate::hypercall::{GIVE_BACK, SLEEP, YIELD};

pub const PASSED: u64 = 0;
pub const FAILED: u64 = 1;
pub const PANICKED: u64 = 101;

const NOT_SUPPORTED: u64 = -1i64 as u64;
const PAGE: u64 = 0x1000;
const SECOND: u64 = 1_000_000_000;

/// A program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Program {
    /// Calls by SMC and HVC and looks at every register afterwards.
    Registers,
    /// Finds its memory zero, fills it, and finds it unchanged after others have run.
    Memory,
    /// Does not ask the hypervisor for anything for a while.
    Busy,
    /// Never asks the hypervisor for anything.
    Forever,
    /// Touches memory that it does not have.
    Trespass,
    /// Finds its system registers zero, changes them, and finds them unchanged after others have run.
    SystemRegisters,
    /// Gives a page back and touches it again.
    GiveBack,
    /// Uses a floating-point register, which vCPUs do not have.
    FloatingPoint,
    /// Counts the instructions of calls.
    Bench,
    /// Uses whatever FF-A there is.
    Survey,
    /// Makes FF-A calls by SMC and HVC and looks at every register afterwards.
    FfaRegisters,
    /// Finds in its memory what an SP wrote to the pages that it shared, and nothing after it has reclaimed them.
    Share,
    /// Shares with function IDs that have bits in them that do not count.
    DirtyFunctionId,
    /// Asks for what is not served, and keeps its memory.
    Lend,
    /// Offers memory that it does not have.
    Foreign,
    /// Gives a page back that it shared, and cannot.
    GiveBackShared,
    /// Turns its VM off with pages shared.
    TurnOff,
    /// Touches memory that it does not have, with pages shared.
    TrespassWhileShared,
    /// Raises interrupts at itself, and takes each when it must.
    OwnInterrupts,
    /// Takes no interrupt, as none is for it.
    NoInterrupt,
    /// Takes the notification pending interrupt while it is busy.
    InterruptWhileBusy,
    /// Takes both interrupts of notifications while it waits for one.
    InterruptsWhileWaiting,
    /// Takes the notification pending interrupt at the end of a long sleep.
    InterruptAfterSleep,
    /// Asks an SP to signal it, and finds the notification.
    NotifiedByRequest,
    /// Waits until an SP signals it, and finds the notification.
    NotifiedWhileWaiting,
    /// Lets an SP signal it.
    Bind,
    /// Finds the notification that came when nothing ran.
    FindNotification,
    /// Makes every call that is served.
    EveryCall,
}

const PROGRAMS: [(Program, fn() -> u64); 28] = [
    (Program::Registers, registers),
    (Program::Memory, fill_memory),
    (Program::Busy, busy),
    (Program::Forever, forever),
    (Program::Trespass, trespass),
    (Program::SystemRegisters, || system_registers::run(read_cntvct_el0().bits())),
    (Program::GiveBack, give_back),
    (Program::FloatingPoint, floating_point),
    (Program::Bench, bench::run),
    (Program::Survey, survey::run),
    (Program::FfaRegisters, ffa::registers),
    (Program::Share, ffa::share),
    (Program::DirtyFunctionId, ffa::dirty_function_id),
    (Program::Lend, ffa::lend),
    (Program::Foreign, ffa::foreign),
    (Program::GiveBackShared, ffa::give_back_shared),
    (Program::TurnOff, ffa::turn_off),
    (Program::TrespassWhileShared, ffa::trespass_while_shared),
    (Program::OwnInterrupts, interrupt_checks::own),
    (Program::NoInterrupt, interrupt_checks::none),
    (Program::InterruptWhileBusy, interrupt_checks::while_busy),
    (Program::InterruptsWhileWaiting, interrupt_checks::while_waiting),
    (Program::InterruptAfterSleep, interrupt_checks::after_sleep),
    (Program::NotifiedByRequest, notifications::by_request),
    (Program::NotifiedWhileWaiting, notifications::while_waiting),
    (Program::Bind, notifications::bind),
    (Program::FindNotification, notifications::find),
    (Program::EveryCall, every_call::run),
];

/// Runs the program and returns its status.
pub fn run(program: u8) -> u64 {
    match PROGRAMS.iter().find(|(name, _)| *name as u8 == program) {
        Some((_, main)) => main(),
        None => FAILED,
    }
}

fn registers() -> u64 {
    let calls = [
        (0x8200_0000, NOT_SUPPORTED),
        (0xc500_1234, NOT_SUPPORTED),
        (0x8400_0020, NOT_SUPPORTED),
        (0xffff_ffff, NOT_SUPPORTED),
        (u64::from(PSCI_VERSION), 0x1_0001),
        (u64::from(SMCCC_VERSION), 0x1_0002),
        (u64::from(YIELD), 0),
    ];
    for (conduit, name) in [(SMC, "SMC"), (HVC, "HVC")] {
        for (function, expected) in calls {
            if let Err((register, value)) = call_and_compare(conduit, function, expected) {
                console::line(format_args!("{name} {function:#x} left {value:#x} in x{register}"));
                return FAILED;
            }
        }
    }
    console::line(format_args!("every register is as it must be after {} calls", 2 * calls.len()));
    PASSED
}

/// Calls `function` with a value of its own in each register. The error is a register that is wrong, with its value.
fn call_and_compare(conduit: Conduit, function: u64, expected: u64) -> Result<(), (usize, u64)> {
    let mut before: AllRegisters = core::array::from_fn(|register| 0x5eed_0000_0000_0000 | register as u64);
    before[0] = function;
    let mut after = before;
    // SAFETY: None of the functions called changes memory of the guest.
    unsafe { conduit(&mut after) };
    before[0] = expected;
    match (0..after.len()).find(|&register| after[register] != before[register]) {
        None => Ok(()),
        Some(register) => Err((register, after[register])),
    }
}

fn fill_memory() -> u64 {
    let ranges = [layout::DATA.start, layout::LOOSE_PAGES.start].map(|start| start..start + 4 * PAGE);
    let everywhere = || ranges.iter().cloned().flat_map(memory::words);
    if let Some(ipa) = everywhere().find(|&ipa| memory::read(ipa) != 0) {
        console::line(format_args!("new memory at {ipa:#x} holds {:#x}", memory::read(ipa)));
        return FAILED;
    }
    everywhere().for_each(|ipa| memory::write(ipa, !ipa));
    conduit::hvc(SLEEP, &[2 * SECOND]);
    if let Some(ipa) = everywhere().find(|&ipa| memory::read(ipa) != !ipa) {
        console::line(format_args!("memory at {ipa:#x} changed to {:#x}", memory::read(ipa)));
        return FAILED;
    }
    console::line(format_args!("memory was zero, and keeps what is written"));
    PASSED
}

fn busy() -> u64 {
    const MILLISECONDS: u64 = 30;
    let ticks = read_cntfrq_el0().bits() / 1000 * MILLISECONDS;
    let start = read_cntvct_el0().bits();
    while read_cntvct_el0().bits() - start < ticks {}
    console::line(format_args!("was busy for {MILLISECONDS} ms without a call"));
    PASSED
}

fn forever() -> u64 {
    loop {
        hint::spin_loop();
    }
}

fn trespass() -> u64 {
    memory::write(layout::NOTHING, 1);
    console::line(format_args!("wrote to memory that is not there"));
    FAILED
}

fn give_back() -> u64 {
    let page = layout::DATA.start + 3 * PAGE;
    let neighbours: Range<u64> = page - PAGE..page + 2 * PAGE;
    memory::words(neighbours.clone()).for_each(|ipa| memory::write(ipa, ipa));
    let refused = [layout::NOTHING, page + 8, u64::MAX - PAGE + 1];
    if refused.iter().any(|&ipa| conduit::hvc(GIVE_BACK, &[ipa]) != NOT_SUPPORTED)
        || conduit::hvc(GIVE_BACK, &[page]) != 0
    {
        console::line(format_args!("the hypervisor took the wrong pages"));
        return FAILED;
    }
    let kept = memory::words(neighbours).filter(|ipa| !(page..page + PAGE).contains(ipa));
    if kept.into_iter().any(|ipa| memory::read(ipa) != ipa) {
        console::line(format_args!("a page beside {page:#x} changed"));
        return FAILED;
    }
    memory::read(page);
    console::line(format_args!("read from the page at {page:#x} that was given back"));
    FAILED
}

fn floating_point() -> u64 {
    const ALLOWED_BY_EL1: CpacrEl1 = CpacrEl1::from_bits_retain(0b11 << CpacrEl1::FPEN_SHIFT);
    // SAFETY: This guest alone may use floating point from now on; the compiler never does.
    unsafe { write_cpacr_el1(ALLOWED_BY_EL1) }
    // SAFETY: `fmov d0, xzr`, spelt so that it assembles for a target without floating point. It changes no register
    // that the compiler knows of.
    unsafe { asm!("isb", ".inst 0x9e6703e0", options(nomem, nostack, preserves_flags)) }
    console::line(format_args!("used a floating-point register"));
    FAILED
}
