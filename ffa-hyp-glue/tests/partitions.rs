//! The list of SPs: how it is read, and what happens when SPs come and go.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::*;
use ffa_abi::{
    Function, PartitionId, PartitionInfoError, Properties, Records, Regs, Status, Version, WindowError,
};
use ffa_hyp_glue::{Caller, EventKind, ListError, ProbeError, Scratch};
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Machine, ModelHypervisor};
use ffa_test_utils::spmc::{Preset, Reaction, Script, SpConfig, Turn};

const INFO_GET: u64 = 0x8400_0068;
const INFO_GET_REGS: u64 = 0xc400_008b;
const RX_RELEASE: u64 = 0x8400_0065;

/// Presets that list partitions in registers, with a tag.
const TAGGED: [Preset; 2] = [Preset::Hafnium, Preset::Strict];
/// Those that do not.
const SILENT: [Preset; 2] = [Preset::TfaEl3, Preset::Optee];

/// So many SPs that take direct requests and want to hear of nobody.
fn quiet(count: u16) -> Vec<SpConfig> {
    let config = |n| SpConfig::new(PartitionId(0x8000 | n), Script::GOOD);
    (1..=count).map(|n| config(n).with_properties(Properties::RECEIVES_DIRECT_REQUESTS)).collect()
}

fn count(world: &mut World) -> u32 {
    let answer = world.call(VM1, [INFO_GET, 0, 0, 0, 0, 1]);
    assert_eq!(answer, Regs::success(answer.w::<2>(), 0));
    answer.w::<2>()
}

/// How many the list has as the guest's version shows it: in registers from 1.2 on.
fn length(world: &mut World, version: Version) -> u32 {
    if version >= Version::V1_2 {
        return (world.call(VM1, [INFO_GET_REGS])[2] & 0xffff) as u32 + 1;
    }
    let answer = world.call(VM1, [INFO_GET]);
    assert_eq!(world.call(VM1, [RX_RELEASE]), Regs::success(0, 0));
    answer.w::<2>()
}

fn refresh(world: &World) -> Result<(), ListError> {
    let mediator = world.hypervisor.mediator().clone();
    mediator.refresh_partitions(&mut world.hypervisor.cpu(0), &mut Scratch::new())
}

fn listed(world: &World) -> Vec<u16> {
    let mediator = world.hypervisor.mediator();
    (0..).map_while(|position| mediator.partition_at(position)).map(|sp| sp.id.0).collect()
}

fn request(world: &mut World, sp: PartitionId) -> Regs {
    world.call(VM1, [0x8400_006f, 1 << 16 | u64::from(sp.0), 0, 1, 2, 3, 4, 5])
}

#[test]
fn a_guest_finds_sps_that_came_after_the_boot() {
    for preset in TAGGED {
        for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
            let mut world = World::boot(machine(preset, quiet(2)));
            world.live(VM1, version);
            assert_eq!(length(&mut world, version), 2);
            assert_eq!(request(&mut world, SP3), Regs::error(Status::InvalidParameters));
            world.hypervisor.spmc_mut().add_partition(quiet(3)[2].clone());
            assert_eq!(length(&mut world, version), 3, "{} {version}", preset.name());
            assert_eq!(request(&mut world, SP3).w::<0>(), 0x8400_0070);
            world.hypervisor.spmc_mut().remove_partition(SP1);
            assert_eq!(length(&mut world, version), 2);
            assert_eq!(request(&mut world, SP1), Regs::error(Status::InvalidParameters));
            // A look costs one call, and nobody reads a list that is the same.
            let _of_before = (world.hypervisor.take_smcs(), world.hypervisor.take_events());
            assert_eq!(length(&mut world, version), 2);
            let smcs = world.hypervisor.take_smcs();
            let lists = [INFO_GET, INFO_GET_REGS];
            assert_eq!(lists.map(|w0| smcs.iter().filter(|smc| smc.regs[0] == w0).count()), [0, 1]);
            assert!(world.hypervisor.take_events().iter().all(|(_, event)| event.kind != EventKind::Listed));
            world.check();
        }
    }
}

#[test]
fn a_guest_in_the_middle_of_the_list_is_told_that_it_changed() {
    for preset in TAGGED {
        let mut world = World::boot(machine(preset, quiet(7)));
        world.live(VM1, Version::V1_2);
        let tag = world.call(VM1, [INFO_GET_REGS])[2] >> 32 & 0xffff;
        let second = [INFO_GET_REGS, 0, 0, tag << 16 | 5];
        assert_eq!(world.call(VM1, second).w::<0>(), 0xc400_0061);
        world.hypervisor.spmc_mut().remove_partition(SP1);
        assert_eq!(refresh(&world), Ok(()));
        assert_eq!(world.call(VM1, second), Regs::error(Status::Retry));
        world.check();
    }
}

#[test]
fn where_the_list_has_no_tag_the_hypervisor_says_when() {
    for preset in SILENT {
        let mut world = World::with(machine(preset, quiet(2)));
        let before = count(&mut world);
        world.hypervisor.spmc_mut().add_partition(quiet(3)[2].clone());
        let smcs = world.hypervisor.smcs();
        assert_eq!(count(&mut world), before, "{}", preset.name());
        assert_eq!(world.hypervisor.smcs(), smcs);
        assert_eq!(refresh(&world), Ok(()));
        assert_eq!(count(&mut world), before + 1, "{}", preset.name());
        assert_eq!(request(&mut world, SP3).w::<0>(), 0x8400_0070);
        assert!(!world.hypervisor.spmc().is_rx_full());
        world.check();
    }
}

#[test]
fn a_list_longer_than_rx_is_read_in_registers_or_is_an_error() {
    let many = |preset| Machine { listed: 400, ..machine(preset, quiet(300)) };
    for preset in TAGGED {
        let mut world = World::with(many(preset));
        assert_eq!(listed(&world), (0x8001..=0x8000 + 300).collect::<Vec<_>>());
        assert_eq!(count(&mut world), 300);
        assert_eq!(request(&mut world, PartitionId(0x8000 + 300)).w::<0>(), 0x8400_0070);
        world.hypervisor.spmc_mut().remove_partition(SP1);
        assert_eq!(count(&mut world), 299);
        // What does not fit the page that is copied to a guest's RX is not cut off.
        assert_eq!(world.call(VM1, [INFO_GET]), Regs::error(Status::NoMemory));
        world.check();
    }
    for preset in SILENT {
        let error = ModelHypervisor::new(many(preset)).expect_err("no way to read it").error;
        assert!(
            matches!(
                error,
                ProbeError::Partitions(
                    ListError::Refused { function: Function::PartitionInfoGet, .. }
                        | ListError::Records(PartitionInfoError::TooMany { .. })
                )
            ),
            "{}: {error}",
            preset.name()
        );
    }
}

#[test]
fn a_list_longer_than_the_lent_memory_is_an_error_that_says_so() {
    every_preset(|preset| {
        let room = listed(&World::with(machine(preset, quiet(3)))).len();
        let boot = |listed| ModelHypervisor::new(Machine { listed, ..machine(preset, quiet(3)) });
        for listed in 0..room {
            let error = boot(listed).expect_err("no room").error;
            assert_eq!(error, ProbeError::Partitions(ListError::NoRoom { room: listed }));
        }
        let mut world = World::with(Machine { listed: room, ..machine(preset, quiet(3)) });
        let before = listed(&world);
        world.hypervisor.spmc_mut().add_partition(quiet(4)[3].clone());
        assert_eq!(refresh(&world), Err(ListError::NoRoom { room }));
        assert_eq!(listed(&world), before, "the old list stays");
        assert_eq!(count(&mut world) as usize, before.len());
        let said = world.hypervisor.take_events().iter().any(|(_, event)| event.kind == EventKind::NotListed);
        assert!(said, "{}", preset.name());
        world.hypervisor.spmc_mut().remove_partition(SP1);
        assert_eq!(refresh(&world), Ok(()));
        assert_eq!(listed(&world).last(), Some(&0x8004));
        world.check();
    });
}

#[test]
fn a_new_sp_is_told_of_vms_that_come_later() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, good_sps()));
        world.hypervisor.spmc_mut().add_partition(SpConfig::new(SP3, Script::GOOD));
        if SILENT.contains(&preset) {
            assert_eq!(refresh(&world), Ok(()));
        }
        world.live(VM2, Version::V1_1);
        let told = |world: &World, vm, sp| world.hypervisor.spmc().told(vm, sp).len();
        assert_eq!((told(&world, VM1, SP3), told(&world, VM2, SP3)), (0, 1), "{}", preset.name());
        for vm in [VM1, VM2] {
            world.destroy(vm);
        }
        assert!(world.hypervisor.settle(LONG));
        assert_eq!((told(&world, VM1, SP3), told(&world, VM2, SP3)), (0, 2), "{}", preset.name());
    });
}

/// A VM has a share with the SP, and a request that it was preempted in.
#[test]
fn what_a_guest_had_begun_with_an_sp_that_is_gone_it_can_end() {
    every_preset(|preset| {
        let script = Script::GOOD.on_request(Reaction::always(Turn::ACCEPT.preempted(1)));
        let sps = vec![SpConfig::new(SP1, script), SpConfig::new(SP2, Script::GOOD)];
        let mut world = World::with(machine(preset, sps));
        let [handle, left] = [PAGES, PAGES + 2 * PAGE].map(|page| world.share(VM1, SP1, &[(page, 2)]));
        assert_eq!(request(&mut world, SP1), Regs::new([0x8400_0062, 0x8001_0000]));
        world.hypervisor.spmc_mut().remove_partition(SP1);
        assert_eq!(refresh(&world), Ok(()));
        // It may be run for what it had begun, and whatever the SPMC says of that is passed on.
        let smcs = world.hypervisor.smcs();
        let run = [0x8400_006d, 0x8001_0000];
        assert!(status_of(&world.call(VM1, run)).is_some(), "{}", preset.name());
        assert_eq!(world.hypervisor.smcs(), smcs + 1);
        // It takes nothing new.
        let invalid = Status::InvalidParameters;
        world.refused("a request", VM1, [0x8400_006f, 1 << 16 | 0x8001], invalid);
        let bytes = descriptor(Version::V1_1, VM1, SP1, &[(PAGES + 9 * PAGE, 1)]);
        assert_eq!(world.send(VM1, &bytes), Regs::error(invalid));
        // Pages come back by their handles.
        assert_eq!(world.reclaim(VM1, handle), Regs::success(0, 0), "{}", preset.name());
        assert_eq!(world.hypervisor.report(VM1).unwrap().shares, 1);
        world.check();
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        world.check();
        assert!(world.hypervisor.spmc().live_handles().all(|live| live.handle != left));
        assert_eq!(world.hypervisor.frames().orphans, 0, "{}", preset.name());
    });
}

/// What an SPMC that lists in registers can say that is wrong of its second window, and what becomes of the list.
#[test]
fn windows_that_contradict_each_other_are_no_list() {
    let windows =
        |when, action| Fault { call: CallKind::function(Function::PartitionInfoGetRegs), when, action };
    let indices =
        |start, current, last| Err(ListError::Window(WindowError::Indices { start, current, last }));
    let retry = FaultAction::Refuse(Status::Retry.into());
    let refused = FaultAction::Refuse(Status::Denied.into());
    for preset in TAGGED {
        // Two windows hold seven records, or four of them if they are long.
        let first = preset.config().record_size;
        let in_first = if first == 24 { 5 } else { 2 };
        for (when, action, expected) in [
            (When::Nth(2), FaultAction::current_index(0), indices(in_first, 0, 6)),
            (When::Nth(2), FaultAction::current_index(9), indices(in_first, 9, 6)),
            (When::Nth(2), FaultAction::last_index(0), indices(in_first, in_first + in_first.min(2) - 1, 0)),
            (
                When::Alternating,
                FaultAction::record_size(8),
                Err(ListError::Window(WindowError::Records(PartitionInfoError::Stride { stride: 8 }))),
            ),
            // It changes once, and then stays what it is; or it never stays.
            (When::Nth(2), FaultAction::list_tag(77), Ok(())),
            (When::Nth(2), FaultAction::last_index(7), Ok(())),
            (When::Nth(2), retry, Ok(())),
            (When::After(1), FaultAction::list_tag(77), Err(ListError::Changing)),
            (When::Every, retry, Err(ListError::Changing)),
            // It is asked in the other way then.
            (When::Every, refused, Ok(())),
        ] {
            let mut world = World::with(Machine { listed: 20, ..machine(preset, quiet(7)) });
            let before = listed(&world);
            world.hypervisor.spmc_mut().add_partition(quiet(8)[7].clone());
            world.hypervisor.spmc_mut().remove_partition(SP1);
            *world.hypervisor.plan_mut() = FaultPlan::new([windows(when, action)]);
            assert_eq!(refresh(&world), expected, "{} {when:?} {action:?}", preset.name());
            let after: Vec<u16> = (0x8002..=0x8008).collect();
            assert_eq!(listed(&world), if expected.is_ok() { after } else { before }, "{action:?}");
            assert!(!world.hypervisor.spmc().is_rx_full());
            world.check();
        }
    }
}

/// At each moment of a refresh another CPU's guest is shown the old list or the new one, whole.
#[test]
fn nobody_is_shown_half_a_list() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, quiet(3)));
        let before = listed(&world);
        for n in 4..=7 {
            world.hypervisor.spmc_mut().add_partition(quiet(n)[usize::from(n) - 1].clone());
        }
        world.hypervisor.spmc_mut().remove_partition(SP1);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (note, mediator) = (Rc::clone(&seen), Rc::clone(world.hypervisor.mediator()));
        world.hypervisor.set_interloper(Some(Box::new(move |cpu, _| {
            let caller = Caller { vm: mediator.find(VM1).expect("it lives"), vcpu: 1 };
            let mut call = |head: &[u64]| {
                let mut regs = Regs::ZERO;
                regs.0[..head.len()].copy_from_slice(head);
                let _ = mediator.guest_call(cpu, caller, &mut regs, &mut Scratch::new());
                regs
            };
            let answer = call(&[INFO_GET]);
            assert_eq!(call(&[RX_RELEASE]), Regs::success(0, 0));
            note.borrow_mut().push(answer.w::<2>());
        })));
        assert_eq!(refresh(&world), Ok(()));
        world.hypervisor.set_interloper(None);
        let after = listed(&world);
        assert_ne!(before.len(), after.len());
        assert!(!seen.borrow().is_empty());
        for count in seen.borrow().iter().map(|count| *count as usize) {
            assert!(count == before.len() || count == after.len(), "{}: {count}", preset.name());
        }
        // The buffer has what the last count says.
        let answer = world.call(VM1, [INFO_GET]);
        let mut rx = [0; 4096];
        world.hypervisor.read(VM1, RX, &mut rx);
        let records = Records::new(&rx, answer.w::<2>(), 24).expect("records");
        assert!(records.map(|sp| sp.id.0).eq(after));
        world.check();
    });
}
