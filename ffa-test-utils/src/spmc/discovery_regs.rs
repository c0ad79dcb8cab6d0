use ffa_abi::{Function, FunctionId, Regs, Status, Uuid, Version};

use super::check::InfoRegsCheck;
use super::model::{SpmcModel, error};

/// Registers x3 to x17 hold records.
const FIRST: usize = 3;

impl SpmcModel {
    pub(super) fn partition_info_get_regs(&self, regs: &Regs) -> Regs {
        let Some(checks) = self.config.info_regs else { return error(Status::NotSupported) };
        let uuid = Uuid::from_halves([regs.x::<1>(), regs.x::<2>()]);
        let x3 = regs.x::<3>();
        let (start, tag) = (x3 as u16, (x3 >> 16) as u16);
        let records = self.records(uuid);
        for &(check, status) in checks {
            let broken = match check {
                InfoRegsCheck::OldCaller => self.caller_version() < Version::V1_2,
                InfoRegsCheck::UnknownUuid => records.is_empty() && !uuid.is_nil(),
                InfoRegsCheck::Tag => tag != self.list_tag && (start, tag) != (0, 0),
                InfoRegsCheck::Start => usize::from(start) >= records.len(),
            };
            if broken {
                return error(status);
            }
        }
        let success = u64::from(FunctionId::smc64(Function::Success).w0());
        let mut regs = Regs::new([success]);
        let size = self.config.record_size as usize;
        let slots = regs.0[FIRST..].chunks_exact_mut(size / 8);
        let mut shown = 0;
        for (record, slot) in records.iter().skip(usize::from(start)).zip(slots) {
            let mut bytes = [0; 48];
            self.write_record(record, &mut bytes[..size]);
            for (x, eight) in slot.iter_mut().zip(bytes.chunks_exact(8)) {
                *x = eight.iter().rev().fold(0, |x, &byte| x << 8 | u64::from(byte));
            }
            shown += 1;
        }
        // Where no row refuses an empty list, both indices are those of its start.
        let last = (records.len() as u64).saturating_sub(1);
        let current = u64::from(start) + u64::saturating_sub(shown, 1);
        regs[2] = last | current << 16 | u64::from(self.list_tag) << 32 | (size as u64) << 48;
        regs
    }
}
