#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod answered;
mod arena;
mod binding;
mod donation;
mod duty;
mod engine;
mod guest;
mod half_sent;
mod hash;
mod index;
mod loan;
mod outcome;
mod policy;
mod queue;
mod report;
mod running;
mod secure_call;
mod subscribers;
mod table;
mod time;
mod vm;
mod walk;

pub use binding::{BindingId, BindingOutcome};
pub use duty::{DutySlot, LastAnswer, Standing};
pub use engine::Engine;
pub use guest::{BeginError, Begun, CallId, ReclaimOutcome, SendOutcome, ShareId, StandingId};
pub use half_sent::{CancelOutcome, Fragment};
pub use index::Storage;
pub use outcome::{Action, CreateError, Created, Decision, End, Judgement, Unexpected};
pub use policy::{Disposal, IdReuse, Policy};
pub use report::{Obligation, Progress, Subject};
pub use secure_call::SecureCall;
pub use subscribers::{Subscribers, Subscription, TooManySps};
pub use table::{AnswerClass, AnswerTable, Pace, Row, Verdict};
pub use time::{Span, Time};
pub use vm::{Phase, VmKey, VmSlot};
