use alloc::vec::Vec;

use ffa_abi::Status::{Aborted, Busy, Denied, InvalidParameters, NoMemory, NotSupported};
use ffa_abi::{Function, FunctionId, PartitionId, Version};

use super::features;
use crate::spmc::check::{
    BindCheck, BitmapCheck, Checks, DirectCheck, GetCheck, InfoCheck, InfoGetCheck, MapCheck, PartCheck,
    ReclaimCheck, ReleaseCheck, RunCheck, SendCheck, WholeCheck,
};
use crate::spmc::config::{
    Config, FeatureAnswer, FeatureRow, HandlePolicy, Limits, NextPartNames, NotificationRules, Quirks,
    VersionPolicy, VmMemory, VmMessages,
};

pub fn config() -> Config {
    Config {
        name: "optee",
        version: Version::V1_2,
        version_policy: VersionPolicy::Renegotiable,
        spmc_id: PartitionId(0x8000),
        limits: Limits {
            shares: 64,
            receivers: 255,
            parts: u32::MAX,
            vms: u32::MAX,
            store_bytes: u64::MAX,
            buffer_pages: 63,
        },
        handles: HandlePolicy::GuestTagged,
        features: FEATURES,
        send: SEND,
        whole: WHOLE,
        part: PART,
        reclaim: RECLAIM,
        retrieve: None,
        map: MAP,
        map_for_vm: None,
        acquire: None,
        release: RELEASE,
        info: INFO,
        info_regs: None,
        direct: DIRECT,
        direct2: DIRECT2,
        indirect: None,
        run: RUN,
        notifications: Some(&NOTIFICATIONS),
        record_size: 24,
        next_part_names: NextPartNames::Zero,
        vm_messages: VmMessages::BuiltIn { virtualization: true },
        vm_memory: VmMemory::None,
        quirks: Quirks {
            other_buffer: true,
            unmap_ignores_endpoint: true,
            release_ignores_endpoint: true,
            info_error_takes_rx: true,
            records_show_senders: true,
            unknown_guest_word: Some(TEE_ERROR_ITEM_NOT_FOUND),
            ..Quirks::default()
        },
        non_secure: Vec::new(),
        memory_end: u64::MAX,
        writes_per_call: 64,
        nonce: 0x1d5a_0003,
    }
}

const TEE_ERROR_ITEM_NOT_FOUND: u32 = 0xffff_0008;

// MEM_LEND is served and not listed; NOTIFICATION_SET is listed and not served.
const FEATURES: &[FeatureRow] = features!(
    [
        Error Success Interrupt Version Features RxRelease RxTxMap RxTxUnmap PartitionInfoGet IdGet SpmIdGet
        MsgWait MsgSendDirectReq MsgSendDirectResp MemReclaim MemFragTx NotificationBitmapCreate
        NotificationBitmapDestroy NotificationBind NotificationUnbind NotificationSet NotificationGet
        NotificationInfoGet
    ],
    [Success RxTxMap MsgSendDirectReq MsgSendDirectResp NotificationInfoGet],
    FeatureRow::new(FunctionId::smc32(Function::MemShare), FeatureAnswer::Properties(1)),
    FeatureRow::new(FunctionId::smc64(Function::MemShare), FeatureAnswer::Properties(1)),
    FeatureRow::new(
        FunctionId::smc64(Function::MsgSendDirectReq2),
        FeatureAnswer::Since(Version::V1_2, 0)
    ),
    FeatureRow::SRI,
);

const SEND: Checks<SendCheck> = &[
    (SendCheck::Donate, NotSupported),
    (SendCheck::UnusedRegisters, InvalidParameters),
    (SendCheck::PartPastTotal, InvalidParameters),
    (SendCheck::BufferPagesOnly, InvalidParameters),
    (SendCheck::NoBuffer, Denied),
    (SendCheck::PartPastBuffer, Denied),
    (SendCheck::CopyFault, Aborted),
    (SendCheck::FieldWidths, InvalidParameters),
    (SendCheck::NoAccess, InvalidParameters),
    (SendCheck::AccessPastPart, InvalidParameters),
    (SendCheck::OtherPartitionLend, Denied),
    (SendCheck::OtherPartitionParts, NotSupported),
    (SendCheck::OtherPartitionUnknown, Denied),
    (SendCheck::UnknownSender, Denied),
    (SendCheck::AttributesExact, InvalidParameters),
    (SendCheck::BuiltInAccess, InvalidParameters),
    (SendCheck::CompositeLoose, InvalidParameters),
    (SendCheck::RangesLoose, InvalidParameters),
    (SendCheck::HandleGiven, NoMemory),
    (SendCheck::NoShareState, NoMemory),
];

const WHOLE: Checks<WholeCheck> =
    &[(WholeCheck::NotNonSecure, InvalidParameters), (WholeCheck::PageSum, InvalidParameters)];

const PART: Checks<PartCheck> = &[
    (PartCheck::UnknownGuest, InvalidParameters),
    (PartCheck::UnknownHandle, InvalidParameters),
    (PartCheck::PastBuffer, InvalidParameters),
    (PartCheck::PastTotal, InvalidParameters),
    (PartCheck::CopyFault, Aborted),
];

const RECLAIM: Checks<ReclaimCheck> = &[
    (ReclaimCheck::UnusedRegisters, InvalidParameters),
    (ReclaimCheck::UnknownHandle, InvalidParameters),
    (ReclaimCheck::Incomplete, InvalidParameters),
    (ReclaimCheck::InUse, Denied),
];

const MAP: Checks<MapCheck> = &[
    (MapCheck::PagesReserved, InvalidParameters),
    (MapCheck::NoPages, InvalidParameters),
    (MapCheck::Mapped, Denied),
];

// It is always the hypervisor's own.
const RELEASE: Checks<ReleaseCheck> = &[(ReleaseCheck::NotOwned, Denied)];

// An unknown UUID is a success with no records.
const INFO: Checks<InfoCheck> = &[(InfoCheck::BufferBusy, Busy), (InfoCheck::TooLarge, NoMemory)];

const NOTIFICATIONS: NotificationRules = NotificationRules {
    sri: 9,
    create: CREATE,
    destroy: DESTROY,
    bind: BIND,
    unbind: UNBIND,
    set: None,
    get: GET,
    info: INFO_GET,
};

const CREATE: Checks<BitmapCheck> = &[
    (BitmapCheck::Reserved, InvalidParameters),
    (BitmapCheck::UnknownGuest, InvalidParameters),
    (BitmapCheck::Created, Denied),
];

// Destroying what was never created is a success.
const DESTROY: Checks<BitmapCheck> = &[
    (BitmapCheck::Reserved, InvalidParameters),
    (BitmapCheck::UnknownGuest, InvalidParameters),
    (BitmapCheck::Pending, Denied),
    (BitmapCheck::Bound, Denied),
];

// It works before there is a bitmap.
const BIND: Checks<BindCheck> =
    &[(BindCheck::Flags, Denied), (BindCheck::UnknownGuest, InvalidParameters), (BindCheck::Bound, Denied)];

const UNBIND: Checks<BindCheck> = &[
    (BindCheck::Flags, InvalidParameters),
    (BindCheck::UnknownGuest, InvalidParameters),
    (BindCheck::Pending, Denied),
];

const GET: Checks<GetCheck> = &[(GetCheck::UnknownGuest, InvalidParameters)];

const INFO_GET: Checks<InfoGetCheck> = &[(InfoGetCheck::Arguments, InvalidParameters)];

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
    (DirectCheck::BuiltIn, NotSupported),
    (DirectCheck::UnknownService, InvalidParameters),
    (DirectCheck::NoDirectRequests2, Denied),
    (DirectCheck::Crashed, Busy),
    (DirectCheck::ContextBusy, Busy),
];

// The row of the built-in partition stands below: scripts may preempt it although the real one never is.
const RUN: Checks<RunCheck> = &[
    (RunCheck::NormalWorld, InvalidParameters),
    (RunCheck::UnknownTarget, InvalidParameters),
    (RunCheck::WrongContext, Denied),
    (RunCheck::Crashed, Denied),
    (RunCheck::BuiltIn, InvalidParameters),
    (RunCheck::NotPreempted, Denied),
];
