//! Guests that bring an operating system: from their first instruction to the last page that comes back.

use core::array;

use ffa_el2::{clock, fw_cfg, println};

use crate::frames::{self, FRAMES};
use crate::lifecycle::{self, Born};
use crate::recipe::{self, Recipe};
use crate::scenario::Failed;
use crate::vcpu::Stop;
use crate::vm_id::{MAX_VMS, VmId};
use crate::vms::Contents;
use crate::{ffa, interrupts, scheduler, violations, vms};

/// How long teardown is waited for, in nanoseconds.
const PATIENCE: u64 = 5_000_000_000;

/// Makes the guests, runs them until each has turned itself off, and takes each apart then.
///
/// # Errors
/// If one ended otherwise, or left something behind.
pub fn run() -> Result<(), Failed> {
    if !fw_cfg::is("opt/ffa/events", "on") {
        ffa::be_silent();
    }
    recipe::start();
    let recipe = Recipe::read();
    let free = FRAMES.lock().count().free;
    let guests = guests();
    let mut result = Ok(());
    for id in guests.clone() {
        match lifecycle::create_with(id, Contents::Hosted(&recipe)) {
            Born::Live(key) => lifecycle::start_hosted(id, key, &recipe),
            Born::Failed => {
                println!("hypervisor: the secure world does not want {id}");
                result = Err(Failed);
            }
            Born::Refused => {
                println!("hypervisor: there is no room for {id}");
                result = Err(Failed);
            }
        }
    }
    interrupts::kick_others();
    let mut runs: [bool; MAX_VMS] = array::from_fn(|slot| vms::exists(VmId::of_slot(slot)));
    let guests = || guests.clone();
    while runs.contains(&true) {
        let running = || guests().filter(|id| runs[id.slot()]);
        let ended = || running().find_map(|id| Some((id, vms::stopped(id)?)));
        scheduler::run(|| ended().is_some());
        let (id, stop) = ended().expect("that was waited for");
        runs[id.slot()] = false;
        result = result.and(take_apart(id, stop));
    }
    let left = free - FRAMES.lock().count().free;
    let soiled = frames::soiled();
    println!("hypervisor: {left} pages are missing, {soiled} free pages were written to");
    if left == 0 && soiled == 0 && violations::count() == 0 { result } else { Err(Failed) }
}

/// Ends the VM of a guest that stopped.
fn take_apart(id: VmId, stop: Stop) -> Result<(), Failed> {
    match stop {
        Stop::TurnedOff => println!("hypervisor: {id} turned itself off"),
        Stop::MemoryFault(ipa) => {
            println!("hypervisor: {id} used memory at {ipa:#x}, which it does not have")
        }
        Stop::Unsupported(syndrome) => println!("hypervisor: {id} did what is not emulated, {syndrome:#x}"),
        Stop::Exited(status) => println!("hypervisor: {id} ended with {status}"),
    }
    let start = clock::now();
    lifecycle::destroy(id);
    scheduler::run_until(start + PATIENCE, || !vms::exists(id));
    let held = FRAMES.lock().orphans_of(id);
    let took = (clock::now() - start) / 1_000_000;
    println!("hypervisor: {id} is gone after {took} ms, {held} of its pages are held");
    let is_gone = !vms::exists(id);
    let is_forgotten = ffa::mediator().is_none_or(|mediator| mediator.find(id.partition()).is_none());
    if stop == Stop::TurnedOff && is_gone && is_forgotten { Ok(()) } else { Err(Failed) }
}

/// The VMs of this run: `opt/ffa/guests` says how many, or there is one.
fn guests() -> impl Iterator<Item = VmId> + Clone {
    let mut text = [0; 8];
    let count = fw_cfg::text("opt/ffa/guests", &mut text);
    let count = count.map_or(1, |count| count.parse().unwrap_or_else(|_| panic!("{count:?} is no number")));
    assert!(count <= MAX_VMS, "there can be {MAX_VMS} guests");
    (0..count).map(VmId::of_slot)
}
