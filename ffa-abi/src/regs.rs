use core::ops::{Index, IndexMut};

use crate::{Function, FunctionId, Status};

/// The registers x0 to x17 of one SMC or HVC, on the way in or on the way out.
///
/// # Specification
/// SMCCC 1.2 (DEN0028): 18 registers in each direction; a 32-bit call uses the low halves of x0 to x7.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct Regs(pub [u64; 18]);

impl Regs {
    /// All zero.
    pub const ZERO: Self = Self([0; 18]);

    /// A register file that begins with `head`; the rest is zero.
    #[must_use]
    #[inline]
    pub const fn new<const N: usize>(head: [u64; N]) -> Self {
        const { assert!(N <= 18) }
        let mut regs = [0; 18];
        let mut i = 0;
        while i < N {
            regs[i] = head[i];
            i += 1;
        }
        Self(regs)
    }

    /// Register `index` read as 32 bits; the upper half is ignored, as SMCCC demands of a W register.
    #[must_use]
    #[inline]
    pub const fn w<const INDEX: usize>(&self) -> u32 {
        const { assert!(INDEX < 18) }
        self.0[INDEX] as u32
    }

    /// Register `index` read as 64 bits.
    #[must_use]
    #[inline]
    pub const fn x<const INDEX: usize>(&self) -> u64 {
        const { assert!(INDEX < 18) }
        self.0[INDEX]
    }

    /// FFA_ERROR with `status`, as a guest gets it: every other register is zero.
    #[must_use]
    #[inline]
    pub fn error(status: Status) -> Self {
        const ERROR: u32 = FunctionId::smc32(Function::Error).w0();
        Self::new([u64::from(ERROR), 0, u64::from(status.code() as u32)])
    }

    /// FFA_SUCCESS_32 with w2 and w3, as a guest gets it: every other register is zero.
    #[must_use]
    #[inline]
    pub fn success(w2: u32, w3: u32) -> Self {
        const SUCCESS: u32 = FunctionId::smc32(Function::Success).w0();
        Self::new([u64::from(SUCCESS), 0, u64::from(w2), u64::from(w3)])
    }
}

impl Index<usize> for Regs {
    type Output = u64;

    /// # Panics
    /// If `index` is 18 or more. For constants prefer [`Regs::w`] and [`Regs::x`], checked when compiled.
    fn index(&self, index: usize) -> &u64 {
        &self.0[index]
    }
}

impl IndexMut<usize> for Regs {
    fn index_mut(&mut self, index: usize) -> &mut u64 {
        &mut self.0[index]
    }
}
