//! A guest that times its calls.

use ffa_abi::{
    Answer, Call, DirectRequest, FeatureQuery, Function, FunctionId, Handle, MemReclaim, MemSend, Message,
    PartitionId, PartitionInfoGet, ReclaimFlags, Regs, RxRelease, Status, Transaction, Uuid, Width,
};
use ffa_el2::partitions::{LAZY, QUIET};
use ffa_mem::IpaRange;

use super::driver::{Driver, PAGE};
use super::programs::{FAILED, PASSED};
use super::{conduit, console, layout};
use crate::hypercall::SECURE_CALLS;

/// The first page behind the buffers.
const FIRST: u64 = layout::DATA.start + 2 * PAGE;

/// A call was not answered as it must be.
struct Wrong;

/// Times every call, prints what each took, and how many SMCs the mediator made for it.
pub fn run() -> u64 {
    match Driver::start().map_err(|_| Wrong).and_then(|driver| time_all(&driver)) {
        Ok(()) => PASSED,
        Err(Wrong) => FAILED,
    }
}

fn time_all(driver: &Driver) -> Result<(), Wrong> {
    let success = |answer: &Answer| matches!(answer, Answer::Success(_));
    time("trap-floor", &Regs::new([0x8200_0000]), |answer| matches!(answer, Answer::Unexpected { .. }))?;
    time("id-get", &Call::IdGet.to_regs(), success)?;
    let query = FeatureQuery::Function { id: FunctionId::smc64(Function::MemShare), properties: 0 };
    time("features", &Call::Features(query).to_regs(), success)?;
    let get = |count_only| PartitionInfoGet { uuid: Uuid::NIL, count_only }.to_regs();
    time("partition-count", &get(true), success)?;
    time("partition-list", &get(false), success)?;
    time("rx-release", &Call::RxRelease(RxRelease { endpoint: PartitionId(0) }).to_regs(), success)?;
    let message = Message::Partition([1, 2, 3, 4, 5]);
    let request = DirectRequest { width: Width::Smc32, sender: driver.id, receiver: QUIET, message };
    time("direct-request", &request.to_regs(), |answer| matches!(answer, Answer::DirectResponse(_)))?;

    // The first share of a VM takes the reference to it, which no later one does.
    for name in ["first", "1"] {
        share(driver, name, [range(FIRST, 1)])?;
    }
    for (name, pages) in [("16", 16), ("64", 64), ("256", 256)] {
        share(driver, name, [range(FIRST, pages)])?;
    }
    for (name, ranges) in [("64-ranges", 64), ("200-ranges", 200)] {
        share(driver, name, (0..ranges).map(|number| range(FIRST + 2 * number * PAGE, 1)))?;
    }

    let refused = |status: Status| move |answer: &Answer| *answer == Answer::Error(status.into());
    time("refused-at-once", &send(0), refused(Status::InvalidParameters))?;
    let length = driver.describe_ranges(LAZY, [range(layout::NOTHING, 1)]);
    time("refused-page", &send(length), refused(Status::Denied))?;
    let length = driver.describe_ranges(LAZY, [range(layout::DATA.end - 255 * PAGE, 256)]);
    time("refused-after-255", &send(length), refused(Status::Denied)).map(|_| ())
}

fn range(address: u64, pages: u32) -> IpaRange {
    IpaRange::new(address, pages).expect("it is a range")
}

fn send(length: u32) -> Regs {
    MemSend {
        width: Width::Smc64,
        transaction: Transaction::Share,
        total_len: length,
        fragment_len: length,
        address: 0,
        pages: 0,
    }
    .to_regs()
}

/// Times a share and its reclaim.
fn share(driver: &Driver, name: &str, ranges: impl IntoIterator<Item = IpaRange>) -> Result<(), Wrong> {
    let length = driver.describe_ranges(LAZY, ranges);
    let is_success = |answer: &Answer| matches!(answer, Answer::Success(_));
    let answer = time(format_args!("share-{name}"), &send(length), is_success)?;
    let Answer::Success(shared) = answer else { return Err(Wrong) };
    let handle = Handle::from_words(shared.w2(), shared.w3()).map_err(|_| Wrong)?;
    let reclaim = MemReclaim { handle, flags: ReclaimFlags::NONE };
    time(format_args!("reclaim-{name}"), &reclaim.to_regs(), is_success).map(|_| ())
}

/// Makes a call and prints what it took, if it was answered as `is_right` says.
fn time<N: core::fmt::Display>(
    name: N,
    call: &Regs,
    is_right: impl Fn(&Answer) -> bool,
) -> Result<Answer, Wrong> {
    let mut regs = *call;
    let before = conduit::hvc(SECURE_CALLS, &[]);
    let ticks = conduit::time_smc(&mut regs);
    let smcs = conduit::hvc(SECURE_CALLS, &[]) - before;
    let answer = Answer::from_regs(&regs);
    if !is_right(&answer) {
        console::line(format_args!("{name}: {answer:?}"));
        return Err(Wrong);
    }
    console::line(format_args!("bench {name} {ticks} {smcs}"));
    Ok(answer)
}
