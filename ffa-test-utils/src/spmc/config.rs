use alloc::vec::Vec;

use ffa_abi::{FeatureId, FunctionId, PartitionId, Version};

use super::check::{
    AcquireCheck, BindCheck, BitmapCheck, Checks, DirectCheck, FetchCheck, GetCheck, IndirectCheck,
    InfoCheck, InfoGetCheck, InfoRegsCheck, MapCheck, PartCheck, ReclaimCheck, ReleaseCheck, RetrieveCheck,
    RunCheck, SendCheck, SetCheck, VmMapCheck, WholeCheck,
};
use super::memory::Extent;

/// One secure world as data: the code of the model is the same for all of them.
///
/// Start from a [`Preset`](super::Preset) and change what a test needs:
///
/// ```
/// use ffa_test_utils::spmc::{Config, Preset};
///
/// let config = Config { writes_per_call: 0, ..Preset::Hafnium.config() };
/// assert_eq!(config.limits.receivers, 2);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// For reports.
    pub name: &'static str,
    /// The newest version that it has, which FFA_VERSION answers.
    pub version: Version,
    /// What FFA_VERSION does before, at and after the first other call.
    pub version_policy: VersionPolicy,
    /// Answer of FFA_SPM_ID_GET.
    pub spmc_id: PartitionId,
    /// What it has room for.
    pub limits: Limits,
    /// How handles are chosen.
    pub handles: HandlePolicy,
    /// Answers of FFA_FEATURES, independent of what is served.
    pub features: &'static [FeatureRow],
    /// Checks of the first part of a send.
    pub send: Checks<SendCheck>,
    /// Checks of a whole descriptor.
    pub whole: Checks<WholeCheck>,
    /// Checks of a later part.
    pub part: Checks<PartCheck>,
    /// Checks of a reclaim.
    pub reclaim: Checks<ReclaimCheck>,
    /// How the hypervisor is told what a handle names, if it is.
    pub retrieve: Option<&'static RetrieveRules>,
    /// Checks of mapping buffers.
    pub map: Checks<MapCheck>,
    /// Checks of mapping buffers on behalf of a VM, before those of the buffers. `None`: a call with neither addresses
    /// nor pages is judged as any other.
    pub map_for_vm: Option<Checks<VmMapCheck>>,
    /// Checks of FFA_RX_ACQUIRE, if it is served.
    pub acquire: Option<Checks<AcquireCheck>>,
    /// Checks of FFA_RX_RELEASE.
    pub release: Checks<ReleaseCheck>,
    /// Checks of listing partitions.
    pub info: Checks<InfoCheck>,
    /// Checks of listing partitions in registers, if that is served.
    pub info_regs: Option<Checks<InfoRegsCheck>>,
    /// Checks of a direct request.
    pub direct: Checks<DirectCheck>,
    /// Checks of a direct request of 1.2.
    pub direct2: Checks<DirectCheck>,
    /// Checks of an indirect message, if there are any.
    pub indirect: Option<Checks<IndirectCheck>>,
    /// Checks of FFA_RUN.
    pub run: Checks<RunCheck>,
    /// How notifications work, if there are any.
    pub notifications: Option<&'static NotificationRules>,
    /// Size of partition records for callers of 1.1 or later: 24 or 48. A caller of 1.0 gets 8.
    pub record_size: u32,
    /// What w4 of FFA_MEM_FRAG_RX names.
    pub next_part_names: NextPartNames,
    /// Who is told of VMs.
    pub vm_messages: VmMessages,
    /// What a partition makes of VM_CREATED for a VM that it knows, and of VM_DESTROYED for one that it does not.
    pub vm_memory: VmMemory,
    /// Oddities that were found by reading.
    pub quirks: Quirks,
    /// Non-secure memory; empty for all of it.
    pub non_secure: Vec<Extent>,
    /// First physical address past the supported width.
    pub memory_end: u64,
    /// At most so many pages are written by partitions that still hold dead VMs' memory, each time the model gets
    /// control; they take turns.
    pub writes_per_call: usize,
    /// Mark of this run in the answers of the echo service. Never zero.
    pub nonce: u32,
}

/// How the hypervisor is told what a handle names.
#[derive(Clone, Copy, Debug)]
pub struct RetrieveRules {
    /// Checks of FFA_MEM_RETRIEVE_REQ.
    pub request: Checks<RetrieveCheck>,
    /// Checks of FFA_MEM_FRAG_RX.
    pub fetch: Checks<FetchCheck>,
    /// How much the answer says.
    pub tells: Tells,
}

/// What of a transaction the hypervisor is told besides sender and ranges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tells {
    /// Attributes, flags and receivers as the sender gave them.
    AsSent,
    /// One receiver of zeros, and that the memory is non-secure.
    NoReceiver,
}

/// How notifications work.
#[derive(Clone, Copy, Debug)]
pub struct NotificationRules {
    /// INTID of the schedule receiver interrupt.
    pub sri: u32,
    /// Checks of FFA_NOTIFICATION_BITMAP_CREATE.
    pub create: Checks<BitmapCheck>,
    /// Checks of FFA_NOTIFICATION_BITMAP_DESTROY.
    pub destroy: Checks<BitmapCheck>,
    /// Checks of FFA_NOTIFICATION_BIND.
    pub bind: Checks<BindCheck>,
    /// Checks of FFA_NOTIFICATION_UNBIND.
    pub unbind: Checks<BindCheck>,
    /// Checks of FFA_NOTIFICATION_SET, if VMs can signal partitions.
    pub set: Option<Checks<SetCheck>>,
    /// Checks of FFA_NOTIFICATION_GET.
    pub get: Checks<GetCheck>,
    /// Checks of FFA_NOTIFICATION_INFO_GET.
    pub info: Checks<InfoGetCheck>,
}

/// What FFA_VERSION does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VersionPolicy {
    /// Not compatible: -1. After the first other call a different version is refused with -1. Who never asks is
    /// served as the newest.
    LockThenRefuse,
    /// A first call other than FFA_VERSION is NOT_SUPPORTED and locks out: FFA_VERSION answers -1 for ever. Later
    /// the version negotiated first is answered, whatever is asked.
    RequireFirst,
    /// Always the newest, at any time; who never asks is served as 1.0.
    Renegotiable,
}

/// What a secure world has room for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Shares at the same time, complete or not; of one guest where handles are tagged with guests.
    pub shares: u32,
    /// Receivers of one transaction.
    pub receivers: u32,
    /// Parts of one descriptor.
    pub parts: u32,
    /// VMs for which something is kept at the same time.
    pub vms: u32,
    /// Bytes of all descriptors together.
    pub store_bytes: u64,
    /// Pages of each of RX and TX.
    pub buffer_pages: u32,
}

/// How handles are chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HandlePolicy {
    /// The lowest free slot: a freed handle names the very next share.
    SlotIndex,
    /// Counts up from here and never comes back.
    Monotonic(u64),
    /// Bit 44, the guest's ID in bits 31:16 and its lowest free slot: a freed handle is reused, also by a later guest
    /// with the same ID. A handle of the hypervisor in the header (bit 63) is taken as it is.
    GuestTagged,
}

/// What w4 of FFA_MEM_FRAG_RX names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NextPartNames {
    /// The sender of the transaction.
    Sender,
    /// Nobody.
    Zero,
}

/// Who is told of VMs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VmMessages {
    /// Partitions that subscribed; for others FFA_ERROR INVALID_PARAMETERS.
    PerSpSubscription {
        /// Whether the sender must be the hypervisor.
        from: VmSender,
    },
    /// Any partition.
    Unfiltered,
    /// The first partition, which is a part of the SPMC and knows guests by these messages alone; others by
    /// subscription. Without virtualization the first one answers FFA_ERROR NOT_SUPPORTED.
    BuiltIn {
        /// Whether guests are told apart at all.
        virtualization: bool,
    },
}

/// From whom a message about a VM is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VmSender {
    /// Any endpoint of the normal world.
    Anyone,
    /// ID 0 alone.
    Hypervisor,
}

/// What partitions remember of VMs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VmMemory {
    /// Nothing: every message is accepted.
    None,
    /// VM_CREATED twice and VM_DESTROYED of an unknown VM are answered INVALID_PARAMETERS.
    Strict,
    /// As `Strict`, and from then on every message about that VM.
    Sticky,
}

/// Oddities that were found by reading.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quirks {
    /// The version negotiated is the hypervisor's alone: to VMs belong headers of the newest one.
    pub vms_speak_newest: bool,
    /// x1 of a send is read as 64 bits.
    pub wide_total: bool,
    /// Page counts are added up in 32 bits.
    pub page_sum_wraps: bool,
    /// An empty range ends the search for overlapping ranges.
    pub empty_range_ends_overlap_scan: bool,
    /// Only the last range of the first part is looked up in the table of owners.
    pub last_range_decides: bool,
    /// A range overlapping a half-sent descriptor counts as sent already.
    pub half_sent_counts: bool,
    /// A descriptor may come in a buffer other than TX.
    pub other_buffer: bool,
    /// A bad part leaves the transaction waiting for a better one.
    pub bad_part_is_forgiven: bool,
    /// FFA_RXTX_UNMAP leaves the state of RX as it is.
    pub unmap_keeps_rx_state: bool,
    /// FFA_RXTX_UNMAP takes any w1.
    pub unmap_ignores_endpoint: bool,
    /// FFA_RX_RELEASE takes any w1.
    pub release_ignores_endpoint: bool,
    /// An error of FFA_PARTITION_INFO_GET after RX was taken leaves RX with the caller.
    pub info_error_takes_rx: bool,
    /// The UUIDs of one partition are one record each, for callers of 1.2.
    pub record_per_uuid: bool,
    /// Records show whether a partition sends direct requests.
    pub records_show_senders: bool,
    /// Records show the wish to be told of VMs only for partitions that take direct requests.
    pub vm_messages_need_direct_requests: bool,
    /// A direct request of an unknown guest is answered with this word in w3 of a response.
    pub unknown_guest_word: Option<u32>,
    /// FFA_MEM_RECLAIM and a lend zero the memory when asked.
    pub zeroes_memory: bool,
}

/// One subject that FFA_FEATURES knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FeatureRow {
    /// w1: a function ID or a feature's number.
    pub subject: u32,
    /// What is said about it.
    pub answer: FeatureAnswer,
}

/// What FFA_FEATURES says about a subject; everything not listed is NOT_SUPPORTED.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FeatureAnswer {
    /// SUCCESS with this w2.
    Properties(u32),
    /// As `Properties`, for callers of this version or later.
    Since(Version, u32),
    /// The most pages of a buffer in bits 31:16 of w2 for callers of 1.2 or later, else 0.
    BufferPages,
    /// The INTID of the schedule receiver interrupt.
    ScheduleReceiverInterrupt,
    /// This w2 if the caller knows the NS bit (w2 bit 1) or is of 1.0.
    WithNsBit(u32),
    /// This w2 unless the caller knows the NS bit.
    WithoutNsBit(u32),
}

impl FeatureRow {
    /// SUCCESS with no properties for a function.
    #[must_use]
    pub const fn plain(id: FunctionId) -> Self {
        Self::new(id, FeatureAnswer::Properties(0))
    }

    /// The schedule receiver interrupt.
    pub const SRI: Self = Self {
        subject: FeatureId::ScheduleReceiverInterrupt as u32,
        answer: FeatureAnswer::ScheduleReceiverInterrupt,
    };

    /// `answer` for a function.
    #[must_use]
    pub const fn new(id: FunctionId, answer: FeatureAnswer) -> Self {
        Self { subject: id.w0(), answer }
    }
}
