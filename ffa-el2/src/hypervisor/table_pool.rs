//! Memory for page tables: a fixed number of pages inside the image.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use aarch64_paging::descriptor::{PagingAttributes, PhysicalAddress};
use aarch64_paging::paging::{PageTable, Translation};
use ffa_el2::lock::Mutex;

use crate::vm_id::MAX_VMS;
use crate::{frames, stage1, stage2};

const TABLES: usize = 4 * WORD;
const WORD: usize = u128::BITS as usize;
const TABLE_BYTES: usize = 4096;

// Building a page table cannot fail half-way, so there must be enough for everything that can be built.
const _: () = assert!(TABLES >= MAX_VMS * stage2::FIXED_TABLES + frames::BLOCKS + stage1::MAX_TABLES);

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[[u8; TABLE_BYTES]; TABLES]>);

// SAFETY: Nothing reads or writes the memory through this type: `FREE` decides who owns which table, and only the owner
// uses it, through the pointer that it was given.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([[0; TABLE_BYTES]; TABLES]));
/// One bit for each table, set while it is free.
static FREE: Mutex<[u128; TABLES / WORD]> = Mutex::new([u128::MAX; TABLES / WORD]);

/// Gives out page tables, at whatever stage of translation. The image maps itself identically, so a table's address is
/// its physical address.
pub struct TablePool;

/// How many tables nobody has.
pub fn free() -> u32 {
    FREE.lock().iter().map(|word| word.count_ones()).sum()
}

impl<A: PagingAttributes> Translation<A> for TablePool {
    fn allocate_table(&mut self) -> (NonNull<PageTable<A>>, PhysicalAddress) {
        let mut free = FREE.lock();
        let (number, word) =
            free.iter_mut().enumerate().find(|(_, word)| **word != 0).expect("no page table is left");
        let bit = word.trailing_zeros() as usize;
        *word &= !(1 << bit);
        drop(free);
        let index = number * WORD + bit;
        let table = MEMORY.0.get().cast::<[u8; TABLE_BYTES]>().wrapping_add(index);
        // SAFETY: `index` is below `TABLES`, so `table` is inside `MEMORY`; its bit is clear, so nobody else uses it.
        unsafe { table.write_bytes(0, 1) };
        let table = NonNull::new(table.cast()).expect("a static is not at address zero");
        (table, PhysicalAddress(table.addr().get()))
    }

    unsafe fn deallocate_table(&mut self, table: NonNull<PageTable<A>>) {
        let index = (table.addr().get() - MEMORY.0.get().addr()) / TABLE_BYTES;
        FREE.lock()[index / WORD] |= 1 << (index % WORD);
    }

    fn physical_to_virtual(&self, address: PhysicalAddress) -> NonNull<PageTable<A>> {
        let offset = address.0 - MEMORY.0.get().addr();
        let table = MEMORY.0.get().cast::<u8>().wrapping_add(offset);
        NonNull::new(table.cast()).expect("a static is not at address zero")
    }
}
