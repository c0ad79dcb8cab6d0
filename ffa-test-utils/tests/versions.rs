//! FFA_VERSION, FFA_FEATURES and the list of partitions, as each secure world answers them.

mod common;

use common::*;
use ffa_abi::{
    Function, FunctionId, PartitionId, PartitionInfo, Properties, Records, Regs, Status, Uuid, Version,
};
use ffa_test_utils::spmc::*;

const REFUSED: u32 = u32::MAX;

/// Asks for each word in turn, with an FFA_ID_GET where it says so, and compares w0.
fn negotiate(preset: Preset, steps: &[(Step, u32)]) {
    let mut world = World::raw(preset, []);
    for (number, &(step, expected)) in steps.iter().enumerate() {
        let answer = match step {
            Step::Ask(word) => world.call([0x8400_0063, u64::from(word)]).w::<0>(),
            Step::IdGet => world.call([0x8400_0069]).w::<0>(),
        };
        assert_eq!(answer, expected, "{preset:?} step {number}: {answer:#x}");
    }
}

#[derive(Clone, Copy)]
enum Step {
    Ask(u32),
    IdGet,
}

const SUCCESS: u32 = 0x8400_0061;
const ERROR: u32 = 0x8400_0060;

#[test]
fn hafnium_locks_the_version_with_the_first_other_call() {
    use Step::*;
    let v = 0x1_0003;
    let hafnium = Preset::Hafnium;
    negotiate(hafnium, &[(Ask(0x1_0001), v), (Ask(0x1_0002), v), (IdGet, SUCCESS), (Ask(0x1_0002), v)]);
    negotiate(hafnium, &[(Ask(0x1_0001), v), (IdGet, SUCCESS), (Ask(0x1_0002), REFUSED), (Ask(0x1_0001), v)]);
    negotiate(hafnium, &[(Ask(0x1_0004), REFUSED), (Ask(0x2_0000), REFUSED), (Ask(0x8001_0001), REFUSED)]);
    negotiate(hafnium, &[(IdGet, SUCCESS), (Ask(0x1_0001), REFUSED), (Ask(0x1_0003), v)]);
}

#[test]
fn tfa_locks_out_who_does_not_ask_first_and_then_repeats_the_old_version() {
    use Step::*;
    let tfa = Preset::TfaEl3;
    negotiate(tfa, &[(IdGet, ERROR), (Ask(0x1_0001), REFUSED), (IdGet, ERROR), (Ask(0x1_0002), REFUSED)]);
    negotiate(tfa, &[(Ask(0x1_0001), 0x1_0002), (IdGet, SUCCESS), (Ask(0x1_0002), 0x1_0001)]);
    negotiate(tfa, &[(Ask(0x1_0003), 0x1_0002), (IdGet, ERROR), (Ask(0x1_0001), REFUSED)]);
    negotiate(tfa, &[(Ask(0x8000_0000), REFUSED), (Ask(0x1_0000), 0x1_0002), (IdGet, SUCCESS)]);
}

#[test]
fn optee_negotiates_at_any_time() {
    use Step::*;
    let asked = [(Ask(0x1_0000), 0x1_0002), (IdGet, SUCCESS), (Ask(0x1_0009), 0x1_0002), (IdGet, SUCCESS)];
    negotiate(Preset::Optee, &asked);
    negotiate(Preset::Optee, &[(IdGet, SUCCESS), (Ask(0xffff_ffff), REFUSED)]);
}

#[test]
fn what_is_no_ffa_call_is_unknown_and_what_is_not_served_not_supported() {
    for preset in Preset::ALL {
        let mut world = World::new(preset, []);
        assert_eq!(world.call([0x8200_0000]), Regs::new([u64::MAX]), "{preset:?}");
        let not_supported = Err(Status::NotSupported);
        // Inside FF-A's range without a function, and functions that no call of the normal world may make.
        for w0 in [0x8400_0091, 0x8400_006b, 0x8400_006c, 0x8400_007c, 0xc400_0087] {
            assert_eq!(status_of(&world.call([w0])), not_supported, "{preset:?} {w0:#x}");
        }
    }
}

fn has_feature(preset: Preset, id: FunctionId) -> bool {
    let mut world = World::new(preset, []);
    status_of(&world.call([0x8400_0064, u64::from(id.w0())])).is_ok()
}

#[test]
fn features_need_not_agree_with_what_is_served() {
    let share = FunctionId::smc32(Function::MemShare);
    let lend = FunctionId::smc32(Function::MemLend);
    let set = FunctionId::smc32(Function::NotificationSet);
    let map_32 = FunctionId::smc32(Function::RxTxMap);
    let yields = FunctionId::smc32(Function::Yield);
    for (preset, expected) in [
        (Preset::Hafnium, [true, true, true, false, false]),
        (Preset::TfaEl3, [true, true, false, true, false]),
        (Preset::Optee, [true, false, true, true, false]),
        (Preset::Strict, [true, true, true, true, true]),
    ] {
        let known = [share, lend, set, map_32, yields].map(|id| has_feature(preset, id));
        assert_eq!(known, expected, "{preset:?}");
    }
}

#[test]
fn the_size_of_buffers_is_told_to_callers_of_1_2() {
    for (asked, w2) in [(0x1_0001, 0), (0x1_0002, 1 << 16)] {
        let mut world = World::raw(Preset::Hafnium, []);
        world.call([0x8400_0063, asked]);
        assert_eq!(world.call([0x8400_0064, 0xc400_0066]), Regs::success(w2, 0));
    }
}

fn two_partitions() -> [SpConfig; 2] {
    let talker = Properties::SENDS_DIRECT_REQUESTS.or(Properties::WANTS_VM_DESTROYED);
    let quiet = SpConfig { contexts: 4, ..SpConfig::new(SP2, Script::GOOD).with_properties(talker) };
    [SpConfig::new(SP1, Script::GOOD), quiet]
}

fn list(preset: Preset, asked: u64) -> (u32, Vec<PartitionInfo>) {
    let mut world = World::raw(preset, two_partitions());
    world.call([0x8400_0063, asked]);
    world.map_buffers();
    let answer = world.call([0x8400_0068]);
    assert_eq!(status_of(&answer), Ok(()), "{preset:?}");
    let bytes: [u8; 4096] = world.read(RX);
    let records = Records::new(&bytes, answer.w::<2>(), answer.w::<3>()).unwrap();
    (answer.w::<3>(), records.collect())
}

#[test]
fn records_come_in_each_ones_stride_with_what_it_shows() {
    for (preset, asked, stride, quiet) in [
        (Preset::Hafnium, 0x1_0000, 0, 0),
        (Preset::Hafnium, 0x1_0001, 48, 0),
        (Preset::Hafnium, 0x1_0002, 48, 0),
        (Preset::TfaEl3, 0x1_0000, 0, 2),
        (Preset::TfaEl3, 0x1_0001, 24, 0x82),
        (Preset::Optee, 0x1_0001, 24, 0x82),
        (Preset::Strict, 0x1_0001, 24, 0),
    ] {
        let (w3, records) = list(preset, asked);
        assert_eq!(w3, stride, "{preset:?} {asked:#x}");
        let [first, second] = records.try_into().unwrap();
        let uuid = if stride == 0 { Uuid::NIL } else { two_partitions()[0].uuids[0] };
        let properties = if stride == 0 { Properties(1) } else { SpConfig::SUBSCRIBED };
        assert_eq!(first, PartitionInfo { id: SP1, contexts: 1, properties, uuid }, "{preset:?}");
        assert_eq!((second.id, second.contexts), (SP2, 4));
        // Some show only receivers of direct requests as wanting to be told of VMs.
        assert_eq!(second.properties, Properties(quiet), "{preset:?} {asked:#x}");
    }
}

#[test]
fn a_partition_of_several_services_is_several_records_for_hafnium_1_2() {
    let sp = SpConfig { uuids: vec![Uuid([1; 16]), Uuid([2; 16])], ..SpConfig::new(SP1, Script::GOOD) };
    for (asked, count) in [(0x1_0001, 1), (0x1_0002, 2)] {
        let mut world = World::raw(Preset::Hafnium, [sp.clone()]);
        world.call([0x8400_0063, asked]);
        assert_eq!(world.call([0x8400_0068, 0, 0, 0, 0, 1]), Regs::success(count, 0));
    }
}

#[test]
fn the_list_needs_a_free_buffer_and_leaves_it_full() {
    let unknown = [0x8400_0068, 1, 2, 3, 4, 0];
    for (preset, busy, uuid, flags) in [
        (Preset::Hafnium, Err(Status::Busy), Err(Status::InvalidParameters), Err(Status::InvalidParameters)),
        (Preset::TfaEl3, Err(Status::Busy), Err(Status::InvalidParameters), Ok(())),
        (Preset::Optee, Err(Status::Busy), Ok(()), Ok(())),
        (Preset::Strict, Err(Status::Busy), Err(Status::InvalidParameters), Err(Status::InvalidParameters)),
    ] {
        let mut world = World::raw(preset, two_partitions());
        world.call([0x8400_0063, 0x1_0001]);
        assert_eq!(status_of(&world.call([0x8400_0068])), busy, "{preset:?}: no buffer");
        assert_eq!(world.call([0x8400_0068, 0, 0, 0, 0, 1]), Regs::success(2, 0), "{preset:?}: count");
        world.map_buffers();
        assert_eq!(status_of(&world.call([0x8400_0065])), Err(Status::Denied), "{preset:?}: not full");
        assert_eq!(status_of(&world.call(unknown)), uuid, "{preset:?}: unknown UUID");
        world.call([0x8400_0065]);
        assert_eq!(status_of(&world.call([0x8400_0068, 0, 0, 0, 0, 3])), flags, "{preset:?}: flags");
        assert_eq!(status_of(&world.call([0x8400_0068])), Ok(()));
        assert!(world.spmc.is_rx_full());
        assert_eq!(status_of(&world.call([0x8400_0068])), busy, "{preset:?}: full");
        assert_eq!(status_of(&world.call([0x8400_0065])), Ok(()));
        assert_eq!(status_of(&world.call([0x8400_0068])), Ok(()));
    }
}

#[test]
fn optee_hands_the_buffer_over_with_an_error_too() {
    let many = (0..200).map(|number| SpConfig::new(PartitionId(0x8001 + number), Script::GOOD));
    for (preset, full) in [(Preset::Optee, true), (Preset::TfaEl3, false)] {
        let mut world = World::raw(preset, many.clone());
        world.call([0x8400_0063, 0x1_0001]);
        world.map_buffers();
        assert_eq!(status_of(&world.call([0x8400_0068])), Err(Status::NoMemory));
        assert_eq!(world.spmc.is_rx_full(), full, "{preset:?}");
    }
}

#[test]
fn buffers_are_mapped_as_each_one_checks() {
    use Status::*;
    let map = |w0, tx, rx, pages| [w0, tx, rx, pages];
    let (wide, narrow) = (0xc400_0066, 0x8400_0066);
    for (preset, cases) in [
        (
            Preset::Hafnium,
            [Err(NotSupported), Err(InvalidParameters), Err(InvalidParameters), Err(InvalidParameters)],
        ),
        (Preset::TfaEl3, [Ok(()), Err(InvalidParameters), Err(InvalidParameters), Ok(())]),
        (Preset::Optee, [Ok(()), Err(InvalidParameters), Ok(()), Ok(())]),
        (Preset::Strict, [Ok(()), Err(InvalidParameters), Err(InvalidParameters), Err(InvalidParameters)]),
    ] {
        let tries =
            [map(narrow, TX, RX, 1), map(wide, TX, RX, 0), map(wide, TX, TX, 1), map(wide, TX + 8, RX, 1)];
        for (head, expected) in tries.into_iter().zip(cases) {
            let mut world = World::raw(preset, []);
            world.call([0x8400_0063, 0x1_0001]);
            assert_eq!(status_of(&world.call(head)), expected, "{preset:?} {head:x?}");
        }
        let mut world = World::new(preset, []);
        assert_eq!(status_of(&world.call(map(wide, TX, RX, 1))), Err(Denied), "{preset:?}: twice");
        assert_eq!(status_of(&world.call([0x8400_0067])), Ok(()));
        assert_eq!(status_of(&world.call([0x8400_0067])), Err(InvalidParameters), "{preset:?}: twice");
    }
}

#[test]
fn the_version_is_the_callers_only_as_far_as_it_asked() {
    // Never asked: Hafnium serves it as its own version, OP-TEE as 1.0.
    for (preset, w3) in [(Preset::Hafnium, 48), (Preset::Optee, 0)] {
        let mut world = World::raw(preset, two_partitions());
        world.map_buffers();
        assert_eq!(world.call([0x8400_0068]).w::<3>(), w3, "{preset:?}");
    }
    assert_eq!(Preset::Hafnium.config().version, Version::V1_3);
}

#[test]
fn presets_are_found_by_name() {
    for preset in Preset::ALL {
        assert_eq!(Preset::from_name(preset.name()), Some(preset));
        assert_eq!(preset.config().name, preset.name());
    }
    assert_eq!(Preset::from_name("xen"), None);
}
