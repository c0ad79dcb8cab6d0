use core::fmt;
use core::num::NonZeroU64;

/// ID of an FF-A endpoint. Every value is legal; bit 15 set means secure world by convention only.
///
/// # Specification
/// DEN0077A v1.1 section 6.1.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// The hypervisor, or the only OS kernel of the normal world.
    pub const HYPERVISOR: Self = Self(0);

    /// Whether bit 15, by convention the mark of a secure endpoint, is set.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        self.0 & 0x8000 != 0
    }

    /// `first` in bits 31:16 and `second` in bits 15:0, as w1 of many calls has them.
    #[must_use]
    #[inline]
    pub const fn pair(first: Self, second: Self) -> u32 {
        (first.0 as u32) << 16 | second.0 as u32
    }

    /// The two IDs of a w1: bits 31:16, then bits 15:0.
    #[must_use]
    #[inline]
    pub const fn split(word: u32) -> (Self, Self) {
        (Self((word >> 16) as u16), Self(word as u16))
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// Names one memory transaction. Never all ones, which FF-A reserves for "no handle".
///
/// # Specification
/// DEN0077A v1.1 section 10.10.2: 64 bits, bit 63 set when the hypervisor allocated it.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct Handle {
    /// The complement, so that the reserved value is the niche of `Option<Handle>`.
    complement: NonZeroU64,
}

/// All ones is no handle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("all ones is not a memory handle")]
pub struct InvalidHandle;

impl Handle {
    /// The reserved value that is no handle.
    pub const INVALID: u64 = u64::MAX;

    /// Checks that `raw` is not the reserved value.
    ///
    /// # Errors
    /// [`InvalidHandle`] for all ones.
    #[inline]
    pub const fn new(raw: u64) -> Result<Self, InvalidHandle> {
        match NonZeroU64::new(!raw) {
            Some(complement) => Ok(Self { complement }),
            None => Err(InvalidHandle),
        }
    }

    /// Joins the two registers that carry a handle; upper halves are ignored.
    ///
    /// # Errors
    /// [`InvalidHandle`] for all ones.
    #[inline]
    pub const fn from_words(low: u32, high: u32) -> Result<Self, InvalidHandle> {
        Self::new((high as u64) << 32 | low as u64)
    }

    /// The 64-bit value.
    #[must_use]
    pub const fn get(self) -> u64 {
        !self.complement.get()
    }

    /// The low word, then the high word, as registers carry them.
    #[must_use]
    #[inline]
    pub const fn words(self) -> [u64; 2] {
        [self.get() & 0xffff_ffff, self.get() >> 32]
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.get())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({self})")
    }
}

/// UUID of a partition or service, in the byte order of its text form.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// All zero: "any" in a query, "none given" in a record.
    pub const NIL: Self = Self([0; 16]);

    /// From four words as w1 to w4 carry them: each word little-endian.
    #[must_use]
    pub const fn from_words(words: [u32; 4]) -> Self {
        let mut bytes = [0; 16];
        let mut i = 0;
        while i < 16 {
            bytes[i] = words[i / 4].to_le_bytes()[i % 4];
            i += 1;
        }
        Self(bytes)
    }

    /// The four words of w1 to w4.
    #[must_use]
    pub const fn words(self) -> [u32; 4] {
        let mut words = [0; 4];
        let mut i = 0;
        while i < 4 {
            let at = i * 4;
            words[i] = u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]]);
            i += 1;
        }
        words
    }

    /// From two registers as calls of 1.2 carry it: each little-endian.
    #[must_use]
    pub const fn from_halves(halves: [u64; 2]) -> Self {
        let [low, high] = halves;
        Self::from_words([low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32])
    }

    /// The two registers of calls of 1.2.
    #[must_use]
    pub const fn halves(self) -> [u64; 2] {
        let words = self.words();
        [words[0] as u64 | (words[1] as u64) << 32, words[2] as u64 | (words[3] as u64) << 32]
    }

    /// Whether every byte is zero.
    #[must_use]
    pub fn is_nil(self) -> bool {
        self == Self::NIL
    }
}
