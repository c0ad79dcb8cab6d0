//! The one table of what guests may call. Dispatch and FFA_FEATURES both read it, so what is advertised works
//! and nothing else does.

use ffa_abi::{Callers, Function, FunctionId, Version, Width};

/// What must be there for a function to be served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Needs {
    /// Nothing: the mediator answers by itself.
    Nothing,
    /// The SPMC has this function, in the width in which it is called.
    Spmc(Function),
    /// The SPMC has this function, in whatever width.
    SpmcAnyWidth(Function),
}

/// Every function that a guest may call, and what it needs.
const SERVED: &[(Function, Needs)] = &[
    (Function::Version, Needs::Nothing),
    (Function::Features, Needs::Nothing),
    (Function::IdGet, Needs::Nothing),
    (Function::RxTxMap, Needs::Nothing),
    (Function::RxTxUnmap, Needs::Nothing),
    (Function::RxRelease, Needs::Nothing),
    (Function::PartitionInfoGet, Needs::Nothing),
    (Function::MsgSendDirectReq, Needs::Spmc(Function::MsgSendDirectReq)),
    // OP-TEE serves FFA_RUN without saying so; whoever takes direct requests can be resumed.
    (Function::Run, Needs::SpmcAnyWidth(Function::MsgSendDirectReq)),
    // We forward in the one width that the SPMC has.
    (Function::MemShare, Needs::SpmcAnyWidth(Function::MemShare)),
    (Function::MemReclaim, Needs::SpmcAnyWidth(Function::MemShare)),
];

const _: () = {
    let mut row = 0;
    while row < SERVED.len() {
        assert!(SERVED[row].0.info().callers.contains(Callers::VM));
        row += 1;
    }
};

/// The functions of the SPMC, as FFA_FEATURES told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Abilities {
    smc32: u64,
    smc64: u64,
}

impl Abilities {
    /// Adds a function.
    pub fn insert(&mut self, id: FunctionId) {
        let bit = 1 << (id.function() as u32 & 63);
        match id.width() {
            Width::Smc32 => self.smc32 |= bit,
            Width::Smc64 => self.smc64 |= bit,
        }
    }

    /// Whether the SPMC has this function in this width.
    #[must_use]
    #[inline]
    pub fn contains(&self, id: FunctionId) -> bool {
        let set = match id.width() {
            Width::Smc32 => self.smc32,
            Width::Smc64 => self.smc64,
        };
        set >> (id.function() as u32 & 63) & 1 != 0
    }

    #[inline]
    fn any_width(&self, function: Function) -> bool {
        (self.smc32 | self.smc64) >> (function as u32 & 63) & 1 != 0
    }
}

/// The functions that guests of each version may call, worked out once from the table and the SPMC.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// For guests of 1.0, 1.1 and 1.2.
    by_version: [Abilities; 3],
}

impl Served {
    pub(crate) fn new(spmc: &Abilities) -> Self {
        let by_version = [Version::V1_0, Version::V1_1, Version::V1_2].map(|version| {
            let mut served = Abilities::default();
            for &(function, needs) in SERVED {
                let forms = [Width::Smc32, Width::Smc64].map(|width| FunctionId::new(function, width));
                for id in forms.into_iter().flatten() {
                    if id.exists_in(version) && needs.are_met(id, spmc) {
                        served.insert(id);
                    }
                }
            }
            served
        });
        Self { by_version }
    }

    /// Whether a guest of `version` may call `id`.
    #[inline]
    pub(crate) fn contains(&self, id: FunctionId, version: Version) -> bool {
        self.by_version.get(usize::from(version.minor())).is_some_and(|served| served.contains(id))
    }
}

impl Needs {
    fn are_met(self, id: FunctionId, spmc: &Abilities) -> bool {
        match self {
            Self::Nothing => true,
            Self::Spmc(function) => {
                FunctionId::new(function, id.width()).is_some_and(|needed| spmc.contains(needed))
            }
            Self::SpmcAnyWidth(function) => spmc.any_width(function),
        }
    }
}

/// What FFA_FEATURES is asked about when the SPMC is probed.
pub(crate) const PROBED: &[FunctionId] = &[
    FunctionId::smc32(Function::MsgSendDirectReq),
    FunctionId::smc64(Function::MsgSendDirectReq),
    FunctionId::smc32(Function::Run),
    FunctionId::smc32(Function::MemShare),
    FunctionId::smc64(Function::MemShare),
];

#[cfg(test)]
mod tests {
    use ffa_abi::FUNCTIONS;

    use super::*;

    #[test]
    fn numbers_of_all_functions_differ_in_six_bits() {
        let mut seen = 0_u64;
        for row in FUNCTIONS {
            let bit = 1 << (row.function as u32 & 63);
            assert_eq!(seen & bit, 0, "{}", row.name);
            seen |= bit;
        }
    }

    #[test]
    fn what_needs_the_spmc_is_served_only_with_it() {
        let share = FunctionId::smc64(Function::MemShare);
        let reclaim = FunctionId::smc32(Function::MemReclaim);
        let mut spmc = Abilities::default();
        let serves = |id, spmc: &Abilities| Served::new(spmc).contains(id, Version::V1_1);
        assert!(!serves(share, &spmc) && !serves(reclaim, &spmc));
        spmc.insert(FunctionId::smc32(Function::MemShare));
        assert!(serves(share, &spmc) && serves(reclaim, &spmc));
        assert!(!serves(FunctionId::smc32(Function::MemLend), &spmc));
    }
}
