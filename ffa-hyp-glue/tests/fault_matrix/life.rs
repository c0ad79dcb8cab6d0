//! One VM's life from its creation to its end and beyond, beside another VM that nothing may happen to.

use ffa_abi::{Answer, Function, FunctionId, Handle, PartitionId, Properties, Regs, Version, VmAvailability};
use ffa_hyp_glue::{Creation, EventKind, GuestInterrupts, ProbeFailure, Settings};
use ffa_mem::SendFlags;
use ffa_teardown::{Disposal, Policy, Span};
use ffa_test_utils::fault::{CallKind, Fault, FaultPlan};
use ffa_test_utils::hypervisor::{Machine, ModelHypervisor, Region, Smc, Violation};
use ffa_test_utils::spmc::{Config, Control, LiveHandle, Script, SpConfig};

use crate::answers::is_defined;
use crate::common::sends::{SHARE, Send};
use crate::common::*;
use crate::plans::is_send;
use crate::stories::Story;

const MEM_FRAG_TX: u64 = 0x8400_007b;
const REQUEST: u64 = 0x8400_006f;

/// A call to the secure world, as it was made and answered in a life without faults.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What is called.
    pub call: CallKind,
    /// How often that was called by then, this time included.
    pub nth: u32,
    pub answer: Regs,
    /// Bytes of the descriptor that is being sent.
    pub total: u32,
    /// While the mediator finds out what there is.
    pub at_boot: bool,
    /// It sends memory whose pages are held.
    pub holds_pages: bool,
}

impl Step {
    pub fn succeeds(&self) -> bool {
        matches!(Answer::from_regs(&self.answer), Answer::Success(_))
    }

    /// Whether it sends memory, and this is its handle.
    pub fn names(&self, handle: Handle) -> bool {
        is_send(&self.call) && named_by(&self.answer) == Some(handle)
    }
}

/// The handle in the answer to a send.
fn named_by(answer: &Regs) -> Option<Handle> {
    match Answer::from_regs(answer) {
        Answer::MemFragRx(next) => Some(next.handle),
        _ => handle_of(answer),
    }
}

/// The life of VM 1, and of VM 2, which has what it had before.
pub struct Life {
    pub world: World,
    story: &'static Story,
    /// Every handle that VM 1 was told.
    pub told: Vec<Handle>,
    /// What VM 2 shares.
    others: Vec<Handle>,
    /// The mediator has found out what there is from a secure world that had faults: it may serve less.
    pub serves_less: bool,
    /// What was called since faults happen, and whether it was for VM 1.
    smcs: Vec<(Smc, bool)>,
}

/// Pages that are left when all is over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Left {
    /// Of dead VMs, and nobody else can have them.
    pub kept: u64,
    /// Given away.
    pub donated: u64,
}

/// Properties of all partitions.
const PROPERTIES: Properties = SpConfig::SUBSCRIBED.or(Properties::RECEIVES_NOTIFICATIONS);

fn machine_of(config: impl Into<Config>, story: &Story, disposal: Disposal) -> Machine {
    let sps = [(SP1, story.script), (SP2, Script::LAZY)];
    let sps = sps.map(|(id, script)| SpConfig::new(id, script).with_properties(PROPERTIES));
    let settings = Settings {
        interrupts: Some(GuestInterrupts::SGI),
        pages_per_share: 512,
        teardown: Policy { disposal, ..Policy::DEFAULT },
        ..Settings::DEFAULT
    };
    Machine { settings, frames: 1024, vms: 4, duties: 48, ranges: 64, ..machine(config, sps.into()) }
}

impl Life {
    /// Boots with the faults of `plan`, if there is a mediator then.
    pub fn boot(
        config: impl Into<Config>,
        story: &'static Story,
        disposal: Disposal,
        plan: FaultPlan,
    ) -> Result<Self, ProbeFailure> {
        let machine = Machine { plan, ..machine_of(config, story, disposal) };
        let world = World { preset: machine.secure.name, hypervisor: ModelHypervisor::new(machine)? };
        let (told, others, smcs) = (Vec::new(), Vec::new(), Vec::new());
        let mut life = Self { world, story, told, others, serves_less: false, smcs };
        life.note(true);
        Ok(life)
    }

    /// VM 2 comes, and shares.
    pub fn begin(&mut self) {
        let memory = [Region::block(TX, 16)];
        assert_eq!(self.world.hypervisor.create(VM2, &memory), Ok(Creation::Live));
        self.world.negotiate(VM2, Version::V1_1);
        let mapped = self.call(VM2, [0xc400_0066, TX, RX, 1]);
        assert!(is_defined(0xc400_0066, &mapped), "{mapped:x?}");
        self.other_shares();
        self.note(false);
    }

    /// Has faults happen from now on.
    pub fn add_faults(&mut self, faults: Vec<Fault>) {
        self.smcs.clear();
        faults.into_iter().for_each(|fault| self.world.hypervisor.plan_mut().add(fault));
    }

    /// Remembers what was called since this was done last. Faults are for what `is_ours`.
    fn note(&mut self, is_ours: bool) {
        let smcs = self.world.hypervisor.take_smcs();
        self.smcs.extend(smcs.into_iter().map(|smc| (smc, is_ours)));
    }

    /// The life of VM 1 to its last page, as far as it goes by itself.
    pub fn live(&mut self) {
        match self.world.hypervisor.create(VM1, self.story.memory) {
            Ok(Creation::Live) => {
                let version = self.call(VM1, [0x8400_0063, 0x1_0001]);
                assert_eq!(version, Regs::new([0x1_0001]));
                self.call(VM1, [0xc400_0066, TX, RX, 1]);
                (self.story.play)(self);
                self.note(true);
                self.other_shares();
                self.note(false);
                self.world.destroy(VM1);
            }
            Ok(Creation::Failed(_)) => {}
            other => panic!("{}: {other:?}", self.world.preset),
        }
        self.world.hypervisor.advance(Span::from_millis(1));
        self.note(true);
        self.other_shares();
        self.note(false);
        self.world.hypervisor.settle(LONG);
        self.note(true);
    }

    /// The steps so far that are ours.
    pub fn steps(&self, at_boot: bool) -> Vec<Step> {
        let mut counts: Vec<(CallKind, u32)> = Vec::new();
        let (mut steps, mut total) = (Vec::new(), 0);
        for (smc, is_ours) in &self.smcs {
            let call = kind(&smc.regs);
            let nth = match counts.iter_mut().find(|(kind, _)| *kind == call) {
                Some((_, count)) => {
                    *count += 1;
                    *count
                }
                None => {
                    counts.push((call, 1));
                    1
                }
            };
            if [0x71, 0x72, 0x73].contains(&(smc.regs.w::<0>() & 0xff)) {
                total = smc.regs.w::<1>();
            }
            if *is_ours {
                let holds_pages = match Answer::from_regs(&smc.answer) {
                    Answer::Success(_) => is_send(&call),
                    Answer::MemFragRx(_) => !self.story.in_fragments,
                    _ => false,
                };
                steps.push(Step { call, nth, answer: smc.answer, total, at_boot, holds_pages });
            }
        }
        steps
    }

    /// A call of a guest, whose answer must be one that FF-A defines.
    pub fn call<const N: usize>(&mut self, vm: PartitionId, head: [u64; N]) -> Regs {
        let answer = self.world.call(vm, head);
        assert!(is_defined(head[0], &answer), "{}: {head:x?}: {answer:x?}", self.world.preset);
        answer
    }

    /// Sends memory to SP 1, in one go.
    pub fn send(&mut self, send: Send, ranges: &[(u64, u32)]) -> Option<Handle> {
        let bytes = send.describe(&[SP1], ranges, SendFlags::NONE);
        self.world.write_tx(VM1, &bytes);
        let len = bytes.len() as u64;
        let answer = self.call(VM1, [send.w0, len, len]);
        self.hear(&answer)
    }

    /// The same in fragments: the head and one range, and then one by one until the last but `missing`.
    pub fn send_in_fragments(&mut self, send: Send, ranges: &[(u64, u32)], missing: usize) -> Option<Handle> {
        let bytes = send.describe(&[SP1], ranges, SendFlags::NONE);
        let first = bytes.len() - 16 * (ranges.len() - 1);
        self.world.write_tx(VM1, &bytes[..first]);
        let mut answer = self.call(VM1, [send.w0, bytes.len() as u64, first as u64]);
        let mut handle = self.hear(&answer);
        for _ in 1..ranges.len() - missing {
            let Answer::MemFragRx(next) = Answer::from_regs(&answer) else { break };
            let (from, [low, high]) = (next.offset as usize, next.handle.words());
            self.world.write_tx(VM1, &bytes[from..from + 16]);
            answer = self.call(VM1, [MEM_FRAG_TX, low, high, 16]);
            handle = self.hear(&answer);
        }
        handle
    }

    /// Notes a handle that VM 1 is told. Returns it if the transaction is complete.
    fn hear(&mut self, answer: &Regs) -> Option<Handle> {
        self.told.extend(named_by(answer));
        handle_of(answer)
    }

    pub fn reclaim(&mut self, handle: Handle) -> Regs {
        let [low, high] = handle.words();
        self.call(VM1, [MEM_RECLAIM, low, high])
    }

    /// Has SP 1 do something, if it is told.
    pub fn ask_sp(&mut self, control: Control) {
        let mut regs = [0; 8];
        (regs[0], regs[1]) = (REQUEST, u64::from(PartitionId::pair(VM1, SP1)));
        regs[3..].copy_from_slice(&control.payload());
        self.call(VM1, regs);
    }

    /// VM 2 shares one page more with SP 2.
    fn other_shares(&mut self) {
        let page = PAGES + 2 * self.others.len() as u64 * PAGE;
        let bytes = SHARE.describe_in(Version::V1_1, VM2, &[SP2], &[(page, 1)], SendFlags::NONE);
        self.world.write_tx(VM2, &bytes);
        let len = bytes.len() as u64;
        let answer = self.call(VM2, [MEM_SHARE, len, len]);
        self.others.extend(handle_of(&answer));
    }

    /// What is said of VM 1 agrees with what is so: of its pages that nobody can have each is tried again, or given up and
    /// told of once.
    #[track_caller]
    pub fn check_books(&mut self) {
        let hypervisor = &mut self.world.hypervisor;
        let orphans = hypervisor.orphans(Some(VM1));
        let report = hypervisor.report(VM1);
        assert_eq!(report.map_or(0, |report| report.pages), orphans, "{report:?}");
        let mediator = hypervisor.mediator();
        let listed: Vec<_> =
            (0..).map_while(|skip| mediator.quarantined(skip)).filter(|one| one.vm == VM1).collect();
        let pages: u64 = listed.iter().map(|one| one.pages).sum();
        let open = report.map_or(0, |report| report.open);
        assert!(pages == orphans || open > 0 && hypervisor.deadline().is_some(), "{listed:?} {report:?}");
        let events = hypervisor.take_events().into_iter();
        let of_vm = events.filter(|(_, event)| event.vm == VM1);
        let events: Vec<u64> = of_vm
            .filter_map(|(_, event)| match event.kind {
                EventKind::Quarantined { pages } => Some(pages.into()),
                _ => None,
            })
            .collect();
        assert_eq!((events.len(), events.iter().sum()), (listed.len(), pages), "{listed:?}");
    }

    /// The faults end, the partitions are restarted, and what was given up is tried again.
    pub fn heal(&mut self) {
        let hypervisor = &mut self.world.hypervisor;
        hypervisor.plan_mut().clear();
        hypervisor.restart(SP1);
        hypervisor.restart(SP2);
        let _ = hypervisor.retry(None);
        assert!(hypervisor.settle(LONG), "{}: {:?}", self.world.preset, hypervisor.report(VM1));
    }

    /// VM 2 has back what it shared, shares once more, and dies.
    pub fn end_other(&mut self) {
        for handle in core::mem::take(&mut self.others) {
            assert_eq!(self.world.reclaim(VM2, handle), Regs::success(0, 0), "{}", self.world.preset);
        }
        self.other_shares();
        let shares = self.others.len() == 1;
        assert!(shares || self.serves_less, "{}: VM 2 cannot share any more", self.world.preset);
        self.world.destroy(VM2);
        assert!(self.world.hypervisor.settle(LONG));
    }

    /// What is left of both.
    pub fn left(&self) -> Left {
        let frames = self.world.hypervisor.frames();
        Left { kept: frames.orphans + frames.leaked, donated: frames.donated }
    }

    /// What the secure world still has under the ID of VM 1, if that is free, and whether it has told that handle.
    pub fn stale(&self) -> Vec<(LiveHandle, bool)> {
        if self.world.hypervisor.report(VM1).is_some() {
            return Vec::new();
        }
        let mut named = Vec::new();
        for (Smc { regs, answer, .. }, _) in &self.smcs {
            if is_send(&kind(regs)) {
                named.extend(named_by(answer));
            }
        }
        let spmc = self.world.hypervisor.spmc();
        spmc.live_handles()
            .filter(|live| live.owner == VM1)
            .map(|live| (live, named.contains(&live.handle)))
            .collect()
    }

    /// The secure world keeps no buffers, bitmap or notifications under the ID of VM 1, if that is free.
    #[track_caller]
    pub fn check_kept(&self) {
        if self.world.hypervisor.report(VM1).is_none() {
            let kept: Vec<_> = self.world.hypervisor.spmc().kept().filter(|kept| kept.vm == VM1).collect();
            assert_eq!(kept, [], "{}", self.world.preset);
        }
    }

    /// A VM that is born with the ID that VM 1 had, or with another if that is retired, sees nothing of it.
    pub fn newborn(&mut self) {
        let memory = [Region::block(TX, 16)];
        let retired = self.world.hypervisor.report(VM1).is_some();
        if retired {
            assert!(self.world.hypervisor.create(VM1, &memory).is_err());
        }
        let vm = if retired { PartitionId(3) } else { VM1 };
        assert_eq!(self.world.hypervisor.create(vm, &memory), Ok(Creation::Live), "{}", self.world.preset);
        let nothing = |answer: &Regs| status_of(answer).is_some();
        assert!(nothing(&self.call(vm, [0x8400_0069])), "no version yet");
        self.world.negotiate(vm, Version::V1_1);
        assert!(nothing(&self.call(vm, [0x8400_0065])), "no RX");
        assert!(nothing(&self.call(vm, [0x8400_0067])), "no buffers");
        let get = self.call(vm, [0x8400_0082, u64::from(vm.0), 0xf]);
        assert!(nothing(&get) || get == Regs::success(0, 0), "no notifications: {get:x?}");
        let pending = self.call(vm, [0xc400_0083]);
        assert!(nothing(&pending), "nobody has any: {pending:x?}");
        self.world.map(vm);
        let mut found = [0xff; 16 * PAGE as usize];
        self.world.hypervisor.read(vm, TX, &mut found);
        assert!(found.iter().all(|byte| *byte == 0), "its memory is as new");
        for handle in core::mem::take(&mut self.told) {
            let [low, high] = handle.words();
            self.world.refused("reclaim", vm, [MEM_RECLAIM, low, high], ffa_abi::Status::InvalidParameters);
            self.world.refused("part", vm, [MEM_FRAG_TX, low, high, 16], ffa_abi::Status::InvalidParameters);
        }
        let bytes = SHARE.describe_in(Version::V1_1, vm, &[SP2], &[(PAGES, 2)], SendFlags::NONE);
        for _ in 0..2 {
            let answer = self.world.send(vm, &bytes);
            match handle_of(&answer) {
                Some(handle) => assert_eq!(self.world.reclaim(vm, handle), Regs::success(0, 0)),
                None => assert!(self.serves_less, "{}: {answer:x?}", self.world.preset),
            }
        }
        let _open = self.world.send(vm, &bytes);
        self.world.destroy(vm);
        assert!(self.world.hypervisor.settle(LONG));
        assert_eq!(self.world.hypervisor.report(vm), None, "{}", self.world.preset);
    }

    /// What must never happen and did.
    pub fn violations(&self) -> Vec<Violation> {
        self.world.hypervisor.violations()
    }
}

/// What a call is, for faults.
fn kind(regs: &Regs) -> CallKind {
    let function = FunctionId::from_w0(regs.w::<0>()).expect("a call of FF-A").function();
    let framework = function == Function::MsgSendDirectReq && regs.w::<2>() >> 31 == 1;
    match regs.w::<2>() & 0xff {
        4 if framework => CallKind::vm_message(VmAvailability::Created),
        6 if framework => CallKind::vm_message(VmAvailability::Destroyed),
        _ => CallKind::function(function),
    }
}
