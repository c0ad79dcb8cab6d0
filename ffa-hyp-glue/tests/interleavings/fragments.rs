//! Transactions in fragments, and buffers that are unmapped meanwhile.

use ffa_abi::{Handle, Regs, Status};

use super::*;

/// Bytes of one range in a descriptor.
const RANGE: usize = 16;

/// VM 1, whose guest has sent all of a descriptor but its last two ranges, of which TX has the first.
fn half_sent(preset: Preset) -> (World, Handle, Vec<u8>) {
    let mut world = world(small(preset, Script::LAZY), &[VM1]);
    let bytes = descriptor(Version::V1_1, VM1, SP1, &[0, 2, 4].map(|page| (PAGES + page * PAGE, 1)));
    let (head, rest) = bytes.split_at(bytes.len() - 2 * RANGE);
    world.write_tx(VM1, head);
    let answer = call(&world, VM1, 0, &[MEM_SHARE, bytes.len() as u64, head.len() as u64]);
    let Answer::MemFragRx(begun) = Answer::from_regs(&answer) else { panic!("{answer:x?}") };
    let (next, last) = rest.split_at(RANGE);
    world.write_tx(VM1, next);
    (world, begun.handle, last.to_vec())
}

/// FFA_MEM_FRAG_TX of the range that is in TX.
fn frag(world: &World, vcpu: u16, handle: Handle) -> Regs {
    let [low, high] = handle.words();
    call(world, VM1, vcpu, &[0x8400_007b, low, high, RANGE as u64])
}

#[test]
fn a_transaction_that_is_cancelled_over_tx_is_not_gone_on_with() {
    over(&Preset::ALL, "unmap and map, fragment", Search::HeldUp(3), |preset| {
        let (world, handle, last) = half_sent(preset);
        Race::new(world)
            .cpu(calls(VM1, 0, &[UNMAP]))
            .cpu(move |world| vec![call(world, VM1, 1, MAP), frag(world, 1, handle)])
            .then(move |mut world, _| {
                let _mapped_already = call(&world, VM1, 0, MAP);
                // It may be named like the one that was cancelled.
                let other = world.share(VM1, SP1, &[(PAGES + PAGE, 1)]);
                world.write_tx(VM1, &last);
                let went_on = frag(&world, 0, handle);
                let again = descriptor(Version::V1_1, VM1, SP1, &[(PAGES + PAGE, 1)]);
                let answer = world.send(VM1, &again);
                assert_eq!(answer, Regs::error(Status::Denied), "it is shared already: {went_on:x?}");
                assert_eq!(world.reclaim(VM1, other), Regs::success(0, 0));
                ends(&mut world);
            })
    });
}
