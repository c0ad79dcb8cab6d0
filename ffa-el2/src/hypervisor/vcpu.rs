//! A virtual CPU, from its registers to why it does not run.

use ffa_abi::Regs;
use ffa_teardown::VmKey;

use crate::board::Board;
use crate::el1_registers::El1Registers;
use crate::virtual_gic::VirtualGic;
use crate::vm_id::VmId;

/// Processor state of a vCPU that has not run yet: EL1 with its own stack pointer, D, A, I and F masked.
pub const EL1_MASKED: u64 = 0b11_1100_0101;

/// How many general-purpose registers a call has.
const CALLED: usize = 18;

/// What the world switch reads and writes. It knows the order of these fields; SP_EL2 points here while the guest runs.
#[repr(C, align(16))]
pub struct Context {
    /// x0 to x17, as a call has them.
    pub registers: Regs,
    /// x18 to x30, which no call has.
    pub preserved: [u64; 13],
    /// EL2's stack pointer while the guest runs.
    pub host_stack: u64,
    /// Where the guest goes on, and in which processor state. Right only while the guest is not entered: a trap that is
    /// answered at once leaves both in `ELR_EL2` and `SPSR_EL2`.
    pub pc: u64,
    pub processor_state: u64,
}

impl Context {
    /// The general-purpose register with this number; 31 is zero. Right only while the guest is not entered.
    pub fn register(&self, number: usize) -> u64 {
        let called = self.registers.0.get(number);
        called.or(self.preserved.get(number.wrapping_sub(CALLED))).copied().unwrap_or(0)
    }

    /// Changes the general-purpose register with this number, but not 31. Likewise.
    pub fn set_register(&mut self, number: usize, value: u64) {
        let called = self.registers.0.get_mut(number);
        if let Some(register) = called.or(self.preserved.get_mut(number.wrapping_sub(CALLED))) {
            *register = value;
        }
    }
}

/// Whether a vCPU can run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    Ready,
    /// Nothing to do until this many nanoseconds after reset.
    Sleeping(u64),
    /// Nothing to do until an interrupt is pending, or this many nanoseconds after reset.
    WaitingForInterrupt(u64),
    /// It will never run again.
    Stopped(Stop),
}

/// Why a vCPU stopped for good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// It asked to, with this status. Its VM stays until it is destroyed.
    Exited(u64),
    /// It turned its VM off.
    TurnedOff,
    /// It touched memory at this IPA that it does not have, or not in this way.
    MemoryFault(u64),
    /// It did something that is not emulated; this is `ESR_EL2`.
    Unsupported(u64),
}

impl Stop {
    /// Whether the VM ended with its vCPU.
    pub fn ends_vm(self) -> bool {
        match self {
            Self::Exited(_) => false,
            Self::TurnedOff | Self::MemoryFault(_) | Self::Unsupported(_) => true,
        }
    }
}

/// The one vCPU of a VM.
#[repr(C)]
pub struct Vcpu {
    pub context: Context,
    pub el1: El1Registers,
    pub gic: VirtualGic,
    /// Our own guests have none.
    pub board: Option<Board>,
    pub vm: VmId,
    /// What the mediator, if there is one, calls its VM.
    pub key: Option<VmKey>,
    pub state: State,
}

impl Vcpu {
    /// A vCPU of `vm` that starts at `entry` with `argument` in x0.
    pub fn new(vm: VmId, key: Option<VmKey>, entry: u64, stack_top: u64, argument: u64) -> Self {
        Self {
            context: Context {
                registers: Regs::new([argument]),
                preserved: [0; 13],
                host_stack: 0,
                pc: entry,
                processor_state: EL1_MASKED,
            },
            el1: El1Registers::at_reset(stack_top),
            gic: VirtualGic::AT_RESET,
            board: None,
            vm,
            key,
            state: State::Ready,
        }
    }

    /// The same vCPU on a board.
    pub fn on_board(self) -> Self {
        Self { gic: Board::gic(), board: Some(Board::new()), ..self }
    }

    /// Whether the vCPU can do something at `now`; `has_rung` if an interrupt was raised that it has not been given yet.
    pub fn is_due(&self, now: u64, has_rung: bool) -> bool {
        match self.state {
            State::Ready => true,
            State::Sleeping(until) => until <= now,
            State::WaitingForInterrupt(until) => until <= now || has_rung || self.gic.has_pending(),
            State::Stopped(_) => false,
        }
    }
}
