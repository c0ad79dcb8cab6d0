use core::fmt;

/// A version of FF-A, ordered by major, then minor.
///
/// # Specification
/// DEN0077A v1.1 section 13.2: bit 31 MBZ, bits 30:16 major, bits 15:0 minor.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(u32);

/// Why a version word or a version was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// Bit 31 must be zero; all of NOT_SUPPORTED has it set.
    #[error("version word {word:#x} has bit 31 set")]
    Reserved {
        /// The word as it came.
        word: u32,
    },
    /// No version serves both sides.
    #[error("version {theirs} is not compatible with {ours}")]
    Incompatible {
        /// What the other side asked for or offered.
        theirs: Version,
        /// What this side has.
        ours: Version,
    },
}

impl Version {
    /// FF-A 1.0.
    pub const V1_0: Self = Self::new(1, 0);
    /// FF-A 1.1.
    pub const V1_1: Self = Self::new(1, 1);
    /// FF-A 1.2.
    pub const V1_2: Self = Self::new(1, 2);
    /// FF-A 1.3, known so that its calls can be refused by name.
    pub const V1_3: Self = Self::new(1, 3);

    /// `major`.`minor`; bit 15 of `major` is dropped, as the word has no room for it.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self((major as u32 & 0x7fff) << 16 | minor as u32)
    }

    /// Reads w1 of FFA_VERSION.
    ///
    /// # Errors
    /// [`VersionError::Reserved`] if bit 31 is set.
    pub const fn from_word(word: u32) -> Result<Self, VersionError> {
        if word >> 31 != 0 { Err(VersionError::Reserved { word }) } else { Ok(Self(word)) }
    }

    /// The word as w0 or w1 carries it.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// Major number.
    #[must_use]
    pub const fn major(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Minor number.
    #[must_use]
    pub const fn minor(self) -> u16 {
        self.0 as u16
    }

    /// The version that both sides then use: the lower one of the same major.
    ///
    /// # Errors
    /// [`VersionError::Incompatible`] if the majors differ.
    pub fn negotiate(self, theirs: Self) -> Result<Self, VersionError> {
        if self.major() == theirs.major() {
            Ok(self.min(theirs))
        } else {
            Err(VersionError::Incompatible { theirs, ours: self })
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

/// FFA_VERSION's answer, which is neither FFA_SUCCESS nor FFA_ERROR.
pub mod version_answer {
    use super::{Version, VersionError};
    use crate::Regs;

    /// x0 for `version`, or NOT_SUPPORTED sign-extended to 64 bits, which is what Linux before 6.12 compares with.
    #[must_use]
    pub const fn to_regs(version: Option<Version>) -> Regs {
        match version {
            Some(version) => Regs::new([version.word() as u64]),
            None => Regs::new([u64::MAX]),
        }
    }

    /// The version in w0.
    ///
    /// # Errors
    /// [`VersionError::Reserved`] for NOT_SUPPORTED and any other word with bit 31 set.
    pub const fn from_regs(regs: &Regs) -> Result<Version, VersionError> {
        Version::from_word(regs.w::<0>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiates_the_lower_minor_of_one_major() {
        let ours = Version::V1_2;
        assert_eq!(ours.negotiate(Version::V1_0), Ok(Version::V1_0));
        assert_eq!(ours.negotiate(Version::new(1, 9)), Ok(Version::V1_2));
        for theirs in [Version::new(0, 9), Version::new(2, 0)] {
            assert_eq!(ours.negotiate(theirs), Err(VersionError::Incompatible { theirs, ours }));
        }
    }

    #[test]
    fn refuses_bit_31() {
        for word in [0x8000_0000, 0xffff_ffff, 0x8001_0001] {
            assert_eq!(Version::from_word(word), Err(VersionError::Reserved { word }));
        }
        assert_eq!(
            version_answer::from_regs(&version_answer::to_regs(None)),
            Err(VersionError::Reserved { word: u32::MAX })
        );
    }
}
