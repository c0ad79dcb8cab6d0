use super::Program;

/// What a guest does, as it fits its first register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    /// A program of its own, by number.
    Program(u8),
    /// What a guest of a scenario does, both by position.
    Play { scenario: u8, guest: u8 },
    /// Something that no guest should do, by position.
    Act(u8),
}

impl Task {
    const PLAY: u64 = 1 << 16;
    const ACT: u64 = 2 << 16;

    pub fn to_bits(self) -> u64 {
        match self {
            Self::Program(program) => u64::from(program),
            Self::Play { scenario, guest } => Self::PLAY | u64::from(scenario) << 8 | u64::from(guest),
            Self::Act(act) => Self::ACT | u64::from(act),
        }
    }

    pub fn from_bits(bits: u64) -> Self {
        let kind = bits & (Self::PLAY | Self::ACT);
        match kind {
            Self::PLAY => Self::Play { scenario: (bits >> 8) as u8, guest: bits as u8 },
            Self::ACT => Self::Act(bits as u8),
            _ => Self::Program(bits as u8),
        }
    }
}

impl From<Program> for Task {
    fn from(program: Program) -> Self {
        Self::Program(program as u8)
    }
}
