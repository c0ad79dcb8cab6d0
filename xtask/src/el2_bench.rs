//! `cargo xtask bench --el2`: what the mediator costs a guest, in instructions executed at EL2, from the trap to the
//! return.
//!
//! QEMU's counter ticks once an instruction, so a guest can time one call alone, and the figure repeats to the
//! instruction. The firmware lets the guest's counter stand still while it works; what of an SMC to EL3 is counted all
//! the same is measured by the hypervisor and subtracted here, once for each SMC that the mediator made.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::image::{self, Profile};
use crate::qemu::{Ended, Machine};
use crate::setup;

const LIMIT: Duration = Duration::from_secs(60);

/// One line of the table: the calls that it adds up, and what Xen's newest mediator takes for them on OP-TEE, built for
/// release and counted in the same way.
struct Row {
    what: &'static str,
    calls: &'static [&'static str],
    xen: u64,
}

const fn row(what: &'static str, calls: &'static [&'static str], xen: u64) -> Row {
    Row { what, calls, xen }
}

const ROWS: &[Row] = &[
    row("trap floor: an SMC that is answered at once", &["trap-floor"], 397),
    row("FFA_ID_GET", &["id-get"], 746),
    row("FFA_FEATURES", &["features"], 785),
    row("FFA_PARTITION_INFO_GET, count only", &["partition-count"], 904),
    row("FFA_PARTITION_INFO_GET + FFA_RX_RELEASE", &["partition-list", "rx-release"], 1_954),
    row("FFA_MSG_SEND_DIRECT_REQ, forwarded", &["direct-request"], 1_078),
    row("FFA_MEM_SHARE, 1 page", &["share-1"], 2_284),
    row("FFA_MEM_RECLAIM, 1 page", &["reclaim-1"], 1_264),
    row("FFA_MEM_SHARE, 16 pages in one range", &["share-16"], 10_303),
    row("FFA_MEM_RECLAIM, 16 pages in one range", &["reclaim-16"], 1_669),
    row("FFA_MEM_SHARE, 64 pages in one range", &["share-64"], 37_086),
    row("FFA_MEM_RECLAIM, 64 pages in one range", &["reclaim-64"], 3_426),
    row("FFA_MEM_SHARE, 256 pages in one range", &["share-256"], 139_312),
    row("FFA_MEM_RECLAIM, 256 pages in one range", &["reclaim-256"], 8_610),
    row("FFA_MEM_SHARE, 64 pages in 64 ranges", &["share-64-ranges"], 40_236),
    row("FFA_MEM_RECLAIM, 64 pages in 64 ranges", &["reclaim-64-ranges"], 3_426),
    row("FFA_MEM_SHARE, 200 pages in 200 ranges", &["share-200-ranges"], 119_456),
    row("FFA_MEM_RECLAIM, 200 pages in 200 ranges", &["reclaim-200-ranges"], 7_098),
    row("FFA_MEM_SHARE refused at once", &["refused-at-once"], 832),
    row("FFA_MEM_SHARE refused for its one page", &["refused-page"], 2_057),
    row("FFA_MEM_SHARE refused after 255 good pages", &["refused-after-255"], 131_658),
];

/// At most this part of what Xen takes.
const BAR: f64 = 0.5;
/// What 256 contiguous pages may cost, in terms of one.
const RANGE_BAR: f64 = 2.0;

/// Counts, prints the table, and says whether every bar is met.
pub fn run(json: bool) -> Result<ExitCode> {
    let counts = count()?;
    let cost = |calls: &[&str]| -> Result<u64> {
        let costs =
            calls.iter().map(|call| counts.get(*call).with_context(|| format!("{call} was not timed")));
        costs.sum::<Result<u64>>()
    };
    let mut missed = 0;
    if !json {
        println!("{:<44}{:>9}{:>9}{:>8}{:>7}", "instructions at EL2", "ours", "Xen", "ratio", "bar");
    }
    for Row { what, calls, xen } in ROWS {
        let ours = cost(calls)?;
        let ratio = ours as f64 / *xen as f64;
        missed += u32::from(ratio > BAR);
        print(json, what, ours, *xen, ratio, BAR);
    }
    for (what, many, one) in [
        ("FFA_MEM_SHARE, 256 pages beside 1", "share-256", "share-1"),
        ("FFA_MEM_RECLAIM, 256 pages beside 1", "reclaim-256", "reclaim-1"),
    ] {
        let (many, one) = (cost(&[many])?, cost(&[one])?);
        let ratio = many as f64 / one as f64;
        missed += u32::from(ratio > RANGE_BAR);
        print(json, what, many, one, ratio, RANGE_BAR);
    }
    if missed > 0 {
        eprintln!("{missed} of {} rows miss their bar", ROWS.len() + 2);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(json: bool, what: &str, ours: u64, other: u64, ratio: f64, bar: f64) {
    let met = ratio <= bar;
    if json {
        println!(
            r#"{{"case":"{what}","instructions":{ours},"other_instructions":{other},"bar":{bar},"ok":{met}}}"#
        );
    } else {
        let verdict = if met { "ok" } else { "FAIL" };
        println!("{what:<44}{ours:>9}{other:>9}{ratio:>8.2}{bar:>7.2}  {verdict}");
    }
}

/// Instructions at EL2 of each call, by its name.
fn count() -> Result<HashMap<String, u64>> {
    let qemu = setup::qemu()?;
    let images = image::build(Profile::Release)?;
    // Xen was measured on OP-TEE. It takes no buffers of VMs, so no call of a guest needs another one for them.
    let told = vec![("scenario", "bench".to_owned()), ("spmc", "optee".to_owned())];
    let machine = Machine { cpus: 1, told, ..Machine::new(qemu, images, LIMIT) };
    let mut lines = Vec::new();
    let ended = machine.run(|line| lines.push(line.to_owned()))?;
    ensure!(ended == Ended::Exited(0), "the images ended with {ended:?}:\n{}", lines.join("\n"));

    let mut residue = None;
    let mut counts = HashMap::new();
    for line in &lines {
        let Some((_, timed)) = line.split_once("bench ") else { continue };
        let fields: Vec<&str> = timed.split(' ').collect();
        let number =
            |text: &str| text.parse::<u64>().with_context(|| format!("{line:?} is not what it should be"));
        match fields[..] {
            ["residue", ticks] => residue = Some(number(ticks)?),
            [call, ticks, smcs] => {
                let residue = residue.context("the hypervisor did not say what an SMC leaves")?;
                counts.insert(call.to_owned(), number(ticks)?.saturating_sub(residue * number(smcs)?));
            }
            _ => {}
        }
    }
    Ok(counts)
}
