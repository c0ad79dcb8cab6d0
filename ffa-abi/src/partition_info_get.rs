use crate::call::reserved;
use crate::{CallError, Function, FunctionId, Regs, Uuid};

/// FFA_PARTITION_INFO_GET.
///
/// # Specification
/// DEN0077A v1.1 section 13.8.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PartitionInfoGet {
    /// Which partitions; nil for all.
    pub uuid: Uuid,
    /// Only the number is wanted: no RX buffer takes part.
    pub count_only: bool,
}

impl PartitionInfoGet {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let flags = reserved(id, 5, u64::from(regs.w::<5>()), 1)?;
        let uuid = Uuid::from_words([regs.w::<1>(), regs.w::<2>(), regs.w::<3>(), regs.w::<4>()]);
        Ok(Self { uuid, count_only: flags != 0 })
    }

    /// Registers of the call.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        let [w1, w2, w3, w4] = self.uuid.words().map(u64::from);
        let w0 = FunctionId::smc32(Function::PartitionInfoGet).w0();
        Regs::new([u64::from(w0), w1, w2, w3, w4, u64::from(self.count_only)])
    }
}
