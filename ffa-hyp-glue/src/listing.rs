//! The SPMC's list of partitions, as it is read: in registers, or in RX.

use ffa_abi::{
    Answer, Call, FirmwareStatus, Function, PartitionId, PartitionInfo, PartitionInfoError, PartitionInfoGet,
    PartitionInfoGetRegs, PartitionInfoWindow, RecordFormat, Records, Regs, RxRelease, Status, Uuid, Version,
    WindowError,
};

use crate::{Conduit, Scratch, SpmcBuffers};

/// How often a list is read that changes meanwhile, before it is left for later.
const READS: u32 = 4;

const WHOLE: PartitionInfoGetRegs = PartitionInfoGetRegs { uuid: Uuid::NIL, start: 0, tag: 0 };

/// Why the list of SPs could not be read. The one that was there before, if any, stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The SPMC refused to list its partitions.
    #[error("{function}: {status}")]
    Refused {
        /// The call.
        function: Function,
        /// Its answer.
        status: FirmwareStatus,
    },
    /// It answered with another function than the call has.
    #[error("{function}: unexpected answer {w0:#x}")]
    Unexpected {
        /// The call.
        function: Function,
        /// w0 of the answer.
        w0: u32,
    },
    /// What is in RX makes no sense, or is more than fits there.
    #[error(transparent)]
    Records(#[from] PartitionInfoError),
    /// What is in registers makes no sense.
    #[error(transparent)]
    Window(WindowError),
    /// It changed each time while it was read.
    #[error("the list changed {READS} times while it was read")]
    Changing,
    /// The lent memory is too small.
    #[error("there are more records than the {room} that memory was lent for")]
    NoRoom {
        /// Records that fit.
        room: usize,
    },
    /// Another CPU is reading it, or what an SPMC says of a handle.
    #[error("another CPU is reading the list, or uses RX otherwise")]
    Busy,
}

/// What is found while a list is read, in this order. It may begin anew.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    Start,
    Record(PartitionInfo),
}

/// Reads the list of SPs, in registers if the SPMC `lists_in_registers` and does not refuse, or else through RX, whose one
/// page is then all that it may be long. Returns the tag of what came in registers.
pub(crate) fn read<P: Conduit + SpmcBuffers>(
    hyp: &mut P,
    lists_in_registers: bool,
    scratch: &mut Scratch,
    mut note: impl FnMut(Found) -> Result<(), ListError>,
) -> Result<Option<u16>, ListError> {
    if lists_in_registers {
        match read_registers(hyp, &mut note) {
            // Registers cannot say that there is nobody.
            Err(ListError::Refused { .. }) => {}
            read => return read.map(Some),
        }
    }
    read_rx(hyp, scratch, note).map(|()| None)
}

/// Asks the SPMC for the tag of its list, in one call; `None` if it does not say.
pub(crate) fn ask_tag<P: Conduit>(hyp: &mut P) -> Option<u16> {
    let window = PartitionInfoWindow::from_answer(WHOLE, &hyp.call(&WHOLE.to_regs()));
    window.ok().map(|window| window.tag())
}

/// FFA_PARTITION_INFO_GET_REGS, until the list stays the same from its first window to its last. Returns its tag.
pub(crate) fn read_registers<P: Conduit>(
    hyp: &mut P,
    mut note: impl FnMut(Found) -> Result<(), ListError>,
) -> Result<u16, ListError> {
    for _ in 0..READS {
        if let Some(tag) = read_windows(hyp, &mut note)? {
            return Ok(tag);
        }
    }
    Err(ListError::Changing)
}

/// The list window by window: its tag, or `None` if it changed meanwhile.
///
/// Each window ends further on than the one before, so there is a last one.
fn read_windows<P: Conduit>(
    hyp: &mut P,
    mut note: impl FnMut(Found) -> Result<(), ListError>,
) -> Result<Option<u16>, ListError> {
    note(Found::Start)?;
    let (mut request, mut total) = (WHOLE, None);
    loop {
        let regs = hyp.call(&request.to_regs());
        let window = match PartitionInfoWindow::from_answer(request, &regs) {
            // An SPMC may have one tag for all lists.
            Ok(window) if total.is_some_and(|total| total != window.total()) => return Ok(None),
            Ok(window) => window,
            Err(WindowError::Changed { .. }) => return Ok(None),
            Err(WindowError::NotSuccess(Answer::Error(status))) if status.code() == Status::Retry.code() => {
                return Ok(None);
            }
            Err(WindowError::NotSuccess(answer)) => {
                return Err(no_list(Function::PartitionInfoGetRegs, &answer, &regs));
            }
            Err(error) => return Err(ListError::Window(error)),
        };
        total = Some(window.total());
        window.records().map(Found::Record).try_for_each(&mut note)?;
        match window.next_request() {
            Some(next) => request = next,
            None => return Ok(Some(window.tag())),
        }
    }
}

/// FFA_PARTITION_INFO_GET. RX is released whatever happened: OP-TEE hands it over even with an error.
fn read_rx<P: Conduit + SpmcBuffers>(
    hyp: &mut P,
    scratch: &mut Scratch,
    mut note: impl FnMut(Found) -> Result<(), ListError>,
) -> Result<(), ListError> {
    let get = PartitionInfoGet { uuid: Uuid::NIL, count_only: false };
    let regs = hyp.call(&get.to_regs());
    let answer = Answer::from_regs(&regs);
    if matches!(answer, Answer::Success(_)) {
        hyp.read_rx(0, &mut scratch.input);
    }
    let release = Call::RxRelease(RxRelease { endpoint: PartitionId::HYPERVISOR });
    let _refused_if_not_ours = hyp.call(&release.to_regs());
    let Answer::Success(answer) = answer else {
        return Err(no_list(Function::PartitionInfoGet, &answer, &regs));
    };
    let (count, stride) = (answer.w2(), answer.w3());
    // Records of 8 bytes are for callers of 1.0, which we are not.
    if stride < RecordFormat::for_version(Version::V1_1).size_word() {
        return Err(PartitionInfoError::Stride { stride }.into());
    }
    note(Found::Start)?;
    Records::new(&scratch.input, count, stride)?.map(Found::Record).try_for_each(note)
}

fn no_list(function: Function, answer: &Answer, regs: &Regs) -> ListError {
    match *answer {
        Answer::Error(status) => ListError::Refused { function, status },
        _ => ListError::Unexpected { function, w0: regs.w::<0>() },
    }
}
