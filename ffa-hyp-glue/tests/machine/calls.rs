//! What guests do: calls as they make them, and what they may be answered.

use std::collections::BTreeSet;

use ffa_abi::{
    Answer, Handle, IndirectFormat, IndirectMessage, MemFragRx, PartitionId, Regs, Status, Uuid, Version,
};
use ffa_hyp_glue::Outcome;
use ffa_mem::{IpaRange, MemoryAttributes, Permissions, Receiver, SendBuilder, SendFlags, SendHeader};
use ffa_test_utils::fault::Trust;

use crate::act::{Act, Name, Peer, Place};
use crate::book::{Draft, Offer, is_defined};
use crate::common::{
    DEVICE, FOREIGN, HYPERVISORS, LOOSE, PAGE, PAGES, POISON, READ_ONLY, RX, TX, handle_of, status_of,
};
use crate::host::{sp, vm};
use crate::run::Run;
use crate::setup::SPS;

/// Pages of a VM's block, RX and TX included, and of its loose memory.
const BLOCK_PAGES: u64 = 64;
const LOOSE_PAGES: u64 = 16;

/// Bytes of a range in a descriptor.
const RANGE_SIZE: usize = 16;

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
            Act::Share { .. } => self.share(act),
            Act::Part { vm, nth, ranges } => self.part(vm, nth, ranges),
            Act::Meddle { vm, name } => self.meddle(vm, name),
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
            Act::Send { vm, to, size } => self.send(vm, to, size),
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
    fn call(&self, number: u8, vcpu: u8, head: &[u64]) -> Option<Regs> {
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
        if let Some(copy) = twice.filter(|_| outer.is_none() && !self.is_raced_by_guests()) {
            self.wrong(format!("{:#x} was read twice", copy.address));
        }
        Some(regs)
    }

    /// Other guests may be calling at the same time.
    fn is_raced_by_guests(&self) -> bool {
        self.book.borrow().raced
    }

    /// No SMC may be made for this call, but what others cause.
    fn call_refused(&self, number: u8, vcpu: u8, head: &[u64], what: &str) -> Option<Status> {
        let smcs = self.hypervisor.smcs();
        let answer = self.call(number, vcpu, head)?;
        let alone = !self.book.borrow().raced;
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
            if taken && !self.is_raced_by_guests() {
                self.wrong("buffers were mapped that are shared".into());
            }
            self.guest(number, |guest| guest.buffers = Some((tx, rx, pages)));
        }
        done
    }

    fn tx(&self, number: u8) -> u64 {
        self.guest(number, |guest| guest.buffers.map_or(TX, |(tx, ..)| tx))
    }

    fn write(&self, number: u8, bytes: &[u8]) {
        if self.hypervisor.is_alive(vm(number)) {
            self.machine().write(vm(number), self.tx(number), bytes);
        }
    }

    fn share(&self, act: Act) -> bool {
        let Act::Share { vm: of, sps, at, first, ranges: count, pages, read_only, head } = act else {
            return false;
        };
        let base = match at {
            Place::Block => PAGES,
            Place::Loose => LOOSE,
            Place::Buffers => self.tx(of),
            Place::ReadOnly => READ_ONLY,
            Place::Device => DEVICE,
            Place::Hypervisors => HYPERVISORS,
            Place::Foreign => FOREIGN,
            Place::Nowhere => 0x10_0000,
        };
        let step = u64::from(pages) + 1;
        let ranges: Vec<_> = (0..u64::from(count))
            .filter_map(|n| IpaRange::new(base + (u64::from(first) + n * step) * PAGE, pages.into()).ok())
            .collect();
        let offered: BTreeSet<u64> = ranges
            .iter()
            .flat_map(|range| (0..u64::from(range.pages())).map(|n| range.base() + n * PAGE))
            .collect();
        let permissions = if read_only { Permissions::READ_ONLY } else { Permissions::READ_WRITE };
        let receivers = SPS.iter().enumerate().filter(|(n, _)| sps >> n & 1 != 0);
        let receivers =
            receivers.map(|(_, &id)| Receiver { id, permissions, impdef: [0; 2] }).collect::<Vec<_>>();
        let header = SendHeader {
            version: self.version(of),
            sender: vm(of),
            attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
            flags: SendFlags::NONE,
            tag: 7,
        };
        let mut bytes = vec![0; 4096];
        let Ok(mut builder) = SendBuilder::new(&mut bytes, &header, receivers) else { return false };
        if ranges.len() < usize::from(count) || ranges.into_iter().any(|range| builder.push(range).is_err()) {
            return false;
        }
        let Ok(len) = builder.finish() else { return false };
        let own = match at {
            Place::Block | Place::Buffers => offered.iter().all(|page| *page < TX + BLOCK_PAGES * PAGE),
            Place::Loose => offered.iter().all(|page| *page < LOOSE + LOOSE_PAGES * PAGE),
            Place::ReadOnly => read_only && offered.iter().all(|page| *page < READ_ONLY + 2 * PAGE),
            Place::Device | Place::Hypervisors | Place::Foreign | Place::Nowhere => false,
        };
        let offer = Offer { pages: offered, own };
        let first_len = match head {
            Some(with) => len - RANGE_SIZE * usize::from(count.saturating_sub(with)),
            None => len,
        };
        self.write(of, &bytes[..first_len]);
        let free = self.can_share(of, &offer);
        let smcs = self.hypervisor.smcs();
        let answer = self.call(of, 0, &[0x8400_0073, len as u64, first_len as u64]);
        let Some(answer) = answer else { return false };
        if let (Answer::MemFragRx(next), true) = (Answer::from_regs(&answer), first_len < len) {
            bytes.truncate(len);
            let draft = Draft { handle: next.handle, bytes, sent: first_len, offer };
            return self.wants_more(of, draft, next);
        }
        let Some(handle) = handle_of(&answer) else {
            let alone = !self.is_raced_by_guests();
            if !free && head.is_none() && alone && self.hypervisor.smcs() > smcs {
                self.wrong("pages that cannot be shared reached the secure world".into());
            }
            return false;
        };
        if !free {
            self.wrong(format!("shared what cannot be shared: {act:?}"));
        }
        self.shared(of, handle, offer.pages);
        true
    }

    /// Whether a guest may share these pages. Who else is calling may have changed that by now.
    fn can_share(&self, number: u8, offer: &Offer) -> bool {
        let taken = self.guest(number, |guest| offer.pages.iter().any(|page| guest.offers(*page)));
        offer.own && (!taken || self.book.borrow().raced)
    }

    /// A descriptor of which the next part is wanted.
    fn wants_more(&self, number: u8, draft: Draft, next: MemFragRx) -> bool {
        if (next.handle, next.offset as usize) != (draft.handle, draft.sent) {
            self.wrong(format!("{} bytes of {:x?} are sent, but {next:x?}", draft.sent, draft.handle));
        }
        if self.hypervisor.is_alive(vm(number)) {
            // Nothing is shared under this handle yet.
            self.book.borrow_mut().spent.push(draft.handle);
            self.guest(number, |guest| guest.drafts.push(draft));
        }
        true
    }

    fn part(&self, number: u8, nth: u8, ranges: u8) -> bool {
        let draft = self.guest(number, |guest| {
            let at = usize::from(nth).checked_rem(guest.drafts.len())?;
            Some(guest.drafts.remove(guest.drafts.len() - 1 - at))
        });
        let Some(mut draft) = draft else { return false };
        self.book.borrow_mut().spent.retain(|handle| *handle != draft.handle);
        let rest = draft.bytes.len() - draft.sent;
        let len = match usize::from(ranges) * RANGE_SIZE {
            0 => rest,
            len => len.min(rest),
        };
        self.write(number, &draft.bytes[draft.sent..draft.sent + len]);
        let [low, high] = draft.handle.words();
        let free = self.can_share(number, &draft.offer);
        let answer = self.call(number, 0, &[0x8400_007b, low, high, len as u64]);
        draft.sent += len;
        match answer.map(|answer| Answer::from_regs(&answer)) {
            Some(Answer::MemFragRx(next)) => return self.wants_more(number, draft, next),
            Some(Answer::Success(success)) => {
                let shown = Handle::from_words(success.w2(), success.w3()).ok();
                if shown != Some(draft.handle) || !free || draft.sent < draft.bytes.len() {
                    self.wrong(format!("shared in parts what cannot be: {shown:x?}, {draft:x?}"));
                }
                self.shared(number, draft.handle, draft.offer.pages);
                return true;
            }
            _ => self.book.borrow_mut().spent.push(draft.handle),
        }
        false
    }

    fn meddle(&self, number: u8, name: Name) -> bool {
        let Some(handle) = self.handle(number, name) else { return false };
        if self.guest(number, |guest| guest.drafts.iter().any(|draft| draft.handle == handle)) {
            return false;
        }
        let [low, high] = handle.words();
        self.write(number, &[0; RANGE_SIZE]);
        let head = [0x8400_007b, low, high, RANGE_SIZE as u64];
        self.call_refused(number, 1, &head, "a part of somebody else's descriptor").is_some()
    }

    /// A share that the guest was given a handle of must be of the pages that it offered, and of no others.
    fn shared(&self, number: u8, handle: Handle, offered: BTreeSet<u64>) {
        let (id, hypervisor) = (vm(number), &self.hypervisor);
        if !hypervisor.is_alive(id) {
            self.book.borrow_mut().spent.push(handle);
            return;
        }
        if self.setup.trust == Trust::Honest {
            let physical: BTreeSet<u64> =
                offered.iter().filter_map(|page| hypervisor.translate(id, *page)).collect();
            let spmc = hypervisor.spmc();
            let truth = spmc.reaches().filter(|reached| reached.handle == handle && reached.owner == id);
            let given: BTreeSet<u64> =
                truth.flat_map(|reached| reached.extent.page_addresses().collect::<Vec<_>>()).collect();
            if given != physical {
                self.wrong(format!("VM {id} offered {physical:x?}, the secure world has {given:x?}"));
            }
        }
        // While it is being reclaimed, its handle may be another's already.
        let known = self.guest(number, |guest| guest.shares.iter().any(|(other, _)| *other == handle));
        if known && !self.is_raced_by_guests() {
            self.wrong(format!("handle {:#x} was given out twice", handle.get()));
        }
        self.guest(number, |guest| guest.shares.push((handle, offered)));
        let spent = &mut self.book.borrow_mut().spent;
        if spent.contains(&handle) {
            spent.retain(|other| *other != handle);
        }
    }

    /// Handles of a guest's shares, the newest last.
    fn handles(&self, number: u8) -> Vec<Handle> {
        self.guest(number % 3, |guest| guest.shares.iter().map(|(handle, _)| *handle).collect())
    }

    fn handle(&self, number: u8, name: Name) -> Option<Handle> {
        let nth = |handles: Vec<Handle>, n: u8| {
            let n = usize::from(n).checked_rem(handles.len())?;
            handles.into_iter().rev().nth(n)
        };
        match name {
            Name::Own(n) => nth(self.handles(number), n),
            Name::Foreign(n) => nth([self.handles(number + 1), self.handles(number + 2)].concat(), n),
            Name::Spent(n) => nth(self.book.borrow().spent.clone(), n),
            Name::Odd(n) => {
                let odd = [0, 1, u64::MAX - 1, 1 << 44, 1 << 32, 1 << 63];
                Handle::new(odd[usize::from(n) % odd.len()]).ok()
            }
        }
    }

    fn reclaim(&self, number: u8, name: Name, flags: u8) -> bool {
        let Some(handle) = self.handle(number, name) else { return false };
        let [low, high] = handle.words();
        let head = [0x8400_0077, low, high, flags.into()];
        if !self.handles(number).contains(&handle) {
            let status = self.call_refused(number, 1, &head, "the reclaim of a handle of somebody else");
            let same = matches!(status, None | Some(Status::InvalidParameters));
            // A guest whose VM is just coming or going has other worries.
            if !same && !self.book.borrow().raced {
                self.wrong(format!("a handle of somebody else is told from an unknown one: {status:?}"));
            }
            return status.is_some();
        }
        let done = is_success(self.call(number, 1, &head));
        if done && self.hypervisor.is_alive(vm(number)) {
            let oldest = self.guest(number, |guest| {
                let at = guest.shares.iter().position(|(other, _)| *other == handle)?;
                Some(guest.shares.remove(at))
            });
            if oldest.is_none() {
                self.wrong(format!("handle {:#x} was reclaimed twice", handle.get()));
            }
            self.book.borrow_mut().spent.push(handle);
        }
        done
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
        if !self.book.borrow().raced {
            self.call_refused(number, vcpu, &[0x8400_006d, word.into()], "FFA_RUN of somebody else's");
        }
        false
    }

    fn send(&self, number: u8, to: Peer, size: u16) -> bool {
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
            0x77 => {
                let handle = words[1] << 32 | words[0] & 0xffff_ffff;
                let before = self.guest(number, |guest| guest.shares.len());
                self.guest(number, |guest| guest.shares.retain(|(other, _)| other.get() != handle));
                if self.guest(number, |guest| guest.shares.len()) == before {
                    self.wrong(format!("handle {handle:#x} was reclaimed by somebody else"));
                }
            }
            _ => {}
        }
    }
}
