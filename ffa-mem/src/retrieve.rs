//! FFA_MEM_RETRIEVE_REQ and FFA_MEM_RETRIEVE_RESP: as a relayer reads the one and writes the other for a borrower, and
//! the other way round, with an SPMC.

use ffa_abi::Transaction;

pub use self::hypervisor::{HypervisorRetrieveRequest, HypervisorRetrieveResponse, RetrievedHead};
pub use self::request::RetrieveRequest;
pub use self::response::RetrieveResponse;

mod hypervisor;
mod request;
mod response;

/// Flags of a retrieve request or response.
///
/// # Specification
/// FF-A v1.1 (DEN0077A issue E) Tables 10.22 and 10.23; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct RetrieveFlags(u32);

impl RetrieveFlags {
    /// Bit 0: zero the memory before it is retrieved; in a response, that it was.
    pub const ZERO_BEFORE: Self = Self(1);
    /// Bit 1: the operation may be time-sliced.
    pub const TIME_SLICE: Self = Self(1 << 1);
    /// Bit 2: zero the memory after it is relinquished.
    pub const ZERO_AFTER: Self = Self(1 << 2);
    /// Bit 9: bits 8:5 are an alignment hint.
    pub const HINT_VALID: Self = Self(1 << 9);
    /// Bit 10: the other borrowers are not named.
    pub const OWN_ENTRY_ONLY: Self = Self(1 << 10);

    const TYPE: u32 = 3 << 3;
    const KNOWN: u32 = (1 << 11) - 1;

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags word.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// With all of `other` as well.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether bits 9:5 say anything of alignment.
    #[must_use]
    pub const fn has_hint(self) -> bool {
        self.0 >> 5 & 0x1f != 0
    }

    /// The transaction that bits 4:3 name, if they name one.
    #[must_use]
    pub const fn transaction(self) -> Option<Transaction> {
        match self.0 & Self::TYPE {
            0x08 => Some(Transaction::Share),
            0x10 => Some(Transaction::Lend),
            0x18 => Some(Transaction::Donate),
            _ => None,
        }
    }

    /// With bits 4:3 for this transaction.
    #[must_use]
    pub const fn with_transaction(self, transaction: Transaction) -> Self {
        let bits = match transaction {
            Transaction::Share => 0x08,
            Transaction::Lend => 0x10,
            Transaction::Donate => 0x18,
        };
        Self(self.0 & !Self::TYPE | bits)
    }
}
