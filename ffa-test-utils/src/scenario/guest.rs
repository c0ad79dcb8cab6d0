//! The guests' side: interprets a program with nothing but calls and memory.

mod messages;
mod notifications;
mod peers;
mod requests;
mod sends;

use core::fmt;

use ffa_abi::{
    Call, FeatureQuery, Function, FunctionId, Handle, PartitionId, PartitionInfoGet, PartitionInfoGetRegs,
    PartitionInfoWindow, Properties, Regs, RxRelease, RxTxMap, RxTxUnmap, Status, Transaction, Uuid, Version,
    Width,
};
use ffa_mem::PAGE_SIZE;
use ffa_teardown::Span;

use super::attack::{Arg, Attack, Means, WORST};
use super::{Area, Guest, GuestOp, Pages};

pub use messages::FIRST_BYTE;
use requests::Form;
use sends::send;

/// The instruction by which a guest calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Instruction {
    /// SMC #0.
    Smc,
    /// HVC #0.
    Hvc,
}

/// What a guest's program runs on.
pub trait GuestCpu {
    /// Makes a call with all of x0 to x17, and stores what it left in them.
    fn call(&mut self, by: Instruction, regs: &mut Regs);

    /// Reads the word at guest-physical `address`, a multiple of 8.
    fn read(&mut self, address: u64) -> u64;

    /// Writes it.
    fn write(&mut self, address: u64, value: u64);

    /// Writes `value` to `address`, or without one reads from there, where the guest may have lost its access. Whether
    /// that was aborted.
    fn is_aborted(&mut self, address: u64, value: Option<u64>) -> bool;

    /// Does nothing for a while; others run meanwhile.
    fn sleep(&mut self, span: Span);

    /// Waits for an interrupt, at most so long. Whether it came since the last time that it was waited for.
    fn interrupted(&mut self, intid: u32, within: Span) -> bool;

    /// Something was not as it must be. The program goes on.
    fn wrong(&mut self, what: fmt::Arguments<'_>);
}

/// Where a guest finds its memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Guest-physical address of [`Area::Block`].
    pub block: u64,
    /// Guest-physical address of [`Area::Loose`].
    pub loose: u64,
}

/// Runs a guest's program to its end. Returns how many things were wrong.
pub fn run_guest(cpu: &mut impl GuestCpu, layout: Layout, guest: &Guest) -> u32 {
    let mut interpreter = Interpreter {
        cpu,
        layout,
        guest,
        by: Instruction::Smc,
        version: Version::V1_1,
        id: guest.vm,
        shares: [None; MAX_SHARES],
        count: 0,
        loans: [None; MAX_SHARES],
        requests: 0,
        listed: [NOBODY; MAX_LISTED],
        wrong: 0,
    };
    for op in guest.program {
        interpreter.step(op);
    }
    interpreter.wrong
}

/// No entry of a list.
const NOBODY: (PartitionId, Properties) = (PartitionId(0), Properties(0));
/// Partitions of a list that are remembered.
const MAX_LISTED: usize = 8;
/// Shares of one program.
const MAX_SHARES: usize = 32;
/// Bytes that a program's descriptors take at most.
const DESCRIPTOR: usize = 1024;

/// What a guest finds in registers that no call defines, and must not find afterwards.
const POISON: u64 = 0xbad0_bad0_bad0_bad0;

struct Interpreter<'a, C> {
    cpu: &'a mut C,
    layout: Layout,
    guest: &'a Guest,
    by: Instruction,
    version: Version,
    id: PartitionId,
    shares: [Option<Handle>; MAX_SHARES],
    count: usize,
    /// Where those of others are: their first and their last page.
    loans: [Option<[u64; 2]>; MAX_SHARES],
    requests: u32,
    /// What the last list says of whom.
    listed: [(PartitionId, Properties); MAX_LISTED],
    wrong: u32,
}

/// An answer, as a guest's driver would tell them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reply {
    Success(u64, u64),
    Error(Option<Status>),
    Other,
}

impl<C: GuestCpu> Interpreter<'_, C> {
    fn fail(&mut self, what: fmt::Arguments<'_>) {
        self.wrong += 1;
        self.cpu.wrong(what);
    }

    fn expect(&mut self, good: bool, what: fmt::Arguments<'_>) {
        if !good {
            self.fail(what);
        }
    }

    /// Makes a call and sees that nothing is left in registers that its answer does not define.
    fn call(&mut self, what: &str, regs: &Regs) -> Regs {
        let function = |regs: &Regs| FunctionId::from_w0(regs.w::<0>()).map(FunctionId::function);
        let asked = function(regs);
        let mut after = *regs;
        if asked != Ok(Function::MsgSendDirectReq2) {
            after.0[8..].fill(POISON);
        }
        self.cpu.call(self.by, &mut after);
        let defined: &[usize] = match function(&after) {
            _ if asked == Ok(Function::Version) => &[0],
            Ok(Function::Error) => &[0, 2],
            Ok(Function::Success)
                if matches!(asked, Ok(Function::NotificationGet | Function::NotificationInfoGet)) =>
            {
                &[0, 2, 3, 4, 5, 6, 7]
            }
            Ok(Function::Success) if asked == Ok(Function::PartitionInfoGetRegs) => {
                &[0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
            }
            Ok(Function::Success) => &[0, 2, 3],
            Ok(Function::MsgSendDirectResp2) => &[0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
            Ok(Function::Interrupt) => &[0, 1],
            Ok(Function::Yield | Function::MemFragRx | Function::MemFragTx) => &[0, 1, 2, 3],
            Ok(Function::MemRetrieveResp) => &[0, 1, 2],
            Ok(Function::MsgSendDirectResp) => &[0, 1, 2, 3, 4, 5, 6, 7],
            _ => &[0],
        };
        for (number, x) in after.0.iter().enumerate() {
            if !defined.contains(&number) && *x != 0 {
                self.fail(format_args!("{what}: {x:#x} is left in x{number}"));
            }
        }
        after
    }

    fn reply(&mut self, what: &str, regs: &Regs) -> Reply {
        let after = self.call(what, regs);
        let w0 = after[0];
        if w0 == u64::from(FunctionId::smc32(Function::Success).w0()) {
            Reply::Success(after[2], after[3])
        } else if w0 == u64::from(FunctionId::smc32(Function::Error).w0()) {
            Reply::Error(Status::ALL.iter().copied().find(|status| status.code() as u32 == after.w::<2>()))
        } else {
            Reply::Other
        }
    }

    fn succeed(&mut self, what: &str, regs: &Regs) -> Option<(u64, u64)> {
        match self.reply(what, regs) {
            Reply::Success(x2, x3) => Some((x2, x3)),
            other => {
                self.fail(format_args!("{what}: {other:?}"));
                None
            }
        }
    }

    fn refused(&mut self, what: &str, regs: &Regs, status: Status) {
        let reply = self.reply(what, regs);
        let good = reply == Reply::Error(Some(status));
        self.expect(good, format_args!("{what}: {reply:?} instead of {status}"));
    }

    fn step(&mut self, op: &GuestOp) {
        match *op {
            GuestOp::By(by) => self.by = by,
            GuestOp::Version(asked, answered) => self.negotiate(asked, answered),
            GuestOp::IdGet => {
                let id = self.succeed("FFA_ID_GET", &Call::IdGet.to_regs());
                let own = u64::from(self.guest.vm.0);
                self.expect(id.is_none_or(|id| id == (own, 0)), format_args!("FFA_ID_GET says {id:x?}"));
            }
            GuestOp::Features(id, there) => {
                let query = FeatureQuery::Function { id, properties: 0 };
                let reply = self.reply("FFA_FEATURES", &Call::Features(query).to_regs());
                let good = match reply {
                    Reply::Success(..) => there,
                    Reply::Error(status) => !there && status == Some(Status::NotSupported),
                    Reply::Other => false,
                };
                self.expect(good, format_args!("FFA_FEATURES of {id:?}: {reply:?}"));
            }
            GuestOp::Map => {
                let map = RxTxMap { width: Width::Smc64, tx: self.tx(), rx: self.rx(), pages: 1 };
                self.succeed("FFA_RXTX_MAP", &Call::RxTxMap(map).to_regs());
            }
            GuestOp::Unmap => {
                let unmap = RxTxUnmap { endpoint: PartitionId(0) };
                self.succeed("FFA_RXTX_UNMAP", &Call::RxTxUnmap(unmap).to_regs());
            }
            GuestOp::List => {
                self.list();
                self.release_rx();
            }
            GuestOp::ListInRegisters => self.list_in_registers(),
            GuestOp::LeaveRxOwned => self.list(),
            GuestOp::Fill(pages) => self.each_word(pages, |cpu, address| {
                cpu.write(address, pattern(address));
                true
            }),
            GuestOp::Check(pages) => {
                self.each_word(pages, |cpu, address| cpu.read(address) == pattern(address))
            }
            GuestOp::CheckZero(pages) => self.each_word(pages, |cpu, address| cpu.read(address) == 0),
            GuestOp::CheckAllZero => {
                let Guest { block_pages, loose_pages, .. } = *self.guest;
                for pages in [Pages::block(0, block_pages), Pages::loose(0, loose_pages)] {
                    self.each_word(pages, |cpu, address| cpu.read(address) == 0);
                }
            }
            GuestOp::Share(pages, with) => self.send(Transaction::Share, pages, &[with]),
            GuestOp::ShareInFragments(pages, with, bytes) => {
                self.share_in_fragments(pages, with, bytes, u16::MAX);
            }
            GuestOp::ShareInPart(pages, with, fragments) => {
                self.share_in_fragments(pages, with, PAGE_SIZE as u16, fragments);
            }
            GuestOp::Lend(pages, with) => self.send(Transaction::Lend, pages, &[with]),
            GuestOp::Donate(pages, with) => self.send(Transaction::Donate, pages, &[with]),
            GuestOp::ShareWithBoth(pages, one, other) => {
                self.send(Transaction::Share, pages, &[one, other]);
            }
            GuestOp::Tell(to) => self.tell(to),
            GuestOp::Hear(from) => self.hear(from),
            GuestOp::Retrieve(share, owner, transaction, pages) => {
                self.retrieve(share, owner, transaction, pages);
            }
            GuestOp::Withdrawn(share, owner, transaction) => self.see_withdrawn(share, owner, transaction),
            GuestOp::Relinquish(share) => self.relinquish(share),
            GuestOp::LostLoan(share) => self.see_loan_lost(share),
            GuestOp::HasLoan(share) => self.see_loan(share),
            GuestOp::UseUntilLost(share, within) => self.use_until_lost(share, within),
            GuestOp::Taken(pages) => self.see_taken(pages),
            GuestOp::ReclaimWhenFree(share, within) => self.reclaim_when_free(share, within),
            GuestOp::Lost(pages) => self.see_lost(pages),
            GuestOp::Reclaim(share) => {
                if let Some(regs) = self.reclaim_of(share) {
                    self.succeed("FFA_MEM_RECLAIM", &regs);
                }
            }
            GuestOp::ReclaimInUse(share) => {
                if let Some(regs) = self.reclaim_of(share) {
                    self.refused("FFA_MEM_RECLAIM of what is in use", &regs, Status::Denied);
                }
            }
            GuestOp::ReclaimTooLate(share) => {
                if let Some(regs) = self.reclaim_of(share) {
                    let what = "FFA_MEM_RECLAIM of what is another's";
                    self.refused(what, &regs, Status::InvalidParameters);
                }
            }
            GuestOp::ReclaimForeign => self.reclaim_foreign(),
            GuestOp::Request(sp, preempted) => self.request(Form::Direct(Width::Smc32), sp, preempted),
            GuestOp::Request64(sp, preempted) => self.request(Form::Direct(Width::Smc64), sp, preempted),
            GuestOp::Request2(sp, preempted) => self.request(Form::Direct2, sp, preempted),
            GuestOp::StayInCall(sp) => self.stay_in_call(sp),
            GuestOp::If(partition, properties, program) => {
                if self.listed.iter().any(|(id, has)| *id == partition && has.contains(properties)) {
                    program.iter().for_each(|op| self.step(op));
                }
            }
            GuestOp::IfServed(id, program) => {
                let query = FeatureQuery::Function { id, properties: 0 };
                let reply = self.reply("FFA_FEATURES", &Call::Features(query).to_regs());
                if matches!(reply, Reply::Success(..)) {
                    program.iter().for_each(|op| self.step(op));
                }
            }
            GuestOp::Ask(sp, control) => {
                let done = self.ask(sp, control).is_some();
                self.expect(done, format_args!("SP {sp} did not do {control:?}"));
            }
            GuestOp::Bind(from, ids) => self.bind(from, ids),
            GuestOp::Unbind(from, ids) => self.unbind(from, ids),
            GuestOp::Signal(to, ids) => self.signal(to, ids),
            GuestOp::Interrupted => self.wait_for_interrupt(),
            GuestOp::Informed => self.inform(),
            GuestOp::Get(pending) => self.take(pending),
            GuestOp::Send(to, bytes) => self.send_message(to, bytes),
            GuestOp::Delivered(sp, bytes) => self.see_delivered(sp, bytes),
            GuestOp::Receive(from, bytes) => self.receive(from, bytes),
            GuestOp::Attack(attack) => self.attack(attack),
            GuestOp::Worst => WORST.iter().for_each(|attack| self.attack(attack)),
            GuestOp::Sleep(span) => self.cpu.sleep(span),
        }
    }

    fn tx(&self) -> u64 {
        self.layout.block
    }

    fn rx(&self) -> u64 {
        self.layout.block + PAGE_SIZE
    }

    fn page(&self, area: Area, number: u64) -> u64 {
        let base = match area {
            Area::Block => self.layout.block,
            Area::Loose => self.layout.loose,
        };
        base + number * PAGE_SIZE
    }

    fn pages(&self, pages: Pages) -> impl Iterator<Item = u64> + Clone + use<C> {
        let first = self.page(pages.area, u64::from(pages.first));
        (0..u64::from(pages.count)).map(move |number| first + number * u64::from(pages.step) * PAGE_SIZE)
    }

    /// Does `work` for each word of the pages; reports the first for which it is not as it must be.
    fn each_word(&mut self, pages: Pages, work: impl Fn(&mut C, u64) -> bool) {
        for page in self.pages(pages) {
            for address in (page..page + PAGE_SIZE).step_by(8) {
                if !work(self.cpu, address) {
                    let found = self.cpu.read(address);
                    self.fail(format_args!("memory at {address:#x} holds {found:#x}"));
                    return;
                }
            }
        }
    }

    fn negotiate(&mut self, asked: Version, answered: Version) {
        let answer = self.call("FFA_VERSION", &Call::Version(asked.word()).to_regs());
        let expected = u64::from(answered.word());
        self.expect(answer[0] == expected, format_args!("FFA_VERSION {asked}: {:#x}", answer[0]));
        self.version = asked.min(answered);
    }

    fn list(&mut self) {
        let get = |count_only| PartitionInfoGet { uuid: Uuid::NIL, count_only }.to_regs();
        if self.version >= Version::V1_1 {
            let count = self.succeed("FFA_PARTITION_INFO_GET for the count", &get(true));
            self.expect(count.is_none_or(|(count, _)| count > 0), format_args!("there are no partitions"));
        }
        let Some((count, size)) = self.succeed("FFA_PARTITION_INFO_GET", &get(false)) else { return };
        let (stride, said) = match self.version {
            Version::V1_0 => (8, 0),
            _ => (24, 24),
        };
        self.expect(size == said, format_args!("partition records have {size} bytes"));
        self.listed = [NOBODY; MAX_LISTED];
        for number in 0..count {
            // Records need not begin at a multiple of 8, but all of these do.
            let head = self.cpu.read(self.rx() + number * stride);
            let id = PartitionId(head as u16);
            let known = id.is_secure() || self.guest.acquainted.contains(&id);
            self.expect(known, format_args!("a list with partition {id} in it"));
            if let Some(listed) = self.listed.get_mut(number as usize) {
                *listed = (id, Properties((head >> 32) as u32));
            }
        }
    }

    fn list_in_registers(&mut self) {
        let get = PartitionInfoGetRegs { uuid: Uuid::NIL, start: 0, tag: 0 };
        let answer = self.call("FFA_PARTITION_INFO_GET_REGS", &get.to_regs());
        let listed = self.listed.into_iter().filter(|listed| *listed != NOBODY);
        let good = PartitionInfoWindow::from_answer(get, &answer)
            .is_ok_and(|window| window.records().map(|record| (record.id, record.properties)).eq(listed));
        self.expect(good, format_args!("FFA_PARTITION_INFO_GET_REGS says {:x?}", answer.0));
    }

    fn release_rx(&mut self) {
        let release = RxRelease { endpoint: PartitionId(0) };
        self.succeed("FFA_RX_RELEASE", &Call::RxRelease(release).to_regs());
    }

    fn attack(&mut self, attack: &Attack) {
        let regs = match attack.means {
            Means::Call(args) => {
                let mut regs = Regs::ZERO;
                for (x, arg) in regs.0.iter_mut().zip(args) {
                    *x = match *arg {
                        Arg::Value(value) => value,
                        Arg::Own(below) => u64::from(PartitionId::pair(self.id, PartitionId(below))),
                        Arg::ToOwn(above) => {
                            let above = if above == 0 { self.id } else { PartitionId(above) };
                            u64::from(PartitionId::pair(above, self.id))
                        }
                        Arg::Page(page, plus) => self.page(Area::Block, u64::from(page)) + plus,
                    };
                }
                regs
            }
            Means::Descriptor(patches) => self.broken_share(patches, 0, 0),
            Means::Lengths(total, fragment) => self.broken_share(&[], total, fragment),
        };
        self.refused(attack.name, &regs, attack.refusal);
    }

    fn broken_share(&mut self, patches: &[(usize, &[u8])], total: i64, fragment: i64) -> Regs {
        let mut bytes = [0; DESCRIPTOR];
        let with = PartitionId(0x8001);
        let Some(len) = self.describe(Transaction::Share, Pages::block(2, 1), &[with], &mut bytes) else {
            self.fail(format_args!("the good descriptor cannot be built"));
            return Regs::ZERO;
        };
        for (offset, patch) in patches {
            if let Some(there) = bytes.get_mut(*offset..*offset + patch.len()) {
                there.copy_from_slice(patch);
            }
        }
        self.write_tx(&bytes[..len + 16]);
        send(Transaction::Share, len as i64 + total, len as i64 + fragment)
    }
}

/// What a guest fills its memory with: no two words are alike, and none is zero.
fn pattern(address: u64) -> u64 {
    address.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}
