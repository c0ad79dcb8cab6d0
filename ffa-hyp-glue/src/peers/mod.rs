//! Memory between VMs: the mediator relays it, and the secure world hears nothing of it.
//!
//! An owner's pages are tracked and held as for a share with SPs, and what a borrower has of them is tracked among its own
//! ranges. Both keep their VM in the engine until the loan has ended, whoever dies first.

mod death;
mod fragment;
mod give;
mod grant;
mod loan;
mod offer;
mod reclaim;
mod relinquish;
mod retrieve;

pub use death::LenderDeath;
pub use loan::LoanSlot;
pub(crate) use loan::{Handles, Loans};
pub(crate) use offer::Parties;
