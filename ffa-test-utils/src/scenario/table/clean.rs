use ffa_abi::{Function, FunctionId, Properties, Version};

use super::{AT_ONCE, SP1, SP2, SP3, TAKES_REQUESTS, VM1, VM2, VM3, guest, heir, sp, sp_with};
use crate::scenario::{Expected, GuestOp, Instruction, Pages, Scenario, Step};
use crate::spmc::{Preset, Script};

pub const SCENARIO: Scenario = Scenario {
    name: "clean",
    title: "every SP relinquishes when told; all is back at once",
    preset: Preset::Hafnium,
    sps: &[
        sp(SP1, Script::GOOD),
        sp_with(SP2, Script::GOOD, TAKES_REQUESTS.or(Properties::WANTS_VM_DESTROYED)),
        // Told nothing: it uses memory only when asked to, and here nobody asks.
        sp_with(SP3, Script::LAZY, TAKES_REQUESTS),
    ],
    guests: &[guest(VM1, FIRST), guest(VM2, SECOND), guest(VM3, THIRD), heir(VM1), heir(VM2), heir(VM3)],
    steps: &[
        Step::Create(0),
        Step::Create(1),
        Step::Create(2),
        Step::Run(&[0, 1, 2]),
        Step::Note("all three guests die"),
        Step::Destroy(&[0, 1, 2]),
        Step::Gone(0, AT_ONCE),
        Step::Gone(1, AT_ONCE),
        Step::Gone(2, AT_ONCE),
        Step::Silent,
        Step::Told(SP1, 3, 3),
        Step::Told(SP2, 0, 3),
        Step::Told(SP3, 0, 0),
        Step::Note("three VMs follow, with the same IDs on the same memory"),
        Step::Create(3),
        Step::Create(4),
        Step::Create(5),
        Step::Run(&[3, 4, 5]),
        Step::Destroy(&[3, 4, 5]),
        Step::Gone(3, AT_ONCE),
        Step::Gone(4, AT_ONCE),
        Step::Gone(5, AT_ONCE),
        Step::Silent,
    ],
    expected: Expected { shares: 9, reclaimed: 9, gone: 0, quarantined: 0, pages_held: 0, zombies: 0 },
};

const FIRST: &[GuestOp] = &[
    GuestOp::CheckAllZero,
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Features(FunctionId::smc64(Function::MemShare), true),
    GuestOp::Features(FunctionId::smc32(Function::MemRelinquish), false),
    GuestOp::Features(FunctionId::smc32(Function::NotificationBitmapCreate), false),
    GuestOp::Map,
    GuestOp::List,
    GuestOp::Request(SP1, 0),
    GuestOp::Fill(Pages::block(4, 8)),
    GuestOp::Share(Pages::block(4, 8), SP1),
    GuestOp::Fill(Pages::loose(0, 4)),
    GuestOp::Share(Pages::loose(0, 4), SP1),
    GuestOp::ReclaimInUse(0),
    GuestOp::Share(Pages::block(16, 4).with_gaps(), SP3),
    GuestOp::Reclaim(2),
    GuestOp::Share(Pages::block(16, 2), SP3),
    GuestOp::Check(Pages::block(4, 8)),
    GuestOp::Check(Pages::loose(0, 4)),
];

const SECOND: &[GuestOp] = &[
    GuestOp::By(Instruction::Hvc),
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::List,
    GuestOp::Request(SP2, 0),
    GuestOp::Share(Pages::block(2, 4), SP2),
    GuestOp::Share(Pages::loose(0, 4), SP2),
    GuestOp::Share(Pages::block(10, 1), SP1),
];

const THIRD: &[GuestOp] = &[
    GuestOp::Version(Version::V1_0, Version::V1_0),
    GuestOp::IdGet,
    GuestOp::Features(FunctionId::smc32(Function::MemShare), true),
    GuestOp::Map,
    GuestOp::List,
    GuestOp::Share(Pages::block(2, 3), SP1),
    GuestOp::Share(Pages::loose(1, 3).with_gaps(), SP2),
];
