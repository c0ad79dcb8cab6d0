//! What a VM has been signalled by other VMs and by the mediator, and whom it lets do so.

use ffa_abi::{
    FrameworkNotifications, NotificationBitmap, NotificationScope, NotificationSources, PartitionId,
    PendingNotifications, Status,
};

/// What the mediator keeps of one vCPU, in storage that the hypervisor lends with each VM.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VcpuSlot {
    /// Notifications of other VMs that are pending for this vCPU alone.
    pending: NotificationBitmap,
    /// The SPMC said that notifications of SPs are pending for this vCPU alone.
    from_spmc: bool,
    /// FFA_NOTIFICATION_INFO_GET has told of all that is pending here.
    told: bool,
}

impl VcpuSlot {
    /// Of a vCPU that has nothing pending.
    pub const IDLE: Self = Self { pending: NotificationBitmap::NONE, from_spmc: false, told: false };

    fn is_pending(&self) -> bool {
        self.from_spmc || !self.pending.is_empty()
    }
}

/// Notifications of one VM, but for those that the SPMC keeps.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    /// The VM that each of the 64 is bound to. Nobody's is zero, which is no VM.
    senders: [PartitionId; 64],
    /// Which of these are for one vCPU, as the sender says each time.
    per_vcpu: NotificationBitmap,
    /// Notifications of other VMs that are pending for all vCPUs.
    pending: NotificationBitmap,
    framework: FrameworkNotifications,
    /// The SPMC said that something is pending for all vCPUs.
    from_spmc: bool,
    /// FFA_NOTIFICATION_INFO_GET has told of all that is pending for all vCPUs.
    told: bool,
}

/// What the SPMC says that is pending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FromSpmc {
    to_all: bool,
    to_vcpu: bool,
}

impl Inbox {
    pub(crate) const EMPTY: Self = Self {
        senders: [PartitionId(0); 64],
        per_vcpu: NotificationBitmap::NONE,
        pending: NotificationBitmap::NONE,
        framework: FrameworkNotifications::NONE,
        from_spmc: false,
        told: false,
    };

    /// Lets `sender` signal `bitmap`.
    ///
    /// # Errors
    /// DENIED if one of them is bound already, or is pending: from a sender that is no more.
    pub(crate) fn bind(
        &mut self,
        vcpus: &[VcpuSlot],
        sender: PartitionId,
        scope: NotificationScope,
        bitmap: NotificationBitmap,
    ) -> Result<(), Status> {
        let bound = numbers(bitmap).any(|number| self.senders[number] != PartitionId(0));
        if bound || self.any_pending(vcpus, bitmap) {
            return Err(Status::Denied);
        }
        numbers(bitmap).for_each(|number| self.senders[number] = sender);
        if scope == NotificationScope::PerVcpu {
            self.per_vcpu = self.per_vcpu.or(bitmap);
        }
        Ok(())
    }

    /// Takes `bitmap` away from `sender`.
    ///
    /// # Errors
    /// DENIED if one of them is not the sender's, or is pending.
    pub(crate) fn unbind(
        &mut self,
        vcpus: &[VcpuSlot],
        sender: PartitionId,
        bitmap: NotificationBitmap,
    ) -> Result<(), Status> {
        if !self.is_bound(sender, bitmap) || self.any_pending(vcpus, bitmap) {
            return Err(Status::Denied);
        }
        self.forget(bitmap);
        Ok(())
    }

    /// Takes everything away from a sender that is no more. What it had signalled stays pending.
    pub(crate) fn sender_is_gone(&mut self, sender: PartitionId) {
        self.forget(self.bound_to(sender));
    }

    /// What `sender` may signal.
    pub(crate) fn bound_to(&self, sender: PartitionId) -> NotificationBitmap {
        let own = |(number, owner): (usize, &PartitionId)| if *owner == sender { 1 << number } else { 0 };
        NotificationBitmap(self.senders.iter().enumerate().map(own).sum())
    }

    /// Makes `bitmap` pending, for one vCPU or for all. Returns whether anything is pending that was not.
    ///
    /// # Errors
    /// DENIED if one of them is not the sender's; INVALID_PARAMETERS if one is bound in the other scope, or if there
    /// is no such vCPU.
    pub(crate) fn set(
        &mut self,
        vcpus: &mut [VcpuSlot],
        sender: PartitionId,
        vcpu: Option<u16>,
        bitmap: NotificationBitmap,
    ) -> Result<bool, Status> {
        if !self.is_bound(sender, bitmap) {
            return Err(Status::Denied);
        }
        let scoped = match vcpu {
            Some(_) => self.per_vcpu.contains(bitmap),
            None => self.per_vcpu.and(bitmap).is_empty(),
        };
        if !scoped {
            return Err(Status::InvalidParameters);
        }
        let (pending, told) = match vcpu {
            None => (&mut self.pending, &mut self.told),
            Some(vcpu) => {
                let slot = vcpus.get_mut(usize::from(vcpu)).ok_or(Status::InvalidParameters)?;
                (&mut slot.pending, &mut slot.told)
            }
        };
        let news = !pending.contains(bitmap);
        *pending = pending.or(bitmap);
        *told &= !news;
        Ok(news)
    }

    /// The mediator has put a message into the VM's RX buffer.
    pub(crate) fn rx_is_full(&mut self) {
        self.framework = FrameworkNotifications::RX_BUFFER_FULL;
        self.told = false;
    }

    /// The SPMC says that something is pending: for one vCPU, or for all. Says false if there is no such vCPU.
    pub(crate) fn spmc_has(&mut self, vcpus: &mut [VcpuSlot], vcpu: Option<u16>) -> bool {
        let (pending, told) = match vcpu {
            None => (&mut self.from_spmc, &mut self.told),
            Some(vcpu) => match vcpus.get_mut(usize::from(vcpu)) {
                Some(slot) => (&mut slot.from_spmc, &mut slot.told),
                None => return false,
            },
        };
        (*pending, *told) = (true, false);
        true
    }

    /// The guest is about to ask the SPMC for all that is pending for `vcpu`: what the SPMC says from now on is new. Gives
    /// what it has said, for [`not_told`](Self::not_told) if it does not answer.
    pub(crate) fn ask_spmc(&mut self, vcpus: &mut [VcpuSlot], vcpu: u16) -> FromSpmc {
        let slot = vcpus.get_mut(usize::from(vcpu));
        FromSpmc {
            to_all: core::mem::take(&mut self.from_spmc),
            to_vcpu: slot.is_some_and(|slot| core::mem::take(&mut slot.from_spmc)),
        }
    }

    /// The SPMC did not answer what it was [asked](Self::ask_spmc).
    pub(crate) fn not_told(&mut self, vcpus: &mut [VcpuSlot], vcpu: u16, before: FromSpmc) {
        self.from_spmc |= before.to_all;
        if let Some(slot) = vcpus.get_mut(usize::from(vcpu)) {
            slot.from_spmc |= before.to_vcpu;
        }
    }

    /// Takes what is pending for `vcpu` from those of `sources` that are not the SPMC's.
    pub(crate) fn take(
        &mut self,
        vcpus: &mut [VcpuSlot],
        vcpu: u16,
        sources: NotificationSources,
    ) -> PendingNotifications {
        let mut taken = PendingNotifications::default();
        if sources.contains(NotificationSources::VMS) {
            taken.from_vms = core::mem::take(&mut self.pending);
            if let Some(slot) = vcpus.get_mut(usize::from(vcpu)) {
                taken.from_vms = taken.from_vms.or(core::mem::take(&mut slot.pending));
            }
        }
        if sources.contains(NotificationSources::HYPERVISOR) {
            taken.from_hypervisor = core::mem::take(&mut self.framework);
        }
        taken
    }

    /// Whether something is pending that `vcpu` can take.
    pub(crate) fn is_pending(&self, vcpus: &[VcpuSlot], vcpu: u16) -> bool {
        self.is_globally_pending() || vcpus.get(usize::from(vcpu)).is_some_and(VcpuSlot::is_pending)
    }

    /// Gives `for_all` or the number of a vCPU to `list` for each of those that have something pending that has not been told
    /// of, until `list` has no room and says false. Returns whether all were told.
    pub(crate) fn tell(&mut self, vcpus: &mut [VcpuSlot], mut list: impl FnMut(Option<u16>) -> bool) -> bool {
        if self.is_globally_pending() && !self.told {
            self.told = list(None);
            if !self.told {
                return false;
            }
        }
        for (number, slot) in (0_u16..).zip(vcpus) {
            if slot.is_pending() && !slot.told {
                slot.told = list(Some(number));
                if !slot.told {
                    return false;
                }
            }
        }
        true
    }

    fn is_globally_pending(&self) -> bool {
        self.from_spmc || !self.pending.is_empty() || self.framework != FrameworkNotifications::NONE
    }

    fn is_bound(&self, sender: PartitionId, bitmap: NotificationBitmap) -> bool {
        sender != PartitionId(0) && numbers(bitmap).all(|number| self.senders[number] == sender)
    }

    /// Whether one of `bitmap` is pending, for whatever vCPU.
    fn any_pending(&self, vcpus: &[VcpuSlot], bitmap: NotificationBitmap) -> bool {
        let pending = vcpus.iter().fold(self.pending, |pending, vcpu| pending.or(vcpu.pending));
        !pending.and(bitmap).is_empty()
    }

    fn forget(&mut self, bitmap: NotificationBitmap) {
        numbers(bitmap).for_each(|number| self.senders[number] = PartitionId(0));
        self.per_vcpu = self.per_vcpu.without(bitmap);
    }
}

/// The numbers of the notifications in `bitmap`, 0 to 63.
fn numbers(bitmap: NotificationBitmap) -> impl Iterator<Item = usize> {
    (0..64).filter(move |number| bitmap.0 >> number & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PartitionId = PartitionId(1);
    const B: PartitionId = PartitionId(2);
    const BITS: NotificationBitmap = NotificationBitmap(1 << 63 | 1);
    const VMS: NotificationSources = NotificationSources::VMS;

    fn bound(scope: NotificationScope) -> (Inbox, [VcpuSlot; 2]) {
        let (mut inbox, vcpus) = (Inbox::EMPTY, [VcpuSlot::IDLE; 2]);
        inbox.bind(&vcpus, A, scope, BITS).unwrap();
        (inbox, vcpus)
    }

    fn told(inbox: &mut Inbox, vcpus: &mut [VcpuSlot]) -> (bool, [Option<Option<u16>>; 4]) {
        let (mut list, mut len) = ([None; 4], 0);
        let all = inbox.tell(vcpus, |vcpu| {
            let room = list.get_mut(len).map(|slot| *slot = Some(vcpu)).is_some();
            len += 1;
            room
        });
        (all, list)
    }

    #[test]
    fn what_is_bound_is_bound_once() {
        let (mut inbox, vcpus) = bound(NotificationScope::Global);
        assert_eq!(
            inbox.bind(&vcpus, B, NotificationScope::Global, NotificationBitmap(3)),
            Err(Status::Denied)
        );
        assert_eq!(
            inbox.bind(&vcpus, A, NotificationScope::Global, NotificationBitmap(1)),
            Err(Status::Denied)
        );
        assert_eq!(inbox.bind(&vcpus, B, NotificationScope::Global, NotificationBitmap(2)), Ok(()));
        assert_eq!(inbox.bound_to(A), BITS);
        assert_eq!(inbox.unbind(&vcpus, B, NotificationBitmap(3)), Err(Status::Denied));
        assert_eq!(inbox.unbind(&vcpus, A, BITS), Ok(()));
        assert_eq!(inbox.bind(&vcpus, B, NotificationScope::PerVcpu, BITS), Ok(()));
        assert_eq!(inbox.bound_to(B), NotificationBitmap(BITS.0 | 2));
    }

    #[test]
    fn what_is_pending_stays_bound_and_is_taken_once() {
        let (mut inbox, mut vcpus) = bound(NotificationScope::Global);
        assert_eq!(inbox.set(&mut vcpus, A, None, BITS), Ok(true));
        assert_eq!(inbox.set(&mut vcpus, A, None, NotificationBitmap(1)), Ok(false));
        assert_eq!(inbox.unbind(&vcpus, A, NotificationBitmap(1)), Err(Status::Denied));
        assert_eq!(inbox.take(&mut vcpus, 1, NotificationSources::SPS).from_vms, NotificationBitmap::NONE);
        assert_eq!(inbox.take(&mut vcpus, 1, VMS).from_vms, BITS);
        assert_eq!(inbox.take(&mut vcpus, 0, VMS).from_vms, NotificationBitmap::NONE);
        assert_eq!(inbox.unbind(&vcpus, A, BITS), Ok(()));
        assert_eq!(inbox.set(&mut vcpus, A, None, BITS), Err(Status::Denied));
    }

    #[test]
    fn a_notification_of_one_vcpu_is_for_no_other() {
        let (mut inbox, mut vcpus) = bound(NotificationScope::PerVcpu);
        assert_eq!(inbox.set(&mut vcpus, A, None, BITS), Err(Status::InvalidParameters));
        assert_eq!(inbox.set(&mut vcpus, A, Some(2), BITS), Err(Status::InvalidParameters));
        assert_eq!(inbox.set(&mut vcpus, A, Some(1), BITS), Ok(true));
        assert!(inbox.is_pending(&vcpus, 1) && !inbox.is_pending(&vcpus, 0));
        assert_eq!(inbox.unbind(&vcpus, A, BITS), Err(Status::Denied));
        assert_eq!(inbox.take(&mut vcpus, 0, VMS).from_vms, NotificationBitmap::NONE);
        assert_eq!(inbox.take(&mut vcpus, 1, VMS).from_vms, BITS);
    }

    #[test]
    fn receivers_are_told_once_of_all_that_is_new() {
        let (mut inbox, mut vcpus) = bound(NotificationScope::Global);
        let nothing = (true, [None; 4]);
        assert_eq!(told(&mut inbox, &mut vcpus), nothing);
        inbox.set(&mut vcpus, A, None, NotificationBitmap(1)).unwrap();
        assert!(inbox.spmc_has(&mut vcpus, Some(1)) && !inbox.spmc_has(&mut vcpus, Some(2)));
        assert_eq!(told(&mut inbox, &mut vcpus), (true, [Some(None), Some(Some(1)), None, None]));
        assert_eq!(told(&mut inbox, &mut vcpus), nothing);
        inbox.set(&mut vcpus, A, None, NotificationBitmap(1 << 63)).unwrap();
        assert_eq!(told(&mut inbox, &mut vcpus), (true, [Some(None), None, None, None]));
        inbox.rx_is_full();
        assert!(!inbox.tell(&mut vcpus, |_| false));
        assert_eq!(told(&mut inbox, &mut vcpus), (true, [Some(None), None, None, None]));
    }

    #[test]
    fn the_bindings_of_a_sender_that_is_gone_are_nobodys() {
        let (mut inbox, mut vcpus) = bound(NotificationScope::PerVcpu);
        inbox.bind(&vcpus, B, NotificationScope::Global, NotificationBitmap(2)).unwrap();
        inbox.set(&mut vcpus, A, Some(0), BITS).unwrap();
        inbox.sender_is_gone(A);
        assert_eq!(inbox.set(&mut vcpus, A, Some(0), BITS), Err(Status::Denied));
        assert_eq!(inbox.take(&mut vcpus, 0, VMS).from_vms, BITS);
        assert_eq!(inbox.bind(&vcpus, B, NotificationScope::Global, BITS), Ok(()));
        assert_eq!(inbox.set(&mut vcpus, B, None, NotificationBitmap(BITS.0 | 2)), Ok(true));
    }
}
