//! What other CPUs do while VMs lend each other memory. They come in at the moments when the mediator holds no lock.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use common::peers::*;
use common::*;
use ffa_abi::{Handle, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::LenderDeath;
use ffa_test_utils::Rng;
use ffa_test_utils::hypervisor::{Cpu, ModelMediator, Moment};
use ffa_test_utils::spmc::Preset;

/// What guests do with one offer of VM 1 to VM 2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Deed {
    Retrieve,
    Relinquish,
    Reclaim,
    /// FFA_RXTX_UNMAP of the borrower.
    Unmap,
}

impl Deed {
    const ALL: [Self; 4] = [Self::Retrieve, Self::Relinquish, Self::Reclaim, Self::Unmap];

    /// Who does it, what is in its TX, and the call.
    fn call(self, handle: Handle) -> (PartitionId, Vec<u8>, Regs) {
        let request = Request::new(handle).bytes();
        let len = request.len() as u64;
        match self {
            Self::Retrieve => (VM2, request, Regs::new([RETRIEVE, len, len])),
            Self::Relinquish => (VM2, relinquishment(handle.get(), 0, &[VM2.0]), Regs::new([RELINQUISH])),
            Self::Reclaim => (VM1, Vec::new(), reclaim_regs(handle)),
            Self::Unmap => (VM2, Vec::new(), Regs::new([0x8400_0067])),
        }
    }

    fn is_done(answer: &Regs) -> bool {
        [0x8400_0061, RETRIEVED].contains(&answer[0])
    }
}

/// A world with one offer, which VM 2 has `retrieved` or not.
fn offered(preset: Preset, lender_death: LenderDeath, retrieved: bool) -> (World, Handle) {
    let mut world = lenders(preset, lender_death);
    let handle = world.offer(&[(PAGES, 2), (LOOSE, 1)]);
    if retrieved {
        world.retrieve(&Request::new(handle));
    }
    (world, handle)
}

/// Two calls about the same loan, one of them in the middle of the other: never do both succeed that exclude each other,
/// and whatever was done first counts.
#[test]
fn of_two_calls_that_exclude_each_other_one_wins() {
    let mut moments = 0;
    let mut results = BTreeSet::new();
    for retrieved in [false, true] {
        for (first, second) in Deed::ALL.iter().flat_map(|first| Deed::ALL.map(|second| (*first, second))) {
            for nth in 0..40 {
                let (mut world, handle) = offered(Preset::Strict, LenderDeath::Revoke, retrieved);
                let scribble = world.hypervisor.scribbler();
                let (count, other) = (Cell::new(0), Rc::new(Cell::new(None)));
                let answered = Rc::clone(&other);
                let done = once(
                    &mut world,
                    move |_| count.replace(count.get() + 1) == nth,
                    move |cpu, mediator| {
                        let (vm, tx, regs) = second.call(handle);
                        scribble(vm, TX, &tx);
                        answered.set(elsewhere(cpu, mediator, vm, regs));
                    },
                );
                let (vm, tx, regs) = first.call(handle);
                world.write_tx(vm, &tx);
                let one = world.call_on(vm, 0, regs);
                world.hypervisor.set_interloper(None);
                if !done.get() {
                    break;
                }
                moments += 1;
                let two = other.get().expect("it was called");
                let [one, two] = [one, two].map(|answer| Deed::is_done(&answer));
                let what = format!("{first:?} {one}, {second:?} {two} at {nth}, retrieved {retrieved}");
                let both = one && two;
                match (first, second) {
                    (first, second) if first == second => assert!(!both, "{what}"),
                    // It is taken back and nobody has it, or it is had and not taken back.
                    (Deed::Retrieve, Deed::Reclaim) | (Deed::Reclaim, Deed::Retrieve) if !retrieved => {
                        assert!(one != two, "{what}");
                    }
                    _ => {}
                }
                let has = world.hypervisor.borrowed(VM2);
                assert!(has == 0 || has == 3, "{what}");
                results.insert((format!("{first:?}"), format!("{second:?}"), retrieved, one, two));
                world.check();
                world.end_all();
            }
        }
    }
    assert!(moments > 100 && results.len() > 30, "{moments} {}", results.len());
}

/// Each VM dies at every moment of every call, with either policy.
#[test]
fn whoever_dies_at_whatever_moment_everything_comes_back() {
    let mut moments = 0;
    for lender_death in [LenderDeath::Revoke, LenderDeath::Keep] {
        for (retrieved, deed) in
            [(false, Deed::Retrieve), (true, Deed::Relinquish), (false, Deed::Reclaim), (true, Deed::Unmap)]
        {
            for dead in [vec![VM1], vec![VM2], vec![VM1, VM2], vec![VM2, VM1]] {
                for nth in 0..40 {
                    let (mut world, handle) = offered(Preset::Strict, lender_death, retrieved);
                    let (count, dying) = (Cell::new(0), dead.clone());
                    let done = once(
                        &mut world,
                        move |_| count.replace(count.get() + 1) == nth,
                        move |cpu, mediator| {
                            for vm in &dying {
                                mediator.destroy_vm(cpu, mediator.find(*vm).unwrap()).unwrap();
                                (0..8).for_each(|_| mediator.tick(cpu));
                            }
                        },
                    );
                    let (vm, tx, regs) = deed.call(handle);
                    world.write_tx(vm, &tx);
                    let answer = world.call_on(vm, 0, regs);
                    world.hypervisor.set_interloper(None);
                    if !done.get() {
                        break;
                    }
                    moments += 1;
                    let what = format!("{deed:?} at {nth} {dead:?} {lender_death:?}: {answer:x?}");
                    dead.iter().for_each(|vm| world.hypervisor.bury(*vm));
                    assert!(world.hypervisor.settle(LONG), "{what}");
                    world.check();
                    let keeps = lender_death == LenderDeath::Keep && !dead.contains(&VM2);
                    let has = world.hypervisor.borrowed(VM2);
                    // A dead lender's memory is in nobody's hands, unless it is to be kept.
                    assert!(has == 0 || has == 3 && (keeps || !dead.contains(&VM1)), "{what}");
                    assert_eq!(
                        world.hypervisor.orphans(Some(VM1)),
                        if has > 0 && keeps { 3 } else { 0 },
                        "{what}"
                    );
                    world.end_all();
                }
            }
        }
    }
    assert!(moments > 150, "{moments}");
}

/// The owner dies while another CPU is taking the loan from its dead borrower, and the other way round.
#[test]
fn two_that_die_at_the_same_time_leave_nothing_behind() {
    for lender_death in [LenderDeath::Revoke, LenderDeath::Keep] {
        for (first, second) in [(VM1, VM2), (VM2, VM1)] {
            for nth in 0..20 {
                let (mut world, _) = offered(Preset::Hafnium, lender_death, true);
                let count = Cell::new(0);
                let done = once(
                    &mut world,
                    move |moment| {
                        !matches!(moment, Moment::Event(_)) && count.replace(count.get() + 1) == nth
                    },
                    move |cpu, mediator| {
                        mediator.destroy_vm(cpu, mediator.find(second).unwrap()).unwrap();
                        (0..8).for_each(|_| mediator.tick(cpu));
                    },
                );
                world.destroy(first);
                assert!(world.hypervisor.settle(LONG));
                world.hypervisor.set_interloper(None);
                if !done.get() {
                    break;
                }
                world.hypervisor.bury(second);
                assert!(world.hypervisor.settle(LONG), "{first} {nth} {lender_death:?}");
                world.check_all_gone();
            }
        }
    }
}

/// Three VMs at random, each call with others in the middle of it, and VMs that die and come again.
#[test]
fn at_random_nothing_is_lost_and_nobody_reaches_what_is_anothers() {
    const VMS: [PartitionId; 3] = [VM1, VM2, VM3];
    let mut done = [0_u32; 6];
    for seed in 0..24 {
        let lender_death = if seed % 2 == 0 { LenderDeath::Revoke } else { LenderDeath::Keep };
        let preset = Preset::ALL[seed as usize / 2 % 4];
        let mut world = lenders(preset, lender_death);
        world.hypervisor.permit(|_, _, _| true);
        world.live(VM3, Version::V1_1);
        let rng = Rc::new(RefCell::new(Rng::new(seed)));
        let handles: Rc<RefCell<Vec<(PartitionId, PartitionId, Handle)>>> = Rc::default();
        for step in 0..300 {
            let scribble = world.hypervisor.scribbler();
            let (random, known) = (Rc::clone(&rng), Rc::clone(&handles));
            let nested = Cell::new(rng.borrow_mut().below(3));
            let mediator = Rc::clone(world.hypervisor.mediator());
            world.hypervisor.set_interloper(Some(Box::new(move |cpu: &mut Cpu, _| {
                if nested.get() == 0 || random.borrow_mut().below(3) > 0 {
                    return;
                }
                nested.set(nested.get() - 1);
                let vm = VMS[random.borrow_mut().below(3) as usize];
                let Some((tx, regs)) = any_call(&mut random.borrow_mut(), vm, &known.borrow()) else {
                    return;
                };
                if is_there(&mediator, vm) {
                    scribble(vm, TX, &tx);
                    let answer = elsewhere(cpu, &mediator, vm, regs);
                    learn(&known, vm, &tx, regs, answer.as_ref());
                }
            })));
            let vm = VMS[rng.borrow_mut().below(3) as usize];
            let there = is_there(world.hypervisor.mediator(), vm);
            let call = any_call(&mut rng.borrow_mut(), vm, &handles.borrow());
            if !there {
                if world.hypervisor.report(vm).is_none() && !world.hypervisor.is_there(vm) {
                    world.hypervisor.set_interloper(None);
                    world.live(vm, Version::V1_1);
                    done[0] += 1;
                }
            } else if rng.borrow_mut().below(12) == 0 {
                world.destroy(vm);
                assert_eq!(world.hypervisor.borrowed(vm), 0, "seed {seed}, step {step}");
                done[1] += 1;
            } else if let Some((tx, regs)) = call {
                world.write_tx(vm, &tx);
                let answer = world.call_on(vm, 0, regs);
                learn(&handles, vm, &tx, regs, Some(&answer));
                if Deed::is_done(&answer) {
                    done[match regs[0] {
                        MEM_SHARE => 2,
                        RETRIEVE => 3,
                        RELINQUISH => 4,
                        _ => 5,
                    }] += 1;
                }
            }
            world.hypervisor.set_interloper(None);
            if rng.borrow_mut().below(4) == 0 {
                assert!(world.hypervisor.settle(LONG), "seed {seed}, step {step}");
            }
            if is_there(world.hypervisor.mediator(), vm) {
                let _ = world.call(vm, [RX_RELEASE]);
            }
            assert_eq!(world.hypervisor.violations(), [], "seed {seed}, step {step}");
        }
        world.end_all();
    }
    assert!(done.iter().all(|done| *done > 50), "{done:?}");
}

fn is_there(mediator: &ModelMediator, vm: PartitionId) -> bool {
    let report = mediator.find(vm).and_then(|key| mediator.report(key));
    report.is_some_and(|report| report.phase == ffa_teardown::Phase::Live)
}

/// A call about memory, and what is in TX for it.
fn any_call(
    rng: &mut Rng,
    vm: PartitionId,
    handles: &[(PartitionId, PartitionId, Handle)],
) -> Option<(Vec<u8>, Regs)> {
    let others: Vec<_> = [VM1, VM2, VM3].into_iter().filter(|other| *other != vm).collect();
    let to = others[rng.below(2) as usize];
    if rng.below(4) == 0 {
        let ranges: Vec<_> = (0..1 + rng.below(3)).map(|_| (PAGES + rng.below(40) * PAGE, 1)).collect();
        let bytes = descriptor(Version::V1_1, vm, to, &ranges);
        let len = bytes.len() as u64;
        return Some((bytes, Regs::new([MEM_SHARE, len, len])));
    }
    // Mostly what it has to do with, and what came last.
    let own = |(owner, borrower, _): &&(PartitionId, PartitionId, Handle)| *owner == vm || *borrower == vm;
    let recent: Vec<_> = handles.iter().rev().filter(own).take(4).collect();
    let (owner, borrower, handle) = **rng.pick(&recent)?;
    if owner == vm {
        return Some((Vec::new(), reclaim_regs(handle)));
    }
    if rng.below(2) == 0 {
        let mut request = Request::new(handle);
        (request.sender, request.borrowers[0].0) = (owner.0, borrower.0);
        let bytes = request.bytes();
        let len = bytes.len() as u64;
        Some((bytes, Regs::new([RETRIEVE, len, len])))
    } else {
        Some((relinquishment(handle.get(), 0, &[vm.0]), Regs::new([RELINQUISH])))
    }
}

fn learn(
    handles: &RefCell<Vec<(PartitionId, PartitionId, Handle)>>,
    vm: PartitionId,
    tx: &[u8],
    regs: Regs,
    answer: Option<&Regs>,
) {
    if let Some(handle) = answer.filter(|_| regs[0] == MEM_SHARE).and_then(handle_of) {
        let to = PartitionId(u16::from_le_bytes([tx[48], tx[49]]));
        handles.borrow_mut().push((vm, to, handle));
    }
}

/// What cannot be done any more says so in the same words as what never was.
#[test]
fn a_request_finds_what_is_there_when_it_is_looked_at() {
    let (mut world, handle) = offered(Preset::Strict, LenderDeath::Revoke, false);
    let done = once(
        &mut world,
        |moment| matches!(moment, Moment::Read(copy) if copy.vm == VM2),
        move |cpu, mediator| {
            let answer = elsewhere(cpu, mediator, VM1, reclaim_regs(handle)).unwrap();
            assert_eq!(answer, DONE);
        },
    );
    let answer = world.ask(VM2, &Request::new(handle).bytes());
    assert!(done.get() && is_error(&answer, Status::InvalidParameters), "{answer:x?}");
    world.end_all();
}
