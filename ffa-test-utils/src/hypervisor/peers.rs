//! Pages of one VM in the address space of another.

use std::vec::Vec;

use ffa_abi::PartitionId;
use ffa_hyp_glue::{Access, Lending, PageError, PeerMemory};
use ffa_mem::{IpaRange, PAGE_SIZE};

use super::cpu::{Cpu, addresses};
use super::frames::Owner;
use super::fuse::Fallible;
use super::oracle::Violation;
use super::preemption::{Preemption, preempt};
use super::vm::{BORROWED, Kind, Region};
use super::world::{Moment, World};

impl PeerMemory for Cpu {
    fn map(&mut self, lending: &Lending, range: IpaRange) -> Result<IpaRange, PageError> {
        preempt(Preemption::Between);
        let mapped = self.world.borrow_mut().map(lending, range);
        self.moment(Moment::Mapped(lending.borrower));
        mapped
    }

    fn give(&mut self, owner: PartitionId, from: IpaRange, receiver: PartitionId, to: IpaRange) {
        preempt(Preemption::Between);
        self.moment(Moment::Give(receiver));
        let world = &mut *self.world.borrow_mut();
        world.seam("PeerMemory::give");
        for (from, to) in addresses(from).zip(addresses(to)) {
            world.give(owner, from, receiver, to);
        }
    }

    fn unmap(&mut self, borrower: PartitionId, range: IpaRange) {
        preempt(Preemption::Between);
        self.moment(Moment::Unmap(borrower));
        let world = &mut *self.world.borrow_mut();
        world.seam("PeerMemory::unmap");
        let Some(vm) = world.vm(borrower, "PeerMemory::unmap") else { return };
        let is_within = |region: &Region| {
            range.base() <= region.base && region.base + u64::from(region.pages) * PAGE_SIZE <= range.end()
        };
        let before = vm.borrowed.iter().map(|(_, frames)| frames.len()).sum::<usize>();
        vm.borrowed.retain(|(region, _)| !is_within(region));
        let after = vm.borrowed.iter().map(|(_, frames)| frames.len()).sum::<usize>();
        if before - after != range.pages() as usize {
            world.oracle.report(Violation::UnmappedTwice { vm: borrower, page: range.base() });
        }
    }
}

impl World {
    /// One page changes hands.
    fn give(&mut self, owner: PartitionId, from: u64, receiver: PartitionId, to: u64) {
        let there = self.vms.get(&owner).and_then(|vm| vm.frame(from).map(|(frame, _)| (frame, vm.life)));
        let held = there.filter(|&(frame, life)| match self.frames.owner(frame) {
            Owner::Vm { life: whose, holds: 1, .. } => whose == life && self.frames.is_hidden(frame),
            _ => false,
        });
        let taken = self.vms.get(&receiver).and_then(|vm| vm.frame(to)).map(|(frame, _)| frame);
        let (Some((frame, _)), true) = (held, held.map(|(frame, _)| frame) == taken) else {
            self.oracle.report(Violation::ReleasedTwice { vm: owner, page: from });
            return;
        };
        if let Some(vm) = self.vms.get_mut(&owner) {
            vm.given.insert(from);
        }
        let Some(vm) = self.vm(receiver, "PeerMemory::give") else { return };
        vm.take(to);
        let (life, dead) = (vm.life, vm.dead);
        self.frames.set_owner(frame, Owner::Vm { life, holds: 0, orphan: false });
        self.frames.set_hidden(frame, false);
        // Nobody looks through a dead VM's pages again.
        if dead {
            self.free(frame);
        }
    }

    fn map(&mut self, lending: &Lending, range: IpaRange) -> Result<IpaRange, PageError> {
        self.seam("PeerMemory::map");
        let Lending { owner, borrower, access, .. } = *lending;
        let wrong = PageError::NotOwned { address: range.base() };
        if self.fuse.blows(Fallible::Map) {
            return Err(PageError::NoResources);
        }
        let life = self.vm(owner, "PeerMemory::map").ok_or(wrong)?.life;
        let mut frames = Vec::with_capacity(range.pages() as usize);
        for address in addresses(range) {
            let found = self.vms.get(&owner).and_then(|vm| vm.frame(address));
            let (frame, _) = found.ok_or(PageError::NotOwned { address })?;
            if !matches!(self.frames.owner(frame), Owner::Vm { life: whose, holds: 1.., .. } if whose == life)
            {
                self.oracle.report(Violation::LentUnheld { vm: owner, page: address });
            }
            frames.push(frame);
        }
        let limit = self.most_borrowed;
        let vm = self.vm(borrower, "PeerMemory::map").ok_or(wrong)?;
        let has = vm.borrowed.iter().map(|(_, frames)| frames.len()).sum::<usize>();
        if has + frames.len() > limit {
            return Err(PageError::NoResources);
        }
        // A page is left out between any two, so that they do not become one.
        let base = BORROWED + u64::from(vm.windows) * PAGE_SIZE;
        vm.windows += range.pages() + 1;
        let kind = match access {
            Access::ReadOnly => Kind::ForeignReadOnly,
            Access::ReadWrite => Kind::Foreign,
        };
        vm.borrowed.push((Region::block(base, range.pages()).of(kind), frames));
        Ok(IpaRange::new(base, range.pages()).expect("far from the end of the address space"))
    }
}
