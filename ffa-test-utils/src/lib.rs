//! A modelled FF-A secure world, and faults to inject into the way to it, to test mediators against.
//!
//! [`spmc::SpmcModel`] answers SMCs as Hafnium, TF-A or OP-TEE would, or as the specification says, and knows which
//! page which partition can reach. [`fault::FaultPlan`] wraps the way there, and [`matrix::MATRIX`] says what a
//! mediator must do about each answer. All of it is `no_std` with `alloc`: the same code runs in host tests and in
//! firmware.
//!
//! **Not supported yet**: notifications, indirect messages, retrieval by the hypervisor, FFA_PARTITION_INFO_GET_REGS,
//! buffers mapped on behalf of VMs, OP-TEE's own messages.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod fault;
#[cfg(feature = "std")]
pub mod hypervisor;
pub mod matrix;
mod rng;
pub mod scenario;
pub mod spmc;
pub mod timeline;

pub use rng::Rng;
