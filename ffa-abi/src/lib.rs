#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod answer;
mod call;
mod callers;
mod console;
mod direct;
mod direct2;
mod features;
mod function;
mod id;
mod indirect;
mod mem_perm;
mod memory;
mod notification;
mod notification_get;
mod notification_info;
mod partition_info;
mod partition_info_get;
mod partition_info_regs;
mod regs;
mod rxtx;
mod status;
mod version;

pub use answer::{Answer, RunTarget, Success};
pub use call::{Call, CallError};
pub use callers::Callers;
pub use console::ConsoleLog;
pub use direct::{
    DirectRequest, DirectResponse, FRAMEWORK_FLAG, Message, VmAvailability, VmAvailabilityAnswer, VmMessage,
    framework,
};
pub use direct2::{DirectRequest2, DirectResponse2};
pub use features::{FeatureId, FeatureQuery, buffer_size, retrieve_properties};
pub use function::{FUNCTIONS, Function, FunctionId, FunctionInfo, UnknownFunction, Width};
pub use id::{Handle, InvalidHandle, PartitionId, Uuid};
pub use indirect::{IndirectError, IndirectFormat, IndirectMessage, MsgSend2};
pub use mem_perm::{DataPermission, MemPermAnswer, MemPermGet, MemPermSet, MemPermissions};
pub use memory::{
    MemFragRx, MemFragTx, MemReclaim, MemRetrieveReq, MemRetrieveResp, MemSend, ReclaimFlags, Transaction,
};
pub use notification::{
    NotificationBind, NotificationBitmap, NotificationBitmapCreate, NotificationBitmapDestroy,
    NotificationScope, NotificationSet, NotificationUnbind,
};
pub use notification_get::{
    FrameworkNotifications, NotificationGet, NotificationSources, PendingNotifications,
};
pub use notification_info::{
    NotificationInfo, NotificationInfoError, NotificationInfoFull, NotificationInfoGet, PendingReceiver,
    PendingReceivers,
};
pub use partition_info::{PartitionInfo, PartitionInfoError, Properties, RecordFormat, Records};
pub use partition_info_get::PartitionInfoGet;
pub use partition_info_regs::{PartitionInfoGetRegs, PartitionInfoWindow, WindowError};
pub use regs::Regs;
pub use rxtx::{RxAcquire, RxRelease, RxTxMap, RxTxUnmap};
pub use status::{FirmwareStatus, Status};
pub use version::{Version, VersionError, version_answer};
