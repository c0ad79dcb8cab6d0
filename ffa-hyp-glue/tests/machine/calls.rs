//! What guests do: calls as they make them, and what they may be answered.

use ffa_abi::{Answer, Handle, IndirectFormat, IndirectMessage, PartitionId, Regs, Status, Uuid, Version};
use ffa_hyp_glue::Outcome;
use ffa_test_utils::fault::Trust;

use crate::act::{Act, Flaw, Peer};
use crate::book::is_defined;
use crate::common::{PAGE, PAGES, POISON, RX, TX, status_of};
use crate::host::{sp, vm};
use crate::memory::spoil;
use crate::run::Run;

/// Where RX and TX can be: TX, then RX.
const BUFFERS: [(u64, u64); 3] =
    [(TX, RX), (PAGES + 40 * PAGE, PAGES + 44 * PAGE), (TX + PAGE, PAGES + 2 * PAGE)];

fn peer(peer: Peer) -> PartitionId {
    match peer {
        Peer::Sp(number) => sp(number),
        Peer::Vm(number) => vm(number),
    }
}

fn pair(first: PartitionId, second: PartitionId) -> u64 {
    PartitionId::pair(first, second).into()
}

fn is_success(answer: Option<Regs>) -> bool {
    answer.is_some_and(|answer| matches!(Answer::from_regs(&answer), Answer::Success(_)))
}

impl Run {
    pub fn guest_act(&self, act: Act) -> bool {
        match act {
            Act::Negotiate { vm, minor } => self.negotiate(vm, minor),
            Act::Map { vm, place, pages } => self.map(vm, place, pages),
            Act::Unmap(of) => {
                let done = is_success(self.call(of, 0, &[0x8400_0067]));
                if done {
                    self.guest(of, |guest| guest.buffers = None);
                }
                done
            }
            Act::ReleaseRx(of) => is_success(self.call(of, 0, &[0x8400_0065])),
            Act::List(of) => is_success(self.call(of, 0, &[0x8400_0068])),
            Act::ListInRegisters(of) => is_success(self.call(of, 0, &[0xc400_008b])),
            Act::Send { .. } => self.send(act),
            Act::Part { vm, nth, ranges, flaw } => self.part(vm, nth, ranges, flaw),
            Act::Meddle { vm, name } => self.meddle(vm, name),
            Act::Retrieve { vm, name, flaw } => self.retrieve(vm, name, flaw),
            Act::RetrieveRest { vm, name, from } => self.retrieve_rest(vm, name, from),
            Act::Relinquish { vm, name, flaw } => self.relinquish(vm, name, flaw),
            Act::Reclaim { vm, name, flags } => self.reclaim(vm, name, flags),
            Act::Request { vm: of, vcpu, sp: to } => {
                self.request(of, vcpu, to, &[0x8400_006f, pair(vm(of), sp(to)), 0, 7, 8, 9, 10, 11])
            }
            Act::Request2 { vm: of, vcpu, sp: to } => {
                let uuid = 0x5ec0_0000 | u64::from(sp(to).0) | 0x1d5a << 32;
                self.request(of, vcpu, to, &[0xc400_008d, pair(vm(of), sp(to)), uuid, 0x0ffa_0000_4ffa])
            }
            Act::Run { vm, vcpu, sp } => self.run_sp(vm, vcpu, sp),
            Act::Bind { vm: of, from, ids, per_vcpu } => {
                let flags = u64::from(per_vcpu);
                is_success(self.call(of, 0, &[0x8400_007f, pair(peer(from), vm(of)), flags, ids.into()]))
            }
            Act::Unbind { vm: of, from, ids } => {
                is_success(self.call(of, 0, &[0x8400_0080, pair(peer(from), vm(of)), 0, ids.into()]))
            }
            Act::Set { vm: of, to, ids, vcpu } => {
                let flags = vcpu.map_or(0, |vcpu| 1 | u64::from(vcpu % 2) << 16);
                is_success(self.call(of, 0, &[0x8400_0081, pair(vm(of), peer(to)), flags, ids.into()]))
            }
            Act::Get { vm: of, vcpu, sources } => {
                let vcpu = vcpu % 2;
                let receiver = u64::from(vcpu) << 16 | u64::from(vm(of).0);
                let answer = self.call(of, vcpu, &[0x8400_0082, receiver, sources.into()]);
                answer.is_some_and(|answer| is_success(Some(answer)) && answer.0[2..] != [0; 16])
            }
            Act::Pending(of) => is_success(self.call(of, 0, &[0xc400_0083])),
            Act::Message { vm, to, size, flaw } => self.message(vm, to, size, flaw),
            Act::Junk { vm, function, wide, words } => {
                let w0 = (0x8400_0060 + u64::from(function) % 0x40) | u64::from(wide) << 30;
                let answer = self.call(vm, 1, &[w0, words[0], words[1], words[2]]);
                // It may have done anything that a guest can do.
                if is_success(answer) {
                    self.forget(vm, w0, words);
                }
                answer.is_some()
            }
            other => unreachable!("{other:?} is no guest's"),
        }
    }

    /// A call of a guest, if it lives. Its answer must be one that FF-A has for it.
    pub fn call(&self, number: u8, vcpu: u8, head: &[u64]) -> Option<Regs> {
        let id = vm(number);
        if !self.hypervisor.is_alive(id) {
            return None;
        }
        let mut regs = Regs([POISON; 18]);
        regs.0[..8].fill(0);
        regs.0[..head.len()].copy_from_slice(head);
        let called = regs;
        let outer = self.book.borrow().busy;
        // The vCPU that is in a call makes no other.
        let vcpu = u16::from(vcpu % 2);
        let vcpu = if outer == Some((number, vcpu)) { vcpu ^ 1 } else { vcpu };
        self.book.borrow_mut().busy = outer.or(Some((number, vcpu)));
        let outcome = self.hypervisor.trap(id, vcpu, &mut regs);
        self.book.borrow_mut().busy = outer;
        self.say(|| format!("    {id}/{vcpu} {:x?} -> {outcome:?} {:x?}", &called.0[..8], &regs.0[..8]));
        let copies = self.machine().take_copies();
        match outcome {
            Ok(Outcome::Return) => {}
            Ok(Outcome::NotFfa) => {
                if regs != called {
                    self.wrong(format!("a call that is not FF-A's changed registers: {regs:x?}"));
                }
                return None;
            }
            Err(_) => return None,
        }
        self.book.borrow_mut().answers.push(regs);
        if !is_defined(&called, &regs) {
            self.wrong(format!("{id} called {:x?} and got {regs:x?}", &called.0[..8]));
        }
        let twice = copies.iter().enumerate().find_map(|(at, copy)| {
            let before = &copies[..at];
            before.iter().find(|other| {
                other.vm == copy.vm
                    && other.address < copy.address + copy.len as u64
                    && copy.address < other.address + other.len as u64
            })
        });
        if let Some(copy) = twice.filter(|_| outer.is_none() && !self.is_raced()) {
            self.wrong(format!("{:#x} was read twice", copy.address));
        }
        Some(regs)
    }

    /// Other guests may be calling at the same time.
    pub fn is_raced(&self) -> bool {
        self.book.borrow().raced
    }

    /// No SMC may be made for this call, but what others cause.
    pub fn call_refused(&self, number: u8, vcpu: u8, head: &[u64], what: &str) -> Option<Status> {
        let smcs = self.hypervisor.smcs();
        let answer = self.call(number, vcpu, head)?;
        let alone = !self.is_raced();
        let Some(ffa_abi::FirmwareStatus::Known(status)) = status_of(&answer) else {
            self.wrong(format!("{what} was let pass: {answer:x?}"));
            return None;
        };
        if alone && self.hypervisor.smcs() > smcs {
            self.wrong(format!("{what} reached the secure world"));
        }
        Some(status)
    }

    pub fn negotiate(&self, number: u8, minor: u8) -> bool {
        let asked = Version::new(1, u16::from(minor % 4));
        let Some(answer) = self.call(number, 0, &[0x8400_0063, asked.word().into()]) else { return false };
        let got = Version::from_word(answer[0] as u32).ok();
        if got.is_some_and(|got| got > asked.min(Version::V1_2)) {
            self.wrong(format!("asked for {asked}, got {got:?}"));
        }
        if let Some(got) = got {
            self.guest(number, |guest| guest.version = Some(got));
        }
        got.is_some()
    }

    pub fn map(&self, number: u8, place: u8, pages: u8) -> bool {
        let (tx, rx) = BUFFERS[usize::from(place) % BUFFERS.len()];
        let offered = |page: &u64| self.guest(number, |guest| guest.offers(*page));
        let len = u64::from(pages);
        let taken = (0..len).flat_map(|n| [tx + n * PAGE, rx + n * PAGE]).any(|page| offered(&page));
        let done = is_success(self.call(number, 0, &[0xc400_0066, tx, rx, len]));
        if done && self.hypervisor.is_alive(vm(number)) {
            if taken && !self.is_raced() {
                self.wrong("buffers were mapped that are shared".into());
            }
            self.guest(number, |guest| guest.buffers = Some((tx, rx, pages)));
        }
        done
    }

    pub fn tx(&self, number: u8) -> u64 {
        self.guest(number, |guest| guest.buffers.map_or(TX, |(tx, ..)| tx))
    }

    /// Puts bytes into a guest's TX, if it has one.
    pub fn write(&self, number: u8, bytes: &[u8]) {
        let _ = self.machine().store(vm(number), self.tx(number), bytes);
    }

    /// What was read of bytes in a guest's TX, where it has written over them meanwhile.
    pub fn as_read(&self, number: u8, bytes: &mut [u8]) {
        let tx = self.tx(number);
        for (address, read) in &self.book.borrow().read {
            let Some(at) = address.checked_sub(tx).map(|at| at as usize) else { continue };
            for (byte, read) in bytes.iter_mut().skip(at).zip(read) {
                *byte = *read;
            }
        }
    }

    fn request(&self, number: u8, vcpu: u8, to: u8, head: &[u64]) -> bool {
        let Some(answer) = self.call(number, vcpu, head) else { return false };
        self.resumable(number, vcpu, to, &answer)
    }

    /// Notes whether somebody was preempted for a vCPU. Returns whether the answer is one.
    fn resumable(&self, number: u8, vcpu: u8, to: u8, answer: &Regs) -> bool {
        let vcpu = u16::from(vcpu % 2);
        match Answer::from_regs(answer) {
            Answer::Interrupt(target) | Answer::Yield { target, .. } => {
                self.guest(number, |guest| guest.paused.insert((vcpu, target.word())));
                self.moment("a request preempted");
                true
            }
            Answer::Error(_) => false,
            _ => {
                let of_sp = |(of, word): &(u16, u32)| *of == vcpu && word >> 16 == u32::from(sp(to).0);
                self.guest(number, |guest| guest.paused.retain(|paused| !of_sp(paused)));
                true
            }
        }
    }

    fn run_sp(&self, number: u8, vcpu: u8, to: u8) -> bool {
        let word = u32::from(sp(to).0) << 16;
        let of_vcpu = |(of, paused): &&(u16, u32)| *of == u16::from(vcpu % 2) && paused >> 16 == word >> 16;
        let paused = self.guest(number, |guest| guest.paused.iter().find(of_vcpu).copied());
        if let Some((_, paused)) = paused {
            let answer = self.call(number, vcpu, &[0x8400_006d, paused.into()]);
            return answer.is_some_and(|answer| self.resumable(number, vcpu, to, &answer));
        }
        // While others call, this may be another vCPU's call, which may run it.
        if !self.is_raced() {
            self.call_refused(number, vcpu, &[0x8400_006d, word.into()], "FFA_RUN of somebody else's");
        }
        false
    }

    fn message(&self, number: u8, to: Peer, size: u16, flaw: Option<Flaw>) -> bool {
        let format =
            if self.version(number) < Version::V1_2 { IndirectFormat::V1_1 } else { IndirectFormat::V1_2 };
        let payload: Vec<_> = (0..size % 3000).map(|n| n as u8).collect();
        let to = peer(to);
        let Ok(header) =
            IndirectMessage::new(format, vm(number), to, Uuid::NIL, payload.len() as u32, usize::MAX)
        else {
            return false;
        };
        let mut bytes = vec![0; format.size()];
        if header.write(&mut bytes).is_err() {
            return false;
        }
        bytes.extend_from_slice(&payload);
        spoil(&mut bytes, flaw);
        self.write(number, &bytes);
        is_success(self.call(number, 0, &[0x8400_0086]))
    }

    /// A guest that has just begun to live finds nothing that was another's.
    pub fn finds_nothing(&self, number: u8) {
        if self.setup.ids_early || self.setup.trust == Trust::Lying || self.version(number) < Version::V1_1 {
            return;
        }
        for vcpu in 0..2 {
            let receiver = u64::from(vcpu) << 16 | u64::from(vm(number).0);
            let Some(answer) = self.call(number, vcpu, &[0x8400_0082, receiver, 0xf]) else { return };
            if is_success(Some(answer)) && answer.0[2..] != [0; 16] {
                self.wrong(format!("VM {} is born with notifications: {answer:x?}", vm(number)));
            }
        }
    }

    /// Takes note of what a guest did by chance.
    fn forget(&self, number: u8, w0: u64, words: [u64; 3]) {
        match w0 as u8 {
            0x66 => {
                let pages = (words[2] & 0x3f) as u8;
                self.guest(number, |guest| guest.buffers = Some((words[0], words[1], pages)));
            }
            0x67 => self.guest(number, |guest| guest.buffers = None),
            0x76 => {
                let mut bytes = [0; 16];
                self.hypervisor.read(vm(number), self.tx(number), &mut bytes);
                self.relinquished(number, &bytes);
            }
            0x77 => {
                let handle = words[1] << 32 | words[0] & 0xffff_ffff;
                if let Ok(handle) = Handle::new(handle) {
                    self.reclaimed(number, handle);
                }
            }
            _ => {}
        }
    }
}
