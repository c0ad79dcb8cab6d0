//! What a partition does, as data that a scenario table can name.

use ffa_abi::{FirmwareStatus, Status};
use ffa_teardown::{Span, Time};

/// The behaviour of one partition. The default is a good one: it retrieves what it is sent at once, accepts every
/// message, and gives back all memory of a VM when told of its end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Script {
    /// When it retrieves what it is sent.
    pub retrieve: Retrieve,
    /// When it gives a dead VM's memory back.
    pub release: Release,
    /// When it takes what VMs send it without waiting for an answer.
    pub receive: Receive,
    /// When it writes to memory that it has retrieved.
    pub writes: Writes,
    /// How it takes VM_CREATED.
    pub on_created: Reaction,
    /// How it takes VM_DESTROYED.
    pub on_destroyed: Reaction,
    /// How it takes direct requests of partitions.
    pub on_request: Reaction,
    /// How FFA_MEM_RECLAIM of memory that it was sent is answered, if not by the SPMC's own rules.
    pub on_reclaim: Option<Refusal>,
    /// What its crash leaves behind.
    pub crash: Crash,
    /// When it restarts by itself.
    pub restart_at: Option<Time>,
}

/// When a partition retrieves what it is sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Retrieve {
    /// With the call that sends it.
    AtOnce,
    /// When a [`Control::Retrieve`](super::Control::Retrieve) names the handle.
    OnRequest,
}

/// When a partition takes notifications that VMs have set, and reads their indirect messages.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Receive {
    /// With the call that brings them: they are never pending.
    AtOnce,
    /// When the normal world's scheduler, which the schedule receiver interrupt tells to, runs it with FFA_RUN; or when
    /// a [`Control`](super::Control) asks for them.
    WhenRun,
}

/// When a partition gives a dead VM's memory back. It counts from the VM_DESTROYED that it accepts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Release {
    /// Before it answers.
    AtOnce,
    /// So much later: a device is still writing.
    After(Span),
    /// Before it answers, but so much later it retrieves again what was not reclaimed by then.
    ThenRetrieveAgain(Span),
    /// Never.
    Never,
}

/// When a partition writes its [`mark`](super::mark) to the pages that it has retrieved, each time the model gets
/// control.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Writes {
    /// Never.
    Never,
    /// From the first VM_DESTROYED of their owner that it was told, accepted or not.
    AfterDestroyed,
    /// From the retrieval on. The owner's data is lost.
    Always,
}

/// How a partition takes messages of one kind.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Reaction {
    /// The first messages,
    pub first: Turn,
    /// this many of them,
    pub times: u32,
    /// and those after.
    pub then: Turn,
}

/// How a partition takes one message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Turn {
    /// How often it is preempted first (FFA_INTERRUPT, then FFA_RUN); `u32::MAX` is for ever.
    pub preempted: u32,
    /// How often it yields then (FFA_YIELD, then FFA_RUN).
    pub yields: u32,
    /// How long it wants to rest each time it yields. FFA_RUN before that is answered FFA_YIELD again.
    pub rest: Span,
    /// What it says in the end.
    pub outcome: Outcome,
}

/// What a partition says to a message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// It did what was asked and says so.
    Accept,
    /// It did nothing and gives this status: in w3 of the framework's response, or of a partition's. Status 0 is a
    /// lie.
    Refuse(FirmwareStatus),
    /// It did nothing and answers FFA_ERROR.
    Error(Status),
    /// It did what was asked and says so in a way that cannot be understood.
    Mangled(Mangling),
    /// It dies of the message: FFA_ERROR ABORTED.
    Crash,
}

/// Ways to spoil a direct response.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mangling {
    /// FFA_MSG_WAIT instead of a response.
    WrongFunction,
    /// Sender and receiver as in the request.
    SwappedIds,
    /// Another partition's ID as sender.
    OtherSender,
    /// The framework code of the answer to the other VM message.
    WrongCode,
    /// The framework bit is missing; an answer to a partition's message has it.
    NotFramework,
}

impl Mangling {
    /// Every way.
    pub const ALL: [Self; 5] =
        [Self::WrongFunction, Self::SwappedIds, Self::OtherSender, Self::WrongCode, Self::NotFramework];
}

/// An answer to FFA_MEM_RECLAIM other than by the rules. The secure world keeps the share and may keep using it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Refusal {
    /// The answer.
    pub status: Status,
    /// How long it is given.
    pub until: Until,
}

/// When something ends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Until {
    /// After so many times, counted for all shares of the partition together.
    Times(u32),
    /// When the partition is restarted.
    Restart,
    /// When the partition is restarted, but from the first time on the SPMC itself has forgotten the handle: it may
    /// name another share, and no restart brings it back.
    Forgotten,
    /// Never.
    Never,
}

/// What a crash leaves behind.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Crash {
    /// Who takes the memory from the dead partition.
    pub cleanup: Cleanup,
    /// The answer to calls until it is restarted; `None` is the preset's.
    pub answer: Option<Status>,
}

/// Who takes the memory from a crashed partition.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cleanup {
    /// The SPMC relinquishes on its behalf when it crashes.
    AtCrash,
    /// The SPMC does so when it restarts it.
    AtRestart,
}

impl Turn {
    /// Accepts at once.
    pub const ACCEPT: Self = Self::new(Outcome::Accept);

    /// `outcome`, at once.
    #[must_use]
    pub const fn new(outcome: Outcome) -> Self {
        Self { preempted: 0, yields: 0, rest: Span::ZERO, outcome }
    }

    /// Gives `status`, at once.
    #[must_use]
    pub const fn refuse(status: Status) -> Self {
        Self::new(Outcome::Refuse(FirmwareStatus::Known(status)))
    }

    /// The same after `times` preemptions.
    #[must_use]
    pub const fn preempted(self, times: u32) -> Self {
        Self { preempted: times, ..self }
    }

    /// The same after yielding `times` times for `rest` each.
    #[must_use]
    pub const fn yields(self, times: u32, rest: Span) -> Self {
        Self { yields: times, rest, ..self }
    }
}

impl Reaction {
    /// Accepts everything.
    pub const ACCEPT: Self = Self::always(Turn::ACCEPT);

    /// Every message alike.
    #[must_use]
    pub const fn always(turn: Turn) -> Self {
        Self { first: turn, times: 0, then: turn }
    }

    /// The first `times` messages so, accepting those after.
    #[must_use]
    pub const fn first(times: u32, turn: Turn) -> Self {
        Self { first: turn, times, then: Turn::ACCEPT }
    }

    /// What happens to message number `index`, from 0.
    pub(super) const fn turn(&self, index: u32) -> Turn {
        if index < self.times { self.first } else { self.then }
    }
}

impl Script {
    /// The good partition, which is also the default.
    pub const GOOD: Self = Self {
        retrieve: Retrieve::AtOnce,
        release: Release::AtOnce,
        receive: Receive::AtOnce,
        writes: Writes::AfterDestroyed,
        on_created: Reaction::ACCEPT,
        on_destroyed: Reaction::ACCEPT,
        on_request: Reaction::ACCEPT,
        on_reclaim: None,
        crash: Crash { cleanup: Cleanup::AtCrash, answer: None },
        restart_at: None,
    };

    /// A device of the partition goes on writing for `span` after the VM's end.
    #[must_use]
    pub const fn dma(span: Span) -> Self {
        Self { release: Release::After(span), ..Self::GOOD }
    }

    /// Accepts the end of a VM and never lets go of its memory.
    pub const STUCK: Self = Self { release: Release::Never, ..Self::GOOD };

    /// Uses memory only when asked to with [`Control::Retrieve`](super::Control::Retrieve).
    pub const LAZY: Self = Self { retrieve: Retrieve::OnRequest, ..Self::GOOD };

    /// Reclaim is answered `status` until the partition is restarted, and it uses the memory until then.
    #[must_use]
    pub const fn lost(status: Status) -> Self {
        Self {
            release: Release::Never,
            on_reclaim: Some(Refusal { status, until: Until::Restart }),
            ..Self::GOOD
        }
    }

    /// This script with another way to take VM_CREATED.
    #[must_use]
    pub const fn on_created(self, reaction: Reaction) -> Self {
        Self { on_created: reaction, ..self }
    }

    /// This script with another way to take VM_DESTROYED.
    #[must_use]
    pub const fn on_destroyed(self, reaction: Reaction) -> Self {
        Self { on_destroyed: reaction, ..self }
    }

    /// This script with another way to take direct requests.
    #[must_use]
    pub const fn on_request(self, reaction: Reaction) -> Self {
        Self { on_request: reaction, ..self }
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::GOOD
    }
}
