//! What is wrong in some orders only is found: a test of the tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ffa_hyp_glue::GuestMemory;
use ffa_test_utils::hypervisor::Violation;

use super::*;

/// How often each of the things that were seen was seen.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<u64, usize>>>);

impl Seen {
    fn note(&self, what: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    fn all(&self) -> Vec<(u64, usize)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().into_iter().collect()
    }
}

/// Each CPU reads a number from guest memory and writes the next one, with nothing that keeps the other one from it.
fn counts(number: u16) -> impl FnOnce(&World) -> Vec<Regs> + 'static {
    move |world| {
        let mut cpu = world.hypervisor.cpu(number);
        let mut byte = [0];
        cpu.read(VM1, RX, &mut byte).expect("it is memory");
        cpu.write(VM1, RX, &[byte[0] + 1]).expect("it is memory");
        vec![]
    }
}

#[test]
fn an_update_that_is_lost_is_found_and_every_order_is_tried_once() {
    let seen = Seen::default();
    let note = seen.clone();
    // Three pieces for each CPU, one after each of the two moments: 6 over 3 orders.
    let orders = explore("a number", Search::Every, move || {
        let note = note.clone();
        Race::new(world(small(Preset::Strict, Script::GOOD), &[VM1])).cpu(counts(0)).cpu(counts(1)).then(
            move |mut world, _| {
                let mut byte = [0];
                world.hypervisor.read(VM1, RX, &mut byte);
                note.note(u64::from(byte[0]));
                ends(&mut world);
            },
        )
    });
    assert_eq!(orders, 20);
    // One CPU has written before the other reads: what the latter does first can come at any of four places.
    assert_eq!(seen.all(), [(1, 12), (2, 2 * 4)]);
}

/// A hypervisor that frees a dead VM although the mediator has a reference to it: the copy of a message to it finds nobody,
/// but only if the VM dies after it was looked up and before the message is written.
#[test]
fn a_hypervisor_that_ignores_references_is_found() {
    let seen = Seen::default();
    let note = seen.clone();
    let orders = explore("a wrong hypervisor", Search::Every, move || {
        let note = note.clone();
        Race::new(buffers::two_vms(Preset::TfaEl3))
            .cpu(calls(VM1, 0, &[SEND2]))
            .cpu(|world| {
                world.hypervisor.destroy(VM2).expect("it lives");
                if world.hypervisor.is_there(VM2) {
                    world.hypervisor.bury(VM2);
                }
                vec![]
            })
            .then(move |world, _| {
                let wrong = Violation::UsedAfterFree { vm: VM2, seam: "GuestMemory::write" };
                note.note(u64::from(world.hypervisor.violations().contains(&wrong)));
            })
    });
    let [(0, right), (1, wrong)] = seen.all()[..] else { panic!("{:?}", seen.all()) };
    assert!(right > wrong && wrong > 0 && right + wrong == orders, "{right} {wrong}");
}
