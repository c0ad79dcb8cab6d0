//! The notification calls that the hypervisor makes for VMs.

use ffa_abi::{
    NotificationBitmap, NotificationScope, NotificationSources, PartitionId, PendingNotifications,
    Properties, Regs, Status,
};

use super::check::{BindCheck, BitmapCheck, Checks, GetCheck, SetCheck};
use super::model::{SpmcModel, error};
use super::notifications::Notifications;

/// Bit 0 of w2 of FFA_NOTIFICATION_BIND and FFA_NOTIFICATION_SET.
const PER_VCPU: u32 = 1;
/// Bit 1 of w2 of FFA_NOTIFICATION_SET.
const DELAY: u32 = 1 << 1;

/// Whether a register from number `first` to 7 is not zero.
fn used(regs: &Regs, first: usize) -> bool {
    regs.0[first..8].iter().any(|&x| x as u32 != 0)
}

fn named(regs: &Regs) -> NotificationBitmap {
    NotificationBitmap::from_words(regs.w::<3>(), regs.w::<4>())
}

impl SpmcModel {
    pub(super) fn bitmap_create(&mut self, regs: &Regs) -> Regs {
        let Some(rules) = self.config.notifications else { return error(Status::NotSupported) };
        let (vm, vcpus) = (PartitionId(regs.w::<1>() as u16), regs.w::<2>());
        let reserved = regs.w::<1>() >> 16 != 0 || used(regs, 3);
        for &(check, status) in rules.create {
            if self.bitmap_broken(check, vm, vcpus, reserved) {
                return error(status);
            }
        }
        self.vm_mut(vm).vcpus = Some(vcpus);
        Regs::success(0, 0)
    }

    pub(super) fn bitmap_destroy(&mut self, regs: &Regs) -> Regs {
        let Some(rules) = self.config.notifications else { return error(Status::NotSupported) };
        let vm = PartitionId(regs.w::<1>() as u16);
        let reserved = regs.w::<1>() >> 16 != 0 || used(regs, 2);
        for &(check, status) in rules.destroy {
            if self.bitmap_broken(check, vm, 1, reserved) {
                return error(status);
            }
        }
        if let Some(kept) = self.vms.get_mut(&vm) {
            (kept.vcpus, kept.notifications) = (None, Notifications::default());
        }
        self.free_unused(vm);
        Regs::success(0, 0)
    }

    fn bitmap_broken(&self, check: BitmapCheck, vm: PartitionId, vcpus: u32, reserved: bool) -> bool {
        let kept = self.vms.get(&vm);
        match check {
            BitmapCheck::Reserved => reserved,
            BitmapCheck::Secure => vm.is_secure(),
            BitmapCheck::Hypervisor => vm == PartitionId::HYPERVISOR,
            BitmapCheck::UnknownGuest => !self.is_known_guest(vm),
            BitmapCheck::NoVcpus => vcpus == 0,
            BitmapCheck::NoSlot => !self.has_slot(vm),
            BitmapCheck::Created => kept.is_some_and(|vm| vm.vcpus.is_some()),
            BitmapCheck::NotCreated => kept.is_none_or(|vm| vm.vcpus.is_none()),
            BitmapCheck::Pending => kept.is_some_and(|vm| !vm.notifications.pending().is_empty()),
            BitmapCheck::Bound => kept.is_some_and(|vm| !vm.notifications.bound().is_empty()),
        }
    }

    pub(super) fn notification_bind(&mut self, regs: &Regs) -> Regs {
        let Some(rules) = self.config.notifications else { return error(Status::NotSupported) };
        if let Err(status) = self.judge_binding(rules.bind, regs) {
            return error(status);
        }
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        let scope = match regs.w::<2>() & PER_VCPU {
            0 => NotificationScope::Global,
            _ => NotificationScope::PerVcpu,
        };
        self.vm_mut(receiver).notifications.bind(sender, scope, named(regs));
        self.free_unused(receiver);
        Regs::success(0, 0)
    }

    pub(super) fn notification_unbind(&mut self, regs: &Regs) -> Regs {
        let Some(rules) = self.config.notifications else { return error(Status::NotSupported) };
        if let Err(status) = self.judge_binding(rules.unbind, regs) {
            return error(status);
        }
        let (_, receiver) = PartitionId::split(regs.w::<1>());
        if let Some(vm) = self.vms.get_mut(&receiver) {
            vm.notifications.unbind(named(regs));
        }
        self.free_unused(receiver);
        Regs::success(0, 0)
    }

    fn judge_binding(&self, checks: Checks<BindCheck>, regs: &Regs) -> Result<(), Status> {
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        let (flags, ids) = (regs.w::<2>(), named(regs));
        let kept = self.vms.get(&receiver);
        let bound = kept.map(|vm| vm.notifications.bound()).unwrap_or_default();
        let to_sender = kept.map(|vm| vm.notifications.bound_to(sender)).unwrap_or_default();
        let pending = kept.map(|vm| vm.notifications.pending()).unwrap_or_default();
        let broken = |&&(check, _): &&(BindCheck, Status)| match check {
            BindCheck::Flags => flags != 0,
            BindCheck::FlagsReserved => flags & !PER_VCPU != 0,
            BindCheck::Reserved => used(regs, 5),
            BindCheck::Empty => ids.is_empty(),
            BindCheck::Receiver => receiver.is_secure(),
            BindCheck::Sender => self.partition(sender).is_none(),
            BindCheck::UnknownReceiver => kept.is_none(),
            BindCheck::UnknownGuest => !self.is_known_guest(receiver),
            BindCheck::NoBitmap => kept.is_none_or(|vm| vm.vcpus.is_none()),
            BindCheck::OtherSender => !ids.and(bound.without(to_sender)).is_empty(),
            BindCheck::Bound => !ids.and(bound).is_empty(),
            BindCheck::NotBound => !to_sender.contains(ids),
            BindCheck::Pending => !ids.and(pending).is_empty(),
        };
        checks.iter().find(broken).map_or(Ok(()), |&(_, status)| Err(status))
    }

    /// FFA_NOTIFICATION_SET of a VM.
    pub(super) fn notification_set(&mut self, regs: &Regs) -> Regs {
        let Some(checks) = self.config.notifications.and_then(|rules| rules.set) else {
            return error(Status::NotSupported);
        };
        let (_, receiver) = PartitionId::split(regs.w::<1>());
        let flags = regs.w::<2>();
        let vcpu = (flags & PER_VCPU != 0).then_some((flags >> 16) as u16);
        for &(check, status) in checks {
            if self.set_broken(check, regs, vcpu) {
                return error(status);
            }
        }
        let Some(partition) = self.partition_mut(receiver) else { return error(Status::InvalidParameters) };
        partition.notifications.set(named(regs), vcpu);
        self.sri |= !partition.takes_at_once();
        Regs::success(0, 0)
    }

    fn set_broken(&self, check: SetCheck, regs: &Regs, vcpu: Option<u16>) -> bool {
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        let (flags, ids) = (regs.w::<2>(), named(regs));
        let partition = self.partition(receiver);
        match check {
            SetCheck::PerVcpu => flags & PER_VCPU != 0,
            SetCheck::Vcpu => vcpu.is_none() && flags >> 16 != 0,
            SetCheck::Delay => flags & DELAY != 0,
            SetCheck::FlagsReserved => flags & 0xffff & !(PER_VCPU | DELAY) != 0,
            SetCheck::Reserved => used(regs, 5),
            SetCheck::Empty => ids.is_empty(),
            SetCheck::Sender => sender.is_secure(),
            SetCheck::Receiver => partition.is_none(),
            SetCheck::NotEnabled => {
                partition.is_some_and(|sp| !sp.config.properties.contains(Properties::RECEIVES_NOTIFICATIONS))
            }
            SetCheck::NotBound => {
                partition.is_some_and(|sp| !sp.notifications.settable(sender, vcpu).contains(ids))
            }
            SetCheck::VcpuRange => {
                partition.is_some_and(|sp| vcpu.is_some_and(|vcpu| usize::from(vcpu) >= sp.contexts.len()))
            }
        }
    }

    /// FFA_NOTIFICATION_GET for a VM.
    pub(super) fn notification_get(&mut self, regs: &Regs) -> Regs {
        let Some(rules) = self.config.notifications else { return error(Status::NotSupported) };
        let (PartitionId(vcpu), receiver) = PartitionId::split(regs.w::<1>());
        let flags = regs.w::<2>();
        let kept = self.vms.get(&receiver);
        let vcpus = kept.and_then(|vm| vm.vcpus);
        let wants = |source: NotificationSources| flags & source.word() != 0;
        for &(check, status) in rules.get {
            let broken = match check {
                GetCheck::FlagsReserved => flags & !0xf != 0,
                GetCheck::HypervisorsOwn => {
                    wants(NotificationSources::VMS.or(NotificationSources::HYPERVISOR))
                }
                GetCheck::Reserved => used(regs, 3),
                GetCheck::UnknownReceiver => vcpus.is_none(),
                GetCheck::UnknownGuest => !self.is_known_guest(receiver),
                GetCheck::VcpuRange => vcpus.is_some_and(|vcpus| u32::from(vcpu) >= vcpus),
            };
            if broken {
                return error(status);
            }
        }
        let mut taken = PendingNotifications::default();
        if let Some(vm) = self.vms.get_mut(&receiver) {
            if wants(NotificationSources::SPS) {
                taken.from_sps = vm.notifications.take(vcpu);
            }
            if wants(NotificationSources::SPM) {
                taken.from_spm = vm.notifications.take_framework();
            }
        }
        taken.to_regs()
    }
}
