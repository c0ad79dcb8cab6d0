//! The one table of what guests may call. Dispatch and FFA_FEATURES both read it, so what is advertised works
//! and nothing else does.

use ffa_abi::{Callers, FUNCTIONS, Function, FunctionId, Version, Width};

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

/// [`SERVED`] by the low byte of the function ID, less that of the first.
const BY_NUMBER: [Option<Needs>; 64] = {
    let mut table = [None; 64];
    let mut row = 0;
    while row < SERVED.len() {
        let (function, needs) = SERVED[row];
        assert!(function.info().callers.contains(Callers::VM));
        table[function as usize - FUNCTIONS[0].function as usize] = Some(needs);
        row += 1;
    }
    table
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

/// Whether a guest of `version` may call `id`.
#[inline]
pub(crate) fn serves(id: FunctionId, version: Version, spmc: &Abilities) -> bool {
    let row = BY_NUMBER.get(id.function() as usize - FUNCTIONS[0].function as usize);
    let available = match row.copied().flatten() {
        None => false,
        Some(Needs::Nothing) => true,
        Some(Needs::Spmc(function)) => {
            FunctionId::new(function, id.width()).is_some_and(|needed| spmc.contains(needed))
        }
        Some(Needs::SpmcAnyWidth(function)) => spmc.any_width(function),
    };
    available && id.exists_in(version)
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
        assert!(!serves(share, Version::V1_1, &spmc) && !serves(reclaim, Version::V1_1, &spmc));
        spmc.insert(FunctionId::smc32(Function::MemShare));
        assert!(serves(share, Version::V1_1, &spmc) && serves(reclaim, Version::V1_1, &spmc));
        assert!(!serves(FunctionId::smc32(Function::MemLend), Version::V1_1, &spmc));
    }
}
