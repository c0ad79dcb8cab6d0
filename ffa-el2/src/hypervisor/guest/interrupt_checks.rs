//! Programs that take interrupts, each to see one thing.

use core::ops::Range;

use arm_gic::gicv3::GicCpuInterface;
use arm_gic::{InterruptGroup, irq_disable, irq_enable, wfi};
use arm_sysregs::el0::accessors::read_cntvct_el0;

use super::interrupts::{self, NOTIFICATION_PENDING, SCHEDULE_RECEIVER, all_taken, taken};
use super::programs::{FAILED, PASSED};
use super::{conduit, console};
use crate::hypercall::{RAISE, SLEEP, YIELD};

// `arm-gic` keeps these to itself.
arm_sysregs::write_sysreg!(icc_ctlr_el1, u64, safe);
arm_sysregs::write_sysreg!(icc_dir_el1, u64, safe);

/// More than there are list registers.
const ALL_SGIS: Range<u32> = 0..16;
/// How long an interrupt that must come is waited for, in microseconds.
const PATIENCE: u64 = 1_000_000;
/// A small part of a turn, in microseconds.
const SHORT: u64 = 1_000;
/// How long one that must not come is waited for.
const DOUBT: u64 = 30_000;
/// How long [`none`] takes: longer than [`own`].
const LONGER_THAN_OWN: u64 = 150_000;
/// How long [`after_sleep`] sleeps, in nanoseconds.
const LONG: u64 = 50_000_000;
/// How long [`let_others_run`] sleeps.
const MILLISECOND: u64 = 1_000_000;

/// `ICC_CTLR_EL1.EOImode`: the end of an interrupt does not deactivate it.
const EOI_MODE: u64 = 1 << 1;

/// What went wrong; it was printed.
struct Wrong;

fn status(result: Result<(), Wrong>) -> u64 {
    match result {
        Ok(()) => PASSED,
        Err(Wrong) => FAILED,
    }
}

/// Sees that `intid` was taken so many times.
fn expect(intid: u32, times: u64, when: &str) -> Result<(), Wrong> {
    expect_equal(taken(intid), times, format_args!("interrupt {intid} {when}"))
}

fn expect_equal(found: u64, expected: u64, what: core::fmt::Arguments) -> Result<(), Wrong> {
    if found == expected {
        return Ok(());
    }
    console::line(format_args!("{what}: {found} instead of {expected}"));
    Err(Wrong)
}

fn raise(intid: u32) -> Result<(), Wrong> {
    expect_equal(conduit::hvc(RAISE, &[intid.into()]), 0, format_args!("answer to RAISE of {intid}"))
}

/// What the guest set stays set meanwhile.
fn let_others_run() {
    conduit::hvc(SLEEP, &[MILLISECOND]);
}

pub fn own() -> u64 {
    interrupts::start();
    let checks = [at_once, masked, many, busy_with_another, dropped_but_active];
    status(checks.into_iter().try_for_each(|check| check()))
}

fn at_once() -> Result<(), Wrong> {
    raise(NOTIFICATION_PENDING)?;
    interrupts::wait_for(NOTIFICATION_PENDING, 1, PATIENCE);
    expect(NOTIFICATION_PENDING, 1, "after it was raised")?;
    expect_equal(conduit::hvc(RAISE, &[32]), u64::MAX, format_args!("answer to RAISE of an SPI"))?;
    expect_equal(conduit::hvc(RAISE, &[1 << 32 | 8]), u64::MAX, format_args!("answer to RAISE of nothing"))?;
    interrupts::wait_for(NOTIFICATION_PENDING, 2, DOUBT);
    expect_equal(all_taken(), 1, format_args!("interrupts after one was raised"))
}

/// Two interrupts, of which one is raised twice, wait until they are let through.
fn masked() -> Result<(), Wrong> {
    irq_disable();
    for intid in [NOTIFICATION_PENDING, SCHEDULE_RECEIVER, NOTIFICATION_PENDING] {
        raise(intid)?;
        let_others_run();
    }
    // Ends at once, or after a while in which nothing changes.
    wfi();
    expect(SCHEDULE_RECEIVER, 0, "while all are masked")?;
    GicCpuInterface::set_priority_mask(0);
    irq_enable();
    let_others_run();
    expect(SCHEDULE_RECEIVER, 0, "while its priority is masked")?;
    interrupts::unmask_priorities();
    interrupts::wait_for(SCHEDULE_RECEIVER, 1, PATIENCE);
    expect(SCHEDULE_RECEIVER, 1, "after it was let through")?;
    expect(NOTIFICATION_PENDING, 2, "after it was let through")?;
    expect_equal(all_taken(), 3, format_args!("interrupts after two were let through"))
}

/// More interrupts than list registers, taken without a call in between.
fn many() -> Result<(), Wrong> {
    let before = all_taken();
    let count = ALL_SGIS.len() as u64;
    irq_disable();
    ALL_SGIS.into_iter().try_for_each(raise)?;
    let_others_run();
    irq_enable();
    let limit = interrupts::after(SHORT);
    while all_taken() - before < count && read_cntvct_el0().bits() < limit {}
    expect_equal(all_taken() - before, count, format_args!("interrupts soon after each was raised"))?;
    interrupts::wait_for(NOTIFICATION_PENDING, taken(NOTIFICATION_PENDING) + 1, DOUBT);
    expect_equal(all_taken() - before, count, format_args!("interrupts after each was raised"))?;
    expect(0, 1, "after each was raised")
}

/// While one is active, neither it nor another of the same priority is signalled; both are afterwards.
fn busy_with_another() -> Result<(), Wrong> {
    const OTHER: u32 = SCHEDULE_RECEIVER;
    let others = taken(OTHER);
    irq_disable();
    raise(NOTIFICATION_PENDING)?;
    let_others_run();
    let Some(active) = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1) else {
        console::line(format_args!("there is no interrupt to acknowledge"));
        return Err(Wrong);
    };
    let intid = active.raw_value();
    expect_equal(intid.into(), NOTIFICATION_PENDING.into(), format_args!("acknowledged interrupt"))?;
    let before = taken(intid);
    irq_enable();
    for raised in [intid, OTHER] {
        raise(raised)?;
        let_others_run();
    }
    expect(intid, before, "while it is active")?;
    expect(OTHER, others, "while another is active")?;
    GicCpuInterface::end_interrupt(active, InterruptGroup::Group1);
    interrupts::wait_for(OTHER, others + 1, PATIENCE);
    expect(OTHER, others + 1, "after the active one was ended")?;
    expect(intid, before + 1, "after it was ended")
}

/// With end of interrupt and deactivation apart, an interrupt is not signalled again while it is active, though its
/// priority is not in the way any more.
fn dropped_but_active() -> Result<(), Wrong> {
    let before = taken(NOTIFICATION_PENDING);
    write_icc_ctlr_el1(EOI_MODE);
    raise(NOTIFICATION_PENDING)?;
    expect(NOTIFICATION_PENDING, before + 1, "after it was raised")?;
    let_others_run();
    raise(NOTIFICATION_PENDING)?;
    let_others_run();
    expect(NOTIFICATION_PENDING, before + 1, "while it is active")?;
    for times in [2, 3] {
        write_icc_dir_el1(NOTIFICATION_PENDING.into());
        interrupts::wait_for(NOTIFICATION_PENDING, before + times, SHORT);
        expect(NOTIFICATION_PENDING, before + 2, "after it was deactivated")?;
    }
    write_icc_ctlr_el1(0);
    Ok(())
}

pub fn none() -> u64 {
    interrupts::start();
    let limit = interrupts::after(LONGER_THAN_OWN);
    while read_cntvct_el0().bits() < limit {
        conduit::hvc(YIELD, &[]);
    }
    status(expect_equal(all_taken(), 0, format_args!("interrupts that nobody raised")))
}

pub fn while_busy() -> u64 {
    interrupts::start();
    let limit = interrupts::after(PATIENCE);
    while taken(NOTIFICATION_PENDING) == 0 && read_cntvct_el0().bits() < limit {}
    status(expect(NOTIFICATION_PENDING, 1, "after it was raised"))
}

pub fn while_waiting() -> u64 {
    interrupts::start();
    interrupts::wait_for(NOTIFICATION_PENDING, 1, PATIENCE);
    interrupts::wait_for(SCHEDULE_RECEIVER, 1, PATIENCE);
    status(
        expect(NOTIFICATION_PENDING, 1, "while waited for")
            .and_then(|()| expect(SCHEDULE_RECEIVER, 1, "while waited for"))
            .and_then(|()| {
                expect_equal(all_taken(), 2, format_args!("interrupts while two were waited for"))
            }),
    )
}

pub fn after_sleep() -> u64 {
    interrupts::start();
    conduit::hvc(SLEEP, &[LONG]);
    status(expect(NOTIFICATION_PENDING, 1, "after the sleep").and_then(|()| {
        interrupts::wait_for(NOTIFICATION_PENDING, 2, DOUBT);
        expect_equal(all_taken(), 1, format_args!("interrupts after one was raised"))
    }))
}
