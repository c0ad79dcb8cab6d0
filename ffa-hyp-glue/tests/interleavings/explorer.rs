//! Runs a race between CPUs in every order, or in many.
//!
//! A CPU can be held up wherever the model says so: before it takes the mediator's lock, and before every seam that others can
//! notice. What lies between two such moments does one thing that others can notice, so no order is left out.

use std::cell::Cell;
use std::rc::Rc;

use ffa_abi::Regs;
use ffa_test_utils::hypervisor::{Preemption, set_preemption};
use shuttle::future::{block_on, spawn_local};
use shuttle::scheduler::{DfsScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, Runner, thread};

use crate::common::World;

/// Which orders are tried.
#[derive(Clone, Copy, Debug)]
pub enum Search {
    /// All of them.
    Every,
    /// All in which CPUs are held up so often at most, but where they wait for each other or are done.
    HeldUp(u32),
    /// So many, with a choice between CPUs at random at each moment.
    Random(usize),
}

/// Set to multiply the number of orders tried at random, and to hold CPUs up once more elsewhere.
const LONGER: &str = "FFA_INTERLEAVINGS";

/// A build for debugging is slow, and checks more in each order.
const BRIEF: bool = cfg!(debug_assertions);

/// As many orders as can be waited for.
const MOST: usize = 50_000;

type Work = Box<dyn FnOnce(&World) -> Vec<Regs>>;
pub type Check = Box<dyn FnOnce(World, &[Vec<Regs>])>;

/// What several CPUs do at the same time, and what must be true afterwards.
pub struct Race {
    world: World,
    cpus: Vec<Work>,
}

impl Race {
    pub fn new(world: World) -> Self {
        Self { world, cpus: Vec::new() }
    }

    /// One CPU more, and what it does.
    pub fn cpu(mut self, work: impl FnOnce(&World) -> Vec<Regs> + 'static) -> Self {
        self.cpus.push(Box::new(work));
        self
    }

    /// What to look at when all of them are done, given what each one's guest saw.
    pub fn then(self, check: impl FnOnce(World, &[Vec<Regs>]) + 'static) -> (Self, Check) {
        (self, Box::new(check))
    }
}

thread_local! {
    /// CPUs are held up: they are neither being set up nor checked.
    static RACING: Cell<bool> = const { Cell::new(false) };
}

/// What [`set_preemption`] wants.
fn switch(at: Preemption) {
    if RACING.get() {
        match at {
            // Anybody may go on.
            Preemption::Between => thread::sleep(std::time::Duration::ZERO),
            // Somebody else must.
            Preemption::Waits => thread::yield_now(),
        }
    }
}

/// Tries `race` in the orders that `search` says, and returns how many these are.
///
/// # Panics
/// If a check fails in any of them, and says in which.
pub fn explore(
    name: &str,
    search: Search,
    race: impl Fn() -> (Race, Check) + Send + Sync + 'static,
) -> usize {
    let longer = std::env::var(LONGER).map_or(1, |factor| factor.parse().expect("a number"));
    let (inner, held_up): (Box<dyn Scheduler + Send>, _) = match search {
        Search::Every => (all(longer), u32::MAX),
        Search::HeldUp(times) => (all(longer), times + u32::from(longer > 1) - u32::from(BRIEF)),
        Search::Random(orders) => (
            Box::new(RandomScheduler::new_from_seed(0x5eed, orders * longer / if BRIEF { 10 } else { 1 })),
            u32::MAX,
        ),
    };
    let mut config = Config::new();
    config.stack_size = 128 << 10;
    config.failure_persistence = FailurePersistence::Print;
    set_preemption(switch);
    RACING.set(false);
    let orders = Runner::new(Guide { inner, held_up, left: 0 }, config).run(move || {
        let (race, check) = race();
        run(race, check);
    });
    let complete = matches!(search, Search::Random(_)) || orders < MOST * longer;
    assert!(complete, "{name}: too many orders to try all of them");
    println!("{name}: {orders} orders, {search:?}");
    orders
}

fn all(longer: usize) -> Box<dyn Scheduler + Send> {
    Box::new(DfsScheduler::new(Some(MOST * longer), false))
}

fn run(Race { world, cpus }: Race, check: Check) {
    let world = Rc::new(world);
    let start = |work: Work| {
        let world = Rc::clone(&world);
        spawn_local(async move { work(&world) })
    };
    let cpus: Vec<_> = cpus.into_iter().map(start).collect();
    RACING.set(true);
    let seen: Vec<_> = cpus.into_iter().map(|cpu| block_on(cpu).expect("not aborted")).collect();
    RACING.set(false);
    let world = Rc::into_inner(world).expect("every CPU is done");
    check(world, &seen);
}

/// Leaves the order of what is no race alone, and counts how often CPUs are held up.
struct Guide {
    inner: Box<dyn Scheduler + Send>,
    held_up: u32,
    left: u32,
}

impl Scheduler for Guide {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.left = self.held_up;
        self.inner.new_execution()
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, waits: bool) -> Option<TaskId> {
        // The task that sets the race up, waits for the CPUs and checks.
        if let Some(first) = runnable.iter().find(|task| usize::from(task.id()) == 0) {
            return Some(first.id());
        }
        let others: Vec<&Task> =
            runnable.iter().copied().filter(|task| !waits || Some(task.id()) != current).collect();
        let candidates = if others.is_empty() { runnable } else { &others };
        let goes_on = current.filter(|current| candidates.iter().any(|task| task.id() == *current));
        if self.left == 0 && goes_on.is_some() {
            return goes_on;
        }
        let next = self.inner.next_task(candidates, current, false);
        if goes_on.is_some() && next != goes_on {
            self.left -= 1;
        }
        next
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}
