//! Who answers the normal world's FF-A calls.

use alloc::boxed::Box;

use ffa_el2::lock::Mutex;

use crate::smc::{NOT_SUPPORTED, Registers};

/// A secure world behind the SMC instruction.
pub trait SecureWorld: Send {
    /// Answers one FF-A call, made `now` nanoseconds after reset. Every register comes back as the specification says:
    /// those that carry no result are zero.
    fn call(&mut self, now: u64, registers: &mut Registers);
}

static SECURE_WORLD: Mutex<Option<Box<dyn SecureWorld>>> = Mutex::new(None);

/// Sets up the secure world before the normal world starts.
pub fn start() {
    *SECURE_WORLD.lock() = Some(Box::new(Empty));
}

/// Hands an FF-A call to the secure world.
pub fn call(now: u64, registers: &mut Registers) {
    match SECURE_WORLD.lock().as_mut() {
        Some(world) => world.call(now, registers),
        None => registers[0] = NOT_SUPPORTED,
    }
}

/// A secure world without FF-A.
struct Empty;

impl SecureWorld for Empty {
    fn call(&mut self, _now: u64, registers: &mut Registers) {
        registers[0] = NOT_SUPPORTED;
    }
}
