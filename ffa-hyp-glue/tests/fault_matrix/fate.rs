//! What may be left when all is over and the secure world does what it should: nothing, unless it never said clearly what it
//! has.

use ffa_abi::{FirmwareStatus, Function, Status};
use ffa_test_utils::fault::{FaultAction, What};
use ffa_test_utils::spmc::LiveHandle;

use crate::life::{Left, Step};
use crate::plans::is_send;
use crate::stories::Story;
use crate::variant::Variant;

/// Pages of RX and TX.
const BUFFERS: u64 = 2;

/// What may be left after a fault; one of these.
pub fn of(story: &Story, step: &Step, variant: &Variant) -> Vec<Left> {
    let kept = |kept| Left { kept, ..Left::default() };
    let gone = Left { donated: story.pages, ..Left::default() };
    let action = variant.action;
    let function = match step.call.what {
        What::Function(function) => Some(function),
        _ => None,
    };
    let mut left = match function {
        // Of a handle that is none, or another one's, nobody can be asked. By one that looks right the secure world knows
        // nothing: a share is not there, a donation is gone, and what is half-sent is cancelled.
        _ if step.holds_pages && renames(action) && function != Some(Function::MemFragTx) => {
            vec![kept(story.pages), if story.donates { gone } else { kept(0) }]
        }
        // Asked for by the handle that the head was given, which is not known as a donation's.
        _ if step.holds_pages
            && matches!(action, FaultAction::Instead(_))
            && story.donates
            && story.in_fragments =>
        {
            vec![gone]
        }
        _ if step.holds_pages && is_unclear(action) => vec![kept(story.pages)],
        // What is back and was said not to be cannot be had back again. If its handle was given away meanwhile it is had
        // back by that, and what has the handle is not.
        Some(Function::MemReclaim) if is_lost(action) && step.succeeds() => {
            let given_away =
                if is_unclear(action) { vec![kept(1), Left { kept: 1, ..gone }] } else { vec![kept(1)] };
            let not = if story.donates { gone } else { kept(story.pages) };
            given_away.into_iter().chain([not]).collect()
        }
        // So the secure world says of donations that their receiver has.
        Some(Function::MemReclaim) if story.donates && is_too_late(action) => vec![gone],
        // Nothing asks once more for what may not be there.
        Some(Function::RxTxMap) if is_unclear(action) && !is_lost(action) => vec![kept(BUFFERS)],
        Some(Function::RxTxUnmap) if is_unclear(action) && is_lost(action) && step.succeeds() => {
            vec![kept(BUFFERS)]
        }
        _ => vec![kept(0)],
    };
    if story.takes {
        // What the SP has taken when the fault comes, or all the same.
        let taken: Vec<_> = left.iter().map(|left| Left { donated: story.pages, ..*left }).collect();
        left.extend(taken);
    }
    left
}

/// Whether the secure world may know a transaction of a VM that is gone: one that it has `named` to nobody, a donation that
/// is said to be gone, or one that is half-sent and that it does not know how to cancel, by this name or at all.
pub fn is_excused(story: &Story, step: &Step, variant: &Variant, live: &LiveHandle, named: bool) -> bool {
    let is_hidden = step.names(live.handle) && (renames(variant.action) || is_unclear(variant.action));
    let is_gone = story.donates && live.complete;
    let is_stuck = is_send(&step.call) && !live.complete && matches!(variant.action, FaultAction::Instead(_));
    !named || is_hidden || is_gone || is_stuck
}

/// Whether the answer does not say what was done.
fn is_unclear(action: FaultAction) -> bool {
    match action {
        FaultAction::Refuse(status) | FaultAction::Fail(status) | FaultAction::Lose(status) => match status {
            FirmwareStatus::Known(status) => status == Status::Aborted,
            FirmwareStatus::Other(_) => true,
        },
        FaultAction::CodeInW1(_) | FaultAction::Instead(_) => true,
        _ => false,
    }
}

/// Whether what was done is said not to be.
fn is_lost(action: FaultAction) -> bool {
    matches!(action, FaultAction::Lose(_))
}

/// Whether another handle is told than the secure world has given.
fn renames(action: FaultAction) -> bool {
    matches!(action, FaultAction::GiveHandle(_) | FaultAction::DuplicateHandle | FaultAction::W0(_))
}

/// Whether it is said that the memory cannot be had back any more.
fn is_too_late(action: FaultAction) -> bool {
    let late = [Status::Denied, Status::InvalidParameters].map(FirmwareStatus::Known);
    matches!(action, FaultAction::Refuse(status) if late.contains(&status))
}
