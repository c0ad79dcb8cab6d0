//! The one table of what guests may call. Dispatch, FFA_FEATURES and FFA_PARTITION_INFO_GET read it, so what is
//! advertised works and nothing else does.

use core::fmt;

use ffa_abi::{Callers, Function, FunctionId, Properties, Version, Width};

use crate::{Settings, Spmc};

/// What must be there for a function to be served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Needs {
    /// Nothing: the mediator answers by itself.
    Nothing,
    /// The SPMC has this function, in the width in which it is called.
    Spmc(Function),
    /// The SPMC has this function, in whatever width.
    SpmcAnyWidth(Function),
    /// Somebody takes memory transactions of any kind.
    Transactions,
    /// VMs lend each other memory.
    Loans,
    /// The SPMC has this function, in whatever width, or VMs lend each other memory.
    SpmcOrLoans(Function),
    /// There is somebody to take indirect messages.
    IndirectMessages,
    /// Guests have interrupts for notifications, and there is somebody to signal them.
    Notifications,
}

/// A function that guests may call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Service {
    /// The function, in every width that it has.
    pub function: Function,
    /// What there must be for it; the guest is answered NOT_SUPPORTED without.
    pub needs: Needs,
    /// What the mediator does, in a few words.
    pub does: &'static str,
}

const fn service(function: Function, needs: Needs, does: &'static str) -> Service {
    Service { function, needs, does }
}

/// Every function that a guest may call.
pub const SERVICES: &[Service] = &[
    service(Function::Version, Needs::Nothing, "negotiates for each VM; fixed by its first other call"),
    service(Function::Features, Needs::Nothing, "answers from this table"),
    service(Function::IdGet, Needs::Nothing, "answers"),
    service(
        Function::RxTxMap,
        Needs::Nothing,
        "holds the pages, and gives them to an SPMC that passes messages on",
    ),
    service(Function::RxTxUnmap, Needs::Nothing, "takes the pages back"),
    service(Function::RxRelease, Needs::Nothing, "takes RX back, and gives it to an SPMC that has it mapped"),
    service(
        Function::PartitionInfoGet,
        Needs::Nothing,
        "writes to RX what the guest may see, in records of its version",
    ),
    // FFA_FEATURES keeps silent about it while the list is long.
    service(
        Function::PartitionInfoGetRegs,
        Needs::Nothing,
        "answers with what the guest may see, five records at a time",
    ),
    service(
        Function::MsgSendDirectReq,
        Needs::Spmc(Function::MsgSendDirectReq),
        "checks, passes on, and keeps account of who was preempted",
    ),
    service(
        Function::MsgSendDirectReq2,
        Needs::Spmc(Function::MsgSendDirectReq2),
        "checks, passes on, and keeps account of who was preempted",
    ),
    // OP-TEE serves FFA_RUN without saying so; whoever takes direct requests can be resumed.
    service(
        Function::Run,
        Needs::SpmcAnyWidth(Function::MsgSendDirectReq),
        "resumes an SP that works for this vCPU",
    ),
    // We forward in the one width that the SPMC has.
    service(
        Function::MemShare,
        Needs::SpmcOrLoans(Function::MemShare),
        "checks, holds the pages, and passes a descriptor of its own on, or offers them to other VMs",
    ),
    service(
        Function::MemLend,
        Needs::SpmcOrLoans(Function::MemLend),
        "the same, and takes the pages from the guest; zeros them itself if asked",
    ),
    service(
        Function::MemDonate,
        Needs::SpmcOrLoans(Function::MemDonate),
        "the same; the pages never come back once the receiver has them",
    ),
    service(
        Function::MemFragTx,
        Needs::Transactions,
        "collects what a guest sends in fragments, and sends it in fragments of its own",
    ),
    service(
        Function::MemRetrieveReq,
        Needs::Loans,
        "has the hypervisor map what another VM has offered, and writes to RX where",
    ),
    service(Function::MemFragRx, Needs::Loans, "writes to RX what there was no room for"),
    service(Function::MemRelinquish, Needs::Loans, "has the hypervisor unmap it"),
    service(
        Function::MemReclaim,
        Needs::Transactions,
        "passes on for the VM that sent, and if it succeeds, or no VM has them, releases the pages, zeroed if asked",
    ),
    service(Function::MsgSend2, Needs::IndirectMessages, "copies to another VM, or passes on to an SP"),
    service(Function::NotificationBind, Needs::Notifications, "keeps for VMs, passes on for SPs"),
    service(Function::NotificationUnbind, Needs::Notifications, "keeps for VMs, passes on for SPs"),
    service(Function::NotificationSet, Needs::Notifications, "signals a VM, or passes on to an SP"),
    service(
        Function::NotificationGet,
        Needs::Notifications,
        "gives what VMs have signalled, and what the SPMC has of SPs",
    ),
    service(
        Function::NotificationInfoGet,
        Needs::Notifications,
        "names the guest's vCPUs for which something is pending",
    ),
];

/// What the hypervisor alone needs to know of an SP.
const HYPERVISORS_BUSINESS: Properties = Properties::WANTS_VM_CREATED.or(Properties::WANTS_VM_DESTROYED);

const _: () = {
    let mut row = 0;
    while row < SERVICES.len() {
        assert!(SERVICES[row].function.info().callers.contains(Callers::VM));
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

    /// Whether the SPMC has this function.
    #[inline]
    pub(crate) fn any_width(&self, function: Function) -> bool {
        (self.smc32 | self.smc64) >> (function as u32 & 63) & 1 != 0
    }
}

/// What there is for guests of each version, worked out once from the table, the SPMC and the settings.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// For guests of 1.0, 1.1 and 1.2.
    by_version: [Offer; 3],
    spmc_notifies: bool,
    forwards_buffers: bool,
    lends: bool,
}

/// What there is to serve guests with.
#[derive(Clone, Copy, Debug, Default)]
struct Means {
    spmc: Abilities,
    /// Guests can hear of notifications.
    interrupts: bool,
    /// The SPMC keeps notifications for guests, and tells when there are some.
    spmc_notifies: bool,
    /// The SPMC passes indirect messages on, for which it needs the buffers of VMs.
    forwards_buffers: bool,
    vm_to_vm: bool,
    /// There is room for loans between VMs.
    lends: bool,
}

impl Means {
    fn new(spmc: &Spmc, settings: &Settings, loans: usize) -> Self {
        const NOTIFICATIONS: [FunctionId; 6] = [
            FunctionId::smc32(Function::NotificationBitmapCreate),
            FunctionId::smc32(Function::NotificationBitmapDestroy),
            FunctionId::smc32(Function::NotificationBind),
            FunctionId::smc32(Function::NotificationUnbind),
            FunctionId::smc32(Function::NotificationGet),
            FunctionId::smc64(Function::NotificationInfoGet),
        ];
        let interrupts = settings.interrupts.is_some();
        let spmc_notifies = interrupts
            && spmc.schedule_receiver_interrupt().is_some()
            && NOTIFICATIONS.iter().all(|id| spmc.abilities().contains(*id));
        let forwards_buffers = [Function::MsgSend2, Function::RxAcquire]
            .map(FunctionId::smc32)
            .iter()
            .all(|id| spmc.abilities().contains(*id));
        let vm_to_vm = settings.vm_to_vm;
        let lends = vm_to_vm && loans > 0;
        Self { spmc: *spmc.abilities(), interrupts, spmc_notifies, forwards_buffers, vm_to_vm, lends }
    }
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
    fn new(version: Version, means: &Means) -> Self {
        let mut functions = Abilities::default();
        for &Service { function, needs, .. } in SERVICES {
            let forms = [Width::Smc32, Width::Smc64].map(|width| FunctionId::new(function, width));
            for id in forms.into_iter().flatten() {
                if id.exists_in(version) && needs.are_met(id, means) {
                    functions.insert(id);
                }
            }
        }
        let reached = |id| functions.contains(id);
        // What an SP has to offer that takes a function of its own: a guest is not told of it without that function.
        let hidden = [
            (
                Properties::INDIRECT_MESSAGES,
                means.forwards_buffers && reached(FunctionId::smc32(Function::MsgSend2)),
            ),
            (
                Properties::RECEIVES_NOTIFICATIONS,
                means.spmc_notifies && reached(FunctionId::smc32(Function::NotificationSet)),
            ),
            (Properties::RECEIVES_DIRECT_REQUESTS2, reached(FunctionId::smc64(Function::MsgSendDirectReq2))),
        ]
        .iter()
        .filter(|(_, reached)| !reached)
        .fold(HYPERVISORS_BUSINESS, |hidden, (property, _)| hidden.or(*property));
        Self { functions, properties: Properties(u32::MAX).known_to(version).without(hidden) }
    }
}

impl Served {
    /// `loans`: room for so many borrowers.
    pub(crate) fn new(spmc: &Spmc, settings: &Settings, loans: usize) -> Self {
        Self::with(&Means::new(spmc, settings, loans))
    }

    fn with(means: &Means) -> Self {
        let versions = [Version::V1_0, Version::V1_1, Version::V1_2];
        let by_version = versions.map(|version| Offer::new(version, means));
        let Means { spmc_notifies, forwards_buffers, lends, .. } = *means;
        Self { by_version, spmc_notifies, forwards_buffers, lends }
    }

    /// Whether VMs lend each other memory.
    pub(crate) fn lends(&self) -> bool {
        self.lends
    }

    /// Whether the SPMC is given the buffers of guests.
    pub(crate) fn forwards_buffers(&self) -> bool {
        self.forwards_buffers
    }

    /// Whether the SPMC keeps notifications for guests.
    pub(crate) fn spmc_notifies(&self) -> bool {
        self.spmc_notifies
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

const LOANS: &str = "VMs that reach each other, and room for what they lend";

impl fmt::Display for Needs {
    /// As a table shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Spmc(function) => write!(f, "{function} at the SPMC, in the same width"),
            Self::SpmcAnyWidth(function) => write!(f, "{function} at the SPMC"),
            Self::Transactions => {
                f.write_str("somebody who takes FFA_MEM_SHARE, FFA_MEM_LEND or FFA_MEM_DONATE")
            }
            Self::Loans => f.write_str(LOANS),
            Self::SpmcOrLoans(function) => write!(f, "{function} at the SPMC, or {LOANS}"),
            Self::IndirectMessages => {
                f.write_str("an SPMC that passes messages on, or VMs that reach each other")
            }
            Self::Notifications => f.write_str(
                "interrupts for guests, and an SPMC that keeps notifications or VMs that reach each other",
            ),
        }
    }
}

impl Needs {
    fn are_met(self, id: FunctionId, means: &Means) -> bool {
        match self {
            Self::Nothing => true,
            Self::Spmc(function) => {
                FunctionId::new(function, id.width()).is_some_and(|needed| means.spmc.contains(needed))
            }
            Self::SpmcAnyWidth(function) => means.spmc.any_width(function),
            Self::Transactions => {
                means.lends
                    || [Function::MemShare, Function::MemLend, Function::MemDonate]
                        .iter()
                        .any(|function| means.spmc.any_width(*function))
            }
            Self::Loans => means.lends,
            Self::SpmcOrLoans(function) => means.lends || means.spmc.any_width(function),
            Self::IndirectMessages => means.forwards_buffers || means.vm_to_vm,
            Self::Notifications => means.spmc_notifies || means.interrupts && means.vm_to_vm,
        }
    }
}

/// What FFA_FEATURES is asked about when the SPMC is probed.
pub(crate) const PROBED: &[FunctionId] = &[
    FunctionId::smc32(Function::MsgSendDirectReq),
    FunctionId::smc64(Function::MsgSendDirectReq),
    FunctionId::smc64(Function::MsgSendDirectReq2),
    FunctionId::smc32(Function::Run),
    FunctionId::smc32(Function::MemShare),
    FunctionId::smc64(Function::MemShare),
    FunctionId::smc32(Function::MemLend),
    FunctionId::smc64(Function::MemLend),
    FunctionId::smc32(Function::MemDonate),
    FunctionId::smc64(Function::MemDonate),
    FunctionId::smc32(Function::MsgSend2),
    FunctionId::smc32(Function::RxAcquire),
    FunctionId::smc32(Function::NotificationBitmapCreate),
    FunctionId::smc32(Function::NotificationBitmapDestroy),
    FunctionId::smc32(Function::NotificationBind),
    FunctionId::smc32(Function::NotificationUnbind),
    FunctionId::smc32(Function::NotificationGet),
    FunctionId::smc64(Function::NotificationInfoGet),
    FunctionId::smc64(Function::PartitionInfoGetRegs),
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
        let mut means = Means::default();
        let serves = |id, means: &Means| Served::with(means).contains(id, Version::V1_1);
        assert!(!serves(share, &means) && !serves(reclaim, &means));
        means.spmc.insert(FunctionId::smc32(Function::MemShare));
        assert!(serves(share, &means) && serves(reclaim, &means));
        assert!(!serves(FunctionId::smc32(Function::MemLend), &means));
        let mut means = Means::default();
        means.spmc.insert(FunctionId::smc64(Function::MemLend));
        assert!(serves(FunctionId::smc32(Function::MemLend), &means) && serves(reclaim, &means));
        assert!(!serves(share, &means) && !serves(FunctionId::smc64(Function::MemDonate), &means));
    }
}
