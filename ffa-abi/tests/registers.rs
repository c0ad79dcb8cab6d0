//! Registers to calls and answers and back, for vectors written by hand and for any 18 registers at all.

use ffa_abi::{
    Answer, Call, CallError, DirectRequest, FUNCTIONS, FeatureId, FeatureQuery, FunctionId, Handle,
    MemFragRx, MemFragTx, MemReclaim, MemSend, Message, PartitionId, PartitionInfoGet, Regs, RunTarget,
    RxRelease, RxTxMap, RxTxUnmap, Status, Success, Transaction, UnknownFunction, Uuid, Width,
};
use proptest::prelude::*;

#[test]
fn golden_calls() {
    let request = DirectRequest {
        width: Width::Smc32,
        sender: PartitionId(1),
        receiver: PartitionId(0x8001),
        message: Message::Partition([1, 2, 3, 4, 5]),
    };
    let uuid = Uuid([
        0x48, 0x61, 0x78, 0xe0, 0xe7, 0xf8, 0x11, 0xe3, 0xbc, 0x5e, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b,
    ]);
    let handle = Handle::new(0x1_0000_0002).unwrap();
    let send = MemSend {
        width: Width::Smc64,
        transaction: Transaction::Share,
        total_len: 112,
        fragment_len: 96,
        address: 0,
        pages: 0,
    };
    let table: [(Call, Regs); 13] = [
        (Call::Version(0x1_0002), Regs::new([0x8400_0063, 0x1_0002])),
        (
            Call::Features(FeatureQuery::Feature(FeatureId::ScheduleReceiverInterrupt)),
            Regs::new([0x8400_0064, 2]),
        ),
        (Call::IdGet, Regs::new([0x8400_0069])),
        (
            Call::RxTxMap(RxTxMap { width: Width::Smc64, tx: 0x1_4000_0000, rx: 0x4000_1000, pages: 1 }),
            Regs::new([0xc400_0066, 0x1_4000_0000, 0x4000_1000, 1]),
        ),
        (Call::RxTxUnmap(RxTxUnmap { endpoint: PartitionId(7) }), Regs::new([0x8400_0067, 0x7_0000])),
        (Call::RxRelease(RxRelease { endpoint: PartitionId(7) }), Regs::new([0x8400_0065, 7])),
        (
            Call::PartitionInfoGet(PartitionInfoGet { uuid, count_only: true }),
            Regs::new([0x8400_0068, 0xe078_6148, 0xe311_f8e7, 0x0200_5ebc, 0x1bc5_d5a5, 1]),
        ),
        (Call::DirectRequest(request), Regs::new([0x8400_006f, 0x1_8001, 0, 1, 2, 3, 4, 5])),
        (
            Call::Run(RunTarget { endpoint: PartitionId(0x8001), vcpu: 1 }),
            Regs::new([0x8400_006d, 0x8001_0001]),
        ),
        (Call::MemSend(send), Regs::new([0xc400_0073, 112, 96])),
        (Call::MemReclaim(MemReclaim { handle, flags: Default::default() }), Regs::new([0x8400_0077, 2, 1])),
        (
            Call::MemFragRx(MemFragRx { handle, offset: 96, endpoint: PartitionId(3) }),
            Regs::new([0x8400_007a, 2, 1, 96, 0x3_0000]),
        ),
        (
            Call::MemFragTx(MemFragTx { handle, fragment_len: 16, endpoint: PartitionId(3) }),
            Regs::new([0x8400_007b, 2, 1, 16, 0x3_0000]),
        ),
    ];
    for (call, regs) in table {
        assert_eq!(call.to_regs(), regs);
        assert_eq!(Call::from_regs(&regs), Ok(call));
        assert_eq!(FunctionId::from_w0(regs.w::<0>()).unwrap().function(), call.function());
    }
}

#[test]
fn a_32_bit_call_ignores_upper_halves() {
    let dirty = Regs::new([0x8400_0073, 96 | 7 << 40, 96 | 1 << 63, 0xdead_0000_0000, 5 << 32]);
    let Ok(Call::MemSend(send)) = Call::from_regs(&dirty) else { panic!() };
    assert_eq!((send.total_len, send.fragment_len, send.address, send.pages), (96, 96, 0, 0));
}

#[test]
fn refuses_reserved_bits_by_register_and_value() {
    let table: [(Regs, u8, u64); 6] = [
        (Regs::new([0xc400_0066, 0, 0, 0x41]), 3, 0x41),
        (Regs::new([0x8400_0067, 1]), 1, 1),
        (Regs::new([0x8400_0065, 0x1_0000]), 1, 0x1_0000),
        (Regs::new([0x8400_0068, 0, 0, 0, 0, 2]), 5, 2),
        (Regs::new([0x8400_006f, 0x1_8001, 1]), 2, 1),
        (Regs::new([0x8400_0077, 1, 0, 4]), 3, 4),
    ];
    for (regs, register, value) in table {
        let function = FunctionId::from_w0(regs.w::<0>()).unwrap();
        assert_eq!(Call::from_regs(&regs), Err(CallError::Reserved { function, register, value }));
    }
    let all_ones = Regs::new([0x8400_0077, 0xffff_ffff, 0xffff_ffff]);
    let function = FunctionId::from_w0(0x8400_0077).unwrap();
    assert_eq!(Call::from_regs(&all_ones), Err(CallError::Handle { function }));
    let unknown = Regs::new([0x8400_0091]);
    assert_eq!(Call::from_regs(&unknown), Err(CallError::Unknown(UnknownFunction { w0: 0x8400_0091 })));
}

#[test]
fn golden_answers() {
    let target = RunTarget { endpoint: PartitionId(0x8002), vcpu: 1 };
    let table: [(Answer, Regs); 6] = [
        (Answer::Success(Success { width: Width::Smc32, x2: 7, x3: 9 }), Regs::new([0x8400_0061, 0, 7, 9])),
        (
            Answer::Success(Success { width: Width::Smc64, x2: 7 << 40, x3: 0 }),
            Regs::new([0xc400_0061, 0, 7 << 40]),
        ),
        (Answer::Error(Status::Denied.into()), Regs::new([0x8400_0060, 0, 0xffff_fffa])),
        (Answer::Interrupt(target), Regs::new([0x8400_0062, 0x8002_0001])),
        (Answer::Yield { target, timeout: 3 << 32 | 5 }, Regs::new([0x8400_006c, 0x8002_0001, 5, 3])),
        (Answer::MsgWait, Regs::new([0x8400_006b])),
    ];
    for (answer, regs) in table {
        assert_eq!(answer.to_regs(), regs);
        assert_eq!(Answer::from_regs(&regs), answer);
    }
    let malformed = Regs::new([0x8400_0070, 0x8001_0001, 5]);
    assert_eq!(Answer::from_regs(&malformed), Answer::Unexpected { w0: 0x8400_0070 });
}

/// Registers whose w0 is a function ID more often than not.
fn regs() -> impl Strategy<Value = Regs> {
    let known: Vec<u64> = FUNCTIONS
        .iter()
        .flat_map(|row| [Width::Smc32, Width::Smc64].map(|width| FunctionId::new(row.function, width)))
        .flatten()
        .map(|id| u64::from(id.w0()))
        .collect();
    let w0 = prop_oneof![4 => proptest::sample::select(known), 1 => any::<u64>()];
    let word = prop_oneof![Just(0), 0..=4_u64, any::<u64>(), Just(u64::MAX)];
    (w0, proptest::array::uniform17(word)).prop_map(|(w0, rest)| {
        let mut regs = Regs::ZERO;
        regs[0] = w0;
        regs.0[1..].copy_from_slice(&rest);
        regs
    })
}

proptest! {
    #[test]
    fn any_registers_decode_and_what_decodes_survives(regs in regs()) {
        if let Ok(call) = Call::from_regs(&regs) {
            prop_assert_eq!(Call::from_regs(&call.to_regs()), Ok(call));
        }
        let answer = Answer::from_regs(&regs);
        if !matches!(answer, Answer::Unexpected { .. }) {
            prop_assert_eq!(Answer::from_regs(&answer.to_regs()), answer);
        }
    }
}
