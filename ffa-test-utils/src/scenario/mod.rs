//! What happens in a demonstration, as plain data, and the code that plays it.
//!
//! One table is executed in three places: by the modelled hypervisor on the host; by firmware, which takes its
//! partitions from here; and by a hypervisor image, whose guests interpret their programs at EL1 with real SMCs and
//! HVCs. Guests need a [`GuestCpu`], hypervisors a [`Stage`]; neither needs an allocator.

mod attack;
mod guest;
mod play;
mod table;
mod tally;

use ffa_abi::{
    FunctionId, NotificationBitmap, PartitionId, PendingNotifications, Properties, Transaction, Version,
};
use ffa_teardown::Span;

pub use attack::{Arg, Attack, Means, WORST};
pub use guest::{FIRST_BYTE, GuestCpu, Instruction, Layout, run_guest};
pub use play::{Born, Outcome, Stage, play};
pub use tally::{Tally, Told};

use crate::spmc::{Control, Preset, Script};

/// One demonstration.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// As command lines and summaries spell it.
    pub name: &'static str,
    /// What happens, for a person.
    pub title: &'static str,
    /// The secure world.
    pub preset: Preset,
    /// Its partitions, in order.
    pub sps: &'static [SpSpec],
    /// The VMs that come and go. Several may have the same ID, one after another, and are the same VM if only the first
    /// of them is created.
    pub guests: &'static [Guest],
    /// What the hypervisor and its operator do.
    pub steps: &'static [Step],
    /// How it must end.
    pub expected: Expected,
}

/// A secure partition, as constant data.
#[derive(Clone, Copy, Debug)]
pub struct SpSpec {
    /// Its ID.
    pub id: PartitionId,
    /// What it can do and what it wants to be told.
    pub properties: Properties,
    /// Execution contexts.
    pub contexts: u16,
    /// What it does.
    pub script: Script,
}

/// A VM and what its guest does.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Its ID.
    pub vm: PartitionId,
    /// Pages of physically contiguous memory that the program uses; TX and RX are the first two.
    pub block_pages: u16,
    /// Pages of physically scattered memory.
    pub loose_pages: u16,
    /// Other VMs that it may reach.
    pub acquainted: &'static [PartitionId],
    /// What it does, in order. Then it stops.
    pub program: &'static [GuestOp],
}

/// A part of a guest's memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Area {
    /// Physically contiguous.
    Block,
    /// Physically scattered.
    Loose,
}

/// Pages of a guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pages {
    /// Where.
    pub area: Area,
    /// The first one.
    pub first: u16,
    /// How many.
    pub count: u16,
    /// 1 for neighbours, 2 for every other page, each a range of its own.
    pub step: u16,
}

impl Pages {
    /// `count` neighbours from page `first` of the contiguous memory.
    #[must_use]
    pub const fn block(first: u16, count: u16) -> Self {
        Self { area: Area::Block, first, count, step: 1 }
    }

    /// `count` neighbours from page `first` of the scattered memory.
    #[must_use]
    pub const fn loose(first: u16, count: u16) -> Self {
        Self { area: Area::Loose, first, count, step: 1 }
    }

    /// The same with a gap after each page.
    #[must_use]
    pub const fn with_gaps(self) -> Self {
        Self { step: 2, ..self }
    }
}

/// One thing that a guest does. It checks each answer, and every register that the answer does not define.
#[derive(Clone, Copy, Debug)]
pub enum GuestOp {
    /// Calls by this instruction from now on; the first is SMC.
    By(Instruction),
    /// FFA_VERSION with the first, which must be answered with the second. The lower one is used from then on.
    Version(Version, Version),
    /// FFA_ID_GET, and remembers its ID.
    IdGet,
    /// FFA_FEATURES: whether this function is there.
    Features(FunctionId, bool),
    /// FFA_RXTX_MAP of the first two pages.
    Map,
    /// FFA_RXTX_UNMAP.
    Unmap,
    /// FFA_PARTITION_INFO_GET: the count, then the list, then FFA_RX_RELEASE. It has SPs and [`Guest::acquainted`] VMs.
    List,
    /// FFA_PARTITION_INFO_GET_REGS: the same as in the last list.
    ListInRegisters,
    /// FFA_PARTITION_INFO_GET without FFA_RX_RELEASE.
    LeaveRxOwned,
    /// Fills pages with a pattern.
    Fill(Pages),
    /// They have the pattern still.
    Check(Pages),
    /// They are zero, every byte.
    CheckZero(Pages),
    /// Everything that the VM has is zero.
    CheckAllZero,
    /// FFA_MEM_SHARE with this partition; shares are numbered from 0.
    Share(Pages, PartitionId),
    /// The same in fragments of at most so many bytes, no more than a page. Each page is a range of its own.
    ShareInFragments(Pages, PartitionId, u16),
    /// Only the first so many fragments, of a page each. It is none of the numbered shares.
    ShareInPart(Pages, PartitionId, u16),
    /// FFA_MEM_LEND to this partition; numbered among the shares.
    Lend(Pages, PartitionId),
    /// FFA_MEM_DONATE to this partition; numbered among the shares.
    Donate(Pages, PartitionId),
    /// Goes on with these if FFA_FEATURES says that this function is there.
    IfServed(FunctionId, &'static [Self]),
    /// Neither a load from these pages nor a store to them works: they were lent or donated.
    Lost(Pages),
    /// FFA_MEM_RECLAIM of this share.
    Reclaim(u8),
    /// FFA_MEM_RECLAIM of this donation, which its receiver has: INVALID_PARAMETERS.
    ReclaimTooLate(u8),
    /// FFA_MEM_RECLAIM of this share, which is still in use: DENIED.
    ReclaimInUse(u8),
    /// FFA_MEM_RECLAIM of handles that the guest does not have, each INVALID_PARAMETERS.
    ReclaimForeign,
    /// A direct request, which must come back as the partition's echo; so many times it is preempted first and resumed
    /// with FFA_RUN.
    Request(PartitionId, u8),
    /// The same with the function of 64 bits.
    Request64(PartitionId, u8),
    /// The same with FFA_MSG_SEND_DIRECT_REQ2.
    Request2(PartitionId, u8),
    /// A direct request that is preempted, and is left so.
    StayInCall(PartitionId),
    /// Goes on with these if the last list shows these properties of a partition.
    If(PartitionId, Properties, &'static [Self]),
    /// Has a partition do something, by a direct request.
    Ask(PartitionId, Control),
    /// FFA_NOTIFICATION_BIND: this partition may signal these from now on, globally.
    Bind(PartitionId, NotificationBitmap),
    /// FFA_NOTIFICATION_UNBIND.
    Unbind(PartitionId, NotificationBitmap),
    /// FFA_NOTIFICATION_SET. An SP is asked to allow it first, and afterwards what it got; one that cannot allow it is
    /// of a secure world where this is NOT_SUPPORTED.
    Signal(PartitionId, NotificationBitmap),
    /// The notification pending interrupt comes, or has come since the last time.
    Interrupted,
    /// FFA_NOTIFICATION_INFO_GET: something is pending for the VM as a whole, and nothing else.
    Informed,
    /// FFA_NOTIFICATION_GET: exactly these are pending.
    Get(PendingNotifications),
    /// FFA_MSG_SEND2 of so many bytes.
    Send(PartitionId, u32),
    /// An SP read what [`Send`](Self::Send) sent it, so many bytes.
    Delivered(PartitionId, u32),
    /// RX has a message of this partition, so many bytes; then FFA_RX_RELEASE.
    Receive(PartitionId, u32),
    /// FFA_MEM_SHARE to both partitions; numbered among the shares.
    ShareWithBoth(Pages, PartitionId, PartitionId),
    /// FFA_MSG_SEND2 of the handles of all shares.
    Tell(PartitionId),
    /// RX has such a message of this VM: its shares are numbered after those that are known; then FFA_RX_RELEASE.
    Hear(PartitionId),
    /// FFA_MEM_RETRIEVE_REQ of this share, which the first VM has sent so: the guest gets that one's pages, which have the
    /// pattern, and writes another word to the end of each. FFA_MEM_FRAG_RX for what does not come at once.
    Retrieve(u8, PartitionId, Transaction, Pages),
    /// FFA_MEM_RETRIEVE_REQ of this share is INVALID_PARAMETERS.
    Withdrawn(u8, PartitionId, Transaction),
    /// FFA_MEM_RELINQUISH of this share.
    Relinquish(u8),
    /// Neither a load nor a store works where this share was.
    LostLoan(u8),
    /// The guest can use memory where this share is.
    HasLoan(u8),
    /// Uses this share until that does not work any more, which must be so before this time is over.
    UseUntilLost(u8, Span),
    /// These pages hold what their borrower wrote to them.
    Taken(Pages),
    /// FFA_MEM_RECLAIM of this share over and over, while it is DENIED and this time is not over.
    ReclaimWhenFree(u8, Span),
    /// Something that must be refused.
    Attack(&'static Attack),
    /// All of [`WORST`].
    Worst,
    /// Time passes.
    Sleep(Span),
}

/// One thing that the hypervisor or its operator does, or that must be true at this moment. Guests are named by their
/// position in [`Scenario::guests`].
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Something for the timeline.
    Note(&'static str),
    /// The VM is created and lives.
    Create(u8),
    /// The VM is created, but some partition does not want it.
    CreateFails(u8),
    /// The VM cannot be created, since its ID is not free.
    CreateRefused(u8),
    /// These guests run to the end of their programs, at the same time where there are CPUs.
    Run(&'static [u8]),
    /// These VMs are destroyed, one after another without a pause.
    Destroy(&'static [u8]),
    /// Guests run as with [`Run`](Self::Run), and so long after they have begun these VMs, which are others, are destroyed.
    DestroyWhile(&'static [u8], Span, &'static [u8]),
    /// Time passes, and teardown goes on.
    Wait(Span),
    /// At most so long after its destruction, everything that this VM owed is settled and it is gone.
    Gone(u8, Span),
    /// At most so long after its destruction, only so many pages of this VM are still held.
    OnlyHeld(u8, Span, u32),
    /// The VM is dead and not gone.
    Zombie(u8),
    /// So many shares are quarantined.
    Quarantined(u32),
    /// The timer is not armed.
    Silent,
    /// The partition is restarted.
    Restart(PartitionId),
    /// The operator retries what is quarantined; so many obligations are due again.
    Retry(u32),
    /// How often this partition accepted VM_CREATED, and VM_DESTROYED, so far.
    Told(PartitionId, u32, u32),
    /// So many FFA_RUNs were made for teardown so far, at least.
    Resumed(u32),
}

/// How a scenario must end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Expected {
    /// Memory transactions that guests made.
    pub shares: u32,
    /// How many of them came back, while the guest lived or later.
    pub reclaimed: u32,
    /// How many of them were donations that their receivers have for good.
    pub gone: u32,
    /// How many of them are quarantined.
    pub quarantined: u32,
    /// Pages of dead VMs that are not free.
    pub pages_held: u64,
    /// Dead VMs that are not gone.
    pub zombies: u32,
}

impl Scenario {
    /// Every scenario that runs everywhere, in the order of a whole run.
    pub const ALL: &'static [Self] = table::ALL;

    /// Whether `vm` may reach the VM `other`.
    #[must_use]
    pub fn acquaints(&self, vm: PartitionId, other: PartitionId) -> bool {
        self.guests.iter().any(|guest| guest.vm == vm && guest.acquainted.contains(&other))
    }

    /// Whether any VM may reach another.
    #[must_use]
    pub fn has_acquaintances(&self) -> bool {
        self.guests.iter().any(|guest| !guest.acquainted.is_empty())
    }

    /// The scenario of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|scenario| scenario.name == name)
    }

    /// The partitions, as a [`SpmcModel`](crate::spmc::SpmcModel) takes them.
    pub fn partitions(&self) -> impl Iterator<Item = crate::spmc::SpConfig> {
        self.sps.iter().map(|sp| crate::spmc::SpConfig {
            properties: sp.properties,
            contexts: sp.contexts,
            ..crate::spmc::SpConfig::new(sp.id, sp.script)
        })
    }
}
