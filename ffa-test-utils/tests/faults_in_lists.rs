//! Faults in answers that are lists: of partitions, and of who has notifications.

mod common;

use common::*;
use ffa_abi::{
    Answer, DirectRequest2, DirectResponse2, Function, NotificationBitmap, NotificationInfo,
    NotificationInfoError, PartitionId, PartitionInfoGetRegs, PartitionInfoWindow, PendingReceiver,
    Properties, Regs, Status, Uuid, Width, WindowError,
};
use ffa_test_utils::fault::*;
use ffa_test_utils::spmc::*;

/// A world behind a plan: 1.2, seven partitions, and VM 1 with a bitmap in which SP 1 may set notification 0.
struct Line {
    world: World,
    plan: FaultPlan,
    through: u32,
}

impl Line {
    fn new(call: Function, when: When, action: FaultAction) -> Self {
        Self::with(Fault { call: CallKind::function(call), when, action })
    }

    fn with(fault: Fault) -> Self {
        let both = SpConfig::SUBSCRIBED.or(Properties::RECEIVES_DIRECT_REQUESTS2);
        let sp = |n: u16| SpConfig::new(PartitionId(0x8000 | n), Script::GOOD).with_properties(both);
        let mut world = World::raw(Preset::Strict, (1..=7).map(sp));
        world.call([0x8400_0063, 0x1_0002]);
        assert_eq!(status_of(&world.call([0x8400_007d, 1, 1])), Ok(()));
        assert_eq!(status_of(&world.call([0x8400_007f, 0x8001_0001, 0, 1])), Ok(()));
        Self { world, plan: FaultPlan::new([fault]), through: 0 }
    }

    fn regs(&mut self, regs: &Regs) -> Regs {
        let Self { world, plan, through } = self;
        plan.apply(regs, |regs| {
            *through += 1;
            world.spmc.call(&mut world.memory, world.now, regs)
        })
    }

    fn call<const N: usize>(&mut self, head: [u64; N]) -> Regs {
        self.regs(&Regs::new(head))
    }

    fn window(&mut self, request: PartitionInfoGetRegs) -> Result<PartitionInfoWindow, WindowError> {
        let answer = self.regs(&request.to_regs());
        PartitionInfoWindow::from_answer(request, &answer)
    }

    fn pending(&mut self) -> Result<NotificationInfo, NotificationInfoError> {
        NotificationInfo::from_answer(&self.call([0xc400_0083]))
    }
}

const LIST: Function = Function::PartitionInfoGetRegs;
const INFO: Function = Function::NotificationInfoGet;
const ALL: PartitionInfoGetRegs = PartitionInfoGetRegs { uuid: Uuid::NIL, start: 0, tag: 0 };

#[test]
fn the_list_of_partitions_can_be_wrong_in_each_of_its_fields() {
    let second = PartitionInfoGetRegs { start: 5, ..ALL };
    let indices = |start, current, last| Some(WindowError::Indices { start, current, last });
    for (action, request, expected) in [
        (FaultAction::last_index(3), ALL, indices(0, 4, 3)),
        (FaultAction::current_index(4), second, indices(5, 4, 6)),
        (FaultAction::current_index(9), second, indices(5, 9, 6)),
        (FaultAction::list_tag(7), second, Some(WindowError::Changed { had: 0, has: 7 })),
    ] {
        let mut line = Line::new(LIST, When::Every, action);
        assert_eq!(line.window(request).err(), expected, "{action:?}");
        assert_eq!((line.plan.fired(0), line.through), (1, 1), "{action:?}");
    }
    for size in [0, 8, 23, 64, 0xffff] {
        let mut line = Line::new(LIST, When::Every, FaultAction::record_size(size));
        assert!(matches!(line.window(ALL), Err(WindowError::Records(_))), "{size}");
    }
}

#[test]
fn the_list_of_partitions_can_end_half_way() {
    let mut line = Line::new(LIST, When::Nth(2), FaultAction::Refuse(Status::Retry.into()));
    let next = line.window(ALL).unwrap().next_request().unwrap();
    let retry = WindowError::NotSuccess(Answer::Error(Status::Retry.into()));
    assert_eq!(line.window(next).err(), Some(retry));
    assert_eq!(line.window(next).unwrap().len(), 2);
}

#[test]
fn lists_of_pending_receivers_can_exceed_the_registers() {
    let mut line = Line::new(INFO, When::Every, FaultAction::list_count(31));
    assert!(matches!(line.pending(), Err(NotificationInfoError::NotSuccess(_))), "nothing to spoil");
    line.world.spmc.set_notification(SP1, VM1, NotificationBitmap(1), None).unwrap();
    assert_eq!(line.pending(), Err(NotificationInfoError::Lists { lists: 31, ids: 31, room: 20 }));
    assert_eq!(line.plan.fired(0), 1);
}

#[test]
fn more_can_be_pending_for_ever() {
    let mut line = Line::new(INFO, When::Every, FaultAction::Pending(VM2));
    for _ in 0..100 {
        let info = line.pending().unwrap();
        assert!(info.more_pending && info.width() == Width::Smc64);
        assert!(info.receivers().eq([PendingReceiver { endpoint: VM2, vcpu: None }]));
    }
    assert_eq!(line.through, 0);
    let narrow = NotificationInfo::from_answer(&line.call([0x8400_0083])).unwrap();
    assert_eq!(narrow.width(), Width::Smc32);
    let mut line = Line::new(Function::IdGet, When::Every, FaultAction::Pending(VM2));
    assert_eq!(line.call([0x8400_0069]), Regs::success(0, 0), "another call has no such answer");
    assert_eq!(line.plan.fired(0), 0);
}

#[test]
fn faults_single_out_vms_and_partitions() {
    let refuse = FaultAction::Refuse(Status::Aborted.into());
    let of = |call| CallKind::function(call);
    let cases: [(CallKind, [u64; 4], [u64; 4]); 11] = [
        (of(Function::NotificationBitmapCreate).of(VM2), [0x8400_007d, 2, 1, 0], [0x8400_007d, 3, 1, 0]),
        (of(Function::NotificationBitmapDestroy).of(VM2), [0x8400_007e, 2, 0, 0], [0x8400_007e, 1, 0, 0]),
        (
            of(Function::NotificationBind).to(SP2),
            [0x8400_007f, 0x8002_0001, 0, 1],
            [0x8400_007f, 0x8001_0001, 0, 1],
        ),
        (
            of(Function::NotificationUnbind).of(VM2),
            [0x8400_0080, 0x8001_0002, 0, 1],
            [0x8400_0080, 0x8001_0001, 0, 1],
        ),
        (
            of(Function::NotificationSet).to(SP2),
            [0x8400_0081, 0x0001_8002, 0, 1],
            [0x8400_0081, 0x0001_8001, 0, 1],
        ),
        (of(Function::NotificationGet).of(VM2), [0x8400_0082, 0x1_0002, 1, 0], [0x8400_0082, 1, 1, 0]),
        (of(Function::MsgSend2).of(VM2), [0x8400_0086, 2 << 16, 0, 0], [0x8400_0086, 1 << 16, 0, 0]),
        (of(Function::RxAcquire).of(VM2), [0x8400_0084, 2, 0, 0], [0x8400_0084, 1, 0, 0]),
        (of(Function::RxRelease).of(VM2), [0x8400_0065, 2, 0, 0], [0x8400_0065, 0, 0, 0]),
        (of(Function::RxTxUnmap).of(VM2), [0x8400_0067, 2 << 16, 0, 0], [0x8400_0067, 0, 0, 0]),
        (
            of(Function::MsgSendDirectReq2).to(SP2).of(VM2),
            [0xc400_008d, 0x0002_8002, 0, 0],
            [0xc400_008d, 0x0001_8002, 0, 0],
        ),
    ];
    for (call, hit, miss) in cases {
        let mut line = Line::with(Fault { call, when: When::Every, action: refuse });
        line.call(miss);
        assert_eq!((line.through, line.plan.fired(0)), (1, 0), "{miss:x?}");
        assert_eq!(line.call(hit), Regs::error(Status::Aborted), "{hit:x?}");
        assert_eq!((line.through, line.plan.fired(0)), (1, 1), "{hit:x?}");
    }
}

#[test]
fn requests_to_services_are_paused_and_spoiled_as_others() {
    let request = DirectRequest2 { sender: VM1, receiver: SP1, uuid: Uuid::NIL, payload: [1; 14] };
    let mut line = Line::new(Function::MsgSendDirectReq2, When::Nth(1), FaultAction::Interrupt(1));
    let Answer::Interrupt(target) = Answer::from_regs(&line.regs(&request.to_regs())) else { panic!() };
    assert_eq!(target.endpoint, SP1);
    assert_eq!(line.regs(&request.to_regs()), Regs::error(Status::Busy));
    let answer = line.call([0x8400_006d, u64::from(target.word())]);
    assert_eq!(DirectResponse2::from_answer(&answer).map(|response| response.sender), Ok(SP1));
    let mangle = FaultAction::Mangle(Mangling::OtherSender);
    let mut line = Line::new(Function::MsgSendDirectReq2, When::Every, mangle);
    let answer = DirectResponse2::from_answer(&line.regs(&request.to_regs())).unwrap();
    assert_ne!(answer.sender, SP1);
}
