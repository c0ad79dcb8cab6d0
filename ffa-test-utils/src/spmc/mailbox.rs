use ffa_abi::{FrameworkNotifications, FunctionId, PartitionId, Regs, Status, Width};

use super::check::{AcquireCheck, MapCheck, ReleaseCheck};
use super::memory::{Extent, PAGE_SIZE, PhysMemory};
use super::model::{SpmcModel, error};
use super::vm::RxOwner;

/// An endpoint's buffers.
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
    pub(super) fn rxtx_map(&mut self, memory: &dyn PhysMemory, id: FunctionId, regs: &Regs) -> Regs {
        let address = |x: u64| if id.width() == Width::Smc32 { x & 0xffff_ffff } else { x };
        let w3 = regs.w::<3>();
        let asked = Mailbox { tx: address(regs.x::<1>()), rx: address(regs.x::<2>()), pages: w3 & 0x3f };
        let nothing = asked.tx == 0 && asked.rx == 0 && w3 == 0;
        match self.config.map_for_vm.filter(|_| nothing) {
            Some(checks) => self.map_for_vm(memory, checks, id),
            None => self.map_for(PartitionId::HYPERVISOR, id, asked, w3),
        }
    }

    /// Maps the buffers that `owner` wants; `w3` is as it came.
    pub(super) fn map_for(&mut self, owner: PartitionId, id: FunctionId, asked: Mailbox, w3: u32) -> Regs {
        for &(check, status) in self.config.map {
            if self.map_broken(check, owner, id, asked, w3) {
                return error(status);
            }
        }
        match owner {
            PartitionId::HYPERVISOR => self.mailbox = Some(asked),
            vm => self.vm_mut(vm).mailbox = Some(asked),
        }
        Regs::success(0, 0)
    }

    fn map_broken(
        &self,
        check: MapCheck,
        owner: PartitionId,
        id: FunctionId,
        asked: Mailbox,
        w3: u32,
    ) -> bool {
        let [tx, rx] = asked.extents();
        match check {
            MapCheck::Narrow => id.width() == Width::Smc32,
            MapCheck::NoPages => asked.pages == 0,
            MapCheck::TooManyPages => asked.pages > self.config.limits.buffer_pages,
            MapCheck::PagesReserved => w3 & !0x3f != 0,
            MapCheck::ZeroAddress => asked.tx == 0 || asked.rx == 0,
            MapCheck::SameAddress => asked.tx == asked.rx,
            MapCheck::Misplaced => (asked.tx | asked.rx) % PAGE_SIZE != 0 || tx.overlaps(&rx),
            MapCheck::Mapped => self.mailbox_of(owner).is_some(),
            MapCheck::NotOwned => [tx, rx].into_iter().any(|buffer| {
                !self.is_non_secure(buffer)
                    || self.store.overlapping(buffer).next().is_some()
                    || self.is_in_buffer(buffer)
            }),
        }
    }

    /// The buffers of the hypervisor or of a VM.
    pub(super) fn mailbox_of(&self, owner: PartitionId) -> Option<Mailbox> {
        match owner {
            PartitionId::HYPERVISOR => self.mailbox,
            vm => self.vms.get(&vm)?.mailbox,
        }
    }

    /// Whether anybody's buffers hold a byte of `extent`.
    pub(super) fn is_in_buffer(&self, extent: Extent) -> bool {
        let all = self.vms.values().map(|vm| vm.mailbox).chain([self.mailbox]);
        all.flatten().any(|mailbox| mailbox.extents().iter().any(|buffer| buffer.overlaps(&extent)))
    }

    pub(super) fn rxtx_unmap(&mut self, regs: &Regs) -> Regs {
        let w1 = if self.config.quirks.unmap_ignores_endpoint { 0 } else { regs.w::<1>() };
        let (owner, reserved) = PartitionId::split(w1);
        if reserved.0 != 0 || self.mailbox_of(owner).is_none() {
            return error(Status::InvalidParameters);
        }
        if owner != PartitionId::HYPERVISOR {
            let vm = self.vm_mut(owner);
            (vm.mailbox, vm.rx) = (None, RxOwner::Spmc);
            self.free_unused(owner);
            return Regs::success(0, 0);
        }
        self.mailbox = None;
        if !self.config.quirks.unmap_keeps_rx_state {
            self.rx_full = false;
        }
        Regs::success(0, 0)
    }

    pub(super) fn rx_release(&mut self, regs: &Regs) -> Regs {
        let ignored = self.config.quirks.release_ignores_endpoint;
        let owner = if ignored { PartitionId::HYPERVISOR } else { PartitionId(regs.w::<1>() as u16) };
        for &(check, status) in self.config.release {
            let broken = match check {
                ReleaseCheck::NoBuffer => {
                    owner != PartitionId::HYPERVISOR && self.mailbox_of(owner).is_none()
                }
                ReleaseCheck::NotOwned => match owner {
                    PartitionId::HYPERVISOR => !self.rx_full,
                    vm => self.vms.get(&vm).is_none_or(|vm| vm.rx == RxOwner::Spmc),
                },
                ReleaseCheck::MessagePending => self.vms.get(&owner).is_some_and(|vm| {
                    vm.notifications.framework.contains(FrameworkNotifications::RX_BUFFER_FULL)
                }),
            };
            if broken {
                return error(status);
            }
        }
        match owner {
            PartitionId::HYPERVISOR => self.rx_full = false,
            vm => self.vm_mut(vm).rx = RxOwner::Spmc,
        }
        Regs::success(0, 0)
    }

    pub(super) fn rx_acquire(&mut self, regs: &Regs) -> Regs {
        let Some(checks) = self.config.acquire else { return error(Status::NotSupported) };
        let vm = PartitionId(regs.w::<1>() as u16);
        for &(check, status) in checks {
            let kept = self.vms.get(&vm);
            let broken = match check {
                AcquireCheck::Secure => vm.is_secure(),
                AcquireCheck::NoBuffer => kept.is_none_or(|vm| vm.mailbox.is_none()),
                AcquireCheck::NotFree => kept.is_some_and(|vm| vm.rx != RxOwner::Spmc),
            };
            if broken {
                return error(status);
            }
        }
        self.vm_mut(vm).rx = RxOwner::Hypervisor;
        Regs::success(0, 0)
    }

    /// Whether all of `extent` is non-secure memory.
    pub(super) fn is_non_secure(&self, extent: Extent) -> bool {
        let all = &self.config.non_secure;
        let holds = |range: &Extent| range.base <= extent.base && extent.end() <= range.end();
        !extent.wraps() && (all.is_empty() || all.iter().any(holds))
    }
}
