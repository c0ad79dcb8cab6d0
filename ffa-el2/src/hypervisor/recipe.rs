//! What guests that bring an operating system are made of, as whoever started the machine says it, below `opt/ffa/guest/`.
//!
//! The files are in memory that nobody else uses. Each item names one: where it is, how many bytes it has, and to which IPA
//! it is copied, three numbers in hexadecimal.

use core::ops::Range;
use core::slice;

use ffa_el2::fw_cfg;
use ffa_el2::machine::GUEST_FILES;

use crate::board::layout;
use crate::frames::BLOCK;
use crate::stage1;
use crate::vm_id::VmId;

const TEXT_BYTES: usize = 64;

/// What all guests are made of.
pub struct Recipe {
    memory_bytes: u64,
    image: Piece,
    initrd: Option<Piece>,
    /// That of the first VM; those of the others follow, each as long.
    device_tree: Piece,
}

/// A file that becomes a part of a guest's memory.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    source: usize,
    length: usize,
    /// Where it is in the guest.
    pub ipa: u64,
}

impl Recipe {
    /// Reads it.
    ///
    /// # Panics
    /// If it makes no sense: whoever gave it meant something that is not known.
    pub fn read() -> Self {
        let recipe = Self {
            memory_bytes: number("opt/ffa/guest/memory"),
            image: Piece::read("opt/ffa/guest/image").expect("guests have an image"),
            initrd: Piece::read("opt/ffa/guest/initrd"),
            device_tree: Piece::read("opt/ffa/guest/device-trees").expect("guests have device trees"),
        };
        let Range { start, end } = recipe.memory();
        assert!(start < end && end <= start + layout::MOST_MEMORY && end.is_multiple_of(BLOCK as u64));
        let pieces = [Some(recipe.image), recipe.initrd, Some(recipe.device_tree)];
        assert!(
            pieces.iter().flatten().all(|piece| start <= piece.ipa && piece.ipa + piece.length as u64 <= end),
            "a file does not fit into the memory of a guest"
        );
        recipe
    }

    /// The memory of each guest, in IPAs.
    pub fn memory(&self) -> Range<u64> {
        layout::MEMORY..layout::MEMORY + self.memory_bytes
    }

    /// Where a guest begins.
    pub fn entry(&self) -> u64 {
        self.image.ipa
    }

    /// Where a guest finds its device tree.
    pub fn device_tree(&self) -> u64 {
        self.device_tree.ipa
    }

    /// The files of the guest of `vm`.
    pub fn pieces(&self, vm: VmId) -> impl Iterator<Item = Piece> {
        let source = self.device_tree.source + vm.slot() * self.device_tree.length;
        [Some(self.image), self.initrd, Some(Piece { source, ..self.device_tree })].into_iter().flatten()
    }
}

impl Piece {
    /// That of the item `name`, if there is one.
    fn read(name: &str) -> Option<Self> {
        let mut text = [0; TEXT_BYTES];
        let text = fw_cfg::text(name, &mut text)?;
        let mut numbers = text.split(' ').map(|text| parse(name, text));
        let mut next = || numbers.next().unwrap_or_else(|| panic!("{name} {text:?} has too few numbers"));
        Some(Self { source: next() as usize, length: next() as usize, ipa: next() })
    }

    /// What is in the file.
    pub fn bytes(&self) -> &'static [u8] {
        let file = self.source..self.source.saturating_add(self.length);
        assert!(
            GUEST_FILES.start <= file.start && file.end <= GUEST_FILES.end,
            "{file:x?} is no place for the files of guests"
        );
        // SAFETY: `start` mapped all of this memory for reading. Whoever started the machine put the file there before, and
        // nobody writes to it.
        unsafe { slice::from_raw_parts(file.start as *const u8, self.length) }
    }
}

/// Makes the files readable.
pub fn start() {
    stage1::add_constants(GUEST_FILES);
}

fn number(name: &str) -> u64 {
    let mut text = [0; TEXT_BYTES];
    let text = fw_cfg::text(name, &mut text).unwrap_or_else(|| panic!("{name} is missing"));
    parse(name, text)
}

fn parse(name: &str, text: &str) -> u64 {
    let digits = text.strip_prefix("0x");
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.unwrap_or_else(|| panic!("{name}: {text:?} is no number in hexadecimal"))
}
