//! Indirect messages: from a VM's TX to a partition, and from a partition to a VM's RX.

mod common;

use common::*;
use ffa_abi::Status::*;
use ffa_abi::{
    Answer, FrameworkNotifications, NotificationInfo, NotificationSources, PartitionId, PendingNotifications,
    PendingReceiver, Properties, Regs, Status, Uuid,
};
use ffa_test_utils::spmc::*;

const MSG_SEND2: u64 = 0x8400_0086;
const RX_RELEASE: u64 = 0x8400_0065;
const RX_ACQUIRE: u64 = 0x8400_0084;
const GET: u64 = 0x8400_0082;

/// Presets that have indirect messages.
const SERVE: [Preset; 2] = [Preset::Hafnium, Preset::Strict];
const DEAF: PartitionId = PartitionId(0x8003);

const OK: Result<(), Status> = Ok(());
const INV: Result<(), Status> = Err(InvalidParameters);
const DEN: Result<(), Status> = Err(Denied);

/// `version` negotiated; VM 1 has buffers and a bitmap. SP 1 and SP 2 take indirect messages and SP 3 does not.
fn world_of(preset: Preset, version: u64, script: Script) -> World {
    let able = SpConfig::SUBSCRIBED.or(Properties::INDIRECT_MESSAGES);
    let sps = [SP1, SP2].map(|sp| SpConfig::new(sp, script).with_properties(able));
    let deaf = SpConfig::new(DEAF, script);
    let mut world = World::raw(preset, sps.into_iter().chain([deaf]));
    world.call([0x8400_0063, version]);
    world.map_buffers();
    map_buffers_for_vm1(&mut world);
    assert_eq!(status_of(&world.call([0x8400_007d, 1, 1])), OK);
    world
}

fn world(preset: Preset) -> World {
    world_of(preset, 0x1_0002, Script::GOOD)
}

/// A message in TX, field by field.
#[derive(Clone, Copy)]
struct Message {
    flags: u32,
    offset: u32,
    receiver: u16,
    sender: u16,
    size: u32,
    uuid: Uuid,
}

const GOOD: Message = Message { flags: 0, offset: 40, receiver: SP1.0, sender: 1, size: 3, uuid: Uuid::NIL };

impl Message {
    /// Writes the message to the TX buffer at `tx`; its payload is 5, 6, 7.
    fn write(&self, world: &mut World, tx: u64) {
        let mut bytes = Vec::new();
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend([0xee; 4]);
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.receiver.to_le_bytes());
        bytes.extend(self.sender.to_le_bytes());
        bytes.extend(self.size.to_le_bytes());
        if self.offset >= 40 {
            bytes.extend([0; 4]);
            bytes.extend(self.uuid.0);
        }
        world.memory.write(tx, &bytes).unwrap();
        let _ = world.memory.write(tx + u64::from(self.offset), &[5, 6, 7]);
    }

    fn send(&self, world: &mut World) -> Result<(), Status> {
        self.write(world, VM_TX);
        status_of(&world.call([MSG_SEND2, 1 << 16]))
    }
}

fn kept(world: &World) -> Kept {
    world.spmc.kept().find(|kept| kept.vm == VM1).unwrap()
}

fn get_framework(world: &mut World) -> FrameworkNotifications {
    let sources = u64::from(NotificationSources::SPM.word());
    PendingNotifications::from_answer(&world.call([GET, 1, sources])).unwrap().from_spm
}

#[test]
fn messages_are_judged() {
    type Answers = [Result<(), Status>; 2];
    let rows: [(&str, Message, Answers); 14] = [
        ("good", GOOD, [OK, OK]),
        ("empty", Message { size: 0, ..GOOD }, [OK, OK]),
        ("to the end of TX", Message { offset: 0xffd, ..GOOD }, [OK, OK]),
        ("past the end of TX", Message { offset: 0xffe, ..GOOD }, [INV, INV]),
        ("far past", Message { offset: u32::MAX, ..GOOD }, [INV, INV]),
        ("over the header", Message { offset: 39, ..GOOD }, [INV, INV]),
        ("another sender", Message { sender: 2, ..GOOD }, [INV, INV]),
        ("to itself", Message { receiver: 1, ..GOOD }, [INV, INV]),
        ("to a VM", Message { receiver: 2, ..GOOD }, [INV, INV]),
        ("to nobody", Message { receiver: 0x8055, ..GOOD }, [INV, INV]),
        ("to the deaf", Message { receiver: DEAF.0, ..GOOD }, [DEN, DEN]),
        ("flags in the header", Message { flags: 1, ..GOOD }, [OK, INV]),
        ("another's service", Message { uuid: Uuid([9; 16]), ..GOOD }, [OK, INV]),
        ("its own service", Message { uuid: SpConfig::new(SP1, Script::GOOD).uuids[0], ..GOOD }, [OK, OK]),
    ];
    for (what, message, answers) in rows {
        for (preset, expected) in SERVE.into_iter().zip(answers) {
            let mut world = world(preset);
            assert_eq!(message.send(&mut world), expected, "{preset:?}: {what}");
            let payload = [5, 6, 7][..message.size as usize].to_vec();
            let received = Received { sender: VM1, uuid: message.uuid, payload };
            let read = if expected.is_ok() { vec![received] } else { vec![] };
            assert_eq!(world.spmc.received(PartitionId(message.receiver)), read, "{preset:?}: {what}");
        }
    }
}

#[test]
fn registers_are_judged() {
    for (what, head, answers) in [
        ("flags", [MSG_SEND2, 1 << 16, 2, 0], [INV, INV]),
        ("a VM without buffers", [MSG_SEND2, 2 << 16, 0, 0], [DEN, DEN]),
        ("reserved in w1", [MSG_SEND2, 1 << 16 | 1, 0, 0], [OK, INV]),
        ("reserved", [MSG_SEND2, 1 << 16, 0, 1], [OK, INV]),
    ] {
        for (preset, expected) in SERVE.into_iter().zip(answers) {
            let mut world = world(preset);
            GOOD.write(&mut world, VM_TX);
            assert_eq!(status_of(&world.call(head)), expected, "{preset:?}: {what}");
        }
    }
}

#[test]
fn a_vm_is_as_old_as_the_spmc_thinks() {
    let short = Message { offset: 20, ..GOOD };
    for (preset, answers) in SERVE.into_iter().zip([[INV, OK], [OK, OK]]) {
        for (message, expected) in [short, GOOD].into_iter().zip(answers) {
            let mut world = world_of(preset, 0x1_0001, Script::GOOD);
            assert_eq!(message.send(&mut world), expected, "{preset:?}: offset {}", message.offset);
        }
    }
    for preset in SERVE {
        let mut world = world_of(preset, 0x1_0000, Script::GOOD);
        assert_eq!(GOOD.send(&mut world), Err(NotSupported), "{preset:?}: 1.0");
    }
}

#[test]
fn the_hypervisor_sends_from_its_own_buffer() {
    for preset in SERVE {
        let mut world = world(preset);
        Message { sender: 0, ..GOOD }.write(&mut world, TX);
        assert_eq!(status_of(&world.call([MSG_SEND2])), OK, "{preset:?}");
        assert_eq!(world.spmc.received(SP1)[0].sender, PartitionId(0), "{preset:?}");
    }
}

#[test]
fn a_partition_that_does_not_read_is_busy_and_must_be_run() {
    for preset in SERVE {
        let mut world = world_of(preset, 0x1_0002, Script { receive: Receive::WhenRun, ..Script::GOOD });
        assert_eq!(GOOD.send(&mut world), OK);
        assert!(world.spmc.take_sri().is_some(), "{preset:?}");
        let pending = NotificationInfo::from_answer(&world.call([0xc400_0083])).unwrap();
        assert!(pending.receivers().eq([PendingReceiver { endpoint: SP1, vcpu: None }]), "{preset:?}");
        assert_eq!(GOOD.send(&mut world), Err(Busy), "{preset:?}");
        assert_eq!(Message { receiver: SP2.0, ..GOOD }.send(&mut world), OK, "{preset:?}: to another");
        assert_eq!(world.spmc.received(SP1), [], "{preset:?}");
        assert_eq!(Answer::from_regs(&world.run(SP1, 0)), Answer::MsgWait, "{preset:?}");
        assert_eq!(world.spmc.received(SP1).len(), 1, "{preset:?}");
        assert_eq!(GOOD.send(&mut world), OK, "{preset:?}");
        world.spmc.restart(SP1);
        assert_eq!(world.spmc.received(SP1), [], "{preset:?}: forgotten");
        assert_eq!(GOOD.send(&mut world), OK, "{preset:?}: and its RX is free");
    }
}

#[test]
fn a_message_to_a_vm_lies_in_its_rx_until_it_is_released() {
    for preset in SERVE {
        let mut world = world(preset);
        let World { spmc, memory, .. } = &mut world;
        assert_eq!(spmc.send_message(memory, SP1, VM1, b"hello"), OK, "{preset:?}");
        assert_eq!(spmc.send_message(memory, SP2, VM1, b"again"), Err(Busy), "{preset:?}");
        assert!(spmc.take_sri().is_some(), "{preset:?}");
        let header = [[0; 8], [40, 0, 0, 0, 1, 0, 1, 0x80], [5, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(world.read::<24>(VM_RX).to_vec(), header, "{preset:?}");
        assert_eq!(&world.read::<5>(VM_RX + 40), b"hello", "{preset:?}");
        let full = FrameworkNotifications::RX_BUFFER_FULL;
        assert_eq!((kept(&world).rx, kept(&world).framework), (RxOwner::Vm, full), "{preset:?}");
        assert_eq!(status_of(&world.call([RX_ACQUIRE, 1])), DEN, "{preset:?}: the VM's");
        let pending = NotificationInfo::from_answer(&world.call([0xc400_0083])).unwrap();
        assert!(pending.receivers().eq([PendingReceiver { endpoint: VM1, vcpu: None }]), "{preset:?}");
        assert_eq!(status_of(&world.call([RX_RELEASE, 1])), DEN, "{preset:?}: not told yet");
        assert_eq!(get_framework(&mut world), full, "{preset:?}");
        assert_eq!(get_framework(&mut world), FrameworkNotifications::NONE, "{preset:?}: taken");
        assert_eq!(status_of(&world.call([RX_RELEASE, 1])), OK, "{preset:?}");
        let World { spmc, memory, .. } = &mut world;
        assert_eq!(spmc.send_message(memory, SP2, VM1, b"again"), OK, "{preset:?}");
    }
}

#[test]
fn a_vm_of_1_1_gets_the_header_that_the_spmc_thinks_it_wants() {
    for (preset, at) in SERVE.into_iter().zip([40, 20]) {
        let mut world = world_of(preset, 0x1_0001, Script::GOOD);
        let World { spmc, memory, .. } = &mut world;
        spmc.send_message(memory, SP1, VM1, b"hello").unwrap();
        assert_eq!(&world.read::<5>(VM_RX + at), b"hello", "{preset:?}");
    }
}

#[test]
fn messages_to_vms_can_fail() {
    for preset in SERVE {
        let mut world = world(preset);
        let World { spmc, memory, .. } = &mut world;
        let mut send = |sp, vm, size| spmc.send_message(memory, sp, vm, &vec![1; size]);
        assert_eq!(send(DEAF, VM1, 1), DEN, "{preset:?}");
        assert_eq!(send(PartitionId(0x8055), VM1, 1), INV, "{preset:?}: from nobody");
        assert_eq!(send(SP1, VM2, 1), INV, "{preset:?}: to nobody");
        assert_eq!(send(SP1, VM1, 4096 - 39), INV, "{preset:?}: too long");
        assert_eq!(send(SP1, VM1, 4096 - 40), OK, "{preset:?}: just fits");
        world.call([GET, 1, 4]);
        world.call([RX_RELEASE, 1]);
        assert_eq!(status_of(&world.call([RX_ACQUIRE, 1])), OK);
        let World { spmc, memory, .. } = &mut world;
        assert_eq!(spmc.send_message(memory, SP1, VM1, &[1]), Err(Busy), "{preset:?}: acquired");
        world.call([0x8400_0067, 1 << 16]);
        let World { spmc, memory, .. } = &mut world;
        assert_eq!(spmc.send_message(memory, SP1, VM1, &[1]), Err(Busy), "{preset:?}: not mapped");
    }
}

#[test]
fn nobody_is_told_without_a_bitmap() {
    for preset in SERVE {
        let mut world = world(preset);
        assert_eq!(status_of(&world.call([0x8400_007e, 1])), OK);
        let World { spmc, memory, .. } = &mut world;
        assert_eq!(spmc.send_message(memory, SP1, VM1, &[1]), OK, "{preset:?}");
        assert!(!spmc.is_sri_pending(), "{preset:?}");
        assert_eq!(status_of(&world.call([RX_RELEASE, 1])), OK, "{preset:?}");
    }
}

#[test]
fn controls_make_partitions_write_and_tell_what_they_read() {
    for preset in SERVE {
        let mut world = world(preset);
        let control = |world: &mut World, control: Control| {
            let answer = world.direct(VM1, SP1, control.payload());
            [answer.w::<4>(), answer.w::<6>(), answer.w::<7>()]
        };
        assert_eq!(control(&mut world, Control::TakeMessage), [0, 0, 0], "{preset:?}");
        assert_eq!(GOOD.send(&mut world), OK);
        assert_eq!(control(&mut world, Control::TakeMessage), [1, 3 << 16 | 1, 18], "{preset:?}");
        let send = Control::SendMessage { vm: VM1, size: 4, first: 254 };
        assert_eq!(control(&mut world, send), [1, 0, 0], "{preset:?}");
        assert_eq!(control(&mut world, send), [0, 0, 0], "{preset:?}: RX is full");
        assert_eq!(world.read::<4>(VM_RX + 40), [254, 255, 0, 1], "{preset:?}");
    }
}

#[test]
fn controls_survive_the_registers() {
    for control in [Control::SendMessage { vm: VM2, size: u32::MAX, first: 255 }, Control::TakeMessage] {
        assert_eq!(Control::from_payload(&control.payload()), Some(control));
    }
}

#[test]
fn who_has_indirect_messages() {
    for (preset, expected) in Preset::ALL.into_iter().zip([true, false, false, true]) {
        let mut world = World::new(preset, []);
        let served = status_of(&world.call([MSG_SEND2, 1 << 16])) != Err(NotSupported);
        let said = world.call([0x8400_0064, MSG_SEND2]) == Regs::success(0, 0);
        assert_eq!((served, said), (expected, expected), "{preset:?}");
        let World { spmc, memory, .. } = &mut world;
        let sent = spmc.send_message(memory, SP1, VM1, &[1]);
        assert_eq!(sent != Err(NotSupported), expected, "{preset:?}");
    }
}
