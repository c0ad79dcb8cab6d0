//! Physical CPUs: what each of them sets up, and the lives of all but the first.

use core::arch::asm;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use aarch64_rt::{Stack, start_core};
use arm_sysregs::el1::accessors::{read_midr_el1, read_mpidr_el1};
use arm_sysregs::el2::accessors::*;
use arm_sysregs::el2::registers::*;
use ffa_el2::lock::let_others_go_first;
use ffa_el2::machine::MAX_CPUS;
use ffa_el2::println;
use percore::Cores;
use smccc::Smc;
use smccc::psci;

use crate::{interrupts, stage1, stage2, virtual_gic, world_switch};

/// Most CPUs that the hypervisor uses.
pub const MAX: usize = MAX_CPUS;
const STACK_PAGES: usize = 32;

/// CPUs other than the first that were started, and have not stopped.
static OTHERS: AtomicUsize = AtomicUsize::new(0);

/// The affinity of every vCPU, as it reads it: the first of its VM. Bit 31 is always set.
const GUEST_AFFINITY: u64 = 1 << 31;

/// The stacks of the others; that of the first is provided by `aarch64-rt`.
#[unsafe(link_section = ".stack.others")]
static mut STACKS: [Stack<STACK_PAGES>; MAX - 1] = [const { Stack::new() }; MAX - 1];

/// `CPTR_EL2.TTA` as it is when EL2 is not a host; `arm-sysregs` has the other layout.
const TRACE: CptrEl2 = CptrEl2::from_bits_retain(1 << 20);

/// The number of this CPU.
pub fn current() -> usize {
    (read_mpidr_el1().bits() & 0xff) as usize
}

/// The CPUs that the hypervisor uses.
pub struct Cpus;

// SAFETY: MPIDR_EL1 differs from CPU to CPU, on this machine in its lowest field.
unsafe impl Cores for Cpus {
    fn core_index() -> usize {
        current()
    }
}

/// Prepares this CPU to run guests.
pub fn start_this() {
    stage1::activate();
    world_switch::install_vectors();
    confine_guests();
    interrupts::start_cpu(current());
    virtual_gic::start_cpu();
}

/// Starts the others at `main`. To run without some of them is no error: the machine may have fewer.
pub fn start_others(main: fn()) {
    let mut stack = (&raw mut STACKS).cast::<Stack<STACK_PAGES>>();
    for cpu in 1..interrupts::cpus() {
        // SAFETY: This is called once, and nothing else uses the stack, of which there is one for each CPU. The CPU starts
        // with the same page table as this one did, which maps it in the same way. On this machine, a CPU's affinity fields
        // above the first are zero.
        let started = unsafe { start_core::<Smc, _, STACK_PAGES>(cpu as u64, stack, main) };
        match started {
            Ok(()) => _ = OTHERS.fetch_add(1, Relaxed),
            Err(error) => println!("running without CPU {cpu}: PSCI CPU_ON says {error}"),
        }
        stack = stack.wrapping_add(1);
    }
}

/// Ends a CPU other than the first, which calls this.
pub fn stop_this() -> ! {
    OTHERS.fetch_sub(1, Release);
    // It returns only if it fails, as it does while OP-TEE is the SPMC, and then there is nothing else to do.
    _ = psci::cpu_off::<Smc>();
    ffa_el2::exit::park()
}

/// Waits until the others do nothing any more.
pub fn wait_for_others_to_stop() {
    while has_others() {
        let_others_go_first();
    }
}

/// Whether this CPU, the first, is not the only one that runs, or will run.
pub fn has_others() -> bool {
    OTHERS.load(Acquire) > 0
}

/// What every guest has to ask for.
const TRAPS: HcrEl2 = HcrEl2::VM
    .union(HcrEl2::SWIO)
    .union(HcrEl2::PTW)
    .union(HcrEl2::FMO)
    .union(HcrEl2::IMO)
    .union(HcrEl2::AMO)
    .union(HcrEl2::TWI)
    .union(HcrEl2::TSC)
    .union(HcrEl2::TIDCP)
    .union(HcrEl2::TACR)
    .union(HcrEl2::RW)
    .union(HcrEl2::TLOR)
    .union(HcrEl2::TERR);
const CPTR: CptrEl2 = CptrEl2::RES1.union(CptrEl2::TZ).union(CptrEl2::TSM).union(CptrEl2::TAM).union(TRACE);

/// Who runs on a CPU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A guest of ours: its memory is cacheable although its MMU is off, and it has no floating point.
    Own,
    /// One that brings an operating system: that finds out by ID registers what it may use.
    Hosted,
}

/// Decides what a guest of this kind may do without asking, on this CPU.
pub fn confine(kind: Kind) {
    let (traps, floating_point) = match kind {
        Kind::Own => (TRAPS | HcrEl2::DC, CPTR | CptrEl2::TFP),
        Kind::Hosted => (TRAPS | HcrEl2::TID3, CPTR),
    };
    // Mostly it is the same as before, and that costs nothing.
    if read_hcr_el2() != traps {
        // SAFETY: All of this is about EL1 and EL0, of which none runs now; EL2 itself uses no floating point.
        unsafe {
            write_hcr_el2(traps);
            write_cptr_el2(floating_point);
        }
        // SAFETY: A barrier.
        unsafe { asm!("isb", options(nostack, preserves_flags)) }
    }
}

/// Decides what EL1 may do without asking, on this CPU: use its own memory, its own system registers and the counter.
fn confine_guests() {
    confine(Kind::Own);
    let debug = MdcrEl2::TPM
        | MdcrEl2::TPMCR
        | MdcrEl2::TPMS
        | MdcrEl2::TTRF
        | MdcrEl2::TDE
        | MdcrEl2::TDA
        | MdcrEl2::TDOSA
        | MdcrEl2::TDRA;
    // SAFETY: All of this is about EL1 and EL0, which run nothing yet.
    unsafe {
        write_vtcr_el2(stage2::control());
        write_vmpidr_el2(VmpidrEl2::from_bits_retain(GUEST_AFFINITY));
        write_vpidr_el2(VpidrEl2::from_bits_retain(read_midr_el1().bits()));
        write_cntvoff_el2(CntvoffEl2::from_bits_retain(0));
    }
    write_mdcr_el2(debug);
    write_hstr_el2(0);
    // The bit has this name when EL2 is a host; here it lets EL1 read the counter, and the physical timer is trapped.
    write_cnthctl_el2(CnthctlEl2::EL0PCTEN);
}
