//! Guests that bring an operating system: what they are made of, where it is in the machine's memory when that starts, and
//! where it is in theirs.
//!
//! The hypervisor copies files to where it is told; what is in them is known here alone.

mod device_tree;
mod image_header;
mod shelf;

use std::fs;
use std::iter;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::qemu::Machine;
use crate::workspace;

use device_tree::{Conduit, DeviceTree};
use image_header::ImageHeader;
use shelf::{Place, Shelf};

/// Where the memory of a guest begins.
const MEMORY: u64 = 0x4000_0000;
const MIB: u64 = 1 << 20;
const PAGE: usize = 0x1000;
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
    /// The guests, and which events are shown.
    pub fn guests(self) -> (Vec<Guest>, Events) {
        let Self { image, initrd, append, guests, memory, events } = self;
        let guest = Guest { initrd, ..Guest::new(image, memory) }.with_lives([append]);
        (vec![guest; guests.into()], if events { Events::All } else { Events::None })
    }
}

/// What one is made of.
#[derive(Clone, Debug)]
pub struct Guest {
    pub image: PathBuf,
    pub initrd: Option<PathBuf>,
    /// In MiB.
    pub memory: u64,
    /// Kernel arguments of each life that has its own; those of the last one are for all from then on.
    pub arguments: Vec<String>,
    /// How often it is made.
    pub lives: usize,
    /// When each life is ended by force, in virtual time since it began.
    pub limit: Option<Duration>,
    /// How much later some lives are ended, each at another time.
    pub spread: Duration,
    /// What else ends a life by force.
    pub until: Option<Until>,
}

/// What ends the life of a guest that does not end itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Until {
    /// It has printed a line that ends with "is ready to be killed".
    Ready,
    /// No other guest is left, but for those that wait for that as well.
    Others,
}

/// Which events of the mediator are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Events {
    All,
    /// Those of VMs that are dead.
    Teardown,
    None,
}

impl Guest {
    /// One that boots `image` once, with so many MiB.
    pub fn new(image: PathBuf, memory: u64) -> Self {
        let (initrd, arguments) = (None, vec![String::new()]);
        Self { image, initrd, memory, arguments, lives: 1, limit: None, spread: Duration::ZERO, until: None }
    }

    /// The same with as many lives as there are kernel arguments.
    pub fn with_lives(self, arguments: impl IntoIterator<Item = String>) -> Self {
        let arguments: Vec<String> = arguments.into_iter().collect();
        Self { lives: arguments.len(), arguments, ..self }
    }
}

/// Gives `machine` what the guests are made of, and tells the hypervisor.
///
/// # Errors
/// If a file cannot be read or is not what it should be, or a guest has too little memory for it all.
pub fn prepare(machine: &mut Machine, guests: &[Guest], events: Events) -> Result<()> {
    let mut shelf = Shelf::default();
    // Every other one calls by SMC.
    let conduits = [Conduit::Hvc, Conduit::Smc].into_iter().cycle();
    let recipes = iter::zip(guests, conduits).enumerate();
    let recipes = recipes.map(|(index, (guest, conduit))| guest.recipe(index, conduit, &mut shelf));
    let recipes: Vec<String> = recipes.collect::<Result<_>>()?;
    machine.files.extend(shelf.files());
    machine.told.extend([("scenario", "hosting".into()), ("guests", recipes.join(";"))]);
    machine.told.extend(match events {
        Events::All => Some(("events", "on".into())),
        Events::Teardown => Some(("events", "teardown".into())),
        Events::None => None,
    });
    Ok(())
}

impl Guest {
    /// Puts the files on the shelf. Returns what the hypervisor is told of the guest.
    fn recipe(&self, index: usize, conduit: Conduit, shelf: &mut Shelf) -> Result<String> {
        let header = ImageHeader::read(&self.image)?;
        ensure!(self.memory % (BLOCK / MIB) == 0, "the memory of a guest is a multiple of 2 MiB");
        let memory = MEMORY..MEMORY + self.memory * MIB;
        let image_at = memory.start + header.text_offset;
        let trees_at = memory.end - BLOCK;
        let mut recipe = format!("memory={:#x}", self.memory * MIB);
        let mut add = |key: &str, place: Place, target: u64| {
            let Place { address, bytes } = place;
            recipe += &format!(" {key}={address:#x}:{bytes:#x}:{target:#x}");
        };
        add("image", shelf.put(&self.image)?, image_at);
        let mut end = image_at + header.memory_bytes;
        let initrd = match &self.initrd {
            None => None,
            Some(initrd) => {
                let (place, start) = (shelf.put(initrd)?, end.next_multiple_of(BLOCK));
                add("initrd", place, start);
                end = start + place.bytes;
                Some(start..end)
            }
        };
        ensure!(
            end <= trees_at,
            "{} MiB are too little: image and RAM disk of a guest end {} MiB behind its first byte",
            self.memory,
            (end - memory.start).div_ceil(MIB)
        );
        let trees = self.arguments.iter().map(|arguments| {
            DeviceTree { memory: memory.clone(), initrd: initrd.clone(), arguments, conduit }.write()
        });
        let (file, bytes) = write_trees(index, trees.collect::<Result<_>>()?)?;
        add("device-trees", Place { bytes, ..shelf.put(&file)? }, trees_at);
        recipe += &format!(" trees={:#x} lives={:#x}", self.arguments.len(), self.lives);
        if let Some(limit) = self.limit {
            recipe += &format!(" limit={:#x} spread={:#x}", limit.as_millis(), self.spread.as_nanos());
        }
        recipe += match self.until {
            Some(Until::Ready) => " until=ready",
            Some(Until::Others) => " until=others",
            None => "",
        };
        Ok(recipe)
    }
}

/// Writes the device trees of a guest into a file. Returns it, and how many bytes each has.
fn write_trees(index: usize, mut trees: Vec<Vec<u8>>) -> Result<(PathBuf, u64)> {
    let each = trees.iter().map(Vec::len).max().unwrap_or(0).next_multiple_of(PAGE);
    trees.iter_mut().for_each(|tree| tree.resize(each, 0));
    ensure!(each as u64 <= BLOCK, "the kernel arguments are too long");
    let folder = workspace::target().join("guests");
    let file = folder.join(format!("device-trees-{index}"));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, trees.concat()))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok((file, each as u64))
}
