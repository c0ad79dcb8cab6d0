//! A load or store to a device, as the syndrome of its abort describes it: Arm ARM (DDI 0487) section D17.2.37, "ISS encoding
//! for an exception from a Data Abort".

use crate::vcpu::Context;

/// Whether the description below is there at all.
const VALID: u64 = 1 << 24;
/// Logarithm of the bytes that are accessed.
const SIZE_SHIFT: u32 = 22;
const SIZE_MASK: u64 = 0b11;
const SIGN_EXTENDED: u64 = 1 << 21;
const REGISTER_SHIFT: u32 = 16;
const REGISTER_MASK: u64 = 0x1f;
/// The register has 64 bits.
const WIDE: u64 = 1 << 15;
/// It was an access to a translation table, not one of the instruction's.
const TABLE_WALK: u64 = 1 << 7;
const STORE: u64 = 1 << 6;
/// Of the fault status, what kind of fault it was at whatever level.
const FAULT_MASK: u64 = 0b11_1100;
const TRANSLATION_FAULT: u64 = 0b00_0100;

/// What a load or store to memory that does not exist would have done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Access {
    /// 1, 2, 4 or 8.
    pub bytes: u32,
    /// The number of the general-purpose register; 31 is zero.
    register: usize,
    is_store: bool,
    is_sign_extended: bool,
    is_wide: bool,
}

impl Access {
    /// The access that aborted, if it can be done by somebody else: there is nothing mapped, and it was one load or store
    /// of one register, without writeback.
    pub fn from_syndrome(syndrome: u64) -> Option<Self> {
        let is_possible =
            syndrome & VALID != 0 && syndrome & TABLE_WALK == 0 && syndrome & FAULT_MASK == TRANSLATION_FAULT;
        is_possible.then_some(Self {
            bytes: 1 << (syndrome >> SIZE_SHIFT & SIZE_MASK),
            register: (syndrome >> REGISTER_SHIFT & REGISTER_MASK) as usize,
            is_store: syndrome & STORE != 0,
            is_sign_extended: syndrome & SIGN_EXTENDED != 0,
            is_wide: syndrome & WIDE != 0,
        })
    }

    /// What is stored, if something is.
    pub fn stored(self, context: &Context) -> Option<u64> {
        self.is_store.then(|| context.register(self.register) & self.mask())
    }

    /// Ends the access: a load has read `value`.
    pub fn finish(self, context: &mut Context, value: u64) {
        if self.is_store {
            return;
        }
        let unused = u64::BITS - 8 * self.bytes;
        let value = value & self.mask();
        let value = if self.is_sign_extended {
            (value.cast_signed() << unused >> unused).cast_unsigned()
        } else {
            value
        };
        context.set_register(self.register, if self.is_wide { value } else { u64::from(value as u32) });
    }

    fn mask(self) -> u64 {
        u64::MAX >> (u64::BITS - 8 * self.bytes)
    }
}
