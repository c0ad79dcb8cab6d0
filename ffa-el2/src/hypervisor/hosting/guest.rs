//! One guest, from life to life.

use core::fmt::{self, Display, Formatter};
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use ffa_el2::clock;
use ffa_test_utils::spmc::Census;

use crate::alarm::NEVER;
use crate::frames::{BlockSet, FRAMES, PAGE};
use crate::lifecycle::{self, Born};
use crate::recipe::{Recipe, Until};
use crate::scenario::Failed;
use crate::vcpu::Stop;
use crate::vm_id::VmId;
use crate::vms::Contents;
use crate::{ffa, scheduler, vms};

use super::{READY_GUESTS, note};

/// What the secure world has of a VM, in words; nothing if it does not say.
struct Had(Option<Census>);

impl Display for Had {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let Some(census) = self.0 else { return Ok(()) };
        if census == Census::default() {
            return write!(f, "; the secure world has nothing of it");
        }
        let Census { handles, pages, kept, known, requests } = census;
        write!(
            f,
            "; the secure world has {handles} handles, {pages} pages and {kept} records of it, {known} SPs know it, {requests} \
             requests go on"
        )
    }
}

/// How long teardown is waited for, in nanoseconds.
const PATIENCE: u64 = 60_000_000_000;

/// A VM that is made anew when it is gone, for as many lives as it has.
pub struct Guest {
    id: VmId,
    recipe: Recipe,
    /// Lives that have begun.
    begun: usize,
    /// When the present life is ended by force, in nanoseconds since reset; `None` between two lives.
    limit: Option<u64>,
    /// The memory of the last life.
    memory: BlockSet,
}

impl Guest {
    /// One that has not begun.
    pub fn new(id: VmId, recipe: Recipe) -> Self {
        Self { id, recipe, begun: 0, limit: None, memory: BlockSet::default() }
    }

    /// When the present life is ended by force, in nanoseconds since reset.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// How much memory it has in each life.
    pub fn pages(&self) -> usize {
        let Range { start, end } = self.recipe.memory();
        (end - start) as usize / PAGE
    }

    /// Whether it is in the middle of a life, or at its end.
    pub fn lives(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether it has not begun all of its lives.
    pub fn has_another_life(&self) -> bool {
        self.begun < self.recipe.lives()
    }

    /// Whether it lives until nobody else does.
    pub fn waits_for_others(&self) -> bool {
        self.recipe.until() == Some(Until::Others)
    }

    /// Whether its present life is over, by its own will or because its time has come.
    pub fn has_ended(&self) -> bool {
        let is_ready = || READY_GUESTS.load(Relaxed) >> self.id.slot() & 1 != 0;
        self.limit.is_some_and(|limit| {
            limit <= clock::now()
                || self.recipe.until() == Some(Until::Ready) && is_ready()
                || vms::stopped(self.id).is_some()
        })
    }

    /// Makes the VM and lets its guest begin.
    ///
    /// # Errors
    /// If it cannot be made. It has no more lives then.
    pub fn begin(&mut self) -> Result<(), Failed> {
        let Self { id, ref recipe, .. } = *self;
        let life = self.begun;
        self.begun += 1;
        READY_GUESTS.fetch_and(!(1 << id.slot()), Relaxed);
        match lifecycle::create_with(id, Contents::Hosted { recipe, life }) {
            Born::Live(key) => {
                let memory = FRAMES.lock().blocks_of(id);
                if life > 0 {
                    let (same, all) = (memory.in_common(&self.memory), memory.count());
                    note(format_args!("{id} is born again: {same} of its {all} blocks were its own before"));
                }
                self.memory = memory;
                lifecycle::start_hosted(id, key, recipe);
                self.limit =
                    Some(recipe.limit(life).map_or(NEVER, |limit| clock::now().saturating_add(limit)));
                return Ok(());
            }
            Born::Failed => note(format_args!("the secure world does not want {id}")),
            Born::Refused => note(format_args!("there is no room for {id}")),
        }
        self.begun = recipe.lives();
        Err(Failed)
    }

    /// Ends the VM and waits until nothing is left of it.
    ///
    /// # Errors
    /// If its guest ended in a bad way, or something is left.
    pub fn end(&mut self) -> Result<(), Failed> {
        let id = self.id;
        self.limit = None;
        let stop = vms::stopped(id);
        let held = FRAMES.lock().held_of(id);
        let had = Had(ffa::census(Some(id)));
        match stop {
            None => note(format_args!("{id} is killed, {held} of its pages are held{had}")),
            Some(Stop::TurnedOff) => {
                note(format_args!("{id} has turned itself off, {held} of its pages are held{had}"));
            }
            Some(Stop::MemoryFault(ipa)) => note(format_args!("{id} executed nothing, at {ipa:#x}")),
            Some(Stop::Unsupported(_) | Stop::Exited(_)) => note(format_args!("{id} ended with {stop:x?}")),
        }
        let start = clock::now();
        lifecycle::destroy(id);
        scheduler::run_until(start.saturating_add(PATIENCE), || self.is_gone());
        let held = FRAMES.lock().orphans_of(id);
        let took = (clock::now() - start) / 1_000_000;
        let is_gone = self.is_gone();
        let state = if is_gone { "is gone" } else { "is NOT gone" };
        let left = ffa::census(Some(id));
        note(format_args!("{id} {state} after {took} ms, {held} of its pages are held{}", Had(left)));
        let is_clean = is_gone && held == 0 && left.is_none_or(|left| left == Census::default());
        let is_good = matches!(stop, None | Some(Stop::TurnedOff)) && is_clean;
        if is_good { Ok(()) } else { Err(Failed) }
    }

    /// Whether nobody knows of the VM any more.
    pub fn is_gone(&self) -> bool {
        // The mediator forgets it before it gives its reference back, perhaps on another CPU.
        let is_forgotten =
            ffa::mediator().is_none_or(|mediator| mediator.find(self.id.partition()).is_none());
        is_forgotten && !vms::exists(self.id)
    }
}
