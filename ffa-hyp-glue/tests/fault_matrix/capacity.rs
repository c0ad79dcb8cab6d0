//! Every limit on the way, and everything that may fail there, one after the other.

use std::cell::RefCell;

use ffa_abi::Regs;
use ffa_test_utils::hypervisor::{Fallible, Machine};
use ffa_test_utils::spmc::Preset;

use crate::life::{Left, Life};
use crate::stories::{STORIES, Story};

/// Something of which there is only so much.
struct Limit {
    name: &'static str,
    set: fn(&mut Machine, u32),
    /// From one value to the next.
    step: u32,
}

const fn limit(name: &'static str, set: fn(&mut Machine, u32)) -> Limit {
    Limit { name, set, step: 1 }
}

const LIMITS: [Limit; 17] = [
    limit("VMs", |machine, most| machine.vms = most as usize),
    limit("obligations", |machine, most| machine.duties = most as usize),
    limit("ranges of a VM", |machine, most| machine.ranges = most as usize),
    limit("partitions in the list", |machine, most| machine.listed = most as usize),
    limit("borrowers", |machine, most| machine.loans = most as usize),
    limit("drafts of a VM", |machine, most| machine.drafts = most as usize),
    limit("shares of a VM", |machine, most| machine.settings.shares_per_vm = most),
    Limit { step: 7, ..limit("pages of a share", |machine, most| machine.settings.pages_per_share = most) },
    Limit { step: 7, ..limit("pages of a VM", |machine, most| machine.settings.pages_per_vm = most) },
    limit("requests of a VM", |machine, most| machine.settings.calls_per_vm = most),
    limit("pages of RX and TX", |machine, most| machine.settings.rxtx_pages = most as u8),
    limit("shares in the SPMC", |machine, most| machine.secure.limits.shares = most),
    limit("receivers in the SPMC", |machine, most| machine.secure.limits.receivers = most),
    limit("parts in the SPMC", |machine, most| machine.secure.limits.parts = most),
    limit("VMs in the SPMC", |machine, most| machine.secure.limits.vms = most),
    Limit {
        step: 160,
        ..limit("bytes in the SPMC", |machine, most| machine.secure.limits.store_bytes = most.into())
    },
    limit("pages of RX and TX of the SPMC", |machine, most| machine.secure.limits.buffer_pages = most),
];

/// A life that something may have come in the way of, to its end: nothing is left of it, and nobody has noticed.
fn end(mut life: Life, story: &Story, lived: bool) {
    life.check_books();
    assert_eq!(life.violations(), []);
    life.heal();
    if lived {
        life.end_other();
    }
    let Left { kept, donated } = life.left();
    assert!(kept == 0 && (donated == 0 || story.takes), "{kept} pages are kept, {donated} given away");
    assert_eq!(life.stale(), []);
    life.check_kept();
    life.newborn();
    assert_eq!(life.violations(), []);
}

/// A life with no more than `most` of something. Returns what guests were answered.
fn limited(preset: Preset, story: &'static Story, limit: &Limit, most: u32) -> Vec<Regs> {
    let named = Named(preset, story, format!("{most} {}", limit.name));
    let Ok(mut life) = Life::boot(preset, story, |machine| (limit.set)(machine, most)) else {
        return Vec::new();
    };
    life.serves_less = true;
    let begun = life.begin();
    if begun {
        life.live();
    }
    let answers = life.answers.clone();
    end(life, story, begun);
    drop(named);
    answers
}

/// A life in which something fails once.
fn failing(preset: Preset, story: &'static Story, what: Fallible, nth: u32) {
    let named = Named(preset, story, format!("{what:?} fails, number {nth}"));
    let mut life = Life::boot(preset, story, |_| {}).expect("it boots");
    life.begin();
    life.world.hypervisor.fail(what, nth);
    life.live();
    assert!(!life.world.hypervisor.is_to_fail(), "it does not come");
    end(life, story, true);
    drop(named);
}

/// Says what was tried if it goes wrong.
struct Named(Preset, &'static Story, String);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}, {}: {}", self.0.name(), self.1.name, self.2);
        }
    }
}

fn each_story(work: impl Fn(Preset, &'static Story)) {
    for story in &STORIES {
        story.served_by.iter().for_each(|&preset| work(preset, story));
    }
}

/// From nothing to as much as it takes, of each thing in turn. Where it is too little, some call is refused.
#[test]
fn limits() {
    /// Far more than any story needs.
    const ENOUGH: u32 = 100;
    let met = RefCell::new([[0; LIMITS.len()]; Preset::ALL.len()]);
    each_story(|preset, story| {
        let mut life = Life::boot(preset, story, |_| {}).expect("it boots");
        life.begin();
        life.live();
        for (at, limit) in LIMITS.iter().enumerate() {
            let too_little =
                |&values: &u32| limited(preset, story, limit, values * limit.step) != life.answers;
            let count = (0..ENOUGH).take_while(too_little).count();
            assert!(count < ENOUGH as usize, "{}, {}: {}", preset.name(), story.name, limit.name);
            met.borrow_mut()[preset as usize][at] += count;
        }
    });
    for (preset, met) in Preset::ALL.into_iter().zip(met.into_inner()) {
        println!("{}: {met:?}", preset.name());
        let never: Vec<_> =
            LIMITS.iter().zip(met).filter(|(_, met)| *met == 0).map(|(limit, _)| limit.name).collect();
        assert_eq!(never, unlimited(preset), "{}", preset.name());
    }
}

/// What no story needs over this secure world, or what it knows no limit of.
fn unlimited(preset: Preset) -> &'static [&'static str] {
    match preset {
        Preset::Hafnium => &["bytes in the SPMC"],
        Preset::TfaEl3 => &[
            "requests of a VM",
            "shares in the SPMC",
            "receivers in the SPMC",
            "parts in the SPMC",
            "VMs in the SPMC",
            "pages of RX and TX of the SPMC",
        ],
        Preset::Optee => &[
            "requests of a VM",
            "receivers in the SPMC",
            "parts in the SPMC",
            "VMs in the SPMC",
            "bytes in the SPMC",
            "pages of RX and TX of the SPMC",
        ],
        Preset::Strict => &[],
    }
}

/// All that the hypervisor is asked to do and may be unable to, each time that it is asked.
#[test]
fn what_may_fail_fails_once() {
    let met = RefCell::new([0; Fallible::ALL.len()]);
    each_story(|preset, story| {
        let mut life = Life::boot(preset, story, |_| {}).expect("it boots");
        life.begin();
        let asked = |life: &Life| Fallible::ALL.map(|what| life.world.hypervisor.asked(what));
        let before = asked(&life);
        life.live();
        for (at, what) in Fallible::ALL.into_iter().enumerate() {
            let count = asked(&life)[at] - before[at];
            (0..count).for_each(|nth| failing(preset, story, what, nth));
            met.borrow_mut()[at] += count;
        }
    });
    let met = met.into_inner();
    println!("{:?} failed {met:?} times", Fallible::ALL);
    assert!(met.iter().all(|count| *count > 0), "{met:?}");
}
