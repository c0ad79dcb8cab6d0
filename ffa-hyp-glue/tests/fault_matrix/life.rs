//! One VM's life from its creation to its end and beyond, beside another VM that nothing may happen to.

use ffa_abi::{Answer, Function, FunctionId, Handle, PartitionId, Properties, Regs, Version, VmAvailability};
use ffa_hyp_glue::{Creation, GuestInterrupts, ProbeFailure, Relation, Settings};
use ffa_mem::SendFlags;
use ffa_teardown::Span;
use ffa_test_utils::fault::{CallKind, Fault};
use ffa_test_utils::hypervisor::{Machine, ModelHypervisor, Region, Smc};
use ffa_test_utils::spmc::{Config, Control, Script, SpConfig};

use crate::answers::is_defined;
use crate::common::peers::{RELINQUISH, RETRIEVE, RETRIEVED, RX_RELEASE, Request, relinquishment};
use crate::common::sends::{SHARE, Send};
use crate::common::*;
use crate::plans::is_send;
use crate::stories::Story;

pub const MEM_FRAG_TX: u64 = 0x8400_007b;
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
pub fn named_by(answer: &Regs) -> Option<Handle> {
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
    pub others: Vec<Handle>,
    /// The mediator has found out what there is from a secure world that had faults, or has little room: it may serve less.
    pub serves_less: bool,
    /// Every answer to a guest.
    pub answers: Vec<Regs>,
    /// What was called since faults happen, and whether it was for VM 1.
    pub smcs: Vec<(Smc, bool)>,
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

fn machine_of(config: impl Into<Config>, story: &Story) -> Machine {
    let sps = [(SP1, story.script), (SP2, Script::LAZY)];
    let sps = sps.map(|(id, script)| SpConfig::new(id, script).with_properties(PROPERTIES));
    let settings = Settings {
        interrupts: Some(GuestInterrupts::SGI),
        vm_to_vm: story.with_vm,
        pages_per_share: 512,
        ..Settings::DEFAULT
    };
    let room = machine(config, sps.into());
    let loans = if story.with_vm { 4 } else { 0 };
    Machine { settings, frames: 1024, vms: 4, duties: 48, ranges: 64, loans, ..room }
}

impl Life {
    /// Boots a machine that is `change`d, if there is a mediator then.
    pub fn boot(
        config: impl Into<Config>,
        story: &'static Story,
        change: impl FnOnce(&mut Machine),
    ) -> Result<Self, ProbeFailure> {
        let mut machine = machine_of(config, story);
        change(&mut machine);
        let world = World { preset: machine.secure.name, hypervisor: ModelHypervisor::new(machine)? };
        let (told, others, smcs, answers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut life = Self { world, story, told, others, serves_less: false, answers, smcs };
        life.note(true);
        Ok(life)
    }

    /// VM 2 comes, and shares. Says whether it could.
    pub fn begin(&mut self) -> bool {
        let memory = [Region::block(TX, 16)];
        let permits = |_, relation, partner: PartitionId| partner.is_secure() || relation == Relation::Share;
        self.world.hypervisor.permit(permits);
        let created = self.world.hypervisor.create(VM2, &memory);
        if created.is_err() && self.serves_less {
            return false;
        }
        assert_eq!(created, Ok(Creation::Live));
        self.world.negotiate(VM2, Version::V1_1);
        let mapped = self.call(VM2, [0xc400_0066, TX, RX, 1]);
        assert!(is_defined(0xc400_0066, &mapped), "{mapped:x?}");
        self.other_shares();
        self.note(false);
        true
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
            Err(_) if self.serves_less => {}
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
        self.answers.push(answer);
        answer
    }

    /// Sends memory to SP 1, in one go.
    pub fn send(&mut self, send: Send, ranges: &[(u64, u32)]) -> Option<Handle> {
        self.send_to(send, &[SP1], ranges)
    }

    /// The same to others.
    pub fn send_to(&mut self, send: Send, to: &[PartitionId], ranges: &[(u64, u32)]) -> Option<Handle> {
        let bytes = send.describe(to, ranges, SendFlags::NONE);
        self.world.write_tx(VM1, &bytes);
        let len = bytes.len() as u64;
        let answer = self.call(VM1, [send.w0, len, len]);
        self.hear(&answer)
    }

    /// VM 2 asks for what it was sent.
    pub fn retrieve(&mut self, send: Send, handle: Handle) {
        /// It does not name the other borrowers.
        const ALONE: u32 = 1 << 10;
        let request = Request::of(send, handle);
        let bytes = Request { flags: request.flags | ALONE, ..request }.bytes();
        self.world.write_tx(VM2, &bytes);
        let len = bytes.len() as u64;
        if self.call(VM2, [RETRIEVE, len, len])[0] == RETRIEVED {
            self.call(VM2, [RX_RELEASE]);
        }
    }

    /// VM 2 gives it back.
    pub fn relinquish(&mut self, handle: Handle) {
        self.world.write_tx(VM2, &relinquishment(handle.get(), 0, &[VM2.0]));
        self.call(VM2, [RELINQUISH]);
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
    pub fn other_shares(&mut self) {
        let page = PAGES + 2 * self.others.len() as u64 * PAGE;
        let bytes = SHARE.describe_in(Version::V1_1, VM2, &[SP2], &[(page, 1)], SendFlags::NONE);
        self.world.write_tx(VM2, &bytes);
        let len = bytes.len() as u64;
        let answer = self.call(VM2, [MEM_SHARE, len, len]);
        self.others.extend(handle_of(&answer));
    }
}

/// What a call is, for faults.
pub fn kind(regs: &Regs) -> CallKind {
    let function = FunctionId::from_w0(regs.w::<0>()).expect("a call of FF-A").function();
    let framework = function == Function::MsgSendDirectReq && regs.w::<2>() >> 31 == 1;
    match regs.w::<2>() & 0xff {
        4 if framework => CallKind::vm_message(VmAvailability::Created),
        6 if framework => CallKind::vm_message(VmAvailability::Destroyed),
        _ => CallKind::function(function),
    }
}
