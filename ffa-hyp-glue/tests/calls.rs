//! Every call that the mediator serves, over every secure world.

mod common;

use common::*;
use ffa_abi::{
    Function, FunctionId, PartitionId, Properties, RecordFormat, Records, Regs, Status, Uuid, Version,
    version_answer,
};
use ffa_hyp_glue::{Creation, Occupancy, Outcome, Settings};
use ffa_test_utils::spmc::{Config, Preset, Script, SpConfig};

const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

/// A secure world that speaks no newer version than this.
fn old(preset: Preset, version: Version) -> Config {
    let config = preset.config();
    Config { version: config.version.min(version), ..config }
}

#[test]
fn x11_version_is_negotiated_for_each_vm_and_then_fixed() {
    every_preset(|preset| {
        let mut world = World::boot(machine(preset, good_sps()));
        assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
        let ask = |world: &mut World, word: u64| world.call(VM1, [0x8400_0063, word]);
        let none = version_answer::to_regs(None);
        assert_eq!(none[0], u64::MAX);
        let smcs = world.hypervisor.smcs();
        for word in [0x8000_0000, 0xffff_ffff, 0x8001_0001, 0x2_0000, 0] {
            assert_eq!(ask(&mut world, word), none, "{word:#x}");
        }
        // Before the first other call it may be asked for again.
        for (asked, answered) in
            [(0x1_0000, 0x1_0000), (0x1_0005, 0x1_0002), (0x1_ffff, 0x1_0002), (0x1_0001, 0x1_0001)]
        {
            assert_eq!(ask(&mut world, asked), Regs::new([answered]));
        }
        assert_eq!(world.call(VM1, [0x8400_0069]), Regs::success(1, 0));
        assert_eq!(ask(&mut world, 0x1_0001), Regs::new([0x1_0001]));
        assert_eq!(ask(&mut world, 0x1_0002), none);
        assert_eq!(ask(&mut world, 0x1_0000), none);
        assert_eq!(world.hypervisor.smcs(), smcs, "a guest's version is no business of the secure world");
        world.check();
    });
}

#[test]
fn nothing_but_version_works_before_version() {
    let mut world = World::boot(machine(Preset::Strict, good_sps()));
    assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
    for w0 in [0x8400_0069, 0x8400_0064, 0xc400_0066, 0x8400_0068, 0x8400_006f, MEM_SHARE, MEM_RECLAIM] {
        world.refused("a first call", VM1, [w0, 0], Status::NotSupported);
    }
}

#[test]
fn every_version_of_guest_shares_over_every_version_of_secure_world() {
    for preset in Preset::ALL {
        for secure in [Version::V1_1, Version::V1_2] {
            for guest in VERSIONS {
                let mut world = World::boot(machine(old(preset, secure), good_sps()));
                world.live(VM1, guest);
                let ranges = [(PAGES, 2), (LOOSE, 4), (PAGES + 8 * PAGE, 1)];
                let answer = world.send(VM1, &descriptor(guest, VM1, SP1, &ranges));
                let handle = handle_of(&answer).expect("shared");
                assert_eq!(answer.0[4..], [0; 14]);
                assert_eq!(world.hypervisor.spmc().mapped_pages(SP1), 7);
                for (address, pages) in ranges {
                    for page in 0..u64::from(pages) {
                        let physical = world.hypervisor.translate(VM1, address + page * PAGE).unwrap();
                        let reached = world.hypervisor.spmc().can_reach(physical).expect("the SP has it");
                        assert_eq!((reached.sp, reached.handle, reached.owner), (SP1, handle, VM1));
                    }
                }
                assert_eq!(world.reclaim(VM1, handle), Regs::error(Status::Denied), "the SP has it");
                world.destroy(VM1);
                assert!(world.hypervisor.settle(LONG));
                world.check_all_gone();
            }
        }
    }
}

#[test]
fn a_guest_reclaims_what_its_sp_has_let_go() {
    every_preset(|preset| {
        let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)];
        let mut world = World::with(machine(preset, sps));
        let handle = world.share(VM1, SP1, &[(PAGES, 3)]);
        let with_share = world.hypervisor.occupancy();
        assert_eq!(world.hypervisor.report(VM1).unwrap().shares, 1);
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0), "{}", preset.name());
        assert_eq!(world.hypervisor.report(VM1).unwrap().shares, 0);
        let without = world.hypervisor.occupancy();
        assert_eq!(without, Occupancy { duties: with_share.duties - 1, ..with_share });
        assert_eq!((without.vms, without.loans), (1, 0));
        // R07: the second time it is a handle like any other.
        world.refused(
            "reclaim twice",
            VM1,
            [MEM_RECLAIM, handle.words()[0], handle.words()[1]],
            Status::InvalidParameters,
        );
        world.share(VM1, SP1, &[(PAGES, 3)]);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

#[test]
fn partition_records_have_the_shape_of_the_guests_version() {
    let properties =
        SpConfig::SUBSCRIBED.or(Properties::RECEIVES_DIRECT_REQUESTS2).or(Properties::RECEIVES_NOTIFICATIONS);
    for preset in Preset::ALL {
        for guest in VERSIONS {
            let sps = good_sps().into_iter().map(|sp| sp.with_properties(properties)).collect();
            let mut world = World::boot(machine(preset, sps));
            world.live(VM1, guest);
            let format = RecordFormat::for_version(guest);
            let features = |world: &mut World, id| {
                world.call(VM1, [0x8400_0064, id]) != Regs::error(Status::NotSupported)
            };
            let requests2 = features(&mut world, 0xc400_008d);
            if guest >= Version::V1_1 {
                assert_eq!(world.call(VM1, [0x8400_0068, 0, 0, 0, 0, 1]), Regs::success(2, 0));
                assert_eq!(world.call(VM1, [0x8400_0065]), Regs::error(Status::Denied), "RX was not taken");
            } else {
                world.refused("a flag in 1.0", VM1, [0x8400_0068, 0, 0, 0, 0, 1], Status::InvalidParameters);
            }
            let size = if guest == Version::V1_0 { 0 } else { 24 };
            assert_eq!(world.call(VM1, [0x8400_0068]), Regs::success(2, size), "{} {guest}", preset.name());
            let mut rx = [0; 4096];
            world.hypervisor.read(VM1, RX, &mut rx);
            let stride = if guest == Version::V1_0 { 8 } else { 24 };
            let records: Vec<_> = Records::new(&rx, 2, stride).unwrap().collect();
            assert_eq!(records.iter().map(|sp| sp.id).collect::<Vec<_>>(), [SP1, SP2]);
            for sp in &records {
                assert!(sp.properties.contains(Properties::RECEIVES_DIRECT_REQUESTS));
                assert!(!sp.properties.contains(Properties::WANTS_VM_CREATED), "the hypervisor's business");
                assert_eq!(sp.uuid.is_nil(), guest == Version::V1_0);
                // What cannot be used is not advertised (H-20).
                assert_eq!(sp.properties.contains(Properties::RECEIVES_DIRECT_REQUESTS2), requests2);
                assert!(!sp.properties.contains(Properties::RECEIVES_NOTIFICATIONS));
            }
            assert!(rx[2 * format.size()..].iter().all(|byte| *byte == 0));
            assert_eq!(world.call(VM1, [0x8400_0068]), Regs::error(Status::Busy), "RX is full");
            assert_eq!(world.call(VM1, [0x8400_0065]), Regs::success(0, 0));
            assert_eq!(world.call(VM1, [0x8400_0065]), Regs::error(Status::Denied));
            // By UUID: the one that has it.
            if guest >= Version::V1_1 {
                let uuid = records[1].uuid.words();
                let [a, b, c, d] = uuid.map(u64::from);
                assert_eq!(world.call(VM1, [0x8400_0068, a, b, c, d]), Regs::success(1, 24));
                world.hypervisor.read(VM1, RX, &mut rx);
                let found: Vec<_> = Records::new(&rx, 1, 24).unwrap().collect();
                assert_eq!((found[0].id, found[0].uuid), (SP2, Uuid::NIL));
            }
            let lists =
                world.hypervisor.take_smcs().iter().filter(|smc| smc.regs.w::<0>() == 0x8400_0068).count();
            // Where it comes in registers it is not asked for in RX.
            let expected = usize::from(preset.config().info_regs.is_none());
            assert_eq!(lists, expected, "the list was fetched once, at boot");
            world.check();
        }
    }
}

#[test]
fn a_partition_with_two_services_is_listed_once_without_them_and_a_vm_never() {
    let mut two = SpConfig::new(SP1, Script::GOOD);
    two.uuids.push(Uuid::from_words([1, 2, 3, 4]));
    let vm = SpConfig::new(PartitionId(2), Script::GOOD);
    let sps = vec![two.clone(), vm, SpConfig::new(SP2, Script::GOOD)];
    for guest in VERSIONS {
        // It lists each UUID by itself.
        let mut world = World::boot(machine(Preset::Hafnium, sps.clone()));
        world.live(VM1, guest);
        let ids: &[_] = if guest == Version::V1_0 { &[SP1, SP2] } else { &[SP1, SP1, SP2] };
        let format = RecordFormat::for_version(guest);
        let answer = Regs::success(ids.len() as u32, format.size_word());
        assert_eq!(world.call(VM1, [0x8400_0068]), answer, "{guest}");
        let mut rx = [0; 4096];
        world.hypervisor.read(VM1, RX, &mut rx);
        let records = Records::new(&rx, ids.len() as u32, format.size() as u32).unwrap();
        assert_eq!(records.map(|sp| sp.id).collect::<Vec<_>>(), ids, "{guest}");
        assert_eq!(world.call(VM1, [0x8400_0065]), Regs::success(0, 0));
        // Whichever of its services is asked for.
        for uuid in &two.uuids {
            let [a, b, c, d] = uuid.words().map(u64::from);
            let answer = Regs::success(1, format.size_word());
            assert_eq!(world.call(VM1, [0x8400_0068, a, b, c, d]), answer, "{guest}");
            assert_eq!(world.call(VM1, [0x8400_0065]), Regs::success(0, 0));
        }
        // What nobody offers is an error, and takes no RX.
        let nobody = [0x8400_0068, 4, 3, 2, 1];
        assert_eq!(world.call(VM1, nobody), Regs::error(Status::InvalidParameters), "{guest}");
        assert_eq!(world.call(VM1, [0x8400_0065]), Regs::error(Status::Denied), "{guest}");
        world.check();
    }
}

#[test]
fn features_say_what_is_served_and_nothing_else() {
    every_preset(|preset| {
        let mut world = World::new(preset);
        let mut served = 0;
        for base in [0x8400_0000_u32, 0xc400_0000] {
            for number in 0x60..0xa0 {
                let w0 = base | number;
                let answer = world.call(VM1, [0x8400_0064, u64::from(w0)]);
                let there = status_of(&answer).is_none();
                assert!(there || answer == Regs::error(Status::NotSupported));
                served += u32::from(there);
                // What is advertised is answered otherwise than NOT_SUPPORTED, and only that.
                let answers_otherwise = [Function::Version, Function::Features];
                if FunctionId::from_w0(w0).is_ok_and(|id| answers_otherwise.contains(&id.function())) {
                    continue;
                }
                let smcs = world.hypervisor.smcs();
                let mut regs = Regs::new([u64::from(w0), u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX]);
                let outcome = world.hypervisor.call(VM1, 0, &mut regs);
                if outcome == Ok(Outcome::NotFfa) {
                    assert!(!there, "{w0:#x}");
                    continue;
                }
                let supported = regs != Regs::error(Status::NotSupported);
                assert_eq!(there, supported, "{}: {w0:#x}: {regs:x?}", preset.name());
                assert_eq!(world.hypervisor.smcs(), smcs, "{w0:#x}");
            }
        }
        assert!(served >= 12, "{served}");
        for feature in (0..=255).chain((8..31).map(|bit| 1 << bit | 1)) {
            world.refused("X10 a feature ID", VM1, [0x8400_0064, feature], Status::NotSupported);
        }
        for bit in 0..32 {
            let share = [0x8400_0064, MEM_SHARE, 1 << bit];
            world.refused("X10 properties of the caller", VM1, share, Status::NotSupported);
        }
        world.check();
    });
}

#[test]
fn a_direct_request_comes_back_from_its_sp_in_both_widths() {
    every_preset(|preset| {
        let mut world = World::new(preset);
        let nonce = u64::from(preset.config().nonce);
        for (w0, response, high) in
            [(0x8400_006f, 0x8400_0070, 0), (0xc400_006f, 0xc400_0070, 0x77_0000_0000)]
        {
            let answer = world.call(VM1, [w0, 0x1_8001, 0, 0x10, high | 2, high | 3, high | 4, 5]);
            let expected =
                Regs::new([response, 0x8001_0001, 0, 0x10 + nonce, high | 2, high | 3, high | 4, nonce]);
            assert_eq!(answer, expected, "{}", preset.name());
        }
        world.check();
    });
}

#[test]
fn h24_what_is_no_call_of_ffa_is_left_to_the_hypervisor() {
    let mut world = World::new(Preset::Strict);
    // PSCI, SMCCC, an OP-TEE call, FF-A's neighbours.
    for w0 in [0x8400_0000, 0x8000_0000, 0xbf00_ff01, 0x8400_005f, 0x8400_00f0, 0xc600_0073] {
        let mut regs = Regs([POISON; 18]);
        regs[0] = w0;
        let before = regs;
        assert_eq!(world.hypervisor.call(VM1, 0, &mut regs), Ok(Outcome::NotFfa), "{w0:#x}");
        assert_eq!(regs, before);
    }
    // The function ID is w0, and bit 16 is the SVE hint.
    assert_eq!(world.call(VM1, [0xffff_ffff_8400_0069]), Regs::success(1, 0));
    assert_eq!(world.call(VM1, [0x8401_0069]), Regs::success(1, 0));
}

#[test]
fn pages_of_all_shares_together_have_a_limit() {
    every_preset(|preset| {
        let sps = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::GOOD)];
        let mut boot = machine(preset, sps);
        boot.settings = Settings { pages_per_vm: 10, ..Settings::DEFAULT };
        let mut world = World::with(boot);
        world.live(VM2, Version::V1_1);
        let page = |n: u64| PAGES + n * PAGE;
        let first = world.share(VM1, SP1, &[(page(0), 4)]);
        let of = |pages: u32| descriptor(Version::V1_1, VM1, SP1, &[(page(10), 1), (page(20), pages - 1)]);
        let no_memory = Regs::error(Status::NoMemory);
        assert_eq!(world.send(VM1, &of(7)), no_memory, "{}", preset.name());
        // What is refused for another reason does not count.
        for _ in 0..3 {
            let overlaps = descriptor(Version::V1_1, VM1, SP1, &[(page(0), 6)]);
            assert_eq!(world.send(VM1, &overlaps), Regs::error(Status::Denied));
            let not_owned = descriptor(Version::V1_1, VM1, SP1, &[(page(10), 5), (DEVICE, 1)]);
            assert_eq!(world.send(VM1, &not_owned), Regs::error(Status::Denied));
        }
        let rest = handle_of(&world.send(VM1, &of(6))).expect("exactly as many as there may be");
        world.write_tx(VM1, &descriptor(Version::V1_1, VM1, SP1, &[(page(40), 1)]));
        assert_eq!(world.call(VM1, [MEM_SHARE, 96, 96]), no_memory);
        world.share(VM2, SP2, &[(page(0), 10)]);
        // What is back can be shared again.
        assert_eq!(world.reclaim(VM1, first), Regs::success(0, 0));
        assert_eq!(world.call(VM1, [MEM_SHARE, 96, 96])[0], 0x8400_0061, "{}", preset.name());
        assert_eq!(world.reclaim(VM1, rest), Regs::success(0, 0));
        assert_eq!(world.hypervisor.report(VM1).unwrap().pages, 1);
        for vm in [VM1, VM2] {
            world.destroy(vm);
        }
        assert!(world.hypervisor.settle(LONG));
        world.check_all_gone();
    });
}

#[test]
fn limits_are_those_of_the_settings() {
    let sps = vec![SpConfig::new(SP1, Script::LAZY)];
    let settings = Settings { shares_per_vm: 3, pages_per_share: 4, rxtx_pages: 2, ..Settings::DEFAULT };
    let mut boot = machine(Preset::Strict, sps);
    boot.settings = settings;
    let mut world = World::with(boot);
    let handles: Vec<_> = (0..3).map(|n| world.share(VM1, SP1, &[(PAGES + n * 4 * PAGE, 4)])).collect();
    let one_more = descriptor(Version::V1_1, VM1, SP1, &[(PAGES + 20 * PAGE, 1)]);
    assert_eq!(world.send(VM1, &one_more), Regs::error(Status::NoMemory));
    assert_eq!(world.reclaim(VM1, handles[1]), Regs::success(0, 0));
    let too_large = descriptor(Version::V1_1, VM1, SP1, &[(PAGES + 20 * PAGE, 5)]);
    assert_eq!(world.send(VM1, &too_large), Regs::error(Status::NoMemory));
    assert_eq!(world.send(VM1, &one_more).w::<0>(), 0x8400_0061);
    world.check();
}
