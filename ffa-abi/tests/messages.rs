//! Direct messages of 1.2 and indirect messages: whole register files, and headers in a buffer.

mod common;

use common::{golden, refuses_reserved_bits};
use ffa_abi::{
    Answer, Call, DirectRequest2, DirectResponse2, IndirectError, IndirectFormat, IndirectMessage, MsgSend2,
    PartitionId, Regs, Status, Uuid, Version,
};
use proptest::prelude::*;

const VM: PartitionId = PartitionId(1);
const SP: PartitionId = PartitionId(0x8001);
const SERVICE: Uuid =
    Uuid([0x48, 0x61, 0x78, 0xe0, 0xe7, 0xf8, 0x11, 0xe3, 0xbc, 0x5e, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b]);
const PAYLOAD: [u64; 14] = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1 << 63 | 17];

/// x4 to x17 are the payload.
fn with_payload(head: [u64; 4]) -> Regs {
    let mut regs = Regs::new(head);
    regs.0[4..].copy_from_slice(&PAYLOAD);
    regs
}

#[test]
fn golden_calls() {
    golden(&[
        (
            Call::DirectRequest2(DirectRequest2 {
                sender: VM,
                receiver: SP,
                uuid: SERVICE,
                payload: PAYLOAD,
            }),
            with_payload([0xc400_008d, 0x1_8001, 0xe311_f8e7_e078_6148, 0x1bc5_d5a5_0200_5ebc]),
        ),
        (
            Call::DirectResponse2(DirectResponse2 { sender: SP, receiver: VM, payload: PAYLOAD }),
            with_payload([0xc400_008e, 0x8001_0001, 0, 0]),
        ),
        (
            Call::MsgSend2(MsgSend2 { sender: PartitionId(0), delay_schedule_receiver: false }),
            Regs::new([0x8400_0086]),
        ),
        (
            Call::MsgSend2(MsgSend2 { sender: PartitionId(7), delay_schedule_receiver: true }),
            Regs::new([0x8400_0086, 0x7_0000, 2]),
        ),
    ]);
}

#[test]
fn refuses_each_reserved_bit() {
    refuses_reserved_bits(&Regs::new([0xc400_008e, 0x8001_0001]), 2, 0);
    refuses_reserved_bits(&Regs::new([0xc400_008e, 0x8001_0001]), 3, 0);
    refuses_reserved_bits(&Regs::new([0x8400_0086, 0x7_0000, 2]), 1, 0xffff_0000);
    refuses_reserved_bits(&Regs::new([0x8400_0086, 0x7_0000, 2]), 2, 2);
}

#[test]
fn a_response_is_read_whole_or_not_at_all() {
    let response = DirectResponse2 { sender: SP, receiver: VM, payload: PAYLOAD };
    let regs = response.to_regs();
    assert_eq!(DirectResponse2::from_answer(&regs), Ok(response));
    assert_eq!(Answer::from_regs(&regs), Answer::DirectResponse2 { sender: SP, receiver: VM });
    for register in [2, 3] {
        let mut malformed = regs;
        malformed[register] = 1 << 40;
        let unexpected = Answer::Unexpected { w0: 0xc400_008e };
        assert_eq!(DirectResponse2::from_answer(&malformed), Err(unexpected));
    }
    let error = Answer::Error(Status::Busy.into());
    assert_eq!(DirectResponse2::from_answer(&error.to_regs()), Err(error));
    // The request itself, sent back, is no response to it.
    let echo = Regs::new([0xc400_008d, 0x1_8001]);
    assert_eq!(DirectResponse2::from_answer(&echo), Err(Answer::Unexpected { w0: 0xc400_008d }));
}

/// A message of 7 bytes from VM 1 to SP 8001, header of 1.1.
const V1_1: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0x01, 0x80, 1, 0, 7, 0, 0, 0];

/// The same in 1.2, to a service.
fn v1_2() -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[..20].copy_from_slice(&V1_1);
    bytes[8] = 40;
    bytes[24..].copy_from_slice(&SERVICE.0);
    bytes
}

const PAGE: usize = 4096;

#[test]
fn golden_headers() {
    let old = IndirectMessage::new(IndirectFormat::V1_1, VM, SP, SERVICE, 7, PAGE).unwrap();
    let new = IndirectMessage::new(IndirectFormat::V1_2, VM, SP, SERVICE, 7, PAGE).unwrap();
    assert_eq!((old.uuid(), new.uuid()), (Uuid::NIL, SERVICE));
    let mut buffer = [0xee; 48];
    old.write(&mut buffer).unwrap();
    assert_eq!((&buffer[..20], &buffer[20..]), (&V1_1[..], &[0xee; 28][..]));
    new.write(&mut buffer).unwrap();
    assert_eq!((&buffer[..40], &buffer[40..]), (&v1_2()[..], &[0xee; 8][..]));
    assert_eq!(IndirectMessage::parse(&V1_1, IndirectFormat::V1_1, VM, PAGE), Ok(old));
    assert_eq!(IndirectMessage::parse(&v1_2(), IndirectFormat::V1_2, VM, PAGE), Ok(new));
    assert_eq!((new.sender(), new.receiver()), (VM, SP));
    assert_eq!((new.payload_offset(), new.payload_size()), (40, 7));
    assert_eq!((old.payload_offset(), old.format()), (20, IndirectFormat::V1_1));
}

#[test]
fn the_version_says_which_header() {
    let table = [
        (Version::V1_0, IndirectFormat::V1_1),
        (Version::V1_1, IndirectFormat::V1_1),
        (Version::V1_2, IndirectFormat::V1_2),
    ];
    for (version, format) in table {
        assert_eq!(IndirectFormat::for_version(version), format);
    }
}

#[test]
fn refuses_each_broken_field_of_a_header() {
    let v1_2 = v1_2();
    for (good, format) in [(&V1_1[..], IndirectFormat::V1_1), (&v1_2[..], IndirectFormat::V1_2)] {
        let least = format.size() as u32;
        let page = PAGE as u32;
        let table = [
            (0, 1, IndirectError::Reserved { flags: 1 }),
            (3, 0x80, IndirectError::Reserved { flags: 1 << 31 }),
            (14, 2, IndirectError::Sender { named: PartitionId(2), sender: VM }),
            (15, 0x80, IndirectError::Sender { named: PartitionId(0x8001), sender: VM }),
            (8, 19, IndirectError::PayloadOffset { offset: 19, least }),
            (8, 0, IndirectError::PayloadOffset { offset: 0, least }),
            (9, 0x10, IndirectError::PayloadSize { offset: page + least, size: 7, have: PAGE }),
            (17, 0x10, IndirectError::PayloadSize { offset: least, size: page + 7, have: PAGE }),
            (19, 0xff, IndirectError::PayloadSize { offset: least, size: 0xff00_0007, have: PAGE }),
        ];
        for (at, byte, error) in table {
            let mut bytes = [0; 40];
            bytes[..good.len()].copy_from_slice(good);
            bytes[at] = byte;
            let read = IndirectMessage::parse(&bytes, format, VM, PAGE);
            assert_eq!(read, Err(error), "{format:?} byte {at}");
            assert_eq!(Status::from(error), Status::InvalidParameters);
        }
        for have in 0..good.len() {
            let read = IndirectMessage::parse(&good[..have], format, VM, PAGE);
            assert_eq!(read, Err(IndirectError::Truncated { need: good.len(), have }));
        }
        let mut own = [0; 40];
        own[..good.len()].copy_from_slice(good);
        own[12..14].copy_from_slice(&[1, 0]);
        let read = IndirectMessage::parse(&own, format, VM, PAGE);
        assert_eq!(read, Err(IndirectError::ToSender { sender: VM }));
    }
}

#[test]
fn the_payload_may_end_with_the_buffer_and_not_after_it() {
    let mut bytes = V1_1;
    let last = PAGE as u32 - 20;
    for (size, fits) in [(0, true), (last, true), (last + 1, false)] {
        bytes[16..].copy_from_slice(&size.to_le_bytes());
        let error = IndirectError::PayloadSize { offset: 20, size, have: PAGE };
        let read = IndirectMessage::parse(&bytes, IndirectFormat::V1_1, VM, PAGE);
        let built = IndirectMessage::new(IndirectFormat::V1_1, VM, SP, Uuid::NIL, size, PAGE);
        assert_eq!(read, built);
        assert_eq!(built.err(), (!fits).then_some(error));
    }
    let message = IndirectMessage::new(IndirectFormat::V1_2, VM, SP, SERVICE, 0, PAGE).unwrap();
    let short = message.write(&mut [0; 39]);
    assert_eq!(short, Err(IndirectError::Truncated { need: 40, have: 39 }));
    let to_sender = IndirectMessage::new(IndirectFormat::V1_2, VM, VM, SERVICE, 0, PAGE);
    assert_eq!(to_sender, Err(IndirectError::ToSender { sender: VM }));
}

#[test]
fn reserved_fields_are_ignored_and_written_as_zero() {
    let mut bytes = v1_2();
    bytes[4..8].fill(0xff);
    bytes[20..24].fill(0xff);
    let message = IndirectMessage::parse(&bytes, IndirectFormat::V1_2, VM, PAGE).unwrap();
    message.write(&mut bytes).unwrap();
    assert_eq!(bytes, v1_2());
}

proptest! {
    #[test]
    fn any_header_is_read_within_bounds(
        bytes in proptest::collection::vec(prop_oneof![3 => Just(0), 1 => any::<u8>()], 0..48),
        new in any::<bool>(),
        buffer_len in 0..300_usize,
    ) {
        let format = if new { IndirectFormat::V1_2 } else { IndirectFormat::V1_1 };
        let sender = bytes.get(14..16).map_or(VM, |id| PartitionId(u16::from_le_bytes([id[0], id[1]])));
        if let Ok(message) = IndirectMessage::parse(&bytes, format, sender, buffer_len) {
            let end = u64::from(message.payload_offset()) + u64::from(message.payload_size());
            prop_assert!(end <= buffer_len as u64);
            prop_assert!(message.payload_offset() as usize >= format.size());
            let mut written = [0; 40];
            message.write(&mut written).unwrap();
            let again = IndirectMessage::parse(&written, format, sender, buffer_len);
            prop_assert_eq!(again, Ok(message));
        }
    }

    #[test]
    fn any_response_survives(regs in proptest::array::uniform18(any::<u64>()), w0 in any::<bool>()) {
        let mut regs = Regs(regs);
        (regs[2], regs[3]) = (0, 0);
        regs[0] = if w0 { 0xc400_008e } else { regs[0] };
        match DirectResponse2::from_answer(&regs) {
            Ok(read) => prop_assert_eq!(DirectResponse2::from_answer(&read.to_regs()), Ok(read)),
            Err(answer) => prop_assert!(!w0 && Answer::from_regs(&regs) == answer),
        }
    }
}
