//! What the tests of calls have in common.

use ffa_abi::{Call, CallError, FunctionId, Regs, Width};

/// Sets each bit of `register` outside `allowed` in `good`, one at a time, and expects to be told of just that.
/// A 32-bit call must not even see the upper half.
pub fn refuses_reserved_bits(good: &Regs, register: u8, allowed: u64) {
    let function = FunctionId::from_w0(good.w::<0>()).unwrap();
    let call = Call::from_regs(good);
    assert!(call.is_ok(), "{call:?}");
    for bit in (0..64).filter(|bit| allowed >> bit & 1 == 0) {
        let mut bad = *good;
        bad[usize::from(register)] |= 1 << bit;
        let seen = match function.width() {
            Width::Smc32 if bit >= 32 => call,
            Width::Smc32 => Err(reserved(function, register, bad[usize::from(register)] & 0xffff_ffff)),
            Width::Smc64 => Err(reserved(function, register, bad[usize::from(register)])),
        };
        assert_eq!(Call::from_regs(&bad), seen, "{function} register {register} bit {bit}");
    }
}

fn reserved(function: FunctionId, register: u8, value: u64) -> CallError {
    CallError::Reserved { function, register, value }
}

/// Both directions of a table of whole register files; what a call does not use is zero.
pub fn golden(table: &[(Call, Regs)]) {
    for (call, regs) in table {
        assert_eq!(call.to_regs(), *regs);
        assert_eq!(Call::from_regs(regs), Ok(*call));
        assert_eq!(FunctionId::from_w0(regs.w::<0>()).unwrap().function(), call.function());
    }
}
