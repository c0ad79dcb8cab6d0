use alloc::vec;
use alloc::vec::Vec;

use ffa_abi::{Properties, Regs, Status, Uuid, Version};

use super::check::InfoCheck;
use super::config::FeatureAnswer;
use super::memory::PhysMemory;
use super::model::{SpmcModel, error};
use super::partition::Partition;

/// One partition record, whatever its size.
pub(super) struct Record {
    id: u16,
    contexts: u16,
    properties: u32,
    uuid: Uuid,
}

impl SpmcModel {
    pub(super) fn features(&self, regs: &Regs) -> Regs {
        let (subject, input) = (regs.w::<1>(), regs.w::<2>());
        let Some(row) = self.config.features.iter().find(|row| row.subject == subject) else {
            return error(Status::NotSupported);
        };
        let version = self.caller_version();
        let knows_ns_bit = input & 2 != 0;
        let w2 = match row.answer {
            FeatureAnswer::Properties(w2) => Some(w2),
            FeatureAnswer::Since(since, w2) => (version >= since).then_some(w2),
            FeatureAnswer::BufferPages if version >= Version::V1_2 => {
                Some(self.config.limits.buffer_pages << 16)
            }
            FeatureAnswer::BufferPages => Some(0),
            FeatureAnswer::ScheduleReceiverInterrupt => self.config.notifications.map(|rules| rules.sri),
            FeatureAnswer::WithNsBit(w2) => (knows_ns_bit || version < Version::V1_1).then_some(w2),
            FeatureAnswer::WithoutNsBit(w2) => (!knows_ns_bit).then_some(w2),
        };
        w2.map_or(error(Status::NotSupported), |w2| Regs::success(w2, 0))
    }

    pub(super) fn partition_info_get(&mut self, memory: &mut dyn PhysMemory, regs: &Regs) -> Regs {
        let uuid = Uuid::from_words([regs.w::<1>(), regs.w::<2>(), regs.w::<3>(), regs.w::<4>()]);
        let flags = regs.w::<5>();
        let count_only = flags & 1 != 0;
        let records = self.records(uuid);
        let old = self.caller_version() < Version::V1_1;
        let size = if old { 8 } else { self.config.record_size as usize };
        let room = self.mailbox.map_or(0, |mailbox| mailbox.bytes());
        for &(check, status) in self.config.info {
            let broken = match check {
                InfoCheck::Flags => flags & !1 != 0,
                InfoCheck::UnknownUuid => records.is_empty() && !uuid.is_nil(),
                InfoCheck::BufferBusy => !count_only && (self.mailbox.is_none() || self.rx_full),
                InfoCheck::TooLarge => !count_only && (records.len() * size) as u64 > room,
            };
            if broken {
                let taken = check == InfoCheck::TooLarge && self.config.quirks.info_error_takes_rx;
                self.rx_full |= taken;
                return error(status);
            }
        }
        let count = records.len() as u32;
        let Some(mailbox) = self.mailbox.filter(|_| !count_only) else {
            return Regs::success(count, 0);
        };
        // The tail of RX is zero, so that nothing of an earlier answer shows.
        let mut bytes = vec![0; mailbox.bytes() as usize];
        for (record, slot) in records.iter().zip(bytes.chunks_exact_mut(size)) {
            self.write_record(record, slot);
        }
        if memory.write(mailbox.rx, &bytes).is_err() {
            return error(Status::Aborted);
        }
        self.rx_full = true;
        Regs::success(count, if old { 0 } else { size as u32 })
    }

    /// The records of partitions that have `uuid`, or of all if it is nil.
    pub(super) fn records(&self, uuid: Uuid) -> Vec<Record> {
        let all = self.config.quirks.record_per_uuid && self.caller_version() >= Version::V1_2;
        self.partitions
            .iter()
            .filter(|sp| uuid.is_nil() || sp.config.uuids.contains(&uuid))
            .flat_map(|sp| {
                let shown = match (uuid.is_nil(), all) {
                    // The caller knows the UUID: the record leaves it out.
                    (false, _) => vec![Uuid::NIL],
                    (true, true) if !sp.config.uuids.is_empty() => sp.config.uuids.clone(),
                    (true, _) => vec![sp.config.uuids.first().copied().unwrap_or(Uuid::NIL)],
                };
                shown.into_iter().map(|uuid| Record {
                    id: sp.id().0,
                    contexts: sp.contexts.len() as u16,
                    properties: self.visible_properties(sp),
                    uuid,
                })
            })
            .collect()
    }

    fn visible_properties(&self, sp: &Partition) -> u32 {
        let vm_messages = Properties::WANTS_VM_CREATED.or(Properties::WANTS_VM_DESTROYED);
        let mut properties = sp.config.properties;
        if !self.config.quirks.records_show_senders {
            properties =
                properties.without(Properties::SENDS_DIRECT_REQUESTS.or(Properties::SENDS_DIRECT_REQUESTS2));
        }
        let virtualized =
            !matches!(self.config.vm_messages, super::VmMessages::BuiltIn { virtualization: false });
        let unheard = self.config.quirks.vm_messages_need_direct_requests
            && !properties.contains(Properties::RECEIVES_DIRECT_REQUESTS);
        if unheard || !virtualized {
            properties = properties.without(vm_messages);
        }
        let version = self.caller_version();
        let known = if version < Version::V1_1 {
            0x7
        } else if version < Version::V1_3 {
            0x7ff
        } else {
            0x1fff
        };
        properties.0 & known
    }

    pub(super) fn write_record(&self, record: &Record, slot: &mut [u8]) {
        let mut whole = [0; 48];
        whole[0..2].copy_from_slice(&record.id.to_le_bytes());
        whole[2..4].copy_from_slice(&record.contexts.to_le_bytes());
        whole[4..8].copy_from_slice(&record.properties.to_le_bytes());
        whole[8..24].copy_from_slice(&record.uuid.0);
        whole[40..44].copy_from_slice(&self.config.version.word().to_le_bytes());
        let len = slot.len().min(whole.len());
        slot[..len].copy_from_slice(&whole[..len]);
    }
}
