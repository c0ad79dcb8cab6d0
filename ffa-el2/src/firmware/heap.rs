//! The heap of the secure world: what is left of the firmware's memory behind its image.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use ffa_el2::lock::Mutex;
use ffa_el2::machine::FIRMWARE;
use linked_list_allocator::Heap;

struct LockedHeap(Mutex<Heap>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(Mutex::new(Heap::empty()));

unsafe extern "C" {
    /// First byte behind the image, its zeroed data and its stacks; set by `image.ld`.
    #[link_name = "dma_region"]
    static IMAGE_END: u8;
}

/// Gives the heap its memory. Allocating earlier fails.
pub fn start() {
    let start = (&raw const IMAGE_END).cast_mut();
    let size = FIRMWARE.end - start.addr();
    // SAFETY: The linker script keeps the image inside `FIRMWARE`, so these bytes are the firmware's, mapped and used
    // by nothing else. The boot CPU comes here once, before the first allocation.
    unsafe { HEAP.0.lock().init(start, size) }
}

// SAFETY: `Heap` hands out disjoint blocks of the requested layout, or nothing; the lock keeps CPUs apart. No exception
// is taken while it is held: EL3 runs with all of them masked.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: The caller promises that `block` came from `alloc` with this `layout` and is not used any more.
            unsafe { self.0.lock().deallocate(block, layout) }
        }
    }
}
