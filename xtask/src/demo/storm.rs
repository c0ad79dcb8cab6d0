//! The storm: scale, and what state costs.

use std::time::Instant;

use anyhow::{Result, anyhow};
use ffa_hyp_glue::Settings;
use ffa_test_utils::hypervisor::{Footprint, Storm, StormReport};

use crate::output::{Output, quote};
use crate::progress::Progress;

/// The size that the large storm is compared with.
const SMALL: u16 = 100;
/// What an obligation may cost in the large storm, as a multiple of the small one.
const MOST: f64 = 1.5;

pub fn run(vms: u16, shares: u8, seed: u64, progress: &Progress, output: &mut Output) -> Result<()> {
    let title = format!("{vms} VMs with {shares} shares each die together, some SPs stuck");
    output.line(&format!("@ffa scenario=storm preset=strict title={title}"));
    let storm = |vms| {
        let storm = Storm { vms, shares, seed, settings: Settings::DEFAULT };
        let mut last = Instant::now();
        storm
            .run(|at| {
                if last.elapsed().as_millis() > 100 {
                    progress.at(at);
                    last = Instant::now();
                }
            })
            .map_err(|error| anyhow!("scenario storm: {error}"))
    };
    let small = storm(SMALL.min(vms))?;
    let large = storm(vms)?;
    let growth = large.cost() / small.cost();
    let footprint = Footprint::MEASURED;
    let limit = Footprint::LIMIT;

    let mut wrong: Vec<String> = small.wrong.iter().chain(&large.wrong).cloned().collect();
    if growth > MOST {
        wrong.push(format!(
            "an obligation costs {growth:.2} times as much as with {SMALL} VMs, more than {MOST}"
        ));
    }
    let Footprint { vm, sp, share, range, .. } = footprint;
    if vm > limit.vm || sp > limit.sp || share > limit.share || range > limit.range {
        wrong.push(format!("{footprint:?} is more than {limit:?}"));
    }
    let end = large.took.as_nanos();
    if output.is_json() {
        output.print(&json(&small, &large, growth, footprint));
    } else {
        for line in lines(&small, &large, growth, footprint) {
            output.line(&format!("@ffa t={end} note={line}"));
        }
    }
    for what in &wrong {
        output.line(&format!("@ffa t={end} wrong={what}"));
    }
    output.line(&large.summary.to_string());
    output.ended(wrong.is_empty() && large.summary.violations == 0);
    Ok(())
}

fn lines(small: &StormReport, large: &StormReport, growth: f64, footprint: Footprint) -> [String; 5] {
    let (most, budget) = large.most_smcs;
    let Footprint { vm, sp, share, range, .. } = footprint;
    [
        format!(
            "{} obligations, {} answers were bad; {} VMs were gone after 1 s, all that can come back after {:.2} s",
            large.obligations,
            large.bad_answers,
            large.gone_in_first_second,
            large.took.as_nanos() as f64 / 1e9,
        ),
        format!("{} ticks, the longest made {most} secure calls; the budget is {budget}", large.ticks),
        format!(
            "steps and seam calls for each obligation: {:.2}, with {SMALL} VMs {:.2}: {growth:.2} times (limit {MOST})",
            large.cost(),
            small.cost()
        ),
        format!(
            "bytes of a VM: {vm} (limit {}), and {sp} for each SP that is told of it; each holds in RX/TX 2 ranges",
            Footprint::LIMIT.vm
        ),
        format!(
            "bytes of a share: {share} (limit {}), and {range} for each range (limit {})",
            Footprint::LIMIT.share,
            Footprint::LIMIT.range
        ),
    ]
}

fn json(small: &StormReport, large: &StormReport, growth: f64, footprint: Footprint) -> String {
    let (most, budget) = large.most_smcs;
    let Footprint { vm, sp, share, range, .. } = footprint;
    format!(
        "{{\"kind\":{},\"obligations\":{},\"bad_answers\":{},\"gone_in_first_second\":{},\"took\":{},\"ticks\":{},\
         \"most_smcs_per_tick\":{most},\"budget\":{budget},\"cost\":{:.3},\"cost_small\":{:.3},\"growth\":{growth:.3},\
         \"bytes_vm\":{vm},\"bytes_sp\":{sp},\"bytes_share\":{share},\"bytes_range\":{range}}}",
        quote("storm"),
        large.obligations,
        large.bad_answers,
        large.gone_in_first_second,
        large.took.as_nanos(),
        large.ticks,
        large.cost(),
        small.cost(),
    )
}
