//! Which vCPU runs where, and for how long.
//!
//! Every CPU takes the next vCPU that has something to do and that no other CPU runs. A turn ends when the guest has to
//! wait, or with the first interrupt; the timer sees to it that there is one. With nothing to run a CPU waits for an
//! interrupt, so that time passes without instructions.

use arm_sysregs::el2::accessors::write_vttbr_el2;
use ffa_el2::clock;

use crate::alarm::{self, NEVER};
use crate::board;
use crate::cpu::{self, Kind};
use crate::ffa;
use crate::vcpu::State;
use crate::vm_id::VmId;
use crate::vms::{self, Claim};
use crate::{interrupts, timer, world_switch};

/// Longest turn of a vCPU, in nanoseconds.
const TURN: u64 = 10_000_000;

/// Runs vCPUs on this CPU, and the teardown of dead VMs, until `done` says that there is nothing left to wait for. Who
/// changes its answer from another CPU kicks this one.
pub fn run(done: impl Fn() -> bool) {
    run_until(NEVER, done);
}

/// The same, but not after `limit`, in nanoseconds since reset.
pub fn run_until(limit: u64, done: impl Fn() -> bool) {
    let mut last = None;
    while !done() {
        let now = clock::now();
        if now >= limit {
            break;
        }
        let ticks = alarm::take_due(now);
        if ticks {
            ffa::tick();
            // It may have ended what somebody waits for.
            interrupts::kick_others();
        }
        match vms::claim_due(last, now) {
            Some(mut claim) => {
                last = Some(take_turn(&mut claim, limit.min(now + TURN)));
                let is_ready = claim.vcpu().state == State::Ready;
                drop(claim);
                // The vCPU may have been the last that somebody waits for. One that goes on is this CPU's to run: to tell
                // another CPU of it would end the turn there, and that the next turn here.
                if !is_ready {
                    interrupts::kick_others();
                }
            }
            None if ticks => {} // Perhaps that was what is waited for.
            None => wait(limit),
        }
        if interrupts::acknowledge().schedule_receiver {
            ffa::schedule_receivers();
        }
    }
    timer::disarm();
}

/// Runs the claimed vCPU once, not after `end`, and says whose it is.
fn take_turn(claim: &mut Claim, end: u64) -> VmId {
    timer::arm(alarm::next().min(end));
    let (vttbr, doorbell) = (claim.vttbr, claim.doorbell);
    let vcpu = claim.vcpu();
    vcpu.state = State::Ready;
    vcpu.el1.restore();
    if vcpu.board.is_some() {
        cpu::confine(Kind::Hosted);
        board::begin_turn(vcpu);
    } else {
        cpu::confine(Kind::Own);
        interrupts::watch_virtual_timer(false);
    }
    vcpu.gic.restore(doorbell.enter(cpu::current()));
    // SAFETY: The table exists as long as the claim does, since `vms::destroy` waits for the vCPU.
    unsafe { write_vttbr_el2(vttbr) }
    let run = if vcpu.board.is_some() { board::run } else { world_switch::enter };
    // SAFETY: The claim is ours alone, registers and stage 2 were set just now, and every CPU that comes here went
    // through `cpu::start_this`. The exception return makes the writes above take effect.
    unsafe { run(vcpu) }
    vcpu.el1.save();
    vcpu.gic.save();
    if let Some(board) = &mut vcpu.board {
        board.end_turn();
    }
    match vcpu.state {
        State::Stopped(stop) => {
            doorbell.disconnect();
            if let Some(board) = &mut vcpu.board {
                board.switch_off(vcpu.vm);
            }
            if stop.ends_vm() {
                ffa::destroy_vm(vcpu.vm);
            }
        }
        State::Ready | State::Sleeping(_) | State::WaitingForInterrupt(_) => doorbell.leave(),
    }
    vcpu.vm
}

/// Waits for an interrupt: a kick, or the timer when the first sleeper wakes, teardown goes on, or the limit is reached.
fn wait(limit: u64) {
    match limit.min(alarm::next()).min(vms::next_wake().unwrap_or(NEVER)) {
        NEVER => timer::disarm(),
        time => timer::arm(time),
    }
    arm_gic::wfi();
}
