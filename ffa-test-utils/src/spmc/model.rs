use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use ffa_abi::{Function, FunctionId, PartitionId, Regs, Status};
use ffa_teardown::Time;

use super::actor::Due;
use super::config::Config;
use super::mailbox::Mailbox;
use super::memory::PhysMemory;
use super::partition::{Partition, SpConfig};
use super::reach::Serial;
use super::script::Script;
use super::store::Store;
use super::truth::Told;
use super::version::Negotiation;
use super::vm::Vm;

/// A secure world: the SPMC and its partitions, as the hypervisor's SMCs see them.
///
/// It has no clock and no memory of its own: both come with each call.
///
/// ```
/// use ffa_abi::{PartitionId, Regs, Version, version_answer};
/// use ffa_teardown::Time;
/// use ffa_test_utils::spmc::{PhysFault, PhysMemory, Preset, Script, SpConfig, SpmcModel};
///
/// struct NoMemory;
/// impl PhysMemory for NoMemory {
///     fn read(&self, address: u64, _: &mut [u8]) -> Result<(), PhysFault> {
///         Err(PhysFault { address })
///     }
///     fn write(&mut self, address: u64, _: &[u8]) -> Result<(), PhysFault> {
///         Err(PhysFault { address })
///     }
/// }
///
/// let sp = SpConfig::new(PartitionId(0x8001), Script::GOOD);
/// let mut spmc = SpmcModel::new(Preset::Hafnium, [sp]);
/// let version = Regs::new([0x8400_0063, 0x1_0002]);
/// let answer = spmc.call(&mut NoMemory, Time::ZERO, &version);
/// assert_eq!(version_answer::from_regs(&answer), Ok(Version::V1_3));
/// ```
#[derive(Clone, Debug)]
pub struct SpmcModel {
    pub(super) config: Config,
    pub(super) partitions: Vec<Partition>,
    pub(super) negotiation: Negotiation,
    pub(super) mailbox: Option<Mailbox>,
    /// Whether RX is the hypervisor's; apart from the mailbox because some SPMCs forget to reset it.
    pub(super) rx_full: bool,
    /// Whether the schedule receiver interrupt is asserted.
    pub(super) sri: bool,
    /// VMs for which something is kept.
    pub(super) vms: BTreeMap<PartitionId, Vm>,
    pub(super) store: Store,
    pub(super) now: Time,
    /// What partitions do by themselves, by time and in order.
    pub(super) due: BTreeMap<(Time, u64), Due>,
    pub(super) next_due: u64,
    /// Mapped shares whose receiver writes to them.
    pub(super) writers: BTreeSet<(Serial, PartitionId)>,
    /// The writer whose turn is next, and the page that it begins with.
    pub(super) next_write: ((Serial, PartitionId), u64),
    /// Changes with the list of partitions.
    pub(super) list_tag: u16,
    pub(super) told: BTreeMap<(PartitionId, PartitionId), Vec<Told>>,
}

impl SpmcModel {
    /// A secure world at rest. Partition IDs must differ; under `Preset::Optee` the first partition is OP-TEE's own.
    pub fn new(config: impl Into<Config>, partitions: impl IntoIterator<Item = SpConfig>) -> Self {
        let config = config.into();
        let mut model = Self {
            store: Store::new(config.handles),
            partitions: partitions.into_iter().map(Partition::new).collect(),
            negotiation: Negotiation::Open(None),
            mailbox: None,
            rx_full: false,
            sri: false,
            vms: BTreeMap::new(),
            now: Time::ZERO,
            due: BTreeMap::new(),
            next_due: 0,
            writers: BTreeSet::new(),
            next_write: ((0, PartitionId(0)), 0),
            list_tag: 0,
            told: BTreeMap::new(),
            config,
        };
        let restarts: Vec<_> = model
            .partitions
            .iter()
            .filter_map(|sp| sp.config.script.restart_at.map(|at| (at, sp.id())))
            .collect();
        for (at, sp) in restarts {
            model.schedule(at, Due::Restart(sp));
        }
        model
    }

    /// The knobs it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A partition is loaded: the list of partitions changes. Its ID must differ from the others.
    pub fn add_partition(&mut self, config: SpConfig) {
        self.partitions.push(Partition::new(config));
        self.list_tag = self.list_tag.wrapping_add(1);
    }

    /// A partition behaves otherwise from now on.
    pub fn set_script(&mut self, id: PartitionId, script: Script) {
        if let Some(partition) = self.partition_mut(id) {
            partition.config.script = script;
        }
    }

    /// The SPMC has nothing of a half-sent descriptor any more: it found it bad.
    pub fn forget_half_sent(&mut self, handle: u64) {
        self.store.abandon(handle);
    }

    /// A partition is taken away, and what it had mapped from it: the list of partitions changes.
    pub fn remove_partition(&mut self, id: PartitionId) {
        self.unmap_all(id);
        self.partitions.retain(|sp| sp.id() != id);
        self.list_tag = self.list_tag.wrapping_add(1);
    }

    /// Answers one SMC that the hypervisor makes on CPU 0 at `now`. Time never goes back: an earlier `now` counts as
    /// the latest one.
    pub fn call(&mut self, memory: &mut dyn PhysMemory, now: Time, regs: &Regs) -> Regs {
        self.call_on(0, memory, now, regs)
    }

    /// Answers one SMC that the hypervisor makes on `cpu`.
    pub fn call_on(&mut self, cpu: u16, memory: &mut dyn PhysMemory, now: Time, regs: &Regs) -> Regs {
        self.advance(memory, now);
        let w0 = regs.w::<0>();
        let Ok(id) = FunctionId::from_w0(w0) else {
            // Outside FF-A's range an SMC is unknown to SMCCC.
            return if FunctionId::is_ffa(w0) { error(Status::NotSupported) } else { Regs::new([u64::MAX]) };
        };
        if id.function() == Function::Version {
            return self.version(regs);
        }
        if !self.settle_version(id.function()) {
            return error(Status::NotSupported);
        }
        match id.function() {
            Function::Features => self.features(regs),
            Function::IdGet => Regs::success(u32::from(PartitionId::HYPERVISOR.0), 0),
            Function::SpmIdGet => Regs::success(u32::from(self.config.spmc_id.0), 0),
            Function::PartitionInfoGet => self.partition_info_get(memory, regs),
            Function::PartitionInfoGetRegs => self.partition_info_get_regs(regs),
            Function::RxTxMap => self.rxtx_map(memory, id, regs),
            Function::RxTxUnmap => self.rxtx_unmap(regs),
            Function::RxRelease => self.rx_release(regs),
            Function::RxAcquire => self.rx_acquire(regs),
            Function::MsgSendDirectReq => self.direct_request(memory, cpu, id, regs),
            Function::MsgSendDirectReq2 => self.direct_request2(memory, cpu, regs),
            Function::Run => self.run(memory, cpu, regs),
            Function::MemShare | Function::MemLend | Function::MemDonate => self.mem_send(memory, id, regs),
            Function::MemFragTx => self.mem_frag_tx(memory, regs),
            Function::MemReclaim => self.mem_reclaim(memory, regs),
            Function::MemRetrieveReq => self.mem_retrieve(memory, id, regs),
            Function::MemFragRx => self.mem_frag_rx(memory, regs),
            Function::MsgSend2 => self.msg_send2(memory, regs),
            Function::NotificationBitmapCreate => self.bitmap_create(regs),
            Function::NotificationBitmapDestroy => self.bitmap_destroy(regs),
            Function::NotificationBind => self.notification_bind(regs),
            Function::NotificationUnbind => self.notification_unbind(regs),
            Function::NotificationSet => self.notification_set(regs),
            Function::NotificationGet => self.notification_get(regs),
            Function::NotificationInfoGet => self.notification_info_get(id, regs),
            _ => error(Status::NotSupported),
        }
    }

    pub(super) fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.iter().find(|sp| sp.id() == id)
    }

    pub(super) fn partition_mut(&mut self, id: PartitionId) -> Option<&mut Partition> {
        self.partitions.iter_mut().find(|sp| sp.id() == id)
    }

    /// Whether `id` is the partition that is a part of the SPMC.
    pub(super) fn is_built_in(&self, id: PartitionId) -> bool {
        matches!(self.config.vm_messages, super::VmMessages::BuiltIn { .. })
            && self.partitions.first().is_some_and(|sp| sp.id() == id)
    }
}

/// FFA_ERROR.
pub(super) fn error(status: Status) -> Regs {
    Regs::error(status)
}
