//! The header of an arm64 `Image`. Linux, `Documentation/arch/arm64/booting.rst`, section 4.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const BYTES: usize = 64;
const MAGIC: &[u8] = b"ARM\x64";
const MAGIC_AT: usize = 56;
const TEXT_OFFSET_AT: usize = 8;
const IMAGE_SIZE_AT: usize = 16;
const FLAGS_AT: usize = 24;
const BIG_ENDIAN: u64 = 1;

/// What the header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ImageHeader {
    /// How far behind a multiple of 2 MiB the image wants to be.
    pub text_offset: u64,
    /// Memory that the image needs from there on.
    pub memory_bytes: u64,
}

impl ImageHeader {
    /// Reads it from `file`.
    pub fn read(file: &Path) -> Result<Self> {
        let mut header = [0; BYTES];
        File::open(file)
            .and_then(|mut file| file.read_exact(&mut header))
            .with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&header).with_context(|| format!("{} cannot be booted", file.display()))
    }

    fn parse(header: &[u8; BYTES]) -> Result<Self> {
        let number = |at: usize| {
            let (_, bytes) = header[..at + 8].split_last_chunk().expect("it is 8 bytes long");
            u64::from_le_bytes(*bytes)
        };
        ensure!(header[MAGIC_AT..].starts_with(MAGIC), "it is not an arm64 Image that is not compressed");
        let (text_offset, memory_bytes) = (number(TEXT_OFFSET_AT), number(IMAGE_SIZE_AT));
        ensure!(memory_bytes != 0, "it does not say how much memory it needs, as Linux has since 3.17");
        ensure!(number(FLAGS_AT) & BIG_ENDIAN == 0, "it is big-endian");
        ensure!(
            text_offset.checked_add(memory_bytes).is_some_and(|end| end <= 1 << 30),
            "it needs too much memory"
        );
        Ok(Self { text_offset, memory_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a small image: 2 MiB at a multiple of 2 MiB.
    fn good() -> [u8; BYTES] {
        let mut header = [0; BYTES];
        header[IMAGE_SIZE_AT + 2] = 0x20;
        header[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
        header
    }

    #[test]
    fn reads_what_a_good_header_says() {
        let header = ImageHeader { text_offset: 0, memory_bytes: 0x20_0000 };
        assert_eq!(ImageHeader::parse(&good()).unwrap(), header);
    }

    #[test]
    fn refuses_each_broken_field() {
        for (at, byte, reason) in [
            (MAGIC_AT, 0, "it is not an arm64 Image that is not compressed"),
            (IMAGE_SIZE_AT + 2, 0, "it does not say how much memory it needs, as Linux has since 3.17"),
            (FLAGS_AT, 1, "it is big-endian"),
            (TEXT_OFFSET_AT + 7, 0xff, "it needs too much memory"),
        ] {
            let mut header = good();
            header[at] = byte;
            assert_eq!(ImageHeader::parse(&header).unwrap_err().to_string(), reason);
        }
    }
}
