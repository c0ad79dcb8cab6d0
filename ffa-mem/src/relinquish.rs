use ffa_abi::{Handle, PartitionId};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned, transmute};

use crate::DescriptorError;

/// Relinquish descriptor with one endpoint, 18 bytes. FF-A v1.1 (DEN0077A issue E) section 16.6.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Wire {
    handle: U64,
    flags: U32,
    endpoint_count: U32,
    endpoint: U16,
}

/// The descriptor of an FFA_MEM_RELINQUISH, checked: of one endpoint, since only stream endpoints are more, and devices
/// borrow nothing here.
///
/// # Specification
/// FF-A v1.1 (DEN0077A issue E) section 16.6; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RelinquishDescriptor {
    /// The transaction; `None` for all ones.
    pub handle: Option<Handle>,
    /// Bit 0: the memory is to be zeroed.
    pub zero: bool,
    /// Who lets go.
    pub endpoint: PartitionId,
}

impl RelinquishDescriptor {
    /// Bytes of a descriptor.
    pub const LEN: usize = size_of::<Wire>();

    /// Reads a private copy.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, DescriptorError> {
        let wire: Wire = transmute!(*bytes);
        let (flags, count) = (wire.flags.get(), wire.endpoint_count.get());
        if flags & !1 != 0 {
            return Err(DescriptorError::Reserved { field: "flags", value: flags.into() });
        }
        match count {
            0 => Err(DescriptorError::NoReceivers),
            1 => Ok(Self {
                handle: Handle::new(wire.handle.get()).ok(),
                zero: flags & 1 != 0,
                endpoint: PartitionId(wire.endpoint.get()),
            }),
            count => Err(DescriptorError::TooManyReceivers { count }),
        }
    }
}
