//! The tables of scenarios come in a crate that can allocate, which demands an allocator of every program. Where nothing
//! allocates, this is it.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

/// An allocator that has no memory.
pub struct NoHeap;

// SAFETY: To have no memory left is allowed at any time, and nothing can come back that was never handed out.
unsafe impl GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
