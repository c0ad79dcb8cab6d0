//! The modelled secure world: an SPMC whose rules are data, partitions whose behaviour is data, and the truth about
//! who can reach which page.

mod actor;
mod check;
mod config;
mod control;
mod descriptor;
mod discovery;
mod handle;
mod mailbox;
mod memory;
mod message;
mod model;
mod part;
mod partition;
mod preset;
mod reach;
mod reclaim;
mod run;
mod script;
mod send;
mod store;
mod truth;
mod version;
mod whole;

pub use actor::{MARK_SIZE, mark};
pub use check::{
    Checks, DirectCheck, InfoCheck, MapCheck, PartCheck, ReclaimCheck, RunCheck, SendCheck, WholeCheck,
};
pub use config::{
    Config, FeatureAnswer, FeatureRow, HandlePolicy, Limits, NextPartNames, Quirks, VersionPolicy, VmMemory,
    VmMessages, VmSender,
};
pub use control::Control;
pub use memory::{Extent, PhysFault, PhysMemory};
pub use message::mangle;
pub use model::SpmcModel;
pub use partition::SpConfig;
pub use preset::Preset;
pub use reach::{Reach, Reached};
pub use script::{
    Cleanup, Crash, Mangling, Outcome, Reaction, Refusal, Release, Retrieve, Script, Turn, Until, Writes,
};
pub use truth::{LiveHandle, Told, ToldAnswer};
