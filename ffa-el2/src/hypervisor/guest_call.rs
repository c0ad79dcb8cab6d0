//! The SMCCC calls of a guest: who answers which.
//!
//! What is not listed here is refused without asking anybody: no call of a guest reaches the firmware as it is.

use core::str;

use ffa_el2::{clock, println};
use ffa_hyp_glue::Outcome;
use ffa_teardown::Time;
use ffa_test_utils::timeline::Line;
use smccc::arch::{SMCCC_ARCH_FEATURES, SMCCC_VERSION};

use crate::board;
use crate::ffa;
use crate::guest_psci;
use crate::hypercall;
use crate::vcpu::{State, Stop, Vcpu};
use crate::vms;
use crate::world_switch::Verdict;

const SUCCESS: u64 = 0;
const NOT_SUPPORTED: u64 = -1i64 as u64;
const SMCCC_1_2: u64 = 0x1_0002;
/// Longest time that CPU_SUSPEND takes, in nanoseconds: it may end for no reason.
const LONGEST_STANDBY: u64 = 10_000_000;
/// Set by a caller that has nothing in its SVE registers; not part of the function's name.
const SVE_HINT: u32 = 1 << 16;

/// The owner of a function: bits 29 to 24 of its number.
const OWNER_SHIFT: u32 = 24;
const OWNER_MASK: u32 = 0x3f;
const ARCHITECTURE: u32 = 0;
const STANDARD: u32 = 4;
const HYPERVISOR: u32 = 6;

/// Answers the call that `vcpu` made, by SMC or by HVC.
#[inline]
pub fn handle(vcpu: &mut Vcpu) -> Verdict {
    let function = vcpu.context.registers.w::<0>() & !SVE_HINT;
    match function >> OWNER_SHIFT & OWNER_MASK {
        STANDARD => handle_standard(vcpu, function),
        HYPERVISOR => handle_hypercall(vcpu, function),
        ARCHITECTURE => answer(vcpu, architecture(function, vcpu.context.registers[1] as u32)),
        _ => answer(vcpu, NOT_SUPPORTED),
    }
}

fn answer(vcpu: &mut Vcpu, value: u64) -> Verdict {
    vcpu.context.registers[0] = value;
    Verdict::Resume
}

fn architecture(function: u32, asked: u32) -> u64 {
    match (function, asked) {
        (SMCCC_VERSION, _) => SMCCC_1_2,
        (SMCCC_ARCH_FEATURES, SMCCC_VERSION | SMCCC_ARCH_FEATURES) => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

/// FF-A and PSCI. Without a mediator, there is no FF-A.
#[inline]
fn handle_standard(vcpu: &mut Vcpu, function: u32) -> Verdict {
    if let Some(key) = vcpu.key
        && ffa::guest_call(key, &mut vcpu.context.registers) == Outcome::Return
    {
        return Verdict::Resume;
    }
    let registers = &vcpu.context.registers;
    match guest_psci::call(function, [registers[1], registers[2], registers[3]]) {
        guest_psci::Outcome::Return(value) => answer(vcpu, value),
        guest_psci::Outcome::Wait => {
            let longest = clock::now().saturating_add(LONGEST_STANDBY);
            wait(vcpu, State::WaitingForInterrupt(longest.min(board::next_timer_interrupt())))
        }
        guest_psci::Outcome::Stop(stop) => wait(vcpu, State::Stopped(stop)),
    }
}

/// What our own guests ask for.
fn handle_hypercall(vcpu: &mut Vcpu, function: u32) -> Verdict {
    if vcpu.board.is_some() {
        return answer(vcpu, NOT_SUPPORTED);
    }
    let argument = vcpu.context.registers[1];
    match function {
        hypercall::PRINT => {
            let result = with_lines(vcpu, |text| println!("{}: {text}", vcpu.vm));
            answer(vcpu, result)
        }
        hypercall::WRONG => {
            let now = Time::from_nanos(clock::now());
            let result = with_lines(vcpu, |text| {
                println!("{}", Line::Wrong(now, format_args!("guest {}: {text}", vcpu.vm.partition())));
            });
            answer(vcpu, result)
        }
        hypercall::SECURE_CALLS => answer(vcpu, ffa::smcs()),
        hypercall::YIELD => wait(vcpu, State::Ready),
        hypercall::SLEEP => wait(vcpu, State::Sleeping(clock::now().saturating_add(argument))),
        hypercall::EXIT => wait(vcpu, State::Stopped(Stop::Exited(argument))),
        hypercall::RAISE => {
            let is_raised = u32::try_from(argument).is_ok_and(|intid| vms::raise(vcpu.vm, intid));
            answer(vcpu, if is_raised { SUCCESS } else { NOT_SUPPORTED })
        }
        hypercall::GIVE_BACK => {
            let result = if vms::take_page(vcpu.vm, argument).is_ok() { SUCCESS } else { NOT_SUPPORTED };
            answer(vcpu, result)
        }
        _ => answer(vcpu, NOT_SUPPORTED),
    }
}

/// The call is answered now, but the guest goes on later, if at all.
fn wait(vcpu: &mut Vcpu, state: State) -> Verdict {
    vcpu.context.registers[0] = SUCCESS;
    vcpu.state = state;
    Verdict::Leave
}

/// Hands over the text in x1 to x17, if it is text, line by line: no guest begins a line of its own, or moves the cursor.
fn with_lines(vcpu: &Vcpu, print: impl FnMut(&str)) -> u64 {
    let mut line = [0; hypercall::LINE_BYTES];
    for (bytes, register) in line.chunks_exact_mut(8).zip(&vcpu.context.registers.0[2..]) {
        bytes.copy_from_slice(&register.to_le_bytes());
    }
    let length = usize::try_from(vcpu.context.registers[1]).unwrap_or(usize::MAX);
    match line.get(..length).map(str::from_utf8) {
        Some(Ok(text)) => {
            text.split(char::is_control).filter(|line| !line.is_empty()).for_each(print);
            SUCCESS
        }
        _ => NOT_SUPPORTED,
    }
}
