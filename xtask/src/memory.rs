//! `cargo xtask bench --memory`: what state costs in bytes.
//!
//! What a hypervisor has to lend for a share is found by trying: the least room in which a modelled one can make it.

use std::process::ExitCode;

use anyhow::{Context, Result};
use ffa_test_utils::hypervisor::{Footprint, Load, Room};

/// One line of the table.
struct Row {
    what: String,
    ranges: u32,
    bytes: usize,
    limit: usize,
}

/// Finds them, prints the table, and says whether every limit is kept.
pub fn run(json: bool) -> Result<ExitCode> {
    let rows = rows()?;
    if !json {
        println!("{:<44}{:>8}{:>10}{:>10}", "bytes", "ranges", "ours", "limit");
    }
    let missed = rows.iter().filter(|row| !row.is_met()).count();
    for row in &rows {
        println!("{}", if json { row.json() } else { row.text() });
    }
    if missed > 0 {
        eprintln!("{missed} of {} rows pass their limit", rows.len());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn rows() -> Result<Vec<Row>> {
    let (ours, limit) = (Footprint::MEASURED, Footprint::LIMIT);
    let parts = [
        ("a VM", ours.vm, limit.vm),
        ("a vCPU", ours.vcpu, limit.vcpu),
        ("room for a half-sent share", ours.draft, limit.draft),
        ("an SP that is told of a VM", ours.sp, limit.sp),
    ];
    let mut rows: Vec<_> = parts
        .into_iter()
        .map(|(what, bytes, limit)| Row { what: what.to_owned(), ranges: 0, bytes, limit })
        .collect();
    let least = |load: &Load| Room::least(load).with_context(|| format!("no room is enough: {}", load.what));
    let idle = least(&Load::IDLE)?;
    for load in Load::ALL {
        rows.push(Row {
            what: format!("a share of {}", load.what),
            ranges: load.ranges,
            bytes: least(load)?.bytes() - idle.bytes(),
            limit: limit.share + limit.range * load.ranges as usize,
        });
    }
    Ok(rows)
}

impl Row {
    const fn is_met(&self) -> bool {
        self.bytes <= self.limit
    }

    fn text(&self) -> String {
        let Self { what, ranges, bytes, limit } = self;
        let ranges = if *ranges == 0 { String::new() } else { ranges.to_string() };
        let verdict = if self.is_met() { "ok" } else { "FAIL" };
        format!("{what:<44}{ranges:>8}{bytes:>10}{limit:>10}  {verdict}")
    }

    fn json(&self) -> String {
        let Self { what, ranges, bytes, limit } = self;
        let met = self.is_met();
        format!(r#"{{"case":"{what}","ranges":{ranges},"bytes":{bytes},"limit":{limit},"ok":{met}}}"#)
    }
}
