//! Acts that have to do with each other, since chance hardly ever brings them together.

use crate::act::{Act, Name, Peer, Step};
use crate::generate::{offer, send, sp, vm};
use crate::tape::Tape;

/// What follows from each other, with something left out here and there.
pub fn story(tape: &mut Tape<'_>) -> Vec<Step> {
    let told = tape.byte() | tape.byte();
    let acts = tape.choose(&[
        (4, between_vms),
        (2, with_a_partition),
        (1, in_parts),
        (1, with_requests),
        (1, with_notifications),
        (1, with_death),
    ]);
    let acts = acts.into_iter().enumerate().filter(|(n, _)| told >> n & 1 != 0);
    acts.map(|(_, act)| Step::Do(act)).collect()
}

/// Memory of one VM that another one has for a while.
fn between_vms(tape: &mut Tape<'_>) -> Vec<Act> {
    let first = offer(tape);
    let owner = match first {
        Act::Send { vm, .. } => vm,
        _ => 0,
    };
    let (vm, name, flaw) = ((owner + 1) % 3, Name::Own(0), None);
    vec![
        first,
        Act::Retrieve { vm, name, flaw },
        Act::RetrieveRest { vm, name, from: 0 },
        Act::Reclaim { vm: owner, name, flags: 0 },
        Act::Relinquish { vm, name, flaw },
        Act::Reclaim { vm: owner, name, flags: 1 },
    ]
}

fn with_a_partition(tape: &mut Tape<'_>) -> Vec<Act> {
    let first = send(tape);
    let Act::Send { vm, to, .. } = first else { return vec![first] };
    let (sp, name) = (to.trailing_zeros() as u8, Name::Own(0));
    vec![
        first,
        Act::SpRetrieves { sp, share: tape.below(4) },
        Act::Reclaim { vm, name, flags: 0 },
        Act::SpRelinquishesAll { sp, vm },
        Act::Reclaim { vm, name, flags: 1 },
    ]
}

fn in_parts(tape: &mut Tape<'_>) -> Vec<Act> {
    let mut first = send(tape);
    if let Act::Send { head, ranges, pages, .. } = &mut first {
        (*head, *ranges, *pages) = (Some(tape.below(2)), 3, 1);
    }
    let Act::Send { vm, .. } = first else { return vec![first] };
    let part = |ranges| Act::Part { vm, nth: 0, ranges, flaw: None };
    vec![first, part(1), part(1), part(0), Act::Reclaim { vm, name: Name::Own(0), flags: 0 }]
}

fn with_requests(tape: &mut Tape<'_>) -> Vec<Act> {
    let (vm, sp) = (vm(tape), sp(tape));
    let run = Act::Run { vm, vcpu: 0, sp };
    vec![Act::Request { vm, vcpu: 0, sp }, run, run, Act::Request2 { vm, vcpu: 0, sp }, run]
}

fn with_notifications(tape: &mut Tape<'_>) -> Vec<Act> {
    let (vm, sp) = (vm(tape), sp(tape));
    vec![
        Act::Bind { vm, from: Peer::Sp(sp), ids: 3, per_vcpu: false },
        Act::SpNotifies { sp, vm, id: tape.below(2) },
        Act::Pending(vm),
        Act::Get { vm, vcpu: 0, sources: 1 },
        Act::Unbind { vm, from: Peer::Sp(sp), ids: 3 },
        Act::SpAllows { sp, vm },
        Act::Set { vm, to: Peer::Sp(sp), ids: 1, vcpu: None },
    ]
}

fn with_death(tape: &mut Tape<'_>) -> Vec<Act> {
    let vm = vm(tape);
    vec![Act::Destroy(vm), Act::Wait(1500), Act::Create { vm, minor: tape.below(4), map: true }]
}
