//! Every scenario ends as it must on the modelled hypervisor.

use ffa_hyp_glue::Settings;
use ffa_test_utils::fault::FaultPlan;
use ffa_test_utils::hypervisor::{Footprint, Storm, play_on_host};
use ffa_test_utils::scenario::Scenario;

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

#[test]
fn state_is_as_small_as_promised() {
    let Footprint { vm, sp, share, range } = Footprint::MEASURED;
    let limit = Footprint::LIMIT;
    assert!(vm <= limit.vm && sp <= limit.sp && share <= limit.share && range <= limit.range);
}
