use ffa_abi::{PartitionId, VmAvailability};
use ffa_hyp_glue::{Event, EventKind};
use ffa_teardown::{AnswerClass, SecureCall, Time};

/// What the mediator's events add up to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Memory transactions that the secure world took, those in doubt included.
    pub shares: u32,
    /// Those whose pages came back.
    pub reclaimed: u32,
    /// Donations that their receivers have for good.
    pub gone: u32,
    /// FFA_RUNs for teardown.
    pub resumed: u32,
    told: [Option<Told>; 16],
    ended: [Option<(PartitionId, Time)>; 16],
}

/// What one partition accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Told {
    /// The partition.
    pub sp: PartitionId,
    /// VM_CREATED, so many times.
    pub created: u32,
    /// VM_DESTROYED, so many times.
    pub destroyed: u32,
    /// Whether it works on a message, and which.
    pending: Option<VmAvailability>,
}

impl Tally {
    /// Nothing yet.
    pub const EMPTY: Self =
        Self { shares: 0, reclaimed: 0, gone: 0, resumed: 0, told: [None; 16], ended: [None; 16] };

    /// Adds an event.
    pub fn add(&mut self, at: Time, event: &Event) {
        match event.kind {
            EventKind::Finished { .. } => {
                let free =
                    |slot: &&mut Option<(PartitionId, Time)>| slot.is_none_or(|(vm, _)| vm == event.vm);
                if let Some(slot) = self.ended.iter_mut().find(free) {
                    *slot = Some((event.vm, at));
                }
            }
            EventKind::Shared { .. }
            | EventKind::Lent { .. }
            | EventKind::Donated { .. }
            | EventKind::Doubtful { .. } => self.shares += 1,
            // Of a share that was half-sent nothing was held.
            EventKind::Released { pages } => self.reclaimed += u32::from(pages != 0),
            EventKind::Gone { .. } => self.gone += 1,
            EventKind::SecureCall { call, answer, .. } => {
                let accepted = answer.class == AnswerClass::Success;
                let paused = matches!(answer.class, AnswerClass::Preempted | AnswerClass::Yielded);
                match call {
                    SecureCall::Tell { sp, event, .. } => self.tell(sp, Some(event), accepted, paused),
                    SecureCall::Run { target } => {
                        self.resumed += 1;
                        self.tell(target.endpoint, None, accepted, paused);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn tell(&mut self, sp: PartitionId, event: Option<VmAvailability>, accepted: bool, paused: bool) {
        let free = |slot: &&mut Option<Told>| slot.is_none_or(|told| told.sp == sp);
        let Some(slot) = self.told.iter_mut().find(free) else { return };
        let told = slot.get_or_insert(Told { sp, created: 0, destroyed: 0, pending: None });
        match (accepted, event.or(told.pending)) {
            (true, Some(VmAvailability::Created)) => told.created += 1,
            (true, Some(VmAvailability::Destroyed)) => told.destroyed += 1,
            _ => {}
        }
        // What else comes back while it works on a message says nothing of that message.
        if paused || accepted {
            told.pending = event.or(told.pending).filter(|_| paused);
        }
    }

    /// When a VM with this ID ended last.
    #[must_use]
    pub fn ended(&self, vm: PartitionId) -> Option<Time> {
        self.ended.iter().flatten().find(|(ended, _)| *ended == vm).map(|(_, at)| *at)
    }

    /// How often a partition accepted VM_CREATED and VM_DESTROYED.
    #[must_use]
    pub fn told(&self, sp: PartitionId) -> (u32, u32) {
        let found = self.told.iter().flatten().find(|told| told.sp == sp);
        found.map_or((0, 0), |told| (told.created, told.destroyed))
    }
}
