use ffa_abi::{
    FrameworkNotifications, Function, FunctionId, NotificationBitmap, PartitionId, PendingNotifications,
    Properties, Version,
};

use super::{AT_ONCE, SP1, SP2, SP3, VM1, VM2, VM3, guest, sp, sp_with};
use crate::scenario::{Expected, FIRST_BYTE, Guest, GuestOp, Instruction, Pages, Scenario, Step};
use crate::spmc::{Control, Preset, Reaction, Script, SpConfig, Turn};

pub const SCENARIO: Scenario = Scenario {
    name: "talk",
    title: "VMs and SPs call, signal and write to each other; VMs die with all of it pending",
    preset: Preset::Strict,
    sps: &[
        sp_with(SP1, Script::GOOD, SpConfig::SUBSCRIBED.or(NOTIFIES).or(WRITES)),
        sp_with(SP2, PREEMPTED_ONCE, SpConfig::SUBSCRIBED.or(NOTIFIES).or(TAKES_REQUESTS2)),
        sp(SP3, Script::GOOD.on_request(Reaction::always(Turn::ACCEPT.preempted(2)))),
    ],
    guests: &[
        acquainted(VM1, &[VM2], CALLS),
        acquainted(VM2, &[VM1], ANSWERS),
        acquainted(VM1, &[VM2], LISTENS),
        acquainted(VM2, &[VM1], LAST_WORDS_2),
        acquainted(VM1, &[VM2], LAST_WORDS_1),
        guest(VM3, LAST_WORDS_3),
        acquainted(VM1, &[VM2], HEIR),
        acquainted(VM2, &[VM1], HEIR),
        guest(VM3, HEIR),
    ],
    steps: &[
        Step::Create(0),
        Step::Create(1),
        Step::Create(5),
        Step::Note("VM 1 talks to SPs"),
        Step::Run(&[0]),
        Step::Note("VM 2 signals VM 1 and writes to it"),
        Step::Run(&[1]),
        Step::Note("VM 1 reads it and does the same"),
        Step::Run(&[2]),
        Step::Note("a message unread, notifications pending, RX owned, a call preempted, pages shared"),
        Step::Run(&[3]),
        Step::Run(&[4]),
        Step::Run(&[5]),
        Step::Note("all three guests die"),
        Step::Destroy(&[0, 1, 5]),
        Step::Gone(0, AT_ONCE),
        Step::Gone(1, AT_ONCE),
        Step::Gone(5, AT_ONCE),
        Step::Silent,
        Step::Note("three others get their IDs, and find nothing of it"),
        Step::Create(6),
        Step::Create(7),
        Step::Create(8),
        Step::Run(&[6]),
        Step::Run(&[7]),
        Step::Run(&[8]),
        Step::Destroy(&[6, 7, 8]),
        Step::Gone(6, AT_ONCE),
        Step::Gone(7, AT_ONCE),
        Step::Gone(8, AT_ONCE),
        Step::Silent,
    ],
    expected: Expected { shares: 5, reclaimed: 5, gone: 0, quarantined: 0, pages_held: 0, zombies: 0 },
};

const NOTIFIES: Properties = Properties::RECEIVES_NOTIFICATIONS;
const WRITES: Properties = Properties::INDIRECT_MESSAGES;
const TAKES_REQUESTS2: Properties = Properties::RECEIVES_DIRECT_REQUESTS2;
const PREEMPTED_ONCE: Script = Script::GOOD.on_request(Reaction::always(Turn::ACCEPT.preempted(1)));

const fn acquainted(
    vm: PartitionId,
    acquainted: &'static [PartitionId],
    program: &'static [GuestOp],
) -> Guest {
    Guest { acquainted, ..guest(vm, program) }
}

const fn ids(bits: u64) -> NotificationBitmap {
    NotificationBitmap(bits)
}

/// Nothing is pending.
const NOTHING: PendingNotifications = PendingNotifications {
    from_sps: NotificationBitmap::NONE,
    from_vms: NotificationBitmap::NONE,
    from_spm: FrameworkNotifications::NONE,
    from_hypervisor: FrameworkNotifications::NONE,
};
const RX_FULL: FrameworkNotifications = FrameworkNotifications::RX_BUFFER_FULL;

/// An SP signals a VM at once.
const fn notify(vm: PartitionId, id: u8) -> Control {
    Control::Notify { vm, id, vcpu: None, after_ms: 0 }
}

/// An SP writes to a VM.
const fn write(vm: PartitionId, size: u32) -> Control {
    Control::SendMessage { vm, size, first: FIRST_BYTE }
}

const CALLS: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::IdGet,
    GuestOp::Features(FunctionId::smc32(Function::NotificationGet), true),
    GuestOp::Features(FunctionId::smc32(Function::MsgSend2), true),
    GuestOp::Map,
    GuestOp::List,
    GuestOp::ListInRegisters,
    GuestOp::Request(SP1, 0),
    GuestOp::Request64(SP1, 0),
    GuestOp::Request(SP3, 2),
    GuestOp::By(Instruction::Hvc),
    GuestOp::Request64(SP3, 2),
    GuestOp::If(SP2, TAKES_REQUESTS2, &[GuestOp::Request2(SP2, 1)]),
    GuestOp::If(
        SP1,
        NOTIFIES,
        &[
            GuestOp::Bind(SP1, ids(0x8000_0000_0000_000b)),
            GuestOp::Ask(SP1, notify(VM1, 63)),
            GuestOp::Interrupted,
            GuestOp::Informed,
            GuestOp::Get(PendingNotifications { from_sps: ids(1 << 63), ..NOTHING }),
            GuestOp::By(Instruction::Smc),
            GuestOp::Ask(SP1, notify(VM1, 0)),
            GuestOp::Interrupted,
            GuestOp::Get(PendingNotifications { from_sps: ids(1), ..NOTHING }),
            GuestOp::Get(NOTHING),
            GuestOp::Unbind(SP1, ids(0xb)),
            GuestOp::Signal(SP1, ids(0x1_0000_0001)),
        ],
    ),
    GuestOp::If(
        SP1,
        WRITES,
        &[
            GuestOp::Send(SP1, 64),
            GuestOp::Delivered(SP1, 64),
            GuestOp::Ask(SP1, write(VM1, 300)),
            GuestOp::Interrupted,
            GuestOp::Get(PendingNotifications { from_spm: RX_FULL, ..NOTHING }),
            GuestOp::Receive(SP1, 300),
        ],
    ),
    GuestOp::Bind(VM2, ids(4)),
];

const ANSWERS: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Bind(VM1, ids(2)),
    GuestOp::Signal(VM1, ids(4)),
    GuestOp::By(Instruction::Hvc),
    GuestOp::Send(VM1, 48),
];

/// Its headers are those of 1.2, and those of the sender 1.1.
const LISTENS: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::Interrupted,
    GuestOp::Informed,
    GuestOp::Get(PendingNotifications { from_vms: ids(4), from_hypervisor: RX_FULL, ..NOTHING }),
    GuestOp::Receive(VM2, 48),
    GuestOp::List,
    GuestOp::ListInRegisters,
    GuestOp::If(VM2, WRITES.or(NOTIFIES), ANSWER_2),
];

const ANSWER_2: &[GuestOp] = &[
    GuestOp::Unbind(VM2, ids(4)),
    GuestOp::Signal(VM2, ids(2)),
    GuestOp::By(Instruction::Hvc),
    GuestOp::Send(VM2, 500),
];

/// Leaves the message of VM 1 in RX.
const LAST_WORDS_2: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::Interrupted,
    GuestOp::Share(Pages::block(2, 3), SP2),
    GuestOp::Share(Pages::loose(0, 2), SP1),
];

const LAST_WORDS_1: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::Share(Pages::block(2, 4), SP1),
    GuestOp::Bind(VM2, ids(1)),
    GuestOp::LeaveRxOwned,
    GuestOp::If(SP2, NOTIFIES, &[GuestOp::Bind(SP2, ids(0x10)), GuestOp::Ask(SP2, notify(VM1, 4))]),
    GuestOp::Share(Pages::loose(0, 3), SP3),
    GuestOp::StayInCall(SP3),
];

/// Leaves the message of SP1 in RX.
const LAST_WORDS_3: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::Map,
    GuestOp::List,
    GuestOp::Share(Pages::block(2, 1), SP1),
    GuestOp::If(SP1, NOTIFIES, &[GuestOp::Bind(SP1, ids(1)), GuestOp::Bind(SP2, ids(2))]),
    GuestOp::If(SP1, WRITES, &[GuestOp::Ask(SP1, write(VM3, 80)), GuestOp::Interrupted]),
];

/// Has its predecessor's ID, and may do all that its predecessor did.
const HEIR: &[GuestOp] = &[
    GuestOp::CheckAllZero,
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::IdGet,
    GuestOp::Get(NOTHING),
    GuestOp::Map,
    GuestOp::List,
    GuestOp::Request(SP3, 2),
    GuestOp::If(
        SP1,
        NOTIFIES,
        &[GuestOp::Bind(SP1, ids(0x13)), GuestOp::Bind(SP2, ids(0x20)), GuestOp::Get(NOTHING)],
    ),
    GuestOp::If(SP1, WRITES, &[GuestOp::Send(SP1, 16), GuestOp::Delivered(SP1, 16)]),
];
