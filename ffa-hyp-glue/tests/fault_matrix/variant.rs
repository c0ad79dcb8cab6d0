//! One way in which a fault may happen, and how often.

use ffa_test_utils::fault::{CallKind, Fault, FaultAction, When};

use crate::life::Step;

/// What happens, from one call on.
#[derive(Clone, Debug)]
pub struct Variant {
    pub action: FaultAction,
    times: Times,
    /// What else happens.
    then: Option<Fault>,
}

/// How often.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Times {
    Times(u32),
    Ever,
}

pub fn once(action: FaultAction) -> Variant {
    several(action, 1)
}

pub fn several(action: FaultAction, count: u32) -> Variant {
    Variant { action, times: Times::Times(count), then: None }
}

pub fn ever(action: FaultAction) -> Variant {
    Variant { times: Times::Ever, ..once(action) }
}

impl Variant {
    /// The same, and this the `nth` time that `call` is made.
    pub fn then(self, call: CallKind, nth: u32, action: FaultAction) -> Self {
        Self { then: Some(Fault { call, when: When::Nth(nth), action }), ..self }
    }

    /// The faults that this is for the call at `step`.
    pub fn faults(&self, step: &Step) -> Vec<Fault> {
        let (call, nth, action) = (step.call, step.nth, self.action);
        let fault = |when| Fault { call, when, action };
        let faults: Vec<_> = match self.times {
            Times::Times(count) => (nth..nth + count).map(|nth| fault(When::Nth(nth))).collect(),
            Times::Ever => vec![fault(When::After(nth - 1))],
        };
        faults.into_iter().chain(self.then).collect()
    }
}
