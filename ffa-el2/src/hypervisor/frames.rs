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

/// The memory that guests are made of: from 64 MiB behind the start of the image to the end of the machine's first GiB.
pub const POOL: Range<usize> = 0x6400_0000..0x8000_0000;
/// As much of it as our own guests need.
pub const LITTLE: usize = 0x400_0000;

const PAGES: usize = (POOL.end - POOL.start) / PAGE;
const PAGES_PER_BLOCK: usize = BLOCK / PAGE;
/// Blocks of the pool.
pub const BLOCKS: usize = PAGES / PAGES_PER_BLOCK;

/// A page that nobody holds.
const UNHELD: u64 = 0;
/// A page that is held by itself, until it is released.
const HELD: u64 = 1;
/// Shares that there can be at one time. A page held for one has the token of that share, of which this is the modulus.
pub const SHARES: usize = 1024;

/// The owner of a page that has none.
const NOBODY: u16 = 0;
/// The owner of a page that a VM has donated: the secure world, for good.
const SECURE_WORLD: u16 = ORPHAN;
/// Marks the owner of a page as dead. It does not change hands before it is cleared.
const ORPHAN: u16 = 1 << 15;

/// The book of the whole pool.
pub static FRAMES: Mutex<Frames> = Mutex::new(Frames {
    owners: [NOBODY; PAGES],
    holds: [UNHELD; PAGES],
    tokens: [UNHELD; SHARES],
    last_token: 0,
    dead: 0,
    pages: 0,
    used: 0,
});

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
    /// Pages that VMs have donated.
    pub donated: usize,
}

const WORD_BITS: usize = u64::BITS as usize;

/// Blocks of the pool.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BlockSet {
    words: [u64; BLOCKS.div_ceil(WORD_BITS)],
}

impl BlockSet {
    /// How many they are.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// How many of them are in `other` as well.
    pub fn in_common(&self, other: &Self) -> u32 {
        self.words.iter().zip(other.words).map(|(word, other)| (word & other).count_ones()).sum()
    }
}

/// Owners and holds by page.
///
/// A page that is held for a share has the share's token, which no other share ever had. So all its pages are released when
/// the token is taken out of the list of those that are in use, and nothing need be done page by page.
pub struct Frames {
    owners: [u16; PAGES],
    holds: [u64; PAGES],
    /// Token of each share that has pages.
    tokens: [u64; SHARES],
    last_token: u64,
    /// VMs whose pages were orphaned, by slot.
    dead: u16,
    /// Pages that there are: those below this one.
    pages: usize,
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

/// Fills the first `bytes` bytes of the pool with zeros, whatever was in this memory before. The rest is not used.
pub fn start(bytes: usize) {
    guest_memory::clear(Run { address: POOL.start, bytes });
    FRAMES.lock().pages = bytes / PAGE;
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
    release_to_owner(run);
}

/// As [`release`]; whether the pages are their owner's again, which lives.
pub fn release_to_owner(run: Run) -> bool {
    let released = FRAMES.lock().release(run);
    if released == Released::Orphaned {
        guest_memory::clear(run);
        FRAMES.lock().free(run);
    }
    released == Released::ToOwner
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
        let page = (0..self.pages).find(|&page| self.is_free(page) && !follows(page))?;
        self.owners[page] = owner.number();
        self.used = self.used.max(page + 1);
        Some(address_of(page))
    }

    /// The address of an aligned block of 2 MiB that is now `owner`'s.
    pub fn allocate_block(&mut self, owner: VmId) -> Option<usize> {
        let first = (0..self.pages)
            .step_by(PAGES_PER_BLOCK)
            .find(|&first| (first..first + PAGES_PER_BLOCK).all(|page| self.is_free(page)))?;
        self.owners[first..first + PAGES_PER_BLOCK].fill(owner.number());
        self.dead &= !(1 << owner.slot());
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
    pub fn hold(&mut self, run: Run) -> Result<(), Held> {
        if pages_of(run).any(|page| self.is_held(page)) {
            return Err(Held);
        }
        self.keep(run);
        Ok(())
    }

    /// Holds the pages of `run` for the share at this position. That nobody holds them yet is not looked up page by page:
    /// a page is mapped in one VM only, and the mediator lets no page of a VM be in two shares.
    #[inline(always)] // for every range that is shared
    pub fn hold_for(&mut self, share: usize, run: Run) {
        let pages = pages_of(run);
        debug_assert!(pages.clone().all(|page| !self.is_held(page)), "{run:x?} is held twice");
        let token = &mut self.tokens[share];
        if *token == UNHELD {
            self.last_token += SHARES as u64;
            *token = self.last_token + share as u64;
        }
        let token = *token;
        self.holds[pages].fill(token);
    }

    /// The pages of the share at this position are held and released one by one: it has no token, whatever the last one at
    /// this position had. That keeps its token if its VM was dead when its pages came back.
    pub fn hold_singly(&mut self, share: usize) {
        self.tokens[share] = UNHELD;
    }

    /// Ends all holds for the share at this position, which is `owner`'s. False, and nothing changes, if that is dead: then
    /// the pages are orphans, and need more than this. Likewise if nothing is held in the name of this share.
    #[inline]
    pub fn release_share(&mut self, owner: VmId, share: usize) -> bool {
        let is_alive = self.dead >> owner.slot() & 1 == 0;
        let token = &mut self.tokens[share];
        let has_token = *token != UNHELD;
        if is_alive && has_token {
            *token = UNHELD;
        }
        is_alive && has_token
    }

    /// Keeps the pages of `run`, which are held, whatever becomes of the share they are held for.
    pub fn keep(&mut self, run: Run) {
        self.holds[pages_of(run)].fill(HELD);
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

    /// The secure world has the pages of `run`, which are held, for good.
    pub fn donate(&mut self, run: Run) {
        self.owners[pages_of(run)].fill(SECURE_WORLD);
    }

    /// The pages of `run`, which are held, are `receiver`'s own from now on, and nobody holds them. It lives.
    pub fn give(&mut self, run: Run, receiver: VmId) {
        self.owners[pages_of(run)].fill(receiver.number());
        self.end_hold(run);
    }

    /// Whether all pages of `run` are `owner`'s own.
    pub fn are_owned(&self, run: Run, owner: VmId) -> bool {
        self.owners[pages_of(run)].iter().all(|&page| page == owner.number())
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
        for (page, &owner) in self.owners[..self.pages].iter().enumerate() {
            *match (owner, self.is_held(page)) {
                (NOBODY, _) => &mut count.free,
                (SECURE_WORLD, _) => &mut count.donated,
                (ORPHAN.., _) => &mut count.orphans,
                (_, true) => &mut count.held,
                (_, false) => &mut count.owned,
            } += 1;
        }
        count
    }

    /// How many pages the dead VM `owner` still has.
    pub fn orphans_of(&self, owner: VmId) -> usize {
        self.owners[..self.used].iter().filter(|&&page| page == owner.number() | ORPHAN).count()
    }

    /// How many pages of the living VM `owner` are held.
    pub fn held_of(&self, owner: VmId) -> usize {
        let is_theirs = |page: &usize| self.owners[*page] == owner.number() && self.is_held(*page);
        (0..self.used).filter(is_theirs).count()
    }

    /// The blocks that are `owner`'s from their first page to their last.
    pub fn blocks_of(&self, owner: VmId) -> BlockSet {
        let mut set = BlockSet::default();
        for (block, pages) in self.owners.chunks_exact(PAGES_PER_BLOCK).enumerate() {
            if pages.iter().all(|&page| page == owner.number()) {
                set.words[block / WORD_BITS] |= 1 << (block % WORD_BITS);
            }
        }
        set
    }

    fn orphan_all(&mut self, owner: VmId) {
        self.dead |= 1 << owner.slot();
        for page in &mut self.owners[..self.used] {
            if *page == owner.number() {
                *page |= ORPHAN;
            }
        }
    }

    /// The first pages of the dead VM `owner` from page number `from` on that nobody holds, and the number of the page
    /// behind them.
    fn unheld_orphans(&self, owner: VmId, from: usize) -> Option<(Run, usize)> {
        let wanted = |page: &usize| self.owners[*page] == owner.number() | ORPHAN && !self.is_held(*page);
        let first = (from..self.used).find(wanted)?;
        let end = (first..self.used).find(|page| !wanted(page)).unwrap_or(self.used);
        Some((Run { address: address_of(first), bytes: (end - first) * PAGE }, end))
    }

    /// Takes back the hold of the pages of `run`, which was made just now.
    pub fn undo_hold(&mut self, run: Run) {
        self.holds[pages_of(run)].fill(UNHELD);
    }

    /// Ends a hold of pages whose owner lives, or that are zero.
    fn end_hold(&mut self, run: Run) {
        assert!(pages_of(run).all(|page| self.is_held(page)), "{run:x?} is released but was not held");
        self.holds[pages_of(run)].fill(UNHELD);
    }

    fn is_free(&self, page: usize) -> bool {
        self.owners[page] == NOBODY
    }

    fn is_held(&self, page: usize) -> bool {
        match self.holds[page] {
            UNHELD => false,
            HELD => true,
            token => self.tokens[token as usize % SHARES] == token,
        }
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
