use ffa_abi::PartitionId;

/// The most receivers of one transaction.
///
/// FF-A sets no limit, but a receiver that is named twice must be found, and without an allocator that takes up to
/// `n * n / 2` comparisons: a guest must not choose `n`. Real SPMCs take far fewer (Hafnium two).
pub const MAX_RECEIVERS: u32 = 64;

/// A borrower or new owner, and what it may do with the memory.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Receiver {
    /// The endpoint.
    pub id: PartitionId,
    /// Its access.
    pub permissions: Permissions,
    /// Implementation-defined value of 1.2 as two little-endian words; zero in descriptors that have none.
    pub impdef: [u64; 2],
}

/// Memory access permissions of a receiver.
///
/// # Specification
/// FF-A v1.1 (DEN0077A issue E) Table 10.15; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Permissions {
    /// Data access, bits 1:0.
    pub data: DataAccess,
    /// Instruction access, bits 3:2. Never specified by a sender.
    pub instruction: InstructionAccess,
}

/// Data access permission.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum DataAccess {
    /// Not specified, as in a donation.
    #[default]
    Unspecified = 0,
    /// Read only.
    ReadOnly = 1,
    /// Read and write.
    ReadWrite = 2,
}

/// Instruction access permission.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum InstructionAccess {
    /// Not specified.
    #[default]
    Unspecified = 0,
    /// Not executable.
    NotExecutable = 1,
    /// Executable.
    Executable = 2,
}

impl Permissions {
    /// Read and write, as a sender asks for it.
    pub const READ_WRITE: Self = Self::data(DataAccess::ReadWrite);
    /// Read only, as a sender asks for it.
    pub const READ_ONLY: Self = Self::data(DataAccess::ReadOnly);

    /// Data access alone; instruction access is not specified.
    #[must_use]
    #[inline]
    pub const fn data(data: DataAccess) -> Self {
        Self { data, instruction: InstructionAccess::Unspecified }
    }

    /// Reads the byte; `None` for a reserved bit (7:4) or encoding (3).
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        let data = match bits & 3 {
            0 => DataAccess::Unspecified,
            1 => DataAccess::ReadOnly,
            2 => DataAccess::ReadWrite,
            _ => return None,
        };
        let instruction = match bits >> 2 {
            0 => InstructionAccess::Unspecified,
            1 => InstructionAccess::NotExecutable,
            2 => InstructionAccess::Executable,
            _ => return None,
        };
        Some(Self { data, instruction })
    }

    /// The byte.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u8 {
        self.data as u8 | (self.instruction as u8) << 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_or_is_reserved() {
        for bits in 0..=u8::MAX {
            let reserved = bits >> 4 != 0 || bits & 3 == 3 || bits >> 2 & 3 == 3;
            assert_eq!(Permissions::from_bits(bits).map(Permissions::bits), (!reserved).then_some(bits));
        }
    }
}
