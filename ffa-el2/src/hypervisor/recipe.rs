//! What guests that bring an operating system are made of, as whoever started the machine says it in the item
//! `opt/ffa/guests`. Guests have semicolons between them, and consist of fields `key=value` with spaces between. Numbers are
//! in hexadecimal. Files are in memory that nobody else uses.
//!
//! | key | value |
//! | --- | --- |
//! | `memory` | bytes of memory |
//! | `image`, `initrd` | a file: where it is, its bytes, and the IPA that it is copied to, with colons between |
//! | `device-trees` | one file for each of its first lives, one behind the other; the last one is for all lives from then on |
//! | `trees` | how many they are |
//! | `lives` | how often the VM is made |
//! | `limit` | when a life is ended by force, in virtual milliseconds since it began |
//! | `spread` | how much later than `limit` some lives are ended, in virtual nanoseconds: each life at another time |
//! | `until` | what else ends its life by force: `ready` or `others`, see [`Until`] |

use core::array;
use core::ops::Range;
use core::slice;

use ffa_el2::fw_cfg;
use ffa_el2::machine::GUEST_FILES;

use crate::board::layout;
use crate::frames::BLOCK;
use crate::stage1;
use crate::vm_id::MAX_VMS;

const NAME: &str = "opt/ffa/guests";
const TEXT_BYTES: usize = 256 * MAX_VMS;

/// What a guest is made of.
pub struct Recipe {
    memory_bytes: u64,
    image: Piece,
    initrd: Option<Piece>,
    /// That of its first life; those of the others follow, each as long.
    device_tree: Piece,
    trees: usize,
    lives: usize,
    limit: Option<u64>,
    spread: u64,
    until: Option<Until>,
}

/// What ends the life of a guest that does not end itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Until {
    /// It has printed that it is [ready](crate::hosting::READY).
    Ready,
    /// All other guests, but for those with this word, have had all of their lives.
    Others,
}

/// A file that becomes a part of a guest's memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Piece {
    source: usize,
    length: usize,
    /// Where it is in the guest.
    pub ipa: u64,
}

impl Recipe {
    /// Reads those of all guests, of which the first one is of the first VM.
    ///
    /// # Panics
    /// If one makes no sense: whoever gave it meant something that is not known.
    pub fn read_all() -> [Option<Self>; MAX_VMS] {
        let mut text = [0; TEXT_BYTES];
        let text = fw_cfg::text(NAME, &mut text).unwrap_or_else(|| panic!("{NAME}: there are no guests"));
        let mut guests = text.split(';');
        let recipes = array::from_fn(|_| guests.next().map(Self::parse));
        assert!(guests.next().is_none(), "{NAME}: there can be {MAX_VMS}");
        recipes
    }

    fn parse(text: &str) -> Self {
        let recipe = Self::parse_fields(text);
        let Range { start, end } = recipe.memory();
        let is_memory = start < end && end <= start + layout::MOST_MEMORY && end.is_multiple_of(BLOCK as u64);
        let fits = |piece: &Piece| start <= piece.ipa && piece.ipa + piece.length as u64 <= end;
        let pieces = [Some(recipe.image), recipe.initrd, Some(recipe.device_tree)];
        assert!(is_memory && pieces.iter().flatten().all(fits), "{NAME}: {text:?} has no room for its files");
        recipe
    }

    fn parse_fields(text: &str) -> Self {
        const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;
        let mut recipe = Self {
            memory_bytes: 0,
            image: Piece::default(),
            initrd: None,
            device_tree: Piece::default(),
            trees: 1,
            lives: 1,
            limit: None,
            spread: 0,
            until: None,
        };
        for field in text.split(' ') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            match key {
                "memory" => recipe.memory_bytes = number(value),
                "image" => recipe.image = Piece::parse(value),
                "initrd" => recipe.initrd = Some(Piece::parse(value)),
                "device-trees" => recipe.device_tree = Piece::parse(value),
                "trees" => recipe.trees = number(value) as usize,
                "lives" => recipe.lives = number(value) as usize,
                "limit" => {
                    recipe.limit = Some(number(value).saturating_mul(NANOSECONDS_PER_MILLISECOND));
                }
                "spread" => recipe.spread = number(value),
                "until" => recipe.until = Some(Until::parse(value)),
                _ => panic!("{NAME}: {field:?} means nothing"),
            }
        }
        recipe
    }

    /// How often it is made.
    pub fn lives(&self) -> usize {
        self.lives
    }

    /// How long one of its lives, which are counted from 0, may be, in nanoseconds.
    pub fn limit(&self, life: usize) -> Option<u64> {
        // Multiples of the golden ratio, modulo 1, are spread evenly, however many there are.
        const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
        let part = (life as u64).wrapping_mul(GOLDEN_RATIO);
        let more = (u128::from(part) * u128::from(self.spread)) >> u64::BITS;
        self.limit.map(|limit| limit.saturating_add(more as u64))
    }

    /// What else ends a life by force.
    pub fn until(&self) -> Option<Until> {
        self.until
    }

    /// Its memory, in IPAs.
    pub fn memory(&self) -> Range<u64> {
        layout::MEMORY..layout::MEMORY + self.memory_bytes
    }

    /// Where it begins.
    pub fn entry(&self) -> u64 {
        self.image.ipa
    }

    /// Where it finds its device tree.
    pub fn device_tree(&self) -> u64 {
        self.device_tree.ipa
    }

    /// Its files in one of its lives, which are counted from 0.
    pub fn pieces(&self, life: usize) -> impl Iterator<Item = Piece> {
        let tree = life.min(self.trees.saturating_sub(1));
        let source = self.device_tree.source + tree * self.device_tree.length;
        [Some(self.image), self.initrd, Some(Piece { source, ..self.device_tree })].into_iter().flatten()
    }
}

impl Until {
    fn parse(value: &str) -> Self {
        match value {
            "ready" => Self::Ready,
            "others" => Self::Others,
            _ => panic!("{NAME}: no life ends with {value:?}"),
        }
    }
}

impl Piece {
    fn parse(value: &str) -> Self {
        let mut numbers = value.split(':').map(number);
        let [source, length, ipa] =
            array::from_fn(|_| numbers.next().unwrap_or_else(|| panic!("{NAME}: {value:?} is no file")));
        Self { source: source as usize, length: length as usize, ipa }
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

fn number(text: &str) -> u64 {
    let digits = text.strip_prefix("0x");
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.unwrap_or_else(|| panic!("{NAME}: {text:?} is no number in hexadecimal"))
}
