use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use ffa_abi::{NotificationBitmap, PartitionId, Properties, Uuid, VmAvailability, Width};
use ffa_teardown::Time;

use super::indirect::Received;
use super::notifications::Notifications;
use super::script::{Receive, Script, Turn};
use super::tee::TEE_UUID;

/// A secure partition, as a scenario describes it.
#[derive(Clone, Debug)]
pub struct SpConfig {
    /// Its ID; bit 15 should be set.
    pub id: PartitionId,
    /// The services it offers; the first one stands in partition records.
    pub uuids: Vec<Uuid>,
    /// What it can do and what it wants to be told.
    pub properties: Properties,
    /// Execution contexts. With one it runs on any CPU, with more each CPU has its own.
    pub contexts: u16,
    /// What it does.
    pub script: Script,
    /// How it answers direct requests that it accepts.
    pub service: Service,
}

/// How a partition answers direct requests of partitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    /// With what it was sent, marked.
    Echo,
    /// As OP-TEE does, for drivers of real guests.
    Tee,
}

impl SpConfig {
    /// Takes direct requests and wants to be told of both ends of a VM's life.
    pub const SUBSCRIBED: Properties = Properties::RECEIVES_DIRECT_REQUESTS
        .or(Properties::WANTS_VM_CREATED)
        .or(Properties::WANTS_VM_DESTROYED)
        .or(Properties::AARCH64);

    /// A [`SUBSCRIBED`](Self::SUBSCRIBED) partition with one execution context and a UUID made of its ID.
    #[must_use]
    pub fn new(id: PartitionId, script: Script) -> Self {
        let uuid = Uuid::from_words([0x5ec0_0000 | u32::from(id.0), 0x1d5a, 0x4ffa, 0xffa]);
        let uuids = vec![uuid];
        Self { id, uuids, properties: Self::SUBSCRIBED, contexts: 1, script, service: Service::Echo }
    }

    /// The same as a trusted OS that speaks OP-TEE's protocol, by whose name drivers know it.
    #[must_use]
    pub fn as_tee(self) -> Self {
        Self { uuids: vec![TEE_UUID], service: Service::Tee, ..self }
    }

    /// The same with other properties.
    #[must_use]
    pub fn with_properties(self, properties: Properties) -> Self {
        Self { properties, ..self }
    }
}

/// A message that an execution context works on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Job {
    pub request: Request,
    /// What is still to happen before the answer.
    pub turn: Turn,
}

/// A direct request that passed the checks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Request {
    pub width: Width,
    pub sender: PartitionId,
    pub receiver: PartitionId,
    pub kind: RequestKind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RequestKind {
    Partition([u64; 5]),
    /// FFA_MSG_SEND_DIRECT_REQ2.
    Service {
        uuid: Uuid,
        payload: [u64; 14],
    },
    Vm {
        event: VmAvailability,
        vm: PartitionId,
    },
}

/// An execution context.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Context {
    Waiting,
    /// Preempted or resting; not to be run before the time.
    Paused {
        job: Job,
        not_before: Time,
    },
}

/// Of the messages that a partition read it remembers so many; the oldest go.
const MOST_RECEIVED: usize = 64;

/// A partition at run time.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub config: SpConfig,
    pub contexts: Vec<Context>,
    pub crashed: bool,
    pub restarts: u32,
    /// Messages taken so far, by kind.
    pub created: u32,
    pub destroyed: u32,
    pub requests: u32,
    /// Reclaims refused by script so far.
    pub refusals: u32,
    /// VMs that it accepted and of whose end it was not told.
    pub vms: BTreeSet<PartitionId>,
    /// VMs about which it accepts nothing any more.
    pub sticky: BTreeSet<PartitionId>,
    /// What VMs may set, and what they have set.
    pub notifications: Notifications,
    /// What it has taken of that since it was asked last.
    pub taken: NotificationBitmap,
    /// The message in its RX buffer.
    pub rx: Option<Received>,
    /// Messages that it read, oldest first.
    pub received: Vec<Received>,
}

impl Partition {
    pub fn new(config: SpConfig) -> Self {
        let contexts = vec![Context::Waiting; usize::from(config.contexts.max(1))];
        Self {
            config,
            contexts,
            crashed: false,
            restarts: 0,
            created: 0,
            destroyed: 0,
            requests: 0,
            refusals: 0,
            vms: BTreeSet::new(),
            sticky: BTreeSet::new(),
            notifications: Notifications::default(),
            taken: NotificationBitmap::NONE,
            rx: None,
            received: Vec::new(),
        }
    }

    pub fn id(&self) -> PartitionId {
        self.config.id
    }

    /// The execution context that serves a request made on `cpu`.
    pub fn context_for(&self, cpu: u16) -> u16 {
        if self.contexts.len() == 1 { 0 } else { cpu }
    }

    /// The next turn for a message of this kind.
    pub fn next_turn(&mut self, kind: RequestKind) -> Turn {
        let script = self.config.script;
        let (reaction, count) = match kind {
            RequestKind::Partition(_) | RequestKind::Service { .. } => {
                (script.on_request, &mut self.requests)
            }
            RequestKind::Vm { event: VmAvailability::Created, .. } => (script.on_created, &mut self.created),
            RequestKind::Vm { event: VmAvailability::Destroyed, .. } => {
                (script.on_destroyed, &mut self.destroyed)
            }
        };
        let turn = reaction.turn(*count);
        *count = count.saturating_add(1);
        turn
    }

    /// Takes the notifications that are pending, and the message in RX.
    pub fn take_pending(&mut self) {
        self.taken = self.taken.or(self.notifications.take_all());
        self.notifications.take_framework();
        if let Some(message) = self.rx.take() {
            if self.received.len() == MOST_RECEIVED {
                self.received.remove(0);
            }
            self.received.push(message);
        }
    }

    /// Takes what has just come, if the script says so; or else it must be run.
    pub fn takes_at_once(&mut self) -> bool {
        let at_once = self.config.script.receive == Receive::AtOnce && !self.crashed;
        if at_once {
            self.take_pending();
        }
        at_once
    }

    /// Whether something waits until it is run.
    pub fn has_pending(&self) -> bool {
        self.rx.is_some() || !self.notifications.pending().is_empty()
    }

    /// The oldest message that it read, which it then forgets.
    pub fn hand_over_message(&mut self) -> Option<Received> {
        self.take_pending();
        (!self.received.is_empty()).then(|| self.received.remove(0))
    }

    pub fn wants(&self, event: VmAvailability) -> bool {
        self.config.properties.contains(match event {
            VmAvailability::Created => Properties::WANTS_VM_CREATED,
            VmAvailability::Destroyed => Properties::WANTS_VM_DESTROYED,
        })
    }
}
