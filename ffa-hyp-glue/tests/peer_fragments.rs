//! Memory between VMs with descriptors in fragments: on the owner's side rows F-01 to F-17, on the borrower's F-15 and F-16.

mod common;

use common::peers::*;
use common::sends::*;
use common::*;
use ffa_abi::{Handle, Regs, Status, Version};
use ffa_hyp_glue::{Creation, LenderDeath, Settings};
use ffa_mem::SendFlags;
use ffa_test_utils::hypervisor::{Machine, Region};
use ffa_test_utils::spmc::Preset;

const INVALID: Status = Status::InvalidParameters;
const SENDS: [Send; 3] = [SHARE, LEND, DONATE];
/// A descriptor of version 1.1 to one receiver, but for its ranges.
const HEAD: usize = 80;

/// No two that touch, from behind.
fn scattered(count: u64) -> Vec<(u64, u32)> {
    (0..count).rev().map(|n| (PAGES + 2 * n * PAGE, 1)).collect()
}

fn few(send: Send) -> Vec<u8> {
    send.describe(&[VM2], &scattered(5), SendFlags::NONE)
}

/// The secure world hears of none of it.
#[test]
fn f01_f02_in_whatever_fragments_it_comes_it_is_one_offer() {
    every_preset(|preset| {
        for send in SENDS {
            for cuts in [vec![HEAD], vec![HEAD, HEAD + 16, HEAD + 48], vec![HEAD + 64]] {
                let mut world = lenders(preset, LenderDeath::Revoke);
                let smcs = world.hypervisor.smcs();
                for (mark, (page, _)) in (1_u8..).zip(scattered(5)) {
                    world.hypervisor.write(VM1, page, &[mark; 8]);
                }
                let (answer, handle) = world.send_in_parts(send, &few(send), &cuts);
                assert_eq!((handle_of(&answer), handle.get() >> 63), (Some(handle), 1));
                assert_eq!(world.hypervisor.smcs(), smcs, "{}", world.preset);
                let response = world.retrieve(&Request::of(send, handle));
                assert_eq!((response.pages, response.ranges.len()), (5, 5));
                for (mark, (page, _)) in (1_u8..).zip(response.ranges) {
                    assert_eq!(world.look(VM2, page), [mark; 8], "in the owner's order");
                }
                world.end_all();
            }
        }
    });
}

/// Until the last is there it is nobody's to retrieve or to have back.
#[test]
fn f08_what_is_half_sent_is_no_offer() {
    for send in SENDS {
        let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
        let bytes = few(send);
        let handle = asked_for(&world.begin_part(send, &bytes, HEAD + 32), HEAD + 32);
        assert_eq!(world.ask(VM2, &Request::of(send, handle).bytes()), Regs::error(INVALID));
        assert_eq!(world.relinquish(VM2, handle), Regs::error(INVALID));
        assert_eq!(world.reclaim(VM1, handle), Regs::error(INVALID));
        // Nor has the owner lost anything.
        assert!(world.reaches(VM1, scattered(5)[0].0));
        assert_eq!(handle_of(&world.go_on(handle, &bytes[HEAD + 32..])), Some(handle));
        world.retrieve(&Request::of(send, handle));
        world.end_all();
    }
}

#[test]
fn f03_f04_f05_f06_f07_f17_fragments_that_are_wrong() {
    for send in SENDS {
        let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
        let bytes = few(send);
        let begun = |world: &mut World| asked_for(&world.begin_part(send, &bytes, HEAD + 16), HEAD + 16);
        let rest = &bytes[HEAD + 16..];
        // Whoever else it is from, and whatever else it names, it changes nothing.
        let handle = begun(&mut world);
        let [low, high] = handle.words();
        for (name, vm, regs) in [
            ("F-05", VM2, [FRAG_TX, low, high, 16, 0]),
            ("F-05", VM1, [FRAG_TX, low ^ 1 << 20, high, 16, 0]),
            ("F-06", VM1, [FRAG_TX, low, high, 16, 1 << 16]),
        ] {
            world.refused(name, vm, regs, INVALID);
        }
        assert_eq!(handle_of(&world.go_on(handle, rest)), Some(handle));
        world.refused("F-07", VM1, [FRAG_TX, low, high, 16], INVALID);
        assert_eq!(world.reclaim(VM1, handle), DONE);
        // A fragment that is wrong by itself ends it.
        let mut long = rest.to_vec();
        long.extend([0; 16]);
        for (name, piece) in [("F-03", &rest[..0]), ("F-17", &rest[..8]), ("F-04", &long[..])] {
            let handle = begun(&mut world);
            assert_eq!(world.go_on(handle, piece), Regs::error(INVALID), "{name}");
            assert_eq!(world.go_on(handle, rest), Regs::error(INVALID), "{name}");
            let report = world.hypervisor.report(VM1).expect("it lives");
            assert_eq!((report.shares, report.pages), (0, 0), "{name}");
        }
        world.end_all();
    }
}

/// The last fragment may find that a page has become something else, or that another transaction has it.
#[test]
fn e27_e30_what_cannot_be_held_in_the_end_is_not_offered() {
    for send in SENDS {
        for (range, status) in
            [(READ_ONLY, Status::Denied), (TX, Status::Denied), (PAGES + PAGE / 2, INVALID)]
        {
            let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
            let ranges = [(PAGES, 1), (LOOSE, 2), (PAGES + 8 * PAGE, 1)];
            let mut bytes = send.describe(&[VM2], &ranges, SendFlags::NONE);
            bytes[HEAD + 32..HEAD + 40].copy_from_slice(&range.to_le_bytes());
            let handle = asked_for(&world.begin_part(send, &bytes, HEAD + 16), HEAD + 16);
            assert_eq!(world.go_on(handle, &bytes[HEAD + 16..]), Regs::error(status), "{range:#x}");
            assert!(world.reaches(VM1, PAGES) && world.reaches(VM1, LOOSE));
            // They can go elsewhere.
            world.share(VM1, SP1, &ranges);
            world.end_all();
        }
    }
}

#[test]
fn f10_an_owner_that_dies_or_forgets_leaves_nothing_half_sent() {
    for send in SENDS {
        for dies in [false, true] {
            let mut world = lenders(Preset::Hafnium, LenderDeath::Keep);
            let bytes = few(send);
            let handle = asked_for(&world.begin_part(send, &bytes, HEAD + 32), HEAD + 32);
            if dies {
                world.destroy(VM1);
            } else {
                assert_eq!(world.call(VM1, [0x8400_0067]), DONE);
                world.map(VM1);
                assert_eq!(world.go_on(handle, &bytes[HEAD + 32..]), Regs::error(INVALID));
                let report = world.hypervisor.report(VM1).expect("it lives");
                assert_eq!((report.shares, report.pages), (0, 0));
                world.destroy(VM1);
            }
            assert!(world.hypervisor.settle(LONG));
            assert_eq!(world.hypervisor.report(VM1), None);
            assert_eq!(world.ask(VM2, &Request::of(send, handle).bytes()), Regs::error(INVALID));
            world.end_all();
        }
    }
}

/// What there is no room for is refused with the first fragment.
#[test]
fn e35_room_is_kept_from_the_first_fragment_on() {
    type Change = fn(&mut Machine);
    let rows: [(&str, Change); 5] = [
        ("loans", |machine| machine.loans = 1),
        ("shares", |machine| machine.settings.shares_per_vm = 1),
        ("pages", |machine| machine.settings.pages_per_vm = 6),
        // Two VMs with two SPs that want to hear of them.
        ("duties", |machine| machine.duties = 4 + 1),
        ("ranges", |machine| machine.ranges = 1 + 5),
    ];
    for (name, change) in rows {
        let mut machine = lending(Preset::TfaEl3, LenderDeath::Revoke);
        change(&mut machine);
        let mut world = lenders_on(machine);
        let first = world.offer(&[(LOOSE, 2)]);
        let bytes = few(SHARE);
        assert_eq!(world.begin_part(SHARE, &bytes, HEAD), Regs::error(Status::NoMemory), "{name}");
        assert_eq!(world.reclaim(VM1, first), DONE);
        let (answer, handle) = world.send_in_parts(SHARE, &bytes, &[HEAD]);
        assert_eq!(handle_of(&answer), Some(handle), "{name}");
        world.end_all();
    }
}

/// An offer of more ranges than any buffer holds, of an owner and for a borrower of these versions.
fn many(send: Send, owner: Version, borrower: Version) -> (World, Handle, Vec<(u64, u32)>) {
    let off = lending(Preset::Strict, LenderDeath::Revoke);
    let settings = Settings { pages_per_share: 1024, ..off.settings };
    let mut world = World::boot(Machine { settings, ranges: 2048, ..off });
    world.hypervisor.permit(|_, _, _| true);
    for (vm, version) in [(VM1, owner), (VM2, borrower)] {
        assert_eq!(world.hypervisor.create(vm, &[Region::block(TX, 1300)]), Ok(Creation::Live));
        world.negotiate(vm, version);
        world.map(vm);
    }
    let ranges = scattered(600);
    for (mark, (page, _)) in (0_u64..).zip(&ranges) {
        world.hypervisor.write(VM1, *page, &mark.to_le_bytes());
    }
    let bytes = long(send, owner, &ranges);
    let (answer, handle) = world.send_in_parts(send, &bytes, &[4096, 8192]);
    assert_eq!(handle_of(&answer), Some(handle));
    (world, handle, ranges)
}

/// A descriptor of more than a page.
fn long(send: Send, version: Version, ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = send.describe_in(version, VM1, &[VM2], &ranges[..1], SendFlags::NONE);
    let composite = bytes.len() - 32;
    bytes[composite..composite + 4].copy_from_slice(&(ranges.len() as u32).to_le_bytes());
    bytes[composite + 4..composite + 8].copy_from_slice(&(ranges.len() as u32).to_le_bytes());
    for (page, pages) in &ranges[1..] {
        bytes.extend(page.to_le_bytes());
        bytes.extend(u64::from(*pages).to_le_bytes());
    }
    bytes
}

/// Rows F-14, F-15 and F-16: the offsets are those of the borrower's own layout.
#[test]
fn f14_f15_f16_a_response_comes_in_parts_of_the_borrowers_layout() {
    let versions = [Version::V1_0, Version::V1_1, Version::V1_2];
    for (send, owner, borrower, head) in SENDS.iter().flat_map(|send| {
        versions.iter().zip([64, 80, 96]).map(|(borrower, head)| (*send, Version::V1_1, *borrower, head))
    }) {
        let (mut world, handle, ranges) = many(send, owner, borrower);
        let request = Request { version: borrower, ..Request::of(send, handle) };
        let total = head + 16 * 600;
        assert_eq!(world.ask(VM2, &request.bytes()), Regs::new([RETRIEVED, total, 4096]));
        let mut bytes = vec![0; total as usize];
        world.hypervisor.read(VM2, RX, &mut bytes[..4096]);
        let [low, high] = handle.words();
        let frag = |offset: u64| [FRAG_RX, low, high, offset];
        assert_eq!(world.call(VM2, frag(4096)), Regs::error(Status::Busy), "F-16");
        assert_eq!(world.call(VM2, [RX_RELEASE]), DONE);
        for offset in [0, head - 16, head + 8, 4095, 4096 + 1, total, total + 16, 0xffff_fff0] {
            world.refused("F-15", VM2, frag(offset), INVALID);
        }
        // The next, the same again as after a mishap, and the last.
        for (offset, len) in [(4096, 4096), (4096, 4096), (8192, total - 8192)] {
            assert_eq!(world.call(VM2, frag(offset)), Regs::new([FRAG_TX, low, high, len]), "{offset}");
            let at = offset as usize;
            world.hypervisor.read(VM2, RX, &mut bytes[at..at + len as usize]);
            assert_eq!(
                world.call(VM2, frag(offset)),
                Regs::error(if offset == 8192 && send.w0 == DONATE.w0 { INVALID } else { Status::Busy })
            );
            assert_eq!(world.call(VM2, [RX_RELEASE]), DONE);
        }
        let response = Response::read(&bytes, borrower);
        assert_eq!((response.pages, response.ranges.len()), (600, ranges.len()));
        for (mark, (page, _)) in (0_u64..).zip(&response.ranges) {
            assert_eq!(u64::from_le_bytes(world.look(VM2, *page)), mark, "in the owner's order");
        }
        // What was donated is its own by now.
        let is_own = send.w0 == DONATE.w0;
        assert_eq!(world.hypervisor.borrowed(VM2), if is_own { 0 } else { 600 });
        let expected = if is_own { Regs::error(INVALID) } else { DONE };
        assert_eq!(world.relinquish(VM2, handle), expected);
        world.end_all();
    }
}
