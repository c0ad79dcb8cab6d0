use crate::{CallError, Function, FunctionId, Regs, Version, Width};

/// FFA_CONSOLE_LOG: a few characters for the debug console.
///
/// # Specification
/// DEN0077A v1.2, FFA_CONSOLE_LOG: w1 number of characters, which are packed from x2 on, the first one lowest: four a
/// register in the 32-bit form, eight in the 64-bit form.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ConsoleLog {
    width: Width,
    len: u8,
    /// Zero behind `len`.
    text: [u8; MOST],
}

/// Characters in x2 to x17.
const MOST: usize = 128;

impl ConsoleLog {
    /// The most characters that a call of `width` carries when both sides have `version`: before 1.2, the 64-bit form
    /// has no more than x2 to x7.
    #[must_use]
    pub fn most(width: Width, version: Version) -> usize {
        match width {
            Width::Smc32 => 24,
            Width::Smc64 if version < Version::V1_2 => 48,
            Width::Smc64 => MOST,
        }
    }

    /// A call with `text`, or `None` if that is empty or does not fit a call of `width` in 1.2.
    #[must_use]
    pub fn new(width: Width, text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > Self::most(width, Version::V1_2) {
            return None;
        }
        let mut whole = [0; MOST];
        whole.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { width, len: text.len() as u8, text: whole })
    }

    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Length`] for no text, or more than the registers hold.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        let bytes_per_register = bytes_per_register(id.width());
        let mut text = [0; MOST];
        for (part, x) in text.chunks_exact_mut(bytes_per_register).zip(&regs.0[2..]) {
            part.iter_mut().zip(x.to_le_bytes()).for_each(|(to, from)| *to = from);
        }
        let count = regs.w::<1>();
        usize::try_from(count)
            .ok()
            .and_then(|len| text.get(..len))
            .and_then(|text| Self::new(id.width(), text))
            .ok_or(CallError::Length { function: id, register: 1, value: count })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let id = match self.width {
            Width::Smc32 => FunctionId::smc32(Function::ConsoleLog),
            Width::Smc64 => FunctionId::smc64(Function::ConsoleLog),
        };
        let mut regs = Regs::new([u64::from(id.w0()), u64::from(self.len)]);
        let parts = self.text.chunks_exact(bytes_per_register(self.width));
        for (x, part) in regs.0[2..].iter_mut().zip(parts) {
            *x = part.iter().rev().fold(0, |x, byte| x << 8 | u64::from(*byte));
        }
        regs
    }

    /// Width of the call.
    #[must_use]
    pub const fn width(&self) -> Width {
        self.width
    }

    /// The characters, at least one.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

const fn bytes_per_register(width: Width) -> usize {
    match width {
        Width::Smc32 => 4,
        Width::Smc64 => 8,
    }
}
