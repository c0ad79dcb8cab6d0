use crate::call::{cut, reserved};
use crate::{CallError, Function, FunctionId, PartitionId, Regs, Width};

/// FFA_RXTX_MAP. A hypervisor that maps on behalf of a VM sends all zero with a descriptor in its TX buffer.
///
/// # Specification
/// DEN0077A v1.1 section 13.5.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RxTxMap {
    /// Width of the call.
    pub width: Width,
    /// Address of the TX buffer.
    pub tx: u64,
    /// Address of the RX buffer.
    pub rx: u64,
    /// Size of each buffer in 4 KiB pages, 0 to 63.
    pub pages: u8,
}

impl RxTxMap {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let pages = reserved(id, 3, u64::from(regs.w::<3>()), 0x3f)?;
        Ok(Self {
            width: id.width(),
            tx: cut(id.width(), regs.x::<1>()),
            rx: cut(id.width(), regs.x::<2>()),
            pages: pages as u8,
        })
    }

    /// Registers of the call.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        let id = match self.width {
            Width::Smc32 => FunctionId::smc32(Function::RxTxMap),
            Width::Smc64 => FunctionId::smc64(Function::RxTxMap),
        };
        Regs::new([
            u64::from(id.w0()),
            cut(self.width, self.tx),
            cut(self.width, self.rx),
            u64::from(self.pages),
        ])
    }
}

/// FFA_RXTX_UNMAP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RxTxUnmap {
    /// Whose buffers; zero except from hypervisor to SPMC, and from Linux before 7.0.
    pub endpoint: PartitionId,
}

impl RxTxUnmap {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let w1 = reserved(id, 1, u64::from(regs.w::<1>()), 0xffff_0000)?;
        Ok(Self { endpoint: PartitionId((w1 >> 16) as u16) })
    }

    /// Registers of the call.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        Regs::new([u64::from(FunctionId::smc32(Function::RxTxUnmap).w0()), u64::from(self.endpoint.0) << 16])
    }
}

/// FFA_RX_RELEASE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RxRelease {
    /// Whose buffer; zero except from hypervisor to SPMC.
    pub endpoint: PartitionId,
}

impl RxRelease {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let w1 = reserved(id, 1, u64::from(regs.w::<1>()), 0xffff)?;
        Ok(Self { endpoint: PartitionId(w1 as u16) })
    }

    /// Registers of the call.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        Regs::new([u64::from(FunctionId::smc32(Function::RxRelease).w0()), u64::from(self.endpoint.0)])
    }
}

/// FFA_RX_ACQUIRE: the hypervisor is about to write into the RX buffer of a VM whose buffers the SPMC knows.
///
/// # Specification
/// DEN0077A v1.1, FFA_RX_ACQUIRE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RxAcquire {
    /// Whose buffer.
    pub endpoint: PartitionId,
}

impl RxAcquire {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let w1 = reserved(id, 1, u64::from(regs.w::<1>()), 0xffff)?;
        Ok(Self { endpoint: PartitionId(w1 as u16) })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        Regs::new([u64::from(FunctionId::smc32(Function::RxAcquire).w0()), u64::from(self.endpoint.0)])
    }
}
