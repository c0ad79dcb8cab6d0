//! Sharing, lending, donating and reclaiming: from one descriptor that is good for all, one thing broken at a time, and the
//! exact answer of each secure world.

mod common;

use common::*;
use ffa_abi::Status::*;
use ffa_abi::{Answer, Handle, PartitionId, Regs, Status, VmAvailability};
use ffa_test_utils::spmc::*;

type Result = core::result::Result<(), Status>;

/// In the order of [`Preset::ALL`].
type Answers = [Result; 4];
type Row = (&'static str, Descriptor, Answers);

fn lazy() -> [SpConfig; 2] {
    [SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::LAZY)]
}

fn check(function: u64, rows: &[Row]) {
    let mut wrong = Vec::new();
    for (what, descriptor, answers) in rows {
        for (preset, &expected) in Preset::ALL.into_iter().zip(answers) {
            let mut world = World::new(preset, lazy());
            let answer = status_of(&world.send(function, &descriptor.bytes()));
            let live = world.spmc.live_handles().count();
            if answer != expected || live != usize::from(expected.is_ok()) {
                wrong.push(format!("{preset:?}: {what}: {answer:?}, {live} live handles"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const OK: Result = Ok(());
const INV: Result = Err(InvalidParameters);
const DEN: Result = Err(Denied);
const NSUP: Result = Err(NotSupported);

#[test]
fn shares() {
    let good = Descriptor::good;
    let two = |second| vec![(SP1.0, 0b10), second];
    check(
        MEM_SHARE,
        &[
            //                                                             Hafnium TF-A OP-TEE strict
            ("good", good(), [OK, OK, OK, OK]),
            ("reserved header bytes", Descriptor { header_reserved: 1, ..good() }, [INV, OK, OK, INV]),
            ("access size 24", Descriptor { access_size: 24, ..good() }, [INV, INV, OK, INV]),
            ("access size 32 from 1.1", Descriptor { access_size: 32, ..good() }, [INV, INV, OK, INV]),
            ("access offset 32", Descriptor { access_offset: 32, ..good() }, [INV, INV, DEN, INV]),
            (
                "access offset far out",
                Descriptor { access_offset: 0xffff_fff0, ..good() },
                [INV, INV, INV, INV],
            ),
            ("no receivers", Descriptor { receivers: vec![], ..good() }, [INV, INV, INV, INV]),
            (
                "more receivers than two",
                Descriptor { receivers: vec![(SP1.0, 2), (SP2.0, 2), (0x8003, 2)], ..good() },
                [INV, INV, OK, INV],
            ),
            ("composite at 0", Descriptor { composite_offset: Some(0), ..good() }, [INV, INV, INV, INV]),
            ("composite at 56", Descriptor { composite_offset: Some(56), ..good() }, [INV, INV, INV, INV]),
            ("reserved access bytes", Descriptor { access_reserved: 1, ..good() }, [INV, OK, OK, INV]),
            ("zero flag", Descriptor { flags: 1, ..good() }, [INV, INV, OK, INV]),
            ("time slice flag", Descriptor { flags: 2, ..good() }, [INV, INV, OK, INV]),
            ("its own type as flag", Descriptor { flags: 8, ..good() }, [INV, OK, OK, INV]),
            ("another type as flag", Descriptor { flags: 0x10, ..good() }, [INV, INV, OK, INV]),
            ("wide flags", Descriptor { flags: 0x100, ..good() }, [INV, INV, INV, INV]),
            ("unknown receiver", Descriptor { receivers: vec![(0x8055, 2)], ..good() }, [INV, INV, DEN, INV]),
            ("a VM as receiver", Descriptor { receivers: vec![(2, 2)], ..good() }, [DEN, OK, DEN, DEN]),
            ("mixed receivers", Descriptor { receivers: two((2, 2)), ..good() }, [OK, OK, OK, OK]),
            ("secure sender", Descriptor { sender: 0x8001, ..good() }, [DEN, DEN, DEN, DEN]),
            ("unknown sender", Descriptor { sender: 7, ..good() }, [OK, OK, DEN, OK]),
            ("range count 2 of 1", Descriptor { range_count: Some(2), ..good() }, [INV, INV, INV, INV]),
            ("range count 0 of 1", Descriptor { range_count: Some(0), ..good() }, [INV, INV, INV, INV]),
            ("receiver twice", Descriptor { receivers: two((SP1.0, 2)), ..good() }, [INV, INV, OK, INV]),
            ("no data access", Descriptor { receivers: vec![(SP1.0, 0)], ..good() }, [INV, OK, INV, INV]),
            ("read only", Descriptor { receivers: vec![(SP1.0, 1)], ..good() }, [OK, OK, INV, OK]),
            (
                "reserved data access",
                Descriptor { receivers: vec![(SP1.0, 3)], ..good() },
                [INV, OK, INV, INV],
            ),
            ("executable", Descriptor { receivers: vec![(SP1.0, 0b1010)], ..good() }, [INV, OK, INV, INV]),
            ("NS attribute", Descriptor { attributes: 0x6f, ..good() }, [INV, INV, INV, INV]),
            ("device memory", Descriptor { attributes: 0x13, ..good() }, [DEN, OK, INV, DEN]),
            ("not cacheable", Descriptor { attributes: 0x27, ..good() }, [DEN, OK, INV, DEN]),
            ("total of 3 pages", Descriptor { total_pages: Some(3), ..good() }, [INV, INV, INV, INV]),
            ("total of no pages", Descriptor { total_pages: Some(0), ..good() }, [INV, INV, INV, INV]),
            ("not aligned", Descriptor::pages(0x4000_0800, 1), [INV, OK, OK, INV]),
            ("wraps", Descriptor::pages(u64::MAX - 0xfff, 2), [INV, INV, INV, INV]),
            ("past the supported width", Descriptor::pages(1 << 50, 1), [INV, OK, OK, INV]),
            ("the hypervisor's TX", Descriptor::pages(TX, 1), [DEN, OK, OK, DEN]),
            ("handle without bit 63", Descriptor { handle: 5, ..good() }, [OK, OK, Err(NoMemory), INV]),
        ],
    );
}

#[test]
fn overlaps_and_empty_ranges() {
    let (a, b) = (0x4000_0000, 0x5000_0000);
    let ranges = |ranges: &[(u64, u32)]| Descriptor { ranges: ranges.to_vec(), ..Descriptor::good() };
    check(
        MEM_SHARE,
        &[
            ("adjacent", ranges(&[(a, 2), (a + 0x2000, 1)]), [OK, OK, OK, OK]),
            ("overlapping", ranges(&[(a, 5), (a + 0x1000, 2)]), [INV, OK, OK, INV]),
            ("an empty one", ranges(&[(a, 2), (b, 0)]), [OK, OK, OK, INV]),
            ("an empty one hides", ranges(&[(a, 5), (b, 0), (a + 0x1000, 2)]), [OK, OK, OK, INV]),
            ("page sum wraps", ranges(&[(a, u32::MAX), (b, 3)]), [INV, INV, INV, INV]),
        ],
    );
}

#[test]
fn lends_and_donations() {
    let lent = || Descriptor { attributes: 0, ..Descriptor::good() };
    let both = vec![(SP1.0, 2), (SP2.0, 2)];
    check(
        MEM_LEND,
        &[
            ("good", lent(), [OK, OK, OK, OK]),
            ("type given", Descriptor { attributes: 0x2f, ..lent() }, [INV, OK, INV, INV]),
            (
                "type given to two",
                Descriptor { attributes: 0x2f, receivers: both.clone(), ..lent() },
                [OK, OK, INV, OK],
            ),
            ("no type to two", Descriptor { receivers: both.clone(), ..lent() }, [DEN, OK, OK, DEN]),
            ("zeroed", Descriptor { flags: 1, ..lent() }, [OK, INV, OK, OK]),
            ("to a VM", Descriptor { receivers: vec![(2, 2)], ..lent() }, [DEN, OK, DEN, DEN]),
        ],
    );
    let donated = || Descriptor { receivers: vec![(SP1.0, 0)], ..lent() };
    check(
        MEM_DONATE,
        &[
            ("good", donated(), [OK, NSUP, NSUP, OK]),
            ("with data access", lent(), [INV, NSUP, NSUP, INV]),
            ("to two", Descriptor { receivers: both, ..lent() }, [INV, NSUP, NSUP, INV]),
        ],
    );
}

#[test]
fn a_lend_can_ask_for_zeroes() {
    let mut world = World::new(Preset::Hafnium, lazy());
    world.memory.write(0x4000_1ff0, &[7; 16]).unwrap();
    let lent = Descriptor { attributes: 0, flags: 1, ..Descriptor::good() };
    handle_of(&world.send(MEM_LEND, &lent.bytes()));
    assert_eq!(world.read(0x4000_1ff0), [0; 16]);
}

#[test]
fn memory_that_was_sent_already() {
    for (preset, expected) in Preset::ALL.into_iter().zip([DEN, INV, OK, DEN]) {
        let mut world = World::new(preset, lazy());
        world.share(&Descriptor::good());
        for first in [0x4000_0000, 0x4000_1000, 0x3fff_f000] {
            let mut again = world.spmc.clone();
            core::mem::swap(&mut again, &mut world.spmc);
            let answer = world.send(MEM_SHARE, &Descriptor::pages(first, 2).bytes());
            assert_eq!(status_of(&answer), expected, "{preset:?} {first:#x}");
            world.spmc = again;
        }
    }
}

#[test]
fn hafnium_looks_at_the_last_range_of_the_first_part_alone() {
    let mut world = World::new(Preset::Hafnium, lazy());
    world.share(&Descriptor::good());
    let (old, new) = ((0x4000_0000, 2), (0x6000_0000, 1));
    let send = |world: &mut World, ranges| {
        let descriptor = Descriptor { ranges, ..Descriptor::good() };
        status_of(&world.send(MEM_SHARE, &descriptor.bytes()))
    };
    assert_eq!(send(&mut world, vec![new, old]), DEN);
    assert_eq!(send(&mut world, vec![old, new]), OK);
    let both: Vec<_> = world.spmc.reaches().filter(|reached| reached.extent.base == old.0).collect();
    assert_eq!(both.len(), 2, "the truth knows both");
}

#[test]
fn registers_of_a_send() {
    let len = Descriptor::good().bytes().len() as u64;
    let nomem = Err(NoMemory);
    let rows: [(&str, [u64; 8], Answers); 9] = [
        ("good", [MEM_SHARE, len, len, 0, 0, 0, 0, 0], [OK, OK, OK, OK]),
        ("64 bits", [MEM_SHARE | 1 << 30, len, len, 0, 0, 0, 0, 0], [OK, OK, OK, OK]),
        ("another buffer", [MEM_SHARE, len, len, 0x1000, 1, 0, 0, 0], [INV, INV, INV, INV]),
        ("pages without buffer", [MEM_SHARE, len, len, 0, 1, 0, 0, 0], [INV, INV, INV, INV]),
        ("w5", [MEM_SHARE, len, len, 0, 0, 1, 0, 0], [OK, OK, INV, INV]),
        ("part past the whole", [MEM_SHARE, len - 16, len, 0, 0, 0, 0, 0], [INV, INV, INV, INV]),
        ("part past TX", [MEM_SHARE, 8192, 8192, 0, 0, 0, 0, 0], [INV, INV, DEN, INV]),
        ("upper half of x1", [MEM_SHARE, len | 1 << 32, len, 0, 0, 0, 0, 0], [OK, nomem, OK, OK]),
        ("odd length", [MEM_SHARE, len + 1, len, 0, 0, 0, 0, 0], [INV, nomem, OK, INV]),
    ];
    for (what, head, answers) in rows {
        for (preset, expected) in Preset::ALL.into_iter().zip(answers) {
            let mut world = World::new(preset, lazy());
            world.memory.write(TX, &Descriptor::good().bytes()).unwrap();
            let answer = world.call(head);
            let result = match Answer::from_regs(&answer) {
                Answer::MemFragRx(_) => OK,
                _ => status_of(&answer),
            };
            assert_eq!(result, expected, "{preset:?}: {what}");
        }
    }
    for (preset, expected) in Preset::ALL.into_iter().zip([INV, INV, DEN, INV]) {
        let mut world = World::new(preset, lazy());
        world.call([0x8400_0067]);
        assert_eq!(status_of(&world.call([MEM_SHARE, len, len])), expected, "{preset:?}: no TX");
    }
}

#[test]
fn optee_takes_another_buffer() {
    let mut world = World::new(Preset::Optee, lazy());
    let bytes = Descriptor::good().bytes();
    world.memory.write(0x3000_0000, &bytes).unwrap();
    let len = bytes.len() as u64;
    assert_eq!(status_of(&world.call([MEM_SHARE, len, len, 0x3000_0000, 1])), OK);
}

#[test]
fn handles_and_their_reuse() {
    let raw = |handle: Handle| handle.get();
    for (preset, first, second, reused) in [
        (Preset::Hafnium, 0, 1, 0),
        (Preset::TfaEl3, 0xffff_ffc0, 0xffff_ffc1, 0xffff_ffc2),
        (Preset::Optee, 1 << 44 | 0x1_0000, 1 << 44 | 0x1_0001, 1 << 44 | 0x1_0000),
        (Preset::Strict, 1, 2, 3),
    ] {
        let mut world = World::new(preset, lazy());
        let handles = [0x4000_0000, 0x5000_0000].map(|page| world.share(&Descriptor::pages(page, 1)));
        assert_eq!(handles.map(raw), [first, second], "{preset:?}");
        assert_eq!(status_of(&world.reclaim(handles[0])), OK);
        assert_eq!(raw(world.share(&Descriptor::pages(0x6000_0000, 1))), reused, "{preset:?}");
    }
}

#[test]
fn optee_takes_the_hypervisors_own_handle_once() {
    let mut world = World::new(Preset::Optee, lazy());
    let own = 1 << 63 | 1 << 45 | 7;
    let given = |page| Descriptor { handle: own, ..Descriptor::pages(page, 1) };
    let handle = world.share(&given(0x4000_0000));
    assert_eq!(handle.get(), own);
    let again = world.send(MEM_SHARE, &given(0x5000_0000).bytes());
    assert_eq!(status_of(&again), Err(NoMemory));
    assert_eq!(status_of(&world.reclaim(handle)), OK);
}

#[test]
fn callers_of_1_0_send_the_old_layout() {
    let inv = [INV, OK, OK, INV];
    for (at, byte, answers) in [(0, 1, [OK; 4]), (3, 1, inv), (24, 1, inv), (28, 0, [INV; 4]), (40, 1, inv)] {
        for (preset, expected) in Preset::ALL.into_iter().zip(answers) {
            let mut world = World::raw(preset, lazy());
            world.call([0x8400_0063, 0x1_0000]);
            world.map_buffers();
            world.tell(VmAvailability::Created, VM1, SP1);
            let new = Descriptor { composite_offset: Some(48), ..Descriptor::good() }.bytes();
            // Header without size and offset of the access descriptors, which follow at once.
            let mut old = new[..24].to_vec();
            old.extend([0; 4]);
            old.extend(1_u32.to_le_bytes());
            old.extend(&new[48..]);
            old[at] = byte;
            assert_eq!(status_of(&world.send(MEM_SHARE, &old)), expected, "{preset:?}: byte {at}");
        }
    }
}

#[test]
fn the_handles_of_tfa_grow_past_32_bits() {
    let config = Preset::TfaEl3.config();
    let mut world = World::new(config, lazy());
    let last = (0..=64).map(|page| world.share(&Descriptor::pages(0x4000_0000 + page * PAGE, 1))).last();
    assert_eq!(last.unwrap().get(), 0x1_0000_0000);
    assert_eq!(status_of(&world.reclaim(last.unwrap())), OK);
}

#[test]
fn optee_prefers_the_living_guest_of_an_id() {
    let mut world = World::new(Preset::Optee, lazy());
    let old = world.share(&Descriptor::good());
    let other = world.share(&Descriptor::pages(0x5000_0000, 1));
    world.tell(VmAvailability::Destroyed, VM1, SP1);
    world.tell(VmAvailability::Created, VM1, SP1);
    let new = world.share(&Descriptor::pages(0x6000_0000, 1));
    assert_eq!(new, old);
    assert_eq!(status_of(&world.reclaim(other)), INV, "the living guest has no such handle");
    assert_eq!(status_of(&world.reclaim(old)), OK);
    assert_eq!(world.spmc.can_reach(0x6000_0000), None, "it named the new share");
    assert!(world.spmc.can_reach(0x4000_0000).is_some());
    world.tell(VmAvailability::Destroyed, VM1, SP1);
    assert_eq!(status_of(&world.reclaim(old)), OK, "nobody lives: the old one again");
    assert_eq!(status_of(&world.reclaim(other)), OK);
    assert_eq!(world.spmc.reaches().count(), 0);
}

#[test]
fn limits() {
    for (preset, limit) in [(Preset::Hafnium, 100), (Preset::Optee, 64)] {
        let mut world = World::new(preset, lazy());
        let page = |number: u64| Descriptor::pages(0x4000_0000 + number * PAGE, 1);
        for number in 0..limit {
            world.share(&page(number));
        }
        assert_eq!(status_of(&world.send(MEM_SHARE, &page(limit).bytes())), Err(NoMemory), "{preset:?}");
    }
    let mut world = World::new(Preset::TfaEl3, lazy());
    let many = |number: u64| Descriptor {
        ranges: (0..200).map(|page| (0x4000_0000 + (number * 200 + page) * PAGE, 1)).collect(),
        ..Descriptor::good()
    };
    // 48 + 16 + 16 + 200 ranges of 16 bytes, into 64 KiB.
    for number in 0..19 {
        world.share(&many(number));
    }
    assert_eq!(status_of(&world.send(MEM_SHARE, &many(19).bytes())), Err(NoMemory));
}

#[test]
fn reclaims() {
    let rows: [(&str, [u64; 5], Answers); 6] = [
        ("good", [0, 0, 0, 0, 0], [OK, OK, OK, OK]),
        ("zero flag", [0, 0, 1, 0, 0], [OK, INV, INV, OK]),
        ("time slice flag", [0, 0, 2, 0, 0], [OK, INV, INV, INV]),
        ("w4", [0, 0, 0, 1, 0], [OK, OK, INV, OK]),
        ("another handle", [0x77, 0, 0, 0, 0], [INV, INV, INV, INV]),
        ("another high word", [0, 0x10, 0, 0, 0], [INV, INV, INV, INV]),
    ];
    for (what, [low, high, w3, w4, w5], answers) in rows {
        for (preset, expected) in Preset::ALL.into_iter().zip(answers) {
            let mut world = World::new(preset, lazy());
            let [right_low, right_high] = world.share(&Descriptor::good()).words();
            let answer = world.call([0x8400_0077, right_low ^ low, right_high ^ high, w3, w4, w5]);
            assert_eq!(status_of(&answer), expected, "{preset:?}: {what}");
        }
    }
}

fn frag_tx(world: &mut World, handle: Handle, part: &[u8], w4: u64) -> Regs {
    world.memory.write(TX, part).unwrap();
    let [low, high] = handle.words();
    world.call([0x8400_007b, low, high, part.len() as u64, w4])
}

/// Sends all but the last range, and gives the handle and the missing bytes.
fn half_send(world: &mut World) -> (Regs, Vec<u8>) {
    let ranges = vec![(0x4000_0000, 1), (0x5000_0000, 1), (0x6000_0000, 1)];
    let mut first = Descriptor { ranges, ..Descriptor::good() }.bytes();
    let total = first.len() as u64;
    let rest = first.split_off(first.len() - 16);
    world.memory.write(TX, &first).unwrap();
    (world.call([MEM_SHARE, total, first.len() as u64]), rest)
}

#[test]
fn a_half_sent_descriptor_waits_for_the_rest() {
    for (preset, endpoint) in Preset::ALL.into_iter().zip([1, 1, 0, 1]) {
        let mut world = World::new(preset, lazy());
        let (answer, rest) = half_send(&mut world);
        let Answer::MemFragRx(next) = Answer::from_regs(&answer) else { panic!("{answer:x?}") };
        assert_eq!((next.offset, next.endpoint), (112, PartitionId(endpoint)), "{preset:?}");
        let half: Vec<_> = world.spmc.live_handles().collect();
        let expected = LiveHandle { handle: next.handle, owner: VM1, complete: false };
        assert_eq!(half, [expected], "{preset:?}");
        assert_eq!(world.spmc.reaches().count(), 0, "nothing is shared yet");
        assert_eq!(status_of(&world.reclaim(next.handle)), INV, "{preset:?}");
        let done = frag_tx(&mut world, next.handle, &rest, 1 << 16);
        assert_eq!(handle_of(&done), next.handle, "{preset:?}");
        assert_eq!(world.spmc.reaches().count(), 3);
        let again = frag_tx(&mut world, next.handle, &rest, 1 << 16);
        assert_eq!(status_of(&again), INV, "{preset:?}: after the last");
        assert_eq!(status_of(&world.reclaim(next.handle)), OK);
    }
}

#[test]
fn bad_parts() {
    type Fate = (Result, bool);
    type Fates = [Fate; 4];
    let (kept, gone): (Fate, Fate) = ((INV, true), (INV, false));
    let rows: [(&str, usize, u64, Fates); 3] = [
        ("wrong sender", 16, 2 << 16, [(OK, true), kept, kept, kept]),
        ("too long", 32, 1 << 16, [(OK, true), gone, gone, gone]),
        ("odd length", 8, 1 << 16, [kept, (OK, true), (OK, true), gone]),
    ];
    for (what, len, w4, fates) in rows {
        for (preset, (expected, stays)) in Preset::ALL.into_iter().zip(fates) {
            let mut world = World::new(preset, lazy());
            let (answer, mut rest) = half_send(&mut world);
            let Answer::MemFragRx(next) = Answer::from_regs(&answer) else { panic!("{answer:x?}") };
            rest.resize(len, 0);
            let answer = frag_tx(&mut world, next.handle, &rest, w4);
            let result = match Answer::from_regs(&answer) {
                Answer::MemFragRx(_) => OK,
                _ => status_of(&answer),
            };
            assert_eq!(result, expected, "{preset:?}: {what}");
            let stayed = world.spmc.live_handles().count() == 1;
            assert_eq!(stayed, stays, "{preset:?}: {what}");
        }
    }
}

#[test]
fn a_bad_whole_is_forgotten_and_its_handle_is_free() {
    for preset in Preset::ALL {
        let mut world = World::new(preset, lazy());
        let (answer, mut rest) = half_send(&mut world);
        let Answer::MemFragRx(next) = Answer::from_regs(&answer) else { panic!("{answer:x?}") };
        rest[8] = 9; // pages: the sum is wrong
        assert_eq!(status_of(&frag_tx(&mut world, next.handle, &rest, 1 << 16)), INV, "{preset:?}");
        assert_eq!(world.spmc.live_handles().count(), 0, "{preset:?}");
        assert_eq!(status_of(&world.reclaim(next.handle)), INV, "{preset:?}");
    }
}

#[test]
fn one_half_sent_descriptor_blocks_another_vm_at_tfa() {
    let mut world = World::new(Preset::TfaEl3, lazy());
    half_send(&mut world);
    let other = Descriptor { sender: 2, ..Descriptor::pages(0x5000_0000, 1) };
    assert_eq!(status_of(&world.send(MEM_SHARE, &other.bytes())), INV);
}
