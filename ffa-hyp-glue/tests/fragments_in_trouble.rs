//! Transactions in fragments when something goes wrong: in the secure world, at the guest's end, on another vCPU.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::*;
use ffa_abi::{Answer, FirmwareStatus, Function, FunctionId, Handle, Regs, Status, Version};
use ffa_hyp_glue::{Caller, EventKind, Scratch, Settings};
use ffa_teardown::Span;
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Cpu, Machine, Moment};
use ffa_test_utils::spmc::{Config, Limits, Preset, Script, SpConfig};

const MEM_FRAG_TX: u64 = 0x8400_007b;
/// Pages of the share that all tests send, of which no two touch.
const COUNT: u64 = 24;

fn share() -> Vec<u8> {
    let ranges: Vec<_> = (0..COUNT).map(|n| (PAGES + 2 * n * PAGE, 1)).collect();
    descriptor(Version::V1_1, VM1, SP1, &ranges)
}

fn lazy_sps() -> Vec<SpConfig> {
    vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)]
}

/// What the guest has of a transaction that goes on.
fn asked(regs: &Regs) -> Option<(Handle, usize)> {
    match Answer::from_regs(regs) {
        Answer::MemFragRx(rx) => Some((rx.handle, rx.offset as usize)),
        _ => None,
    }
}

/// The registers of FFA_MEM_FRAG_TX.
fn frag(handle: Handle, len: usize) -> Regs {
    let [low, high] = handle.words();
    Regs::new([MEM_FRAG_TX, low, high, len as u64])
}

impl World {
    /// The head and one range, then a third of the rest at a time, until the last answer or `most` calls.
    fn send_parts(&mut self, most: usize) -> Regs {
        let bytes = share();
        let (total, first) = (bytes.len(), bytes.len() - 16 * (COUNT as usize - 1));
        let step = (total - first) / 48 * 16 + 16;
        self.write_tx(VM1, &bytes[..first]);
        let mut answer = self.call(VM1, [MEM_SHARE, total as u64, first as u64]);
        for _ in 1..most {
            let Some((handle, from)) = asked(&answer) else { break };
            let to = total.min(from + step);
            self.write_tx(VM1, &bytes[from..to]);
            answer = self.call_on(VM1, 0, frag(handle, to - from));
        }
        answer
    }

    /// Another guest shares, and dies, as if nothing had happened.
    #[track_caller]
    fn others_are_well(&mut self) {
        self.live(VM2, Version::V1_1);
        let answer = self.send(VM2, &descriptor(Version::V1_1, VM2, SP1, &[(PAGES, 3)]));
        let handle = handle_of(&answer).unwrap_or_else(|| panic!("{}: {answer:x?}", self.preset));
        assert_eq!(self.reclaim(VM2, handle), Regs::success(0, 0), "{}", self.preset);
        self.destroy(VM2);
        self.hypervisor.advance(LONG);
        assert_eq!(self.hypervisor.report(VM2), None, "{}", self.preset);
    }
}

/// Calls of the guest that the whole takes.
fn calls() -> usize {
    let is_whole = |most: &usize| {
        let mut world = World::with(machine(Preset::Strict, lazy_sps()));
        handle_of(&world.send_parts(*most)).is_some()
    };
    (1..10).find(is_whole).expect("it ends")
}

#[test]
fn f10_a_guest_dies_between_any_two_fragments() {
    let calls = calls();
    assert!(calls >= 4);
    every_preset(|preset| {
        for most in 1..=calls {
            let mut world = World::with(machine(preset, lazy_sps()));
            world.share(VM1, SP1, &[(PAGES + 61 * PAGE, 1)]);
            let answer = world.send_parts(most);
            assert_eq!(asked(&answer).is_some(), most < calls, "{preset:?} {most}: {answer:x?}");
            let half_sent = world.hypervisor.spmc().live_handles().filter(|live| !live.complete).count();
            assert_eq!(half_sent, usize::from(most < calls));
            // Of a half-sent transaction nothing is held, and nothing stands in another's way.
            let held = if most < calls { 1 } else { 1 + COUNT };
            assert_eq!(world.hypervisor.spmc().reaches().count() as u64, held);
            world.others_are_well();
            world.destroy(VM1);
            assert!(world.hypervisor.settle(LONG), "{preset:?} {most}");
            world.check_all_gone();
        }
    });
}

/// The VM is destroyed by another CPU at every moment of every call.
#[test]
fn a_vm_is_destroyed_at_any_moment_of_a_fragment() {
    let calls = calls();
    for preset in Preset::ALL {
        let mut moments = 0;
        for most in 1..=calls {
            for nth in 0..1000 {
                let mut world = World::with(machine(preset, lazy_sps()));
                if most > 1 {
                    let _ = world.send_parts(most - 1);
                }
                let (seen, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
                let (count, fired) = (Rc::clone(&seen), Rc::clone(&done));
                let mediator = Rc::downgrade(world.hypervisor.mediator());
                let interloper = move |cpu: &mut Cpu, _: Moment| {
                    if count.replace(count.get() + 1) == nth {
                        fired.set(true);
                        let mediator = mediator.upgrade().expect("it is there");
                        let key = mediator.find(VM1).expect("it is there");
                        mediator.destroy_vm(cpu, key).expect("it lives");
                    }
                };
                let bytes = share();
                let half = world.hypervisor.spmc().live_handles().find(|live| !live.complete);
                world.hypervisor.set_interloper(Some(Box::new(interloper)));
                let answer = match half {
                    None => world.send_parts(1),
                    Some(live) => {
                        // What is left, in one go.
                        let first = bytes.len() - 16 * (COUNT as usize - 1);
                        let step = (bytes.len() - first) / 48 * 16 + 16;
                        let from = first + step * (most - 2);
                        world.write_tx(VM1, &bytes[from..]);
                        world.call_on(VM1, 0, frag(live.handle, bytes.len() - from))
                    }
                };
                world.hypervisor.set_interloper(None);
                if !done.get() {
                    break;
                }
                moments += 1;
                assert!(status_of(&answer).is_none(), "the call goes to its end: {answer:x?}");
                world.hypervisor.bury(VM1);
                assert!(world.hypervisor.settle(LONG), "{preset:?} {most} {nth}");
                world.check_all_gone();
            }
        }
        assert!(moments > 30, "{moments}");
    }
}

/// F-11: while a call works on a draft no other does.
#[test]
fn f11_a_fragment_from_another_vcpu_at_any_moment_is_refused() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, lazy_sps()));
        let _ = world.send_parts(1);
        let handle = world.hypervisor.spmc().live_handles().next().expect("half-sent").handle;
        let refused = Rc::new(Cell::new(0));
        let count = Rc::clone(&refused);
        let mediator = Rc::downgrade(world.hypervisor.mediator());
        let interloper = move |cpu: &mut Cpu, moment: Moment| {
            let Moment::Event(_) = moment else {
                let mediator = mediator.upgrade().expect("it is there");
                let caller = Caller { vm: mediator.find(VM1).expect("it is there"), vcpu: 1 };
                for mut regs in
                    [frag(handle, 16), Regs::new([MEM_RECLAIM, handle.words()[0], handle.words()[1]])]
                {
                    let _ = mediator.guest_call(cpu, caller, &mut regs, &mut Scratch::new());
                    assert_eq!(regs, Regs::error(Status::InvalidParameters));
                    count.set(count.get() + 1);
                }
                return;
            };
        };
        let bytes = share();
        let from = bytes.len() - 16 * (COUNT as usize - 1);
        world.write_tx(VM1, &bytes[from..]);
        world.hypervisor.set_interloper(Some(Box::new(interloper)));
        let answer = world.call_on(VM1, 0, frag(handle, bytes.len() - from));
        world.hypervisor.set_interloper(None);
        assert_eq!(handle_of(&answer), Some(handle), "{preset:?} {answer:x?}");
        assert!(refused.get() > 2 * COUNT as usize);
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

/// A call of the mediator's for a transaction in fragments: the first one, or the other one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Head,
    Last,
}

impl Place {
    fn call(self) -> CallKind {
        CallKind::function(if self == Self::Head { Function::MemShare } else { Function::MemFragTx })
    }
}

fn faulty(preset: Preset, place: Place, action: FaultAction) -> World {
    let plan = FaultPlan::new([Fault { call: place.call(), when: When::Nth(1), action }]);
    World::with(Machine { plan, ..machine(preset, lazy_sps()) })
}

/// F1, F6, F7: each status in answer to each fragment. Clear refusals free the pages, and after an error that says
/// nothing they are kept. The handle is not used again.
#[test]
fn each_status_in_answer_to_each_fragment() {
    use Status::{Aborted, Busy, Interrupted, NotReady, Retry};
    let statuses = (-12..=1).map(FirmwareStatus::from_code);
    for preset in Preset::ALL {
        for status in statuses.clone() {
            for place in [Place::Head, Place::Last] {
                let mut world = faulty(preset, place, FaultAction::Refuse(status));
                let answer = world.send_parts(99);
                assert!(matches!(status_of(&answer), Some(FirmwareStatus::Known(_))), "{answer:x?}");
                assert_eq!(world.hypervisor.plan_mut().fired(0), 1);
                let known = |those: &[Status]| those.iter().any(|&one| status == one.into());
                let unclear = matches!(status, FirmwareStatus::Other(_)) || known(&[Aborted]);
                let kept = unclear && place == Place::Last;
                let report = world.hypervisor.report(VM1).expect("it lives");
                let pages = if kept { COUNT } else { 0 };
                assert_eq!(
                    (report.shares, report.pages),
                    (u32::from(kept), pages),
                    "{preset:?} {place:?} {status}"
                );
                // What only passes leaves the transaction where it was, so it is cancelled.
                let transient = known(&[Busy, Interrupted, Retry, NotReady]);
                if transient && place == Place::Last {
                    assert_eq!(world.hypervisor.spmc().live_handles().count(), 0);
                }
                world.check();
                world.destroy(VM1);
                world.hypervisor.advance(LONG);
                world.check();
                assert_eq!(world.hypervisor.frames().orphans, pages, "{preset:?} {place:?} {status}");
                assert_eq!(world.hypervisor.deadline(), None);
                // Otherwise the handle is dead, and no call names it again.
                let naming = world.hypervisor.take_smcs().into_iter().filter(|smc| {
                    FunctionId::from_w0(smc.regs.w::<0>())
                        .is_ok_and(|id| matches!(id.function(), Function::MemFragTx | Function::MemReclaim))
                });
                let expected = if place == Place::Head { 0 } else { 1 + usize::from(transient) };
                assert_eq!(naming.count(), expected, "{preset:?} {place:?} {status}");
                if !kept {
                    assert_eq!(world.hypervisor.report(VM1), None);
                }
                world.others_are_well();
                world.check();
            }
        }
    }
}

/// F2 to F5, F-13: answers that do not fit. Nothing is released before the secure world has let go.
#[test]
fn answers_that_do_not_fit_a_fragment() {
    let actions = [
        FaultAction::ShiftOffset(16),
        FaultAction::ShiftOffset(-16),
        FaultAction::ShiftOffset(1),
        FaultAction::ShiftOffset(i32::MIN),
        FaultAction::DuplicateHandle,
        FaultAction::GiveHandle(0x77),
        FaultAction::GiveHandle(u64::MAX),
        FaultAction::W0(0x8400_0061),
        FaultAction::W0(0xc400_0061),
        FaultAction::W0(0x8400_006b),
        FaultAction::W0(0xffff_ffff),
        FaultAction::W0(0),
        FaultAction::OtherWidth,
        FaultAction::CodeInW1(Status::NoMemory),
        FaultAction::Lose(FirmwareStatus::from_code(0)),
        FaultAction::Lose(FirmwareStatus::Known(Status::Aborted)),
    ];
    let mut fired = 0;
    for preset in Preset::ALL {
        for action in actions {
            for place in [Place::Head, Place::Last] {
                let mut world = World::with(machine(preset, lazy_sps()));
                world.share(VM1, SP2, &[(PAGES + 61 * PAGE, 1)]);
                *world.hypervisor.plan_mut() =
                    FaultPlan::new([Fault { call: place.call(), when: When::Nth(1), action }]);
                let answer = world.send_parts(99);
                let happened = world.hypervisor.plan_mut().fired(0);
                fired += happened;
                // What is no other answer than it was goes well.
                assert!(happened > 0 || handle_of(&answer).is_some(), "{preset:?} {action:?}: {answer:x?}");
                world.check();
                world.destroy(VM1);
                world.hypervisor.advance(LONG);
                world.check();
                assert_eq!(world.hypervisor.deadline(), None, "{preset:?} {place:?} {action:?}");
                world.others_are_well();
                *world.hypervisor.plan_mut() = FaultPlan::none();
                let _ = world.hypervisor.retry(None);
                assert!(world.hypervisor.settle(LONG));
                world.check();
            }
        }
    }
    assert!(fired > 60, "{fired}");
}

/// F5: the secure world has the whole transaction, and wants more all the same. It refuses what is to cancel it, since there is
/// nothing half-sent, and that lets go of nothing.
#[test]
fn f5_who_wants_more_when_nothing_is_missing_may_have_it_all() {
    const FRAG_RX: FaultAction = FaultAction::W0(0x8400_007a);
    let mut orphans = 0;
    every_preset(|preset| {
        let mut world = faulty(preset, Place::Last, FRAG_RX);
        let answer = world.send_parts(99);
        assert_eq!(answer, Regs::error(Status::Aborted), "{preset:?}");
        world.destroy(VM1);
        world.hypervisor.advance(LONG);
        world.check();
    });
    for &preset in sends::LEND.served_by {
        let call = CallKind::function(Function::MemLend);
        let plan = FaultPlan::new([Fault { call, when: When::Nth(1), action: FRAG_RX }]);
        let mut world = World::with(Machine { plan, ..machine(preset, lazy_sps()) });
        let answer = sends::LEND.make(&mut world, VM1, &sends::LEND.bytes(&[(PAGES, 2)]));
        assert_eq!(answer, Regs::error(Status::Aborted), "{preset:?}");
        assert!(world.hypervisor.load(VM1, PAGES, &mut [0]).is_err(), "{preset:?}");
        world.destroy(VM1);
        world.hypervisor.advance(LONG);
        world.check();
        orphans += world.hypervisor.frames().orphans;
    }
    // One that counts handles from zero names the right one by chance, and then it is reclaimed.
    assert!(orphans >= 2 * (sends::LEND.served_by.len() as u64 - 1), "{orphans}");
}

/// The mediator is preempted over any fragment and goes on with FFA_RUN.
#[test]
fn a_fragment_that_is_interrupted_is_resumed() {
    every_preset(|preset| {
        for times in 1..=6 {
            for place in [Place::Head, Place::Last] {
                for action in [FaultAction::Interrupt(times), FaultAction::Yield(times, Span::from_millis(3))]
                {
                    let mut world = faulty(preset, place, action);
                    let answer = world.send_parts(99);
                    assert!(handle_of(&answer).is_some(), "{preset:?} {place:?} {action:?} {answer:x?}");
                    world.destroy(VM1);
                    assert!(world.hypervisor.settle(LONG));
                    world.check_all_gone();
                }
            }
        }
    });
}

/// A bad fragment of the guest, and a secure world that will not have the transaction cancelled now: it is later.
#[test]
fn a_cancellation_that_fails_is_made_up_for_when_the_vm_dies() {
    let actions = [
        (FaultAction::Refuse(Status::Busy.into()), true),
        (FaultAction::Refuse(Status::Retry.into()), true),
        (FaultAction::Interrupt(2), false),
        (FaultAction::W0(0x8400_006b), false),
        (FaultAction::GiveHandle(0x55), false),
    ];
    for preset in Preset::ALL {
        for (action, stays) in actions {
            let mut world = faulty(preset, Place::Last, action);
            let answer = world.send_parts(1);
            let (handle, _) = asked(&answer).expect("begun");
            let refused = world.call_on(VM1, 0, frag(handle, 17));
            assert_eq!(refused, Regs::error(Status::InvalidParameters), "{preset:?} {action:?}");
            let half = |world: &World| world.hypervisor.spmc().live_handles().count();
            if stays {
                assert_eq!(half(&world), 1);
            }
            world.refused(
                "it is over for the guest",
                VM1,
                [MEM_FRAG_TX, handle.words()[0], handle.words()[1], 16],
                Status::InvalidParameters,
            );
            world.others_are_well();
            world.destroy(VM1);
            assert!(world.hypervisor.settle(LONG), "{preset:?} {action:?}");
            world.check_all_gone();
        }
    }
}

/// The same, and the guest goes on: with its next send in fragments, or with one for which it has no room.
#[test]
fn a_cancellation_that_fails_is_made_up_for_when_the_guest_sends_again() {
    let settings = Settings { shares_per_vm: 1, ..Settings::DEFAULT };
    for preset in Preset::ALL {
        for status in [Status::Busy, Status::Retry] {
            for in_parts in [true, false] {
                let action = FaultAction::Refuse(status.into());
                let plan = FaultPlan::new([Fault { call: Place::Last.call(), when: When::First(2), action }]);
                let mut world = World::with(Machine { plan, settings, ..machine(preset, lazy_sps()) });
                let half = |world: &World| world.hypervisor.spmc().live_handles().count();
                let send = |world: &mut World| match in_parts {
                    true => world.send_parts(1),
                    false => world.send(VM1, &descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 1)])),
                };
                // At its end, with its pages held, or before it.
                let answer = world.send_parts(1);
                let (handle, _) = asked(&answer).expect("begun");
                assert_eq!(world.call_on(VM1, 0, frag(handle, 17)), Regs::error(Status::InvalidParameters));
                assert_eq!(send(&mut world), Regs::error(Status::NoMemory), "{preset:?} {status:?}");
                assert_eq!((half(&world), world.hypervisor.plan_mut().fired(0)), (1, 2));
                let answer = send(&mut world);
                assert!(if in_parts { asked(&answer).is_some() } else { handle_of(&answer).is_some() });
                assert_eq!(half(&world), 1);
                world.destroy(VM1);
                assert!(world.hypervisor.settle(LONG), "{preset:?} {status:?}");
                world.check_all_gone();
            }
        }
    }
}

/// Nor are the pages lost that were held for it.
#[test]
fn pages_of_a_cancellation_that_failed_are_back_when_the_guest_sends_again() {
    for preset in Preset::ALL {
        let action = FaultAction::Refuse(Status::Busy.into());
        let plan = FaultPlan::new([Fault { call: Place::Last.call(), when: When::First(2), action }]);
        let mut world = World::with(Machine { plan, ..machine(preset, lazy_sps()) });
        assert_eq!(status_of(&world.send_parts(99)), Some(Status::Aborted.into()));
        let counts = |world: &World| {
            let report = world.hypervisor.report(VM1).expect("it lives");
            (report.shares, report.pages)
        };
        assert_eq!(counts(&world), (1, COUNT), "{preset:?}");
        assert!(handle_of(&world.send_parts(99)).is_some(), "{preset:?}");
        assert_eq!(counts(&world), (1, COUNT));
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG), "{preset:?}");
        world.check_all_gone();
    }
}

/// The secure world gives the handle of a half-sent transaction to another guest. That one is over for its guest, which has
/// as many shares left as before.
#[test]
fn a_half_sent_transaction_whose_handle_is_anothers_costs_its_guest_nothing() {
    let settings = Settings { shares_per_vm: 1, ..Settings::DEFAULT };
    for preset in Preset::ALL {
        for unmaps in [false, true] {
            let mut world = World::with(Machine { settings, ..machine(preset, lazy_sps()) });
            world.live(VM2, Version::V1_1);
            let answer = world.send_parts(1);
            let (handle, _) = asked(&answer).expect("begun");
            let action = FaultAction::GiveHandle(handle.get());
            let fault = Fault { call: Place::Head.call(), when: When::Nth(1), action };
            *world.hypervisor.plan_mut() = FaultPlan::new([fault]);
            let answer = world.send(VM2, &descriptor(Version::V1_1, VM2, SP1, &[(PAGES, 3)]));
            assert_eq!(handle_of(&answer), Some(handle), "{preset:?}");
            if unmaps {
                assert_eq!(world.call(VM1, [0x8400_0067]), Regs::success(0, 0));
                world.map(VM1);
            }
            let answer = world.call_on(VM1, 0, frag(handle, 16));
            assert_eq!(answer, Regs::error(Status::InvalidParameters), "{preset:?}");
            assert_eq!(world.hypervisor.report(VM1).map(|report| report.shares), Some(0), "{preset:?}");
            let last = PAGES + 61 * PAGE;
            world.share(VM1, SP2, &[(last, 1)]);
            world.check();
        }
    }
}

/// A secure world without room for the descriptor says so to its head.
#[test]
fn an_spmc_without_room_for_the_descriptor_refuses_its_head() {
    let config = Preset::TfaEl3.config();
    let limits = Limits { store_bytes: 256, ..config.limits };
    let mut world = World::with(machine(Config { limits, ..config }, lazy_sps()));
    assert_eq!(world.send_parts(99), Regs::error(Status::NoMemory));
    assert_eq!(world.hypervisor.spmc().live_handles().count(), 0);
    let report = world.hypervisor.report(VM1).expect("it lives");
    assert_eq!((report.shares, report.pages), (0, 0));
    world.check();
}

/// A mediator without room says so before the secure world hears of it.
#[test]
fn a_mediator_without_room_begins_nothing() {
    every_preset(|preset| {
        let full = [
            Machine { ranges: COUNT as usize, ..machine(preset, lazy_sps()) },
            Machine { duties: 12, ..machine(preset, lazy_sps()) },
        ];
        for machine in full {
            let (duties, mut world) = (machine.duties, World::with(machine));
            // Shares of one page, from behind, until there is no place for another obligation.
            let mut page = PAGES + 61 * PAGE;
            let one = |page| descriptor(Version::V1_1, VM1, SP1, &[(page, 1)]);
            while duties == 12 && handle_of(&world.send(VM1, &one(page))).is_some() {
                page -= PAGE;
            }
            let smcs = world.hypervisor.smcs();
            assert_eq!(world.send_parts(1), Regs::error(Status::NoMemory), "{preset:?}");
            assert_eq!(world.hypervisor.smcs(), smcs, "{preset:?}");
            world.destroy(VM1);
            assert!(world.hypervisor.settle(LONG));
            world.check_all_gone();
        }
    });
}

/// Everything that happens to a transaction in fragments is told as of any other.
#[test]
fn events_tell_of_a_share_once() {
    let mut world = World::with(machine(Preset::Strict, lazy_sps()));
    assert!(handle_of(&world.send_parts(99)).is_some());
    let shared = world.hypervisor.take_events().into_iter().filter_map(|(_, event)| match event.kind {
        EventKind::Shared { pages } => Some(u64::from(pages)),
        _ => None,
    });
    assert_eq!(shared.collect::<Vec<_>>(), [COUNT]);
}
