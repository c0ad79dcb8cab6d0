use core::marker::PhantomData;

use ffa_abi::Regs;

use crate::Conduit;

/// The conduit to real firmware: `smccc`'s 18-register call through `smccc::Smc` or `smccc::Hvc`.
///
/// The 8-register call must not carry FF-A: its answer may be a 64-bit one that overwrites x8 to x17.
#[derive(Clone, Copy, Debug, Default)]
pub struct Smccc<C>(PhantomData<C>);

impl<C> Smccc<C> {
    /// The conduit.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<C: smccc::Call> Conduit for Smccc<C> {
    fn call(&mut self, regs: &Regs) -> Regs {
        let [function, args @ ..] = regs.0;
        // The function ID is a W register.
        Regs(C::call64(function as u32, args))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl smccc::Call for Echo {
        fn call32(_function: u32, _args: [u32; 7]) -> [u32; 8] {
            unreachable!("FF-A takes 18 registers")
        }

        fn call64(function: u32, args: [u64; 17]) -> [u64; 18] {
            let mut regs = [u64::from(function) + 1; 18];
            regs[1..].copy_from_slice(&args);
            regs
        }
    }

    #[test]
    fn carries_all_18_registers_both_ways() {
        let mut regs = Regs(core::array::from_fn(|i| i as u64));
        regs[0] = 0x8400_0077;
        let back = Smccc::<Echo>::new().call(&regs);
        assert_eq!(back[0], 0x8400_0078);
        assert_eq!(back.0[1..], regs.0[1..]);
    }
}
