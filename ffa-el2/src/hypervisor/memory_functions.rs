//! `memcpy` and `memset` as compilers call them, mostly for register files and descriptors: those that come with the
//! compiler for bare machines take one word at a time.

use core::arch::naked_asm;

/// Copies 64 bytes at a time, then 16, then 8, then the rest one by one.
///
/// # Safety
/// That of C: `count` bytes at `target` can be written, as many at `source` read, and they do not overlap.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    naked_asm!(
        "mov x3, x0",
        "subs x2, x2, #64",
        "b.lo 1f",
        "0:",
        "ldp x4, x5, [x1]",
        "ldp x6, x7, [x1, #16]",
        "ldp x8, x9, [x1, #32]",
        "ldp x10, x11, [x1, #48]",
        "add x1, x1, #64",
        "subs x2, x2, #64",
        "stp x4, x5, [x3]",
        "stp x6, x7, [x3, #16]",
        "stp x8, x9, [x3, #32]",
        "stp x10, x11, [x3, #48]",
        "add x3, x3, #64",
        "b.hs 0b",
        "1:",
        "adds x2, x2, #48",
        "b.lo 3f",
        "2:",
        "ldp x4, x5, [x1], #16",
        "subs x2, x2, #16",
        "stp x4, x5, [x3], #16",
        "b.hs 2b",
        "3:",
        "tbz x2, #3, 4f",
        "ldr x4, [x1], #8",
        "str x4, [x3], #8",
        "4:",
        "ands x2, x2, #7",
        "b.eq 6f",
        "5:",
        "ldrb w4, [x1], #1",
        "subs x2, x2, #1",
        "strb w4, [x3], #1",
        "b.ne 5b",
        "6:",
        "ret",
    )
}

/// Fills 64 bytes at a time, then 16, then 8, then the rest one by one.
///
/// # Safety
/// That of C: `count` bytes at `target` can be written.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(target: *mut u8, byte: i32, count: usize) -> *mut u8 {
    naked_asm!(
        "and x1, x1, #0xff",
        "mov x4, #0x0101010101010101",
        "mul x1, x1, x4",
        "mov x3, x0",
        "subs x2, x2, #64",
        "b.lo 1f",
        "0:",
        "subs x2, x2, #64",
        "stp x1, x1, [x3]",
        "stp x1, x1, [x3, #16]",
        "stp x1, x1, [x3, #32]",
        "stp x1, x1, [x3, #48]",
        "add x3, x3, #64",
        "b.hs 0b",
        "1:",
        "adds x2, x2, #48",
        "b.lo 3f",
        "2:",
        "subs x2, x2, #16",
        "stp x1, x1, [x3], #16",
        "b.hs 2b",
        "3:",
        "tbz x2, #3, 4f",
        "str x1, [x3], #8",
        "4:",
        "ands x2, x2, #7",
        "b.eq 6f",
        "5:",
        "strb w1, [x3], #1",
        "subs x2, x2, #1",
        "b.ne 5b",
        "6:",
        "ret",
    )
}
