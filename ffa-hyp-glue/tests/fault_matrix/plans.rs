//! The faults F1 to F25 that secure worlds were seen to have, each for the calls that can have it.

use ffa_abi::{
    Answer, FirmwareStatus, Function, Handle, MemFragRx, PartitionId, Regs, Status, VmAvailability,
};
use ffa_teardown::Span;
use ffa_test_utils::fault::{CallKind, FaultAction, What};
use ffa_test_utils::spmc::Mangling;

use crate::common::{SP1, VM1};
use crate::life::Step;
use crate::variant::{Variant, ever, once, several};

/// What a fault of the list is, and how it may happen to a call.
pub struct Plan {
    pub number: u8,
    pub what: &'static str,
    pub variants: fn(&Step) -> Vec<Variant>,
}

fn refuse(status: Status) -> FaultAction {
    FaultAction::Refuse(status.into())
}

/// The same, after which nothing is left of what it was about.
fn fail(status: Status) -> FaultAction {
    FaultAction::Fail(status.into())
}

/// Whether a status says that it may go better later.
fn passes(status: Status) -> bool {
    matches!(status, Status::Busy | Status::Retry | Status::Interrupted | Status::NotReady)
}

fn code(code: i32) -> FirmwareStatus {
    FirmwareStatus::from_code(code)
}

/// The variants, if the step is one of those.
fn at(is_met: bool, variants: impl IntoIterator<Item = Variant>) -> Vec<Variant> {
    if is_met { variants.into_iter().collect() } else { Vec::new() }
}

fn is(step: &Step, function: Function) -> bool {
    step.call.what == What::Function(function)
}

/// FFA_MEM_SHARE and its like, and their fragments.
pub fn is_send(call: &CallKind) -> bool {
    use Function::{MemDonate, MemFragTx, MemLend, MemShare};
    matches!(call.what, What::Function(MemShare | MemLend | MemDonate | MemFragTx))
}

/// FFA_MEM_FRAG_RX, which the step is answered with.
fn next_part(step: &Step) -> Option<MemFragRx> {
    match Answer::from_regs(&step.answer) {
        Answer::MemFragRx(next) => Some(next),
        _ => None,
    }
}

/// The handle that a send is told with its last part.
fn completed(step: &Step) -> Option<Handle> {
    match Answer::from_regs(&step.answer) {
        Answer::Success(success) if is_send(&step.call) => {
            Handle::from_words(success.w2(), success.w3()).ok()
        }
        _ => None,
    }
}

fn tells(step: &Step, event: VmAvailability) -> bool {
    step.call.what == What::Vm(event)
}

/// A direct request, about a VM or not.
fn is_message(step: &Step) -> bool {
    matches!(step.call.what, What::Vm(_) | What::Function(Function::MsgSendDirectReq))
}

fn is_response(step: &Step) -> bool {
    matches!(Answer::from_regs(&step.answer), Answer::DirectResponse(_) | Answer::DirectResponse2 { .. })
}

fn success(handle: Handle) -> Regs {
    let [low, high] = handle.words();
    Regs::success(low as u32, high as u32)
}

fn part(handle: Handle, offset: u32) -> Regs {
    MemFragRx { handle, offset, endpoint: PartitionId(0) }.to_regs()
}

const MSG_WAIT: Regs = Regs::new([0x8400_006b]);

/// What FFA_RUN may say other than that the SP goes on.
const RUN_ANSWERS: [FaultAction; 4] = [
    FaultAction::Refuse(FirmwareStatus::Known(Status::Busy)),
    FaultAction::Refuse(FirmwareStatus::Known(Status::InvalidParameters)),
    FaultAction::Refuse(FirmwareStatus::Known(Status::Aborted)),
    FaultAction::Instead(MSG_WAIT),
];

/// What an SP, or the SPMC in its place, may say to a message about a VM.
fn answers_of_sps() -> Vec<Variant> {
    let pauses = [1, 20].map(FaultAction::Interrupt);
    let yields = [0, 30].map(|rest| FaultAction::Yield(2, Span::from_millis(rest)));
    let errors = [Status::Busy, Status::Aborted, Status::InvalidParameters, Status::NotSupported].map(refuse);
    let own = [Status::Interrupted, Status::Denied, Status::Retry, Status::InvalidParameters]
        .map(|status| FaultAction::RefuseAsPartition(status.into()));
    let lost = [FaultAction::Lose(Status::Aborted.into())];
    let refusals: Vec<_> = errors.into_iter().chain(own).collect();
    let again = refusals.clone().into_iter().map(|action| several(action, 5));
    let all = pauses.into_iter().chain(yields).chain(lost).chain(refusals);
    all.map(once).chain(again).collect()
}

pub const PLANS: [Plan; 25] = [
    Plan {
        number: 1,
        what: "no memory",
        variants: |step| {
            let action = fail(Status::NoMemory);
            at(
                is_send(&step.call) || is(step, Function::MemReclaim),
                [once(action), several(action, 3), ever(action)],
            )
        },
    },
    Plan {
        number: 2,
        what: "the next part from somewhere else",
        variants: |step| {
            let Some(next) = next_part(step) else { return Vec::new() };
            let whole = -i32::try_from(next.offset).expect("it is short");
            [16, -16, 1, whole, i32::MIN].map(|by| once(FaultAction::ShiftOffset(by))).into()
        },
    },
    Plan {
        number: 3,
        what: "the next part of something else",
        variants: |step| {
            let Some(next) = next_part(step) else { return Vec::new() };
            let other = FaultAction::GiveHandle(next.handle.get() ^ 0x40);
            [once(other), once(FaultAction::DuplicateHandle)].into()
        },
    },
    Plan {
        number: 4,
        what: "success before the last part",
        variants: |step| {
            let Some(next) = next_part(step) else { return Vec::new() };
            [once(FaultAction::Replace(success(next.handle))), once(FaultAction::W0(0x8400_0061))].into()
        },
    },
    Plan {
        number: 5,
        what: "another part after the last",
        variants: |step| {
            let Some(handle) = completed(step) else { return Vec::new() };
            [0, step.total, step.total + 16].map(|from| once(FaultAction::Replace(part(handle, from)))).into()
        },
    },
    Plan {
        number: 6,
        what: "an error on the last part",
        variants: |step| {
            let last = is(step, Function::MemFragTx) && completed(step).is_some();
            at(
                last,
                Status::ALL
                    .iter()
                    .map(|&status| once(if passes(status) { refuse(status) } else { fail(status) })),
            )
        },
    },
    Plan {
        number: 7,
        what: "no error code, an unknown one, or one elsewhere",
        variants: |_| {
            let refused = [0, 1, -77, i32::MIN].map(|unknown| FaultAction::Fail(code(unknown)));
            let lost = [0, -77].map(|unknown| FaultAction::Lose(code(unknown)));
            let elsewhere = [FaultAction::CodeInW1(Status::NoMemory)];
            refused.into_iter().chain(lost).chain(elsewhere).map(once).collect()
        },
    },
    Plan {
        number: 8,
        what: "a reclaim that is denied",
        variants: |step| {
            let denied = refuse(Status::Denied);
            let then_lost = once(denied).then(step.call, step.nth + 1, refuse(Status::InvalidParameters));
            at(is(step, Function::MemReclaim), [once(denied), several(denied, 3), ever(denied), then_lost])
        },
    },
    Plan {
        number: 9,
        what: "a reclaim of what the secure world has lost",
        variants: |step| {
            let invalid = refuse(Status::InvalidParameters);
            at(is(step, Function::MemReclaim), [once(invalid), ever(invalid)])
        },
    },
    Plan {
        number: 10,
        what: "a reclaim that was done, and is done again when another share has the handle",
        variants: |step| {
            let done = is(step, Function::MemReclaim) && step.succeeds();
            let statuses = [Status::Busy, Status::Retry, Status::Denied, Status::NoMemory, Status::Aborted];
            at(done, statuses.map(|status| once(FaultAction::Lose(status.into()))))
        },
    },
    Plan {
        number: 11,
        what: "what SPs say to VM_CREATED",
        variants: |step| at(tells(step, VmAvailability::Created), answers_of_sps()),
    },
    Plan {
        number: 12,
        what: "what SPs say to VM_DESTROYED",
        variants: |step| at(tells(step, VmAvailability::Destroyed), answers_of_sps()),
    },
    Plan {
        number: 13,
        what: "a direct response that does not fit",
        variants: |step| at(is_response(step), Mangling::ALL.map(|how| once(FaultAction::Mangle(how)))),
    },
    Plan {
        number: 14,
        what: "FFA_RUN that fails",
        variants: |step| {
            let resumed =
                RUN_ANSWERS.map(|answer| once(FaultAction::Interrupt(2)).then(CallKind::RESUME, 1, answer));
            match step.call.what {
                What::Function(Function::Run) => RUN_ANSWERS.map(once).into(),
                _ => at(is_message(step), resumed),
            }
        },
    },
    Plan {
        number: 15,
        what: "an SP that dies",
        variants: |step| at(!step.at_boot, [once(FaultAction::Crash(SP1))]),
    },
    Plan {
        number: 16,
        what: "RX that is not released",
        variants: |step| {
            let rx = [Function::PartitionInfoGet, Function::RxAcquire, Function::RxRelease];
            let full = [Status::Busy, Status::Denied].map(refuse);
            at(
                rx.iter().any(|&function| is(step, function)),
                full.into_iter().flat_map(|action| [once(action), several(action, 3), ever(action)]),
            )
        },
    },
    Plan {
        number: 17,
        what: "a list of partitions with odd sizes",
        variants: |step| {
            let sizes = [(2, 48), (2, 24), (2, 8), (2, 25), (2, 0), (171, 24), (u32::MAX, 24)];
            let sizes = sizes.map(|(w2, w3)| FaultAction::Values { w2, w3 });
            let list = CallKind::function(Function::PartitionInfoGet);
            match step.call.what {
                What::Function(Function::PartitionInfoGet) => sizes.map(once).into(),
                // Asked for in registers it is not there.
                What::Function(Function::PartitionInfoGetRegs) if step.at_boot => {
                    sizes.map(|action| ever(refuse(Status::NotSupported)).then(list, 1, action)).into()
                }
                _ => Vec::new(),
            }
        },
    },
    Plan {
        number: 18,
        what: "a list of partitions that changes",
        variants: |step| {
            let retry = refuse(Status::Retry);
            let odd = [
                FaultAction::list_tag(99),
                FaultAction::last_index(0),
                FaultAction::current_index(0),
                FaultAction::current_index(99),
                FaultAction::record_size(0),
            ];
            let odd = odd.map(once).into_iter().filter(|_| step.succeeds());
            let retries = [once(retry), several(retry, 3), ever(retry)];
            at(is(step, Function::PartitionInfoGetRegs), retries.into_iter().chain(odd))
        },
    },
    Plan {
        number: 19,
        what: "more notifications than there are",
        variants: |step| {
            let too_many = FaultAction::list_count(31);
            let never_ending = FaultAction::Pending(VM1);
            let met = is(step, Function::NotificationInfoGet);
            let spoilt = step.succeeds().then(|| once(too_many));
            at(met, spoilt.into_iter().chain([once(never_ending), ever(never_ending)]))
        },
    },
    Plan {
        number: 20,
        what: "a bitmap that is still in use",
        variants: |step| {
            let denied = refuse(Status::Denied);
            let met = is(step, Function::NotificationBitmapDestroy);
            at(met, [once(denied), several(denied, 3), ever(denied)])
        },
    },
    Plan {
        number: 21,
        what: "another version",
        variants: |step| {
            let versions = [0xffff_ffff, 0x1_0000, 0x1_0001, 0x2_0000, 0x8000_0001, 0];
            at(is(step, Function::Version), versions.map(|version| once(FaultAction::W0(version))))
        },
    },
    Plan {
        number: 22,
        what: "a function that is unknown",
        variants: |_| {
            let unknown = [u64::MAX, 0xffff_ffff].map(|x0| FaultAction::Instead(Regs::new([x0])));
            unknown.into_iter().chain([fail(Status::NotSupported)]).map(once).collect()
        },
    },
    Plan {
        number: 23,
        what: "registers that are not zero",
        variants: |step| {
            let high = (step.answer.w::<0>() != 0xc400_0061).then_some(FaultAction::ClobberHighRegisters);
            [FaultAction::DirtyUpperHalves]
                .into_iter()
                .chain(high)
                .flat_map(|dirt| [once(dirt), ever(dirt)])
                .collect()
        },
    },
    Plan {
        number: 24,
        what: "handles of any value",
        variants: |step| {
            let told = completed(step).is_some() || next_part(step).is_some();
            at(told, [0, 1 << 32, 1 << 63, u64::MAX].map(|handle| once(FaultAction::GiveHandle(handle))))
        },
    },
    Plan {
        number: 25,
        what: "buffers that are not wanted",
        variants: |step| {
            let statuses =
                [Status::InvalidParameters, Status::Denied, Status::NotSupported, Status::NoMemory];
            let refusals = statuses.map(refuse).into_iter().flat_map(|action| [once(action), ever(action)]);
            at(is(step, Function::RxTxMap), refusals)
        },
    },
];
