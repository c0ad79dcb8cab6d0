//! What must never happen, watched from outside: no code and no table is shared with the engine.

use core::fmt;
use std::collections::BTreeMap;
use std::vec::Vec;

use ffa_abi::{
    Answer, Call, FirmwareStatus, Function, FunctionId, Handle, Message, PartitionId, Properties, Regs,
    RunTarget, Status, VmAvailability, VmMessage,
};
use ffa_teardown::Policy;

use crate::spmc::{Reach, Reached};

/// A promise that was broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Violation {
    /// A page was released, freed or given to a VM although an SP can still reach it.
    Reachable {
        /// Physical address of the page.
        page: u64,
        /// What was done to it.
        when: &'static str,
        /// Who can reach it.
        sp: PartitionId,
        /// By which share.
        handle: Handle,
        /// Whether it is mapped, or could be.
        reach: Reach,
    },
    /// A VM can access a page that it has lent or donated.
    OwnerAccess {
        /// Whose the page was.
        vm: PartitionId,
        /// Physical address of the page.
        page: u64,
        /// By which transaction it was sent.
        handle: Handle,
    },
    /// A page was released, freed or given to a VM although another VM has it mapped.
    Borrowed {
        /// Physical address of the page.
        page: u64,
        /// What was done to it.
        when: &'static str,
        /// Who has it mapped.
        borrower: PartitionId,
    },
    /// A page was mapped for another VM that is not held, or not its owner's.
    LentUnheld {
        /// Whose it should be.
        vm: PartitionId,
        /// Guest-physical address.
        page: u64,
    },
    /// A page was unmapped that is not mapped.
    UnmappedTwice {
        /// From whom.
        vm: PartitionId,
        /// Guest-physical address.
        page: u64,
    },
    /// A VM is gone, and still had pages of another one mapped.
    MappingKept {
        /// The VM.
        vm: PartitionId,
    },
    /// A page was released or freed that the secure world was given, and of which it has not said that it is back.
    Unconfirmed {
        /// Physical address of the page.
        page: u64,
        /// What was done to it.
        when: &'static str,
    },
    /// A page was released that is not held.
    ReleasedTwice {
        /// Whose.
        vm: PartitionId,
        /// Guest-physical address.
        page: u64,
    },
    /// The mediator wrote to a page of a guest that it does not hold.
    WrittenUnheld {
        /// Whose.
        vm: PartitionId,
        /// Guest-physical address.
        page: u64,
    },
    /// A VM was named after its last reference was gone, or before it was there.
    UsedAfterFree {
        /// The VM.
        vm: PartitionId,
        /// What for.
        seam: &'static str,
    },
    /// The mediator took a second reference to a VM.
    SecondReference {
        /// The VM.
        vm: PartitionId,
    },
    /// A VM is gone, and the mediator still has its reference.
    ReferenceKept {
        /// The VM.
        vm: PartitionId,
    },
    /// VM_CREATED for a VM that the SP has accepted already.
    CreatedTwice {
        /// The VM.
        vm: PartitionId,
        /// The SP.
        sp: PartitionId,
    },
    /// VM_DESTROYED to an SP that never heard of the VM, or does not want to hear.
    NeverTold {
        /// The VM.
        vm: PartitionId,
        /// The SP.
        sp: PartitionId,
    },
    /// VM_DESTROYED to an SP that has taken note of it already.
    DestroyedTwice {
        /// The VM.
        vm: PartitionId,
        /// The SP.
        sp: PartitionId,
    },
    /// A VM is gone, and an SP that knows it was not told, or has not answered yet.
    NotTold {
        /// The VM.
        vm: PartitionId,
        /// The SP.
        sp: PartitionId,
    },
    /// A VM got the ID of one that the secure world still refers to.
    IdReused {
        /// The ID.
        vm: PartitionId,
        /// The share that refers to it.
        handle: Handle,
    },
    /// A seam that may take long or run a destructor was called with the mediator's lock held.
    UnderLock {
        /// The seam.
        seam: &'static str,
    },
    /// One tick made more secure calls than its budget.
    OverBudget {
        /// The calls.
        smcs: u32,
    },
    /// The timer was armed for the same moment over and over.
    TimerStorm,
    /// A page is on no list, or on two.
    PagesLost {
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// A guest saw something that it must not see.
    Guest {
        /// The guest.
        vm: PartitionId,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reachable { page, when, sp, handle, reach } => {
                let how = match reach {
                    Reach::Mapped => "has it mapped",
                    Reach::Retrievable => "could retrieve it",
                };
                write!(f, "page {page:#x} was {when} while SP {sp} {how} by handle {:#x}", handle.get())
            }
            Self::OwnerAccess { vm, page, handle } => {
                write!(
                    f,
                    "VM {vm} can access page {page:#x}, which it sent away by handle {:#x}",
                    handle.get()
                )
            }
            Self::Borrowed { page, when, borrower } => {
                write!(f, "page {page:#x} was {when} while VM {borrower} has it mapped")
            }
            Self::LentUnheld { vm, page } => {
                write!(f, "page {page:#x} of VM {vm} was mapped for another one, but nobody holds it")
            }
            Self::UnmappedTwice { vm, page } => {
                write!(f, "page {page:#x} was unmapped from VM {vm}, which does not have it")
            }
            Self::MappingKept { vm } => write!(f, "VM {vm} is gone and had borrowed pages mapped"),
            Self::Unconfirmed { page, when } => {
                write!(f, "page {page:#x} was {when}, but nobody said that it is back")
            }
            Self::ReleasedTwice { vm, page } => {
                write!(f, "page {page:#x} of VM {vm} was released, but nobody holds it")
            }
            Self::WrittenUnheld { vm, page } => {
                write!(f, "page {page:#x} of VM {vm} was written, but nobody holds it")
            }
            Self::UsedAfterFree { vm, seam } => write!(f, "{seam} named VM {vm}, which is not there"),
            Self::SecondReference { vm } => write!(f, "a second reference to VM {vm} was taken"),
            Self::ReferenceKept { vm } => write!(f, "the reference to VM {vm} was not given back"),
            Self::CreatedTwice { vm, sp } => write!(f, "SP {sp} was told twice that VM {vm} was created"),
            Self::NeverTold { vm, sp } => {
                write!(f, "SP {sp} was told of the end of VM {vm}, of which it does not know")
            }
            Self::DestroyedTwice { vm, sp } => write!(f, "SP {sp} was told again of the end of VM {vm}"),
            Self::NotTold { vm, sp } => write!(f, "VM {vm} is gone and SP {sp} has not taken note"),
            Self::IdReused { vm, handle } => {
                write!(f, "ID {vm} was given away while handle {:#x} refers to it", handle.get())
            }
            Self::UnderLock { seam } => write!(f, "{seam} was called under the mediator's lock"),
            Self::OverBudget { smcs } => write!(f, "one tick made {smcs} secure calls"),
            Self::TimerStorm => f.write_str("the timer fires without end"),
            Self::PagesLost { expected, found } => {
                write!(f, "{found} pages are accounted for, not {expected}")
            }
            Self::Guest { vm } => write!(f, "guest {vm} saw what it must not see"),
        }
    }
}

/// What an SP can know of a VM's creation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Created {
    /// Nothing.
    #[default]
    Unheard,
    /// The message is on its way, or its answer made no sense.
    Perhaps,
    /// It accepted.
    Accepted,
}

/// What an SP can know of a VM's end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Destroyed {
    /// Nothing.
    #[default]
    Unheard,
    /// It has yet to answer, or wants to be asked again.
    Pending,
    /// It will never answer otherwise.
    Final,
    /// It took note.
    Accepted,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    created: Created,
    destroyed: Destroyed,
    /// How often FFA_RUN was refused that was to resume the SP while it is told of the end.
    refused_runs: u8,
}

/// The oracle's own book of messages, from the SMCs that it saw.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    violations: Vec<Violation>,
    /// How many there were, those beyond the limit of the list included.
    pub count: u64,
    subscribers: Vec<(PartitionId, Properties)>,
    heard: BTreeMap<(PartitionId, PartitionId), Heard>,
    /// Messages whose SP was preempted.
    paused: BTreeMap<(PartitionId, u16), VmMessage>,
}

/// Violations that are kept; what comes after is only counted.
const KEPT: usize = 64;

impl Oracle {
    pub fn new(subscribers: Vec<(PartitionId, Properties)>) -> Self {
        Self { subscribers, ..Self::default() }
    }

    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub fn report(&mut self, violation: Violation) {
        self.count += 1;
        if self.violations.len() < KEPT {
            self.violations.push(violation);
        }
    }

    pub fn reachable(&mut self, page: u64, when: &'static str, reached: Option<Reached>) {
        if let Some(Reached { sp, handle, reach, .. }) = reached {
            self.report(Violation::Reachable { page, when, sp, handle, reach });
        }
    }

    fn wants(&self, sp: PartitionId, event: VmAvailability) -> bool {
        let property = match event {
            VmAvailability::Created => Properties::WANTS_VM_CREATED,
            VmAvailability::Destroyed => Properties::WANTS_VM_DESTROYED,
        };
        self.subscribers.iter().any(|(id, properties)| *id == sp && properties.contains(property))
    }

    /// Takes note of an SMC and of what the mediator was answered.
    pub fn smc(&mut self, regs: &Regs, answer: &Regs) {
        let Ok(id) = FunctionId::from_w0(regs.w::<0>()) else { return };
        let message = match id.function() {
            Function::MsgSendDirectReq => {
                let Ok(Call::DirectRequest(request)) = Call::from_regs(regs) else { return };
                let answer = Answer::from_regs(answer);
                if let Answer::Interrupt(target) | Answer::Yield { target, .. } = answer {
                    // Whoever is run under that name from now on works for this request.
                    self.paused.remove(&(target.endpoint, target.vcpu));
                }
                if !matches!(request.message, Message::Framework { .. }) {
                    return;
                }
                let Some(message) = VmMessage::from_request(&request) else { return };
                self.sent(message);
                message
            }
            Function::Run => {
                let target = RunTarget::from_word(regs.w::<1>());
                let Some(message) = self.paused.get(&(target.endpoint, target.vcpu)) else { return };
                *message
            }
            _ => return,
        };
        let answer = Answer::from_regs(answer);
        let run = id.function() == Function::Run;
        self.answered(message, &answer, run);
    }

    fn sent(&mut self, message: VmMessage) {
        let VmMessage { event, sp, vm, .. } = message;
        let wants_created = self.wants(sp, VmAvailability::Created);
        let wanted = self.wants(sp, event);
        let heard = self.heard.entry((vm, sp)).or_default();
        let violation = match event {
            VmAvailability::Created if heard.created == Created::Accepted => {
                Some(Violation::CreatedTwice { vm, sp })
            }
            VmAvailability::Destroyed if !wanted || wants_created && heard.created == Created::Unheard => {
                Some(Violation::NeverTold { vm, sp })
            }
            VmAvailability::Destroyed if heard.destroyed == Destroyed::Accepted => {
                Some(Violation::DestroyedTwice { vm, sp })
            }
            _ => None,
        };
        if let Some(violation) = violation {
            self.report(violation);
        }
    }

    fn answered(&mut self, message: VmMessage, answer: &Answer, run: bool) {
        let VmMessage { event, sp, vm, .. } = message;
        if let Answer::Interrupt(target) | Answer::Yield { target, .. } = answer {
            self.paused.insert((target.endpoint, target.vcpu), message);
        } else if matches!(answer, Answer::DirectResponse(_) | Answer::Success(_)) {
            self.paused.retain(|_, paused| *paused != message);
        }
        let status = match message.answer(answer) {
            Ok(ffa_abi::VmAvailabilityAnswer::Accepted) => Some(Ok(())),
            Ok(ffa_abi::VmAvailabilityAnswer::Refused(FirmwareStatus::Known(status))) => {
                Some(Err((status, true)))
            }
            Err(Answer::Error(FirmwareStatus::Known(status))) => Some(Err((status, false))),
            _ => None,
        };
        let paused = matches!(answer, Answer::Interrupt(_) | Answer::Yield { .. });
        let heard = self.heard.entry((vm, sp)).or_default();
        match event {
            VmAvailability::Created => {
                // Only an SP that says no in as many words knows nothing.
                let refused = matches!(
                    status,
                    Some(Err((
                        Status::Denied
                            | Status::NoMemory
                            | Status::InvalidParameters
                            | Status::NoData
                            | Status::Retry
                            | Status::Busy
                            | Status::Interrupted
                            | Status::NotReady,
                        _
                    )))
                );
                let responds = matches!(status, Some(Err((_, true))));
                heard.created = match status {
                    Some(Ok(())) => Created::Accepted,
                    _ if refused && run && responds && heard.created == Created::Perhaps => Created::Unheard,
                    _ if refused && !run => heard.created,
                    _ if heard.created == Created::Accepted => Created::Accepted,
                    _ => Created::Perhaps,
                };
            }
            VmAvailability::Destroyed => {
                let run_refused = matches!(
                    status,
                    Some(Err((Status::InvalidParameters | Status::Denied | Status::NoMemory, false))) if run
                );
                heard.refused_runs = heard.refused_runs.saturating_add(run_refused.into());
                heard.destroyed = match status {
                    _ if heard.destroyed == Destroyed::Accepted => Destroyed::Accepted,
                    Some(Ok(())) => Destroyed::Accepted,
                    Some(Err((Status::Retry | Status::Busy | Status::Interrupted | Status::NotReady, _))) => {
                        Destroyed::Pending
                    }
                    // FFA_RUN itself was refused, which says nothing of the message, but not for ever.
                    _ if run_refused && heard.refused_runs < Policy::DEFAULT.tries => Destroyed::Pending,
                    None if paused => Destroyed::Pending,
                    _ => Destroyed::Final,
                };
            }
        }
    }

    /// The VM is gone, or its ID is used anew: whoever knows of it must have been told.
    pub fn gone(&mut self, vm: PartitionId) {
        let mut forgotten = Vec::new();
        for (sp, properties) in &self.subscribers {
            let heard = self.heard.get(&(vm, *sp)).copied().unwrap_or_default();
            let knows = match properties.contains(Properties::WANTS_VM_CREATED) {
                true => heard.created != Created::Unheard,
                false => true,
            };
            let told = matches!(heard.destroyed, Destroyed::Final | Destroyed::Accepted);
            if properties.contains(Properties::WANTS_VM_DESTROYED) && knows && !told {
                forgotten.push(*sp);
            }
        }
        for sp in forgotten {
            self.report(Violation::NotTold { vm, sp });
        }
    }

    /// A VM with this ID begins to live.
    pub fn born(&mut self, vm: PartitionId) {
        self.heard.retain(|(id, _), _| *id != vm);
    }
}
