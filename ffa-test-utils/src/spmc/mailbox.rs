use ffa_abi::{FunctionId, PartitionId, Regs, Status, Width};

use super::check::MapCheck;
use super::memory::{Extent, PAGE_SIZE};
use super::model::{SpmcModel, error};

/// The hypervisor's buffers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mailbox {
    pub tx: u64,
    pub rx: u64,
    pub pages: u32,
}

impl Mailbox {
    pub const fn bytes(&self) -> u64 {
        self.pages as u64 * PAGE_SIZE
    }

    pub const fn extents(&self) -> [Extent; 2] {
        [Extent { base: self.tx, pages: self.pages }, Extent { base: self.rx, pages: self.pages }]
    }
}

impl SpmcModel {
    pub(super) fn rxtx_map(&mut self, id: FunctionId, regs: &Regs) -> Regs {
        let address = |x: u64| if id.width() == Width::Smc32 { x & 0xffff_ffff } else { x };
        let asked =
            Mailbox { tx: address(regs.x::<1>()), rx: address(regs.x::<2>()), pages: regs.w::<3>() & 0x3f };
        for &(check, status) in self.config.map {
            if self.map_broken(check, id, asked, regs.w::<3>()) {
                return error(status);
            }
        }
        self.mailbox = Some(asked);
        Regs::success(0, 0)
    }

    fn map_broken(&self, check: MapCheck, id: FunctionId, asked: Mailbox, w3: u32) -> bool {
        let [tx, rx] = asked.extents();
        match check {
            MapCheck::Narrow => id.width() == Width::Smc32,
            MapCheck::NoPages => asked.pages == 0,
            MapCheck::TooManyPages => asked.pages > self.config.limits.buffer_pages,
            MapCheck::PagesReserved => w3 & !0x3f != 0,
            MapCheck::ZeroAddress => asked.tx == 0 || asked.rx == 0,
            MapCheck::SameAddress => asked.tx == asked.rx,
            MapCheck::Misplaced => (asked.tx | asked.rx) % PAGE_SIZE != 0 || tx.overlaps(&rx),
            MapCheck::Mapped => self.mailbox.is_some(),
            MapCheck::NotOwned => [tx, rx]
                .into_iter()
                .any(|buffer| !self.is_non_secure(buffer) || self.store.overlapping(buffer).next().is_some()),
        }
    }

    pub(super) fn rxtx_unmap(&mut self, regs: &Regs) -> Regs {
        let named = regs.w::<1>() != 0 && !self.config.quirks.unmap_ignores_endpoint;
        if named || self.mailbox.is_none() {
            return error(Status::InvalidParameters);
        }
        self.mailbox = None;
        if !self.config.quirks.unmap_keeps_rx_state {
            self.rx_full = false;
        }
        Regs::success(0, 0)
    }

    pub(super) fn rx_release(&mut self, regs: &Regs) -> Regs {
        let named = PartitionId(regs.w::<1>() as u16) != PartitionId::HYPERVISOR;
        if named && !self.config.quirks.release_ignores_endpoint {
            return error(Status::InvalidParameters);
        }
        if !core::mem::replace(&mut self.rx_full, false) {
            return error(Status::Denied);
        }
        Regs::success(0, 0)
    }

    /// Whether all of `extent` is non-secure memory.
    pub(super) fn is_non_secure(&self, extent: Extent) -> bool {
        let all = &self.config.non_secure;
        let holds = |range: &Extent| range.base <= extent.base && extent.end() <= range.end();
        !extent.wraps() && (all.is_empty() || all.iter().any(holds))
    }
}
