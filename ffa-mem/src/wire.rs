//! Layout of memory transaction descriptors: bytes only, any bit pattern, no meaning.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

/// Memory transaction descriptor header of 1.0, 32 bytes, and the first 32 bytes of those from 1.1 on.
/// FF-A v1.0 (DEN0077A issue A) Table 5.19.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HeaderV1_0 {
    pub sender: U16,
    pub attributes: U16, // 1.0: byte 2; byte 3 MBZ, as bits 15:8 are later
    pub flags: U32,
    pub handle: U64,
    pub tag: U64,
    pub emad_size: U32, // 1.0: MBZ
    pub emad_count: U32,
}
const _: () = assert!(size_of::<HeaderV1_0>() == 32);

/// Memory transaction descriptor header from 1.1 on, 48 bytes.
/// FF-A v1.1 (DEN0077A issue E) Table 10.20; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HeaderV1_1 {
    pub start: HeaderV1_0,
    pub emad_offset: U32, // from the start of the descriptor
    pub reserved_36: U32, // MBZ
    pub reserved_40: U64, // MBZ
}
const _: () = assert!(size_of::<HeaderV1_1>() == 48);

/// What both endpoint memory access descriptors (EMAD) begin with, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EmadHead {
    pub receiver: U16,
    pub permissions: u8,
    pub flags: u8,
    pub composite_offset: U32, // from the start of the transaction descriptor
}
const _: () = assert!(size_of::<EmadHead>() == 8);

/// Endpoint memory access descriptor of 1.0 and 1.1, 16 bytes.
/// FF-A v1.1 (DEN0077A issue E) Tables 10.15 and 10.16.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EmadV1_0 {
    pub head: EmadHead,
    pub reserved: U64, // MBZ
}
const _: () = assert!(size_of::<EmadV1_0>() == 16);

/// Endpoint memory access descriptor from 1.2 on, 32 bytes. DEN0140.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EmadV1_2 {
    pub head: EmadHead,
    pub impdef: [U64; 2],
    pub reserved: U64, // MBZ
}
const _: () = assert!(size_of::<EmadV1_2>() == 32);

/// Composite memory region descriptor without its constituents, 16 bytes.
/// FF-A v1.1 (DEN0077A issue E) Table 10.13.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Composite {
    pub total_pages: U32, // 4 KiB pages
    pub range_count: U32,
    pub reserved: U64, // MBZ
}
const _: () = assert!(size_of::<Composite>() == 16);

/// Constituent memory region descriptor, 16 bytes. FF-A v1.1 (DEN0077A issue E) Table 10.14.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Constituent {
    pub address: U64,    // 4 KiB aligned
    pub page_count: U32, // 4 KiB pages
    pub reserved: U32,   // MBZ
}
const _: () = assert!(size_of::<Constituent>() == 16);

/// Endpoint RX/TX descriptor without the composites that it refers to, 16 bytes.
/// FF-A v1.1 (DEN0077A issue E), FFA_RXTX_MAP.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Endpoint {
    pub endpoint: U16,
    pub reserved: U16,  // MBZ
    pub rx_offset: U32, // of a composite, from the start of the descriptor
    pub tx_offset: U32, // likewise
    pub padding: U32,
}
const _: () = assert!(size_of::<Endpoint>() == 16);

/// Relinquish descriptor with one endpoint, 18 bytes. FF-A v1.1 (DEN0077A issue E) section 16.6.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Relinquish {
    pub handle: U64,
    pub flags: U32,
    pub endpoint_count: U32,
    pub endpoint: U16,
}
const _: () = assert!(size_of::<Relinquish>() == 18);

impl Constituent {
    /// With the reserved word zero: in one store with the page count, which is half of what building a descriptor is.
    #[inline]
    pub fn new(address: u64, page_count: u32) -> Self {
        transmute!([U64::new(address), U64::new(page_count.into())])
    }
}

/// An endpoint memory access descriptor of either size.
pub trait Emad: FromBytes + Immutable + KnownLayout {
    /// The part that both have.
    fn head(&self) -> &EmadHead;
    /// The implementation-defined value, zero where there is none.
    fn impdef(&self) -> [u64; 2];
    /// The reserved field.
    fn reserved(&self) -> u64;
}

impl Emad for EmadV1_0 {
    #[inline]
    fn head(&self) -> &EmadHead {
        &self.head
    }

    #[inline]
    fn impdef(&self) -> [u64; 2] {
        [0; 2]
    }

    #[inline]
    fn reserved(&self) -> u64 {
        self.reserved.get()
    }
}

impl Emad for EmadV1_2 {
    #[inline]
    fn head(&self) -> &EmadHead {
        &self.head
    }

    #[inline]
    fn impdef(&self) -> [u64; 2] {
        self.impdef.map(U64::get)
    }

    #[inline]
    fn reserved(&self) -> u64 {
        self.reserved.get()
    }
}
