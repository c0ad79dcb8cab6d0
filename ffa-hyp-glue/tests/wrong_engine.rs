//! The oracle catches an engine that is wrong on purpose, and so does the demonstration.

mod common;

use common::*;
use ffa_abi::Status;
use ffa_hyp_glue::Settings;
use ffa_teardown::{AnswerClass, AnswerTable, Policy, Span, Verdict};
use ffa_test_utils::fault::FaultPlan;
use ffa_test_utils::hypervisor::{Machine, Storm, Violation, play_on_host};
use ffa_test_utils::scenario::{Outcome, Scenario};
use ffa_test_utils::spmc::{Reaction, Script, SpConfig, Turn};

fn with(answers: AnswerTable) -> Settings {
    Settings { teardown: Policy { answers, ..Policy::DEFAULT }, ..Settings::DEFAULT }
}

/// Takes DENIED for "it is yours again".
fn releases_on_denied() -> Settings {
    let right = AnswerTable::DEFAULT;
    with(AnswerTable { mem_reclaim: right.mem_reclaim.with(&[AnswerClass::Denied], Verdict::Done), ..right })
}

/// Takes any answer for the SP's word that it has taken note.
fn forgets_vm_destroyed() -> Settings {
    let right = AnswerTable::DEFAULT;
    let forgotten = [AnswerClass::Preempted, AnswerClass::Yielded, AnswerClass::Retry, AnswerClass::Busy];
    with(AnswerTable { vm_destroyed: right.vm_destroyed.with(&forgotten, Verdict::Done), ..right })
}

fn play(name: &str, settings: Settings) -> (Outcome, Vec<String>) {
    let scenario = Scenario::find(name).expect("there is such a scenario");
    let mut lines = Vec::new();
    let change = |machine: &mut Machine| machine.settings = settings;
    let outcome =
        play_on_host(scenario, FaultPlan::none(), change, |line| lines.push(line.to_owned())).unwrap();
    (outcome, lines)
}

#[test]
fn the_oracle_sees_pages_that_are_released_on_denied() {
    every_preset(|preset| {
        let sps = vec![SpConfig::new(SP1, Script::dma(Span::from_secs(3))), SpConfig::new(SP2, Script::GOOD)];
        let mut world = World::with(Machine { settings: releases_on_denied(), ..machine(preset, sps) });
        world.share(VM1, SP1, &[(PAGES, 1)]);
        world.destroy(VM1);
        world.hypervisor.advance(Span::from_millis(100));
        let violations = world.hypervisor.violations();
        let early = |violation: &Violation| {
            matches!(violation, Violation::Reachable { when: "released", sp: SP1, .. })
        };
        assert!(violations.iter().any(early), "{violations:?}");
    });
}

#[test]
fn the_oracle_sees_a_vm_destroyed_that_is_forgotten() {
    every_preset(|preset| {
        for turn in
            [Turn::ACCEPT.preempted(1), Turn::refuse(Status::Retry), Turn::ACCEPT.yields(1, Span::ZERO)]
        {
            let forgetful = Script::GOOD.on_destroyed(Reaction::first(1, turn));
            let sps = vec![SpConfig::new(SP1, forgetful), SpConfig::new(SP2, Script::GOOD)];
            let mut world = World::with(Machine { settings: forgets_vm_destroyed(), ..machine(preset, sps) });
            world.destroy(VM1);
            world.hypervisor.advance(Span::from_secs(5));
            let violations = world.hypervisor.violations();
            assert!(violations.contains(&Violation::NotTold { vm: VM1, sp: SP1 }), "{turn:?} {violations:?}");
        }
    });
}

#[test]
fn the_demonstration_fails_with_an_engine_that_releases_on_denied() {
    for name in ["dma", "stuck", "preempted"] {
        let (outcome, lines) = play(name, releases_on_denied());
        assert!(!outcome.is_good() && outcome.summary.violations > 0, "{}", lines.join("\n"));
        assert!(lines.iter().any(|line| line.contains("wrong=page 0x")), "{}", lines.join("\n"));
    }
    // The guest that comes next sees the SP's marks in its own memory.
    let (_, lines) = play("dma", releases_on_denied());
    assert!(lines.iter().any(|line| line.contains("wrong=guest 000") && line.contains("memory at")));
}

#[test]
fn the_demonstration_fails_with_an_engine_that_forgets_a_vm_destroyed() {
    // The SP that was not resumed keeps its shares, so that no VM is ever gone.
    let (outcome, lines) = play("preempted", forgets_vm_destroyed());
    assert!(!outcome.is_good(), "{}", lines.join("\n"));
    assert!(outcome.summary.zombies > 0 && outcome.summary.pages_held > 0);
}

#[test]
fn the_storm_fails_with_either() {
    for settings in [releases_on_denied(), forgets_vm_destroyed()] {
        let report = Storm { vms: 1000, shares: 8, seed: 3, settings }.run(|_| {}).unwrap();
        assert!(report.summary.violations > 0 && !report.wrong.is_empty(), "{:?}", report.summary);
    }
    let report = Storm { vms: 1000, shares: 8, seed: 3, settings: Settings::DEFAULT }.run(|_| {}).unwrap();
    assert_eq!((report.summary.violations, report.wrong), (0, vec![]));
}
