//! Conditions of RX and TX buffers.

/// What can be wrong with FFA_RXTX_MAP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MapCheck {
    /// The 32-bit form.
    Narrow,
    /// No pages.
    NoPages,
    /// More pages than the limit.
    TooManyPages,
    /// Bits of w3 above the page count are set.
    PagesReserved,
    /// Either address is zero.
    ZeroAddress,
    /// Both addresses are the same.
    SameAddress,
    /// An address is not aligned, or the buffers overlap.
    Misplaced,
    /// Buffers are mapped already.
    Mapped,
    /// A page is not non-secure memory, or is shared, lent or donated.
    NotOwned,
}
