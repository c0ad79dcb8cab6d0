//! What must hold, kept beside the engine from the outside: who holds which memory, who was told what, and what is
//! still owed. Written from two promises, and sharing no code with the engine:
//!
//! 1. a page goes back only when the secure world has confirmed that it holds it no longer;
//! 2. nothing is stranded that could be had back, and what is stranded is counted, named and can be retried.

mod bindings;
mod bitmap;
mod running;

use std::hash::{Hash, Hasher};

use ffa_abi::{Answer, Handle, PartitionId, RunTarget, VmAvailability};
use ffa_teardown::{
    CallId, Decision, Disposal, End, IdReuse, Obligation, Policy, Progress, ReclaimOutcome, SecureCall,
    SendOutcome, ShareId, Standing, StandingId, Subject, Subscription, VmKey,
};

use crate::Tested;
use crate::reading::{self, Reading, Told};

pub use bindings::{Asked, Binding, Notifications};
pub use bitmap::{NewBitmap, VCPUS};

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// No page goes back that the secure world can still reach.
    P1,
    /// A page goes back only after success to the reclaim of its own handle, or a clear refusal to take it.
    P1Lying,
    /// What may have been shared is held.
    P2,
    /// Quarantine is absorbing, listed, and told once.
    P3,
    /// A donation is gone when it was asked for too late, or cannot be asked for, and nothing else ever is.
    P4,
    /// Every page is somewhere, once.
    P6,
    /// No call about what is not the VM's own.
    P7,
    /// A handle that is given out anew is kept apart from the share that had it before.
    P8,
    /// What is in flight is on the list.
    P9,
    /// An SP hears of the end if and only if it may know of the VM.
    P10,
    /// No second VM_DESTROYED.
    P11,
    /// A creation that fails runs the same teardown.
    P12,
    /// An ID is not used again before everything about it is over.
    P13,
    /// The reference is taken once and dropped once, at the end.
    P14,
    /// Pages, then the record, then the reference.
    P15,
    /// When all VMs are gone all room is there again.
    P16,
    /// A step is bounded.
    P17,
    /// Nothing is tried before its time.
    P18,
    /// Turns are taken.
    P19,
    /// With every answer a success everything ends.
    P20,
    /// What passes is tried again, what does not ends, and no timer runs for nothing.
    P21,
    /// A tick at the wrong time does nothing.
    P22,
    /// Nothing is asked for a dead VM while its guest's calls are in flight, and nothing new begins.
    P29,
    /// What is pending is fetched before each try to unbind or to destroy a bitmap.
    P30,
    /// What is bound is unbound, by calls that name exactly what is.
    P31,
}

/// Left out of hashes: names whose value changes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Name<T>(pub T);

impl<T> Hash for Name<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Where a VM stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Life {
    Absent,
    Creating,
    Live,
    Dying,
    Over(End),
}

/// What an SP knows of a VM's creation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Heard {
    /// It was not asked, or has said that it takes no note.
    Nothing,
    /// It was preempted over the message.
    InHand,
    /// It took note, or did not want to be asked.
    Yes,
    /// Its answer says nothing.
    Perhaps,
    /// FF-A does not say what its answer means; told of the end or not, both will do.
    Open,
}

/// What an SP knows of a VM's end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Farewell {
    Owed,
    Met,
    WrittenOff,
}

/// How often, and from when on, an obligation may be tried.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Pace {
    wait: u64,
    tries: u8,
    /// How often it was run at once.
    runs: u8,
    /// It is to be run before anything else, as soon as its SP has had the rest it asked for.
    ahead: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Sp {
    pub heard: Heard,
    pub farewell: Farewell,
    /// It was preempted over VM_DESTROYED and has not ended.
    pub leaving: bool,
    /// Likewise, but that was written off before: if FFA_RUN is refused, it has it in hand no more.
    pub run_once: bool,
    /// It was preempted over VM_CREATED, and what became of that is lost.
    pub may_have_heard: bool,
    pub pace: Pace,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Hold {
    /// The guest's call is in flight; `resumed` once it was preempted.
    Sending { resumed: bool },
    /// The secure world may have it.
    Held,
    /// The guest wants it back, and the call is in flight.
    Asked,
    /// Its pages are on their way back.
    Returning,
    /// A donation that is its receiver's: its pages are being taken from the VM for good.
    Going,
    /// Given up.
    Quarantined,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Share {
    pub id: Name<ShareId>,
    pub hold: Hold,
    /// The name under which the secure world gave it to us.
    pub handle: Option<Handle>,
    /// The secure world ever gave a handle for it.
    pub known: bool,
    /// The guest's call that sends it may not be over, though no handle came of it.
    pub open: bool,
    /// How many handles it had given before.
    pub since: Name<u64>,
    /// The guest was told the handle.
    pub named: bool,
    /// An SP was preempted over its reclaim, or over the guest's call that sends it.
    pub in_hand: Option<RunTarget>,
    /// The guest's FFA_RUN is in flight, of an SP that works for something else by now.
    pub lost: bool,
    /// The hypervisor has its pages on a list of its own.
    pub handed_over: bool,
    /// The guest gives it away.
    pub donated: bool,
    /// In an honest world its receiver has made it its own.
    pub retrieved: bool,
    pub pace: Pace,
    /// The name under which the secure world does have it. What the engine can only guess, an honest world knows.
    pub truth: Option<Handle>,
    /// What the secure world has answered, while the answer is under way.
    pub reply: Option<Answer>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Request {
    pub id: Name<CallId>,
    pub sp: PartitionId,
    /// The guest's call is in flight.
    pub in_flight: bool,
    /// An SP was preempted over it. One that is neither in flight nor in hand is over.
    pub in_hand: bool,
    /// The guest's FFA_RUN is in flight, of an SP that works for something else by now.
    pub lost: bool,
    pub written_off: bool,
    /// It was written off before: if FFA_RUN is refused, it is over.
    pub run_once: bool,
    pub pace: Pace,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Kept {
    pub id: Name<StandingId>,
    pub what: Standing,
    /// The guest's call is in flight.
    pub in_flight: bool,
    pub in_hand: bool,
    /// FFA_NOTIFICATION_GET came before the call that is next.
    pub drained: bool,
    /// It is a bitmap, of which nobody knows whether it is there.
    pub in_doubt: bool,
    pub written_off: bool,
    /// The hypervisor has the pages of buffers on a list of its own.
    pub handed_over: bool,
    pub pace: Pace,
}

impl Kept {
    fn new(id: StandingId, what: Standing) -> Self {
        Self {
            id: Name(id),
            what,
            in_flight: true,
            in_hand: false,
            drained: false,
            in_doubt: false,
            written_off: false,
            handed_over: false,
            pace: Pace::default(),
        }
    }

    fn holds_pages(&self) -> bool {
        self.what == Standing::RxTxMapped
    }
}

/// The engine's call for a VM.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Smc {
    pub call: SecureCall,
    pub about: About,
    /// It is FFA_RUN of an SP that works for something else by now.
    pub lost: bool,
    /// What the secure world has answered, while the answer is under way.
    pub reply: Option<Answer>,
}

/// What a call is about: an SP, a share or one of the others, by position.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum About {
    Sp(usize),
    Share(usize),
    Request(usize),
    Kept(usize),
    Binding(usize),
    /// The bitmap that the VM is to have from the beginning.
    NewBitmap,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Vm {
    pub id: PartitionId,
    pub key: Name<Option<VmKey>>,
    pub life: Life,
    pub half_born: bool,
    pub reference: bool,
    /// How it ended, if it was tried again after that.
    pub ended: Option<End>,
    pub sps: Vec<Sp>,
    pub shares: Vec<Share>,
    pub requests: Vec<Request>,
    pub kept: Vec<Kept>,
    /// Until it is settled whether there is one.
    pub new_bitmap: Option<NewBitmap>,
    pub bindings: Vec<Binding>,
    /// Memory that the VM lends to others, or borrows.
    pub loans: Vec<Name<ShareId>>,
    /// What an honest secure world has of notifications, whatever the engine knows.
    pub notifications: Notifications,
    /// The first SP knows of the VM, whatever the engine knows.
    pub is_known: bool,
    pub smc: Option<Smc>,
    /// Calls for others since this one has been due.
    pub age: u16,
}

/// The whole of it. `broken` has a bit for each [`Rule`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Oracle {
    pub vms: Vec<Vm>,
    /// Handles that the secure world has given.
    given: Name<u64>,
    pub broken: u32,
}

/// What the rules depend on.
#[derive(Clone, Debug)]
pub struct Terms {
    pub sps: Vec<Subscription>,
    pub policy: Policy,
    /// The secure world says success only when it is true.
    pub honest: bool,
}

impl Terms {
    /// The SP that works for the SPMC, and that signals.
    pub fn first_sp(&self) -> PartitionId {
        self.sps.first().map_or(PartitionId(0x8001), |sp| sp.sp)
    }
}

/// What may follow from an answer.
#[derive(Clone, Copy)]
struct May {
    confirm: bool,
    again: bool,
    end: bool,
    gone: bool,
}

impl May {
    const NOTHING: Self = Self { confirm: false, again: false, end: false, gone: false };
    const CONFIRM: Self = Self { confirm: true, ..Self::NOTHING };
    const AGAIN: Self = Self { again: true, ..Self::NOTHING };
    const END: Self = Self { end: true, ..Self::NOTHING };
    /// Again, but not for ever.
    const LIMITED: Self = Self { again: true, end: true, ..Self::NOTHING };
    /// A donation is its receiver's.
    const GONE: Self = Self { gone: true, ..Self::NOTHING };
}

impl Share {
    /// A donation that may have come about: the secure world gave a handle, which may be its receiver's to lose.
    pub fn is_donation(&self) -> bool {
        self.donated && self.known
    }

    /// A call of the guest is in flight, or the pages are on their way.
    fn is_moving(&self) -> bool {
        matches!(self.hold, Hold::Sending { .. } | Hold::Asked | Hold::Returning | Hold::Going)
    }
}

impl Vm {
    /// A call works on who owns RX, for which what is kept at this position must be mapped.
    pub fn is_needed(&self, kept: usize) -> bool {
        let works = |other: &Kept| other.what == Standing::RxOwned && other.in_flight;
        self.kept[kept].what == Standing::RxTxMapped && self.kept.iter().any(works)
    }

    /// A call of its guest is in flight.
    fn is_busy(&self) -> bool {
        self.shares.iter().any(|share| matches!(share.hold, Hold::Sending { .. } | Hold::Asked))
            || self.requests.iter().any(|request| request.in_flight)
            || self.kept.iter().any(|kept| kept.in_flight)
            || self.bindings.iter().any(|binding| binding.asked.is_some())
    }

    /// Somebody asks for the share at this position, and the answer has not arrived.
    pub fn is_asked(&self, at: usize) -> bool {
        self.smc.as_ref().is_some_and(|smc| smc.about == About::Share(at))
            || self.shares[at].hold == Hold::Asked
    }

    /// The share at this position is a donation that its receiver can make its own at any moment.
    fn may_be_retrieved(&self, at: usize) -> bool {
        self.shares[at].is_donation() && self.shares[at].hold == Hold::Held && !self.is_asked(at)
    }

    /// Its reference is held, or its pages were handed over and it is gone but for the record.
    pub fn may_be_touched(&self) -> bool {
        self.reference || self.ended == Some(End::Retired)
    }
}

impl Pace {
    fn is_due(self) -> bool {
        self.wait == 0
    }
}

impl Oracle {
    pub fn new(vms: usize) -> Self {
        let vm = |number: usize| Vm {
            id: PartitionId(number as u16 + 1),
            key: Name(None),
            life: Life::Absent,
            half_born: false,
            reference: false,
            ended: None,
            sps: Vec::new(),
            shares: Vec::new(),
            requests: Vec::new(),
            kept: Vec::new(),
            new_bitmap: None,
            bindings: Vec::new(),
            loans: Vec::new(),
            notifications: Notifications::default(),
            is_known: false,
            smc: None,
            age: 0,
        };
        Self { vms: (0..vms).map(vm).collect(), given: Name(0), broken: 0 }
    }

    pub fn demand(&mut self, rule: Rule, holds: bool) {
        if !holds {
            self.broken |= 1 << rule as u32;
        }
    }

    pub const fn has_broken(&self, rule: Rule) -> bool {
        self.broken & 1 << rule as u32 != 0
    }

    pub fn key(&self, vm: usize) -> VmKey {
        self.vms[vm].key.0.expect("the VM exists")
    }

    pub fn position(&self, key: VmKey) -> usize {
        self.vms.iter().position(|vm| vm.key.0 == Some(key)).expect("a VM of ours")
    }

    // Birth and death.

    pub fn creating(
        &mut self,
        terms: &Terms,
        vm: usize,
        key: VmKey,
        bitmap: Option<StandingId>,
        take_reference: bool,
    ) {
        let asks = terms.sps.iter().any(|sp| sp.created) || bitmap.is_some();
        let new = &mut self.vms[vm];
        new.key = Name(Some(key));
        new.new_bitmap = bitmap.map(NewBitmap::new);
        new.life = if asks { Life::Creating } else { Life::Live };
        new.sps = terms
            .sps
            .iter()
            .map(|sp| Sp {
                heard: if sp.created { Heard::Nothing } else { Heard::Yes },
                farewell: Farewell::Owed,
                leaving: false,
                run_once: false,
                may_have_heard: false,
                pace: Pace::default(),
            })
            .collect();
        self.take(vm, take_reference);
        let owes = !terms.sps.is_empty() || bitmap.is_some();
        self.demand(Rule::P14, take_reference == owes);
    }

    pub fn live(&mut self, terms: &Terms, vm: usize) {
        let born = &mut self.vms[vm];
        let all_told =
            born.sps.iter().zip(&terms.sps).all(|(sp, wants)| sp.heard == Heard::Yes || !wants.created);
        let was_creating = born.life == Life::Creating && born.new_bitmap.is_none();
        born.life = Life::Live;
        self.demand(Rule::P12, all_told && was_creating);
    }

    pub fn dying(&mut self, vm: usize) {
        self.vms[vm].life = Life::Dying;
        self.vms[vm].creates_no_more();
    }

    fn take(&mut self, vm: usize, take_reference: bool) {
        let had = self.vms[vm].reference;
        self.demand(Rule::P14, !(had && take_reference));
        self.vms[vm].reference |= take_reference;
    }

    fn owes_farewell(terms: &Terms, vm: &Vm, sp: usize) -> Option<bool> {
        match vm.sps[sp].heard {
            _ if !terms.sps[sp].destroyed => Some(false),
            _ if vm.sps[sp].may_have_heard => Some(true),
            Heard::Nothing => Some(false),
            Heard::InHand | Heard::Yes | Heard::Perhaps => Some(true),
            Heard::Open => None,
        }
    }

    pub fn finished(&mut self, terms: &Terms, vm: usize, end: End, give_back: bool) {
        let dead = &self.vms[vm];
        let mut kept_other = false;
        let mut open = dead.smc.is_some()
            || dead.life != Life::Dying
            || !dead.loans.is_empty()
            || dead.new_bitmap.is_some();
        let mut untold = false;
        for sp in 0..dead.sps.len() {
            match (Self::owes_farewell(terms, dead, sp), dead.sps[sp].farewell) {
                (Some(true), Farewell::Owed) => untold = true,
                (_, Farewell::WrittenOff) => kept_other = true,
                _ => {}
            }
            untold |= dead.sps[sp].heard == Heard::InHand;
        }
        for (in_flight, in_hand, written_off) in dead
            .requests
            .iter()
            .map(|request| (request.in_flight, request.in_hand, request.written_off))
            .chain(dead.kept.iter().map(|kept| (kept.in_flight, true, kept.written_off)))
            .chain(dead.bindings.iter().map(|binding| (binding.asked.is_some(), true, binding.written_off)))
        {
            open |= in_flight || (in_hand && !written_off);
            kept_other |= written_off;
        }
        let unreturned = dead.shares.iter().any(|share| matches!(share.hold, Hold::Returning | Hold::Going));
        // One that has lost its handle cannot be asked for: teardown gives it up when it comes to it.
        let lost = |share: &Share| share.hold == Hold::Held && share.handle.is_none() && !share.is_donation();
        let held = dead.shares.iter().any(|share| share.hold != Hold::Quarantined && !lost(share));
        let buffers = |kept: &Kept| kept.holds_pages() && kept.written_off;
        let kept_share = !dead.shares.is_empty() || dead.kept.iter().any(buffers);
        let expected = match (kept_share, terms.policy.disposal, terms.policy.id_reuse) {
            (true, Disposal::Zombie, _) => End::Zombie,
            (true, Disposal::HandOver, _) => End::Retired,
            (false, _, IdReuse::WhenMet) if kept_other => End::Retired,
            (false, _, _) => End::Gone,
        };
        let half_born = dead.half_born;
        self.demand(Rule::P10, !untold);
        self.demand(Rule::P12, !(half_born && (untold || held)));
        self.demand(Rule::P6, !held);
        self.demand(Rule::P14, !open);
        self.demand(Rule::P15, !(give_back && unreturned));
        self.demand(Rule::P13, end == expected || (end != End::Gone && expected != End::Gone));
        self.demand(Rule::P3, (end == End::Zombie) == (expected == End::Zombie));
        self.demand(Rule::P14, give_back == (self.vms[vm].reference && end != End::Zombie));
        let dead = &mut self.vms[vm];
        dead.life = Life::Over(end);
        dead.shares.iter_mut().for_each(|share| share.hold = Hold::Quarantined);
        dead.reference &= !give_back;
        dead.ended = Some(end);
        if end == End::Gone {
            let (id, left) = (dead.id.0, dead.notifications);
            self.demand(Rule::P14, !self.vms[vm].reference);
            self.demand(Rule::P31, !terms.honest || left == Notifications::default());
            self.vms[vm] = Self::new(usize::from(id)).vms.swap_remove(usize::from(id) - 1);
        }
    }

    /// How many obligations a retry must make due again; and they are.
    pub fn retried(&mut self, vm: usize) -> u32 {
        let dead = &mut self.vms[vm];
        let mut due = 0;
        for sp in &mut dead.sps {
            if sp.farewell == Farewell::WrittenOff {
                sp.run_once = sp.leaving;
                (sp.farewell, sp.pace, due) = (Farewell::Owed, Pace::default(), due + 1);
            }
        }
        for share in &mut dead.shares {
            if share.hold == Hold::Quarantined && share.handle.is_some() {
                (share.hold, share.pace, due) = (Hold::Held, Pace::default(), due + 1);
            }
        }
        for request in &mut dead.requests {
            if request.written_off {
                request.run_once = true;
                (request.written_off, request.pace, due) = (false, Pace::default(), due + 1);
            }
        }
        let kept = dead.kept.iter_mut().map(|kept| (&mut kept.written_off, &mut kept.pace));
        let bindings = dead.bindings.iter_mut().map(|binding| (&mut binding.written_off, &mut binding.pace));
        for (written_off, pace) in kept.chain(bindings) {
            if *written_off {
                (*written_off, *pace, due) = (false, Pace::default(), due + 1);
            }
        }
        if due > 0 {
            dead.life = Life::Dying;
        }
        due
    }

    /// Time goes by.
    pub fn elapsed(&mut self, span: u64) {
        for vm in &mut self.vms {
            let sps = vm.sps.iter_mut().map(|sp| &mut sp.pace);
            let shares = vm.shares.iter_mut().map(|share| &mut share.pace);
            let requests = vm.requests.iter_mut().map(|request| &mut request.pace);
            let kept = vm.kept.iter_mut().map(|kept| &mut kept.pace);
            let bindings = vm.bindings.iter_mut().map(|binding| &mut binding.pace);
            let bitmap = vm.new_bitmap.iter_mut().map(|bitmap| &mut bitmap.pace);
            for pace in sps.chain(shares).chain(requests).chain(kept).chain(bindings).chain(bitmap) {
                pace.wait = pace.wait.saturating_sub(span);
            }
        }
    }

    // The engine's calls.

    /// The engine asks for a call; `subject` is what it says the call is about.
    pub fn called(&mut self, terms: &Terms, vm: usize, call: SecureCall, subject: Option<Subject>) {
        let about = self.about(terms, vm, subject);
        self.demand(Rule::P9, about.is_some());
        let Some(about) = about else { return };
        let owner = &self.vms[vm];
        let (life, id) = (owner.life, owner.id);
        let dying = life == Life::Dying;
        let guest_busy = owner.is_busy();
        let referenced = owner.may_be_touched();
        let bitmap_pace = owner.new_bitmap.map_or(Pace::default(), |bitmap| bitmap.pace);
        let own;
        let mut in_order = true;
        let due = match about {
            About::Sp(at) => {
                let sp = &owner.sps[at];
                let Sp { heard, farewell, leaving, pace, .. } = *sp;
                let owes = Self::owes_farewell(terms, owner, at);
                match call {
                    SecureCall::Tell { sp, vm: named, event } => {
                        own = sp == terms.sps[at].sp && named == id;
                        if event == VmAvailability::Created {
                            let wanted = terms.sps[at].created && heard == Heard::Nothing;
                            self.demand(Rule::P10, wanted && life == Life::Creating);
                        } else {
                            self.demand(Rule::P10, dying && owes != Some(false));
                            self.demand(Rule::P11, !leaving && farewell != Farewell::Met);
                            self.demand(Rule::P21, farewell != Farewell::WrittenOff);
                        }
                    }
                    SecureCall::Run { target } => {
                        own = target.endpoint == terms.sps[at].sp
                            && (heard == Heard::InHand || leaving)
                            && farewell == Farewell::Owed;
                    }
                    _ => own = false,
                }
                pace
            }
            About::Share(at) => {
                let share = &owner.shares[at];
                own = match call {
                    SecureCall::MemReclaim { handle } => {
                        share.handle == Some(handle) && share.in_hand.is_none()
                    }
                    SecureCall::Run { target } => share.in_hand == Some(target),
                    _ => false,
                } && share.hold == Hold::Held
                    && dying;
                share.pace
            }
            About::Request(at) => {
                let request = &owner.requests[at];
                own = matches!(call, SecureCall::Run { target } if target.endpoint == request.sp)
                    && request.in_hand
                    && dying;
                request.pace
            }
            About::Kept(at) => {
                let kept = &owner.kept[at];
                own = dying && Self::kept_called(kept, id, call);
                in_order = Self::is_drained_for(kept.drained, call);
                kept.pace
            }
            About::Binding(at) => {
                let binding = &owner.bindings[at];
                own = dying && Self::binding_called(binding, terms.first_sp(), id, call);
                in_order = Self::is_drained_for(binding.drained, call);
                binding.pace
            }
            About::NewBitmap => {
                own = self.new_bitmap_called(terms, vm, id, call);
                bitmap_pace
            }
        };
        self.demand(Rule::P7, own);
        self.demand(Rule::P9, self.vms[vm].smc.is_none());
        self.demand(Rule::P14, referenced);
        self.demand(Rule::P18, due.is_due());
        self.demand(Rule::P29, !(dying && guest_busy));
        self.demand(Rule::P30, in_order);
        if let (About::Sp(at), SecureCall::Tell { event: VmAvailability::Destroyed, .. }) = (about, call) {
            let sp = &mut self.vms[vm].sps[at];
            if sp.heard == Heard::Nothing && sp.may_have_heard {
                (sp.heard, sp.pace) = (Heard::Perhaps, Pace::default());
            }
        }
        self.vms[vm].smc = Some(Smc { call, about, lost: false, reply: None });
        self.take_turn(terms, vm);
    }

    fn about(&self, terms: &Terms, vm: usize, subject: Option<Subject>) -> Option<About> {
        let owner = &self.vms[vm];
        match subject? {
            Subject::Sp(sp) => terms.sps.iter().position(|known| known.sp == sp).map(About::Sp),
            Subject::Share { share, .. } => {
                owner.shares.iter().position(|known| known.id.0 == share).map(About::Share)
            }
            Subject::Call(sp) => owner
                .requests
                .iter()
                .position(|request| request.sp == sp && request.in_hand && !request.written_off)
                .map(About::Request),
            Subject::Standing { what: Standing::Bitmap, .. } if owner.new_bitmap.is_some() => {
                Some(About::NewBitmap)
            }
            Subject::Standing { what, .. } => {
                owner.kept.iter().position(|kept| kept.what == what && !kept.written_off).map(About::Kept)
            }
            Subject::HalfSent { .. } => None,
            Subject::Binding { bits, .. } => owner
                .bindings
                .iter()
                .position(|binding| binding.bits == bits.0 && !binding.written_off)
                .map(About::Binding),
            Subject::Loan(_) => None,
        }
    }

    /// `vm` is served: the others that are due have waited for one more. An SP that was preempted goes first, but only
    /// so often.
    fn take_turn(&mut self, terms: &Terms, vm: usize) {
        let bound = 2 * self.vms.len() * (1 + usize::from(terms.policy.runs_first));
        for other in 0..self.vms.len() {
            let waits = other != vm && self.is_due(terms, other);
            let one = &mut self.vms[other];
            one.age = if waits { one.age + 1 } else { 0 };
            let holds = usize::from(one.age) <= bound;
            one.age = one.age.min(bound as u16);
            self.demand(Rule::P19, holds);
        }
    }

    /// Whether the engine could make a call for the VM now.
    fn is_due(&self, terms: &Terms, vm: usize) -> bool {
        let one = &self.vms[vm];
        let busy = one.shares.iter().any(|share| share.is_moving())
            || one.requests.iter().any(|request| request.in_flight)
            || one.kept.iter().any(|kept| kept.in_flight)
            || one.bindings.iter().any(|binding| binding.asked.is_some());
        let sps = one.sps.iter().map(|sp| sp.pace);
        let shares = one.shares.iter().map(|share| share.pace);
        let requests = one.requests.iter().map(|request| request.pace);
        let kept = one.kept.iter().map(|kept| kept.pace);
        let bindings = one.bindings.iter().map(|binding| binding.pace);
        let bitmap = one.new_bitmap.iter().map(|bitmap| bitmap.pace);
        let others = requests.chain(kept).chain(bindings).chain(bitmap);
        let rests = sps.chain(shares).chain(others).any(|pace| pace.ahead && !pace.is_due());
        if one.smc.is_some() || one.life != Life::Dying || busy || rests {
            return false;
        }
        let sps = (0..one.sps.len()).any(|sp| {
            Self::owes_farewell(terms, one, sp) == Some(true)
                && one.sps[sp].farewell == Farewell::Owed
                && one.sps[sp].pace.is_due()
        });
        sps || one.shares.iter().any(|share| share.hold == Hold::Held && share.pace.is_due())
    }

    /// The answer to the engine's call, and what the engine made of it.
    pub fn answered(&mut self, terms: &Terms, vm: usize, answer: &Answer, decision: Decision) {
        let Some(smc) = self.vms[vm].smc.take() else {
            return self.demand(Rule::P9, false);
        };
        let running = matches!(smc.call, SecureCall::Run { .. });
        let named = match smc.about {
            About::Sp(at) => Some(terms.sps[at].sp.0),
            About::Request(at) => Some(self.vms[vm].requests[at].sp.0),
            About::Share(_) | About::Kept(_) | About::Binding(_) | About::NewBitmap => None,
        };
        if let Some(target) = Self::preempted_anew(answer, running, named) {
            self.displace(terms, target);
        }
        match smc.about {
            About::Sp(at) => {
                let created = match smc.call {
                    SecureCall::Tell { event, .. } => event == VmAvailability::Created,
                    _ => self.vms[vm].sps[at].heard == Heard::InHand,
                };
                if created {
                    self.created_answered(terms, vm, at, &smc, answer, decision);
                } else {
                    self.destroyed_answered(terms, vm, at, &smc, answer, decision);
                }
            }
            About::Share(at) => self.reclaim_judged(terms, vm, at, &smc, answer, decision),
            About::Request(at) => {
                let request = &self.vms[vm].requests[at];
                let (mut pace, sp, id) = (request.pace, request.sp, self.vms[vm].id);
                let (may, rest) = match reading::read(answer) {
                    _ if smc.lost => (May::CONFIRM, None),
                    Reading::Response { sender, receiver, .. } if sender == sp.0 && receiver == id.0 => {
                        (May::CONFIRM, None)
                    }
                    Reading::Error(reading::DENIED | reading::INVALID | reading::NO_MEMORY)
                        if request.run_once =>
                    {
                        (May::CONFIRM, None)
                    }
                    Reading::MsgWait | Reading::Error(reading::ABORTED) => (May::CONFIRM, None),
                    Reading::Preempted { endpoint, rest } if endpoint == sp.0 => (May::AGAIN, Some(rest)),
                    Reading::Error(code) if reading::passes(code) => (May::AGAIN, None),
                    Reading::Error(reading::DENIED | reading::INVALID | reading::NO_MEMORY) => {
                        (May::LIMITED, None)
                    }
                    _ => (May::END, None),
                };
                self.judge(terms, &mut pace, may, false, rest, decision);
                let requests = &mut self.vms[vm].requests;
                match decision {
                    Decision::Met => drop(requests.remove(at)),
                    _ => {
                        let request = &mut requests[at];
                        request.pace = pace;
                        request.written_off = matches!(decision, Decision::GivenUp { .. });
                        request.run_once &= rest.is_none();
                    }
                }
            }
            About::Kept(at) => self.kept_judged(terms, vm, at, &smc, answer, decision),
            About::Binding(at) => self.binding_judged(terms, vm, at, &smc, answer, decision),
            About::NewBitmap => self.new_bitmap_judged(terms, vm, &smc, answer, decision),
        }
    }

    /// What may follow from an answer of the SPMC itself. `patient`: DENIED lasts as long as an SP pleases.
    fn service_may(answer: &Answer, smc: &Smc, patient: bool) -> (May, Option<u64>) {
        let running = matches!(smc.call, SecureCall::Run { .. });
        match reading::read(answer) {
            _ if smc.lost => (May::AGAIN, None),
            Reading::Success { .. } => (May::CONFIRM, None),
            Reading::Preempted { rest, .. } => (May::AGAIN, Some(rest)),
            Reading::Error(code) if reading::passes(code) => (May::AGAIN, None),
            Reading::Error(reading::DENIED) if patient && !running => (May::AGAIN, None),
            Reading::Error(reading::DENIED | reading::NO_MEMORY) => (May::LIMITED, None),
            Reading::Error(reading::INVALID) if running => (May::LIMITED, None),
            Reading::MsgWait => (May::LIMITED, None),
            _ => (May::END, None),
        }
    }

    /// Whether FFA_RUN is due after this answer.
    fn stays_in_hand(answer: &Answer, running: bool) -> bool {
        match reading::read(answer) {
            Reading::Preempted { .. } => true,
            Reading::Error(code) => {
                running
                    && (reading::passes(code)
                        || matches!(code, reading::DENIED | reading::INVALID | reading::NO_MEMORY))
            }
            _ => false,
        }
    }

    fn kept_judged(
        &mut self,
        terms: &Terms,
        vm: usize,
        at: usize,
        smc: &Smc,
        answer: &Answer,
        decision: Decision,
    ) {
        let Kept { what, drained, mut pace, .. } = self.vms[vm].kept[at];
        let bitmap = what == Standing::Bitmap;
        if bitmap && !drained {
            let (drained, in_hand) = self.drain_judged(terms, &mut pace, smc, answer, decision);
            let kept = &mut self.vms[vm].kept[at];
            (kept.pace, kept.drained, kept.in_hand) = (pace, drained, in_hand);
            kept.in_doubt &= !drained;
            return;
        }
        let (may, rest) = Self::service_may(answer, smc, bitmap);
        let running = matches!(smc.call, SecureCall::Run { .. });
        let slow = bitmap && !running && reading::read(answer) == Reading::Error(reading::DENIED);
        self.judge(terms, &mut pace, may, slow, rest, decision);
        let one = &mut self.vms[vm];
        // The pages of buffers are held until they are unmapped.
        let buffers = what == Standing::RxTxMapped;
        let id = one.kept[at].id.0.pages();
        let met = if buffers { Decision::Returned { pages: id } } else { Decision::Met };
        let returned = matches!(decision, Decision::Returned { .. });
        if decision == met {
            one.kept.remove(at);
            self.ends_with(vm, what);
            return;
        }
        let handed_over = matches!(decision, Decision::HandOver { .. });
        let given_up = handed_over || matches!(decision, Decision::GivenUp { .. });
        let kept = &mut one.kept[at];
        let hand_over =
            given_up && buffers && terms.policy.disposal == Disposal::HandOver && !kept.handed_over;
        kept.handed_over |= hand_over;
        kept.pace = pace;
        kept.written_off = given_up;
        kept.in_doubt |= bitmap && given_up;
        kept.in_hand = Self::next_to_run(answer).is_some() && !smc.lost;
        kept.drained = bitmap && kept.in_hand;
        let named = match decision {
            Decision::GivenUp { share } => share,
            Decision::HandOver { share } => Some(share),
            _ => None,
        };
        self.demand(Rule::P3, hand_over == handed_over && named == (given_up && buffers).then_some(id));
        self.demand(Rule::P1, !returned);
    }

    /// What is kept no more takes along what cannot be without it. Returns whether there was anything.
    pub fn ends_with(&mut self, vm: usize, what: Standing) -> bool {
        let one = &mut self.vms[vm];
        let before = one.kept.len() + one.bindings.len();
        match what {
            Standing::Bitmap => one.bindings.clear(),
            Standing::RxTxMapped => one.kept.retain(|kept| kept.what != Standing::RxOwned),
            Standing::RxOwned => {}
        }
        before > one.kept.len() + one.bindings.len()
    }

    /// Compares a decision with what may follow, and keeps the pace.
    fn judge(
        &mut self,
        terms: &Terms,
        pace: &mut Pace,
        may: May,
        slow: bool,
        rest: Option<u64>,
        decision: Decision,
    ) {
        let (preempted, rest) = (rest.is_some(), rest.unwrap_or(0));
        let policy = &terms.policy;
        let limited = may.again && may.end;
        match decision {
            Decision::Confirmed { .. } | Decision::Returned { .. } => self.demand(Rule::P1Lying, may.confirm),
            Decision::Met | Decision::Told | Decision::BitmapCreated => self.demand(Rule::P10, may.confirm),
            Decision::Drained => self.demand(Rule::P30, false),
            // Nothing is half-sent here.
            Decision::GoesOn => self.demand(Rule::P21, false),
            Decision::Gone { .. } => self.demand(Rule::P4, may.gone),
            Decision::TryAgain { until } => {
                let wait = until.as_nanos();
                let shortest = if slow { policy.fixed } else { policy.first }.as_nanos();
                let longest = policy.longest.max(policy.fixed).as_nanos();
                self.demand(Rule::P21, may.again);
                // Who was preempted may be resumed at once, but not for ever.
                let soon = rest <= policy.first.as_nanos() && pace.runs < policy.runs_first;
                let at_once = preempted && soon && wait == rest;
                self.demand(Rule::P18, at_once || (wait >= shortest && wait <= longest));
                self.demand(Rule::P18, wait >= rest.min(policy.longest.as_nanos()));
                self.demand(Rule::P21, at_once || !(limited && pace.tries + 1 >= policy.tries));
                pace.wait = wait;
                pace.runs += u8::from(at_once);
                pace.ahead = at_once;
                pace.tries += u8::from(limited && !at_once);
            }
            Decision::GivenUp { .. }
            | Decision::HandOver { .. }
            | Decision::NoBitmap
            | Decision::CreationFailed => {
                let spent = !limited || pace.tries + 1 >= policy.tries;
                self.demand(Rule::P21, may.end && spent);
                *pace = Pace::default();
            }
        }
    }

    fn created_answered(
        &mut self,
        terms: &Terms,
        vm: usize,
        at: usize,
        smc: &Smc,
        answer: &Answer,
        decision: Decision,
    ) {
        const VM_CREATED_ANSWER: u8 = 5;
        let running = matches!(smc.call, SecureCall::Run { .. });
        let sp = terms.sps[at].sp.0;
        let creating = self.vms[vm].life == Life::Creating;
        let (told, by_sp) = reading::told(reading::read(answer), sp, VM_CREATED_ANSWER);
        // FFA_RUN was refused, which says nothing of the message.
        let of_run = running && !by_sp;
        let lost = smc.lost && !by_sp;
        if lost {
            self.vms[vm].sps[at].lose();
        }
        let may_have_heard = self.vms[vm].sps[at].may_have_heard;
        let (heard, may, rest) = match told {
            _ if lost => (Heard::Nothing, May::AGAIN, None),
            Told::Accepted => (Heard::Yes, May::CONFIRM, None),
            Told::Preempted(rest) => (Heard::InHand, May::AGAIN, Some(rest)),
            Told::Refused(code) if of_run => match code {
                code if reading::passes(code) => (Heard::InHand, May::AGAIN, None),
                reading::DENIED | reading::INVALID | reading::NO_MEMORY => {
                    (Heard::InHand, May::LIMITED, None)
                }
                _ => (Heard::Perhaps, May::END, None),
            },
            Told::Refused(code) => match code {
                code if reading::passes(code) => (Heard::Nothing, May::AGAIN, None),
                reading::DENIED | reading::INVALID | reading::NO_MEMORY => (Heard::Nothing, May::END, None),
                reading::NO_DATA => (Heard::Open, May::END, None),
                _ => (Heard::Perhaps, May::END, None),
            },
            Told::Waits | Told::Unclear => (Heard::Perhaps, May::END, None),
        };
        let mut pace = self.vms[vm].sps[at].pace;
        // A creation comes to an end, and nobody is asked anew for the sake of a VM that is dead.
        let may = match (may.again, creating) {
            (true, true) => May::LIMITED,
            (true, false) if heard == Heard::Nothing && !may_have_heard => May::CONFIRM,
            _ if !creating => May { confirm: true, ..may },
            _ => may,
        };
        self.judge(terms, &mut pace, may, false, rest, decision);
        if !matches!(decision, Decision::TryAgain { .. }) {
            pace = Pace::default();
        }
        let lasts = matches!(decision, Decision::TryAgain { .. } | Decision::CreationFailed);
        let one = &mut self.vms[vm];
        one.sps[at].pace = pace;
        one.sps[at].heard = match heard {
            // FFA_RUN fails for good: whatever it has heard, it can be finished no more.
            Heard::InHand if !lasts => Heard::Perhaps,
            heard => heard,
        };
        if decision == Decision::CreationFailed {
            one.life = Life::Dying;
            one.half_born = true;
            one.creates_no_more();
        }
        self.demand(Rule::P12, creating || decision != Decision::CreationFailed);
        self.demand(Rule::P12, (decision == Decision::Told) == (told == Told::Accepted));
    }

    fn destroyed_answered(
        &mut self,
        terms: &Terms,
        vm: usize,
        at: usize,
        smc: &Smc,
        answer: &Answer,
        decision: Decision,
    ) {
        const VM_DESTROYED_ANSWER: u8 = 7;
        let running = matches!(smc.call, SecureCall::Run { .. });
        let sp = terms.sps[at].sp.0;
        let (told, by_sp) = reading::told(reading::read(answer), sp, VM_DESTROYED_ANSWER);
        let of_run = running && !by_sp;
        let lost = smc.lost && !by_sp;
        let run_once = self.vms[vm].sps[at].run_once;
        let refused = |code| matches!(code, reading::DENIED | reading::INVALID | reading::NO_MEMORY);
        // There is nothing to resume: it is told anew.
        let gone = lost || matches!(told, Told::Refused(code) if of_run && run_once && refused(code));
        let (may, rest) = match told {
            _ if gone => (May::AGAIN, None),
            Told::Accepted => (May::CONFIRM, None),
            Told::Preempted(rest) => (May::AGAIN, Some(rest)),
            Told::Refused(code) if reading::passes(code) => (May::AGAIN, None),
            Told::Refused(reading::DENIED | reading::INVALID) if of_run => (May::LIMITED, None),
            Told::Refused(reading::NO_MEMORY) | Told::Waits => (May::LIMITED, None),
            Told::Refused(_) | Told::Unclear => (May::END, None),
        };
        let in_hand = match told {
            _ if gone => false,
            Told::Preempted(_) => true,
            Told::Refused(_) => of_run && may.again,
            _ => false,
        };
        let mut pace = self.vms[vm].sps[at].pace;
        self.judge(terms, &mut pace, may, false, rest, decision);
        let sp = &mut self.vms[vm].sps[at];
        (sp.pace, sp.leaving) = (pace, in_hand);
        sp.run_once &= in_hand && rest.is_none();
        sp.farewell = match decision {
            Decision::Met => Farewell::Met,
            Decision::TryAgain { .. } => Farewell::Owed,
            _ => Farewell::WrittenOff,
        };
        let known = terms.honest && at == 0 && self.vms[vm].is_known;
        self.demand(Rule::P10, (decision == Decision::Met) == (told == Told::Accepted));
        self.demand(Rule::P10, !(decision == Decision::Met && known));
    }

    fn reclaim_judged(
        &mut self,
        terms: &Terms,
        vm: usize,
        at: usize,
        smc: &Smc,
        answer: &Answer,
        decision: Decision,
    ) {
        let running = matches!(smc.call, SecureCall::Run { .. });
        let (mut may, rest) = Self::service_may(answer, smc, true);
        let slow = !running && reading::read(answer) == Reading::Error(reading::DENIED);
        let lost = !may.confirm && self.handle_went_elsewhere(vm, at);
        let donation = self.vms[vm].shares[at].is_donation();
        if donation && !running && Self::comes_too_late(answer) || donation && lost {
            may = May::GONE;
        } else if lost {
            may = May::END;
        }
        let mut pace = self.vms[vm].shares[at].pace;
        self.judge(terms, &mut pace, may, slow, rest, decision);
        let share = &mut self.vms[vm].shares[at];
        share.pace = pace;
        let id = share.id.0;
        match decision {
            Decision::Confirmed { share: named } => {
                share.hold = Hold::Returning;
                self.demand(Rule::P7, named == id);
            }
            Decision::Gone { share: named } => {
                (share.hold, share.in_hand) = (Hold::Going, None);
                self.demand(Rule::P7, named == id);
            }
            Decision::GivenUp { share: Some(named) } | Decision::HandOver { share: named } => {
                let first = share.hold != Hold::Quarantined;
                (share.hold, share.in_hand) = (Hold::Quarantined, None);
                let hand_over = terms.policy.disposal == Disposal::HandOver && !share.handed_over;
                share.handed_over |= hand_over;
                self.demand(Rule::P3, first && named == id);
                self.demand(Rule::P3, hand_over == matches!(decision, Decision::HandOver { .. }));
            }
            _ => share.in_hand = Self::next_to_run(answer).filter(|_| !smc.lost),
        }
        self.lose_handle(vm, at, lost);
    }

    /// Whether this answer to the reclaim of a donation says that its receiver has it.
    fn comes_too_late(answer: &Answer) -> bool {
        matches!(reading::read(answer), Reading::Error(reading::DENIED | reading::INVALID))
    }

    /// Whether the secure world may have memory under a handle that nobody knows.
    pub fn is_in_doubt(&self) -> bool {
        let nameless = |share: &Share| share.hold == Hold::Quarantined && !share.known;
        self.vms.iter().flat_map(|vm| &vm.shares).any(nameless)
    }

    /// Whether nobody can find out whether the handle of this donation is still its own.
    pub fn is_hidden(&self, share: &Share, asks: bool) -> bool {
        let open = |share: &Share| share.hold == Hold::Quarantined && share.open;
        let is_open = self.vms.iter().flat_map(|vm| &vm.shares).any(open);
        self.is_in_doubt() && (is_open || !asks || share.in_hand.is_some() || share.handed_over)
    }

    /// The secure world was asked what the handle of a donation names, and did not say that it is that. Returns its
    /// position.
    pub fn donation_lost(&mut self, vm: usize, id: ShareId) -> Option<usize> {
        let in_doubt = self.is_in_doubt();
        let one = &mut self.vms[vm];
        let at = one.shares.iter().position(|share| share.id.0 == id)?;
        let asked = one.smc.take().is_some_and(|smc| smc.about == About::Share(at));
        let (referenced, dying) = (one.may_be_touched(), one.life == Life::Dying);
        let share = &mut one.shares[at];
        let right = asked && in_doubt && share.is_donation() && share.hold == Hold::Held;
        let handle = share.handle;
        let of_its_own = share.truth.is_some() && share.truth == handle;
        (share.hold, share.in_hand) = (Hold::Going, None);
        self.demand(Rule::P4, right && !of_its_own);
        self.demand(Rule::P14, referenced);
        self.demand(Rule::P29, dying);
        Some(at)
    }

    /// The engine says of a donation that it is gone, without asking. Returns its position.
    pub fn gone_unasked(&mut self, vm: usize, id: ShareId, asks: bool) -> Option<usize> {
        let found = self.vms[vm].shares.iter().find(|share| share.id.0 == id);
        let hidden = found.is_some_and(|share| self.is_hidden(share, asks));
        let one = &mut self.vms[vm];
        let at = one.shares.iter().position(|share| share.id.0 == id)?;
        let busy = one.is_busy() || one.smc.is_some();
        let (referenced, dying) = (one.may_be_touched(), one.life == Life::Dying);
        let share = &mut one.shares[at];
        let unaskable = share.handle.is_none() || hidden;
        let right = share.is_donation() && unaskable && share.hold == Hold::Held;
        let due = share.pace.is_due();
        (share.hold, share.in_hand) = (Hold::Going, None);
        self.demand(Rule::P4, right);
        self.demand(Rule::P14, referenced);
        self.demand(Rule::P18, due);
        self.demand(Rule::P29, dying && !busy);
        Some(at)
    }

    /// Whom to run for a share after this answer. When FFA_RUN itself fails, whoever is run next may work for
    /// another share: this one is asked for anew.
    fn next_to_run(answer: &Answer) -> Option<RunTarget> {
        match *answer {
            Answer::Interrupt(target) | Answer::Yield { target, .. } => Some(target),
            _ => None,
        }
    }

    /// Whether the secure world has given the handle of a share out again. A donation can lose it to nobody but whoever
    /// had it later, and nobody to a donation that had it before.
    fn handle_went_elsewhere(&self, vm: usize, at: usize) -> bool {
        let own = &self.vms[vm].shares[at];
        let others = self.vms.iter().enumerate().flat_map(|(owner, one)| {
            one.shares.iter().enumerate().map(move |(position, share)| ((owner, position), share))
        });
        own.handle.is_some()
            && others.into_iter().any(|(place, share)| {
                let ordered = own.is_donation() || share.is_donation();
                let came_later = share.since.0 > own.since.0;
                place != (vm, at) && share.handle == own.handle && (came_later || !ordered)
            })
    }

    fn lose_handle(&mut self, vm: usize, at: usize, lost: bool) {
        if lost {
            let share = &mut self.vms[vm].shares[at];
            (share.handle, share.in_hand) = (None, None);
        }
    }

    /// The pages of a share go back, or if it is gone nowhere.
    pub fn released(&mut self, terms: &Terms, vm: usize, at: usize) {
        let share = self.vms[vm].shares.remove(at);
        if share.hold == Hold::Going {
            return;
        }
        self.demand(Rule::P1, !(terms.honest && (share.truth.is_some() || share.retrieved)));
        self.demand(Rule::P1Lying, share.hold == Hold::Returning);
    }

    // The guest's calls.

    pub fn sending(&mut self, vm: usize, id: ShareId, donated: bool, take_reference: bool) {
        let first = !self.vms[vm].reference;
        self.demand(Rule::P14, take_reference == first);
        self.take(vm, take_reference);
        self.vms[vm].shares.push(Share {
            id: Name(id),
            hold: Hold::Sending { resumed: false },
            handle: None,
            known: false,
            open: false,
            since: Name(0),
            named: false,
            in_hand: None,
            lost: false,
            handed_over: false,
            donated,
            retrieved: false,
            pace: Pace::default(),
            truth: None,
            reply: None,
        });
    }

    pub fn abandoned(&mut self, terms: &Terms, vm: usize, at: usize) {
        self.vms[vm].shares[at].hold = Hold::Returning;
        self.released(terms, vm, at);
    }

    /// Whether a new share may have this handle: nobody else has it who is not about to lose it, or has it no more.
    fn is_fresh(&self, handle: Handle) -> bool {
        !self.vms.iter().any(|vm| {
            (0..vm.shares.len()).any(|at| {
                let share = &vm.shares[at];
                let leaves = matches!(share.hold, Hold::Returning | Hold::Going);
                share.handle == Some(handle) && !vm.is_asked(at) && !leaves && !vm.may_be_retrieved(at)
            })
        })
    }

    /// A handle is given to a share: the receivers of donations that had it have retrieved them.
    fn given(&mut self, handle: Handle) {
        for vm in &mut self.vms {
            for at in 0..vm.shares.len() {
                if vm.shares[at].handle == Some(handle) && vm.may_be_retrieved(at) {
                    (vm.shares[at].handle, vm.shares[at].in_hand) = (None, None);
                }
            }
        }
    }

    pub fn send_answered(
        &mut self,
        terms: &Terms,
        vm: usize,
        at: usize,
        answer: &Answer,
        outcome: SendOutcome,
    ) {
        let share = &self.vms[vm].shares[at];
        let Hold::Sending { resumed } = share.hold else { return self.demand(Rule::P9, false) };
        let lost = share.lost;
        let fresh = |raw| Handle::new(raw).ok().filter(|handle| self.is_fresh(*handle));
        let anew = |raw| {
            let known =
                |handle| self.vms.iter().flat_map(|vm| &vm.shares).any(|share| share.handle == Some(handle));
            fresh(raw).is_some_and(known)
        };
        let given = match reading::read(answer) {
            _ if lost => None,
            Reading::Success { value, .. } | Reading::More(value) => fresh(value),
            _ => None,
        };
        let (rule, holds) = match (reading::read(answer), outcome) {
            (_, outcome) if lost => (Rule::P2, outcome == SendOutcome::Unknown { handle: None }),
            (Reading::Success { value, wide: false }, outcome) if fresh(value).is_some() => {
                let rule = if anew(value) { Rule::P8 } else { Rule::P2 };
                (rule, outcome == SendOutcome::Sent(Handle::new(value).expect("checked")))
            }
            (Reading::Error(code), outcome)
                if !resumed && code != reading::ABORTED && (-10..0).contains(&code) =>
            {
                (Rule::P21, matches!(outcome, SendOutcome::Refused(status) if status.code() == code))
            }
            (Reading::Preempted { .. }, SendOutcome::Resume(_)) => {
                (Rule::P18, share.pace.tries < terms.policy.tries)
            }
            (_, outcome) => (Rule::P2, outcome == SendOutcome::Unknown { handle: given }),
        };
        self.demand(rule, holds);
        if let Some(target) = Self::preempted_anew(answer, resumed, None) {
            self.displace(terms, target);
        }
        if let Some(handle) = given {
            self.given(handle);
        }
        let share = &mut self.vms[vm].shares[at];
        (share.in_hand, share.lost) = (None, false);
        share.known = given.is_some();
        let ended = matches!(reading::read(answer), Reading::Success { .. } | Reading::Error(_));
        share.open = given.is_none() && (resumed || !ended);
        share.since = self.given;
        self.given.0 += 1;
        match outcome {
            SendOutcome::Sent(handle) => {
                (share.hold, share.handle, share.named) = (Hold::Held, Some(handle), true);
                share.pace = Pace::default();
            }
            SendOutcome::Refused(_) => share.hold = Hold::Returning,
            SendOutcome::Unknown { handle: Some(handle) } => {
                (share.hold, share.handle) = (Hold::Held, Some(handle));
                share.pace = Pace::default();
            }
            SendOutcome::Unknown { handle: None } => {
                (share.hold, share.pace) = (Hold::Quarantined, Pace::default());
            }
            SendOutcome::Resume(_) => {
                share.hold = Hold::Sending { resumed: true };
                share.in_hand = Self::next_to_run(answer);
                share.pace.tries += 1;
            }
            SendOutcome::More(_) | SendOutcome::Spoilt => self.demand(Rule::P2, false),
        }
    }

    pub fn asked(&mut self, vm: usize, at: usize, id: ShareId, run: Option<RunTarget>) {
        let share = &mut self.vms[vm].shares[at];
        let own = share.id.0 == id && share.named && share.hold == Hold::Held && run == share.in_hand;
        share.hold = Hold::Asked;
        self.demand(Rule::P7, own);
    }

    pub fn reclaim_answered(
        &mut self,
        terms: &Terms,
        vm: usize,
        at: usize,
        answer: &Answer,
        outcome: ReclaimOutcome,
    ) {
        let Share { lost: of_another, in_hand, .. } = self.vms[vm].shares[at];
        let confirms = matches!(reading::read(answer), Reading::Success { .. }) && !of_another;
        self.demand(Rule::P1Lying, (outcome == ReclaimOutcome::Confirmed) == confirms);
        if let Some(target) = Self::preempted_anew(answer, in_hand.is_some(), None) {
            self.displace(terms, target);
        }
        let share = &self.vms[vm].shares[at];
        let resumes = matches!(outcome, ReclaimOutcome::Resume(_));
        let gone = matches!(outcome, ReclaimOutcome::Gone(_));
        let too_late = share.is_donation() && in_hand.is_none() && Self::comes_too_late(answer);
        self.demand(Rule::P18, !(resumes && share.pace.tries >= terms.policy.tries));
        self.demand(Rule::P4, gone == too_late);
        let lost = !confirms && !resumes && !gone && self.handle_went_elsewhere(vm, at);
        let share = &mut self.vms[vm].shares[at];
        share.lost = false;
        match outcome {
            ReclaimOutcome::Confirmed => share.hold = Hold::Returning,
            ReclaimOutcome::Gone(_) => share.hold = Hold::Going,
            ReclaimOutcome::Refused(_) => {
                share.in_hand = Self::next_to_run(answer).filter(|_| !of_another);
                (share.hold, share.pace) = (Hold::Held, Pace::default());
            }
            ReclaimOutcome::Resume(target) => {
                share.in_hand = Some(target);
                share.pace.tries += 1;
            }
        }
        self.lose_handle(vm, at, lost);
    }

    pub fn requested(&mut self, vm: usize, id: CallId, sp: PartitionId, take_reference: bool) {
        let first = !self.vms[vm].reference;
        self.demand(Rule::P14, take_reference == first);
        self.take(vm, take_reference);
        self.vms[vm].requests.push(Request {
            id: Name(id),
            sp,
            in_flight: true,
            in_hand: false,
            lost: false,
            written_off: false,
            run_once: false,
            pace: Pace::default(),
        });
    }

    pub fn request_answered(
        &mut self,
        terms: &Terms,
        vm: usize,
        at: usize,
        answer: &Answer,
        preempted: bool,
    ) {
        let Request { sp, in_hand, .. } = self.vms[vm].requests[at];
        if let Some(target) = Self::preempted_anew(answer, in_hand, Some(sp.0)) {
            self.displace(terms, target);
        }
        let request = &mut self.vms[vm].requests[at];
        let by_sp = matches!(reading::read(answer),
            Reading::Preempted { endpoint, .. } if endpoint == request.sp.0);
        let not_now = !matches!(reading::read(answer), Reading::Preempted { .. })
            && Self::stays_in_hand(answer, request.in_hand);
        let expected = (by_sp || not_now) && !request.lost;
        (request.in_flight, request.in_hand) = (false, preempted);
        if !preempted {
            self.vms[vm].requests.remove(at);
        }
        self.demand(Rule::P21, preempted == expected);
    }

    pub fn keeps(&mut self, vm: usize, id: StandingId, what: Standing, take_reference: bool) {
        let first = !self.vms[vm].reference;
        self.demand(Rule::P14, take_reference == first);
        self.take(vm, take_reference);
        self.vms[vm].kept.push(Kept::new(id, what));
    }

    pub fn lends(&mut self, vm: usize, id: ShareId, take_reference: bool) {
        let first = !self.vms[vm].reference;
        self.demand(Rule::P14, take_reference == first);
        self.take(vm, take_reference);
        self.vms[vm].loans.push(Name(id));
    }

    // After every step.

    /// Compares what the engine shows of itself with what must be. Returns whether a dead VM waits for nothing but other
    /// VMs.
    pub fn compare(&mut self, terms: &Terms, engine: &Tested) -> bool {
        let (mut active, mut listed, mut some_only_lent) = (false, 0, false);
        for at in 0..self.vms.len() {
            let Some(key) = self.vms[at].key.0 else {
                let id = self.vms[at].id;
                self.demand(Rule::P13, engine.find(id).is_none());
                continue;
            };
            let one = &self.vms[at];
            let id_held = engine.find(one.id) == Some(key);
            let in_order = engine.shares(key).map(|share| share.subject).eq(one
                .shares
                .iter()
                .map(|share| Subject::Share { share: share.id.0, handle: share.handle }));
            let in_flight = |progress: Progress| progress == Progress::InFlight;
            let shown = engine.shares(key).zip(&one.shares).enumerate().all(|(position, (shown, share))| {
                let engine_asks = one.smc.as_ref().is_some_and(|smc| smc.about == About::Share(position));
                match share.hold {
                    _ if share.is_moving() => in_flight(shown.progress),
                    Hold::Held => in_flight(shown.progress) == engine_asks,
                    _ => true,
                }
            });
            let quarantined = engine.shares(key).zip(&one.shares).all(|(shown, share)| {
                let given_up = matches!(shown.progress, Progress::GivenUp(_));
                // One that lost its handle while its VM lived is given up when teardown comes to it.
                given_up == (share.hold == Hold::Quarantined) || share.handle.is_none()
            });
            listed += one.shares.iter().filter(|share| share.hold == Hold::Quarantined).count();
            listed += one.kept.iter().filter(|kept| kept.holds_pages() && kept.written_off).count();
            let calls = one.requests.iter().filter(|request| request.in_flight).count()
                + one.kept.iter().filter(|kept| kept.in_flight).count()
                + one.bindings.iter().filter(|binding| binding.asked.is_some()).count()
                + one.smc.iter().filter(|smc| !matches!(smc.about, About::Share(_))).count();
            let calls_shown = engine
                .obligations(key)
                .filter(|shown| in_flight(shown.progress) && !matches!(shown.subject, Subject::Share { .. }))
                .count();
            let standing = |what| {
                engine.obligations(key).any(
                    |shown| matches!(shown.subject, Subject::Standing { what: shown, .. } if shown == what),
                )
            };
            let all_kept = one.kept.iter().all(|kept| standing(kept.what));
            let is_active = matches!(one.life, Life::Creating | Life::Dying);
            let moving = one.smc.is_some()
                || calls > 0
                || one.shares.iter().any(Share::is_moving)
                || engine.next_deadline().is_some();
            active |= is_active;
            // Nothing that is owed to the secure world waits for a loan.
            let lent_or_over =
                |shown: Obligation| matches!(shown.progress, Progress::Lent | Progress::GivenUp(_));
            let only_lent = !moving && !one.loans.is_empty() && engine.obligations(key).all(lent_or_over);
            let loans = engine.obligations(key).filter_map(|shown| match shown.subject {
                Subject::Loan(loan) => Some((loan, shown.progress)),
                _ => None,
            });
            let loans_listed = loans.eq(one.loans.iter().map(|loan| (loan.0, Progress::Lent)));
            let phase_fits = engine.phase(key).is_ok_and(|phase| {
                use ffa_teardown::Phase;
                match one.life {
                    Life::Absent => false,
                    Life::Creating => phase == Phase::Creating,
                    Life::Live => phase == Phase::Live,
                    Life::Dying => phase == Phase::Dying,
                    Life::Over(_) => phase == Phase::Over,
                }
            });
            self.demand(Rule::P13, id_held);
            self.demand(Rule::P6, in_order);
            self.demand(Rule::P9, shown && calls == calls_shown);
            self.demand(Rule::P3, quarantined);
            self.demand(Rule::P31, all_kept);
            some_only_lent |= is_active && only_lent;
            self.demand(Rule::P6, loans_listed);
            self.demand(Rule::P21, moving || !is_active || only_lent);
            self.demand(Rule::P12, phase_fits);
            self.compare_bindings(terms, at, engine);
        }
        let lost = |share: &&Share| share.handle.is_none() && share.hold == Hold::Held;
        let lost = self.vms.iter().flat_map(|vm| &vm.shares).filter(lost).count();
        let shown = engine.quarantined().count();
        self.demand(Rule::P3, (listed..=listed + lost).contains(&shown));
        self.demand(Rule::P21, active || engine.next_deadline().is_none());
        some_only_lent
    }
}
