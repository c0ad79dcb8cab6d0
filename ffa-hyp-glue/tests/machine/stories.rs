//! Scripts by hand: one life of everything, with each fault, limit and torn read in each of its places.

use ffa_abi::Transaction;
use ffa_test_utils::fault::{Trust, When};
use ffa_test_utils::spmc::Preset;

use crate::act::{Act, Name, Peer, Place, Step};
use crate::catalogue::CATALOGUE;
use crate::run::{answers, run};
use crate::setup::{Habit, Setup};
use crate::tally::Tally;

/// Two ranges of two pages for the SPs and VMs whose bits are set.
const fn send(vm: u8, how: Transaction, to: u8, first: u8) -> Act {
    Act::Send {
        vm,
        how,
        to,
        at: Place::Block,
        first,
        ranges: 2,
        pages: 2,
        read_only: false,
        zero: false,
        head: None,
        flaw: None,
    }
}

const fn share(vm: u8, to: u8, first: u8) -> Act {
    send(vm, Transaction::Share, to, first)
}

/// Secure worlds. An unoptimised build takes its time, and is content with two that have little in common.
pub const WORLDS: &[Preset] =
    if cfg!(debug_assertions) { &[Preset::Strict, Preset::Optee] } else { &Preset::ALL };

/// Two VMs that do what guests do, and die; one of them is born again.
const LIFE: [Act; 37] = [
    Act::Create { vm: 0, minor: 2, map: true },
    Act::Create { vm: 1, minor: 1, map: true },
    Act::List(0),
    Act::ReleaseRx(0),
    share(0, 1, 0),
    share(0, 2, 8),
    share(1, 3, 0),
    Act::Send {
        vm: 0,
        how: Transaction::Share,
        to: 1,
        at: Place::Loose,
        first: 0,
        ranges: 3,
        pages: 1,
        read_only: false,
        zero: false,
        head: Some(1),
        flaw: None,
    },
    Act::Part { vm: 0, nth: 0, ranges: 1, flaw: None },
    Act::Part { vm: 0, nth: 0, ranges: 0, flaw: None },
    send(0, Transaction::Lend, 2, 16),
    send(0, Transaction::Donate, 1, 24),
    share(0, 0x10, 32),
    Act::Retrieve { vm: 1, name: Name::Own(0), flaw: None },
    send(1, Transaction::Lend, 1, 16),
    Act::Request { vm: 0, vcpu: 0, sp: 0 },
    Act::Run { vm: 0, vcpu: 0, sp: 0 },
    Act::Bind { vm: 0, from: Peer::Sp(0), ids: 1, per_vcpu: false },
    Act::SpNotifies { sp: 0, vm: 0, id: 0 },
    Act::Get { vm: 0, vcpu: 0, sources: 3 },
    Act::SpAllows { sp: 1, vm: 0 },
    Act::Set { vm: 0, to: Peer::Sp(1), ids: 1, vcpu: None },
    Act::Message { vm: 0, to: Peer::Sp(0), size: 64, flaw: None },
    Act::Message { vm: 0, to: Peer::Vm(1), size: 64, flaw: None },
    Act::SpMessages { sp: 0, vm: 1, size: 64 },
    Act::SpRelinquishesAll { sp: 0, vm: 0 },
    Act::Reclaim { vm: 0, name: Name::Own(1), flags: 0 },
    Act::Relinquish { vm: 1, name: Name::Own(0), flaw: None },
    Act::Reclaim { vm: 0, name: Name::Own(0), flags: 0 },
    share(0, 0x10, 40),
    Act::Retrieve { vm: 1, name: Name::Own(0), flaw: None },
    Act::Unmap(1),
    share(0, 1, 0),
    Act::Destroy(0),
    Act::Wait(1500),
    Act::Create { vm: 0, minor: 1, map: true },
    share(0, 1, 0),
];

fn life() -> Vec<Step> {
    LIFE.iter().map(|act| Step::Do(*act)).collect()
}

/// Runs a script that must break nothing.
#[track_caller]
fn replay(setup: &Setup, steps: &[Step]) -> Tally {
    match run(setup, steps, false) {
        Ok(tally) => tally,
        Err(wrong) => panic!("{}: {wrong}\n{setup:?}\n{steps:#?}", setup.preset.name()),
    }
}

/// All plans of a row, at every step, over every secure world, once, some times and from then on; and from the first call of the
/// hypervisor on.
fn row(f: u8) {
    let row = &CATALOGUE[usize::from(f) - 1];
    for (plan, is) in (0..).zip(row.plans) {
        let mut fired = u64::from(is.crash);
        for &preset in WORLDS {
            let setup =
                Setup { sps: [Habit::Good, Habit::Slow(1), Habit::Good], ..Setup::new(preset, is.trust) };
            for at in 0..=LIFE.len() {
                for when in [When::Nth(1), When::First(3), When::Every] {
                    let mut steps = life();
                    steps.insert(at, Step::Do(Act::Fault { f, plan, when }));
                    fired += replay(&setup, &steps).moments("a fault that happened");
                }
            }
            let boot = Setup { boot: Some((f, plan)), ..setup };
            let tally = replay(&boot, &life());
            fired += tally.moments("a fault that happened") + tally.moments("no secure world to work with");
        }
        assert!(fired > 0, "F{f}, {}: plan {plan}", row.what);
    }
}

macro_rules! rows {
    ($($number:literal $name:ident)*) => {
        $(#[test] fn $name() { row($number); })*
    };
}

rows! {
    1 f1_no_memory_for_a_send
    2 f2_the_next_part_is_wanted_from_another_offset
    3 f3_the_handle_changes_or_is_that_of_another_share
    4 f4_success_before_the_last_part
    5 f5_one_more_part_is_wanted_after_the_last
    6 f6_the_last_part_fails
    7 f7_an_error_without_a_code_that_means_something
    8 f8_a_reclaim_is_denied
    9 f9_the_secure_world_has_lost_a_share
    10 f10_a_reclaim_succeeds_for_another_share
    11 f11_vm_created_goes_wrong
    12 f12_vm_destroyed_goes_wrong
    13 f13_a_response_is_spoiled
    14 f14_who_was_preempted_cannot_be_run
    15 f15_a_partition_dies_while_it_has_memory
    16 f16_a_buffer_is_not_given_back
    17 f17_a_list_of_partitions_that_does_not_fit
    18 f18_a_list_in_registers_that_changes_or_runs_backwards
    19 f19_more_pending_receivers_than_there_can_be
    20 f20_a_bitmap_is_not_destroyed
    21 f21_another_version_or_none
    22 f22_firmware_that_does_not_know_ff_a
    23 f23_registers_are_dirty
    24 f24_odd_handles
    25 f25_the_buffers_of_a_vm_are_not_mapped
}

/// Each limit in turn, from nothing to more than is needed.
#[test]
fn every_limit_fails_in_turn_and_breaks_nothing() {
    for &preset in WORLDS {
        let roomy = Setup::new(preset, Trust::Honest);
        let effects = replay(&roomy, &life()).effects();
        let mut short = [0; 5];
        for n in 0..40 {
            let scarce = [
                Setup { duties: n.into(), ..roomy },
                Setup { ranges: n.into(), ..roomy },
                Setup { vms: n, ..roomy },
                Setup { drafts: n, ..roomy },
            ];
            for (short, setup) in short.iter_mut().zip(scarce) {
                *short += u32::from(replay(&setup, &life()).effects() < effects);
            }
            for at in 0..LIFE.len() {
                let mut steps = life();
                steps.insert(at, Step::Do(Act::NoMemory(n)));
                // What cannot be held is refused; the act that says so is one effect more.
                short[4] += u32::from(replay(&roomy, &steps).effects() < effects + 1);
            }
        }
        assert!(short.iter().all(|times| *times > 0), "{}: {short:?}", preset.name());
        assert_eq!(
            replay(&Setup { duties: 40, ranges: 40, vms: 40, drafts: 40, ..roomy }, &life()).effects(),
            effects
        );
    }
}

/// A guest that writes over each descriptor and message the moment that it was read is answered as one that does not. What the
/// SPMC reads again by itself is not the mediator's.
#[test]
fn what_a_guest_writes_after_it_was_read_changes_no_answer() {
    for &preset in WORLDS {
        let setup = Setup::new(preset, Trust::Honest);
        let expected = answers(&setup, &life());
        for byte in [0, 0x55, 0xff] {
            let torn: Vec<_> = LIFE
                .iter()
                .map(|act| match act {
                    Act::Message { to: Peer::Sp(_), .. } => Step::Do(*act),
                    act => Step::Torn(*act, 0, byte),
                })
                .collect();
            assert!(replay(&setup, &torn).moments("a descriptor torn") > 3);
            assert_eq!(answers(&setup, &torn), expected, "{}: {byte:#x}", preset.name());
        }
    }
}

/// Another CPU kills a VM, reclaims, shares or ticks at each moment of each act.
#[test]
fn at_every_moment_another_cpu_comes_in() {
    let others = [
        Act::Destroy(0),
        Act::Destroy(1),
        Act::Tick,
        Act::Reclaim { vm: 0, name: Name::Own(0), flags: 0 },
        share(0, 2, 0),
        Act::Unmap(0),
        Act::Request { vm: 0, vcpu: 1, sp: 0 },
    ];
    let mut overlapped = 0;
    for &preset in WORLDS {
        let setup = Setup::new(preset, Trust::Honest);
        for (at, act) in LIFE.iter().enumerate() {
            for other in others {
                for moment in 0..40 {
                    let mut steps = life();
                    steps[at] = Step::Race(*act, moment, other);
                    let came = replay(&setup, &steps).moments("two CPUs at once");
                    overlapped += came;
                    if came == 0 {
                        break;
                    }
                }
            }
        }
    }
    assert!(overlapped > 250 * WORLDS.len() as u64, "{overlapped}");
    println!("{overlapped} moments");
}
