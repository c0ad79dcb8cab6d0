//! Locks between CPUs, and waiting for another CPU.
//!
//! Both images run with interrupts masked, so no holder of a lock is interrupted by somebody who wants it too.

use core::arch::asm;

use spin::RelaxStrategy;

/// A lock that lets other CPUs go first while it waits.
pub type Mutex<T> = spin::mutex::SpinMutex<T, Yield>;
/// Keeps a [`Mutex`] locked.
pub type MutexGuard<'a, T> = spin::mutex::SpinMutexGuard<'a, T, Yield>;

/// Waits with [`let_others_go_first`].
pub struct Yield;

impl RelaxStrategy for Yield {
    fn relax() {
        let_others_go_first();
    }
}

/// Tells the machine that this CPU waits for another one.
///
/// QEMU may run its CPUs one after the other, and then it goes on to the next at a YIELD. It does not at the ISB that
/// `core::hint::spin_loop` becomes: there a CPU can spin for seconds while the one that it waits for stands still.
pub fn let_others_go_first() {
    // SAFETY: A hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) }
}
