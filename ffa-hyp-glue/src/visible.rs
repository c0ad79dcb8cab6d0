//! The list of partitions as one guest sees it: SPs, then other VMs, and never itself.

use core::num::NonZeroU16;
use core::ops::ControlFlow;

use ffa_abi::{Function, FunctionId, PartitionInfo, Properties, Uuid, Version};
use ffa_teardown::VmKey;

use crate::mediator::{Guard, State};
use crate::{Mediator, Platform, Relation, Settings, Stores};

/// What a guest asks for, and as whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) vm: VmKey,
    /// The guest's version.
    pub(crate) version: Version,
    /// Nil for all.
    pub(crate) uuid: Uuid,
}

/// Names a state of the list, so that whoever reads it in pieces notices that it has changed. Guests see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ListTag(NonZeroU16);

impl ListTag {
    pub(crate) const FIRST: Self = Self(NonZeroU16::MIN);

    pub(crate) const fn get(self) -> u16 {
        self.0.get()
    }

    /// The list that some guest sees may be another one from now on.
    pub(crate) fn changed(&mut self) {
        self.0 = self.0.checked_add(1).unwrap_or(NonZeroU16::MIN);
    }
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Shows `show` the records that `view` has, in order, until it breaks off. Returns the lock.
    ///
    /// The SPs are looked at while it is held. So are the slots of VMs, but a bounded number at a time, between which
    /// others have their turn: a VM that comes or goes meanwhile changes the tag, and may be shown or not.
    #[inline]
    pub(crate) fn each_visible<'a>(
        &'a self,
        hyp: &mut P,
        state: Guard<'a, P, S>,
        view: View,
        mut show: impl FnMut(PartitionInfo) -> ControlFlow<()>,
    ) -> Guard<'a, P, S> {
        let shown = self.visible_sps(hyp, &state, view).try_for_each(&mut show);
        if shown.is_continue() && self.settings.vm_to_vm && view.uuid.is_nil() {
            self.each_visible_vm(hyp, state, view, &mut show)
        } else {
            state
        }
    }

    #[inline]
    fn visible_sps<'a>(
        &'a self,
        hyp: &'a mut P,
        state: &'a State<P, S>,
        view: View,
    ) -> impl Iterator<Item = PartitionInfo> + 'a {
        let View { vm, version, uuid } = view;
        let all = uuid.is_nil();
        let shown = self.served.properties(version);
        let seen = state.partitions.records().iter().filter(move |sp| all || sp.uuid == uuid);
        let seen = seen.filter(move |sp| hyp.permits(vm.id(), Relation::See, sp.id));
        // A guest of 1.0 sees no UUIDs, hence each SP once.
        let mut last = None;
        let seen = seen.filter(move |sp| version >= Version::V1_1 || last.replace(sp.id) != Some(sp.id));
        seen.map(move |sp| PartitionInfo {
            properties: sp.properties.and(shown),
            uuid: if all { sp.uuid } else { Uuid::NIL },
            ..*sp
        })
    }

    #[inline(never)]
    fn each_visible_vm<'a>(
        &'a self,
        hyp: &mut P,
        mut state: Guard<'a, P, S>,
        view: View,
        show: &mut impl FnMut(PartitionInfo) -> ControlFlow<()>,
    ) -> Guard<'a, P, S> {
        /// Slots of VMs looked at under the lock at a time.
        const BATCH: usize = 64;
        let slots = state.records.as_ref().len();
        // Keeps the caller from being torn down while the lock is not held.
        let Ok(caller) = state.record(view.vm) else { return state };
        caller.enter();
        'list: for from in (0..slots).step_by(BATCH) {
            if from > 0 {
                drop(state);
                state = self.lock();
            }
            for position in from..slots.min(from + BATCH) {
                let other = state.visible_vm(&self.settings, position, view.vm);
                let other = other.filter(|(vm, ..)| hyp.permits(view.vm.id(), Relation::See, vm.id()));
                let Some((vm, version, contexts)) = other else { continue };
                let properties = self.properties_of_vm(version, view.version);
                if show(PartitionInfo { id: vm.id(), contexts, properties, uuid: Uuid::NIL }).is_break() {
                    break 'list;
                }
            }
        }
        self.leave(hyp, state, view.vm);
        self.lock()
    }

    /// What a VM of version `other` offers to one of version `own`: only what works between the two.
    fn properties_of_vm(&self, other: Version, own: Version) -> Properties {
        let serves = |function, version| self.served.contains(FunctionId::smc32(function), version);
        let messages = serves(Function::MsgSend2, other) && serves(Function::MsgSend2, own);
        let notifications =
            serves(Function::NotificationGet, other) && serves(Function::NotificationSet, own);
        [(messages, Properties::INDIRECT_MESSAGES), (notifications, Properties::RECEIVES_NOTIFICATIONS)]
            .into_iter()
            .filter(|(works, _)| *works)
            .fold(Properties::default(), |all, (_, property)| all.or(property))
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// The VM in a slot, its version and the number of its vCPUs, if it can be listed to `viewer`.
    fn visible_vm(
        &mut self,
        settings: &Settings,
        position: usize,
        viewer: VmKey,
    ) -> Option<(VmKey, Version, u16)> {
        let record = self.records.as_ref().get(position)?.as_ref()?;
        let version = record.negotiation.version()?;
        let contexts = u16::try_from(record.vcpus.as_ref().len()).unwrap_or(u16::MAX);
        let vm = self.peer(settings, viewer, record.vm.id())?;
        Some((vm, version, contexts))
    }

    /// A VM that others may see has come or is about to go.
    #[cold]
    pub(crate) fn vms_changed(&mut self, settings: &Settings) {
        if settings.vm_to_vm {
            self.list.changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_is_zero() {
        let mut tag = ListTag::FIRST;
        for expected in (2..=u16::MAX).chain([1, 2]) {
            tag.changed();
            assert_eq!(tag.get(), expected);
        }
    }
}
