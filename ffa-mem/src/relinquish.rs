use ffa_abi::{Handle, PartitionId};
use zerocopy::transmute;

use crate::DescriptorError;
use crate::wire::Relinquish;

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
    pub const LEN: usize = size_of::<Relinquish>();

    /// Reads a private copy.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, DescriptorError> {
        let wire: Relinquish = transmute!(*bytes);
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

    /// The descriptor, to be written to the start of TX.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        transmute!(Relinquish {
            handle: self.handle.map_or(u64::MAX, Handle::get).into(),
            flags: u32::from(self.zero).into(),
            endpoint_count: 1.into(),
            endpoint: self.endpoint.0.into(),
        })
    }
}
