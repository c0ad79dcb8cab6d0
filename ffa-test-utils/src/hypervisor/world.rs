use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::vec::Vec;

use ffa_abi::{Function, FunctionId, PartitionId, Regs, Transaction};
use ffa_hyp_glue::{Event, Relation};
use ffa_teardown::{Span, Time};

use super::cpu::Cpu;
use super::frames::{Frames, Life, Owner, PAGE};
use super::fuse::Fuse;
use super::oracle::{Oracle, Violation};
use super::owed::Owed;
use super::vm::{Kind, Region, Vm};
use crate::fault::FaultPlan;
use crate::scenario::Tally;
use crate::spmc::{PhysMemory, Reached, SpmcModel};

/// One SMC, as the mediator made it and saw it answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Smc {
    /// When.
    pub at: Time,
    /// On which CPU.
    pub cpu: u16,
    /// The call.
    pub regs: Regs,
    /// The answer.
    pub answer: Regs,
}

/// A virtual interrupt that the mediator had raised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Interrupt {
    /// The VM.
    pub vm: PartitionId,
    /// The vCPU that takes it.
    pub vcpu: u16,
    /// Which one.
    pub intid: u32,
}

/// Who may have to do with whom.
pub(super) type Permits = Box<dyn Fn(PartitionId, Relation, PartitionId) -> bool>;

/// A copy out of guest memory, as the mediator made it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Copy {
    /// Whose memory.
    pub vm: PartitionId,
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub len: usize,
}

/// A moment at which something else can happen in a test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// An SMC is about to be made.
    Smc(Regs),
    /// An SMC has been made, but its answer has not been looked at.
    Answered(Regs),
    /// Guest memory has been copied in.
    Read(Copy),
    /// Guest memory is about to be written.
    Write(Copy),
    /// Pages were held.
    Held(PartitionId),
    /// Pages are about to be released.
    Release(PartitionId),
    /// Pages are about to leave their VM for good.
    Donated(PartitionId),
    /// Pages are about to be handed over to the hypervisor's list of pages that must not be reused.
    Quarantine(PartitionId),
    /// Pages of another VM were mapped for this one.
    Mapped(PartitionId),
    /// Pages of another VM are about to become this one's own.
    Give(PartitionId),
    /// Pages of another VM are about to be unmapped from this one.
    Unmap(PartitionId),
    /// A reference is about to be taken.
    Take(PartitionId),
    /// A reference was taken.
    Taken(PartitionId),
    /// A reference is about to be given back.
    GiveBack(PartitionId),
    /// An event is about to be reported.
    Event(Event),
}

/// Something else that happens, on a CPU of its own.
pub type Interloper = Box<dyn FnMut(&mut Cpu, Moment)>;

/// All that CPUs share.
pub(super) struct World {
    pub frames: Frames,
    pub vms: BTreeMap<PartitionId, Vm>,
    /// VMs that are gone but for pages that the hypervisor keeps to itself.
    pub husks: Vec<Vm>,
    /// IDs that some VM has had.
    pub used: BTreeSet<PartitionId>,
    pub next_life: Life,
    pub now: Time,
    pub smc_cost: Span,
    pub deadline: Option<Time>,
    /// TX and RX towards the SPMC.
    pub buffers: [u32; 2],
    /// Pages of each.
    pub buffer_pages: u8,
    pub spmc: SpmcModel,
    pub plan: FaultPlan,
    pub oracle: Oracle,
    pub owed: Owed,
    pub smcs: u64,
    /// Those that begin to send memory.
    pub sends: u64,
    /// Those of them by which the hypervisor asked what a handle names: a tick makes them beside its budget.
    pub questions: u64,
    pub smc_log: VecDeque<Smc>,
    pub events: VecDeque<(Time, Event)>,
    pub tally: Tally,
    pub copies: Vec<Copy>,
    /// How many of each log are kept.
    pub kept: usize,
    /// Virtual interrupts raised and not yet taken.
    pub interrupts: Vec<Interrupt>,
    /// `None`: every SP and no VM.
    pub permissions: Option<Permits>,
    /// Pages that a VM may have borrowed at the same time.
    pub most_borrowed: usize,
    pub lock_probe: Option<Box<dyn Fn() -> bool>>,
    pub interloper: Option<Interloper>,
    /// What the hypervisor cannot do.
    pub fuse: Fuse,
    /// Seams called.
    pub operations: u64,
    pub ticks: u64,
    pub most_smcs: u64,
    pub idle_ticks: u32,
}

pub(super) fn keep<T>(log: &mut VecDeque<T>, kept: usize, item: T) {
    if kept == 0 {
        return;
    }
    if log.len() == kept {
        log.pop_front();
    }
    log.push_back(item);
}

impl World {
    /// Takes note that a seam was called, which must not be under the lock.
    pub fn seam(&mut self, seam: &'static str) {
        self.operations += 1;
        if self.lock_probe.as_ref().is_some_and(|locked| locked()) {
            self.oracle.report(Violation::UnderLock { seam });
        }
    }

    /// The VM, alive or dead, which must be there.
    pub fn vm(&mut self, vm: PartitionId, seam: &'static str) -> Option<&mut Vm> {
        let found = self.vms.get_mut(&vm);
        if found.is_none() {
            self.oracle.report(Violation::UsedAfterFree { vm, seam });
        }
        found
    }

    /// Makes one SMC.
    pub fn smc(&mut self, cpu: u16, regs: &Regs) -> Regs {
        let Self { spmc, plan, frames, now, owed, buffers: [tx, _], buffer_pages, .. } = self;
        let given = owed.called(regs, |len| {
            let mut bytes = std::vec![0; len.min(usize::from(*buffer_pages) * PAGE as usize)];
            frames.read(Frames::address(*tx), &mut bytes).expect("TX is there");
            bytes
        });
        let answer = plan.apply(regs, |regs| spmc.call_on(cpu, frames, *now, regs));
        if let Some(handle) = plan.take_forgotten() {
            spmc.forget_half_sent(handle);
        }
        self.owed.answered(given, &answer);
        self.oracle.smc(regs, &answer);
        self.check_owners(regs);
        self.smcs += 1;
        match FunctionId::from_w0(regs.w::<0>()).map(FunctionId::function) {
            Ok(Function::MemRetrieveReq | Function::MemFragRx | Function::RxRelease) => self.questions += 1,
            Ok(Function::MemShare | Function::MemLend | Function::MemDonate) => self.sends += 1,
            _ => {}
        }
        let smc = Smc { at: self.now, cpu, regs: *regs, answer };
        keep(&mut self.smc_log, self.kept, smc);
        self.now = self.now + self.smc_cost;
        answer
    }

    /// Physical address behind a guest's, if it is memory that the guest may access so.
    pub fn translate(&self, vm: PartitionId, address: u64, write: bool) -> Option<u64> {
        let (frame, kind) = self.vms.get(&vm)?.frame(address)?;
        let allowed = match kind {
            // What its owner has lost is its borrower's.
            Kind::Foreign => true,
            Kind::ForeignReadOnly => !write,
            _ if self.frames.is_hidden(frame) => false,
            Kind::Ram | Kind::Hypervisors => true,
            Kind::ReadOnly => !write,
            Kind::Device => false,
        };
        allowed.then(|| Frames::address(frame) + address % PAGE)
    }

    /// Whether a VM can access what is lent or donated, after a call that may have done so.
    fn check_owners(&mut self, regs: &Regs) {
        let function = FunctionId::from_w0(regs.w::<0>()).map(FunctionId::function);
        if !matches!(function, Ok(Function::MemLend | Function::MemDonate | Function::MemFragTx)) {
            return;
        }
        let lost: Vec<_> =
            self.spmc.reaches().filter(|reached| reached.transaction != Transaction::Share).collect();
        for Reached { extent, owner, handle, .. } in lost {
            for page in (0..u64::from(extent.pages)).map(|page| extent.base + page * PAGE) {
                let visible = self.frames.at(page).filter(|&frame| {
                    let owned = matches!(self.frames.owner(frame), Owner::Vm { orphan: false, .. });
                    owned && !self.frames.is_hidden(frame)
                });
                if visible.is_some() {
                    self.oracle.report(Violation::OwnerAccess { vm: owner, page, handle });
                }
            }
        }
    }

    /// Whoever gets the frame must be the only one who can reach it, as far as can be known and in truth.
    pub fn check_reach(&mut self, frame: u32, when: &'static str) {
        let page = Frames::address(frame);
        if let Some(borrower) = self.vms.values().find(|vm| vm.borrows(frame)) {
            self.oracle.report(Violation::Borrowed { page, when, borrower: borrower.id });
        }
        let reached = self.spmc.can_reach(page);
        self.oracle.reachable(page, when, reached);
        if self.owed.contains(page) {
            self.oracle.report(Violation::Unconfirmed { page, when });
        }
    }

    /// Whoever writes to a guest's page must have it held.
    pub fn check_held(&mut self, vm: PartitionId, address: u64) {
        let frame = self.vms.get(&vm).and_then(|vm| vm.frame(address));
        if let Some((frame, _)) = frame {
            if let Owner::Vm { holds: 0, .. } | Owner::Free = self.frames.owner(frame) {
                self.oracle.report(Violation::WrittenUnheld { vm, page: address });
            }
        }
    }

    /// Frees a frame that nobody needs any more.
    pub fn free(&mut self, frame: u32) {
        self.check_reach(frame, "freed");
        self.frames.free(frame);
    }

    /// The VM's guest makes no calls any more; frames that nobody holds are free at once.
    pub fn kill(&mut self, id: PartitionId) {
        let Some(vm) = self.vms.get_mut(&id) else { return };
        vm.dead = true;
        let own = vm.life;
        let of_region = |(region, frames): &(Region, Vec<u32>)| {
            let kind = region.kind;
            frames.iter().map(move |&frame| (frame, kind)).collect::<Vec<_>>()
        };
        let frames: Vec<_> = vm.regions.iter().flat_map(of_region).collect();
        for (frame, kind) in frames {
            match self.frames.owner(frame) {
                // It has given it away.
                Owner::Vm { life, .. } if life != own => {}
                Owner::Vm { holds: 0, .. } => self.free(frame),
                Owner::Vm { life, holds, .. } => {
                    self.frames.set_owner(frame, Owner::Vm { life, holds, orphan: true });
                }
                Owner::Hypervisor if !matches!(kind, Kind::Ram | Kind::ReadOnly) => self.free(frame),
                Owner::Hypervisor | Owner::Free | Owner::Leaked { .. } | Owner::Donated => {}
            }
        }
    }

    /// Drops a reference; the last one frees the VM.
    pub fn drop_reference(&mut self, id: PartitionId) {
        let Some(vm) = self.vms.get_mut(&id) else { return };
        vm.references = vm.references.saturating_sub(1);
        if vm.references > 0 || !vm.dead {
            return;
        }
        let Some(vm) = self.vms.remove(&id) else { return };
        if vm.lent > 0 {
            self.oracle.report(Violation::ReferenceKept { vm: id });
        }
        if !vm.borrowed.is_empty() {
            self.oracle.report(Violation::MappingKept { vm: id });
        }
        if vm.announced {
            self.oracle.gone(id);
        }
        // What is still held keeps its frames, and a later release must find them.
        if vm.frames().any(|frame| self.is_of(frame, vm.life)) {
            self.husks.push(vm);
        }
    }

    /// Whether the frame is still part of this life.
    pub fn is_of(&self, frame: u32, life: Life) -> bool {
        match self.frames.owner(frame) {
            Owner::Vm { life: owner, .. } | Owner::Leaked { life: owner } => owner == life,
            Owner::Free | Owner::Hypervisor | Owner::Donated => false,
        }
    }

    pub fn report_lost_pages(&mut self, expected: u64) {
        let found = self.frames.count().total();
        if found != expected {
            self.oracle.report(Violation::PagesLost { expected, found });
        }
    }

    pub fn copy(&mut self, copy: Copy) {
        if self.kept > 0 {
            self.copies.push(copy);
        }
    }

    pub fn read_physical(&self, address: u64, dst: &mut [u8]) -> bool {
        self.frames.read(address, dst).is_ok()
    }
}
