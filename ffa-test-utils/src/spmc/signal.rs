//! How partitions signal VMs, and how the scheduler in the normal world hears of it.

use ffa_abi::{
    FunctionId, NotificationBitmap, NotificationInfo, NotificationScope, PartitionId, PendingReceiver, Regs,
    Status, Width,
};

use super::check::InfoGetCheck;
use super::model::{SpmcModel, error};

impl SpmcModel {
    /// Partition `sp` sets notifications of `vm`: globally, or for one vCPU.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` if this secure world has no notifications; `INVALID_PARAMETERS` if there is no such partition,
    /// VM or vCPU; `DENIED` if a notification is not bound to the partition in this scope.
    pub fn set_notification(
        &mut self,
        sp: PartitionId,
        vm: PartitionId,
        ids: NotificationBitmap,
        vcpu: Option<u16>,
    ) -> Result<(), Status> {
        if self.config.notifications.is_none() {
            return Err(Status::NotSupported);
        }
        let alive = self.partition(sp).is_some_and(|sp| !sp.crashed);
        let kept = self.vms.get_mut(&vm).filter(|_| alive).ok_or(Status::InvalidParameters)?;
        let vcpus = kept.vcpus.ok_or(Status::InvalidParameters)?;
        if vcpu.is_some_and(|vcpu| u32::from(vcpu) >= vcpus) {
            return Err(Status::InvalidParameters);
        }
        if !kept.notifications.settable(sp, vcpu).contains(ids) {
            return Err(Status::Denied);
        }
        kept.notifications.set(ids, vcpu);
        self.sri = true;
        Ok(())
    }

    /// Partition `sp` lets `vm` set some of its notifications, globally.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` if VMs cannot set notifications in this secure world; `INVALID_PARAMETERS` if there is no such
    /// partition; `DENIED` if one of them is another VM's, or pending.
    pub fn allow_notifications(
        &mut self,
        sp: PartitionId,
        vm: PartitionId,
        ids: NotificationBitmap,
    ) -> Result<(), Status> {
        self.config.notifications.and_then(|rules| rules.set).ok_or(Status::NotSupported)?;
        let partition = self.partition_mut(sp).ok_or(Status::InvalidParameters)?;
        let notifications = &mut partition.notifications;
        let others = notifications.bound().without(notifications.bound_to(vm));
        if !ids.and(others.or(notifications.pending())).is_empty() {
            return Err(Status::Denied);
        }
        notifications.bind(vm, NotificationScope::Global, ids);
        Ok(())
    }

    /// Whether the secure world asserts the schedule receiver interrupt. Whoever owns the interrupt controller looks
    /// at it when the normal world is entered.
    #[must_use]
    pub fn is_sri_pending(&self) -> bool {
        self.sri
    }

    /// Takes the schedule receiver interrupt: its INTID, if it was pending.
    pub fn take_sri(&mut self) -> Option<u32> {
        let intid = self.config.notifications?.sri;
        core::mem::take(&mut self.sri).then_some(intid)
    }

    pub(super) fn notification_info_get(&mut self, id: FunctionId, regs: &Regs) -> Regs {
        let Some(rules) = self.config.notifications else { return error(Status::NotSupported) };
        for &(check, status) in rules.info {
            let broken = match check {
                InfoGetCheck::Narrow => id.width() == Width::Smc32,
                InfoGetCheck::Arguments => regs.0[1..8].iter().any(|&x| x != 0),
            };
            if broken {
                return error(status);
            }
        }
        let mut info = NotificationInfo::new(id.width());
        let vms = self.vms.iter_mut().map(|(&id, vm)| (id, &mut vm.notifications));
        let sps = self.partitions.iter_mut().map(|sp| (sp.id(), &mut sp.notifications));
        for (endpoint, notifications) in vms.chain(sps) {
            for vcpu in notifications.untold().collect::<alloc::vec::Vec<_>>() {
                if info.push(PendingReceiver { endpoint, vcpu }).is_err() {
                    info.more_pending = true;
                    return info.to_regs();
                }
                notifications.tell(vcpu);
            }
        }
        info.to_regs()
    }
}
