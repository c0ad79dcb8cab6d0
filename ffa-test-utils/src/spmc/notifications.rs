//! The notifications of one receiver.

use alloc::collections::{BTreeMap, BTreeSet};

use ffa_abi::{FrameworkNotifications, NotificationBitmap, NotificationScope, PartitionId};

/// Who may set a notification, and for whom in the receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Binding {
    sender: PartitionId,
    scope: NotificationScope,
}

/// What is bound and what is pending of the 64 notifications from the other world.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifications {
    bindings: BTreeMap<u8, Binding>,
    /// Set and not taken, for all of the receiver or for one vCPU.
    pending: BTreeMap<Option<u16>, NotificationBitmap>,
    /// The framework's own, set and not taken.
    pub framework: FrameworkNotifications,
    /// For whom something was set of which the scheduler was not told.
    untold: BTreeSet<Option<u16>>,
}

/// The numbers in a bitmap.
fn numbers(ids: NotificationBitmap) -> impl Iterator<Item = u8> {
    (0..64).filter(move |id| ids.0 & 1 << id != 0)
}

impl Notifications {
    pub fn bind(&mut self, sender: PartitionId, scope: NotificationScope, ids: NotificationBitmap) {
        self.bindings.extend(numbers(ids).map(|id| (id, Binding { sender, scope })));
    }

    pub fn unbind(&mut self, ids: NotificationBitmap) {
        self.bindings.retain(|id, _| ids.0 & 1 << id == 0);
    }

    /// All that are bound.
    pub fn bound(&self) -> NotificationBitmap {
        self.bound_where(|_| true)
    }

    /// Those that are bound to `sender`.
    pub fn bound_to(&self, sender: PartitionId) -> NotificationBitmap {
        self.bound_where(|binding| binding.sender == sender)
    }

    /// Those that `sender` may set for `vcpu`, or globally.
    pub fn settable(&self, sender: PartitionId, vcpu: Option<u16>) -> NotificationBitmap {
        let scope = match vcpu {
            None => NotificationScope::Global,
            Some(_) => NotificationScope::PerVcpu,
        };
        self.bound_where(|binding| binding == Binding { sender, scope })
    }

    fn bound_where(&self, holds: impl Fn(Binding) -> bool) -> NotificationBitmap {
        let bits = self.bindings.iter().filter(|&(_, &binding)| holds(binding));
        NotificationBitmap(bits.fold(0, |bits, (id, _)| bits | 1 << id))
    }

    /// All that are pending, for whomever in the receiver.
    pub fn pending(&self) -> NotificationBitmap {
        self.pending.values().fold(NotificationBitmap::NONE, |all, &ids| all.or(ids))
    }

    /// Sets notifications for a vCPU, or globally.
    pub fn set(&mut self, ids: NotificationBitmap, vcpu: Option<u16>) {
        if !ids.is_empty() {
            let pending = self.pending.entry(vcpu).or_default();
            *pending = pending.or(ids);
            self.untold.insert(vcpu);
        }
    }

    /// Sets notifications of the framework, which are always global.
    pub fn set_framework(&mut self, notifications: FrameworkNotifications) {
        self.framework.0 |= notifications.0;
        self.untold.insert(None);
    }

    /// Takes what is pending globally and for `vcpu`.
    pub fn take(&mut self, vcpu: u16) -> NotificationBitmap {
        let taken = [None, Some(vcpu)].map(|whom| self.pending.remove(&whom).unwrap_or_default());
        self.forget_told();
        taken[0].or(taken[1])
    }

    /// Takes what is pending for whomever.
    pub fn take_all(&mut self) -> NotificationBitmap {
        let taken = self.pending();
        self.pending.clear();
        self.forget_told();
        taken
    }

    /// Takes what is pending of the framework.
    pub fn take_framework(&mut self) -> FrameworkNotifications {
        let taken = core::mem::take(&mut self.framework);
        self.forget_told();
        taken
    }

    /// What is not pending need not be told.
    fn forget_told(&mut self) {
        let (pending, framework) = (&self.pending, self.framework != FrameworkNotifications::NONE);
        self.untold.retain(|whom| pending.contains_key(whom) || whom.is_none() && framework);
    }

    /// For whom the scheduler is still to be told of something: all of the receiver first, then vCPUs in order.
    pub fn untold(&self) -> impl Iterator<Item = Option<u16>> + use<'_> {
        self.untold.iter().copied()
    }

    /// The scheduler was told.
    pub fn tell(&mut self, whom: Option<u16>) {
        self.untold.remove(&whom);
    }

    /// Whether nothing is bound or pending.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.pending.is_empty() && self.framework == FrameworkNotifications::NONE
    }
}
