//! What a dead VM still owes the FF-A secure world, and what to do about it next.

#![no_std]
#![forbid(unsafe_code)]

mod time;

pub use time::{Span, Time};
