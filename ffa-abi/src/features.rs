use crate::{Function, FunctionId, Regs};

/// A feature that FFA_FEATURES is asked about by number. The answer's w2 is the number of the interrupt.
///
/// # Specification
/// DEN0077A v1.1 Table 13.14.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum FeatureId {
    /// Notification pending interrupt.
    NotificationPendingInterrupt = 1,
    /// Schedule receiver interrupt.
    ScheduleReceiverInterrupt = 2,
    /// Managed exit interrupt.
    ManagedExitInterrupt = 3,
}

/// What FFA_FEATURES asks. An unknown subject is not an error: its answer is NOT_SUPPORTED.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FeatureQuery {
    /// Is this function there? w2 holds properties of the caller.
    Function {
        /// The function and width asked about.
        id: FunctionId,
        /// Input properties, w2.
        properties: u32,
    },
    /// What does this feature look like?
    Feature(FeatureId),
    /// Anything else, reserved bits included.
    Unknown {
        /// What is asked about.
        w1: u32,
        /// Input properties; of a feature, they must be zero.
        w2: u32,
    },
}

impl FeatureQuery {
    /// Decodes the registers of the call.
    #[must_use]
    #[inline]
    pub fn from_regs(regs: &Regs) -> Self {
        let (w1, w2) = (regs.w::<1>(), regs.w::<2>());
        match FunctionId::from_w0(w1) {
            // A function ID is asked about as it is: the SVE hint has no meaning here.
            Ok(id) if id.w0() == w1 => Self::Function { id, properties: w2 },
            _ => match (w1, w2) {
                (1, 0) => Self::Feature(FeatureId::NotificationPendingInterrupt),
                (2, 0) => Self::Feature(FeatureId::ScheduleReceiverInterrupt),
                (3, 0) => Self::Feature(FeatureId::ManagedExitInterrupt),
                _ => Self::Unknown { w1, w2 },
            },
        }
    }

    pub(crate) fn to_regs(self) -> Regs {
        let w0 = FunctionId::smc32(Function::Features).w0();
        let (w1, w2) = match self {
            Self::Function { id, properties } => (id.w0(), properties),
            Self::Feature(feature) => (feature as u32, 0),
            Self::Unknown { w1, w2 } => (w1, w2),
        };
        Regs::new([u64::from(w0), u64::from(w1), u64::from(w2)])
    }
}

/// Properties of FFA_RXTX_MAP in w2 of FFA_FEATURES: sizes of the buffers.
///
/// # Specification
/// DEN0077A v1.2 Table 13.15: bits 1:0 minimum size and alignment, bits 31:16 most pages (from 1.2).
pub mod buffer_size {
    use core::num::NonZeroU16;

    /// Smallest buffer 4 KiB, bits 1:0.
    pub const MIN_4K: u32 = 0;
    /// Smallest buffer 64 KiB, bits 1:0.
    pub const MIN_64K: u32 = 1;
    /// Smallest buffer 16 KiB, bits 1:0.
    pub const MIN_16K: u32 = 2;

    /// The word for a smallest size (one of the constants) and at most `pages` pages of 4 KiB; 0 for no limit.
    #[must_use]
    pub const fn word(min: u32, pages: u16) -> u32 {
        (pages as u32) << 16 | min & 3
    }

    /// Bytes of the smallest buffer, which are its alignment too, or `None` for the value that means nothing.
    #[must_use]
    pub const fn min_bytes(word: u32) -> Option<u32> {
        match word & 3 {
            MIN_4K => Some(0x1000),
            MIN_64K => Some(0x1_0000),
            MIN_16K => Some(0x4000),
            _ => None,
        }
    }

    /// The most pages of 4 KiB that a buffer may have, or `None` for no limit.
    #[must_use]
    pub const fn max_pages(word: u32) -> Option<NonZeroU16> {
        NonZeroU16::new((word >> 16) as u16)
    }
}

/// Properties of FFA_MEM_RETRIEVE_REQ in FFA_FEATURES.
///
/// # Specification
/// DEN0077A v1.1, FFA_FEATURES; from v1.2, DEN0140.
pub mod retrieve_properties {
    /// Bit 0 of w2, output: the descriptor may be in a buffer other than TX. FFA_MEM_SHARE, FFA_MEM_LEND and
    /// FFA_MEM_DONATE have the same bit before 1.2.
    pub const DYNAMIC_BUFFER: u32 = 1;
    /// Bit 1 of w2. Input: the caller understands the NS bit of a region. Output: it is given.
    pub const NS_BIT: u32 = 1 << 1;
    /// Bit 2 of w2, output: the hypervisor may retrieve what a VM shared, to learn what that was.
    pub const HYPERVISOR_RETRIEVE: u32 = 1 << 2;

    /// How often a receiver can retrieve one region before it relinquishes it: 2^(n+1) - 1 with n in bits 7:0 of w3,
    /// or as much of that as 64 bits can count.
    #[must_use]
    pub const fn outstanding(w3: u32) -> u64 {
        match 63_u32.checked_sub(w3 & 0xff) {
            Some(shift) => u64::MAX >> shift,
            None => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_buffer_sizes() {
        let table = [
            (buffer_size::MIN_4K, 1, 0x1_0000, Some(0x1000)),
            (buffer_size::MIN_64K, 16, 0x10_0001, Some(0x1_0000)),
            (buffer_size::MIN_16K, 0, 2, Some(0x4000)),
            (3, 0xffff, 0xffff_0003, None),
        ];
        for (min, pages, word, bytes) in table {
            assert_eq!(buffer_size::word(min, pages), word);
            assert_eq!(buffer_size::min_bytes(word), bytes);
            assert_eq!(buffer_size::max_pages(word).map_or(0, core::num::NonZeroU16::get), pages);
        }
    }

    #[test]
    fn counts_of_outstanding_retrievals() {
        let table =
            [(0, 1), (1, 3), (7, 255), (62, u64::MAX / 2), (63, u64::MAX), (64, u64::MAX), (0x101, 3)];
        for (w3, count) in table {
            assert_eq!(retrieve_properties::outstanding(w3), count, "{w3}");
        }
    }

    #[test]
    fn a_feature_is_asked_about_without_properties() {
        for (w1, feature) in [
            (1, FeatureId::NotificationPendingInterrupt),
            (2, FeatureId::ScheduleReceiverInterrupt),
            (3, FeatureId::ManagedExitInterrupt),
        ] {
            let query = |w1, w2| FeatureQuery::from_regs(&Regs::new([0x8400_0064, w1, w2]));
            assert_eq!(query(w1, 0), FeatureQuery::Feature(feature));
            let w1_read = w1 as u32;
            for bit in 0..32 {
                let w2 = 1_u32 << bit;
                assert_eq!(query(w1, u64::from(w2)), FeatureQuery::Unknown { w1: w1_read, w2 }, "bit {bit}");
            }
            for bit in 8..31 {
                let w1 = w1_read | 1 << bit;
                assert_eq!(query(u64::from(w1), 0), FeatureQuery::Unknown { w1, w2: 0 }, "bit {bit}");
            }
        }
    }
}
