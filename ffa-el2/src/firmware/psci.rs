//! PSCI 1.1 (DEN0022): turning CPUs and the machine on and off.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use arm_sysregs::el1::accessors::read_mpidr_el1;
use ffa_el2::lock::let_others_go_first;
use ffa_el2::machine::MAX_CPUS;
use ffa_el2::{exit, println};
use smccc::arch::SMCCC_VERSION;
use smccc::psci::{
    PSCI_AFFINITY_INFO_32, PSCI_AFFINITY_INFO_64, PSCI_CPU_OFF, PSCI_CPU_ON_32, PSCI_CPU_ON_64,
    PSCI_FEATURES, PSCI_MIGRATE_INFO_TYPE, PSCI_SYSTEM_OFF, PSCI_SYSTEM_RESET, PSCI_VERSION,
};

use crate::interrupts;
use crate::smc::{NOT_SUPPORTED, Outcome, Registers};

const SUCCESS: u64 = 0;
const INVALID_PARAMETERS: u64 = -2i64 as u64;
const ALREADY_ON: u64 = -4i64 as u64;
const ON_PENDING: u64 = -5i64 as u64;
const VERSION_1_1: u64 = 0x1_0001;
/// There is no trusted OS that would have to be migrated.
const NO_MIGRATION: u64 = 2;

/// Power states, numbered as AFFINITY_INFO reports them.
const ON: u32 = 0;
const OFF: u32 = 1;
const PENDING: u32 = 2;

/// Where and with what in x0 a CPU enters the normal world.
pub struct Start {
    pub entry: u64,
    pub argument: u64,
}

/// What one CPU is told by another. All zero is a CPU of which nothing is known yet, and that waits.
struct Mailbox {
    state: AtomicU32,
    entry: AtomicU64,
    argument: AtomicU64,
}

static MAILBOXES: [Mailbox; MAX_CPUS] =
    [const { Mailbox { state: AtomicU32::new(ON), entry: AtomicU64::new(0), argument: AtomicU64::new(0) } };
        MAX_CPUS];
static CPUS: AtomicUsize = AtomicUsize::new(0);

/// Marks every CPU but the boot CPU as off; the machine has `cpus` of them.
pub fn start(cpus: usize) {
    for mailbox in &MAILBOXES[1..] {
        mailbox.state.store(OFF, Relaxed);
    }
    CPUS.store(cpus.min(MAX_CPUS), Release);
}

/// Answers the PSCI call `function`.
pub fn call(function: u32, registers: &mut Registers) -> Outcome {
    registers[0] = match function {
        PSCI_VERSION => VERSION_1_1,
        PSCI_FEATURES => features(registers[1] as u32),
        PSCI_MIGRATE_INFO_TYPE => NO_MIGRATION,
        PSCI_CPU_ON_32 => {
            turn_on(registers[1] as u32 as u64, registers[2] as u32 as u64, registers[3] as u32 as u64)
        }
        PSCI_CPU_ON_64 => turn_on(registers[1], registers[2], registers[3]),
        PSCI_AFFINITY_INFO_32 => affinity_info(registers[1] as u32 as u64, registers[2] as u32 as u64),
        PSCI_AFFINITY_INFO_64 => affinity_info(registers[1], registers[2]),
        PSCI_CPU_OFF => return Outcome::PowerOff,
        PSCI_SYSTEM_OFF => exit::with_status(0),
        PSCI_SYSTEM_RESET => {
            println!("firmware: the normal world asked for a reset, which ends this run");
            exit::with_status(exit::FAILED)
        }
        _ => NOT_SUPPORTED,
    };
    Outcome::Return
}

/// Waits until the boot CPU has called [`start`], which is only moments after reset.
pub fn wait_for_start() {
    while CPUS.load(Acquire) == 0 {
        let_others_go_first();
    }
}

/// Waits until another CPU turns this one on. Its interrupts were started.
pub fn wait_for_power(cpu: usize) -> Start {
    let mailbox = &MAILBOXES[cpu];
    interrupts::wait();
    let before = mailbox.state.swap(ON, AcqRel);
    assert!(before == PENDING, "only CPU_ON wakes a CPU");
    Start { entry: mailbox.entry.load(Relaxed), argument: mailbox.argument.load(Relaxed) }
}

/// Turns this CPU off, until another turns it on again.
pub fn power_off() -> Start {
    let cpu = (read_mpidr_el1().bits() & 0xff) as usize;
    MAILBOXES[cpu].state.store(OFF, Release);
    wait_for_power(cpu)
}

fn features(function: u32) -> u64 {
    match function {
        SMCCC_VERSION
        | PSCI_VERSION
        | PSCI_FEATURES
        | PSCI_MIGRATE_INFO_TYPE
        | PSCI_CPU_ON_32
        | PSCI_CPU_ON_64
        | PSCI_AFFINITY_INFO_32
        | PSCI_AFFINITY_INFO_64
        | PSCI_CPU_OFF
        | PSCI_SYSTEM_OFF
        | PSCI_SYSTEM_RESET => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

fn turn_on(target: u64, entry: u64, argument: u64) -> u64 {
    let Some(mailbox) = mailbox_of(target) else { return INVALID_PARAMETERS };
    match mailbox.state.load(Acquire) {
        ON => ALREADY_ON,
        PENDING => ON_PENDING,
        _ => {
            mailbox.entry.store(entry, Relaxed);
            mailbox.argument.store(argument, Relaxed);
            mailbox.state.store(PENDING, Release);
            interrupts::wake(target as usize);
            SUCCESS
        }
    }
}

fn affinity_info(target: u64, lowest_level: u64) -> u64 {
    match mailbox_of(target) {
        Some(mailbox) if lowest_level == 0 => u64::from(mailbox.state.load(Acquire)),
        _ => INVALID_PARAMETERS,
    }
}

/// On this machine, a CPU's affinity fields above the first are zero.
fn mailbox_of(target: u64) -> Option<&'static Mailbox> {
    MAILBOXES[..CPUS.load(Acquire)].get(usize::try_from(target).ok()?)
}
