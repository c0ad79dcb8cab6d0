//! What there is to know of an ELF file: where it starts, and what is in memory when it does.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Magic number, 64-bit, little-endian.
const IDENTITY: &[u8] = b"\x7fELF\x02\x01";
/// Fields of the header of a 64-bit file, by offset.
const ENTRY: usize = 24;
const SEGMENTS: usize = 32;
const SEGMENT_BYTES: usize = 54;
const SEGMENT_COUNT: usize = 56;
/// Fields of a segment.
const KIND: usize = 0;
const FILE_OFFSET: usize = 8;
const PHYSICAL_ADDRESS: usize = 24;
const FILE_BYTES: usize = 32;
/// The kind of those that are loaded.
const LOAD: u64 = 1;

/// A program in a file.
pub struct Elf(Vec<u8>);

impl Elf {
    /// Reads `file`.
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(bytes.starts_with(IDENTITY), "{} is not a 64-bit little-endian ELF file", file.display());
        Ok(Self(bytes))
    }

    /// The address at which the program starts.
    pub fn entry(&self) -> Result<u64> {
        self.number(ENTRY, 8)
    }

    /// The bytes that are loaded, from the first to the last in memory, with zeros between the parts.
    pub fn flatten(&self) -> Result<Vec<u8>> {
        let count = self.number(SEGMENT_COUNT, 2)?;
        let segments = (0..count).map(|index| self.segment(index)).collect::<Result<Vec<_>>>()?;
        let loaded = || segments.iter().flatten().filter(|(_, bytes)| !bytes.is_empty());
        let start = loaded().map(|(address, _)| *address).min().context("nothing in the file is loaded")?;
        let mut flat = Vec::new();
        for (address, bytes) in loaded() {
            let from = usize::try_from(address - start)?;
            ensure!(from < 1 << 30, "what is loaded is too far apart");
            flat.resize(flat.len().max(from + bytes.len()), 0);
            flat[from..from + bytes.len()].copy_from_slice(&self.0[bytes.clone()]);
        }
        Ok(flat)
    }

    /// Where the segment goes and where it is in the file, if it is one that is loaded.
    fn segment(&self, index: u64) -> Result<Option<(u64, Range<usize>)>> {
        let header = self.number(SEGMENTS, 8)? + index * self.number(SEGMENT_BYTES, 2)?;
        let header = usize::try_from(header)?;
        if self.number(header + KIND, 4)? != LOAD {
            return Ok(None);
        }
        let from = usize::try_from(self.number(header + FILE_OFFSET, 8)?)?;
        let bytes = usize::try_from(self.number(header + FILE_BYTES, 8)?)?;
        let range = from..from.checked_add(bytes).context("a segment wraps around")?;
        ensure!(range.end <= self.0.len(), "the file ends before a segment does");
        Ok(Some((self.number(header + PHYSICAL_ADDRESS, 8)?, range)))
    }

    /// The little-endian number of so many bytes at `offset`.
    fn number(&self, offset: usize, bytes: usize) -> Result<u64> {
        let field =
            self.0.get(offset..).and_then(|rest| rest.get(..bytes)).context("the file is too short")?;
        Ok(field.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two segments that are loaded, the second one first in memory, and one that is not.
    fn good() -> Vec<u8> {
        const SEGMENT: usize = 56;
        let mut bytes = vec![0; 64 + 3 * SEGMENT];
        bytes[..6].copy_from_slice(IDENTITY);
        bytes[ENTRY] = 0x34;
        bytes[SEGMENTS] = 64;
        bytes[SEGMENT_BYTES] = SEGMENT as u8;
        bytes[SEGMENT_COUNT] = 3;
        for (index, kind, address, content) in
            [(0, 1, 0x18, &b"later"[..]), (1, 4, 0, b"note"), (2, 1, 0x10, b"first")]
        {
            let header = 64 + index * SEGMENT;
            bytes[header] = kind;
            bytes[header + FILE_OFFSET] = bytes.len() as u8;
            bytes[header + PHYSICAL_ADDRESS] = address;
            bytes[header + FILE_BYTES] = content.len() as u8;
            bytes.extend(content);
        }
        bytes
    }

    #[test]
    fn puts_segments_where_they_are_in_memory() {
        let elf = Elf(good());
        assert_eq!(elf.entry().unwrap(), 0x34);
        assert_eq!(elf.flatten().unwrap(), b"first\0\0\0later");
    }

    #[test]
    fn refuses_a_file_that_was_cut_off() {
        let bytes = good();
        for length in [bytes.len() - 1, 64 + 60, 40] {
            assert!(Elf(bytes[..length].to_vec()).flatten().is_err(), "{length}");
        }
    }
}
