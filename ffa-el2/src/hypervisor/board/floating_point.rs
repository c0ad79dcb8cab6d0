//! The floating-point and SIMD registers of a vCPU. EL2 itself never uses them.

use core::arch::naked_asm;

/// Values of the registers while their vCPU does not run. The order is that of the instructions below.
#[repr(C, align(16))]
pub struct FloatingPoint {
    vectors: [u128; 32],
    control: u64,
    status: u64,
}

impl FloatingPoint {
    /// That of a vCPU that has not run yet.
    pub const ZERO: Self = Self { vectors: [0; 32], control: 0, status: 0 };

    /// Takes the values from this CPU. Nothing traps their use at EL2.
    pub fn save(&mut self) {
        // SAFETY: As many bytes are written as the registers have, which is what `self` has.
        unsafe { save(self) }
    }

    /// Puts the values into this CPU. Nothing traps their use at EL2.
    pub fn restore(&self) {
        // SAFETY: As many bytes are read, and no Rust code of this image knows of these registers.
        unsafe { restore(self) }
    }
}

/// One instruction for each pair of vector registers.
macro_rules! each_pair {
    ($instruction:literal) => {
        concat!(
            $instruction,
            " q0, q1, [x0, #32 * 0]\n",
            $instruction,
            " q2, q3, [x0, #32 * 1]\n",
            $instruction,
            " q4, q5, [x0, #32 * 2]\n",
            $instruction,
            " q6, q7, [x0, #32 * 3]\n",
            $instruction,
            " q8, q9, [x0, #32 * 4]\n",
            $instruction,
            " q10, q11, [x0, #32 * 5]\n",
            $instruction,
            " q12, q13, [x0, #32 * 6]\n",
            $instruction,
            " q14, q15, [x0, #32 * 7]\n",
            $instruction,
            " q16, q17, [x0, #32 * 8]\n",
            $instruction,
            " q18, q19, [x0, #32 * 9]\n",
            $instruction,
            " q20, q21, [x0, #32 * 10]\n",
            $instruction,
            " q22, q23, [x0, #32 * 11]\n",
            $instruction,
            " q24, q25, [x0, #32 * 12]\n",
            $instruction,
            " q26, q27, [x0, #32 * 13]\n",
            $instruction,
            " q28, q29, [x0, #32 * 14]\n",
            $instruction,
            " q30, q31, [x0, #32 * 15]\n",
        )
    };
}

/// # Safety
/// The registers may be used at EL2.
#[unsafe(naked)]
unsafe extern "C" fn save(registers: &mut FloatingPoint) {
    naked_asm!(
        // This target's assembler knows no floating point, unless it is told.
        ".arch_extension fp",
        ".arch_extension simd",
        each_pair!("stp"),
        "mrs x1, fpcr",
        "mrs x2, fpsr",
        "str x1, [x0, #512]",
        "str x2, [x0, #520]",
        ".arch_extension nofp",
        "ret",
    )
}

/// # Safety
/// The registers may be used at EL2, and nobody there relies on what they hold.
#[unsafe(naked)]
unsafe extern "C" fn restore(registers: &FloatingPoint) {
    naked_asm!(
        ".arch_extension fp",
        ".arch_extension simd",
        each_pair!("ldp"),
        "ldr x1, [x0, #512]",
        "ldr x2, [x0, #520]",
        "msr fpcr, x1",
        "msr fpsr, x2",
        ".arch_extension nofp",
        "ret",
    )
}
