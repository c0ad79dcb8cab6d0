//! Each case in which Xen's mediator refuses with another code: a guest gets the one that the settings say, without an SMC,
//! and nothing is left behind.

mod common;

use common::*;
use ffa_abi::{Function, IndirectFormat, IndirectMessage, PartitionId, Regs, Status, Uuid, Version};
use ffa_hyp_glue::{Case, Compat, Creation, DIFFERENCES, Difference, GuestInterrupts, Settings};
use ffa_test_utils::hypervisor::Machine;
use ffa_test_utils::spmc::Preset;

/// Calls by what is tested together.
const LISTS: &[Function] = &[Function::PartitionInfoGet];
const REQUESTS: &[Function] = &[Function::MsgSendDirectReq, Function::MsgSendDirectReq2, Function::Run];
const MESSAGES: &[Function] = &[Function::MsgSend2];
const SHARES: &[Function] = &[Function::MemShare];
const NOTIFICATIONS: &[Function] =
    &[Function::NotificationBind, Function::NotificationUnbind, Function::NotificationSet];

const SEND2: u64 = 0x8400_0086;

/// An SP that is not there.
const NOBODY: PartitionId = PartitionId(0x8055);
const HYPERVISOR: PartitionId = PartitionId(0);

/// Of these secure worlds one passes messages on and keeps notifications, the other does neither.
const DOES: Preset = Preset::Strict;
const DOES_NOT: Preset = Preset::TfaEl3;

/// What VM 1 tries in a world where it must be refused. [`World::write_tx`] comes first, if there is something to write.
struct Attempt {
    world: World,
    tx: Vec<u8>,
    call: Vec<u64>,
}

/// VM 1 at 1.2 and VM 2, which has called nothing, with RX and TX for neither.
fn bare(preset: Preset, settings: Settings) -> World {
    let mut world = World::boot(Machine { settings, ..machine(preset, good_sps()) });
    world.hypervisor.permit(|_, _, _| true);
    for vm in [VM1, VM2] {
        assert_eq!(world.hypervisor.create(vm, &REGIONS), Ok(Creation::Live));
    }
    world.negotiate(VM1, Version::V1_2);
    world
}

/// VM 1 has RX and TX.
fn world(preset: Preset, settings: Settings) -> World {
    let mut world = bare(preset, settings);
    world.map(VM1);
    world
}

fn among_vms(settings: Settings) -> Settings {
    Settings { vm_to_vm: true, ..notified(settings) }
}

fn notified(settings: Settings) -> Settings {
    Settings { interrupts: Some(GuestInterrupts::SGI), ..settings }
}

fn pair(high: PartitionId, low: PartitionId) -> u64 {
    u64::from(PartitionId::pair(high, low))
}

/// These calls, each in a world of its own.
fn calls<const N: usize>(world: impl Fn() -> World, calls: [Vec<u64>; N]) -> Vec<Attempt> {
    calls.into_iter().map(|call| Attempt { world: world(), tx: vec![], call }).collect()
}

/// Tries every difference of these calls, with both settings.
fn each(functions: &[Function], attempts: impl Fn(&Difference, Settings) -> Vec<Attempt>) {
    for function in functions {
        let rows: Vec<_> = DIFFERENCES.iter().filter(|row| row.function == *function).collect();
        assert_ne!(rows, Vec::<&Difference>::new(), "{function}");
        for row in rows {
            assert_ne!(row.strict, row.xen, "{row:?}");
            for (compat, status) in [(Compat::Strict, row.strict), (Compat::Xen, row.xen)] {
                let attempts = attempts(row, Settings { compat, ..Settings::DEFAULT });
                assert!(!attempts.is_empty(), "{row:?}");
                for (nth, attempt) in attempts.into_iter().enumerate() {
                    refused(attempt, status, &format!("{compat:?}, {function}: {}, {nth}", row.case));
                }
            }
        }
    }
}

fn refused(Attempt { mut world, tx, call }: Attempt, status: Status, what: &str) {
    world.write_tx(VM1, &tx);
    let mut regs = Regs::ZERO;
    regs.0[..call.len()].copy_from_slice(&call);
    let smcs = world.hypervisor.smcs();
    assert_eq!(world.call_on(VM1, 0, regs), Regs::error(status), "{what}");
    assert_eq!(world.hypervisor.smcs(), smcs, "{what} reached the secure world");
    let report = world.hypervisor.report(VM1).expect("it lives");
    assert_eq!((report.shares, report.pages), (0, 0), "{what}");
    for vm in [VM1, VM2] {
        if world.hypervisor.report(vm).is_some() {
            world.destroy(vm);
        }
    }
    assert!(world.hypervisor.settle(LONG), "{what}");
    world.check_all_gone();
}

#[test]
fn no_difference_is_left_out() {
    let tested = [LISTS, REQUESTS, MESSAGES, SHARES, NOTIFICATIONS].concat();
    for row in DIFFERENCES {
        assert!(tested.contains(&row.function), "{row:?}");
        let same = |other: &&Difference| {
            (other.function, other.case, other.strict) == (row.function, row.case, row.strict)
        };
        assert_eq!(DIFFERENCES.iter().filter(same).count(), 1, "{row:?}");
    }
}

#[test]
fn the_readme_lists_the_differences() {
    let mut expected =
        String::from("| call | case | `Strict` | `Xen` | Xen's source |\n| --- | --- | --- | --- | --- |\n");
    for Difference { function, case, strict, xen, source } in DIFFERENCES {
        expected += &format!("| {function} | {case} | {strict} | {xen} | `{source}` |\n");
    }
    let readme = include_str!("../README.md");
    assert!(readme.contains(&format!("\n{expected}\n")), "the README should say:\n{expected}");
}

#[test]
fn a_list_for_a_guest_without_rx() {
    each(LISTS, |row, settings| match row.case {
        Case::NoRx => calls(|| bare(DOES, settings), [vec![0x8400_0068]]),
        _ => panic!("{row:?}"),
    });
}

#[test]
fn requests_to_what_is_no_sp() {
    each(REQUESTS, |row, settings| {
        assert_eq!(row.case, Case::NoSp);
        let world = || world(DOES, settings);
        let to = |w0: u64| [VM2, HYPERVISOR, PartitionId(0x7fff)].map(|to| vec![w0, pair(VM1, to)]);
        match row.function {
            Function::MsgSendDirectReq => {
                [calls(world, to(0x8400_006f)), calls(world, to(0xc400_006f))].into_iter().flatten().collect()
            }
            Function::MsgSendDirectReq2 => calls(world, to(0xc400_008d)),
            _ => calls(world, [VM1, VM2, HYPERVISOR].map(|vm| vec![0x8400_006d, pair(vm, HYPERVISOR)])),
        }
    });
}

#[test]
fn messages_that_nobody_takes() {
    each(MESSAGES, |row, settings| {
        let settings = among_vms(settings);
        let (world, receiver) = match (row.case, row.strict) {
            (Case::NotPassedOn, Status::Denied) => (world(DOES_NOT, settings), SP1),
            (Case::NotPassedOn, _) => (world(DOES_NOT, settings), NOBODY),
            (Case::NotNegotiated, _) => (world(DOES, settings), VM2),
            (Case::ReceiverWithoutRx, _) => {
                let mut world = world(DOES, settings);
                world.negotiate(VM2, Version::V1_1);
                assert_eq!(world.call(VM2, [0x8400_0069]), Regs::success(2, 0));
                (world, VM2)
            }
            _ => panic!("{row:?}"),
        };
        let format = IndirectFormat::V1_2;
        let mut tx = vec![7; format.size() + 8];
        let message = IndirectMessage::new(format, VM1, receiver, Uuid::NIL, 8, 4096);
        message.and_then(|message| message.write(&mut tx)).expect("it fits");
        vec![Attempt { world, tx, call: vec![SEND2] }]
    });
}

/// Offsets in a descriptor of 1.1: receivers of 16 bytes each come after the header.
const RECEIVER: usize = 48;
const SECOND: usize = 64;

/// A share with two good receivers.
fn with_two() -> Vec<u8> {
    let mut bytes = descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 1)]);
    let second = bytes[RECEIVER..SECOND].to_vec();
    bytes.splice(SECOND..SECOND, second);
    let composite = 80;
    let patches: [(usize, &[u8]); 4] = [
        (28, &[2]),
        (RECEIVER + 4, &[composite]),
        (SECOND, &SP2.0.to_le_bytes()),
        (SECOND + 4, &[composite]),
    ];
    broken(&bytes, &patches)
}

#[test]
fn shares_with_one_thing_wrong() {
    let good = descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 1)]);
    each(SHARES, |row, settings| {
        let world = || world(DOES, settings);
        let share = |tx: Vec<u8>| {
            let len = tx.len() as u64;
            Attempt { world: world(), tx, call: vec![MEM_SHARE, len, len] }
        };
        let bytes =
            |at, values: &[u8]| values.iter().map(|value| share(broken(&good, &[(at, &[*value])]))).collect();
        match row.case {
            Case::OtherBuffer => {
                calls(world, [[PAGES, 1], [PAGES, 0]].map(|[x3, w4]| vec![MEM_SHARE, 96, 96, x3, w4]))
            }
            Case::NoTx => calls(|| bare(DOES, settings), [vec![MEM_SHARE, 96, 96]]),
            Case::Sender => {
                [VM2, HYPERVISOR, SP1].map(|id| share(broken(&good, &[(0, &id.0.to_le_bytes())]))).into()
            }
            Case::ReservedAttributes => bytes(2, &[0xaf, 0x3f, 0x23, 0x2d]),
            Case::OtherAttributes => bytes(2, &[0, 0x13, 0x27, 0x2c, 0x2e]),
            Case::Receivers => {
                let mut attempts: Vec<_> = bytes(28, &[0, 0xff]);
                attempts.push(share(broken(&with_two(), &[(SECOND, &SP1.0.to_le_bytes())])));
                attempts.push(share(broken(&with_two(), &[(SECOND + 4, &[96])])));
                attempts
            }
            Case::NoSp => [VM1, VM2, HYPERVISOR]
                .map(|id| share(broken(&good, &[(RECEIVER, &id.0.to_le_bytes())])))
                .into(),
            Case::Permissions => bytes(RECEIVER + 2, &[0, 3, 6, 10, 0x12, 0xff]),
            Case::Composite => bytes(RECEIVER + 4, &[96, 240]),
            _ => panic!("{row:?}"),
        }
    });
}

/// What is wrong with the descriptors above is what was changed in them, and what else Xen refuses with the same code is
/// refused alike.
#[test]
fn shares_that_differ_in_nothing_else() {
    let good = descriptor(Version::V1_1, VM1, SP1, &[(PAGES, 1)]);
    for compat in [Compat::Strict, Compat::Xen] {
        let settings = Settings { compat, ..Settings::DEFAULT };
        for tx in [good.clone(), with_two()] {
            assert!(handle_of(&world(DOES, settings).send(VM1, &tx)).is_some(), "{compat:?}");
        }
        let patches: [(usize, &[u8]); 4] =
            [(2, &[0x6f]), (3, &[0x80]), (28, &[0, 1]), (RECEIVER, &NOBODY.0.to_le_bytes())];
        for patch in patches {
            let answer = world(DOES, settings).send(VM1, &broken(&good, &[patch]));
            assert_eq!(answer, Regs::error(Status::InvalidParameters), "{compat:?} {patch:x?}");
        }
    }
}

#[test]
fn notifications_where_there_are_none() {
    each(NOTIFICATIONS, |row, settings| {
        let alone = || world(DOES, notified(settings));
        let among_vms = || world(DOES_NOT, among_vms(settings));
        let [own_last, own_first] =
            [|other| pair(other, VM1), |other| pair(VM1, other)] as [fn(PartitionId) -> u64; 2];
        let (w0, pair) = match row.function {
            Function::NotificationBind => (0x8400_007f, own_last),
            Function::NotificationUnbind => (0x8400_0080, own_last),
            _ => (0x8400_0081, own_first),
        };
        let with = |other| vec![w0, pair(other), 0, 1];
        match (row.function, row.case, row.strict) {
            (_, Case::Flags, _) => calls(alone, [2, 1 << 31].map(|flags| vec![w0, pair(SP1), flags, 1])),
            (Function::NotificationUnbind, Case::NoNotifications, _) => {
                let mut attempts = calls(among_vms, [SP1, NOBODY].map(with));
                attempts.extend(calls(alone, [VM2, PartitionId(7)].map(with)));
                attempts
            }
            (_, Case::NoNotifications, Status::Denied) => calls(among_vms, [with(SP1)]),
            (_, Case::NoNotifications, _) => {
                let mut attempts = calls(among_vms, [with(NOBODY)]);
                attempts.extend(calls(alone, [VM2, PartitionId(7)].map(with)));
                attempts
            }
            _ => panic!("{row:?}"),
        }
    });
}
