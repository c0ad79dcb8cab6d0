use crate::answer::success_width;
use crate::call::reserved;
use crate::{Answer, CallError, Function, FunctionId, NotificationBitmap, PartitionId, Regs};

/// Whose notifications FFA_NOTIFICATION_GET asks for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct NotificationSources(u32);

impl NotificationSources {
    /// Nobody's.
    pub const NONE: Self = Self(0);
    /// Bit 0: those of SPs.
    pub const SPS: Self = Self(1);
    /// Bit 1: those of VMs.
    pub const VMS: Self = Self(1 << 1);
    /// Bit 2: those of the framework, from the SPMC.
    pub const SPM: Self = Self(1 << 2);
    /// Bit 3: those of the framework, from the hypervisor.
    pub const HYPERVISOR: Self = Self(1 << 3);

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nobody is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The word for w2.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }
}

/// FFA_NOTIFICATION_GET: the receiver takes what is pending, and it is pending no longer.
///
/// # Specification
/// DEN0077A v1.1, FFA_NOTIFICATION_GET.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NotificationGet {
    /// Who asks, or for whom is asked; bits 15:0 of w1.
    pub receiver: PartitionId,
    /// Its vCPU whose notifications are wanted beside the global ones, bits 31:16 of w1.
    pub vcpu: u16,
    /// Whose notifications are wanted.
    pub sources: NotificationSources,
}

impl NotificationGet {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let (PartitionId(vcpu), receiver) = PartitionId::split(regs.w::<1>());
        let sources = reserved(id, 2, u64::from(regs.w::<2>()), 0xf)?;
        Ok(Self { receiver, vcpu, sources: NotificationSources(sources as u32) })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let w0 = FunctionId::smc32(Function::NotificationGet).w0();
        let w1 = PartitionId::pair(PartitionId(self.vcpu), self.receiver);
        Regs::new([u64::from(w0), u64::from(w1), u64::from(self.sources.0)])
    }
}

/// Notifications of the framework itself, from one of its two sides.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct FrameworkNotifications(pub u32);

impl FrameworkNotifications {
    /// None.
    pub const NONE: Self = Self(0);
    /// Bit 0: an indirect message is in the receiver's RX buffer.
    pub const RX_BUFFER_FULL: Self = Self(1);

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// FFA_NOTIFICATION_GET's answer: what was pending.
///
/// # Specification
/// DEN0077A v1.1, FFA_NOTIFICATION_GET: w2 and w3 from SPs, w4 and w5 from VMs, w6 and w7 from the framework.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct PendingNotifications {
    /// From SPs.
    pub from_sps: NotificationBitmap,
    /// From VMs.
    pub from_vms: NotificationBitmap,
    /// From the SPMC.
    pub from_spm: FrameworkNotifications,
    /// From the hypervisor.
    pub from_hypervisor: FrameworkNotifications,
}

impl PendingNotifications {
    /// Reads the registers that FFA_NOTIFICATION_GET left behind.
    ///
    /// # Errors
    /// The answer itself, if it is not FFA_SUCCESS.
    pub fn from_answer(regs: &Regs) -> Result<Self, Answer> {
        success_width(regs)?;
        Ok(Self {
            from_sps: NotificationBitmap::from_words(regs.w::<2>(), regs.w::<3>()),
            from_vms: NotificationBitmap::from_words(regs.w::<4>(), regs.w::<5>()),
            from_spm: FrameworkNotifications(regs.w::<6>()),
            from_hypervisor: FrameworkNotifications(regs.w::<7>()),
        })
    }

    /// Registers of the answer.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let [w2, w3] = self.from_sps.words();
        let [w4, w5] = self.from_vms.words();
        let w0 = FunctionId::smc32(Function::Success).w0();
        let [w6, w7] = [self.from_spm, self.from_hypervisor].map(|framework| u64::from(framework.0));
        Regs::new([u64::from(w0), 0, w2, w3, w4, w5, w6, w7])
    }

    /// What of this comes from `sources`: whoever asked for those may be told no more.
    #[must_use]
    pub fn only(self, sources: NotificationSources) -> Self {
        let mut wanted = Self::default();
        if sources.contains(NotificationSources::SPS) {
            wanted.from_sps = self.from_sps;
        }
        if sources.contains(NotificationSources::VMS) {
            wanted.from_vms = self.from_vms;
        }
        if sources.contains(NotificationSources::SPM) {
            wanted.from_spm = self.from_spm;
        }
        if sources.contains(NotificationSources::HYPERVISOR) {
            wanted.from_hypervisor = self.from_hypervisor;
        }
        wanted
    }
}
