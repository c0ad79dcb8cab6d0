//! The hypervisor asks what a handle names: what each secure world takes, and what it says.

mod common;

use common::*;
use ffa_abi::Status::*;
use ffa_abi::{Function, FunctionId, Handle, MemFragTx, MemRetrieveResp, Regs, Status, Version};
use ffa_mem::{HypervisorRetrieveRequest, HypervisorRetrieveResponse, PhysRange};
use ffa_test_utils::spmc::*;

const RETRIEVE: u64 = 0x8400_0074;
const FRAG_RX: u64 = 0x8400_007a;
const FRAG_TX: u64 = 0x8400_007b;
const RX_RELEASE: u64 = 0x8400_0065;

type Answers = [Result<(), Status>; 4];
type Row<'a> = (&'a str, &'a dyn Fn(Handle) -> Vec<u8>, Answers);

fn world(preset: Preset) -> World {
    World::new(preset, [SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::LAZY)])
}

fn request(handle: Handle) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    let request = HypervisorRetrieveRequest { version: Version::V1_1, handle };
    assert_eq!(request.write(&mut bytes), Some(48));
    bytes
}

/// The lengths of the whole answer and of what is in RX, or the error.
fn retrieve(world: &mut World, request: &[u8]) -> Result<MemRetrieveResp, Status> {
    let answer = world.send(RETRIEVE, request);
    MemRetrieveResp::from_answer(&answer).ok_or_else(|| status_of(&answer).unwrap_err())
}

fn fetch(world: &mut World, handle: Handle, offset: u32, w4: u64) -> Result<MemFragTx, Status> {
    let [low, high] = handle.words();
    let answer = world.call([FRAG_RX, low, high, u64::from(offset), w4]);
    let id = FunctionId::smc32(Function::MemFragTx);
    if answer.w::<0>() == id.w0() {
        return Ok(MemFragTx::from_regs(id, &answer).unwrap());
    }
    Err(status_of(&answer).unwrap_err())
}

fn release(world: &mut World) {
    assert_eq!(world.call([RX_RELEASE]), Regs::success(0, 0));
}

/// The secure worlds that say what a handle names, in the order of [`Preset::ALL`].
const TELLING: [Preset; 3] = [Preset::Hafnium, Preset::TfaEl3, Preset::Strict];

#[test]
fn requests() {
    let with = |at: usize, value: u8| {
        move |handle| {
            let mut bytes = request(handle);
            bytes[at] = value;
            bytes
        }
    };
    let (ok, inv, nsup) = (Ok(()), Err(InvalidParameters), Err(NotSupported));
    let rows: &[Row<'_>] = &[
        //                                                     Hafnium TF-A OP-TEE strict
        ("nothing but the handle", &request, [ok, ok, nsup, ok]),
        ("another handle", &with(14, 1), [inv, inv, nsup, inv]),
        ("a sender", &with(0, 1), [inv, ok, nsup, inv]),
        ("attributes", &with(2, 0x2f), [inv, ok, nsup, inv]),
        ("the NS attribute", &with(2, 0x40), [inv, inv, nsup, inv]),
        ("a transaction in the flags", &with(4, 0x10), [inv, inv, nsup, inv]),
        ("a tag", &with(16, 1), [inv, ok, nsup, inv]),
        ("a size of access descriptors", &with(24, 16), [inv, ok, nsup, inv]),
        ("a receiver", &with(28, 1), [inv, inv, nsup, inv]),
        ("no room for the header", &|handle| request(handle)[..32].to_vec(), [inv, inv, nsup, inv]),
        ("longer than TX", &|handle| [request(handle), vec![0; 4096]].concat(), [inv, inv, nsup, inv]),
    ];
    for (what, bytes, answers) in rows {
        for (preset, &expected) in Preset::ALL.into_iter().zip(answers) {
            let mut world = world(preset);
            let handle = world.share(&Descriptor::good());
            let answer = retrieve(&mut world, &bytes(handle)).map(|_| ());
            assert_eq!(answer, expected, "{preset:?}: {what}");
            assert_eq!(world.spmc.is_rx_full(), expected.is_ok(), "{preset:?}: {what}");
            assert_eq!(status_of(&world.reclaim(handle)), Ok(()), "{preset:?}: {what}: it is as it was");
        }
    }
}

#[test]
fn registers() {
    for preset in TELLING {
        let mut world = world(preset);
        let handle = world.share(&Descriptor::good());
        world.send(RETRIEVE, &request(handle));
        release(&mut world);
        for (what, head) in [
            ("in parts", [RETRIEVE, 64, 48, 0, 0]),
            ("another buffer", [RETRIEVE, 48, 48, TX, 1]),
            ("the size of no other buffer", [RETRIEVE, 48, 48, 0, 1]),
        ] {
            let answer = world.call(head);
            assert_eq!(status_of(&answer), Err(InvalidParameters), "{preset:?}: {what}");
        }
    }
}

#[test]
fn features_say_so_but_for_the_spmc_in_tfa() {
    // Bit 1: the caller knows the NS bit.
    for (preset, known) in Preset::ALL.into_iter().zip([Some(6), None, None, Some(6)]) {
        let answer = world(preset).call([0x8400_0064, RETRIEVE, 2]);
        let expected = known.map_or(Regs::error(NotSupported), |w2| Regs::success(w2, 0));
        assert_eq!(answer, expected, "{preset:?}");
    }
}

#[test]
fn the_answer_is_what_was_sent_and_rx_is_handed_over() {
    let ranges = [(0x4000_0000, 2), (0x5000_0000, 1)];
    let sent = Descriptor { ranges: ranges.to_vec(), ..Descriptor::good() };
    let expected = ranges.map(|(address, pages)| PhysRange::new(address, pages).unwrap());
    for (preset, full) in TELLING.into_iter().zip([Busy, Denied, Busy]) {
        let mut world = world(preset);
        let handle = world.share(&sent);
        let asked = HypervisorRetrieveRequest { version: Version::V1_1, handle };
        let MemRetrieveResp { total_len, fragment_len } = retrieve(&mut world, &request(handle)).unwrap();
        assert_eq!((total_len, fragment_len), (112, 112), "{preset:?}");
        let rx = world.read::<112>(RX);
        let HypervisorRetrieveResponse { head, ranges, rest } =
            HypervisorRetrieveResponse::parse(&rx, total_len, &asked).unwrap();
        assert!(rest.is_whole());
        assert_eq!((head.sender(), head.tag()), (VM1, 0), "{preset:?}");
        assert!(ranges.eq(expected), "{preset:?}");
        let receivers: Vec<_> = head.receivers().map(|receiver| receiver.id.0).collect();
        let (receiver, attributes) = if preset == Preset::TfaEl3 { (0, 0x6f) } else { (SP1.0, 0x2f) };
        assert_eq!((receivers, head.attributes().bits()), (vec![receiver], attributes), "{preset:?}");

        assert_eq!(retrieve(&mut world, &request(handle)), Err(full), "{preset:?}");
        release(&mut world);
        assert!(retrieve(&mut world, &request(handle)).is_ok(), "{preset:?}: nothing was retrieved by it");
    }
}

/// VM 1 shares 300 ranges in two parts.
fn share_in_parts(world: &mut World) -> (Handle, Vec<PhysRange>) {
    let ranges: Vec<_> = (0..300).map(|at| (0x4000_0000 + at * 2 * PAGE, 1)).collect();
    let bytes = Descriptor { ranges: ranges.clone(), ..Descriptor::good() }.bytes();
    let (first, second) = bytes.split_at(4096);
    world.memory.write(TX, first).unwrap();
    let more = world.call([MEM_SHARE, bytes.len() as u64, first.len() as u64]);
    world.memory.write(TX, second).unwrap();
    let handle = u64::from(more.w::<2>()) << 32 | u64::from(more.w::<1>());
    let [low, high] = Handle::new(handle).unwrap().words();
    let shared = world.call([FRAG_TX, low, high, second.len() as u64, u64::from(VM1.0) << 16]);
    let ranges = ranges.into_iter().map(|(address, pages)| PhysRange::new(address, pages).unwrap());
    (handle_of(&shared), ranges.collect())
}

#[test]
fn what_is_longer_than_rx_is_fetched() {
    let sender = u64::from(VM1.0) << 16;
    for (preset, full) in TELLING.into_iter().zip([Busy, Denied, Busy]) {
        let mut world = world(preset);
        let (handle, expected) = share_in_parts(&mut world);
        assert_eq!(fetch(&mut world, handle, 0, sender), Err(InvalidParameters), "{preset:?}: not asked");
        let MemRetrieveResp { total_len, fragment_len } = retrieve(&mut world, &request(handle)).unwrap();
        assert_eq!((total_len, fragment_len), (80 + 300 * 16, 4096), "{preset:?}");
        let asked = HypervisorRetrieveRequest { version: Version::V1_1, handle };
        let rx = world.read::<4096>(RX);
        let HypervisorRetrieveResponse { ranges, mut rest, .. } =
            HypervisorRetrieveResponse::parse(&rx, total_len, &asked).unwrap();
        let mut found: Vec<_> = ranges.collect();

        assert_eq!(fetch(&mut world, handle, 4096, sender), Err(full), "{preset:?}");
        release(&mut world);
        for (offset, w4) in [(4080, sender), (4112, sender), (4096, sender + 0x1_0000)] {
            let refused = fetch(&mut world, handle, offset, w4);
            assert_eq!(refused, Err(InvalidParameters), "{preset:?}: {offset}, {w4:#x}");
        }
        let nobody = fetch(&mut world, handle, 4096, 0);
        if preset == Preset::TfaEl3 {
            assert!(nobody.is_ok());
        } else {
            assert_eq!(nobody, Err(InvalidParameters), "{preset:?}");
            let rest = MemFragTx { handle, fragment_len: total_len - 4096, endpoint: VM1 };
            assert_eq!(fetch(&mut world, handle, 4096, sender), Ok(rest), "{preset:?}");
        }
        let rx = world.read::<784>(RX);
        found.extend(rest.take(&rx).unwrap());
        assert!(rest.is_whole());
        assert_eq!(found, expected, "{preset:?}");
        release(&mut world);
        assert_eq!(fetch(&mut world, handle, total_len, sender), Err(InvalidParameters), "{preset:?}: over");
    }
}

#[test]
fn an_answer_that_is_not_fetched_is_in_the_way_of_hafnium_alone() {
    for (preset, again) in TELLING.into_iter().zip([Err(Denied), Ok(()), Ok(())]) {
        let mut world = world(preset);
        let (handle, _) = share_in_parts(&mut world);
        retrieve(&mut world, &request(handle)).unwrap();
        release(&mut world);
        assert_eq!(retrieve(&mut world, &request(handle)).map(|_| ()), again, "{preset:?}");
    }
}

#[test]
fn a_transaction_of_which_bytes_are_missing_is_not_there() {
    for preset in TELLING {
        let mut world = world(preset);
        let bytes = Descriptor { ranges: vec![(0x4000_0000, 1), (0x5000_0000, 1)], ..Descriptor::good() };
        world.memory.write(TX, &bytes.bytes()).unwrap();
        let more = world.call([MEM_SHARE, 112, 96]);
        let handle = Handle::new(u64::from(more.w::<2>()) << 32 | u64::from(more.w::<1>())).unwrap();
        assert_eq!(retrieve(&mut world, &request(handle)), Err(InvalidParameters), "{preset:?}");
    }
}
