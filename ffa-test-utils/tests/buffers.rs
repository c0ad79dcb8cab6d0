//! RX and TX buffers of VMs: who maps them for whom, whose RX is, and what is left.

mod common;

use common::*;
use ffa_abi::Status::*;
use ffa_abi::{PartitionId, Status};
use ffa_test_utils::spmc::*;

/// Presets that can map buffers for a VM.
const SERVE: [Preset; 2] = [Preset::Hafnium, Preset::Strict];

/// An endpoint RX/TX descriptor with a composite descriptor for each buffer, field by field.
#[derive(Clone, Copy)]
struct Buffers {
    vm: u16,
    reserved: u16,
    rx_offset: u32,
    tx_offset: u32,
    /// Address, pages of the range, ranges, pages of all.
    rx: (u64, u32, u32, u32),
    tx: (u64, u32, u32, u32),
}

const GOOD: Buffers =
    Buffers { vm: 1, reserved: 0, rx_offset: 16, tx_offset: 48, rx: (VM_RX, 1, 1, 1), tx: (VM_TX, 1, 1, 1) };

impl Buffers {
    fn of(vm: u16) -> Self {
        let base = VM_RX + u64::from(vm) * 2 * PAGE;
        Self { vm, rx: (base, 1, 1, 1), tx: (base + PAGE, 1, 1, 1), ..GOOD }
    }

    fn write(&self, world: &mut World) {
        let mut header = Vec::new();
        header.extend(self.vm.to_le_bytes());
        header.extend(self.reserved.to_le_bytes());
        header.extend(self.rx_offset.to_le_bytes());
        header.extend(self.tx_offset.to_le_bytes());
        header.extend([0; 4]);
        world.memory.write(TX, &header).unwrap();
        for (offset, (address, pages, ranges, total)) in
            [(self.rx_offset, self.rx), (self.tx_offset, self.tx)]
        {
            let mut composite = Vec::new();
            composite.extend(total.to_le_bytes());
            composite.extend(ranges.to_le_bytes());
            composite.extend([0; 8]);
            composite.extend(address.to_le_bytes());
            composite.extend(pages.to_le_bytes());
            composite.extend([0; 4]);
            // Where it lies outside memory there is nothing to write.
            let _ = world.memory.write(TX + u64::from(offset), &composite);
        }
    }

    fn map(&self, world: &mut World) -> Result<(), Status> {
        self.write(world);
        status_of(&world.call([0xc400_0066]))
    }
}

fn world(preset: Preset) -> World {
    World::new(preset, [SpConfig::new(SP1, Script::GOOD)])
}

fn kept(world: &World) -> Vec<Kept> {
    world.spmc.kept().collect()
}

fn unmap(world: &mut World, vm: u64) -> Result<(), Status> {
    status_of(&world.call([0x8400_0067, vm << 16]))
}

fn acquire(world: &mut World, vm: u64) -> Result<(), Status> {
    status_of(&world.call([0x8400_0084, vm]))
}

fn release(world: &mut World, vm: u64) -> Result<(), Status> {
    status_of(&world.call([0x8400_0065, vm]))
}

#[test]
fn who_maps_buffers_for_vms() {
    let inv = Err(InvalidParameters);
    for (preset, expected) in Preset::ALL.into_iter().zip([Ok(()), inv, inv, Ok(())]) {
        let mut world = world(preset);
        assert_eq!(GOOD.map(&mut world), expected, "{preset:?}");
        let kept = kept(&world);
        assert_eq!(kept.iter().any(|kept| kept.vm == VM1 && kept.buffers), expected.is_ok(), "{preset:?}");
    }
}

#[test]
fn each_descriptor_is_judged_by_its_own_rules() {
    let inv = Err(InvalidParameters);
    type Answers = [Result<(), Status>; 2];
    let rows: [(&str, Buffers, Answers); 13] = [
        ("unaligned RX offset", Buffers { rx_offset: 20, ..GOOD }, [inv, inv]),
        ("unaligned TX offset", Buffers { tx_offset: 52, ..GOOD }, [inv, inv]),
        ("a secure endpoint", Buffers { vm: 0x8001, ..GOOD }, [inv, inv]),
        ("the hypervisor", Buffers { vm: 0, ..GOOD }, [inv, inv]),
        ("no pages", Buffers { rx: (VM_RX, 0, 1, 0), tx: (VM_TX, 0, 1, 0), ..GOOD }, [inv, inv]),
        ("too many pages", Buffers { rx: (VM_RX, 2, 1, 2), tx: (VM_TX + PAGE, 2, 1, 2), ..GOOD }, [inv, inv]),
        ("unaligned", Buffers { rx: (VM_RX + 8, 1, 1, 1), ..GOOD }, [inv, inv]),
        ("one over the other", Buffers { rx: (VM_TX, 1, 1, 1), ..GOOD }, [inv, inv]),
        ("the hypervisor's own", Buffers { rx: (RX, 1, 1, 1), ..GOOD }, [Err(Denied); 2]),
        ("reserved bits", Buffers { reserved: 1, ..GOOD }, [Ok(()), inv]),
        ("past TX", Buffers { tx_offset: 0x1000, ..GOOD }, [Ok(()), inv]),
        ("two ranges", Buffers { rx: (VM_RX, 1, 2, 1), ..GOOD }, [Ok(()), inv]),
        ("different sizes", Buffers { tx: (VM_TX, 2, 1, 2), ..GOOD }, [Ok(()), inv]),
    ];
    for (what, buffers, answers) in rows {
        for (preset, expected) in SERVE.into_iter().zip(answers) {
            let mut world = world(preset);
            assert_eq!(buffers.map(&mut world), expected, "{preset:?}: {what}");
            assert_eq!(kept(&world).len(), usize::from(expected.is_ok()), "{preset:?}: {what}");
        }
    }
}

#[test]
fn the_descriptor_is_in_the_hypervisors_own_buffer() {
    for preset in SERVE {
        let mut world = World::raw(preset, []);
        world.call([0x8400_0063, 0x1_0001]);
        assert_eq!(GOOD.map(&mut world), Err(InvalidParameters), "{preset:?}");
    }
}

#[test]
fn the_narrow_form() {
    for (preset, expected) in SERVE.into_iter().zip([Err(NotSupported), Ok(())]) {
        let mut world = world(preset);
        GOOD.write(&mut world);
        assert_eq!(status_of(&world.call([0x8400_0066])), expected, "{preset:?}");
    }
}

#[test]
fn buffers_are_mapped_once_and_unmapped_once() {
    for preset in SERVE {
        let mut world = world(preset);
        assert_eq!(unmap(&mut world, 1), Err(InvalidParameters), "{preset:?}: nothing mapped");
        assert_eq!(GOOD.map(&mut world), Ok(()));
        assert_eq!(GOOD.map(&mut world), Err(Denied), "{preset:?}: twice");
        let page = world.send(MEM_SHARE, &Descriptor::pages(VM_TX, 1).bytes());
        assert_eq!(status_of(&page), Err(Denied), "{preset:?}: a page of a buffer");
        assert_eq!(unmap(&mut world, 0x8001), Err(InvalidParameters), "{preset:?}: a partition");
        assert_eq!(unmap(&mut world, 2), Err(InvalidParameters), "{preset:?}: another VM");
        assert_eq!(unmap(&mut world, 1), Ok(()));
        assert_eq!(kept(&world), []);
        assert_eq!(unmap(&mut world, 1), Err(InvalidParameters), "{preset:?}: twice");
        world.share(&Descriptor::pages(VM_TX, 1));
        assert_eq!(GOOD.map(&mut world), Err(Denied), "{preset:?}: a page that is shared");
        assert_eq!(status_of(&world.call([0x8400_0067])), Ok(()), "{preset:?}: its own are its own");
    }
}

#[test]
fn slots_are_limited_and_leak_until_they_are_given_back() {
    for (preset, full) in SERVE.into_iter().zip([Denied, NoMemory]) {
        let mut world = world(preset);
        let slots = world.spmc.config().limits.vms as u16;
        for vm in 1..=slots {
            assert_eq!(Buffers::of(vm).map(&mut world), Ok(()), "{preset:?} {vm}");
            // Nobody tidies up after a VM.
            world.tell(ffa_abi::VmAvailability::Destroyed, PartitionId(vm), SP1);
        }
        assert_eq!(Buffers::of(slots + 1).map(&mut world), Err(full), "{preset:?}");
        assert_eq!(unmap(&mut world, 3), Ok(()));
        assert_eq!(Buffers::of(slots + 1).map(&mut world), Ok(()), "{preset:?}");
    }
}

#[test]
fn rx_has_one_owner() {
    for (preset, secure) in SERVE.into_iter().zip([NotSupported, InvalidParameters]) {
        let mut world = world(preset);
        let owner = |world: &World| kept(world)[0].rx;
        assert_eq!(acquire(&mut world, 0x8001), Err(secure), "{preset:?}");
        assert_eq!(acquire(&mut world, 1), Err(InvalidParameters), "{preset:?}: not mapped");
        assert_eq!(release(&mut world, 1), Err(InvalidParameters), "{preset:?}: not mapped");
        assert_eq!(GOOD.map(&mut world), Ok(()));
        assert_eq!(release(&mut world, 1), Err(Denied), "{preset:?}: free already");
        assert_eq!(acquire(&mut world, 1), Ok(()));
        assert_eq!(owner(&world), RxOwner::Hypervisor);
        assert_eq!(acquire(&mut world, 1), Err(Denied), "{preset:?}: twice");
        assert_eq!(release(&mut world, 0), Err(Denied), "{preset:?}: the hypervisor's own is free");
        assert_eq!(release(&mut world, 1), Ok(()));
        assert_eq!(owner(&world), RxOwner::Spmc);
        assert_eq!(acquire(&mut world, 1), Ok(()));
        assert_eq!(unmap(&mut world, 1), Ok(()), "{preset:?}: whoever owns it");
        assert_eq!(GOOD.map(&mut world), Ok(()));
        assert_eq!(owner(&world), RxOwner::Spmc, "{preset:?}: and then it is free");
    }
}

#[test]
fn some_know_nothing_of_other_peoples_rx() {
    for preset in [Preset::TfaEl3, Preset::Optee] {
        let mut world = world(preset);
        assert_eq!(acquire(&mut world, 1), Err(NotSupported), "{preset:?}");
        assert_eq!(release(&mut world, 1), Err(Denied), "{preset:?}");
        assert_eq!(status_of(&world.call([0x8400_0068])), Ok(()));
        assert_eq!(release(&mut world, 1), Ok(()), "{preset:?}: it is the hypervisor's that is released");
        assert!(!world.spmc.is_rx_full());
    }
}

#[test]
fn features_say_who_can() {
    let can = |preset| {
        let mut world = world(preset);
        status_of(&world.call([0x8400_0064, 0x8400_0084])).is_ok()
    };
    assert_eq!(Preset::ALL.map(can), [true, false, false, true]);
}
