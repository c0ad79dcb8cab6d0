use ffa_abi::{Handle, NotificationBitmap, PartitionId};

use crate::duty::{Duty, DutySlot, Held, LastAnswer, STAGE_SHARE, State};
use crate::index::Index;
use crate::vm::{VmKey, VmSlot};
use crate::{Engine, ShareId, Span, Standing, StandingId, Storage, Time};

/// What an obligation is about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Subject {
    /// A direct request to this SP that has not ended.
    Call(PartitionId),
    /// Something that the SPMC keeps for the VM.
    Standing {
        /// Its name in the mediator's tables.
        id: StandingId,
        /// What it is.
        what: Standing,
    },
    /// Notifications that this SP may signal.
    Binding {
        /// The SP.
        sp: PartitionId,
        /// Which notifications.
        bits: NotificationBitmap,
    },
    /// This SP must hear of the VM's creation or end.
    Sp(PartitionId),
    /// A memory transaction. The handle is unknown if no usable answer gave one.
    Share {
        /// Its name in the mediator's tables.
        share: ShareId,
        /// Its name in the secure world.
        handle: Option<Handle>,
    },
    /// Memory that the VM lends to another one, or borrows.
    Loan(ShareId),
    /// A memory transaction of whose descriptor the secure world does not have all bytes.
    HalfSent {
        /// Its name in the mediator's tables.
        share: ShareId,
        /// Its name in the secure world, unless that is another one's by now.
        handle: Option<Handle>,
        /// Whether pages are held, of which the secure world may know some.
        holds_pages: bool,
    },
}

impl Subject {
    /// The name under which pages are held until this is met, if there are any: those of a share, of a loan, or of RX and
    /// TX.
    #[must_use]
    pub const fn pages(&self) -> Option<ShareId> {
        match *self {
            Self::Share { share, .. }
            | Self::Loan(share)
            | Self::HalfSent { share, holds_pages: true, .. } => Some(share),
            Self::Standing { id, what: Standing::RxTxMapped } => Some(id.pages()),
            Self::Standing { .. }
            | Self::Call(_)
            | Self::Binding { .. }
            | Self::Sp(_)
            | Self::HalfSent { .. } => None,
        }
    }

    /// The memory transaction that it is about, half-sent or whole. A loan is none.
    #[must_use]
    pub const fn share(&self) -> Option<ShareId> {
        match *self {
            Self::Share { share, .. } | Self::HalfSent { share, .. } => Some(share),
            _ => None,
        }
    }
}

/// Where an obligation stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Progress {
    /// Owed, and tried when its turn comes.
    Owed,
    /// A call about it is in flight, or the pages of a share are on their way back.
    InFlight,
    /// Until other VMs let go: there is nothing to try.
    Lent,
    /// To be tried again then.
    Waiting(Time),
    /// Given up then. What holds [pages](Subject::pages) is quarantined.
    GivenUp(Time),
}

/// One obligation, for a report.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Obligation {
    /// The VM for which it is owed.
    pub vm: VmKey,
    /// What it is about.
    pub subject: Subject,
    /// Where it stands.
    pub progress: Progress,
    /// The last answer to its call.
    pub last: Option<LastAnswer>,
}

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// The VMs that have a slot: alive, dying, zombies and retired.
    pub fn vms(&self) -> impl Iterator<Item = VmKey> + '_ {
        (0..self.vms.len()).filter_map(|position| self.key_at(position))
    }

    /// How many slots for obligations are taken, whosever they are. Looks at every slot.
    #[must_use]
    pub fn taken_duties(&self) -> usize {
        self.duties.iter().filter(|slot| slot.duty.is_some()).count()
    }

    /// What is owed for one VM, in the order in which it is worked on. Nothing for a void key.
    pub fn obligations(&self, vm: VmKey) -> impl Iterator<Item = Obligation> + '_ {
        let lists = self.phase(vm).ok().map(|_| self.vms[vm.index.get()].lists);
        lists.into_iter().flatten().flat_map(move |list| self.list(vm, list.head))
    }

    /// The shares of one VM, whatever their state. Loans are none.
    pub fn shares(&self, vm: VmKey) -> impl Iterator<Item = Obligation> + '_ {
        let head = self.phase(vm).ok().and_then(|_| self.vms[vm.index.get()].lists[STAGE_SHARE].head);
        self.list(vm, head).filter(|obligation| !matches!(obligation.subject, Subject::Loan(_)))
    }

    /// The quarantine: all that holds pages, of whatever VM, and was given up.
    pub fn quarantined(&self) -> impl Iterator<Item = Obligation> + '_ {
        self.vms().flat_map(|vm| self.obligations(vm)).filter(|obligation| {
            obligation.subject.pages().is_some() && matches!(obligation.progress, Progress::GivenUp(_))
        })
    }

    /// Takes note that the hypervisor's clock was set back by `by`: every deadline moves with it, at most to the
    /// clock's start.
    pub fn clock_set_back(&mut self, by: Span) {
        let back = |time: &mut Time| *time = Time::from_nanos(time.as_nanos().saturating_sub(by.as_nanos()));
        for vm in self.vms.iter_mut() {
            back(&mut vm.deadline);
            if let Some(earliest) = &mut vm.pass.earliest {
                back(earliest);
            }
        }
        for slot in self.duties.iter_mut() {
            if let State::Waiting { until: time } | State::GivenUp { at: time } = &mut slot.state {
                back(time);
            }
        }
    }

    fn list(&self, vm: VmKey, head: Option<Index>) -> impl Iterator<Item = Obligation> + '_ {
        let next = |index: &Index| self.duties[index.get()].next;
        core::iter::successors(head, next).filter_map(move |index| {
            let slot = &self.duties[index.get()];
            let subject = match slot.duty? {
                Duty::Call { sp, .. } => Subject::Call(sp),
                Duty::Standing { what, .. } => Subject::Standing { id: StandingId(index), what },
                Duty::NewBitmap { .. } => Subject::Standing { id: StandingId(index), what: Standing::Bitmap },
                Duty::Bound { sp, bits, .. } => Subject::Binding { sp, bits },
                Duty::Sp { sp, .. } => Subject::Sp(sp),
                Duty::Share { handle, .. } => Subject::Share { share: ShareId(index), handle },
                Duty::Loan => Subject::Loan(ShareId(index)),
                Duty::Half { handle, held, .. } => {
                    let holds_pages = held != Held::No;
                    Subject::HalfSent { share: ShareId(index), handle, holds_pages }
                }
            };
            let progress = match slot.state {
                State::Owed => Progress::Owed,
                State::Guest { .. } | State::InFlight | State::Returning { .. } => Progress::InFlight,
                State::Lent { .. } => Progress::Lent,
                State::Waiting { until } => Progress::Waiting(until),
                State::GivenUp { at } => Progress::GivenUp(at),
            };
            Some(Obligation { vm, subject, progress, last: slot.last() })
        })
    }
}
