//! Notifications: who may signal a VM, what it has been signalled, and how it hears of it.
//!
//! Those of SPs are the SPMC's: calls about them are passed on, once they are checked. Those of other VMs and of the
//! mediator itself stand in the VM's [`Inbox`].

mod inbox;
mod schedule;

use ffa_abi::{
    Answer, Call, Function, NotificationBind, NotificationGet, NotificationSet, NotificationSources,
    NotificationUnbind, PartitionId, PendingNotifications, Properties, Regs, Status,
};
use ffa_teardown::{BeginError, BindingOutcome, Engine, Unexpected, VmKey};

use crate::dispatch::Reply;
use crate::mediator::{Guard, State, refusal};
use crate::{Case, Mediator, Platform, Relation, Stores};

pub(crate) use inbox::Inbox;
pub use inbox::VcpuSlot;
pub(crate) use schedule::{Asked, SOON};

/// What the SPMC has for a VM, of all that FFA_NOTIFICATION_GET can ask for.
const SPMC: NotificationSources = NotificationSources::SPS.or(NotificationSources::SPM);

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn notification_bind(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        bind: NotificationBind,
    ) -> Result<Reply, Status> {
        let NotificationBind { sender, receiver, scope, bitmap } = bind;
        if receiver != vm.id() || bitmap.is_empty() {
            return Err(Status::InvalidParameters);
        }
        let refused = |strict| self.refused(Function::NotificationBind, sender, strict);
        let partner = self.partner(hyp, &mut state, vm, sender).map_err(refused)?;
        let (engine, record) = state.engine_and_record(vm)?;
        if let Partner::Vm(peer) = partner {
            record.inbox.bind(record.vcpus.as_mut(), sender, scope, bitmap)?;
            state.record(peer)?.signals_vms = true;
            return Ok(Reply::DONE);
        }
        if !record.has_bitmap {
            return Err(refused(Status::Denied));
        }
        let begun = engine.begin_bind(vm, sender, bitmap).map_err(|error| status(&error))?;
        record.enter();
        drop(state);
        self.take_reference(hyp, vm, begun.take_reference);
        self.ask_to_bind(hyp, vm, bind.to_regs(), |engine, answer| engine.bind_answered(vm, begun.id, answer))
    }

    pub(crate) fn notification_unbind(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        unbind: NotificationUnbind,
    ) -> Result<Reply, Status> {
        let NotificationUnbind { sender, receiver, bitmap } = unbind;
        if receiver != vm.id() || bitmap.is_empty() {
            return Err(Status::InvalidParameters);
        }
        let refused = |strict| self.refused(Function::NotificationUnbind, sender, strict);
        let (engine, record) = state.engine_and_record(vm)?;
        if !sender.is_secure() {
            record.inbox.unbind(record.vcpus.as_mut(), sender, bitmap).map_err(refused)?;
            return Ok(Reply::DONE);
        }
        let id = engine.begin_unbind(vm, sender, bitmap).map_err(|error| refused(status(&error)))?;
        record.enter();
        drop(state);
        self.ask_to_bind(hyp, vm, unbind.to_regs(), |engine, answer| engine.unbind_answered(vm, id, answer))
    }

    /// Makes a guest's FFA_NOTIFICATION_BIND or _UNBIND, and FFA_RUN as often as the engine wants it, and ends the guest's
    /// call.
    fn ask_to_bind(
        &self,
        hyp: &mut P,
        vm: VmKey,
        mut call: Regs,
        answered: impl Fn(&mut Engine<S::Vms, S::Duties>, &Answer) -> Result<BindingOutcome, Unexpected>,
    ) -> Result<Reply, Status> {
        loop {
            let answer = Answer::from_regs(&hyp.call(&call));
            let mut state = self.lock();
            let reply = match answered(&mut state.engine, &answer) {
                Ok(BindingOutcome::Resume(target)) => {
                    call = Call::Run(target).to_regs();
                    continue;
                }
                Ok(BindingOutcome::Done) => Ok(Reply::DONE),
                Ok(BindingOutcome::Refused(status)) => Err(status.for_guest()),
                Ok(BindingOutcome::Unknown) => Err(Status::Aborted),
                Err(_) => {
                    debug_assert!(false, "the engine was told of this call");
                    Err(Status::Aborted)
                }
            };
            self.leave(hyp, state, vm);
            return reply;
        }
    }

    pub(crate) fn notification_set(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        set: NotificationSet,
    ) -> Result<Reply, Status> {
        let NotificationSet { sender, receiver, vcpu, delay_schedule_receiver, bitmap } = set;
        // Only an SP keeps others from the processor, and can have them wait.
        if sender != vm.id() || bitmap.is_empty() || delay_schedule_receiver {
            return Err(Status::InvalidParameters);
        }
        let refused = |strict| self.refused(Function::NotificationSet, receiver, strict);
        let peer = match self.partner(hyp, &mut state, vm, receiver).map_err(refused)? {
            Partner::Vm(peer) => peer,
            Partner::Sp(properties)
                if properties.contains(Properties::RECEIVES_NOTIFICATIONS) && self.served.spmc_notifies() =>
            {
                state.record(vm)?.enter();
                drop(state);
                let answer = Answer::from_regs(&self.call_through(hyp, &set.to_regs()));
                self.leave(hyp, self.lock(), vm);
                return match answer {
                    Answer::Success(_) => Ok(Reply::DONE),
                    answer => Err(refusal(&answer)),
                };
            }
            Partner::Sp(_) => return Err(refused(Status::Denied)),
        };
        let record = state.record(peer)?;
        if !record.inbox.set(record.vcpus.as_mut(), sender, vcpu, bitmap)? {
            return Ok(Reply::DONE);
        }
        drop(state);
        self.notify(hyp, peer, vcpu);
        Ok(Reply::DONE)
    }

    pub(crate) fn notification_get<'a>(
        &'a self,
        hyp: &mut P,
        mut state: Guard<'a, P, S>,
        vm: VmKey,
        get: NotificationGet,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let NotificationGet { receiver, vcpu, sources } = get;
        let record = state.record(vm)?;
        if receiver != vm.id() || usize::from(vcpu) >= record.vcpus.as_mut().len() {
            return Err(Status::InvalidParameters);
        }
        let asked = sources.and(SPMC);
        if record.has_bitmap && !asked.is_empty() {
            // Whoever asks for all of it will know all of it.
            let before = (asked == SPMC).then(|| record.inbox.ask_spmc(record.vcpus.as_mut(), vcpu));
            record.enter();
            drop(state);
            let get = NotificationGet { sources: asked, ..get };
            let pending = PendingNotifications::from_answer(&self.call_through(hyp, &get.to_regs()));
            state = self.lock();
            let record = state.record(vm)?;
            let taken = match pending {
                Ok(pending) => {
                    let PendingNotifications { from_vms, from_hypervisor, .. } =
                        record.inbox.take(record.vcpus.as_mut(), vcpu, sources);
                    Ok(PendingNotifications { from_vms, from_hypervisor, ..pending.only(asked) })
                }
                Err(answer) => {
                    if let Some(before) = before {
                        record.inbox.not_told(record.vcpus.as_mut(), vcpu, before);
                    }
                    Err(refusal(&answer))
                }
            };
            // Not before: the VM may end here, and another one have its ID.
            self.leave(hyp, state, vm);
            *regs = taken?.to_regs();
        } else {
            *regs = record.inbox.take(record.vcpus.as_mut(), vcpu, sources).to_regs();
        }
        Ok(Reply::InPlace)
    }

    /// What a guest is told whose call of `function` about notifications with `partner` is refused.
    #[cold]
    fn refused(&self, function: Function, partner: PartitionId, strict: Status) -> Status {
        let notified = if partner.is_secure() { self.served.spmc_notifies() } else { self.settings.vm_to_vm };
        if notified { strict } else { self.settings.compat.status(function, Case::NoNotifications, strict) }
    }

    /// The partition with this ID.
    ///
    /// # Errors
    /// INVALID_PARAMETERS if there is none, or none that `vm` may exchange notifications with.
    fn partner(
        &self,
        hyp: &mut P,
        state: &mut State<P, S>,
        vm: VmKey,
        id: PartitionId,
    ) -> Result<Partner, Status> {
        let partner = if id.is_secure() {
            state.partitions.find(id).map(|sp| Partner::Sp(sp.properties))
        } else {
            state.peer(&self.settings, vm, id).map(Partner::Vm)
        };
        partner.filter(|_| hyp.permits(vm.id(), Relation::Notify, id)).ok_or(Status::InvalidParameters)
    }

    /// A VM is dying: it can signal nobody any more, and no VM that has its ID later can in its stead.
    pub(crate) fn forget_sender(&self, vm: VmKey) {
        /// VMs looked at under the lock at a time.
        const BATCH: usize = 64;
        let mut from = 0;
        loop {
            let mut state = self.lock();
            let rest = state.records.as_mut().get_mut(from..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            for record in rest.iter_mut().take(BATCH).flatten() {
                record.inbox.sender_is_gone(vm.id());
            }
            from += BATCH;
        }
    }
}

/// Whom a VM exchanges notifications with.
enum Partner {
    Sp(Properties),
    Vm(VmKey),
}

fn status(error: &BeginError) -> Status {
    match error {
        BeginError::NoRoom => Status::NoMemory,
        BeginError::Busy => Status::Busy,
        // Not bound, or the SPMC keeps no notifications for this VM.
        _ => Status::Denied,
    }
}
