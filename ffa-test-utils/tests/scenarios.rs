//! Every scenario ends as it must on the modelled hypervisor.

use ffa_test_utils::fault::FaultPlan;
use ffa_test_utils::hypervisor::play_on_host;
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
