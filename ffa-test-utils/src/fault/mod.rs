//! Faults on the way to the secure world and back, as a plan that can wrap any conduit.
//!
//! ```
//! use ffa_abi::{Function, Regs, Status};
//! use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
//!
//! // The second FFA_MEM_RECLAIM is done, but its answer says BUSY.
//! let lost = Fault {
//!     call: CallKind::function(Function::MemReclaim),
//!     when: When::Nth(2),
//!     action: FaultAction::Lose(Status::Busy.into()),
//! };
//! let mut plan = FaultPlan::new([lost]);
//! let reclaim = Regs::new([0x8400_0077, 5]);
//! let mut done = 0;
//! let mut call = || plan.apply(&reclaim, |_| { done += 1; Regs::success(0, 0) });
//! assert_eq!(call(), Regs::success(0, 0));
//! assert_eq!(call(), Regs::error(Status::Busy));
//! assert_eq!((done, plan.fired(0)), (2, 1));
//! ```

mod call;
mod plan;
mod random;
mod spoil;

pub use call::{CallKind, What};
pub use plan::{Fault, FaultPlan, When};
pub use random::{RandomFaults, Trust};
pub use spoil::FaultAction;
