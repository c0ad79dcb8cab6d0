use alloc::vec::Vec;

use ffa_abi::Status::{Aborted, Busy, Denied, InvalidParameters, NoMemory, NotSupported, Retry};
use ffa_abi::{Function, FunctionId, PartitionId, Version};

use super::features;
use crate::spmc::check::{
    AcquireCheck, BindCheck, BitmapCheck, Checks, DirectCheck, FetchCheck, GetCheck, IndirectCheck,
    InfoCheck, InfoGetCheck, InfoRegsCheck, MapCheck, PartCheck, ReclaimCheck, ReleaseCheck, RetrieveCheck,
    RunCheck, SendCheck, SetCheck, VmMapCheck, WholeCheck,
};
use crate::spmc::config::{
    Config, FeatureAnswer, FeatureRow, HandlePolicy, Limits, NextPartNames, NotificationRules, Quirks,
    RetrieveRules, Tells, VersionPolicy, VmMemory, VmMessages, VmSender,
};

pub fn config() -> Config {
    Config {
        name: "hafnium",
        version: Version::V1_3,
        version_policy: VersionPolicy::LockThenRefuse,
        spmc_id: PartitionId(0x8000),
        limits: Limits {
            shares: 100,
            receivers: 2,
            parts: 20,
            vms: 16,
            store_bytes: u64::MAX,
            buffer_pages: 1,
        },
        handles: HandlePolicy::SlotIndex,
        features: FEATURES,
        send: SEND,
        whole: WHOLE,
        part: PART,
        reclaim: RECLAIM,
        retrieve: Some(&RETRIEVE),
        map: MAP,
        map_for_vm: Some(MAP_FOR_VM),
        acquire: Some(ACQUIRE),
        release: RELEASE,
        info: INFO,
        info_regs: Some(INFO_REGS),
        direct: DIRECT,
        direct2: DIRECT2,
        indirect: Some(INDIRECT),
        run: RUN,
        notifications: Some(&NOTIFICATIONS),
        record_size: 48,
        next_part_names: NextPartNames::Sender,
        vm_messages: VmMessages::PerSpSubscription { from: VmSender::Anyone },
        vm_memory: VmMemory::Sticky,
        quirks: Quirks {
            vms_speak_newest: true,
            page_sum_wraps: true,
            empty_range_ends_overlap_scan: true,
            last_range_decides: true,
            bad_part_is_forgiven: true,
            record_per_uuid: true,
            vm_messages_need_direct_requests: true,
            zeroes_memory: true,
            ..Quirks::default()
        },
        non_secure: Vec::new(),
        memory_end: 1 << 48,
        writes_per_call: 64,
        nonce: 0x1d5a_0001,
    }
}

const FEATURES: &[FeatureRow] = features!(
    [
        Error Success Interrupt Version Features RxRelease RxTxUnmap PartitionInfoGet IdGet SpmIdGet MsgWait Run
        MsgSendDirectReq MsgSendDirectResp MemDonate MemLend MemShare MemRelinquish MemReclaim MemFragRx MemFragTx
        NotificationBitmapCreate NotificationBitmapDestroy NotificationBind NotificationUnbind NotificationSet
        NotificationGet RxAcquire MsgSend2 ConsoleLog
    ],
    [
        MsgSendDirectReq MsgSendDirectResp MemDonate MemLend MemShare NotificationInfoGet PartitionInfoGetRegs
        MsgSendDirectReq2 MsgSendDirectResp2 NsResInfoGet ConsoleLog
    ],
    FeatureRow::new(FunctionId::smc64(Function::RxTxMap), FeatureAnswer::BufferPages),
    FeatureRow::new(FunctionId::smc32(Function::MemRetrieveReq), FeatureAnswer::WithNsBit(0b110)),
    FeatureRow::new(FunctionId::smc64(Function::MemRetrieveReq), FeatureAnswer::WithNsBit(0b110)),
    FeatureRow::SRI,
);

const SEND: Checks<SendCheck> = &[
    (SendCheck::OtherBuffer, InvalidParameters),
    (SendCheck::PartPastTotal, InvalidParameters),
    (SendCheck::NoBuffer, InvalidParameters),
    (SendCheck::PartPastBuffer, InvalidParameters),
    (SendCheck::CopyFault, Aborted),
    (SendCheck::HeaderReserved, InvalidParameters),
    (SendCheck::AccessLayout, InvalidParameters),
    (SendCheck::AccessCount, InvalidParameters),
    (SendCheck::AccessPastPart, InvalidParameters),
    (SendCheck::CompositePastPart, InvalidParameters),
    (SendCheck::AccessReserved, InvalidParameters),
    (SendCheck::CompositesDiffer, InvalidParameters),
    (SendCheck::FlagsReserved, InvalidParameters),
    (SendCheck::DonateReceivers, InvalidParameters),
    (SendCheck::UnknownReceiver, InvalidParameters),
    (SendCheck::ReceiverWorld, Denied),
    (SendCheck::LengthUnaligned, InvalidParameters),
    (SendCheck::SecureSender, Denied),
    (SendCheck::TotalTooShort, InvalidParameters),
    (SendCheck::RangeCount, InvalidParameters),
    (SendCheck::FlagsBeyondZero, InvalidParameters),
    (SendCheck::Receivers, InvalidParameters),
    (SendCheck::InstructionAccess, InvalidParameters),
    (SendCheck::DataAccess, InvalidParameters),
    (SendCheck::NsBit, InvalidParameters),
    (SendCheck::TypeGiven, InvalidParameters),
    (SendCheck::NotNormalMemory, Denied),
    (SendCheck::NoShareState, NoMemory),
];

const WHOLE: Checks<WholeCheck> = &[
    (WholeCheck::Overlap, InvalidParameters),
    (WholeCheck::PageSum, InvalidParameters),
    (WholeCheck::Unaligned, InvalidParameters),
    (WholeCheck::PastMemory, InvalidParameters),
    (WholeCheck::NotNonSecure, Denied),
    (WholeCheck::BufferPage, Denied),
    (WholeCheck::AlreadySent, Denied),
];

const PART: Checks<PartCheck> = &[
    (PartCheck::Length, InvalidParameters),
    (PartCheck::UnknownHandle, InvalidParameters),
    (PartCheck::CopyFault, Aborted),
    (PartCheck::TooMany, NoMemory),
];

const RECLAIM: Checks<ReclaimCheck> = &[
    (ReclaimCheck::UnknownHandle, InvalidParameters),
    (ReclaimCheck::Incomplete, InvalidParameters),
    (ReclaimCheck::InUse, Denied),
];

const RETRIEVE: RetrieveRules = RetrieveRules {
    request: &[
        (RetrieveCheck::OtherBuffer, InvalidParameters),
        (RetrieveCheck::InParts, InvalidParameters),
        (RetrieveCheck::Length, InvalidParameters),
        (RetrieveCheck::CopyFault, Aborted),
        (RetrieveCheck::BesidesHandle, InvalidParameters),
        (RetrieveCheck::RxFull, Busy),
        (RetrieveCheck::UnknownHandle, InvalidParameters),
        (RetrieveCheck::InProgress, Denied),
        (RetrieveCheck::SeveralVms, NotSupported),
    ],
    fetch: &[
        (FetchCheck::UnknownHandle, InvalidParameters),
        (FetchCheck::WrongSender, InvalidParameters),
        (FetchCheck::NotNext, InvalidParameters),
        (FetchCheck::RxFull, Busy),
    ],
    tells: Tells::AsSent,
};

const MAP: Checks<MapCheck> = &[
    (MapCheck::Narrow, NotSupported),
    (MapCheck::NoPages, InvalidParameters),
    (MapCheck::TooManyPages, InvalidParameters),
    (MapCheck::Misplaced, InvalidParameters),
    (MapCheck::Mapped, Denied),
    (MapCheck::NotOwned, Denied),
];

// Offsets may lead anywhere, and what follows the first range is ignored.
const MAP_FOR_VM: Checks<VmMapCheck> = &[
    (VmMapCheck::Narrow, NotSupported),
    (VmMapCheck::NoBuffer, InvalidParameters),
    (VmMapCheck::Unaligned, InvalidParameters),
    (VmMapCheck::NotVm, InvalidParameters),
    (VmMapCheck::NoSlot, Denied),
];

const ACQUIRE: Checks<AcquireCheck> = &[
    (AcquireCheck::Secure, NotSupported),
    (AcquireCheck::NoBuffer, InvalidParameters),
    (AcquireCheck::NotFree, Denied),
];

const RELEASE: Checks<ReleaseCheck> = &[
    (ReleaseCheck::NoBuffer, InvalidParameters),
    (ReleaseCheck::NotOwned, Denied),
    (ReleaseCheck::MessagePending, Denied),
];

const INFO: Checks<InfoCheck> = &[
    (InfoCheck::Flags, InvalidParameters),
    (InfoCheck::UnknownUuid, InvalidParameters),
    (InfoCheck::BufferBusy, Busy),
    (InfoCheck::TooLarge, NoMemory),
];

// The real list never changes and its tag is 0.
const INFO_REGS: Checks<InfoRegsCheck> = &[
    (InfoRegsCheck::UnknownUuid, InvalidParameters),
    (InfoRegsCheck::Tag, Retry),
    (InfoRegsCheck::Start, InvalidParameters),
];

const NOTIFICATIONS: NotificationRules = NotificationRules {
    sri: 8,
    create: CREATE,
    destroy: DESTROY,
    bind: BIND,
    unbind: UNBIND,
    set: Some(SET),
    get: GET,
    info: INFO_GET,
};

const CREATE: Checks<BitmapCheck> = &[
    (BitmapCheck::Secure, InvalidParameters),
    (BitmapCheck::NoSlot, NoMemory),
    (BitmapCheck::Created, Denied),
];

// Bindings alone do not keep a bitmap.
const DESTROY: Checks<BitmapCheck> = &[(BitmapCheck::NotCreated, Denied), (BitmapCheck::Pending, Denied)];

// There are no notifications per vCPU.
const BIND: Checks<BindCheck> = &[
    (BindCheck::Flags, InvalidParameters),
    (BindCheck::Empty, InvalidParameters),
    (BindCheck::Receiver, InvalidParameters),
    (BindCheck::Sender, InvalidParameters),
    (BindCheck::UnknownReceiver, InvalidParameters),
    (BindCheck::NoBitmap, NotSupported),
    (BindCheck::OtherSender, Denied),
    (BindCheck::Pending, Denied),
];

const UNBIND: Checks<BindCheck> = &[
    (BindCheck::Empty, InvalidParameters),
    (BindCheck::Receiver, InvalidParameters),
    (BindCheck::Sender, InvalidParameters),
    (BindCheck::UnknownReceiver, InvalidParameters),
    (BindCheck::NoBitmap, NotSupported),
    (BindCheck::NotBound, Denied),
    (BindCheck::Pending, Denied),
];

const SET: Checks<SetCheck> = &[
    (SetCheck::PerVcpu, InvalidParameters),
    (SetCheck::Vcpu, InvalidParameters),
    (SetCheck::Delay, InvalidParameters),
    (SetCheck::FlagsReserved, InvalidParameters),
    (SetCheck::Sender, InvalidParameters),
    (SetCheck::Receiver, InvalidParameters),
    (SetCheck::NotEnabled, Denied),
    (SetCheck::NotBound, Denied),
];

const GET: Checks<GetCheck> = &[
    (GetCheck::FlagsReserved, InvalidParameters),
    (GetCheck::HypervisorsOwn, InvalidParameters),
    (GetCheck::UnknownReceiver, InvalidParameters),
    (GetCheck::VcpuRange, InvalidParameters),
];

const INFO_GET: Checks<InfoGetCheck> = &[(InfoGetCheck::Narrow, NotSupported)];

const DIRECT: Checks<DirectCheck> = &[
    (DirectCheck::Flags, InvalidParameters),
    (DirectCheck::Endpoints, InvalidParameters),
    (DirectCheck::UnknownReceiver, InvalidParameters),
    (DirectCheck::NoDirectRequests, Denied),
    (DirectCheck::Crashed, Busy),
    (DirectCheck::ContextBusy, Busy),
];

const DIRECT2: Checks<DirectCheck> = &[
    (DirectCheck::OldCaller, NotSupported),
    (DirectCheck::Endpoints, InvalidParameters),
    (DirectCheck::UnknownReceiver, InvalidParameters),
    (DirectCheck::UnknownService, InvalidParameters),
    (DirectCheck::NoDirectRequests2, Denied),
    (DirectCheck::Crashed, Busy),
    (DirectCheck::ContextBusy, Busy),
];

const INDIRECT: Checks<IndirectCheck> = &[
    (IndirectCheck::Flags, InvalidParameters),
    (IndirectCheck::NoTx, Denied),
    (IndirectCheck::CopyFault, Aborted),
    (IndirectCheck::Sender, InvalidParameters),
    (IndirectCheck::UnknownReceiver, InvalidParameters),
    (IndirectCheck::NoIndirectMessages, Denied),
    (IndirectCheck::Busy, Busy),
    (IndirectCheck::Payload, InvalidParameters),
    (IndirectCheck::OldSender, NotSupported),
];

const RUN: Checks<RunCheck> = &[
    (RunCheck::HighRegisters, InvalidParameters),
    (RunCheck::NormalWorld, Denied),
    (RunCheck::UnknownTarget, InvalidParameters),
    (RunCheck::WrongContext, InvalidParameters),
    (RunCheck::Crashed, Aborted),
];
