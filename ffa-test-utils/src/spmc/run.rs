use ffa_abi::{Answer, PartitionId, Regs, RunTarget, Status, Version};

use super::check::RunCheck;
use super::memory::PhysMemory;
use super::model::{SpmcModel, error};
use super::partition::Context;

impl SpmcModel {
    /// FFA_RUN.
    pub(super) fn run(&mut self, memory: &mut dyn PhysMemory, cpu: u16, regs: &Regs) -> Regs {
        let target = RunTarget::from_word(regs.w::<1>());
        for &(check, status) in self.config.run {
            if self.run_broken(check, cpu, target, regs) {
                return error(status);
            }
        }
        match self.context(target) {
            Some(Context::Waiting) => {
                if let Some(partition) = self.partition_mut(target.endpoint) {
                    partition.take_pending();
                }
                Answer::MsgWait.to_regs()
            }
            Some(Context::Paused { not_before, .. }) if self.now < not_before => {
                let timeout = not_before.since(self.now).as_nanos();
                Answer::Yield { target, timeout }.to_regs()
            }
            Some(Context::Paused { job, .. }) => self.proceed(memory, target, job),
            None => error(Status::InvalidParameters),
        }
    }

    fn context(&self, target: RunTarget) -> Option<Context> {
        self.partition(target.endpoint)?.contexts.get(usize::from(target.vcpu)).copied()
    }

    fn run_broken(&self, check: RunCheck, cpu: u16, target: RunTarget, regs: &Regs) -> bool {
        let partition = self.partition(target.endpoint);
        let paused = matches!(self.context(target), Some(Context::Paused { .. }));
        match check {
            RunCheck::HighRegisters => {
                self.caller_version() >= Version::V1_2 && regs.0.iter().skip(8).any(|&x| x != 0)
            }
            RunCheck::NormalWorld => !target.endpoint.is_secure(),
            RunCheck::UnknownTarget => partition.is_none(),
            // A script may preempt the built-in partition although the real one never is.
            RunCheck::BuiltIn => self.is_built_in(target.endpoint) && !paused,
            RunCheck::WrongContext => partition.is_some_and(|sp| {
                usize::from(target.vcpu) >= sp.contexts.len() || sp.context_for(cpu) != target.vcpu
            }),
            RunCheck::Crashed => partition.is_some_and(|sp| sp.crashed),
            RunCheck::NotPreempted => !paused && partition.is_none_or(|sp| !sp.has_pending()),
        }
    }

    /// Whether a message to this endpoint waits for FFA_RUN.
    #[must_use]
    pub fn is_paused(&self, sp: PartitionId) -> bool {
        self.partition(sp).is_some_and(|sp| sp.contexts.iter().any(|context| *context != Context::Waiting))
    }
}
