//! Memory that is lent or donated: its owner has no access to it while somebody else has, and afterwards only what the
//! secure world says it has.

mod common;

use common::sends::*;
use common::*;
use ffa_abi::{Answer, FirmwareStatus, Function, Handle, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::{Event, EventKind, Settings};
use ffa_mem::{MemoryAttributes, Permissions, Receiver, SendDescriptor, SendFlags, SendHeader, SendRules};
use ffa_teardown::{Disposal, Policy};
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Machine, Moment};
use ffa_test_utils::spmc::{Control, Preset, Script, SpConfig};

const MEM_FRAG_TX: u64 = 0x8400_007b;
const INVALID: Status = Status::InvalidParameters;
const DENIED: Status = Status::Denied;
const WORD: [u8; 8] = *b"a guest'";

fn has_access(world: &mut World, page: u64) -> bool {
    let (loads, stores) =
        (world.hypervisor.load(VM1, page, &mut [0; 8]), world.hypervisor.store(VM1, page, &WORD));
    assert_eq!(loads.is_ok(), stores.is_ok(), "one without the other");
    loads.is_ok()
}

fn read(world: &World, page: u64) -> Vec<u8> {
    let mut bytes = vec![0; PAGE as usize];
    world.hypervisor.load(VM1, page, &mut bytes).expect("it is the guest's");
    bytes
}

fn events(world: &mut World, wanted: impl Fn(&Event) -> bool) -> usize {
    world.hypervisor.take_events().iter().filter(|(_, event)| wanted(event)).count()
}

/// Has a partition do something.
fn ask(world: &mut World, sp: PartitionId, control: Control) {
    let mut regs = [0; 8];
    (regs[0], regs[1]) = (0x8400_006f, u64::from(PartitionId::pair(VM1, sp)));
    regs[3..].copy_from_slice(&control.payload());
    let answer = world.call(VM1, regs);
    assert_eq!((answer[0], answer[4]), (0x8400_0070, 1), "{control:?}");
}

#[test]
fn a_guest_is_served_what_the_secure_world_has() {
    every_preset(|preset| {
        for send in [LEND, DONATE] {
            for w0 in [send.w0, send.w0 | 1 << 30] {
                let mut world = lazy(preset);
                let offered = status_of(&world.call(VM1, [0x8400_0064, w0])).is_none();
                let bytes = send.bytes(&[(PAGES, 1)]);
                let answer = Send { w0, ..send }.make(&mut world, VM1, &bytes);
                let served = send.served_by.contains(&preset);
                assert_eq!(offered, served, "{}: {w0:x}", preset.name());
                assert_eq!(handle_of(&answer).is_some(), served, "{}: {answer:x?}", preset.name());
                if !served {
                    assert_eq!(answer, Regs::error(Status::NotSupported));
                    assert!(has_access(&mut world, PAGES));
                }
                world.check();
            }
        }
    });
}

#[test]
fn e2e3_the_owner_has_no_access_until_it_reclaims() {
    each(&[LEND, DONATE], |world, send| {
        world.hypervisor.write(VM1, PAGES, &WORD);
        let handle = send.send(world, &[(PAGES, 2), (LOOSE, 3)]);
        let lent = [PAGES, PAGES + PAGE, LOOSE, LOOSE + 2 * PAGE];
        assert!(lent.iter().all(|&page| !has_access(world, page)), "{}", world.preset);
        assert!(has_access(world, PAGES + 2 * PAGE) && has_access(world, LOOSE + 3 * PAGE));
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        assert_eq!(read(world, PAGES)[..8], WORD);
        assert!(lent.iter().all(|&page| has_access(world, page)));
        world.refused("R07", VM1, [MEM_RECLAIM, handle.words()[0], handle.words()[1]], INVALID);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

#[test]
fn r06_what_is_in_use_stays_lent() {
    each(&[LEND], |world, send| {
        let handle = send.send(world, &[(PAGES, 1)]);
        ask(world, SP1, Control::Retrieve(handle));
        assert_eq!(world.reclaim(VM1, handle), Regs::error(DENIED));
        assert!(!has_access(world, PAGES));
        ask(world, SP1, Control::Relinquish(handle));
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        assert!(has_access(world, PAGES));
        world.check();
    });
}

/// What the secure world finds is what the guest wrote, but for addresses and flags.
#[test]
fn m5_m6_attributes_permissions_tag_and_values_are_passed_on() {
    for &preset in LEND.served_by {
        let mut world = World::boot(machine(preset, good_sps()));
        world.live(VM1, Version::V1_2);
        let impdef = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
        let receiver = |id, permissions| Receiver { id, permissions, impdef };
        let one = vec![receiver(SP1, Permissions::READ_ONLY)];
        let two = vec![receiver(SP1, Permissions::READ_ONLY), receiver(SP2, Permissions::READ_WRITE)];
        let typed = MemoryAttributes::NORMAL_WRITE_BACK_INNER;
        for (attributes, receivers) in [(MemoryAttributes::UNSPECIFIED, one), (typed, two)] {
            let header = SendHeader {
                version: Version::V1_2,
                sender: VM1,
                attributes,
                flags: SendFlags::ZERO,
                tag: 0x1122_3344_5566_7788,
            };
            let bytes = describe(&header, receivers.clone(), &[(PAGES, 1)]);
            let answer = LEND.make(&mut world, VM1, &bytes);
            let sent = world.hypervisor.read_physical(world.hypervisor.spmc_buffers().0, 4096);
            let version = world.hypervisor.mediator().spmc().version();
            let forwarded =
                if version < Version::V1_2 { 48 + 16 * receivers.len() } else { 48 + 32 * receivers.len() }
                    + 32;
            let rules = SendRules { version, transaction: ffa_abi::Transaction::Lend, sender: VM1 };
            let sent = SendDescriptor::parse(&sent[..forwarded], &rules).expect("ours");
            assert_eq!((sent.attributes(), sent.tag()), (attributes, header.tag), "{}", preset.name());
            // The mediator zeroes by itself: TF-A refuses the flag, and OP-TEE ignores it.
            assert_eq!(sent.flags(), SendFlags::NONE);
            let kept = version >= Version::V1_2;
            let expected = receivers
                .iter()
                .map(|receiver| Receiver { impdef: if kept { impdef } else { [0; 2] }, ..*receiver });
            assert!(sent.receivers().eq(expected), "{}", preset.name());
            let handle = handle_of(&answer).unwrap_or_else(|| panic!("{}: {answer:x?}", preset.name()));
            // Good partitions have it mapped at once.
            for receiver in &receivers {
                ask(&mut world, receiver.id, Control::Relinquish(handle));
            }
            assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
            world.check();
        }
    }
}

#[test]
fn e33_a_page_that_may_be_read_only_is_lent_for_reading() {
    let reading = Send { permissions: Permissions::READ_ONLY, ..LEND };
    each(&[reading], |world, send| {
        let handle = send.send(world, &[(READ_ONLY, 1)]);
        assert!(world.hypervisor.load(VM1, READ_ONLY, &mut [0; 8]).is_err());
        // Nobody zeroes what its owner may not write.
        let [low, high] = handle.words();
        world.refused("R04", VM1, [MEM_RECLAIM, low, high, 1], DENIED);
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        assert!(world.hypervisor.load(VM1, READ_ONLY, &mut [0; 8]).is_ok());
        let zeroing = send.describe(&[SP1], &[(READ_ONLY, 1)], SendFlags::ZERO);
        assert_eq!(send.make(world, VM1, &zeroing), Regs::error(DENIED));
        world.check();
    });
}

/// As long as something of the descriptor is missing, the pages are the guest's.
#[test]
fn f_in_fragments_access_is_lost_with_the_last_range() {
    each(&[LEND, DONATE], |world, send| {
        world.hypervisor.write(VM1, PAGES, &WORD);
        let bytes = send.describe(&[SP1], &[(PAGES, 1), (LOOSE, 2)], SendFlags::ZERO);
        let refused = send.describe(&[SP1], &[(PAGES, 1), (FOREIGN, 2)], SendFlags::ZERO);
        let (head, last) = bytes.split_at(bytes.len() - 16);
        let begin = |world: &mut World| {
            world.write_tx(VM1, head);
            let begun = world.call(VM1, [send.w0, bytes.len() as u64, head.len() as u64]);
            let Answer::MemFragRx(rx) = Answer::from_regs(&begun) else {
                panic!("{}: {begun:x?}", world.preset)
            };
            assert_eq!(read(world, PAGES)[..8], WORD, "{}", world.preset);
            rx.handle
        };
        let end = |world: &mut World, handle: Handle, last: &[u8]| {
            world.write_tx(VM1, last);
            let [low, high] = handle.words();
            world.call(VM1, [MEM_FRAG_TX, low, high, last.len() as u64])
        };
        let handle = begin(world);
        assert_eq!(end(world, handle, &refused[head.len()..]), Regs::error(DENIED));
        assert_eq!(read(world, PAGES)[..8], WORD, "{}", world.preset);
        let handle = begin(world);
        assert_eq!(handle_of(&end(world, handle, last)), Some(handle), "{}", world.preset);
        assert!([PAGES, LOOSE, LOOSE + PAGE].iter().all(|&page| !has_access(world, page)));
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        assert_eq!(read(world, PAGES), [0; PAGE as usize]);
        // A guest that dies with one half sent has given nothing away.
        world.hypervisor.write(VM1, PAGES, &WORD);
        begin(world);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
        assert_eq!(world.hypervisor.frames().donated, 0);
    });
}

#[test]
fn the_zero_flag_of_a_send_zeroes_before_the_secure_world_hears_of_it() {
    each(&[LEND, DONATE], |world, send| {
        world.hypervisor.write(VM1, PAGES, &WORD);
        world.hypervisor.write(VM1, PAGES + PAGE, &WORD);
        let physical = world.hypervisor.translate(VM1, PAGES).expect("memory");
        let bytes = send.describe(&[SP1], &[(PAGES, 1)], SendFlags::ZERO);
        let handle = handle_of(&send.make(world, VM1, &bytes)).expect("sent");
        assert_eq!(world.hypervisor.read_physical(physical, 8), [0; 8], "{}", world.preset);
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        assert_eq!(read(world, PAGES), [0; PAGE as usize]);
        assert_eq!(read(world, PAGES + PAGE)[..8], WORD);
        world.check();
    });
}

#[test]
fn r04_the_zero_flag_of_a_reclaim_zeroes_what_comes_back() {
    every_preset(|preset| {
        let mut world = lazy(preset);
        let mut sent = vec![world.share(VM1, SP1, &[(PAGES, 1), (LOOSE, 2)])];
        let lends = LEND.served_by.contains(&preset);
        sent.extend(lends.then(|| LEND.send(&mut world, &[(PAGES + PAGE, 1)])));
        world.hypervisor.write(VM1, PAGES + 2 * PAGE, &WORD);
        for handle in sent {
            let [low, high] = handle.words();
            let _ = world.hypervisor.take_smcs();
            assert_eq!(
                world.call(VM1, [MEM_RECLAIM, low, high, 1]),
                Regs::success(0, 0),
                "{}",
                preset.name()
            );
            let smcs = world.hypervisor.take_smcs();
            assert_eq!(smcs.last().expect("a reclaim").regs, Regs::new([MEM_RECLAIM, low, high]));
        }
        for page in [PAGES, LOOSE, LOOSE + PAGE].into_iter().chain(lends.then_some(PAGES + PAGE)) {
            assert_eq!(read(&world, page), [0; PAGE as usize], "{}: {page:x}", preset.name());
        }
        assert_eq!(read(&world, PAGES + 2 * PAGE)[..8], WORD);
        // What is refused zeroes nothing.
        let handle = world.share(VM1, SP1, &[(PAGES + 2 * PAGE, 1)]);
        ask(&mut world, SP1, Control::Retrieve(handle));
        let [low, high] = handle.words();
        assert_eq!(world.call(VM1, [MEM_RECLAIM, low, high, 1]), Regs::error(DENIED));
        assert_eq!(read(&world, PAGES + 2 * PAGE)[..8], WORD);
        world.check();
    });
}

#[test]
fn r12_a_donation_that_was_retrieved_is_gone_when_it_is_asked_for() {
    each(&[DONATE], |world, send| {
        let handle = send.send(world, &[(PAGES, 2)]);
        ask(world, SP1, Control::Retrieve(handle));
        let answer = world.reclaim(VM1, handle);
        assert_eq!(answer, Regs::error(INVALID), "{}", world.preset);
        assert_eq!(events(world, |event| event.kind == EventKind::Gone { pages: 2 }), 1);
        let report = world.hypervisor.report(VM1).expect("it lives");
        assert_eq!((report.shares, report.pages), (0, 0));
        // It is no memory of the guest's any more, whatever the guest tries.
        assert!(!has_access(world, PAGES));
        for ranges in [[(PAGES, 1)], [(PAGES + PAGE, 2)]] {
            let shared = world.send(VM1, &descriptor(Version::V1_1, VM1, SP2, &ranges));
            assert_eq!(shared, Regs::error(DENIED));
        }
        world.refused("twice", VM1, [MEM_RECLAIM, handle.words()[0], handle.words()[1]], INVALID);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
        assert_eq!(world.hypervisor.frames().donated, 2);
    });
}

#[test]
fn a_dead_guests_donation_comes_back_or_is_gone() {
    each(&[DONATE], |world, send| {
        let back = send.send(world, &[(PAGES, 3)]);
        let gone = send.send(world, &[(LOOSE, 2)]);
        let shared = world.share(VM1, SP2, &[(PAGES + 8 * PAGE, 1)]);
        assert!(back != gone && gone != shared);
        ask(world, SP1, Control::Retrieve(gone));
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG), "{}", world.preset);
        assert_eq!(events(world, |event| event.kind == EventKind::Gone { pages: 2 }), 1);
        world.check_all_gone();
        let frames = world.hypervisor.frames();
        assert_eq!((frames.donated, frames.orphans, frames.living), (2, 0, 0));
        assert_eq!(world.hypervisor.mediator().quarantined(0), None);
        // The ID is free, and its next VM has nothing to do with it.
        world.live(VM1, Version::V1_1);
        world.check();
    });
}

/// Hafnium gives the handle of a donation out again as soon as it was retrieved.
#[test]
fn h_a_handle_that_a_donation_has_left_is_the_next_shares() {
    let mut world = lazy(Preset::Hafnium);
    world.live(VM2, Version::V1_1);
    let donated = DONATE.send(&mut world, &[(PAGES, 1)]);
    ask(&mut world, SP1, Control::Retrieve(donated));
    let shared = world.share(VM2, SP2, &[(PAGES, 1)]);
    assert_eq!(shared, donated, "or there is nothing to see here");
    // It is VM 2's by now.
    world.refused(
        "a handle that is another's",
        VM1,
        [MEM_RECLAIM, donated.words()[0], donated.words()[1]],
        INVALID,
    );
    world.destroy(VM1);
    assert!(world.hypervisor.settle(LONG));
    assert_eq!(events(&mut world, |event| event.kind == EventKind::Gone { pages: 1 }), 1);
    assert_eq!(world.hypervisor.report(VM1), None);
    assert_eq!(world.reclaim(VM2, shared), Regs::success(0, 0));
    world.destroy(VM2);
    assert!(world.hypervisor.settle(LONG));
    world.check_all_gone();
}

/// A guest that gives away page after page does not run out of transactions, whatever it sends in between.
#[test]
fn donations_whose_handles_are_others_by_now_are_over() {
    for send in [DONATE, SHARE] {
        let settings = Settings { shares_per_vm: 3, pages_per_vm: 3, ..Settings::DEFAULT };
        let mut world = World::with(Machine { settings, ..machine(Preset::Hafnium, lazy_sps()) });
        for n in 0..20 {
            // The last one's handle is this one's.
            let donated = DONATE.send(&mut world, &[(PAGES + 2 * n * PAGE, 1)]);
            ask(&mut world, SP1, Control::Retrieve(donated));
            let bytes = send.bytes(&[(PAGES + (2 * n + 1) * PAGE, 1)]);
            let answer = send.make(&mut world, VM1, &bytes);
            let sent = handle_of(&answer).unwrap_or_else(|| panic!("{n}: {send:?}: {answer:x?}"));
            assert_eq!(sent, donated, "or there is nothing to see here");
            assert_eq!(world.reclaim(VM1, sent), Regs::success(0, 0), "{n}: {send:?}");
        }
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
        assert_eq!(world.hypervisor.frames().donated, 20);
        assert_eq!(events(&mut world, |event| event.kind == EventKind::Gone { pages: 1 }), 20);
    }
}

/// While somebody sends, no donation is asked for: its handle might be given away at this moment.
#[test]
fn a_donation_is_not_asked_for_while_another_cpu_sends() {
    let mut world = lazy(Preset::Hafnium);
    world.live(VM2, Version::V1_1);
    let donated = DONATE.send(&mut world, &[(PAGES, 1)]);
    let [low, high] = donated.words();
    let key = world.hypervisor.key(VM1).expect("it lives");
    let mediator = world.hypervisor.mediator().clone();
    world.hypervisor.set_interloper(Some(Box::new(move |cpu, moment| {
        if matches!(moment, Moment::Smc(regs) if regs.w::<0>() & 0xff == 0x73) {
            let caller = ffa_hyp_glue::Caller { vm: key, vcpu: 1 };
            let mut regs = Regs::new([MEM_RECLAIM, low, high]);
            let _ = mediator.guest_call(cpu, caller, &mut regs, &mut ffa_hyp_glue::Scratch::new());
            assert_eq!(regs, Regs::error(Status::Busy));
        }
    })));
    world.share(VM2, SP2, &[(PAGES, 1)]);
    world.hypervisor.set_interloper(None);
    assert_eq!(world.reclaim(VM1, donated), Regs::success(0, 0));
    assert!(has_access(&mut world, PAGES));
    world.check();
}

/// Every status in answer to a send: refused it takes nothing, unclear it keeps everything.
#[test]
fn every_fault_of_a_send() {
    for send in [LEND, DONATE] {
        let call = CallKind::function(send.function);
        for &preset in send.served_by {
            let statuses = Status::ALL.iter().map(|&status| FirmwareStatus::from(status));
            let refusals =
                statuses.chain([0, 3, -99].map(FirmwareStatus::from_code)).map(FaultAction::Refuse);
            let lost = FaultAction::Lose(Status::Aborted.into());
            for action in refusals.chain([lost]) {
                let plan = FaultPlan::new([Fault { call, when: When::Nth(1), action }]);
                let mut world = World::faulty(preset, plan);
                let answer = send.make(&mut world, VM1, &send.bytes(&[(PAGES, 2)]));
                assert!(matches!(status_of(&answer), Some(FirmwareStatus::Known(_))), "{action:?}");
                let kept = world.hypervisor.report(VM1).expect("it lives").shares == 1;
                assert_eq!(has_access(&mut world, PAGES), !kept, "{}: {send:x?} {action:?}", preset.name());
                assert!(has_access(&mut world, PAGES + 2 * PAGE));
                if !kept {
                    assert!(handle_of(&send.make(&mut world, VM1, &send.bytes(&[(PAGES, 2)]))).is_some());
                }
                world.destroy(VM1);
                world.hypervisor.advance(LONG);
                world.check();
            }
        }
    }
}

/// Every status in answer to a guest's reclaim: nothing comes back unless it works.
#[test]
fn every_fault_of_a_reclaim() {
    let call = CallKind::function(Function::MemReclaim);
    for send in [LEND, DONATE] {
        for &preset in send.served_by {
            let statuses = Status::ALL.iter().map(|&status| FirmwareStatus::from(status));
            for status in statuses.chain([0, 3, -99].map(FirmwareStatus::from_code)) {
                let action = FaultAction::Refuse(status);
                let plan = FaultPlan::new([Fault { call, when: When::Nth(1), action }]);
                let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::LAZY)];
                let mut world = World::with(Machine { plan, ..machine(preset, sps) });
                let handle = send.send(&mut world, &[(PAGES, 2)]);
                assert!(status_of(&world.reclaim(VM1, handle)).is_some(), "{status}");
                assert!(!has_access(&mut world, PAGES), "{}: {status}", preset.name());
                let too_late = [DENIED, INVALID].map(FirmwareStatus::Known).contains(&status);
                let gone = send.function == Function::MemDonate && too_late;
                assert_eq!(
                    world.hypervisor.report(VM1).expect("it lives").shares,
                    u32::from(!gone),
                    "{status}"
                );
                let again = world.reclaim(VM1, handle);
                assert_eq!(again, if gone { Regs::error(INVALID) } else { Regs::success(0, 0) }, "{status}");
                assert_eq!(has_access(&mut world, PAGES), !gone);
                world.destroy(VM1);
                assert!(world.hypervisor.settle(LONG));
                world.check();
                assert_eq!(world.hypervisor.frames().donated, if gone { 2 } else { 0 });
            }
        }
    }
}

/// Every status in answer to each reclaim of a dead guest's: lent pages stay until it works, donated ones may be gone.
#[test]
fn every_fault_of_teardown() {
    let call = CallKind::function(Function::MemReclaim);
    for send in [LEND, DONATE] {
        for disposal in [Disposal::Zombie, Disposal::HandOver] {
            for status in Status::ALL.iter().map(|&status| FirmwareStatus::from(status)) {
                let action = FaultAction::Refuse(status);
                let plan = FaultPlan::new([Fault { call, when: When::Every, action }]);
                let mut made = Machine { plan, ..machine(Preset::Strict, good_sps()) };
                made.settings.teardown = Policy { disposal, ..Policy::DEFAULT };
                made.partitions = vec![SpConfig::new(SP1, Script::LAZY)];
                let mut world = World::with(made);
                send.send(&mut world, &[(PAGES, 2)]);
                world.destroy(VM1);
                world.hypervisor.advance(LONG);
                let too_late = [DENIED, INVALID].map(FirmwareStatus::Known).contains(&status);
                let gone = send.function == Function::MemDonate && too_late;
                assert_eq!(world.hypervisor.report(VM1).is_none(), gone, "{send:x?}: {status}");
                assert_eq!(world.hypervisor.orphans(None), if gone { 0 } else { 2 }, "{status}");
                world.check();
                *world.hypervisor.plan_mut() = FaultPlan::none();
                let _ = world.hypervisor.retry(None);
                assert!(world.hypervisor.settle(LONG));
                world.check();
                let frames = world.hypervisor.frames();
                assert_eq!((frames.donated, frames.orphans, frames.leaked), (if gone { 2 } else { 0 }, 0, 0));
            }
        }
    }
}

/// A guest that dies with what is lent: nobody gets it before the borrower has let go, and then it is zero.
#[test]
fn a_dead_guests_lent_pages_wait_for_the_borrower() {
    for &preset in LEND.served_by {
        let mut world = World::new(preset);
        world.hypervisor.write(VM1, PAGES, &WORD);
        let bytes = LEND.describe(&[SP1], &[(PAGES, 2), (LOOSE, 2)], SendFlags::NONE);
        assert!(handle_of(&LEND.make(&mut world, VM1, &bytes)).is_some(), "{}", preset.name());
        assert!(!has_access(&mut world, LOOSE));
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    }
}
