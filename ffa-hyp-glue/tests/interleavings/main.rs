//! What several CPUs do at the same time, in every order or in very many: no page is released early or twice, no buffer is
//! written that is not mapped, nobody waits for ever, and whatever the order, all comes back when the VMs end.
//!
//! [`explorer`] says how. Each test prints how many orders it has tried; `FFA_INTERLEAVINGS=10` tries ten times as many
//! where there are too many for all.

#[path = "../common/mod.rs"]
mod common;

mod buffers;
mod explorer;
mod fragments;
mod lifecycle;
mod memory;
mod notifications;
mod partitions;
mod requests;
mod wrong;

use common::*;
use explorer::{Check, Race, Search, explore};
use ffa_abi::{Answer, PartitionId, Properties, Regs, Version};
use ffa_hyp_glue::{Creation, GuestInterrupts, Settings};
use ffa_test_utils::hypervisor::{Machine, Region};
use ffa_test_utils::spmc::{Config, Preset, Script, SpConfig};

const MAP: &[u64] = &[0xc400_0066, TX, RX, 1];
const UNMAP: &[u64] = &[0x8400_0067];
const RX_RELEASE: &[u64] = &[0x8400_0065];
const LIST: &[u64] = &[0x8400_0068];
const SEND2: &[u64] = &[0x8400_0086];

/// A small machine: it boots anew for each order.
fn small(config: impl Into<Config>, script: Script) -> Machine {
    let settings = Settings { interrupts: Some(GuestInterrupts::SGI), vm_to_vm: true, ..settings() };
    let properties = SpConfig::SUBSCRIBED.or(Properties::RECEIVES_NOTIFICATIONS);
    let sps = vec![SpConfig::new(SP1, script).with_properties(properties)];
    Machine { settings, frames: 64, vms: 3, duties: 24, ranges: 8, log: 0, ..machine(config, sps) }
}

const MEMORY: [Region; 1] = [Region::block(TX, 8)];

/// A machine with those of these VMs, which have RX and TX, and may reach each other.
fn world(machine: Machine, vms: &[PartitionId]) -> World {
    let mut world = World::boot(machine);
    world.hypervisor.permit(|_, _, _| true);
    for vm in vms {
        start(&mut world, *vm);
    }
    world
}

/// A VM with RX and TX.
fn start(world: &mut World, vm: PartitionId) {
    assert_eq!(world.hypervisor.create(vm, &MEMORY), Ok(Creation::Live));
    world.negotiate(vm, Version::V1_1);
    world.map(vm);
}

/// A guest's call.
fn call(world: &World, vm: PartitionId, vcpu: u16, head: &[u64]) -> Regs {
    let mut regs = Regs::ZERO;
    regs.0[..head.len()].copy_from_slice(head);
    let _ = world.hypervisor.trap(vm, vcpu, &mut regs).expect("there was such a VM");
    regs
}

/// A CPU on which a guest makes these calls, one after the other.
fn calls(vm: PartitionId, vcpu: u16, heads: &[&'static [u64]]) -> impl FnOnce(&World) -> Vec<Regs> + 'static {
    let heads = heads.to_vec();
    move |world| heads.iter().map(|head| call(world, vm, vcpu, head)).collect()
}

/// A CPU on which the hypervisor kills a VM.
fn destroys(vm: PartitionId) -> impl FnOnce(&World) -> Vec<Regs> + 'static {
    move |world| {
        world.hypervisor.destroy(vm).expect("it lives");
        vec![]
    }
}

/// A CPU whose timer fires so often.
fn ticks(times: usize) -> impl FnOnce(&World) -> Vec<Regs> + 'static {
    move |world| {
        (0..times).for_each(|_| world.hypervisor.mediator().tick(&mut world.hypervisor.cpu(9)));
        vec![]
    }
}

fn succeeds(regs: &Regs) -> bool {
    matches!(Answer::from_regs(regs), Answer::Success(_))
}

/// Whoever is left dies, and everything comes back.
fn ends(world: &mut World) {
    for vm in [VM1, VM2] {
        if world.hypervisor.report(vm).is_some() {
            let _dead_already = world.hypervisor.destroy(vm);
        }
    }
    assert!(world.hypervisor.settle(LONG), "{}", world.preset);
    world.check_all_gone();
    assert_eq!(world.hypervisor.spmc().kept().count(), 0, "{}", world.preset);
}

/// Explores a race over each of these secure worlds.
fn over(
    presets: &[Preset],
    name: &str,
    search: Search,
    race: impl Fn(Preset) -> (Race, Check) + Copy + Send + Sync + 'static,
) {
    for &preset in presets {
        explore(&format!("{name}, {}", preset.name()), search, move || race(preset));
    }
}
