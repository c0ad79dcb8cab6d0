//! Every scenario ends as it must on the modelled hypervisor.

use std::collections::BTreeSet;

use ffa_abi::Function;
use ffa_hyp_glue::Settings;
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Machine, Storm, play_on_host};
use ffa_test_utils::scenario::Scenario;
use ffa_test_utils::spmc::Preset;
use ffa_test_utils::timeline::{Colours, ParseError, Parsed, render};

#[test]
fn every_scenario_ends_as_it_must() {
    for scenario in Scenario::ALL {
        let mut lines = Vec::new();
        let outcome =
            play_on_host(scenario, FaultPlan::none(), |_| {}, |line| lines.push(line.to_owned())).unwrap();
        assert!(outcome.is_good(), "{}", lines.join("\n"));
    }
}

#[test]
fn every_scenario_ends_so_over_every_secure_world() {
    for scenario in Scenario::ALL {
        // Only these have FFA_MEM_LEND and FFA_MEM_DONATE, as far as FFA_FEATURES says.
        let has_all =
            |preset: &Preset| scenario.name != "lend" || matches!(preset, Preset::Strict | Preset::Hafnium);
        for preset in Preset::ALL.into_iter().filter(has_all) {
            let mut lines = Vec::new();
            let change = |machine: &mut Machine| machine.secure = preset.config();
            let outcome =
                play_on_host(scenario, FaultPlan::none(), change, |line| lines.push(line.to_owned()))
                    .unwrap();
            assert!(outcome.is_good(), "{}: {}\n{}", preset.name(), scenario.name, lines.join("\n"));
        }
    }
}

/// Calls that were made and not refused in `talk`, by guests or by the mediator for those that are dead.
fn answered_calls(preset: Preset, of_guests: bool) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    let line = |line: &str| {
        if let Some(Parsed::Entry(entry)) = Parsed::from_line(line).unwrap() {
            let good = matches!(entry.answer.as_deref(), Some("ok" | "SUCCESS"));
            calls.extend(entry.call.filter(|_| good && entry.by_guest == of_guests));
        }
    };
    let talk = Scenario::find("talk").unwrap();
    let _ = play_on_host(talk, FaultPlan::none(), |machine| machine.secure = preset.config(), line).unwrap();
    calls
}

/// What guests do only where it is offered is offered, and what they leave pending is pending.
#[test]
fn guests_talk_in_every_way_that_a_secure_world_has() {
    let everywhere = [
        Function::PartitionInfoGetRegs,
        Function::Run,
        Function::MsgSendDirectReq,
        Function::MsgSendDirectReq2,
        Function::MsgSend2,
        Function::NotificationBind,
        Function::NotificationUnbind,
        Function::NotificationSet,
        Function::NotificationGet,
        Function::NotificationInfoGet,
    ];
    let notifies =
        [Function::NotificationGet, Function::NotificationUnbind, Function::NotificationBitmapDestroy];
    let writes = [Function::RxRelease, Function::RxTxUnmap];
    for (preset, of_sps, left) in [
        (Preset::Strict, true, [&notifies[..], &writes].concat()),
        (Preset::Hafnium, true, [&notifies[..], &writes].concat()),
        (Preset::Optee, true, notifies.to_vec()),
        (Preset::TfaEl3, false, vec![]),
    ] {
        let (by_guests, by_us) = (answered_calls(preset, true), answered_calls(preset, false));
        for function in everywhere {
            assert!(by_guests.contains(&function.to_string()), "{}: {function}", preset.name());
        }
        for function in left {
            assert!(by_us.contains(&function.to_string()), "{}: {function}", preset.name());
        }
        assert_eq!(by_us.contains(&Function::NotificationUnbind.to_string()), of_sps, "{}", preset.name());
    }
}

#[test]
fn what_the_secure_world_keeps_for_a_vm_that_is_gone_is_a_violation() {
    let call = CallKind::function(Function::NotificationBitmapDestroy);
    let plan = FaultPlan::new([Fault { call, when: When::Nth(1), action: FaultAction::Pretend }]);
    let mut lines = Vec::new();
    let talk = Scenario::find("talk").unwrap();
    let outcome = play_on_host(talk, plan, |_| {}, |line| lines.push(line.to_owned())).unwrap();
    assert!(!outcome.is_good() && outcome.summary.violations > 0, "{}", lines.join("\n"));
    assert!(lines.iter().any(|line| line.contains("keeps something for VM")), "{}", lines.join("\n"));
}

#[test]
fn every_line_of_a_timeline_is_read_back_and_the_last_one_is_the_summary() {
    for scenario in Scenario::ALL {
        let mut lines = Vec::new();
        let _ =
            play_on_host(scenario, FaultPlan::none(), |_| {}, |line| lines.push(line.to_owned())).unwrap();
        let parsed: Vec<_> =
            lines.iter().map(|line| Parsed::from_line(line).unwrap().expect("one of ours")).collect();
        assert!(matches!(&parsed[0], Parsed::Begin { scenario: name, .. } if name == scenario.name));
        let Some(Parsed::Summary(summary)) = parsed.last() else { panic!("{:?}", parsed.last()) };
        let expected = scenario.expected;
        assert_eq!((summary.shares, summary.zombies), (expected.shares.into(), expected.zombies.into()));
        assert_eq!(render(parsed.last().unwrap(), Colours::Ansi), *lines.last().unwrap());
        for (parsed, line) in parsed.iter().zip(&lines) {
            if let Parsed::Entry(entry) = parsed {
                let is_of_no_vm = ["retries", "list of SPs"].iter().any(|what| entry.then.contains(what));
                assert!(entry.vm.is_some() || is_of_no_vm, "{line}");
                assert_eq!(entry.call.is_some(), entry.answer.is_some(), "{line}");
            }
        }
        // In a run of its own the same happens again, to the nanosecond.
        let mut again = Vec::new();
        let _ =
            play_on_host(scenario, FaultPlan::none(), |_| {}, |line| again.push(line.to_owned())).unwrap();
        assert_eq!(lines, again);
    }
}

#[test]
fn a_line_that_is_broken_is_an_error_and_one_of_somebody_else_is_left_alone() {
    for line in ["", "hello", "@other t=1", "t=1 by=us then=x"] {
        assert_eq!(Parsed::from_line(line), Ok(None), "{line}");
    }
    let broken = [
        ("@ffa by=us then=x", "t"),
        ("@ffa t=1 then=x", "by"),
        ("@ffa t=x by=us then=x", "t"),
        ("@ffa t=1 by=us vm=xyz then=x", "vm"),
        ("@ffa t=1 by=us vm=10001 then=x", "vm"),
        ("@ffa t=1 by=us call=FFA_RUN", "then"),
        ("@ffa note=no time", "t"),
        ("@ffa scenario=x title=y", "preset"),
        ("summary scenario=x shares=1", "reclaimed"),
    ];
    for (line, field) in broken {
        let error = ParseError { field: field.into(), line: line.into() };
        assert_eq!(Parsed::from_line(line), Err(error));
    }
}

#[test]
fn a_storm_costs_as_much_for_each_obligation_however_large_it_is() {
    let storm = |vms| Storm { vms, shares: 8, seed: 1, settings: Settings::DEFAULT }.run(|_| {}).unwrap();
    let (small, large) = (storm(100), storm(1000));
    for report in [&small, &large] {
        assert_eq!(report.wrong, Vec::<String>::new());
        assert_eq!(report.summary.violations, 0);
        assert!(report.bad_answers > 0);
    }
    assert!(large.cost() <= 1.5 * small.cost(), "{} {}", small.cost(), large.cost());
}
