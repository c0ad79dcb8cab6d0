use std::cell::Cell;
use std::rc::Rc;

/// What a hypervisor may be unable to do at any moment.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Fallible {
    /// Copy out of a guest's memory.
    Read,
    /// Copy to a guest's memory.
    Write,
    /// Hold the pages of a range: there is no memory to do it.
    Hold,
    /// Map one VM's pages into another: likewise.
    Map,
    /// Make room for page ranges.
    Store,
}

impl Fallible {
    /// Everything.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Hold, Self::Map, Self::Store];
}

/// Counts what may fail, and has one of it fail. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Fuse(Rc<State>);

#[derive(Debug, Default)]
struct State {
    counts: [Cell<u32>; Fallible::ALL.len()],
    /// What is to fail, and at which count.
    blows: Cell<Option<(Fallible, u32)>>,
}

impl Fuse {
    /// Whether `what`, which is about to be done, fails.
    pub fn blows(&self, what: Fallible) -> bool {
        let State { counts, blows } = &*self.0;
        let count = counts[what as usize].replace(self.count(what) + 1);
        let now = blows.get() == Some((what, count));
        if now {
            blows.set(None);
        }
        now
    }

    /// How often `what` was to be done so far.
    pub fn count(&self, what: Fallible) -> u32 {
        self.0.counts[what as usize].get()
    }

    /// Has `what` fail the `nth` time from now on, from 0.
    pub fn set(&self, what: Fallible, nth: u32) {
        self.0.blows.set(Some((what, self.count(what).saturating_add(nth))));
    }

    /// Whether something is still to fail.
    pub fn is_set(&self) -> bool {
        self.0.blows.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_fails_once() {
        let fuse = Fuse::default();
        assert!(!fuse.blows(Fallible::Hold));
        let clone = fuse.clone();
        clone.set(Fallible::Hold, 1);
        let blown =
            [Fallible::Hold, Fallible::Read, Fallible::Hold, Fallible::Hold].map(|what| fuse.blows(what));
        assert_eq!(blown, [false, false, true, false]);
        assert_eq!((fuse.count(Fallible::Hold), fuse.count(Fallible::Read), clone.is_set()), (4, 1, false));
    }
}
