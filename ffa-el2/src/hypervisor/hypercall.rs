//! Calls between our guests and this hypervisor, in SMCCC's range for hypervisors (DEN0028 section 6.1): fast SMC64 calls
//! by HVC or SMC. Arguments begin in x1, the answer is in x0: 0, or SMCCC's -1.

/// Prints a line: x1 is its length in bytes, x2 to x17 hold the bytes. Control characters part lines.
pub const PRINT: u32 = 0xc600_0000;
/// Lets others run first.
pub const YIELD: u32 = 0xc600_0001;
/// Does nothing for x1 nanoseconds.
pub const SLEEP: u32 = 0xc600_0002;
/// Ends the VM with the status in x1; 0 means that it found nothing wrong. Does not return.
pub const EXIT: u32 = 0xc600_0003;
/// Gives the page at IPA x1 back to the hypervisor. -1 if it is not the guest's to give.
pub const GIVE_BACK: u32 = 0xc600_0004;
/// Prints a line as [`PRINT`] does, about something that the guest found wrong.
pub const WRONG: u32 = 0xc600_0005;
/// How many SMCs the mediator has made so far.
pub const SECURE_CALLS: u32 = 0xc600_0006;
/// Makes the SGI or PPI with INTID x1 pending at the caller, once. -1 if there is none.
pub const RAISE: u32 = 0xc600_0007;

/// Most bytes in one line.
pub const LINE_BYTES: usize = 16 * 8;
