//! What the two bare-metal images share.
//!
//! The package builds two images for QEMU's `virt` machine: `firmware` runs at EL3 and is the secure world, and
//! `hypervisor` runs at EL2 with its guests at EL1. They know each other only through SMCs, so the hypervisor also runs
//! on other firmware. A third, `payload`, is a guest that sees whether it has what an operating system needs; its machine
//! looks like theirs. This library owns what they need of the machine: the console, QEMU's configuration device, the
//! clock, the first page table and the way out. All `unsafe` code of the workspace is in this package.
//!
//! **Not supported:** any other machine, more than [`machine::MAX_CPUS`] CPUs, AArch32 at any level.

#![no_std]

pub mod boot_map;
pub mod census;
pub mod clock;
pub mod console;
pub mod exit;
pub mod fw_cfg;
pub mod lock;
pub mod machine;
pub mod no_heap;
pub mod partitions;
pub mod physical;
