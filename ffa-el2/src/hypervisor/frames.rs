//! Whose each physical page of guest memory is: nobody's, a VM's, or held because somebody else may still reach it.
//!
//! A hold outlives the VM: its pages go back to the pool with the VM, except those that are held; those follow when they
//! are released. Nothing here looks at page tables, so all of it works for a VM that is long dead.

use core::ops::Range;

use ffa_el2::lock::Mutex;

use crate::vm_id::VmId;

pub const PAGE: usize = 0x1000;
pub const BLOCK: usize = 0x20_0000;

/// The memory that guests are made of: the 64 MiB from 64 MiB behind the start of the image.
pub const POOL: Range<usize> = 0x6400_0000..0x6800_0000;

const PAGES: usize = (POOL.end - POOL.start) / PAGE;
const PAGES_PER_BLOCK: usize = BLOCK / PAGE;
const PAGES_PER_WORD: usize = u64::BITS as usize;

/// The owner of a page that has none.
const NOBODY: u16 = 0;

/// The book of the whole pool.
pub static FRAMES: Mutex<Frames> =
    Mutex::new(Frames { owners: [NOBODY; PAGES], held: [0; PAGES / PAGES_PER_WORD] });

/// Contiguous physical memory: whole pages, at least one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    pub address: usize,
    pub bytes: usize,
}

/// How many pages are in which state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    pub free: usize,
    pub owned: usize,
    /// Held pages, whether their owner still exists or not.
    pub held: usize,
}

/// Owners by page; holds by bit, so that holding a long run costs words and not pages.
pub struct Frames {
    owners: [u16; PAGES],
    held: [u64; PAGES / PAGES_PER_WORD],
}

impl Frames {
    /// The address of a page that is now `owner`'s: the lowest free one. Its old content is still there.
    pub fn allocate_page(&mut self, owner: VmId) -> Option<usize> {
        let page = (0..PAGES).find(|&page| self.is_free(page))?;
        self.owners[page] = owner.number();
        Some(address_of(page))
    }

    /// The address of an aligned block of 2 MiB that is now `owner`'s. Its old content is still there.
    pub fn allocate_block(&mut self, owner: VmId) -> Option<usize> {
        let first = (0..PAGES)
            .step_by(PAGES_PER_BLOCK)
            .find(|&first| (first..first + PAGES_PER_BLOCK).all(|page| self.is_free(page)))?;
        self.owners[first..first + PAGES_PER_BLOCK].fill(owner.number());
        Some(address_of(first))
    }

    /// Takes all of its pages from `owner`. Those that are held stay out of the pool until they are released.
    pub fn give_back_all(&mut self, owner: VmId) {
        for page in &mut self.owners {
            if *page == owner.number() {
                *page = NOBODY;
            }
        }
    }

    /// Takes the page at `address` from its owner, if it is not held.
    pub fn give_back_page(&mut self, address: usize) -> Result<(), Held> {
        let page = pages_of(Run { address, bytes: PAGE }).start;
        if self.is_held(page) {
            return Err(Held);
        }
        self.owners[page] = NOBODY;
        Ok(())
    }

    /// Keeps the pages of `run` from being handed to anybody else until they are released.
    ///
    /// # Errors
    /// If one of them is held already; then nothing changes.
    pub fn hold(&mut self, run: Run) -> Result<(), Held> {
        if words_of(run).any(|(word, bits)| self.held[word] & bits != 0) {
            return Err(Held);
        }
        words_of(run).for_each(|(word, bits)| self.held[word] |= bits);
        Ok(())
    }

    /// Ends the hold of the pages of `run`. They are free now, unless their owner still exists.
    pub fn release(&mut self, run: Run) {
        for (word, bits) in words_of(run) {
            assert!(self.held[word] & bits == bits, "{run:x?} is released but was not held");
            self.held[word] &= !bits;
        }
    }

    /// How many pages there are in each state.
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for (page, &owner) in self.owners.iter().enumerate() {
            match (self.is_held(page), owner) {
                (true, _) => count.held += 1,
                (false, NOBODY) => count.free += 1,
                (false, _) => count.owned += 1,
            }
        }
        count
    }

    fn is_free(&self, page: usize) -> bool {
        self.owners[page] == NOBODY && !self.is_held(page)
    }

    fn is_held(&self, page: usize) -> bool {
        self.held[page / PAGES_PER_WORD] & (1 << (page % PAGES_PER_WORD)) != 0
    }
}

/// The page cannot change hands: somebody else may still reach it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held;

fn address_of(page: usize) -> usize {
    POOL.start + page * PAGE
}

/// Indices of the pages of `run`.
fn pages_of(run: Run) -> Range<usize> {
    let end = run.address + run.bytes;
    assert!(run.address >= POOL.start && end <= POOL.end, "{run:x?} is not guest memory");
    (run.address - POOL.start) / PAGE..(end - POOL.start) / PAGE
}

/// The words of `held` that describe `run`, each with its bits.
fn words_of(run: Run) -> impl Iterator<Item = (usize, u64)> {
    let pages = pages_of(run);
    (pages.start / PAGES_PER_WORD..pages.end.div_ceil(PAGES_PER_WORD)).map(move |word| {
        let first = pages.start.saturating_sub(word * PAGES_PER_WORD);
        let end = (pages.end - word * PAGES_PER_WORD).min(PAGES_PER_WORD);
        (word, (u64::MAX << first) & (u64::MAX >> (PAGES_PER_WORD - end)))
    })
}
