//! The conditions that secure worlds check, as names. A preset lists them in its own order, each with the status
//! that it answers; the first that is broken decides.

mod buffers;
mod memory;
mod message;
mod notification;
mod partition;

use ffa_abi::Status;

pub use buffers::{AcquireCheck, MapCheck, ReleaseCheck, VmMapCheck};
pub use memory::{FetchCheck, PartCheck, ReclaimCheck, RetrieveCheck, SendCheck, WholeCheck};
pub use message::{DirectCheck, IndirectCheck, RunCheck};
pub use notification::{BindCheck, BitmapCheck, GetCheck, InfoGetCheck, SetCheck};
pub use partition::{InfoCheck, InfoRegsCheck};

/// Conditions in the order of one secure world, each with the status of its refusal.
pub type Checks<C> = &'static [(C, Status)];
