//! FFA_FEATURES and FFA_PARTITION_INFO_GET.

use core::ptr;

use ffa_abi::{
    FeatureId, FeatureQuery, Function, FunctionId, PartitionInfo, PartitionInfoGet, RecordFormat, Status,
    Uuid, Version, buffer_size,
};
use ffa_teardown::VmKey;

use crate::dispatch::Reply;
use crate::mediator::Guard;
use crate::notification::Asked;
use crate::{Mediator, Platform, Relation, Scratch, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn features(
        &self,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        query: FeatureQuery,
    ) -> Result<Reply, Status> {
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
            FeatureQuery::Feature(feature) => self.feature(&mut state.record(vm)?.asked, version, feature),
            FeatureQuery::Function { .. } | FeatureQuery::Unknown { .. } => Err(Status::NotSupported),
        }
    }

    fn feature(&self, asked: &mut Asked, version: Version, feature: FeatureId) -> Result<Reply, Status> {
        let notified = self.served.contains(FunctionId::smc32(Function::NotificationGet), version);
        let interrupts = self.settings.interrupts.filter(|_| notified).ok_or(Status::NotSupported)?;
        let intid = match feature {
            FeatureId::NotificationPendingInterrupt => {
                asked.notification_pending = true;
                interrupts.notification_pending
            }
            FeatureId::ScheduleReceiverInterrupt => {
                asked.schedule_receiver = true;
                interrupts.schedule_receiver
            }
            _ => return Err(Status::NotSupported),
        };
        Ok(Reply::Success { w2: intid, w3: 0 })
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
        let list = self.visible(hyp, vm, version, get.uuid);
        let (count, len) = if get.count_only {
            (list.count() as u32, 0)
        } else {
            write_records(list, format, &mut scratch.output)?
        };
        if count == 0 && !get.uuid.is_nil() {
            return Err(Status::InvalidParameters);
        }
        if get.count_only {
            return Ok(Reply::Success { w2: count, w3: 0 });
        }
        // They fit: no RX is smaller than a page.
        let records = scratch.output.get(..len).ok_or(Status::NoMemory)?;
        let rx = self.begin_filling(hyp, state, vm)?;
        let filled = hyp.write(vm.id(), rx.base(), records);
        self.end_filling(hyp, vm, filled.is_ok());
        filled.map_err(|_| Status::Aborted)?;
        Ok(Reply::Success { w2: count, w3: format.size_word() })
    }

    /// The records that `vm`, a guest of `version`, sees for `uuid`, nil for all.
    #[inline]
    fn visible<'a>(
        &'a self,
        hyp: &'a mut P,
        vm: VmKey,
        version: Version,
        uuid: Uuid,
    ) -> impl Iterator<Item = PartitionInfo> + 'a {
        let all = uuid.is_nil();
        let shown = self.served.properties(version);
        let asked = move |sp: &&PartitionInfo| all || sp.uuid == uuid;
        // A guest of 1.0 sees no UUIDs, hence each SP once.
        let is_first = move |sp: &&PartitionInfo| {
            let first = self.spmc.partitions().filter(asked).find(|first| first.id == sp.id);
            first.is_some_and(|first| ptr::eq(first, *sp))
        };
        let seen = self.spmc.partitions().filter(asked);
        let seen = seen.filter(move |sp| hyp.permits(vm.id(), Relation::See, sp.id));
        seen.filter(move |sp| version >= Version::V1_1 || is_first(sp)).map(move |sp| PartitionInfo {
            properties: sp.properties.and(shown),
            uuid: if all { sp.uuid } else { Uuid::NIL },
            ..*sp
        })
    }
}

/// Writes `records` to the start of `page`, and returns how many they are and how many bytes they take.
///
/// # Errors
/// NO_MEMORY if they do not fit.
#[inline]
fn write_records(
    records: impl Iterator<Item = PartitionInfo>,
    format: RecordFormat,
    page: &mut [u8],
) -> Result<(u32, usize), Status> {
    let len = page.len();
    let (mut count, mut rest) = (0, page);
    for record in records {
        rest = record.write(format, rest).map_err(|_| Status::NoMemory)?;
        count += 1;
    }
    Ok((count, len - rest.len()))
}
