//! What scripts are drawn from: numbers, of which smaller ones make simpler things. A script that fails is shrunk by its
//! numbers.

use ffa_test_utils::Rng;
use ffa_test_utils::fault::Trust;

/// What one step, or the machine, is drawn from.
pub type Words = [u16; LEN];

/// Enough for two acts of the longest kind.
pub const LEN: usize = 48;

/// Numbers by chance.
pub fn random_words(rng: &mut Rng) -> Words {
    std::array::from_fn(|_| rng.next_u64() as u16)
}

/// Hands out numbers, and zeros when there are no more.
pub struct Tape<'a> {
    words: std::slice::Iter<'a, u16>,
    /// Which faults there may be.
    pub trust: Trust,
}

/// Things that can be drawn, each so often.
pub type Choices<T> = [(u16, fn(&mut Tape<'_>) -> T)];

impl<'a> Tape<'a> {
    pub fn new(words: &'a Words, trust: Trust) -> Self {
        Self { words: words.iter(), trust }
    }

    pub fn word(&mut self) -> u16 {
        self.words.next().copied().unwrap_or_default()
    }

    pub fn byte(&mut self) -> u8 {
        self.below(256)
    }

    /// A number below `count`.
    pub fn below(&mut self, count: u16) -> u8 {
        (self.word() % count) as u8
    }

    /// Once in so many times.
    pub fn once_in(&mut self, count: u16) -> bool {
        self.word() % count == count - 1
    }

    pub fn sometimes<T>(&mut self, once_in: u16, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        // Drawn in any case, so that what follows keeps its numbers.
        let (wanted, drawn) = (self.once_in(once_in), draw(self));
        wanted.then_some(drawn)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.word()) % from.len()]
    }

    pub fn choose<T>(&mut self, from: &Choices<T>) -> T {
        let all = from.iter().map(|(weight, _)| weight).sum::<u16>();
        let mut number = self.word() % all;
        let chosen = from.iter().find(|(weight, _)| match number.checked_sub(*weight) {
            Some(left) => {
                number = left;
                false
            }
            None => true,
        });
        chosen.expect("the number is below the sum").1(self)
    }
}
