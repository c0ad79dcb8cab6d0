use ffa_abi::{Answer, FirmwareStatus, Status};

/// What an answer amounts to, whatever call it answers. Rows of the [`AnswerTable`] are indexed by it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum AnswerClass {
    /// The answer that confirms: FFA_SUCCESS, or a direct response with status 0 from the right SP.
    Success,
    /// NOT_SUPPORTED.
    NotSupported,
    /// INVALID_PARAMETERS.
    InvalidParameters,
    /// NO_MEMORY.
    NoMemory,
    /// BUSY.
    Busy,
    /// INTERRUPTED, the status; FFA_INTERRUPT is [`Preempted`](Self::Preempted).
    Interrupted,
    /// DENIED.
    Denied,
    /// RETRY.
    Retry,
    /// ABORTED.
    Aborted,
    /// NO_DATA.
    NoData,
    /// NOT_READY.
    NotReady,
    /// A status that FF-A does not define: zero inside FFA_ERROR, positive, or unknown.
    OtherStatus,
    /// FFA_INTERRUPT: an SP was preempted and wants FFA_RUN.
    Preempted,
    /// FFA_YIELD: an SP wants FFA_RUN later.
    Yielded,
    /// FFA_MSG_WAIT: an SP that was run has nothing to do.
    MsgWait,
    /// Anything else: another function, an answer to another question, one that makes no sense.
    Malformed,
}

impl AnswerClass {
    /// How many there are.
    pub const COUNT: usize = 16;

    /// Every class, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Success,
        Self::NotSupported,
        Self::InvalidParameters,
        Self::NoMemory,
        Self::Busy,
        Self::Interrupted,
        Self::Denied,
        Self::Retry,
        Self::Aborted,
        Self::NoData,
        Self::NotReady,
        Self::OtherStatus,
        Self::Preempted,
        Self::Yielded,
        Self::MsgWait,
        Self::Malformed,
    ];

    pub(crate) const fn of_status(status: FirmwareStatus) -> Self {
        match status {
            FirmwareStatus::Known(Status::NotSupported) => Self::NotSupported,
            FirmwareStatus::Known(Status::InvalidParameters) => Self::InvalidParameters,
            FirmwareStatus::Known(Status::NoMemory) => Self::NoMemory,
            FirmwareStatus::Known(Status::Busy) => Self::Busy,
            FirmwareStatus::Known(Status::Interrupted) => Self::Interrupted,
            FirmwareStatus::Known(Status::Denied) => Self::Denied,
            FirmwareStatus::Known(Status::Retry) => Self::Retry,
            FirmwareStatus::Known(Status::Aborted) => Self::Aborted,
            FirmwareStatus::Known(Status::NoData) => Self::NoData,
            FirmwareStatus::Known(Status::NotReady) => Self::NotReady,
            FirmwareStatus::Other(_) => Self::OtherStatus,
        }
    }

    /// The class of an answer that is neither a success nor a direct response.
    pub(crate) const fn of_refusal(answer: &Answer) -> Self {
        match answer {
            Answer::Error(status) => Self::of_status(*status),
            Answer::Interrupt(_) => Self::Preempted,
            Answer::Yield { .. } => Self::Yielded,
            Answer::MsgWait => Self::MsgWait,
            _ => Self::Malformed,
        }
    }
}

/// How long to wait before the next try.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Pace {
    /// The same span each time, for what lasts as long as an SP pleases.
    Fixed,
    /// Short at first, then doubling, for what passes by itself.
    BackOff,
}

/// What to do about an obligation after an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// The obligation is met. For what the secure world holds, only [`AnswerClass::Success`] may mean this.
    Done,
    /// Try again, as often as it takes.
    Retry(Pace),
    /// Try again, [`Policy::tries`](crate::Policy::tries) times at most; then give up.
    Limited(Pace),
    /// Resume the SP with FFA_RUN.
    Resume,
    /// It will never work: keep what is held and say so.
    GiveUp,
    /// A donation is its receiver's: the pages leave their VM, and nobody ever has them back. As
    /// [`Unknown`](Self::Unknown) for anything else.
    Gone,
    /// The answer says nothing about what happened: assume the worst, and do as for [`GiveUp`](Self::GiveUp).
    Unknown,
}

/// The verdict for each class of answer to one call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Row([Verdict; AnswerClass::COUNT]);

impl Row {
    /// A row that says `Unknown` to everything but success.
    #[must_use]
    pub const fn new() -> Self {
        Self([Verdict::Unknown; AnswerClass::COUNT]).with(&[AnswerClass::Success], Verdict::Done)
    }

    /// The same row with another verdict for `classes`.
    #[must_use]
    pub const fn with(mut self, classes: &[AnswerClass], verdict: Verdict) -> Self {
        let mut i = 0;
        while i < classes.len() {
            self.0[classes[i] as usize] = verdict;
            i += 1;
        }
        self
    }

    /// The verdict for `class`.
    #[must_use]
    pub const fn verdict(&self, class: AnswerClass) -> Verdict {
        self.0[class as usize]
    }
}

impl Default for Row {
    fn default() -> Self {
        Self::new()
    }
}

/// What answers mean, per call. Plain data: a hypervisor may replace any row.
///
/// The default is [`AnswerTable::DEFAULT`]. Whatever the table, pages go back only after
/// [`Verdict::Done`], so a table that says it to anything but [`AnswerClass::Success`] breaks the first promise.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AnswerTable {
    /// VM_CREATED. `GiveUp` means that the SP refused, so that it need not be told of the end; `Unknown` that it
    /// may have heard. Both fail the creation.
    pub vm_created: Row,
    /// FFA_NOTIFICATION_BITMAP_CREATE, the last step of a creation. `GiveUp` means that there is no bitmap, `Unknown` that
    /// there may be one. The VM lives in either case, without notifications of SPs.
    pub bitmap_create: Row,
    /// VM_DESTROYED.
    pub vm_destroyed: Row,
    /// FFA_MEM_RECLAIM.
    pub mem_reclaim: Row,
    /// FFA_MEM_RECLAIM of a donation that has come about, which works until its receiver has retrieved it.
    pub donation_reclaim: Row,
    /// FFA_MEM_SHARE and its kin, as a guest makes them. `GiveUp` means that nothing was shared, `Unknown` that
    /// it may have been.
    pub mem_send: Row,
    /// FFA_MEM_FRAG_TX: a fragment that completes a transaction, or one that cancels it. `GiveUp` means that the
    /// transaction is over and the secure world has nothing of it, `Unknown` that it may have. Only after `Retry` or
    /// `Limited` its handle is still good. `Done` is said to success alone: the transaction has come about.
    pub mem_frag: Row,
    /// FFA_RX_RELEASE and FFA_RXTX_UNMAP for a VM's forwarded buffers.
    pub buffers: Row,
    /// FFA_NOTIFICATION_BIND and FFA_NOTIFICATION_UNBIND, as a guest makes them. `GiveUp` means that nothing has
    /// changed, `Unknown` that it may have.
    pub bind: Row,
    /// FFA_NOTIFICATION_UNBIND at teardown.
    pub unbind: Row,
    /// FFA_NOTIFICATION_BITMAP_DESTROY.
    pub bitmap_destroy: Row,
    /// FFA_RUN that finishes a dead VM's preempted direct request.
    pub call: Row,
    /// FFA_RUN itself, when it resumes one of the others and fails. `Retry` and `Limited` run again; `Unknown`
    /// means that nothing is left to resume, and the resumed call's own row decides.
    pub run: Row,
}

impl AnswerTable {
    /// The decisions of the original review, and beyond them what known secure worlds answer.
    pub const DEFAULT: Self = {
        use AnswerClass as A;
        use Pace::{BackOff, Fixed};
        use Verdict::{Done, GiveUp, Gone, Limited, Resume, Retry, Unknown};
        const TRANSIENT: &[AnswerClass] = &[A::Busy, A::Retry, A::Interrupted, A::NotReady];
        const RESUMABLE: &[AnswerClass] = &[A::Preempted, A::Yielded];
        const FINAL: &[AnswerClass] = &[A::InvalidParameters, A::Aborted, A::NotSupported, A::NoData];
        const REFUSED: &[AnswerClass] =
            &[A::NotSupported, A::InvalidParameters, A::NoMemory, A::Denied, A::NoData];
        let base = Row::new().with(TRANSIENT, Retry(BackOff)).with(RESUMABLE, Resume);
        let mem_reclaim = base
            .with(FINAL, GiveUp)
            .with(&[A::Denied], Retry(Fixed))
            .with(&[A::NoMemory, A::MsgWait], Limited(BackOff));
        Self {
            vm_created: base
                .with(TRANSIENT, Limited(BackOff))
                .with(&[A::Denied, A::NoMemory, A::InvalidParameters, A::NoData], GiveUp),
            // What it cannot have said in so many words says nothing.
            bitmap_create: base.with(TRANSIENT, Limited(BackOff)).with(REFUSED, GiveUp),
            vm_destroyed: base
                .with(FINAL, GiveUp)
                .with(&[A::Denied], GiveUp)
                .with(&[A::NoMemory, A::MsgWait], Limited(BackOff)),
            mem_reclaim,
            donation_reclaim: mem_reclaim.with(&[A::Denied, A::InvalidParameters], Gone),
            mem_send: base.with(TRANSIENT, GiveUp).with(REFUSED, GiveUp),
            mem_frag: base.with(REFUSED, GiveUp),
            buffers: base.with(FINAL, GiveUp).with(&[A::Denied, A::NoMemory, A::MsgWait], Limited(BackOff)),
            bind: base.with(TRANSIENT, GiveUp).with(REFUSED, GiveUp),
            // Something is pending, or still bound.
            unbind: base
                .with(FINAL, GiveUp)
                .with(&[A::Denied], Retry(Fixed))
                .with(&[A::NoMemory, A::MsgWait], Limited(BackOff)),
            bitmap_destroy: base
                .with(FINAL, GiveUp)
                .with(&[A::Denied], Retry(Fixed))
                .with(&[A::NoMemory, A::MsgWait], Limited(Fixed)),
            // An SP that ended its turn with an error has ended the call as well.
            call: base
                .with(&[A::MsgWait, A::Aborted], Done)
                .with(&[A::InvalidParameters, A::Denied, A::NoMemory], Limited(BackOff))
                .with(&[A::NotSupported, A::NoData], GiveUp),
            run: base
                .with(&[A::InvalidParameters, A::Denied, A::NoMemory], Limited(BackOff))
                .with(&[A::Success], Unknown),
        }
    };
}

impl Default for AnswerTable {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_confirms_a_reclaim_a_message_an_unmapping_or_an_unbinding() {
        let table = AnswerTable::DEFAULT;
        let AnswerTable { vm_created, vm_destroyed, mem_reclaim, buffers, bind, unbind, .. } = table;
        let rows = [
            vm_created,
            vm_destroyed,
            mem_reclaim,
            buffers,
            bind,
            unbind,
            table.bitmap_create,
            table.donation_reclaim,
            table.mem_send,
            table.mem_frag,
            table.bitmap_destroy,
        ];
        for row in rows {
            for class in AnswerClass::ALL {
                assert_eq!(row.verdict(class) == Verdict::Done, class == AnswerClass::Success, "{class:?}");
            }
        }
    }
}
