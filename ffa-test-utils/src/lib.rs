#![doc = include_str!("../README.md")]
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
