#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod compat;
mod discovery;
mod dispatch;
mod event;
mod fragments;
mod indirect;
mod lifecycle;
mod listing;
mod mediator;
mod memory;
mod message;
mod named;
mod notification;
mod partitions;
mod peer_memory;
mod peers;
mod preempted;
mod reclaim;
mod record;
mod rx;
mod rxtx;
mod seam;
mod served;
mod settings;
mod smc;
mod spmc;
mod stream;
#[cfg(feature = "tracing")]
mod trace;
mod visible;

pub use compat::{Case, Compat, DIFFERENCES, Difference};
pub use event::{Event, EventKind};
pub use fragments::DraftSlot;
pub use lifecycle::Creation;
pub use listing::ListError;
pub use mediator::{Caller, Mediator, Occupancy, Outcome, Quarantined, Scratch, Stores, StoresOf, VmReport};
pub use notification::VcpuSlot;
pub use partitions::Partitions;
pub use peer_memory::{Lending, PeerMemory};
pub use peers::{LenderDeath, LoanSlot};
pub use record::Record;
pub use seam::{
    Access, Conduit, GuestFault, GuestMemory, Observer, OwnerAccess, PageError, Pages, Permissions, Platform,
    Relation, SpmcBuffers, Timer, VirtualInterrupts, VmReferences,
};
pub use served::{Abilities, Needs, SERVICES, Service};
pub use settings::{GuestInterrupts, Settings};
pub use smc::Smccc;
pub use spmc::{ProbeError, ProbeFailure, Spmc};
#[cfg(feature = "tracing")]
pub use trace::trace;
