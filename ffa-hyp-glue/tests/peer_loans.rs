//! Memory that VMs lend or donate to each other: its owner has no access to it while the other one may, and what is
//! donated is its receiver's in the end.

mod common;

use common::peers::*;
use common::sends::*;
use common::*;
use ffa_abi::{Handle, Regs, Status, Version};
use ffa_hyp_glue::{Creation, EventKind, LenderDeath, Settings};
use ffa_mem::{DataAccess, Permissions, Receiver, SendFlags, SendHeader};
use ffa_test_utils::hypervisor::{Machine, Region};
use ffa_test_utils::spmc::Preset;

const INVALID: Status = Status::InvalidParameters;
const DENIED: Status = Status::Denied;
const OURS: [u8; 8] = *b"owner's.";
const THEIRS: [u8; 8] = *b"borrower";
const ZEROS: [u8; 8] = [0; 8];

/// VM 1 sends to VM 2, with this permission and these flags.
fn sent(world: &mut World, send: Send, data: DataAccess, flags: SendFlags, ranges: &[(u64, u32)]) -> Regs {
    let (attributes, tag) = (send.attributes, TAG);
    let header = SendHeader { version: Version::V1_1, sender: VM1, attributes, flags, tag };
    let receiver = Receiver { id: VM2, permissions: Permissions::data(data), impdef: [0; 2] };
    send.make(world, VM1, &describe(&header, vec![receiver], ranges))
}

/// Over every secure world: what it serves makes no difference between VMs.
#[test]
fn what_is_lent_is_the_borrowers_alone_until_it_comes_back() {
    every_preset(|preset| {
        let mut world = lenders(preset, LenderDeath::Revoke);
        world.hypervisor.write(VM1, PAGES, &OURS);
        let handle = world.offer_by(LEND, &[(PAGES, 2), (LOOSE, 3)]);
        assert_eq!(handle.get() >> 63, 1);
        let lent = [PAGES, PAGES + PAGE, LOOSE, LOOSE + 2 * PAGE];
        assert!(lent.iter().all(|&page| !world.reaches(VM1, page)), "{}", world.preset);
        let response = world.retrieve(&Request::of(LEND, handle));
        assert_eq!((response.flags, response.permissions, response.pages), (2 << 3, 6, 5));
        let page = response.ranges[0].0;
        assert_eq!(world.look(VM2, page), OURS);
        world.hypervisor.write(VM2, page, &THEIRS);
        assert!(lent.iter().all(|&page| !world.reaches(VM1, page)));
        assert_eq!(world.reclaim(VM1, handle), Regs::error(DENIED));
        assert_eq!(world.relinquish(VM2, handle), DONE);
        assert!(!world.reaches(VM2, page) && !world.reaches(VM1, PAGES));
        assert_eq!(world.reclaim(VM1, handle), DONE);
        assert_eq!(world.look(VM1, PAGES), THEIRS);
        assert!(lent.iter().all(|&page| world.reaches(VM1, page)));
        world.end_all();
    });
}

/// A sole borrower says whether it executes what it borrows, and nobody else may.
#[test]
fn r15_a_sole_borrower_says_whether_it_executes() {
    let rows =
        [(2, Err(INVALID)), (2 | 1 << 2, Ok(6)), (2 | 2 << 2, Ok(10)), (1 | 2 << 2, Ok(9)), (4, Ok(6))];
    for send in [LEND, DONATE] {
        for (asked, expected) in rows {
            let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
            let handle = world.offer_by(send, &[(PAGES, 1)]);
            let request = Request { borrowers: vec![(VM2.0, asked, 0, 0)], ..Request::of(send, handle) };
            match expected {
                Ok(permissions) => assert_eq!(world.retrieve(&request).permissions, permissions, "{asked}"),
                Err(status) => assert_eq!(world.ask(VM2, &request.bytes()), Regs::error(status), "{asked}"),
            }
            world.end_all();
        }
    }
}

/// Of row R15 what is left for lent memory, and attributes, which a lender leaves open.
#[test]
fn r15_a_request_that_takes_a_loan_for_something_else_is_refused() {
    type Change = fn(&mut Request);
    let rows: [(&str, Change, Status); 7] = [
        ("share", |request| request.flags = 1 << 3, INVALID),
        ("donate", |request| request.flags = 3 << 3, INVALID),
        ("tag", |request| request.tag ^= 1, INVALID),
        ("sender", |request| request.sender = VM3.0, DENIED),
        ("device", |request| request.attributes = 0x13, DENIED),
        ("time slice", |request| request.flags |= 2, INVALID),
        ("more than it was given", |request| request.borrowers[0].1 = 6, DENIED),
    ];
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    let answer = sent(&mut world, LEND, DataAccess::ReadOnly, SendFlags::NONE, &[(PAGES, 1)]);
    let handle = handle_of(&answer).expect("lent");
    let good = Request { borrowers: vec![(VM2.0, 5, 0, 0)], ..Request::of(LEND, handle) };
    for (name, change, status) in rows {
        let mut request = good.clone();
        change(&mut request);
        assert_eq!(world.ask(VM2, &request.bytes()), Regs::error(status), "{name}");
    }
    let untyped = Request { attributes: 0, flags: 0, ..good };
    assert_eq!(world.retrieve(&untyped).permissions, 5);
    world.end_all();
}

/// What VMs have of each other is normal memory, and neither of them can make it something else.
#[test]
fn d17_what_is_sent_to_vms_is_normal_memory() {
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    world.live(VM3, Version::V1_1);
    for (attributes, expected) in [(0x13, Err(DENIED)), (0x27, Err(DENIED)), (0x2f, Ok(()))] {
        let mut bytes = LEND.describe(&[VM2, VM3], &[(PAGES, 1)], SendFlags::NONE);
        bytes[2] = attributes;
        let answer = LEND.make(&mut world, VM1, &bytes);
        match expected {
            Ok(()) => assert!(handle_of(&answer).is_some(), "{answer:x?}"),
            Err(status) => assert_eq!(answer, Regs::error(status), "{attributes:x}"),
        }
    }
    world.end_all();
}

/// Who asks for zeros gets them, unless somebody else has the memory as well.
#[test]
fn r16_zeros_are_for_whoever_has_it_alone() {
    let given = |flags| {
        let mut world = lenders(Preset::Hafnium, LenderDeath::Revoke);
        world.hypervisor.write(VM1, PAGES, &OURS);
        let answer = sent(&mut world, LEND, DataAccess::ReadWrite, flags, &[(PAGES, 1)]);
        let handle = handle_of(&answer).expect("lent");
        (world, handle)
    };
    // The lender.
    let (mut world, handle) = given(SendFlags::ZERO);
    let response = world.retrieve(&Request::of(LEND, handle));
    assert_eq!((response.flags, world.look(VM2, response.ranges[0].0)), (2 << 3 | 1, ZEROS));
    world.end_all();
    // The borrower, before.
    let (mut world, handle) = given(SendFlags::NONE);
    let response = world.retrieve(&Request { flags: 2 << 3 | 1, ..Request::of(LEND, handle) });
    assert_eq!((response.flags, world.look(VM2, response.ranges[0].0)), (2 << 3 | 1, ZEROS));
    // And with it no more than it may: again, it is what was written.
    world.hypervisor.write(VM2, response.ranges[0].0, &THEIRS);
    assert_eq!(world.relinquish(VM2, handle), DONE);
    let page = world.retrieve(&Request::of(LEND, handle)).ranges[0].0;
    assert_eq!(world.look(VM2, page), THEIRS);
    // After, as it says then.
    world.write_tx(VM2, &relinquishment(handle.get(), 1, &[VM2.0]));
    assert_eq!(world.call(VM2, [RELINQUISH]), DONE);
    assert_eq!(world.reclaim(VM1, handle), DONE);
    assert_eq!(world.look(VM1, PAGES), ZEROS);
    world.end_all();
    // After, as it has said before, however it comes to lose it.
    for dies in [false, true] {
        let (mut world, handle) = given(SendFlags::NONE);
        let request = Request { flags: 2 << 3 | 4, ..Request::of(LEND, handle) };
        let page = world.retrieve(&request).ranges[0].0;
        assert_eq!(world.look(VM2, page), OURS);
        world.hypervisor.write(VM2, page, &THEIRS);
        if dies {
            world.destroy(VM2);
        } else {
            assert_eq!(world.relinquish(VM2, handle), DONE);
        }
        assert_eq!(world.reclaim(VM1, handle), DONE);
        assert_eq!(world.look(VM1, PAGES), ZEROS, "{dies}");
        world.end_all();
    }
    // The owner, which has it back.
    let (mut world, handle) = given(SendFlags::NONE);
    let [low, high] = handle.words();
    assert_eq!(world.call(VM1, [MEM_RECLAIM, low, high, 1]), DONE);
    assert_eq!(world.look(VM1, PAGES), ZEROS);
    world.end_all();
}

#[test]
fn r16_who_may_not_write_may_not_zero_either() {
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    world.live(VM3, Version::V1_1);
    world.hypervisor.write(VM1, PAGES, &OURS);
    let answer = sent(&mut world, LEND, DataAccess::ReadOnly, SendFlags::NONE, &[(PAGES, 1)]);
    let handle = handle_of(&answer).expect("lent");
    let good = Request { borrowers: vec![(VM2.0, 5, 0, 0)], ..Request::of(LEND, handle) };
    for flag in [1, 4] {
        let request = Request { flags: 2 << 3 | flag, ..good.clone() };
        assert_eq!(world.ask(VM2, &request.bytes()), Regs::error(DENIED));
    }
    let page = world.retrieve(&good).ranges[0].0;
    world.write_tx(VM2, &relinquishment(handle.get(), 1, &[VM2.0]));
    assert_eq!(world.call(VM2, [RELINQUISH]), Regs::error(DENIED));
    assert_eq!(world.look(VM2, page), OURS);
    // Nor what another borrower may have.
    let several = LEND.describe(&[VM2, VM3], &[(LOOSE, 1)], SendFlags::NONE);
    let handle = handle_of(&LEND.make(&mut world, VM1, &several)).expect("lent");
    let both = vec![(VM2.0, 2, 0, 0), (VM3.0, 2, 0, 0)];
    let good = Request { borrowers: both, ..Request::of(LEND, handle) };
    for flag in [1, 4] {
        let request = Request { flags: 2 << 3 | flag, ..good.clone() };
        assert_eq!(world.ask(VM2, &request.bytes()), Regs::error(INVALID));
    }
    world.retrieve(&good);
    world.write_tx(VM2, &relinquishment(handle.get(), 1, &[VM2.0]));
    assert_eq!(world.call(VM2, [RELINQUISH]), Regs::error(INVALID));
    world.end_all();
}

/// E33: the owner cannot have others do what it may not do itself.
#[test]
fn e33_what_its_owner_may_only_read_is_lent_to_be_read() {
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    for (send, data, flags) in [
        (LEND, DataAccess::ReadWrite, SendFlags::NONE),
        (LEND, DataAccess::ReadOnly, SendFlags::ZERO),
        (DONATE, DataAccess::Unspecified, SendFlags::NONE),
    ] {
        let answer = sent(&mut world, send, data, flags, &[(PAGES, 1), (READ_ONLY, 1)]);
        assert_eq!(answer, Regs::error(DENIED), "{send:x?}");
        assert!(world.reaches(VM1, PAGES));
    }
    let answer = sent(&mut world, LEND, DataAccess::ReadOnly, SendFlags::NONE, &[(READ_ONLY, 1)]);
    let handle = handle_of(&answer).expect("lent");
    assert!(!world.reaches(VM1, READ_ONLY));
    assert_eq!(world.reclaim(VM1, handle), DONE);
    world.end_all();
}

#[test]
fn r12_what_is_donated_comes_back_until_its_receiver_has_it() {
    every_preset(|preset| {
        let mut world = lenders(preset, LenderDeath::Revoke);
        world.hypervisor.write(VM1, PAGES, &OURS);
        let ranges = [(PAGES + 4 * PAGE, 1), (PAGES, 2), (LOOSE, 1)];
        let handle = world.offer_by(DONATE, &ranges);
        assert!(!world.reaches(VM1, PAGES));
        assert_eq!(world.reclaim(VM1, handle), DONE);
        assert_eq!(world.look(VM1, PAGES), OURS);
        assert_eq!(world.ask(VM2, &Request::of(DONATE, handle).bytes()), Regs::error(INVALID));
        let handle = world.offer_by(DONATE, &ranges);
        let owned = world.hypervisor.frames();
        let response = world.retrieve(&Request::of(DONATE, handle));
        assert_eq!((response.flags, response.pages), (3 << 3, 4));
        let there = response.ranges[1].0;
        assert_eq!(world.look(VM2, there), OURS);
        // For good: there is no such transaction any more.
        for (vm, answer) in [(VM1, world.reclaim(VM1, handle)), (VM2, world.relinquish(VM2, handle))] {
            assert_eq!(answer, Regs::error(INVALID), "{vm}");
        }
        assert_eq!(world.ask(VM2, &Request::of(DONATE, handle).bytes()), Regs::error(INVALID));
        assert!(!world.reaches(VM1, PAGES) && !world.reaches(VM1, LOOSE));
        let bytes = descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 1)]);
        assert_eq!(world.send(VM1, &bytes), Regs::error(DENIED));
        assert_eq!(world.hypervisor.borrowed(VM2), 0, "they are its own");
        assert_eq!(world.hypervisor.frames(), owned);
        let events = world.hypervisor.take_events();
        assert!(
            events.iter().any(|(_, event)| event.vm == VM1 && event.kind == EventKind::Gone { pages: 4 })
        );
        for vm in [VM1, VM2] {
            let report = world.hypervisor.report(vm).expect("it lives");
            assert_eq!((report.shares, report.pages), (0, 0), "{vm}");
        }
        // The old owner's death is no concern of what it has given away.
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.look(VM2, there), OURS);
        world.end_all();
    });
}

/// What a VM was given it shares, lends and gives away like all that it has.
#[test]
fn what_is_donated_is_its_receivers_to_give_away() {
    let mut world = lenders(Preset::Hafnium, LenderDeath::Revoke);
    let mine = world.offer_by(DONATE, &[(PAGES, 3)]);
    let there = world.retrieve(&Request::of(DONATE, mine)).ranges[0].0;
    world.hypervisor.write(VM2, there, &THEIRS);
    world.share(VM2, SP1, &[(there + 2 * PAGE, 1)]);
    // And back it goes.
    let bytes = DONATE.describe_in(Version::V1_1, VM2, &[VM1], &[(there, 2)], SendFlags::NONE);
    let back = handle_of(&DONATE.make(&mut world, VM2, &bytes)).expect("donated");
    let borrowers = vec![(VM1.0, 6, 0, 0)];
    let request = Request { sender: VM2.0, borrowers, ..Request::of(DONATE, back) };
    assert_eq!(world.ask(VM1, &request.bytes())[0], RETRIEVED);
    let mut bytes = vec![0; 96];
    world.hypervisor.read(VM1, RX, &mut bytes);
    let response = Response::read(&bytes, Version::V1_1);
    assert_eq!(world.look(VM1, response.ranges[0].0), THEIRS);
    assert!(!world.reaches(VM2, there) && world.reaches(VM2, there + 2 * PAGE));
    world.end_all();
}

/// A donation whose receiver has yet to read where the last of it is: it has retrieved it, with more ranges than RX holds.
fn half_given(lender_death: LenderDeath) -> (World, Handle) {
    let off = lending(Preset::Strict, lender_death);
    let settings = Settings { pages_per_share: 512, ..off.settings };
    let mut world = World::boot(Machine { settings, ..off });
    world.hypervisor.permit(|_, _, _| true);
    for (vm, version) in [(VM1, Version::V1_0), (VM2, Version::V1_2)] {
        assert_eq!(world.hypervisor.create(vm, &[Region::block(TX, 600)]), Ok(Creation::Live));
        world.negotiate(vm, version);
        world.map(vm);
    }
    let ranges: Vec<_> = (0..252).map(|index| (PAGES + (510 - 2 * index) * PAGE, 1)).collect();
    let bytes = DONATE.describe_in(Version::V1_0, VM1, &[VM2], &ranges, SendFlags::NONE);
    let handle = handle_of(&DONATE.make(&mut world, VM1, &bytes)).expect("donated");
    let request = Request { version: Version::V1_2, ..Request::of(DONATE, handle) };
    assert_eq!(world.ask(VM2, &request.bytes()), Regs::new([RETRIEVED, 4128, 4096]));
    assert_eq!(world.call(VM2, [RX_RELEASE]), DONE);
    (world, handle)
}

#[test]
fn f15_a_donation_is_its_receivers_when_that_knows_all_of_it() {
    let (mut world, handle) = half_given(LenderDeath::Revoke);
    let [low, high] = handle.words();
    // It has it, and is to have it: neither of the two can have second thoughts.
    assert_eq!(world.reclaim(VM1, handle), Regs::error(DENIED));
    assert_eq!(world.relinquish(VM2, handle), Regs::error(INVALID));
    assert_eq!(world.hypervisor.borrowed(VM2), 252);
    assert_eq!(world.call(VM2, [FRAG_RX, low, high, 4112]), Regs::new([FRAG_TX, low, high, 16]));
    assert_eq!(world.call(VM2, [RX_RELEASE]), DONE);
    assert_eq!(world.hypervisor.borrowed(VM2), 0);
    world.refused("once more", VM2, [FRAG_RX, low, high, 4112], INVALID);
    assert_eq!(world.reclaim(VM1, handle), Regs::error(INVALID));
    assert_eq!(world.hypervisor.report(VM2).map(|report| report.pages), Some(0));
    world.end_all();
}

/// Until then it is the donor's, if one of the two dies.
#[test]
fn a_donation_that_is_half_told_of_is_the_donors() {
    let (mut world, handle) = half_given(LenderDeath::Revoke);
    world.destroy(VM2);
    assert_eq!(world.reclaim(VM1, handle), DONE);
    assert!(world.reaches(VM1, PAGES));
    world.end_all();
    for (lender_death, keeps) in [(LenderDeath::Revoke, false), (LenderDeath::Keep, true)] {
        let (mut world, handle) = half_given(lender_death);
        let [low, high] = handle.words();
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.hypervisor.borrowed(VM2), if keeps { 252 } else { 0 });
        let answer = world.call(VM2, [FRAG_RX, low, high, 4112]);
        if keeps {
            assert_eq!(answer, Regs::new([FRAG_TX, low, high, 16]));
        } else {
            assert_eq!(answer, Regs::error(INVALID));
        }
        assert!(world.hypervisor.settle(LONG));
        assert_eq!((world.hypervisor.report(VM1), world.hypervisor.orphans(None)), (None, 0));
        world.end_all();
    }
}

#[test]
fn when_the_lender_dies_what_is_lent_is_revoked_or_kept() {
    for (lender_death, keeps) in [(LenderDeath::Revoke, false), (LenderDeath::Keep, true)] {
        let mut world = lenders(Preset::Hafnium, lender_death);
        let handle = world.offer_by(LEND, &[(PAGES, 2)]);
        let unseen = world.offer_by(DONATE, &[(LOOSE, 1)]);
        let page = world.retrieve(&Request::of(LEND, handle)).ranges[0].0;
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.reaches(VM2, page), keeps);
        assert_eq!(world.hypervisor.orphans(None), if keeps { 2 } else { 0 });
        assert_eq!(world.ask(VM2, &Request::of(DONATE, unseen).bytes()), Regs::error(INVALID));
        let expected = if keeps { DONE } else { Regs::error(INVALID) };
        assert_eq!(world.relinquish(VM2, handle), expected);
        world.end_all();
    }
}
