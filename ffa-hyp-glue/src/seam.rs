//! What the mediator asks of a hypervisor, as small traits.
//!
//! A hypervisor implements them on one object per physical CPU and passes it as `&mut` into every entry of the
//! mediator, so no seam needs a lock or a global of its own. No seam is called with a lock of the mediator held,
//! except [`Timer::arm`] and, sometimes, [`Permissions::permits`].

use ffa_abi::{PartitionId, Regs};
use ffa_mem::{IpaRange, PhysRange};
use ffa_teardown::{ShareId, Time};

use crate::{Event, PeerMemory};

/// The secure world, as EL2 sees it.
pub trait Conduit {
    /// Makes one SMC; unused arguments are zero. Always all 18 registers: even an SMC32 call may come back as an
    /// SMC64 function that overwrites x8 to x17.
    ///
    /// May take long, and may return early with FFA_INTERRUPT when an interrupt of the normal world is pending.
    fn call(&mut self, regs: &Regs) -> Regs;
}

/// The address does not belong to the guest, or is not plain memory that EL2 may touch.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("guest address {address:#x} cannot be accessed")]
pub struct GuestFault {
    /// Guest-physical address of the first byte that failed.
    pub address: u64,
}

/// A guest's memory. Copies only: no reference into it ever exists on our side.
///
/// With EL2 caches off, cache maintenance is the implementer's: a guest reads and writes with its caches on.
pub trait GuestMemory {
    /// Copies `dst.len()` bytes from guest-physical `address`, each byte once. The guest may write meanwhile, so
    /// bytes may differ on the next call.
    ///
    /// # Errors
    /// [`GuestFault`] if any byte is not readable memory of `vm`; `dst` then holds anything.
    fn read(&mut self, vm: PartitionId, address: u64, dst: &mut [u8]) -> Result<(), GuestFault>;

    /// Copies `src` to guest-physical `address`.
    ///
    /// # Errors
    /// [`GuestFault`] if any byte is not writable memory of `vm`; a part may have been written.
    fn write(&mut self, vm: PartitionId, address: u64, src: &[u8]) -> Result<(), GuestFault>;
}

/// What a guest may do with its pages, and what a receiver may therefore be given.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// What the owner of held pages may do with them meanwhile.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OwnerAccess {
    /// What it could before.
    Kept,
    /// Nothing.
    Lost,
}

/// Why pages cannot be held.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// Some page is not there, not plain memory of this VM, or not as accessible as asked.
    #[error("page {address:#x} is not plain memory of the VM")]
    NotOwned {
        /// Guest-physical address of the first such page.
        address: u64,
    },
    /// The hypervisor has no means left to hold them.
    #[error("no resources to hold the pages")]
    NoResources,
}

/// The pages of VMs: a held page stays what and where it is until it is released, whatever becomes of its VM.
pub trait Pages {
    /// Holds every page of `range` and gives the physical runs behind it, in order, to `runs`.
    ///
    /// Every page must be memory that `vm` owns alone and may access as `access` says: not a device, not another's
    /// page mapped into it, not the hypervisor's own. All or nothing: after an error nothing of `range` is held,
    /// whatever `runs` has seen.
    ///
    /// With [`OwnerAccess::Lost`] no CPU can reach the pages for the guest any more when this returns. Whatever may fail is
    /// done here, such as splitting a large mapping, and so is the maintenance of TLBs: what was translated at stage 2 and
    /// for both stages, on every CPU, whether the VM runs or not, since the secure world is told next and may write at
    /// once. The guest's accesses abort until the pages are released.
    ///
    /// # Errors
    /// [`PageError`], with the first page that is wrong.
    fn hold(
        &mut self,
        vm: PartitionId,
        range: IpaRange,
        access: Access,
        owner: OwnerAccess,
        runs: impl FnMut(PhysRange),
    ) -> Result<(), PageError>;

    /// Gives the physical runs behind `range` in order, as [`hold`](Self::hold) did. All of it is held, as a part of whatever
    /// was held at once.
    fn runs(&mut self, vm: PartitionId, range: IpaRange, runs: impl FnMut(PhysRange));

    /// Ends the hold on `range`, once for each [`hold`](Self::hold) and with the same range or a union of
    /// adjacent ones. The secure world has let go of the pages, or never knew of them; a guest that had
    /// [lost](OwnerAccess::Lost) its access has it back, and if `vm` is dead they must be scrubbed before reuse. Cannot
    /// fail. May run destructors.
    fn release(&mut self, vm: PartitionId, range: IpaRange);

    /// As [`hold`](Self::hold), for the memory transaction `share`. A hypervisor that can end all holds of one at once
    /// notes it here.
    ///
    /// # Errors
    /// Those of `hold`.
    #[inline]
    fn hold_for(
        &mut self,
        share: ShareId,
        vm: PartitionId,
        range: IpaRange,
        access: Access,
        owner: OwnerAccess,
        runs: impl FnMut(PhysRange),
    ) -> Result<(), PageError> {
        let _ = share;
        self.hold(vm, range, access, owner, runs)
    }

    /// Ends every hold made [for](Self::hold_for) `share`, which is over, as [`release`](Self::release) would one by one.
    /// Says false, and does nothing, where it cannot: then `release` is called for each of its ranges.
    ///
    /// The share may have no holds. Its name is used again afterwards.
    #[inline]
    fn release_share(&mut self, vm: PartitionId, share: ShareId) -> bool {
        let _ = (vm, share);
        false
    }

    /// Whether `vm` may write to every page of `range`, all of which are held, once it has its access back.
    fn owner_writes(&mut self, vm: PartitionId, range: IpaRange) -> bool;

    /// Fills held pages that their owner may write to with zeros. The secure world has none of them now; whatever it maps
    /// them as later, or a guest with its caches off, reads zeros.
    fn zero(&mut self, vm: PartitionId, range: IpaRange);

    /// The pages of `range`, held with [`OwnerAccess::Lost`], are part of `vm` no more: it has donated them, and they are
    /// the secure world's for good. In place of [`release`](Self::release), once for each hold; also of pages that were
    /// [handed over](Self::quarantine). Whether `vm` lives or not, they are neither given back to it nor to anybody else,
    /// ever, and to hold them again is refused.
    fn donated(&mut self, vm: PartitionId, range: IpaRange);

    /// The hypervisor keeps `range` on its own list of pages that must not be reused: the mediator gives up
    /// the VM they belong to, which may still live. Once for each hold; a later [`release`](Self::release) of the same
    /// range takes them off it, or [`donated`](Self::donated).
    fn quarantine(&mut self, vm: PartitionId, range: IpaRange);
}

/// References that keep a VM's identity and memory from going away.
pub trait VmReferences {
    /// One reference. Move-only: it can be given back once.
    type Reference;

    /// Takes a reference to `vm`, which is alive or being created or destroyed under the caller's control.
    fn take(&mut self, vm: PartitionId) -> Self::Reference;

    /// Gives it back. The last one may run destructors and free the VM: nothing touches it afterwards.
    fn give_back(&mut self, vm: PartitionId, reference: Self::Reference);
}

/// Time and the one timer that drives teardown.
pub trait Timer {
    /// The hypervisor's monotonic clock.
    fn now(&mut self) -> Time;

    /// Calls for [`tick`](crate::Mediator::tick) at `deadline`, or not at all; replaces what was armed before. A
    /// moment that has passed means at once. Called under the mediator's lock, so that the last call
    /// is the one that counts: it only programs the timer.
    fn arm(&mut self, deadline: Option<Time>);
}

/// The pair of buffers through which hypervisor and SPMC exchange descriptors. The mediator sees to it that only one
/// CPU uses each at a time.
pub trait SpmcBuffers {
    /// Physical addresses of the TX buffer (we write) and the RX buffer (the SPMC writes).
    fn addresses(&mut self) -> (u64, u64);

    /// 4 KiB pages of each, 1 to 63, all in a row. The SPMC may want fewer; then the first ones are used.
    ///
    /// A memory transaction goes in as many fragments as it takes pages of TX, and Hafnium takes no more than 20.
    fn pages(&mut self) -> u8 {
        1
    }

    /// Copies `bytes`, at most 4 KiB, to the start of TX.
    fn write_tx(&mut self, bytes: &[u8]);

    /// Copies `bytes`, at most 4 KiB, to `offset` in TX. With one [page](Self::pages) it is the start.
    fn write_tx_at(&mut self, offset: usize, bytes: &[u8]) {
        debug_assert_eq!(offset, 0);
        self.write_tx(bytes);
    }

    /// Copies from `offset` in RX. The SPMC may write meanwhile: each byte is read once.
    ///
    /// `offset + dst.len()` is at most 4 KiB.
    fn read_rx(&mut self, offset: usize, dst: &mut [u8]);
}

/// Where the mediator reports what it does, as typed events. It must not call back into the mediator.
pub trait Observer {
    /// Called outside every lock, after the fact.
    fn event(&mut self, event: &Event) {
        let _ = event;
    }
}

/// What one partition has to do with another.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Relation {
    /// Finds it in lists of partitions.
    See,
    /// Sends it messages, direct or indirect.
    Message,
    /// Signals notifications to it. That it is signalled in return takes the same permission the other way.
    Notify,
    /// Shares memory with it, or lends or donates it.
    Share,
}

/// Who may have to do with whom. A partition that a VM has no permission for is to the VM as one that does not exist.
pub trait Permissions {
    /// Whether `vm` may have that to do with `partner`, an SP or another VM, which need not exist.
    ///
    /// The default: every SP, and no VM. Answered at once and from what is at hand, since it may be called under the
    /// mediator's lock; the answer may change from call to call. A guest that reads the list of partitions in pieces
    /// does not notice when it changes in between: the list's tag tells of partitions that come and go, no more.
    fn permits(&mut self, vm: PartitionId, relation: Relation, partner: PartitionId) -> bool {
        let _ = (vm, relation);
        partner.is_secure()
    }
}

/// Virtual interrupts of guests.
pub trait VirtualInterrupts {
    /// Makes the edge-triggered interrupt `intid`, one of [`Settings::interrupts`](crate::Settings::interrupts), pending
    /// at vCPU `vcpu` of `vm`, or with `None` at any one that is online. Says false, and does nothing, if that is
    /// not online: the mediator then waits for [`vcpu_online`](crate::Mediator::vcpu_online). The VM may have died and be
    /// gone.
    ///
    /// A hypervisor whose settings have no interrupts is not asked.
    fn raise(&mut self, vm: PartitionId, vcpu: Option<u16>, intid: u32) -> bool {
        let _ = (vm, vcpu, intid);
        false
    }
}

/// All that the mediator asks of a hypervisor, on one object per physical CPU.
pub trait Platform:
    Conduit
    + GuestMemory
    + Pages
    + PeerMemory
    + VmReferences
    + Timer
    + SpmcBuffers
    + Permissions
    + VirtualInterrupts
    + Observer
{
}

impl<T> Platform for T where
    T: Conduit
        + GuestMemory
        + Pages
        + PeerMemory
        + VmReferences
        + Timer
        + SpmcBuffers
        + Permissions
        + VirtualInterrupts
        + Observer
{
}
