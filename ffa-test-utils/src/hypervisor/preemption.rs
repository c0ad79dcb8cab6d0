use std::cell::Cell;

/// Where a CPU of the model may be held up while others go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preemption {
    /// It is about to do what others can notice: take the lock or TX, or call a seam. It holds no lock.
    Between,
    /// It waits for the lock or for TX, which another CPU has. Nothing comes of it until another CPU goes on.
    Waits,
}

std::thread_local! {
    static PREEMPT: Cell<fn(Preemption)> = const { Cell::new(|_| {}) };
}

/// Has `work` done wherever a CPU may be held up, from now on and for every model of this thread. Together these places are
/// fine enough: what lies between two of them does one thing that other CPUs can notice.
pub fn set_preemption(work: fn(Preemption)) {
    PREEMPT.set(work);
}

pub(super) fn preempt(at: Preemption) {
    PREEMPT.get()(at);
}
