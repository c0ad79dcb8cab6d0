//! Programs that use FF-A, each to see one thing. They need the partitions of [`partitions`].

use core::array;
use core::fmt::Arguments;

use ffa_abi::{Answer, Call, Function, FunctionId, Handle, RxTxMap, Status, Version, Width};
use ffa_el2::partitions::{QUIET, SCRIBBLER};
use ffa_test_utils::spmc::{Control, MARK_SIZE, mark};
use smccc::psci::PSCI_SYSTEM_OFF;

use super::conduit::{self, AllRegisters, Conduit, HVC, SMC};
use super::driver::{self, Driver, PAGE, RX, TX};
use super::programs::{FAILED, PASSED};
use super::{aborts, console, interrupts, layout, memory};
use crate::frames::POOL;
use crate::hypercall::GIVE_BACK;

/// Two pages to share: one in a block, one by itself.
const PAGES: [u64; 2] = [layout::DATA.start + 2 * PAGE, layout::LOOSE_PAGES.start];

/// What went wrong; it was printed.
struct Wrong;

fn status(result: Result<(), Wrong>) -> u64 {
    match result {
        Ok(()) => PASSED,
        Err(Wrong) => FAILED,
    }
}

fn expect(good: bool, what: Arguments) -> Result<(), Wrong> {
    if good {
        return Ok(());
    }
    console::line(what);
    Err(Wrong)
}

fn start() -> Result<Driver, Wrong> {
    Driver::start().map_err(|answer| {
        console::line(format_args!("there is no FF-A: {answer:?}"));
        Wrong
    })
}

fn granted(share: Result<Handle, Answer>) -> Result<Handle, Wrong> {
    share.map_err(|answer| {
        console::line(format_args!("FFA_MEM_SHARE: {answer:?}"));
        Wrong
    })
}

fn refused(answer: Answer, status: Status, what: &str) -> Result<(), Wrong> {
    expect(answer == Answer::Error(status.into()), format_args!("{what}: {answer:?} instead of {status}"))
}

pub fn registers() -> u64 {
    let id = |function| u64::from(FunctionId::smc32(function).w0());
    let (success, error) = (id(Function::Success), id(Function::Error));
    let not_supported = u64::from(Status::NotSupported.code() as u32);
    let version = u64::from(Version::V1_1.word());
    let calls = [
        (id(Function::Version), version, [version, 0, 0]),
        (id(Function::Version) | 1 << 16, version, [version, 0, 0]),
        (id(Function::IdGet), 0, [success, 0, 0]),
        (id(Function::Features), 0xbad, [error, 0, not_supported]),
        (id(Function::MsgWait), 0xbad, [error, 0, not_supported]),
        (0x8400_0093, 0xbad, [error, 0, not_supported]),
        (0xc400_0093, 0xbad, [error, 0, not_supported]),
    ];
    for (conduit, name) in [(SMC, "SMC"), (HVC, "HVC")] {
        for (x0, x1, expected) in calls {
            if let Err((register, value)) = call_and_compare(conduit, x0, x1, expected) {
                console::line(format_args!("{name} {x0:#x} left {value:#x} in x{register}"));
                return FAILED;
            }
        }
    }
    PASSED
}

/// Calls with a value of its own in each register; the answer begins with `expected`, but for an id, and goes on with
/// zeros. The error is a register that is wrong, with its value.
fn call_and_compare(conduit: Conduit, x0: u64, x1: u64, expected: [u64; 3]) -> Result<(), (usize, u64)> {
    let mut before: AllRegisters = array::from_fn(|register| 0x5eed_0000_0000_0000 | register as u64);
    (before[0], before[1]) = (x0, x1);
    let mut after = before;
    // SAFETY: None of the functions called changes memory of the guest.
    unsafe { conduit(&mut after) };
    let is_id = |register| register == 2 && x0 as u32 == FunctionId::smc32(Function::IdGet).w0();
    let is_good = |register: usize| match register {
        0..=2 => after[register] == expected[register] || is_id(register) && after[register] != 0,
        3..=17 => after[register] == 0,
        _ => after[register] == before[register],
    };
    match (0..after.len()).find(|&register| !is_good(register)) {
        None => Ok(()),
        Some(register) => Err((register, after[register])),
    }
}

pub fn share() -> u64 {
    status(start().and_then(|driver| {
        PAGES.into_iter().try_for_each(|page| {
            let handle = granted(driver.share(SCRIBBLER, [page]))?;
            see_mark_and_take_back(&driver, handle, page)
        })
    }))
}

pub fn dirty_function_id() -> u64 {
    status(start().and_then(|driver| {
        let clean = u64::from(FunctionId::smc32(Function::MemShare).w0());
        [clean | 1 << 16, clean | 1 << 32, clean | 0xffff_ffff << 32].into_iter().try_for_each(|x0| {
            let length = driver.describe(SCRIBBLER, [PAGES[1]]);
            let handle = granted(driver.share_as(x0, length))?;
            see_mark_and_take_back(&driver, handle, PAGES[1])
        })
    }))
}

/// The scribbler writes to the very page that was shared, until it has let go of it.
fn see_mark_and_take_back(driver: &Driver, handle: Handle, page: u64) -> Result<(), Wrong> {
    memory::copy_to(page, &[0x77; PAGE as usize]);
    driver.request(QUIET, [0; 5]);
    let mut found = [0; MARK_SIZE];
    memory::copy_from(page, &mut found);
    expect(found == mark(SCRIBBLER, handle), format_args!("the page at {page:#x} begins with {found:x?}"))?;
    let behind = page + MARK_SIZE as u64;
    expect(memory::read(behind) == 0x7777_7777_7777_7777, format_args!("more of {page:#x} changed"))?;
    refused(driver.reclaim(handle), Status::Denied, "FFA_MEM_RECLAIM of what is in use")?;

    driver.request(SCRIBBLER, Control::Relinquish(handle).payload());
    let answer = driver.reclaim(handle);
    expect(matches!(answer, Answer::Success(_)), format_args!("FFA_MEM_RECLAIM: {answer:?}"))?;
    memory::write(page, 0);
    driver.request(QUIET, [0; 5]);
    expect(
        memory::read(page) == 0,
        format_args!("the page at {page:#x} was written to after FFA_MEM_RECLAIM"),
    )?;
    refused(driver.reclaim(handle), Status::InvalidParameters, "FFA_MEM_RECLAIM again")
}

pub fn lend() -> u64 {
    interrupts::start();
    status(
        start().and_then(|driver| PAGES.into_iter().try_for_each(|page| lend_and_take_back(&driver, page))),
    )
}

/// What is lent cannot be loaded, stored, lent again or given back; nobody's memory changes; and then it is the guest's again.
fn lend_and_take_back(driver: &Driver, page: u64) -> Result<(), Wrong> {
    const WORD: u64 = 0x1111_2222_3333_4444;
    let neighbour = page + PAGE;
    memory::write(page, WORD);
    memory::write(neighbour, WORD);
    let length = driver.describe_lend(QUIET, [page]);
    let lent = driver.share_as(FunctionId::smc32(Function::MemLend).w0().into(), length);
    let handle = match lent {
        // Not every secure world has it: then the page stays as it is.
        Err(Answer::Error(status)) if status == Status::NotSupported.into() => {
            return expect(memory::read(page) == WORD, format_args!("the page at {page:#x} changed"));
        }
        lent => granted(lent)?,
    };
    let last = page + PAGE - 8;
    let loads = aborts::are_caused_by(|| _ = memory::read(page));
    let stores = aborts::are_caused_by(|| memory::write(last, 1));
    expect(loads && stores, format_args!("the page at {page:#x} was lent, and could be used"))?;
    expect(memory::read(neighbour) == WORD, format_args!("the page behind {page:#x} changed"))?;
    driver.request(QUIET, [0; 5]);
    let again = aborts::are_caused_by(|| memory::write(page, 1));
    expect(again, format_args!("the page at {page:#x} came back by itself"))?;
    expect(conduit::hvc(GIVE_BACK, &[page]) != 0, format_args!("a lent page was given back"))?;

    driver.describe_lend(QUIET, [page]);
    let twice = driver.share_as(FunctionId::smc32(Function::MemLend).w0().into(), length);
    refused(twice.err().unwrap_or(Answer::MsgWait), Status::Denied, "FFA_MEM_LEND of what is lent")?;
    driver.request(QUIET, Control::Relinquish(handle).payload());
    let answer = driver.reclaim(handle);
    expect(matches!(answer, Answer::Success(_)), format_args!("FFA_MEM_RECLAIM: {answer:?}"))?;
    expect(
        memory::read(page) == WORD && memory::read(last) == 0,
        format_args!("the page at {page:#x} came back with {:#x}", memory::read(page)),
    )?;
    let aborted = aborts::are_caused_by(|| memory::write(last, !last));
    expect(!aborted && memory::read(last) == !last, format_args!("the page at {page:#x} cannot be written"))
}

pub fn foreign() -> u64 {
    status(start().and_then(|driver| {
        // What is ours by no IPA, though it is memory: that of other VMs, of the hypervisor, of the firmware.
        for address in [POOL.start as u64, layout::NOTHING, 0x4200_0000, layout::DATA.end] {
            let shared = driver.share(QUIET, [address]);
            refused(
                shared.err().unwrap_or(Answer::MsgWait),
                Status::Denied,
                "FFA_MEM_SHARE of foreign memory",
            )?;
        }
        let unmap = Call::RxTxUnmap(ffa_abi::RxTxUnmap { endpoint: driver.id });
        expect(
            matches!(driver::call(&unmap.to_regs()), Answer::Success(_)),
            format_args!("FFA_RXTX_UNMAP failed"),
        )?;
        for (tx, rx) in [(POOL.start as u64, RX), (TX, layout::NOTHING), (TX, layout::DATA.end)] {
            let map = Call::RxTxMap(RxTxMap { width: Width::Smc64, tx, rx, pages: 1 });
            let answer = driver::call(&map.to_regs());
            refused(answer, Status::InvalidParameters, "FFA_RXTX_MAP of foreign memory")?;
        }
        Ok(())
    }))
}

pub fn give_back_shared() -> u64 {
    status(start().and_then(|driver| {
        let [page, _] = PAGES;
        granted(driver.share(QUIET, [page]))?;
        for held in [page, TX, RX] {
            let taken = conduit::hvc(GIVE_BACK, &[held]) == 0;
            expect(!taken, format_args!("the hypervisor took the page at {held:#x}"))?;
            memory::write(held, 1);
        }
        Ok(())
    }))
}

pub fn turn_off() -> u64 {
    status(share_and_leave());
    conduit::hvc(PSCI_SYSTEM_OFF, &[]);
    FAILED
}

pub fn trespass_while_shared() -> u64 {
    status(share_and_leave());
    memory::write(layout::NOTHING, 1);
    FAILED
}

fn share_and_leave() -> Result<(), Wrong> {
    let driver = start()?;
    granted(driver.share(SCRIBBLER, PAGES)).map(|_| ())
}
