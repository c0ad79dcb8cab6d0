//! Where files of guests are in the machine's memory when it starts.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The hypervisor takes files from nowhere else.
const START: u64 = 0x4800_0000;
const END: u64 = 0x6000_0000;
const PAGE: u64 = 0x1000;

/// Files, one behind the other.
#[derive(Default)]
pub struct Shelf {
    files: HashMap<PathBuf, Place>,
    /// Bytes that are taken.
    used: u64,
}

/// Where a file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    pub address: u64,
    pub bytes: u64,
}

impl Shelf {
    /// Puts a file there, if it is not there yet.
    pub fn put(&mut self, file: &Path) -> Result<Place> {
        if let Some(place) = self.files.get(file) {
            return Ok(*place);
        }
        let bytes = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
        let address = START + self.used;
        ensure!(bytes <= END - address, "there is no room for {}", file.display());
        self.used += bytes.next_multiple_of(PAGE);
        let place = Place { address, bytes };
        self.files.insert(file.to_owned(), place);
        Ok(place)
    }

    /// The files, and where each begins.
    pub fn files(self) -> impl Iterator<Item = (PathBuf, u64)> {
        self.files.into_iter().map(|(file, place)| (file, place.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_place() {
        let mut shelf = Shelf::default();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs");
        let first = shelf.put(&file).unwrap();
        assert_eq!((first.address, first.bytes), (START, fs::metadata(&file).unwrap().len()));
        let second = shelf.put(&other).unwrap();
        assert_eq!(second.address, START + first.bytes.next_multiple_of(PAGE));
        assert_eq!(shelf.put(&file).unwrap(), first);
        assert_eq!(shelf.files().count(), 2);
    }

    #[test]
    fn a_file_that_is_not_there_has_none() {
        assert!(Shelf::default().put(Path::new("nowhere")).is_err());
    }
}
