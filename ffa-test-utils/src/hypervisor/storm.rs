//! Many VMs that die together.

use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec::Vec;

use ffa_abi::{Function, PartitionId, Status, Version, VmAvailability};
use ffa_hyp_glue::{Creation, Outcome, ProbeFailure, Settings};
use ffa_teardown::{Span, Time};

use super::model::{Machine, ModelHypervisor};
use super::vm::Region;
use crate::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use crate::scenario::{Guest, GuestCpu, GuestOp, Instruction, Layout, Pages, run_guest};
use crate::spmc::{Config, Limits, Mangling, Preset, Script, SpConfig};
use crate::timeline::Summary;

/// How many VMs, and how much each has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Storm {
    /// VMs, at most 32,000.
    pub vms: u16,
    /// Shares of each, at most 32.
    pub shares: u8,
    /// Chooses the answers that are bad.
    pub seed: u64,
    /// The mediator's settings.
    pub settings: Settings,
}

/// How a storm went.
#[derive(Clone, Debug, PartialEq)]
pub struct StormReport {
    /// The counts.
    pub summary: Summary,
    /// Things that were not as they must be.
    pub wrong: Vec<String>,
    /// Obligations at the moment of death: messages and shares.
    pub obligations: u64,
    /// Answers that were spoiled.
    pub bad_answers: u64,
    /// Ticks of the teardown.
    pub ticks: u64,
    /// The most secure calls that one tick made, and the budget.
    pub most_smcs: (u64, u32),
    /// Steps and seam calls of the teardown.
    pub operations: u64,
    /// Virtual time from the death of all until nothing was left but what is kept.
    pub took: Span,
    /// VMs that were gone when the first second was over.
    pub gone_in_first_second: u32,
}

impl StormReport {
    /// Steps and seam calls for each obligation.
    #[must_use]
    pub fn cost(&self) -> f64 {
        self.operations as f64 / self.obligations.max(1) as f64
    }
}

pub(super) const LAYOUT: Layout = Layout { block: 0x4000_0000, loose: 0x7000_0000 };
const GOOD: [PartitionId; 3] = [PartitionId(0x8001), PartitionId(0x8002), PartitionId(0x8003)];
const STUCK: PartitionId = PartitionId(0x8004);
/// One VM in so many has its last share with the partition that never lets go.
const ONE_STUCK_IN: u16 = 100;
/// No retry and no back-off of the default policy is longer than a second: what has not come back by then will not.
const PATIENCE: Span = Span::from_secs(30);

impl Storm {
    /// Creates all VMs, lets them share, kills them, and waits until only what cannot come back is left. `progress` is
    /// told how far it is.
    ///
    /// # Errors
    /// [`ProbeFailure`], if the settings make the secure world unusable.
    pub fn run(&self, mut progress: impl FnMut(&str)) -> Result<StormReport, ProbeFailure> {
        let mut hypervisor = ModelHypervisor::new(self.machine())?;
        let mut wrong = Vec::new();
        self.live(&mut hypervisor, &mut wrong, &mut progress);

        let partitions = GOOD.len() as u64 + 1;
        let obligations = u64::from(self.vms) * (partitions + u64::from(self.shares));
        let (operations, (ticks, _)) = (hypervisor.operations(), hypervisor.ticks());
        *hypervisor.plan_mut() = self.faults();
        let start = hypervisor.now();
        for vm in self.ids() {
            if let Err(error) = hypervisor.destroy(vm) {
                wrong.push(format!("{error}"));
            }
        }
        let (took, gone_in_first_second) = self.die(&mut hypervisor, start, &mut progress);
        let bad_answers = hypervisor.plan_mut().fired_total();
        let report = StormReport {
            obligations,
            bad_answers,
            ticks: hypervisor.ticks().0 - ticks,
            most_smcs: (hypervisor.ticks().1, self.settings.budget),
            operations: hypervisor.operations() - operations,
            took,
            gone_in_first_second,
            summary: self.summary(&hypervisor),
            wrong,
        };
        Ok(self.judge(report, &mut hypervisor))
    }

    fn ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (1..=self.vms).map(PartitionId)
    }

    fn machine(&self) -> Machine {
        let secure = Config {
            limits: Limits { shares: u32::MAX, store_bytes: u64::MAX, ..Preset::Strict.config().limits },
            writes_per_call: 1,
            ..Preset::Strict.config()
        };
        let good = GOOD.map(|id| SpConfig::new(id, Script::GOOD));
        let sps = good.into_iter().chain([SpConfig::new(STUCK, Script::STUCK)]);
        let vms = usize::from(self.vms);
        let shares = usize::from(self.shares);
        Machine {
            settings: Settings {
                shares_per_vm: u32::from(self.shares).max(1),
                pages_per_vm: u32::MAX,
                ..self.settings
            },
            frames: u32::from(self.vms) * (2 + 3 * u32::from(self.shares)) + 16,
            vms,
            // The SPs that it is told of, its buffers, its shares.
            duties: vms * (GOOD.len() + 1 + 1 + shares),
            ranges: 2 + 2 * shares,
            log: 0,
            ..Machine::new(secure, sps)
        }
    }

    /// One answer in a hundred is bad, to each kind of call of a teardown. None of them is a lie.
    fn faults(&self) -> FaultPlan {
        let reclaim = CallKind::function(Function::MemReclaim);
        let destroyed = CallKind::vm_message(VmAvailability::Destroyed);
        let fault = |call, action| Fault { call, when: When::OneIn(600), action };
        let faults = [
            fault(reclaim, FaultAction::Refuse(Status::Busy.into())),
            fault(reclaim, FaultAction::Refuse(Status::Denied.into())),
            fault(reclaim, FaultAction::Refuse(Status::Aborted.into())),
            fault(reclaim, FaultAction::Lose(Status::InvalidParameters.into())),
            fault(reclaim, FaultAction::W0(0xffff_ffff)),
            fault(reclaim, FaultAction::CodeInW1(Status::Retry)),
            fault(destroyed, FaultAction::RefuseAsPartition(Status::Retry.into())),
            fault(destroyed, FaultAction::RefuseAsPartition(Status::Interrupted.into())),
            fault(destroyed, FaultAction::Refuse(Status::Busy.into())),
            fault(destroyed, FaultAction::Interrupt(2)),
            fault(destroyed, FaultAction::Yield(1, Span::from_nanos(100_000))),
            fault(destroyed, FaultAction::Mangle(Mangling::WrongCode)),
        ];
        FaultPlan::seeded(self.seed, faults)
    }

    fn live(
        &self,
        hypervisor: &mut ModelHypervisor,
        wrong: &mut Vec<String>,
        progress: &mut impl FnMut(&str),
    ) {
        let (usual, stuck) = (self.program(GOOD[2]), self.program(STUCK));
        for vm in self.ids() {
            let pages = 2 + 3 * u32::from(self.shares);
            match hypervisor.create(vm, &[Region::block(LAYOUT.block, pages)]) {
                Ok(Creation::Live) => {}
                other => wrong.push(format!("VM {vm}: {other:?}")),
            }
            let program = if vm.0 % ONE_STUCK_IN == 1 { stuck } else { usual };
            let guest = Guest { vm, block_pages: pages as u16, loose_pages: 0, acquainted: &[], program };
            let mut cpu = Lightweight { hypervisor, vm, wrong };
            run_guest(&mut cpu, LAYOUT, &guest);
            if vm.0 % 64 == 0 {
                progress(&format!("{} of {} VMs live and share", vm.0, self.vms));
            }
        }
    }

    fn program(&self, last: PartitionId) -> &'static [GuestOp] {
        let mut program = Vec::from([GuestOp::Version(Version::V1_1, Version::V1_1), GuestOp::Map]);
        for share in 0..u16::from(self.shares) {
            let first = 2 + 3 * share;
            let pages = match share % 3 {
                0 => Pages::block(first, 2).with_gaps(),
                1 => Pages::block(first, 3),
                _ => Pages::block(first, 1),
            };
            let whose = GOOD[usize::from(share) % GOOD.len()];
            let with = if share + 1 == u16::from(self.shares) { last } else { whose };
            program.push(GuestOp::Share(pages, with));
        }
        // A program is constant data everywhere else. There are two of them in a run.
        Box::leak(program.into_boxed_slice())
    }

    /// Lets time pass until nothing happens any more but retries of what never comes back.
    fn die(
        &self,
        hypervisor: &mut ModelHypervisor,
        start: Time,
        progress: &mut impl FnMut(&str),
    ) -> (Span, u32) {
        let second = start + Span::from_secs(1);
        let limit = start + PATIENCE;
        let (mut last, mut gone_in_first_second) = (start, None);
        let mut reclaimed = hypervisor.tally().reclaimed;
        while hypervisor.deadline().is_some() && hypervisor.now() < limit {
            if gone_in_first_second.is_none() && hypervisor.now() >= second {
                gone_in_first_second = Some(self.gone(hypervisor));
            }
            hypervisor.advance(Span::from_millis(10));
            let now_reclaimed = hypervisor.tally().reclaimed;
            if now_reclaimed != reclaimed {
                (reclaimed, last) = (now_reclaimed, hypervisor.now());
            }
            let all = u64::from(self.vms) * u64::from(self.shares);
            progress(&format!("{reclaimed} of {all} shares are back after {} s", hypervisor.now()));
        }
        let gone = gone_in_first_second.unwrap_or_else(|| self.gone(hypervisor));
        (last.since(start), gone)
    }

    fn gone(&self, hypervisor: &ModelHypervisor) -> u32 {
        self.ids().filter(|&vm| hypervisor.report(vm).is_none()).count() as u32
    }

    fn summary(&self, hypervisor: &ModelHypervisor) -> Summary {
        let tally = hypervisor.tally();
        let (mut quarantined, mut zombies) = (0, 0);
        for report in self.ids().filter_map(|vm| hypervisor.report(vm)) {
            quarantined += report.quarantined;
            zombies += u32::from(report.referenced);
        }
        Summary {
            scenario: "storm",
            shares: tally.shares,
            reclaimed: tally.reclaimed,
            gone: tally.gone,
            quarantined,
            pages_held: hypervisor.frames().orphans,
            zombies,
            smcs: hypervisor.smcs(),
            violations: hypervisor.violation_count(),
        }
    }

    /// The SPs are restarted and the operator retries: what comes back now shows whether all was done in order before.
    fn clean_up(&self, hypervisor: &mut ModelHypervisor) {
        *hypervisor.plan_mut() = FaultPlan::none();
        for sp in GOOD.into_iter().chain([STUCK]) {
            hypervisor.restart(sp);
        }
        // It fails for no VM when all are meant.
        let _ = hypervisor.retry(None);
        hypervisor.advance(Span::from_secs(2));
    }

    fn judge(&self, mut report: StormReport, hypervisor: &mut ModelHypervisor) -> StormReport {
        let Summary { shares, reclaimed, quarantined, zombies, .. } = report.summary;
        let stuck = u32::from(self.vms.div_ceil(ONE_STUCK_IN)) * u32::from(self.shares > 0);
        let mut expect = |good: bool, what: String| {
            if !good {
                report.wrong.push(what);
            }
        };
        let all = u32::from(self.vms) * u32::from(self.shares);
        expect(shares == all, format!("{shares} shares, not {all}"));
        let left: u32 = self.ids().filter_map(|vm| hypervisor.report(vm)).map(|report| report.shares).sum();
        expect(reclaimed + left == all, format!("{reclaimed} shares are back and {left} are left, of {all}"));
        expect(
            left <= quarantined + stuck,
            format!("{left} shares are left, {quarantined} of them quarantined"),
        );
        expect(zombies <= quarantined + stuck, format!("{zombies} zombies for {left} shares"));
        let (most, budget) = report.most_smcs;
        expect(
            most <= u64::from(budget),
            format!("one tick made {most} secure calls, its budget is {budget}"),
        );
        self.clean_up(hypervisor);
        for violation in hypervisor.violations() {
            report.wrong.push(format!("{violation}"));
        }
        report.summary.violations = hypervisor.violation_count();
        report
    }
}

/// A guest of which there are many.
pub(super) struct Lightweight<'a> {
    pub hypervisor: &'a mut ModelHypervisor,
    pub vm: PartitionId,
    pub wrong: &'a mut Vec<String>,
}

impl GuestCpu for Lightweight<'_> {
    fn call(&mut self, _: Instruction, regs: &mut ffa_abi::Regs) {
        if self.hypervisor.call(self.vm, 0, regs) != Ok(Outcome::Return) {
            self.wrong(format_args!("a call was not served"));
        }
    }

    fn read(&mut self, address: u64) -> u64 {
        let mut word = [0; 8];
        self.hypervisor.read(self.vm, address, &mut word);
        u64::from_le_bytes(word)
    }

    fn write(&mut self, address: u64, value: u64) {
        self.hypervisor.write(self.vm, address, &value.to_le_bytes());
    }

    fn is_aborted(&mut self, address: u64, value: Option<u64>) -> bool {
        match value {
            Some(value) => self.hypervisor.store(self.vm, address, &value.to_le_bytes()).is_err(),
            None => self.hypervisor.load(self.vm, address, &mut [0; 8]).is_err(),
        }
    }

    fn sleep(&mut self, span: Span) {
        self.hypervisor.advance(span);
    }

    fn interrupted(&mut self, _: u32, _: Span) -> bool {
        false
    }

    fn wrong(&mut self, what: core::fmt::Arguments<'_>) {
        self.wrong.push(format!("guest {}: {what}", self.vm));
    }
}
