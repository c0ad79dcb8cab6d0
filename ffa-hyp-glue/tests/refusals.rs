//! What a guest must not get away with, row by row: the answer, and no SMC.

mod common;

use common::peers::*;
use common::sends::*;
use common::*;
use ffa_abi::{Function, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::{Creation, LenderDeath};
use ffa_mem::SendFlags;
use ffa_test_utils::spmc::{Preset, Script, SpConfig};

const INVALID: Status = Status::InvalidParameters;
const DENIED: Status = Status::Denied;

/// A row whose answer has to be one of these.
struct Row(&'static str, Vec<u8>, Status);

/// Ranges of a good descriptor.
const GOOD: [(u64, u32); 2] = [(PAGES, 1), (PAGES + 2 * PAGE, 2)];

/// Offsets in the good descriptor of 1.1: header of 48 bytes, one access descriptor of 16, composite of 16.
const ACCESS: usize = 48;
const COMPOSITE: usize = 64;
const RANGE: usize = 80;

/// With `to` as a receiver that is good.
fn rows(send: Send, to: PartitionId) -> Vec<Row> {
    let with = |ranges: &[(u64, u32)]| send.describe(&[to], ranges, SendFlags::NONE);
    let good = with(&GOOD);
    let row = |name, patches: &[(usize, &[u8])], status| Row(name, broken(&good, patches), status);
    let data = good[ACCESS + 2];
    let mut rows = vec![
        // D: the header.
        Row("D01 shorter than a header", good[..32].to_vec(), INVALID),
        Row("D06 longer than what it says", [&good[..], &[0; 16]].concat(), INVALID),
        Row("D07 shorter than what it says", good[..good.len() - 16].to_vec(), INVALID),
        row("D12 reserved bytes", &[(36, &[1])], INVALID),
        row("D12 reserved bytes at the end", &[(47, &[0x80])], INVALID),
        row("D13 another guest as sender", &[(0, &[2, 0])], DENIED),
        row("D13 the hypervisor as sender", &[(0, &[0, 0])], DENIED),
        row("D13 an SP as sender", &[(0, &[1, 0x80])], DENIED),
        row("D13 nobody as sender", &[(0, &[0xff, 0xff])], DENIED),
        row("D14 attributes bit 7", &[(2, &[0xaf])], INVALID),
        row("D14 attributes bit 15", &[(3, &[0x80])], INVALID),
        row("D15 the NS bit", &[(2, &[0x6f])], INVALID),
        row("D16 reserved type", &[(2, &[0x3f])], INVALID),
        row("D16 reserved cacheability", &[(2, &[0x23])], INVALID),
        row("D16 reserved shareability", &[(2, &[0x2d])], INVALID),
        row("D21 time slice", &[(4, &[2])], INVALID),
        row("D23 a handle", &[(8, &[1])], INVALID),
        row("D24 a handle of the hypervisor's", &[(15, &[0x80])], INVALID),
        row("D26 no receivers", &[(28, &[0])], INVALID),
        row("D27 too many receivers", &[(28, &[0xff, 0xff, 0xff, 0xff])], INVALID),
        row("D27 2^28 receivers", &[(28, &[0, 0, 0, 0x10])], INVALID),
        row("D29 32 bytes for each receiver in 1.1", &[(24, &[32])], INVALID),
        row("D33 receivers over the composite", &[(32, &[64])], INVALID),
        // E: receivers and ranges.
        row("E01 the sender as receiver", &[(ACCESS, &[1, 0])], INVALID),
        row("E02 an SP that is not there", &[(ACCESS, &[0x55, 0x80])], INVALID),
        row("E03 the SPMC as receiver", &[(ACCESS, &[0, 0x80])], INVALID),
        row("E03 nobody as receiver", &[(ACCESS, &[0xff, 0xff])], INVALID),
        row("E03 a guest that is not there as receiver", &[(ACCESS, &[0xff, 0x7f])], INVALID),
        row("E03 the hypervisor as receiver", &[(ACCESS, &[0, 0])], INVALID),
        row("E04 another guest as receiver", &[(ACCESS, &[3, 0])], INVALID),
        row("E06 permissions 0xff", &[(ACCESS + 2, &[0xff])], INVALID),
        row("E06 reserved data access", &[(ACCESS + 2, &[3])], INVALID),
        row("E09 not executable", &[(ACCESS + 2, &[4 | data])], INVALID),
        row("E09 executable", &[(ACCESS + 2, &[8 | data])], INVALID),
        row("E10 reserved permission bits", &[(ACCESS + 2, &[0x10 | data])], INVALID),
        row("E11 flags of a receiver", &[(ACCESS + 3, &[1])], INVALID),
        row("E12 reserved bytes of a receiver", &[(ACCESS + 8, &[1])], INVALID),
        row("E15 composite at 0", &[(ACCESS + 4, &[0])], INVALID),
        row("E15 composite inside the receivers", &[(ACCESS + 4, &[48])], INVALID),
        row("E15 composite at an odd offset", &[(ACCESS + 4, &[65])], INVALID),
        row("E15 composite aligned to 8", &[(ACCESS + 4, &[72])], INVALID),
        row("E15 composite past the end", &[(ACCESS + 4, &[0, 1])], INVALID),
        row("E16 composite across the end", &[(ACCESS + 4, &[112])], INVALID),
        row("E17 reserved bytes of the composite", &[(COMPOSITE + 8, &[1])], INVALID),
        row("E18 no ranges", &[(COMPOSITE + 4, &[0])], INVALID),
        row("E19 more ranges than there are", &[(COMPOSITE + 4, &[3])], INVALID),
        row("E19 fewer ranges than there are", &[(COMPOSITE + 4, &[1])], INVALID),
        row("E20 no pages", &[(COMPOSITE, &[0])], INVALID),
        row("E20 more pages than there are", &[(COMPOSITE, &[4])], INVALID),
        row("E20 a sum that wraps", &[(RANGE + 8, &[0xff, 0xff, 0xff, 0xff]), (RANGE + 24, &[4])], INVALID),
        row("E21 no pages in the first range", &[(RANGE + 8, &[0]), (COMPOSITE, &[2])], INVALID),
        row("E21 no pages in the last range", &[(RANGE + 24, &[0]), (COMPOSITE, &[1])], INVALID),
        row(
            "E24 a range that wraps",
            &[(RANGE, &[0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), (RANGE + 8, &[2]), (COMPOSITE, &[4])],
            INVALID,
        ),
        row("E25 above all that a guest has", &[(RANGE, &[0, 0, 0, 0, 0, 0, 0, 0x70])], DENIED),
        row("E28 reserved word of a range", &[(RANGE + 12, &[1])], INVALID),
        Row("E29 not there", with(&[(0x6000_0000, 1)]), DENIED),
        Row("E29 the last page is not there", with(&[(TX + 60 * PAGE, 5)]), DENIED),
        Row("E29 a hole in the middle", with(&[(PAGES, 1), (0x6000_0000, 1), (PAGES + 2 * PAGE, 1)]), DENIED),
        Row("E31 TX", with(&[(TX, 1)]), DENIED),
        Row("E31 RX", with(&[(RX, 1)]), DENIED),
        Row("E31 RX behind a good page", with(&[(PAGES, 1), (RX, 1)]), DENIED),
        Row("E32 a device", with(&[(DEVICE, 1)]), DENIED),
        Row("E33 a page that may be read only", with(&[(READ_ONLY, 1)]), DENIED),
        Row("E33 first good, then read only", with(&[(PAGES, 1), (READ_ONLY, 1)]), DENIED),
        Row("E33 first read only, then good", with(&[(READ_ONLY, 1), (PAGES, 1)]), DENIED),
        Row("E34 H-27 a page of the hypervisor's", with(&[(HYPERVISORS, 1)]), DENIED),
        Row("E34 another VM's page", with(&[(FOREIGN, 1)]), DENIED),
        Row("E26 one page twice", broken(&good, &[(RANGE + 16, &[0, 0x20])]), INVALID),
        Row(
            "E35 more pages than a share may have",
            with(&(0..129).map(|n| (LOOSE + 2 * n * PAGE, 1)).collect::<Vec<_>>()),
            Status::NoMemory,
        ),
    ];
    for bit in 2..32_usize {
        let byte = [1 << (bit % 8)];
        rows.push(row("D22 an unknown flag", &[(4 + bit / 8, &byte)], INVALID));
    }
    for size in [0_u8, 8, 15, 17, 24, 33, 64] {
        rows.push(row("D28 size of access descriptors", &[(24, &[size])], INVALID));
    }
    for offset in [0_u8, 32, 47, 49, 56] {
        rows.push(row("D30 offset of access descriptors", &[(32, &[offset])], INVALID));
    }
    rows.push(row("D32 access descriptors where all ends", &[(32, &[112])], INVALID));
    for low in [0xf0_u8, 0xe0] {
        rows.push(row("D31 offset near 2^32", &[(32, &[low, 0xff, 0xff, 0xff])], INVALID));
    }
    for low in [1_u8, 2, 4, 8] {
        rows.push(row("E23 unaligned", &[(RANGE, &[low])], INVALID));
    }
    for high in [0x28_u8, 0x2f] {
        rows.push(row("E23 unaligned", &[(RANGE + 1, &[high])], INVALID));
    }
    rows.extend(match send.function {
        Function::MemShare => vec![
            row("D17 device memory", &[(2, &[0x13])], DENIED),
            row("D17 not cacheable", &[(2, &[0x27])], DENIED),
            row("D17 not shareable", &[(2, &[0x2c])], DENIED),
            row("D17 outer shareable", &[(2, &[0x2e])], DENIED),
            row("D20 zero with a share", &[(4, &[1])], INVALID),
        ],
        _ => vec![
            row("D18 a type, with one receiver", &[(2, &[0x2f])], INVALID),
            row("D18 a device, with one receiver", &[(2, &[0x13])], INVALID),
        ],
    });
    let both = send.describe(&[to, SP2], &GOOD, SendFlags::NONE);
    rows.extend(match send.function {
        Function::MemDonate => vec![
            row("E08 data access of a donation", &[(ACCESS + 2, &[1])], INVALID),
            row("E08 data access of a donation", &[(ACCESS + 2, &[2])], INVALID),
            Row("two receivers of a donation", both, INVALID),
        ],
        Function::MemLend => vec![
            row("E07 no data access", &[(ACCESS + 2, &[0])], INVALID),
            Row("D19 no type, with two receivers", broken(&both, &[(2, &[0])]), INVALID),
        ],
        _ => vec![row("E07 no data access", &[(ACCESS + 2, &[0])], INVALID)],
    });
    rows
}

#[test]
fn d_and_e_a_descriptor_with_one_thing_wrong() {
    each_send(|world, send| {
        refuse_each(world, send, rows(send, SP1));
        // Nothing is left of all that: the good one still works.
        send.send(world, &GOOD);
        world.destroy(VM1);
        world.destroy(VM3);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

/// The same, where the receiver is a VM: over every secure world, whatever that serves.
#[test]
fn d_and_e_a_descriptor_for_a_vm_with_one_thing_wrong() {
    every_preset(|preset| {
        for send in [SHARE, LEND, DONATE] {
            let mut world = lenders_on(lending(preset, LenderDeath::Revoke));
            world.hypervisor.permit(|_, _, partner| partner.is_secure() || partner == VM2);
            refuse_each(&mut world, send, rows(send, VM2));
            let handle = world.offer_by(send, &GOOD);
            assert_eq!(world.reclaim(VM1, handle), DONE);
            world.end_all();
        }
    });
}

fn refuse_each(world: &mut World, send: Send, rows: Vec<Row>) {
    assert_eq!(world.hypervisor.create(VM3, &REGIONS), Ok(Creation::Live));
    for Row(name, bytes, status) in rows {
        let smcs = world.hypervisor.smcs();
        let answer = send.make(world, VM1, &bytes);
        assert_eq!(answer, Regs::error(status), "{}: {:?}: {name}", world.preset, send.function);
        assert_eq!(world.hypervisor.smcs(), smcs, "{name} reached the secure world");
        assert_eq!(world.hypervisor.report(VM1).unwrap().shares, 0, "{name}");
        for page in [PAGES, PAGES + 2 * PAGE, LOOSE] {
            assert_eq!(world.hypervisor.store(VM1, page, &[1; 8]), Ok(()), "{name} took pages");
        }
    }
}

#[test]
fn d_lengths_in_registers() {
    each_send(|world, send| {
        let bytes = send.bytes(&GOOD);
        world.write_tx(VM1, &bytes);
        let (w0, len) = (send.w0, bytes.len() as u64);
        let rows = [
            ("D01", [w0, 32, 32, 0, 0], INVALID),
            ("D02 fragment beyond the total", [w0, len, len + 16, 0, 0], INVALID),
            ("D03 H-1 longer than TX", [w0, 0x2000, 0x2000, 0, 0], INVALID),
            ("D04 no bytes", [w0, len, 0, 0, 0], INVALID),
            ("D04 no bytes at all", [w0, 0, 0, 0, 0], INVALID),
            ("D05 no multiple of 16", [w0, len + 8, len + 8, 0, 0], INVALID),
            ("D08 almost 4 GiB", [w0, 0xffff_fff0, 0xffff_fff0, 0, 0], INVALID),
            ("D09 a buffer of its own", [w0, len, len, PAGES, 1], INVALID),
            ("D09 pages only", [w0, len, len, 0, 1], INVALID),
            ("D09 an address only", [w0, len, len, PAGES, 0], INVALID),
        ];
        for (name, head, status) in rows {
            world.refused(name, VM1, head, status);
        }
        // w1 is 32 bits wide, whatever is above them.
        assert!(handle_of(&world.call(VM1, [w0, 1 << 32 | len, len])).is_some());
        world.check();
    });
}

/// What a guest leaves in registers that mean nothing goes no further: OP-TEE refuses both calls for it.
#[test]
fn d10_r10_registers_without_a_meaning_are_not_passed_on() {
    each_send(|world, send| {
        let bytes = send.bytes(&GOOD);
        world.write_tx(VM1, &bytes);
        let len = bytes.len() as u64;
        let sent = world.call(VM1, [send.w0, len, len, 0, 0, POISON, POISON, POISON]);
        let handle = handle_of(&sent).expect("a handle");
        let [low, high] = handle.words();
        let reclaimed = world.call(VM1, [MEM_RECLAIM, low, high, 0, POISON, POISON, POISON, POISON]);
        assert_eq!(reclaimed, Regs::success(0, 0), "{}", world.preset);
        world.check();
    });
}

#[test]
fn d11_a_send_without_rx_and_tx() {
    each_send(|world, send| {
        assert_eq!(world.hypervisor.create(VM2, &REGIONS), Ok(Creation::Live));
        world.negotiate(VM2, Version::V1_1);
        let len = send.bytes(&GOOD).len() as u64;
        world.refused("D11", VM2, [send.w0, len, len], INVALID);
    });
}

#[test]
fn d34_the_layout_of_another_version() {
    each_send(|world, send| {
        for (guest, layout) in [
            (Version::V1_1, Version::V1_0),
            (Version::V1_0, Version::V1_1),
            (Version::V1_0, Version::V1_2),
            (Version::V1_1, Version::V1_2),
        ] {
            world.live(VM2, guest);
            let bytes = send.describe_in(layout, VM2, &[SP1], &[(PAGES, 1)], SendFlags::NONE);
            let answer = send.make(world, VM2, &bytes);
            assert_eq!(answer, Regs::error(INVALID), "{layout} from a guest of {guest}");
            world.destroy(VM2);
            assert!(world.hypervisor.settle(LONG));
        }
    });
}

#[test]
fn d25_h17_the_tag_reaches_the_secure_world() {
    each_send(|world, send| {
        let tx = world.hypervisor.spmc_buffers().0;
        send.send(world, &GOOD);
        let bytes = world.hypervisor.read_physical(tx, 64);
        let tag = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
        assert_eq!(tag, 0x1122, "{}", world.preset);
    });
}

#[test]
fn e30_pages_that_are_sent_already() {
    each_send(|world, send| {
        let page = |n: u64| PAGES + n * PAGE;
        send.send(world, &[(page(4), 4)]);
        let ranges: [&[(u64, u32)]; 7] = [
            &[(page(4), 4)],
            &[(page(5), 2)],
            &[(page(2), 8)],
            &[(page(7), 2)],
            &[(page(4), 1), (page(20), 1), (page(22), 1)],
            &[(page(20), 1), (page(4), 1), (page(22), 1)],
            &[(page(20), 1), (page(22), 1), (page(4), 1)],
        ];
        for again in [SHARE, LEND, DONATE] {
            let served = again.served_by.iter().any(|preset| preset.name() == world.preset);
            let status = if served { DENIED } else { Status::NotSupported };
            for (with, ranges) in [SP1, SP2].into_iter().flat_map(|with| ranges.map(|ranges| (with, ranges)))
            {
                let smcs = world.hypervisor.smcs();
                let bytes = again.describe(&[with], ranges, SendFlags::NONE);
                assert_eq!(again.make(world, VM1, &bytes), Regs::error(status), "{again:x?}: {ranges:x?}");
                assert_eq!(world.hypervisor.smcs(), smcs);
            }
        }
        // X03: nor may they become buffers.
        assert_eq!(world.call(VM1, [0x8400_0067]), Regs::success(0, 0));
        world.refused("X03 RX on a page that was sent", VM1, [0xc400_0066, TX, page(4), 1], INVALID);
        world.map(VM1);
        send.send(world, &[(page(8), 1)]);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

#[test]
fn r_handles() {
    each_send(|world, send| {
        world.live(VM2, Version::V1_1);
        // Which Hafnium names 0.
        world.share(VM2, SP1, &[(PAGES, 1)]);
        let own = send.send(world, &[(PAGES, 1)]);
        let [low, high] = own.words();
        let rows = [
            ("R01 unknown", [MEM_RECLAIM, low + 1, high, 0]),
            ("R01 high word", [MEM_RECLAIM, low, high + 0x10, 0]),
            ("R01 zero", [MEM_RECLAIM, 0, 0, 0]),
            ("R01 all ones", [MEM_RECLAIM, 0xffff_ffff, 0xffff_ffff, 0]),
            ("R03 flag 2", [MEM_RECLAIM, low, high, 4]),
            ("R03 flag 31", [MEM_RECLAIM, low, high, 0x8000_0000]),
            ("R05 time slice", [MEM_RECLAIM, low, high, 2]),
        ];
        for (name, head) in rows {
            world.refused(name, VM1, head, INVALID);
        }
        // R02: another guest's handle and one that does not exist look the same.
        world.refused("R02", VM2, [MEM_RECLAIM, low, high], INVALID);
        world.refused("R02", VM2, [MEM_RECLAIM, low + 77, high], INVALID);
        assert_eq!(world.reclaim(VM1, own), Regs::success(0, 0), "{}", world.preset);
        world.check();
    });
}

#[test]
fn x_buffers() {
    every_preset(|preset| {
        let mut world = World::boot(machine(preset, good_sps()));
        assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
        world.negotiate(VM1, Version::V1_1);
        let map = 0xc400_0066;
        world.refused("X05 unmap before map", VM1, [0x8400_0067, 0], INVALID);
        world.refused("X07 release before map", VM1, [0x8400_0065, 0], DENIED);
        world.refused("X08 list before map", VM1, [0x8400_0068, 0], Status::Busy);
        let rows = [
            ("X01 TX not aligned", [map, TX + 8, RX, 1]),
            ("X01 RX not aligned", [map, TX, RX + 0x800, 1]),
            ("X01 H-26 one page for both", [map, TX, TX, 1]),
            ("X01 overlapping", [map, TX, RX, 2]),
            ("X01 no pages", [map, TX, RX, 0]),
            ("X01 too many pages", [map, TX, TX + 20 * PAGE, 17]),
            ("X01 reserved bits of w3", [map, TX, RX, 0x41]),
            ("X01 wraps", [map, u64::MAX - 0xfff, RX, 1]),
            ("X04 the form of the hypervisor", [map, 0, 0, 0]),
            ("X03 a hole", [map, TX, 0x6000_0000, 1]),
            ("X03 a device", [map, DEVICE, RX, 1]),
            ("X03 RX that cannot be written", [map, TX, READ_ONLY, 1]),
            ("X03 another VM's page", [map, TX, FOREIGN, 1]),
            ("X03 a page of the hypervisor's", [map, HYPERVISORS, RX, 1]),
        ];
        for (name, head) in rows {
            world.refused(name, VM1, head, INVALID);
        }
        world.map(VM1);
        world.refused("X02 map twice", VM1, [map, TX, RX, 1], DENIED);
        world.refused("X02 map elsewhere", VM1, [map, PAGES, PAGES + PAGE, 1], DENIED);
        world.refused("X05 unmap another's", VM1, [0x8400_0067, 2 << 16], INVALID);
        // An SPMC that has the buffers may have filled RX, and it alone knows.
        assert_eq!(world.call(VM1, [0x8400_0065]), Regs::error(DENIED), "X07 release what is empty");
        world.refused("X07 release another's", VM1, [0x8400_0065, 2], INVALID);
        assert_eq!(world.call(VM1, [0x8400_0068]).w::<0>(), 0x8400_0061);
        world.refused("X08 RX is full", VM1, [0x8400_0068, 0], Status::Busy);
        world.refused("X08 unknown UUID", VM1, [0x8400_0068, 1, 2, 3, 4], INVALID);
        for bit in 1..32 {
            world.refused("X08 a flag", VM1, [0x8400_0068, 0, 0, 0, 0, 1 << bit], INVALID);
        }
        // X06: unmapped while RX is full, and with its own ID, as Linux does.
        assert_eq!(world.call(VM1, [0x8400_0067, 1 << 16]), Regs::success(0, 0));
        world.refused("X05 unmap twice", VM1, [0x8400_0067, 0], INVALID);
        world.map(VM1);
        assert_eq!(world.call(VM1, [0x8400_0068]).w::<0>(), 0x8400_0061, "RX is free again");
        assert_eq!(world.call(VM1, [0x8400_0065, 1]), Regs::success(0, 0), "with its own ID");
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

#[test]
fn x_messages() {
    let no_requests =
        SpConfig::new(SP3, Script::GOOD).with_properties(ffa_abi::Properties::WANTS_VM_DESTROYED);
    every_preset(|preset| {
        let mut sps = good_sps();
        sps.push(no_requests.clone());
        let mut world = World::with(machine(preset, sps));
        world.live(VM2, Version::V1_1);
        for w0 in [0x8400_006f, 0xc400_006f] {
            let rows = [
                ("X12 another sender", [w0, 0x2_8001, 0], INVALID),
                ("X12 the hypervisor as sender", [w0, 0x8001, 0], INVALID),
                ("X12 an SP as sender", [w0, 0x8002_8001, 0], INVALID),
                ("X12 to itself", [w0, 0x1_0001, 0], INVALID),
                ("X12 to the hypervisor", [w0, 0x1_0000, 0], INVALID),
                ("X12 to another guest", [w0, 0x1_0002, 0], INVALID),
                ("X12 to nobody", [w0, 0x1_8055, 0], INVALID),
                ("X13 flags", [w0, 0x1_8001, 1], INVALID),
                ("X13 flags", [w0, 0x1_8001, 0xffff], INVALID),
                ("X14 to an SP that takes none", [w0, 0x1_8003, 0], DENIED),
            ];
            for (name, head, status) in rows {
                world.refused(name, VM1, head, status);
            }
            // H-8: every framework message there is.
            for code in 0..16 {
                world.refused("X13 H-8", VM1, [w0, 0x1_8001, 0x8000_0000 | code, 0, 0, 2], INVALID);
            }
        }
        world.refused("X16 an SP that works for nobody", VM1, [0x8400_006d, 0x8001_0000], DENIED);
        world.refused("X16 another vCPU", VM1, [0x8400_006d, 0x8001_0007], DENIED);
        world.refused("X16 a guest", VM1, [0x8400_006d, 0x2_0000], INVALID);
        world.refused("X16 nobody", VM1, [0x8400_006d, 0x8055_0000], INVALID);
        // X17, X28, X29 and whatever else no guest may call.
        for number in [
            0x70, 0x6b, 0x6c, 0x62, 0x90, 0x7c, 0x87, 0x8c, 0x84, 0x7d, 0x7e, 0x8f, 0x88, 0x89, 0x8a, 0x60,
            0x61, 0x85, 0x74, 0x75, 0x76, 0x7a,
        ] {
            for base in [0x8400_0000_u64, 0xc400_0000] {
                world.refused("X17", VM1, [base | number, 1, 1], Status::NotSupported);
            }
        }
        world.check();
    });
}

#[test]
fn e30_across_vms_the_same_addresses_are_other_pages() {
    let mut world = World::new(Preset::Strict);
    world.live(VM2, Version::V1_1);
    world.share(VM1, SP1, &[(PAGES, 4)]);
    world.share(VM2, SP1, &[(PAGES, 4)]);
    world.destroy(VM1);
    assert!(world.hypervisor.settle(LONG));
    assert_eq!(world.hypervisor.report(VM2).unwrap().pages, 4);
    world.destroy(VM2);
    assert!(world.hypervisor.settle(LONG));
    world.check_all_gone();
}

/// X16: FFA_RUN tells a guest no more of an SP that is hidden from it than of one that is not there.
#[test]
fn x16_a_hidden_partition_is_run_as_one_that_is_not_there() {
    every_preset(|preset| {
        let mut world = World::new(preset);
        world.hypervisor.permit(|_, _, partner| partner == SP1);
        for nobody in [SP2, PartitionId(0x8055)] {
            let run = [0x8400_006d, u64::from(nobody.0) << 16];
            world.refused("RUN", VM1, run, Status::InvalidParameters);
        }
        world.refused(
            "RUN of one that does not work for it",
            VM1,
            [0x8400_006d, 0x8001_0000],
            Status::Denied,
        );
    });
}
