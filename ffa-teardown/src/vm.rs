use ffa_abi::PartitionId;

use crate::duty::{DutySlot, LastAnswer, STAGE_SP, STAGES, State};
use crate::index::Index;
use crate::{Time, Unexpected};

/// Where a VM stands in its life, as the secure world sees it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Phase {
    /// SPs are being told VM_CREATED, or its notification bitmap is being created. Its guest must not run yet.
    Creating,
    /// Its guest may call.
    Live,
    /// It is dead, or its creation failed, and something is still owed.
    Dying,
    /// Nothing is left to try. What was given up keeps the ID retired, and a zombie's reference.
    Over,
}

/// Names a VM from its creation until it is gone. Cheap to keep and to pass.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct VmKey {
    pub(crate) index: Index,
    pub(crate) id: PartitionId,
}

impl VmKey {
    /// The VM's endpoint ID.
    #[must_use]
    pub const fn id(self) -> PartitionId {
        self.id
    }

    /// Position of the VM's slot in the lent storage, for side tables of the same length.
    #[must_use]
    pub const fn position(self) -> usize {
        self.index.get()
    }

    /// Where the VM stands, among `vms`.
    #[inline]
    pub(crate) fn phase_in(self, vms: &[VmSlot]) -> Result<Phase, Unexpected> {
        vms.get(self.index.get())
            .filter(|slot| slot.id == self.id)
            .and_then(|slot| slot.phase)
            .ok_or(Unexpected::UnknownVm { vm: self.id })
    }
}

/// First and last of the duties of one stage.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct List {
    pub(crate) head: Option<Index>,
    pub(crate) tail: Option<Index>,
}

/// One walk over all duties of a VM, over as many steps as it takes. What it found decides what comes next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Pass {
    /// The next stage to enter.
    pub(crate) stage: u8,
    /// The next duty to examine in the stage before it.
    pub(crate) cursor: Option<Index>,
    /// The earliest retry among those examined.
    pub(crate) earliest: Option<Time>,
    /// A guest's call has yet to settle.
    pub(crate) open: bool,
    /// A share was given up.
    pub(crate) kept_share: bool,
    /// Something else was given up.
    pub(crate) kept_other: bool,
    /// Something changed behind the cursor: walk once more.
    pub(crate) again: bool,
}

impl Pass {
    pub(crate) const IDLE: Self = Self {
        stage: STAGES as u8,
        cursor: None,
        earliest: None,
        open: false,
        kept_share: false,
        kept_other: false,
        again: false,
    };

    /// Whether what was examined so far has to be looked at once more.
    pub(crate) fn is_to_be_repeated(&self) -> bool {
        self.again || self.open || self.earliest.is_some()
    }
}

/// Where a VM stands in the queue.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Place {
    /// Nowhere: nothing is due, or its call is in flight.
    Out,
    /// In the line of those whose turn comes.
    Ready,
    /// In the heap, waiting for its deadline.
    Waiting,
}

/// Room for one VM, in storage that the caller lends. At most 144 bytes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct VmSlot {
    pub(crate) id: PartitionId,
    /// `None`: vacant.
    pub(crate) phase: Option<Phase>,
    /// Whether the mediator holds a reference to the VM on the engine's behalf.
    pub(crate) reference: bool,
    /// It is dead, and none of its guest's calls is in flight any more.
    pub(crate) settled: bool,
    pub(crate) lists: [List; STAGES],
    pub(crate) pass: Pass,
    /// The duty whose call, or whose pages' return, is in flight.
    pub(crate) in_flight: Option<Index>,
    /// Why creation failed.
    pub(crate) failure: Option<LastAnswer>,
    /// First of the VMs whose IDs hash to this slot's position.
    pub(crate) bucket: Option<Index>,
    /// First of the duties whose targets hash to this slot's position.
    pub(crate) runs: Option<Index>,
    /// Next VM in the bucket it is in, or next vacant slot.
    pub(crate) chain: Option<Index>,
    pub(crate) place: Place,
    /// It goes ahead of all others when its deadline has come.
    pub(crate) first: bool,
    /// Next in line.
    pub(crate) ready_next: Option<Index>,
    pub(crate) deadline: Time,
    /// This VM's position in the heap.
    pub(crate) heap_at: u32,
    /// The VM at the heap position that is this slot's.
    pub(crate) heap_cell: Option<Index>,
}

const _: () = assert!(size_of::<VmSlot>() <= 144);

impl VmSlot {
    /// An empty slot.
    pub const VACANT: Self = Self {
        id: PartitionId(0),
        phase: None,
        reference: false,
        settled: false,
        lists: [List { head: None, tail: None }; STAGES],
        pass: Pass::IDLE,
        in_flight: None,
        failure: None,
        bucket: None,
        runs: None,
        chain: None,
        place: Place::Out,
        first: false,
        ready_next: None,
        deadline: Time::ZERO,
        heap_at: 0,
        heap_cell: None,
    };

    /// Begins a walk: over all stages, or over the SPs alone while the VM is being created.
    pub(crate) fn begin_pass(&mut self) {
        let stage = if self.phase == Some(Phase::Creating) { STAGE_SP } else { 0 };
        self.pass = Pass { stage: stage as u8, ..Pass::IDLE };
    }

    /// Notes for the end of the walk how a duty stands that is not to be called for now.
    pub(crate) fn note(&mut self, slot: &DutySlot) {
        let pass = &mut self.pass;
        match slot.state {
            State::Owed => pass.again = true,
            State::Guest { .. } | State::InFlight | State::Returning { .. } | State::Lent { .. } => {
                pass.open = true;
            }
            State::Waiting { until } => {
                pass.earliest = Some(pass.earliest.map_or(until, |earliest| earliest.min(until)));
            }
            State::GivenUp { .. } => match slot.duty {
                Some(duty) if duty.holds_pages() => pass.kept_share = true,
                _ => pass.kept_other = true,
            },
        }
    }

    /// Enters the next stage of the walk; `None` if there is none.
    pub(crate) fn next_stage(&mut self) -> Option<List> {
        let stage = usize::from(self.pass.stage);
        if self.phase == Some(Phase::Creating) && stage > STAGE_SP {
            return None;
        }
        let list = *self.lists.get(stage)?;
        self.pass.stage += 1;
        Some(list)
    }
}
