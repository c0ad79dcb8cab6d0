//! What happened, as lines of text that a machine can read: an image prints them on its serial port, the model
//! makes the same, and one renderer shows both to people.
//!
//! Each line begins with `@ffa `, then fields `key=value`. Values have no spaces, except for the last one, which goes
//! to the end of the line:
//!
//! | fields | meaning |
//! | --- | --- |
//! | `scenario` `preset` `title` | a scenario begins |
//! | `t` `by` `vm` `sp` `handle` `call` `answer` `then` | something happened; what has no meaning is left out |
//! | `t` `note` | the hypervisor or its operator did something |
//! | `t` `wrong` | something was not as it must be |
//!
//! `t` is in nanoseconds, IDs and handles are hexadecimal without prefix. `by` is `guest` or `us`. The last line of a
//! scenario is its [`Summary`], without the mark.

#[cfg(feature = "std")]
mod parse;
#[cfg(feature = "std")]
mod render;

use core::fmt;

use ffa_abi::{FirmwareStatus, Function, FunctionId};
use ffa_hyp_glue::{Event, EventKind};
use ffa_teardown::{AnswerClass, Decision, End, LastAnswer, SecureCall, Time};

#[cfg(feature = "std")]
pub use parse::{Entry, ParseError, Parsed, ParsedSummary};
#[cfg(feature = "std")]
pub use render::{Colours, render};

use crate::scenario::Scenario;

/// The mark of a line that is meant for machines.
pub const MARK: &str = "@ffa ";

/// One line, to be printed with `{}`; it has no line end.
#[derive(Clone, Copy)]
pub enum Line<'a> {
    /// A scenario begins.
    Begin(&'a Scenario),
    /// The mediator reported an event.
    Event(Time, &'a Event),
    /// The hypervisor or its operator did something.
    Note(Time, fmt::Arguments<'a>),
    /// Something was not as it must be.
    Wrong(Time, fmt::Arguments<'a>),
}

/// The last line of a scenario.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Its name.
    pub scenario: &'static str,
    /// Memory transactions that guests made.
    pub shares: u32,
    /// How many of them came back.
    pub reclaimed: u32,
    /// How many of them were donations that their receivers have for good.
    pub gone: u32,
    /// How many of them are quarantined.
    pub quarantined: u32,
    /// Pages of dead VMs that are not free.
    pub pages_held: u64,
    /// Dead VMs that are not gone.
    pub zombies: u32,
    /// Secure calls that were made.
    pub smcs: u64,
    /// Broken promises, seen by the oracle or by a guest.
    pub violations: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, shares, reclaimed, gone, quarantined, pages_held, zombies, smcs, violations } =
            self;
        write!(
            f,
            "summary scenario={scenario} shares={shares} reclaimed={reclaimed} gone={gone} quarantined={quarantined} \
             pages_held={pages_held} zombies={zombies} smcs={smcs} violations={violations}"
        )
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)?;
        match self {
            Self::Begin(scenario) => {
                let Scenario { name, title, preset, .. } = scenario;
                write!(f, "scenario={name} preset={} title={title}", preset.name())
            }
            Self::Event(at, event) => {
                write!(f, "t={} ", at.as_nanos())?;
                write_event(f, event)
            }
            Self::Note(at, text) => write!(f, "t={} note={text}", at.as_nanos()),
            Self::Wrong(at, text) => write!(f, "t={} wrong={text}", at.as_nanos()),
        }
    }
}

fn write_event(f: &mut fmt::Formatter<'_>, event: &Event) -> fmt::Result {
    let by = if matches!(event.kind, EventKind::GuestCall { .. }) { "guest" } else { "us" };
    write!(f, "by={by}")?;
    if event.vm.0 != 0 {
        write!(f, " vm={:x}", event.vm.0)?;
    }
    if let Some(sp) = event.sp {
        write!(f, " sp={:x}", sp.0)?;
    }
    if let Some(handle) = event.handle {
        write!(f, " handle={:x}", handle.get())?;
    }
    match event.kind {
        EventKind::Creating => f.write_str(" then=VM is being created"),
        EventKind::Live => f.write_str(" then=VM lives"),
        EventKind::WithoutNotifications => {
            f.write_str(" then=no notifications: the secure world keeps none for the VM")
        }
        EventKind::CreationFailed => f.write_str(" then=creation failed: what was done is undone"),
        EventKind::Destroyed { shares } => {
            write!(f, " then=VM is dead, {shares} {} open", if shares == 1 { "share" } else { "shares" })
        }
        EventKind::GuestCall { function, status } => {
            match FunctionId::from_w0(function) {
                Ok(id) => write!(f, " call={}", id.function())?,
                Err(_) => write!(f, " call={function:#x}")?,
            }
            match status {
                Some(status) => write!(f, " answer={} then=refused", status.name()),
                None => f.write_str(" answer=ok then=served"),
            }
        }
        EventKind::Shared { pages } => {
            write!(f, " call={} answer=SUCCESS then={} shared", Function::MemShare, Pages(pages))
        }
        EventKind::Lent { pages } => {
            write!(f, " call={} answer=SUCCESS then={} lent", Function::MemLend, Pages(pages))
        }
        EventKind::Donated { pages } => {
            write!(f, " call={} answer=SUCCESS then={} donated", Function::MemDonate, Pages(pages))
        }
        EventKind::Retrieved { pages } => write!(f, " then={} mapped", Pages(pages)),
        EventKind::Relinquished { pages } => write!(f, " then={} unmapped", Pages(pages)),
        EventKind::Revoked { pages } => write!(f, " then={} taken away", Pages(pages)),
        EventKind::Doubtful { pages } => {
            write!(f, " then={} kept: nobody knows who has them", Pages(pages))
        }
        EventKind::SecureCall { call, decision: Decision::GoesOn, .. } => {
            write!(
                f,
                " call={call} answer={} then=asked for more: the next is to be refused",
                Function::MemFragRx
            )
        }
        EventKind::SecureCall { call, answer, decision } => {
            write!(f, " call={call} answer=")?;
            write_answer(f, call, answer)?;
            f.write_str(" then=")?;
            write_decision(f, decision)
        }
        EventKind::Released { pages: 0 } => f.write_str(" then=over: no page was held"),
        EventKind::Released { pages } => write!(f, " then={} back", Pages(pages)),
        EventKind::Gone { pages } => write!(f, " then={} gone for good: the receiver's", Pages(pages)),
        EventKind::Quarantined { pages } => write!(f, " then={} quarantined", Pages(pages)),
        EventKind::Listed => f.write_str(" then=the list of SPs was read anew"),
        EventKind::NotListed => f.write_str(" then=the list of SPs stays what it was: it could not be read"),
        EventKind::Retried { due } => write!(f, " then=operator retries {due} obligations"),
        EventKind::Finished { end } => f.write_str(match end {
            End::Gone => " then=VM is gone, its ID is free",
            End::Retired => " then=VM is gone, its ID stays retired",
            End::Zombie => " then=VM stays as a zombie, no timer runs for it",
        }),
        _ => f.write_str(" then=something happened"),
    }
}

fn write_answer(f: &mut fmt::Formatter<'_>, _: SecureCall, answer: LastAnswer) -> fmt::Result {
    f.write_str(match answer.class {
        AnswerClass::Success => "SUCCESS",
        AnswerClass::Preempted => "FFA_INTERRUPT",
        AnswerClass::Yielded => "FFA_YIELD",
        AnswerClass::MsgWait => "FFA_MSG_WAIT",
        AnswerClass::Malformed => "nonsense",
        _ => match answer.status() {
            Some(FirmwareStatus::Known(status)) => status.name(),
            Some(FirmwareStatus::Other(code)) => return write!(f, "error{code}"),
            None => "error",
        },
    })
}

/// So many pages, in words.
struct Pages(u32);

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count) = self;
        write!(f, "{count} {}", if *count == 1 { "page" } else { "pages" })
    }
}

fn write_decision(f: &mut fmt::Formatter<'_>, decision: Decision) -> fmt::Result {
    match decision {
        Decision::Met => f.write_str("done"),
        Decision::Told => f.write_str("told"),
        Decision::BitmapCreated => f.write_str("created"),
        Decision::NoBitmap => f.write_str("the VM lives without"),
        Decision::GoesOn => f.write_str("goes on"),
        Decision::Drained => f.write_str("drained"),
        Decision::Confirmed { .. } => f.write_str("confirmed: pages go back"),
        Decision::Returned { .. } => f.write_str("unmapped: its buffers go back"),
        Decision::Gone { .. } => f.write_str("too late: the pages are the receiver's"),
        Decision::TryAgain { until } => write!(f, "again at {until} s"),
        Decision::GivenUp { share: Some(_) } | Decision::HandOver { .. } => {
            f.write_str("given up: pages are kept")
        }
        Decision::GivenUp { share: None } => f.write_str("given up"),
        Decision::CreationFailed => f.write_str("the VM is not created"),
    }
}
