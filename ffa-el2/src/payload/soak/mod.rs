//! Shares memory with secure partitions in every way, round after round, until somebody ends the VM.
//!
//! What it does is a program like those of scenarios, so every answer is looked at, and every byte of what is shared.

mod cpu;
mod program;

use ffa_abi::{Call, Regs, Version};
use ffa_el2::println;
use ffa_test_utils::scenario::{Guest, GuestCpu, Instruction, Layout, run_guest};

use cpu::Cpu;

/// The kernel argument that asks for this.
pub const ARGUMENT: &str = "soak";

/// Behind this image, and behind the device tree.
const LAYOUT: Layout = Layout { block: 0x4030_0000, loose: 0x4038_0000 };
/// It is told after so many rounds how many there were.
const TELLS_EVERY: u32 = 8;

/// Returns when something was wrong, which was printed.
pub fn run() {
    let mut cpu = Cpu;
    let mut id = Regs::default();
    for call in [Call::Version(Version::V1_1.word()), Call::IdGet] {
        id = call.to_regs();
        cpu.call(Instruction::Hvc, &mut id);
    }
    let Some((guest, round)) = program::of(id.w::<2>()) else {
        println!("soak: there is no program for what FFA_ID_GET says: {:x?}", id.0);
        return;
    };
    let mut wrongs = run_guest(&mut cpu, LAYOUT, &guest);
    for rounds in 1.. {
        wrongs += run_guest(&mut cpu, LAYOUT, &Guest { program: round, ..guest });
        if wrongs > 0 {
            break;
        }
        if rounds % TELLS_EVERY == 0 {
            println!("soak: {rounds} rounds");
        }
    }
}
