use crate::{Function, FunctionId, Regs};

/// A feature that FFA_FEATURES is asked about by number.
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
    Unknown(u32),
}

impl FeatureQuery {
    #[inline]
    pub(crate) fn from_regs(regs: &Regs) -> Self {
        let w1 = regs.w::<1>();
        match FunctionId::from_w0(w1) {
            // A function ID is asked about as it is: the SVE hint has no meaning here.
            Ok(id) if id.w0() == w1 => Self::Function { id, properties: regs.w::<2>() },
            _ => match w1 {
                1 => Self::Feature(FeatureId::NotificationPendingInterrupt),
                2 => Self::Feature(FeatureId::ScheduleReceiverInterrupt),
                3 => Self::Feature(FeatureId::ManagedExitInterrupt),
                _ => Self::Unknown(w1),
            },
        }
    }

    pub(crate) fn to_regs(self) -> Regs {
        let w0 = FunctionId::smc32(Function::Features).w0();
        let (w1, w2) = match self {
            Self::Function { id, properties } => (id.w0(), properties),
            Self::Feature(feature) => (feature as u32, 0),
            Self::Unknown(w1) => (w1, 0),
        };
        Regs::new([u64::from(w0), u64::from(w1), u64::from(w2)])
    }
}

/// Properties of FFA_RXTX_MAP in w2 of FFA_FEATURES: sizes of the buffers.
///
/// # Specification
/// DEN0077A v1.2 Table 13.15: bits 1:0 minimum size and alignment, bits 31:16 most pages (from 1.2).
pub mod buffer_size {
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
}
