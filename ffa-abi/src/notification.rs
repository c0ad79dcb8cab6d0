use crate::call::reserved;
use crate::{CallError, Function, FunctionId, PartitionId, Regs};

/// A set of the 64 notifications that one receiver has in one direction: bit n is notification n.
///
/// # Specification
/// DEN0077A v1.1, chapter on notifications.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct NotificationBitmap(pub u64);

impl NotificationBitmap {
    /// No notification.
    pub const NONE: Self = Self(0);

    /// From two registers: notifications 0 to 31, then 32 to 63.
    #[must_use]
    pub const fn from_words(low: u32, high: u32) -> Self {
        Self((high as u64) << 32 | low as u64)
    }

    /// The low word, then the high word, as registers carry them.
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        [self.0 & 0xffff_ffff, self.0 >> 32]
    }

    /// Whether there is no notification in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Whom in the receiver a notification is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NotificationScope {
    /// The receiver as a whole.
    Global,
    /// One of its vCPUs, which FFA_NOTIFICATION_SET names.
    PerVcpu,
}

/// FFA_NOTIFICATION_BITMAP_CREATE: the hypervisor has the SPMC keep the notifications from SPs to a VM.
///
/// # Specification
/// DEN0077A v1.1, FFA_NOTIFICATION_BITMAP_CREATE.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NotificationBitmapCreate {
    /// The VM.
    pub vm: PartitionId,
    /// Number of its vCPUs.
    pub vcpus: u32,
}

impl NotificationBitmapCreate {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        Ok(Self { vm: vm(id, regs)?, vcpus: regs.w::<2>() })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let w0 = FunctionId::smc32(Function::NotificationBitmapCreate).w0();
        Regs::new([u64::from(w0), u64::from(self.vm.0), u64::from(self.vcpus)])
    }
}

/// FFA_NOTIFICATION_BITMAP_DESTROY: the hypervisor has no more use for what
/// [`NotificationBitmapCreate`] made.
///
/// # Specification
/// DEN0077A v1.1, FFA_NOTIFICATION_BITMAP_DESTROY.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NotificationBitmapDestroy {
    /// The VM.
    pub vm: PartitionId,
}

impl NotificationBitmapDestroy {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        Ok(Self { vm: vm(id, regs)? })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let w0 = FunctionId::smc32(Function::NotificationBitmapDestroy).w0();
        Regs::new([u64::from(w0), u64::from(self.vm.0)])
    }
}

fn vm(id: FunctionId, regs: &Regs) -> Result<PartitionId, CallError> {
    Ok(PartitionId(reserved(id, 1, u64::from(regs.w::<1>()), 0xffff)? as u16))
}

/// FFA_NOTIFICATION_BIND: the receiver lets a sender signal it. The bitmap may come empty, which a server refuses.
///
/// # Specification
/// DEN0077A v1.1, FFA_NOTIFICATION_BIND.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NotificationBind {
    /// Who shall signal, bits 31:16 of w1.
    pub sender: PartitionId,
    /// Who asks, or for whom is asked; bits 15:0 of w1.
    pub receiver: PartitionId,
    /// Bit 0 of w2.
    pub scope: NotificationScope,
    /// Which notifications.
    pub bitmap: NotificationBitmap,
}

/// Bit 0 of w2 in BIND and SET.
const PER_VCPU: u32 = 1;

impl NotificationBind {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        let scope = match reserved(id, 2, u64::from(regs.w::<2>()), u64::from(PER_VCPU))? {
            0 => NotificationScope::Global,
            _ => NotificationScope::PerVcpu,
        };
        Ok(Self { sender, receiver, scope, bitmap: bitmap(regs) })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let flags = match self.scope {
            NotificationScope::Global => 0,
            NotificationScope::PerVcpu => PER_VCPU,
        };
        signal(Function::NotificationBind, self.sender, self.receiver, flags, self.bitmap)
    }
}

/// FFA_NOTIFICATION_UNBIND: the receiver takes back what [`NotificationBind`] gave.
///
/// # Specification
/// DEN0077A v1.1, FFA_NOTIFICATION_UNBIND.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NotificationUnbind {
    /// Who could signal, bits 31:16 of w1.
    pub sender: PartitionId,
    /// Who asks, or for whom is asked; bits 15:0 of w1.
    pub receiver: PartitionId,
    /// Which notifications.
    pub bitmap: NotificationBitmap,
}

impl NotificationUnbind {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        reserved(id, 2, u64::from(regs.w::<2>()), 0)?;
        Ok(Self { sender, receiver, bitmap: bitmap(regs) })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        signal(Function::NotificationUnbind, self.sender, self.receiver, 0, self.bitmap)
    }
}

/// FFA_NOTIFICATION_SET: the sender signals.
///
/// # Specification
/// DEN0077A v1.1, FFA_NOTIFICATION_SET.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NotificationSet {
    /// Who signals, bits 31:16 of w1.
    pub sender: PartitionId,
    /// Who is signalled, bits 15:0 of w1.
    pub receiver: PartitionId,
    /// Bits 31:16 of w2: the receiver's vCPU, or `None` for a global notification, where they must be zero.
    pub vcpu: Option<u16>,
    /// Bit 1 of w2: the schedule receiver interrupt may wait until the sender gives its processor up.
    pub delay_schedule_receiver: bool,
    /// Which notifications.
    pub bitmap: NotificationBitmap,
}

impl NotificationSet {
    const DELAY: u32 = 2;

    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let (sender, receiver) = PartitionId::split(regs.w::<1>());
        let w2 = regs.w::<2>();
        let per_vcpu = w2 & PER_VCPU != 0;
        let vcpu_field = if per_vcpu { 0xffff_0000 } else { 0 };
        reserved(id, 2, u64::from(w2), u64::from(PER_VCPU | Self::DELAY | vcpu_field))?;
        Ok(Self {
            sender,
            receiver,
            vcpu: per_vcpu.then_some((w2 >> 16) as u16),
            delay_schedule_receiver: w2 & Self::DELAY != 0,
            bitmap: bitmap(regs),
        })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let vcpu = self.vcpu.map_or(0, |vcpu| u32::from(vcpu) << 16 | PER_VCPU);
        let delay = if self.delay_schedule_receiver { Self::DELAY } else { 0 };
        signal(Function::NotificationSet, self.sender, self.receiver, vcpu | delay, self.bitmap)
    }
}

fn bitmap(regs: &Regs) -> NotificationBitmap {
    NotificationBitmap::from_words(regs.w::<3>(), regs.w::<4>())
}

fn signal(
    function: Function,
    sender: PartitionId,
    receiver: PartitionId,
    w2: u32,
    bitmap: NotificationBitmap,
) -> Regs {
    let [low, high] = bitmap.words();
    let w1 = PartitionId::pair(sender, receiver);
    Regs::new([u64::from(FunctionId::smc32(function).w0()), u64::from(w1), u64::from(w2), low, high])
}
