use alloc::vec::Vec;

use ffa_abi::Status::{Aborted, Busy, Denied, InvalidParameters, NoMemory, NotSupported};
use ffa_abi::{Function, FunctionId, PartitionId, Version};

use super::features;
use crate::spmc::check::{
    Checks, DirectCheck, FetchCheck, InfoCheck, MapCheck, PartCheck, ReclaimCheck, ReleaseCheck,
    RetrieveCheck, RunCheck, SendCheck, WholeCheck,
};
use crate::spmc::config::{
    Config, FeatureAnswer, FeatureRow, HandlePolicy, Limits, NextPartNames, Quirks, RetrieveRules, Tells,
    VersionPolicy, VmMemory, VmMessages,
};

pub fn config() -> Config {
    Config {
        name: "tfa_el3",
        version: Version::V1_2,
        version_policy: VersionPolicy::RequireFirst,
        spmc_id: PartitionId(0x8000),
        // 64 KiB is the store of its QEMU platform.
        limits: Limits {
            shares: u32::MAX,
            receivers: u32::MAX,
            parts: u32::MAX,
            vms: 0,
            store_bytes: 64 << 10,
            buffer_pages: 63,
        },
        handles: HandlePolicy::Monotonic(0xffff_ffc0),
        features: FEATURES,
        send: SEND,
        whole: WHOLE,
        part: PART,
        reclaim: RECLAIM,
        retrieve: Some(&RETRIEVE),
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
        notifications: None,
        record_size: 24,
        next_part_names: NextPartNames::Sender,
        vm_messages: VmMessages::Unfiltered,
        vm_memory: VmMemory::Strict,
        quirks: Quirks {
            wide_total: true,
            half_sent_counts: true,
            unmap_keeps_rx_state: true,
            release_ignores_endpoint: true,
            records_show_senders: true,
            ..Quirks::default()
        },
        non_secure: Vec::new(),
        memory_end: u64::MAX,
        writes_per_call: 64,
        nonce: 0x1d5a_0002,
    }
}

const FEATURES: &[FeatureRow] = features!(
    [
        Error Success Interrupt Version Features RxRelease RxTxMap RxTxUnmap PartitionInfoGet IdGet SpmIdGet
        MsgWait Run MsgSendDirectReq MsgSendDirectResp MemLend MemShare MemReclaim MemFragRx MemFragTx
    ],
    [Success RxTxMap MsgSendDirectReq MsgSendDirectResp MsgSendDirectReq2 MsgSendDirectResp2 MemLend MemShare],
    FeatureRow::new(FunctionId::smc32(Function::MemRetrieveReq), FeatureAnswer::WithoutNsBit(0)),
    FeatureRow::new(FunctionId::smc64(Function::MemRetrieveReq), FeatureAnswer::WithoutNsBit(0)),
);

const SEND: Checks<SendCheck> = &[
    (SendCheck::Donate, NotSupported),
    (SendCheck::OtherBuffer, InvalidParameters),
    (SendCheck::PartBelowHeader, InvalidParameters),
    (SendCheck::TotalUnaligned, NoMemory),
    (SendCheck::StoreFull, NoMemory),
    (SendCheck::NoBuffer, InvalidParameters),
    (SendCheck::PartPastBuffer, InvalidParameters),
    (SendCheck::PartPastTotal, InvalidParameters),
    (SendCheck::CopyFault, Aborted),
    (SendCheck::SecureSender, Denied),
    (SendCheck::NsBit, InvalidParameters),
    (SendCheck::FlagsBeyondType, InvalidParameters),
    (SendCheck::NoAccess, InvalidParameters),
    (SendCheck::AccessLayoutLoose, InvalidParameters),
    (SendCheck::AccessPastTotal, InvalidParameters),
];

const WHOLE: Checks<WholeCheck> = &[
    (WholeCheck::UnknownReceiver, InvalidParameters),
    (WholeCheck::CompositesDiffer, InvalidParameters),
    (WholeCheck::DuplicateReceiver, InvalidParameters),
    (WholeCheck::CompositeBounds, InvalidParameters),
    (WholeCheck::RangeCount, InvalidParameters),
    (WholeCheck::PageSum, InvalidParameters),
    (WholeCheck::AlreadySent, InvalidParameters),
    (WholeCheck::PastMemory, InvalidParameters),
];

const PART: Checks<PartCheck> = &[
    (PartCheck::UnknownHandle, InvalidParameters),
    (PartCheck::WrongSender, InvalidParameters),
    (PartCheck::PastBuffer, InvalidParameters),
    (PartCheck::PastTotal, InvalidParameters),
    (PartCheck::CopyFault, Aborted),
];

const RECLAIM: Checks<ReclaimCheck> = &[
    (ReclaimCheck::AnyFlag, InvalidParameters),
    (ReclaimCheck::UnknownHandle, InvalidParameters),
    (ReclaimCheck::InUse, Denied),
    (ReclaimCheck::Incomplete, InvalidParameters),
];

const RETRIEVE: RetrieveRules = RetrieveRules {
    request: &[
        (RetrieveCheck::OtherBuffer, InvalidParameters),
        (RetrieveCheck::RxFull, Denied),
        (RetrieveCheck::InParts, InvalidParameters),
        (RetrieveCheck::Length, InvalidParameters),
        (RetrieveCheck::CopyFault, InvalidParameters),
        (RetrieveCheck::Receivers, InvalidParameters),
        (RetrieveCheck::UnknownHandle, InvalidParameters),
        (RetrieveCheck::NsBitOrType, InvalidParameters),
    ],
    fetch: &[
        (FetchCheck::UnknownHandle, InvalidParameters),
        (FetchCheck::OtherSender, InvalidParameters),
        (FetchCheck::NeitherNextNorLast, InvalidParameters),
        (FetchCheck::RxFull, Denied),
    ],
    tells: Tells::NoReceiver,
};

const MAP: Checks<MapCheck> = &[
    (MapCheck::ZeroAddress, InvalidParameters),
    (MapCheck::SameAddress, InvalidParameters),
    (MapCheck::NoPages, InvalidParameters),
    (MapCheck::Mapped, Denied),
];

// It is always the hypervisor's own.
const RELEASE: Checks<ReleaseCheck> = &[(ReleaseCheck::NotOwned, Denied)];

const INFO: Checks<InfoCheck> = &[
    (InfoCheck::UnknownUuid, InvalidParameters),
    (InfoCheck::BufferBusy, Busy),
    (InfoCheck::TooLarge, NoMemory),
];

const DIRECT: Checks<DirectCheck> = &[
    (DirectCheck::FlagsReserved, InvalidParameters),
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
    (DirectCheck::NoDirectRequests2, Denied),
    (DirectCheck::Crashed, Busy),
    (DirectCheck::ContextBusy, Busy),
];

const RUN: Checks<RunCheck> = &[
    (RunCheck::NormalWorld, InvalidParameters),
    (RunCheck::UnknownTarget, InvalidParameters),
    (RunCheck::WrongContext, InvalidParameters),
    (RunCheck::Crashed, Busy),
];
