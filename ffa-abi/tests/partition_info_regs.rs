//! FFA_PARTITION_INFO_GET_REGS: whole register files, and the walk through a list from window to window.

use ffa_abi::{
    Answer, Call, PartitionId, PartitionInfo, PartitionInfoError, PartitionInfoGetRegs, PartitionInfoWindow,
    Properties, Regs, Status, Uuid, WindowError,
};
use proptest::prelude::*;

const ALL: PartitionInfoGetRegs = PartitionInfoGetRegs { uuid: Uuid::NIL, start: 0, tag: 0 };

fn record(index: u16) -> PartitionInfo {
    PartitionInfo {
        id: PartitionId(0x8001 + index),
        contexts: 2,
        properties: Properties(0x1c1),
        uuid: Uuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    }
}

/// x3 to x5 of the record with this index.
const fn record_registers(index: u64) -> [u64; 3] {
    [0x0000_01c1_0002_8001 + index, 0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09]
}

/// x2 of an answer.
const fn x2(last: u64, current: u64, tag: u64, size: u64) -> u64 {
    last | current << 16 | tag << 32 | size << 48
}

#[test]
fn golden_call() {
    let uuid = Uuid([
        0x48, 0x61, 0x78, 0xe0, 0xe7, 0xf8, 0x11, 0xe3, 0xbc, 0x5e, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b,
    ]);
    let call = Call::PartitionInfoGetRegs(PartitionInfoGetRegs { uuid, start: 5, tag: 0x1234 });
    let regs = Regs::new([0xc400_008b, 0xe311_f8e7_e078_6148, 0x1bc5_d5a5_0200_5ebc, 0x1234_0005]);
    assert_eq!(call.to_regs(), regs);
    assert_eq!(Call::from_regs(&regs), Ok(call));
}

#[test]
fn the_upper_half_of_the_index_register_is_ignored() {
    let dirty = Regs::new([0xc400_008b, 0, 0, 7 << 32]);
    assert_eq!(Call::from_regs(&dirty), Ok(Call::PartitionInfoGetRegs(ALL)));
}

#[test]
fn golden_answers() {
    // One of one, two more after the first five, and a window that is not the last.
    let [a, b, c] = record_registers(0);
    let one = Regs::new([0xc400_0061, 0, x2(0, 0, 9, 24), a, b, c]);
    assert_eq!(ALL.answer(9, 1, [record(0)]), Some(one));
    let [d, e, f] = record_registers(5);
    let [g, h, i] = record_registers(6);
    let two = Regs::new([0xc400_0061, 0, x2(6, 6, 9, 24), d, e, f, g, h, i]);
    let follow = PartitionInfoGetRegs { start: 5, tag: 9, ..ALL };
    assert_eq!(follow.answer(9, 7, (5..7).map(record)), Some(two));
    let mut five = Regs::new([0xc400_0061, 0, x2(6, 4, 9, 24)]);
    for index in 0..5 {
        five.0[3 + 3 * index..][..3].copy_from_slice(&record_registers(index as u64));
    }
    assert_eq!(ALL.answer(9, 7, (0..7).map(record)), Some(five));

    let window = PartitionInfoWindow::from_answer(ALL, &five).unwrap();
    assert_eq!((window.len(), window.total()), (5, 7));
    assert!(window.records().eq((0..5).map(record)));
    assert_eq!(window.next_request(), Some(follow));
    let window = PartitionInfoWindow::from_answer(follow, &two).unwrap();
    assert_eq!((window.len(), window.total()), (2, 7));
    assert!(window.records().eq((5..7).map(record)));
    assert_eq!(window.next_request(), None);
}

#[test]
fn there_is_no_answer_where_there_is_no_record() {
    let at = |start| PartitionInfoGetRegs { start, ..ALL };
    assert_eq!(ALL.answer(1, 0, [record(0)]), None);
    assert_eq!(at(3).answer(1, 3, [record(3)]), None);
    assert_eq!(at(2).answer(1, 3, []), None);
    // Records beyond the number that was given stay out.
    let [a, b, c] = record_registers(2);
    let last = Regs::new([0xc400_0061, 0, x2(2, 2, 1, 24), a, b, c]);
    assert_eq!(at(2).answer(1, 3, (2..9).map(record)), Some(last));
}

#[test]
fn reads_longer_records_by_their_size() {
    // Two records of 48 bytes, as Hafnium gives them; what 1.3 adds is skipped.
    let mut regs = Regs::new([0xc400_0061, 0, x2(1, 1, 0, 48)]);
    regs.0[3..].fill(u64::MAX);
    regs.0[3..6].copy_from_slice(&record_registers(0));
    regs.0[9..12].copy_from_slice(&record_registers(1));
    let window = PartitionInfoWindow::from_answer(ALL, &regs).unwrap();
    assert!(window.records().eq((0..2).map(record)));
}

#[test]
fn refuses_each_answer_that_cannot_be_true() {
    let third = PartitionInfoGetRegs { start: 2, tag: 7, ..ALL };
    let stride = |stride| WindowError::Records(PartitionInfoError::Stride { stride });
    let too_many =
        |count, stride| WindowError::Records(PartitionInfoError::TooMany { count, stride, have: 120 });
    let table = [
        (x2(4, 1, 7, 24), WindowError::Indices { start: 2, current: 1, last: 4 }),
        (x2(1, 2, 7, 24), WindowError::Indices { start: 2, current: 2, last: 1 }),
        (x2(4, 4, 8, 24), WindowError::Changed { had: 7, has: 8 }),
        (x2(1, 1, 8, 24), WindowError::Changed { had: 7, has: 8 }),
        (x2(4, 4, 7, 0), stride(0)),
        (x2(4, 4, 7, 8), stride(8)),
        (x2(4, 4, 7, 25), stride(25)),
        (x2(9, 7, 7, 24), too_many(6, 24)),
        (x2(4, 4, 7, 48), too_many(3, 48)),
        (x2(2, 2, 7, 0xfff8), too_many(1, 0xfff8)),
        (x2(0xffff, 0xffff, 7, 24), too_many(0xfffe, 24)),
    ];
    for (x2, error) in table {
        let read = PartitionInfoWindow::from_answer(third, &Regs::new([0xc400_0061, 0, x2]));
        assert_eq!(read, Err(error), "{x2:#x}");
    }
    // The first window may bring any tag.
    let first = PartitionInfoWindow::from_answer(ALL, &Regs::new([0xc400_0061, 0, x2(0, 0, 8, 24)]));
    assert_eq!(first.map(|window| window.next_request()), Ok(None));

    let narrow = Answer::Unexpected { w0: 0x8400_0061 };
    let error = Answer::Error(Status::Retry.into());
    for (regs, answer) in [(Regs::success(0, 0), narrow), (Regs::error(Status::Retry), error)] {
        assert_eq!(PartitionInfoWindow::from_answer(ALL, &regs), Err(WindowError::NotSuccess(answer)));
    }
}

proptest! {
    #[test]
    fn a_list_of_any_length_is_walked_to_its_end(total in 1..40_u16, tag in any::<u16>()) {
        let mut request = Some(ALL);
        let mut read = Vec::new();
        while let Some(asked) = request {
            let records = (asked.start..total).map(record);
            let regs = asked.answer(tag, total, records).unwrap();
            let window = PartitionInfoWindow::from_answer(asked, &regs).unwrap();
            read.extend(window.records());
            request = window.next_request();
        }
        prop_assert!(read.into_iter().eq((0..total).map(record)));
    }

    #[test]
    fn any_answer_is_read_within_its_registers(
        regs in proptest::array::uniform18(any::<u64>()),
        last in 0..8_u64,
        current in 0..8_u64,
        size in prop_oneof![Just(24_u64), Just(48), any::<u16>().prop_map(u64::from)],
        start in 0..4_u16,
    ) {
        let mut regs = Regs(regs);
        (regs[0], regs[2]) = (0xc400_0061, x2(last, current, 7, size));
        let asked = PartitionInfoGetRegs { start, tag: 7, ..ALL };
        if let Ok(window) = PartitionInfoWindow::from_answer(asked, &regs) {
            prop_assert_eq!(window.records().len(), window.len() as usize);
            prop_assert_eq!(window.records().count(), window.len() as usize);
            prop_assert!(u64::from(window.len()) * size <= 120);
            let first = window.records().next().unwrap();
            prop_assert_eq!(u64::from(first.id.0), regs[3] & 0xffff);
        }
    }
}
