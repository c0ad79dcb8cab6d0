//! What a mediator must do about each answer to each call, as one table for test generators and reports.

use ffa_abi::{Answer, FirmwareStatus, Status, VmAvailabilityAnswer};

/// A call, where it matters with the moment at which it is made.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CallRow {
    /// FFA_MEM_SHARE, FFA_MEM_LEND: the first or only part.
    SendFirst,
    /// FFA_MEM_FRAG_TX, not the last part.
    PartMiddle,
    /// FFA_MEM_FRAG_TX, the last part.
    PartLast,
    /// FFA_MEM_RECLAIM for a VM that is dying.
    ReclaimTeardown,
    /// FFA_MEM_RECLAIM that the guest called.
    ReclaimGuest,
    /// VM_CREATED.
    VmCreated,
    /// VM_DESTROYED.
    VmDestroyed,
    /// FFA_PARTITION_INFO_GET.
    PartitionInfo,
    /// FFA_RX_RELEASE.
    RxRelease,
    /// FFA_NOTIFICATION_BITMAP_DESTROY.
    BitmapDestroy,
}

/// A class of answers that call for the same.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AnswerClass {
    /// What the call is for.
    Ok,
    /// BUSY, RETRY, and the status INTERRUPTED.
    Transient,
    /// FFA_INTERRUPT and FFA_YIELD.
    Paused,
    /// DENIED.
    Denied,
    /// NO_MEMORY.
    NoMemory,
    /// INVALID_PARAMETERS.
    Invalid,
    /// ABORTED.
    Aborted,
    /// NOT_SUPPORTED, what has no place in an answer to this call, code 0 and unknown codes, and what cannot be
    /// understood.
    Nonsense,
    /// No answer, or one that comes too late.
    Lost,
}

/// What must be done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Required {
    /// The call did what it is for: record the handle, free the pages, note the acknowledgement.
    Success,
    /// Nothing in particular; the answer does not come.
    Nothing,
    /// Try again by timer, for as long as it takes; pages are kept.
    Retry,
    /// Try again by timer a limited number of times, then as `Permanent`, or `WriteOff` where no pages hang on it.
    RetryCapped,
    /// FFA_RUN, a limited number of times now and on by timer.
    Resume,
    /// FFA_RUN where the answer asks for it, or the same part again; else the transaction is given up as a whole.
    ResumeOrAbort,
    /// Given up and reported; the pages are quarantined.
    Permanent,
    /// The partition's acknowledgement is given up and reported; reclaiming goes on.
    WriteOff,
    /// What happened is not known: the pages are kept as in quarantine, and tried again only rarely.
    Unknown,
    /// The guest gets the error, and nothing has changed.
    ToGuest,
    /// The guest gets the error, and the handle is dead: it is not reclaimed.
    ToGuestHandleDead,
    /// The guest gets the error, and the share is marked: the pages end in quarantine if it stays so.
    ToGuestMarked,
    /// Try again a limited number of times, then the creation fails.
    RetryThenFail,
    /// The creation fails; this partition is not told of the end.
    FailCreation,
    /// The creation fails; this partition may have been told, so it is told of the end.
    FailCreationTold,
    /// The answer is not used, and RX is released only if it was granted.
    Refuse,
    /// It is not known whose RX is: release it once, and note it.
    ReleaseOnce,
    /// Counted, and on.
    Count,
    /// FFA_NOTIFICATION_GET, then try again a limited number of times.
    ClearThenRetry,
}

/// One call and what each class of answers requires, in the order of [`AnswerClass::ALL`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Row {
    /// The call.
    pub call: CallRow,
    /// The requirements.
    pub required: [Required; AnswerClass::ALL.len()],
}

impl AnswerClass {
    /// Every class.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Transient,
        Self::Paused,
        Self::Denied,
        Self::NoMemory,
        Self::Invalid,
        Self::Aborted,
        Self::Nonsense,
        Self::Lost,
    ];

    /// The class of a status, wherever in an answer it stands.
    #[must_use]
    pub const fn of_status(status: FirmwareStatus) -> Self {
        let FirmwareStatus::Known(status) = status else { return Self::Nonsense };
        // No `_`: a status without a class must not compile.
        match status {
            Status::Busy | Status::Retry | Status::Interrupted => Self::Transient,
            Status::Denied => Self::Denied,
            Status::NoMemory => Self::NoMemory,
            Status::InvalidParameters => Self::Invalid,
            Status::Aborted => Self::Aborted,
            Status::NotSupported | Status::NoData | Status::NotReady => Self::Nonsense,
        }
    }

    /// The class of an answer to a call that succeeds with FFA_SUCCESS.
    #[must_use]
    pub const fn of_answer(answer: &Answer) -> Self {
        match answer {
            Answer::Success(_) => Self::Ok,
            Answer::Error(status) => Self::of_status(*status),
            Answer::Interrupt(_) | Answer::Yield { .. } => Self::Paused,
            _ => Self::Nonsense,
        }
    }

    /// The class of what a partition said to a message about a VM; its
    /// [`Err`](ffa_abi::VmMessage::answer) goes to [`of_answer`](Self::of_answer), with success for nonsense.
    #[must_use]
    pub const fn of_vm_answer(answer: VmAvailabilityAnswer) -> Self {
        match answer {
            VmAvailabilityAnswer::Accepted => Self::Ok,
            VmAvailabilityAnswer::Refused(status) => Self::of_status(status),
            VmAvailabilityAnswer::Malformed => Self::Nonsense,
        }
    }

    /// Answers that are of this class, as FFA_ERROR codes where it has any.
    #[must_use]
    pub const fn codes(self) -> &'static [i32] {
        match self {
            Self::Ok | Self::Paused | Self::Lost => &[],
            Self::Transient => &[-4, -7, -5],
            Self::Denied => &[-6],
            Self::NoMemory => &[-3],
            Self::Invalid => &[-2],
            Self::Aborted => &[-8],
            Self::Nonsense => &[-1, -9, -10, 0, 1, -11, i32::MIN, i32::MAX],
        }
    }
}

/// What `call` requires when it is answered so.
#[must_use]
pub const fn required(call: CallRow, answer: AnswerClass) -> Required {
    MATRIX[call as usize].required[answer as usize]
}

/// The whole table, rows in the order of [`CallRow`].
///
/// Where the outcome of ABORTED to a send depends on the specification's word, the careful reading stands.
pub const MATRIX: [Row; 10] = {
    use Required::*;
    const fn row(call: CallRow, required: [Required; 9]) -> Row {
        Row { call, required }
    }
    // Columns: Ok, Transient, Paused, Denied, NoMemory, Invalid, Aborted, Nonsense, Lost.
    [
        row(
            CallRow::SendFirst,
            [Success, ToGuest, Resume, ToGuest, ToGuest, ToGuest, Unknown, Unknown, Unknown],
        ),
        row(
            CallRow::PartMiddle,
            [
                Success,
                ResumeOrAbort,
                Resume,
                ToGuestHandleDead,
                ToGuestHandleDead,
                ToGuestHandleDead,
                ToGuestHandleDead,
                Unknown,
                Unknown,
            ],
        ),
        row(
            CallRow::PartLast,
            [Success, ResumeOrAbort, Resume, Unknown, Unknown, Unknown, Unknown, Unknown, Unknown],
        ),
        row(
            CallRow::ReclaimTeardown,
            [Success, Retry, Resume, Retry, RetryCapped, Permanent, Permanent, Permanent, Unknown],
        ),
        row(
            CallRow::ReclaimGuest,
            [
                Success,
                ToGuest,
                Resume,
                ToGuest,
                ToGuest,
                ToGuestMarked,
                ToGuestMarked,
                ToGuestMarked,
                Unknown,
            ],
        ),
        row(
            CallRow::VmCreated,
            [
                Success,
                RetryThenFail,
                Resume,
                FailCreation,
                FailCreation,
                FailCreation,
                FailCreationTold,
                FailCreationTold,
                FailCreationTold,
            ],
        ),
        row(
            CallRow::VmDestroyed,
            [Success, Retry, Resume, WriteOff, RetryCapped, WriteOff, WriteOff, WriteOff, Retry],
        ),
        row(
            CallRow::PartitionInfo,
            [Success, ToGuest, Nothing, ToGuest, ToGuest, ToGuest, ToGuest, Refuse, ReleaseOnce],
        ),
        row(CallRow::RxRelease, [Nothing, Retry, Nothing, Count, Nothing, Count, Nothing, Count, Nothing]),
        row(
            CallRow::BitmapDestroy,
            [Success, Retry, Nothing, ClearThenRetry, Retry, WriteOff, WriteOff, WriteOff, Retry],
        ),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_stand_where_they_are_looked_for() {
        for (index, row) in MATRIX.iter().enumerate() {
            assert_eq!(row.call as usize, index);
        }
        for (index, class) in AnswerClass::ALL.iter().enumerate() {
            assert_eq!(*class as usize, index);
        }
        assert_eq!(required(CallRow::ReclaimTeardown, AnswerClass::Denied), Required::Retry);
        assert_eq!(required(CallRow::VmDestroyed, AnswerClass::Invalid), Required::WriteOff);
    }

    #[test]
    fn every_code_is_of_the_class_that_lists_it() {
        let mut listed = 0;
        for class in AnswerClass::ALL {
            for &code in class.codes() {
                assert_eq!(AnswerClass::of_status(FirmwareStatus::from_code(code)), class, "{code}");
                listed += usize::from(Status::from_code(code).is_some());
            }
        }
        assert_eq!(listed, Status::ALL.len());
    }

    #[test]
    fn nothing_but_success_is_success() {
        for row in MATRIX {
            let succeeds = row.required.iter().skip(1).any(|required| *required == Required::Success);
            assert!(!succeeds, "{:?}", row.call);
        }
    }
}
