//! What other CPUs do while VMs lend each other memory. They come in at the moments when the mediator holds no lock.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use common::peers::*;
use common::sends::*;
use common::*;
use ffa_abi::{Handle, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::LenderDeath;
use ffa_mem::SendFlags;
use ffa_test_utils::Rng;
use ffa_test_utils::hypervisor::{Cpu, Machine, ModelMediator, Moment};
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
    fn call(self, offer: Offer, handle: Handle) -> (PartitionId, Vec<u8>, Regs) {
        let request = offer.request(VM1, VM2, handle).bytes();
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

/// In which way one VM lets another have memory.
#[derive(Clone, Copy, Debug)]
struct Offer {
    send: Send,
    /// An SP may have it as well.
    with_sp: bool,
}

impl Offer {
    const ALL: [Self; 5] = [
        Self { send: SHARE, with_sp: false },
        Self { send: LEND, with_sp: false },
        Self { send: DONATE, with_sp: false },
        Self { send: SHARE, with_sp: true },
        Self { send: LEND, with_sp: true },
    ];

    fn is_donation(self) -> bool {
        self.send.w0 == DONATE.w0
    }

    fn descriptor(self, from: PartitionId, to: PartitionId, ranges: &[(u64, u32)]) -> Vec<u8> {
        let receivers = if self.with_sp { vec![SP1, to] } else { vec![to] };
        self.send.describe_in(Version::V1_1, from, &receivers, ranges, SendFlags::NONE)
    }

    fn request(self, owner: PartitionId, borrower: PartitionId, handle: Handle) -> Request {
        let good = Request::of(self.send, handle);
        let sp = self.with_sp.then_some((SP1.0, 2, 0, 0));
        let own = (borrower.0, good.borrowers[0].1, 0, 0);
        Request { sender: owner.0, borrowers: sp.into_iter().chain([own]).collect(), ..good }
    }

    /// A world with one such offer, which VM 2 has `retrieved` or not.
    fn made(self, preset: Preset, lender_death: LenderDeath, retrieved: bool) -> (World, Handle) {
        let mut world = lazy_lenders(preset, lender_death);
        let bytes = self.descriptor(VM1, VM2, &[(PAGES, 2), (LOOSE, 1)]);
        let handle = handle_of(&self.send.make(&mut world, VM1, &bytes)).expect("it is good");
        if retrieved {
            world.retrieve(&self.request(VM1, VM2, handle));
        }
        (world, handle)
    }
}

/// VMs 1 and 2, and partitions that retrieve nothing.
fn lazy_lenders(preset: Preset, lender_death: LenderDeath) -> World {
    lenders_on(Machine { partitions: lazy_sps(), ..lending(preset, lender_death) })
}

/// Two calls about the same loan, one of them in the middle of the other: never do both succeed that exclude each other,
/// and whatever was done first counts.
#[test]
fn r08_of_two_calls_that_exclude_each_other_one_wins() {
    let mut moments = 0;
    let mut results = BTreeSet::new();
    for (offer, retrieved) in Offer::ALL.iter().flat_map(|offer| [(*offer, false), (*offer, true)]) {
        if retrieved && offer.is_donation() {
            continue; // there is nothing left to be at odds about
        }
        for (first, second) in Deed::ALL.iter().flat_map(|first| Deed::ALL.map(|second| (*first, second))) {
            for nth in 0..40 {
                let (mut world, handle) = offer.made(Preset::Strict, LenderDeath::Revoke, retrieved);
                let scribble = world.hypervisor.scribbler();
                let (count, other) = (Cell::new(0), Rc::new(Cell::new(None)));
                let answered = Rc::clone(&other);
                let done = once(
                    &mut world,
                    move |_| count.replace(count.get() + 1) == nth,
                    move |cpu, mediator| {
                        let (vm, tx, regs) = second.call(offer, handle);
                        scribble(vm, TX, &tx);
                        answered.set(elsewhere(cpu, mediator, vm, regs));
                    },
                );
                let (vm, tx, regs) = first.call(offer, handle);
                world.write_tx(vm, &tx);
                let one = world.call_on(vm, 0, regs);
                world.hypervisor.set_interloper(None);
                if !done.get() {
                    break;
                }
                moments += 1;
                let two = other.get().expect("it was called");
                let [one, two] = [one, two].map(|answer| Deed::is_done(&answer));
                let what = format!("{first:?} {one}, {second:?} {two} at {nth}, {offer:x?} {retrieved}");
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
                // Never is it the owner's to use at the same time, unless they share it.
                let is_shared = offer.send.w0 == SHARE.w0;
                assert!(has == 0 || is_shared || !world.reaches(VM1, PAGES), "{what}");
                results.insert((format!("{first:?}"), format!("{second:?}"), retrieved, one, two));
                world.check();
                world.end_all();
            }
        }
    }
    assert!(moments > 500 && results.len() > 30, "{moments} {}", results.len());
}

/// Each VM dies at every moment of every call, with either policy.
#[test]
fn whoever_dies_at_whatever_moment_everything_comes_back() {
    let mut moments = 0;
    let deeds =
        [(false, Deed::Retrieve), (true, Deed::Relinquish), (false, Deed::Reclaim), (true, Deed::Unmap)];
    for (lender_death, offer) in [LenderDeath::Revoke, LenderDeath::Keep]
        .into_iter()
        .flat_map(|lender_death| Offer::ALL.map(|offer| (lender_death, offer)))
    {
        for (retrieved, deed) in deeds {
            if retrieved && offer.is_donation() {
                continue;
            }
            for dead in [vec![VM1], vec![VM2], vec![VM1, VM2], vec![VM2, VM1]] {
                for nth in 0..40 {
                    let (mut world, handle) = offer.made(Preset::Strict, lender_death, retrieved);
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
                    let (vm, tx, regs) = deed.call(offer, handle);
                    world.write_tx(vm, &tx);
                    let answer = world.call_on(vm, 0, regs);
                    world.hypervisor.set_interloper(None);
                    if !done.get() {
                        break;
                    }
                    moments += 1;
                    let what = format!("{deed:?} at {nth} {dead:?} {lender_death:?} {offer:x?}: {answer:x?}");
                    dead.iter().for_each(|vm| world.hypervisor.bury(*vm));
                    assert!(world.hypervisor.settle(LONG), "{what}");
                    world.check();
                    let keeps = lender_death == LenderDeath::Keep && !dead.contains(&VM2) && !offer.with_sp;
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
    assert!(moments > 800, "{moments}");
}

/// Likewise of the calls by which memory is offered, whole or in fragments.
#[test]
fn f10_whoever_dies_while_it_is_offered_nothing_is_left() {
    let mut moments = 0;
    for (offer, in_parts) in Offer::ALL.iter().flat_map(|offer| [(*offer, false), (*offer, true)]) {
        for dead in [vec![VM1], vec![VM2], vec![VM2, VM1]] {
            for nth in 0..40 {
                let mut world = lazy_lenders(Preset::Strict, LenderDeath::Keep);
                let bytes = offer.descriptor(VM1, VM2, &[(PAGES, 2), (LOOSE, 1)]);
                let cut = bytes.len() - 16;
                let begun = in_parts.then(|| asked_for(&world.begin_part(offer.send, &bytes, cut), cut));
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
                let answer = match begun {
                    Some(handle) => world.go_on(handle, &bytes[cut..]),
                    None => offer.send.make(&mut world, VM1, &bytes),
                };
                world.hypervisor.set_interloper(None);
                if !done.get() {
                    break;
                }
                moments += 1;
                dead.iter().for_each(|vm| world.hypervisor.bury(*vm));
                assert!(world.hypervisor.settle(LONG), "{offer:x?} {in_parts} {dead:?} {nth}");
                if dead == [VM2] {
                    // Whoever was to have it does not, and the owner has it back, unless it was refused at once.
                    if let Some(handle) = handle_of(&answer) {
                        assert_eq!(world.reclaim(VM1, handle), DONE);
                    }
                    assert!(world.reaches(VM1, PAGES));
                }
                world.end_all();
            }
        }
    }
    assert!(moments > 150, "{moments}");
}

/// What a borrower may have at most holds while its vCPUs retrieve, and share, at the same time.
#[test]
fn what_is_being_retrieved_counts_from_the_beginning() {
    for preset in Preset::ALL {
        for nth in 0..2 {
            let mut machine = lending(preset, LenderDeath::Revoke);
            machine.settings.pages_per_vm = 4;
            let mut world = lenders_on(Machine { partitions: lazy_sps(), ..machine });
            let handle = world.offer(&[(PAGES, 2), (LOOSE, 1)]);
            let bytes = descriptor(Version::V1_1, VM2, SP1, &[(PAGES, 2)]);
            let (scribble, answer) = (world.hypervisor.scribbler(), Rc::new(Cell::new(None)));
            let (seen, count, len) = (Rc::clone(&answer), Cell::new(0), bytes.len() as u64);
            let done = once(
                &mut world,
                move |moment| matches!(moment, Moment::Mapped(VM2)) && count.replace(count.get() + 1) == nth,
                move |cpu, mediator| {
                    scribble(VM2, TX, &bytes);
                    seen.set(elsewhere(cpu, mediator, VM2, Regs::new([MEM_SHARE, len, len])));
                },
            );
            world.retrieve(&Request::new(handle));
            world.hypervisor.set_interloper(None);
            assert!(done.get());
            assert_eq!(answer.get(), Some(Regs::error(Status::NoMemory)), "{} {nth}", preset.name());
            assert_eq!(world.hypervisor.report(VM2).expect("it lives").pages, 3);
            world.share(VM2, SP1, &[(PAGES, 1)]);
            world.end_all();
        }
    }
}

/// The owner dies while another CPU is taking the loan from its dead borrower, and the other way round.
#[test]
fn two_that_die_at_the_same_time_leave_nothing_behind() {
    for lender_death in [LenderDeath::Revoke, LenderDeath::Keep] {
        for (first, second, offer) in [(VM1, VM2), (VM2, VM1)]
            .into_iter()
            .flat_map(|(first, second)| Offer::ALL.map(|offer| (first, second, offer)))
            .filter(|(_, _, offer)| !offer.is_donation())
        {
            for nth in 0..20 {
                let (mut world, _) = offer.made(Preset::Hafnium, lender_death, true);
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

/// What VMs know of each other's offers: who lets whom have memory, and how.
type Known = RefCell<Vec<(PartitionId, PartitionId, Offer, Handle)>>;

/// Three VMs at random, each call with others in the middle of it, and VMs that die and come again.
#[test]
fn at_random_nothing_is_lost_and_nobody_reaches_what_is_anothers() {
    const VMS: [PartitionId; 3] = [VM1, VM2, VM3];
    let mut done = BTreeMap::<_, u32>::new();
    for seed in 0..24 {
        let lender_death = if seed % 2 == 0 { LenderDeath::Revoke } else { LenderDeath::Keep };
        let preset = Preset::ALL[seed as usize / 2 % 4];
        let mut world = lazy_lenders(preset, lender_death);
        world.hypervisor.permit(|_, _, _| true);
        world.live(VM3, Version::V1_1);
        let rng = Rc::new(RefCell::new(Rng::new(seed)));
        let known: Rc<Known> = Rc::default();
        for step in 0..300 {
            let scribble = world.hypervisor.scribbler();
            let (random, also_known) = (Rc::clone(&rng), Rc::clone(&known));
            let nested = Cell::new(rng.borrow_mut().below(3));
            let mediator = Rc::clone(world.hypervisor.mediator());
            world.hypervisor.set_interloper(Some(Box::new(move |cpu: &mut Cpu, _| {
                if nested.get() == 0 || random.borrow_mut().below(3) > 0 {
                    return;
                }
                nested.set(nested.get() - 1);
                let vm = VMS[random.borrow_mut().below(3) as usize];
                let Some(call) = AnyCall::draw(&mut random.borrow_mut(), vm, &also_known.borrow()) else {
                    return;
                };
                if is_there(&mediator, vm) {
                    scribble(vm, TX, &call.tx);
                    let answer = elsewhere(cpu, &mediator, vm, call.regs);
                    call.learn(&also_known, vm, answer.as_ref());
                }
            })));
            let vm = VMS[rng.borrow_mut().below(3) as usize];
            let there = is_there(world.hypervisor.mediator(), vm);
            let call = AnyCall::draw(&mut rng.borrow_mut(), vm, &known.borrow());
            if !there {
                if world.hypervisor.report(vm).is_none() && !world.hypervisor.is_there(vm) {
                    world.hypervisor.set_interloper(None);
                    world.live(vm, Version::V1_1);
                    *done.entry("create".to_owned()).or_default() += 1;
                }
            } else if rng.borrow_mut().below(12) == 0 {
                world.destroy(vm);
                assert_eq!(world.hypervisor.borrowed(vm), 0, "seed {seed}, step {step}");
                *done.entry("destroy".to_owned()).or_default() += 1;
            } else if let Some(call) = call {
                world.write_tx(vm, &call.tx);
                let answer = world.call_on(vm, 0, call.regs);
                call.learn(&known, vm, Some(&answer));
                if Deed::is_done(&answer) {
                    *done.entry(format!("{:x}", call.regs[0])).or_default() += 1;
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
    assert!(done.len() == 8 && done.values().all(|done| *done > 50), "{done:?}");
}

fn is_there(mediator: &ModelMediator, vm: PartitionId) -> bool {
    let report = mediator.find(vm).and_then(|key| mediator.report(key));
    report.is_some_and(|report| report.phase == ffa_teardown::Phase::Live)
}

/// A call about memory, and what is in TX for it.
struct AnyCall {
    tx: Vec<u8>,
    regs: Regs,
    /// To whom it offers memory, and how.
    offers: Option<(PartitionId, Offer)>,
}

impl AnyCall {
    fn draw(
        rng: &mut Rng,
        vm: PartitionId,
        known: &[(PartitionId, PartitionId, Offer, Handle)],
    ) -> Option<Self> {
        let others: Vec<_> = [VM1, VM2, VM3].into_iter().filter(|other| *other != vm).collect();
        let to = others[rng.below(2) as usize];
        if rng.below(4) == 0 {
            let ranges: Vec<_> = (0..1 + rng.below(3)).map(|_| (PAGES + rng.below(40) * PAGE, 1)).collect();
            // Pages that are given away are gone for as long as the VM lives.
            let offer = match rng.below(12) {
                0 => Offer::ALL[2],
                n => Offer::ALL[[0, 1, 3, 4][n as usize % 4]],
            };
            let tx = offer.descriptor(vm, to, &ranges);
            let len = tx.len() as u64;
            return Some(Self { tx, regs: Regs::new([offer.send.w0, len, len]), offers: Some((to, offer)) });
        }
        // Mostly what it has to do with, and what came last.
        let own = |(owner, borrower, ..): &&(PartitionId, PartitionId, Offer, Handle)| {
            *owner == vm || *borrower == vm
        };
        let recent: Vec<_> = known.iter().rev().filter(own).take(4).collect();
        let (owner, borrower, offer, handle) = **rng.pick(&recent)?;
        let (tx, regs) = if owner == vm {
            (Vec::new(), reclaim_regs(handle))
        } else if rng.below(2) == 0 {
            let request = offer.request(owner, borrower, handle).bytes();
            let len = request.len() as u64;
            (request, Regs::new([RETRIEVE, len, len]))
        } else {
            (relinquishment(handle.get(), 0, &[vm.0]), Regs::new([RELINQUISH]))
        };
        Some(Self { tx, regs, offers: None })
    }

    fn learn(&self, known: &Known, vm: PartitionId, answer: Option<&Regs>) {
        if let Some(((to, offer), handle)) = self.offers.zip(answer.and_then(handle_of)) {
            known.borrow_mut().push((vm, to, offer, handle));
        }
    }
}

/// What cannot be done any more says so in the same words as what never was.
#[test]
fn a_request_finds_what_is_there_when_it_is_looked_at() {
    let offer = Offer::ALL[0];
    let (mut world, handle) = offer.made(Preset::Strict, LenderDeath::Revoke, false);
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
