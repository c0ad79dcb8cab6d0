//! The VMs there are.
//!
//! A slot's two locks part what must not wait for each other: the vCPU is locked by the CPU that runs it, for as long as
//! it runs; the memory only for a moment, by whoever looks something up or changes it. Where both are needed, the vCPU is
//! first; the book of [`FRAMES`] is always last.

use core::ops::Range;

use arm_sysregs::el2::registers::VttbrEl2;
use ffa_el2::lock::{Mutex, MutexGuard};

use crate::frames::{BLOCK, FRAMES, PAGE, Run};
use crate::guest::{self, Program, layout};
use crate::stage2::Stage2;
use crate::vcpu::{State, Stop, Vcpu};
use crate::vm_id::{MAX_VMS, VmId};
use crate::{guest_memory, stage1};

struct Slot {
    vcpu: Mutex<Option<Vcpu>>,
    memory: Mutex<Option<Stage2>>,
}

static SLOTS: [Slot; MAX_VMS] =
    [const { Slot { vcpu: Mutex::new(None), memory: Mutex::new(None) } }; MAX_VMS];

/// A resource of which the machine has no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exhausted {
    Slots,
    Memory,
}

/// The page is not the VM's to give.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotYours;

/// Makes a VM that runs `program`, with `loose_pages` single pages besides its blocks. All of its memory is zero, but for
/// the copy of this image.
///
/// # Errors
/// If something is used up; then nothing has changed.
pub fn create(program: Program, loose_pages: usize) -> Result<VmId, Exhausted> {
    let is_free = |slot: &Slot| slot.memory.lock().is_none();
    let id = VmId::of_slot(SLOTS.iter().position(is_free).ok_or(Exhausted::Slots)?);
    let mut stage2 = Stage2::new(id);
    if fill(&mut stage2, id, loose_pages).is_none() {
        drop(stage2);
        FRAMES.lock().give_back_all(id);
        return Err(Exhausted::Memory);
    }
    *slot(id).memory.lock() = Some(stage2);
    let entry = guest::entry as *const () as u64;
    *slot(id).vcpu.lock() = Some(Vcpu::new(id, entry, layout::STACK_TOP, program as u64));
    Ok(id)
}

/// Ends the VM: its vCPU is gone, its memory goes back to the pool, save the pages that are held. Waits while the vCPU
/// runs on another CPU.
pub fn destroy(id: VmId) {
    *slot(id).vcpu.lock() = None;
    // The guest's last translations go before its pages do.
    drop(slot(id).memory.lock().take());
    FRAMES.lock().give_back_all(id);
}

/// Takes the page at `ipa` from the VM and gives it to the pool.
///
/// # Errors
/// If the VM has no such page, or it is held; then nothing changes.
pub fn take_page(id: VmId, ipa: u64) -> Result<(), NotYours> {
    if !ipa.is_multiple_of(PAGE as u64) {
        return Err(NotYours);
    }
    with_memory(id, |stage2| {
        let page = stage2.translate_page(ipa).map_err(|_| NotYours)?;
        // Nobody gets the page while the book is locked, and by then the guest has lost it.
        let mut frames = FRAMES.lock();
        frames.give_back_page(page).map_err(|_| NotYours)?;
        stage2.unmap_page(ipa).expect("it was translated just now");
        Ok(())
    })
    .unwrap_or(Err(NotYours))
}

/// Lets `use_it` look at or change the VM's stage 2, if the VM exists.
pub fn with_memory<T>(id: VmId, use_it: impl FnOnce(&mut Stage2) -> T) -> Option<T> {
    slot(id).memory.lock().as_mut().map(use_it)
}

/// A vCPU that this CPU may run: nobody else does until it is dropped.
pub struct Claim {
    vcpu: MutexGuard<'static, Option<Vcpu>>,
    /// `VTTBR_EL2` of its VM.
    pub vttbr: VttbrEl2,
}

impl Claim {
    pub fn vcpu(&mut self) -> &mut Vcpu {
        self.vcpu.as_mut().expect("only existing vCPUs are claimed")
    }
}

/// Claims a vCPU that has something to do at `now` and does not run elsewhere: the next one behind the VM `last`.
pub fn claim_due(last: Option<VmId>, now: u64) -> Option<Claim> {
    let first = last.map_or(0, |id| id.slot() + 1);
    (first..MAX_VMS).chain(0..first).find_map(|index| {
        let slot = &SLOTS[index];
        let vcpu = slot.vcpu.try_lock()?;
        vcpu.as_ref().filter(|vcpu| vcpu.is_due(now))?;
        let vttbr = slot.memory.lock().as_ref()?.vttbr();
        Some(Claim { vcpu, vttbr })
    })
}

/// When the first of the vCPUs that sleep, and that no other CPU is busy with, wakes.
pub fn next_wake() -> Option<u64> {
    SLOTS
        .iter()
        .filter_map(|slot| match slot.vcpu.try_lock()?.as_ref()?.state {
            State::Sleeping(until) => Some(until),
            State::Ready | State::Stopped(_) => None,
        })
        .min()
}

/// Why the VM stopped; `None` while it has not.
pub fn stopped(id: VmId) -> Option<Stop> {
    match slot(id).vcpu.try_lock()?.as_ref()?.state {
        State::Stopped(stop) => Some(stop),
        State::Ready | State::Sleeping(_) => None,
    }
}

/// Gives the VM its memory. `None` if there is not enough; then the VM has a part of it.
fn fill(stage2: &mut Stage2, id: VmId, loose_pages: usize) -> Option<()> {
    for ipa in layout::BLOCKS.step_by(BLOCK) {
        let run = Run { address: FRAMES.lock().allocate_block(id)?, bytes: BLOCK };
        guest_memory::clear(run);
        stage2.map(ipa, run);
    }
    for ipa in layout::LOOSE_PAGES.step_by(PAGE).take(loose_pages) {
        let run = Run { address: FRAMES.lock().allocate_page(id)?, bytes: PAGE };
        guest_memory::clear(run);
        stage2.map(ipa, run);
    }
    load_image(stage2);
    Some(())
}

/// Copies code and constants of this image to the place that they are linked for, so that functions of this image run in
/// the guest. Its writable data stays behind: guest code has no statics.
fn load_image(stage2: &Stage2) {
    let Range { start, end } = stage1::code_and_constants();
    assert!(
        start as u64 == layout::BLOCKS.start && end as u64 <= layout::STACK_BOTTOM,
        "the image is too big"
    );
    // SAFETY: The image's own code and constants: mapped for reading, never written.
    let mut source = unsafe { core::slice::from_raw_parts(start as *const u8, end - start) };
    stage2
        .translate(start as u64, (end - start) as u64, |run| {
            let (part, rest) = source.split_at(run.bytes);
            guest_memory::write(run, part);
            source = rest;
        })
        .expect("the blocks are mapped");
}

fn slot(id: VmId) -> &'static Slot {
    &SLOTS[id.slot()]
}
