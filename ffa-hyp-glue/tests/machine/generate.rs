//! Scripts by chance, which shrink.

use ffa_abi::Status;
use ffa_test_utils::fault::{Trust, When};
use ffa_test_utils::spmc::Preset;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::act::{Act, Name, Peer, Place, Step};
use crate::catalogue::CATALOGUE;
use crate::setup::{Habit, Setup};

fn any_status() -> impl Strategy<Value = Status> {
    select(Status::ALL)
}

fn habit() -> impl Strategy<Value = Habit> {
    prop_oneof![
        8 => Just(Habit::Good),
        3 => Just(Habit::Lazy),
        3 => (0..12_u8).prop_map(Habit::Slow),
        1 => (0..3000_u16).prop_map(Habit::Dma),
        1 => (0..500_u16).prop_map(Habit::Again),
        1 => Just(Habit::Stuck),
        1 => any_status().prop_map(Habit::Lost),
        1 => (any_status(), 0..12_u8).prop_map(|(status, times)| Habit::Refuses(status, times)),
        1 => (any_status(), 0..12_u8).prop_map(|(status, times)| Habit::Objects(status, times)),
        1 => prop_oneof![Just(Habit::Dies), any_status().prop_map(Habit::Declines)],
    ]
}

/// Machines over this secure world. Some have no room for much.
pub fn setup(preset: Preset, trust: Trust) -> impl Strategy<Value = Setup> {
    let room = (
        prop_oneof![2 => Just(200_u16), 1 => 6..30_u16],
        prop_oneof![2 => Just(200_u16), 1 => 2..20_u16],
        prop_oneof![4 => Just(3_u8), 1 => 1..3_u8],
        prop_oneof![3 => Just(2_u8), 1 => 0..4_u8],
    );
    let policy = (any::<bool>(), prop::bool::weighted(0.2), prop_oneof![Just(16_u8), 1..8_u8]);
    ([habit(), habit(), habit()], room, policy).prop_map(
        move |(sps, (duties, ranges, vms, drafts), (hand_over, ids_early, budget))| Setup {
            sps,
            hand_over,
            ids_early,
            budget,
            duties,
            ranges,
            vms,
            drafts,
            ..Setup::new(preset, trust)
        },
    )
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![(0..3_u8).prop_map(Peer::Sp), (0..3_u8).prop_map(Peer::Vm)]
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        40 => Just(Place::Block),
        10 => Just(Place::Loose),
        2 => Just(Place::Buffers),
        1 => Just(Place::ReadOnly),
        1 => Just(Place::Device),
        1 => Just(Place::Hypervisors),
        1 => Just(Place::Foreign),
        1 => Just(Place::Nowhere),
    ]
}

fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        6 => (0..4_u8).prop_map(Name::Own),
        1 => (0..4_u8).prop_map(Name::Foreign),
        1 => (0..4_u8).prop_map(Name::Spent),
        1 => (0..6_u8).prop_map(Name::Odd),
    ]
}

fn share() -> impl Strategy<Value = Act> {
    let pages =
        prop_oneof![12 => (1..3_u8, 1..4_u8), 1 => (1..40_u8, Just(1_u8)), 1 => (Just(1_u8), 1..60_u8)];
    let sps = prop_oneof![4 => select(&[1_u8, 2, 4][..]), 1 => 0..8_u8];
    let first = prop_oneof![2 => 0..12_u8, 1 => 0..60_u8];
    let head = option::weighted(0.25, 0..3_u8);
    (0..3_u8, sps, place(), first, pages, prop::bool::weighted(0.2), head).prop_map(
        |(vm, sps, at, first, (ranges, pages), read_only, head)| Act::Share {
            vm,
            sps,
            at,
            first,
            ranges,
            pages,
            read_only,
            head,
        },
    )
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        8 => (1..6_u32).prop_map(When::Nth),
        4 => (1..6_u32).prop_map(When::First),
        1 => (1..6_u32).prop_map(When::After),
        1 => Just(When::Every),
        1 => Just(When::Alternating),
        1 => (2..6_u32).prop_map(When::OneIn),
    ]
}

fn fault(trust: Trust) -> impl Strategy<Value = Act> {
    let mut plans = Vec::new();
    for (row, f) in CATALOGUE.iter().zip(1..) {
        for (plan, at) in row.plans.iter().zip(0..) {
            // A secure world that says anything would be no use for the rest of a script.
            if plan.trust == Trust::Honest || trust == Trust::Lying {
                plans.push((f, at));
            }
        }
    }
    (select(plans), when()).prop_map(|((f, plan), when)| Act::Fault { f, plan, when })
}

fn create(vm: impl Strategy<Value = u8>) -> impl Strategy<Value = Act> {
    (vm, 0..4_u8, prop::bool::weighted(0.9)).prop_map(|(vm, minor, map)| Act::Create { vm, minor, map })
}

fn act(trust: Trust) -> BoxedStrategy<Act> {
    let vm = || 0..3_u8;
    let sp = || 0..3_u8;
    let vcpu = || prop_oneof![3 => Just(0_u8), 1 => Just(1)];
    let ids = || select(&[1_u8, 2, 3][..]);
    let life = prop_oneof![
        8 => create(vm()),
        2 => vm().prop_map(Act::Destroy),
        4 => prop_oneof![3 => 0..20_u16, 2 => 0..2000_u16, 1 => any::<u16>()].prop_map(Act::Wait),
        2 => Just(Act::Tick),
        1 => option::of(vm()).prop_map(Act::Retry),
        1 => (vm(), vcpu(), any::<bool>()).prop_map(|(vm, vcpu, online)| Act::Online { vm, vcpu, online }),
        2 => fault(trust),
        2 => Just(Act::Calm),
        1 => (0..6_u8).prop_map(Act::NoMemory),
    ]
    .boxed();
    let memory = prop_oneof![
        12 => share(),
        5 => (vm(), 0..2_u8, 0..3_u8).prop_map(|(vm, nth, ranges)| Act::Part { vm, nth, ranges }),
        1 => (vm(), name()).prop_map(|(vm, name)| Act::Meddle { vm, name }),
        8 => (vm(), name(), prop_oneof![8 => Just(0_u8), 1 => 0..4_u8])
            .prop_map(|(vm, name, flags)| Act::Reclaim { vm, name, flags }),
        2 => (vm(), 0..3_u8, prop_oneof![5 => Just(1_u8), 1 => 0..4_u8])
            .prop_map(|(vm, place, pages)| Act::Map { vm, place, pages }),
        1 => vm().prop_map(Act::Unmap),
    ]
    .boxed();
    let lists = prop_oneof![
        2 => vm().prop_map(Act::ReleaseRx),
        2 => vm().prop_map(Act::List),
        1 => vm().prop_map(Act::ListInRegisters),
        1 => (vm(), 0..4_u8).prop_map(|(vm, minor)| Act::Negotiate { vm, minor }),
        1 => (vm(), 0..64_u8, any::<bool>(), [word(), word(), word()])
            .prop_map(|(vm, function, wide, words)| Act::Junk { vm, function, wide, words }),
    ]
    .boxed();
    let messages = prop_oneof![
        3 => (vm(), vcpu(), sp()).prop_map(|(vm, vcpu, sp)| Act::Request { vm, vcpu, sp }),
        1 => (vm(), vcpu(), sp()).prop_map(|(vm, vcpu, sp)| Act::Request2 { vm, vcpu, sp }),
        4 => (vm(), vcpu(), sp()).prop_map(|(vm, vcpu, sp)| Act::Run { vm, vcpu, sp }),
        3 => (vm(), peer(), any::<u16>()).prop_map(|(vm, to, size)| Act::Send { vm, to, size }),
        1 => (sp(), vm(), any::<u16>()).prop_map(|(sp, vm, size)| Act::Message { sp, vm, size: size % 4200 }),
    ]
    .boxed();
    let notifications = prop_oneof![
        3 => (vm(), peer(), ids(), prop::bool::weighted(0.2))
            .prop_map(|(vm, from, ids, per_vcpu)| Act::Bind { vm, from, ids, per_vcpu }),
        2 => (vm(), peer(), ids()).prop_map(|(vm, from, ids)| Act::Unbind { vm, from, ids }),
        3 => (vm(), peer(), ids(), option::weighted(0.2, vcpu()))
            .prop_map(|(vm, to, ids, vcpu)| Act::Set { vm, to, ids, vcpu }),
        3 => (vm(), vcpu(), 0..16_u8).prop_map(|(vm, vcpu, sources)| Act::Get { vm, vcpu, sources }),
        1 => vm().prop_map(Act::Pending),
        3 => (sp(), vm(), 0..2_u8).prop_map(|(sp, vm, id)| Act::Notify { sp, vm, id }),
        1 => (sp(), vm()).prop_map(|(sp, vm)| Act::Allow { sp, vm }),
    ]
    .boxed();
    let partitions = prop_oneof![
        3 => (sp(), 0..8_u8).prop_map(|(sp, share)| Act::Retrieve { sp, share }),
        3 => (sp(), 0..8_u8).prop_map(|(sp, share)| Act::Relinquish { sp, share }),
        2 => (sp(), vm()).prop_map(|(sp, vm)| Act::RelinquishAll { sp, vm }),
        1 => sp().prop_map(Act::Crash),
        2 => sp().prop_map(Act::Restart),
    ]
    .boxed();
    prop_oneof![6 => life, 8 => memory, 2 => lists, 3 => messages, 3 => notifications, 2 => partitions]
        .boxed()
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..4_u64, Just(0x4000_0000), Just(0x8001_0001), Just(0x1_8001), any::<u64>()]
}

fn step(trust: Trust) -> impl Strategy<Value = Step> {
    let other = prop_oneof![1 => (0..3_u8).prop_map(Act::Destroy), 1 => Just(Act::Tick), 3 => act(trust)];
    prop_oneof![
        8 => act(trust).prop_map(Step::Do),
        1 => (act(trust), 0..24_u8, other).prop_map(|(act, moment, other)| Step::Race(act, moment, other)),
        1 => (prop_oneof![3 => share(), 1 => act(trust)], any::<u8>())
            .prop_map(|(act, byte)| Step::Torn(act, byte)),
    ]
}

/// Machines over this secure world, and what happens to each. Most begin with VMs that live.
pub fn scripts(preset: Preset, trust: Trust, most: usize) -> BoxedStrategy<(Setup, Vec<Step>)> {
    let births = option::weighted(0.9, [create(Just(0)), create(Just(1)), create(Just(2))]);
    let script = (births, vec(step(trust), 1..=most))
        .prop_map(|(births, steps)| births.into_iter().flatten().map(Step::Do).chain(steps).collect());
    (setup(preset, trust), script).boxed()
}
