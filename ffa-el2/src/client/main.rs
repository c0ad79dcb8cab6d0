//! A program for Linux in a guest: shares its memory with the trusted OS through the TEE driver, and sees that a trusted
//! application has worked on it.
//!
//! `client use PAGES` takes the memory back and ends; `client hold PAGES` keeps it shared until it is killed; `client loop PAGES`
//! does what the first does again and again, until it is killed.
//! The program needs nothing but the kernel, so that one compiler builds everything that runs in the machine.

#![no_std]
#![no_main]

mod kernel;
mod tee;

use core::arch::naked_asm;
use core::ffi::{CStr, c_char};
use core::panic::PanicInfo;

use kernel::{Memory, exit, print, sleep, sleep_for_ever};
use tee::{Session, Shared, Tee, TeeError};

const PAGE: usize = 4096;
/// Between two rounds, in nanoseconds.
const BREAK: u64 = 50_000_000;

/// # Safety
/// For the kernel alone, which starts the program here with its arguments on the stack.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("ldr x0, [sp]", "add x1, sp, #8", "b {start}", start = sym start)
}

/// Splits the arguments, of which there are `count`.
extern "C" fn start(count: usize, arguments: *const *const c_char) -> ! {
    let argument = |position: usize| {
        (position < count).then(|| {
            // SAFETY: The kernel put as many pointers there, each to a string that ends with a zero and stays where it is.
            let text: &'static CStr = unsafe { CStr::from_ptr(*arguments.add(position)) };
            text.to_str().unwrap_or_default()
        })
    };
    let pages = argument(2).and_then(|text| text.parse().ok()).unwrap_or(0);
    let done = match argument(1) {
        Some("use") => take_back(pages),
        Some("hold") => hold(pages),
        Some("loop") => repeat(pages),
        _ => Err(Wrong("use, hold or loop?")),
    };
    match done {
        Ok(()) => exit(0),
        Err(Wrong(what)) => {
            print(format_args!("client: {what}"));
            exit(1)
        }
    }
}

/// What went wrong.
struct Wrong(&'static str);

impl From<TeeError> for Wrong {
    fn from(TeeError(what): TeeError) -> Self {
        Self(what)
    }
}

/// Shares so many pages, and takes them back.
fn take_back(pages: usize) -> Result<(), Wrong> {
    use_shared(pages, Shared::take_back)?;
    print(format_args!("client: {pages} pages were shared, and are back"));
    Ok(())
}

/// Shares so many pages, for ever.
fn hold(pages: usize) -> Result<(), Wrong> {
    use_shared(pages, |_| {
        print(format_args!("client: {pages} pages are shared, and stay so"));
        sleep_for_ever()
    })
}

/// Shares so many pages, and takes them back, again and again.
fn repeat(pages: usize) -> Result<(), Wrong> {
    for round in 1.. {
        use_shared(pages, Shared::take_back)?;
        print(format_args!("client: round {round}, {pages} pages were shared, and are back"));
        sleep(BREAK);
    }
    Ok(())
}

/// Shares so many pages, has the application work on all of them, looks at each, and does something with what is shared.
fn use_shared(pages: usize, end: impl FnOnce(Shared)) -> Result<(), Wrong> {
    let tee = Tee::open()?;
    let session = Session::open(&tee)?;
    let mut memory = Memory::new(pages * PAGE).ok_or(Wrong("there is too little memory"))?;
    // Every page is different from the others.
    let byte = |position: usize| (position / PAGE + position) as u8;
    memory.bytes().iter_mut().enumerate().for_each(|(position, target)| *target = byte(position));
    let shared = tee.register(&memory)?;
    session.change(&shared)?;
    let mut first = 0;
    for page in memory.bytes().chunks(PAGE) {
        if page.iter().enumerate().all(|(position, &found)| found == byte(first + position)) {
            return Err(Wrong("the application did not change all of the memory"));
        }
        first += PAGE;
    }
    session.change(&shared)?;
    if memory.bytes().iter().enumerate().any(|(position, &found)| found != byte(position)) {
        return Err(Wrong("the application found something else in the memory"));
    }
    end(shared);
    Ok(())
}

#[panic_handler]
fn panic(panic: &PanicInfo) -> ! {
    print(format_args!("client: {panic}"));
    exit(101)
}
