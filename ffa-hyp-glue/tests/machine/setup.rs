//! The machine that a script runs on.

use ffa_abi::{PartitionId, Properties, Status};
use ffa_hyp_glue::{GuestInterrupts, LenderDeath, Settings};
use ffa_teardown::{AnswerClass, AnswerTable, Disposal, IdReuse, Policy, Row, Span, Verdict};
use ffa_test_utils::fault::{FaultPlan, Trust, When};
use ffa_test_utils::hypervisor::Machine;
use ffa_test_utils::spmc::{
    Cleanup, Crash, Outcome, Preset, Reaction, Receive, Refusal, Release, Script, SpConfig, Turn, Until,
};

use crate::catalogue::Plan;
use crate::common::{SP1, SP2, SP3};

pub const VMS: [PartitionId; 3] = [PartitionId(1), PartitionId(2), PartitionId(0x7fff)];
pub const SPS: [PartitionId; 3] = [SP1, SP2, SP3];

/// What a machine is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    pub preset: Preset,
    /// Which faults there may be.
    pub trust: Trust,
    pub sps: [Habit; 3],
    /// Quarantined pages go to the hypervisor's list, and the VM goes.
    pub hand_over: bool,
    /// IDs are free when what is owed was given up.
    pub ids_early: bool,
    /// SMCs of a tick.
    pub budget: u8,
    /// Obligations that there is room for.
    pub duties: u16,
    /// Page ranges of one VM that there is room for.
    pub ranges: u16,
    /// VMs that there is room for.
    pub vms: u8,
    /// Descriptors that a VM may have sent in part.
    pub drafts: u8,
    /// Borrowers of memory of other VMs that there is room for.
    pub loans: u8,
    /// Borrowers keep what a dead VM has lent them.
    pub keeps_loans: bool,
    /// A plan of the catalogue, row and position, that is in force from the first call on.
    pub boot: Option<(u8, u8)>,
    pub wrong: Wrong,
}

/// What is wrong on purpose, and there to be caught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wrong {
    Nothing,
    /// The mediator takes DENIED to a reclaim for a confirmation.
    Denied,
    /// The mediator takes ABORTED to a reclaim for a confirmation.
    Aborted,
    /// The mediator takes what was never sent for refused.
    Unsent,
    /// The mediator takes what may have heard of a VM's end for what has.
    Told,
}

/// How a partition behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Habit {
    Good,
    /// Takes memory, notifications and messages when asked to.
    Lazy,
    /// Preempted so often in each message, and yields once.
    Slow(u8),
    /// Lets go so many milliseconds after the end of a VM.
    Dma(u16),
    /// Lets go, and so many milliseconds later takes again what is not reclaimed.
    Again(u16),
    /// Never lets go.
    Stuck,
    /// As [`Script::lost`], until it is restarted.
    Lost(Status),
    /// So many reclaims are refused.
    Refuses(Status, u8),
    /// Gives this status to so many messages about the end of a VM.
    Objects(Status, u8),
    /// Wants no VM.
    Declines(Status),
    /// Dies of the end of a VM, and lets go when it is restarted.
    Dies,
}

impl Habit {
    fn script(self) -> Script {
        let refusal = |status, until| Some(Refusal { status, until });
        match self {
            Self::Good => Script::GOOD,
            Self::Lazy => Script { receive: Receive::WhenRun, ..Script::LAZY },
            Self::Slow(times) => {
                let turn = Turn::ACCEPT.preempted(times.into()).yields(1, Span::from_millis(5));
                let slow = Reaction::always(turn);
                Script::GOOD.on_created(slow).on_destroyed(slow).on_request(slow)
            }
            Self::Dma(ms) => Script::dma(Span::from_millis(ms.into())),
            Self::Again(ms) => {
                Script { release: Release::ThenRetrieveAgain(Span::from_millis(ms.into())), ..Script::GOOD }
            }
            Self::Stuck => Script::STUCK,
            Self::Lost(status) => Script::lost(status),
            Self::Refuses(status, times) => {
                Script { on_reclaim: refusal(status, Until::Times(times.into())), ..Script::GOOD }
            }
            Self::Objects(status, times) => {
                Script::GOOD.on_destroyed(Reaction::first(times.into(), Turn::refuse(status)))
            }
            Self::Declines(status) => Script::GOOD.on_created(Reaction::always(Turn::refuse(status))),
            Self::Dies => {
                let crash = Crash { cleanup: Cleanup::AtRestart, answer: None };
                let dies = Reaction::always(Turn::new(Outcome::Crash));
                Script { crash, ..Script::GOOD.on_destroyed(dies) }
            }
        }
    }
}

impl Setup {
    /// Room for everything, and partitions that behave.
    pub const fn new(preset: Preset, trust: Trust) -> Self {
        Self {
            preset,
            trust,
            sps: [Habit::Good; 3],
            hand_over: false,
            ids_early: false,
            budget: 16,
            duties: 200,
            ranges: 200,
            vms: 3,
            drafts: 2,
            loans: 8,
            keeps_loans: false,
            boot: None,
            wrong: Wrong::Nothing,
        }
    }

    pub fn machine(&self) -> Machine {
        let all = SpConfig::SUBSCRIBED
            .or(Properties::RECEIVES_NOTIFICATIONS)
            .or(Properties::INDIRECT_MESSAGES)
            .or(Properties::RECEIVES_DIRECT_REQUESTS2);
        // One with everything, one with a context for each CPU, one that is told of the end alone.
        let offers = [all, all, Properties::RECEIVES_DIRECT_REQUESTS.or(Properties::WANTS_VM_DESTROYED)];
        let sps = (0..3).map(|n| {
            let sp = SpConfig::new(SPS[n], self.sps[n].script()).with_properties(offers[n]);
            SpConfig { contexts: if n == 1 { 8 } else { 1 }, ..sp }
        });
        let mut answers = AnswerTable::DEFAULT;
        let is_done = |row: &mut Row, class| *row = row.with(&[class], Verdict::Done);
        match self.wrong {
            Wrong::Nothing => {}
            Wrong::Denied => is_done(&mut answers.mem_reclaim, AnswerClass::Denied),
            Wrong::Aborted => is_done(&mut answers.mem_reclaim, AnswerClass::Aborted),
            Wrong::Unsent => {
                answers.mem_send = answers.mem_send.with(&[AnswerClass::Aborted], Verdict::GiveUp);
            }
            Wrong::Told => is_done(&mut answers.vm_destroyed, AnswerClass::Retry),
        }
        let teardown = Policy {
            answers,
            disposal: if self.hand_over { Disposal::HandOver } else { Disposal::Zombie },
            id_reuse: if self.ids_early { IdReuse::WhenOver } else { IdReuse::WhenMet },
            ..Policy::DEFAULT
        };
        let settings = Settings {
            budget: self.budget.into(),
            interrupts: Some(GuestInterrupts::SGI),
            vm_to_vm: true,
            lender_death: if self.keeps_loans { LenderDeath::Keep } else { LenderDeath::Revoke },
            shares_per_vm: 8,
            teardown,
            ..Settings::DEFAULT
        };
        let boot = self.boot.and_then(|(row, plan)| Plan::find(row, plan));
        let faults = boot.into_iter().flat_map(|plan| plan.faults(When::Every));
        Machine {
            settings,
            plan: FaultPlan::new(faults.collect::<Vec<_>>()),
            frames: 600,
            vms: self.vms.into(),
            drafts: self.drafts.into(),
            loans: self.loans.into(),
            duties: self.duties.into(),
            ranges: self.ranges.into(),
            log: 512,
            ..Machine::new(self.preset, sps.collect::<Vec<_>>())
        }
    }
}
