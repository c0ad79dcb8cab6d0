//! The modelled secure world: an SPMC whose rules are data, partitions whose behaviour is data, and the truth about
//! who can reach which page.
//!
//! A scenario is a preset and a list of partitions, each with its script:
//!
//! ```
//! use ffa_abi::{PartitionId, Status};
//! use ffa_teardown::Span;
//! use ffa_test_utils::spmc::{Preset, Reaction, Script, SpConfig, SpmcModel, Turn};
//!
//! let partitions = [
//!     // A device writes for three seconds after the VM's end.
//!     SpConfig::new(PartitionId(0x8001), Script::dma(Span::from_secs(3))),
//!     // Refuses every VM.
//!     SpConfig::new(
//!         PartitionId(0x8002),
//!         Script::GOOD.on_created(Reaction::always(Turn::refuse(Status::NoMemory))),
//!     ),
//!     // Is preempted twice by the first VM_DESTROYED, and wants the second one again later.
//!     SpConfig::new(
//!         PartitionId(0x8003),
//!         Script::GOOD.on_destroyed(Reaction {
//!             first: Turn::ACCEPT.preempted(2),
//!             times: 1,
//!             then: Turn::refuse(Status::Retry),
//!         }),
//!     ),
//! ];
//! let spmc = SpmcModel::new(Preset::Hafnium, partitions);
//! assert_eq!(spmc.can_reach(0x4000_0000), None);
//! ```

mod actor;
mod bitmap;
mod check;
mod config;
mod control;
mod descriptor;
mod discovery;
mod discovery_regs;
mod handle;
mod indirect;
mod mailbox;
mod memory;
mod message;
mod model;
mod notifications;
mod part;
mod partition;
mod preset;
mod reach;
mod reclaim;
mod response;
mod retrieve;
mod run;
mod script;
mod send;
mod signal;
mod store;
mod tee;
mod truth;
mod version;
mod vm;
mod vm_buffers;
mod vm_message;
mod whole;

pub use actor::{MARK_SIZE, mark};
pub use check::{
    AcquireCheck, BindCheck, BitmapCheck, Checks, DirectCheck, FetchCheck, GetCheck, IndirectCheck,
    InfoCheck, InfoGetCheck, InfoRegsCheck, MapCheck, PartCheck, ReclaimCheck, ReleaseCheck, RetrieveCheck,
    RunCheck, SendCheck, SetCheck, VmMapCheck, WholeCheck,
};
pub use config::{
    Config, FeatureAnswer, FeatureRow, HandlePolicy, Limits, NextPartNames, NotificationRules, Quirks,
    RetrieveRules, Tells, VersionPolicy, VmMemory, VmMessages, VmSender,
};
pub use control::Control;
pub use indirect::Received;
pub use memory::{Extent, PhysFault, PhysMemory};
pub use model::SpmcModel;
pub use partition::{Service, SpConfig};
pub use preset::Preset;
pub use reach::{Reach, Reached};
pub use response::mangle;
pub use script::{
    Cleanup, Crash, Mangling, Outcome, Reaction, Receive, Refusal, Release, Retrieve, Script, Turn, Until,
    Writes,
};
pub use tee::{TEE_APPLICATION_UUID, TEE_UUID};
pub use truth::{Census, Kept, LiveHandle, Told, ToldAnswer};
pub use vm::RxOwner;
