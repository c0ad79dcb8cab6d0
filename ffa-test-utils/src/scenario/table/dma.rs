use ffa_abi::Version;
use ffa_teardown::Span;

use super::{AT_ONCE, SP1, SP2, SP3, VM1, VM2, VM3, four_shares, guest, heir, sp};
use crate::scenario::{Expected, GuestOp, Pages, Scenario, Step};
use crate::spmc::{Preset, Script};

pub const SCENARIO: Scenario = Scenario {
    name: "dma",
    title: "one SP's device writes for 3 s more: DENIED, retried each second, then back; the rest comes back at once",
    preset: Preset::Hafnium,
    sps: &[sp(SP1, Script::GOOD), sp(SP2, Script::GOOD), sp(SP3, Script::dma(Span::from_secs(3)))],
    guests: &[guest(VM1, FIRST), guest(VM2, OTHERS), guest(VM3, OTHERS), heir(VM2), heir(VM3), heir(VM1)],
    steps: &[
        Step::Create(0),
        Step::Create(1),
        Step::Create(2),
        Step::Run(&[0, 1, 2]),
        Step::Note("all three guests die"),
        Step::Destroy(&[0, 1, 2]),
        Step::Gone(1, AT_ONCE),
        Step::Gone(2, AT_ONCE),
        Step::OnlyHeld(0, AT_ONCE, 4),
        Step::Zombie(0),
        Step::Note("two VMs get the memory that came back, while the device is still writing to the rest"),
        Step::Create(3),
        Step::Create(4),
        Step::CreateRefused(5),
        Step::Run(&[3, 4]),
        Step::Gone(0, Span::from_millis(3200)),
        Step::Note("the first VM's memory is free too"),
        Step::Create(5),
        Step::Run(&[5]),
        Step::Destroy(&[3, 4, 5]),
        Step::Gone(3, AT_ONCE),
        Step::Gone(4, AT_ONCE),
        Step::Gone(5, AT_ONCE),
        Step::Silent,
    ],
    expected: Expected { shares: 12, reclaimed: 12, gone: 0, quarantined: 0, pages_held: 0, zombies: 0 },
};

const SHARES: [GuestOp; 4] = four_shares(SP1, SP2);

const FIRST: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Share(Pages::loose(4, 4), SP3),
    SHARES[0],
    SHARES[2],
    SHARES[3],
];

const OTHERS: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::IdGet,
    GuestOp::Map,
    SHARES[0],
    SHARES[1],
    SHARES[2],
    SHARES[3],
];
