#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod attributes;
mod builder;
mod emads;
mod endpoint;
mod error;
mod layout;
mod range;
mod range_set;
mod ranges;
mod reassembly;
mod receiver;
mod relinquish;
mod retrieve;
mod send;
mod store;
mod tracked_range;
mod wire;

pub use attributes::{Cacheability, DeviceType, MemoryAttributes, MemoryType, Shareability};
pub use builder::{BuildError, FragmentBuilder, SendBuilder, SendHeader, SendTotals, Unsent};
pub use emads::Receivers;
pub use endpoint::EndpointBuffers;
pub use error::DescriptorError;
pub use range::{Guest, IpaRange, Joiner, PAGE_SIZE, PageRange, PhysRange, Physical, RangeError};
pub use range_set::{InsertError, RangeSet};
pub use ranges::Ranges;
pub use reassembly::Reassembly;
pub use receiver::{DataAccess, InstructionAccess, MAX_RECEIVERS, Permissions, Receiver};
pub use relinquish::RelinquishDescriptor;
pub use retrieve::{
    HypervisorRetrieveRequest, HypervisorRetrieveResponse, RetrieveFlags, RetrieveRequest, RetrieveResponse,
    RetrievedHead,
};
pub use send::{FirstFragment, SendDescriptor, SendFlags, SendHead, SendRules};
pub use store::{FixedRanges, RangeStore, StoreFull};
pub use tracked_range::TrackedRange;
