//! Notifications, from and to SPs and other VMs.

use core::fmt;

use ffa_abi::{
    Call, FeatureId, FeatureQuery, NotificationBind, NotificationBitmap, NotificationGet, NotificationInfo,
    NotificationInfoGet, NotificationScope, NotificationSet, NotificationSources, NotificationUnbind,
    PartitionId, PendingNotifications, PendingReceiver, Status, Width,
};
use ffa_teardown::Span;

use super::{GuestCpu, Interpreter};
use crate::spmc::Control;

/// How long an interrupt is waited for that must come.
const PATIENCE: Span = Span::from_secs(1);

/// Every source of notifications.
const ALL: NotificationSources = NotificationSources::SPS
    .or(NotificationSources::VMS)
    .or(NotificationSources::SPM)
    .or(NotificationSources::HYPERVISOR);

impl<C: GuestCpu> Interpreter<'_, C> {
    pub(super) fn bind(&mut self, sender: PartitionId, bitmap: NotificationBitmap) {
        let scope = NotificationScope::Global;
        let bind = NotificationBind { sender, receiver: self.id, scope, bitmap };
        self.succeed("FFA_NOTIFICATION_BIND", &bind.to_regs());
    }

    pub(super) fn unbind(&mut self, sender: PartitionId, bitmap: NotificationBitmap) {
        let unbind = NotificationUnbind { sender, receiver: self.id, bitmap };
        self.succeed("FFA_NOTIFICATION_UNBIND", &unbind.to_regs());
    }

    pub(super) fn signal(&mut self, receiver: PartitionId, bitmap: NotificationBitmap) {
        let set =
            NotificationSet { sender: self.id, receiver, vcpu: None, delay_schedule_receiver: false, bitmap };
        if !receiver.is_secure() {
            self.succeed("FFA_NOTIFICATION_SET", &set.to_regs());
            return;
        }
        let allow = Control::AllowNotifications { vm: self.id, ids: bitmap };
        if self.ask(receiver, allow).is_none() {
            self.refused("FFA_NOTIFICATION_SET that no SP can allow", &set.to_regs(), Status::NotSupported);
            return;
        }
        self.succeed("FFA_NOTIFICATION_SET", &set.to_regs());
        let taken = self.ask(receiver, Control::TakeNotifications);
        let taken = taken.map(|[low, high]| NotificationBitmap::from_words(low, high));
        self.expect(taken == Some(bitmap), format_args!("SP {receiver} was signalled {taken:x?}"));
    }

    pub(super) fn wait_for_interrupt(&mut self) {
        let query = FeatureQuery::Feature(FeatureId::NotificationPendingInterrupt);
        let features = "FFA_FEATURES of the notification pending interrupt";
        let Some((intid, _)) = self.succeed(features, &Call::Features(query).to_regs()) else { return };
        let came = self.cpu.interrupted(intid as u32, PATIENCE);
        self.expect(came, format_args!("interrupt {intid} did not come"));
    }

    pub(super) fn inform(&mut self) {
        let get = NotificationInfoGet { width: Width::Smc64 };
        let mut expected = NotificationInfo::new(get.width);
        let whole = PendingReceiver { endpoint: self.id, vcpu: None };
        let fits = expected.push(whole).is_ok();
        let answer = self.call("FFA_NOTIFICATION_INFO_GET", &get.to_regs());
        let good = fits && answer == expected.to_regs();
        self.expect(good, format_args!("FFA_NOTIFICATION_INFO_GET says {:x?}", answer.0));
    }

    pub(super) fn take(&mut self, pending: PendingNotifications) {
        let get = NotificationGet { receiver: self.id, vcpu: 0, sources: ALL };
        let answer = self.call("FFA_NOTIFICATION_GET", &get.to_regs());
        let found = PendingNotifications::from_answer(&answer);
        self.expect(found == Ok(pending), format_args!("{} instead of {}", Found(found), Found(Ok(pending))));
    }
}

/// What FFA_NOTIFICATION_GET says, on one line.
struct Found(Result<PendingNotifications, ffa_abi::Answer>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(PendingNotifications { from_sps, from_vms, from_spm, from_hypervisor }) => write!(
                f,
                "{:#x} of SPs, {:#x} of VMs, {:#x} of the SPM, {:#x} of the hypervisor pending",
                from_sps.0, from_vms.0, from_spm.0, from_hypervisor.0
            ),
            Err(answer) => write!(f, "{answer:?}"),
        }
    }
}
