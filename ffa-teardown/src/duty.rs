use core::mem::size_of;

use ffa_abi::{
    Answer, FirmwareStatus, Handle, NotificationBitmap, PartitionId, RunTarget, VmAvailability,
    VmAvailabilityAnswer,
};

use crate::index::Index;
use crate::{AnswerClass, AnswerTable, Pace, Row, SecureCall, Time, Verdict};

/// What the SPMC keeps for a VM besides shares, each to be undone by a call of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Standing {
    /// The VM owns its RX buffer as far as the SPMC knows: FFA_RX_RELEASE. Over with the mapping.
    RxOwned,
    /// The VM's RX/TX buffers were forwarded: FFA_RXTX_UNMAP. Until then their pages are held like those of a share.
    RxTxMapped,
    /// The VM has a notification bitmap: FFA_NOTIFICATION_BITMAP_DESTROY.
    Bitmap,
}

/// Whether an SP was told VM_CREATED.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Told {
    /// It wants to be and was not.
    NotYet,
    /// It was preempted over the message, and what became of that is lost: it may have heard.
    Perhaps,
    /// It was, or does not want to be, or nobody knows: it is owed VM_DESTROYED if it wants that.
    MaySo,
}

/// Who was told of the handle of a share.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum KnownTo {
    /// Nobody, so far or for ever.
    Nobody,
    /// Only we, by an answer that does not say whether the share came about.
    Us,
    /// The guest as well.
    Guest,
}

/// One thing that the secure world is owed for a VM.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Duty {
    /// A direct request of vCPU `vcpu` to `sp` that has not ended.
    Call { vcpu: u16, sp: PartitionId },
    /// See [`Standing`]. `drained`: see [`Duty::drained`]. `handed_over`: as for a share. `in_doubt`: nobody knows whether
    /// there is such a bitmap.
    Standing { what: Standing, drained: bool, handed_over: bool, in_doubt: bool },
    /// The VM that is being created is to have a notification bitmap: FFA_NOTIFICATION_BITMAP_CREATE, when every SP has
    /// taken note of the VM. `in_doubt`: an SP was preempted over it, so that there may be one whatever is said later.
    NewBitmap { vcpus: u32, in_doubt: bool },
    /// `sp` may signal these notifications to the VM. `named`: the guest knows that it may.
    Bound { sp: PartitionId, bits: NotificationBitmap, named: bool, drained: bool },
    /// `sp` must hear of the VM's creation or end. `destroyed`: it wants VM_DESTROYED.
    Sp { sp: PartitionId, told: Told, destroyed: bool },
    /// A memory transaction. `known`: who was ever told of its handle. `handed_over`: the hypervisor has its pages on a
    /// list of its own. `donated`: see [`Duty::is_donation`].
    Share { handle: Option<Handle>, known: KnownTo, handed_over: bool, donated: bool },
    /// Memory that the VM lends to another one, or borrows: the secure world knows nothing of it.
    Loan,
    /// A memory transaction of whose descriptor the secure world does not have all bytes. `missing`: how many it lacks.
    /// `room`: 4 KiB pages of the longest fragment. Without a handle it is another one's by now.
    Half { handle: Option<Handle>, missing: u32, room: u8, held: Held, will_be: WillBe },
}

/// What a half-sent transaction is when it has come about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum WillBe {
    /// Shared or lent.
    Share,
    /// Likewise, and it may have come about: the secure world asks for more although it has the last byte, or for none
    /// although it has not.
    PerhapsShare,
    /// Donated. This one is never left in doubt so: its handle may be another one's.
    Donation,
}

/// Whether pages are held for a half-sent transaction, of which the secure world may know some.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Held {
    No,
    Yes,
    /// They are, and the hypervisor has them on a list of its own.
    HandedOver,
}

/// The order in which teardown works: a list of duties per stage. Bindings share one with the RX/TX buffers, to which
/// they are nothing, and half-sent transactions one with direct requests; so neither costs a VM a list of its own.
pub(crate) const STAGES: usize = 6;
pub(crate) const STAGE_CALL: usize = 0;
pub(crate) const STAGE_RX: usize = 1;
pub(crate) const STAGE_BOUND: usize = 2;
pub(crate) const STAGE_BITMAP: usize = 3;
pub(crate) const STAGE_SP: usize = 4;
pub(crate) const STAGE_SHARE: usize = 5;

impl Standing {
    pub(crate) const fn stage(self) -> usize {
        match self {
            Self::RxOwned => STAGE_RX,
            Self::RxTxMapped => STAGE_BOUND,
            Self::Bitmap => STAGE_BITMAP,
        }
    }
}

impl Duty {
    pub(crate) const fn stage(&self) -> usize {
        match self {
            Self::Call { .. } | Self::Half { .. } => STAGE_CALL,
            Self::Standing { what, .. } => what.stage(),
            Self::Bound { .. } => STAGE_BOUND,
            // After the SPs.
            Self::Sp { .. } | Self::NewBitmap { .. } => STAGE_SP,
            Self::Share { .. } | Self::Loan => STAGE_SHARE,
        }
    }

    /// Whether what was pending has been fetched since this duty's own call was last tried: the SPMC neither unbinds
    /// nor destroys while anything is. `None` if that is nothing to this duty.
    pub(crate) fn drained(&mut self) -> Option<&mut bool> {
        match self {
            Self::Bound { drained, .. } | Self::Standing { what: Standing::Bitmap, drained, .. } => {
                Some(drained)
            }
            _ => None,
        }
    }

    /// Notes whether the SPMC may have no such bitmap. Nothing to any other duty.
    pub(crate) fn doubt(&mut self, whether: bool) {
        if let Self::Standing { what: Standing::Bitmap, in_doubt, .. } = self {
            *in_doubt = whether;
        }
    }

    /// The call that would meet this duty or makes way for it, or `None` for a share without a handle and for a loan.
    pub(crate) fn call(&self, vm: PartitionId, resume: Option<RunTarget>) -> Option<SecureCall> {
        if let Some(target) = resume {
            return Some(SecureCall::Run { target });
        }
        Some(match *self {
            Self::Call { .. } | Self::Loan => return None,
            Self::Standing { what: Standing::RxOwned, .. } => SecureCall::RxRelease { vm },
            Self::Standing { what: Standing::RxTxMapped, .. } => SecureCall::RxTxUnmap { vm },
            // The SPMC destroys no bitmap that is not there, and does not say so. By whatever answer to this there is one.
            Self::Standing { what: Standing::Bitmap, drained: false, in_doubt: true, .. } => {
                SecureCall::BitmapCreate { vm, vcpus: 1 }
            }
            Self::Standing { what: Standing::Bitmap, drained: false, .. }
            | Self::Bound { drained: false, .. } => SecureCall::NotificationGet { vm },
            Self::Standing { what: Standing::Bitmap, .. } => SecureCall::BitmapDestroy { vm },
            Self::NewBitmap { vcpus, .. } => SecureCall::BitmapCreate { vm, vcpus },
            Self::Bound { sp, bits, .. } => SecureCall::NotificationUnbind { sp, vm, bits },
            Self::Sp { sp, told, .. } => SecureCall::Tell { sp, vm, event: told.event() },
            Self::Share { handle, .. } => SecureCall::MemReclaim { handle: handle? },
            Self::Half { handle, will_be: WillBe::PerhapsShare, .. } => {
                SecureCall::MemReclaim { handle: handle? }
            }
            // Zeroes are refused, and the transaction with them, as soon as nothing is missing.
            Self::Half { handle, missing, room, .. } => {
                let most = fragment_len(room);
                let len = if missing == 0 { most } else { missing.min(most) };
                SecureCall::MemCancel { handle: handle?, vm, len }
            }
        })
    }

    /// The name of a memory transaction in the secure world.
    #[inline]
    pub(crate) const fn handle(&self) -> Option<Handle> {
        match self {
            Self::Share { handle, .. } => *handle,
            Self::Half { handle, .. } => *handle,
            _ => None,
        }
    }

    /// An SP was preempted over it.
    pub(crate) fn begun(&mut self) {
        if let Self::NewBitmap { in_doubt, .. } = self {
            *in_doubt = true;
        }
    }

    /// What it was to be resumed over is lost, without anybody knowing how far it came.
    pub(crate) fn lose(&mut self) {
        if let Self::Sp { told: told @ Told::NotYet, .. } = self {
            *told = Told::Perhaps;
        }
        if let Some(drained) = self.drained() {
            *drained = false;
        }
    }

    pub(crate) const fn is_call(&self) -> bool {
        matches!(self, Self::Call { .. })
    }

    pub(crate) const fn new_standing(what: Standing) -> Self {
        Self::Standing { what, drained: false, handed_over: false, in_doubt: false }
    }

    pub(crate) const fn is_standing(&self) -> bool {
        self.standing().is_some()
    }

    pub(crate) const fn standing(&self) -> Option<Standing> {
        match self {
            Self::Standing { what, .. } => Some(*what),
            _ => None,
        }
    }

    /// Whether pages are held until this duty is met.
    pub(crate) const fn holds_pages(&self) -> bool {
        match self {
            Self::Half { held, .. } => !matches!(held, Held::No),
            Self::Share { .. } | Self::Standing { what: Standing::RxTxMapped, .. } => true,
            _ => false,
        }
    }

    /// Notes that the hypervisor has the pages on a list of its own. Returns whether it had before; `None` if there are
    /// none.
    pub(crate) fn hand_over(&mut self) -> Option<bool> {
        match self {
            Self::Share { handed_over, .. }
            | Self::Standing { what: Standing::RxTxMapped, handed_over, .. } => {
                Some(core::mem::replace(handed_over, true))
            }
            Self::Half { held: held @ (Held::Yes | Held::HandedOver), .. } => {
                Some(core::mem::replace(held, Held::HandedOver) == Held::HandedOver)
            }
            _ => None,
        }
    }

    /// A share whose pages the hypervisor has on a list of its own.
    pub(crate) const fn is_handed_over(&self) -> bool {
        matches!(self, Self::Share { handed_over: true, .. })
    }

    /// A donation that may have come about: a receiver may have made the memory its own, after which nobody has it back,
    /// and the handle is free.
    pub(crate) const fn is_donation(&self) -> bool {
        matches!(self, Self::Share { donated: true, known: KnownTo::Us | KnownTo::Guest, .. })
    }

    /// A transaction that is a donation when it has come about.
    pub(crate) const fn is_to_be_donated(&self) -> bool {
        matches!(self, Self::Share { donated: true, .. } | Self::Half { will_be: WillBe::Donation, .. })
    }

    /// A donation that the guest has a name for.
    pub(crate) const fn is_named_donation(&self) -> bool {
        matches!(self, Self::Share { donated: true, known: KnownTo::Guest, .. })
    }

    /// A transaction that the guest is about to begin.
    pub(crate) const fn is_unsent(&self) -> bool {
        matches!(self, Self::Share { handle: None, .. })
    }

    /// A transaction that has a handle.
    pub(crate) const fn is_sent(&self) -> bool {
        matches!(self, Self::Share { handle: Some(_), .. })
    }

    /// A transaction that nobody can be asked for.
    pub(crate) const fn is_nameless(&self) -> bool {
        matches!(self, Self::Share { handle: None, .. } | Self::Half { handle: None, .. })
    }

    /// A transaction that is half-sent.
    pub(crate) const fn is_half(&self) -> bool {
        matches!(self, Self::Half { .. })
    }

    #[inline(always)] // see `judge`
    fn row<'a>(&self, table: &'a AnswerTable) -> &'a Row {
        match self {
            Self::Call { .. } => &table.call,
            Self::Standing { what: Standing::RxOwned | Standing::RxTxMapped, .. } => &table.buffers,
            Self::Standing { what: Standing::Bitmap, .. } => &table.bitmap_destroy,
            Self::NewBitmap { .. } => &table.bitmap_create,
            Self::Bound { .. } => &table.unbind,
            Self::Sp { told: Told::NotYet | Told::Perhaps, .. } => &table.vm_created,
            Self::Sp { told: Told::MaySo, .. } => &table.vm_destroyed,
            Self::Share { .. } if self.is_donation() => &table.donation_reclaim,
            // Nobody is asked about a loan.
            Self::Share { .. } | Self::Loan => &table.mem_reclaim,
            Self::Half { .. } => &table.mem_frag,
        }
    }

    /// The class of an answer to this duty's own call, resumed or not.
    #[inline(always)] // little is left of it where the kind of duty is known
    pub(crate) fn classify(&self, vm: PartitionId, answer: &Answer) -> AnswerClass {
        match (self, answer) {
            // An SP can only be resumed as itself.
            (
                Self::Sp { sp, .. } | Self::Call { sp, .. },
                Answer::Interrupt(target) | Answer::Yield { target, .. },
            ) if target.endpoint != *sp => AnswerClass::Malformed,
            (Self::Sp { sp, told, .. }, Answer::DirectResponse(_)) => {
                match told.event().message(*sp, vm).answer(answer) {
                    Ok(VmAvailabilityAnswer::Accepted) => AnswerClass::Success,
                    Ok(VmAvailabilityAnswer::Refused(status)) => AnswerClass::of_status(status),
                    Ok(VmAvailabilityAnswer::Malformed) | Err(_) => AnswerClass::Malformed,
                }
            }
            (Self::Call { sp, .. }, Answer::DirectResponse(response))
                if response.sender == *sp && response.receiver == vm =>
            {
                AnswerClass::Success
            }
            (Self::Call { sp, .. }, Answer::DirectResponse2 { sender, receiver })
                if sender == sp && *receiver == vm =>
            {
                AnswerClass::Success
            }
            (
                Self::Standing { .. }
                | Self::NewBitmap { .. }
                | Self::Bound { .. }
                | Self::Share { .. }
                | Self::Half { will_be: WillBe::PerhapsShare, .. },
                Answer::Success(_),
            ) => AnswerClass::Success,
            (Self::Half { handle, .. }, Answer::Success(success))
                if Handle::from_words(success.w2(), success.w3()).ok() == *handle =>
            {
                AnswerClass::Success
            }
            _ => AnswerClass::of_refusal(answer),
        }
    }

    /// Whether an answer of this class can only be one to this duty's own call: a message of its SP says what it answers.
    pub(crate) fn is_named_by(&self, class: AnswerClass, answer: &Answer) -> bool {
        matches!(answer, Answer::DirectResponse(_)) && class != AnswerClass::Malformed
    }

    /// The verdict on an answer to the call of a duty that is to `resume`, and whether that is still to be resumed.
    #[inline(always)] // after every reclaim
    pub(crate) fn judge(
        &self,
        table: &AnswerTable,
        class: AnswerClass,
        resume: Resume,
        answer: &Answer,
    ) -> (Verdict, bool) {
        let running = resume != Resume::Anew;
        if let Self::Half { .. } = self {
            return judge_cancel(table, class, running, answer);
        }
        // What ends the resumed call speaks for that call; all else is FFA_RUN's own answer.
        let ends =
            matches!(answer, Answer::DirectResponse(_) | Answer::DirectResponse2 { .. } | Answer::Success(_));
        if running && !ends {
            let verdict = table.run.verdict(class);
            if resume == Resume::Last && matches!(verdict, Verdict::Limited(_)) {
                return (self.verdict_lost(), false);
            }
            if matches!(verdict, Verdict::Retry(_) | Verdict::Limited(_) | Verdict::Resume) {
                // It may have been the resumed call's own answer, so what can be asked again, is. An SP that has a
                // message in hand takes no other, and ends it with a response.
                let responds = matches!(self, Self::Sp { .. } | Self::Call { .. });
                return (verdict, responds || verdict == Verdict::Resume);
            }
            // FFA_RUN was refused, which is no refusal of what it was to resume.
            return match self.row(table).verdict(class) {
                Verdict::GiveUp | Verdict::Gone => (Verdict::Unknown, false),
                verdict => (verdict, false),
            };
        }
        (self.row(table).verdict(class), false)
    }

    /// What follows when there is nothing left to resume: a direct request is over with that, and all else is owed anew.
    pub(crate) const fn verdict_lost(&self) -> Verdict {
        match self {
            Self::Call { .. } => Verdict::Done,
            _ => Verdict::Retry(Pace::BackOff),
        }
    }
}

/// Bytes of a fragment of so many 4 KiB pages.
pub(crate) const fn fragment_len(pages: u8) -> u32 {
    pages as u32 * 4096
}

/// The verdict on an answer to the call that cancels a half-sent transaction, and whether somebody is still to be resumed.
/// Only an error in answer to the call itself says that the transaction is over, or leaves no name to ask for it by.
#[cold]
fn judge_cancel(table: &AnswerTable, class: AnswerClass, running: bool, answer: &Answer) -> (Verdict, bool) {
    let verdict = match (table.mem_frag.verdict(class), answer) {
        (verdict @ (Verdict::Done | Verdict::Resume), _) => verdict,
        (verdict, Answer::Error(_)) if !running => verdict,
        _ => Verdict::Limited(Pace::BackOff),
    };
    (verdict, verdict == Verdict::Resume)
}

impl Told {
    pub(crate) const fn event(self) -> VmAvailability {
        match self {
            Self::NotYet | Self::Perhaps => VmAvailability::Created,
            Self::MaySo => VmAvailability::Destroyed,
        }
    }
}

/// Whether an obligation's call is made, or an SP that was preempted over it is resumed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Resume {
    /// The call is made.
    Anew,
    /// FFA_RUN of the slot's target, which works for this and for nothing else.
    Run,
    /// Likewise, but that was given up once: if there is nothing to run, there is nothing to resume either.
    Last,
    /// FFA_RUN of the slot's target is in flight, which by now works for something else: its answer says nothing.
    Lost,
}

/// Makes the framework message of an event.
pub(crate) trait EventMessage {
    fn message(self, sp: PartitionId, vm: PartitionId) -> ffa_abi::VmMessage;
}

impl EventMessage for VmAvailability {
    fn message(self, sp: PartitionId, vm: PartitionId) -> ffa_abi::VmMessage {
        ffa_abi::VmMessage { event: self, sp, vm, vm_handle: 0 }
    }
}

/// Where an obligation stands. Met ones leave the list.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum State {
    /// A call that may bring it about, or that the guest of `vm` makes to meet it, is in flight.
    Guest { vm: Index },
    /// Due as soon as the VM is created or torn down.
    Owed,
    /// A loan of `vm`: over when the mediator says so.
    Lent { vm: Index },
    /// A call of the engine's own is in flight.
    InFlight,
    /// To be tried again.
    Waiting { until: Time },
    /// A share of `vm` that is no more, and whose pages are on their way back.
    Returning { vm: Index },
    /// Given up at that time. For a share: quarantined.
    GivenUp { at: Time },
}

/// The last answer to an obligation's call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LastAnswer {
    /// Its class.
    pub class: AnswerClass,
    /// Its status code, or zero if it carried none.
    pub code: i32,
}

impl LastAnswer {
    pub(crate) fn new(class: AnswerClass, answer: &Answer) -> Self {
        let code = match answer {
            Answer::Error(status) => status.code(),
            Answer::DirectResponse(response) => match response.message {
                ffa_abi::Message::Framework { payload, .. } => payload[0] as u32 as i32,
                ffa_abi::Message::Partition(_) => 0,
            },
            _ => 0,
        };
        Self { class, code }
    }

    /// The status code, if the answer carried one.
    #[must_use]
    pub fn status(&self) -> Option<FirmwareStatus> {
        (self.code != 0 || self.class == AnswerClass::OtherStatus)
            .then(|| FirmwareStatus::from_code(self.code))
    }
}

/// Room for one obligation, in storage that the caller lends. At most 64 bytes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DutySlot {
    pub(crate) duty: Option<Duty>,
    pub(crate) state: State,
    pub(crate) last_code: i32,
    pub(crate) last_class: Option<AnswerClass>,
    pub(crate) prev: Option<Index>,
    /// Next of the VM's stage, or next vacant slot.
    pub(crate) next: Option<Index>,
    /// First of the shares whose handles hash to this slot's position.
    pub(crate) bucket: Option<Index>,
    /// Next share in this slot's own bucket.
    pub(crate) chain: Option<Index>,
    /// Next duty in the bucket of its target, while that works for it.
    pub(crate) runs: Option<Index>,
    /// Whom to resume, if anybody.
    pub(crate) target: RunTarget,
    pub(crate) resume: Resume,
    pub(crate) step: u8,
    pub(crate) tries: u8,
}
const _: () = assert!(size_of::<DutySlot>() <= 64);

impl DutySlot {
    /// An empty slot.
    pub const VACANT: Self = Self {
        duty: None,
        state: State::Owed,
        last_code: 0,
        last_class: None,
        prev: None,
        next: None,
        bucket: None,
        chain: None,
        runs: None,
        target: RunTarget { endpoint: PartitionId(0), vcpu: 0 },
        resume: Resume::Anew,
        step: 0,
        tries: 0,
    };

    /// The last answer to the duty's call.
    pub(crate) fn last(&self) -> Option<LastAnswer> {
        self.last_class.map(|class| LastAnswer { class, code: self.last_code })
    }

    #[inline]
    pub(crate) fn set_last(&mut self, last: LastAnswer) {
        (self.last_class, self.last_code) = (Some(last.class), last.code);
    }

    /// What the answer to a send said of the share.
    #[inline]
    pub(crate) fn set_handle(&mut self, new: Option<Handle>, known_to: KnownTo) {
        if let Some(Duty::Share { handle, known, .. }) = &mut self.duty {
            (*handle, *known) = (new, known_to);
        }
    }

    /// Whom to resume instead of making the duty's call.
    #[inline]
    pub(crate) fn run(&self) -> Option<RunTarget> {
        (self.resume != Resume::Anew).then_some(self.target)
    }
}
