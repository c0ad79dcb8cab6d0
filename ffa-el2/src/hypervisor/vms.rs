//! The VMs there are.
//!
//! A slot's two locks part what must not wait for each other: the vCPU is locked by the CPU that runs it, for as long as
//! it runs; the rest only for a moment, by whoever looks something up or changes it. Where both are needed, the vCPU is
//! first; the book of [`FRAMES`] is always last. The doorbell needs no lock.
//!
//! A VM that was destroyed has no vCPU any more, and no pages but those that are held. Its stage 2 says where these are,
//! so it stays until the last reference is dropped.

use core::ops::Range;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

use arm_sysregs::el2::registers::VttbrEl2;
use ffa_el2::lock::{Mutex, MutexGuard};
use ffa_teardown::VmKey;

use crate::doorbell::{Doorbell, Found};
use crate::frames::{self, BLOCK, FRAMES, PAGE, Run};
use crate::guest::{self, Task, layout};
use crate::recipe::Recipe;
use crate::stage2::Stage2;
use crate::vcpu::{State, Stop, Vcpu};
use crate::vm_id::{MAX_VMS, VmId};
use crate::{guest_memory, interrupts, stage1, violations};

struct Slot {
    vcpu: Mutex<Option<Vcpu>>,
    /// Whether somebody waits for the vCPU to take it away: then no CPU runs it again, or the wait might never end.
    is_wanted: AtomicBool,
    doorbell: Doorbell,
    vm: Mutex<Option<Vm>>,
}

impl Slot {
    const fn vacant() -> Self {
        Self {
            vcpu: Mutex::new(None),
            is_wanted: AtomicBool::new(false),
            doorbell: Doorbell::of_nobody(),
            vm: Mutex::new(None),
        }
    }
}

/// A VM, or what is left of it.
struct Vm {
    stage2: Stage2,
    /// The hypervisor's own while the VM lives, and those that were taken.
    references: u32,
    is_dead: bool,
}

static SLOTS: [Slot; MAX_VMS] = [const { Slot::vacant() }; MAX_VMS];

/// Why a VM cannot be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CreateError {
    /// There is one with this id, or what is left of one.
    InUse,
    /// The pool has too little memory left.
    NoMemory,
}

/// The page is not the VM's to give.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotYours;

/// What the memory of a VM is made of.
#[derive(Clone, Copy)]
pub enum Contents<'a> {
    /// A guest of ours: blocks with a copy of this image in them, and this many single pages.
    Own { loose_pages: usize },
    /// A guest with a board, in one of its lives.
    Hosted { recipe: &'a Recipe, life: usize },
}

/// Makes a VM. All of its memory is zero, but for what `contents` says.
///
/// # Errors
/// [`CreateError`]: nothing has changed.
pub fn create(id: VmId, contents: Contents) -> Result<(), CreateError> {
    let mut vm = slot(id).vm.lock();
    if vm.is_some() {
        return Err(CreateError::InUse);
    }
    let mut stage2 = Stage2::new(id);
    let filled = match contents {
        Contents::Own { loose_pages } => fill(&mut stage2, id, loose_pages),
        Contents::Hosted { recipe, life } => fill_hosted(&mut stage2, id, recipe, life),
    };
    if let Err(error) = filled {
        drop(stage2);
        frames::give_back_all(id);
        return Err(error);
    }
    *vm = Some(Vm { stage2, references: 1, is_dead: false });
    Ok(())
}

/// Lets the VM's guest begin with `task`.
pub fn start(id: VmId, key: Option<VmKey>, task: Task) {
    let entry = guest::entry as *const () as u64;
    start_vcpu(id, Vcpu::new(id, key, entry, layout::STACK_TOP, task.to_bits()));
}

/// Lets the guest begin that the VM's memory holds.
pub fn start_hosted(id: VmId, key: Option<VmKey>, recipe: &Recipe) {
    start_vcpu(id, Vcpu::new(id, key, recipe.entry(), 0, recipe.device_tree()).on_board());
}

fn start_vcpu(id: VmId, vcpu: Vcpu) {
    let slot = slot(id);
    let mut place = slot.vcpu.lock();
    *place = Some(vcpu);
    slot.doorbell.connect();
}

/// Takes the VM's vCPU away. Where it runs, its turn ends.
pub fn stop(id: VmId) {
    let slot = slot(id);
    slot.is_wanted.store(true, Release);
    interrupts::kick_others();
    let mut vcpu = slot.vcpu.lock();
    *vcpu = None;
    slot.doorbell.disconnect();
    drop(vcpu);
    slot.is_wanted.store(false, Release);
}

/// Makes the edge-triggered SGI or PPI `intid` pending at the VM's vCPU. Says false, and does nothing, if the VM has none,
/// or it has stopped.
pub fn raise(id: VmId, intid: u32) -> bool {
    match slot(id).doorbell.ring(intid) {
        Found::Nobody => return false,
        // Whoever has nothing to do may enter it.
        Found::Waiting => interrupts::kick_others(),
        Found::Running(cpu) => interrupts::kick(cpu),
    }
    true
}

/// Ends the VM, which has no vCPU: its memory goes back to the pool, save the pages that are held.
pub fn destroy(id: VmId) {
    if let Some(vm) = slot(id).vm.lock().as_mut() {
        vm.is_dead = true;
        // The guest's last translations go before its pages do.
        vm.stage2.forget();
    }
    frames::give_back_all(id);
    drop_reference(id);
}

/// Takes a reference to the VM, which exists.
pub fn take_reference(id: VmId) {
    let mut vm = slot(id).vm.lock();
    vm.as_mut().expect("a reference to a VM that exists").references += 1;
}

/// Drops a reference. Nothing is left of a VM without any.
pub fn drop_reference(id: VmId) {
    let mut slot = slot(id).vm.lock();
    let vm = slot.as_mut().expect("whoever has a reference keeps the VM there");
    vm.references -= 1;
    if vm.references == 0 {
        *slot = None;
    }
}

/// Whether there is a VM with this id, or something left of one.
pub fn exists(id: VmId) -> bool {
    slot(id).vm.lock().is_some()
}

/// Takes the page at `ipa` from the VM and gives it to the pool.
///
/// # Errors
/// If the VM has no such page, or it is held; then nothing changes.
pub fn take_page(id: VmId, ipa: u64) -> Result<(), NotYours> {
    if !ipa.is_multiple_of(PAGE as u64) {
        return Err(NotYours);
    }
    let run = with_stage2(id, |stage2| {
        let page = stage2.translate_page(ipa).map_err(|_| NotYours)?;
        let run = FRAMES.lock().orphan_page(page).map_err(|_| NotYours)?;
        stage2.unmap_page(ipa).expect("it was translated just now");
        Ok(run)
    })
    .unwrap_or(Err(NotYours))?;
    // By now the guest has lost it, and nobody gets it before it is free.
    guest_memory::clear(run);
    FRAMES.lock().free(run);
    Ok(())
}

/// Lets `use_it` look at or change the stage 2 of a VM, dead or alive. `None` if nothing is left of the VM.
pub fn with_stage2<T>(id: VmId, use_it: impl FnOnce(&mut Stage2) -> T) -> Option<T> {
    slot(id).vm.lock().as_mut().map(|vm| use_it(&mut vm.stage2))
}

/// Lets `use_it` look at or change the stage 2 of a VM that lives.
#[inline(always)] // for every range that is shared
pub fn with_memory<T>(id: VmId, use_it: impl FnOnce(&mut Stage2) -> T) -> Option<T> {
    slot(id).vm.lock().as_mut().filter(|vm| !vm.is_dead).map(|vm| use_it(&mut vm.stage2))
}

/// A vCPU that this CPU may run: nobody else does until it is dropped.
pub struct Claim {
    vcpu: MutexGuard<'static, Option<Vcpu>>,
    pub doorbell: &'static Doorbell,
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
        let is_due = |vcpu: &Vcpu| vcpu.is_due(now, slot.doorbell.has_rung());
        vcpu.as_ref().filter(|vcpu| is_due(vcpu) && !slot.is_wanted.load(Acquire))?;
        let vttbr = slot.vm.lock().as_ref()?.stage2.vttbr();
        Some(Claim { vcpu, doorbell: &slot.doorbell, vttbr })
    })
}

/// When the first of the vCPUs that sleep or wait, and that no other CPU is busy with, goes on in any case.
pub fn next_wake() -> Option<u64> {
    SLOTS
        .iter()
        .filter_map(|slot| match slot.vcpu.try_lock()?.as_ref()?.state {
            State::Sleeping(until) | State::WaitingForInterrupt(until) => Some(until),
            State::Ready | State::Stopped(_) => None,
        })
        .min()
}

/// Whether the VM's vCPU sleeps.
pub fn is_asleep(id: VmId) -> bool {
    let vcpu = slot(id).vcpu.try_lock();
    vcpu.is_some_and(|vcpu| vcpu.as_ref().is_some_and(|vcpu| matches!(vcpu.state, State::Sleeping(_))))
}

/// Why the VM's vCPU stopped; `None` while it has not.
pub fn stopped(id: VmId) -> Option<Stop> {
    match slot(id).vcpu.try_lock()?.as_ref()?.state {
        State::Stopped(stop) => Some(stop),
        State::Ready | State::Sleeping(_) | State::WaitingForInterrupt(_) => None,
    }
}

/// Gives the VM its memory. After an error, the VM has a part of it.
fn fill(stage2: &mut Stage2, id: VmId, loose_pages: usize) -> Result<(), CreateError> {
    for ipa in layout::BLOCKS.step_by(BLOCK) {
        let address = FRAMES.lock().allocate_block(id);
        give(stage2, ipa, Run { address: address.ok_or(CreateError::NoMemory)?, bytes: BLOCK });
    }
    for ipa in layout::LOOSE_PAGES.step_by(PAGE).take(loose_pages) {
        let address = FRAMES.lock().allocate_page(id);
        give(stage2, ipa, Run { address: address.ok_or(CreateError::NoMemory)?, bytes: PAGE });
    }
    load_image(stage2);
    Ok(())
}

fn give(stage2: &mut Stage2, ipa: u64, run: Run) {
    if !guest_memory::is_clear(run) {
        violations::report(format_args!("{run:x?} was written to while it was nobody's"));
        guest_memory::clear(run);
    }
    stage2.map(ipa, run);
}

/// Gives the VM its memory and what is in it at first. After an error, the VM has a part of it.
fn fill_hosted(stage2: &mut Stage2, id: VmId, recipe: &Recipe, life: usize) -> Result<(), CreateError> {
    for ipa in recipe.memory().step_by(BLOCK) {
        let address = FRAMES.lock().allocate_block(id);
        give(stage2, ipa, Run { address: address.ok_or(CreateError::NoMemory)?, bytes: BLOCK });
    }
    recipe.pieces(life).for_each(|piece| copy_in(stage2, piece.ipa, piece.bytes()));
    Ok(())
}

/// Copies code and constants of this image to the place that they are linked for, so that functions of this image run in
/// the guest. Its writable data stays behind: guest code has no statics.
fn load_image(stage2: &Stage2) {
    let Range { start, end } = stage1::code_and_constants();
    assert!(start as u64 == layout::BLOCKS.start && end as u64 <= layout::ABORTS, "the image is too big");
    // SAFETY: The image's own code and constants: mapped for reading, never written.
    let image = unsafe { core::slice::from_raw_parts(start as *const u8, end - start) };
    copy_in(stage2, start as u64, image);
}

/// Copies `bytes`, perhaps of code, to memory of a VM that does not run yet.
fn copy_in(stage2: &Stage2, ipa: u64, bytes: &[u8]) {
    let mut left = bytes;
    for run in stage2.runs(ipa, bytes.len() as u64) {
        let run = run.expect("the blocks are mapped");
        let (part, rest) = left.split_at(run.bytes);
        guest_memory::write(run, part);
        guest_memory::publish_code(run);
        left = rest;
    }
}

fn slot(id: VmId) -> &'static Slot {
    &SLOTS[id.slot()]
}
