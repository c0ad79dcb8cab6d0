//! FFA_MSG_SEND2: a message from the sender's TX to the receiver's RX.

use ffa_abi::{
    Answer, Function, IndirectFormat, IndirectMessage, MsgSend2, PartitionId, Properties, Status, Version,
};
use ffa_mem::IpaRange;
use ffa_teardown::VmKey;

use crate::dispatch::Reply;
use crate::mediator::{Guard, refusal};
use crate::record::Mailbox;
use crate::{Case, Mediator, Platform, Relation, Scratch, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn msg_send2(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        send: MsgSend2,
        scratch: &mut Scratch,
    ) -> Result<Reply, Status> {
        // Only the hypervisor speaks for others, and only SPs keep others from the processor.
        if send.sender != PartitionId(0) || send.delay_schedule_receiver {
            return Err(Status::InvalidParameters);
        }
        let record = state.record(vm)?;
        let Mailbox::Mapped { buffers, forwarded, .. } = record.mailbox else { return Err(Status::Denied) };
        record.enter();
        drop(state);
        let sent = self.send_message(hyp, vm, version, buffers.tx, forwarded.is_some(), scratch);
        self.leave(hyp, self.lock(), vm);
        sent.map(|()| Reply::DONE)
    }

    fn send_message(
        &self,
        hyp: &mut P,
        vm: VmKey,
        version: Version,
        tx: IpaRange,
        forwarded: bool,
        scratch: &mut Scratch,
    ) -> Result<(), Status> {
        let format = IndirectFormat::for_version(version);
        let room = usize::try_from(tx.bytes()).unwrap_or(usize::MAX);
        let header = scratch.input.get_mut(..format.size()).ok_or(Status::NoMemory)?;
        hyp.read(vm.id(), tx.base(), header).map_err(|_| Status::Aborted)?;
        let message = IndirectMessage::parse(header, format, vm.id(), room)?;
        if message.receiver().is_secure() {
            self.send_to_sp(hyp, vm, forwarded, message.receiver())
        } else {
            self.send_to_vm(hyp, vm, tx, &message, scratch)
        }
    }

    /// The SPMC reads the message once more from the guest's own memory, and may by then find another receiver: whoever
    /// sends to one SP must be allowed to send to all.
    fn send_to_sp(
        &self,
        hyp: &mut P,
        vm: VmKey,
        forwarded: bool,
        receiver: PartitionId,
    ) -> Result<(), Status> {
        let refused = |strict| {
            if self.served.forwards_buffers() {
                strict
            } else {
                self.settings.compat.status(Function::MsgSend2, Case::NotPassedOn, strict)
            }
        };
        let state = self.lock();
        let sp = state.partitions.find(receiver);
        let sp = sp.filter(|_| hyp.permits(vm.id(), Relation::Message, receiver));
        let sp = sp.ok_or_else(|| refused(Status::InvalidParameters))?;
        let takes_messages = |properties: Properties| properties.contains(Properties::INDIRECT_MESSAGES);
        let mut others = state.partitions.records().iter().filter(|other| takes_messages(other.properties));
        if !forwarded
            || !takes_messages(sp.properties)
            || !others.all(|other| hyp.permits(vm.id(), Relation::Message, other.id))
        {
            return Err(refused(Status::Denied));
        }
        drop(state);
        let send = MsgSend2 { sender: vm.id(), delay_schedule_receiver: false };
        match Answer::from_regs(&self.call_through(hyp, &send.to_regs())) {
            Answer::Success(_) => Ok(()),
            answer => Err(refusal(&answer)),
        }
    }

    fn send_to_vm(
        &self,
        hyp: &mut P,
        vm: VmKey,
        tx: IpaRange,
        message: &IndirectMessage,
        scratch: &mut Scratch,
    ) -> Result<(), Status> {
        let receiver = message.receiver();
        let (peer, version, room) = {
            let mut state = self.lock();
            let peer = state.peer(&self.settings, vm, receiver);
            let peer = peer.filter(|_| hyp.permits(vm.id(), Relation::Message, receiver));
            let peer = peer.ok_or(Status::InvalidParameters)?;
            let record = state.record(peer)?;
            let not_ready = |case| self.settings.compat.status(Function::MsgSend2, case, Status::Busy);
            let version = record.negotiation.version().ok_or_else(|| not_ready(Case::NotNegotiated))?;
            let buffers = match record.mailbox {
                Mailbox::Mapped { buffers, .. } => buffers,
                Mailbox::Unmapped => return Err(not_ready(Case::ReceiverWithoutRx)),
                Mailbox::Changing => return Err(Status::Busy),
            };
            (peer, version, usize::try_from(buffers.rx.bytes()).unwrap_or(usize::MAX))
        };
        // What FF-A 1.0 reads has no such messages.
        if version < Version::V1_1 {
            return Err(Status::Denied);
        }
        let format = IndirectFormat::for_version(version);
        let len = format.size() + message.payload_size() as usize;
        let out = scratch.output.get_mut(..len).filter(|_| len <= room).ok_or(Status::NoMemory)?;
        let (header, payload) = out.split_at_mut_checked(format.size()).ok_or(Status::NoMemory)?;
        let from = tx.base() + u64::from(message.payload_offset());
        hyp.read(vm.id(), from, payload).map_err(|_| Status::Aborted)?;
        IndirectMessage::new(format, vm.id(), receiver, message.uuid(), message.payload_size(), room)?
            .write(header)?;
        // No buffer of the sender's is locked while the receiver's is: two that send to each other wait for nobody.
        let mut state = self.lock();
        // Another VM may have come to have its ID and its slot, and reads another version.
        if state.record(peer)?.negotiation.version() != Some(version) {
            return Err(Status::Busy);
        }
        let rx = self.begin_filling(hyp, state, peer, (Function::MsgSend2, Case::ReceiverWithoutRx))?;
        // It may have been mapped anew meanwhile, and smaller.
        let fits = rx.bytes() >= len as u64;
        let filled = fits && hyp.write(receiver, rx.base(), out).is_ok();
        let mut state = self.lock();
        // At the same moment as RX is the receiver's: a vCPU that finds this does not wait for an interrupt.
        if let Some(record) = state.record(peer).ok().filter(|_| filled) {
            record.inbox.rx_is_full();
        }
        self.end_filling(hyp, state, peer, filled);
        if !filled {
            return Err(if fits { Status::Aborted } else { Status::NoMemory });
        }
        self.notify(hyp, peer, None);
        Ok(())
    }
}
