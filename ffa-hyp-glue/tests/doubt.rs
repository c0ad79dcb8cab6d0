//! Donations while it is in doubt what their handles name: an SPMC that says so is asked, and whatever it says but that
//! it is the donation leaves them where they were.

mod common;

use common::sends::*;
use common::*;
use ffa_abi::{FirmwareStatus, Function, FunctionId, Handle, MemFragTx, MemRetrieveResp, PartitionId, Regs};
use ffa_abi::{Status, Version};
use ffa_hyp_glue::{EventKind, Settings};
use ffa_teardown::{Disposal, Policy};
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Machine, Moment, Region};
use ffa_test_utils::spmc::{Config, Control, Preset};

const INVALID: Status = Status::InvalidParameters;
/// 4 KiB pages of which no two are next to each other.
const SCATTERED: u32 = 300;

/// Secure worlds that take donations, and that say what a handle names.
const ASKED: [Preset; 2] = [Preset::Hafnium, Preset::Strict];

/// VM 1 with more scattered pages than one page of RX can name, and VM 2.
fn world(config: impl Into<Config>) -> World {
    world_that(config, settings().teardown)
}

fn world_that(config: impl Into<Config>, teardown: Policy) -> World {
    let settings = Settings { pages_per_share: SCATTERED, teardown, ..settings() };
    let mut world = World::boot(Machine { settings, ..machine(config, lazy_sps()) });
    for vm in [VM1, VM2] {
        let regions = [Region::block(TX, 64), Region::loose(LOOSE, SCATTERED)];
        assert_eq!(world.hypervisor.create(vm, &regions), Ok(ffa_hyp_glue::Creation::Live));
        world.negotiate(vm, Version::V1_1);
        world.map(vm);
    }
    world
}

/// The guest's next share comes about, but the SPMC says that it has lost count: nobody knows its handle.
fn doubt(world: &mut World, vm: PartitionId, page: u64) {
    let action = FaultAction::Lose(FirmwareStatus::Known(Status::Aborted));
    let fault = Fault { call: CallKind::function(Function::MemShare), when: When::Every, action };
    *world.hypervisor.plan_mut() = FaultPlan::new([fault]);
    let bytes = descriptor(Version::V1_1, vm, SP2, &[(page, 1)]);
    assert_eq!(world.send(vm, &bytes), Regs::error(Status::Aborted));
    assert_eq!(world.hypervisor.plan_mut().fired(0), 1);
    *world.hypervisor.plan_mut() = FaultPlan::none();
}

/// Calls of this function since somebody looked last.
fn calls(world: &mut World, function: Function) -> usize {
    let is = |regs: &Regs| FunctionId::from_w0(regs.w::<0>()).is_ok_and(|id| id.function() == function);
    world.hypervisor.take_smcs().iter().filter(|smc| is(&smc.regs)).count()
}

fn events(world: &mut World, wanted: EventKind) -> usize {
    world.hypervisor.take_events().iter().filter(|(_, event)| event.kind == wanted).count()
}

fn retrieve(world: &mut World, sp: PartitionId, handle: Handle) {
    assert!(world.hypervisor.control(sp, Control::Retrieve(handle)));
}

/// VM 1 dies, and its donation of `pages` is gone: nothing of it comes back, nor is it waited for.
#[track_caller]
fn is_gone_at_the_end(world: &mut World, pages: u32) {
    let _ = world.hypervisor.take_events();
    world.destroy(VM1);
    assert!(world.hypervisor.settle(LONG), "{}", world.preset);
    assert_eq!(events(world, EventKind::Gone { pages }), 1, "{}", world.preset);
    assert_eq!(world.hypervisor.frames().donated, u64::from(pages), "{}", world.preset);
    world.check();
}

#[test]
fn what_the_spmc_says_is_the_guests_comes_back() {
    for preset in ASKED {
        for (ranges, fragments) in [
            (&[(PAGES, 1)][..], 1),
            // Neither in the order of addresses nor, behind stage 2, in one piece.
            (&[(LOOSE, 5), (PAGES + 4 * PAGE, 2), (PAGES, 3)], 1),
            (&[(LOOSE, SCATTERED)], 2),
        ] {
            for dies in [false, true] {
                let mut world = world(preset);
                let donated = DONATE.send(&mut world, ranges);
                doubt(&mut world, VM2, PAGES);
                let _ = calls(&mut world, Function::MemRetrieveReq);
                if dies {
                    world.destroy(VM1);
                    assert!(world.hypervisor.settle(LONG));
                    assert_eq!(world.hypervisor.report(VM1), None, "{}", world.preset);
                } else {
                    assert_eq!(world.reclaim(VM1, donated), Regs::success(0, 0), "{}", world.preset);
                }
                let smcs = world.hypervisor.take_smcs();
                let names = |smc: &ffa_test_utils::hypervisor::Smc| {
                    FunctionId::from_w0(smc.regs.w::<0>()).map(FunctionId::function).ok()
                };
                let made: Vec<_> = smcs.iter().filter_map(names).collect();
                let mut expected = vec![Function::MemRetrieveReq, Function::RxRelease];
                expected.extend([Function::MemFragRx, Function::RxRelease].repeat(fragments - 1));
                expected.push(Function::MemReclaim);
                let asked = made.iter().position(|function| *function == expected[0]).expect("it is asked");
                assert_eq!(made[asked..asked + expected.len()], expected, "{}", world.preset);
                assert_eq!(world.hypervisor.frames().donated, 0);
                assert!(!world.hypervisor.spmc().is_rx_full());
                world.check();
            }
        }
    }
}

#[test]
fn without_a_doubt_nobody_is_asked() {
    for preset in ASKED {
        let mut world = world(preset);
        let donated = DONATE.send(&mut world, &[(PAGES, 1)]);
        assert_eq!(world.reclaim(VM1, donated), Regs::success(0, 0));
        DONATE.send(&mut world, &[(PAGES, 1)]);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(calls(&mut world, Function::MemRetrieveReq), 0);
        world.check();
    }
}

/// Hafnium gives the handle of a donation that was retrieved to the next share. If nobody was told so, the donation still
/// goes by it.
#[test]
fn what_the_spmc_says_is_anothers_is_not_reclaimed() {
    // Another VM's, another transaction of the same VM, and one of as many pages.
    for (other, page, pages) in [(VM2, PAGES, 1), (VM1, LOOSE, 1), (VM1, LOOSE, 3)] {
        let mut world = world(Preset::Hafnium);
        let donated = DONATE.send(&mut world, &[(PAGES, pages)]);
        retrieve(&mut world, SP1, donated);
        doubt(&mut world, other, page);
        let named = world.hypervisor.spmc().live_handles().next().map(|live| (live.handle, live.owner));
        assert_eq!(named, Some((donated, other)), "or there is nothing to see here");
        let _ = calls(&mut world, Function::MemReclaim);
        assert_eq!(world.reclaim(VM1, donated), Regs::error(INVALID));
        assert_eq!(calls(&mut world, Function::MemReclaim), 0);
        is_gone_at_the_end(&mut world, pages);
        assert_eq!(calls(&mut world, Function::MemReclaim), 0);
        assert_eq!(world.hypervisor.spmc().live_handles().count(), 1, "the other one is as it was");
    }
}

#[test]
fn what_the_spmc_does_not_know_any_more_is_gone() {
    for preset in ASKED {
        let mut world = world(preset);
        doubt(&mut world, VM2, PAGES);
        let donated = DONATE.send(&mut world, &[(PAGES, 2)]);
        retrieve(&mut world, SP1, donated);
        let _ = calls(&mut world, Function::MemReclaim);
        assert_eq!(world.reclaim(VM1, donated), Regs::error(INVALID));
        is_gone_at_the_end(&mut world, 2);
        assert_eq!(calls(&mut world, Function::MemReclaim), 0);
    }
}

/// Length in bytes of what a secure world says of VM 1's scattered pages; some of them may be next to each other.
fn whole_len(preset: Preset) -> u32 {
    let mut world = world(preset);
    let donated = DONATE.send(&mut world, &[(LOOSE, SCATTERED)]);
    doubt(&mut world, VM2, PAGES);
    assert_eq!(world.reclaim(VM1, donated), Regs::success(0, 0));
    let smcs = world.hypervisor.take_smcs();
    let answer = smcs.iter().find_map(|smc| MemRetrieveResp::from_answer(&smc.answer));
    answer.expect("it was asked").total_len
}

/// The SPMC's answers to FFA_MEM_RETRIEVE_REQ, and to FFA_MEM_FRAG_RX, that are none.
fn nonsense(handle: Handle, whole: u32) -> Vec<(Function, FaultAction)> {
    let first = |total_len, fragment_len| {
        let action = FaultAction::Replace(MemRetrieveResp { total_len, fragment_len }.to_regs());
        (Function::MemRetrieveReq, action)
    };
    let next = |handle, fragment_len, endpoint| {
        let action = FaultAction::Replace(MemFragTx { handle, fragment_len, endpoint }.to_regs());
        (Function::MemFragRx, action)
    };
    let other = Handle::new(handle.get() ^ 1 << 40).expect("not all ones");
    let rest = whole - 4096;
    let mut all = vec![
        first(whole - 16, 4096),
        first(whole + 16, 4096),
        first(u32::MAX, 4096),
        first(4096, 4096),
        first(whole, 0),
        first(whole, 64),
        first(whole, 4095),
        first(whole, 4112),
        first(whole, u32::MAX),
        first(0, 0),
        next(other, rest, VM1),
        next(handle, rest, VM2),
        next(handle, 0, VM1),
        next(handle, rest - 16, VM1),
        next(handle, rest - 1, VM1),
        next(handle, rest + 16, VM1),
        next(handle, 4112, VM1),
    ];
    for function in [Function::MemRetrieveReq, Function::MemFragRx] {
        let id = FunctionId::smc32;
        all.extend(
            [Function::Success, Function::MsgWait, function]
                .map(|w0| (function, FaultAction::W0(id(w0).w0()))),
        );
        all.push((function, FaultAction::Instead(Regs::success(0, 0))));
        all.push((function, FaultAction::Instead(Regs::new([u64::MAX]))));
        let unknown = [FirmwareStatus::from_code(0), FirmwareStatus::from_code(-100)];
        let passing = [Status::Busy, Status::Retry];
        let known =
            Status::ALL.iter().filter(|status| !passing.contains(status)).map(|&status| status.into());
        all.extend(known.chain(unknown).map(|status| (function, FaultAction::Refuse(status))));
    }
    all
}

#[test]
fn an_answer_that_makes_no_sense_is_none() {
    for preset in ASKED {
        let handle = DONATE.send(&mut world(preset), &[(LOOSE, SCATTERED)]);
        for (function, action) in nonsense(handle, whole_len(preset)) {
            let mut world = world(preset);
            assert_eq!(DONATE.send(&mut world, &[(LOOSE, SCATTERED)]), handle);
            doubt(&mut world, VM2, PAGES);
            let fault = Fault { call: CallKind::function(function), when: When::Every, action };
            *world.hypervisor.plan_mut() = FaultPlan::new([fault]);
            let _ = calls(&mut world, Function::MemReclaim);
            assert_eq!(
                world.reclaim(VM1, handle),
                Regs::error(INVALID),
                "{preset:?}: {function:?} {action:x?}"
            );
            assert!(world.hypervisor.plan_mut().fired(0) > 0, "{preset:?}: {function:?} {action:x?}");
            is_gone_at_the_end(&mut world, SCATTERED);
            assert_eq!(calls(&mut world, Function::MemReclaim), 0, "{preset:?}: {function:?} {action:x?}");
        }
    }
}

#[test]
fn what_cannot_be_asked_now_is_asked_later() {
    for preset in ASKED {
        for function in [Function::MemRetrieveReq, Function::MemFragRx] {
            for status in [Status::Busy, Status::Retry] {
                for dies in [false, true] {
                    let mut world = world(preset);
                    let donated = DONATE.send(&mut world, &[(LOOSE, SCATTERED)]);
                    doubt(&mut world, VM2, PAGES);
                    let action = FaultAction::Refuse(status.into());
                    let fault = Fault { call: CallKind::function(function), when: When::Nth(1), action };
                    *world.hypervisor.plan_mut() = FaultPlan::new([fault]);
                    if !dies {
                        assert_eq!(world.reclaim(VM1, donated), Regs::error(Status::Busy));
                    }
                    world.check();
                    // Hafnium refuses the question while an earlier answer has not been fetched.
                    if preset == Preset::Hafnium && function == Function::MemFragRx {
                        is_gone_at_the_end(&mut world, SCATTERED);
                        continue;
                    }
                    if dies {
                        world.destroy(VM1);
                        assert!(world.hypervisor.settle(LONG));
                        assert_eq!(world.hypervisor.report(VM1), None);
                    } else {
                        assert_eq!(world.reclaim(VM1, donated), Regs::success(0, 0));
                    }
                    assert_eq!(world.hypervisor.plan_mut().fired(0), 1);
                    assert_eq!(world.hypervisor.frames().donated, 0);
                    world.check();
                }
            }
        }
    }
}

/// Pages that were handed over may be behind nobody's stage 2 any more, and there is nothing to compare an answer with.
#[test]
fn what_was_handed_over_is_not_asked_about() {
    for preset in ASKED {
        let teardown = Policy { disposal: Disposal::HandOver, ..Policy::DEFAULT };
        let mut world = world_that(preset, teardown);
        DONATE.send(&mut world, &[(PAGES, 2)]);
        let fault = Fault {
            call: CallKind::function(Function::MemReclaim),
            when: When::Every,
            action: FaultAction::Refuse(Status::Aborted.into()),
        };
        *world.hypervisor.plan_mut() = FaultPlan::new([fault]);
        world.destroy(VM1);
        world.hypervisor.advance(LONG);
        assert_eq!(world.hypervisor.orphans(None), 2, "{preset:?}");
        doubt(&mut world, VM2, PAGES);
        let _ = (calls(&mut world, Function::MemReclaim), world.hypervisor.take_events());
        assert_eq!(world.hypervisor.retry(None), Ok(1));
        assert!(world.hypervisor.settle(LONG));
        for function in [Function::MemRetrieveReq, Function::MemReclaim] {
            assert_eq!(calls(&mut world, function), 0, "{preset:?}: {function:?}");
        }
        assert_eq!(events(&mut world, EventKind::Gone { pages: 2 }), 1, "{preset:?}");
        assert_eq!(world.hypervisor.frames().donated, 2, "{preset:?}");
        world.check();
    }
}

/// RX is one, and so are the questions that are answered through it.
#[test]
fn it_is_not_asked_while_another_cpu_reads_rx() {
    let mut world = world(Preset::Strict);
    let donated = DONATE.send(&mut world, &[(PAGES, 1)]);
    doubt(&mut world, VM2, PAGES);
    let [low, high] = donated.words();
    let key = world.hypervisor.key(VM1).expect("it lives");
    let mediator = world.hypervisor.mediator().clone();
    let second = mediator.clone();
    world.hypervisor.set_interloper(Some(Box::new(move |cpu, moment| {
        if matches!(moment, Moment::Smc(regs) if regs.w::<0>() == 0x8400_0065) {
            let caller = ffa_hyp_glue::Caller { vm: key, vcpu: 1 };
            let mut regs = Regs::new([MEM_RECLAIM, low, high]);
            let _ = second.guest_call(cpu, caller, &mut regs, &mut ffa_hyp_glue::Scratch::new());
            assert_eq!(regs, Regs::error(Status::Busy));
        }
    })));
    // Reads the list through RX, and the question is asked before RX is released.
    let mut scratch = ffa_hyp_glue::Scratch::new();
    let mut cpu = world.hypervisor.cpu(0);
    let _ = mediator.refresh_partitions(&mut cpu, &mut scratch);
    world.hypervisor.set_interloper(None);
    assert_eq!(world.reclaim(VM1, donated), Regs::success(0, 0));
    world.check();
}

/// A secure world that does not say what a handle names is not asked, as before.
#[test]
fn where_nobody_can_be_asked_donations_are_gone() {
    for preset in ASKED {
        let config = preset.config();
        let retrieve = FunctionId::smc32(Function::MemRetrieveReq).w0();
        let features = config.features.iter().copied().filter(|row| row.subject != retrieve);
        let features = Vec::leak(features.collect());
        let mut world = world(Config { features, retrieve: None, ..config });
        let donated = DONATE.send(&mut world, &[(PAGES, 1)]);
        doubt(&mut world, VM2, PAGES);
        let _ = calls(&mut world, Function::MemRetrieveReq);
        let [low, high] = donated.words();
        world.refused("a handle in doubt", VM1, [MEM_RECLAIM, low, high], INVALID);
        is_gone_at_the_end(&mut world, 1);
        assert_eq!(calls(&mut world, Function::MemRetrieveReq), 0);
    }
}
