//! Scripts by chance. What is drawn for zeros is the simplest of its kind.

use ffa_abi::{Status, Transaction};
use ffa_test_utils::Rng;
use ffa_test_utils::fault::{Trust, When};
use ffa_test_utils::spmc::Preset;

use crate::act::{Act, Name, Peer, Place, Step};
use crate::catalogue::CATALOGUE;
use crate::setup::{Habit, Setup};
use crate::shrink::Draft;
use crate::story::story;
use crate::tape::{Choices, Tape, Words, random_words};

/// Most steps of one script.
const LENGTH: u64 = 160;

/// What the script of a seed is drawn from. Most begin with VMs that live.
pub fn draft(rng: &mut Rng) -> Draft {
    let machine = random_words(rng);
    let births = if rng.one_in(10) { 0 } else { 3 };
    let steps = (0..births).map(|vm| birth(vm, rng)).collect::<Vec<_>>();
    let rest = (0..1 + rng.below(LENGTH)).map(|_| random_words(rng)).collect::<Vec<_>>();
    Draft { machine, steps: [steps, rest].concat() }
}

/// What is drawn for the creation of a VM.
fn birth(vm: u16, rng: &mut Rng) -> Words {
    let mut words = random_words(rng);
    // One step, of the first kind, with the first kind of act, and the first of these.
    words[..4].fill(0);
    words[4] = [0, 3, 5][usize::from(vm)];
    words
}

pub fn script(draft: &Draft, preset: Preset, trust: Trust) -> (Setup, Vec<Step>) {
    let steps = draft.steps.iter().flat_map(|words| steps(&mut Tape::new(words, trust)));
    (setup(&mut Tape::new(&draft.machine, trust), preset), steps.collect())
}

/// A machine over this secure world. Some have no room for much.
fn setup(tape: &mut Tape<'_>, preset: Preset) -> Setup {
    Setup {
        sps: [habit(tape), habit(tape), habit(tape)],
        duties: tape.sometimes(6, |tape| 6 + u16::from(tape.below(24))).unwrap_or(200),
        ranges: tape.sometimes(6, |tape| 2 + u16::from(tape.below(18))).unwrap_or(200),
        vms: tape.sometimes(8, |tape| 1 + tape.below(2)).unwrap_or(3),
        drafts: tape.sometimes(4, |tape| tape.below(4)).unwrap_or(2),
        loans: tape.sometimes(5, |tape| tape.below(4)).unwrap_or(8),
        hand_over: tape.once_in(2),
        ids_early: tape.once_in(5),
        keeps_loans: tape.once_in(3),
        budget: tape.sometimes(2, |tape| 1 + tape.below(7)).unwrap_or(16),
        ..Setup::new(preset, tape.trust)
    }
}

fn habit(tape: &mut Tape<'_>) -> Habit {
    tape.choose(&[
        (40, |_| Habit::Good),
        (8, |_| Habit::Lazy),
        (4, |tape| Habit::Slow(tape.below(12))),
        (1, |tape| Habit::Dma(tape.word() % 3000)),
        (1, |tape| Habit::Again(tape.word() % 500)),
        (1, |_| Habit::Stuck),
        (1, |tape| Habit::Lost(tape.pick(Status::ALL))),
        (1, |tape| Habit::Refuses(tape.pick(Status::ALL), tape.below(12))),
        (1, |tape| Habit::Objects(tape.pick(Status::ALL), tape.below(12))),
        (1, |_| Habit::Dies),
        (1, |tape| Habit::Declines(tape.pick(Status::ALL))),
    ])
}

fn steps(tape: &mut Tape<'_>) -> Vec<Step> {
    tape.choose(&[(10, |tape| vec![step(tape)]), (1, story)])
}

fn step(tape: &mut Tape<'_>) -> Step {
    tape.choose(&[
        (8, |tape| Step::Do(act(tape))),
        (1, |tape| {
            let (moment, act) = (tape.below(24), act(tape));
            let other: &Choices<Act> =
                &[(1, |tape| Act::Destroy(tape.below(3))), (1, |_| Act::Tick), (3, crate::generate::act)];
            Step::Race(act, moment, tape.choose(other))
        }),
        (1, |tape| {
            let (nth, byte) = (tape.below(3), tape.byte());
            Step::Torn(tape.choose(&[(3, send), (1, act)]), nth, byte)
        }),
    ])
}

fn act(tape: &mut Tape<'_>) -> Act {
    let kinds: [(u16, &Choices<Act>); 7] =
        [(6, LIFE), (8, MEMORY), (4, PEERS), (2, LISTS), (3, MESSAGES), (3, NOTIFICATIONS), (3, PARTITIONS)];
    let mut number = tape.word() % kinds.iter().map(|(weight, _)| weight).sum::<u16>();
    for (weight, acts) in kinds {
        match number.checked_sub(weight) {
            Some(left) => number = left,
            None => return tape.choose(acts),
        }
    }
    unreachable!("the number is below the sum")
}

/// Some have more to do with each other than others, or nothing would ever come of it.
pub fn vm(tape: &mut Tape<'_>) -> u8 {
    tape.pick(&[0, 0, 0, 1, 1, 2])
}

pub fn sp(tape: &mut Tape<'_>) -> u8 {
    tape.pick(&[0, 0, 0, 1, 1, 2])
}

fn vcpu(tape: &mut Tape<'_>) -> u8 {
    tape.pick(&[0, 0, 0, 1])
}

fn ids(tape: &mut Tape<'_>) -> u8 {
    tape.pick(&[1, 1, 2, 3])
}

fn peer(tape: &mut Tape<'_>) -> Peer {
    tape.choose(&[(2, |tape| Peer::Sp(sp(tape))), (1, |tape| Peer::Vm(vm(tape)))])
}

fn name(tape: &mut Tape<'_>) -> Name {
    tape.choose(&[
        (6, |tape| Name::Own(tape.below(4))),
        (1, |tape| Name::Foreign(tape.below(4))),
        (1, |tape| Name::Spent(tape.below(4))),
        (1, |tape| Name::Odd(tape.below(6))),
    ])
}

/// A byte of what a guest writes that is not what it should be.
fn flaw(tape: &mut Tape<'_>) -> Option<(u8, u8)> {
    tape.sometimes(8, |tape| {
        (tape.below(144), tape.choose(&[(1, |tape| tape.below(4)), (1, |tape| tape.byte())]))
    })
}

fn word(tape: &mut Tape<'_>) -> u64 {
    tape.choose(&[
        (1, |_| 0),
        (1, |tape| tape.below(4).into()),
        (1, |_| 0x4000_0000),
        (1, |_| 0x8001_0001),
        (1, |_| 0x1_8001),
        (1, |tape| (0..3).fold(u64::from(tape.word()), |number, _| number << 16 | u64::from(tape.word()))),
    ])
}

const LIFE: &Choices<Act> = &[
    (16, |tape| Act::Create { vm: vm(tape), minor: tape.below(4), map: !tape.once_in(10) }),
    (2, |tape| Act::Destroy(vm(tape))),
    (6, |tape| {
        Act::Wait(tape.choose(&[
            (3, |tape| tape.word() % 20),
            (3, |tape| tape.word() % 2000),
            (1, |tape| tape.word()),
        ]))
    }),
    (2, |_| Act::Tick),
    (1, |tape| Act::Retry(tape.sometimes(2, vm))),
    (1, |tape| Act::Online { vm: vm(tape), vcpu: vcpu(tape), online: tape.once_in(2) }),
    (2, fault),
    (2, |_| Act::Calm),
    (1, |tape| Act::NoMemory(tape.below(6))),
];

const MEMORY: &Choices<Act> = &[
    (12, send),
    (5, |tape| Act::Part { vm: vm(tape), nth: tape.below(2), ranges: tape.below(3), flaw: flaw(tape) }),
    (1, |tape| Act::Meddle { vm: vm(tape), name: name(tape) }),
    (8, |tape| {
        let flags = tape.sometimes(6, |tape| tape.pick(&[1, 1, 2, 3])).unwrap_or_default();
        Act::Reclaim { vm: vm(tape), name: name(tape), flags }
    }),
    (4, |tape| Act::Map {
        vm: vm(tape),
        place: tape.below(3),
        pages: tape.sometimes(4, |tape| tape.below(4)).unwrap_or(1),
    }),
    (1, |tape| Act::Unmap(vm(tape))),
];

const PEERS: &Choices<Act> = &[
    (3, offer),
    (5, |tape| Act::Retrieve { vm: vm(tape), name: name(tape), flaw: flaw(tape) }),
    (1, |tape| Act::RetrieveRest { vm: vm(tape), name: name(tape), from: tape.below(4) }),
    (4, |tape| Act::Relinquish { vm: vm(tape), name: name(tape), flaw: flaw(tape) }),
];

const LISTS: &Choices<Act> = &[
    (2, |tape| Act::ReleaseRx(vm(tape))),
    (2, |tape| Act::List(vm(tape))),
    (1, |tape| Act::ListInRegisters(vm(tape))),
    (1, |tape| Act::Negotiate { vm: vm(tape), minor: tape.below(4) }),
    (1, |tape| {
        let words = [word(tape), word(tape), word(tape)];
        Act::Junk { vm: vm(tape), function: tape.below(64), wide: tape.once_in(2), words }
    }),
];

const MESSAGES: &Choices<Act> = &[
    (3, |tape| Act::Request { vm: vm(tape), vcpu: vcpu(tape), sp: sp(tape) }),
    (1, |tape| Act::Request2 { vm: vm(tape), vcpu: vcpu(tape), sp: sp(tape) }),
    (4, |tape| Act::Run { vm: vm(tape), vcpu: vcpu(tape), sp: sp(tape) }),
    (3, |tape| Act::Message { vm: vm(tape), to: peer(tape), size: tape.word(), flaw: flaw(tape) }),
    (1, |tape| Act::SpMessages { sp: sp(tape), vm: vm(tape), size: tape.word() % 4200 }),
];

const NOTIFICATIONS: &Choices<Act> = &[
    (3, |tape| Act::Bind { vm: vm(tape), from: peer(tape), ids: ids(tape), per_vcpu: tape.once_in(5) }),
    (2, |tape| Act::Unbind { vm: vm(tape), from: peer(tape), ids: ids(tape) }),
    (3, |tape| Act::Set { vm: vm(tape), to: peer(tape), ids: ids(tape), vcpu: tape.sometimes(5, vcpu) }),
    (3, |tape| Act::Get { vm: vm(tape), vcpu: vcpu(tape), sources: tape.below(16) }),
    (1, |tape| Act::Pending(vm(tape))),
    (3, |tape| Act::SpNotifies { sp: sp(tape), vm: vm(tape), id: tape.below(2) }),
    (1, |tape| Act::SpAllows { sp: sp(tape), vm: vm(tape) }),
];

const PARTITIONS: &Choices<Act> = &[
    (3, |tape| Act::SpRetrieves { sp: sp(tape), share: tape.below(8) }),
    (3, |tape| Act::SpRelinquishes { sp: sp(tape), share: tape.below(8) }),
    (2, |tape| Act::SpRelinquishesAll { sp: sp(tape), vm: vm(tape) }),
    (1, |tape| Act::SpCrashes(sp(tape))),
    (2, |tape| Act::SpRestarts(sp(tape))),
];

/// FFA_MEM_SHARE, LEND or DONATE, mostly with SPs.
pub fn send(tape: &mut Tape<'_>) -> Act {
    use Transaction::{Donate, Lend, Share};
    let how = tape.pick(&[Share, Share, Share, Lend, Lend, Donate]);
    let to = tape.choose(&[
        (8, |tape| tape.pick(&[1, 2, 4])),
        (2, |tape| tape.below(8)),
        (1, |tape| tape.below(64)),
    ]);
    let vm = vm(tape);
    of_pages(tape, vm, how, to)
}

/// The same with VMs, mostly with another one.
pub fn offer(tape: &mut Tape<'_>) -> Act {
    use Transaction::{Donate, Lend, Share};
    let how = tape.pick(&[Share, Share, Share, Share, Share, Share, Lend, Donate]);
    let vm = vm(tape);
    let next = 0x08 << ((vm + 1) % 3);
    let to = tape.sometimes(4, |tape| tape.below(8) << 3).unwrap_or(next);
    of_pages(tape, vm, how, to)
}

fn of_pages(tape: &mut Tape<'_>, vm: u8, how: Transaction, to: u8) -> Act {
    let at = tape.choose(&[
        (40, |_| Place::Block),
        (10, |_| Place::Loose),
        (2, |_| Place::Buffers),
        (2, |_| Place::Borrowed),
        (1, |_| Place::ReadOnly),
        (1, |_| Place::Device),
        (1, |_| Place::Hypervisors),
        (1, |_| Place::Foreign),
        (1, |_| Place::Nowhere),
    ]);
    let first = tape.choose(&[(2, |tape| tape.below(12)), (1, |tape| tape.below(60))]);
    let (ranges, pages) = tape.choose(&[
        (12, |tape| (1 + tape.below(2), 1 + tape.below(3))),
        (1, |tape| (1 + tape.below(39), 1)),
        (1, |tape| (1, 1 + tape.below(59))),
    ]);
    let read_only = tape.once_in(5);
    let zero = tape.once_in(5);
    let head = tape.sometimes(4, |tape| tape.below(3));
    Act::Send { vm, how, to, at, first, ranges, pages, read_only, zero, head, flaw: flaw(tape) }
}

fn fault(tape: &mut Tape<'_>) -> Act {
    // A secure world that says anything would be no use for the rest of a script.
    let may = |trust: Trust, tape: &Tape<'_>| trust == Trust::Honest || tape.trust == Trust::Lying;
    let rows = CATALOGUE
        .iter()
        .zip(1..)
        .flat_map(|(row, f)| row.plans.iter().zip(0..).map(move |(plan, at)| (f, at, plan.trust)));
    let plans: Vec<(u8, u8)> =
        rows.filter(|(.., trust)| may(*trust, tape)).map(|(f, plan, _)| (f, plan)).collect();
    let (f, plan) = tape.pick(&plans);
    let when = tape.choose(&[
        (8, |tape| When::Nth(1 + u32::from(tape.below(5)))),
        (4, |tape| When::First(1 + u32::from(tape.below(5)))),
        (1, |tape| When::After(1 + u32::from(tape.below(5)))),
        (1, |_| When::Every),
        (1, |_| When::Alternating),
        (1, |tape| When::OneIn(2 + u32::from(tape.below(4)))),
    ]);
    Act::Fault { f, plan, when }
}
