//! How receivers hear of what is pending: virtual interrupts, FFA_NOTIFICATION_INFO_GET, and the schedule receiver
//! interrupt of the secure world.

use ffa_abi::{
    Answer, FirmwareStatus, NotificationInfo, NotificationInfoError, NotificationInfoGet, PendingReceiver,
    Regs, Status, Width,
};
use ffa_teardown::{Span, VmKey};

use crate::dispatch::Reply;
use crate::mediator::Guard;
use crate::{Mediator, Platform, Stores};

/// When to ask the SPMC again that has more to tell, or no time; when to look again how another CPU's work went.
pub(crate) const SOON: Span = Span::from_millis(1);

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// The secure world has raised its schedule receiver interrupt
    /// ([`Spmc::schedule_receiver_interrupt`](crate::Spmc::schedule_receiver_interrupt)): notifications of SPs are pending for
    /// VMs. Makes [`Settings::budget`](crate::Settings::budget) secure calls at most; ticks do the rest.
    pub fn schedule_receivers(&self, hyp: &mut P) {
        let more =
            (0..self.settings.budget).map(|_| self.schedule_some(hyp)).find(|left| *left != Left::More);
        if more != Some(Left::Nothing) {
            self.schedule_soon(hyp);
        }
    }

    /// Begins a tick: goes on with what [`schedule_receivers`](Self::schedule_receivers) left, one secure call's worth.
    /// Returns whether it made one.
    pub(crate) fn go_on_scheduling(&self, hyp: &mut P) -> bool {
        let now = hyp.now();
        let mut state = self.lock();
        state.look_at = state.look_at.filter(|&at| at > now);
        if state.schedule_at.is_none_or(|at| at > now) {
            return false;
        }
        state.schedule_at = None;
        drop(state);
        if self.schedule_some(hyp) != Left::Nothing {
            self.schedule_soon(hyp);
        }
        true
    }

    /// Asks the SPMC for receivers and interrupts them.
    fn schedule_some(&self, hyp: &mut P) -> Left {
        let answer = self.call_once(hyp, &NotificationInfoGet { width: Width::Smc64 }.to_regs());
        let info = match NotificationInfo::from_answer(&answer) {
            Ok(info) => info,
            Err(NotificationInfoError::NotSuccess(Answer::Error(FirmwareStatus::Known(status)))) => {
                let passes = matches!(status, Status::Busy | Status::Retry | Status::Interrupted);
                return if passes { Left::Later } else { Left::Nothing };
            }
            Err(NotificationInfoError::NotSuccess(Answer::Interrupt(_) | Answer::Yield { .. })) => {
                return Left::Later;
            }
            Err(_) => return Left::Nothing,
        };
        for PendingReceiver { endpoint, vcpu } in info.receivers() {
            let mut state = self.lock();
            // Others are the secure world's business.
            let Some(vm) = state.engine.find(endpoint) else { continue };
            let Ok(record) = state.record(vm) else { continue };
            if record.inbox.spmc_has(record.vcpus.as_mut(), vcpu) {
                drop(state);
                self.notify(hyp, vm, vcpu);
            }
        }
        if info.more_pending { Left::More } else { Left::Nothing }
    }

    fn schedule_soon(&self, hyp: &mut P) {
        let now = hyp.now();
        let mut state = self.lock();
        state.schedule_at.get_or_insert(now + SOON);
        hyp.arm(state.next_deadline());
    }

    /// A vCPU of a VM can take interrupts from now on. It gets the one that it was not there for.
    pub fn vcpu_online(&self, hyp: &mut P, vm: VmKey, vcpu: u16) {
        let mut state = self.lock();
        let Ok(record) = state.record(vm) else { return };
        let pending = record.inbox.is_pending(record.vcpus.as_mut(), vcpu);
        drop(state);
        if pending {
            self.notify(hyp, vm, Some(vcpu));
        }
    }

    /// Interrupts a VM that has something pending. If nobody is there to take it,
    /// [`vcpu_online`](Self::vcpu_online) finds it.
    pub(crate) fn notify(&self, hyp: &mut P, vm: VmKey, vcpu: Option<u16>) {
        let Some(interrupts) = self.settings.interrupts else { return };
        let only_schedules = self.lock().record(vm).is_ok_and(|record| record.asked.only_schedules());
        let intid =
            if only_schedules { interrupts.schedule_receiver } else { interrupts.notification_pending };
        let _found_later = hyp.raise(vm.id(), vcpu, intid);
    }

    /// A guest is the scheduler of its own vCPUs, and of nobody else.
    pub(crate) fn notification_info_get(
        &self,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        get: NotificationInfoGet,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let record = state.record(vm)?;
        let mut info = NotificationInfo::new(get.width);
        let all = record.inbox.tell(record.vcpus.as_mut(), |vcpu| {
            info.push(PendingReceiver { endpoint: vm.id(), vcpu }).is_ok()
        });
        info.more_pending = !all;
        if info.is_empty() {
            return Err(Status::NoData);
        }
        *regs = info.to_regs();
        Ok(Reply::InPlace)
    }
}

/// What the SPMC has yet to tell of.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Left {
    Nothing,
    More,
    /// Nobody knows: it did not answer for now.
    Later,
}

/// Which of its interrupts a guest has asked for with FFA_FEATURES.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) notification_pending: bool,
    pub(crate) schedule_receiver: bool,
}

impl Asked {
    /// Linux before 6.8 knows of no notification pending interrupt, and asks for what is pending when it is to schedule.
    fn only_schedules(self) -> bool {
        self.schedule_receiver && !self.notification_pending
    }
}
