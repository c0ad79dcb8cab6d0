//! Guests that bring an operating system: what they are made of, where it is in the machine's memory when that starts, and
//! where it is in theirs.
//!
//! The hypervisor copies files to where it is told; what is in them is known here alone.

mod device_tree;
mod image_header;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::qemu::Machine;
use crate::workspace;

use device_tree::{Conduit, DeviceTree};
use image_header::ImageHeader;

/// Where files of guests are put. The hypervisor takes them from nowhere else.
const FILES: u64 = 0x4800_0000;
const FILES_END: u64 = 0x6000_0000;
/// Where the memory of a guest begins.
const MEMORY: u64 = 0x4000_0000;
const MIB: u64 = 1 << 20;
const PAGE: u64 = 0x1000;
/// Images begin at a multiple of this; no device tree may cross one.
const BLOCK: u64 = 2 * MIB;

/// Guests, all alike.
#[derive(clap::Args)]
pub struct Guests {
    /// Boot this arm64 `Image` in guests: of Linux, or of anything else that begins with the same header.
    #[arg(long, value_name = "PATH", required = false, conflicts_with = "scenario")]
    image: PathBuf,
    /// Give each guest this initial RAM disk.
    #[arg(long, value_name = "PATH", requires = "image")]
    initrd: Option<PathBuf>,
    /// Give each guest these kernel arguments.
    #[arg(long, value_name = "ARGS", requires = "image", default_value = "", hide_default_value = true)]
    append: String,
    /// Number of guests.
    #[arg(long, value_name = "N", requires = "image", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    guests: u8,
    /// Memory of each guest.
    #[arg(long, value_name = "MIB", requires = "image", default_value_t = 128, value_parser = clap::value_parser!(u64).range(4..=448))]
    memory: u64,
    /// Show what the mediator does.
    #[arg(long, requires = "image")]
    events: bool,
}

impl Guests {
    /// So many guests that boot `image`, each with so many MiB.
    pub fn new(image: PathBuf, guests: u8, memory: u64) -> Self {
        Self { image, initrd: None, append: String::new(), guests, memory, events: false }
    }

    /// The same with a RAM disk and kernel arguments.
    pub fn with_initrd(self, initrd: PathBuf, append: &str) -> Self {
        Self { initrd: Some(initrd), append: append.to_owned(), ..self }
    }
}

/// Puts files one after the other into the memory where the hypervisor finds them.
struct Shelf<'a> {
    machine: &'a mut Machine,
    next: u64,
}

impl Guests {
    /// Gives `machine` what the guests are made of, and tells the hypervisor.
    ///
    /// # Errors
    /// If a file cannot be read or is not what it should be, or a guest has too little memory for it all.
    pub fn prepare(&self, machine: &mut Machine) -> Result<()> {
        let header = ImageHeader::read(&self.image)?;
        let memory = MEMORY..MEMORY + self.memory * MIB;
        ensure!(self.memory % (BLOCK / MIB) == 0, "the memory of a guest is a multiple of 2 MiB");
        machine.told.extend([
            ("scenario", "hosting".into()),
            ("guests", self.guests.to_string()),
            ("guest/memory", format!("{:#x}", self.memory * MIB)),
        ]);
        if self.events {
            machine.told.push(("events", "on".into()));
        }
        let image = memory.start + header.text_offset;
        let device_tree_at = memory.end - BLOCK;
        let mut shelf = Shelf { machine, next: FILES };
        shelf.put("guest/image", &self.image, image)?;
        let mut end = image + header.memory_bytes;
        let initrd = match &self.initrd {
            None => None,
            Some(initrd) => {
                let start = end.next_multiple_of(BLOCK);
                end = start + shelf.put("guest/initrd", initrd, start)?;
                Some(start..end)
            }
        };
        ensure!(
            end <= device_tree_at,
            "{} MiB are too little: image and RAM disk of a guest end {} MiB behind its first byte",
            self.memory,
            (end - memory.start).div_ceil(MIB)
        );
        let trees = (0..self.guests).map(|guest| {
            // Every other one calls by SMC.
            let conduit = if guest % 2 == 0 { Conduit::Hvc } else { Conduit::Smc };
            DeviceTree { memory: memory.clone(), initrd: initrd.clone(), arguments: &self.append, conduit }
                .write()
        });
        let mut trees: Vec<Vec<u8>> = trees.collect::<Result<_>>()?;
        let each = trees.iter().map(Vec::len).max().unwrap_or(0).next_multiple_of(PAGE as usize);
        trees.iter_mut().for_each(|tree| tree.resize(each, 0));
        ensure!(each as u64 <= BLOCK, "the kernel arguments are too long");
        let file = workspace::target().join("guests").join("device-trees");
        fs::create_dir_all(file.parent().expect("it was given one"))
            .and_then(|()| fs::write(&file, trees.concat()))
            .with_context(|| format!("cannot write {}", file.display()))?;
        shelf.put_parts("guest/device-trees", file, each as u64, device_tree_at)
    }
}

impl Shelf<'_> {
    /// Puts a file there, to be copied to `target`, and tells the hypervisor below `name`. Returns how many bytes it has.
    fn put(&mut self, name: &'static str, file: &Path, target: u64) -> Result<u64> {
        let bytes = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
        self.put_parts(name, file.to_owned(), bytes, target)?;
        Ok(bytes)
    }

    /// The same with a file of which `part` bytes are copied for one guest, and the next for another.
    fn put_parts(&mut self, name: &'static str, file: PathBuf, part: u64, target: u64) -> Result<()> {
        let bytes = fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
        ensure!(self.next + bytes <= FILES_END, "there is no room for {}", file.display());
        self.machine.told.push((name, format!("{:#x} {part:#x} {target:#x}", self.next)));
        self.machine.files.push((file, self.next));
        self.next = (self.next + bytes).next_multiple_of(PAGE);
        Ok(())
    }
}
