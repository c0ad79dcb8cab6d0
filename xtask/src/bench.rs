//! `cargo xtask bench`: what our code costs in instructions, beside the same work by arm-ffa.
//!
//! Callgrind counts every instruction of a process, so a figure is exact, and repeats with the same compiler.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::progress::Progress;
use crate::{process, setup, workspace};

/// One line of the table.
struct Row {
    what: &'static str,
    /// Our case, in the crate `benches`.
    ours: &'static str,
    /// Another case, and at most what multiple of it ours may cost.
    bar: Option<(&'static str, f64)>,
}

const fn row(what: &'static str, ours: &'static str) -> Row {
    Row { what, ours, bar: None }
}

const fn bar(what: &'static str, ours: &'static str, other: &'static str, factor: f64) -> Row {
    Row { what, ours, bar: Some((other, factor)) }
}

/// Cases of arm-ffa begin with this.
const PEER: &str = "peer-";

const ROWS: &[Row] = &[
    bar("decode FFA_MSG_SEND_DIRECT_REQ", "decode-direct-request", "peer-decode-direct-request", 1.0),
    bar("decode FFA_MEM_SHARE", "decode-mem-share", "peer-decode-mem-share", 1.0),
    bar("decode FFA_MEM_RECLAIM", "decode-mem-reclaim", "peer-decode-mem-reclaim", 1.0),
    bar("decode FFA_MEM_FRAG_TX", "decode-mem-frag-tx", "peer-decode-mem-frag-tx", 1.0),
    bar("decode FFA_RXTX_MAP", "decode-rxtx-map", "peer-decode-rxtx-map", 1.0),
    bar("decode FFA_SUCCESS", "decode-success", "peer-decode-success", 1.0),
    bar("decode VM_DESTROYED", "decode-vm-destroyed", "peer-decode-vm-destroyed", 1.0),
    bar("encode FFA_MSG_SEND_DIRECT_REQ", "encode-direct-request", "peer-encode-direct-request", 1.0),
    bar("encode FFA_MEM_SHARE", "encode-mem-share", "peer-encode-mem-share", 1.0),
    bar("encode FFA_MEM_RECLAIM", "encode-mem-reclaim", "peer-encode-mem-reclaim", 1.0),
    bar("encode FFA_MEM_FRAG_TX", "encode-mem-frag-tx", "peer-encode-mem-frag-tx", 1.0),
    bar("encode FFA_RXTX_MAP", "encode-rxtx-map", "peer-encode-rxtx-map", 1.0),
    bar("encode FFA_SUCCESS", "encode-success", "peer-encode-success", 1.0),
    bar("encode VM_DESTROYED", "encode-vm-destroyed", "peer-encode-vm-destroyed", 1.0),
    bar("check a share of 1 range", "check-1", "peer-check-1", 1.0),
    bar("check a share of 100 ranges", "check-100", "peer-check-100", 1.0),
    bar("check a share of 512 ranges", "check-512", "peer-check-512", 1.0),
    bar("parse a share of 1 range", "parse-1", "peer-parse-1", 1.0),
    bar("parse a share of 100 ranges", "parse-100", "peer-parse-100", 1.0),
    bar("parse a share of 512 ranges", "parse-512", "peer-parse-512", 0.6),
    bar("build a share of 1 range", "build-1", "peer-build-1", 1.0),
    bar("build a share of 100 ranges", "build-100", "peer-build-100", 1.0),
    bar("build a share of 512 ranges", "build-512", "peer-build-512", 1.0),
    row("mediator: FFA_MEM_SHARE + FFA_MEM_RECLAIM", "mediator-share-reclaim"),
    row("mediator: FFA_MSG_SEND_DIRECT_REQ", "mediator-direct-request"),
    row("teardown: one share reclaimed", "teardown-step"),
    row("teardown: one retry, 100 VMs wait", "queue-100"),
    bar("teardown: one retry, 10,000 VMs wait", "queue-10000", "queue-100", 1.5),
];

/// Iterations of the shorter run; the longer one has twice as many. What both have in common cancels out.
const ITERATIONS: u64 = 1000;

/// Counts, prints the table, and says whether every bar is met.
pub fn run(json: bool) -> Result<ExitCode> {
    let valgrind = setup::valgrind()?;
    let program = build()?;
    let mut cases: Vec<&str> = ROWS.iter().flat_map(|row| [Some(row.ours), row.other()]).flatten().collect();
    cases.sort_unstable();
    cases.dedup();
    let costs = count(&valgrind, &program, &cases)?;
    let cost_of = |case| cases.iter().zip(&costs).find(|(known, _)| **known == case).map(|(_, cost)| *cost);
    let mut missed = 0;
    if !json {
        println!("{:<43}{:>9}{:>13}{:>8}{:>7}", "instructions", "ours", "arm-ffa 0.5", "ratio", "bar");
    }
    for row in ROWS {
        let ours = cost_of(row.ours).expect("every case was counted");
        let other = row.other().and_then(cost_of);
        let met = row.is_met(ours, other);
        missed += u32::from(!met);
        println!("{}", if json { row.json(ours, other, met) } else { row.text(ours, other, met) });
    }
    if !json {
        println!("ratio: to arm-ffa, or for 10,000 VMs to 100 VMs");
    }
    if missed > 0 {
        eprintln!("{missed} of {} rows miss their bar", ROWS.len());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

impl Row {
    fn other(&self) -> Option<&'static str> {
        self.bar.map(|(other, _)| other)
    }

    fn is_met(&self, ours: f64, other: Option<f64>) -> bool {
        match (self.bar, other) {
            (Some((_, factor)), Some(other)) => ours <= other * factor,
            _ => true,
        }
    }

    fn text(&self, ours: f64, other: Option<f64>, met: bool) -> String {
        let name = format!("{:<43}{ours:>9.0}", self.what);
        let (Some((case, factor)), Some(other)) = (self.bar, other) else { return name };
        let peer = if case.starts_with(PEER) { format!("{other:.0}") } else { String::new() };
        let verdict = if met { "ok" } else { "FAIL" };
        format!("{name}{peer:>13}{:>8.2}{factor:>7.2}  {verdict}", ours / other)
    }

    fn json(&self, ours: f64, other: Option<f64>, met: bool) -> String {
        let mut line = format!(r#"{{"case":"{}","instructions":{ours:.3}"#, self.ours);
        if let (Some((case, factor)), Some(other)) = (self.bar, other) {
            line +=
                &format!(r#","other":"{case}","other_instructions":{other:.3},"bar":{factor},"ok":{met}"#);
        }
        line + "}"
    }
}

/// Builds the crate with all cases.
fn build() -> Result<PathBuf> {
    let _progress = Progress::start("building the benchmarks");
    let target = workspace::target().join("benches");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--target-dir"]).arg(&target);
    process::output(cargo.current_dir(workspace::root().join("benches")))?;
    Ok(target.join("release/benches"))
}

/// What one iteration of each case costs, measured by as many processes at a time as there are CPUs.
fn count(valgrind: &Path, program: &Path, cases: &[&str]) -> Result<Vec<f64>> {
    let progress = Progress::start("counting instructions");
    let next = AtomicUsize::new(0);
    let work = || {
        let mut counted = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else { return Ok(counted) };
            progress.at(&format!("{case}, {} of {}", index + 1, cases.len()));
            let once = instructions(valgrind, program, case, ITERATIONS)?;
            let twice = instructions(valgrind, program, case, 2 * ITERATIONS)?;
            counted.push((index, twice.saturating_sub(once) as f64 / ITERATIONS as f64));
        }
    };
    let mut counted = thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| worker.join().expect("it does not panic"));
        results.collect::<Result<Vec<Vec<_>>>>()
    })?
    .concat();
    counted.sort_unstable_by_key(|(index, _)| *index);
    Ok(counted.into_iter().map(|(_, cost)| cost).collect())
}

/// The instructions of one whole process.
fn instructions(valgrind: &Path, program: &Path, case: &str, iterations: u64) -> Result<u64> {
    let mut command = Command::new(valgrind);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command.arg(case).arg(iterations.to_string());
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", process::describe(&command)))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{} failed ({}): {messages}", process::describe(&command), output.status);
    }
    messages
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .with_context(|| format!("{} did not say what it counted: {messages}", process::describe(&command)))
}
