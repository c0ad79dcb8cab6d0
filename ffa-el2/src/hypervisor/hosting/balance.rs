//! What guests leave behind: everything that anybody has of them, counted.

use ffa_hyp_glue::Occupancy;
use ffa_test_utils::spmc::Census;

use crate::frames::{Count, FRAMES};
use crate::scenario::Failed;
use crate::{ffa, table_pool, violations};

use super::note;

/// Taken while there is no VM, it is always the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Balance {
    /// Pages of guest memory, by state.
    pub pages: Count,
    /// Page tables that nobody has.
    pub free_tables: u32,
    /// Slots of the mediator, if there is one.
    pub slots: Option<Occupancy>,
    /// What the secure world has, if it says it.
    pub secure: Option<Census>,
}

impl Balance {
    /// How things stand now.
    pub fn now() -> Self {
        Self {
            pages: FRAMES.lock().count(),
            free_tables: table_pool::free(),
            slots: ffa::mediator().map(|mediator| mediator.occupancy()),
            secure: ffa::census(None),
        }
    }

    /// Says whether everything is as it was then, and no VM has left anything behind.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self) -> Result<(), Failed> {
        let now = Self::now();
        if now == *self {
            note(format_args!("no VM is left, and everything is as it was before the first one"));
            return Ok(());
        }
        violations::report(format_args!(
            "something is left of VMs: {now:?}, and {self:?} before the first one"
        ));
        Err(Failed)
    }

    /// Says whether nothing is left but `alive` VMs with `pages` pages, some of which the mediator may have forgotten already,
    /// since they have turned themselves off.
    ///
    /// # Errors
    /// If not.
    pub fn check_beside(&self, alive: usize, pages: usize) -> Result<(), Failed> {
        let now = Self::now();
        let has_pages = now.pages.free + pages == self.pages.free && now.pages.orphans == self.pages.orphans;
        if has_pages && now.slots.is_none_or(|slots| slots.vms <= alive) {
            return Ok(());
        }
        violations::report(format_args!(
            "something is left of a VM: {now:?} with {alive} VMs that have {pages} pages, and {self:?} before the first one"
        ));
        Err(Failed)
    }
}
