//! The partition that speaks OP-TEE's protocol: what a driver sends it, byte by byte, and what it does.

mod common;

use common::*;
use ffa_abi::{Handle, PartitionId, Status};
use ffa_test_utils::spmc::*;

/// Errors of GlobalPlatform.
const BAD_PARAMETERS: u64 = 0xffff_0006;
const ITEM_NOT_FOUND: u64 = 0xffff_0008;
const NOT_SUPPORTED: u64 = 0xffff_000a;

const UNREGISTER: u64 = 3;
const CALL: u64 = 0x8000_0000;

const OPEN_SESSION: u32 = 0;
const INVOKE: u32 = 1;
const CLOSE_SESSION: u32 = 2;

const VALUE_INPUT: u64 = 1;
const VALUE: u64 = 3;
const MEMORY: u64 = 7;

/// Where the page of arguments is, and where in it one is.
const ARGUMENTS: u64 = 0x5000_0000;
const AT: u64 = 0x100;

/// Two ranges that do not follow each other, five pages in all.
const RANGES: [(u64, u32); 2] = [(0x4800_0000, 3), (0x4400_0000, 2)];

type Parameter = (u64, [u64; 3]);

fn world() -> World {
    let sp = SpConfig::new(SP1, Script::LAZY);
    World::new(Preset::Strict, [sp.as_tee(), SpConfig::new(SP2, Script::LAZY)])
}

/// w3 to w5 of the answer to a request of `vm`.
fn ask_as(world: &mut World, vm: PartitionId, payload: [u64; 5]) -> [u64; 3] {
    let answer = world.direct(vm, SP1, payload);
    assert_eq!(answer.w::<0>(), 0x8400_0070, "{answer:x?}");
    assert_eq!(answer.w::<1>(), PartitionId::pair(SP1, vm));
    [answer.x::<3>(), answer.x::<4>(), answer.x::<5>()]
}

fn ask(world: &mut World, payload: [u64; 5]) -> [u64; 3] {
    ask_as(world, VM1, payload)
}

/// The page of arguments, shared.
fn share_arguments(world: &mut World) -> Handle {
    world.share(&Descriptor::pages(ARGUMENTS, 1))
}

fn share_ranges(world: &mut World) -> Handle {
    world.share(&Descriptor { ranges: RANGES.to_vec(), ..Descriptor::good() })
}

/// Writes an argument of these parameters, and has it carried out.
fn call(world: &mut World, page: Handle, head: [u32; 3], parameters: &[Parameter]) -> [u64; 3] {
    let [command, function, session] = head;
    let count = parameters.len() as u32;
    let mut bytes: Vec<u8> =
        [command, function, session, 0, 0, 0x5555_5555, 0x5555_5555, count].map(u32::to_le_bytes).concat();
    for (kind, words) in parameters {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    world.memory.write(ARGUMENTS + AT, &bytes).unwrap();
    let [low, high] = page.words();
    ask(world, [CALL, low, high, AT, 0])
}

/// What the partition wrote into the argument: session, result, origin of the result, and the first parameter.
fn results(world: &World) -> (u32, u64, u32, [u64; 3]) {
    let word = |at: u64| u32::from_le_bytes(world.read(ARGUMENTS + AT + at));
    let double = |at: u64| u64::from_le_bytes(world.read(ARGUMENTS + AT + at));
    (word(8), word(20).into(), word(24), [40, 48, 56].map(double))
}

/// The parameters with which a session of the application `name` is opened.
fn opening(name: [u8; 16]) -> [Parameter; 2] {
    let half = |at: usize| u64::from_le_bytes(name[at..at + 8].try_into().unwrap());
    [(VALUE_INPUT, [half(0), half(8), 0]), (VALUE_INPUT, [0; 3])]
}

fn open_session(world: &mut World, page: Handle) -> u32 {
    assert_eq!(call(world, page, [OPEN_SESSION, 0, 0], &opening(TEE_APPLICATION_UUID.0)), [0; 3]);
    let (session, result, ..) = results(world);
    assert_eq!(result, 0);
    session
}

/// `bytes` from `offset` of what `handle` names.
fn reference(handle: Handle, offset: u64, bytes: u64) -> Parameter {
    (MEMORY, [offset, bytes, handle.get()])
}

/// Every byte of the ranges, in their order.
fn content(world: &World) -> Vec<u8> {
    let bytes = |&(base, pages): &(u64, u32)| {
        let mut bytes = vec![0; pages as usize * PAGE as usize];
        world.memory.read(base, &mut bytes).unwrap();
        bytes
    };
    RANGES.iter().flat_map(bytes).collect()
}

fn fill(world: &mut World) -> Vec<u8> {
    let byte = |position: u64| (position * 7 + position / PAGE) as u8;
    let mut start = 0;
    for (base, pages) in RANGES {
        let end = start + u64::from(pages) * PAGE;
        world.memory.write(base, &(start..end).map(byte).collect::<Vec<_>>()).unwrap();
        start = end;
    }
    content(world)
}

#[test]
fn says_what_it_is() {
    let mut world = world();
    assert_eq!(ask(&mut world, [0; 5]), [1, 0, 0]);
    assert_eq!(ask(&mut world, [1, 0, 0, 0, 0])[..2], [4, 0]);
    // No error; no parameters of requests to the driver; arguments with an offset.
    assert_eq!(ask(&mut world, [2, 0, 0, 0, 0]), [0, 0, 1]);
    for service in [4, 5, 0x8000_0001, 0xffff_ffff] {
        assert_eq!(ask(&mut world, [service, 0, 0, 0, 0]), [NOT_SUPPORTED, 0, 0], "{service:#x}");
    }
}

#[test]
fn opens_sessions_of_its_one_application() {
    let mut world = world();
    let page = share_arguments(&mut world);
    let session = open_session(&mut world, page);
    assert_eq!(call(&mut world, page, [CLOSE_SESSION, 0, session], &[]), [0; 3]);
    assert_eq!(results(&world).1, 0);
    assert_eq!(call(&mut world, page, [OPEN_SESSION, 0, 0], &opening(TEE_UUID.0)), [0; 3]);
    // The answer is in the argument, and comes from the trusted OS or its application.
    assert_eq!((results(&world).1, results(&world).2), (ITEM_NOT_FOUND, 4));
}

#[test]
fn the_application_works_on_all_of_the_memory_and_on_no_more() {
    let mut world = world();
    let page = share_arguments(&mut world);
    let session = open_session(&mut world, page);
    let memory = share_ranges(&mut world);
    let before = fill(&mut world);
    let whole = before.len() as u64;
    // Beginning and end inside a page, and across the gap between the ranges.
    for (offset, bytes) in [(0, whole), (5, whole - 9), (3 * PAGE - 2, 4), (whole - 1, 1), (7, 0)] {
        let before = content(&world);
        let parameters = [(VALUE, [0; 3]), reference(memory, offset, bytes)];
        assert_eq!(call(&mut world, page, [INVOKE, 0, session], &parameters), [0; 3]);
        let range = offset as usize..(offset + bytes) as usize;
        let sum: u64 = before[range.clone()].iter().map(|&byte| u64::from(byte)).sum();
        assert_eq!(results(&world), (session, 0, 4, [sum, 0, 0]), "{bytes} bytes from {offset}");
        let mut expected = before;
        expected[range].iter_mut().for_each(|byte| *byte = !*byte);
        assert!(content(&world) == expected, "{bytes} bytes from {offset}");
    }
}

#[test]
fn refuses_arguments_that_make_no_sense() {
    let mut world = world();
    let page = share_arguments(&mut world);
    let session = open_session(&mut world, page);
    let memory = share_ranges(&mut world);
    let before = fill(&mut world);
    let whole = before.len() as u64;
    let value = (VALUE, [0; 3]);
    let (behind, far) = (reference(memory, whole, 1), reference(memory, u64::MAX, 1));
    let unknown = Handle::new(memory.get() + 0x100).unwrap();
    let rows: &[(&str, [u32; 3], &[Parameter], u64)] = &[
        ("another command", [9, 0, session], &[], NOT_SUPPORTED),
        ("another session", [INVOKE, 0, session + 1], &[value, reference(memory, 0, 1)], BAD_PARAMETERS),
        ("the end of another", [CLOSE_SESSION, 0, session + 1], &[], BAD_PARAMETERS),
        ("another function", [INVOKE, 1, session], &[value, reference(memory, 0, 1)], BAD_PARAMETERS),
        ("no memory", [INVOKE, 0, session], &[value], BAD_PARAMETERS),
        ("a value for the memory", [INVOKE, 0, session], &[value, value], BAD_PARAMETERS),
        ("memory for the sum", [INVOKE, 0, session], &[reference(memory, 0, 1); 2], BAD_PARAMETERS),
        ("an unknown handle", [INVOKE, 0, session], &[value, reference(unknown, 0, 1)], BAD_PARAMETERS),
        ("no handle", [INVOKE, 0, session], &[value, (MEMORY, [0, 1, u64::MAX])], BAD_PARAMETERS),
        ("bytes behind the end", [INVOKE, 0, session], &[value, behind], BAD_PARAMETERS),
        ("an offset as high as can be", [INVOKE, 0, session], &[value, far], BAD_PARAMETERS),
        ("no application", [OPEN_SESSION, 0, 0], &[], BAD_PARAMETERS),
    ];
    for (what, head, parameters, error) in rows {
        assert_eq!(call(&mut world, page, *head, parameters), [0; 3], "{what}");
        assert_eq!(results(&world).1, *error, "{what}");
        assert!(content(&world) == before, "{what}");
    }
    // These cannot even be answered in the argument.
    let [low, high] = page.words();
    call(&mut world, page, [INVOKE, 0, session], &[value; 6]);
    assert_eq!(results(&world).1, BAD_PARAMETERS);
    assert_eq!(call(&mut world, page, [INVOKE, 0, session], &[value; 7])[0], BAD_PARAMETERS);
    assert_eq!(ask(&mut world, [CALL, low, high, PAGE - 31, 0])[0], BAD_PARAMETERS);
    assert_eq!(ask(&mut world, [CALL, low, high, 0xffff_ffff, 0])[0], BAD_PARAMETERS);
}

#[test]
fn nobody_uses_memory_of_another_vm_or_of_another_partition() {
    let mut world = world();
    world.tell(ffa_abi::VmAvailability::Created, VM2, SP1);
    let page = share_arguments(&mut world);
    let session = open_session(&mut world, page);
    let [low, high] = page.words();
    assert_eq!(ask_as(&mut world, VM2, [CALL, low, high, AT, 0])[0], BAD_PARAMETERS);
    assert_eq!(ask_as(&mut world, VM2, [UNREGISTER, low, high, 0, 0])[0], BAD_PARAMETERS);
    let elsewhere =
        world.share(&Descriptor { receivers: vec![(SP2.0, 0b10)], ..Descriptor::pages(0x4000_0000, 1) });
    let parameters = [(VALUE, [0; 3]), reference(elsewhere, 0, 1)];
    assert_eq!(call(&mut world, page, [INVOKE, 0, session], &parameters), [0; 3]);
    assert_eq!(results(&world).1, BAD_PARAMETERS);
}

#[test]
fn memory_is_reclaimed_when_it_is_not_registered_any_more() {
    let mut world = world();
    let page = share_arguments(&mut world);
    let [low, high] = page.words();
    // Nobody has used it yet.
    let unused = share_ranges(&mut world);
    assert_eq!(status_of(&world.reclaim(unused)), Ok(()));
    open_session(&mut world, page);
    assert_eq!(status_of(&world.reclaim(page)), Err(Status::Denied));
    assert_eq!(ask(&mut world, [UNREGISTER, low, high, 0, 0]), [0; 3]);
    assert_eq!(status_of(&world.reclaim(page)), Ok(()));
    assert_eq!(ask(&mut world, [UNREGISTER, low, high, 0, 0])[0], BAD_PARAMETERS);
}

#[test]
fn a_call_that_is_preempted_is_carried_out_when_it_is_run() {
    let script = Script::LAZY.on_request(Reaction::always(Turn::ACCEPT.preempted(2)));
    let mut world = World::new(Preset::Strict, [SpConfig::new(SP1, script).as_tee()]);
    let page = share_arguments(&mut world);
    let [low, high] = page.words();
    let bytes = [OPEN_SESSION, 0, 0, 0, 0, 0x5555_5555, 0, 0].map(u32::to_le_bytes).concat();
    world.memory.write(ARGUMENTS + AT, &bytes).unwrap();
    let mut answer = world.direct(VM1, SP1, [CALL, low, high, AT, 0]);
    for _ in 0..2 {
        assert_eq!(answer.w::<0>(), 0x8400_0062, "{answer:x?}");
        assert_eq!(results(&world).1, 0x5555_5555);
        answer = world.run(SP1, 0);
    }
    assert_eq!(answer.w::<0>(), 0x8400_0070, "{answer:x?}");
    assert_eq!(results(&world).1, BAD_PARAMETERS);
}
