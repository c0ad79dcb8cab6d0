//! Memory for SPs and VMs in one transaction: the SPMC has the SPs' part, other VMs have theirs from the mediator, one
//! handle names both, and nothing comes back before both have let go.

mod common;

use common::peers::*;
use common::sends::*;
use common::*;
use ffa_abi::{FirmwareStatus, Function, Handle, Regs, Status, Transaction, Version};
use ffa_hyp_glue::{EventKind, LenderDeath};
use ffa_mem::{
    DataAccess, MemoryAttributes, Permissions, Receiver, SendDescriptor, SendFlags, SendHeader, SendRules,
};
use ffa_teardown::{Disposal, Policy};
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Cpu, Machine, Moment};
use ffa_test_utils::spmc::{Control, Preset, Script, SpConfig};

const INVALID: Status = Status::InvalidParameters;
const DENIED: Status = Status::Denied;
const SENDS: [Send; 2] = [SHARE, LEND];
const RANGES: [(u64, u32); 2] = [(LOOSE, 3), (PAGES, 2)];

/// A machine whose partitions retrieve what they are told to.
fn mixing(preset: Preset, lender_death: LenderDeath) -> Machine {
    let partitions = vec![SpConfig::new(SP1, Script::LAZY), SpConfig::new(SP2, Script::LAZY)];
    Machine { partitions, ..lending(preset, lender_death) }
}

fn world(preset: Preset, lender_death: LenderDeath) -> World {
    lenders_on(mixing(preset, lender_death))
}

/// Over every secure world that serves it.
fn each_mixed(test: impl Fn(&mut World, Send)) {
    for send in SENDS {
        for &preset in send.served_by {
            test(&mut world(preset, LenderDeath::Revoke), send);
        }
    }
}

fn bytes(send: Send) -> Vec<u8> {
    send.describe(&[SP1, VM2], &RANGES, SendFlags::NONE)
}

/// What VM 1 sends to SP 1 and VM 2.
fn mixed(world: &mut World, send: Send) -> Handle {
    let answer = send.make(world, VM1, &bytes(send));
    handle_of(&answer).unwrap_or_else(|| panic!("{}: {send:x?}: {answer:x?}", world.preset))
}

/// VM 2's request, which names both.
fn request(send: Send, handle: Handle) -> Request {
    let borrowers = vec![(SP1.0, 2, 0, 0), (VM2.0, 2, 0, 0)];
    Request { borrowers, ..Request::of(send, handle) }
}

#[test]
fn it_comes_back_when_both_have_let_go() {
    for sp_first in [false, true] {
        each_mixed(|world, send| {
            world.hypervisor.write(VM1, PAGES, b"for both");
            let handle = mixed(world, send);
            assert_eq!(handle.get() >> 63, 0, "the SPMC's name: SPs know no other");
            assert_eq!(world.reaches(VM1, PAGES), send.w0 == SHARE.w0);
            let response = world.retrieve(&request(send, handle));
            assert_eq!((response.pages, response.permissions), (5, 6), "nobody executes what others write");
            assert_eq!(&world.look(VM2, response.ranges[1].0), b"for both");
            world.order(SP1, Control::Retrieve(handle));
            let mut lets_go: [&dyn Fn(&mut World); 2] =
                [&|world| assert_eq!(world.relinquish(VM2, handle), DONE), &|world| {
                    world.order(SP1, Control::Relinquish(handle))
                }];
            if sp_first {
                lets_go.reverse();
            }
            for let_go in lets_go {
                assert_eq!(world.reclaim(VM1, handle), Regs::error(DENIED), "{}", world.preset);
                let_go(world);
            }
            // After a refusal it is offered to both again.
            world.retrieve(&request(send, handle));
            assert_eq!(world.relinquish(VM2, handle), DONE);
            assert_eq!(
                world.hypervisor.report(VM1).map(|report| (report.shares, report.pages)),
                Some((1, 5))
            );
            assert_eq!(world.reclaim(VM1, handle), DONE);
            assert!(world.reaches(VM1, PAGES));
            assert_eq!(
                world.hypervisor.report(VM1).map(|report| (report.shares, report.pages)),
                Some((0, 0))
            );
            assert_eq!(world.reclaim(VM1, handle), Regs::error(INVALID));
            assert_eq!(world.ask(VM2, &request(send, handle).bytes()), Regs::error(INVALID));
            world.end_all();
        });
    }
}

/// A VM that has it is asked for nothing, and the secure world is not either.
#[test]
fn r06_while_a_vm_has_it_the_secure_world_is_not_asked() {
    each_mixed(|world, send| {
        let handle = mixed(world, send);
        world.retrieve(&request(send, handle));
        let [low, high] = handle.words();
        for flags in [0, 1] {
            world.refused("in use", VM1, [MEM_RECLAIM, low, high, flags], DENIED);
        }
        assert_eq!(world.relinquish(VM2, handle), DONE);
        assert_eq!(world.call(VM1, [MEM_RECLAIM, low, high, 1]), DONE);
        assert_eq!(world.look(VM1, PAGES), [0; 8]);
        world.end_all();
    });
}

/// Each receiver with its own permission; tag and the implementation-defined value come through on both sides.
#[test]
fn each_has_its_own_permission_and_value() {
    for send in SENDS {
        let mut world = World::boot(mixing(Preset::Strict, LenderDeath::Revoke));
        world.hypervisor.permit(|_, _, _| true);
        for vm in [VM1, VM2, VM3] {
            world.live(vm, Version::V1_2);
        }
        let receivers = [
            (VM2, DataAccess::ReadOnly),
            (SP2, DataAccess::ReadWrite),
            (VM3, DataAccess::ReadWrite),
            (SP1, DataAccess::ReadOnly),
        ];
        let receivers: Vec<_> = (0_u64..)
            .zip(receivers)
            .map(|(n, (id, data))| Receiver { id, permissions: Permissions::data(data), impdef: [n, !n] })
            .collect();
        let header = SendHeader {
            version: Version::V1_2,
            sender: VM1,
            attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
            flags: SendFlags::NONE,
            tag: TAG,
        };
        let bytes = describe(&header, receivers.clone(), &RANGES);
        let handle = handle_of(&send.make(&mut world, VM1, &bytes)).expect("sent");
        // What the SPMC was told.
        let told = told(&world, send, 2);
        assert_eq!(told.0, TAG);
        assert_eq!(told.2, [receivers[1], receivers[3]]);
        // What each VM is told.
        let all = vec![(SP1.0, 1, 0, 0), (VM3.0, 2, 0, 0), (SP2.0, 2, 0, 0), (VM2.0, 1, 0, 0)];
        for (vm, n, permissions) in [(VM2, 0, 5), (VM3, 2, 6)] {
            let request =
                Request { version: Version::V1_2, borrowers: all.clone(), ..Request::of(send, handle) };
            assert_eq!(world.ask(vm, &request.bytes())[0], RETRIEVED);
            let mut bytes = vec![0; 48 + 32 + 16 + 32];
            world.hypervisor.read(vm, RX, &mut bytes);
            let response = Response::read(&bytes, Version::V1_2);
            assert_eq!((response.borrower, response.permissions), (vm.0, permissions));
            assert_eq!((response.impdef, response.tag), ([n, !n], TAG));
        }
        world.end_all();
    }
}

/// Tag, attributes and receivers in the descriptor that the SPMC was sent, of version 1.2.
fn told(world: &World, send: Send, receivers: usize) -> (u64, MemoryAttributes, Vec<Receiver>) {
    let sent = world.hypervisor.read_physical(world.hypervisor.spmc_buffers().0, 4096);
    let transaction = if send.w0 == SHARE.w0 { Transaction::Share } else { Transaction::Lend };
    let rules = SendRules { version: Version::V1_2, transaction, sender: VM1 };
    // The loose pages are runs of their own.
    let len = 48 + 32 * receivers + 16 + 16 * 4;
    let sent = SendDescriptor::parse(&sent[..len], &rules).expect("ours");
    (sent.tag(), sent.attributes(), sent.receivers().collect())
}

/// A lender says what it is for several borrowers. What is left for one SP is as for one borrower.
#[test]
fn d18_a_single_sp_is_told_of_no_attributes() {
    for (send, attributes) in SENDS.into_iter().zip([0x2f, 0]) {
        let mut world = world(Preset::Strict, LenderDeath::Revoke);
        mixed(&mut world, send);
        assert_eq!(told(&world, send, 1).1, MemoryAttributes::from_bits(attributes).expect("known"));
        world.end_all();
    }
}

/// Either part is refused, and so is the whole: nobody hears of it.
#[test]
fn e02_e04_one_receiver_that_is_refused_is_enough() {
    for send in SENDS {
        let mut world = world(Preset::Strict, LenderDeath::Revoke);
        for receivers in [[SP3, VM2], [SP1, VM3], [SP1, VM1]] {
            let smcs = world.hypervisor.smcs();
            let bytes = send.describe(&receivers, &RANGES, SendFlags::NONE);
            assert_eq!(send.make(&mut world, VM1, &bytes), Regs::error(INVALID), "{receivers:?}");
            assert_eq!(world.hypervisor.smcs(), smcs);
        }
        let donated = DONATE.describe(&[SP1, VM2], &RANGES, SendFlags::NONE);
        assert_eq!(DONATE.make(&mut world, VM1, &donated), Regs::error(INVALID), "one has it in the end");
        assert!(world.reaches(VM1, PAGES));
        world.end_all();
    }
}

/// Without what the secure world has to do, VMs are refused as well; and what is for VMs alone is served.
#[test]
fn an_spmc_without_the_call_refuses_what_is_for_sps_alone() {
    let mut world = world(Preset::Optee, LenderDeath::Revoke);
    let smcs = world.hypervisor.smcs();
    assert_eq!(LEND.make(&mut world, VM1, &bytes(LEND)), Regs::error(Status::NotSupported));
    assert_eq!(LEND.make(&mut world, VM1, &LEND.bytes(&RANGES)), Regs::error(Status::NotSupported));
    assert_eq!(world.hypervisor.smcs(), smcs);
    world.offer_by(LEND, &RANGES);
    world.end_all();
}

/// Every status of the SPMC's: then VMs have nothing of it either, and pages stay held only if nobody knows.
#[test]
fn what_the_spmc_does_not_take_no_vm_gets() {
    for send in SENDS {
        for status in (-12..=1).map(FirmwareStatus::from_code) {
            let action = FaultAction::Refuse(status);
            let fault = Fault { call: CallKind::function(send.function), when: When::Nth(1), action };
            let plan = FaultPlan::new([fault]);
            let mut world = lenders_on(Machine { plan, ..mixing(Preset::Strict, LenderDeath::Keep) });
            let answer = send.make(&mut world, VM1, &bytes(send));
            assert!(handle_of(&answer).is_none(), "{status}: {answer:x?}");
            let unclear = matches!(status, FirmwareStatus::Other(_)) || status == Status::Aborted.into();
            let report = world.hypervisor.report(VM1).expect("it lives");
            let (shares, pages) = if unclear { (1, 5) } else { (0, 0) };
            assert_eq!((report.shares, report.pages), (shares, pages), "{status}");
            if !unclear {
                let handle = mixed(&mut world, send);
                world.retrieve(&request(send, handle));
                world.end_all();
            }
            world.check();
        }
    }
}

#[test]
fn the_owners_death_ends_all_of_it_whatever_the_policy() {
    for lender_death in [LenderDeath::Revoke, LenderDeath::Keep] {
        for (send, retrieved) in SENDS.iter().flat_map(|send| [(*send, false), (*send, true)]) {
            let mut world = world(Preset::Hafnium, lender_death);
            let handle = mixed(&mut world, send);
            let page = world.retrieve(&request(send, handle)).ranges[0].0;
            if retrieved {
                world.order(SP1, Control::Retrieve(handle));
            }
            world.destroy(VM1);
            assert!(!world.reaches(VM2, page), "the secure world is to let go as well");
            assert_eq!(world.relinquish(VM2, handle), Regs::error(INVALID));
            assert!(world.hypervisor.settle(LONG));
            assert_eq!((world.hypervisor.report(VM1), world.hypervisor.orphans(None)), (None, 0));
            world.end_all();
        }
    }
}

#[test]
fn a_borrowers_death_is_no_end_of_it() {
    each_mixed(|world, send| {
        let handle = mixed(world, send);
        world.retrieve(&request(send, handle));
        world.order(SP1, Control::Retrieve(handle));
        world.destroy(VM2);
        assert_eq!(world.hypervisor.borrowed(VM2), 0);
        assert_eq!(world.reclaim(VM1, handle), Regs::error(DENIED), "the SP has it");
        world.order(SP1, Control::Relinquish(handle));
        assert_eq!(world.reclaim(VM1, handle), DONE);
        world.end_all();
    });
}

/// The head goes to the SPMC at once, and the rest when it is whole; VMs hear of it last.
#[test]
fn f01_f02_f10_in_fragments_it_is_the_same() {
    each_mixed(|world, send| {
        let bytes = bytes(send);
        let (answer, handle) = world.send_in_parts(send, &bytes, &[bytes.len() - 32, bytes.len() - 16]);
        assert_eq!((handle_of(&answer), handle.get() >> 63), (Some(handle), 0));
        world.retrieve(&request(send, handle));
        assert_eq!(world.relinquish(VM2, handle), DONE);
        assert_eq!(world.reclaim(VM1, handle), DONE);
        // Half-sent, it is nobody's.
        let cut = bytes.len() - 16;
        for dies in [false, true] {
            let handle = asked_for(&world.begin_part(send, &bytes, cut), cut);
            assert_eq!(world.ask(VM2, &request(send, handle).bytes()), Regs::error(INVALID));
            assert_eq!(world.reclaim(VM1, handle), Regs::error(INVALID));
            if dies {
                world.destroy(VM1);
                assert!(world.hypervisor.settle(LONG), "{}", world.preset);
            } else {
                assert_eq!(world.call(VM1, [0x8400_0067]), DONE);
                world.map(VM1);
                let report = world.hypervisor.report(VM1).expect("it lives");
                assert_eq!((report.shares, report.pages), (0, 0));
            }
        }
        world.end_all();
    });
}

/// The secure world refuses for good to give back what a dead VM has sent; a VM's part goes nevertheless, and once the
/// secure world has changed its mind all of it is back.
#[test]
fn what_is_quarantined_is_no_vms_any_more() {
    for disposal in [Disposal::Zombie, Disposal::HandOver] {
        let action = FaultAction::Refuse(INVALID.into());
        let fault = Fault { call: CallKind::function(Function::MemReclaim), when: When::Every, action };
        let mut machine = mixing(Preset::Strict, LenderDeath::Keep);
        machine.plan = FaultPlan::new([fault]);
        machine.settings.teardown = Policy { disposal, ..Policy::DEFAULT };
        let mut world = lenders_on(machine);
        let handle = mixed(&mut world, LEND);
        world.retrieve(&request(LEND, handle));
        world.destroy(VM1);
        assert_eq!(world.hypervisor.borrowed(VM2), 0);
        assert!(world.hypervisor.settle(LONG));
        let quarantined =
            |(_, event): &(_, ffa_hyp_glue::Event)| event.kind == EventKind::Quarantined { pages: 5 };
        assert_eq!(world.hypervisor.take_events().iter().filter(|event| quarantined(event)).count(), 1);
        assert_eq!(world.hypervisor.orphans(None), 5);
        *world.hypervisor.plan_mut() = FaultPlan::none();
        let _ = world.hypervisor.retry(None);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.hypervisor.orphans(None), 0, "{disposal:?}");
        world.end_all();
    }
}

/// The owner dies, and the secure world lets go, while another CPU is in the middle of the borrower's call: its pages
/// wait for that.
#[test]
fn pages_that_a_vm_is_just_getting_wait_for_it() {
    let mut waited = 0;
    for (deed, nth) in (0..2).flat_map(|deed| (0..40).map(move |nth| (deed, nth))) {
        let mut world = world(Preset::Strict, LenderDeath::Keep);
        let handle = mixed(&mut world, LEND);
        if deed == 1 {
            world.retrieve(&request(LEND, handle));
        }
        let count = std::cell::Cell::new(0);
        let gone = std::rc::Rc::new(std::cell::Cell::new(false));
        let seen = std::rc::Rc::clone(&gone);
        let done = once(
            &mut world,
            move |_: Moment| count.replace(count.get() + 1) == nth,
            move |cpu: &mut Cpu, mediator| {
                let owner = mediator.find(VM1).expect("it lives");
                mediator.destroy_vm(cpu, owner).expect("it lives");
                (0..8).for_each(|_| mediator.tick(cpu));
                seen.set(mediator.report(owner).is_none());
            },
        );
        if deed == 0 {
            let _ = world.ask(VM2, &request(LEND, handle).bytes());
        } else {
            let _ = world.relinquish(VM2, handle);
        }
        world.hypervisor.set_interloper(None);
        if !done.get() {
            continue;
        }
        waited += u32::from(!gone.get());
        world.hypervisor.bury(VM1);
        assert!(world.hypervisor.settle(LONG), "{deed} {nth}");
        assert_eq!((world.hypervisor.report(VM1), world.hypervisor.borrowed(VM2)), (None, 0));
        world.end_all();
    }
    assert!(waited >= 5, "{waited}");
}

/// The secure world names a transaction like one between VMs that begins while its borrower is mapping it: each of the two
/// stays what it is.
#[test]
fn a_name_that_two_transactions_have_gives_away_neither() {
    for preset in DONATE.served_by {
        let mut world = world(*preset, LenderDeath::Revoke);
        world.hypervisor.permit(|_, _, _| true);
        world.live(VM3, Version::V1_1);
        // Keeps the first place for the donation, whose name will be the one after that which the mixed one leaves unused.
        let first = world.offer(&[(PAGES + 40 * PAGE, 1)]);
        let name = Handle::new(first.get() + 2).expect("a handle");
        let call = CallKind::function(Function::MemShare);
        let fault = Fault { call, when: When::Nth(1), action: FaultAction::GiveHandle(name.get()) };
        *world.hypervisor.plan_mut() = FaultPlan::new([fault]);
        assert_eq!(mixed(&mut world, SHARE), name);
        assert_eq!(world.reclaim(VM1, first), DONE);
        let donation = DONATE.describe_in(Version::V1_1, VM3, &[VM2], &RANGES, SendFlags::NONE);
        let scribble = world.hypervisor.scribbler();
        let done = once(
            &mut world,
            |moment| matches!(moment, Moment::Mapped(VM2)),
            move |cpu, mediator| {
                let len = donation.len() as u64;
                scribble(VM3, TX, &donation);
                let answer =
                    elsewhere(cpu, mediator, VM3, Regs::new([DONATE.w0, len, len])).expect("it lives");
                assert_eq!(handle_of(&answer), Some(name));
            },
        );
        world.retrieve(&request(SHARE, name));
        world.hypervisor.set_interloper(None);
        assert!(done.get());
        world.check();
        assert!(world.reaches(VM1, PAGES), "it is shared, not given");
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(world.hypervisor.borrowed(VM2), 0, "{}", world.preset);
        world.check();
    }
}
