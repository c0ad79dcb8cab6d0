//! The one thing to know of an ELF file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Magic number, 64-bit, little-endian.
const IDENTITY: &[u8] = b"\x7fELF\x02\x01";
/// Offset of `e_entry` in the header of a 64-bit file.
const ENTRY: usize = 24;

/// The address at which the program in `file` starts.
pub fn entry(file: &Path) -> Result<u64> {
    let mut header = [0; ENTRY + 8];
    File::open(file)
        .and_then(|mut file| file.read_exact(&mut header))
        .with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(header.starts_with(IDENTITY), "{} is not a 64-bit little-endian ELF file", file.display());
    let (_, entry) = header.split_last_chunk().expect("the header is longer than 8 bytes");
    Ok(u64::from_le_bytes(*entry))
}
