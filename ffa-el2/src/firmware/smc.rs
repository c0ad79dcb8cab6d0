//! SMCs of the normal world: who answers which.

use ffa_abi::FunctionId;
use ffa_el2::lock::Mutex;
use ffa_el2::{census, clock};
use smccc::arch::{SMCCC_ARCH_FEATURES, SMCCC_VERSION};

use crate::{psci, secure_world};

/// x0 to x17 of a caller, in and out. x18 to x30 keep their values: SMCCC 1.2 (DEN0028) section 2.6.
pub type Registers = [u64; 18];

/// How a CPU goes on after its SMC.
pub enum Outcome {
    /// It returns to its caller.
    Return,
    /// It waits until another CPU turns it on.
    PowerOff,
}

/// SMCCC's answer to a function that nobody here knows.
pub const NOT_SUPPORTED: u64 = -1i64 as u64;
const SUCCESS: u64 = 0;
/// SMCCC 1.2.
const VERSION: u64 = 0x1_0002;
/// Set by a caller that has nothing in its SVE registers; not part of the function's name.
const SVE_HINT: u32 = 1 << 16;

/// One call at a time: the firmware's answer to calls from two CPUs.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Answers the SMC with the given `immediate`.
pub fn call(registers: &mut Registers, immediate: u16) -> Outcome {
    let _lock = ONE_AT_A_TIME.lock();
    let function = registers[0] as u32 & !SVE_HINT;
    registers[0] = match function {
        _ if immediate != 0 => NOT_SUPPORTED,
        SMCCC_VERSION => VERSION,
        SMCCC_ARCH_FEATURES => match registers[1] as u32 {
            SMCCC_VERSION | SMCCC_ARCH_FEATURES => SUCCESS,
            _ => NOT_SUPPORTED,
        },
        0x8400_0000..=0x8400_001f | 0xc400_0000..=0xc400_001f => return psci::call(function, registers),
        census::FUNCTION => {
            secure_world::census(registers);
            return Outcome::Return;
        }
        _ if FunctionId::is_ffa(function) => {
            secure_world::call(clock::now(), registers);
            return Outcome::Return;
        }
        _ => NOT_SUPPORTED,
    };
    Outcome::Return
}
