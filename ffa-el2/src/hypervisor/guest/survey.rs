//! A guest that uses whatever FF-A it finds, with whoever is there.

use super::console;
use super::driver::{Driver, PAGE};
use super::layout::{DATA, LOOSE_PAGES};

/// Shares a few pages with the first partition that takes direct requests, and leaves them shared. Nothing that the
/// secure world answers is wrong.
pub fn run() -> u64 {
    let driver = match Driver::start() {
        Ok(driver) => driver,
        Err(answer) => {
            console::line(format_args!("there is no FF-A: {answer:?}"));
            return 0;
        }
    };
    let sp = match driver.first_partition() {
        Ok(Some(sp)) => sp,
        Ok(None) => {
            console::line(format_args!("no partition takes direct requests"));
            return 0;
        }
        Err(answer) => {
            console::line(format_args!("there is no list of partitions: {answer:?}"));
            return 0;
        }
    };
    console::line(format_args!("SP {sp} answers: {:x?}", driver.request(sp, [0; 5])));
    let shares = [
        (DATA.start + 2 * PAGE, 1, PAGE),
        (DATA.start + 4 * PAGE, 4, PAGE),
        (LOOSE_PAGES.start, 2, 2 * PAGE),
    ];
    for (first, count, step) in shares {
        match driver.share(sp, (0..count).map(|page| first + page * step)) {
            Ok(handle) => console::line(format_args!("SP {sp} has {count} pages at {first:#x}: {handle}")),
            Err(answer) => console::line(format_args!("SP {sp} gets no pages: {answer:?}")),
        }
    }
    0
}
