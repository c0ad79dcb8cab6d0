//! A search over the states of the real engine, with an oracle beside it that looks at every step.
//!
//! `cargo test --release -p ffa-teardown --test search -- --nocapture` prints what was searched and how far. A debug
//! build searches smaller scopes. `FFA_SEARCH_STATES=N` lets the bounded scope go on to about N states.

mod answers;
mod oracle;
mod reading;
mod scopes;
mod storm;
mod world;
mod wrong;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ffa_teardown::{AnswerClass, AnswerTable, DutySlot, Engine, IdReuse, Pace, Policy, Row, Verdict, VmSlot};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

use answers::Alphabet;
use oracle::Rule;
use world::{Scope, Search, Seen, Step, World};
use wrong::Wrong;

/// The engine that is searched.
type Tested = Engine<Vec<VmSlot>, Vec<DutySlot>>;

/// The rules as properties, and beside each what must happen somewhere for the rule to mean anything.
macro_rules! properties {
    ($($rule:ident $always:literal: $($seen:ident $sometimes:literal),*;)*) => {
        const NAMES: &[(&str, Rule)] = &[$(($always, Rule::$rule)),*];

        fn properties() -> Vec<Property<Search>> {
            vec![$(
                Property::always($always, |search: &Search, world: &World| {
                    !world.oracle.has_broken(Rule::$rule)
                        && (Rule::$rule != Rule::P20 || !search.follows(world) || search.ends_kindly(world))
                }),
                $(Property::sometimes($sometimes, |search: &Search, _| search.saw(Seen::$seen)),)*
            )*]
        }
    };
}

properties! {
    P1 "P1 no page goes back that an honest secure world can still reach":
        Freed "P1 a page goes back";
    P1Lying "P1' a page goes back only after success to the reclaim of its own handle":
        FreedByGuest "P1' a guest's own reclaim gives a page back";
    P2 "P2 what may have been shared is held":
        Unknown "P2 nobody knows whether a share came about";
    P3 "P3 quarantine is absorbing, listed and told once":
        Quarantined "P3 a share is quarantined", Retried "P3 a retry is asked for";
    P4 "P4 a donation is gone if it is asked for too late, or cannot be, and nothing else is":
        Gone "P4 a donation is asked for too late", GoneUnasked "P4 a donation cannot be asked for",
        Named "P4 a donation whose handle is in doubt is asked for", NotNamed "P4 such a handle is another's by now",
        TakenOver "P4 a receiver has a donation";
    P6 "P6 every share is on the list exactly once":
        Recovered "P6 a quarantined share comes back";
    P7 "P7 no call about what is not the VM's own":
        ForeignRefused "P7 a foreign handle is refused",
        Restarted "P7 an SP is restarted", Displaced "P7 a request ends that its SP has in hand no more";
    P8 "P8 a handle that is given out anew is kept apart":
        Anew "P8 a handle is given out while its reclaim is in flight";
    P9 "P9 what is in flight is on the list":
        DiedInFlight "P9 a VM dies with a call in flight";
    P10 "P10 an SP is told of the end if and only if it may know of the VM":
        ToldOfEnd "P10 an SP is told of the end", NotToldOfEnd "P10 an SP is not told of the end";
    P11 "P11 no second VM_DESTROYED":
        ResumedDestroyed "P11 a preempted VM_DESTROYED is resumed";
    P12 "P12 a creation that fails runs the same teardown":
        HalfBorn "P12 a half-born VM ends",
        BitmapCreated "P12 a VM is born with a bitmap", NoBitmap "P12 a VM is born without";
    P13 "P13 an ID is not used again before its time":
        IdRefused "P13 an ID is refused", Retired "P13 an ID is retired",
        Moot "P13 buffers are unmapped whose RX was not released";
    P14 "P14 the reference is taken once and dropped once":
        ReferenceDropped "P14 a reference is dropped",
        OnlyLent "P14 a dead VM waits for nothing but those that borrow of it", Zombie "P14 a zombie keeps its reference";
    P15 "P15 pages, then the record, then the reference":
        DroppedAfterPages "P15 a reference is dropped after pages went back";
    P16 "P16 when all VMs are gone all room is there again":
        IdReused "P16 all VMs are gone";
    P17 "P17 a step is bounded":
        Walked "P17 a walk takes more than one step";
    P18 "P18 nothing is tried before its time":
        WaitedInQueue "P18 something has to wait";
    P19 "P19 turns are taken":
        TookTurns "P19 two VMs are due at once";
    P20 "P20 with kind answers everything ends":
        EndedKindly "P20 a state is followed to its end";
    P21 "P21 what passes is tried again, what does not ends":
        GaveUpTrying "P21 something is given up", Silent "P21 the timer is silent beside a quarantine";
    P22 "P22 a tick at the wrong time does nothing":
        Early "P22 a tick comes early", Late "P22 a tick comes late";
    P29 "P29 nothing begins for a dead VM":
        LateEntry "P29 a guest of a dead VM is refused",
        Needed "P29 buffers cannot be unmapped while a call works on RX";
    P30 "P30 what is pending is fetched before each try to unbind or destroy":
        DeniedPending "P30 a try is denied for what is pending",
        SignalledLate "P30 an SP signals a dead VM";
    P31 "P31 what is bound is unbound by calls that name exactly what is":
        InDoubt "P31 nobody knows whether something is bound",
        DoubtfulBitmap "P31 nobody knows whether there is a bitmap",
        Busy "P31 a second call on what is bound to an SP is refused";
}

impl Model for Search {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![self.start()]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        // What follows a broken rule only hides where it broke.
        if world.oracle.broken == 0 {
            self.steps(world, steps);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        Some(self.take(world, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}

/// What a search came to.
struct Report {
    /// The rules that were broken, with a way there.
    broken: Vec<(Rule, Vec<Step>)>,
    /// What never happened.
    unseen: BTreeSet<&'static str>,
    unique: usize,
}

/// Searches a scope: whole, or about `limit` states of it.
fn search(scope: Scope, limit: Option<usize>) -> Report {
    let (name, begun) = (scope.name, Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = Search::new(scope).checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let builder = match limit {
        Some(limit) => builder.target_state_count(limit),
        None => builder,
    };
    let checker = builder.spawn_bfs().join();
    let found = checker.discoveries();
    let mut report =
        Report { broken: Vec::new(), unseen: BTreeSet::new(), unique: checker.unique_state_count() };
    for property in checker.model().properties() {
        match (property.expectation, found.get(property.name)) {
            (Expectation::Always, Some(path)) => {
                let rule = NAMES.iter().find(|(name, _)| *name == property.name).expect("one of ours").1;
                report.broken.push((rule, path.clone().into_actions()));
            }
            (Expectation::Sometimes, None) => {
                report.unseen.insert(property.name);
            }
            _ => {}
        }
    }
    let extent = match limit {
        _ if !report.broken.is_empty() => "stopped at a broken rule",
        Some(limit) if checker.state_count() >= limit => "bounded",
        _ => "exhausted",
    };
    println!(
        "search: {name}: {} unique states, {} steps, depth {}, {extent}, {:.1} s; {} calls at most to a kind end",
        report.unique,
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64(),
        checker.model().longest_end.load(Ordering::Relaxed),
    );
    report
}

/// Fails with the shortest of the ways to a broken rule.
fn assert_holds(report: &Report) {
    if let Some((rule, steps)) = report.broken.iter().min_by_key(|(_, steps)| steps.len()) {
        let steps: Vec<_> = steps.iter().map(|step| format!("\n  {step:?}")).collect();
        panic!("{rule:?} is broken after{}", steps.concat());
    }
}

/// How many states the bounded scope may take.
fn bound() -> usize {
    let asked = std::env::var("FFA_SEARCH_STATES").ok().map(|states| states.parse());
    let default = if cfg!(debug_assertions) { 20_000 } else { 2_000_000 };
    asked.map_or(default, |states| states.expect("FFA_SEARCH_STATES is a number"))
}

#[test]
fn no_rule_is_broken_and_everything_happens() {
    let begun = Instant::now();
    let mut scopes = scopes::small();
    if !cfg!(debug_assertions) {
        scopes.extend(scopes::large());
    }
    let mut unseen: BTreeSet<_> = properties().iter().map(|property| property.name).collect();
    let mut unique = 0;
    let runs = scopes.into_iter().map(|scope| (scope, None)).chain([(scopes::bounded(), Some(bound()))]);
    for (scope, limit) in runs {
        let report = search(scope, limit);
        assert_holds(&report);
        unseen.retain(|name| report.unseen.contains(name));
        unique += report.unique;
    }
    println!("search: {unique} unique states in all, {:.1} s", begun.elapsed().as_secs_f64());
    assert!(unseen.is_empty(), "this never happened: {unseen:?}");
    assert!(cfg!(debug_assertions) || unique >= 1_000_000, "too few states: {unique}");
}

/// Searches with a wrong engine, which must break one of `rules`.
fn assert_caught(name: &str, scope: Scope, rules: &[Rule]) {
    let report = search(scope, None);
    let broken: Vec<_> = report.broken.iter().map(|(rule, _)| *rule).collect();
    assert!(broken.iter().any(|rule| rules.contains(rule)), "{name}: {broken:?} is not {rules:?}");
}

#[test]
fn an_engine_with_a_wrong_answer_table_is_caught() {
    use AnswerClass as A;
    use Verdict::{Done, GiveUp, Retry};
    type Change = fn(&mut AnswerTable);
    let wrong: [(&str, Change, &[Rule]); 7] = [
        (
            "releases on DENIED",
            |table| change(&mut table.mem_reclaim, A::Denied, Done),
            &[Rule::P1, Rule::P1Lying],
        ),
        (
            "takes VM_DESTROYED for told on RETRY",
            |table| change(&mut table.vm_destroyed, A::Retry, Done),
            &[Rule::P10],
        ),
        ("takes ABORTED for no", |table| change(&mut table.vm_created, A::Aborted, GiveUp), &[Rule::P10]),
        (
            "lets go of what may be shared",
            |table| change(&mut table.mem_send, A::Aborted, GiveUp),
            &[Rule::P2],
        ),
        ("gives up on BUSY", |table| change(&mut table.mem_reclaim, A::Busy, GiveUp), &[Rule::P21]),
        (
            "never gives up",
            |table| change(&mut table.mem_reclaim, A::InvalidParameters, Retry(Pace::Fixed)),
            &[Rule::P21],
        ),
        (
            "releases what nobody understood",
            |table| change(&mut table.mem_reclaim, A::Malformed, Done),
            &[Rule::P1Lying],
        ),
    ];
    for (name, change, rules) in wrong {
        for honest in [true, false] {
            let mut scope = scopes::smallest(honest);
            let mut policy = scope.terms.policy;
            change(&mut policy.answers);
            (scope.name, scope.wrong_policy) = (name, Some(policy));
            assert_caught(name, scope, rules);
        }
    }
}

#[test]
fn an_engine_that_is_wrong_about_notifications_is_caught() {
    type Change = fn(&mut AnswerTable);
    let wrong: [(&str, Change, &[Rule]); 4] = [
        (
            "takes a bitmap that stays for gone",
            |table| change(&mut table.bitmap_destroy, AnswerClass::Denied, Verdict::Done),
            &[Rule::P10, Rule::P31],
        ),
        (
            "ignores that a bitmap stays",
            |table| change(&mut table.bitmap_destroy, AnswerClass::Denied, Verdict::GiveUp),
            &[Rule::P21],
        ),
        (
            "takes what is bound for unbound",
            |table| change(&mut table.unbind, AnswerClass::Denied, Verdict::Done),
            &[Rule::P10, Rule::P31],
        ),
        (
            "forgets what may be bound",
            |table| change(&mut table.bind, AnswerClass::Aborted, Verdict::GiveUp),
            &[Rule::P31],
        ),
    ];
    for (name, change, rules) in wrong {
        let mut scope = scopes::notifications();
        let mut policy = scope.terms.policy;
        change(&mut policy.answers);
        (scope.name, scope.wrong_policy, scope.alphabet) = (name, Some(policy), Alphabet::All);
        assert_caught(name, scope, rules);
    }
    let wrong: [(&str, Change, &[Rule]); 3] = [
        (
            "takes a bitmap that may be there for none",
            |table| change(&mut table.bitmap_create, AnswerClass::Malformed, Verdict::GiveUp),
            &[Rule::P31],
        ),
        (
            "takes no bitmap for one",
            |table| change(&mut table.bitmap_create, AnswerClass::Denied, Verdict::Done),
            &[Rule::P12],
        ),
        (
            "asks for no bitmap twice",
            |table| change(&mut table.bitmap_create, AnswerClass::Retry, Verdict::GiveUp),
            &[Rule::P21],
        ),
    ];
    for (name, change, rules) in wrong {
        let mut scope = scopes::born_with_bitmap();
        let mut policy = scope.terms.policy;
        change(&mut policy.answers);
        (scope.name, scope.wrong_policy) = (name, Some(policy));
        assert_caught(name, scope, rules);
    }
    let name = "fetches nothing";
    assert_caught(
        name,
        Scope { name, wrong: Wrong::FetchesNothing, ..scopes::notifications() },
        &[Rule::P30],
    );
}

#[test]
fn an_engine_that_is_wrong_about_donations_is_caught() {
    type Change = fn(&mut AnswerTable);
    let wrong: [(&str, Change, &[Rule]); 3] = [
        (
            "takes what came too late for what came back",
            |table| change(&mut table.donation_reclaim, AnswerClass::InvalidParameters, Verdict::Done),
            &[Rule::P1, Rule::P1Lying],
        ),
        (
            "lets go of a donation that passes",
            |table| change(&mut table.donation_reclaim, AnswerClass::Busy, Verdict::Gone),
            &[Rule::P4],
        ),
        (
            "asks again for what is another's",
            |table| change(&mut table.donation_reclaim, AnswerClass::Denied, Verdict::Retry(Pace::Fixed)),
            &[Rule::P4, Rule::P21],
        ),
    ];
    for (name, change, rules) in wrong {
        let mut scope = scopes::donations();
        let mut policy = scope.terms.policy;
        change(&mut policy.answers);
        (scope.name, scope.wrong_policy, scope.alphabet) = (name, Some(policy), Alphabet::All);
        assert_caught(name, scope, rules);
    }
    let name = "sends while a donation is asked for";
    assert_caught(name, Scope { name, wrong: Wrong::SendsMeanwhile, ..scopes::donations() }, &[Rule::P1]);
    let name = "does not ask what the handle of a donation names";
    let asks_nobody = Scope { name, wrong: Wrong::AsksNobody, ..scopes::donations_asked_about() };
    assert_caught(name, asks_nobody, &[Rule::P1]);
}

fn change(row: &mut Row, class: AnswerClass, verdict: Verdict) {
    *row = row.with(&[class], verdict);
}

#[test]
fn an_engine_that_is_wrong_otherwise_is_caught() {
    let wrong: [(&str, Wrong, &[Rule]); 8] = [
        ("forgets VM_DESTROYED", Wrong::ForgetsDestroyed, &[Rule::P10]),
        ("starts VM_DESTROYED again", Wrong::StartsDestroyedAgain, &[Rule::P11]),
        ("takes code 0 for success", Wrong::TakesCodeZeroForSuccess, &[Rule::P10, Rule::P12, Rule::P1Lying]),
        ("takes nonsense for success", Wrong::TakesNonsenseForSuccess, &[Rule::P1Lying]),
        ("takes unclear for refused", Wrong::TakesUnclearForRefused, &[Rule::P1, Rule::P2]),
        ("keeps the reference", Wrong::KeepsReference, &[Rule::P14]),
        ("hastes", Wrong::Hastes, &[Rule::P18, Rule::P22]),
        ("gives up on BUSY", Wrong::GivesUpOnBusy, &[Rule::P21]),
    ];
    for (name, wrong, rules) in wrong {
        assert_caught(name, Scope { name, wrong, ..scopes::smallest(true) }, rules);
    }
}

#[test]
fn an_engine_that_reuses_ids_too_early_is_caught() {
    let mut scope = scopes::smallest(true);
    scope.wrong_policy = Some(Policy { id_reuse: IdReuse::WhenOver, ..scope.terms.policy });
    assert_caught("reuses IDs", scope, &[Rule::P13]);
}
