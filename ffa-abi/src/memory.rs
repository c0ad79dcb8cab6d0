use crate::call::{cut, reserved};
use crate::{CallError, Function, FunctionId, Handle, PartitionId, Regs, Width};

/// Kind of a memory transaction.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Transaction {
    /// The owner keeps its access.
    Share,
    /// The owner gives its access up until it reclaims.
    Lend,
    /// The owner gives the memory away.
    Donate,
}

impl Transaction {
    /// The function that begins it.
    #[must_use]
    pub const fn function(self) -> Function {
        match self {
            Self::Share => Function::MemShare,
            Self::Lend => Function::MemLend,
            Self::Donate => Function::MemDonate,
        }
    }
}

/// FFA_MEM_SHARE, FFA_MEM_LEND or FFA_MEM_DONATE.
///
/// # Specification
/// DEN0077A v1.1 sections 16.1 to 16.3; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemSend {
    /// Width of the call.
    pub width: Width,
    /// Which of the three.
    pub transaction: Transaction,
    /// Length in bytes of the whole descriptor.
    pub total_len: u32,
    /// Length in bytes of the part that comes with this call.
    pub fragment_len: u32,
    /// Address of a buffer other than TX, or zero.
    pub address: u64,
    /// Size in 4 KiB pages of that buffer, or zero.
    pub pages: u32,
}

impl MemSend {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    #[must_use]
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Self {
        let transaction = match id.function() {
            Function::MemLend => Transaction::Lend,
            Function::MemDonate => Transaction::Donate,
            _ => Transaction::Share,
        };
        Self {
            width: id.width(),
            transaction,
            total_len: regs.w::<1>(),
            fragment_len: regs.w::<2>(),
            address: cut(id.width(), regs.x::<3>()),
            pages: regs.w::<4>(),
        }
    }

    /// Registers of the call.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        // All three exist in both widths.
        let base = match self.transaction {
            Transaction::Share => const { FunctionId::smc32(Function::MemShare).w0() },
            Transaction::Lend => const { FunctionId::smc32(Function::MemLend).w0() },
            Transaction::Donate => const { FunctionId::smc32(Function::MemDonate).w0() },
        };
        let w0 = match self.width {
            Width::Smc32 => base,
            Width::Smc64 => base | 1 << 30,
        };
        Regs::new([
            u64::from(w0),
            u64::from(self.total_len),
            u64::from(self.fragment_len),
            cut(self.width, self.address),
            u64::from(self.pages),
        ])
    }
}

/// FFA_MEM_RETRIEVE_REQ.
///
/// # Specification
/// DEN0077A v1.1 section 16.4; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemRetrieveReq {
    /// Width of the call.
    pub width: Width,
    /// Length in bytes of the whole descriptor.
    pub total_len: u32,
    /// Length in bytes of the part that comes with this call.
    pub fragment_len: u32,
    /// Address of a buffer other than TX, or zero.
    pub address: u64,
    /// Size in 4 KiB pages of that buffer, or zero.
    pub pages: u32,
}

impl MemRetrieveReq {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    #[must_use]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Self {
        Self {
            width: id.width(),
            total_len: regs.w::<1>(),
            fragment_len: regs.w::<2>(),
            address: cut(id.width(), regs.x::<3>()),
            pages: regs.w::<4>(),
        }
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let w0 = match self.width {
            Width::Smc32 => const { FunctionId::smc32(Function::MemRetrieveReq).w0() },
            Width::Smc64 => const { FunctionId::smc64(Function::MemRetrieveReq).w0() },
        };
        let lengths = [self.total_len, self.fragment_len].map(u64::from);
        let address = cut(self.width, self.address);
        Regs::new([u64::from(w0), lengths[0], lengths[1], address, u64::from(self.pages)])
    }
}

/// FFA_MEM_RETRIEVE_RESP: the first part of the descriptor is in RX.
///
/// # Specification
/// DEN0077A v1.1 section 16.5; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemRetrieveResp {
    /// Length in bytes of the whole descriptor.
    pub total_len: u32,
    /// Length in bytes of the part that is in RX.
    pub fragment_len: u32,
}

impl MemRetrieveResp {
    /// Reads the registers of an answer; `None` if it is another one.
    #[must_use]
    pub fn from_answer(regs: &Regs) -> Option<Self> {
        let w0 = const { FunctionId::smc32(Function::MemRetrieveResp).w0() };
        (regs.w::<0>() == w0).then(|| Self { total_len: regs.w::<1>(), fragment_len: regs.w::<2>() })
    }

    /// Registers of the answer.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let w0 = const { FunctionId::smc32(Function::MemRetrieveResp).w0() };
        Regs::new([w0, self.total_len, self.fragment_len].map(u64::from))
    }
}

/// Flags of FFA_MEM_RECLAIM.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct ReclaimFlags(u32);

impl ReclaimFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Bit 0: zero the memory before it comes back.
    pub const ZERO: Self = Self(1);
    /// Bit 1: the operation may be time-sliced.
    pub const TIME_SLICE: Self = Self(2);

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The word for w3.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }
}

/// FFA_MEM_RECLAIM.
///
/// # Specification
/// DEN0077A v1.1 section 16.7; from v1.2, DEN0140.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MemReclaim {
    /// The transaction.
    pub handle: Handle,
    /// Flags.
    pub flags: ReclaimFlags,
}

impl MemReclaim {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Handle`] for all ones, [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let handle = handle(id, regs)?;
        let flags = reserved(id, 3, u64::from(regs.w::<3>()), 3)?;
        Ok(Self { handle, flags: ReclaimFlags(flags as u32) })
    }

    /// Registers of the call.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        let [low, high] = self.handle.words();
        let w0 = const { FunctionId::smc32(Function::MemReclaim).w0() };
        Regs::new([u64::from(w0), low, high, u64::from(self.flags.0)])
    }
}

/// FFA_MEM_FRAG_RX: the caller wants the descriptor from `offset` on.
///
/// # Specification
/// DEN0077A v1.1 section 16.8.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MemFragRx {
    /// The transaction.
    pub handle: Handle,
    /// Offset in bytes of the next byte wanted.
    pub offset: u32,
    /// The endpoint concerned; zero at a virtual instance, and from OP-TEE.
    pub endpoint: PartitionId,
}

impl MemFragRx {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Handle`] for all ones, [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let w4 = reserved(id, 4, u64::from(regs.w::<4>()), 0xffff_0000)?;
        Ok(Self {
            handle: handle(id, regs)?,
            offset: regs.w::<3>(),
            endpoint: PartitionId((w4 >> 16) as u16),
        })
    }

    /// Registers of the call.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        fragment(Function::MemFragRx, self.handle, self.offset, self.endpoint)
    }
}

/// FFA_MEM_FRAG_TX: the next part of a descriptor.
///
/// # Specification
/// DEN0077A v1.1 section 16.9.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MemFragTx {
    /// The transaction.
    pub handle: Handle,
    /// Length in bytes of the part.
    pub fragment_len: u32,
    /// The sender; zero at a virtual instance.
    pub endpoint: PartitionId,
}

impl MemFragTx {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Handle`] for all ones, [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let w4 = reserved(id, 4, u64::from(regs.w::<4>()), 0xffff_0000)?;
        Ok(Self {
            handle: handle(id, regs)?,
            fragment_len: regs.w::<3>(),
            endpoint: PartitionId((w4 >> 16) as u16),
        })
    }

    /// Registers of the call.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        fragment(Function::MemFragTx, self.handle, self.fragment_len, self.endpoint)
    }
}

#[inline]
fn handle(id: FunctionId, regs: &Regs) -> Result<Handle, CallError> {
    Handle::from_words(regs.w::<1>(), regs.w::<2>()).map_err(|_| CallError::Handle { function: id })
}

fn fragment(function: Function, handle: Handle, w3: u32, endpoint: PartitionId) -> Regs {
    let [low, high] = handle.words();
    let w0 = FunctionId::smc32(function).w0();
    Regs::new([u64::from(w0), low, high, u64::from(w3), u64::from(endpoint.0) << 16])
}
