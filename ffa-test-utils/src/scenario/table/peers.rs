use ffa_abi::{PartitionId, Transaction, Version};
use ffa_teardown::Span;

use super::{AT_ONCE, SP1, VM1, VM2, VM3, guest, heir, sp};
use crate::scenario::{Expected, Guest, GuestOp, Pages, Scenario, Step};
use crate::spmc::{Preset, Script};

/// How long a device of the SP goes on after the lender is dead.
const TRANSFER: Span = Span::from_millis(1500);
/// When somebody dies, in the middle of what the other one does.
const SOON: Span = Span::from_millis(200);
/// Until when the other one must have noticed.
const LATEST: Span = Span::from_secs(1);

pub const SCENARIO: Scenario = Scenario {
    name: "peers",
    title: "two VMs share, lend and donate to each other, one of them beside an SP; the borrower dies while the lender asks \
            for what it has, and the lender while the next borrower uses it",
    preset: Preset::Strict,
    sps: &[sp(SP1, Script::dma(TRANSFER))],
    guests: &[
        borrower(LISTENS),
        lender(OFFERS),
        borrower(BORROWS),
        lender(HAS_IT_BACK),
        borrower(BORROWS_AGAIN),
        lender(ASKS_FOR_IT),
        borrower(COMES_AFTER),
        lender(OFFERS_AGAIN),
        borrower(USES),
        heir(VM3),
        heir(VM1),
    ],
    steps: &[
        Step::Create(0),
        Step::Create(1),
        Step::Run(&[0]),
        Step::Note("VM 1 shares, lends and donates, 300 ranges in fragments among it"),
        Step::Run(&[1]),
        Step::Note(
            "VM 2 retrieves all of it, also in fragments, writes to it and relinquishes what is not its own",
        ),
        Step::Run(&[2]),
        Step::Run(&[3]),
        Step::Note("VM 2 has two of them again, and dies while VM 1 asks for them"),
        Step::Run(&[4]),
        Step::DestroyWhile(&[5], SOON, &[4]),
        Step::Gone(4, AT_ONCE),
        Step::Note("another VM 2 finds nothing of it, and borrows in turn, beside an SP with a device"),
        Step::Create(6),
        Step::Run(&[6]),
        Step::Run(&[7]),
        Step::Note("VM 1 dies while VM 2 uses what it has borrowed"),
        Step::DestroyWhile(&[8], SOON, &[7]),
        Step::OnlyHeld(7, AT_ONCE, 3),
        Step::Zombie(7),
        Step::Note("a VM gets what came back"),
        Step::Create(9),
        Step::Run(&[9]),
        Step::Gone(7, Span::from_secs(5)),
        Step::Create(10),
        Step::Run(&[10]),
        Step::Destroy(&[8, 9, 10]),
        Step::Gone(8, AT_ONCE),
        Step::Gone(9, AT_ONCE),
        Step::Gone(10, AT_ONCE),
        Step::Silent,
    ],
    expected: Expected { shares: 8, reclaimed: 6, gone: 2, quarantined: 0, pages_held: 0, zombies: 0 },
};

const MANY: u16 = 300;

const SHARED: Pages = Pages::block(2, 3).with_gaps();
const LENT: Pages = Pages::block(10, 4);
const GIVEN: Pages = Pages::block(15, 2);
const SCATTERED: Pages = Pages::loose(0, MANY).with_gaps();
const FOR_BOTH: Pages = Pages::block(20, 3);
const GIVEN_LATER: Pages = Pages::block(24, 1);

/// Both have the same memory at the same addresses, and may reach each other.
const fn lender(program: &'static [GuestOp]) -> Guest {
    Guest { loose_pages: 2 * MANY, acquainted: &[VM2], ..guest(VM1, program) }
}

const fn borrower(program: &'static [GuestOp]) -> Guest {
    Guest { acquainted: &[VM1], ..guest(VM2, program) }
}

const fn retrieve(share: u8, transaction: Transaction, pages: Pages) -> GuestOp {
    const OWNER: PartitionId = VM1;
    GuestOp::Retrieve(share, OWNER, transaction, pages)
}

const OFFERS: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::Fill(Pages::block(2, 30)),
    GuestOp::Fill(SCATTERED),
    GuestOp::Share(SHARED, VM2),
    GuestOp::Lend(LENT, VM2),
    GuestOp::Donate(GIVEN, VM2),
    GuestOp::ShareInFragments(SCATTERED, VM2, 4096),
    GuestOp::Check(SHARED),
    GuestOp::Lost(LENT),
    GuestOp::Lost(GIVEN),
    GuestOp::Tell(VM2),
];

/// Its descriptors have another layout than the lender's.
const LISTENS: &[GuestOp] = &[GuestOp::Version(Version::V1_2, Version::V1_2), GuestOp::IdGet, GuestOp::Map];

const BORROWS: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::Hear(VM1),
    retrieve(0, Transaction::Share, SHARED),
    retrieve(1, Transaction::Lend, LENT),
    retrieve(2, Transaction::Donate, GIVEN),
    retrieve(3, Transaction::Share, SCATTERED),
    GuestOp::HasLoan(3),
    GuestOp::Relinquish(0),
    GuestOp::LostLoan(0),
    GuestOp::Relinquish(1),
    GuestOp::LostLoan(1),
    GuestOp::Relinquish(3),
    GuestOp::LostLoan(3),
    // This is its own, and no transaction any more.
    GuestOp::HasLoan(2),
    GuestOp::Withdrawn(2, VM1, Transaction::Donate),
    GuestOp::Tell(VM1),
];

const HAS_IT_BACK: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::Hear(VM2),
    GuestOp::Taken(SHARED),
    GuestOp::Reclaim(0),
    GuestOp::Lost(LENT),
    GuestOp::Reclaim(1),
    GuestOp::Taken(LENT),
    GuestOp::ReclaimTooLate(2),
    GuestOp::Lost(GIVEN),
    GuestOp::Reclaim(3),
    GuestOp::Taken(SCATTERED),
    GuestOp::Fill(SHARED),
    GuestOp::Fill(LENT),
    // Numbers 4 and 5.
    GuestOp::Share(SHARED, VM2),
    GuestOp::Lend(LENT, VM2),
    GuestOp::Tell(VM2),
];

const BORROWS_AGAIN: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::Hear(VM1),
    GuestOp::Withdrawn(1, VM1, Transaction::Lend),
    retrieve(4, Transaction::Share, SHARED),
    retrieve(5, Transaction::Lend, LENT),
    GuestOp::HasLoan(5),
    GuestOp::Tell(VM1),
];

const ASKS_FOR_IT: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::Hear(VM2),
    GuestOp::ReclaimInUse(4),
    GuestOp::ReclaimWhenFree(5, LATEST),
    GuestOp::Taken(LENT),
    GuestOp::Reclaim(4),
    GuestOp::Taken(SHARED),
    // What the dead one was given is gone all the same.
    GuestOp::Lost(GIVEN),
];

const COMES_AFTER: &[GuestOp] =
    &[GuestOp::CheckAllZero, GuestOp::Version(Version::V1_2, Version::V1_2), GuestOp::IdGet, GuestOp::Map];

const OFFERS_AGAIN: &[GuestOp] = &[
    GuestOp::Version(Version::V1_1, Version::V1_1),
    GuestOp::Fill(FOR_BOTH),
    GuestOp::Fill(GIVEN_LATER),
    // A device of the SP writes to the first page from now on.
    GuestOp::ShareWithBoth(FOR_BOTH, SP1, VM2),
    GuestOp::Donate(GIVEN_LATER, VM2),
    GuestOp::Tell(VM2),
];

const USES: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::Hear(VM1),
    retrieve(0, Transaction::Share, FOR_BOTH),
    retrieve(1, Transaction::Donate, GIVEN_LATER),
    GuestOp::UseUntilLost(0, LATEST),
    GuestOp::LostLoan(0),
    GuestOp::Withdrawn(0, VM1, Transaction::Share),
    GuestOp::HasLoan(1),
];
