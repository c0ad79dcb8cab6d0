//! The typed FF-A ABI: function IDs, register layouts, versions, endpoint IDs and status codes.
//!
//! This crate owns what crosses an SMC or HVC in registers, and the partition information records that cross in
//! an RX buffer. Every conversion from [`Regs`] is total: any 18 registers decode to a call, to an unknown
//! function or to an error that names the register, and nothing panics.
//!
//! Requests of guests decode into closed types: what is not known is refused. Answers of firmware decode into
//! open ones ([`Answer::Unexpected`], [`FirmwareStatus::Other`]), because firmware may be newer than this crate.
//!
//! Memory transaction descriptors are in `ffa-mem`. **Not supported yet**: typed forms of the indirect message,
//! notification, retrieve and console calls; they are known by [`FunctionId`] only.
//!
//! # Specification
//! Arm DEN0077A, versions 1.0, 1.1 (issue E) and 1.2.

#![no_std]
#![forbid(unsafe_code)]

mod answer;
mod call;
mod direct;
mod features;
mod function;
mod id;
mod memory;
mod partition_info;
mod regs;
mod status;
mod version;

pub use answer::{Answer, RunTarget, Success};
pub use call::{Call, CallError, PartitionInfoGet, RxRelease, RxTxMap, RxTxUnmap};
pub use direct::{
    DirectRequest, DirectResponse, FRAMEWORK_FLAG, Message, VmAvailability, VmAvailabilityAnswer, VmMessage,
    framework,
};
pub use features::{FeatureId, FeatureQuery, buffer_size};
pub use function::{Callers, FUNCTIONS, Function, FunctionId, FunctionInfo, UnknownFunction, Width};
pub use id::{Handle, InvalidHandle, PartitionId, Uuid};
pub use memory::{MemFragRx, MemFragTx, MemReclaim, MemSend, ReclaimFlags, Transaction};
pub use partition_info::{PartitionInfo, PartitionInfoError, Properties, RecordFormat, Records};
pub use regs::Regs;
pub use status::{FirmwareStatus, Status};
pub use version::{Version, VersionError, version_answer};
