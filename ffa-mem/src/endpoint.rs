use zerocopy::IntoBytes;

use ffa_abi::PartitionId;

use crate::PhysRange;
use crate::wire::{Composite, Constituent, Endpoint};

/// The RX and TX buffers of a VM, as the hypervisor tells the SPMC of them: FFA_RXTX_MAP with all addresses zero and
/// this in the hypervisor's own TX.
///
/// Each buffer is one physical range. The format allows for more, but Hafnium takes the first one for the whole.
///
/// # Specification
/// DEN0077A v1.1, endpoint RX/TX descriptor, with a composite memory region descriptor for each buffer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EndpointBuffers {
    /// The VM.
    pub endpoint: PartitionId,
    /// What it reads.
    pub rx: PhysRange,
    /// What it writes.
    pub tx: PhysRange,
}

impl EndpointBuffers {
    /// Bytes of the descriptor.
    pub const SIZE: usize = HEADER + 2 * BUFFER;

    /// The descriptor, to be written to the start of TX.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let header = Endpoint {
            endpoint: self.endpoint.0.into(),
            reserved: 0.into(),
            rx_offset: (HEADER as u32).into(),
            tx_offset: ((HEADER + BUFFER) as u32).into(),
            padding: 0.into(),
        };
        let buffer = |range: PhysRange| {
            let composite =
                Composite { total_pages: range.pages().into(), range_count: 1.into(), reserved: 0.into() };
            (composite, Constituent::new(range.base(), range.pages()))
        };
        let ((rx, rx_range), (tx, tx_range)) = (buffer(self.rx), buffer(self.tx));
        let parts =
            [header.as_bytes(), rx.as_bytes(), rx_range.as_bytes(), tx.as_bytes(), tx_range.as_bytes()];
        let mut bytes = [0; Self::SIZE];
        for (to, from) in bytes.chunks_exact_mut(HEADER).zip(parts) {
            to.copy_from_slice(from);
        }
        bytes
    }
}

/// Bytes of the header, and of each of the other parts.
const HEADER: usize = size_of::<Endpoint>();
/// Bytes for each buffer.
const BUFFER: usize = size_of::<Composite>() + size_of::<Constituent>();
const _: () = assert!(size_of::<Composite>() == HEADER && size_of::<Constituent>() == HEADER);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_buffer_has_a_composite_of_one_range() {
        let range = |base, pages| PhysRange::new(base, pages).unwrap();
        let rx = range(0x1_2345_6000, 2);
        let buffers = EndpointBuffers { endpoint: PartitionId(0x1234), rx, tx: range(0x8000, 2) };
        let mut expected = [0; 80];
        expected[..12].copy_from_slice(&[0x34, 0x12, 0, 0, 16, 0, 0, 0, 48, 0, 0, 0]);
        (expected[16], expected[20]) = (2, 1);
        expected[32..44].copy_from_slice(&[0, 0x60, 0x45, 0x23, 1, 0, 0, 0, 2, 0, 0, 0]);
        (expected[48], expected[52]) = (2, 1);
        (expected[65], expected[72]) = (0x80, 2);
        assert_eq!(buffers.to_bytes(), expected);
    }
}
