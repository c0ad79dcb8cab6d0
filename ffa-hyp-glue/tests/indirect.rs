//! Indirect messages: from VMs to SPs, between VMs, from SPs to VMs, and what is left of them.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::*;
use ffa_abi::{
    Function, FunctionId, IndirectFormat, IndirectMessage, PartitionId, Properties, Regs, Status, Uuid,
    Version,
};
use ffa_hyp_glue::{Caller, Creation, GuestInterrupts, Relation, Scratch, Settings, VcpuSlot};
use ffa_teardown::Phase;
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::hypervisor::{Interrupt, Machine, Moment, VecRanges};
use ffa_test_utils::spmc::{Control, Preset, Receive, RxOwner, Script, SpConfig};

const SEND2: u64 = 0x8400_0086;
const FEATURES: u64 = 0x8400_0064;
const MAP: u64 = 0xc400_0066;
const UNMAP: u64 = 0x8400_0067;
const RELEASE: u64 = 0x8400_0065;
const LIST: u64 = 0x8400_0068;
const GET: u64 = 0x8400_0082;
const INFO_GET: u64 = 0xc400_0083;

const INVALID: Status = Status::InvalidParameters;
const DONE: Regs = Regs([0x8400_0061, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const UUID: Uuid = Uuid([7; 16]);

/// Those of the presets that pass messages on. They have the buffers of VMs.
const SERVE: [Preset; 2] = [Preset::Hafnium, Preset::Strict];

fn served(preset: Preset) -> bool {
    SERVE.contains(&preset)
}

/// SP 1 reads what it gets at once, SP 2 when it is run, SP 3 takes no indirect messages.
fn sps() -> Vec<SpConfig> {
    let properties = SpConfig::SUBSCRIBED.or(Properties::INDIRECT_MESSAGES);
    let when_run = Script { receive: Receive::WhenRun, ..Script::GOOD };
    vec![
        SpConfig::new(SP1, Script::GOOD).with_properties(properties),
        SpConfig::new(SP2, when_run).with_properties(properties),
        SpConfig::new(SP3, Script::GOOD),
    ]
}

fn booted(preset: Preset, plan: FaultPlan) -> World {
    let settings = Settings { interrupts: Some(GuestInterrupts::SGI), vm_to_vm: true, ..Settings::DEFAULT };
    let mut world = World::boot(Machine { settings, plan, ..machine(preset, sps()) });
    world.hypervisor.permit(|_, _, _| true);
    world
}

/// VM 1 of 1.2 and VM 2 of 1.1, which may reach each other.
fn world(preset: Preset) -> World {
    let mut world = booted(preset, FaultPlan::none());
    world.live(VM1, Version::V1_2);
    world.live(VM2, Version::V1_1);
    world.hypervisor.take_interrupts();
    world
}

fn all_gone(world: &mut World) {
    world.hypervisor.set_interloper(None);
    for vm in [VM1, VM2] {
        if world.hypervisor.report(vm).is_some_and(|report| report.phase == Phase::Live) {
            world.destroy(vm);
        }
    }
    assert!(world.hypervisor.settle(LONG), "{}", world.preset);
    world.check_all_gone();
    assert_eq!(world.hypervisor.spmc().kept().count(), 0, "{}", world.preset);
}

/// A message with its payload right behind the header.
fn message(
    format: IndirectFormat,
    from: PartitionId,
    to: PartitionId,
    uuid: Uuid,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; format.size()];
    // However large: what does not fit is the mediator's to find out.
    let header = IndirectMessage::new(format, from, to, uuid, payload.len() as u32, usize::MAX).unwrap();
    header.write(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

fn new(from: PartitionId, to: PartitionId, payload: &[u8]) -> Vec<u8> {
    message(IndirectFormat::V1_2, from, to, Uuid::NIL, payload)
}

fn old(from: PartitionId, to: PartitionId, payload: &[u8]) -> Vec<u8> {
    message(IndirectFormat::V1_1, from, to, Uuid::NIL, payload)
}

/// As [`old`], with room for the header of 1.2: the SPMC reads that of its own version.
fn padded(from: PartitionId, to: PartitionId, payload: &[u8]) -> Vec<u8> {
    let mut bytes = old(from, to, payload);
    bytes[8] = 40;
    bytes.splice(20..20, [0; 20]);
    bytes
}

fn send(world: &mut World, vm: PartitionId, bytes: &[u8]) -> Regs {
    world.write_tx(vm, bytes);
    world.call(vm, [SEND2])
}

/// What a VM finds in RX, by the header of its own version.
fn received(world: &World, vm: PartitionId, format: IndirectFormat) -> (PartitionId, Uuid, Vec<u8>) {
    let mut rx = [0; 4096];
    world.hypervisor.read(vm, RX, &mut rx);
    let sender = PartitionId(u16::from_le_bytes([rx[14], rx[15]]));
    let message = IndirectMessage::parse(&rx, format, sender, rx.len()).expect("a message");
    assert_eq!(message.receiver(), vm);
    let (offset, size) = (message.payload_offset() as usize, message.payload_size() as usize);
    (sender, message.uuid(), rx[offset..offset + size].to_vec())
}

fn npi(vm: PartitionId) -> Interrupt {
    Interrupt { vm, vcpu: 0, intid: GuestInterrupts::SGI.notification_pending }
}

/// RX_BUFFER_FULL of the hypervisor: bit 0 of w7.
const FULL: Regs = Regs([0x8400_0061, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// Who has the RX buffer of a VM, of those that the SPMC has.
fn kept_rx(world: &World, vm: PartitionId) -> Option<RxOwner> {
    world.hypervisor.spmc().kept().find(|kept| kept.vm == vm && kept.buffers).map(|kept| kept.rx)
}

#[test]
fn a_vm_sends_to_an_sp_where_the_secure_world_passes_it_on() {
    every_preset(|preset| {
        let mut world = world(preset);
        let answer = send(&mut world, VM1, &new(VM1, SP1, b"to the SP"));
        if !served(preset) {
            // Served for messages between VMs, but not to SPs.
            assert_eq!(answer, Regs::error(Status::Denied), "{}", preset.name());
            return all_gone(&mut world);
        }
        assert_eq!(answer, DONE, "{}", preset.name());
        {
            let spmc = world.hypervisor.spmc();
            let [message] = spmc.received(SP1) else { panic!("one message") };
            assert_eq!((message.sender, message.uuid), (VM1, Uuid::NIL));
            assert_eq!(message.payload, b"to the SP");
        }
        // A guest of 1.1 has to leave room for the header of 1.2.
        assert_eq!(send(&mut world, VM2, &padded(VM2, SP1, b"old")), DONE, "{}", preset.name());
        assert_eq!(world.hypervisor.spmc().received(SP1)[1].payload, b"old");
        assert_eq!(send(&mut world, VM2, &old(VM2, SP1, b"short")), Regs::error(INVALID));
        // One that has not read the message before.
        assert_eq!(send(&mut world, VM1, &new(VM1, SP2, b"one")), DONE);
        assert_eq!(send(&mut world, VM2, &padded(VM2, SP2, b"two")), Regs::error(Status::Busy));
        // One that takes none, and one that is not there.
        world.write_tx(VM1, &new(VM1, SP3, b"x"));
        world.refused("an SP that takes none", VM1, [SEND2], Status::Denied);
        world.write_tx(VM1, &new(VM1, PartitionId(0x8055), b"x"));
        world.refused("nobody", VM1, [SEND2], INVALID);
        world.check();
        all_gone(&mut world);
    });
}

/// No SP runs for this call as far as FF-A knows. An SPMC for which one does may be interrupted all the same.
#[test]
fn an_spmc_that_is_interrupted_over_a_message_is_resumed() {
    let plan = |times| {
        let call = CallKind::function(Function::MsgSend2);
        FaultPlan::new([Fault { call, when: When::Every, action: FaultAction::Interrupt(times) }])
    };
    for preset in SERVE {
        for (times, told) in [(1, DONE), (8, DONE), (9, Regs::error(Status::Aborted))] {
            let mut world = world(preset);
            *world.hypervisor.plan_mut() = plan(times);
            assert_eq!(send(&mut world, VM1, &new(VM1, SP1, b"hello")), told, "{} {times}", preset.name());
            *world.hypervisor.plan_mut() = FaultPlan::none();
            all_gone(&mut world);
        }
        // What ends with an error may not have ended at all.
        let mut world = world(preset);
        let run = Fault {
            call: CallKind::function(Function::Run),
            when: When::Every,
            action: FaultAction::Refuse(Status::Busy.into()),
        };
        let send2 = Fault {
            call: CallKind::function(Function::MsgSend2),
            when: When::Every,
            action: FaultAction::W0(0x8400_0062),
        };
        *world.hypervisor.plan_mut() = FaultPlan::new([send2, run]);
        let answer = send(&mut world, VM1, &new(VM1, SP1, b"hello"));
        assert_eq!(answer, Regs::error(Status::Aborted), "{}", preset.name());
        *world.hypervisor.plan_mut() = FaultPlan::none();
        all_gone(&mut world);
    }
}

#[test]
fn without_anybody_to_send_to_there_is_no_such_call() {
    every_preset(|preset| {
        let mut world = World::with(machine(preset, sps()));
        let told = world.call(VM1, [FEATURES, SEND2])[0] == DONE[0];
        assert_eq!(told, served(preset), "{}", preset.name());
        if told {
            assert_eq!(send(&mut world, VM1, &padded(VM1, SP1, b"x")), DONE);
            // Guests do not reach each other, and cannot tell.
            world.write_tx(VM1, &old(VM1, VM2, b"x"));
            world.refused("no VM", VM1, [SEND2], INVALID);
            world.live(VM2, Version::V1_1);
            world.refused("a VM", VM1, [SEND2], INVALID);
        } else {
            world.refused("SEND2", VM1, [SEND2], Status::NotSupported);
        }
        // 1.0 does not have it.
        let mut world = booted(preset, FaultPlan::none());
        world.live(VM1, Version::V1_0);
        world.refused("1.0", VM1, [SEND2], Status::NotSupported);
        world.refused("1.0", VM1, [FEATURES, SEND2], Status::NotSupported);
    });
}

#[test]
fn vms_exchange_messages_in_the_header_of_the_receivers_version() {
    every_preset(|preset| {
        let mut world = world(preset);
        // From 1.2 to 1.1: 20 bytes, no UUID.
        let sent = message(IndirectFormat::V1_2, VM1, VM2, UUID, b"downwards");
        assert_eq!(send(&mut world, VM1, &sent), DONE, "{}", preset.name());
        assert_eq!(world.hypervisor.take_interrupts(), [npi(VM2)]);
        let downwards = (VM1, Uuid::NIL, b"downwards".to_vec());
        assert_eq!(received(&world, VM2, IndirectFormat::V1_1), downwards);
        assert_eq!(world.call(VM2, [INFO_GET]), Regs::new([0xc400_0061, 0, 1 << 7, 2]));
        assert_eq!(world.call(VM2, [GET, 2, 0xf]), FULL);
        assert_eq!(world.call(VM2, [GET, 2, 0xf]), DONE, "it was taken");
        // RX is the receiver's until it says otherwise.
        assert_eq!(send(&mut world, VM1, &sent), Regs::error(Status::Busy));
        assert_eq!(world.call(VM2, [LIST]), Regs::error(Status::Busy));
        assert_eq!(received(&world, VM2, IndirectFormat::V1_1), downwards);
        assert_eq!(world.hypervisor.take_interrupts(), []);
        assert_eq!(world.call(VM2, [RELEASE]), DONE);
        assert_eq!(world.call(VM2, [RELEASE]), Regs::error(Status::Denied));
        assert_eq!(send(&mut world, VM1, &sent), DONE);
        assert_eq!(world.call(VM2, [RELEASE]), DONE);
        // From 1.1 to 1.2: 40 bytes, the UUID nil whatever was there.
        assert_eq!(send(&mut world, VM2, &old(VM2, VM1, &[0xa5; 100])), DONE);
        let upwards = (VM2, Uuid::NIL, vec![0xa5; 100]);
        assert_eq!(received(&world, VM1, IndirectFormat::V1_2), upwards);
        assert_eq!(world.call(VM1, [RELEASE]), DONE);
        world.check();
        // Between two of 1.2 it is kept.
        world.destroy(VM2);
        assert!(world.hypervisor.settle(LONG));
        world.live(VM2, Version::V1_2);
        assert_eq!(send(&mut world, VM1, &sent), DONE);
        assert_eq!(received(&world, VM2, IndirectFormat::V1_2), (VM1, UUID, b"downwards".to_vec()));
        all_gone(&mut world);
    });
}

#[test]
fn a_payload_fills_what_the_receiver_has_and_no_more() {
    every_preset(|preset| {
        let mut world = world(preset);
        for (from, to, format, least, most) in [
            (VM1, VM2, IndirectFormat::V1_2, 0, 4096 - 40),
            // It fits the TX of 1.1, but not behind the header of 1.2.
            (VM2, VM1, IndirectFormat::V1_1, 1, 4096 - 40),
        ] {
            for size in [least, most] {
                let payload: Vec<_> = (0..size).map(|at| at as u8).collect();
                let sent = message(format, from, to, Uuid::NIL, &payload);
                assert_eq!(send(&mut world, from, &sent), DONE, "{} {size}", preset.name());
                let theirs = if to == VM1 { IndirectFormat::V1_2 } else { IndirectFormat::V1_1 };
                assert_eq!(received(&world, to, theirs), (from, Uuid::NIL, payload));
                assert_eq!(world.call(to, [RELEASE]), DONE);
            }
        }
        world.write_tx(VM2, &old(VM2, VM1, &[1; 4096 - 20]));
        let refused = world.call(VM2, [SEND2]);
        assert_eq!(refused, Regs::error(Status::NoMemory), "{}", preset.name());
        assert_eq!(world.call(VM1, [RELEASE]), Regs::error(Status::Denied), "RX was not taken");
        all_gone(&mut world);
    });
}

/// Where bytes of a good message are replaced, and by which.
type Patches = &'static [(usize, &'static [u8])];

#[test]
fn x23_what_is_refused() {
    every_preset(|preset| {
        let mut world = world(preset);
        let good = new(VM1, VM2, b"good");
        let rows: [(&str, Patches); 12] = [
            ("flags", &[(0, &[1])]),
            ("flags", &[(3, &[0x80])]),
            ("forged sender", &[(14, &[2, 0])]),
            ("forged sender", &[(14, &[1, 0x80])]),
            ("the hypervisor as sender", &[(14, &[0, 0])]),
            ("itself", &[(12, &[1, 0])]),
            ("the hypervisor", &[(12, &[0, 0])]),
            ("a VM that is not there", &[(12, &[7, 0])]),
            ("payload inside the header", &[(8, &[39])]),
            ("payload behind the end", &[(8, &[0xfd, 0x0f])]),
            ("payload past the end", &[(16, &[0xd9, 0x0f])]),
            ("a sum that wraps", &[(8, &[0xff, 0xff, 0xff, 0xff])]),
        ];
        for (name, patches) in rows {
            world.write_tx(VM1, &broken(&good, patches));
            world.refused(name, VM1, [SEND2], INVALID);
        }
        let huge: Patches = &[(8, &[0xff; 4]), (16, &[0xff; 4])];
        world.write_tx(VM1, &broken(&good, huge));
        world.refused("offset and size", VM1, [SEND2], INVALID);
        // 20 bytes of header are enough in 1.1, and 19 are not.
        world.write_tx(VM2, &broken(&old(VM2, VM1, b"good"), &[(8, &[19])]));
        world.refused("payload inside the header of 1.1", VM2, [SEND2], INVALID);
        world.write_tx(VM1, &good);
        for (name, head) in [
            ("w1", [SEND2, 1, 0]),
            ("w1, its own ID", [SEND2, 1 << 16, 0]),
            ("w1, another's ID", [SEND2, 2 << 16, 0]),
            ("w2", [SEND2, 0, 1]),
            ("the schedule receiver interrupt delayed", [SEND2, 0, 2]),
            ("w2", [SEND2, 0, 1 << 31]),
        ] {
            world.refused(name, VM1, head, INVALID);
        }
        assert_eq!(world.hypervisor.take_interrupts(), []);
        // The good one still goes through.
        assert_eq!(world.call(VM1, [SEND2]), DONE, "{}", preset.name());
        all_gone(&mut world);
    });
}

#[test]
fn a_receiver_that_cannot_take_it() {
    every_preset(|preset| {
        let mut world = booted(preset, FaultPlan::none());
        world.live(VM1, Version::V1_2);
        world.write_tx(VM1, &new(VM1, VM2, b"x"));
        world.refused("not there", VM1, [SEND2], INVALID);
        assert_eq!(world.hypervisor.create(VM2, &REGIONS), Ok(Creation::Live));
        world.refused("no version", VM1, [SEND2], Status::Busy);
        world.negotiate(VM2, Version::V1_1);
        world.refused("no RX", VM1, [SEND2], Status::Busy);
        world.map(VM2);
        assert_eq!(world.call(VM1, [SEND2]), DONE, "{}", preset.name());
        assert_eq!(world.call(VM2, [UNMAP]), DONE);
        world.refused("RX was unmapped", VM1, [SEND2], Status::Busy);
        world.map(VM2);
        assert_eq!(world.call(VM1, [SEND2]), DONE, "with a new RX");
        assert_eq!(world.call(VM2, [RELEASE]), DONE);
        // A sender without TX.
        assert_eq!(world.call(VM1, [UNMAP]), DONE);
        world.refused("no TX", VM1, [SEND2], Status::Denied);
        world.map(VM1);
        world.hypervisor.permit(|vm, what, other| (vm, what, other) != (VM1, Relation::Message, VM2));
        world.refused("not permitted", VM1, [SEND2], INVALID);
        world.hypervisor.permit(|_, _, _| true);
        assert_eq!(world.call(VM1, [SEND2]), DONE);
        world.destroy(VM2);
        assert_eq!(world.call(VM1, [SEND2]), Regs::error(INVALID), "dead");
        all_gone(&mut world);
        // A receiver of 1.0 reads no such messages.
        let mut world = booted(preset, FaultPlan::none());
        world.live(VM1, Version::V1_2);
        world.live(VM2, Version::V1_0);
        world.write_tx(VM1, &new(VM1, VM2, b"x"));
        world.refused("1.0", VM1, [SEND2], Status::Denied);
        all_gone(&mut world);
    });
}

/// The SPMC reads the header once more: whoever may not send to all of them may send to none.
#[test]
fn a_vm_that_may_not_send_to_every_sp_sends_to_none() {
    for preset in SERVE {
        let mut world = world(preset);
        world.hypervisor.permit(|vm, what, other| (vm, what, other) != (VM1, Relation::Message, SP2));
        world.write_tx(VM1, &new(VM1, SP2, b"x"));
        world.refused("not permitted", VM1, [SEND2], INVALID);
        world.write_tx(VM1, &new(VM1, SP1, b"x"));
        world.refused("permitted, but for the other", VM1, [SEND2], Status::Denied);
        assert_eq!(send(&mut world, VM2, &padded(VM2, SP1, b"x")), DONE);
        all_gone(&mut world);
    }
}

/// H-6: what the SPMC has put into RX the guest can release, and nothing else goes there before.
#[test]
fn h6_a_message_of_an_sp_is_released_by_the_vm_that_read_it() {
    for preset in SERVE {
        for vm in [VM1, VM2] {
            // The header is that of the SPMC's version, and says where the payload is.
            let format = IndirectFormat::V1_2;
            let mut world = world(preset);
            assert!(deliver(&mut world, vm, 10), "{}", preset.name());
            assert_eq!(received(&world, vm, format), (SP1, Uuid::NIL, counting(10)));
            // The secure world tells of it by a bit of its own: the SPMC's, in w6.
            assert_eq!(world.hypervisor.take_interrupts(), [npi(vm)]);
            let id = u64::from(vm.0);
            let full = Regs::new([0x8400_0061, 0, 0, 0, 0, 0, 1]);
            assert_eq!(world.call(vm, [GET, id, 0xf]), full, "{}", preset.name());
            assert_eq!(world.call(vm, [LIST]), Regs::error(Status::Busy), "RX is the guest's");
            let other = if vm == VM1 { VM2 } else { VM1 };
            let to_vm = if vm == VM1 { old(VM2, VM1, b"x") } else { new(VM1, VM2, b"x") };
            assert_eq!(send(&mut world, other, &to_vm), Regs::error(Status::Busy));
            assert!(!deliver(&mut world, vm, 20));
            assert_eq!(received(&world, vm, format).2, counting(10));
            assert_eq!(world.call(vm, [RELEASE]), DONE, "{}", preset.name());
            assert_eq!(world.call(vm, [RELEASE]), Regs::error(Status::Denied));
            // And now everybody gets a turn.
            assert_eq!(world.call(vm, [LIST])[0], DONE[0]);
            assert!(!deliver(&mut world, vm, 20), "the mediator's list");
            assert_eq!(world.call(vm, [RELEASE]), DONE);
            assert_eq!(send(&mut world, other, &to_vm), DONE);
            assert!(!deliver(&mut world, vm, 20), "another VM's message");
            assert_eq!(world.call(vm, [RELEASE]), DONE);
            assert!(deliver(&mut world, vm, 20));
            world.check();
            // Nothing of it is kept, although it was never read.
            all_gone(&mut world);
        }
    }
}

/// Has SP 1 send a message to a VM: five bytes that count up from `first`. Says whether it could.
fn deliver(world: &mut World, vm: PartitionId, first: u8) -> bool {
    let [w3, w4, w5, w6, w7] = Control::SendMessage { vm, size: 5, first }.payload();
    // Whoever asks for it has no part in it.
    let asks = u64::from(PartitionId::pair(VM1, SP1));
    let answer = world.call(VM1, [0x8400_006f, asks, 0, w3, w4, w5, w6, w7]);
    assert_eq!((answer[0], answer[3]), (0x8400_0070, w3));
    answer[4] == 1
}

fn counting(first: u8) -> Vec<u8> {
    (first..first + 5).collect()
}

#[test]
fn a_vm_that_dies_with_messages_unread_leaves_nothing() {
    every_preset(|preset| {
        for of_sp in [false, true] {
            let mut world = world(preset);
            if of_sp && !served(preset) {
                continue;
            }
            if of_sp {
                assert!(deliver(&mut world, VM2, 10));
                assert_eq!(kept_rx(&world, VM2), Some(RxOwner::Vm));
            } else {
                assert_eq!(send(&mut world, VM1, &new(VM1, VM2, b"unread")), DONE);
                assert_eq!(kept_rx(&world, VM2), served(preset).then_some(RxOwner::Hypervisor));
            }
            world.destroy(VM2);
            assert!(world.hypervisor.settle(LONG));
            assert_eq!(world.hypervisor.report(VM2), None, "{}", preset.name());
            assert_eq!(kept_rx(&world, VM2), None);
            // Its successor finds RX free, and nothing pending.
            world.live(VM2, Version::V1_1);
            assert_eq!(world.call(VM2, [RELEASE]), Regs::error(Status::Denied));
            assert_eq!(world.call(VM2, [GET, 2, 0xf]), DONE);
            assert_eq!(send(&mut world, VM1, &new(VM1, VM2, b"x")), DONE);
            all_gone(&mut world);
        }
    });
}

/// A sender that dies leaves its message where it is: it is the receiver's.
#[test]
fn a_message_outlives_its_sender() {
    every_preset(|preset| {
        let mut world = world(preset);
        assert_eq!(send(&mut world, VM1, &new(VM1, VM2, b"a last word")), DONE);
        world.destroy(VM1);
        assert!(world.hypervisor.settle(LONG));
        assert_eq!(received(&world, VM2, IndirectFormat::V1_1).2, b"a last word");
        assert_eq!(world.call(VM2, [RELEASE]), DONE, "{}", preset.name());
        all_gone(&mut world);
    });
}

/// The header is read once: what the guest makes of it between header and payload does not count.
#[test]
fn a_header_that_changes_after_it_was_read_does_not_count() {
    every_preset(|preset| {
        let mut world = world(preset);
        let scribble = world.hypervisor.scribbler();
        let reads = Rc::new(Cell::new(0));
        let seen = Rc::clone(&reads);
        let forged = new(VM2, VM1, &[]);
        world.hypervisor.set_interloper(Some(Box::new(move |_, moment| {
            if let Moment::Read(copy) = moment {
                seen.set(seen.get() + 1);
                if copy.address == TX && copy.vm == VM1 {
                    // Another sender, the largest size, and another payload.
                    scribble(VM1, TX, &broken(&forged, &[(8, &[0xff; 4]), (16, &[0xff; 4])]));
                    scribble(VM1, TX + 40, b"later");
                }
            }
        })));
        assert_eq!(send(&mut world, VM1, &new(VM1, VM2, b"first")), DONE, "{}", preset.name());
        assert_eq!(reads.get(), 2, "header and payload, once each");
        assert_eq!(received(&world, VM2, IndirectFormat::V1_1), (VM1, Uuid::NIL, b"later".to_vec()));
        all_gone(&mut world);
    });
}

/// While RX is being written its owner can neither release nor unmap it, nor can anybody else write.
#[test]
fn rx_that_is_being_written_is_nobody_elses() {
    every_preset(|preset| {
        let mut world = world(preset);
        let mediator = Rc::clone(world.hypervisor.mediator());
        let answers = Rc::new(Cell::new([Regs::ZERO; 4]));
        let seen = Rc::clone(&answers);
        world.hypervisor.set_interloper(Some(Box::new(move |cpu, moment| {
            if !matches!(moment, Moment::Write(copy) if copy.vm == VM2) {
                return;
            }
            let mut call = |vm, w0| {
                let mut regs = Regs::new([w0]);
                let caller = Caller { vm: mediator.find(vm).unwrap(), vcpu: 1 };
                let _ = mediator.guest_call(cpu, caller, &mut regs, &mut Scratch::new());
                regs
            };
            seen.set([call(VM2, RELEASE), call(VM2, UNMAP), call(VM2, LIST), call(VM1, SEND2)]);
        })));
        assert_eq!(send(&mut world, VM1, &new(VM1, VM2, b"whole")), DONE, "{}", preset.name());
        let (denied, busy) = (Regs::error(Status::Denied), Regs::error(Status::Busy));
        assert_eq!(answers.get(), [denied, denied, busy, busy], "{}", preset.name());
        world.hypervisor.set_interloper(None);
        assert_eq!(received(&world, VM2, IndirectFormat::V1_1).2, b"whole");
        assert_eq!(world.call(VM2, [UNMAP]), DONE, "also while it is full");
        all_gone(&mut world);
    });
}

/// A receiver that dies while it is written to is torn down after that (H-15).
#[test]
fn h15_a_receiver_that_dies_meanwhile_is_torn_down_after_the_write() {
    every_preset(|preset| {
        for nth in 0..8 {
            let mut world = world(preset);
            let mediator = Rc::clone(world.hypervisor.mediator());
            let (count, died) = (Cell::new(0), Rc::new(Cell::new(false)));
            let seen = Rc::clone(&died);
            world.hypervisor.set_interloper(Some(Box::new(move |cpu, _| {
                if count.replace(count.get() + 1) == nth {
                    seen.set(true);
                    mediator.destroy_vm(cpu, mediator.find(VM2).unwrap()).unwrap();
                    (0..4).for_each(|_| mediator.tick(cpu));
                }
            })));
            let _ = send(&mut world, VM1, &new(VM1, VM2, b"x"));
            world.hypervisor.set_interloper(None);
            if died.get() {
                world.hypervisor.bury(VM2);
            }
            world.check();
            all_gone(&mut world);
        }
    });
}

/// A VM that comes to have the receiver's ID while a message is on its way gets nothing that was made for that one.
#[test]
fn a_message_to_a_vm_that_is_replaced_meanwhile_is_not_misread() {
    every_preset(|preset| {
        let mut world = world(preset);
        let mediator = Rc::clone(world.hypervisor.mediator());
        world.hypervisor.set_interloper(Some(Box::new(move |cpu, moment| {
            // The header is read first, the payload once the receiver is known.
            if !matches!(moment, Moment::Read(copy) if copy.vm == VM1 && copy.address > TX) {
                return;
            }
            let old = mediator.find(VM2).unwrap();
            mediator.destroy_vm(cpu, old).unwrap();
            while mediator.find(VM2).is_some() {
                mediator.tick(cpu);
            }
            let created = mediator.create_vm(cpu, VM2, VecRanges::new(8), vec![VcpuSlot::IDLE; 2], vec![]);
            assert_eq!(created, Ok((old, Creation::Live)));
            for regs in [[0x8400_0063, 0x1_0000, 0, 0], [MAP, TX, RX, 1]] {
                let caller = Caller { vm: old, vcpu: 0 };
                let _ = mediator.guest_call(cpu, caller, &mut Regs::new(regs), &mut Scratch::new());
            }
        })));
        let answer = send(&mut world, VM1, &new(VM1, VM2, b"x"));
        assert_eq!(answer, Regs::error(Status::Busy), "{}", preset.name());
        world.hypervisor.set_interloper(None);
        // 1.0 has no such messages.
        let mut rx = [0; 64];
        world.hypervisor.read(VM2, RX, &mut rx);
        assert_eq!(rx, [0; 64], "{}", preset.name());
    });
}

/// Buffers that the SPMC may or may not have stay held. A guest that goes on mapping others holds no more of them.
#[test]
fn buffers_are_in_doubt_once() {
    let call = CallKind::function(Function::RxTxMap);
    for preset in SERVE {
        let action = FaultAction::Refuse(Status::Aborted.into());
        // All but the mediator's own.
        let mut world = booted(preset, FaultPlan::new([Fault { call, when: When::After(1), action }]));
        assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
        world.negotiate(VM1, Version::V1_1);
        assert_eq!(world.call(VM1, [MAP, TX, RX, 1]), Regs::error(Status::Aborted));
        let smcs = world.hypervisor.smcs();
        assert_eq!(world.call(VM1, [MAP, TX, RX, 1]), Regs::error(INVALID), "these are held");
        for n in 0..3 {
            let others = PAGES + 2 * n * PAGE;
            assert_eq!(world.call(VM1, [MAP, others, others + PAGE, 1]), DONE, "{}", preset.name());
            assert_eq!(world.call(VM1, [UNMAP]), DONE);
        }
        assert_eq!(world.hypervisor.smcs(), smcs, "the secure world is not asked again");
        world.check();
    }
}

/// Whatever the SPMC says to a message, the sender is told, and nothing is left over.
#[test]
fn a_message_that_the_secure_world_refuses_or_loses() {
    for preset in SERVE {
        for (action, status) in [
            (FaultAction::Refuse(Status::Busy.into()), Status::Busy),
            (FaultAction::Refuse(Status::NoMemory.into()), Status::NoMemory),
            (FaultAction::Lose(Status::Retry.into()), Status::Retry),
            (FaultAction::W0(0x8400_006b), Status::Aborted),
            (FaultAction::W0(0xffff_ffff), Status::Aborted),
        ] {
            let call = CallKind::function(Function::MsgSend2);
            let plan = FaultPlan::new([Fault { call, when: When::Nth(1), action }]);
            let mut world = booted(preset, plan);
            world.live(VM1, Version::V1_2);
            let answer = send(&mut world, VM1, &new(VM1, SP1, b"x"));
            assert_eq!(answer, Regs::error(status), "{} {action:?}", preset.name());
            assert_eq!(send(&mut world, VM1, &new(VM1, SP1, b"x")), DONE);
            all_gone(&mut world);
        }
    }
}

/// The mediator speaks for the VM that called, and for nobody else.
#[test]
fn what_reaches_the_secure_world_names_the_caller() {
    for preset in SERVE {
        let mut world = world(preset);
        let _ = world.hypervisor.take_smcs();
        assert_eq!(send(&mut world, VM1, &new(VM1, SP1, b"x")), DONE);
        let smcs = world.hypervisor.take_smcs();
        let sent: Vec<_> = smcs.iter().map(|smc| smc.regs).collect();
        let w0 = u64::from(FunctionId::smc32(Function::MsgSend2).w0());
        assert_eq!(sent, [Regs::new([w0, u64::from(VM1.0) << 16])]);
    }
}

/// A VM with larger buffers than one page exchanges no messages with SPs, but with VMs.
#[test]
fn large_buffers_are_for_messages_between_vms() {
    for preset in SERVE {
        let mut world = booted(preset, FaultPlan::none());
        assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
        world.negotiate(VM1, Version::V1_2);
        assert_eq!(world.call(VM1, [MAP, TX, TX + 4 * PAGE, 4]), DONE);
        world.live(VM2, Version::V1_2);
        world.write_tx(VM1, &new(VM1, SP1, b"x"));
        world.refused("to an SP", VM1, [SEND2], Status::Denied);
        assert_eq!(send(&mut world, VM1, &new(VM1, VM2, b"large")), DONE);
        assert_eq!(received(&world, VM2, IndirectFormat::V1_2).2, b"large");
        all_gone(&mut world);
    }
}
