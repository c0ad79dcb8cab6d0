//! The engine, the guests that use it, the secure world that answers it, and the oracle that watches: one state of the
//! search, and the steps that lead from it.

mod bindings;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use ffa_abi::{Answer, Handle, NotificationBitmap, PartitionId, VmAvailability};
use ffa_teardown::{
    Action, BeginError, CreateError, Decision, DutySlot, Engine, Policy, ReclaimOutcome, SecureCall,
    SendOutcome, ShareId, Span, Standing, Subject, Time, Unexpected, VmKey, VmSlot,
};

use crate::Tested;
use crate::answers::{self, Alphabet};
use crate::oracle::{
    About, Asked, Heard, Hold, Kept, Life, Notifications, Oracle, Rule, Share, Smc, Terms, VCPUS, Vm,
};
use crate::reading::{self, Reading};
use crate::wrong::Wrong;

/// Time always reads zero: when it goes by, deadlines come nearer instead, so that there are finitely many.
const NOW: Time = Time::ZERO;

/// Steps without effect that the engine may make in a row for each VM.
const IDLE_STEPS: usize = 4;

/// What guests do while their VM lives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guests {
    /// Shares that a VM has at most.
    pub shares: usize,
    /// They give memory away as well.
    pub donate: bool,
    pub reclaim: bool,
    pub request: bool,
    pub standing: bool,
    /// They have a notification bitmap, bind and unbind.
    pub bind: bool,
    /// They lend memory to other VMs, or borrow.
    pub lend: bool,
}

/// One search: who takes part, what may happen, and how finely it is looked at.
#[derive(Clone, Debug)]
pub struct Scope {
    pub name: &'static str,
    pub terms: Terms,
    pub vms: usize,
    pub guests: Guests,
    pub alphabet: Alphabet,
    /// Every step of the engine, and every return of pages, is a step of the search.
    pub fine: bool,
    /// What the secure world does and when its answer arrives are two steps.
    pub split: bool,
    /// The operator may ask for a retry.
    pub retry: bool,
    /// The first SP may be restarted while it has something in hand.
    pub restart: bool,
    /// Each VM is to have a notification bitmap from the beginning.
    pub bitmap: bool,
    /// The secure world says what a handle names.
    pub asks: bool,
    /// The spans of time that may go by at once.
    pub spans: &'static [u64],
    /// One in so many states is followed to its end by kind answers alone.
    pub kind_every: u64,
    pub wrong: Wrong,
    /// A policy for the engine that is not the one it is judged by.
    pub wrong_policy: Option<Policy>,
}

/// Something that must happen somewhere in a search, or its rules were never put to the test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seen {
    Freed,
    FreedByGuest,
    Unknown,
    Quarantined,
    Retried,
    Recovered,
    ForeignRefused,
    Anew,
    DiedInFlight,
    ToldOfEnd,
    NotToldOfEnd,
    ResumedDestroyed,
    HalfBorn,
    IdRefused,
    IdReused,
    ReferenceDropped,
    DroppedAfterPages,
    Zombie,
    Retired,
    Walked,
    TookTurns,
    EndedKindly,
    Silent,
    Early,
    Late,
    GaveUpTrying,
    WaitedInQueue,
    LateEntry,
    DeniedPending,
    SignalledLate,
    InDoubt,
    Busy,
    Restarted,
    Displaced,
    Moot,
    Needed,
    OnlyLent,
    BitmapCreated,
    NoBitmap,
    DoubtfulBitmap,
    /// A donation that was asked for too late.
    Gone,
    /// One that could not be asked for.
    GoneUnasked,
    /// One whose handle may have been another's, and was not.
    Named,
    /// One whose handle may have been another's, and may be.
    NotNamed,
    /// A receiver has made a donation its own.
    TakenOver,
}

/// How many kinds of [`Seen`] there are.
pub const SEEN: usize = Seen::TakenOver as usize + 1;

/// The model: a scope, and what was seen of it.
pub struct Search {
    pub scope: Scope,
    seen: [AtomicU64; SEEN],
    /// The most calls that any followed state needed to its end.
    pub longest_end: AtomicU64,
}

/// One state.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    pub engine: Tested,
    pub oracle: Oracle,
    work: Work,
}

/// What the first SP's one vCPU was preempted over in an honest world. Its success, when it is run, is about that,
/// whoever runs it for whatever; and it takes nothing else before that is over.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Work {
    Nothing,
    /// The reclaim of the share that has this handle.
    Reclaim(Handle),
    /// Another service of the SPMC. Like a reclaim it ends with whatever FFA_RUN is answered.
    Service,
    /// VM_CREATED for this VM, by position. Like all messages it ends with a response of its own: an error that says
    /// "not now" is FFA_RUN's.
    Created(usize),
    /// VM_DESTROYED for this VM.
    Destroyed(usize),
    /// A direct request of this VM.
    Request(usize),
}

impl Work {
    fn is_message(self) -> bool {
        matches!(self, Self::Created(_) | Self::Destroyed(_) | Self::Request(_))
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.engine.hash(hasher);
        self.oracle.hash(hasher);
        self.work.hash(hasher);
    }
}

/// One step. VMs, shares and the like by position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Create(usize),
    Destroy(usize),
    Retry(usize),
    /// The hypervisor calls the engine.
    Next,
    /// Time goes by.
    Wait(u64),
    /// The secure world answers the engine's call.
    Answer(usize, Answer),
    /// The secure world is asked what the handle of a donation names, and does not say that it is that.
    NotNamed(usize),
    /// The answer arrives.
    Arrive(usize),
    /// Pages are back.
    Release(usize, usize),
    Send(usize),
    Donate(usize),
    /// In an honest world the receiver makes a donation its own.
    TakeOver(usize, usize),
    Abandon(usize, usize),
    AnswerSend(usize, usize, Answer),
    Reclaim(usize, usize),
    AnswerReclaim(usize, usize, Answer),
    ArriveReclaim(usize, usize),
    Request(usize),
    Run(usize, usize),
    AnswerRequest(usize, usize, Answer),
    Keep(usize),
    Kept(usize, usize, bool),
    EndKept(usize, usize),
    Bind(usize, u64),
    Unbind(usize, u64),
    /// The flag: an answer that says nothing, to a call that was done all the same.
    AnswerBinding(usize, usize, Answer, bool),
    Lend(usize),
    EndLoan(usize, usize),
    /// An SP signals the VM.
    Signal(usize),
    /// The first SP begins anew.
    Restart,
}

impl Search {
    pub fn new(scope: Scope) -> Self {
        let seen = std::array::from_fn(|_| AtomicU64::new(0));
        Self { scope, seen, longest_end: AtomicU64::new(0) }
    }

    pub fn saw(&self, what: Seen) -> bool {
        self.seen[what as usize].load(Ordering::Relaxed) > 0
    }

    pub fn see(&self, what: Seen, happened: bool) {
        // Looking first keeps the threads from fighting over the line.
        if happened && !self.saw(what) {
            self.seen[what as usize].store(1, Ordering::Relaxed);
        }
    }

    fn most(counter: &AtomicU64, value: usize) {
        if counter.load(Ordering::Relaxed) < value as u64 {
            counter.fetch_max(value as u64, Ordering::Relaxed);
        }
    }

    pub fn start(&self) -> World {
        let Scope { terms, vms, wrong_policy, .. } = &self.scope;
        let room = self.room();
        let vm_slots = vec![VmSlot::VACANT; *vms];
        let policy = wrong_policy.unwrap_or(terms.policy);
        let mut engine = Engine::new(vm_slots, vec![DutySlot::VACANT; room], policy);
        if self.scope.asks {
            engine.can_ask_what_handles_name();
        }
        World { engine, oracle: Oracle::new(*vms), work: Work::Nothing }
    }

    /// How many obligations there can be at once.
    fn room(&self) -> usize {
        let Scope { terms, vms, guests, .. } = &self.scope;
        // The bitmap, what is bound, what is in doubt, and what is in flight.
        let standing = usize::from(guests.standing) * 2 + usize::from(guests.bind) * 4;
        let bitmap = usize::from(self.scope.bitmap && !guests.bind);
        let others = usize::from(guests.request) + usize::from(guests.lend) * 2 + bitmap;
        vms * (terms.sps.len() + guests.shares + others + standing)
    }

    /// How many an engine without VMs has room for.
    fn room_in(&self, engine: &Tested) -> usize {
        let mut engine = engine.clone();
        let vm = engine.create(PartitionId(1), std::iter::empty()).expect("room for a VM").vm;
        std::iter::from_fn(|| engine.begin_send(vm).ok()).count()
    }

    /// Every step that can follow.
    pub fn steps(&self, world: &World, steps: &mut Vec<Step>) {
        let Scope { guests, alphabet, retry, spans, .. } = &self.scope;
        let first_sp = self.first_sp();
        for (at, vm) in world.oracle.vms.iter().enumerate() {
            match vm.life {
                Life::Absent => steps.push(Step::Create(at)),
                Life::Creating | Life::Live => steps.push(Step::Destroy(at)),
                Life::Dying | Life::Over(_) => {}
            }
            if *retry && matches!(vm.life, Life::Over(_)) {
                steps.push(Step::Retry(at));
            }
            match &vm.smc {
                Some(Smc { reply: Some(_), .. }) => steps.push(Step::Arrive(at)),
                Some(smc) => {
                    steps.extend(
                        self.answers(world, at, smc).into_iter().map(|answer| Step::Answer(at, answer)),
                    );
                    if self.is_asked_in_vain(world, at) {
                        steps.push(Step::NotNamed(at));
                    }
                }
                None => {}
            }
            let live = vm.life == Life::Live;
            let mut busy = false;
            for (position, share) in vm.shares.iter().enumerate() {
                if self.may_be_taken_over(world, at, position) {
                    steps.push(Step::TakeOver(at, position));
                }
                match share.hold {
                    Hold::Sending { resumed } => {
                        busy = true;
                        let mut answers = self.send_answers(world, first_sp, resumed);
                        // One or the other: neither is asked while the other has not been answered.
                        answers.retain(|_| !self.is_asking_for_donation(world));
                        steps
                            .extend(answers.into_iter().map(|answer| Step::AnswerSend(at, position, answer)));
                        if !resumed {
                            steps.push(Step::Abandon(at, position));
                        }
                    }
                    Hold::Asked if share.reply.is_some() => {
                        busy = true;
                        steps.push(Step::ArriveReclaim(at, position));
                    }
                    Hold::Asked => {
                        busy = true;
                        let running = share.in_hand.is_some();
                        let answers = answers::to_service(*alphabet, first_sp, running);
                        let honest = self.possible(world, Self::reclaim(share.handle), running, answers);
                        steps.extend(
                            honest.into_iter().map(|answer| Step::AnswerReclaim(at, position, answer)),
                        );
                    }
                    Hold::Returning | Hold::Going => steps.push(Step::Release(at, position)),
                    Hold::Held if share.is_donation() && !self.may_ask_for_donation(world, share) => {}
                    Hold::Held if live && guests.reclaim && share.named && share.handle.is_some() => {
                        steps.push(Step::Reclaim(at, position));
                    }
                    Hold::Held | Hold::Quarantined => {}
                }
            }
            for (position, request) in vm.requests.iter().enumerate() {
                if request.in_flight {
                    busy = true;
                    let answers = answers::to_request(*alphabet, request.sp, vm.id);
                    let answers = self.possible(world, Work::Request(at), request.in_hand, answers);
                    steps.extend(answers.into_iter().map(|answer| Step::AnswerRequest(at, position, answer)));
                } else if live {
                    steps.push(Step::Run(at, position));
                }
            }
            let asks = vm.bindings.iter().any(|binding| binding.asked.is_some());
            for (position, kept) in vm.kept.iter().enumerate() {
                if kept.in_flight {
                    busy = true;
                    steps.push(Step::Kept(at, position, true));
                    if !vm.notifications.pending {
                        steps.push(Step::Kept(at, position, false));
                    }
                } else if live && !asks {
                    steps.push(Step::EndKept(at, position));
                }
            }
            busy |= asks;
            self.binding_steps(world, at, live && !busy, steps);
            steps.extend((0..vm.loans.len()).map(|position| Step::EndLoan(at, position)));
            if live && !busy && guests.lend && vm.loans.len() < 2 {
                steps.push(Step::Lend(at));
            }
            // One vCPU: a guest makes one call at a time.
            if live && !busy {
                if vm.shares.len() < guests.shares {
                    steps.push(Step::Send(at));
                    if guests.donate {
                        steps.push(Step::Donate(at));
                    }
                }
                if guests.request && vm.requests.is_empty() {
                    steps.push(Step::Request(at));
                }
                if self.next_to_keep(vm).is_some() {
                    steps.push(Step::Keep(at));
                }
            }
        }
        if self.scope.restart && world.work != Work::Nothing {
            steps.push(Step::Restart);
        }
        match world.engine.next_deadline() {
            Some(NOW) => steps.push(Step::Next),
            // A timer that fires early is stepped too.
            Some(_) => {
                steps.push(Step::Next);
                steps.extend(spans.iter().map(|span| Step::Wait(*span)));
            }
            None => {}
        }
    }

    fn answers(&self, world: &World, at: usize, smc: &Smc) -> Vec<Answer> {
        let Scope { terms, alphabet, .. } = &self.scope;
        let vm = &world.oracle.vms[at];
        let running = matches!(smc.call, SecureCall::Run { .. });
        let first_sp = self.first_sp();
        let answers = match smc.about {
            About::Sp(sp) => {
                let event = match smc.call {
                    SecureCall::Tell { event, .. } => event,
                    _ if vm.sps[sp].heard == Heard::InHand => VmAvailability::Created,
                    _ => VmAvailability::Destroyed,
                };
                answers::to_message(*alphabet, terms.sps[sp].sp, vm.id, event, running)
            }
            About::Request(request) => answers::to_request(*alphabet, vm.requests[request].sp, vm.id),
            About::Share(share) if vm.shares[share].is_donation() && Self::must_not_ask(world, at) => {
                return vec![answers::busy()];
            }
            // The question may have to wait.
            About::Share(_) if self.is_asked_in_vain(world, at) => return vec![answers::busy()],
            About::Share(_) | About::Kept(_) | About::Binding(_) | About::NewBitmap => {
                let mut answers = answers::to_service(*alphabet, first_sp, running);
                let success = |answer: &Answer| matches!(reading::read(answer), Reading::Success { .. });
                answers.retain(|answer| !success(answer) || self.may_succeed(vm, smc));
                answers
            }
        };
        // Only the first SP's work is kept account of.
        let elsewhere = matches!(smc.about, About::Sp(sp) if terms.sps[sp].sp != first_sp);
        if elsewhere {
            answers
        } else {
            self.possible(world, self.work(world, at, smc.about), running, answers)
        }
    }

    /// Whether a call that sends memory is in flight.
    fn is_sending(world: &World) -> bool {
        let mut shares = world.oracle.vms.iter().flat_map(|vm| &vm.shares);
        shares.any(|share| share.hold == Hold::Sending { resumed: true })
    }

    /// Whether a call is in flight that is to have a donation back, or its answer is under way. A guest that asks shuts
    /// others out from before it begins, the engine when its call is made.
    fn is_asking_for_donation(&self, world: &World) -> bool {
        self.scope.wrong != Wrong::SendsMeanwhile
            && world.oracle.vms.iter().any(|vm| {
                let replied = vm.smc.as_ref().is_some_and(|smc| smc.reply.is_some());
                vm.shares.iter().enumerate().any(|(at, share)| {
                    share.is_donation() && (share.hold == Hold::Asked || replied && vm.is_asked(at))
                })
            })
    }

    /// Whether a guest may ask for a donation.
    fn may_ask_for_donation(&self, world: &World, share: &Share) -> bool {
        !Self::is_sending(world) && !world.oracle.is_hidden(share, self.scope.asks)
    }

    /// Whether the secure world, asked first where there is a doubt, says that the handle of a donation is its own. An
    /// honest one does so if it is.
    fn is_named(&self, world: &World, share: &Share) -> bool {
        let named = !world.oracle.is_in_doubt() || share.truth.is_some() && share.truth == share.handle;
        named || self.scope.wrong == Wrong::AsksNobody
    }

    /// Whether the engine's call, which is to have a donation of the VM back, is not made because its handle may name
    /// something else.
    fn is_asked_in_vain(&self, world: &World, vm: usize) -> bool {
        let one = &world.oracle.vms[vm];
        one.smc.as_ref().is_some_and(|smc| match smc.about {
            About::Share(at) if smc.reply.is_none() && one.shares[at].is_donation() => {
                !Self::must_not_ask(world, vm) && !self.is_named(world, &one.shares[at])
            }
            _ => false,
        })
    }

    /// Whether the engine's call, which is to have a donation of the VM back, must not be made.
    fn must_not_ask(world: &World, vm: usize) -> bool {
        let asks = world.engine.asks_for_donation(world.oracle.key(vm));
        let may = world.engine.may_ask_for_donation(world.oracle.key(vm));
        asks && (Self::is_sending(world) || !may)
    }

    /// Whether the receiver of a donation can make it its own now: not while the SPMC serves its reclaim.
    fn may_be_taken_over(&self, world: &World, vm: usize, at: usize) -> bool {
        let share = &world.oracle.vms[vm].shares[at];
        let served = share.truth.is_some_and(|handle| world.work == Work::Reclaim(handle));
        self.scope.terms.honest && share.donated && share.truth.is_some() && !served
    }

    /// The response by which an honest SP takes note of the message that it has in hand.
    fn response(&self, world: &World) -> Option<Answer> {
        let (sp, id) = (self.first_sp(), |vm: usize| world.oracle.vms[vm].id);
        let about = |vm, event| answers::kind(SecureCall::Tell { sp, vm: id(vm), event }, None);
        match world.work {
            Work::Created(vm) => Some(about(vm, VmAvailability::Created)),
            Work::Destroyed(vm) => Some(about(vm, VmAvailability::Destroyed)),
            Work::Request(vm) => Some(answers::response(sp, id(vm))),
            Work::Nothing | Work::Reclaim(_) | Work::Service => None,
        }
    }

    /// What is left of `answers` in an honest world, to a call that is `work` for the SP, or if `running` to FFA_RUN:
    /// success is true, and the SP takes nothing new before what it has in hand is over.
    fn possible(&self, world: &World, work: Work, running: bool, mut answers: Vec<Answer>) -> Vec<Answer> {
        if self.scope.terms.honest {
            let meant = if running { world.work } else { work };
            // A reclaim that is asked for anew may find the SP still at work on it.
            let same = matches!(work, Work::Reclaim(_)) && world.work == work;
            let free = if running { meant != Work::Nothing } else { world.work == Work::Nothing || same };
            let sp = self.first_sp().0;
            answers.retain(|answer| match (reading::read(answer), meant) {
                (Reading::Success { .. }, Work::Reclaim(handle)) => {
                    Self::owner(world, Some(handle)).is_some()
                }
                (Reading::Success { .. }, Work::Nothing) => false,
                (Reading::Success { .. }, meant) if meant.is_message() => false,
                // The SP responds to what it has in hand, for whatever it is run.
                (Reading::Response { sender, .. }, meant) if running && meant != work => sender != sp,
                (Reading::Preempted { endpoint, .. }, _) => free || endpoint != sp,
                _ => true,
            });
            answers.extend(self.response(world).filter(|_| running && meant != work));
        }
        answers
    }

    /// The work that the reclaim of a share is.
    fn reclaim(handle: Option<Handle>) -> Work {
        handle.map_or(Work::Service, Work::Reclaim)
    }

    /// The SP that works for the SPMC.
    fn first_sp(&self) -> PartitionId {
        self.scope.terms.first_sp()
    }

    /// Whose share the secure world has under this handle.
    fn owner(world: &World, handle: Option<Handle>) -> Option<(usize, usize)> {
        let handle = handle?;
        world.oracle.vms.iter().enumerate().find_map(|(vm, one)| {
            one.shares.iter().position(|share| share.truth == Some(handle)).map(|share| (vm, share))
        })
    }

    fn send_answers(&self, world: &World, sp: PartitionId, resumed: bool) -> Vec<Answer> {
        let Scope { terms, guests, alphabet, .. } = &self.scope;
        let shares = || world.oracle.vms.iter().flat_map(|vm| &vm.shares);
        // An honest world knows which handles are free; a lying one is looked at through what it said.
        let taken = |raw: u64| {
            let known = Handle::new(raw).ok();
            shares().any(|share| if terms.honest { share.truth == known } else { share.handle == known })
        };
        let fresh = (0..).find(|raw| !taken(*raw)).expect("handles without end");
        let mut answers = answers::to_send(*alphabet, sp, fresh);
        if terms.honest && resumed && (world.work == Work::Nothing || world.work.is_message()) {
            let lies =
                |answer: &Answer| matches!(reading::read(answer), Reading::Success { .. } | Reading::More(_));
            answers.retain(|answer| !lies(answer));
        }
        if terms.honest && world.work != Work::Nothing && !resumed {
            answers.retain(|answer| !matches!(reading::read(answer), Reading::Preempted { .. }));
        }
        if *alphabet == Alphabet::Kinds && !guests.reclaim {
            // A share whose handle the guest does not know differs from others only in that it cannot ask for it.
            answers.retain(|answer| !matches!(reading::read(answer), Reading::Success { wide: true, .. }));
        }
        if !terms.honest {
            let known = shares().find_map(|share| share.handle).map(Handle::get);
            answers.extend(answers::lies_to_send(known));
        }
        answers
    }

    /// The state after a step.
    pub fn take(&self, world: &World, step: Step) -> World {
        let mut next = world.clone();
        self.make(&mut next, step);
        next
    }

    /// Makes a step and looks at what came of it.
    pub fn make(&self, world: &mut World, step: Step) {
        self.apply(world, step);
        let only_lent = world.oracle.compare(&self.scope.terms, &world.engine);
        self.see(Seen::OnlyLent, only_lent);
    }

    fn apply(&self, world: &mut World, step: Step) {
        match step {
            Step::Create(vm) => self.create(world, vm),
            Step::Destroy(vm) => self.destroy(world, vm),
            Step::Retry(vm) => self.retry(world, vm),
            Step::Next => self.next(world),
            Step::Wait(span) => self.wait(world, span),
            Step::Answer(vm, answer) => {
                // A call that must not be made has no effect.
                if !Self::must_not_ask(world, vm) && !self.is_asked_in_vain(world, vm) {
                    self.effect(world, vm, &answer);
                }
                if self.scope.split {
                    world.oracle.vms[vm].smc.as_mut().expect("in flight").reply = Some(answer);
                } else {
                    self.arrive(world, vm, &answer);
                }
            }
            Step::NotNamed(vm) => {
                self.see(Seen::NotNamed, true);
                let key = world.oracle.key(vm);
                let lost = world.engine.donation_lost(key).expect("in flight");
                let mut after = world.engine.clone();
                let again = after.donation_lost(key).is_ok() || after != world.engine;
                world.oracle.demand(Rule::P9, !again);
                match world.oracle.donation_lost(vm, lost) {
                    Some(at) => self.release_unless_fine(world, vm, at),
                    None => world.oracle.demand(Rule::P4, false),
                }
            }
            Step::Arrive(vm) => {
                let reply = world.oracle.vms[vm].smc.as_ref().and_then(|smc| smc.reply);
                self.arrive(world, vm, &reply.expect("answered"));
            }
            Step::Release(vm, share) => self.release(world, vm, share),
            Step::Send(vm) | Step::Donate(vm) => {
                let key = world.oracle.key(vm);
                let donated = matches!(step, Step::Donate(_));
                let begun =
                    if donated { world.engine.begin_donation(key) } else { world.engine.begin_send(key) };
                let begun = begun.expect("room for every share");
                world.oracle.sending(vm, begun.id, donated, begun.take_reference);
            }
            Step::TakeOver(vm, share) => {
                self.see(Seen::TakenOver, true);
                let share = &mut world.oracle.vms[vm].shares[share];
                (share.truth, share.retrieved) = (None, true);
            }
            Step::Abandon(vm, share) => {
                let (key, id) = (world.oracle.key(vm), world.oracle.vms[vm].shares[share].id.0);
                world.oracle.abandoned(&self.scope.terms, vm, share);
                world.engine.abandon_send(key, id).expect("being sent");
            }
            Step::AnswerSend(vm, share, answer) => self.send_answered(world, vm, share, &answer),
            Step::Reclaim(vm, share) => {
                let (key, handle) = (world.oracle.key(vm), world.oracle.vms[vm].shares[share].handle);
                let handle = handle.expect("named");
                let begun = if world.oracle.vms[vm].shares[share].is_donation() {
                    world.engine.begin_donation_reclaim(key, handle)
                } else {
                    world.engine.begin_reclaim(key, handle)
                };
                let donation = world.oracle.vms[vm].shares[share].is_donation();
                match begun {
                    Ok((id, _)) if donation && !self.is_named(world, &world.oracle.vms[vm].shares[share]) => {
                        world.engine.abandon_reclaim(key, id).expect("begun");
                    }
                    Ok((id, run)) => {
                        self.see(Seen::Named, donation && world.oracle.is_in_doubt());
                        world.oracle.asked(vm, share, id, run);
                    }
                    Err(_) => world.oracle.demand(Rule::P7, false),
                }
            }
            Step::AnswerReclaim(vm, share, answer) => {
                let Share { handle, in_hand, .. } = world.oracle.vms[vm].shares[share];
                self.happens(world, Self::reclaim(handle), in_hand.is_some(), &answer);
                if self.scope.split {
                    world.oracle.vms[vm].shares[share].reply = Some(answer);
                } else {
                    self.reclaim_arrives(world, vm, share, &answer);
                }
            }
            Step::ArriveReclaim(vm, share) => {
                let reply = world.oracle.vms[vm].shares[share].reply.take();
                self.reclaim_arrives(world, vm, share, &reply.expect("answered"));
            }
            Step::Request(vm) => {
                let (key, sp) = (world.oracle.key(vm), self.scope.terms.sps[0].sp);
                let begun = world.engine.begin_call(key, 0, sp).expect("room for a request");
                world.oracle.requested(vm, begun.id, sp, begun.take_reference);
            }
            Step::Run(vm, request) => {
                let (key, sp) = (world.oracle.key(vm), world.oracle.vms[vm].requests[request].sp);
                let is_over = !world.oracle.vms[vm].requests[request].in_hand;
                let target = ffa_abi::RunTarget { endpoint: sp, vcpu: 0 };
                let foreign = world.engine.begin_run(key, 1, target);
                world.oracle.demand(Rule::P7, foreign == Err(BeginError::NotFound));
                let begun = world.engine.begin_run(key, 0, target);
                self.see(Seen::Displaced, is_over);
                if is_over {
                    world.oracle.vms[vm].requests.remove(request);
                    return world.oracle.demand(Rule::P7, begun == Err(BeginError::NotFound));
                }
                let id = begun.expect("preempted");
                let request = &mut world.oracle.vms[vm].requests[request];
                request.in_flight = true;
                let own = request.id.0 == id;
                world.oracle.demand(Rule::P7, own);
            }
            Step::AnswerRequest(vm, request, answer) => {
                let (key, id) = (world.oracle.key(vm), world.oracle.vms[vm].requests[request].id.0);
                let running = world.oracle.vms[vm].requests[request].in_hand;
                self.happens(world, Work::Request(vm), running, &answer);
                let preempted = world.engine.call_answered(key, id, &answer).expect("in flight");
                world.oracle.request_answered(&self.scope.terms, vm, request, &answer, preempted);
            }
            Step::Keep(vm) => {
                let what = self.next_to_keep(&world.oracle.vms[vm]).expect("something is not kept yet");
                let key = world.oracle.key(vm);
                let begun = world.engine.begin_standing(key, what).expect("room for what is kept");
                world.oracle.keeps(vm, begun.id, what, begun.take_reference);
            }
            Step::Kept(vm, kept, stays) => {
                let (key, id) = (world.oracle.key(vm), world.oracle.vms[vm].kept[kept].id.0);
                let what = world.oracle.vms[vm].kept[kept].what;
                let bitmap = what == Standing::Bitmap;
                if stays {
                    world.engine.standing_incurred(key, id).expect("about to begin");
                    world.oracle.vms[vm].kept[kept].in_flight = false;
                    world.oracle.vms[vm].notifications.bitmap |= bitmap;
                } else {
                    world.engine.standing_over(key, id).expect("about to begin");
                    world.oracle.vms[vm].kept.remove(kept);
                    if bitmap {
                        world.oracle.vms[vm].notifications = Notifications::default();
                    }
                    world.oracle.ends_with(vm, what);
                }
            }
            Step::EndKept(vm, kept) => {
                let (key, id) = (world.oracle.key(vm), world.oracle.vms[vm].kept[kept].id.0);
                let ended = world.engine.end_standing(key, id);
                // What would be over with it is being worked on.
                if world.oracle.vms[vm].is_needed(kept) {
                    self.see(Seen::Needed, true);
                    return world.oracle.demand(Rule::P29, ended == Err(BeginError::Busy));
                }
                ended.expect("in force");
                world.oracle.vms[vm].kept[kept].in_flight = true;
            }
            Step::Bind(vm, bits) => self.ask(world, vm, Asked::Bind, bits),
            Step::Unbind(vm, bits) => self.ask(world, vm, Asked::Unbind, bits),
            Step::AnswerBinding(vm, at, answer, done) => self.binding_answered(world, vm, at, &answer, done),
            Step::Lend(vm) => {
                let begun = world.engine.begin_loan(world.oracle.key(vm)).expect("room for every loan");
                world.oracle.lends(vm, begun.id, begun.take_reference);
            }
            Step::EndLoan(vm, loan) => {
                let (key, id) = (world.oracle.key(vm), world.oracle.vms[vm].loans.remove(loan).0);
                world.engine.end_loan(key, id).expect("it has not ended");
                let mut after = world.engine.clone();
                world.oracle.demand(Rule::P6, after.end_loan(key, id).is_err() && after == world.engine);
            }
            Step::Signal(vm) => self.signalled(world, vm),
            Step::Restart => {
                self.see(Seen::Restarted, true);
                world.work = Work::Nothing;
                world.oracle.vms.iter_mut().for_each(|vm| vm.is_known = false);
            }
        }
    }

    /// What a guest makes the SPMC keep next. The mapping comes before what it owns, so that the order of teardown is
    /// not the order of coming about.
    fn next_to_keep(&self, vm: &Vm) -> Option<Standing> {
        let Guests { standing, bind, .. } = self.scope.guests;
        let wanted =
            [(bind, Standing::Bitmap), (standing, Standing::RxTxMapped), (standing, Standing::RxOwned)];
        let kept = |what| vm.kept.iter().any(|kept| kept.what == what);
        wanted.into_iter().find(|(wanted, what)| *wanted && !kept(*what)).map(|(_, what)| what)
    }

    fn create(&self, world: &mut World, vm: usize) {
        let terms = &self.scope.terms;
        let id = world.oracle.vms[vm].id;
        let sps = terms.sps.iter().copied();
        let created = match self.scope.bitmap {
            true => world.engine.create_with_bitmap(id, sps, VCPUS),
            false => world.engine.create(id, sps),
        };
        match created {
            Ok(created) => {
                let bitmap = world.engine.obligations(created.vm).find_map(|shown| match shown.subject {
                    Subject::Standing { id, .. } => Some(id),
                    _ => None,
                });
                world.oracle.demand(Rule::P12, bitmap.is_some() == self.scope.bitmap);
                world.oracle.creating(terms, vm, created.vm, bitmap, created.take_reference);
            }
            Err(error) => panic!("{error} while there is room"),
        }
        let hears_only_of_the_end = terms.sps.first().is_some_and(|sp| !sp.created);
        world.oracle.vms[vm].is_known = self.scope.restart && hears_only_of_the_end;
        self.probe_id(world, vm);
    }

    fn destroy(&self, world: &mut World, vm: usize) {
        let key = world.oracle.key(vm);
        let one = &world.oracle.vms[vm];
        let guest_busy =
            one.shares.iter().any(|share| matches!(share.hold, Hold::Sending { .. } | Hold::Asked));
        self.see(Seen::DiedInFlight, guest_busy || one.smc.is_some());
        world.engine.destroy(key).expect("alive");
        world.oracle.dying(vm);
        self.probe_id(world, vm);
        // Nothing new begins for a dead VM, and what is refused changes nothing.
        let mut after = world.engine.clone();
        let dead = Unexpected::Phase { vm: key.id(), phase: ffa_teardown::Phase::Dying };
        let refused = after.begin_send(key) == Err(BeginError::NotLive(dead))
            && after.begin_call(key, 0, PartitionId(0x8001)) == Err(BeginError::NotLive(dead))
            && after.begin_standing(key, Standing::Bitmap) == Err(BeginError::NotLive(dead))
            && after.begin_loan(key) == Err(BeginError::NotLive(dead))
            && after.begin_bind(key, PartitionId(0x8001), NotificationBitmap(1))
                == Err(BeginError::NotLive(dead))
            && after.begin_unbind(key, PartitionId(0x8001), NotificationBitmap(1))
                == Err(BeginError::NotLive(dead))
            && after.destroy(key) == Err(dead)
            && after == world.engine;
        self.see(Seen::LateEntry, refused);
        world.oracle.demand(Rule::P29, refused);
    }

    fn retry(&self, world: &mut World, vm: usize) {
        let key = world.oracle.key(vm);
        let due = world.engine.retry(key).expect("dead");
        let expected = world.oracle.retried(vm);
        self.see(Seen::Retried, due > 0);
        world.oracle.demand(Rule::P3, due == expected);
    }

    fn wait(&self, world: &mut World, span: u64) {
        let deadline = world.engine.next_deadline().map_or(0, Time::as_nanos);
        self.see(Seen::Late, span > deadline);
        world.engine.clock_set_back(Span::from_nanos(span + self.scope.wrong.haste()));
        world.oracle.elapsed(span);
    }

    fn next(&self, world: &mut World) {
        let early = world.engine.next_deadline().is_some_and(|deadline| deadline > NOW);
        let bound = IDLE_STEPS * self.scope.vms;
        for walked in 0..=bound {
            self.see(Seen::Walked, walked > 0);
            let before = early.then(|| world.engine.clone());
            let action = world.engine.next(NOW);
            match action {
                Action::Continue if self.scope.fine => return,
                Action::Continue => continue,
                Action::Idle { until } => {
                    let same = before.is_none_or(|before| before == world.engine);
                    self.see(Seen::Early, early && same);
                    let known = until == world.engine.next_deadline();
                    world.oracle.demand(Rule::P22, same && known && (early || walked > 0));
                }
                Action::Call { vm, call } => self.call(world, vm, call),
                Action::Created { vm } => {
                    let vm = world.oracle.position(vm);
                    world.oracle.live(&self.scope.terms, vm);
                }
                Action::Gone { vm, share } => {
                    let vm = world.oracle.position(vm);
                    self.see(Seen::GoneUnasked, true);
                    match world.oracle.gone_unasked(vm, share, self.scope.asks) {
                        Some(at) => self.release_unless_fine(world, vm, at),
                        None => world.oracle.demand(Rule::P4, false),
                    }
                }
                Action::Finished { vm, end, give_back } => {
                    let at = world.oracle.position(vm);
                    self.finished(world, at, vm, end, give_back);
                }
            }
            world.oracle.demand(Rule::P22, !early || matches!(action, Action::Idle { .. }));
            return;
        }
        world.oracle.demand(Rule::P17, false);
    }

    fn call(&self, world: &mut World, key: VmKey, call: SecureCall) {
        let vm = world.oracle.position(key);
        if let Some(answer) = self.scope.wrong.swallows(call) {
            let judged = world.engine.answered(key, call, &answer, NOW).expect("in flight");
            assert!(matches!(judged.decision, Decision::Met | Decision::Drained));
            return;
        }
        let subject = world.engine.obligations(key).find(|shown| {
            shown.progress == ffa_teardown::Progress::InFlight
                && match (call, shown.subject) {
                    (SecureCall::Tell { sp, .. }, Subject::Sp(named)) => sp == named,
                    (SecureCall::MemReclaim { handle }, Subject::Share { handle: named, .. }) => {
                        named == Some(handle)
                    }
                    (SecureCall::RxRelease { .. }, Subject::Standing { what, .. }) => {
                        what == Standing::RxOwned
                    }
                    (SecureCall::RxTxUnmap { .. }, Subject::Standing { what, .. }) => {
                        what == Standing::RxTxMapped
                    }
                    (
                        SecureCall::BitmapCreate { .. }
                        | SecureCall::BitmapDestroy { .. }
                        | SecureCall::NotificationGet { .. },
                        Subject::Standing { what, .. },
                    ) => what == Standing::Bitmap,
                    (SecureCall::NotificationGet { .. }, Subject::Binding { .. }) => true,
                    (SecureCall::NotificationUnbind { sp, bits, .. }, subject) => {
                        subject == Subject::Binding { sp, bits }
                    }
                    (SecureCall::Run { .. }, _) => world.oracle.vms[vm].life != Life::Live,
                    _ => false,
                }
        });
        let others_due = world.engine.next_deadline() == Some(NOW);
        self.see(Seen::TookTurns, others_due);
        let one = &world.oracle.vms[vm];
        let destroyed = matches!(call, SecureCall::Tell { event: VmAvailability::Destroyed, .. });
        self.see(Seen::ToldOfEnd, destroyed);
        let in_hand = one.sps.iter().any(|sp| sp.leaving);
        self.see(Seen::ResumedDestroyed, matches!(call, SecureCall::Run { .. }) && in_hand);
        world.oracle.called(&self.scope.terms, vm, call, subject.map(|shown| shown.subject));
    }

    fn finished(&self, world: &mut World, vm: usize, key: VmKey, end: ffa_teardown::End, give_back: bool) {
        use ffa_teardown::End;
        let give_back = self.scope.wrong.gives_back(give_back);
        let one = &world.oracle.vms[vm];
        self.see(Seen::ReferenceDropped, give_back && one.reference);
        self.see(Seen::DroppedAfterPages, give_back && self.saw(Seen::Freed));
        self.see(Seen::Zombie, end == End::Zombie);
        self.see(Seen::Retired, end == End::Retired);
        self.see(Seen::HalfBorn, one.half_born);
        let spared = one.sps.iter().any(|sp| sp.heard == Heard::Nothing);
        self.see(Seen::NotToldOfEnd, spared && one.half_born);
        self.see(Seen::Silent, world.engine.next_deadline().is_none() && end != End::Gone);
        world.oracle.finished(&self.scope.terms, vm, end, give_back);
        if end == End::Gone {
            world
                .oracle
                .demand(Rule::P13, world.engine.phase(key) == Err(Unexpected::UnknownVm { vm: key.id() }));
            let absent = world.oracle.vms.iter().all(|vm| vm.life == Life::Absent);
            self.see(Seen::IdReused, absent);
            world.oracle.demand(Rule::P16, !absent || self.room_in(&world.engine) == self.room());
        } else {
            self.probe_id(world, vm);
        }
    }

    /// An ID that is in use, or retired, is refused, and nothing changes.
    fn probe_id(&self, world: &mut World, vm: usize) {
        let id = world.oracle.vms[vm].id;
        let mut after = world.engine.clone();
        let refused = after.create(id, std::iter::empty()) == Err(CreateError::IdTaken { vm: id });
        self.see(Seen::IdRefused, refused);
        world.oracle.demand(Rule::P13, refused && after == world.engine);
    }

    /// What an answer to the engine's call means in an honest secure world.
    fn effect(&self, world: &mut World, vm: usize, answer: &Answer) {
        let Some(Smc { call, about, .. }) = world.oracle.vms[vm].smc else { return };
        let running = matches!(call, SecureCall::Run { .. });
        let elsewhere = matches!(about, About::Sp(sp) if self.scope.terms.sps[sp].sp != self.first_sp());
        self.notifications_after(world, vm, answer);
        if !elsewhere {
            self.happens(world, self.work(world, vm, about), running, answer);
        }
    }

    /// The work that a call is.
    fn work(&self, world: &World, vm: usize, about: About) -> Work {
        match about {
            About::Sp(sp) => {
                let sp = &world.oracle.vms[vm].sps[sp];
                let asks = world.oracle.vms[vm].smc.as_ref().map(|smc| smc.call);
                match asks {
                    Some(SecureCall::Tell { event: VmAvailability::Created, .. }) => Work::Created(vm),
                    Some(SecureCall::Tell { .. }) => Work::Destroyed(vm),
                    _ if sp.heard == Heard::InHand => Work::Created(vm),
                    _ => Work::Destroyed(vm),
                }
            }
            About::Request(_) => Work::Request(vm),
            About::Share(share) => Self::reclaim(world.oracle.vms[vm].shares[share].handle),
            About::Kept(_) | About::Binding(_) | About::NewBitmap => Work::Service,
        }
    }

    /// What comes in an honest world of a call that is `work` for the SP, or if `running` of FFA_RUN.
    fn happens(&self, world: &mut World, work: Work, running: bool, answer: &Answer) {
        if !self.scope.terms.honest {
            return;
        }
        let meant = if running { world.work } else { work };
        let read = reading::read(answer);
        match (read, meant) {
            (Reading::Preempted { endpoint, .. }, _) => {
                if !running && endpoint == self.first_sp().0 {
                    world.work = work;
                }
                return;
            }
            (Reading::Success { .. }, Work::Reclaim(handle)) => {
                if let Some((vm, share)) = Self::owner(world, Some(handle)) {
                    world.oracle.vms[vm].shares[share].truth = None;
                }
            }
            (Reading::Error(code), meant)
                if meant.is_message()
                    && (reading::passes(code)
                        || matches!(code, reading::DENIED | reading::INVALID | reading::NO_MEMORY)) =>
            {
                return;
            }
            (Reading::Response { sender, receiver: 0, framework: Some((_, refusal)) }, _)
                if sender == self.first_sp().0 && refusal != 0 => {}
            // What has come to an end without a word was done as well.
            (Reading::Response { sender, .. }, meant) if running || sender == self.first_sp().0 => {
                self.heard(world, meant);
            }
            (_, meant) if running => self.heard(world, meant),
            _ => {}
        }
        if running {
            world.work = Work::Nothing;
        }
    }

    /// The first SP has done what a message asks.
    fn heard(&self, world: &mut World, message: Work) {
        match message {
            // Without a restart what it knows is what it has said.
            _ if !self.scope.restart => {}
            Work::Created(vm) => world.oracle.vms[vm].is_known = true,
            Work::Destroyed(vm) => world.oracle.vms[vm].is_known = false,
            Work::Nothing | Work::Reclaim(_) | Work::Service | Work::Request(_) => {}
        }
    }

    fn arrive(&self, world: &mut World, vm: usize, answer: &Answer) {
        let (key, call) = (world.oracle.key(vm), world.oracle.vms[vm].smc.as_ref().expect("in flight").call);
        let read = self.scope.wrong.misread(call, *answer);
        let decision = match world.engine.answered(key, call, &read, NOW) {
            Ok(judged) => judged.decision,
            Err(_) => return world.oracle.demand(Rule::P9, false),
        };
        // The same answer once more is an error and changes nothing.
        let mut after = world.engine.clone();
        let stale = after.answered(key, call, &read, NOW) == Err(Unexpected::NotInFlight { vm: key.id() });
        world.oracle.demand(Rule::P9, stale && after == world.engine);
        let owned = |kept: &&Kept| kept.what == Standing::RxOwned;
        let rx_owned = world.oracle.vms[vm].kept.iter().filter(owned).count();
        world.oracle.answered(&self.scope.terms, vm, answer, decision);
        match decision {
            Decision::Confirmed { share } => {
                self.see(Seen::Freed, true);
                let at = world.oracle.vms[vm].shares.iter().position(|known| known.id.0 == share);
                let at = at.expect("one of its shares");
                self.see(Seen::Recovered, world.oracle.vms[vm].ended.is_some());
                self.release_unless_fine(world, vm, at);
            }
            Decision::Gone { share } => {
                self.see(Seen::Gone, true);
                let at = world.oracle.vms[vm].shares.iter().position(|known| known.id.0 == share);
                self.release_unless_fine(world, vm, at.expect("one of its shares"));
            }
            Decision::Returned { pages } => {
                self.see(Seen::Moot, rx_owned > 0);
                let released = world.engine.released(world.oracle.key(vm), pages);
                world.oracle.demand(Rule::P15, released.is_ok());
            }
            Decision::GivenUp { share } => {
                self.see(Seen::Quarantined, share.is_some());
                self.see(Seen::GaveUpTrying, true);
            }
            Decision::HandOver { share } => {
                self.see(Seen::Quarantined, true);
                self.hand_over(world, vm, share);
            }
            Decision::TryAgain { .. } => self.see(Seen::WaitedInQueue, true),
            Decision::NoBitmap => {
                let doubtful = world.oracle.vms[vm].kept.iter().any(|kept| kept.what == Standing::Bitmap);
                self.see(Seen::NoBitmap, !doubtful);
                self.see(Seen::DoubtfulBitmap, doubtful);
            }
            Decision::BitmapCreated => self.see(Seen::BitmapCreated, true),
            Decision::Met
            | Decision::Told
            | Decision::Drained
            | Decision::GoesOn
            | Decision::CreationFailed => {}
        }
    }

    /// Until the hypervisor has the pages on its list the VM is there, and nothing else is done for it.
    fn hand_over(&self, world: &mut World, vm: usize, share: ShareId) {
        let key = world.oracle.key(vm);
        world.oracle.demand(Rule::P15, world.oracle.vms[vm].may_be_touched());
        world.engine.handed_over(key, share).expect("to be handed over");
        let mut after = world.engine.clone();
        world.oracle.demand(Rule::P6, after.handed_over(key, share).is_err() && after == world.engine);
    }

    fn release_unless_fine(&self, world: &mut World, vm: usize, share: usize) {
        if !self.scope.fine {
            self.release(world, vm, share);
        }
    }

    fn release(&self, world: &mut World, vm: usize, share: usize) {
        let (key, id) = (world.oracle.key(vm), world.oracle.vms[vm].shares[share].id.0);
        // Until its pages are back the share is on the list, and the VM is there.
        let listed = world
            .engine
            .shares(key)
            .any(|shown| matches!(shown.subject, Subject::Share { share, .. } if share == id));
        let referenced = world.oracle.vms[vm].may_be_touched();
        world.oracle.demand(Rule::P15, listed && referenced);
        world.oracle.released(&self.scope.terms, vm, share);
        world.engine.released(key, id).expect("on its way back");
        let mut after = world.engine.clone();
        world.oracle.demand(Rule::P6, after.released(key, id).is_err() && after == world.engine);
    }

    fn send_answered(&self, world: &mut World, vm: usize, share: usize, answer: &Answer) {
        let (key, id) = (world.oracle.key(vm), world.oracle.vms[vm].shares[share].id.0);
        if self.scope.terms.honest {
            let Hold::Sending { resumed } = world.oracle.vms[vm].shares[share].hold else { unreachable!() };
            let had = world.oracle.vms[vm].shares[share].truth;
            world.oracle.vms[vm].shares[share].truth = self.has_it(world, answer, resumed, had);
            self.happens(world, Work::Service, resumed, answer);
        }
        let read = self.scope.wrong.misread_send(*answer);
        let outcome = world.engine.send_answered(key, id, &read, NOW).expect("being sent");
        let before = world.oracle.vms.iter().flat_map(|vm| &vm.shares).filter_map(|share| share.handle);
        if let SendOutcome::Sent(handle) = outcome {
            self.see(Seen::Anew, before.into_iter().any(|known| known == handle));
        }
        self.see(Seen::Unknown, matches!(outcome, SendOutcome::Unknown { .. }));
        world.oracle.send_answered(&self.scope.terms, vm, share, answer, outcome);
        if matches!(outcome, SendOutcome::Refused(_)) {
            self.release_unless_fine(world, vm, share);
        }
        self.probe_foreign(world);
    }

    /// Whether, and under which handle, an honest secure world has a share after this answer. Where the answer leaves
    /// it open, it has.
    fn has_it(&self, world: &World, answer: &Answer, resumed: bool, had: Option<Handle>) -> Option<Handle> {
        let shares = || world.oracle.vms.iter().flat_map(|vm| &vm.shares);
        let free = |raw: &u64| !shares().any(|share| share.truth == Handle::new(*raw).ok());
        let somewhere = || (0..).find(free).and_then(|raw| Handle::new(raw).ok());
        match reading::read(answer) {
            Reading::Success { value, .. } | Reading::More(value) => Handle::new(value).ok(),
            Reading::Error(code) if !resumed && code != reading::ABORTED && (-10..0).contains(&code) => None,
            Reading::Preempted { .. } => had,
            _ => had.or_else(somewhere),
        }
    }

    /// A handle that is not the guest's own leads to nothing and changes nothing.
    fn probe_foreign(&self, world: &mut World) {
        let handles: Vec<_> =
            world.oracle.vms.iter().flat_map(|vm| &vm.shares).filter_map(|share| share.handle).collect();
        for vm in 0..world.oracle.vms.len() {
            let one = &world.oracle.vms[vm];
            let Some(key) = one.key.0.filter(|_| one.life == Life::Live) else { continue };
            let own = |handle| one.shares.iter().any(|share| share.handle == Some(handle) && share.named);
            let foreign: Vec<_> = handles.iter().copied().filter(|handle| !own(*handle)).collect();
            for handle in foreign.into_iter().chain(Handle::new(u64::MAX - 1)) {
                let mut after = world.engine.clone();
                let refused = after.begin_reclaim(key, handle) == Err(BeginError::NotFound)
                    && after.begin_donation_reclaim(key, handle) == Err(BeginError::NotFound);
                self.see(Seen::ForeignRefused, refused && handle.get() < 1 << 32);
                world.oracle.demand(Rule::P7, refused && after == world.engine);
            }
        }
    }

    fn reclaim_arrives(&self, world: &mut World, vm: usize, share: usize, answer: &Answer) {
        let (key, id) = (world.oracle.key(vm), world.oracle.vms[vm].shares[share].id.0);
        let outcome = world.engine.reclaim_answered(key, id, answer).expect("being reclaimed");
        world.oracle.reclaim_answered(&self.scope.terms, vm, share, answer, outcome);
        let gone = matches!(outcome, ReclaimOutcome::Gone(_));
        self.see(Seen::FreedByGuest, outcome == ReclaimOutcome::Confirmed);
        self.see(Seen::Gone, gone);
        if gone || outcome == ReclaimOutcome::Confirmed {
            self.release_unless_fine(world, vm, share);
        }
    }

    /// Whether this state is one of those to follow to their end.
    pub fn follows(&self, world: &World) -> bool {
        let every = self.scope.kind_every;
        every == 1 || {
            let mut hasher = DefaultHasher::new();
            world.hash(&mut hasher);
            hasher.finish() % every == 0
        }
    }

    /// Follows a state to its end: every VM dies, every answer is the best there is. Whether everything is over then,
    /// after no more calls than there were obligations to meet.
    pub fn ends_kindly(&self, world: &World) -> bool {
        let mut world = world.clone();
        let (mut calls, mut duties) = (0, 0);
        for (at, vm) in world.oracle.vms.clone().iter().enumerate() {
            if let Some(key) = vm.key.0 {
                duties += self.calls_to_end(&world, key) + vm.sps.len() + vm.in_hand();
                if matches!(vm.life, Life::Creating | Life::Live) {
                    self.destroy(&mut world, at);
                }
            }
        }
        for _ in 0..100 * (duties + 1) {
            if let Some(step) = self.kind_step(&world) {
                calls += usize::from(matches!(step, Step::Answer(..)));
                self.apply(&mut world, step);
                continue;
            }
            match world.engine.next_deadline() {
                Some(NOW) => self.apply(&mut world, Step::Next),
                Some(until) => self.apply(&mut world, Step::Wait(until.as_nanos())),
                None => break,
            }
        }
        Self::most(&self.longest_end, calls);
        let over = world.oracle.vms.iter().all(|vm| matches!(vm.life, Life::Absent | Life::Over(_)));
        self.see(Seen::EndedKindly, over && calls > 0);
        over && world.engine.next_deadline().is_none() && calls <= duties
    }

    /// How many calls the obligations of a VM may cost, if all answers are as kind as is true.
    pub fn calls_to_end(&self, world: &World, vm: VmKey) -> usize {
        let calls = |subject| match subject {
            // What is pending is fetched first, and what is in doubt may have to be denied.
            Subject::Binding { .. } | Subject::Standing { what: Standing::Bitmap, .. } => 4,
            Subject::Loan(_) => 0,
            _ => 1,
        };
        world.engine.obligations(vm).map(|obligation| calls(obligation.subject)).sum()
    }

    /// The best answer to a call in flight, if there is one.
    pub fn kind_step(&self, world: &World) -> Option<Step> {
        world.oracle.vms.iter().enumerate().find_map(|(at, vm)| {
            let asks_for_donation =
                |smc: &Smc| matches!(smc.about, About::Share(share) if vm.shares[share].is_donation());
            let waits = |donation: bool| donation && Self::is_sending(world);
            if let Some(smc) = &vm.smc {
                if waits(asks_for_donation(smc)) {
                    return None;
                }
                let elsewhere =
                    matches!(smc.about, About::Sp(sp) if self.scope.terms.sps[sp].sp != self.first_sp());
                let running = matches!(smc.call, SecureCall::Run { .. }) && !elsewhere;
                if self.is_asked_in_vain(world, at) {
                    return Some(Step::NotNamed(at));
                }
                let step = match (smc.reply, self.run_kindly(world, self.work(world, at, smc.about), running))
                {
                    (Some(_), _) => Step::Arrive(at),
                    (None, Some(answer)) => Step::Answer(at, answer),
                    (None, None) => Step::Answer(at, self.kind_answer(vm, smc)),
                };
                return Some(step);
            }
            let share = vm.shares.iter().enumerate().find_map(|(position, share)| match share.hold {
                Hold::Returning | Hold::Going => Some(Step::Release(at, position)),
                Hold::Asked if share.reply.is_some() => Some(Step::ArriveReclaim(at, position)),
                Hold::Asked => {
                    let own = Self::reclaim(share.handle);
                    let other = self.run_kindly(world, own, share.in_hand.is_some());
                    let done = self.reclaimed_kindly(share);
                    Some(Step::AnswerReclaim(at, position, other.unwrap_or(done)))
                }
                Hold::Sending { resumed: false } => Some(Step::Abandon(at, position)),
                Hold::Sending { resumed: true } => {
                    let fresh =
                        answers::success(ffa_abi::Width::Smc32, 1 << 40 | position as u64 | (at as u64) << 8);
                    let other = self.run_kindly(world, Work::Service, true);
                    Some(Step::AnswerSend(at, position, other.unwrap_or(fresh)))
                }
                Hold::Held | Hold::Quarantined => None,
            });
            let request = || {
                let position = vm.requests.iter().position(|request| request.in_flight)?;
                let response = answers::response(vm.requests[position].sp, vm.id);
                let other = self.run_kindly(world, Work::Request(at), vm.requests[position].in_hand);
                Some(Step::AnswerRequest(at, position, other.unwrap_or(response)))
            };
            let kept = || {
                let position = vm.kept.iter().position(|kept| kept.in_flight)?;
                Some(Step::Kept(at, position, true))
            };
            let loan = || (!vm.loans.is_empty()).then_some(Step::EndLoan(at, 0));
            share.or_else(request).or_else(kept).or_else(|| self.kind_binding(vm, at)).or_else(loan)
        })
    }

    /// The best answer to FFA_RUN where the SP does not have in hand what it is `meant` to be run for, in an honest world.
    fn run_kindly(&self, world: &World, meant: Work, running: bool) -> Option<Answer> {
        let has_it = world.work == meant || !self.scope.terms.honest;
        (running && !has_it).then(|| match world.work {
            Work::Nothing => Answer::MsgWait,
            Work::Reclaim(_) | Work::Service => answers::success(ffa_abi::Width::Smc32, 0),
            Work::Created(_) | Work::Destroyed(_) | Work::Request(_) => {
                self.response(world).expect("a message is in hand")
            }
        })
    }

    fn kind_answer(&self, vm: &Vm, smc: &Smc) -> Answer {
        let resumed = match smc.about {
            About::Sp(at) => {
                let event = match vm.sps[at].heard {
                    Heard::InHand => VmAvailability::Created,
                    _ => VmAvailability::Destroyed,
                };
                let call = SecureCall::Tell { sp: self.scope.terms.sps[at].sp, vm: vm.id, event };
                Some(answers::kind(call, None))
            }
            About::Request(at) => Some(answers::response(vm.requests[at].sp, vm.id)),
            About::Share(at) => Some(self.reclaimed_kindly(&vm.shares[at])),
            About::Kept(_) | About::Binding(_) | About::NewBitmap if !self.succeeds_kindly(vm, smc) => {
                return bindings::denied();
            }
            About::Kept(_) | About::Binding(_) | About::NewBitmap => None,
        };
        match (smc.call, resumed) {
            (SecureCall::MemReclaim { .. }, Some(answer)) => answer,
            (call, resumed) => answers::kind(call, resumed),
        }
    }

    /// The best answer to the reclaim of a share: an honest world has nothing better for a donation that is another's.
    fn reclaimed_kindly(&self, share: &Share) -> Answer {
        let is_too_late = self.scope.terms.honest && share.retrieved;
        if is_too_late { answers::unknown() } else { answers::success(ffa_abi::Width::Smc32, 0) }
    }
}
