//! The argument of a call, in memory that driver and trusted OS share. OP-TEE, `core/include/optee_msg.h`.

use alloc::vec;
use alloc::vec::Vec;

use super::{Shared, TeeError};

/// Words of 4 bytes before the parameters, by position: the last is the number of parameters.
const COMMAND: usize = 0;
const FUNCTION: usize = 1;
const SESSION: usize = 2;
const RESULT: usize = 5;
const RESULT_ORIGIN: usize = 6;
const COUNT: usize = 7;
const HEADER_WORDS: usize = 8;
const HEADER_BYTES: u64 = 4 * HEADER_WORDS as u64;
const PARAMETER_BYTES: usize = 32;
/// What a session is opened with, and what GlobalPlatform lets an application have.
const MOST_PARAMETERS: u32 = 2 + 4;
/// The result comes from the trusted OS or its application.
const FROM_THE_APPLICATION: u32 = 4;

/// What is to be done.
pub struct Argument {
    offset: u64,
    words: [u32; HEADER_WORDS],
    pub parameters: Vec<Parameter>,
}

/// Kind, and three words that mean what the kind says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parameter {
    pub attribute: u64,
    pub words: [u64; 3],
}

/// What a parameter names in shared memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemoryReference {
    pub offset: u64,
    pub bytes: u64,
    /// The handle of the memory.
    pub handle: u64,
}

impl Argument {
    /// Reads that at `offset` in `memory`.
    pub fn read(memory: &Shared, offset: u64) -> Result<Self, TeeError> {
        let mut header = [0; HEADER_BYTES as usize];
        memory.read(offset, &mut header)?;
        let mut words = [0; HEADER_WORDS];
        for (word, bytes) in words.iter_mut().zip(header.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().expect("it is 4 bytes long"));
        }
        if words[COUNT] > MOST_PARAMETERS {
            return Err(TeeError::BadParameters);
        }
        let mut bytes = vec![0; words[COUNT] as usize * PARAMETER_BYTES];
        memory.read(offset + HEADER_BYTES, &mut bytes)?;
        Ok(Self {
            offset,
            words,
            parameters: bytes.chunks_exact(PARAMETER_BYTES).map(Parameter::parse).collect(),
        })
    }

    /// Puts results where the argument was.
    pub fn write(&self, memory: &mut Shared, result: Result<(), TeeError>) -> Result<(), TeeError> {
        let mut words = self.words;
        words[RESULT] = result.err().map_or(0, |error| error as u32);
        words[RESULT_ORIGIN] = FROM_THE_APPLICATION;
        let header = words.iter().flat_map(|word| word.to_le_bytes());
        let parameters = self.parameters.iter().flat_map(|parameter| parameter.bytes());
        memory.write(self.offset, &header.chain(parameters).collect::<Vec<_>>())
    }

    pub fn command(&self) -> u32 {
        self.words[COMMAND]
    }

    /// What the application is to do.
    pub fn function(&self) -> u32 {
        self.words[FUNCTION]
    }

    pub fn session(&self) -> u32 {
        self.words[SESSION]
    }

    pub fn set_session(&mut self, session: u32) {
        self.words[SESSION] = session;
    }
}

impl Parameter {
    /// Bits of the attribute that say which kind of parameter it is.
    const KIND: u64 = 0xff;
    /// Kinds of values: in, out, and both.
    const VALUES: core::ops::RangeInclusive<u64> = 1..=3;
    /// Kinds of references to shared memory: in, out, and both.
    const REFERENCES: core::ops::RangeInclusive<u64> = 5..=7;

    fn parse(bytes: &[u8]) -> Self {
        let word =
            |at: usize| u64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().expect("it is 8 bytes long"));
        Self { attribute: word(0), words: [word(1), word(2), word(3)] }
    }

    fn bytes(&self) -> impl Iterator<Item = u8> + use<> {
        let [first, second, third] = self.words;
        [self.attribute, first, second, third].into_iter().flat_map(u64::to_le_bytes)
    }

    /// The words, if they are a value.
    pub fn value(&mut self) -> Option<&mut [u64; 3]> {
        Self::VALUES.contains(&(self.attribute & Self::KIND)).then_some(&mut self.words)
    }

    /// What it names, if that is shared memory.
    pub fn reference(&self) -> Option<MemoryReference> {
        let [place, bytes, handle] = self.words;
        // 48 bits of an offset, then one inside the first page.
        let offset = (place & 0xffff_ffff_ffff) + (place >> 48);
        Self::REFERENCES.contains(&(self.attribute & Self::KIND)).then_some(MemoryReference {
            offset,
            bytes,
            handle,
        })
    }
}
