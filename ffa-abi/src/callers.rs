use core::fmt;

/// Who may invoke a function, as a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Callers(u8);

impl Callers {
    /// A VM, at the non-secure virtual instance.
    pub const VM: Self = Self(1);
    /// The hypervisor, at the non-secure physical instance.
    pub const HYPERVISOR: Self = Self(2);
    /// A secure partition, at a secure instance.
    pub const SP: Self = Self(4);
    /// The SPMC, SPMD or hypervisor as the one who answers.
    pub const ANSWER: Self = Self(8);
    /// The SPMC, at the secure physical instance, in its own name.
    pub const SPMC: Self = Self(16);

    /// Nobody.
    pub(crate) const NONE: Self = Self(0);

    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for Callers {
    /// The members by name, in the order of who is nearest to a guest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::VM, "VM"),
            (Self::HYPERVISOR, "hypervisor"),
            (Self::SP, "SP"),
            (Self::SPMC, "SPMC"),
            (Self::ANSWER, "as an answer"),
        ];
        let members = names.into_iter().filter(|&(caller, _)| self.contains(caller));
        for (i, (_, name)) in members.enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}
