//! Memory transactions in several fragments: rows F-01 to F-17 of the negative cases, and shares of any size.

mod common;

use common::sends::*;
use common::*;
use ffa_abi::{Answer, Handle, Regs, Status, Version};
use ffa_hyp_glue::{Creation, DraftSlot, Settings};
use ffa_mem::TrackedRange;
use ffa_teardown::DutySlot;
use ffa_test_utils::hypervisor::{Machine, Region};
use ffa_test_utils::spmc::{Config, Limits};

const INVALID: Status = Status::InvalidParameters;
const MEM_FRAG_TX: u64 = 0x8400_007b;
const FEATURES: u64 = 0x8400_0064;

/// One page of every other, and so no two that touch.
fn scattered(count: u64) -> Vec<(u64, u32)> {
    (0..count).map(|n| (PAGES + 2 * n * PAGE, 1)).collect()
}

/// Bytes of a descriptor before its ranges.
fn head_len(bytes: &[u8], ranges: usize) -> usize {
    bytes.len() - 16 * ranges
}

/// What FFA_MEM_FRAG_RX asks for: of which transaction, and from where on.
fn asked(regs: &Regs) -> Option<(Handle, usize)> {
    let Answer::MemFragRx(rx) = Answer::from_regs(regs) else { return None };
    assert_eq!(rx.to_regs(), *regs, "nothing else is in the answer");
    assert_eq!(rx.endpoint.0, 0);
    Some((rx.handle, rx.offset as usize))
}

impl World {
    /// FFA_MEM_SHARE of the first `len` bytes of a descriptor.
    fn begin(&mut self, bytes: &[u8], len: usize) -> Regs {
        self.begin_as(SHARE, bytes, len)
    }

    fn begin_as(&mut self, send: Send, bytes: &[u8], len: usize) -> Regs {
        self.write_tx(VM1, &bytes[..len]);
        self.call(VM1, [send.w0, bytes.len() as u64, len as u64])
    }

    /// The same, which must work.
    #[track_caller]
    fn begun(&mut self, bytes: &[u8], len: usize) -> Handle {
        self.begun_as(SHARE, bytes, len)
    }

    #[track_caller]
    fn begun_as(&mut self, send: Send, bytes: &[u8], len: usize) -> Handle {
        let answer = self.begin_as(send, bytes, len);
        let (handle, offset) = asked(&answer).unwrap_or_else(|| panic!("{}: {answer:x?}", self.preset));
        assert_eq!(offset, len);
        handle
    }

    fn frag(&mut self, handle: Handle, bytes: &[u8]) -> Regs {
        self.write_tx(VM1, bytes);
        self.frag_len(handle, bytes.len() as u64)
    }

    fn frag_len(&mut self, handle: Handle, len: u64) -> Regs {
        let [low, high] = handle.words();
        self.call(VM1, [MEM_FRAG_TX, low, high, len])
    }

    /// Sends a descriptor in fragments that end where `cuts` says, and gives the last answer.
    fn in_fragments(&mut self, bytes: &[u8], cuts: &[usize]) -> Regs {
        let handle = self.begun(bytes, cuts[0]);
        let ends = cuts[1..].iter().copied().chain([bytes.len()]);
        let mut answer = Regs::new([0]);
        for (from, to) in cuts.iter().copied().zip(ends) {
            answer = self.frag(handle, &bytes[from..to]);
            if to < bytes.len() {
                assert_eq!(asked(&answer), Some((handle, to)), "{}", self.preset);
            }
        }
        if let Some(shared) = handle_of(&answer) {
            assert_eq!(shared, handle, "the handle that the guest was shown");
        }
        answer
    }

    /// The secure world and the mediator have nothing of the transaction any more.
    #[track_caller]
    fn nothing_is_left(&mut self) {
        self.check();
        assert_eq!(self.hypervisor.spmc().live_handles().count(), 0, "{}", self.preset);
        let report = self.hypervisor.report(VM1).expect("it lives");
        // RX and TX touch, and are one range.
        assert_eq!((report.shares, report.pages, report.ranges), (0, 0, 1), "{}", self.preset);
    }

    /// The VM dies, and all comes back.
    #[track_caller]
    fn end(&mut self) {
        self.destroy(VM1);
        assert!(self.hypervisor.settle(LONG), "{}", self.preset);
        self.check_all_gone();
    }
}

#[test]
fn f01_f02_f12_f14_one_range_per_fragment_after_the_head_alone() {
    every_preset(|preset| {
        let mut heads = Vec::new();
        for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
            let mut world = World::boot(machine(preset, lazy_sps()));
            world.live(VM1, version);
            // More fragments than Hafnium takes.
            let ranges = scattered(31);
            let bytes = descriptor(version, VM1, SP1, &ranges);
            let head = head_len(&bytes, 31);
            let cuts: Vec<_> = (0..31).map(|n| head + 16 * n).collect();
            let answer = world.in_fragments(&bytes, &cuts);
            let handle = handle_of(&answer).unwrap_or_else(|| panic!("{preset:?} {answer:x?}"));
            let spmc: Vec<_> = world.hypervisor.spmc().reaches().map(|reached| reached.sp).collect();
            assert_eq!(spmc, [SP1; 31]);
            let report = world.hypervisor.report(VM1).expect("it lives");
            assert_eq!((report.shares, report.pages), (1, 31));
            assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
            world.nothing_is_left();
            heads.push(head);
            world.end();
        }
        // Offsets count in the guest's own layout.
        assert_eq!([heads[1] - heads[0], heads[2] - heads[0]], [16, 32]);
    });
}

/// The secure world gets the pages in the order of the descriptor, whatever that is.
#[test]
fn pages_keep_their_order() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, lazy_sps()));
        let mut ranges = scattered(20);
        ranges.reverse();
        ranges.push((PAGES + 50 * PAGE, 3));
        ranges.push((PAGES + 47 * PAGE, 3));
        let order: Vec<u64> = ranges
            .iter()
            .flat_map(|&(base, pages)| (0..u64::from(pages)).map(move |n| base + n * PAGE))
            .collect();
        let bytes = descriptor(Version::V1_1, VM1, SP1, &ranges);
        let head = head_len(&bytes, ranges.len());
        assert!(handle_of(&world.in_fragments(&bytes, &[head + 32, head + 48])).is_some());
        // Behind the block is one physical run.
        let first =
            world.hypervisor.spmc().reaches().map(|reached| reached.extent.base).min().expect("shared");
        let lowest = order.iter().min().expect("pages");
        let physical: Vec<u64> = world
            .hypervisor
            .spmc()
            .reaches()
            .flat_map(|reached| {
                (0..u64::from(reached.extent.pages)).map(move |n| reached.extent.base + n * PAGE)
            })
            .map(|address| address - first + lowest)
            .collect();
        assert_eq!(physical, order, "{preset:?}");
        world.end();
    });
}

/// A bad fragment ends the transaction: nothing is left of it anywhere.
#[test]
fn f03_f04_f17_bad_lengths() {
    every_preset(|preset| {
        let ranges = scattered(8);
        let bytes = descriptor(Version::V1_1, VM1, SP1, &ranges);
        let head = head_len(&bytes, 8);
        let left = 6 * 16;
        for len in [0, 8, 17, 0x1010, 0x2000, u64::from(u32::MAX), left + 16, left + 8, left - 8, 1] {
            let mut world = World::with(machine(preset, lazy_sps()));
            let handle = world.begun(&bytes, head + 32);
            world.write_tx(VM1, &bytes[head + 32..]);
            assert_eq!(world.frag_len(handle, len), Regs::error(INVALID), "{preset:?} {len:#x}");
            world.nothing_is_left();
            assert_eq!(world.frag_len(handle, 16), Regs::error(INVALID));
            assert!(handle_of(&world.in_fragments(&bytes, &[head])).is_some());
            world.end();
        }
    });
}

/// Bad contents, in the first fragment or a later one.
#[test]
fn ranges_that_are_bad_are_found_when_they_come_or_with_the_last() {
    let row = |address: u64, pages: u32, reserved: u32| {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(pages.to_le_bytes());
        bytes.extend(reserved.to_le_bytes());
        bytes
    };
    let rows = [
        ("an unaligned address", row(PAGES + 1, 1, 0), INVALID),
        ("no pages", row(PAGES + 40 * PAGE, 0, 0), INVALID),
        ("a range that wraps", row(u64::MAX << 12, 2, 0), INVALID),
        ("a reserved word", row(PAGES + 40 * PAGE, 1, 1), INVALID),
        ("F-E20: too many pages", row(PAGES + 40 * PAGE, 2, 0), INVALID),
        ("F-E27: overlaps an earlier fragment", row(PAGES, 1, 0), INVALID),
        ("overlaps this fragment", row(PAGES + 12 * PAGE, 1, 0), INVALID),
        ("TX", row(TX, 1, 0), Status::Denied),
        ("shared already", row(PAGES + 60 * PAGE, 1, 0), Status::Denied),
        ("nobody's", row(0x9000_0000, 1, 0), Status::Denied),
        ("no address", row(1 << 52, 1, 0), Status::Denied),
        ("a device", row(DEVICE, 1, 0), Status::Denied),
        ("read only", row(READ_ONLY, 1, 0), Status::Denied),
    ];
    for (name, bad, status) in &rows {
        for at in [3, 7] {
            each_send(|world, send| {
                let other = world.share(VM1, SP2, &[(PAGES + 60 * PAGE, 1)]);
                let mut bytes = send.bytes(&scattered(8));
                let head = head_len(&bytes, 8);
                bytes[head + 16 * at..head + 16 * (at + 1)].copy_from_slice(bad);
                let handle = world.begun_as(send, &bytes, head + 32);
                // Two by two; the last answer is that of the fragment which shows it.
                let mut answers = (2..8).step_by(2).map(|n| {
                    let part = bytes[head + 16 * n..head + 16 * (n + 2)].to_vec();
                    world.frag(handle, &part)
                });
                let refused = answers.find(|answer| asked(answer).is_none()).expect("refused");
                assert_eq!(refused, Regs::error(*status), "{}: {send:?}: {name}", world.preset);
                assert_eq!(world.frag_len(handle, 16), Regs::error(INVALID), "{name}");
                assert_eq!(world.hypervisor.store(VM1, PAGES, &[1; 8]), Ok(()), "{name}");
                assert_eq!(world.reclaim(VM1, other), Regs::success(0, 0));
                world.nothing_is_left();
                world.end();
            });
        }
    }
    // Too few pages in all, which only the last fragment shows.
    each_send(|world, send| {
        let mut bytes = send.bytes(&scattered(8));
        let head = head_len(&bytes, 8);
        bytes[head - 16] += 1;
        let handle = world.begun_as(send, &bytes, head);
        assert_eq!(world.frag(handle, &bytes[head..]), Regs::error(INVALID));
        world.nothing_is_left();
        world.end();
    });
}

#[test]
fn a_first_fragment_that_is_bad_begins_nothing() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, lazy_sps()));
        let bytes = descriptor(Version::V1_1, VM1, SP1, &scattered(8));
        let (len, head) = (bytes.len() as u64, head_len(&bytes, 8));
        world.write_tx(VM1, &bytes);
        for part in [0, 1, 16, 47, head - 1, head + 1, head + 8] {
            world.refused("the head is not whole", VM1, [MEM_SHARE, len, part as u64], INVALID);
        }
        world.refused("other lengths than the count says", VM1, [MEM_SHARE, len + 16, head as u64], INVALID);
        world.refused("beyond the total", VM1, [MEM_SHARE, len, len + 16], INVALID);
        let unknown = descriptor(Version::V1_1, VM1, SP3, &scattered(8));
        world.write_tx(VM1, &unknown);
        world.refused("an SP that is not there", VM1, [MEM_SHARE, len, head as u64], INVALID);
        let mut huge = bytes.clone();
        huge[head - 16..head - 12].copy_from_slice(&129_u32.to_le_bytes());
        world.write_tx(VM1, &huge);
        world.refused("more than the quota", VM1, [MEM_SHARE, len, head as u64], Status::NoMemory);
        world.nothing_is_left();
        world.end();
    });
}

#[test]
fn f05_f06_f07_f08_handles_that_name_no_draft_of_the_guest() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, lazy_sps()));
        world.live(VM2, Version::V1_1);
        let bytes = descriptor(Version::V1_1, VM1, SP1, &scattered(8));
        let head = head_len(&bytes, 8);
        let complete = world.share(VM1, SP1, &[(PAGES + 40 * PAGE, 1)]);
        let handle = world.begun(&bytes, head);
        let [low, high] = handle.words();
        let [low_of_other, high_of_other] = complete.words();
        for (name, vm, regs) in [
            ("F-05 unknown", VM1, [MEM_FRAG_TX, low ^ 0x40, high, 16, 0]),
            ("F-05 all ones", VM1, [MEM_FRAG_TX, 0xffff_ffff, 0xffff_ffff, 16, 0]),
            ("F-05 F-07 completed", VM1, [MEM_FRAG_TX, low_of_other, high_of_other, 16, 0]),
            ("F-05 of another guest", VM2, [MEM_FRAG_TX, low, high, 16, 0]),
            ("F-06 names a sender", VM1, [MEM_FRAG_TX, low, high, 16, 0x1_0000]),
            ("F-06 reserved", VM1, [MEM_FRAG_TX, low, high, 16, 1]),
            ("F-08 reclaim", VM1, [MEM_RECLAIM, low, high, 0, 0]),
            ("F-08 reclaim by another", VM2, [MEM_RECLAIM, low, high, 0, 0]),
        ] {
            world.refused(name, vm, regs, INVALID);
        }
        // None of them has harmed it.
        assert_eq!(handle_of(&world.frag(handle, &bytes[head..])), Some(handle));
        world.refused("F-07 after the last", VM1, [MEM_FRAG_TX, low, high, 16, 0], INVALID);
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        world.refused("F-05 reclaimed", VM1, [MEM_FRAG_TX, low, high, 16, 0], INVALID);
        world.destroy(VM2);
        world.end();
    });
}

#[test]
fn f09_as_many_at_a_time_as_there_are_slots() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, lazy_sps()));
        let of = |n: u64| {
            let ranges: Vec<_> = (0..4).map(|page| (PAGES + (10 * n + 2 * page) * PAGE, 1)).collect();
            descriptor(Version::V1_1, VM1, SP1, &ranges)
        };
        let head = head_len(&of(0), 4);
        let first = world.begun(&of(0), head);
        let second = world.begun(&of(1), head);
        assert_ne!(first, second);
        assert_eq!(world.begin(&of(2), head), Regs::error(Status::Busy));
        // A whole one needs no slot.
        world.share(VM1, SP2, &[(PAGES + 40 * PAGE, 1)]);
        assert_eq!(handle_of(&world.frag(second, &of(1)[head..])), Some(second));
        let third = world.begun(&of(2), head);
        assert_eq!(handle_of(&world.frag(first, &of(0)[head..])), Some(first));
        assert_eq!(handle_of(&world.frag(third, &of(2)[head..])), Some(third));
        world.end();
    });
}

/// A driver that begins anew has forgotten what it had begun.
#[test]
fn a_guest_that_unmaps_its_buffers_gives_its_drafts_up() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, lazy_sps()));
        let bytes = descriptor(Version::V1_1, VM1, SP1, &scattered(4));
        let head = head_len(&bytes, 4);
        let handles = [world.begun(&bytes, head + 32), world.begun(&bytes, head)];
        assert_eq!(world.call(VM1, [0x8400_0067]), Regs::success(0, 0));
        world.map(VM1);
        world.nothing_is_left();
        for handle in handles {
            assert_eq!(world.frag(handle, &bytes[head..]), Regs::error(INVALID));
        }
        assert!(handle_of(&world.in_fragments(&bytes, &[head])).is_some());
        world.end();
    });
}

/// Two that are collected at once may not have a page in common; the one that is complete first has it.
#[test]
fn a_page_in_two_drafts_is_the_first_ones() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, lazy_sps()));
        let bytes = descriptor(Version::V1_1, VM1, SP1, &scattered(4));
        let head = head_len(&bytes, 4);
        let first = world.begun(&bytes, head + 32);
        let second = world.begun(&bytes, head + 16);
        assert_eq!(handle_of(&world.frag(second, &bytes[head + 16..])), Some(second));
        assert_eq!(world.frag(first, &bytes[head + 32..]), Regs::error(Status::Denied));
        assert_eq!(world.reclaim(VM1, second), Regs::success(0, 0));
        world.nothing_is_left();
        world.end();
    });
}

#[test]
fn without_slots_nothing_goes_in_fragments_and_features_says_so() {
    every_preset(|preset| {
        for drafts in [0, 1] {
            let mut world = World::with(Machine { drafts, ..machine(preset, lazy_sps()) });
            let answer = world.call(VM1, [FEATURES, MEM_FRAG_TX]);
            let expected = if drafts == 0 { Regs::error(Status::NotSupported) } else { Regs::success(0, 0) };
            assert_eq!(answer, expected);
            let bytes = descriptor(Version::V1_1, VM1, SP1, &scattered(4));
            let answer = world.begin(&bytes, head_len(&bytes, 4));
            assert_eq!(asked(&answer).is_some(), drafts == 1, "{answer:x?}");
            if drafts == 0 {
                world.refused("F-05", VM1, [MEM_FRAG_TX, 1, 0, 16], Status::NotSupported);
                world.nothing_is_left();
            }
            world.end();
        }
    });
}

/// The mediator has read its copy: what another vCPU writes later counts for nothing.
#[test]
fn fragments_are_read_once() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, lazy_sps()));
        let bytes = descriptor(Version::V1_1, VM1, SP1, &scattered(8));
        let head = head_len(&bytes, 8);
        let scribble = world.hypervisor.scribbler();
        let interloper = move |_: &mut ffa_test_utils::hypervisor::Cpu, moment| {
            if let ffa_test_utils::hypervisor::Moment::Read(copy) = moment {
                scribble(VM1, copy.address, &vec![0xff; copy.len]);
            }
        };
        world.hypervisor.set_interloper(Some(Box::new(interloper)));
        let answer = world.in_fragments(&bytes, &[head + 16, head + 64, head + 80]);
        world.hypervisor.set_interloper(None);
        assert!(handle_of(&answer).is_some(), "{answer:x?}");
        assert_eq!(world.hypervisor.spmc().reaches().count(), 8);
        world.end();
    });
}

/// A descriptor of one fragment whose pages are scattered more than a page of TX can say.
#[test]
fn a_whole_descriptor_is_sent_in_fragments_where_its_runs_do_not_fit_one() {
    every_preset(|preset| {
        let pages = 700;
        let settings = Settings { pages_per_share: 1024, ..settings() };
        let mut world = World::boot(Machine { settings, ..machine(preset, lazy_sps()) });
        let memory = [Region::block(TX, 4), Region::loose(LOOSE, pages)];
        assert_eq!(world.hypervisor.create(VM1, &memory), Ok(Creation::Live));
        world.negotiate(VM1, Version::V1_1);
        world.map(VM1);
        let before = world.hypervisor.smcs();
        let handle = world.share(VM1, SP1, &[(LOOSE, pages), (PAGES, 2)]);
        // The pages of the block are one run, and the others are one each: 701 in three fragments.
        assert_eq!(world.hypervisor.smcs() - before, 3, "{preset:?}");
        let mut extents: Vec<_> =
            world.hypervisor.spmc().reaches().map(|reached| reached.extent.pages).collect();
        assert_eq!((extents.len(), extents.pop()), (701, Some(2)));
        assert_eq!(world.hypervisor.report(VM1).expect("it lives").pages, 702);
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        world.nothing_is_left();
        // If one of them is not the guest's, none is shared.
        let bytes = descriptor(Version::V1_1, VM1, SP1, &[(LOOSE, pages), (0x9000_0000, 1)]);
        assert_eq!(world.send(VM1, &bytes), Regs::error(Status::Denied));
        world.nothing_is_left();
        world.end();
    });
}

/// A guest with buffers of several pages sends fragments as long as they are.
#[test]
fn fragments_longer_than_a_page() {
    every_preset(|preset| {
        let ranges: Vec<_> = (0..600).map(|n| (LOOSE + 2 * n * PAGE, 1_u32)).collect();
        let settings = Settings { pages_per_share: 1024, ..settings() };
        let header = |version| descriptor(version, VM1, SP1, &[(LOOSE, 1)]);
        for version in [Version::V1_0, Version::V1_2] {
            let mut bytes = header(version);
            let head = bytes.len() - 16;
            bytes.truncate(head);
            bytes[head - 16..head - 8].copy_from_slice(&[600_u32, 600].map(u32::to_le_bytes).concat());
            for (address, pages) in &ranges {
                bytes.extend(address.to_le_bytes());
                bytes.extend(u64::from(*pages).to_le_bytes());
            }
            for first in [bytes.len(), 4096, 4112, head, head + 8000, 8192] {
                let mut world = World::boot(Machine { settings, ..machine(preset, lazy_sps()) });
                let memory = [Region::block(TX, 16), Region::block(LOOSE, 1200)];
                assert_eq!(world.hypervisor.create(VM1, &memory), Ok(Creation::Live));
                world.negotiate(VM1, version);
                assert_eq!(world.call(VM1, [0xc400_0066, TX, TX + 8 * PAGE, 4]), Regs::success(0, 0));
                let answer = if first == bytes.len() {
                    world.begin(&bytes, first)
                } else {
                    world.in_fragments(&bytes, &[first])
                };
                assert!(handle_of(&answer).is_some(), "{preset:?} {version} {first}: {answer:x?}");
                assert_eq!(world.hypervisor.spmc().reaches().count(), 600);
                world.end();
            }
        }
    });
}

/// 64 MiB of which no two pages touch, as Linux would send them: each fragment but the last a page, and none splits a
/// range. What it costs the mediator is printed.
#[test]
fn sixty_four_mebibytes_of_scattered_pages() {
    const COUNT: u32 = 16384;
    every_preset(|preset| {
        let config = preset.config();
        // Hafnium takes 20 fragments, so it has to have larger buffers; TF-A is to have the store of its FVP.
        let limits = Limits {
            buffer_pages: 8,
            store_bytes: config.limits.store_bytes.max(512 << 10),
            ..config.limits
        };
        let secure = Config { limits, ..config };
        let settings = Settings { pages_per_share: COUNT, pages_per_vm: COUNT, ..settings() };
        let room = Machine {
            frames: 40_000,
            ranges: COUNT as usize + 2,
            buffer_pages: 8,
            ..machine(secure, lazy_sps())
        };
        let mut world = World::boot(Machine { settings, ..room });
        let memory = [Region::block(TX, 4), Region::block(LOOSE, 2 * COUNT)];
        assert_eq!(world.hypervisor.create(VM1, &memory), Ok(Creation::Live));
        world.negotiate(VM1, Version::V1_1);
        world.map(VM1);
        let mut bytes = descriptor(Version::V1_1, VM1, SP1, &[(LOOSE, 1)]);
        let head = bytes.len() - 16;
        bytes.truncate(head);
        bytes[head - 16..head - 8].copy_from_slice(&[COUNT; 2].map(u32::to_le_bytes).concat());
        for n in 0..u64::from(COUNT) {
            bytes.extend((LOOSE + 2 * n * PAGE).to_le_bytes());
            bytes.extend(1_u64.to_le_bytes());
        }
        let cuts: Vec<_> = (1..).map(|n| 4096 * n).take_while(|cut| *cut < bytes.len()).collect();
        let before = world.hypervisor.smcs();
        let answer = world.in_fragments(&bytes, &cuts);
        let handle = handle_of(&answer).unwrap_or_else(|| panic!("{preset:?}: {answer:x?}"));
        let smcs = world.hypervisor.smcs() - before;
        assert_eq!(world.hypervisor.spmc().reaches().count(), COUNT as usize);
        assert_eq!(world.hypervisor.report(VM1).expect("it lives").pages, u64::from(COUNT));
        let ranges = world.hypervisor.report(VM1).expect("it lives").ranges;
        let used = ranges * size_of::<TrackedRange>();
        let constant = size_of::<DraftSlot>() + size_of::<DutySlot>();
        println!(
            "{}: 64 MiB in {COUNT} ranges: {} calls of the guest, {smcs} SMCs; {used} bytes for them, \
             {} for each, and {constant} besides",
            preset.name(),
            cuts.len() + 1,
            used / ranges,
        );
        // RX and TX touch, and are one.
        assert_eq!((ranges, used), (COUNT as usize + 1, 16 * (COUNT as usize + 1)));
        assert!(constant <= 256, "{constant}");
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0));
        world.nothing_is_left();
        world.end();
    });
}
