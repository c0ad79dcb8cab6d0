use ffa_abi::{Regs, Status};

use super::check::ReclaimCheck;
use super::memory::PhysMemory;
use super::model::{SpmcModel, error};
use super::reach::Serial;
use super::script::Until;
use super::whole::zero_pages;

impl SpmcModel {
    pub(super) fn mem_reclaim(&mut self, memory: &mut dyn PhysMemory, regs: &Regs) -> Regs {
        let raw = u64::from(regs.w::<2>()) << 32 | u64::from(regs.w::<1>());
        let flags = regs.w::<3>();
        let unused = flags | regs.w::<4>() | regs.w::<5>() | regs.w::<6>() | regs.w::<7>();
        let found = self.store.find(raw);
        let half_sent = self.store.half_sent(raw).is_some();
        for &(check, status) in self.config.reclaim {
            let broken = match check {
                ReclaimCheck::AnyFlag => flags != 0,
                ReclaimCheck::FlagsBeyondZero => flags & !1 != 0,
                ReclaimCheck::UnusedRegisters => unused != 0,
                ReclaimCheck::UnknownHandle => found.is_none() && !half_sent,
                ReclaimCheck::Incomplete => found.is_none() && half_sent,
                ReclaimCheck::InUse => {
                    if let Some(status) = found.and_then(|serial| self.refusal(serial)) {
                        return error(status);
                    }
                    found
                        .and_then(|serial| self.store.get(serial))
                        .is_some_and(|share| share.receivers.iter().any(|receiver| receiver.mapped))
                }
            };
            if broken {
                return error(status);
            }
        }
        let Some(share) = found.and_then(|serial| self.store.remove(serial)) else {
            return error(Status::InvalidParameters);
        };
        if flags & 1 != 0 && self.config.quirks.zeroes_memory {
            zero_pages(memory, &share.extents);
        }
        Regs::success(0, 0)
    }

    /// The answer that the script of a receiver gives in place of the rules.
    fn refusal(&mut self, serial: Serial) -> Option<Status> {
        let receivers = self.store.get(serial)?.receivers.clone();
        for receiver in receivers {
            let Some(sp) = self.partition_mut(receiver.id) else { continue };
            let Some(refusal) = sp.config.script.on_reclaim else { continue };
            let goes_on = match refusal.until {
                Until::Times(times) => sp.refusals < times,
                Until::Restart | Until::Forgotten => sp.restarts == 0,
                Until::Never => true,
            };
            if goes_on {
                sp.refusals = sp.refusals.saturating_add(1);
                if refusal.until == Until::Forgotten {
                    self.store.forget(serial);
                    self.drop_if_unreachable(serial);
                }
                return Some(refusal.status);
            }
        }
        None
    }
}
