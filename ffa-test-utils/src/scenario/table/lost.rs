use ffa_abi::{Status, Version};
use ffa_teardown::Span;

use super::{AT_ONCE, SP1, SP2, SP3, VM1, VM2, VM3, four_shares, guest, heir, sp};
use crate::scenario::{Expected, GuestOp, Pages, Scenario, Step};
use crate::spmc::{Preset, Script};

pub const SCENARIO: Scenario = Scenario {
    name: "lost",
    title: "reclaim answers ABORTED and INVALID_PARAMETERS: quarantined, the timer falls silent; after the SPs restart, \
            a retry gets the pages back",
    preset: Preset::Hafnium,
    sps: &[
        sp(SP1, Script::GOOD),
        sp(SP2, Script::lost(Status::Aborted)),
        sp(SP3, Script::lost(Status::InvalidParameters)),
    ],
    guests: &[guest(VM1, FIRST), guest(VM2, SECOND), guest(VM3, THIRD), heir(VM3), heir(VM1), heir(VM2)],
    steps: &[
        Step::Create(0),
        Step::Create(1),
        Step::Create(2),
        Step::Run(&[0, 1, 2]),
        Step::Note("all three guests die"),
        Step::Destroy(&[0, 1, 2]),
        Step::Gone(2, AT_ONCE),
        Step::OnlyHeld(0, AT_ONCE, 4),
        Step::OnlyHeld(1, AT_ONCE, 2),
        Step::Zombie(0),
        Step::Zombie(1),
        Step::Quarantined(2),
        Step::Silent,
        Step::Wait(Span::from_secs(3600)),
        Step::Quarantined(2),
        Step::Silent,
        Step::Note("an hour later: a VM gets the memory that came back; the IDs of the zombies are not free"),
        Step::Create(3),
        Step::CreateRefused(4),
        Step::Run(&[3]),
        // A partition that restarts forgets every VM.
        Step::Destroy(&[3]),
        Step::Gone(3, AT_ONCE),
        Step::Note("the operator retries too early"),
        Step::Retry(2),
        Step::Wait(AT_ONCE),
        Step::Quarantined(2),
        Step::Silent,
        Step::Restart(SP2),
        Step::Restart(SP3),
        Step::Note("the operator retries"),
        Step::Retry(2),
        Step::Wait(AT_ONCE),
        Step::Quarantined(0),
        Step::Gone(0, Span::from_secs(4000)),
        Step::Gone(1, Span::from_secs(4000)),
        Step::Create(4),
        Step::Create(5),
        Step::Run(&[4, 5]),
        Step::Destroy(&[4, 5]),
        Step::Gone(4, AT_ONCE),
        Step::Gone(5, AT_ONCE),
        Step::Silent,
    ],
    expected: Expected { shares: 8, reclaimed: 8, gone: 0, quarantined: 0, pages_held: 0, zombies: 0 },
};

const SHARES: [GuestOp; 4] = four_shares(SP1, SP1);

const FIRST: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    SHARES[0],
    GuestOp::Share(Pages::loose(0, 4), SP2),
    SHARES[2],
];

const SECOND: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Share(Pages::block(20, 2), SP3),
    SHARES[3],
];

const THIRD: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    SHARES[0],
    SHARES[1],
    SHARES[2],
];
