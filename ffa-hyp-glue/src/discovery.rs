//! FFA_FEATURES, FFA_PARTITION_INFO_GET and FFA_PARTITION_INFO_GET_REGS.

use core::ops::ControlFlow;

use arrayvec::ArrayVec;
use ffa_abi::{
    FeatureId, FeatureQuery, Function, FunctionId, PartitionInfo, PartitionInfoGet, PartitionInfoGetRegs,
    RecordFormat, Regs, Status, Uuid, Version, buffer_size,
};
use ffa_teardown::VmKey;

use crate::dispatch::Reply;
use crate::mediator::Guard;
use crate::notification::Asked;
use crate::partitions::Shown;
use crate::visible::View;
use crate::{Case, Mediator, Platform, Scratch, Stores};

/// Records in one answer of FFA_PARTITION_INFO_GET_REGS.
const WINDOW: usize = PartitionInfoGetRegs::RECORDS;

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn features(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        query: FeatureQuery,
    ) -> Result<Reply, Status> {
        match query {
            FeatureQuery::Function { id, properties: 0 } if self.served.contains(id, version) => {
                let properties = match id.function() {
                    Function::RxTxMap if version >= Version::V1_2 => {
                        buffer_size::word(buffer_size::MIN_4K, u16::from(self.settings.rxtx_pages))
                    }
                    Function::MemFragTx if state.record(vm)?.drafts.as_mut().is_empty() => {
                        return Err(Status::NotSupported);
                    }
                    Function::PartitionInfoGetRegs if !self.fits_one_window(hyp, state, vm, version) => {
                        return Err(Status::NotSupported);
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
        let shown = if get.count_only { Shown::InRegisters } else { Shown::InRx };
        let state = self.look_again(hyp, state, vm, shown)?;
        let view = View { vm, version, uuid: get.uuid };
        let (mut count, mut len) = (0, 0);
        let mut page = &mut scratch.output[..];
        let mut fits = true;
        let state = self.each_visible(hyp, state, view, |record| {
            count += 1;
            if get.count_only {
                return ControlFlow::Continue(());
            }
            match record.write(format, core::mem::take(&mut page)) {
                Ok(rest) => {
                    page = rest;
                    len += format.size();
                    ControlFlow::Continue(())
                }
                Err(_) => {
                    fits = false;
                    ControlFlow::Break(())
                }
            }
        });
        if !fits {
            return Err(Status::NoMemory);
        }
        if count == 0 && !get.uuid.is_nil() {
            return Err(Status::InvalidParameters);
        }
        if get.count_only {
            return Ok(Reply::Success { w2: count, w3: 0 });
        }
        // They fit: no RX is smaller than a page.
        let records = scratch.output.get(..len).ok_or(Status::NoMemory)?;
        let rx = self.begin_filling(hyp, state, vm, (Function::PartitionInfoGet, Case::NoRx))?;
        let filled = hyp.write(vm.id(), rx.base(), records);
        self.end_filling(hyp, self.lock(), vm, filled.is_ok());
        filled.map_err(|_| Status::Aborted)?;
        Ok(Reply::Success { w2: count, w3: format.size_word() })
    }

    pub(crate) fn partition_info_get_regs(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        version: Version,
        get: PartitionInfoGetRegs,
        regs: &mut Regs,
    ) -> Result<Reply, Status> {
        let state = match (get.start, get.tag) {
            (0, 0) => self.look_again(hyp, state, vm, Shown::InRegisters)?,
            (0, _) => return Err(Status::InvalidParameters),
            (_, theirs) if theirs != state.list.get() => return Err(Status::Retry),
            _ => state,
        };
        let tag = state.list;
        let mut window = ArrayVec::<PartitionInfo, WINDOW>::new();
        let mut total = 0;
        let view = View { vm, version, uuid: get.uuid };
        let state = self.each_visible(hyp, state, view, |record| {
            if total >= u32::from(get.start) {
                let _beyond_the_window = window.try_push(record);
            }
            total += 1;
            ControlFlow::Continue(())
        });
        if state.list != tag {
            return Err(Status::Retry);
        }
        drop(state);
        let total = u16::try_from(total).map_err(|_| Status::NoMemory)?;
        *regs = get.answer(tag.get(), total, window).ok_or(Status::InvalidParameters)?;
        Ok(Reply::InPlace)
    }

    /// Whether all that a guest sees fits one answer of FFA_PARTITION_INFO_GET_REGS. Linux 6.12 loses its way in a second
    /// one, but takes an RX buffer if it is not told of this call.
    fn fits_one_window(&self, hyp: &mut P, state: Guard<'_, P, S>, vm: VmKey, version: Version) -> bool {
        let mut total = 0;
        self.each_visible(hyp, state, View { vm, version, uuid: Uuid::NIL }, |_| {
            total += 1;
            if total > WINDOW { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        total <= WINDOW
    }
}
