//! Guests that bring an operating system: from their first instruction to the last page that comes back, and once more.

mod balance;
mod guest;

use core::array;
use core::fmt::Arguments;
use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering::Relaxed;

use ffa_el2::{clock, fw_cfg, println};
use ffa_teardown::Time;
use ffa_test_utils::timeline::{Line, Summary};

use crate::ffa::{self, Shown};
use crate::frames::{self, FRAMES};
use crate::recipe::{self, Recipe};
use crate::scenario::{Failed, HOSTING};
use crate::vm_id::{MAX_VMS, VmId};
use crate::{interrupts, scheduler, violations};

use balance::Balance;
use guest::Guest;

/// A line of a guest that ends like this says that its life may be ended, if it is to be ended [then](recipe::Until::Ready).
pub const READY: &[u8] = b"is ready to be killed";

/// Guests that are ready, by slot.
static READY_GUESTS: AtomicU16 = AtomicU16::new(0);
const _: () = assert!(MAX_VMS <= u16::BITS as usize);

/// Makes the guests, runs each until it turns itself off or its life is ended, takes it apart, and makes it again until it has
/// no life left.
///
/// # Errors
/// If one ended otherwise, or left something behind.
pub fn run() -> Result<(), Failed> {
    ffa::show(if fw_cfg::is("opt/ffa/events", "on") {
        Shown::All
    } else if fw_cfg::is("opt/ffa/events", "teardown") {
        Shown::Teardown
    } else {
        Shown::Nothing
    });
    recipe::start();
    let start = Balance::now();
    let mut recipes = Recipe::read_all();
    let mut guests: [Option<Guest>; MAX_VMS] =
        array::from_fn(|slot| recipes[slot].take().map(|recipe| Guest::new(VmId::of_slot(slot), recipe)));
    let mut result = Ok(());
    for guest in guests.iter_mut().flatten() {
        result = result.and(guest.begin());
    }
    interrupts::kick_others();
    let living = |guests: &[Option<Guest>]| guests.iter().flatten().filter(|guest| guest.lives()).count();
    while living(&guests) > 0 {
        let is_awaited = |guest: &&Guest| guest.lives() && !guest.waits_for_others();
        let are_alone = guests.iter().flatten().find(is_awaited).is_none();
        if !are_alone {
            let limit = guests.iter().flatten().filter_map(Guest::limit).min().unwrap_or_default();
            scheduler::run_until(limit, || guests.iter().flatten().any(Guest::has_ended));
        }
        for index in 0..MAX_VMS {
            let Some(guest) = &mut guests[index] else { continue };
            if !(guest.has_ended() || are_alone && guest.lives()) {
                continue;
            }
            result = result.and(guest.end());
            result = result.and(match living(&guests) {
                0 => start.check(),
                alive => {
                    let living = guests.iter().flatten().filter(|guest| guest.lives());
                    start.check_beside(alive, living.map(Guest::pages).sum())
                }
            });
            let guest = guests[index].as_mut().expect("it is there");
            if guest.has_another_life() {
                result = result.and(guest.begin());
                interrupts::kick_others();
            }
        }
    }
    let soiled = frames::soiled();
    note(format_args!("{soiled} free pages were written to"));
    println!("{}", summary(&guests, soiled));
    if soiled == 0 && violations::count() == 0 { result } else { Err(Failed) }
}

/// The guest of `vm` has printed this line.
pub fn printed(vm: VmId, line: &[u8]) {
    if line.ends_with(READY) {
        READY_GUESTS.fetch_or(1 << vm.slot(), Relaxed);
        interrupts::kick_others();
    }
}

fn note(text: Arguments) {
    println!("{}", Line::Note(Time::from_nanos(clock::now()), text));
}

fn summary(guests: &[Option<Guest>], soiled: usize) -> Summary {
    let tally = ffa::tally();
    let mediator = ffa::mediator();
    let quarantined = (0..).map_while(|skip| mediator?.quarantined(skip)).count();
    Summary {
        scenario: HOSTING,
        shares: tally.shares,
        reclaimed: tally.reclaimed,
        gone: tally.gone,
        quarantined: quarantined as u32,
        pages_held: FRAMES.lock().count().orphans as u64,
        zombies: guests.iter().flatten().filter(|guest| !guest.is_gone()).count() as u32,
        smcs: ffa::smcs(),
        violations: violations::count() + soiled as u64,
    }
}
