use ffa_abi::{Status, Version};

use super::{AT_ONCE, SP1, SP2, SP3, VM1, VM2, VM3, four_shares, guest, heir, sp};
use crate::scenario::{Expected, GuestOp, Scenario, Step};
use crate::spmc::{Preset, Reaction, Script, Turn};

pub const SCENARIO: Scenario = Scenario {
    name: "half-born",
    title: "the second of three SPs refuses VM_CREATED: creation fails, only the first is told of the end",
    preset: Preset::Hafnium,
    sps: &[
        sp(SP1, Script::GOOD),
        sp(SP2, Script::GOOD.on_created(Reaction::first(1, Turn::refuse(Status::Denied)))),
        sp(SP3, Script::GOOD),
    ],
    guests: &[guest(VM1, GUEST), guest(VM1, GUEST), guest(VM2, GUEST), guest(VM3, GUEST), heir(VM1)],
    steps: &[
        Step::CreateFails(0),
        Step::Gone(0, AT_ONCE),
        Step::Silent,
        Step::Told(SP1, 1, 1),
        Step::Told(SP2, 0, 0),
        Step::Told(SP3, 0, 0),
        Step::Note("a second try with the same ID works"),
        Step::Create(1),
        Step::Create(2),
        Step::Create(3),
        Step::Told(SP1, 4, 1),
        Step::Told(SP2, 3, 0),
        Step::Told(SP3, 3, 0),
        Step::Run(&[1, 2, 3]),
        Step::Destroy(&[1, 2, 3]),
        Step::Gone(1, AT_ONCE),
        Step::Gone(2, AT_ONCE),
        Step::Gone(3, AT_ONCE),
        Step::Silent,
        Step::Told(SP1, 4, 4),
        Step::Told(SP2, 3, 3),
        Step::Told(SP3, 3, 3),
        Step::Create(4),
        Step::Run(&[4]),
        Step::Destroy(&[4]),
        Step::Gone(4, AT_ONCE),
    ],
    expected: Expected { shares: 6, reclaimed: 6, gone: 0, quarantined: 0, pages_held: 0, zombies: 0 },
};

const SHARES: [GuestOp; 4] = four_shares(SP1, SP3);

const GUEST: &[GuestOp] =
    &[GuestOp::Version(Version::V1_1, Version::V1_1), GuestOp::IdGet, GuestOp::Map, SHARES[0], SHARES[1]];
