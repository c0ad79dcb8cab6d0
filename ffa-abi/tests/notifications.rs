//! Notification calls and their answers, from and to whole register files.

mod common;

use common::{golden, refuses_reserved_bits};
use ffa_abi::{
    Answer, Call, FrameworkNotifications, NotificationBind, NotificationBitmap, NotificationBitmapCreate,
    NotificationBitmapDestroy, NotificationGet, NotificationInfo, NotificationInfoError,
    NotificationInfoFull, NotificationInfoGet, NotificationScope, NotificationSet, NotificationSources,
    NotificationUnbind, PartitionId, PendingNotifications, PendingReceiver, Regs, Status, Success, Width,
};
use proptest::prelude::*;

const SP: PartitionId = PartitionId(0x8001);
const VM: PartitionId = PartitionId(3);
const BITMAP: NotificationBitmap = NotificationBitmap(0x8000_0001_4000_0002);

#[test]
fn golden_calls() {
    let set = NotificationSet {
        sender: VM,
        receiver: SP,
        vcpu: None,
        delay_schedule_receiver: false,
        bitmap: BITMAP,
    };
    let bind =
        NotificationBind { sender: SP, receiver: VM, scope: NotificationScope::Global, bitmap: BITMAP };
    let secure = NotificationSources::SPS.or(NotificationSources::SPM);
    golden(&[
        (
            Call::NotificationBitmapCreate(NotificationBitmapCreate { vm: VM, vcpus: 4 }),
            Regs::new([0x8400_007d, 3, 4]),
        ),
        (Call::NotificationBitmapDestroy(NotificationBitmapDestroy { vm: VM }), Regs::new([0x8400_007e, 3])),
        (Call::NotificationBind(bind), Regs::new([0x8400_007f, 0x8001_0003, 0, 0x4000_0002, 0x8000_0001])),
        (
            Call::NotificationBind(NotificationBind { scope: NotificationScope::PerVcpu, ..bind }),
            Regs::new([0x8400_007f, 0x8001_0003, 1, 0x4000_0002, 0x8000_0001]),
        ),
        (
            Call::NotificationUnbind(NotificationUnbind { sender: SP, receiver: VM, bitmap: BITMAP }),
            Regs::new([0x8400_0080, 0x8001_0003, 0, 0x4000_0002, 0x8000_0001]),
        ),
        (Call::NotificationSet(set), Regs::new([0x8400_0081, 0x3_8001, 0, 0x4000_0002, 0x8000_0001])),
        (
            Call::NotificationSet(NotificationSet { vcpu: Some(7), delay_schedule_receiver: true, ..set }),
            Regs::new([0x8400_0081, 0x3_8001, 0x7_0003, 0x4000_0002, 0x8000_0001]),
        ),
        (
            Call::NotificationGet(NotificationGet { receiver: VM, vcpu: 2, sources: secure }),
            Regs::new([0x8400_0082, 0x2_0003, 5]),
        ),
        (Call::NotificationInfoGet(NotificationInfoGet { width: Width::Smc32 }), Regs::new([0x8400_0083])),
        (Call::NotificationInfoGet(NotificationInfoGet { width: Width::Smc64 }), Regs::new([0xc400_0083])),
    ]);
}

#[test]
fn refuses_each_reserved_bit() {
    refuses_reserved_bits(&Regs::new([0x8400_007d, 3, 4]), 1, 0xffff);
    refuses_reserved_bits(&Regs::new([0x8400_007e, 3]), 1, 0xffff);
    refuses_reserved_bits(&Regs::new([0x8400_007f, 0x8001_0003, 1, 1]), 2, 1);
    refuses_reserved_bits(&Regs::new([0x8400_0080, 0x8001_0003, 0, 1]), 2, 0);
    // A vCPU is named for per-vCPU notifications only. Bit 0 makes it one.
    refuses_reserved_bits(&Regs::new([0x8400_0081, 0x3_8001, 2, 1]), 2, 3);
    refuses_reserved_bits(&Regs::new([0x8400_0081, 0x3_8001, 3, 1]), 2, 0xffff_0003);
    refuses_reserved_bits(&Regs::new([0x8400_0082, 3, 5]), 2, 0xf);
    for register in 1..=7 {
        refuses_reserved_bits(&Regs::new([0x8400_0083]), register, 0);
        refuses_reserved_bits(&Regs::new([0xc400_0083]), register, 0);
    }
}

#[test]
fn golden_answer_of_get() {
    let pending = PendingNotifications {
        from_sps: BITMAP,
        from_vms: NotificationBitmap(0x6_0000_0005),
        from_spm: FrameworkNotifications::RX_BUFFER_FULL,
        from_hypervisor: FrameworkNotifications(8),
    };
    let regs = Regs::new([0x8400_0061, 0, 0x4000_0002, 0x8000_0001, 5, 6, 1, 8]);
    assert_eq!(pending.to_regs(), regs);
    let mut dirty = regs;
    dirty.0[2..8].iter_mut().for_each(|x| *x |= 0xdead << 32);
    assert_eq!(PendingNotifications::from_answer(&dirty), Ok(pending));
    let error = Answer::Error(Status::Denied.into());
    assert_eq!(PendingNotifications::from_answer(&error.to_regs()), Err(error));
    assert_eq!(PendingNotifications::from_answer(&Regs::ZERO), Err(Answer::Unexpected { w0: 0 }));
}

#[test]
fn whoever_asked_for_some_sources_is_told_no_others() {
    let all = PendingNotifications {
        from_sps: NotificationBitmap(1),
        from_vms: NotificationBitmap(2),
        from_spm: FrameworkNotifications(4),
        from_hypervisor: FrameworkNotifications(8),
    };
    let none = PendingNotifications::default();
    let table = [
        (NotificationSources::NONE, none),
        (NotificationSources::SPS, PendingNotifications { from_sps: all.from_sps, ..none }),
        (NotificationSources::VMS, PendingNotifications { from_vms: all.from_vms, ..none }),
        (NotificationSources::SPM, PendingNotifications { from_spm: all.from_spm, ..none }),
        (
            NotificationSources::HYPERVISOR,
            PendingNotifications { from_hypervisor: all.from_hypervisor, ..none },
        ),
    ];
    for (sources, told) in table {
        assert_eq!(all.only(sources), told, "{sources:?}");
    }
}

fn global(endpoint: u16) -> PendingReceiver {
    PendingReceiver { endpoint: PartitionId(endpoint), vcpu: None }
}

fn vcpu(endpoint: u16, vcpu: u16) -> PendingReceiver {
    PendingReceiver { endpoint: PartitionId(endpoint), vcpu: Some(vcpu) }
}

fn info(width: Width, receivers: &[PendingReceiver]) -> NotificationInfo {
    let mut info = NotificationInfo::new(width);
    for receiver in receivers {
        info.push(*receiver).unwrap();
    }
    info
}

#[test]
fn golden_answers_of_info_get() {
    let receivers = [global(1), vcpu(2, 0), vcpu(2, 5), vcpu(2, 6), vcpu(2, 9), global(2), vcpu(2, 1)];
    // Lists: 1; 2 with 0, 5, 6; 2 with 9, for the one before is full; 2; 2 with 1.
    let sizes = 3 << 2 | 1 << 4 | 1 << 8;
    let wide =
        Regs::new([0xc400_0061, 0, 5 << 7 | sizes << 12, 0x5_0000_0002_0001, 0x2_0009_0002_0006, 0x1_0002]);
    let narrow =
        Regs::new([0x8400_0061, 0, 5 << 7 | sizes << 12, 0x2_0001, 0x5_0000, 0x2_0006, 0x2_0009, 0x1_0002]);
    for (width, regs) in [(Width::Smc64, wide), (Width::Smc32, narrow)] {
        let built = info(width, &receivers);
        assert_eq!(built.to_regs(), regs, "{width:?}");
        let read = NotificationInfo::from_answer(&regs).unwrap();
        assert_eq!(read, built);
        assert!(read.receivers().eq(receivers));
        assert_eq!(read.width(), width);
    }
    let mut more = info(Width::Smc64, &[global(1)]);
    more.more_pending = true;
    assert_eq!(more.to_regs(), Regs::new([0xc400_0061, 0, 1 << 7 | 1, 1]));
    assert_eq!(NotificationInfo::from_answer(&more.to_regs()), Ok(more));
}

#[test]
fn nobody_pending_is_no_data() {
    let empty = NotificationInfo::new(Width::Smc64);
    assert!(empty.is_empty());
    assert_eq!(empty.receivers().count(), 0);
    assert_eq!(empty.to_regs(), Regs::error(Status::NoData));
    assert_eq!(
        NotificationInfo::from_answer(&empty.to_regs()),
        Err(NotificationInfoError::NotSuccess(Answer::Error(Status::NoData.into())))
    );
}

#[test]
fn what_does_not_fit_changes_nothing() {
    for (width, room) in [(Width::Smc32, 10), (Width::Smc64, 20)] {
        let mut info = NotificationInfo::new(width);
        for endpoint in 0..room - 1 {
            info.push(global(endpoint)).unwrap();
        }
        let before = info;
        assert_eq!(info.push(vcpu(0x100, 1)), Err(NotificationInfoFull));
        assert_eq!(info, before);
        info.push(global(0x100)).unwrap();
        assert_eq!(info.push(global(0x101)), Err(NotificationInfoFull));
        assert_eq!(NotificationInfo::from_answer(&info.to_regs()), Ok(info));
        assert_eq!(info.receivers().count(), usize::from(room));

        let mut info = NotificationInfo::new(width);
        let pushed = (0..).find(|v| info.push(vcpu(7, *v)).is_err()).unwrap();
        // Lists of four IDs with three vCPUs in each, and what is left over.
        assert_eq!(pushed, if width == Width::Smc32 { 7 } else { 15 });
        assert!(info.receivers().eq((0..pushed).map(|v| vcpu(7, v))));
    }
}

#[test]
fn refuses_lists_that_the_registers_cannot_hold() {
    let table = [
        (0xc400_0061, 0, 0, 0, 20),
        (0xc400_0061, 21 << 7, 21, 21, 20),
        (0xc400_0061, 6 << 7 | 0xfff << 12, 6, 24, 20),
        (0xc400_0061, u64::MAX, 31, 109, 20),
        (0x8400_0061, 11 << 7, 11, 11, 10),
        (0x8400_0061, 3 << 7 | 0x3f << 12, 3, 12, 10),
        (0x8400_0061, u64::MAX, 31, 61, 10),
    ];
    for (w0, x2, lists, ids, room) in table {
        let read = NotificationInfo::from_answer(&Regs::new([w0, 0, x2]));
        assert_eq!(read, Err(NotificationInfoError::Lists { lists, ids, room }), "{w0:#x} {x2:#x}");
    }
}

/// FFA_SUCCESS in either width, with sizes that fit often enough.
fn answers() -> impl Strategy<Value = Regs> {
    let w0 = prop_oneof![Just(0x8400_0061_u64), Just(0xc400_0061), any::<u64>()];
    let lists = (0..32_u64, any::<u64>(), any::<u64>())
        .prop_map(|(lists, sizes, mask)| lists << 7 | (sizes & mask) << 12 | sizes & 1);
    let x2 = prop_oneof![lists, any::<u64>()];
    (w0, x2, proptest::array::uniform18(any::<u64>())).prop_map(|(w0, x2, rest)| {
        let mut regs = Regs(rest);
        (regs[0], regs[2]) = (w0, x2);
        regs
    })
}

proptest! {
    #[test]
    fn any_answer_is_read_and_survives(regs in answers()) {
        match NotificationInfo::from_answer(&regs) {
            Ok(read) => {
                prop_assert_eq!(NotificationInfo::from_answer(&read.to_regs()), Ok(read));
                prop_assert!(read.receivers().count() > 0);
            }
            Err(NotificationInfoError::NotSuccess(answer)) => {
                prop_assert_eq!(Answer::from_regs(&regs), answer);
            }
            Err(error) => {
                let success = matches!(Answer::from_regs(&regs), Answer::Success(Success { .. }));
                prop_assert!(success, "{:?}", error);
            }
        }
        match PendingNotifications::from_answer(&regs) {
            Ok(read) => prop_assert_eq!(PendingNotifications::from_answer(&read.to_regs()), Ok(read)),
            Err(answer) => prop_assert_eq!(Answer::from_regs(&regs), answer),
        }
    }

    #[test]
    fn what_was_pushed_is_read(
        wide in any::<bool>(),
        pushed in proptest::collection::vec((0..3_u16, proptest::option::of(0..4_u16)), 1..30),
    ) {
        let mut info = NotificationInfo::new(if wide { Width::Smc64 } else { Width::Smc32 });
        let receivers = pushed.into_iter().map(|(id, vcpu)| PendingReceiver { endpoint: PartitionId(id), vcpu });
        let taken: Vec<_> = receivers.take_while(|receiver| info.push(*receiver).is_ok()).collect();
        let read = NotificationInfo::from_answer(&info.to_regs()).unwrap();
        prop_assert_eq!(read, info);
        prop_assert_eq!(read.receivers().collect::<Vec<_>>(), taken);
    }
}
