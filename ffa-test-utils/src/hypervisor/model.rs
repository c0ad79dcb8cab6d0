use std::boxed::Box;
use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::vec::Vec;

use ffa_abi::{PartitionId, PartitionInfo, Regs};
use ffa_hyp_glue::{
    Caller, Creation, DraftSlot, Event, GuestFault, LoanSlot, Mediator, Occupancy, Outcome, ProbeFailure,
    Relation, Scratch, Settings, Spmc, VcpuSlot, VmReport,
};
use ffa_teardown::{CreateError, DutySlot, Span, Time, Unexpected, VmKey, VmSlot};

use super::cpu::Cpu;
use super::frames::{FrameCount, Frames, Owner};
use super::fuse::{Fallible, Fuse};
use super::oracle::{Oracle, Violation};
use super::owed::Owed;
use super::stores::{ModelMediator, VecRanges};
use super::vm::{Kind, Region, Vm};
use super::world::{Copy, Interloper, Interrupt, Smc, World};
use crate::fault::FaultPlan;
use crate::scenario::Tally;
use crate::spmc::{Config, Control, PhysMemory, Preset, SpConfig, SpmcModel};

/// What a [`ModelHypervisor`] is made of.
#[derive(Debug)]
pub struct Machine {
    /// The secure world.
    pub secure: Config,
    /// Its partitions.
    pub partitions: Vec<SpConfig>,
    /// Faults on the way to it.
    pub plan: FaultPlan,
    /// The mediator's settings.
    pub settings: Settings,
    /// 4 KiB frames of memory.
    pub frames: u32,
    /// VMs that the mediator has room for.
    pub vms: usize,
    /// Obligations that it has room for.
    pub duties: usize,
    /// Page ranges of one VM that it has room for.
    pub ranges: usize,
    /// Records of partitions that it has room for.
    pub listed: usize,
    /// Borrowers of memory transactions between VMs that it has room for.
    pub loans: usize,
    /// vCPUs of each VM.
    pub vcpus: u16,
    /// Memory transactions that a VM may have sent a part of at the same time.
    pub drafts: usize,
    /// 4 KiB pages of TX, and of RX, that the secure world is offered.
    pub buffer_pages: u8,
    /// Time that one SMC takes.
    pub smc_cost: Span,
    /// How many SMCs and events are remembered.
    pub log: usize,
}

impl Machine {
    /// 16 MiB, and room for 8 VMs of 2 vCPUs and 1024 ranges, which lend each other nothing.
    #[must_use]
    pub fn new(secure: impl Into<Config>, partitions: impl IntoIterator<Item = SpConfig>) -> Self {
        Self {
            secure: secure.into(),
            partitions: partitions.into_iter().collect(),
            plan: FaultPlan::none(),
            settings: Settings::DEFAULT,
            frames: 4096,
            vms: 8,
            duties: 512,
            ranges: 1024,
            listed: 170,
            loans: 0,
            vcpus: 2,
            drafts: 2,
            buffer_pages: 1,
            smc_cost: Span::from_nanos(2_000),
            log: 100_000,
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new(Preset::Strict, [])
    }
}

/// No such VM lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no VM {vm}")]
pub struct NoVm {
    /// Its ID.
    pub vm: PartitionId,
}

/// A hypervisor of plain Rust: memory, VMs, virtual time, and the mediator under test. A clone is the same machine once more,
/// for what happens on other CPUs in the middle of a call.
#[derive(Clone)]
pub struct ModelHypervisor {
    world: Rc<RefCell<World>>,
    mediator: Rc<ModelMediator>,
    keys: Rc<RefCell<BTreeMap<PartitionId, VmKey>>>,
    ranges: usize,
    vcpus: u16,
    drafts: usize,
    frames: u64,
}

impl ModelHypervisor {
    /// Boots: the mediator finds out what the secure world offers.
    ///
    /// # Errors
    /// [`ProbeFailure`], if the secure world is not to be worked with.
    ///
    /// # Panics
    /// If there are no frames for TX and RX.
    pub fn new(machine: Machine) -> Result<Self, ProbeFailure> {
        let Machine { secure, partitions, plan, settings, frames, vms, duties, ranges, listed, .. } = machine;
        let Machine { vcpus, drafts, loans, buffer_pages, smc_cost, log, .. } = machine;
        let subscribers = partitions.iter().map(|sp| (sp.id, sp.properties)).collect();
        let mut memory = Frames::new(frames);
        let pages = u32::from(buffer_pages);
        let buffers = memory.take(2 * pages, false, Owner::Hypervisor).expect("frames for TX and RX");
        let world = World {
            frames: memory,
            vms: BTreeMap::new(),
            husks: Vec::new(),
            used: BTreeSet::new(),
            next_life: 1,
            now: Time::ZERO,
            smc_cost,
            deadline: None,
            buffers: [buffers[0], buffers[pages as usize]],
            buffer_pages,
            spmc: SpmcModel::new(secure, partitions),
            plan,
            oracle: Oracle::new(subscribers),
            owed: Owed::default(),
            smcs: 0,
            sends: 0,
            questions: 0,
            smc_log: VecDeque::new(),
            events: VecDeque::new(),
            tally: Tally::EMPTY,
            copies: Vec::new(),
            interrupts: Vec::new(),
            permissions: None,
            most_borrowed: usize::MAX,
            kept: log,
            lock_probe: None,
            fuse: Fuse::default(),
            interloper: None,
            operations: 0,
            ticks: 0,
            most_smcs: 0,
            idle_ticks: 0,
        };
        let world = Rc::new(RefCell::new(world));
        let mut cpu = Cpu { world: Rc::clone(&world), number: 0 };
        let lists = [(); 2].map(|()| std::vec![PartitionInfo::default(); listed].into_boxed_slice());
        let spmc = Spmc::probe(&mut cpu, settings.version, &mut Scratch::new(), lists)?;
        let vm_slots = std::vec![VmSlot::VACANT; vms].into_boxed_slice();
        let duty_slots = std::vec![DutySlot::VACANT; duties].into_boxed_slice();
        let records = (0..vms).map(|_| None).collect();
        let loan_slots = std::vec![LoanSlot::VACANT; loans].into_boxed_slice();
        let mediator = Mediator::new(spmc, settings, vm_slots, duty_slots, records, loan_slots);
        let mediator = Rc::new(mediator);
        let probed = Rc::downgrade(&mediator);
        let probe = move || probed.upgrade().is_some_and(|mediator: Rc<ModelMediator>| mediator.is_locked());
        world.borrow_mut().lock_probe = Some(Box::new(probe));
        let frames = u64::from(frames);
        Ok(Self { world, mediator, keys: Rc::default(), ranges, vcpus, drafts, frames })
    }

    /// A CPU of the machine.
    #[must_use]
    pub fn cpu(&self, number: u16) -> Cpu {
        Cpu { world: Rc::clone(&self.world), number }
    }

    /// The mediator.
    #[must_use]
    pub fn mediator(&self) -> &Rc<ModelMediator> {
        &self.mediator
    }

    /// Creates a VM with memory and tells the secure world of it. If some SP has yet to take note, ticks go on until
    /// that is settled.
    ///
    /// A creation that fails leaves a dead VM behind, whose teardown has begun.
    ///
    /// # Errors
    /// [`CreateError`], if the mediator cannot have it; nothing is left behind.
    ///
    /// # Panics
    /// If the machine has too little memory, or the model itself still has a VM of that ID.
    pub fn create(&self, vm: PartitionId, regions: &[Region]) -> Result<Creation, CreateError> {
        let mut creation = self.begin_create(vm, regions)?;
        let Some(key) = self.key(vm) else { return Ok(creation) };
        while creation == Creation::Pending && self.tick_next(Time::from_nanos(u64::MAX)) {
            creation = self.mediator.creation(key);
        }
        // Another CPU may have ended it.
        if matches!(creation, Creation::Failed(_)) && self.is_alive(vm) {
            self.bury(vm);
        }
        Ok(creation)
    }

    /// As [`create`](Self::create), without waiting for what takes its time. A VM whose creation fails is for the caller to
    /// [bury](Self::bury).
    ///
    /// # Errors
    /// As `create`.
    ///
    /// # Panics
    /// As `create`.
    pub fn begin_create(&self, vm: PartitionId, regions: &[Region]) -> Result<Creation, CreateError> {
        let mut cpu = self.cpu(0);
        if let Some(key) = self.mediator.find(vm) {
            // Retired: the mediator must refuse, and the model has no room for two of them.
            let refused = self.mediator.create_vm(&mut cpu, vm, self.ranges(), self.vcpu_slots(), Vec::new());
            return refused.map(|(_, creation)| creation).inspect(|_| {
                let _ = key;
                self.world.borrow_mut().oracle.report(Violation::UsedAfterFree { vm, seam: "create_vm" });
            });
        }
        self.build(vm, regions);
        let drafts = std::vec![DraftSlot::VACANT; self.drafts];
        let ranges = self.ranges();
        let created = self.mediator.create_vm(&mut cpu, vm, ranges, self.vcpu_slots(), drafts);
        let (key, creation) = match created {
            Ok(created) => created,
            Err(error) => {
                self.bury(vm);
                return Err(error);
            }
        };
        self.keys.borrow_mut().insert(vm, key);
        if let Some(vm) = self.world.borrow_mut().vms.get_mut(&vm) {
            vm.announced = true;
        }
        Ok(creation)
    }

    fn ranges(&self) -> VecRanges {
        VecRanges::new(self.ranges).with_fuse(self.world.borrow().fuse.clone())
    }

    fn vcpu_slots(&self) -> Vec<VcpuSlot> {
        std::vec![VcpuSlot::IDLE; usize::from(self.vcpus)]
    }

    fn build(&self, id: PartitionId, regions: &[Region]) {
        let world = &mut *self.world.borrow_mut();
        assert!(!world.vms.contains_key(&id), "VM {id} is still there");
        // A secure world that was never told of this ID has nothing of it.
        if world.used.contains(&id) {
            if let Some(live) = world.spmc.live_handles().find(|live| live.owner == id) {
                world.oracle.report(Violation::IdReused { vm: id, handle: live.handle });
            }
        }
        world.used.insert(id);
        world.oracle.born(id);
        let life = world.next_life;
        world.next_life += 1;
        let regions: Vec<_> = regions
            .iter()
            .map(|region| {
                let owner = match region.kind {
                    Kind::Ram | Kind::ReadOnly => Owner::Vm { life, holds: 0, orphan: false },
                    Kind::Device | Kind::Hypervisors | Kind::Foreign | Kind::ForeignReadOnly => {
                        Owner::Hypervisor
                    }
                };
                let frames = world.frames.take(region.pages, region.scattered, owner);
                (*region, frames.expect("the machine has memory for every VM"))
            })
            .collect();
        let vcpus = std::vec![true; usize::from(self.vcpus)];
        let vm = Vm {
            id,
            life,
            regions,
            borrowed: Vec::new(),
            given: BTreeSet::new(),
            windows: 0,
            announced: false,
            dead: false,
            references: 1,
            lent: 0,
            vcpus,
        };
        let frames: Vec<_> = vm.frames().collect();
        for frame in frames {
            world.check_reach(frame, "given to a VM");
        }
        world.vms.insert(id, vm);
    }

    /// The hypervisor's own part of a VM's end, for tests that tell the mediator of it by themselves: frames that nobody
    /// holds are free, and the hypervisor's reference is dropped.
    pub fn bury(&self, vm: PartitionId) {
        let world = &mut *self.world.borrow_mut();
        world.kill(vm);
        world.drop_reference(vm);
    }

    /// Whether the hypervisor still has such a VM, dead or alive.
    #[must_use]
    pub fn is_there(&self, vm: PartitionId) -> bool {
        self.world.borrow().vms.contains_key(&vm)
    }

    /// Whether the hypervisor has such a VM, and it lives.
    #[must_use]
    pub fn is_alive(&self, vm: PartitionId) -> bool {
        self.world.borrow().vms.get(&vm).is_some_and(|vm| !vm.dead)
    }

    /// Kills a VM: the mediator is told, its free pages are reused at once, and the hypervisor drops its reference.
    ///
    /// # Errors
    /// [`Unexpected`] from the mediator, if it is dead already.
    pub fn destroy(&self, vm: PartitionId) -> Result<(), Unexpected> {
        let key = self.key(vm).ok_or(Unexpected::UnknownVm { vm })?;
        self.mediator.destroy_vm(&mut self.cpu(0), key)?;
        self.bury(vm);
        Ok(())
    }

    /// A call of a guest, trapped and served on `cpu`. Overdue ticks come first, as their interrupt would.
    ///
    /// # Errors
    /// [`NoVm`], if there is no such VM.
    pub fn call(&self, vm: PartitionId, vcpu: u16, regs: &mut Regs) -> Result<Outcome, NoVm> {
        let now = self.now();
        while self.tick_next(now) {}
        let outcome = self.trap(vm, vcpu, regs)?;
        self.take_secure_interrupt();
        Ok(outcome)
    }

    /// A call of a guest and nothing else, which other CPUs may be in the middle of as well.
    ///
    /// # Errors
    /// [`NoVm`], if there is no such VM.
    pub fn trap(&self, vm: PartitionId, vcpu: u16, regs: &mut Regs) -> Result<Outcome, NoVm> {
        let key = self.key(vm).ok_or(NoVm { vm })?;
        self.enter_guest_call(vm);
        let caller = Caller { vm: key, vcpu };
        let outcome = self.mediator.guest_call(&mut self.cpu(vcpu), caller, regs, &mut Scratch::new());
        self.world.borrow_mut().drop_reference(vm);
        Ok(outcome)
    }

    /// The vCPU has a reference to its VM.
    fn enter_guest_call(&self, vm: PartitionId) {
        if let Some(vm) = self.world.borrow_mut().vms.get_mut(&vm) {
            vm.references += 1;
        }
    }

    /// Lets `span` pass, with every tick that the mediator asks for.
    pub fn advance(&self, span: Span) {
        let end = self.now() + span;
        while self.tick_next(end) {}
        {
            let world = &mut *self.world.borrow_mut();
            world.now = world.now.max(end);
            world.spmc.advance(&mut world.frames, world.now);
        }
        self.take_secure_interrupt();
    }

    /// Lets time pass until nothing is left to do, `limit` at most. Returns whether nothing is.
    pub fn settle(&self, limit: Span) -> bool {
        let end = self.now() + limit;
        while self.tick_next(end) {}
        self.deadline().is_none()
    }

    /// Takes the secure world's schedule receiver interrupt, if it is pending, as it would be taken when the normal world
    /// is entered again.
    fn take_secure_interrupt(&self) {
        let pending = self.world.borrow_mut().spmc.take_sri().is_some();
        if pending && self.mediator.spmc().schedule_receiver_interrupt().is_some() {
            self.mediator.schedule_receivers(&mut self.cpu(0));
        }
    }

    /// Moves to the next deadline, if it is not after `end`, and ticks. Returns whether it did.
    fn tick_next(&self, end: Time) -> bool {
        let budget = self.mediator.settings().budget;
        let smcs = {
            let world = &mut *self.world.borrow_mut();
            let Some(deadline) = world.deadline.filter(|deadline| *deadline <= end.max(world.now)) else {
                return false;
            };
            world.now = world.now.max(deadline);
            world.deadline = None;
            world.spmc.advance(&mut world.frames, world.now);
            world.smcs - world.questions
        };
        let before = self.now();
        self.mediator.tick(&mut self.cpu(0));
        let world = &mut *self.world.borrow_mut();
        let made = world.smcs - world.questions - smcs;
        if made > u64::from(budget) {
            world.oracle.report(Violation::OverBudget { smcs: made as u32 });
        }
        world.most_smcs = world.most_smcs.max(made);
        world.ticks += 1;
        // A tick without an SMC takes no time here, so that a deadline that stays in the past would never end.
        world.idle_ticks = if made > 0 || world.now > before { 0 } else { world.idle_ticks + 1 };
        if world.idle_ticks > 100_000 {
            world.oracle.report(Violation::TimerStorm);
            world.idle_ticks = 0;
            return false;
        }
        true
    }

    /// An operator asks to try again what was given up.
    ///
    /// # Errors
    /// [`Unexpected`], if the VM is not dead.
    pub fn retry(&self, vm: Option<PartitionId>) -> Result<u32, Unexpected> {
        let key = match vm {
            Some(vm) => Some(self.key(vm).ok_or(Unexpected::UnknownVm { vm })?),
            None => None,
        };
        self.mediator.retry(&mut self.cpu(0), key)
    }

    /// A partition does what a control says, without anybody else noticing. Returns whether it could.
    pub fn control(&mut self, sp: PartitionId, control: Control) -> bool {
        let World { spmc, frames, .. } = &mut *self.world.borrow_mut();
        spmc.steer(frames, sp, control)
    }

    /// The hypervisor cannot do `what` the `nth` time from now on that it is asked to, from 0.
    pub fn fail(&mut self, what: Fallible, nth: u32) {
        self.world.borrow().fuse.set(what, nth);
    }

    /// How often the hypervisor was asked to do `what` so far.
    #[must_use]
    pub fn asked(&self, what: Fallible) -> u32 {
        self.world.borrow().fuse.count(what)
    }

    /// Whether something that is to fail has yet to come.
    #[must_use]
    pub fn is_to_fail(&self) -> bool {
        self.world.borrow().fuse.is_set()
    }

    /// A partition is restarted.
    pub fn restart(&mut self, sp: PartitionId) {
        self.world.borrow_mut().spmc.restart(sp);
    }

    /// Decides from now on who may have to do with whom. Before that guests reach every SP and no guest.
    pub fn permit(&mut self, permits: impl Fn(PartitionId, Relation, PartitionId) -> bool + 'static) {
        self.world.borrow_mut().permissions = Some(Box::new(permits));
    }

    /// From now on no VM gets more pages of others mapped than so many.
    pub fn limit_borrowed(&mut self, pages: usize) {
        self.world.borrow_mut().most_borrowed = pages;
    }

    /// A vCPU goes on- or offline. Every vCPU is online at first.
    pub fn set_online(&mut self, id: PartitionId, vcpu: u16, online: bool) {
        if let Some(vm) = self.world.borrow_mut().vms.get_mut(&id) {
            if let Some(vcpu) = vm.vcpus.get_mut(usize::from(vcpu)) {
                *vcpu = online;
            }
        }
        if let Some(key) = self.key(id).filter(|_| online) {
            self.mediator.vcpu_online(&mut self.cpu(vcpu), key, vcpu);
        }
    }

    /// The virtual interrupts that were raised since the last time this was asked.
    pub fn take_interrupts(&mut self) -> Vec<Interrupt> {
        core::mem::take(&mut self.world.borrow_mut().interrupts)
    }

    /// How a VM stands in the mediator; `None` if it is gone.
    #[must_use]
    pub fn report(&self, vm: PartitionId) -> Option<VmReport> {
        self.mediator.report(self.key(vm)?)
    }

    /// How much of the memory that was lent to the mediator is in use.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.mediator.occupancy()
    }

    /// The mediator's key of a VM, void ones included.
    #[must_use]
    pub fn key(&self, vm: PartitionId) -> Option<VmKey> {
        self.keys.borrow().get(&vm).copied()
    }

    /// What the guest would find at this address: a fault where it has no memory, or has lost its access to it.
    ///
    /// # Errors
    /// [`GuestFault`], with the first address that it cannot read.
    pub fn load(&self, vm: PartitionId, address: u64, dst: &mut [u8]) -> Result<(), GuestFault> {
        let world = self.world.borrow();
        for (address, piece) in super::frames::pieces(address, dst.len()) {
            let physical = world.translate(vm, address, false).ok_or(GuestFault { address })?;
            world.frames.read(physical, &mut dst[piece]).map_err(|_| GuestFault { address })?;
        }
        Ok(())
    }

    /// Writes to a guest's memory, as the guest would.
    ///
    /// # Errors
    /// [`GuestFault`], with the first address that it cannot write; what is before that was written.
    pub fn store(&mut self, vm: PartitionId, address: u64, src: &[u8]) -> Result<(), GuestFault> {
        let world = &mut *self.world.borrow_mut();
        for (address, piece) in super::frames::pieces(address, src.len()) {
            let physical = world.translate(vm, address, true).ok_or(GuestFault { address })?;
            world.frames.write(physical, &src[piece]).map_err(|_| GuestFault { address })?;
        }
        Ok(())
    }

    /// Copies out of a guest's memory, as the guest would read it; all zero where it has none.
    pub fn read(&self, vm: PartitionId, address: u64, dst: &mut [u8]) {
        let world = self.world.borrow();
        for (address, piece) in super::frames::pieces(address, dst.len()) {
            match world.translate(vm, address, false) {
                Some(physical) => assert!(world.read_physical(physical, &mut dst[piece])),
                None => dst[piece].fill(0),
            }
        }
    }

    /// Writes to a guest's memory, as the guest would.
    ///
    /// # Panics
    /// If it has no such memory.
    pub fn write(&mut self, vm: PartitionId, address: u64, src: &[u8]) {
        self.store(vm, address, src).expect("the guest has this memory");
    }

    /// Physical address behind a guest's.
    #[must_use]
    pub fn translate(&self, vm: PartitionId, address: u64) -> Option<u64> {
        self.world.borrow().translate(vm, address, false)
    }

    /// Physical addresses of TX and RX towards the secure world.
    #[must_use]
    pub fn spmc_buffers(&self) -> (u64, u64) {
        let [tx, rx] = self.world.borrow().buffers;
        (Frames::address(tx), Frames::address(rx))
    }

    /// Copies out of physical memory.
    ///
    /// # Panics
    /// If there is none at `address`.
    #[must_use]
    pub fn read_physical(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = std::vec![0; len];
        self.world.borrow().frames.read(address, &mut bytes).expect("it is memory");
        bytes
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.world.borrow().now
    }

    /// When the timer fires next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.world.borrow().deadline
    }

    /// SMCs made so far.
    #[must_use]
    pub fn smcs(&self) -> u64 {
        self.world.borrow().smcs
    }

    /// SMCs so far that began to send memory.
    #[must_use]
    pub fn sends(&self) -> u64 {
        self.world.borrow().sends
    }

    /// Ticks so far, and the most SMCs that one of them made.
    #[must_use]
    pub fn ticks(&self) -> (u64, u64) {
        let world = self.world.borrow();
        (world.ticks, world.most_smcs)
    }

    /// Seams called so far: a measure of the mediator's work that does not depend on the machine that it runs on. It
    /// asks for the time once in each step.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.world.borrow().operations
    }

    /// What the mediator's events add up to.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.world.borrow().tally
    }

    /// Takes the log of SMCs.
    #[must_use]
    pub fn take_smcs(&mut self) -> Vec<Smc> {
        self.world.borrow_mut().smc_log.drain(..).collect()
    }

    /// Takes the log of events.
    #[must_use]
    pub fn take_events(&mut self) -> Vec<(Time, Event)> {
        self.world.borrow_mut().events.drain(..).collect()
    }

    /// Takes the log of copies out of guest memory.
    #[must_use]
    pub fn take_copies(&mut self) -> Vec<Copy> {
        core::mem::take(&mut self.world.borrow_mut().copies)
    }

    /// Violations so far, the first of them.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let world = &mut *self.world.borrow_mut();
        world.report_lost_pages(self.frames);
        world.oracle.violations().to_vec()
    }

    /// How many violations there were.
    #[must_use]
    pub fn violation_count(&self) -> u64 {
        self.world.borrow().oracle.count
    }

    /// Reports what somebody else than the oracle saw.
    pub fn violation(&mut self, violation: Violation) {
        self.world.borrow_mut().oracle.report(violation);
    }

    /// Whether a guest may write there.
    #[must_use]
    pub fn may_write(&self, vm: PartitionId, address: u64) -> bool {
        self.world.borrow().translate(vm, address, true).is_some()
    }

    /// Pages of other VMs that a VM has mapped.
    #[must_use]
    pub fn borrowed(&self, vm: PartitionId) -> usize {
        let world = self.world.borrow();
        world.vms.get(&vm).map_or(0, |vm| vm.borrowed.iter().map(|(_, frames)| frames.len()).sum())
    }

    /// Frames of a dead VM, or of all, that nobody else can have yet.
    #[must_use]
    pub fn orphans(&self, vm: Option<PartitionId>) -> u64 {
        let world = self.world.borrow();
        let orphan = |frame| match world.frames.owner(frame) {
            Owner::Vm { orphan, .. } => orphan,
            Owner::Leaked { .. } => true,
            Owner::Free | Owner::Hypervisor | Owner::Donated => false,
        };
        let of = |left: &&Vm| vm.is_none_or(|vm| left.id == vm);
        let left = world.vms.values().chain(&world.husks).filter(of);
        left.flat_map(|left| left.frames().filter(|&frame| world.is_of(frame, left.life) && orphan(frame)))
            .count() as u64
    }

    /// Frames by whose they are.
    #[must_use]
    pub fn frames(&self) -> FrameCount {
        self.world.borrow().frames.count()
    }

    /// The secure world, to look at.
    #[must_use]
    pub fn spmc(&self) -> Ref<'_, SpmcModel> {
        Ref::map(self.world.borrow(), |world| &world.spmc)
    }

    /// The secure world, to meddle with.
    #[must_use]
    pub fn spmc_mut(&mut self) -> RefMut<'_, SpmcModel> {
        RefMut::map(self.world.borrow_mut(), |world| &mut world.spmc)
    }

    /// The faults, to look at what happened or to replace them.
    #[must_use]
    pub fn plan_mut(&mut self) -> RefMut<'_, FaultPlan> {
        RefMut::map(self.world.borrow_mut(), |world| &mut world.plan)
    }

    /// Writes to guests' memory, for whatever else happens in a test.
    pub fn scribbler(&self) -> impl Fn(PartitionId, u64, &[u8]) + use<> {
        let world = Rc::clone(&self.world);
        move |vm, address, src| {
            let world = &mut *world.borrow_mut();
            for (address, piece) in super::frames::pieces(address, src.len()) {
                let physical = world.translate(vm, address, true).expect("the guest has this memory");
                world.frames.write(physical, &src[piece]).expect("it is memory");
            }
        }
    }

    /// Has something else happen at the mediator's moments, on another CPU, until replaced.
    pub fn set_interloper(&mut self, interloper: Option<Interloper>) {
        self.world.borrow_mut().interloper = interloper;
    }
}

impl core::fmt::Debug for ModelHypervisor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ModelHypervisor")
            .field("now", &self.now())
            .field("vms", &self.keys.borrow())
            .finish_non_exhaustive()
    }
}
