use ffa_abi::Version;
use ffa_teardown::Policy;

/// What a hypervisor may set. Plain data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The highest version offered to guests and asked of the SPMC, 1.0 to 1.2.
    pub version: Version,
    /// Memory transactions that a VM may have open at the same time.
    pub shares_per_vm: u32,
    /// Pages of 4 KiB in one memory transaction.
    pub pages_per_share: u32,
    /// Pages of 4 KiB in each RX or TX buffer of a guest, 1 to 63.
    pub rxtx_pages: u8,
    /// Secure calls that one tick makes at most.
    pub budget: u32,
    /// Pace and limits of teardown.
    pub teardown: Policy,
}

impl Settings {
    /// FF-A 1.2; 32 shares of 512 KiB per VM; RX and TX of up to 64 KiB; 16 secure calls a tick.
    pub const DEFAULT: Self = Self {
        version: Version::V1_2,
        shares_per_vm: 32,
        pages_per_share: 128,
        rxtx_pages: 16,
        budget: 16,
        teardown: Policy::DEFAULT,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
