//! The pair of pages through which the mediator and the SPMC exchange descriptors.

use core::cell::UnsafeCell;

use ffa_el2::physical;

const PAGE: usize = 4096;

#[repr(C, align(4096))]
pub struct Page(UnsafeCell<[u8; PAGE]>);

// SAFETY: Nothing reads or writes the page through this type, and no reference to its bytes is ever made.
unsafe impl Sync for Page {}

/// We write, the SPMC reads.
pub static TX: Page = Page(UnsafeCell::new([0; PAGE]));
/// The SPMC writes, we read.
pub static RX: Page = Page(UnsafeCell::new([0; PAGE]));

impl Page {
    /// The physical address: the image maps itself identically.
    pub fn address(&'static self) -> usize {
        self.0.get().addr()
    }

    /// Copies `bytes` to the start of the page.
    pub fn write(&'static self, bytes: &[u8]) {
        assert!(bytes.len() <= PAGE);
        // SAFETY: A page of this image's data, whose bytes nobody has a reference to.
        unsafe { physical::write(self.address(), bytes) }
    }

    /// Copies from `offset` in the page.
    pub fn read(&'static self, offset: usize, target: &mut [u8]) {
        assert!(offset.checked_add(target.len()).is_some_and(|end| end <= PAGE));
        // SAFETY: As in `write`.
        unsafe { physical::read(self.address() + offset, target) }
    }
}
