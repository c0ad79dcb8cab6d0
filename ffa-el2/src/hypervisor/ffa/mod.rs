//! The mediator of this hypervisor: where it is kept, and the ways into it.

mod buffers;
mod memory;
mod peers;
mod platform;
mod quarantine;
mod ranges;
mod settings;
mod watch;

use core::cell::RefCell;

use ffa_abi::{PartitionId, PartitionInfo, Properties, Regs, Uuid};
use ffa_el2::census;
use ffa_el2::lock::{Mutex, MutexGuard, Yield, let_others_go_first};
use ffa_hyp_glue::{
    Caller, Creation, DraftSlot, LoanSlot, Mediator, Outcome, ProbeFailure, Record, Scratch, Spmc, Stores,
    VcpuSlot,
};
use ffa_teardown::{CreateError, DutySlot, VmKey, VmSlot};
use ffa_test_utils::spmc::Census;
use percore::{ExceptionLock, PerCore, exception_free};
use spin::once::Once;

pub use platform::smcs;
pub use watch::{Shown, be_silent, show, tally};

use crate::cpu::{self, Cpus};
use crate::frames;
use crate::vm_id::{MAX_VMS, VmId};
use platform::Platform;
use ranges::LentRanges;
use settings::settings;

/// Obligations that all VMs together can have: shares, SPs to be told, calls in progress.
const DUTIES: usize = frames::SHARES;

/// Records of the list of SPs.
const PARTITIONS: usize = 64;

type Vms = [VmSlot; MAX_VMS];
type Duties = [DutySlot; DUTIES];
type Records = [Option<Record<Platform, LentRanges, Vcpus, Drafts>>; MAX_VMS];
/// Borrowers of what VMs lend each other.
type Loans = [LoanSlot; 64];
/// Each VM has one vCPU.
type Vcpus = [VcpuSlot; 1];
/// Each VM sends one descriptor in fragments at a time, as Linux does.
type Drafts = [DraftSlot; 1];
type Partitions = [PartitionInfo; PARTITIONS];

/// The static memory that is lent to the mediator.
pub struct Memory;

impl Stores<Platform> for Memory {
    type Vms = &'static mut Vms;
    type Duties = &'static mut Duties;
    type Records = &'static mut Records;
    type Ranges = LentRanges;
    type Vcpus = Vcpus;
    type Drafts = Drafts;
    type Partitions = &'static mut Partitions;
    type Loans = &'static mut Loans;

    #[inline]
    fn relax() {
        let_others_go_first();
    }
}

/// The mediator over this hypervisor's seams.
pub type FfaMediator = Mediator<Platform, Memory>;

/// What each CPU has for itself.
struct PerCpu {
    platform: Platform,
    scratch: Scratch,
}

static MEDIATOR: Once<FfaMediator, Yield> = Once::new();
static VMS: Mutex<Vms> = Mutex::new([VmSlot::VACANT; MAX_VMS]);
static DUTY_SLOTS: Mutex<Duties> = Mutex::new([DutySlot::VACANT; DUTIES]);
static LOANS: Mutex<Loans> = Mutex::new([LoanSlot::VACANT; 64]);
static RECORDS: Mutex<Records> = Mutex::new([const { None }; MAX_VMS]);
static LISTS: [Mutex<Partitions>; 2] = [const { Mutex::new([NO_PARTITION; PARTITIONS]) }; 2];
const NO_PARTITION: PartitionInfo =
    PartitionInfo { id: PartitionId(0), contexts: 0, properties: Properties(0), uuid: Uuid::NIL };
static CPUS: PerCore<[ExceptionLock<RefCell<PerCpu>>; cpu::MAX], Cpus> =
    PerCore::new([PerCpu::of_cpu(0), PerCpu::of_cpu(1), PerCpu::of_cpu(2), PerCpu::of_cpu(3)]);

impl PerCpu {
    const fn of_cpu(cpu: usize) -> ExceptionLock<RefCell<Self>> {
        ExceptionLock::new(RefCell::new(Self { platform: Platform::of_cpu(cpu), scratch: Scratch::new() }))
    }
}

/// Finds out what the secure world offers, and makes a mediator for it.
///
/// # Errors
/// [`ProbeFailure`]: guests will find no FF-A.
pub fn start() -> Result<&'static FfaMediator, ProbeFailure> {
    let settings = settings();
    let lists = LISTS.each_ref().map(|list| &mut *MutexGuard::leak(list.lock()));
    let probed = with_cpu(|cpu| Spmc::probe(&mut cpu.platform, settings.version, &mut cpu.scratch, lists))?;
    // The mediator keeps the memory that is lent to it, so the locks stay locked.
    Ok(MEDIATOR.call_once(|| {
        let (vms, duties) = (MutexGuard::leak(VMS.lock()), MutexGuard::leak(DUTY_SLOTS.lock()));
        let (records, loans) = (MutexGuard::leak(RECORDS.lock()), MutexGuard::leak(LOANS.lock()));
        Mediator::new(probed, settings, vms, duties, records, loans)
    }))
}

/// The mediator, if there is a secure world.
pub fn mediator() -> Option<&'static FfaMediator> {
    MEDIATOR.get()
}

/// Serves a call of the one vCPU of `vm`, if it is one of FF-A's.
#[inline]
pub fn guest_call(vm: VmKey, regs: &mut Regs) -> Outcome {
    let mediator = mediator().expect("only a mediator makes keys");
    let caller = Caller { vm, vcpu: 0 };
    with_cpu(|cpu| mediator.guest_call(&mut cpu.platform, caller, regs, &mut cpu.scratch))
}

/// Tells the secure world of a VM that has its memory and does not run yet. `None` without a mediator.
pub fn create_vm(id: VmId) -> Option<Result<(VmKey, Creation), CreateError>> {
    let mediator = mediator()?;
    // Whoever has the list is a VM that the mediator knows.
    let vm = id.partition();
    let Some(ranges) = LentRanges::of(id) else { return Some(Err(CreateError::IdTaken { vm })) };
    let (vcpus, drafts) = ([VcpuSlot::IDLE], [DraftSlot::VACANT]);
    Some(with_cpu(|cpu| mediator.create_vm(&mut cpu.platform, vm, ranges, vcpus, drafts)))
}

/// The VM is dead, or soon will be. Nothing happens if the mediator knew, or does not know it.
pub fn destroy_vm(id: VmId) {
    if let Some(mediator) = mediator()
        && let Some(key) = mediator.find(id.partition())
    {
        // The error is that it was dead already: it may have turned itself off.
        _ = with_cpu(|cpu| mediator.destroy_vm(&mut cpu.platform, key));
    }
}

/// The secure world has notifications for VMs.
pub fn schedule_receivers() {
    if let Some(mediator) = mediator() {
        with_cpu(|cpu| mediator.schedule_receivers(&mut cpu.platform));
    }
}

/// The VM's vCPU takes interrupts from now on.
pub fn vcpu_online(vm: VmKey) {
    if let Some(mediator) = mediator() {
        with_cpu(|cpu| mediator.vcpu_online(&mut cpu.platform, vm, 0));
    }
}

/// Goes on with teardown.
pub fn tick() {
    if let Some(mediator) = mediator() {
        with_cpu(|cpu| mediator.tick(&mut cpu.platform));
    }
}

/// Tries again what was given up, for all VMs. Returns how many obligations are due again.
pub fn retry() -> u32 {
    let mediator = mediator();
    mediator.map_or(0, |mediator| with_cpu(|cpu| mediator.retry(&mut cpu.platform, None)).unwrap_or(0))
}

/// Makes a call to the secure world past the mediator.
pub fn call_secure_world(regs: &Regs) -> Regs {
    use ffa_hyp_glue::Conduit;
    with_cpu(|cpu| cpu.platform.call(regs))
}

/// How much the secure world has of a VM, or of all VMs; `None` if it does not say.
pub fn census(vm: Option<VmId>) -> Option<Census> {
    let mut regs = Regs([0; 18]);
    regs.0[0] = census::FUNCTION.into();
    regs.0[1] = vm.map_or(0, VmId::number).into();
    census::from_registers(&call_secure_world(&regs).0)
}

/// Lends what this CPU has for the mediator. Nothing that runs meanwhile comes here again: interrupts are masked, and the
/// seams do not call the mediator.
fn with_cpu<T>(work: impl FnOnce(&mut PerCpu) -> T) -> T {
    exception_free(|token| work(&mut CPUS.get().borrow_mut(token)))
}
