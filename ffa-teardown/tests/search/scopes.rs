//! What is searched.

use ffa_abi::PartitionId;
use ffa_teardown::{Disposal, IdReuse, Policy, Span, Subscription};

use crate::answers::Alphabet;
use crate::oracle::Terms;
use crate::world::{Guests, Scope};
use crate::wrong::Wrong;

/// Waits of one and two units, and few tries, so that there are few states.
const POLICY: Policy = Policy {
    fixed: Span::from_nanos(2),
    first: Span::from_nanos(1),
    longest: Span::from_nanos(2),
    tries: 2,
    runs_first: 1,
    ..Policy::DEFAULT
};

/// Every wait is the same and nobody goes first: the least that still shows every state of an obligation.
const FLAT: Policy =
    Policy { fixed: Span::from_nanos(1), longest: Span::from_nanos(1), tries: 1, runs_first: 0, ..POLICY };

const fn sp(number: u16, created: bool, destroyed: bool) -> Subscription {
    Subscription { sp: PartitionId(0x8000 + number), created, destroyed }
}

const BOTH: [Subscription; 3] = [sp(1, true, true), sp(2, true, true), sp(3, true, true)];
const MIXED: [Subscription; 3] = [sp(1, true, true), sp(2, false, true), sp(3, true, false)];

fn scope(name: &'static str, vms: usize, sps: &[Subscription], shares: usize, honest: bool) -> Scope {
    Scope {
        name,
        terms: Terms { sps: sps.to_vec(), policy: FLAT, honest },
        vms,
        guests: Guests { shares, ..Guests::default() },
        alphabet: Alphabet::Kinds,
        fine: false,
        split: false,
        retry: false,
        restart: false,
        bitmap: false,
        asks: false,
        spans: &[1],
        kind_every: 64,
        wrong: Wrong::Nothing,
        wrong_policy: None,
    }
}

/// One VM and one SP, looked at as closely as can be: every answer, every step, late and early ticks, retries.
fn close(name: &'static str, guests: Guests, honest: bool) -> Scope {
    Scope {
        terms: Terms { sps: BOTH[..1].to_vec(), policy: POLICY, honest },
        guests,
        alphabet: Alphabet::All,
        fine: true,
        retry: true,
        spans: &[1, 2, 3],
        kind_every: 1,
        ..scope(name, 1, &[], 0, honest)
    }
}

const NOTHING: Guests = Guests {
    shares: 0,
    donate: false,
    reclaim: false,
    request: false,
    standing: false,
    bind: false,
    lend: false,
};
const SHARE: Guests = Guests { shares: 1, reclaim: true, ..NOTHING };

/// The scope that is small enough for wrong engines and for debug builds.
pub fn smallest(honest: bool) -> Scope {
    close(
        if honest {
            "1 VM x 1 SP x 1 share, every answer"
        } else {
            "1 VM x 1 SP x 1 share, every answer, lying"
        },
        SHARE,
        honest,
    )
}

/// A guest that gives memory away, with nobody else whose handle could be mistaken for that.
pub fn donation(honest: bool) -> Scope {
    let name =
        if honest { "1 VM x 1 donation, every answer" } else { "1 VM x 1 donation, every answer, lying" };
    close(name, Guests { donate: true, ..SHARE }, honest)
}

/// Guests that give memory away and share, and handles that go from one to the other.
pub fn donations() -> Scope {
    Scope {
        guests: Guests { donate: true, ..SHARE },
        ..scope("2 VMs x 1 share or donation", 2, &[], 1, true)
    }
}

/// The same where the secure world says what a handle names.
pub fn donations_asked_about() -> Scope {
    Scope { name: "2 VMs x 1 share or donation, asked about", asks: true, ..donations() }
}

/// A guest that binds notifications.
pub fn notifications() -> Scope {
    let guests = Guests { bind: true, ..Guests::default() };
    Scope { guests, ..scope("1 VM x 2 notifications", 1, &[], 0, true) }
}

/// A VM that is to have a bitmap from the beginning.
pub fn born_with_bitmap() -> Scope {
    Scope {
        terms: Terms { sps: MIXED[..2].to_vec(), policy: Policy { tries: 2, ..FLAT }, honest: true },
        alphabet: Alphabet::All,
        bitmap: true,
        ..scope("1 VM x 2 SPs, born with a bitmap, every answer", 1, &[], 0, true)
    }
}

/// An SP that is restarted in the middle of what it has in hand, and begins something else.
fn restarts(name: &'static str, vms: usize, sp: Subscription, guests: Guests) -> Scope {
    Scope {
        terms: Terms { sps: vec![sp], policy: FLAT, honest: true },
        guests,
        restart: true,
        ..scope(name, vms, &[], 0, true)
    }
}

/// What a debug build searches, each to the end.
pub fn small() -> Vec<Scope> {
    let handles = Scope {
        guests: Guests { shares: 2, ..SHARE },
        split: true,
        ..scope("1 VM x 2 shares, answers under way", 1, &[], 2, true)
    };
    vec![
        smallest(true),
        close(
            "1 VM x 1 SP, direct requests, every answer",
            Guests { request: true, ..Guests::default() },
            true,
        ),
        handles,
        Scope {
            retry: true,
            ..restarts(
                "1 VM x 1 share, a direct request, SP restarts",
                1,
                BOTH[0],
                Guests { request: true, ..SHARE },
            )
        },
        scope("1 VM x 2 SPs x 2 shares", 1, &BOTH[..2], 2, true),
        Scope {
            guests: Guests { standing: true, ..Guests::default() },
            ..scope("1 VM x RX/TX", 1, &[], 0, true)
        },
        Scope {
            guests: Guests { lend: true, ..SHARE },
            ..scope("1 VM x 1 SP x 1 share, 2 loans", 1, &BOTH[..1], 1, true)
        },
        Scope {
            guests: Guests { shares: 2, donate: true, ..SHARE },
            ..scope("1 VM x 2 shares or donations", 1, &[], 2, true)
        },
        Scope {
            guests: Guests { shares: 2, donate: true, ..SHARE },
            asks: true,
            ..scope("1 VM x 2 shares or donations, asked about", 1, &[], 2, true)
        },
        notifications(),
        born_with_bitmap(),
    ]
}

/// What a release build searches on top, each to the end.
pub fn large() -> Vec<Scope> {
    let every_answer = |scope: Scope| Scope { alphabet: Alphabet::All, retry: true, ..scope };
    let donating = |scope: Scope| Scope { guests: Guests { donate: true, ..scope.guests }, ..scope };
    let split = |scope: Scope| Scope {
        guests: Guests { reclaim: true, ..scope.guests },
        split: true,
        terms: Terms { policy: Policy { tries: 2, ..FLAT }, ..scope.terms.clone() },
        ..scope
    };
    let hand_over = Policy { disposal: Disposal::HandOver, id_reuse: IdReuse::WhenOver, ..POLICY };
    let mut handed_over =
        close("1 VM x 1 SP x 1 share, every answer, pages handed over, IDs free at once", SHARE, true);
    handed_over.terms.policy = hand_over;
    let mut waits = Scope {
        guests: Guests { shares: 2, ..SHARE },
        retry: true,
        spans: &[1, 2],
        ..scope("1 VM x 1 SP x 2 shares, different waits, pages handed over", 1, &BOTH[..1], 2, true)
    };
    waits.terms.policy = Policy { disposal: Disposal::HandOver, ..POLICY };
    let mut asked_about = Scope {
        asks: true,
        retry: true,
        ..donating(scope("2 VMs x 1 share or donation, asked about or handed over", 2, &[], 1, true))
    };
    asked_about.terms.policy = Policy { tries: 1, ..hand_over };
    let mut creation = every_answer(scope("1 VM x 3 SPs, every answer", 1, &BOTH, 0, true));
    creation.terms.policy = Policy { tries: 2, ..FLAT };
    vec![
        Scope {
            bitmap: true,
            ..restarts("1 VM born with a bitmap, SP restarts", 1, BOTH[0], Guests { request: true, ..SHARE })
        },
        restarts("2 VMs, SP restarts", 2, BOTH[0], Guests::default()),
        Scope {
            retry: true,
            ..restarts("2 VMs, SP restarts and hears only of their end", 2, MIXED[1], Guests::default())
        },
        smallest(false),
        handed_over,
        asked_about,
        close("1 VM x 1 SP, RX/TX, every answer", Guests { standing: true, ..Guests::default() }, true),
        Scope {
            name: "1 VM x 2 notifications, every answer, every step",
            alphabet: Alphabet::All,
            fine: true,
            retry: true,
            spans: &[1, 2],
            ..notifications()
        },
        creation,
        every_answer(scope("1 VM x 3 SPs with different wishes, every answer", 1, &MIXED, 1, true)),
        waits,
        split(scope("2 VMs x 1 share, answers under way", 2, &[], 1, true)),
        split(scope("the same, lying", 2, &[], 1, false)),
        donations(),
        donations_asked_about(),
        donation(true),
        donation(false),
        donating(split(scope("1 VM x 2 shares or donations, answers under way", 1, &[], 2, true))),
        Scope { asks: true, ..donating(split(scope("the same, asked about", 1, &[], 2, true))) },
        scope("2 VMs x 1 SP x 1 share", 2, &BOTH[..1], 1, true),
        scope("the same, lying", 2, &BOTH[..1], 1, false),
        scope("1 VM x 3 SPs x 3 shares, lying", 1, &BOTH, 3, false),
        scope("1 VM x 3 SPs x 4 shares", 1, &BOTH, 4, true),
    ]
}

/// Too large to come to an end.
pub fn bounded() -> Scope {
    let retry = Policy { tries: 2, runs_first: 1, ..FLAT };
    Scope {
        terms: Terms { sps: BOTH[..2].to_vec(), policy: retry, honest: true },
        guests: Guests { shares: 3, reclaim: true, request: true, ..NOTHING },
        retry: true,
        ..scope("2 VMs x 2 SPs x 3 shares", 2, &[], 3, true)
    }
}

/// A crowd, for runs at random.
pub fn crowd(vms: usize, honest: bool) -> Scope {
    let sps: Vec<_> = (1..=8).map(|number| sp(number, number % 3 != 0, number % 4 != 0)).collect();
    Scope {
        guests: Guests {
            shares: 8,
            donate: true,
            reclaim: true,
            request: true,
            standing: true,
            bind: true,
            lend: true,
        },
        alphabet: Alphabet::All,
        fine: true,
        retry: true,
        spans: &[1, 2, 3],
        terms: Terms { sps, policy: POLICY, honest },
        ..scope("crowd", vms, &[], 8, honest)
    }
}
