use ffa_abi::Version;
use ffa_teardown::Span;

use super::{SP1, SP2, SP3, VM1, VM2, VM3, four_shares, guest, heir, sp};
use crate::scenario::{Expected, GuestOp, Scenario, Step};
use crate::spmc::{Preset, Reaction, Script, Turn};

/// The SPs take their time, so that reclaims before they have finished are DENIED and come back a second later.
const WITHIN: Span = Span::from_millis(1500);

pub const SCENARIO: Scenario = Scenario {
    name: "preempted",
    title: "VM_DESTROYED is interrupted and resumed with RUN",
    preset: Preset::TfaEl3,
    sps: &[
        sp(SP1, Script::GOOD.on_destroyed(Reaction::always(Turn::ACCEPT.preempted(3)))),
        sp(SP2, Script::GOOD.on_destroyed(Reaction::always(Turn::ACCEPT.yields(2, Span::from_millis(5))))),
        sp(SP3, Script::GOOD.on_request(Reaction::always(Turn::ACCEPT.preempted(2)))),
    ],
    guests: &[guest(VM1, GUEST), guest(VM2, GUEST), guest(VM3, GUEST), heir(VM1)],
    steps: &[
        Step::Create(0),
        Step::Create(1),
        Step::Create(2),
        Step::Run(&[0]),
        Step::Run(&[1]),
        Step::Run(&[2]),
        Step::Note("all three guests die"),
        Step::Destroy(&[0, 1, 2]),
        Step::Gone(0, WITHIN),
        Step::Gone(1, WITHIN),
        Step::Gone(2, WITHIN),
        Step::Silent,
        Step::Told(SP1, 3, 3),
        Step::Told(SP2, 3, 3),
        // Three preemptions and two rests for each of three guests.
        Step::Resumed(15),
        Step::Create(3),
        Step::Run(&[3]),
        Step::Destroy(&[3]),
        Step::Gone(3, WITHIN),
    ],
    expected: Expected { shares: 12, reclaimed: 12, gone: 0, quarantined: 0, pages_held: 0, zombies: 0 },
};

const SHARES: [GuestOp; 4] = four_shares(SP1, SP2);

const GUEST: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Request(SP3, 2),
    SHARES[0],
    SHARES[1],
    SHARES[2],
    SHARES[3],
];
