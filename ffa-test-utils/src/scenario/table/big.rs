use ffa_abi::Version;
use ffa_teardown::Span;

use super::{AT_ONCE, SP1, SP2, VM1, VM2, guest, heir, sp};
use crate::scenario::{Expected, Guest, GuestOp, Pages, Scenario, Step};
use crate::spmc::{Control, Preset, Script};

/// 4 MiB in pages of 4 KiB, no two of which touch: a descriptor of five fragments.
const MANY: u16 = 1024;
const EVEN: Pages = Pages::loose(0, MANY).with_gaps();
const ODD: Pages = Pages::loose(1, MANY).with_gaps();

pub const SCENARIO: Scenario = Scenario {
    name: "big",
    title: "a guest shares 4 MiB of scattered pages in fragments and dies when it has sent half of as much again, while a \
            device writes to the first; another one dies half-way through its only share: all comes back",
    preset: Preset::Hafnium,
    sps: &[sp(SP1, Script::dma(Span::from_secs(2))), sp(SP2, Script::GOOD)],
    guests: &[
        Guest { loose_pages: 2 * MANY, ..guest(VM1, SENDS_AND_A_HALF) },
        Guest { loose_pages: 2 * MANY, ..guest(VM2, SENDS_HALF) },
        heir(VM2),
        heir(VM1),
    ],
    steps: &[
        Step::Create(0),
        Step::Create(1),
        Step::Run(&[0, 1]),
        Step::Note("both guests die, each with a share half-sent; a device writes to all of the other share"),
        Step::Destroy(&[1, 0]),
        Step::Gone(1, AT_ONCE),
        Step::OnlyHeld(0, AT_ONCE, MANY as u32),
        Step::Zombie(0),
        Step::Note("a VM gets what came back"),
        Step::Create(2),
        Step::Run(&[2]),
        Step::Gone(0, Span::from_secs(4)),
        Step::Create(3),
        Step::Run(&[3]),
        Step::Destroy(&[2, 3]),
        Step::Gone(2, AT_ONCE),
        Step::Gone(3, AT_ONCE),
        Step::Silent,
    ],
    expected: Expected { shares: 2, reclaimed: 2, gone: 0, quarantined: 0, pages_held: 0, zombies: 0 },
};

/// Bytes of a fragment: all of TX.
const TX: u16 = 4096;

const SENDS_AND_A_HALF: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Fill(ODD),
    // No device uses these, and the guest has them back while it lives. OP-TEE takes fragments for itself alone, which SP 1 is.
    GuestOp::ShareInFragments(ODD, SP1, TX),
    GuestOp::Ask(SP1, Control::RelinquishAll(VM1)),
    GuestOp::Reclaim(0),
    GuestOp::Check(ODD),
    GuestOp::ShareInFragments(EVEN, SP1, TX),
    GuestOp::ReclaimInUse(1),
    GuestOp::ShareInPart(ODD, SP1, 3),
    GuestOp::Check(ODD),
];

const SENDS_HALF: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Fill(EVEN),
    GuestOp::ShareInPart(EVEN, SP1, 4),
    GuestOp::Check(EVEN),
];
