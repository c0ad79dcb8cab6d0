//! Registers to calls and answers and back, for vectors written by hand and for any 18 registers at all.

mod common;

use core::num::NonZeroU32;

use common::{golden, refuses_reserved_bits};
use ffa_abi::{
    Answer, Call, CallError, ConsoleLog, DataPermission, DirectRequest, FUNCTIONS, FeatureId, FeatureQuery,
    Function, FunctionId, Handle, MemFragRx, MemFragTx, MemPermAnswer, MemPermGet, MemPermSet,
    MemPermissions, MemReclaim, MemRetrieveReq, MemRetrieveResp, MemSend, Message, PartitionId,
    PartitionInfoGet, Regs, RunTarget, RxAcquire, RxRelease, RxTxMap, RxTxUnmap, Status, Success,
    Transaction, UnknownFunction, Uuid, Version, Width, retrieve_properties,
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
    golden(&[
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
        (Call::SpmIdGet, Regs::new([0x8400_0085])),
        (Call::RxAcquire(RxAcquire { endpoint: PartitionId(7) }), Regs::new([0x8400_0084, 7])),
        (
            Call::Features(FeatureQuery::Function {
                id: FunctionId::smc64(Function::MemRetrieveReq),
                properties: retrieve_properties::NS_BIT,
            }),
            Regs::new([0x8400_0064, 0xc400_0074, 2]),
        ),
        (Call::Features(FeatureQuery::Unknown { w1: 2, w2: 1 }), Regs::new([0x8400_0064, 2, 1])),
        (Call::Other(FunctionId::smc32(Function::MsgWait)), Regs::new([0x8400_006b])),
    ]);
}

#[test]
fn retrieve_request_and_response() {
    let mut request =
        MemRetrieveReq { width: Width::Smc64, total_len: 112, fragment_len: 96, address: 1 << 40, pages: 2 };
    let mut regs = Regs::new([0xc400_0074, 112, 96, 1 << 40, 2]);
    assert_eq!(request.to_regs(), regs);
    let decode = |regs: &Regs| MemRetrieveReq::from_regs(FunctionId::from_w0(regs.w::<0>()).unwrap(), regs);
    assert_eq!(decode(&regs), request);
    // In the 32-bit form the upper half of x3 is not looked at.
    regs.0[0] = 0x8400_0074;
    (request.width, request.address) = (Width::Smc32, 0);
    assert_eq!(decode(&regs), request);
    assert_eq!(request.to_regs(), Regs::new([0x8400_0074, 112, 96, 0, 2]));
    let response = MemRetrieveResp { total_len: 4112, fragment_len: 4096 };
    let mut regs = Regs::new([0x8400_0075, 4112, 4096]);
    assert_eq!(response.to_regs(), regs);
    assert_eq!(MemRetrieveResp::from_answer(&regs), Some(response));
    regs.0[0] = 0x8400_0061;
    assert_eq!(MemRetrieveResp::from_answer(&regs), None);
}

#[test]
fn golden_console_calls() {
    let text: Vec<u8> = (1..=128).collect();
    let call = |width, len| Call::ConsoleLog(ConsoleLog::new(width, &text[..len]).unwrap());
    let mut longest = Regs::new([0xc400_008a, 128]);
    for (i, x) in longest.0[2..].iter_mut().enumerate() {
        *x = 0x0807_0605_0403_0201 + 0x0808_0808_0808_0808 * i as u64;
    }
    golden(&[
        (call(Width::Smc32, 1), Regs::new([0x8400_008a, 1, 1])),
        (call(Width::Smc32, 6), Regs::new([0x8400_008a, 6, 0x0403_0201, 0x0605])),
        (
            call(Width::Smc32, 24),
            Regs::new([
                0x8400_008a,
                24,
                0x0403_0201,
                0x0807_0605,
                0x0c0b_0a09,
                0x100f_0e0d,
                0x1413_1211,
                0x1817_1615,
            ]),
        ),
        (call(Width::Smc64, 9), Regs::new([0xc400_008a, 9, 0x0807_0605_0403_0201, 9])),
        (call(Width::Smc64, 128), longest),
    ]);
    // What lies behind the count is not part of the text.
    let dirty =
        Regs([0xc400_008a, 9, 0x0807_0605_0403_0201, !0 << 8 | 9, !0, 5, 6, 7, 8, 9, 1, 1, 1, 1, 1, 1, 1, 1]);
    let Ok(Call::ConsoleLog(log)) = Call::from_regs(&dirty) else { panic!() };
    assert_eq!((log.text(), log.width()), (&text[..9], Width::Smc64));
    for (w0, value) in [
        (0x8400_008a, 0),
        (0x8400_008a, 25),
        (0x8400_008a, 128),
        (0x8400_008a, u32::MAX),
        (0xc400_008a, 0),
        (0xc400_008a, 129),
        (0xc400_008a, u32::MAX),
    ] {
        let function = FunctionId::from_w0(w0).unwrap();
        let error = CallError::Length { function, register: 1, value };
        assert_eq!(Call::from_regs(&Regs::new([u64::from(w0), u64::from(value)])), Err(error));
        assert_eq!(Status::from(error), Status::InvalidParameters);
    }
    for (width, most) in [(Width::Smc32, 24), (Width::Smc64, 128)] {
        assert_eq!(ConsoleLog::most(width, Version::V1_2), most);
        assert_eq!(ConsoleLog::new(width, &[b'x'; 129][..most + 1]), None);
        assert_eq!(ConsoleLog::new(width, &[]), None);
    }
    assert_eq!(ConsoleLog::most(Width::Smc64, Version::V1_1), 48);
    assert_eq!(ConsoleLog::most(Width::Smc32, Version::V1_1), 24);
}

#[test]
fn golden_permission_calls() {
    let code = MemPermissions { data: DataPermission::ReadOnly, executable: true };
    let get = MemPermGet { width: Width::Smc32, base: 0x4000_1000, pages: 0 };
    let set = MemPermSet { width: Width::Smc32, base: 0x4000_1000, pages: 3, permissions: code };
    golden(&[
        (Call::MemPermGet(get), Regs::new([0x8400_0088, 0x4000_1000])),
        (
            Call::MemPermGet(MemPermGet { width: Width::Smc64, base: 1 << 40, pages: 2 }),
            Regs::new([0xc400_0088, 1 << 40, 2]),
        ),
        (Call::MemPermSet(set), Regs::new([0x8400_0089, 0x4000_1000, 3, 3])),
        (
            Call::MemPermSet(MemPermSet { width: Width::Smc64, base: 1 << 40, ..set }),
            Regs::new([0xc400_0089, 1 << 40, 3, 3]),
        ),
    ]);
    let data = MemPermissions { data: DataPermission::ReadWrite, executable: false };
    let none = MemPermissions { data: DataPermission::None, executable: false };
    for (word, permissions) in
        [(4, Some(none)), (5, Some(data)), (3, Some(code)), (2, None), (6, None), (8, None)]
    {
        assert_eq!(MemPermissions::from_word(word), permissions);
        assert_eq!(permissions.map_or(word, MemPermissions::word), word);
    }
    let answer = MemPermAnswer { permissions: data, pages: NonZeroU32::new(3).unwrap() };
    assert_eq!(answer.to_regs(), Regs::new([0x8400_0061, 0, 5, 2]));
    assert_eq!(MemPermAnswer::from_answer(&answer.to_regs()), Ok(answer));
    for (w2, w3) in [(2, 0), (0x15, 0), (5, u32::MAX)] {
        let unexpected = Answer::Unexpected { w0: 0x8400_0061 };
        assert_eq!(MemPermAnswer::from_answer(&Regs::success(w2, w3)), Err(unexpected));
    }
    let error = Answer::Error(Status::NotSupported.into());
    assert_eq!(MemPermAnswer::from_answer(&error.to_regs()), Err(error));
}

#[test]
fn a_32_bit_call_ignores_upper_halves() {
    let dirty = Regs::new([0x8400_0073, 96 | 7 << 40, 96 | 1 << 63, 0xdead_0000_0000, 5 << 32]);
    let Ok(Call::MemSend(send)) = Call::from_regs(&dirty) else { panic!() };
    assert_eq!((send.total_len, send.fragment_len, send.address, send.pages), (96, 96, 0, 0));
}

#[test]
fn refuses_reserved_bits_by_register_and_value() {
    let table = [
        // A W register in a 64-bit call: its upper half is ignored.
        (Regs::new([0xc400_0066, 0, 0, 1]), 3, 0xffff_ffff_0000_003f),
        (Regs::new([0x8400_0066, 0, 0, 1]), 3, 0x3f),
        (Regs::new([0x8400_0067, 0x7_0000]), 1, 0xffff_0000),
        (Regs::new([0x8400_0065, 7]), 1, 0xffff),
        (Regs::new([0x8400_0084, 7]), 1, 0xffff),
        (Regs::new([0x8400_0068, 0, 0, 0, 0, 1]), 5, 1),
        (Regs::new([0x8400_006f, 0x1_8001]), 2, 0x8000_0000),
        (Regs::new([0x8400_006f, 0x8001, 0x8000_0004]), 2, 0x8000_00ff),
        (Regs::new([0x8400_0077, 1, 0, 3]), 3, 3),
        (Regs::new([0x8400_007a, 1, 0, 96, 0x3_0000]), 4, 0xffff_0000),
        (Regs::new([0x8400_007b, 1, 0, 96, 0x3_0000]), 4, 0xffff_0000),
        (Regs::new([0x8400_0089, 0, 1, 5]), 3, 7),
    ];
    for (good, register, allowed) in table {
        refuses_reserved_bits(&good, register, allowed);
    }
    let function = FunctionId::smc32(Function::MemPermSet);
    let value_of_data = Regs::new([0x8400_0089, 0, 1, 2]);
    let error = CallError::Reserved { function, register: 3, value: 2 };
    assert_eq!(Call::from_regs(&value_of_data), Err(error));
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
            let function = FunctionId::from_w0(regs.w::<0>()).map(FunctionId::function);
            prop_assert_eq!(Ok(call.function()), function);
        }
        let answer = Answer::from_regs(&regs);
        if !matches!(answer, Answer::Unexpected { .. }) {
            prop_assert_eq!(Answer::from_regs(&answer.to_regs()), answer);
        }
        if let Ok(permissions) = MemPermAnswer::from_answer(&regs) {
            prop_assert_eq!(MemPermAnswer::from_answer(&permissions.to_regs()), Ok(permissions));
        }
    }
}
