//! What this asks of the kernel: Linux, `include/uapi/asm-generic/unistd.h`.

use core::arch::asm;
use core::ffi::CStr;
use core::fmt::{Arguments, Write};
use core::ptr::{self, NonNull};
use core::slice;

/// Numbers of system calls.
const IOCTL: usize = 29;
const OPENAT: usize = 56;
const CLOSE: usize = 57;
const WRITE: usize = 64;
const EXIT_GROUP: usize = 94;
const PPOLL: usize = 73;
const MUNMAP: usize = 215;
const MMAP: usize = 222;

const STANDARD_OUTPUT: usize = 1;
/// `AT_FDCWD`: where paths that are not absolute begin.
const CURRENT_FOLDER: usize = -100_isize as usize;
const READ_AND_WRITE: usize = 2;
/// `PROT_READ | PROT_WRITE`, and `MAP_PRIVATE | MAP_ANONYMOUS`.
const READABLE_AND_WRITABLE: usize = 3;
const PRIVATE_AND_NEW: usize = 0x22;
const NO_FILE: usize = -1_isize as usize;

/// Makes a system call. The result is negative if it failed.
///
/// # Safety
/// What the call does to this program's memory is as Rust expects it.
unsafe fn call(number: usize, arguments: [usize; 6]) -> isize {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    let result;
    // SAFETY: The kernel changes no register but x0; the caller vouches for what it does to memory.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") first => result,
            in("x1") second,
            in("x2") third,
            in("x3") fourth,
            in("x4") fifth,
            in("x5") sixth,
            options(nostack),
        );
    }
    result
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: u64,
}

/// A file that is open.
pub struct File(usize);

impl File {
    /// Opens it for reading and writing.
    pub fn open(path: &CStr) -> Option<Self> {
        let arguments = [CURRENT_FOLDER, path.as_ptr().addr(), READ_AND_WRITE, 0, 0, 0];
        // SAFETY: The kernel reads the path.
        usize::try_from(unsafe { call(OPENAT, arguments) }).ok().map(Self)
    }

    /// Has its driver do something with `argument`. The result is negative if it failed.
    ///
    /// # Safety
    /// What the driver does to this program's memory is as Rust expects it; it takes an argument of this kind.
    pub unsafe fn control<T>(&self, request: usize, argument: &mut T) -> isize {
        // SAFETY: The caller's promise.
        unsafe { call(IOCTL, [self.0, request, ptr::from_mut(argument).addr(), 0, 0, 0]) }
    }

    /// The file with this number, which nobody else closes.
    pub fn from_number(number: isize) -> Option<Self> {
        usize::try_from(number).ok().map(Self)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: It touches no memory.
        unsafe { call(CLOSE, [self.0, 0, 0, 0, 0, 0]) };
    }
}

/// Whole pages of memory.
pub struct Memory {
    start: NonNull<u8>,
    length: usize,
}

impl Memory {
    /// So many bytes, all zero.
    pub fn new(length: usize) -> Option<Self> {
        let arguments = [0, length, READABLE_AND_WRITABLE, PRIVATE_AND_NEW, NO_FILE, 0];
        // SAFETY: The kernel chooses an address where nothing is.
        let start = usize::try_from(unsafe { call(MMAP, arguments) }).ok()?;
        Some(Self { start: NonNull::new(ptr::with_exposed_provenance_mut(start))?, length })
    }

    pub fn address(&self) -> usize {
        self.start.addr().get()
    }

    pub fn length(&self) -> usize {
        self.length
    }

    /// The bytes. Whoever shares the memory sees to it that nobody else writes meanwhile.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: The memory is this object's, readable and writable; there is one such reference at a time, and the
        // application works on the memory only while a call to it is made.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: Nobody has a reference into it any more.
        unsafe { call(MUNMAP, [self.address(), self.length, 0, 0, 0, 0]) };
    }
}

/// Prints a line.
pub fn print(line: Arguments) {
    struct Output;
    impl Write for Output {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            // SAFETY: The kernel reads the text.
            unsafe { call(WRITE, [STANDARD_OUTPUT, text.as_ptr().addr(), text.len(), 0, 0, 0]) };
            Ok(())
        }
    }
    // `Output` never fails.
    _ = writeln!(Output, "{line}");
}

/// Ends the program.
pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: It does not return.
        unsafe { call(EXIT_GROUP, [status, 0, 0, 0, 0, 0]) };
    }
}

/// Waits so many nanoseconds, less than a second.
pub fn sleep(nanoseconds: u64) {
    let time = Timespec { seconds: 0, nanoseconds };
    // SAFETY: It waits for none of no files, reads the time, and touches no other memory.
    unsafe { call(PPOLL, [0, 0, ptr::from_ref(&time).addr(), 0, 0, 0]) };
}

/// Waits until the program is killed.
pub fn sleep_for_ever() -> ! {
    loop {
        // SAFETY: It waits for none of no files, without a limit, and touches no memory.
        unsafe { call(PPOLL, [0; 6]) };
    }
}
