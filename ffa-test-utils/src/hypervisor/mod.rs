//! A modelled hypervisor with virtual time, and an oracle that watches everything that its mediator does.
//!
//! [`ModelHypervisor`] owns memory, VMs and a [`SpmcModel`](crate::spmc::SpmcModel), and lends the mediator a [`Cpu`]
//! that implements every seam. What must never happen is noticed as it happens and kept as a [`Violation`].

mod cpu;
mod footprint;
mod frames;
mod fuse;
mod model;
mod oracle;
mod owed;
mod peers;
mod preemption;
mod stage;
mod stores;
mod storm;
mod vm;
mod world;

pub use cpu::{Cpu, Reference};
pub use footprint::{Footprint, Load, Room};
pub use frames::{FrameCount, Life, Owner, RAM};
pub use fuse::Fallible;
pub use model::{Machine, ModelHypervisor, NoVm};
pub use oracle::Violation;
pub use preemption::{Preemption, set_preemption};
pub use stage::play_on_host;
pub use stores::{HeapStores, ModelMediator, VecRanges, VmRecord};
pub use storm::{Storm, StormReport};
pub use vm::{BORROWED, Kind, Region};
pub use world::{Copy, Interloper, Interrupt, Moment, Smc};
