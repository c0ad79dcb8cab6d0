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
    /// A page is not non-secure memory, or is shared, lent, donated or in another buffer.
    NotOwned,
}

/// What can be wrong with FFA_RXTX_MAP on behalf of a VM, besides the buffers themselves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VmMapCheck {
    /// The 32-bit form.
    Narrow,
    /// The hypervisor has no TX buffer of its own, or it cannot be read.
    NoBuffer,
    /// The descriptor's reserved fields are not zero.
    Reserved,
    /// An offset is not a multiple of 8.
    Unaligned,
    /// A buffer's pages are not described inside TX, or over the descriptor itself.
    PastBuffer,
    /// A buffer is not exactly one range that holds all of its pages, or the buffers differ in size.
    Pieces,
    /// The endpoint is the hypervisor or a secure one.
    NotVm,
    /// There is no room for another VM.
    NoSlot,
}

/// What can be wrong with FFA_RX_ACQUIRE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcquireCheck {
    /// The endpoint is a secure one.
    Secure,
    /// The VM is not known, or no buffers are mapped for it.
    NoBuffer,
    /// RX is not the SPMC's: it is full, or acquired already.
    NotFree,
}

/// What can be wrong with FFA_RX_RELEASE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReleaseCheck {
    /// Nothing is mapped for the VM.
    NoBuffer,
    /// RX is the SPMC's already.
    NotOwned,
    /// The VM was not told of the message in RX, or has not taken the notification.
    MessagePending,
}
