//! Programs that are notified by [`QUIET`].

use core::fmt::Arguments;

use ffa_abi::{
    Answer, Call, FeatureId, FeatureQuery, NotificationBind, NotificationBitmap, NotificationGet,
    NotificationScope, NotificationSources, PartitionId, PendingNotifications,
};
use ffa_el2::partitions::QUIET;
use ffa_test_utils::spmc::Control;

use super::console;
use super::driver::{self, Driver};
use super::interrupts::{self, NOTIFICATION_PENDING, taken};
use super::programs::{FAILED, PASSED};

/// The notification that the hypervisor has [`QUIET`] signal, by [`while_waiting`] and [`bind`].
pub const SIGNALLED: u8 = 5;

/// How long an interrupt is waited for, in microseconds.
const PATIENCE: u64 = 1_000_000;

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
    let driver = Driver::start().map_err(|answer| {
        console::line(format_args!("there is no FF-A: {answer:?}"));
        Wrong
    })?;
    interrupts::start();
    let query = FeatureQuery::Feature(FeatureId::NotificationPendingInterrupt);
    match driver::call(&Call::Features(query).to_regs()) {
        Answer::Success(success) if success.w2() == NOTIFICATION_PENDING => Ok(driver),
        other => {
            console::line(format_args!("FFA_FEATURES of the notification pending interrupt: {other:?}"));
            Err(Wrong)
        }
    }
}

fn bind_one(receiver: PartitionId, id: u8, scope: NotificationScope) -> Result<(), Wrong> {
    let bind = NotificationBind { sender: QUIET, receiver, scope, bitmap: NotificationBitmap(1 << id) };
    let answer = driver::call(&bind.to_regs());
    expect(matches!(answer, Answer::Success(_)), format_args!("FFA_NOTIFICATION_BIND of {id}: {answer:?}"))
}

/// Sees that of all notifications exactly `expected` are pending, and then none.
fn take(receiver: PartitionId, expected: NotificationBitmap) -> Result<(), Wrong> {
    let sources = NotificationSources::SPS;
    for from_sps in [expected, NotificationBitmap::NONE] {
        let expected = PendingNotifications { from_sps, ..PendingNotifications::default() };
        let answer = driver::raw_call(&NotificationGet { receiver, vcpu: 0, sources }.to_regs());
        let pending = PendingNotifications::from_answer(&answer);
        expect(pending == Ok(expected), format_args!("FFA_NOTIFICATION_GET: {pending:x?}"))?;
    }
    Ok(())
}

/// Waits for the interrupt, the `times`th of this program.
fn wait(before: u64, times: u64) -> Result<(), Wrong> {
    interrupts::wait_for(NOTIFICATION_PENDING, before + times, PATIENCE);
    let count = taken(NOTIFICATION_PENDING) - before;
    expect(count == times, format_args!("{count} notification pending interrupts instead of {times}"))
}

pub fn by_request() -> u64 {
    status(start().and_then(|driver| {
        let cases = [(3, NotificationScope::Global, None), (4, NotificationScope::PerVcpu, Some(0))];
        for ((id, scope, vcpu), times) in cases.into_iter().zip(1..) {
            bind_one(driver.id, id, scope)?;
            let notify = Control::Notify { vm: driver.id, id, vcpu, after_ms: 0 };
            let answer = driver.request(QUIET, notify.payload());
            expect(
                matches!(answer, Answer::DirectResponse(_)),
                format_args!("QUIET was asked to signal {id}: {answer:?}"),
            )?;
            wait(0, times)?;
            take(driver.id, NotificationBitmap(1 << id))?;
        }
        Ok(())
    }))
}

pub fn while_waiting() -> u64 {
    status(start().and_then(|driver| {
        bind_one(driver.id, SIGNALLED, NotificationScope::Global)?;
        wait(0, 1)?;
        take(driver.id, NotificationBitmap(1 << SIGNALLED))
    }))
}

pub fn bind() -> u64 {
    status(start().and_then(|driver| bind_one(driver.id, SIGNALLED, NotificationScope::Global)))
}

/// Goes on where [`bind`] ended, with the same FF-A.
pub fn find() -> u64 {
    let before = taken(NOTIFICATION_PENDING);
    interrupts::start();
    let Answer::Success(success) = driver::call(&Call::IdGet.to_regs()) else { return FAILED };
    let id = PartitionId(success.w2() as u16);
    status(wait(before, 1).and_then(|()| take(id, NotificationBitmap(1 << SIGNALLED))))
}
