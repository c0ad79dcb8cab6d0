use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use ffa_abi::{Answer, Function, PartitionId, Regs, RunTarget, Status};
use ffa_teardown::Span;

use super::call::{CallKind, Facts, paused_context};
use super::spoil::{FaultAction, issued_handle};
use crate::Rng;

/// One fault: what happens to which calls, and when.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fault {
    /// The calls it is for.
    pub call: CallKind,
    /// Which of them.
    pub when: When,
    /// What happens.
    pub action: FaultAction,
}

/// Which of the matching calls, counted from 1. FFA_RUN of a call that a fault paused is neither that
/// call nor any other but [`What::Resume`](super::What::Resume).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum When {
    /// This one.
    Nth(u32),
    /// The first so many.
    First(u32),
    /// All after the first so many.
    After(u32),
    /// All.
    Every,
    /// The first, the third, and so on.
    Alternating,
    /// Each with one chance in so many, drawn from the seed of the plan.
    OneIn(u32),
}

/// A list of faults with the state that they need. Deterministic: the same calls meet the same faults.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    faults: Vec<Armed>,
    rng: Rng,
    /// Live handles and the order in which they were issued.
    handles: BTreeMap<u64, u32>,
    issued: u32,
    /// Calls that a fault paused, by the context that FFA_RUN must name.
    paused: BTreeMap<u32, Paused>,
    /// Contexts that the secure world paused itself.
    really_paused: BTreeSet<u32>,
    forgotten: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    fault: Fault,
    matched: u32,
    fired: u32,
}

impl Armed {
    const fn new(fault: Fault) -> Self {
        Self { fault, matched: 0, fired: 0 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Paused {
    regs: Regs,
    /// Answers still to give, this kind.
    left: u32,
    timeout: Option<Span>,
}

/// Names the context of a paused call that is not to a partition.
const SPMC: PartitionId = PartitionId(0x8000);

impl FaultPlan {
    /// The given faults. Of several that fit a call the first one happens.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self::seeded(0, faults)
    }

    /// The given faults, with a seed for those that leave something to chance.
    pub fn seeded(seed: u64, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            faults: faults.into_iter().map(Armed::new).collect(),
            rng: Rng::new(seed),
            handles: BTreeMap::new(),
            issued: 0,
            paused: BTreeMap::new(),
            really_paused: BTreeSet::new(),
            forgotten: None,
        }
    }

    /// No faults.
    #[must_use]
    pub fn none() -> Self {
        Self::new([])
    }

    /// One fault more, after those that there are. It counts the calls from now on.
    pub fn add(&mut self, fault: Fault) {
        self.faults.push(Armed::new(fault));
    }

    /// No faults from now on. What one of them has paused is still to be resumed.
    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// The faults, in order.
    pub fn faults(&self) -> impl Iterator<Item = Fault> {
        self.faults.iter().map(|armed| armed.fault)
    }

    /// How often fault number `index` happened. A test that injects a fault should see that it did.
    #[must_use]
    pub fn fired(&self, index: usize) -> u32 {
        self.faults.get(index).map_or(0, |armed| armed.fired)
    }

    /// How often any fault happened.
    #[must_use]
    pub fn fired_total(&self) -> u64 {
        self.faults.iter().map(|armed| u64::from(armed.fired)).sum()
    }

    /// The half-sent transaction that a [fault](FaultAction::Fail) has ended since this was asked last: whoever models the
    /// secure world has it [forget](crate::spmc::SpmcModel::forget_half_sent) that.
    pub fn take_forgotten(&mut self) -> Option<u64> {
        self.forgotten.take()
    }

    /// Makes the call `regs` through `call`, with what the plan has for it.
    pub fn apply(&mut self, regs: &Regs, mut call: impl FnMut(&Regs) -> Regs) -> Regs {
        let facts = Facts::of(regs);
        let resumes = facts.function == Some(Function::Run) && self.paused.contains_key(&regs.w::<1>());
        if facts.is_message() && self.paused.keys().any(|&word| Some(endpoint(word)) == facts.sp) {
            // The partition is still busy with the call that a fault paused.
            return Regs::error(Status::Busy);
        }
        let Some(index) = self.choose(&facts, resumes) else {
            return self.carry_out(regs, &facts, &mut call);
        };
        let action = self.faults[index].fault.action;
        if let Some(answer) = action.instead(regs, &facts) {
            self.faults[index].fired += 1;
            let fails = matches!(action, FaultAction::Fail(_) | FaultAction::CodeInW1(_));
            if fails && facts.function == Some(Function::MemFragTx) {
                self.forgotten = facts.handle;
            }
            let over = [Answer::Error(Status::Aborted.into()), Answer::MsgWait];
            if resumes && over.contains(&Answer::from_regs(&answer)) {
                // Who is run has died, or has nothing in hand: the call is lost.
                self.paused.remove(&regs.w::<1>());
            }
            return answer;
        }
        let paused = if resumes { None } else { self.pause(action, regs, &facts) };
        if let Some(answer) = paused {
            self.faults[index].fired += 1;
            return answer;
        }
        if let Some(control) = action.before() {
            self.faults[index].fired += 1;
            let _done = call(&control);
            return self.carry_out(regs, &facts, &mut call);
        }
        let answer = self.carry_out(regs, &facts, &mut call);
        let own = issued_handle(&answer);
        let other = self.handles.keys().copied().filter(|&handle| Some(handle) != own).max();
        match action.spoil(&answer, other, &mut self.rng) {
            Some(spoiled) => {
                self.faults[index].fired += 1;
                spoiled
            }
            None => answer,
        }
    }

    /// Makes a call that nothing happens to, or goes on with one that a fault paused.
    fn carry_out(&mut self, regs: &Regs, facts: &Facts, call: &mut impl FnMut(&Regs) -> Regs) -> Regs {
        let resumed =
            (facts.function == Some(Function::Run)).then(|| self.run_paused(regs.w::<1>())).flatten();
        match resumed {
            Some(Resumed::Again(answer)) => answer,
            Some(Resumed::Call(saved)) => {
                let answer = call(&saved);
                self.observe(&saved, &Facts::of(&saved), &answer);
                answer
            }
            None => {
                let answer = call(regs);
                self.observe(regs, facts, &answer);
                answer
            }
        }
    }

    /// The fault that happens to this call, and one more call counted for each that it matches.
    fn choose(&mut self, facts: &Facts, resumes: bool) -> Option<usize> {
        let ordinal = facts.handle.and_then(|handle| self.handles.get(&handle)).copied();
        let mut chosen = None;
        for (index, armed) in self.faults.iter_mut().enumerate() {
            if !facts.match_kind(&armed.fault.call, resumes, ordinal) {
                continue;
            }
            armed.matched = armed.matched.saturating_add(1);
            let now = match armed.fault.when {
                When::Nth(nth) => armed.matched == nth,
                When::First(count) => armed.matched <= count,
                When::After(count) => armed.matched > count,
                When::Every => true,
                When::Alternating => armed.matched % 2 == 1,
                When::OneIn(bound) => self.rng.one_in(bound),
            };
            if now && chosen.is_none() {
                chosen = Some(index);
            }
        }
        chosen
    }

    /// Keeps the call for later, if that is the action and the context is free.
    fn pause(&mut self, action: FaultAction, regs: &Regs, facts: &Facts) -> Option<Regs> {
        let (times, timeout) = match action {
            FaultAction::Interrupt(times) => (times, None),
            FaultAction::Yield(times, timeout) => (times, Some(timeout)),
            _ => return None,
        };
        let target = match facts.sp.filter(|_| facts.is_message()) {
            Some(endpoint) => RunTarget { endpoint, vcpu: 0 },
            None => self.free_spmc_context()?,
        };
        if times == 0 || self.really_paused.contains(&target.word()) {
            return None;
        }
        let paused = Paused { regs: *regs, left: times, timeout };
        self.paused.insert(target.word(), paused);
        match self.run_paused(target.word())? {
            Resumed::Again(answer) => Some(answer),
            Resumed::Call(_) => None,
        }
    }

    fn free_spmc_context(&self) -> Option<RunTarget> {
        let context = |vcpu| RunTarget { endpoint: SPMC, vcpu };
        (0..=u16::MAX).map(context).find(|target| !self.paused.contains_key(&target.word()))
    }

    /// FFA_RUN of a call that a fault paused.
    fn run_paused(&mut self, word: u32) -> Option<Resumed> {
        let paused = self.paused.get_mut(&word)?;
        if paused.left == 0 {
            return self.paused.remove(&word).map(|paused| Resumed::Call(paused.regs));
        }
        paused.left -= 1;
        let target = RunTarget::from_word(word);
        let answer = match paused.timeout {
            None => Answer::Interrupt(target),
            Some(timeout) => Answer::Yield { target, timeout: timeout.as_nanos() },
        };
        Some(Resumed::Again(answer.to_regs()))
    }

    /// Learns from the real answer to a call.
    fn observe(&mut self, regs: &Regs, facts: &Facts, answer: &Regs) {
        match facts.function {
            Some(Function::MemShare | Function::MemLend | Function::MemDonate | Function::MemFragTx) => {
                if let Some(handle) = issued_handle(answer) {
                    self.handles.insert(handle, self.issued);
                    self.issued += 1;
                }
            }
            Some(Function::MemReclaim) if issued_handle(answer).is_some() => {
                self.handles.remove(&facts.handle.unwrap_or(u64::MAX));
            }
            Some(Function::Run) => {
                self.really_paused.remove(&regs.w::<1>());
            }
            _ => {}
        }
        self.really_paused.extend(paused_context(answer));
    }
}

enum Resumed {
    /// Paused once more.
    Again(Regs),
    /// The call is to be made now.
    Call(Regs),
}

fn endpoint(word: u32) -> PartitionId {
    RunTarget::from_word(word).endpoint
}
