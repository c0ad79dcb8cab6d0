//! What can go wrong on the way to the secure world and back, as plans that can be put anywhere in a script.

use ffa_abi::{FirmwareStatus, Function, PartitionId, Status, VmAvailability};
use ffa_teardown::Span;
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, Trust, When};
use ffa_test_utils::spmc::Mangling;

use crate::common::SP1;

/// One kind of fault, and the plans that show it.
pub struct Row {
    pub what: &'static str,
    pub plans: &'static [Plan],
}

/// Faults that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Who may do so.
    pub trust: Trust,
    /// Each action, and the calls that it befalls.
    injections: &'static [(&'static [CallKind], FaultAction)],
    /// The first partition dies of it.
    pub crash: bool,
}

impl Plan {
    const fn honest(injections: &'static [(&'static [CallKind], FaultAction)]) -> Self {
        Self { trust: Trust::Honest, injections, crash: false }
    }

    const fn lie(injections: &'static [(&'static [CallKind], FaultAction)]) -> Self {
        Self { trust: Trust::Lying, injections, crash: false }
    }

    /// Plan number `plan` of row number `row`, the first being F1.
    pub fn find(row: u8, plan: u8) -> Option<Self> {
        let row = usize::from(row).checked_sub(1)?;
        CATALOGUE.get(row)?.plans.get(usize::from(plan)).copied()
    }

    pub fn faults(self, when: When) -> impl Iterator<Item = Fault> {
        let fault = move |call, action| Fault { call, when, action };
        self.injections
            .iter()
            .flat_map(move |(calls, action)| calls.iter().map(move |call| fault(*call, *action)))
    }
}

const fn calls(function: Function) -> CallKind {
    CallKind::function(function)
}

const SENDS: &[CallKind] = &[calls(Function::MemShare), calls(Function::MemLend), calls(Function::MemDonate)];
const PARTS: &[CallKind] = &[
    calls(Function::MemShare),
    calls(Function::MemLend),
    calls(Function::MemDonate),
    calls(Function::MemFragTx),
];
const LATER_PARTS: &[CallKind] = &[calls(Function::MemFragTx)];
const RECLAIM: &[CallKind] = &[calls(Function::MemReclaim)];
const CREATED: &[CallKind] = &[CallKind::vm_message(VmAvailability::Created)];
const DESTROYED: &[CallKind] = &[CallKind::vm_message(VmAvailability::Destroyed)];
const MESSAGES: &[CallKind] =
    &[CallKind::vm_message(VmAvailability::Created), CallKind::vm_message(VmAvailability::Destroyed)];
const REQUESTS: &[CallKind] = &[calls(Function::MsgSendDirectReq), calls(Function::MsgSendDirectReq2)];
const RUN: &[CallKind] = &[calls(Function::Run)];
const RX_RELEASE: &[CallKind] = &[calls(Function::RxRelease)];
const RX_ACQUIRE: &[CallKind] = &[calls(Function::RxAcquire)];
const LIST: &[CallKind] = &[calls(Function::PartitionInfoGet)];
const LIST_REGS: &[CallKind] = &[calls(Function::PartitionInfoGetRegs)];
const PENDING: &[CallKind] = &[calls(Function::NotificationInfoGet)];
const BITMAP_END: &[CallKind] = &[calls(Function::NotificationBitmapDestroy)];
const NOTIFICATIONS: &[CallKind] = &[
    calls(Function::NotificationBitmapCreate),
    calls(Function::NotificationBind),
    calls(Function::NotificationUnbind),
    calls(Function::NotificationSet),
    calls(Function::NotificationGet),
];
const BINDINGS: &[CallKind] = &[
    calls(Function::NotificationBind),
    calls(Function::NotificationUnbind),
    calls(Function::NotificationSet),
    calls(Function::NotificationGet),
];
const VERSION: &[CallKind] = &[calls(Function::Version)];
const BUFFERS: &[CallKind] = &[calls(Function::RxTxMap)];
const BUFFERS_END: &[CallKind] = &[calls(Function::RxTxUnmap)];
const ANY: &[CallKind] = &[CallKind::ANY];

const fn refuse(status: Status) -> FaultAction {
    FaultAction::Refuse(FirmwareStatus::Known(status))
}

const fn lose(status: Status) -> FaultAction {
    FaultAction::Lose(FirmwareStatus::Known(status))
}

const fn objects(status: Status) -> FaultAction {
    FaultAction::RefuseAsPartition(FirmwareStatus::Known(status))
}

const NO_CODE: FaultAction = FaultAction::Refuse(FirmwareStatus::Other(0));
const ODD_CODE: FaultAction = FaultAction::Refuse(FirmwareStatus::Other(-77));
const YIELD: FaultAction = FaultAction::Yield(2, Span::from_millis(3));
const SMCCC_UNKNOWN: FaultAction = FaultAction::W0(u32::MAX);
const FRAG_RX: FaultAction = FaultAction::W0(0x8400_007a);
const MSG_WAIT: FaultAction = FaultAction::W0(0x8400_006b);

/// F1 to F25, in order.
pub const CATALOGUE: [Row; 25] = [
    Row { what: "no memory for a send", plans: &[Plan::honest(&[(PARTS, refuse(Status::NoMemory))])] },
    Row {
        what: "the next part is wanted from another offset",
        plans: &[
            Plan::honest(&[(PARTS, FaultAction::ShiftOffset(16))]),
            Plan::honest(&[(PARTS, FaultAction::ShiftOffset(-16))]),
            Plan::honest(&[(PARTS, FaultAction::ShiftOffset(i32::MIN))]),
        ],
    },
    Row {
        what: "the handle changes, or is that of another share",
        plans: &[
            Plan::lie(&[(PARTS, FaultAction::DuplicateHandle)]),
            Plan::lie(&[(LATER_PARTS, FaultAction::GiveHandle(77))]),
        ],
    },
    Row { what: "success before the last part", plans: &[Plan::lie(&[(PARTS, FaultAction::Pretend)])] },
    Row { what: "one more part is wanted after the last", plans: &[Plan::honest(&[(PARTS, FRAG_RX)])] },
    Row {
        what: "the last part fails, and nothing is left of the transaction",
        plans: &[
            Plan::honest(&[(PARTS, refuse(Status::Aborted))]),
            Plan::honest(&[(PARTS, lose(Status::Aborted))]),
            Plan::honest(&[(LATER_PARTS, refuse(Status::Denied))]),
            Plan::lie(&[(PARTS, lose(Status::NoMemory))]),
        ],
    },
    Row {
        what: "an error without a code, with an unknown one, or with the code elsewhere",
        plans: &[
            Plan::honest(&[(PARTS, NO_CODE), (RECLAIM, NO_CODE), (MESSAGES, NO_CODE)]),
            Plan::honest(&[(PARTS, ODD_CODE), (RECLAIM, ODD_CODE), (MESSAGES, ODD_CODE)]),
            Plan::honest(&[
                (PARTS, FaultAction::CodeInW1(Status::Busy)),
                (RECLAIM, FaultAction::CodeInW1(Status::Busy)),
                (MESSAGES, FaultAction::CodeInW1(Status::Busy)),
            ]),
            Plan::honest(&[(NOTIFICATIONS, NO_CODE), (BUFFERS_END, NO_CODE)]),
        ],
    },
    Row {
        what: "a reclaim is denied",
        plans: &[
            Plan::honest(&[(RECLAIM, refuse(Status::Denied))]),
            Plan::honest(&[(RECLAIM, refuse(Status::Busy))]),
            Plan::honest(&[(RECLAIM, refuse(Status::NoMemory))]),
        ],
    },
    Row {
        what: "the secure world has lost a share",
        plans: &[
            Plan::honest(&[(RECLAIM, refuse(Status::InvalidParameters))]),
            Plan::honest(&[(RECLAIM, lose(Status::InvalidParameters))]),
            Plan::honest(&[(RECLAIM, refuse(Status::Aborted))]),
        ],
    },
    Row {
        what: "a reclaim succeeds for another share than the one that is meant",
        plans: &[Plan::lie(&[(RECLAIM, FaultAction::Pretend)])],
    },
    Row { what: "VM_CREATED goes wrong", plans: &messages(CREATED_GOES_WRONG) },
    Row { what: "VM_DESTROYED goes wrong", plans: &messages(DESTROYED_GOES_WRONG) },
    Row {
        what: "a response is spoiled",
        plans: &[
            Plan::honest(&[(MESSAGES, FaultAction::Mangle(Mangling::WrongFunction))]),
            Plan::honest(&[(MESSAGES, FaultAction::Mangle(Mangling::SwappedIds))]),
            Plan::honest(&[(MESSAGES, FaultAction::Mangle(Mangling::OtherSender))]),
            Plan::honest(&[(MESSAGES, FaultAction::Mangle(Mangling::WrongCode))]),
            Plan::honest(&[(MESSAGES, FaultAction::Mangle(Mangling::NotFramework))]),
            Plan::honest(&[(REQUESTS, FaultAction::Mangle(Mangling::OtherSender))]),
            Plan::honest(&[(REQUESTS, FaultAction::Mangle(Mangling::NotFramework))]),
        ],
    },
    Row {
        what: "who was preempted cannot be run",
        plans: &[
            Plan::honest(&[(REQUESTS, FaultAction::Interrupt(3)), (RUN, refuse(Status::Busy))]),
            Plan::honest(&[(REQUESTS, FaultAction::Interrupt(1)), (RUN, refuse(Status::InvalidParameters))]),
            Plan::honest(&[(MESSAGES, FaultAction::Interrupt(1)), (RUN, refuse(Status::Aborted))]),
            Plan::honest(&[(PARTS, FaultAction::Interrupt(1)), (RUN, refuse(Status::Busy))]),
            Plan::honest(&[(RECLAIM, FaultAction::Interrupt(2)), (RUN, refuse(Status::Denied))]),
            Plan::honest(&[(REQUESTS, YIELD), (RUN, MSG_WAIT)]),
        ],
    },
    Row { what: "a partition dies while it has memory", plans: &[Plan { crash: true, ..Plan::honest(&[]) }] },
    Row {
        what: "a buffer is not given back",
        plans: &[
            Plan::honest(&[(RX_RELEASE, refuse(Status::Denied))]),
            Plan::honest(&[(LIST, refuse(Status::Busy))]),
            Plan::honest(&[(LIST, refuse(Status::Denied))]),
            Plan::honest(&[(RX_ACQUIRE, refuse(Status::Denied))]),
        ],
    },
    Row {
        what: "a list of partitions that does not fit",
        plans: &[
            Plan::lie(&[(LIST, FaultAction::Values { w2: 3, w3: 48 })]),
            Plan::lie(&[(LIST, FaultAction::Values { w2: 3, w3: 8 })]),
            Plan::lie(&[(LIST, FaultAction::Values { w2: 3, w3: 13 })]),
            Plan::lie(&[(LIST, FaultAction::Values { w2: 3, w3: 0 })]),
            Plan::lie(&[(LIST, FaultAction::Values { w2: 0x1_0000, w3: 24 })]),
            Plan::lie(&[(LIST, FaultAction::Values { w2: u32::MAX, w3: u32::MAX })]),
        ],
    },
    Row {
        what: "a list in registers that changes, or runs backwards",
        plans: &[
            Plan::honest(&[(LIST_REGS, refuse(Status::Retry))]),
            Plan::lie(&[(LIST_REGS, FaultAction::list_tag(0x5a5a))]),
            Plan::lie(&[(LIST_REGS, FaultAction::last_index(0))]),
            Plan::lie(&[(LIST_REGS, FaultAction::current_index(u16::MAX))]),
            Plan::lie(&[(LIST_REGS, FaultAction::record_size(0))]),
        ],
    },
    Row {
        what: "more pending receivers than there can be, for ever",
        plans: &[
            Plan::lie(&[(PENDING, FaultAction::list_count(31))]),
            Plan::lie(&[(PENDING, FaultAction::Pending(PartitionId(1)))]),
            Plan::lie(&[(PENDING, FaultAction::Pending(SP1))]),
            Plan::lie(&[(PENDING, FaultAction::Pending(PartitionId(0x4444)))]),
        ],
    },
    Row {
        what: "a bitmap is not destroyed",
        plans: &[
            Plan::honest(&[(BITMAP_END, refuse(Status::Denied))]),
            Plan::honest(&[(BITMAP_END, refuse(Status::InvalidParameters))]),
            Plan::honest(&[(NOTIFICATIONS, refuse(Status::Denied))]),
            Plan::honest(&[(BINDINGS, lose(Status::Aborted)), (BITMAP_END, lose(Status::Aborted))]),
        ],
    },
    Row {
        what: "another version, or none",
        plans: &[
            Plan::honest(&[(VERSION, SMCCC_UNKNOWN)]),
            Plan::honest(&[(VERSION, FaultAction::W0(0x1_0000))]),
            Plan::honest(&[(VERSION, FaultAction::W0(0x1_0001))]),
            Plan::honest(&[(VERSION, FaultAction::W0(0x2_0000))]),
            Plan::honest(&[(VERSION, FaultAction::W0(0))]),
        ],
    },
    Row {
        what: "firmware that does not know FF-A",
        plans: &[
            Plan::honest(&[(ANY, refuse(Status::NotSupported))]),
            Plan::honest(&[(ANY, SMCCC_UNKNOWN)]),
            Plan::honest(&[(RECLAIM, SMCCC_UNKNOWN), (SENDS, SMCCC_UNKNOWN)]),
        ],
    },
    Row {
        what: "registers are dirty",
        plans: &[
            Plan::honest(&[(ANY, FaultAction::ClobberHighRegisters)]),
            Plan::honest(&[(ANY, FaultAction::DirtyUpperHalves)]),
            Plan::honest(&[(ANY, FaultAction::OtherWidth)]),
        ],
    },
    Row {
        what: "odd handles",
        plans: &[
            Plan::lie(&[(PARTS, FaultAction::GiveHandle(0))]),
            Plan::lie(&[(PARTS, FaultAction::GiveHandle(u64::MAX))]),
            Plan::lie(&[(PARTS, FaultAction::GiveHandle(1 << 32))]),
        ],
    },
    Row {
        what: "the buffers of a VM are not mapped",
        plans: &[
            Plan::honest(&[(BUFFERS, refuse(Status::InvalidParameters))]),
            Plan::honest(&[(BUFFERS, refuse(Status::Denied))]),
            Plan::honest(&[(BUFFERS, refuse(Status::NotSupported))]),
            Plan::honest(&[(BUFFERS, lose(Status::Aborted))]),
            Plan::honest(&[(BUFFERS_END, refuse(Status::Denied))]),
            Plan::honest(&[(BUFFERS_END, lose(Status::Aborted))]),
            Plan::lie(&[(BUFFERS, lose(Status::Denied)), (BUFFERS_END, FaultAction::Pretend)]),
        ],
    },
];

type Injections = &'static [(&'static [CallKind], FaultAction)];

/// What can become of a message about a VM.
macro_rules! goes_wrong {
    ($calls:ident) => {
        [
            &[($calls, FaultAction::Interrupt(2))],
            &[($calls, YIELD)],
            &[($calls, refuse(Status::Busy))],
            &[($calls, refuse(Status::Aborted))],
            &[($calls, refuse(Status::InvalidParameters))],
            &[($calls, refuse(Status::NotSupported))],
            &[($calls, objects(Status::Interrupted))],
            &[($calls, objects(Status::Denied))],
            &[($calls, objects(Status::Retry))],
            &[($calls, objects(Status::InvalidParameters))],
            &[($calls, lose(Status::Aborted))],
        ]
    };
}

const CREATED_GOES_WRONG: [Injections; 11] = goes_wrong!(CREATED);
const DESTROYED_GOES_WRONG: [Injections; 11] = goes_wrong!(DESTROYED);

const fn messages<const N: usize>(injections: [Injections; N]) -> [Plan; N] {
    let mut plans = [Plan::honest(&[]); N];
    let mut at = 0;
    while at < N {
        plans[at] = Plan::honest(injections[at]);
        at += 1;
    }
    plans
}
