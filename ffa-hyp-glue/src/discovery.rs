//! FFA_FEATURES and FFA_PARTITION_INFO_GET.

use ffa_abi::{
    FeatureQuery, Function, FunctionId, PartitionId, PartitionInfo, PartitionInfoGet, Properties,
    RecordFormat, Status, Uuid, Version, buffer_size,
};
use ffa_teardown::VmKey;

use crate::dispatch::Reply;
use crate::mediator::Guard;
use crate::record::{Buffers, Mailbox, RxState};
use crate::{Mediator, Platform, Scratch, Stores};

/// What the hypervisor alone needs to know of an SP.
const HYPERVISORS_BUSINESS: Properties = Properties::WANTS_VM_CREATED.or(Properties::WANTS_VM_DESTROYED);

/// What an SP has to offer that takes a function of its own: a guest may not be told of it without that function.
const REACHED_BY: [(Properties, FunctionId); 3] = [
    (Properties::INDIRECT_MESSAGES, FunctionId::smc32(Function::MsgSend2)),
    (Properties::RECEIVES_NOTIFICATIONS, FunctionId::smc32(Function::NotificationBind)),
    (Properties::RECEIVES_DIRECT_REQUESTS2, FunctionId::smc64(Function::MsgSendDirectReq2)),
];

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn features(&self, version: Version, query: FeatureQuery) -> Result<Reply, Status> {
        match query {
            FeatureQuery::Function { id, .. } if self.served.contains(id, version) => {
                let properties = match id.function() {
                    Function::RxTxMap if version >= Version::V1_2 => {
                        buffer_size::word(buffer_size::MIN_4K, u16::from(self.settings.rxtx_pages))
                    }
                    _ => 0,
                };
                Ok(Reply::Success { w2: properties, w3: 0 })
            }
            FeatureQuery::Function { .. } | FeatureQuery::Feature(_) | FeatureQuery::Unknown { .. } => {
                Err(Status::NotSupported)
            }
        }
    }

    pub(crate) fn partition_info_get(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        get: PartitionInfoGet,
        scratch: &mut Scratch,
    ) -> Result<Reply, Status> {
        // FF-A 1.0 has no flags.
        if get.count_only && version < Version::V1_1 {
            return Err(Status::InvalidParameters);
        }
        let format = RecordFormat::for_version(version);
        let count = self.visible(version, get.uuid).count() as u32;
        if count == 0 && !get.uuid.is_nil() {
            return Err(Status::InvalidParameters);
        }
        if get.count_only {
            return Ok(Reply::Success { w2: count, w3: 0 });
        }
        let buffers = begin_filling(state, vm)?;
        let filled = self.fill(hyp, vm.id(), version, get.uuid, buffers, scratch);
        self.end_filling(hyp, vm, filled.is_ok());
        filled?;
        Ok(Reply::Success { w2: count, w3: format.size_word() })
    }

    fn fill(
        &self,
        hyp: &mut P,
        vm: PartitionId,
        version: Version,
        uuid: Uuid,
        buffers: Buffers,
        scratch: &mut Scratch,
    ) -> Result<(), Status> {
        let format = RecordFormat::for_version(version);
        let room = usize::try_from(buffers.rx.bytes()).unwrap_or(usize::MAX).min(scratch.output.len());
        let mut len = 0;
        for sp in self.visible(version, uuid) {
            let rest = scratch.output.get_mut(len..room).unwrap_or_default();
            sp.write(format, rest).map_err(|_| Status::NoMemory)?;
            len += format.size();
        }
        let bytes = scratch.output.get(..len).ok_or(Status::NoMemory)?;
        hyp.write(vm, buffers.rx.base(), bytes).map_err(|_| Status::Aborted)
    }

    /// The records that a guest of `version` sees for `uuid`, nil for all.
    fn visible(&self, version: Version, uuid: Uuid) -> impl Iterator<Item = PartitionInfo> {
        let all = uuid.is_nil();
        let hidden = REACHED_BY
            .iter()
            .filter(|(_, function)| !self.served.contains(*function, version))
            .fold(HYPERVISORS_BUSINESS, |hidden, (property, _)| hidden.or(*property));
        let sps = self.spmc.partitions().filter(move |sp| all || sp.uuid == uuid);
        sps.enumerate().filter_map(move |(position, sp)| {
            // A guest of 1.0 sees no UUIDs, hence each SP once.
            let earlier = self.spmc.partitions().filter(|sp| all || sp.uuid == uuid).take(position);
            if version < Version::V1_1 && earlier.into_iter().any(|earlier| earlier.id == sp.id) {
                return None;
            }
            let properties = sp.properties.without(hidden).known_to(version);
            Some(PartitionInfo { properties, uuid: if all { sp.uuid } else { Uuid::NIL }, ..*sp })
        })
    }

    fn end_filling(&self, hyp: &mut P, vm: VmKey, filled: bool) {
        let mut state = self.lock();
        if let Ok(record) = state.record(vm) {
            if let Mailbox::Mapped { rx, .. } = &mut record.mailbox {
                *rx = if filled { RxState::Owned } else { RxState::Free };
            }
        }
        self.leave(hyp, state, vm);
    }
}

fn begin_filling<P: Platform, S: Stores<P>>(
    mut state: Guard<'_, P, S>,
    vm: VmKey,
) -> Result<Buffers, Status> {
    let record = state.record(vm)?;
    match record.mailbox {
        Mailbox::Mapped { buffers, rx: RxState::Free } => {
            record.enter();
            record.mailbox = Mailbox::Mapped { buffers, rx: RxState::Filling };
            Ok(buffers)
        }
        _ => Err(Status::Busy),
    }
}
