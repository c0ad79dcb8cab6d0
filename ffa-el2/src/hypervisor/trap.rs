//! What a guest did that EL2 has to deal with.

use arm_sysregs::el2::accessors::{
    read_elr_el2, read_far_el2, read_hpfar_el2, read_spsr_el2, write_elr_el2, write_spsr_el2,
};
use arm_sysregs::el2::registers::{ElrEl2, SpsrEl2};
use ffa_el2::clock;

use crate::guest::layout;
use crate::guest_exception::Place;
use crate::stage2::Stage2;
use crate::vcpu::{State, Stop, Vcpu};
use crate::vm_id::VmId;
use crate::world_switch::Verdict;
use crate::{guest_call, vms};

/// `ESR_EL2` of `hvc #0` and `smc #0`. Other immediates are not SMCCC calls, and so not for us: SMCCC 1.2 (DEN0028)
/// section 2.9.
const HVC_0: u64 = 0x16 << CLASS_SHIFT | LONG_INSTRUCTION;
const SMC_0: u64 = 0x17 << CLASS_SHIFT | LONG_INSTRUCTION;

/// Exception classes. Arm ARM (DDI 0487) section D17.2.37.
const WAIT: u64 = 0x01;
const INSTRUCTION_ABORT: u64 = 0x20;
const DATA_ABORT: u64 = 0x24;

/// Longest time that a WFI takes, in nanoseconds: it may end for no reason, and so does one for which no interrupt comes.
const LONGEST_WAIT: u64 = 10_000_000;

const CLASS_SHIFT: u32 = 26;
const CLASS_MASK: u64 = 0x3f;
const LONG_INSTRUCTION: u64 = 1 << 25;
const INSTRUCTION_BYTES: u64 = 4;
const PAGE_SHIFT: u32 = 12;

/// Called by the vector for each synchronous exception of a guest.
pub extern "C" fn handle(vcpu: &mut Vcpu, syndrome: u64) -> Verdict {
    match syndrome {
        HVC_0 => guest_call::handle(vcpu),
        SMC_0 => {
            // A trapped SMC has not been executed: it would trap again.
            skip_instruction();
            guest_call::handle(vcpu)
        }
        _ => handle_other(vcpu, syndrome),
    }
}

/// Called by the vector for an SError while a guest ran. Whose fault it was is not known, so the machine stops.
pub extern "C" fn handle_system_error(syndrome: u64) -> ! {
    panic!("system error {syndrome:#x} while a guest ran");
}

#[cold]
fn handle_other(vcpu: &mut Vcpu, syndrome: u64) -> Verdict {
    if let Some(board) = &mut vcpu.board {
        board.trapped(syndrome);
        return Verdict::Leave;
    }
    match syndrome >> CLASS_SHIFT & CLASS_MASK {
        WAIT => {
            skip_instruction();
            vcpu.state = State::WaitingForInterrupt(clock::now().saturating_add(LONGEST_WAIT));
        }
        INSTRUCTION_ABORT | DATA_ABORT => {
            let ipa = read_hpfar_el2().fipa() << PAGE_SHIFT | read_far_el2().bits() & ((1 << PAGE_SHIFT) - 1);
            if is_anothers(vcpu.vm, ipa) {
                abort(syndrome);
                return Verdict::Resume;
            }
            vcpu.state = State::Stopped(Stop::MemoryFault(ipa));
        }
        _ => vcpu.state = State::Stopped(Stop::Unsupported(syndrome)),
    }
    Verdict::Leave
}

/// Whether the VM has lent or donated its memory there, or could borrow some.
pub fn is_anothers(vm: VmId, ipa: u64) -> bool {
    let is_known = |stage2: &mut Stage2| stage2.is_lost(ipa) || layout::BORROWED.contains(&ipa);
    vms::with_memory(vm, is_known) == Some(true)
}

/// Lets the guest take an external abort for the access that trapped.
fn abort(syndrome: u64) {
    let at = Place { pc: read_elr_el2().bits(), processor_state: read_spsr_el2().bits() };
    let next = at.after_external_abort(syndrome, read_far_el2().bits());
    // SAFETY: Where the guest goes on; it can hurt nobody but the guest.
    unsafe {
        write_elr_el2(ElrEl2::from_bits_retain(next.pc));
        write_spsr_el2(SpsrEl2::from_bits_retain(next.processor_state));
    }
}

fn skip_instruction() {
    // The guest chose where its instruction is: the last one of the address space must not be an overflow here.
    let next = read_elr_el2().bits().wrapping_add(INSTRUCTION_BYTES);
    // SAFETY: ELR_EL2 is where the guest goes on; it can hurt nobody but the guest.
    unsafe { write_elr_el2(ElrEl2::from_bits_retain(next)) }
}
