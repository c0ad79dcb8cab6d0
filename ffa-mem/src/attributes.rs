use crate::DescriptorError;

/// Memory region attributes of a transaction: no reserved bit and no reserved encoding.
///
/// With an unspecified type, cacheability is carried along as it came, since FF-A says to ignore it.
///
/// # Specification
/// FF-A v1.1 (DEN0077A issue E) Table 10.18; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct MemoryAttributes(u16);

/// Memory type, bits 5:4, with what bits 3:2 mean for it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MemoryType {
    /// Not specified.
    Unspecified,
    /// Device memory.
    Device(DeviceType),
    /// Normal memory.
    Normal(Cacheability),
}

/// Kind of device memory, bits 3:2.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DeviceType {
    /// Device-nGnRnE.
    NGnRnE,
    /// Device-nGnRE.
    NGnRE,
    /// Device-nGRE.
    NGRE,
    /// Device-GRE.
    GRE,
}

/// Cacheability of normal memory, bits 3:2.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cacheability {
    /// Non-cacheable.
    NonCacheable,
    /// Write-back.
    WriteBack,
}

/// Shareability, bits 1:0.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Shareability {
    /// Non-shareable.
    None,
    /// Outer shareable.
    Outer,
    /// Inner shareable.
    Inner,
}

impl MemoryAttributes {
    /// Nothing specified, as a lend to one borrower and a donation have it.
    pub const UNSPECIFIED: Self = Self(0);
    /// Normal memory, write-back, inner shareable (0x2f): the only attributes of a share.
    pub const NORMAL_WRITE_BACK_INNER: Self = Self(0x2f);

    const MBZ: u16 = 0xff80;
    const NON_SECURE: u16 = 1 << 6;

    /// Reads the 16-bit field.
    ///
    /// # Errors
    /// [`DescriptorError::Reserved`] for bits 15:7, [`DescriptorError::Attributes`] for type 3, shareability 1,
    /// and normal memory of cacheability 0 or 2.
    #[inline]
    pub const fn from_bits(bits: u16) -> Result<Self, DescriptorError> {
        if bits & Self::MBZ != 0 {
            return Err(DescriptorError::Reserved { field: "memory attributes", value: bits as u64 });
        }
        let reserved_type = bits & 0x30 == 0x30;
        let reserved_cacheability = bits & 0x34 == 0x20;
        let reserved_shareability = bits & 0x03 == 0x01;
        if reserved_type || reserved_cacheability || reserved_shareability {
            return Err(DescriptorError::Attributes { attributes: bits });
        }
        Ok(Self(bits))
    }

    /// For bits that [`from_bits`](Self::from_bits) took before.
    #[inline]
    pub(crate) const fn from_checked(bits: u16) -> Self {
        Self(bits)
    }

    /// The 16-bit field; bits 15:8 are zero, so that it fits the eight bits of 1.0.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Memory type, with cacheability or device kind.
    #[must_use]
    pub const fn memory_type(self) -> MemoryType {
        match (self.0 >> 4 & 3, self.0 >> 2 & 3) {
            (1, 0) => MemoryType::Device(DeviceType::NGnRnE),
            (1, 1) => MemoryType::Device(DeviceType::NGnRE),
            (1, 2) => MemoryType::Device(DeviceType::NGRE),
            (1, _) => MemoryType::Device(DeviceType::GRE),
            (2, 1) => MemoryType::Normal(Cacheability::NonCacheable),
            (2, _) => MemoryType::Normal(Cacheability::WriteBack),
            _ => MemoryType::Unspecified,
        }
    }

    /// Whether the type is specified.
    #[must_use]
    #[inline]
    pub const fn has_type(self) -> bool {
        self.0 & 0x30 != 0
    }

    /// Shareability.
    #[must_use]
    pub const fn shareability(self) -> Shareability {
        match self.0 & 3 {
            2 => Shareability::Outer,
            3 => Shareability::Inner,
            _ => Shareability::None,
        }
    }

    /// Whether bit 6, NS, is set. Only the SPMC may set it, in its answer to a retrieve request.
    #[must_use]
    #[inline]
    pub const fn is_non_secure(self) -> bool {
        self.0 & Self::NON_SECURE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_value_is_a_type_or_an_error() {
        for bits in 0..=u16::MAX {
            let reserved = bits & 0xff80 != 0;
            let bad = bits & 3 == 1 || bits >> 4 & 3 == 3 || bits >> 4 & 3 == 2 && bits >> 2 & 1 == 0;
            let value = u64::from(bits);
            let expected = match (reserved, bad) {
                (true, _) => Err(DescriptorError::Reserved { field: "memory attributes", value }),
                (_, true) => Err(DescriptorError::Attributes { attributes: bits }),
                _ => Ok(MemoryAttributes(bits)),
            };
            assert_eq!(MemoryAttributes::from_bits(bits), expected, "{bits:#x}");
        }
    }

    #[test]
    fn reads_type_and_shareability() {
        let attributes = MemoryAttributes::NORMAL_WRITE_BACK_INNER;
        assert_eq!(attributes.memory_type(), MemoryType::Normal(Cacheability::WriteBack));
        assert_eq!(attributes.shareability(), Shareability::Inner);
        assert!(attributes.has_type() && !attributes.is_non_secure());
        let device = MemoryAttributes::from_bits(0x5a).unwrap();
        assert_eq!(device.memory_type(), MemoryType::Device(DeviceType::NGRE));
        assert_eq!(device.shareability(), Shareability::Outer);
        assert!(device.is_non_secure());
        assert_eq!(MemoryAttributes::UNSPECIFIED.memory_type(), MemoryType::Unspecified);
    }
}
