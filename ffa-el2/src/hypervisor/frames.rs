//! Whose each physical page of guest memory is: nobody's, a VM's, or held because somebody else may still reach it.
//!
//! A page without an owner is zero. A hold outlives the VM: when that dies, its pages are cleared and go back to the
//! pool, except those that are held, which are orphans until they are released. Nothing here looks at page tables, so all
//! of it works for a VM that is long dead.

use core::ops::Range;

use ffa_el2::lock::Mutex;

use crate::guest_memory;
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
/// Marks the owner of a page as dead. It does not change hands before it is cleared.
const ORPHAN: u16 = 1 << 15;

/// The book of the whole pool.
pub static FRAMES: Mutex<Frames> =
    Mutex::new(Frames { owners: [NOBODY; PAGES], held: [0; PAGES / PAGES_PER_WORD], used: 0 });

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
    /// Held pages of living VMs.
    pub held: usize,
    /// Pages of dead VMs that are not free yet.
    pub orphans: usize,
}

/// Owners by page; holds by bit, so that holding a long run costs words and not pages.
pub struct Frames {
    owners: [u16; PAGES],
    held: [u64; PAGES / PAGES_PER_WORD],
    /// Pages below this one have had an owner.
    used: usize,
}

/// What became of pages that were released.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Released {
    /// Their owner has them for itself again.
    ToOwner,
    /// Their owner is dead: they are still held, to be cleared and then [`freed`](Frames::free).
    Orphaned,
}

/// The page cannot change hands: somebody else may still reach it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held;

/// Fills the pool with zeros, whatever was in this memory before.
pub fn start() {
    guest_memory::clear(Run { address: POOL.start, bytes: POOL.len() });
}

/// Takes all of its pages from `owner`, which is dead: nobody runs it any more, and no translation of it is left. Those
/// that are held stay out of the pool until they are released.
pub fn give_back_all(owner: VmId) {
    FRAMES.lock().orphan_all(owner);
    let mut next = 0;
    loop {
        // Clearing takes long, and the pages are out of everybody's reach meanwhile.
        let Some((run, end)) = FRAMES.lock().unheld_orphans(owner, next) else { return };
        guest_memory::clear(run);
        FRAMES.lock().free(run);
        next = end;
    }
}

/// Ends a hold, and frees the pages if their owner is dead.
#[inline]
pub fn release(run: Run) {
    let released = FRAMES.lock().release(run);
    if released == Released::Orphaned {
        guest_memory::clear(run);
        FRAMES.lock().free(run);
    }
}

/// Pages that ought to be free and zero, but are not zero: somebody wrote to them.
pub fn soiled() -> usize {
    let used = FRAMES.lock().used;
    let is_soiled = |page: &usize| {
        let run = Run { address: address_of(*page), bytes: PAGE };
        FRAMES.lock().is_free(*page) && !guest_memory::is_clear(run)
    };
    (0..used).filter(is_soiled).count()
}

impl Frames {
    /// The address of a page that is now `owner`'s: the lowest free one that does not follow another one of its.
    pub fn allocate_page(&mut self, owner: VmId) -> Option<usize> {
        let follows =
            |page: usize| page.checked_sub(1).is_some_and(|before| self.owners[before] == owner.number());
        let page = (0..PAGES).find(|&page| self.is_free(page) && !follows(page))?;
        self.owners[page] = owner.number();
        self.used = self.used.max(page + 1);
        Some(address_of(page))
    }

    /// The address of an aligned block of 2 MiB that is now `owner`'s.
    pub fn allocate_block(&mut self, owner: VmId) -> Option<usize> {
        let first = (0..PAGES)
            .step_by(PAGES_PER_BLOCK)
            .find(|&first| (first..first + PAGES_PER_BLOCK).all(|page| self.is_free(page)))?;
        self.owners[first..first + PAGES_PER_BLOCK].fill(owner.number());
        self.used = self.used.max(first + PAGES_PER_BLOCK);
        Some(address_of(first))
    }

    /// Takes the page at `address` from its owner, if it is not held. It is not free before it is cleared and
    /// [`freed`](Self::free).
    ///
    /// # Errors
    /// If it is held; then nothing changes.
    pub fn orphan_page(&mut self, address: usize) -> Result<Run, Held> {
        let run = Run { address, bytes: PAGE };
        let page = pages_of(run).start;
        if self.is_held(page) {
            return Err(Held);
        }
        self.owners[page] |= ORPHAN;
        Ok(run)
    }

    /// Keeps the pages of `run` from being handed to anybody else until they are released.
    ///
    /// # Errors
    /// If one of them is held already; then nothing changes.
    #[inline]
    pub fn hold(&mut self, run: Run) -> Result<(), Held> {
        if run.bytes == PAGE {
            let (word, bit) = self.bit_of(run);
            return if *word & bit == 0 {
                *word |= bit;
                Ok(())
            } else {
                Err(Held)
            };
        }
        if words_of(run).any(|(word, bits)| self.held[word] & bits != 0) {
            return Err(Held);
        }
        words_of(run).for_each(|(word, bits)| self.held[word] |= bits);
        Ok(())
    }

    /// Ends the hold of the pages of `run`, which are of one VM, if that lives.
    #[inline]
    pub fn release(&mut self, run: Run) -> Released {
        if self.owners[pages_of(run).start] & ORPHAN != 0 {
            return Released::Orphaned;
        }
        self.end_hold(run);
        Released::ToOwner
    }

    /// Gives the pages of `run`, which are orphans and zero, to whoever comes next.
    pub fn free(&mut self, run: Run) {
        if self.is_held(pages_of(run).start) {
            self.end_hold(run);
        }
        self.owners[pages_of(run)].fill(NOBODY);
    }

    /// How many pages there are in each state.
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for (page, &owner) in self.owners.iter().enumerate() {
            *match (owner, self.is_held(page)) {
                (NOBODY, _) => &mut count.free,
                (ORPHAN.., _) => &mut count.orphans,
                (_, true) => &mut count.held,
                (_, false) => &mut count.owned,
            } += 1;
        }
        count
    }

    /// How many pages the dead VM `owner` still has.
    pub fn orphans_of(&self, owner: VmId) -> usize {
        self.owners.iter().filter(|&&page| page == owner.number() | ORPHAN).count()
    }

    fn orphan_all(&mut self, owner: VmId) {
        for page in &mut self.owners {
            if *page == owner.number() {
                *page |= ORPHAN;
            }
        }
    }

    /// The first pages of the dead VM `owner` from page number `from` on that nobody holds, and the number of the page
    /// behind them.
    fn unheld_orphans(&self, owner: VmId, from: usize) -> Option<(Run, usize)> {
        let wanted = |page: &usize| self.owners[*page] == owner.number() | ORPHAN && !self.is_held(*page);
        let first = (from..PAGES).find(wanted)?;
        let end = (first..PAGES).find(|page| !wanted(page)).unwrap_or(PAGES);
        Some((Run { address: address_of(first), bytes: (end - first) * PAGE }, end))
    }

    /// Ends a hold of pages whose owner lives.
    #[inline]
    pub fn end_hold(&mut self, run: Run) {
        if run.bytes == PAGE {
            let (word, bit) = self.bit_of(run);
            assert!(*word & bit != 0, "{run:x?} is released but was not held");
            *word &= !bit;
            return;
        }
        for (word, bits) in words_of(run) {
            assert!(self.held[word] & bits == bits, "{run:x?} is released but was not held");
            self.held[word] &= !bits;
        }
    }

    /// The word of `held` that describes the one page of `run`, and its bit: most runs are no longer.
    #[inline]
    fn bit_of(&mut self, run: Run) -> (&mut u64, u64) {
        let page = pages_of(run).start;
        (&mut self.held[page / PAGES_PER_WORD], 1 << (page % PAGES_PER_WORD))
    }

    fn is_free(&self, page: usize) -> bool {
        self.owners[page] == NOBODY
    }

    fn is_held(&self, page: usize) -> bool {
        self.held[page / PAGES_PER_WORD] & (1 << (page % PAGES_PER_WORD)) != 0
    }
}

fn address_of(page: usize) -> usize {
    POOL.start + page * PAGE
}

/// Indices of the pages of `run`.
#[inline]
fn pages_of(run: Run) -> Range<usize> {
    let end = run.address + run.bytes;
    assert!(run.address >= POOL.start && end <= POOL.end, "{run:x?} is not guest memory");
    (run.address - POOL.start) / PAGE..(end - POOL.start) / PAGE
}

/// The words of `held` that describe `run`, each with its bits.
#[inline]
fn words_of(run: Run) -> impl Iterator<Item = (usize, u64)> {
    let pages = pages_of(run);
    (pages.start / PAGES_PER_WORD..pages.end.div_ceil(PAGES_PER_WORD)).map(move |word| {
        let first = pages.start.saturating_sub(word * PAGES_PER_WORD);
        let end = (pages.end - word * PAGES_PER_WORD).min(PAGES_PER_WORD);
        (word, (u64::MAX << first) & (u64::MAX >> (PAGES_PER_WORD - end)))
    })
}
