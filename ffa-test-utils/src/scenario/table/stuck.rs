use ffa_abi::Version;
use ffa_teardown::Span;

use super::{AT_ONCE, SP1, SP2, SP3, VM1, VM2, VM3, four_shares, guest, heir, sp};
use crate::scenario::{Expected, GuestOp, Pages, Scenario, Step};
use crate::spmc::{Preset, Script};

pub const SCENARIO: Scenario = Scenario {
    name: "stuck",
    title: "one SP never lets go: its share alone stays, the VM is a zombie, other VMs are not delayed",
    preset: Preset::Strict,
    sps: &[sp(SP1, Script::GOOD), sp(SP2, Script::GOOD), sp(SP3, Script::STUCK)],
    guests: &[guest(VM1, FIRST), guest(VM2, OTHERS), guest(VM3, OTHERS), heir(VM2), heir(VM1)],
    steps: &[
        Step::Create(0),
        Step::Create(1),
        Step::Create(2),
        Step::Run(&[0, 1, 2]),
        Step::Note("the guest with the stuck share dies, and another one with it"),
        Step::Destroy(&[0, 1]),
        Step::Gone(1, AT_ONCE),
        Step::OnlyHeld(0, AT_ONCE, 5),
        Step::Note("a VM gets the memory that came back, while the SP goes on writing to what it keeps"),
        Step::Create(3),
        Step::Run(&[3]),
        Step::Wait(Span::from_secs(10)),
        Step::Note("a third guest dies much later, between two retries"),
        Step::Wait(Span::from_millis(300)),
        Step::Destroy(&[2, 3]),
        Step::Gone(2, AT_ONCE),
        Step::Gone(3, AT_ONCE),
        Step::OnlyHeld(0, Span::ZERO, 5),
        Step::Zombie(0),
        Step::CreateRefused(4),
        Step::Quarantined(0),
    ],
    expected: Expected { shares: 12, reclaimed: 11, gone: 0, quarantined: 0, pages_held: 5, zombies: 1 },
};

const SHARES: [GuestOp; 4] = four_shares(SP1, SP2);

const FIRST: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    SHARES[0],
    GuestOp::Share(Pages::block(20, 5).with_gaps(), SP3),
    SHARES[1],
    SHARES[2],
];

const OTHERS: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    SHARES[0],
    SHARES[1],
    SHARES[2],
    SHARES[3],
];
