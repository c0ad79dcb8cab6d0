//! What can happen, as data that a test can be written with.

use ffa_abi::Transaction;
use ffa_test_utils::fault::When;

/// One line of a script. What makes no sense at that point is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Do(Act),
    /// The first, and on another CPU the last, at the moment of this number at which it can come in.
    Race(Act, u8, Act),
    /// The guest fills its TX with this byte the moment that so many pieces of it were read after the first.
    Torn(Act, u8, u8),
}

/// One thing that happens. VMs, partitions and vCPUs go by number, from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// A VM of this minor version, with or without buffers.
    Create {
        vm: u8,
        minor: u8,
        map: bool,
    },
    Destroy(u8),
    Negotiate {
        vm: u8,
        minor: u8,
    },
    /// RX and TX at one of three places; the last one overlaps the first.
    Map {
        vm: u8,
        place: u8,
        pages: u8,
    },
    Unmap(u8),
    ReleaseRx(u8),
    List(u8),
    ListInRegisters(u8),
    /// To the SPs and, from bit 3 on, VMs whose bits are set: this many ranges of so many pages each, with gaps between them.
    /// At once, or only the head and so many ranges.
    Send {
        vm: u8,
        how: Transaction,
        to: u8,
        at: Place,
        first: u8,
        ranges: u8,
        pages: u8,
        read_only: bool,
        zero: bool,
        head: Option<u8>,
        flaw: Option<Flaw>,
    },
    /// The next ranges of a descriptor that was sent in part, the newest first; none for all the rest.
    Part {
        vm: u8,
        nth: u8,
        ranges: u8,
        flaw: Option<Flaw>,
    },
    /// The next part of somebody else's descriptor, or of none.
    Meddle {
        vm: u8,
        name: Name,
    },
    Reclaim {
        vm: u8,
        name: Name,
        flags: u8,
    },
    /// What another VM has offered.
    Retrieve {
        vm: u8,
        name: Name,
        flaw: Option<Flaw>,
    },
    /// The response once more, from the range of this number on.
    RetrieveRest {
        vm: u8,
        name: Name,
        from: u8,
    },
    Relinquish {
        vm: u8,
        name: Name,
        flaw: Option<Flaw>,
    },
    Request {
        vm: u8,
        vcpu: u8,
        sp: u8,
    },
    Request2 {
        vm: u8,
        vcpu: u8,
        sp: u8,
    },
    Run {
        vm: u8,
        vcpu: u8,
        sp: u8,
    },
    Bind {
        vm: u8,
        from: Peer,
        ids: u8,
        per_vcpu: bool,
    },
    Unbind {
        vm: u8,
        from: Peer,
        ids: u8,
    },
    Set {
        vm: u8,
        to: Peer,
        ids: u8,
        vcpu: Option<u8>,
    },
    Get {
        vm: u8,
        vcpu: u8,
        sources: u8,
    },
    Pending(u8),
    Message {
        vm: u8,
        to: Peer,
        size: u16,
        flaw: Option<Flaw>,
    },
    /// Any function, with anything in its registers.
    Junk {
        vm: u8,
        function: u8,
        wide: bool,
        words: [u64; 3],
    },
    /// The share of this number among all that the SPMC has.
    SpRetrieves {
        sp: u8,
        share: u8,
    },
    SpRelinquishes {
        sp: u8,
        share: u8,
    },
    SpRelinquishesAll {
        sp: u8,
        vm: u8,
    },
    SpCrashes(u8),
    SpRestarts(u8),
    SpNotifies {
        sp: u8,
        vm: u8,
        id: u8,
    },
    SpAllows {
        sp: u8,
        vm: u8,
    },
    SpMessages {
        sp: u8,
        vm: u8,
        size: u16,
    },
    /// So many milliseconds pass, with the ticks that are asked for.
    Wait(u16),
    Tick,
    Retry(Option<u8>),
    Online {
        vm: u8,
        vcpu: u8,
        online: bool,
    },
    /// A plan of the catalogue is in force from now on: F and its number, and which of the plans.
    Fault {
        f: u8,
        plan: u8,
        when: When,
    },
    Calm,
    /// The range of this number cannot be held.
    NoMemory(u8),
}

/// The byte at this place, counted around if there are not so many, is this one.
pub type Flaw = (u8, u8);

/// Whose memory a guest offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// Its own, in one piece.
    Block,
    /// Its own, in single pages.
    Loose,
    /// Its TX and RX.
    Buffers,
    ReadOnly,
    Device,
    Hypervisors,
    Foreign,
    /// What it has borrowed last of another VM.
    Borrowed,
    /// Nobody's.
    Nowhere,
}

/// A handle that a guest names, by number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Name {
    /// Of what it has sent, or was offered, the newest first.
    Own(u8),
    /// Likewise of another guest.
    Foreign(u8),
    /// Of a share that is no more, the newest first.
    Spent(u8),
    /// Never issued.
    Odd(u8),
}

/// With whom a guest has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Peer {
    Sp(u8),
    Vm(u8),
}

impl Act {
    /// What the tally calls it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Destroy(_) => "destroy",
            Self::Negotiate { .. } => "negotiate",
            Self::Map { .. } => "map",
            Self::Unmap(_) => "unmap",
            Self::ReleaseRx(_) => "release RX",
            Self::List(_) => "list",
            Self::ListInRegisters(_) => "list in registers",
            Self::Send { to: 8.., head: None, .. } => "offer to VMs",
            Self::Send { head: None, how: Transaction::Share, .. } => "share",
            Self::Send { head: None, how: Transaction::Lend, .. } => "lend",
            Self::Send { head: None, how: Transaction::Donate, .. } => "donate",
            Self::Send { .. } => "send in part",
            Self::Part { .. } => "next part",
            Self::Meddle { .. } => "part of others'",
            Self::Reclaim { name: Name::Own(_), .. } => "reclaim",
            Self::Reclaim { .. } => "reclaim of others'",
            Self::Retrieve { .. } => "retrieve",
            Self::RetrieveRest { .. } => "retrieve the rest",
            Self::Relinquish { .. } => "relinquish",
            Self::Request { .. } => "request",
            Self::Request2 { .. } => "request of 1.2",
            Self::Run { .. } => "run",
            Self::Bind { .. } => "bind",
            Self::Unbind { .. } => "unbind",
            Self::Set { .. } => "set",
            Self::Get { .. } => "get",
            Self::Pending(_) => "ask what is pending",
            Self::Message { .. } => "send a message",
            Self::Junk { .. } => "junk",
            Self::SpRetrieves { .. } => "SP retrieves",
            Self::SpRelinquishes { .. } => "SP relinquishes",
            Self::SpRelinquishesAll { .. } => "SP relinquishes all",
            Self::SpCrashes(_) => "SP crashes",
            Self::SpRestarts(_) => "SP restarts",
            Self::SpNotifies { .. } => "SP notifies",
            Self::SpAllows { .. } => "SP allows notifications",
            Self::SpMessages { .. } => "SP sends a message",
            Self::Wait(_) => "wait",
            Self::Tick => "tick",
            Self::Retry(_) => "retry",
            Self::Online { .. } => "on- or offline",
            Self::Fault { .. } => "fault",
            Self::Calm => "calm",
            Self::NoMemory(_) => "no memory",
        }
    }
}
