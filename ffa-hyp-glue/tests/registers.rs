//! All 18 registers of every answer: what it does not define is zero, whatever the guest had there.

mod common;

use common::*;
use ffa_abi::{
    FirmwareStatus, Function, FunctionId, IndirectFormat, IndirectMessage, NotificationBitmap, PartitionId,
    Properties, Regs, Uuid, Version, Width, version_answer,
};
use ffa_hyp_glue::{Creation, GuestInterrupts, Outcome, Settings};
use ffa_teardown::Span;
use ffa_test_utils::hypervisor::Machine;
use ffa_test_utils::spmc::{Preset, Reaction, Script, SpConfig, Turn};

const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

const DONE: Regs = Regs([0x8400_0061, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// What a guest has in a register that a call does not use.
fn pattern(number: usize) -> u64 {
    0x5eed_beef_0bad_0000 | number as u64
}

/// SP 1 takes everything at once, SP 2 is preempted once and yields once in each request.
fn world(preset: Preset, version: Version) -> World {
    let properties = SpConfig::SUBSCRIBED
        .or(Properties::RECEIVES_DIRECT_REQUESTS2)
        .or(Properties::INDIRECT_MESSAGES)
        .or(Properties::RECEIVES_NOTIFICATIONS);
    let slow = Turn::ACCEPT.preempted(1).yields(1, Span::from_millis(1));
    let sps = [Script::LAZY, Script::GOOD.on_request(Reaction::always(slow))];
    let sps = [SP1, SP2].into_iter().zip(sps).map(|(sp, script)| {
        let sp = SpConfig::new(sp, script);
        sp.with_properties(properties)
    });
    let settings = Settings { interrupts: Some(GuestInterrupts::SGI), vm_to_vm: true, ..Settings::DEFAULT };
    let mut world = World::boot(Machine { settings, ..machine(preset, sps.collect()) });
    world.hypervisor.permit(|_, _, _| true);
    world.live(VM2, Version::V1_2);
    assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
    assert_eq!(dirty(&mut world, [0x8400_0063, u64::from(version.word())]).0[1..], [0; 17]);
    world
}

/// A call whose arguments end with `head`: the rest is zero up to x7 and a pattern behind it, and so are the upper
/// halves of w0 to w7 in the 32-bit convention.
fn dirty<const N: usize>(world: &mut World, head: [u64; N]) -> Regs {
    let narrow = head[0] & 1 << 30 == 0;
    let mut regs = Regs::new(head);
    for (number, x) in regs.0.iter_mut().enumerate() {
        match number {
            8.. => *x = pattern(number),
            _ if narrow || number == 0 => *x |= pattern(number) & !0xffff_ffff,
            _ => {}
        }
    }
    assert_eq!(world.hypervisor.call(VM1, 0, &mut regs), Ok(Outcome::Return));
    regs
}

fn pair(sender: PartitionId, receiver: PartitionId) -> u64 {
    u64::from(PartitionId::pair(sender, receiver))
}

fn share(world: &mut World, version: Version, w0: u64) {
    let bytes = descriptor(version, VM1, SP1, &[(PAGES, 1)]);
    world.write_tx(VM1, &bytes);
    let answer = dirty(world, [w0, bytes.len() as u64, bytes.len() as u64]);
    let [low, high] = handle_of(&answer).expect("shared").words();
    assert_eq!(answer, Regs::new([0x8400_0061, 0, low, high]));
    assert_eq!(dirty(world, [0x8400_0077, low, high]), DONE);
}

#[test]
fn an_answer_of_success_has_what_it_defines_and_zeros() {
    for preset in [Preset::Hafnium, Preset::Strict] {
        for version in VERSIONS {
            let mut world = world(preset, version);
            let world = &mut world;
            let nonce = u64::from(preset.config().nonce);
            assert_eq!(dirty(world, [0x8400_0063, u64::from(version.word())])[0], u64::from(version.word()));
            assert_eq!(dirty(world, [0x8400_0069]), Regs::success(1, 0));
            assert_eq!(dirty(world, [0x8400_0064, 0x8400_0069]), DONE);
            for map in [0x8400_0066, 0xc400_0066] {
                assert_eq!(dirty(world, [map, TX, RX, 1]), DONE);
                assert_eq!(dirty(world, [0x8400_0067]), DONE);
            }
            assert_eq!(dirty(world, [0xc400_0066, TX, RX, 1]), DONE);
            let listed = dirty(world, [0x8400_0068]);
            let (count, size) = (listed.w::<2>(), listed.w::<3>());
            assert!(count >= 2);
            assert_eq!(listed, Regs::success(count, size), "{version}");
            assert_eq!(dirty(world, [0x8400_0065]), DONE);
            share(world, version, 0x8400_0073);
            share(world, version, 0xc400_0073);
            for (w0, response) in [(0x8400_006f, 0x8400_0070), (0xc400_006f, 0xc400_0070)] {
                let answer = dirty(world, [w0, pair(VM1, SP1), 0, 1, 2, 3, 4, 5]);
                assert_eq!(answer, Regs::new([response, pair(SP1, VM1), 0, 1 + nonce, 2, 3, 4, nonce]));
                // Preempted, then at rest, then done.
                let interrupted = Regs::new([0x8400_0062, 0x8002_0000]);
                assert_eq!(dirty(world, [w0, pair(VM1, SP2), 0, 1, 2, 3, 4, 5]), interrupted);
                let yields = dirty(world, [0x8400_006d, 0x8002_0000]);
                if version == Version::V1_0 {
                    assert_eq!(yields, interrupted, "1.0 has no rest");
                } else {
                    let rest = Span::from_millis(1).as_nanos();
                    assert_eq!(yields, Regs::new([0x8400_006c, 0x8002_0000, rest]));
                }
                world.hypervisor.advance(Span::from_millis(2));
                let answer = dirty(world, [0x8400_006d, 0x8002_0000]);
                assert_eq!(answer, Regs::new([response, pair(SP2, VM1), 0, 1 + nonce, 2, 3, 4, nonce]));
            }
            if version >= Version::V1_1 {
                messages_and_notifications(world, version);
            }
            if version >= Version::V1_2 {
                of_1_2(world, nonce);
            }
            world.check();
        }
    }
}

fn messages_and_notifications(world: &mut World, version: Version) {
    let format = IndirectFormat::for_version(version);
    let mut bytes = [0; 64];
    IndirectMessage::new(format, VM1, VM2, Uuid::NIL, 9, 4096).unwrap().write(&mut bytes).unwrap();
    world.write_tx(VM1, &bytes);
    assert_eq!(dirty(world, [0x8400_0086]), DONE);
    assert_eq!(dirty(world, [0x8400_007f, pair(SP1, VM1), 0, 1, 1 << 31]), DONE);
    assert_eq!(dirty(world, [0x8400_007f, pair(VM2, VM1), 0, 2, 0]), DONE);
    let signal = |world: &mut World| {
        let bits = NotificationBitmap(1 << 63 | 1);
        world.hypervisor.spmc_mut().set_notification(SP1, VM1, bits, None).expect("bound");
        world.hypervisor.advance(Span::from_millis(1));
        assert_eq!(world.call(VM2, [0x8400_0081, pair(VM2, VM1), 0, 2]), DONE);
    };
    signal(world);
    assert_eq!(dirty(world, [0xc400_0083]), Regs::new([0xc400_0061, 0, 1 << 7, 1]));
    assert_eq!(dirty(world, [0x8400_0082, 1, 0xf]), Regs::new([0x8400_0061, 0, 1, 1 << 31, 2]));
    signal(world);
    assert_eq!(dirty(world, [0x8400_0083]), Regs::new([0x8400_0061, 0, 1 << 7, 1]));
    assert_eq!(dirty(world, [0x8400_0082, 1, 0xf]), Regs::new([0x8400_0061, 0, 1, 1 << 31, 2]));
    world.hypervisor.spmc_mut().allow_notifications(SP1, VM1, NotificationBitmap(4)).expect("it takes them");
    assert_eq!(dirty(world, [0x8400_0081, pair(VM1, SP1), 0, 4]), DONE);
    assert_eq!(dirty(world, [0x8400_0080, pair(SP1, VM1), 0, 1, 1 << 31]), DONE);
    assert_eq!(dirty(world, [0x8400_0080, pair(VM2, VM1), 0, 2, 0]), DONE);
}

fn of_1_2(world: &mut World, nonce: u64) {
    let mut expected = Regs::new([0xc400_008e, pair(SP1, VM1)]);
    for (number, x) in expected.0.iter_mut().enumerate().skip(8) {
        *x = pattern(number);
    }
    (expected[4], expected[17]) = (nonce, nonce);
    assert_eq!(dirty(world, [0xc400_008d, pair(VM1, SP1)]), expected);
    let listed = dirty(world, [0xc400_008b]);
    assert_eq!(listed.0[..2], [0xc400_0061, 0]);
    let shown = (listed[2] >> 16 & 0xffff) as usize + 1;
    assert!((2..=5).contains(&shown));
    assert_eq!(listed[3] as u16, SP1.0);
    assert!(listed.0[3 + 3 * shown..].iter().all(|&x| x == 0), "{listed:x?}");
}

/// Every function ID that there can be, with a pattern in every register, before and after FFA_RXTX_MAP.
#[test]
fn an_answer_of_failure_has_its_status_and_zeros() {
    every_preset(|preset| {
        for version in VERSIONS {
            for mapped in [false, true] {
                let mut world = world(preset, version);
                if mapped {
                    world.map(VM1);
                }
                for (base, number) in [0x8400_0000_u32, 0xc400_0000]
                    .into_iter()
                    .flat_map(|base| (0x60..0xf0).map(move |n| (base, n)))
                {
                    let mut regs = Regs(core::array::from_fn(pattern));
                    regs[0] = u64::from(base | number) | pattern(0) & !0xffff_ffff;
                    let before = regs;
                    if world.hypervisor.call(VM1, 0, &mut regs) == Ok(Outcome::NotFfa) {
                        assert_eq!(regs, before);
                        continue;
                    }
                    let id = FunctionId::from_w0(base | number).ok();
                    let expected = match (id.map(|id| (id.function(), id.width())), status_of(&regs)) {
                        (Some((Function::Version, Width::Smc32)), _) => version_answer::to_regs(None),
                        // It has no arguments.
                        (Some((Function::IdGet, Width::Smc32)), None) => Regs::success(1, 0),
                        (_, Some(FirmwareStatus::Known(status))) => Regs::error(status),
                        (_, other) => panic!("{base:#x} + {number:#x}: {other:?} {regs:x?}"),
                    };
                    assert_eq!(regs, expected, "{} {version} {base:#x} + {number:#x}", preset.name());
                }
                world.check();
            }
        }
    });
}
