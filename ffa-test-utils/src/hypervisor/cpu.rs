use std::cell::RefCell;
use std::rc::Rc;

use ffa_abi::{PartitionId, Regs};
use ffa_hyp_glue::{
    Access, Conduit, Event, GuestFault, GuestMemory, Observer, OwnerAccess, PageError, Pages, Permissions,
    Relation, SpmcBuffers, Timer, VirtualInterrupts, VmReferences,
};
use ffa_mem::{IpaRange, PAGE_SIZE, PhysRange};
use ffa_teardown::Time;

use super::frames::{Frames, Owner, pieces};
use super::fuse::Fallible;
use super::oracle::Violation;
use super::preemption::{Preemption, preempt};
use super::vm::Kind;
use super::world::{Copy, Interrupt, Moment, World, keep};
use crate::spmc::PhysMemory;

/// One CPU of the model: every seam of the mediator. All CPUs share one machine.
#[derive(Clone)]
pub struct Cpu {
    pub(super) world: Rc<RefCell<World>>,
    pub(super) number: u16,
}

impl Cpu {
    /// The same machine, seen from another CPU.
    #[must_use]
    pub fn sibling(&self, number: u16) -> Self {
        Self { world: Rc::clone(&self.world), number }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Lets what a test wants to happen happen now, on another CPU.
    pub(super) fn moment(&self, moment: Moment) {
        let interloper = self.world.borrow_mut().interloper.take();
        if let Some(mut interloper) = interloper {
            interloper(&mut self.sibling(self.number + 1), moment);
            self.world.borrow_mut().interloper.get_or_insert(interloper);
        }
    }
}

impl core::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cpu").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Conduit for Cpu {
    fn call(&mut self, regs: &Regs) -> Regs {
        preempt(Preemption::Between);
        self.world.borrow_mut().seam("SMC");
        self.moment(Moment::Smc(*regs));
        let answer = self.world.borrow_mut().smc(self.number, regs);
        self.moment(Moment::Answered(*regs));
        answer
    }
}

impl GuestMemory for Cpu {
    fn read(&mut self, vm: PartitionId, address: u64, dst: &mut [u8]) -> Result<(), GuestFault> {
        preempt(Preemption::Between);
        let copy = Copy { vm, address, len: dst.len() };
        {
            let world = &mut *self.world.borrow_mut();
            world.seam("a copy of guest memory");
            world.vm(vm, "GuestMemory::read");
            world.copy(copy);
            if world.fuse.blows(Fallible::Read) {
                return Err(GuestFault { address });
            }
            for (address, piece) in pieces(address, dst.len()) {
                let physical = world.translate(vm, address, false).ok_or(GuestFault { address })?;
                world.frames.read(physical, &mut dst[piece]).map_err(|_| GuestFault { address })?;
            }
        }
        self.moment(Moment::Read(copy));
        Ok(())
    }

    fn write(&mut self, vm: PartitionId, address: u64, src: &[u8]) -> Result<(), GuestFault> {
        preempt(Preemption::Between);
        self.moment(Moment::Write(Copy { vm, address, len: src.len() }));
        let world = &mut *self.world.borrow_mut();
        world.seam("a copy to guest memory");
        world.vm(vm, "GuestMemory::write");
        if world.fuse.blows(Fallible::Write) {
            return Err(GuestFault { address });
        }
        for (address, piece) in pieces(address, src.len()) {
            let physical = world.translate(vm, address, true).ok_or(GuestFault { address })?;
            world.check_held(vm, address);
            world.frames.write(physical, &src[piece]).map_err(|_| GuestFault { address })?;
        }
        Ok(())
    }
}

impl Pages for Cpu {
    fn hold(
        &mut self,
        vm: PartitionId,
        range: IpaRange,
        access: Access,
        owner: OwnerAccess,
        mut runs: impl FnMut(PhysRange),
    ) -> Result<(), PageError> {
        preempt(Preemption::Between);
        {
            let world = &mut *self.world.borrow_mut();
            world.seam("Pages::hold");
            let Some(found) = world.vm(vm, "Pages::hold") else {
                return Err(PageError::NotOwned { address: range.base() });
            };
            let dead = found.dead;
            if world.fuse.blows(Fallible::Hold) {
                return Err(PageError::NoResources);
            }
            let mut frames = std::vec::Vec::with_capacity(range.pages() as usize);
            for address in addresses(range) {
                let wrong = PageError::NotOwned { address };
                let (frame, kind) = world.vms[&vm].frame(address).ok_or(wrong)?;
                let allowed = match kind {
                    Kind::Ram => true,
                    Kind::ReadOnly => access == Access::ReadOnly,
                    Kind::Device | Kind::Hypervisors | Kind::Foreign | Kind::ForeignReadOnly => false,
                };
                if !allowed || dead || world.frames.is_hidden(frame) {
                    return Err(wrong);
                }
                frames.push(frame);
            }
            let mut run: Option<PhysRange> = None;
            for frame in frames {
                if let Owner::Vm { life, holds, orphan } = world.frames.owner(frame) {
                    world.frames.set_owner(frame, Owner::Vm { life, holds: holds + 1, orphan });
                }
                world.frames.set_hidden(frame, owner == OwnerAccess::Lost);
                let page = PhysRange::new(Frames::address(frame), 1).expect("a frame is a page");
                run = match run.take() {
                    Some(before) => before.join(&page).or_else(|| {
                        runs(before);
                        Some(page)
                    }),
                    None => Some(page),
                };
            }
            run.into_iter().for_each(runs);
        }
        self.moment(Moment::Held(vm));
        Ok(())
    }

    fn runs(&mut self, vm: PartitionId, range: IpaRange, mut runs: impl FnMut(PhysRange)) {
        preempt(Preemption::Between);
        let world = &mut *self.world.borrow_mut();
        world.seam("Pages::runs");
        let mut run: Option<PhysRange> = None;
        for address in addresses(range) {
            let frame = world.vms.get(&vm).and_then(|vm| vm.frame(address)).map(|(frame, _)| frame);
            let held = |frame| matches!(world.frames.owner(frame), Owner::Vm { holds: 1.., .. });
            let Some(frame) = frame.filter(|&frame| held(frame)) else {
                world.oracle.report(Violation::UsedAfterFree { vm, seam: "Pages::runs" });
                return;
            };
            let page = PhysRange::new(Frames::address(frame), 1).expect("a frame is a page");
            match run.as_ref().map(|before| before.join(&page)) {
                Some(Some(joined)) => run = Some(joined),
                _ => run.replace(page).into_iter().for_each(&mut runs),
            }
        }
        run.into_iter().for_each(runs);
    }

    fn release(&mut self, vm: PartitionId, range: IpaRange) {
        preempt(Preemption::Between);
        self.moment(Moment::Release(vm));
        let world = &mut *self.world.borrow_mut();
        world.seam("Pages::release");
        for address in addresses(range) {
            let husk = world.husks.iter().rev().find(|husk| husk.id == vm);
            let leaked = |frame| matches!(world.frames.owner(frame), Owner::Leaked { .. });
            let frame = match (world.vms.get(&vm), husk) {
                (Some(vm), _) => vm.frame(address).map(|(frame, _)| (frame, vm.life)),
                // Only what was handed over outlives its VM.
                (None, Some(vm)) if vm.frame(address).is_some_and(|(frame, _)| leaked(frame)) => {
                    vm.frame(address).map(|(frame, _)| (frame, vm.life))
                }
                (None, _) => {
                    world.oracle.report(Violation::UsedAfterFree { vm, seam: "Pages::release" });
                    return;
                }
            };
            let twice = Violation::ReleasedTwice { vm, page: address };
            let Some((frame, life)) = frame else {
                world.oracle.report(twice);
                continue;
            };
            world.check_reach(frame, "released");
            match world.frames.owner(frame) {
                Owner::Vm { life: owner, holds: 1, orphan: true } if owner == life => world.free(frame),
                Owner::Vm { life: owner, holds, orphan } if owner == life && holds > 0 => {
                    world.frames.set_owner(frame, Owner::Vm { life, holds: holds - 1, orphan });
                    world.frames.set_hidden(frame, holds > 1 && world.frames.is_hidden(frame));
                }
                Owner::Leaked { life: owner } if owner == life => world.free(frame),
                _ => world.oracle.report(twice),
            }
        }
        let mut husks = core::mem::take(&mut world.husks);
        husks.retain(|husk| husk.frames().any(|frame| world.is_of(frame, husk.life)));
        world.husks = husks;
    }

    fn quarantine(&mut self, vm: PartitionId, range: IpaRange) {
        preempt(Preemption::Between);
        self.moment(Moment::Quarantine(vm));
        let world = &mut *self.world.borrow_mut();
        world.seam("Pages::quarantine");
        let Some(owner) = world.vm(vm, "Pages::quarantine") else { return };
        let life = owner.life;
        for address in addresses(range) {
            let frame = world.vms.get(&vm).and_then(|vm| vm.frame(address));
            let held = frame.filter(|(frame, _)| {
                matches!(world.frames.owner(*frame), Owner::Vm { life: owner, holds: 1.., .. } if owner == life)
            });
            match held {
                Some((frame, _)) => world.frames.set_owner(frame, Owner::Leaked { life }),
                None => world.oracle.report(Violation::ReleasedTwice { vm, page: address }),
            }
        }
    }

    fn owner_writes(&mut self, vm: PartitionId, range: IpaRange) -> bool {
        let world = &mut *self.world.borrow_mut();
        world.seam("Pages::owner_writes");
        let Some(vm) = world.vm(vm, "Pages::owner_writes") else { return false };
        addresses(range).all(|address| vm.frame(address).is_some_and(|(_, kind)| kind == Kind::Ram))
    }

    fn zero(&mut self, vm: PartitionId, range: IpaRange) {
        preempt(Preemption::Between);
        let world = &mut *self.world.borrow_mut();
        world.seam("Pages::zero");
        if world.vm(vm, "Pages::zero").is_none() {
            return;
        }
        for address in addresses(range) {
            world.check_held(vm, address);
            if let Some((frame, kind)) = world.vms.get(&vm).and_then(|vm| vm.frame(address)) {
                // Neither what somebody else has by now, nor what its owner may not write.
                world.check_reach(frame, "zeroed");
                if kind != Kind::Ram {
                    world.oracle.report(Violation::WrittenUnheld { vm, page: address });
                }
                world.frames.zero(frame);
            }
        }
    }

    fn donated(&mut self, vm: PartitionId, range: IpaRange) {
        preempt(Preemption::Between);
        self.moment(Moment::Donated(vm));
        let world = &mut *self.world.borrow_mut();
        world.seam("Pages::donated");
        for address in addresses(range) {
            let there = world.vms.get(&vm).or_else(|| world.husks.iter().rev().find(|husk| husk.id == vm));
            let frame = there.and_then(|vm| vm.frame(address).map(|(frame, _)| (frame, vm.life)));
            let held = frame.filter(|&(frame, life)| match world.frames.owner(frame) {
                Owner::Vm { life: owner, holds: 1, .. } => owner == life && world.frames.is_hidden(frame),
                Owner::Leaked { life: owner } => owner == life,
                _ => false,
            });
            match held {
                Some((frame, _)) => world.frames.set_owner(frame, Owner::Donated),
                None => world.oracle.report(Violation::ReleasedTwice { vm, page: address }),
            }
        }
    }
}

/// The one reference to a VM that the mediator may have.
#[derive(Debug)]
pub struct Reference(());

impl VmReferences for Cpu {
    type Reference = Reference;

    fn take(&mut self, vm: PartitionId) -> Reference {
        preempt(Preemption::Between);
        self.moment(Moment::Take(vm));
        {
            let world = &mut *self.world.borrow_mut();
            world.seam("VmReferences::take");
            if let Some(found) = world.vm(vm, "VmReferences::take") {
                found.references += 1;
                found.lent += 1;
                if found.lent > 1 {
                    world.oracle.report(Violation::SecondReference { vm });
                }
            }
        }
        self.moment(Moment::Taken(vm));
        Reference(())
    }

    fn give_back(&mut self, vm: PartitionId, _: Reference) {
        preempt(Preemption::Between);
        self.moment(Moment::GiveBack(vm));
        let world = &mut *self.world.borrow_mut();
        world.seam("VmReferences::give_back");
        if let Some(found) = world.vm(vm, "VmReferences::give_back") {
            found.lent = found.lent.saturating_sub(1);
            world.drop_reference(vm);
        }
    }
}

impl Timer for Cpu {
    fn now(&mut self) -> Time {
        let world = &mut *self.world.borrow_mut();
        world.operations += 1;
        world.now
    }

    fn arm(&mut self, deadline: Option<Time>) {
        let world = &mut *self.world.borrow_mut();
        world.operations += 1;
        world.deadline = deadline;
    }
}

impl SpmcBuffers for Cpu {
    fn addresses(&mut self) -> (u64, u64) {
        let [tx, rx] = self.world.borrow().buffers;
        (Frames::address(tx), Frames::address(rx))
    }

    fn pages(&mut self) -> u8 {
        self.world.borrow().buffer_pages
    }

    fn write_tx(&mut self, bytes: &[u8]) {
        self.write_tx_at(0, bytes);
    }

    fn write_tx_at(&mut self, offset: usize, bytes: &[u8]) {
        preempt(Preemption::Between);
        let world = &mut *self.world.borrow_mut();
        world.seam("a copy to TX");
        let room = usize::from(world.buffer_pages) * PAGE_SIZE as usize;
        assert!(offset + bytes.len() <= room, "past the end of TX");
        let address = Frames::address(world.buffers[0]) + offset as u64;
        world.frames.write(address, bytes).expect("TX is there");
    }

    fn read_rx(&mut self, offset: usize, dst: &mut [u8]) {
        preempt(Preemption::Between);
        let world = &mut *self.world.borrow_mut();
        world.seam("a copy from RX");
        let address = Frames::address(world.buffers[1]) + offset as u64;
        world.frames.read(address, dst).expect("RX is there");
    }
}

impl Permissions for Cpu {
    fn permits(&mut self, vm: PartitionId, relation: Relation, partner: PartitionId) -> bool {
        let world = &mut *self.world.borrow_mut();
        world.operations += 1;
        match &world.permissions {
            Some(permits) => permits(vm, relation, partner),
            None => partner.is_secure(),
        }
    }
}

impl VirtualInterrupts for Cpu {
    fn raise(&mut self, vm: PartitionId, vcpu: Option<u16>, intid: u32) -> bool {
        preempt(Preemption::Between);
        let world = &mut *self.world.borrow_mut();
        world.seam("VirtualInterrupts::raise");
        // It may be gone by now: nothing keeps a VM for the sake of an interrupt.
        match world.vms.get(&vm).and_then(|vm| vm.online(vcpu)) {
            Some(vcpu) => {
                world.interrupts.push(Interrupt { vm, vcpu, intid });
                true
            }
            None => false,
        }
    }
}

impl Observer for Cpu {
    fn event(&mut self, event: &Event) {
        self.moment(Moment::Event(*event));
        let world = &mut *self.world.borrow_mut();
        world.seam("Observer::event");
        let (now, kept) = (world.now, world.kept);
        world.tally.add(now, event);
        keep(&mut world.events, kept, (now, *event));
    }
}

/// Guest-physical addresses of the pages of a range.
pub(super) fn addresses(range: IpaRange) -> impl Iterator<Item = u64> {
    (0..u64::from(range.pages())).map(move |page| range.base() + page * PAGE_SIZE)
}
