//! The one table of what guests may call. Dispatch, FFA_FEATURES and FFA_PARTITION_INFO_GET read it, so what is
//! advertised works and nothing else does.

use ffa_abi::{Callers, Function, FunctionId, Properties, Version, Width};

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

/// What the hypervisor alone needs to know of an SP.
const HYPERVISORS_BUSINESS: Properties = Properties::WANTS_VM_CREATED.or(Properties::WANTS_VM_DESTROYED);

/// What an SP has to offer that takes a function of its own: a guest may not be told of it without that function.
const REACHED_BY: [(Properties, FunctionId); 3] = [
    (Properties::INDIRECT_MESSAGES, FunctionId::smc32(Function::MsgSend2)),
    (Properties::RECEIVES_NOTIFICATIONS, FunctionId::smc32(Function::NotificationBind)),
    (Properties::RECEIVES_DIRECT_REQUESTS2, FunctionId::smc64(Function::MsgSendDirectReq2)),
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

/// What there is for guests of each version, worked out once from the table and the SPMC.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// For guests of 1.0, 1.1 and 1.2.
    by_version: [Offer; 3],
}

/// What there is for guests of one version.
#[derive(Clone, Copy, Debug)]
struct Offer {
    /// The functions that they may call.
    functions: Abilities,
    /// The properties of SPs that they are told of.
    properties: Properties,
}

impl Offer {
    fn new(version: Version, spmc: &Abilities) -> Self {
        let mut functions = Abilities::default();
        for &(function, needs) in SERVED {
            let forms = [Width::Smc32, Width::Smc64].map(|width| FunctionId::new(function, width));
            for id in forms.into_iter().flatten() {
                if id.exists_in(version) && needs.are_met(id, spmc) {
                    functions.insert(id);
                }
            }
        }
        let hidden = REACHED_BY
            .iter()
            .filter(|(_, function)| !functions.contains(*function))
            .fold(HYPERVISORS_BUSINESS, |hidden, (property, _)| hidden.or(*property));
        Self { functions, properties: Properties(u32::MAX).known_to(version).without(hidden) }
    }
}

impl Served {
    pub(crate) fn new(spmc: &Abilities) -> Self {
        let versions = [Version::V1_0, Version::V1_1, Version::V1_2];
        Self { by_version: versions.map(|version| Offer::new(version, spmc)) }
    }

    /// Whether a guest of `version` may call `id`.
    #[inline]
    pub(crate) fn contains(&self, id: FunctionId, version: Version) -> bool {
        self.offer(version).is_some_and(|offer| offer.functions.contains(id))
    }

    /// The properties of SPs that a guest of `version` is told of.
    #[inline]
    pub(crate) fn properties(&self, version: Version) -> Properties {
        self.offer(version).map_or(Properties::default(), |offer| offer.properties)
    }

    #[inline]
    fn offer(&self, version: Version) -> Option<&Offer> {
        self.by_version.get(usize::from(version.minor()))
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
