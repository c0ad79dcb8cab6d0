use ffa_abi::Version;

use super::{AT_ONCE, SP1, SP2, VM1, VM2, VM3, four_shares, guest, heir, sp};
use crate::scenario::{Expected, GuestOp, Instruction, Pages, Scenario, Step};
use crate::spmc::{Preset, Reaction, Script, Turn};

pub const SCENARIO: Scenario = Scenario {
    name: "hostile",
    title: "guests send the worst that they can, then die in mid-call, with RX owned, and after unmapping RX/TX",
    preset: Preset::Strict,
    sps: &[
        sp(SP1, Script::GOOD),
        sp(SP2, Script::GOOD.on_request(Reaction::always(Turn::ACCEPT.preempted(3)))),
    ],
    guests: &[
        guest(VM1, IN_MID_CALL),
        guest(VM2, RX_OWNED),
        guest(VM3, UNMAPPED),
        heir(VM1),
        heir(VM2),
        heir(VM3),
    ],
    steps: &[
        Step::Create(0),
        Step::Create(1),
        Step::Create(2),
        Step::Run(&[1]),
        Step::Run(&[2]),
        Step::Run(&[0]),
        Step::Note("all three guests die: one in mid-call, one with RX owned, one after unmapping RX/TX"),
        Step::Destroy(&[0, 1, 2]),
        Step::Gone(0, AT_ONCE),
        Step::Gone(1, AT_ONCE),
        Step::Gone(2, AT_ONCE),
        Step::Silent,
        // The preempted request was finished on the dead guest's behalf.
        Step::Resumed(3),
        Step::Told(SP1, 3, 3),
        Step::Told(SP2, 3, 3),
        Step::Create(3),
        Step::Create(4),
        Step::Create(5),
        Step::Run(&[3, 4, 5]),
        Step::Destroy(&[3, 4, 5]),
        Step::Gone(3, AT_ONCE),
        Step::Gone(4, AT_ONCE),
        Step::Gone(5, AT_ONCE),
    ],
    expected: Expected { shares: 7, reclaimed: 7, gone: 0, quarantined: 0, pages_held: 0, zombies: 0 },
};

const SHARES: [GuestOp; 4] = four_shares(SP1, SP1);

const IN_MID_CALL: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Worst,
    SHARES[0],
    GuestOp::ReclaimForeign,
    GuestOp::StayInCall(SP2),
];

const RX_OWNED: &[GuestOp] = &[
    GuestOp::By(Instruction::Hvc),
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    SHARES[0],
    SHARES[1],
    GuestOp::Worst,
    GuestOp::ReclaimForeign,
    GuestOp::LeaveRxOwned,
];

const UNMAPPED: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Worst,
    SHARES[0],
    SHARES[1],
    SHARES[2],
    SHARES[3],
    GuestOp::Unmap,
    GuestOp::ReclaimForeign,
    GuestOp::Fill(Pages::block(0, 2)),
];
