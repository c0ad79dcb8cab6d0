//! FF-A memory transaction descriptors 1.0, 1.1 and 1.2, parsed into checked ranges and built canonically.

#![no_std]
#![forbid(unsafe_code)]

mod range;

pub use range::{Guest, IpaRange, PAGE_SIZE, PageRange, PhysRange, Physical, RangeError};
