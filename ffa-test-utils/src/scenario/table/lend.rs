use ffa_abi::Version;
use ffa_teardown::Span;

use super::{AT_ONCE, SP1, SP2, SP3, VM1, VM2, guest, heir, sp};
use crate::scenario::{Expected, GuestOp, Pages, Scenario, Step};
use crate::spmc::{Preset, Script};

/// How long a borrower's device goes on after the guest is dead.
const TRANSFER: Span = Span::from_millis(1500);

pub const SCENARIO: Scenario = Scenario {
    name: "lend",
    title: "a guest lends, cannot use what it lent, gives pages away, and dies in the middle of a DMA: what is lent comes \
            back late, what was given away never",
    preset: Preset::Hafnium,
    sps: &[sp(SP1, Script::dma(TRANSFER)), sp(SP2, Script::GOOD), sp(SP3, Script::LAZY)],
    guests: &[guest(VM1, LENDER), heir(VM2), heir(VM1)],
    steps: &[
        Step::Create(0),
        Step::Run(&[0]),
        Step::Note("the guest dies, while a device writes to what it lent"),
        Step::Destroy(&[0]),
        Step::OnlyHeld(0, AT_ONCE, 2),
        Step::Note("a VM gets what came back at once, and nothing of what is lent or given away"),
        Step::Create(1),
        Step::Run(&[1]),
        Step::Gone(0, Span::from_secs(5)),
        Step::Quarantined(0),
        Step::Create(2),
        Step::Run(&[2]),
        Step::Destroy(&[1, 2]),
        Step::Gone(1, AT_ONCE),
        Step::Gone(2, AT_ONCE),
        Step::Silent,
    ],
    expected: Expected { shares: 5, reclaimed: 3, gone: 2, quarantined: 0, pages_held: 0, zombies: 0 },
};

const LENT: Pages = Pages::block(2, 2);
const GIVEN: Pages = Pages::block(8, 1);
const GIVEN_TOO: Pages = Pages::block(10, 1);
const OFFERED: Pages = Pages::loose(0, 1);

const LENDER: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Fill(Pages::block(2, 10)),
    // Nobody takes it, and it comes back as it was.
    GuestOp::Lend(LENT, SP3),
    GuestOp::Lost(LENT),
    GuestOp::Check(Pages::block(4, 1)),
    GuestOp::Reclaim(0),
    GuestOp::Check(LENT),
    // The device has it at once.
    GuestOp::Lend(LENT, SP1),
    GuestOp::Lost(LENT),
    GuestOp::ReclaimInUse(1),
    GuestOp::Lost(LENT),
    // Its receiver has it at once: the guest may ask for it in vain, or not at all.
    GuestOp::Donate(GIVEN, SP2),
    GuestOp::Donate(GIVEN_TOO, SP2),
    GuestOp::ReclaimTooLate(3),
    GuestOp::Lost(GIVEN),
    GuestOp::Lost(GIVEN_TOO),
    // Nobody takes it before the guest is dead.
    GuestOp::Donate(OFFERED, SP3),
    GuestOp::Lost(OFFERED),
    GuestOp::Check(Pages::block(4, 4)),
    GuestOp::Check(Pages::block(9, 1)),
    GuestOp::Check(Pages::block(11, 1)),
];
