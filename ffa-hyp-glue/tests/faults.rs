//! Faults on the way to the secure world: what the matrix of required reactions says, and chance.

mod common;

use common::*;
use ffa_abi::{FirmwareStatus, Function, PartitionId, Regs, Status, Version, VmAvailability};
use ffa_hyp_glue::{Creation, EventKind};
use ffa_teardown::Span;
use ffa_test_utils::Rng;
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, RandomFaults, Trust, When};
use ffa_test_utils::hypervisor::{Machine, Violation};
use ffa_test_utils::matrix::{AnswerClass, CallRow, Required, required};
use ffa_test_utils::spmc::{Preset, Script, SpConfig};

fn once(call: CallKind, action: FaultAction) -> FaultPlan {
    FaultPlan::new([Fault { call, when: When::Nth(1), action }])
}

fn always(call: CallKind, action: FaultAction) -> FaultPlan {
    FaultPlan::new([Fault { call, when: When::Every, action }])
}

/// Every status that stands for its class in this row, with the class.
fn statuses() -> impl Iterator<Item = (AnswerClass, FirmwareStatus)> {
    AnswerClass::ALL
        .into_iter()
        .flat_map(|class| class.codes().iter().map(move |&code| (class, FirmwareStatus::from_code(code))))
}

/// Each status in answer to each FFA_MEM_RECLAIM of a dead VM: tried again, given up, never taken for success.
#[test]
fn reclaim_in_teardown_reacts_as_the_matrix_says() {
    let reclaim = CallKind::function(Function::MemReclaim);
    every_preset(|preset| {
        for (class, status) in statuses() {
            let mut world = World::faulty(preset, always(reclaim, FaultAction::Refuse(status)));
            world.share(VM1, SP1, &[(PAGES, 2)]);
            world.destroy(VM1);
            world.hypervisor.advance(LONG);
            let report = world.hypervisor.report(VM1).expect("its pages are held");
            let expected = match required(CallRow::ReclaimTeardown, class) {
                Required::Retry => false,
                Required::RetryCapped | Required::Permanent => true,
                // Status codes that say "later" although no call here should give them.
                other => panic!("{other:?}"),
            };
            let transient = status == FirmwareStatus::Known(Status::NotReady);
            assert_eq!(report.quarantined == 1, expected && !transient, "{}: {status}", preset.name());
            assert_eq!(world.hypervisor.deadline().is_none(), expected && !transient, "{status}");
            assert_eq!(world.hypervisor.frames().orphans, 2);
            world.check();
            *world.hypervisor.plan_mut() = FaultPlan::none();
            let _ = world.hypervisor.retry(Some(VM1));
            assert!(world.hypervisor.settle(LONG));
            world.check_all_gone();
        }
    });
}

/// The same for a guest that calls: it gets the error, and the share stands as before.
#[test]
fn reclaim_by_a_guest_changes_nothing_unless_it_works() {
    let reclaim = CallKind::function(Function::MemReclaim);
    every_preset(|preset| {
        for (_, status) in statuses() {
            let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)];
            let plan = once(reclaim, FaultAction::Refuse(status));
            let mut world = World::with(Machine { plan, ..machine(preset, sps) });
            let handle = world.share(VM1, SP1, &[(PAGES, 2)]);
            let answer = world.reclaim(VM1, handle);
            let told = status_of(&answer).expect("an error");
            // A guest never sees a code that FF-A does not have.
            assert!(matches!(told, FirmwareStatus::Known(_)), "{status}: {answer:x?}");
            if let FirmwareStatus::Known(_) = status {
                assert_eq!(told, status);
            }
            assert_eq!(world.hypervisor.report(VM1).unwrap().shares, 1);
            assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
            world.check();
        }
    });
}

/// Each status in answer to FFA_MEM_SHARE: the guest is told, or if nobody knows the pages are kept.
#[test]
fn a_share_that_is_refused_reacts_as_the_matrix_says() {
    let share = CallKind::function(Function::MemShare);
    every_preset(|preset| {
        for (class, status) in statuses() {
            let mut world = World::faulty(preset, once(share, FaultAction::Refuse(status)));
            let bytes = descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 2)]);
            let answer = world.send(VM1, &bytes);
            assert!(matches!(status_of(&answer), Some(FirmwareStatus::Known(_))), "{answer:x?}");
            let kept = world.hypervisor.report(VM1).unwrap().shares == 1;
            match required(CallRow::SendFirst, class) {
                Required::ToGuest => assert!(!kept, "{status}"),
                Required::Unknown => {
                    // These say in so many words that nothing was done.
                    let clear =
                        [Status::NotSupported, Status::NoData, Status::NotReady].map(FirmwareStatus::Known);
                    assert_eq!(kept, !clear.contains(&status), "{status}");
                }
                other => panic!("{other:?}"),
            }
            if !kept {
                assert!(handle_of(&world.send(VM1, &bytes)).is_some(), "{status}");
            }
            world.destroy(VM1);
            world.hypervisor.advance(LONG);
            world.check();
            assert_eq!(world.hypervisor.frames().orphans, if kept { 2 } else { 0 });
        }
    });
}

/// Each status in answer to VM_DESTROYED, as FFA_ERROR and as the SP's own.
#[test]
fn vm_destroyed_reacts_as_the_matrix_says() {
    let destroyed = CallKind::vm_message(VmAvailability::Destroyed).to(SP1);
    for preset in Preset::ALL {
        for (class, status) in statuses() {
            for action in [FaultAction::Refuse(status), FaultAction::RefuseAsPartition(status)] {
                if action == FaultAction::RefuseAsPartition(FirmwareStatus::from_code(0)) {
                    continue; // That is success.
                }
                let mut world = World::faulty(preset, always(destroyed, action));
                world.share(VM1, SP2, &[(PAGES, 2)]);
                world.destroy(VM1);
                world.hypervisor.advance(LONG);
                let report = world.hypervisor.report(VM1).expect("an SP was not told");
                // Reclaiming goes on, whatever the SP says.
                assert_eq!(report.shares, 0, "{action:?}");
                let given_up = report.open == 0;
                let not_ready = status == FirmwareStatus::Known(Status::NotReady);
                let expected = match required(CallRow::VmDestroyed, class) {
                    Required::Retry => false,
                    Required::RetryCapped | Required::WriteOff => !not_ready,
                    other => panic!("{other:?}"),
                };
                assert_eq!(given_up, expected, "{}: {action:?}", preset.name());
                world.check();
            }
        }
    }
}

/// VM_CREATED in every way: creation fails, and who may have heard is told of the end.
#[test]
fn vm_created_reacts_as_the_matrix_says() {
    let created = CallKind::vm_message(VmAvailability::Created).to(SP2);
    for preset in Preset::ALL {
        for (_, status) in statuses() {
            for action in [
                FaultAction::Refuse(status),
                FaultAction::RefuseAsPartition(status),
                FaultAction::Lose(status),
            ] {
                if action == FaultAction::RefuseAsPartition(FirmwareStatus::from_code(0)) {
                    continue;
                }
                let world =
                    World::boot(Machine { plan: always(created, action), ..machine(preset, good_sps()) });
                let creation = world.hypervisor.create(VM1, &REGIONS);
                assert!(matches!(creation, Ok(Creation::Failed(_))), "{action:?} {creation:?}");
                world.hypervisor.advance(LONG);
                // An SP that has heard and says that it has not may be left with a VM that never was; all others are told.
                world.check();
                assert_eq!(world.hypervisor.deadline(), None);
                let spmc = world.hypervisor.spmc();
                let told = spmc.told(VM1, SP1).last().expect("the first SP was told");
                assert_eq!(told.event, VmAvailability::Destroyed);
            }
        }
    }
}

/// Preempted on the way: resumed, whatever the call.
#[test]
fn f14_every_call_that_is_interrupted_is_resumed() {
    let calls = [
        CallKind::function(Function::MemShare),
        CallKind::function(Function::MemReclaim),
        CallKind::vm_message(VmAvailability::Created),
        CallKind::vm_message(VmAvailability::Destroyed),
    ];
    for preset in Preset::ALL {
        for call in calls {
            for times in 1..=6 {
                for action in [FaultAction::Interrupt(times), FaultAction::Yield(times, Span::from_millis(3))]
                {
                    let mut world = World::faulty(preset, once(call, action));
                    world.share(VM1, SP1, &[(PAGES, 2)]);
                    world.destroy(VM1);
                    assert!(world.hypervisor.settle(LONG), "{}: {call:?} {action:?}", preset.name());
                    world.check_all_gone();
                    assert_eq!(world.hypervisor.plan_mut().fired(0), 1);
                }
            }
        }
    }
}

/// Dirty registers around a right answer are neither believed nor passed on.
#[test]
fn what_an_answer_does_not_define_reaches_no_guest() {
    for preset in Preset::ALL {
        for action in [FaultAction::DirtyUpperHalves, FaultAction::ClobberHighRegisters] {
            let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)];
            let plan = always(CallKind::ANY, action);
            let mut world = World::with(Machine { plan, ..machine(preset, sps) });
            let bytes = descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 1)]);
            let answer = world.send(VM1, &bytes);
            let handle = handle_of(&answer).expect("shared");
            let [low, high] = handle.words();
            assert_eq!(answer, Regs::new([0x8400_0061, 0, low, high]));
            let [w4, w5] = [0x44, 0x55];
            let answer = world.call(VM1, [0x8400_006f, 0x1_8001, 0, 0x33, w4, w5]);
            let nonce = u64::from(preset.config().nonce);
            let echo = Regs::new([0x8400_0070, 0x8001_0001, 0, 0x33 + nonce, w4, w5, 0, nonce]);
            assert_eq!(answer, echo, "{}: {action:?}", preset.name());
            assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
            world.destroy(VM1);
            assert!(world.hypervisor.settle(LONG));
            world.check_all_gone();
        }
    }
}

/// A direct response that is spoiled is an error, and its words reach no guest.
#[test]
fn a_response_that_does_not_fit_its_request_is_an_error() {
    use ffa_test_utils::spmc::Mangling;
    for preset in Preset::ALL {
        for how in Mangling::ALL {
            let request = CallKind::function(Function::MsgSendDirectReq);
            let mut world = World::faulty(preset, once(request, FaultAction::Mangle(how)));
            let answer = world.call(VM1, [0x8400_006f, 0x1_8001, 0, 0x33]);
            // FFA_MSG_WAIT in place of an answer says nothing, and holds nothing back.
            let wait = Regs::new([0x8400_006b]);
            assert!(answer == Regs::error(Status::Aborted) || answer == wait, "{how:?}: {answer:x?}");
            world.check();
        }
    }
}

/// One life of a machine full of chance: VMs come, share, call and die, and in the end everything is settled.
fn chance(preset: Preset, trust: Trust, seed: u64) -> Result<(), String> {
    let partitions = [SP1, SP2, SP3];
    let mut rng = Rng::new(seed);
    let scripts = [Script::GOOD, Script::dma(Span::from_millis(1500)), Script::LAZY];
    let sps = partitions.iter().zip(scripts).map(|(&id, script)| SpConfig::new(id, script)).collect();
    let mut world = World::boot(machine(preset, sps));
    let faults = RandomFaults { trust, count: 6, horizon: 12, partitions: &partitions };
    *world.hypervisor.plan_mut() = faults.plan(seed);
    for _ in 0..3 {
        for vm in [VM1, VM2] {
            let live = world.hypervisor.key(vm).is_some_and(|_| {
                world.hypervisor.report(vm).is_some_and(|report| report.phase == ffa_teardown::Phase::Live)
            });
            if !live {
                match world.hypervisor.create(vm, &REGIONS) {
                    Ok(Creation::Live) => {}
                    _ => continue,
                }
                world.negotiate(vm, Version::V1_1);
                // Without buffers it goes on as well, and shares nothing.
                let _ = world.call(vm, [0xc400_0066, TX, RX, 1]);
            }
            let mut handles = Vec::new();
            for n in 0..1 + rng.below(5) {
                let sp = partitions[rng.below(3) as usize];
                let ranges = [(PAGES + 8 * n * PAGE, 1 + rng.below(3) as u32), (LOOSE + 3 * n * PAGE, 1)];
                let answer = world.send(vm, &descriptor(Version::V1_1, vm, sp, &ranges));
                handles.extend(handle_of(&answer));
                if rng.one_in(3) {
                    let word = PartitionId::pair(vm, sp);
                    let _ = world.call(vm, [0x8400_006f, u64::from(word), 0, 1]);
                    let _ = world.call(vm, [0x8400_006d, u64::from(sp.0) << 16]);
                }
                if let (true, Some(&handle)) = (rng.one_in(3), rng.pick(&handles)) {
                    let _ = world.reclaim(vm, handle);
                }
            }
            if rng.one_in(4) {
                world.hypervisor.advance(Span::from_millis(rng.below(3000)));
            }
        }
        for vm in [VM1, VM2] {
            // A creation that failed is dying already.
            let _ = world.hypervisor.destroy(vm);
        }
        world.hypervisor.advance(Span::from_secs(20));
    }
    let before = world.hypervisor.violations();
    // The faults end, and what was given up is tried again.
    world.hypervisor.plan_mut().clear();
    let _ = world.hypervisor.retry(None);
    let settled = world.hypervisor.settle(LONG);
    let after = world.hypervisor.violations();
    // Whatever a liar was told, pages that an SP can reach by the truth may only be released on its word.
    let excused = |violation: &Violation| {
        trust == Trust::Lying
            && matches!(
                violation,
                Violation::Reachable { .. } | Violation::IdReused { .. } | Violation::NotTold { .. }
            )
    };
    let wrong: Vec<_> = before.iter().chain(&after).filter(|violation| !excused(violation)).collect();
    let events = world.hypervisor.take_events();
    let quarantined =
        events.iter().filter(|(_, event)| matches!(event.kind, EventKind::Quarantined { .. })).count();
    // An SP that was said to have been told of a VM's end, and was not, keeps its pages for ever.
    if wrong.is_empty() && (settled || trust == Trust::Lying) {
        return Ok(());
    }
    Err(format!(
        "{} {trust:?} seed {seed}: settled {settled}, {quarantined} quarantined, {wrong:?}\n{:?}",
        preset.name(),
        faults.plan(seed).faults().collect::<Vec<_>>()
    ))
}

fn seeds(trust: Trust) {
    let count = std::env::var("FFA_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(150);
    for preset in Preset::ALL {
        for seed in 0..count {
            if let Err(error) = chance(preset, trust, seed) {
                panic!("{error}");
            }
        }
    }
}

#[test]
fn honest_faults_of_every_seed_break_no_promise() {
    seeds(Trust::Honest);
}

#[test]
fn a_secure_world_that_lies_breaks_nothing_of_ours() {
    seeds(Trust::Lying);
}
