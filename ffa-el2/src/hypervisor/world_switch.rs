//! Between EL2 and a guest.
//!
//! A trap saves what a Rust function may overwrite, x0 to x18, x29 and x30, into the vCPU and calls [`trap::handle`]. If
//! that says to resume, the same registers are loaded and the guest goes on: 32 instructions all told, since whatever the
//! handler needs of x19 to x28 it saves itself, and ELR, SPSR and the system registers of EL1 stay in the CPU. Only when
//! the guest has to wait are the rest saved, and [`enter`] returns.
//!
//! SP_EL2 points to the running [`Vcpu`] while the guest runs, so the vector needs no register to find it.

use core::arch::{global_asm, naked_asm};
use core::mem::offset_of;

use arm_sysregs::el2::accessors::write_vbar_el2;
use arm_sysregs::el2::registers::VbarEl2;

use crate::trap;
use crate::vcpu::{Context, Vcpu};

/// What happens after a trap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u64)]
pub enum Verdict {
    /// The guest goes on at once.
    Resume = 0,
    /// [`enter`] returns; the vCPU's state says why.
    Leave = 1,
}

const _: () = assert!(offset_of!(Vcpu, context) == 0);
const _: () = assert!(offset_of!(Context, registers) == 0);
const _: () = assert!(offset_of!(Context, preserved) == 8 * 18);
const _: () = assert!(offset_of!(Context, processor_state) == offset_of!(Context, pc) + 8);

/// Sends this CPU's exceptions to the vectors below.
pub fn install_vectors() {
    unsafe extern "C" {
        static guest_vectors: u8;
    }
    // SAFETY: The table below handles each kind of exception, and is never unmapped.
    unsafe { write_vbar_el2(VbarEl2::from_bits_retain((&raw const guest_vectors).addr() as u64)) }
}

/// Runs the guest until it has to wait or an interrupt arrives.
///
/// # Safety
/// `vcpu` is valid and the caller's alone, the system registers of EL1 hold its values, `VTTBR_EL2` is its VM's, and
/// [`install_vectors`] was called on this CPU. Exceptions are masked.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(vcpu: *mut Vcpu) {
    naked_asm!(
        "stp x19, x20, [sp, #-96]!",
        "stp x21, x22, [sp, #16]",
        "stp x23, x24, [sp, #32]",
        "stp x25, x26, [sp, #48]",
        "stp x27, x28, [sp, #64]",
        "stp x29, x30, [sp, #80]",
        "mov x1, sp",
        "str x1, [x0, #{host_stack}]",
        "ldp x1, x2, [x0, #{pc}]",
        "msr elr_el2, x1",
        "msr spsr_el2, x2",
        "mov sp, x0",
        "ldp x20, x21, [sp, #8 * 20]",
        "ldp x22, x23, [sp, #8 * 22]",
        "ldp x24, x25, [sp, #8 * 24]",
        "ldp x26, x27, [sp, #8 * 26]",
        "ldr x28, [sp, #8 * 28]",
        "b resume_guest",
        host_stack = const offset_of!(Context, host_stack),
        pc = const offset_of!(Context, pc),
    )
}

global_asm!(
    // Leaves SP on EL2's stack and the vCPU in x19.
    ".macro save_guest",
    "stp x0, x1, [sp, #8 * 0]",
    "stp x2, x3, [sp, #8 * 2]",
    "stp x4, x5, [sp, #8 * 4]",
    "stp x6, x7, [sp, #8 * 6]",
    "stp x8, x9, [sp, #8 * 8]",
    "stp x10, x11, [sp, #8 * 10]",
    "stp x12, x13, [sp, #8 * 12]",
    "stp x14, x15, [sp, #8 * 14]",
    "stp x16, x17, [sp, #8 * 16]",
    "stp x18, x19, [sp, #8 * 18]",
    "stp x29, x30, [sp, #8 * 29]",
    "mov x19, sp",
    "ldr x2, [x19, #{host_stack}]",
    "mov sp, x2",
    ".endm",
    // Synchronous, IRQ, FIQ, SError.
    ".macro vectors_from_guest",
    ".balign 0x80",
    "save_guest",
    "mrs x1, esr_el2",
    "mov x0, x19",
    "bl {handle}",
    "cbnz x0, leave_guest",
    "mov sp, x19",
    "b resume_guest",
    ".balign 0x80",
    "save_guest",
    "b leave_guest",
    ".balign 0x80",
    "save_guest",
    "b leave_guest",
    ".balign 0x80",
    "save_guest",
    "mrs x0, esr_el2",
    "b {handle_system_error}",
    ".endm",
    ".macro vector_from_here offset",
    ".balign 0x80",
    "b vector_table_el2 + \\offset",
    ".endm",
    ".section .text.guest_vectors, \"ax\"",
    ".balign 0x800",
    ".global guest_vectors",
    "guest_vectors:",
    // From EL2 itself: errors of ours, which `aarch64-rt`'s table reports.
    "vector_from_here 0x000",
    "vector_from_here 0x080",
    "vector_from_here 0x100",
    "vector_from_here 0x180",
    "vector_from_here 0x200",
    "vector_from_here 0x280",
    "vector_from_here 0x300",
    "vector_from_here 0x380",
    // From a guest in AArch64, and from its EL0 in AArch32.
    "vectors_from_guest",
    "vectors_from_guest",
    ".balign 0x80",
    // Goes on with the vCPU at SP. x20 to x28, ELR and SPSR are the guest's already.
    "resume_guest:",
    "ldp x2, x3, [sp, #8 * 2]",
    "ldp x4, x5, [sp, #8 * 4]",
    "ldp x6, x7, [sp, #8 * 6]",
    "ldp x8, x9, [sp, #8 * 8]",
    "ldp x10, x11, [sp, #8 * 10]",
    "ldp x12, x13, [sp, #8 * 12]",
    "ldp x14, x15, [sp, #8 * 14]",
    "ldp x16, x17, [sp, #8 * 16]",
    "ldp x18, x19, [sp, #8 * 18]",
    "ldp x29, x30, [sp, #8 * 29]",
    "ldp x0, x1, [sp, #8 * 0]",
    "eret",
    // Nothing behind an ERET may be executed, not even speculatively.
    "dsb nsh",
    "isb",
    // Saves the rest of the vCPU in x19 and returns from `enter`.
    "leave_guest:",
    "stp x20, x21, [x19, #8 * 20]",
    "stp x22, x23, [x19, #8 * 22]",
    "stp x24, x25, [x19, #8 * 24]",
    "stp x26, x27, [x19, #8 * 26]",
    "str x28, [x19, #8 * 28]",
    "mrs x0, elr_el2",
    "mrs x1, spsr_el2",
    "stp x0, x1, [x19, #{pc}]",
    "ldp x21, x22, [sp, #16]",
    "ldp x23, x24, [sp, #32]",
    "ldp x25, x26, [sp, #48]",
    "ldp x27, x28, [sp, #64]",
    "ldp x29, x30, [sp, #80]",
    "ldp x19, x20, [sp], #96",
    "ret",
    ".purgem save_guest",
    ".purgem vectors_from_guest",
    ".purgem vector_from_here",
    host_stack = const offset_of!(Context, host_stack),
    pc = const offset_of!(Context, pc),
    handle = sym trap::handle,
    handle_system_error = sym trap::handle_system_error,
);
