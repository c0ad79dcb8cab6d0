use core::num::NonZeroU32;

use crate::answer::success_width;
use crate::call::{cut, reserved};
use crate::{Answer, CallError, Function, FunctionId, Regs, Width};

/// How a partition may reach data.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DataPermission {
    /// Not at all.
    None,
    /// Reads and writes.
    ReadWrite,
    /// Reads.
    ReadOnly,
}

/// Permissions of a range in the address space of the partition that asks. Every mixture can be put into words; that
/// memory may not be written and executed is for whoever serves the call to say.
///
/// # Specification
/// DEN0077A v1.1, FFA_MEM_PERM_GET and FFA_MEM_PERM_SET: bits 1:0 data (2 is reserved), bit 2 execute-never.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MemPermissions {
    /// Bits 1:0.
    pub data: DataPermission,
    /// Whether bit 2 is clear.
    pub executable: bool,
}

impl MemPermissions {
    const EXECUTE_NEVER: u32 = 4;

    /// Reads a word, or `None` if it uses reserved bits or values.
    #[must_use]
    pub const fn from_word(word: u32) -> Option<Self> {
        let data = match word & !Self::EXECUTE_NEVER {
            0 => DataPermission::None,
            1 => DataPermission::ReadWrite,
            3 => DataPermission::ReadOnly,
            _ => return None,
        };
        Some(Self { data, executable: word & Self::EXECUTE_NEVER == 0 })
    }

    /// The word.
    #[must_use]
    pub const fn word(self) -> u32 {
        let data = match self.data {
            DataPermission::None => 0,
            DataPermission::ReadWrite => 1,
            DataPermission::ReadOnly => 3,
        };
        if self.executable { data } else { data | Self::EXECUTE_NEVER }
    }
}

/// FFA_MEM_PERM_GET, from an SP while it starts.
///
/// # Specification
/// DEN0077A v1.1, FFA_MEM_PERM_GET; the number of pages is of 1.3.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MemPermGet {
    /// Width of the call.
    pub width: Width,
    /// Virtual address of the range.
    pub base: u64,
    /// Number of 4 KiB pages; zero before 1.3, where it is one page.
    pub pages: u32,
}

impl MemPermGet {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    #[must_use]
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Self {
        Self { width: id.width(), base: cut(id.width(), regs.x::<1>()), pages: regs.w::<2>() }
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let id = match self.width {
            Width::Smc32 => FunctionId::smc32(Function::MemPermGet),
            Width::Smc64 => FunctionId::smc64(Function::MemPermGet),
        };
        Regs::new([u64::from(id.w0()), cut(self.width, self.base), u64::from(self.pages)])
    }
}

/// FFA_MEM_PERM_GET's answer.
///
/// # Specification
/// DEN0077A v1.1, FFA_MEM_PERM_GET: w2 permissions; from 1.3, w3 number of pages that have them, less one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MemPermAnswer {
    /// Permissions of the first page.
    pub permissions: MemPermissions,
    /// Number of 4 KiB pages from the first one on that have the same.
    pub pages: NonZeroU32,
}

impl MemPermAnswer {
    /// Reads the registers that FFA_MEM_PERM_GET left behind.
    ///
    /// # Errors
    /// The answer itself, if it is not FFA_SUCCESS; [`Answer::Unexpected`] for permissions or numbers that cannot be.
    pub fn from_answer(regs: &Regs) -> Result<Self, Answer> {
        success_width(regs)?;
        let pages = regs.w::<3>().checked_add(1).and_then(NonZeroU32::new);
        match (MemPermissions::from_word(regs.w::<2>()), pages) {
            (Some(permissions), Some(pages)) => Ok(Self { permissions, pages }),
            _ => Err(Answer::Unexpected { w0: regs.w::<0>() }),
        }
    }

    /// Registers of the answer.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        Regs::success(self.permissions.word(), self.pages.get() - 1)
    }
}

/// FFA_MEM_PERM_SET, from an SP while it starts.
///
/// # Specification
/// DEN0077A v1.1, FFA_MEM_PERM_SET.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MemPermSet {
    /// Width of the call.
    pub width: Width,
    /// Virtual address of the range.
    pub base: u64,
    /// Number of 4 KiB pages.
    pub pages: u32,
    /// What they shall have.
    pub permissions: MemPermissions,
}

impl MemPermSet {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if w3 sets bits that must be zero, or no permissions that there are.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let w3 = regs.w::<3>();
        reserved(id, 3, u64::from(w3), 7)?;
        let permissions = MemPermissions::from_word(w3);
        let value = u64::from(w3);
        Ok(Self {
            width: id.width(),
            base: cut(id.width(), regs.x::<1>()),
            pages: regs.w::<2>(),
            permissions: permissions.ok_or(CallError::Reserved { function: id, register: 3, value })?,
        })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let id = match self.width {
            Width::Smc32 => FunctionId::smc32(Function::MemPermSet),
            Width::Smc64 => FunctionId::smc64(Function::MemPermSet),
        };
        Regs::new([
            u64::from(id.w0()),
            cut(self.width, self.base),
            u64::from(self.pages),
            u64::from(self.permissions.word()),
        ])
    }
}
