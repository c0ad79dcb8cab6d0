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
        name: "strict",
        version: Version::V1_2,
        version_policy: VersionPolicy::LockThenRefuse,
        spmc_id: PartitionId(0x8000),
        limits: Limits {
            shares: 1 << 20,
            receivers: 32,
            parts: 1 << 10,
            vms: 64,
            store_bytes: 1 << 30,
            buffer_pages: 1,
        },
        handles: HandlePolicy::Monotonic(1),
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
        record_size: 24,
        next_part_names: NextPartNames::Sender,
        vm_messages: VmMessages::PerSpSubscription { from: VmSender::Hypervisor },
        vm_memory: VmMemory::Strict,
        quirks: Quirks { zeroes_memory: true, vm_messages_need_direct_requests: true, ..Quirks::default() },
        non_secure: Vec::new(),
        memory_end: 1 << 48,
        writes_per_call: 64,
        nonce: 0x1d5a_0004,
    }
}

const FEATURES: &[FeatureRow] = features!(
    [
        Error Success Interrupt Version Features RxRelease RxTxUnmap PartitionInfoGet IdGet SpmIdGet MsgWait Yield
        Run MsgSendDirectReq MsgSendDirectResp MemDonate MemLend MemShare MemReclaim MemFragRx MemFragTx
        RxAcquire NotificationBitmapCreate NotificationBitmapDestroy NotificationBind NotificationUnbind
        NotificationSet NotificationGet NotificationInfoGet MsgSend2
    ],
    [Success MsgSendDirectReq MsgSendDirectResp MemDonate MemLend MemShare NotificationInfoGet],
    FeatureRow::new(FunctionId::smc32(Function::RxTxMap), FeatureAnswer::BufferPages),
    FeatureRow::new(FunctionId::smc64(Function::RxTxMap), FeatureAnswer::BufferPages),
    FeatureRow::new(FunctionId::smc32(Function::MemRetrieveReq), FeatureAnswer::WithNsBit(0b110)),
    FeatureRow::new(FunctionId::smc64(Function::MemRetrieveReq), FeatureAnswer::WithNsBit(0b110)),
    FeatureRow::new(FunctionId::smc64(Function::MsgSendDirectReq2), FeatureAnswer::Since(Version::V1_2, 0)),
    FeatureRow::new(FunctionId::smc64(Function::MsgSendDirectResp2), FeatureAnswer::Since(Version::V1_2, 0)),
    FeatureRow::new(FunctionId::smc64(Function::PartitionInfoGetRegs), FeatureAnswer::Since(Version::V1_2, 0)),
    FeatureRow::SRI,
);

const SEND: Checks<SendCheck> = &[
    (SendCheck::OtherBuffer, InvalidParameters),
    (SendCheck::UnusedRegisters, InvalidParameters),
    (SendCheck::NoBuffer, InvalidParameters),
    (SendCheck::PartPastTotal, InvalidParameters),
    (SendCheck::PartPastBuffer, InvalidParameters),
    (SendCheck::PartBelowHeader, InvalidParameters),
    (SendCheck::LengthUnaligned, InvalidParameters),
    (SendCheck::CopyFault, Aborted),
    (SendCheck::HeaderReserved, InvalidParameters),
    (SendCheck::HandleGiven, InvalidParameters),
    (SendCheck::AccessLayout, InvalidParameters),
    (SendCheck::AccessLayoutLoose, InvalidParameters),
    (SendCheck::AccessCount, InvalidParameters),
    (SendCheck::AccessPastPart, InvalidParameters),
    (SendCheck::AccessReserved, InvalidParameters),
    (SendCheck::AccessFlags, InvalidParameters),
    (SendCheck::CompositesDiffer, InvalidParameters),
    (SendCheck::CompositePastPart, InvalidParameters),
    (SendCheck::TotalTooShort, InvalidParameters),
    (SendCheck::RangeCount, InvalidParameters),
    (SendCheck::SecureSender, Denied),
    (SendCheck::FlagsReserved, InvalidParameters),
    (SendCheck::FlagsBeyondZero, InvalidParameters),
    (SendCheck::DonateReceivers, InvalidParameters),
    (SendCheck::UnknownReceiver, InvalidParameters),
    (SendCheck::ReceiverWorld, Denied),
    (SendCheck::Receivers, InvalidParameters),
    (SendCheck::InstructionAccess, InvalidParameters),
    (SendCheck::DataAccess, InvalidParameters),
    (SendCheck::NsBit, InvalidParameters),
    (SendCheck::TypeGiven, InvalidParameters),
    (SendCheck::NotNormalMemory, Denied),
    (SendCheck::StoreFull, NoMemory),
    (SendCheck::NoShareState, NoMemory),
];

const WHOLE: Checks<WholeCheck> = &[
    (WholeCheck::Unaligned, InvalidParameters),
    (WholeCheck::EmptyRange, InvalidParameters),
    (WholeCheck::PastMemory, InvalidParameters),
    (WholeCheck::Overlap, InvalidParameters),
    (WholeCheck::PageSum, InvalidParameters),
    (WholeCheck::NotNonSecure, Denied),
    (WholeCheck::BufferPage, Denied),
    (WholeCheck::AlreadySent, Denied),
];

const PART: Checks<PartCheck> = &[
    (PartCheck::UnknownHandle, InvalidParameters),
    (PartCheck::WrongSender, InvalidParameters),
    (PartCheck::Length, InvalidParameters),
    (PartCheck::PastTotal, InvalidParameters),
    (PartCheck::CopyFault, Aborted),
    (PartCheck::TooMany, NoMemory),
];

const RECLAIM: Checks<ReclaimCheck> = &[
    (ReclaimCheck::FlagsBeyondZero, InvalidParameters),
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
        (RetrieveCheck::UnknownHandle, InvalidParameters),
        (RetrieveCheck::RxFull, Busy),
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
    (MapCheck::PagesReserved, InvalidParameters),
    (MapCheck::NoPages, InvalidParameters),
    (MapCheck::TooManyPages, InvalidParameters),
    (MapCheck::Misplaced, InvalidParameters),
    (MapCheck::Mapped, Denied),
    (MapCheck::NotOwned, Denied),
];

const MAP_FOR_VM: Checks<VmMapCheck> = &[
    (VmMapCheck::NoBuffer, InvalidParameters),
    (VmMapCheck::Reserved, InvalidParameters),
    (VmMapCheck::Unaligned, InvalidParameters),
    (VmMapCheck::PastBuffer, InvalidParameters),
    (VmMapCheck::Pieces, InvalidParameters),
    (VmMapCheck::NotVm, InvalidParameters),
    (VmMapCheck::NoSlot, NoMemory),
];

const ACQUIRE: Checks<AcquireCheck> = &[
    (AcquireCheck::Secure, InvalidParameters),
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

const INFO_REGS: Checks<InfoRegsCheck> = &[
    (InfoRegsCheck::OldCaller, NotSupported),
    (InfoRegsCheck::Tag, Retry),
    (InfoRegsCheck::UnknownUuid, InvalidParameters),
    (InfoRegsCheck::Start, InvalidParameters),
];

const NOTIFICATIONS: NotificationRules = NotificationRules {
    sri: 10,
    create: CREATE,
    destroy: DESTROY,
    bind: BIND,
    unbind: UNBIND,
    set: Some(SET),
    get: GET,
    info: INFO_GET,
};

const CREATE: Checks<BitmapCheck> = &[
    (BitmapCheck::Reserved, InvalidParameters),
    (BitmapCheck::Secure, InvalidParameters),
    (BitmapCheck::Hypervisor, InvalidParameters),
    (BitmapCheck::NoVcpus, InvalidParameters),
    (BitmapCheck::Created, Denied),
    (BitmapCheck::NoSlot, NoMemory),
];

const DESTROY: Checks<BitmapCheck> = &[
    (BitmapCheck::Reserved, InvalidParameters),
    (BitmapCheck::Secure, InvalidParameters),
    (BitmapCheck::Hypervisor, InvalidParameters),
    (BitmapCheck::NotCreated, Denied),
    (BitmapCheck::Pending, Denied),
    (BitmapCheck::Bound, Denied),
];

const BIND: Checks<BindCheck> = &[
    (BindCheck::FlagsReserved, InvalidParameters),
    (BindCheck::Reserved, InvalidParameters),
    (BindCheck::Empty, InvalidParameters),
    (BindCheck::Receiver, InvalidParameters),
    (BindCheck::Sender, InvalidParameters),
    (BindCheck::NoBitmap, InvalidParameters),
    (BindCheck::OtherSender, Denied),
    (BindCheck::Pending, Denied),
];

const UNBIND: Checks<BindCheck> = &[
    (BindCheck::Flags, InvalidParameters),
    (BindCheck::Reserved, InvalidParameters),
    (BindCheck::Empty, InvalidParameters),
    (BindCheck::Receiver, InvalidParameters),
    (BindCheck::Sender, InvalidParameters),
    (BindCheck::NoBitmap, InvalidParameters),
    (BindCheck::NotBound, Denied),
    (BindCheck::Pending, Denied),
];

const SET: Checks<SetCheck> = &[
    (SetCheck::FlagsReserved, InvalidParameters),
    (SetCheck::Vcpu, InvalidParameters),
    (SetCheck::Delay, InvalidParameters),
    (SetCheck::Reserved, InvalidParameters),
    (SetCheck::Empty, InvalidParameters),
    (SetCheck::Sender, InvalidParameters),
    (SetCheck::Receiver, InvalidParameters),
    (SetCheck::VcpuRange, InvalidParameters),
    (SetCheck::NotEnabled, Denied),
    (SetCheck::NotBound, Denied),
];

const GET: Checks<GetCheck> = &[
    (GetCheck::FlagsReserved, InvalidParameters),
    (GetCheck::HypervisorsOwn, InvalidParameters),
    (GetCheck::Reserved, InvalidParameters),
    (GetCheck::UnknownReceiver, InvalidParameters),
    (GetCheck::VcpuRange, InvalidParameters),
];

const INFO_GET: Checks<InfoGetCheck> = &[(InfoGetCheck::Arguments, InvalidParameters)];

const DIRECT: Checks<DirectCheck> = &[
    (DirectCheck::Flags, InvalidParameters),
    (DirectCheck::Endpoints, InvalidParameters),
    (DirectCheck::UnknownReceiver, InvalidParameters),
    (DirectCheck::NoDirectRequests, Denied),
    (DirectCheck::Crashed, Aborted),
    (DirectCheck::ContextBusy, Busy),
];

const DIRECT2: Checks<DirectCheck> = &[
    (DirectCheck::OldCaller, NotSupported),
    (DirectCheck::Endpoints, InvalidParameters),
    (DirectCheck::UnknownReceiver, InvalidParameters),
    (DirectCheck::UnknownService, InvalidParameters),
    (DirectCheck::NoDirectRequests2, Denied),
    (DirectCheck::Crashed, Aborted),
    (DirectCheck::ContextBusy, Busy),
];

const INDIRECT: Checks<IndirectCheck> = &[
    (IndirectCheck::OldSender, NotSupported),
    (IndirectCheck::Flags, InvalidParameters),
    (IndirectCheck::Reserved, InvalidParameters),
    (IndirectCheck::NoTx, Denied),
    (IndirectCheck::CopyFault, Aborted),
    (IndirectCheck::HeaderFlags, InvalidParameters),
    (IndirectCheck::Sender, InvalidParameters),
    (IndirectCheck::UnknownReceiver, InvalidParameters),
    (IndirectCheck::NoIndirectMessages, Denied),
    (IndirectCheck::UnknownService, InvalidParameters),
    (IndirectCheck::Payload, InvalidParameters),
    (IndirectCheck::Busy, Busy),
];

const RUN: Checks<RunCheck> = &[
    (RunCheck::NormalWorld, InvalidParameters),
    (RunCheck::UnknownTarget, InvalidParameters),
    (RunCheck::WrongContext, InvalidParameters),
    (RunCheck::Crashed, Aborted),
    (RunCheck::NotPreempted, Denied),
];
