//! Memory that VMs lend each other: offered, retrieved, relinquished and reclaimed.

mod common;

use common::peers::*;
use common::*;
use ffa_abi::{Handle, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::{LenderDeath, Relation, Settings};
use ffa_mem::{
    DataAccess, IpaRange, MemoryAttributes, Permissions, Receiver, SendBuilder, SendFlags, SendHeader,
};
use ffa_teardown::Phase;
use ffa_test_utils::hypervisor::{BORROWED, Machine};
use ffa_test_utils::spmc::Preset;

const INVALID: Status = Status::InvalidParameters;
const DENIED: Status = Status::Denied;
const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

/// A share with several VMs, or with other permissions than usual.
fn share_with(version: Version, receivers: &[Receiver], ranges: &[(u64, u32)]) -> Vec<u8> {
    let header = SendHeader {
        version,
        sender: VM1,
        attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
        flags: SendFlags::NONE,
        tag: TAG,
    };
    let mut bytes = vec![0; 4096];
    let mut builder = SendBuilder::new(&mut bytes, &header, receivers.iter().copied()).expect("room");
    for &(base, pages) in ranges {
        builder.push(IpaRange::new(base, pages).expect("a range")).expect("room");
    }
    let len = builder.finish().expect("complete");
    bytes.truncate(len);
    bytes
}

fn receiver(id: PartitionId, data: DataAccess) -> Receiver {
    Receiver { id, permissions: Permissions::data(data), impdef: [0x1111, 0x2222] }
}

/// Everything a guest of one version shares with one of another arrives there, in order, and comes back.
#[test]
fn what_one_vm_shares_another_retrieves_relinquishes_and_the_first_has_back() {
    for preset in Preset::ALL {
        for (owner, borrower) in VERSIONS.iter().flat_map(|owner| VERSIONS.map(|borrower| (*owner, borrower)))
        {
            let mut world = World::boot(lending(preset, LenderDeath::Revoke));
            world.hypervisor.permit(|_, _, _| true);
            world.live(VM1, owner);
            world.live(VM2, borrower);
            // Not in the order of addresses, and no neighbours.
            let ranges = [(PAGES + 8 * PAGE, 2), (LOOSE, 1), (PAGES, 3)];
            for (page, address) in [(0_u8, PAGES + 8 * PAGE), (1, PAGES + 9 * PAGE), (2, LOOSE), (3, PAGES)] {
                world.hypervisor.write(VM1, address, &[page + 1; 16]);
            }
            let smcs = world.hypervisor.smcs();
            let answer =
                world.send(VM1, &share_with(owner, &[receiver(VM2, DataAccess::ReadWrite)], &ranges));
            let handle = handle_of(&answer).expect("shared");
            assert_eq!(handle.get() >> 63, 1, "a name of the hypervisor's");
            assert_eq!(world.hypervisor.borrowed(VM2), 0);
            let response = world.retrieve(&Request { version: borrower, ..Request::new(handle) });
            let impdef =
                if owner == Version::V1_2 && borrower == Version::V1_2 { [0x1111, 0x2222] } else { [0; 2] };
            let there = response.ranges.clone();
            let expected = Response {
                sender: VM1.0,
                attributes: 0x2f,
                flags: 1 << 3,
                handle: handle.get(),
                tag: TAG,
                borrower: VM2.0,
                // Read and write, and nobody executes it.
                permissions: 2 | 1 << 2,
                impdef,
                pages: 6,
                ranges: there.clone(),
            };
            assert_eq!(response, expected);
            assert_eq!(there.iter().map(|range| range.1).collect::<Vec<_>>(), [2, 1, 3]);
            let pages: Vec<u64> = there
                .iter()
                .flat_map(|(base, pages)| (0..u64::from(*pages)).map(move |page| base + page * PAGE))
                .collect();
            for (page, address) in (1_u8..).zip(&pages[..4]) {
                let mut bytes = [0; 16];
                world.hypervisor.read(VM2, *address, &mut bytes);
                assert_eq!(bytes, [page; 16], "page {page}");
            }
            world.hypervisor.write(VM2, pages[5], &[0x5a; 8]);
            let mut bytes = [0; 8];
            world.hypervisor.read(VM1, PAGES + 2 * PAGE, &mut bytes);
            assert_eq!(bytes, [0x5a; 8]);
            assert_eq!(world.reclaim(VM1, handle), Regs::error(DENIED));
            assert_eq!(world.relinquish(VM2, handle), DONE);
            assert_eq!(world.hypervisor.borrowed(VM2), 0);
            // It may have it again as long as it is offered.
            let again = world.retrieve(&Request { version: borrower, ..Request::new(handle) });
            assert_eq!((again.pages, again.ranges.len()), (6, 3));
            assert_eq!(world.relinquish(VM2, handle), DONE);
            assert_eq!(world.reclaim(VM1, handle), DONE);
            assert_eq!(world.reclaim(VM1, handle), Regs::error(INVALID));
            assert_eq!(
                world.ask(VM2, &Request { version: borrower, ..Request::new(handle) }.bytes()),
                Regs::error(INVALID)
            );
            // The secure world has heard nothing of it, but where it has RX.
            if !matches!(preset, Preset::Hafnium | Preset::Strict) {
                assert_eq!(world.hypervisor.smcs(), smcs);
            }
            world.end_all();
        }
    }
}

#[test]
fn r09_names_are_never_used_again() {
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    let mut names = Vec::new();
    for _ in 0..40 {
        let handle = world.offer(&[(PAGES, 1)]);
        assert!(!names.contains(&handle));
        names.push(handle);
        assert_eq!(world.reclaim(VM1, handle), DONE);
    }
    world.end_all();
}

/// The hypervisor decides, in three ways, that nobody lends: what is not served is not advertised either.
#[test]
fn without_leave_or_room_nothing_is_lent() {
    let off = lending(Preset::Strict, LenderDeath::Revoke);
    let no_room = Machine { loans: 0, ..lending(Preset::Strict, LenderDeath::Revoke) };
    let strangers = Machine { settings: Settings { vm_to_vm: false, ..off.settings }, ..off };
    for machine in [no_room, strangers] {
        let mut world = lenders_on(machine);
        for function in [RETRIEVE, 0xc400_0074, RELINQUISH, FRAG_RX] {
            world.refused("FFA_FEATURES", VM1, [0x8400_0064, function], Status::NotSupported);
            world.refused("the call", VM1, [function], Status::NotSupported);
        }
        let bytes = descriptor(Version::V1_1, VM1, VM2, &[(PAGES, 1)]);
        assert_eq!(world.send(VM1, &bytes), Regs::error(INVALID));
        world.end_all();
    }
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    for function in [RETRIEVE, 0xc400_0074, RELINQUISH, FRAG_RX] {
        assert_eq!(world.call(VM1, [0x8400_0064, function]), DONE);
    }
    // One that is denied, itself, and one that does not exist.
    world.hypervisor.permit(|_, relation, partner| relation != Relation::Share || partner != VM2);
    for receiver in [VM2, VM1, VM3] {
        let receivers = [self::receiver(receiver, DataAccess::ReadWrite)];
        let bytes = share_with(Version::V1_1, &receivers, &[(PAGES, 1)]);
        assert_eq!(world.send(VM1, &bytes), Regs::error(INVALID), "{receiver}");
    }
    world.end_all();
}

#[test]
fn a_borrower_gets_what_it_asks_for_and_no_more_than_it_was_given() {
    use DataAccess::{ReadOnly, ReadWrite};
    // Given, asked, and what comes of it: 1 to read, 2 to write as well, 4 not to execute.
    let rows = [
        (ReadWrite, 2, Ok(6)),
        (ReadWrite, 1, Ok(5)),
        (ReadWrite, 0, Ok(6)),
        (ReadWrite, 6, Ok(6)),
        (ReadWrite, 10, Err(DENIED)),
        (ReadOnly, 1, Ok(5)),
        (ReadOnly, 0, Ok(5)),
        (ReadOnly, 2, Err(DENIED)),
        (ReadWrite, 3, Err(INVALID)),
        (ReadWrite, 0x12, Err(INVALID)),
    ];
    for (given, asked, expected) in rows {
        let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
        let answer = world.send(VM1, &share_with(Version::V1_1, &[receiver(VM2, given)], &[(PAGES, 1)]));
        let handle = handle_of(&answer).expect("shared");
        let request = Request { borrowers: vec![(VM2.0, asked, 0, 0)], ..Request::new(handle) };
        match expected {
            Ok(permissions) => {
                let response = world.retrieve(&request);
                assert_eq!(response.permissions, permissions, "{given:?} {asked}");
                let writable = world.hypervisor.may_write(VM2, response.ranges[0].0);
                assert_eq!(writable, permissions & 2 != 0, "{given:?} {asked}");
            }
            Err(status) => assert_eq!(world.ask(VM2, &request.bytes()), Regs::error(status), "{asked}"),
        }
        world.end_all();
    }
}

/// Rows R13 to R15: each is one thing wrong with a request that is good otherwise, and changes nothing.
#[test]
fn r13_r14_r15_a_request_that_is_wrong_is_refused() {
    type Change = fn(&mut Request);
    let rows: [(&str, Change, Status); 26] = [
        ("unknown handle", |request| request.handle ^= 1 << 20, INVALID),
        ("no handle", |request| request.handle = u64::MAX, INVALID),
        ("handle of the SPMC's", |request| request.handle &= !(1 << 63), INVALID),
        ("wrong tag", |request| request.tag ^= 1, INVALID),
        ("wrong sender", |request| request.sender = VM3.0, DENIED),
        ("itself as sender", |request| request.sender = VM2.0, DENIED),
        ("lend", |request| request.flags = 2 << 3, INVALID),
        ("donate", |request| request.flags = 3 << 3, INVALID),
        ("zero before", |request| request.flags |= 1, INVALID),
        ("time slice", |request| request.flags |= 2, INVALID),
        ("zero after", |request| request.flags |= 4, INVALID),
        ("alignment", |request| request.flags |= 1 << 9 | 1 << 5, INVALID),
        ("hint without its bit", |request| request.flags |= 1 << 5, INVALID),
        ("all flags", |request| request.flags = 0xffff_ffff, INVALID),
        ("R14", |request| request.flags = 0xffff_ffe0, INVALID),
        ("R14", |request| request.flags = 0xffff_fde0, INVALID),
        ("R14", |request| request.flags = 0xffff_fc00, INVALID),
        ("device", |request| request.attributes = 0x13, DENIED),
        ("not cached", |request| request.attributes = 0x27, DENIED),
        ("reserved attributes", |request| request.attributes = 0x80, INVALID),
        ("nobody", |request| request.borrowers.clear(), INVALID),
        ("somebody else", |request| request.borrowers[0].0 = VM3.0, INVALID),
        ("a second one", |request| request.borrowers.push((VM3.0, 2, 0, 0)), INVALID),
        ("twice", |request| request.borrowers.push((VM2.0, 2, 0, 0)), INVALID),
        ("flags of a borrower", |request| request.borrowers[0].2 = 2, INVALID),
        ("an address of its own", |request| request.borrowers[0].3 = 64, INVALID),
    ];
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    let handle = world.offer(&[(PAGES, 2)]);
    for (name, change, status) in rows {
        let mut request = Request::new(handle);
        change(&mut request);
        assert_eq!(world.ask(VM2, &request.bytes()), Regs::error(status), "{name}");
        assert_eq!(world.hypervisor.borrowed(VM2), 0, "{name}");
    }
    // What says less is good: no type, no attributes.
    let modest = Request { flags: 0, attributes: 0, ..Request::new(handle) };
    assert_eq!(world.retrieve(&modest).flags, 1 << 3);
    assert_eq!(world.relinquish(VM2, handle), DONE);
    let good = Request::new(handle).bytes();
    // Every prefix, and one byte too many.
    for len in (0..good.len()).chain([good.len() + 1]) {
        let mut bytes = good.clone();
        bytes.resize(len, 0);
        assert_eq!(world.ask(VM2, &bytes), Regs::error(INVALID), "{len} bytes");
    }
    let len = good.len() as u64;
    world.write_tx(VM2, &good);
    assert_eq!(world.call(VM2, [RETRIEVE, len, len, PAGES, 1]), Regs::error(INVALID));
    assert_eq!(world.call(VM2, [RETRIEVE, len, len + 1]), Regs::error(INVALID));
    assert_eq!(world.call(VM2, [RETRIEVE, len, len - 16]), Regs::error(Status::NotSupported));
    assert_eq!(world.call(VM2, [RETRIEVE, 0x10_0000, 0x10_0000]), Regs::error(INVALID));
    // The owner, and one that is no borrower, know of it as little as of nothing.
    world.live(VM3, Version::V1_1);
    for vm in [VM1, VM3] {
        let request = Request { borrowers: vec![(vm.0, 2, 0, 0)], ..Request::new(handle) };
        assert_eq!(world.ask(vm, &request.bytes()), Regs::error(INVALID));
    }
    // It is still good.
    world.retrieve(&Request::new(handle));
    assert_eq!(world.ask(VM2, &good), Regs::error(DENIED), "a second time");
    world.end_all();
}

/// Row R16, and R01 to R07 and R10 for what is lent to VMs.
#[test]
fn r01_to_r07_r10_r16_a_relinquishment_or_a_reclaim_that_is_wrong_is_refused() {
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    world.live(VM3, Version::V1_1);
    let handle = world.offer(&[(PAGES, 2)]);
    assert_eq!(world.relinquish(VM2, handle), Regs::error(DENIED), "it does not have it");
    world.retrieve(&Request::new(handle));
    let raw = handle.get();
    let rows: [(&str, PartitionId, Vec<u8>); 9] = [
        ("nobody", VM2, relinquishment(raw, 0, &[])),
        ("two", VM2, relinquishment(raw, 0, &[VM2.0, VM3.0])),
        ("another", VM2, relinquishment(raw, 0, &[VM3.0])),
        ("unknown handle", VM2, relinquishment(raw ^ 1 << 20, 0, &[VM2.0])),
        ("no handle", VM2, relinquishment(u64::MAX, 0, &[VM2.0])),
        ("zero, and its owner has it as well", VM2, relinquishment(raw, 1, &[VM2.0])),
        ("time slice", VM2, relinquishment(raw, 2, &[VM2.0])),
        ("reserved flag", VM2, relinquishment(raw, 1 << 31, &[VM2.0])),
        ("no borrower", VM3, relinquishment(raw, 0, &[VM3.0])),
    ];
    for (name, vm, bytes) in rows {
        world.write_tx(vm, &bytes);
        assert_eq!(world.call(vm, [RELINQUISH]), Regs::error(INVALID), "{name}");
        assert_eq!(world.hypervisor.borrowed(VM2), 2, "{name}");
    }
    let [low, high] = handle.words();
    assert_eq!(world.reclaim(VM1, handle), Regs::error(DENIED), "R06");
    for (name, vm, regs) in [
        ("R01", VM1, [MEM_RECLAIM, low ^ 0x10_0000, high, 0]),
        ("R01", VM1, [MEM_RECLAIM, low, high ^ 0x10, 0]),
        ("R01", VM1, [MEM_RECLAIM, 0xffff_ffff, 0xffff_ffff, 0]),
        ("R01", VM1, [MEM_RECLAIM, 0, 0, 0]),
        ("R02", VM2, [MEM_RECLAIM, low, high, 0]),
        ("R02", VM3, [MEM_RECLAIM, low, high, 0]),
        ("R03", VM1, [MEM_RECLAIM, low, high, 4]),
        ("R05", VM1, [MEM_RECLAIM, low, high, 2]),
    ] {
        world.refused(name, vm, regs, INVALID);
    }
    assert_eq!(world.relinquish(VM2, handle), DONE);
    assert_eq!(world.relinquish(VM2, handle), Regs::error(DENIED), "twice");
    world.hypervisor.write(VM1, PAGES + PAGE, &[7; 8]);
    let without_meaning = [MEM_RECLAIM, low, high, 1, POISON, POISON, POISON, POISON];
    assert_eq!(world.call(VM1, without_meaning), DONE, "R04, R10");
    let mut bytes = [1; 8];
    world.hypervisor.read(VM1, PAGES + PAGE, &mut bytes);
    assert_eq!(bytes, [0; 8], "R04");
    assert_eq!(world.reclaim(VM1, handle), Regs::error(INVALID), "R07");
    world.end_all();
}

#[test]
fn e30_what_is_lent_and_what_is_borrowed_goes_nowhere_else() {
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    world.live(VM3, Version::V1_1);
    let handle = world.offer(&[(PAGES, 2)]);
    let borrowed = world.retrieve(&Request::new(handle)).ranges[0].0;
    assert!(borrowed >= BORROWED);
    for (vm, page) in [(VM1, PAGES), (VM2, borrowed)] {
        for to in [SP1, VM3] {
            let bytes = descriptor(Version::V1_1, vm, to, &[(page, 1)]);
            assert_eq!(world.send(vm, &bytes), Regs::error(DENIED), "{vm} to {to}");
        }
    }
    assert_eq!(world.call(VM2, [0x8400_0067]), DONE);
    world.refused("RX", VM2, [0xc400_0066, TX, borrowed, 1], INVALID);
    world.refused("TX", VM2, [0xc400_0066, borrowed, RX, 1], INVALID);
    world.map(VM2);
    assert_eq!(world.relinquish(VM2, handle), DONE);
    assert_eq!(world.reclaim(VM1, handle), DONE);
    // Now it may.
    world.share(VM1, SP1, &[(PAGES, 2)]);
    world.end_all();
}

/// The owner offers memory that is not its own, or not in this way.
#[test]
fn e29_to_e34_only_plain_memory_is_lent() {
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    for (page, status) in [
        (DEVICE, DENIED),
        (HYPERVISORS, DENIED),
        (FOREIGN, DENIED),
        (READ_ONLY, DENIED),
        (0x9_0000_0000, DENIED),
        (RX, DENIED),
        (TX, DENIED),
    ] {
        let bytes = descriptor(Version::V1_1, VM1, VM2, &[(PAGES, 1), (page, 1)]);
        assert_eq!(world.send(VM1, &bytes), Regs::error(status), "{page:#x}");
    }
    let twice = descriptor(Version::V1_1, VM1, VM2, &[(PAGES, 2), (PAGES + PAGE, 1)]);
    assert_eq!(world.send(VM1, &twice), Regs::error(INVALID));
    // What may only be read may be lent to be read.
    let bytes = share_with(Version::V1_1, &[receiver(VM2, DataAccess::ReadOnly)], &[(READ_ONLY, 1)]);
    let handle = handle_of(&world.send(VM1, &bytes)).expect("shared");
    let request = Request { borrowers: vec![(VM2.0, 1, 0, 0)], ..Request::new(handle) };
    world.retrieve(&request);
    assert_eq!(world.relinquish(VM2, handle), DONE);
    // Zeros cannot be written there: the owner has it as it was.
    let [low, high] = handle.words();
    world.refused("zero", VM1, [MEM_RECLAIM, low, high, 1], DENIED);
    assert_eq!(world.reclaim(VM1, handle), DONE);
    world.end_all();
}

#[test]
fn f16_a_response_waits_for_rx() {
    let mut world = lenders(Preset::TfaEl3, LenderDeath::Revoke);
    let handle = world.offer(&[(PAGES, 2)]);
    // The list of partitions is in RX.
    assert_eq!(world.call(VM2, [0x8400_0068])[0], 0x8400_0061);
    assert_eq!(world.ask(VM2, &Request::new(handle).bytes()), Regs::error(Status::Busy));
    assert_eq!(world.hypervisor.borrowed(VM2), 0);
    assert_eq!(world.call(VM2, [RX_RELEASE]), DONE);
    world.retrieve(&Request::new(handle));
    // Without buffers there is neither a request nor a response.
    assert_eq!(world.relinquish(VM2, handle), DONE);
    assert_eq!(world.call(VM2, [0x8400_0067]), DONE);
    assert_eq!(world.ask(VM2, &Request::new(handle).bytes()), Regs::error(INVALID));
    assert_eq!(world.relinquish(VM2, handle), Regs::error(INVALID));
    world.end_all();
}

#[test]
fn f15_f16_a_response_longer_than_rx_comes_in_parts() {
    let off = lending(Preset::Strict, LenderDeath::Revoke);
    let settings = Settings { pages_per_share: 512, ..off.settings };
    let mut world = World::boot(Machine { settings, ..off });
    world.hypervisor.permit(|_, _, _| true);
    let regions = [ffa_test_utils::hypervisor::Region::block(TX, 600)];
    for (vm, version) in [(VM1, Version::V1_0), (VM2, Version::V1_2)] {
        assert_eq!(world.hypervisor.create(vm, &regions), Ok(ffa_hyp_glue::Creation::Live));
        world.negotiate(vm, version);
        world.map(vm);
    }
    // 252 ranges: 4096 bytes in 1.0, and 4128 in 1.2. Every other page, from behind.
    let ranges: Vec<_> = (0..252).map(|index| (PAGES + (510 - 2 * index) * PAGE, 1)).collect();
    let bytes = share_with(Version::V1_0, &[receiver(VM2, DataAccess::ReadWrite)], &ranges);
    assert_eq!(bytes.len(), 4096);
    let handle = handle_of(&world.send(VM1, &bytes)).expect("shared");
    for (mark, (page, _)) in (0_u64..).zip(&ranges) {
        world.hypervisor.write(VM1, *page, &mark.to_le_bytes());
    }
    let request = Request { version: Version::V1_2, ..Request::new(handle) };
    let answer = world.ask(VM2, &request.bytes());
    assert_eq!(answer, Regs::new([RETRIEVED, 4128, 4096]));
    let mut bytes = vec![0; 4128];
    world.hypervisor.read(VM2, RX, &mut bytes[..4096]);
    let [low, high] = handle.words();
    assert_eq!(world.call(VM2, [FRAG_RX, low, high, 4096]), Regs::error(Status::Busy));
    assert_eq!(world.call(VM2, [RX_RELEASE]), DONE);
    for (name, vm, regs) in [
        ("within a range", VM2, [FRAG_RX, low, high, 4097, 0]),
        ("the head", VM2, [FRAG_RX, low, high, 0, 0]),
        ("the end", VM2, [FRAG_RX, low, high, 4128, 0]),
        ("far away", VM2, [FRAG_RX, low, high, 0xffff_fff0, 0]),
        ("an endpoint", VM2, [FRAG_RX, low, high, 4096, 2 << 16]),
        ("unknown handle", VM2, [FRAG_RX, low ^ 1, high, 4096, 0]),
        ("the owner", VM1, [FRAG_RX, low, high, 4096, 0]),
    ] {
        world.refused(name, vm, regs, INVALID);
    }
    // Any part of it, and more than once.
    for _ in 0..2 {
        assert_eq!(world.call(VM2, [FRAG_RX, low, high, 4096]), Regs::new([FRAG_TX, low, high, 32]));
        world.hypervisor.read(VM2, RX, &mut bytes[4096..]);
        assert_eq!(world.call(VM2, [RX_RELEASE]), DONE);
    }
    let response = Response::read(&bytes, Version::V1_2);
    assert_eq!((response.pages, response.ranges.len()), (252, 252));
    for (mark, (page, _)) in (0_u64..).zip(&response.ranges) {
        let mut bytes = [0; 8];
        world.hypervisor.read(VM2, *page, &mut bytes);
        assert_eq!(u64::from_le_bytes(bytes), mark, "in the owner's order");
    }
    assert_eq!(world.relinquish(VM2, handle), DONE);
    world.refused("after it", VM2, [FRAG_RX, low, high, 4096], INVALID);
    world.end_all();
}

/// Whatever there is no room for is refused, and leaves nothing behind.
#[test]
fn without_room_nothing_is_lent_or_borrowed() {
    let memory = |mut world: World, offers: usize| {
        let offered = |world: &mut World, index: usize| {
            let page = PAGES + index as u64 * PAGE;
            world.send(VM1, &descriptor(Version::V1_1, VM1, VM2, &[(page, 1)]))
        };
        let handles: Vec<Handle> = (0..offers)
            .map(|index| handle_of(&offered(&mut world, index)).unwrap_or_else(|| panic!("offer {index}")))
            .collect();
        assert_eq!(offered(&mut world, offers), Regs::error(Status::NoMemory), "{offers}");
        assert_eq!(world.reclaim(VM1, handles[0]), DONE);
        assert!(handle_of(&offered(&mut world, offers)).is_some(), "{offers}");
        world.end_all();
    };
    let with = |change: fn(&mut Machine)| {
        let mut machine = lending(Preset::TfaEl3, LenderDeath::Revoke);
        change(&mut machine);
        lenders_on(machine)
    };
    memory(with(|machine| machine.loans = 3), 3);
    memory(with(|machine| machine.settings.shares_per_vm = 4), 4);
    memory(with(|machine| machine.settings.pages_per_vm = 5), 5);
    // Two VMs with two SPs that want to hear of them.
    memory(with(|machine| machine.duties = 4 + 6), 6);
    // RX and TX are neighbours.
    memory(with(|machine| machine.ranges = 1 + 7), 7);

    // The borrower's part.
    type Change = fn(&mut Machine);
    let rows: [(&str, Change); 4] = [
        ("shares", |machine| machine.settings.shares_per_vm = 1),
        ("pages", |machine| machine.settings.pages_per_vm = 3),
        ("duties", |machine| machine.duties = 6 + 3),
        ("ranges", |machine| machine.ranges = 1 + 2),
    ];
    for (name, change) in rows {
        let mut world = with(change);
        world.live(VM3, Version::V1_1);
        let first = world.offer(&[(PAGES, 1), (PAGES + 2 * PAGE, 1)]);
        world.retrieve(&Request::new(first));
        // From somebody else, whose limits are its own.
        let answer =
            world.send(VM3, &descriptor(Version::V1_1, VM3, VM2, &[(PAGES, 1), (PAGES + 2 * PAGE, 1)]));
        let second = handle_of(&answer).unwrap_or_else(|| panic!("{name}: {answer:x?}"));
        let request = Request { sender: VM3.0, ..Request::new(second) };
        assert_eq!(world.ask(VM2, &request.bytes()), Regs::error(Status::NoMemory), "{name}");
        assert_eq!(world.hypervisor.borrowed(VM2), 2, "{name}");
        assert_eq!(world.relinquish(VM2, first), DONE);
        world.retrieve(&request);
        world.end_all();
    }
    // The hypervisor has no room: what it mapped before is unmapped.
    let mut world = lenders(Preset::TfaEl3, LenderDeath::Revoke);
    let handle = world.offer(&[(PAGES, 1), (PAGES + 2 * PAGE, 1), (PAGES + 4 * PAGE, 1)]);
    world.hypervisor.limit_borrowed(2);
    assert_eq!(world.ask(VM2, &Request::new(handle).bytes()), Regs::error(Status::NoMemory));
    assert_eq!(world.hypervisor.borrowed(VM2), 0);
    let report = world.hypervisor.report(VM2).expect("it lives");
    assert_eq!((report.shares, report.pages), (0, 0));
    world.hypervisor.limit_borrowed(3);
    world.retrieve(&Request::new(handle));
    world.end_all();
}

#[test]
fn r11_when_the_borrower_dies_its_access_goes_at_once() {
    for lender_death in [LenderDeath::Revoke, LenderDeath::Keep] {
        let mut world = lenders(Preset::Hafnium, lender_death);
        let handle = world.offer(&[(PAGES, 2), (LOOSE, 3)]);
        world.retrieve(&Request::new(handle));
        assert_eq!(world.hypervisor.borrowed(VM2), 5);
        world.destroy(VM2);
        assert_eq!(world.hypervisor.borrowed(VM2), 0);
        assert_eq!(world.reclaim(VM1, handle), DONE);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.hypervisor.report(VM2), None);
        // Somebody else with its ID is somebody else.
        let bytes = descriptor(Version::V1_1, VM1, VM2, &[(PAGES, 2)]);
        assert_eq!(world.send(VM1, &bytes), Regs::error(INVALID));
        world.live(VM2, Version::V1_1);
        let offered = world.offer(&[(PAGES, 2)]);
        world.destroy(VM2);
        assert!(world.hypervisor.settle(LONG));
        world.live(VM2, Version::V1_1);
        assert_eq!(world.ask(VM2, &Request::new(offered).bytes()), Regs::error(INVALID));
        assert_eq!(world.reclaim(VM1, offered), DONE);
        world.end_all();
    }
}

#[test]
fn when_the_lender_dies_the_borrower_loses_what_it_has() {
    for preset in Preset::ALL {
        let mut world = lenders(preset, LenderDeath::Revoke);
        let first = world.offer(&[(PAGES, 2), (LOOSE, 3)]);
        let second = world.offer(&[(PAGES + 8 * PAGE, 1)]);
        world.retrieve(&Request::new(first));
        world.destroy(VM1);
        assert_eq!(world.hypervisor.borrowed(VM2), 0, "at once");
        assert_eq!(world.relinquish(VM2, first), Regs::error(INVALID));
        assert_eq!(world.ask(VM2, &Request::new(second).bytes()), Regs::error(INVALID));
        assert!(world.hypervisor.settle(LONG));
        assert_eq!((world.hypervisor.report(VM1), world.hypervisor.orphans(None)), (None, 0));
        world.end_all();
    }
}

#[test]
fn by_another_policy_the_borrower_keeps_what_it_has_of_a_dead_lender() {
    for dies in [false, true] {
        let mut world = lenders(Preset::Strict, LenderDeath::Keep);
        let first = world.offer(&[(PAGES, 2), (LOOSE, 3)]);
        let second = world.offer(&[(PAGES + 8 * PAGE, 1)]);
        let shared = world.share(VM1, SP1, &[(PAGES + 10 * PAGE, 4)]);
        let page = world.retrieve(&Request::new(first)).ranges[0].0;
        world.hypervisor.write(VM1, PAGES, &[9; 8]);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        // What nobody has borrowed is gone, and the secure world is through with the VM.
        assert_eq!((world.hypervisor.borrowed(VM2), world.hypervisor.orphans(Some(VM1))), (5, 5));
        assert_eq!(world.hypervisor.spmc().live_handles().count(), 0, "{shared}");
        assert_eq!(world.ask(VM2, &Request::new(second).bytes()), Regs::error(INVALID));
        let report = world.hypervisor.report(VM1).expect("its ID is retired");
        assert_eq!((report.phase, report.pages, report.referenced), (Phase::Dying, 5, true));
        let mut bytes = [0; 8];
        world.hypervisor.read(VM2, page, &mut bytes);
        assert_eq!(bytes, [9; 8]);
        if dies {
            world.destroy(VM2);
        } else {
            assert_eq!(world.relinquish(VM2, first), DONE);
            assert_eq!(world.ask(VM2, &Request::new(first).bytes()), Regs::error(INVALID));
        }
        assert!(world.hypervisor.settle(LONG));
        assert_eq!((world.hypervisor.report(VM1), world.hypervisor.orphans(None)), (None, 0));
        world.end_all();
    }
}

#[test]
fn several_borrowers_have_it_each_with_its_own_permissions() {
    let mut world = lenders(Preset::Strict, LenderDeath::Revoke);
    world.live(VM3, Version::V1_2);
    let receivers = [receiver(VM2, DataAccess::ReadWrite), receiver(VM3, DataAccess::ReadOnly)];
    let answer = world.send(VM1, &share_with(Version::V1_1, &receivers, &[(PAGES, 2)]));
    let handle = handle_of(&answer).expect("shared");
    let both = vec![(VM2.0, 2, 0, 0), (VM3.0, 1, 0, 0)];
    let request = Request { borrowers: both.clone(), ..Request::new(handle) };
    // Each names all of them, in any order, or says that it does not.
    let alone = Request { borrowers: vec![both[0]], ..request.clone() };
    assert_eq!(world.ask(VM2, &alone.bytes()), Regs::error(INVALID));
    let stranger = Request { borrowers: vec![both[0], (4, 2, 0, 0)], ..request.clone() };
    assert_eq!(world.ask(VM2, &stranger.bytes()), Regs::error(INVALID));
    let stranger = Request { flags: 1 << 3 | 1 << 10, borrowers: vec![both[1]], ..request.clone() };
    assert_eq!(world.ask(VM2, &stranger.bytes()), Regs::error(INVALID));
    let own = Request { flags: 1 << 3 | 1 << 10, ..alone };
    let page = world.retrieve(&own).ranges[0].0;
    let there = Request { version: Version::V1_2, borrowers: vec![both[1], both[0]], ..request.clone() };
    assert_eq!(world.ask(VM3, &there.bytes())[0], RETRIEVED);
    let mut bytes = vec![0; 48 + 32 + 16 + 16];
    world.hypervisor.read(VM3, RX, &mut bytes);
    let response = Response::read(&bytes, Version::V1_2);
    assert_eq!((response.borrower, response.permissions, response.pages), (VM3.0, 5, 2));
    assert!(world.hypervisor.may_write(VM2, page) && !world.hypervisor.may_write(VM3, response.ranges[0].0));
    // The owner has to wait for the last of them.
    for borrower in [VM2, VM3] {
        assert_eq!(world.reclaim(VM1, handle), Regs::error(DENIED), "{borrower}");
        assert_eq!(world.relinquish(borrower, handle), DONE);
    }
    assert_eq!(world.reclaim(VM1, handle), DONE);
    world.end_all();
}

#[test]
fn nobody_comes_to_have_memory_of_a_dead_lender_that_others_keep() {
    let mut world = lenders(Preset::Strict, LenderDeath::Keep);
    world.live(VM3, Version::V1_1);
    let receivers = [VM2, VM3].map(|vm| receiver(vm, DataAccess::ReadWrite));
    let answer = world.send(VM1, &share_with(Version::V1_1, &receivers, &[(PAGES, 2)]));
    let handle = handle_of(&answer).expect("shared");
    let request = Request {
        flags: 1 << 3,
        borrowers: vec![(VM2.0, 2, 0, 0), (VM3.0, 2, 0, 0)],
        ..Request::new(handle)
    };
    world.retrieve(&request);
    world.destroy(VM1);
    assert!(world.hypervisor.settle(LONG));
    assert_eq!(world.ask(VM3, &request.bytes()), Regs::error(INVALID));
    // One of many borrowers may die, and the others keep theirs.
    world.destroy(VM3);
    assert!(world.hypervisor.settle(LONG));
    assert_eq!(world.hypervisor.borrowed(VM2), 2);
    assert_eq!(world.relinquish(VM2, handle), DONE);
    assert!(world.hypervisor.settle(LONG));
    assert_eq!((world.hypervisor.report(VM1), world.hypervisor.orphans(None)), (None, 0));
    world.end_all();
}
