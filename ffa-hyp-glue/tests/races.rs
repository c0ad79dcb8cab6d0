//! What other CPUs do while a call is in progress. They come in at the moments when the mediator holds no lock.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use common::sends::each_send;
use common::*;
use ffa_abi::{Function, FunctionId, Handle, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::{Caller, Creation, EventKind, GuestInterrupts, Scratch, Settings};
use ffa_teardown::{Disposal, Phase, Policy};
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Cpu, Machine, ModelMediator, Moment};
use ffa_test_utils::spmc::{Preset, Reaction, Script, SpConfig, Turn};

type Mediator = Rc<ModelMediator>;

/// Has `work` happen once, at the first moment that `when` picks. Tells whether it did.
fn once(
    world: &mut World,
    when: impl Fn(Moment) -> bool + 'static,
    mut work: impl FnMut(&mut Cpu, &Mediator) + 'static,
) -> Rc<Cell<bool>> {
    let done = Rc::new(Cell::new(false));
    let (seen, mediator) = (Rc::clone(&done), Rc::clone(world.hypervisor.mediator()));
    let interloper = move |cpu: &mut Cpu, moment: Moment| {
        if !seen.get() && when(moment) {
            seen.set(true);
            work(cpu, &mediator);
        }
    };
    world.hypervisor.set_interloper(Some(Box::new(interloper)));
    done
}

fn is_smc(regs: &Regs, function: Function) -> bool {
    FunctionId::from_w0(regs.w::<0>()).is_ok_and(|id| id.function() == function)
}

/// A call of another vCPU.
fn other_vcpu(cpu: &mut Cpu, mediator: &Mediator, vm: PartitionId, mut regs: Regs) -> Regs {
    let key = mediator.find(vm).expect("it is there");
    let _ = mediator.guest_call(cpu, Caller { vm: key, vcpu: 1 }, &mut regs, &mut Scratch::new());
    regs
}

#[test]
fn a_vm_destroyed_during_its_share_gives_the_pages_back_in_the_end() {
    for before in [true, false] {
        every_preset(|preset| {
            let mut world = World::new(preset);
            let done = once(
                &mut world,
                move |moment| match moment {
                    Moment::Smc(regs) => before && is_smc(&regs, Function::MemShare),
                    Moment::Answered(regs) => !before && is_smc(&regs, Function::MemShare),
                    _ => false,
                },
                |cpu, mediator| {
                    let key = mediator.find(VM1).unwrap();
                    mediator.destroy_vm(cpu, key).unwrap();
                    // Nothing is torn down while the call is in progress.
                    mediator.tick(cpu);
                    mediator.tick(cpu);
                    let report = mediator.report(key).unwrap();
                    assert_eq!((report.phase, report.shares), (Phase::Live, 1));
                },
            );
            let answer = world.send(VM1, &descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 2)]));
            assert!(done.get() && handle_of(&answer).is_some(), "{answer:x?}");
            world.hypervisor.set_interloper(None);
            world.hypervisor.bury(VM1);
            assert!(world.hypervisor.settle(LONG));
            world.check_all_gone();
        });
    }
}

#[test]
fn a_vm_destroyed_at_any_other_moment_of_a_call_is_torn_down_after_it() {
    type Make = fn(&mut World, Handle) -> Regs;
    let calls: [(&str, Make); 6] = [
        ("share", |world, _| world.send(VM1, &descriptor(Version::V1_1, VM1, SP1, &[(PAGES + 9 * PAGE, 2)]))),
        ("reclaim", |world, handle| world.reclaim(VM1, handle)),
        ("list", |world, _| world.call(VM1, [0x8400_0068])),
        ("request", |world, _| world.call(VM1, [0x8400_006f, 0x1_8001])),
        ("unmap", |world, _| world.call(VM1, [0x8400_0067])),
        ("bad share", |world, _| {
            world.send(VM1, &descriptor(Version::V1_1, VM1, SP1, &[(PAGES + 9 * PAGE, 2), (DEVICE, 1)]))
        }),
    ];
    let mut moments = 0;
    for (name, make) in calls {
        for nth in 0..8 {
            let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)];
            let mut world = World::with(machine(Preset::Strict, sps));
            let handle = world.share(VM1, SP1, &[(PAGES, 2)]);
            let count = Cell::new(0);
            let done = once(
                &mut world,
                move |_| count.replace(count.get() + 1) == nth,
                |cpu, mediator| {
                    mediator.destroy_vm(cpu, mediator.find(VM1).unwrap()).unwrap();
                    (0..4).for_each(|_| mediator.tick(cpu));
                },
            );
            let _ = make(&mut world, handle);
            world.hypervisor.set_interloper(None);
            if done.get() {
                moments += 1;
                world.hypervisor.bury(VM1);
            } else {
                world.destroy(VM1);
            }
            assert!(world.hypervisor.settle(LONG), "{name} {nth}");
            world.check_all_gone();
        }
    }
    assert!(moments > 10, "{moments}");
}

#[test]
fn h5_rx_that_is_being_filled_can_be_neither_released_nor_unmapped() {
    let mut world = World::new(Preset::Hafnium);
    let answers = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&answers);
    let done = once(
        &mut world,
        |moment| matches!(moment, Moment::Write(_)),
        move |cpu, mediator| {
            for w0 in [0x8400_0065, 0x8400_0067, 0x8400_0068] {
                seen.borrow_mut().push(other_vcpu(cpu, mediator, VM1, Regs::new([w0])));
            }
        },
    );
    assert_eq!(world.call(VM1, [0x8400_0068]), Regs::success(2, 24));
    assert!(done.get());
    let denied = Regs::error(Status::Denied);
    assert_eq!(*answers.borrow(), [denied, denied, Regs::error(Status::Busy)]);
    assert_eq!(world.call(VM1, [0x8400_0065]), Regs::success(0, 0));
    world.check();
}

#[test]
fn r08_two_vcpus_reclaim_one_share_and_one_of_them_gets_it() {
    every_preset(|preset| {
        let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)];
        let mut world = World::with(machine(preset, sps));
        let handle = world.share(VM1, SP1, &[(PAGES, 2)]);
        let [low, high] = handle.words();
        let answer = Rc::new(Cell::new(Regs::ZERO));
        let seen = Rc::clone(&answer);
        let done = once(
            &mut world,
            |moment| matches!(moment, Moment::Smc(regs) if is_smc(&regs, Function::MemReclaim)),
            move |cpu, mediator| {
                seen.set(other_vcpu(cpu, mediator, VM1, Regs::new([MEM_RECLAIM, low, high])));
            },
        );
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        assert!(done.get());
        assert_eq!(answer.get(), Regs::error(Status::InvalidParameters));
        world.check();
    });
}

#[test]
fn r09_a_handle_that_is_reused_while_its_reclaim_returns_names_the_new_share() {
    every_preset(|preset| {
        // Hafnium and OP-TEE give a freed handle to the very next share.
        let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)];
        let mut world = World::with(machine(preset, sps));
        world.live(VM2, Version::V1_1);
        let old = world.share(VM1, SP1, &[(PAGES, 2)]);
        let bytes = descriptor(Version::V1_1, VM2, SP1, &[(PAGES, 3)]);
        world.write_tx(VM2, &bytes);
        let len = bytes.len() as u64;
        let answer = Rc::new(Cell::new(Regs::ZERO));
        let seen = Rc::clone(&answer);
        let done = once(
            &mut world,
            |moment| matches!(moment, Moment::Answered(regs) if is_smc(&regs, Function::MemReclaim)),
            move |cpu, mediator| seen.set(other_vcpu(cpu, mediator, VM2, Regs::new([MEM_SHARE, len, len]))),
        );
        assert_eq!(world.reclaim(VM1, old), Regs::success(0, 0));
        assert!(done.get());
        world.hypervisor.set_interloper(None);
        world.check();
        // Whatever the second guest was told, its pages come back, and the first one cannot touch them.
        let answer = answer.get();
        world.refused(
            "another's",
            VM1,
            [MEM_RECLAIM, old.words()[0], old.words()[1]],
            Status::InvalidParameters,
        );
        if let Some(new) = handle_of(&answer) {
            assert_eq!(world.reclaim(VM2, new), Regs::success(0, 0));
        }
        world.destroy(VM1);
        world.destroy(VM2);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

/// The same, and the answer to the reclaim is lost: nobody can ask for that share any more, and its pages are listed.
#[test]
fn r09_a_share_that_loses_its_name_is_quarantined_at_once() {
    for disposal in [Disposal::Zombie, Disposal::HandOver] {
        let lost = FaultAction::Lose(Status::Aborted.into());
        let call = CallKind::function(Function::MemReclaim);
        let plan = FaultPlan::new([Fault { call, when: When::Nth(1), action: lost }]);
        let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)];
        let teardown = Policy { disposal, ..Policy::DEFAULT };
        let settings = Settings { teardown, ..Settings::DEFAULT };
        let mut world = World::with(Machine { plan, settings, ..machine(Preset::Hafnium, sps) });
        world.live(VM2, Version::V1_1);
        let old = world.share(VM1, SP1, &[(PAGES, 2)]);
        let bytes = descriptor(Version::V1_1, VM2, SP1, &[(PAGES, 3)]);
        world.write_tx(VM2, &bytes);
        let len = bytes.len() as u64;
        let done = once(
            &mut world,
            |moment| matches!(moment, Moment::Answered(regs) if is_smc(&regs, Function::MemReclaim)),
            move |cpu, mediator| {
                let answer = other_vcpu(cpu, mediator, VM2, Regs::new([MEM_SHARE, len, len]));
                assert_eq!(handle_of(&answer), Some(old), "or there is nothing to see here");
            },
        );
        assert_eq!(world.reclaim(VM1, old), Regs::error(Status::Aborted));
        assert!(done.get());
        world.hypervisor.set_interloper(None);
        let quarantined = |world: &World| {
            let first = world.hypervisor.mediator().quarantined(0).expect("there is one");
            assert_eq!(world.hypervisor.mediator().quarantined(1), None);
            (first.vm, first.pages)
        };
        assert_eq!(quarantined(&world), (VM1, 2), "{disposal:?}");
        let leaked = if disposal == Disposal::HandOver { 2 } else { 0 };
        assert_eq!(world.hypervisor.frames().leaked, leaked);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check();
        assert_eq!(quarantined(&world), (VM1, 2));
        let frames = world.hypervisor.frames();
        assert_eq!((frames.leaked, frames.orphans), (leaked, 2 - leaked), "{disposal:?}");
        let told = world.hypervisor.take_events().into_iter();
        assert_eq!(told.filter(|(_, event)| event.kind == EventKind::Quarantined { pages: 2 }).count(), 1);
    }
}

#[test]
fn h33_a_slow_share_of_one_vm_does_not_hold_up_another() {
    every_preset(|preset| {
        let mut world = World::new(preset);
        world.live(VM2, Version::V1_1);
        let answers = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&answers);
        let bytes = descriptor(Version::V1_1, VM2, SP1, &[(PAGES, 1)]);
        world.write_tx(VM2, &bytes);
        let len = bytes.len() as u64;
        let done = once(
            &mut world,
            |moment| matches!(moment, Moment::Smc(regs) if is_smc(&regs, Function::MemShare)),
            move |cpu, mediator| {
                for regs in [
                    Regs::new([MEM_SHARE, len, len]),
                    Regs::new([0x8400_0067]),
                    Regs::new([0xc400_0066, TX, RX, 1]),
                ] {
                    seen.borrow_mut().push(other_vcpu(cpu, mediator, VM2, regs));
                }
            },
        );
        world.share(VM1, SP1, &[(PAGES, 1)]);
        assert!(done.get());
        let (success, busy) = (Regs::success(0, 0), Regs::error(Status::Busy));
        // There is one TX towards the secure world, and whoever finds it taken is told so: also who maps buffers that the
        // secure world is to have as well.
        let mapped = if preset.config().map_for_vm.is_some() { busy } else { success };
        assert_eq!(*answers.borrow(), [busy, success, mapped], "{}", preset.name());
        if mapped == busy {
            world.map(VM2);
        }
        assert!(handle_of(&world.call(VM2, [MEM_SHARE, len, len])).is_some());
        for vm in [VM1, VM2] {
            world.destroy(vm);
        }
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

#[test]
fn d36_each_byte_of_a_descriptor_is_read_once_and_what_comes_after_does_not_matter() {
    each_send(|world, send| {
        let ranges = [(PAGES, 1), (PAGES + 4 * PAGE, 2)];
        let good = send.bytes(&ranges);
        let hypervisor_tx = world.hypervisor.spmc_buffers().0;
        // Undisturbed.
        let handle = send.send(world, &ranges);
        let expected = world.hypervisor.read_physical(hypervisor_tx, good.len());
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));

        let scribble = world.hypervisor.scribbler();
        let done = once(
            world,
            |moment| matches!(moment, Moment::Read(_)),
            move |_, _| scribble(VM1, TX, &[0xff; 256]),
        );
        let _ = world.hypervisor.take_copies();
        let answer = send.make(world, VM1, &good);
        assert!(done.get() && handle_of(&answer).is_some());
        let copies = world.hypervisor.take_copies();
        for (n, copy) in copies.iter().enumerate() {
            let end = copy.address + copy.len as u64;
            assert!(copy.vm == VM1 && copy.address >= TX && end <= TX + good.len() as u64);
            let twice = |other: &&ffa_test_utils::hypervisor::Copy| {
                other.address < end && copy.address < other.address + other.len as u64
            };
            assert_eq!(copies[n + 1..].iter().find(twice), None, "{copies:?}");
        }
        assert_eq!(copies.iter().map(|copy| copy.len).sum::<usize>(), good.len());
        assert_eq!(world.hypervisor.read_physical(hypervisor_tx, good.len()), expected);
        world.check();
    });
}

#[test]
fn h9_only_the_vcpu_that_an_sp_works_for_can_run_it() {
    every_preset(|preset| {
        let busy = Script::GOOD.on_request(Reaction::always(Turn::ACCEPT.preempted(2)));
        let mut world =
            World::with(machine(preset, vec![SpConfig::new(SP1, Script::GOOD), SpConfig::new(SP2, busy)]));
        world.live(VM2, Version::V1_1);
        let interrupted = Regs::new([0x8400_0062, 0x8002_0000]);
        assert_eq!(world.call(VM1, [0x8400_006f, 0x1_8002, 0, 0x55]), interrupted);
        let run = [0x8400_006d, 0x8002_0000];
        world.refused("another VM", VM2, run, Status::Denied);
        let smcs = world.hypervisor.smcs();
        assert_eq!(world.call_on(VM1, 1, Regs::new(run)), Regs::error(Status::Denied), "another vCPU");
        assert_eq!(world.hypervisor.smcs(), smcs);
        // X15: a second request while the first is interrupted.
        let second = world.call(VM2, [0x8400_006f, 0x2_8002]);
        assert_eq!(second, Regs::error(Status::Busy), "{}", preset.name());
        assert_eq!(world.call(VM1, run), interrupted);
        let answer = world.call(VM1, run);
        assert_eq!((answer.w::<0>(), answer.w::<1>()), (0x8400_0070, 0x8002_0001));
        assert_eq!(answer.w::<3>(), 0x55 + preset.config().nonce);
        world.refused("it has finished", VM1, run, Status::Denied);
        // X26: a dead guest's request is finished on its behalf, and others get their turn.
        assert_eq!(world.call(VM1, [0x8400_006f, 0x1_8002]), interrupted);
        world.destroy(VM1);
        assert_eq!(world.call(VM2, run), Regs::error(Status::Denied));
        world.hypervisor.advance(LONG);
        assert_eq!(world.hypervisor.report(VM1), None);
        assert!(!world.hypervisor.spmc().is_paused(SP2));
        assert_eq!(world.call(VM2, [0x8400_006f, 0x2_8002]), interrupted);
        world.destroy(VM2);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

#[test]
fn no_call_begins_once_the_vm_is_dead() {
    let mut world = World::new(Preset::Strict);
    let bytes = descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 1)]);
    let len = bytes.len() as u64;
    world.write_tx(VM1, &bytes);
    world.share(VM1, SP1, &[(PAGES + 4 * PAGE, 1)]);
    world.destroy(VM1);
    for head in [
        [MEM_SHARE, len, len, 0],
        [MEM_RECLAIM, 1, 0, 0],
        [0x8400_006f, 0x1_8001, 0, 0],
        [0x8400_0068, 0, 0, 0],
        [0xc400_0066, TX, RX, 1],
        [0x8400_0065, 0, 0, 0],
    ] {
        let smcs = world.hypervisor.smcs();
        let mut regs = Regs::new(head);
        let key = world.hypervisor.key(VM1).unwrap();
        let caller = Caller { vm: key, vcpu: 0 };
        let _ = world.hypervisor.mediator().guest_call(
            &mut world.hypervisor.cpu(1),
            caller,
            &mut regs,
            &mut Scratch::new(),
        );
        assert_eq!(regs, Regs::error(Status::Denied));
        assert_eq!(world.hypervisor.smcs(), smcs);
    }
    assert!(world.hypervisor.settle(LONG));
    world.check_all_gone();
}

#[test]
fn two_cpus_that_tick_at_the_same_time_do_each_thing_once() {
    every_preset(|preset| {
        let mut world = World::new(preset);
        world.live(VM2, Version::V1_1);
        for vm in [VM1, VM2] {
            for n in 0..5 {
                world.share(vm, if n % 2 == 0 { SP1 } else { SP2 }, &[(PAGES + 4 * n * PAGE, 2)]);
            }
            world.destroy(vm);
        }
        let mediator = Rc::clone(world.hypervisor.mediator());
        let depth = Cell::new(0);
        let overlapped = Rc::new(Cell::new(0));
        let seen = Rc::clone(&overlapped);
        let interloper = move |cpu: &mut Cpu, moment: Moment| {
            if matches!(moment, Moment::Smc(_) | Moment::Answered(_)) && depth.get() < 2 {
                depth.set(depth.get() + 1);
                seen.set(seen.get() + 1);
                mediator.tick(cpu);
                depth.set(depth.get() - 1);
            }
        };
        world.hypervisor.set_interloper(Some(Box::new(interloper)));
        assert!(world.hypervisor.settle(LONG));
        world.hypervisor.set_interloper(None);
        assert!(overlapped.get() > 0);
        world.check_all_gone();
        let spmc = world.hypervisor.spmc();
        for (vm, sp) in [(VM1, SP1), (VM1, SP2), (VM2, SP1), (VM2, SP2)] {
            assert_eq!(spmc.told(vm, sp).len(), 2, "told of each end of its life once");
        }
    });
}

#[test]
fn a_vm_is_there_until_its_buffers_are_released() {
    every_preset(|preset| {
        let mut world = World::new(preset);
        let done = once(
            &mut world,
            |moment| moment == Moment::Release(VM1),
            |cpu, mediator| {
                (0..8).for_each(|_| mediator.tick(cpu));
                assert!(mediator.report(mediator.find(VM1).unwrap()).unwrap().referenced);
            },
        );
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG) && done.get());
        world.check_all_gone();
    });
}

#[test]
fn a_guest_that_calls_before_it_may_leaves_no_page_behind() {
    every_preset(|preset| {
        let refuses = Script::GOOD.on_created(Reaction::always(Turn::refuse(Status::Denied)));
        let mut world = World::boot(machine(preset, vec![SpConfig::new(SP1, refuses)]));
        let done = once(
            &mut world,
            |moment| matches!(moment, Moment::Smc(regs) if is_smc(&regs, Function::MsgSendDirectReq)),
            |cpu, mediator| {
                other_vcpu(cpu, mediator, VM1, Regs::new([0x8400_0063, 0x1_0001]));
                let map = other_vcpu(cpu, mediator, VM1, Regs::new([0xc400_0066, TX, RX, 1]));
                assert_eq!(map, Regs::error(Status::Denied));
            },
        );
        assert!(matches!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Failed(Some(_)))));
        assert!(done.get() && world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

#[test]
fn a_vm_that_ends_while_it_is_created_gives_its_reference_back() {
    every_preset(|preset| {
        let mut world = World::boot(machine(preset, good_sps()));
        // The first moment at which the VM can be found.
        let mediator = Rc::clone(world.hypervisor.mediator());
        let done = once(
            &mut world,
            move |_| mediator.find(VM1).is_some(),
            |cpu, mediator| {
                mediator.destroy_vm(cpu, mediator.find(VM1).unwrap()).unwrap();
                (0..8).for_each(|_| mediator.tick(cpu));
                assert_eq!(mediator.find(VM1), None, "no SP has heard of it");
            },
        );
        assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Failed(None)));
        assert!(done.get() && world.hypervisor.settle(LONG));
        world.check_all_gone();
        // Its memory is free, and the ID is as new.
        world.live(VM1, Version::V1_1);
        assert_eq!(world.hypervisor.frames().orphans, 0);
    });
}

/// A CPU whose timer fires while another one creates a VM may do all of it. That the VM lives is said once all the same.
#[test]
fn a_vm_whose_creation_another_cpu_ends_is_live_once() {
    every_preset(|preset| {
        for at in 0..8 {
            let settings = Settings { interrupts: Some(GuestInterrupts::SGI), ..settings() };
            let mut world = World::boot(Machine { settings, ..machine(preset, good_sps()) });
            let count = Cell::new(0);
            let _ = once(
                &mut world,
                move |_| count.replace(count.get() + 1) == at,
                |cpu, mediator| (0..4).for_each(|_| mediator.tick(cpu)),
            );
            assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
            let events = world.hypervisor.take_events();
            let told = events.iter().filter(|(_, event)| event.kind == EventKind::Live);
            assert_eq!(told.count(), 1, "{} at moment {at}: {events:?}", preset.name());
            world.check();
        }
    });
}

/// VM 1 over a secure world that has lost its share, and a policy by which the VM goes all the same.
fn losing(preset: Preset) -> World {
    let sps = vec![SpConfig::new(SP1, Script::lost(Status::Aborted)), SpConfig::new(SP2, Script::GOOD)];
    let teardown = Policy { disposal: Disposal::HandOver, ..Policy::DEFAULT };
    let settings = Settings { teardown, ..settings() };
    World::with(Machine { settings, ..machine(preset, sps) })
}

#[test]
fn a_vm_whose_pages_are_being_handed_over_is_there_whoever_ticks() {
    for retried in [false, true] {
        every_preset(|preset| {
            let mut world = losing(preset);
            world.share(VM1, SP1, &[(PAGES, 3)]);
            let done = once(
                &mut world,
                |moment| moment == Moment::Quarantine(VM1),
                move |cpu, mediator| {
                    if retried {
                        assert_eq!(mediator.retry(cpu, None), Ok(1));
                    }
                    (0..4).for_each(|_| mediator.tick(cpu));
                    assert!(mediator.report(mediator.find(VM1).unwrap()).unwrap().referenced);
                },
            );
            world.destroy(VM1);
            assert!(world.hypervisor.settle(LONG) && done.get());
            world.check();
            assert_eq!((world.hypervisor.frames().leaked, world.hypervisor.frames().orphans), (3, 0));
            world.hypervisor.restart(SP1);
            assert_eq!(world.hypervisor.retry(None), Ok(1));
            assert!(world.hypervisor.settle(LONG));
            world.check_all_gone();
        });
    }
}

#[test]
fn two_vms_created_with_one_id_at_the_same_time_are_one() {
    let mut world = World::boot(machine(Preset::Strict, good_sps()));
    let refused = Rc::new(Cell::new(false));
    let seen = Rc::clone(&refused);
    let done = once(
        &mut world,
        |moment| matches!(moment, Moment::Smc(regs) if is_smc(&regs, Function::MsgSendDirectReq)),
        move |cpu, mediator| {
            let again =
                mediator.create_vm(cpu, VM1, ffa_test_utils::hypervisor::VecRanges::new(4), vec![], vec![]);
            seen.set(again.is_err());
            // The first one's key, before its creation has ended: its guest cannot call yet.
            let key = mediator.find(VM1).unwrap();
            let mut regs = Regs::new([0x8400_006f, 0x1_8001]);
            let _ = mediator.guest_call(cpu, Caller { vm: key, vcpu: 0 }, &mut regs, &mut Scratch::new());
            assert_ne!(regs.w::<0>(), 0x8400_0070);
        },
    );
    assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
    assert!(done.get() && refused.get());
    world.check();
}
