//! Calls in registers: decode and encode, ours and arm-ffa's.

use std::hint::black_box;

use arm_ffa::{Interface, Version as PeerVersion};
use ffa_abi::{Answer, Call, Regs};

use crate::{Case, repeat};

const PEER_VERSION: PeerVersion = PeerVersion(1, 2);

const DIRECT_REQUEST: Regs = Regs::new([0x8400_006f, 0x0001_8001, 0, 1, 2, 3, 4, 5]);
const MEM_SHARE: Regs = Regs::new([0x8400_0073, 112, 112]);
const MEM_RECLAIM: Regs = Regs::new([0x8400_0077, 0x1234]);
const SUCCESS: Regs = Regs::new([0x8400_0061, 0, 0x1234]);
const VM_DESTROYED: Regs = Regs::new([0x8400_006f, 0x8001, 0x8000_0006, 0xffff_ffff, 0xffff_ffff, 3]);
const RXTX_MAP: Regs = Regs::new([0xc400_0066, 0x4000_0000, 0x4000_1000, 1]);
const MEM_FRAG_TX: Regs = Regs::new([0x8400_007b, 0x1234, 0, 4096]);

pub const CASES: &[Case] = &[
    ("decode-direct-request", |n| decode(n, DIRECT_REQUEST)),
    ("decode-mem-share", |n| decode(n, MEM_SHARE)),
    ("decode-mem-reclaim", |n| decode(n, MEM_RECLAIM)),
    ("decode-success", |n| decode_answer(n, SUCCESS)),
    ("decode-vm-destroyed", |n| decode(n, VM_DESTROYED)),
    ("decode-rxtx-map", |n| decode(n, RXTX_MAP)),
    ("decode-mem-frag-tx", |n| decode(n, MEM_FRAG_TX)),
    ("encode-direct-request", |n| encode(n, DIRECT_REQUEST)),
    ("encode-mem-share", |n| encode(n, MEM_SHARE)),
    ("encode-mem-reclaim", |n| encode(n, MEM_RECLAIM)),
    ("encode-success", |n| encode_answer(n, SUCCESS)),
    ("encode-vm-destroyed", |n| encode(n, VM_DESTROYED)),
    ("encode-rxtx-map", |n| encode(n, RXTX_MAP)),
    ("encode-mem-frag-tx", |n| encode(n, MEM_FRAG_TX)),
    ("peer-decode-direct-request", |n| peer_decode(n, DIRECT_REQUEST)),
    ("peer-decode-mem-share", |n| peer_decode(n, MEM_SHARE)),
    ("peer-decode-mem-reclaim", |n| peer_decode(n, MEM_RECLAIM)),
    ("peer-decode-success", |n| peer_decode(n, SUCCESS)),
    ("peer-decode-vm-destroyed", |n| peer_decode(n, VM_DESTROYED)),
    ("peer-decode-rxtx-map", |n| peer_decode(n, RXTX_MAP)),
    ("peer-decode-mem-frag-tx", |n| peer_decode(n, MEM_FRAG_TX)),
    ("peer-encode-direct-request", |n| peer_encode(n, DIRECT_REQUEST)),
    ("peer-encode-mem-share", |n| peer_encode(n, MEM_SHARE)),
    ("peer-encode-mem-reclaim", |n| peer_encode(n, MEM_RECLAIM)),
    ("peer-encode-success", |n| peer_encode(n, SUCCESS)),
    ("peer-encode-vm-destroyed", |n| peer_encode(n, VM_DESTROYED)),
    ("peer-encode-rxtx-map", |n| peer_encode(n, RXTX_MAP)),
    ("peer-encode-mem-frag-tx", |n| peer_encode(n, MEM_FRAG_TX)),
];

// Each is a function of its own, so that no part of it moves out of the loop, and both sides pay for one call.

#[inline(never)]
fn call_from(regs: &Regs) -> Call {
    Call::from_regs(regs).unwrap()
}

#[inline(never)]
fn call_to(call: &Call, regs: &mut Regs) {
    *regs = call.to_regs();
}

#[inline(never)]
fn answer_from(regs: &Regs) -> Answer {
    Answer::from_regs(regs)
}

#[inline(never)]
fn answer_to(answer: &Answer, regs: &mut Regs) {
    *regs = answer.to_regs();
}

#[inline(never)]
fn peer_from(version: PeerVersion, regs: &[u64; 18]) -> Interface {
    Interface::from_regs(version, regs).unwrap()
}

#[inline(never)]
fn peer_to(interface: &Interface, version: PeerVersion, regs: &mut [u64; 18]) {
    interface.to_regs(version, regs);
}

fn decode(iterations: u32, regs: Regs) {
    repeat(iterations, || call_from(black_box(&regs)));
}

fn encode(iterations: u32, regs: Regs) {
    let call = call_from(&regs);
    let mut out = Regs::ZERO;
    repeat(iterations, || call_to(black_box(&call), black_box(&mut out)));
    assert_eq!(out, regs);
}

fn decode_answer(iterations: u32, regs: Regs) {
    repeat(iterations, || answer_from(black_box(&regs)));
}

fn encode_answer(iterations: u32, regs: Regs) {
    let answer = answer_from(&regs);
    let mut out = Regs::ZERO;
    repeat(iterations, || answer_to(black_box(&answer), black_box(&mut out)));
    assert_eq!(out, regs);
}

fn peer_decode(iterations: u32, regs: Regs) {
    repeat(iterations, || peer_from(black_box(PEER_VERSION), black_box(&regs.0)));
}

fn peer_encode(iterations: u32, regs: Regs) {
    let interface = peer_from(PEER_VERSION, &regs.0);
    let mut out = [0; 18];
    repeat(iterations, || peer_to(black_box(&interface), black_box(PEER_VERSION), black_box(&mut out)));
    assert_eq!(out, regs.0);
}
