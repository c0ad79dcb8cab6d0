//! Guests send memory, in one part or many, and have it back.

use ffa_abi::{Answer, FirmwareStatus, Handle, MemFragRx, PartitionId, Status, Transaction};
use ffa_mem::{
    DataAccess, IpaRange, MemoryAttributes, Permissions, Receiver, SendBuilder, SendFlags, SendHeader,
};
use ffa_test_utils::fault::Trust;

use crate::act::{Act, Flaw, Name, Place};
use crate::book::{Borrower, Draft, Loan, Sent};
use crate::common::peers::TAG;
use crate::common::{DEVICE, FOREIGN, HYPERVISORS, LOOSE, PAGE, PAGES, READ_ONLY, handle_of, status_of};
use crate::host::vm;
use crate::offer::Offer;
use crate::run::Run;
use crate::setup::{SPS, VMS};

/// Bytes of a range in a descriptor.
const RANGE_SIZE: usize = 16;

/// Spoils a byte.
pub fn spoil(bytes: &mut [u8], flaw: Option<Flaw>) {
    if let (Some((at, byte)), false) = (flaw, bytes.is_empty()) {
        bytes[usize::from(at) % bytes.len()] = byte;
    }
}

impl Run {
    /// The descriptor that a guest writes, and how much of it comes first.
    fn describe(&self, act: Act) -> Option<(Vec<u8>, usize)> {
        let Act::Send { vm: of, how, to, at, first, ranges, pages, read_only, zero, head, .. } = act else {
            return None;
        };
        let base = match at {
            Place::Block => PAGES,
            Place::Loose => LOOSE,
            Place::Buffers => self.tx(of),
            Place::Borrowed => self.borrowed(of)?,
            Place::ReadOnly => READ_ONLY,
            Place::Device => DEVICE,
            Place::Hypervisors => HYPERVISORS,
            Place::Foreign => FOREIGN,
            Place::Nowhere => 0x10_0000,
        };
        let permissions = match how {
            Transaction::Donate => Permissions::data(DataAccess::Unspecified),
            _ if read_only => Permissions::READ_ONLY,
            _ => Permissions::READ_WRITE,
        };
        let receivers = SPS.iter().chain(&VMS).enumerate().filter(|(n, _)| to >> n & 1 != 0);
        let receivers: Vec<_> =
            receivers.map(|(_, &id)| Receiver { id, permissions, impdef: [0; 2] }).collect();
        let typed = how == Transaction::Share || receivers.len() > 1;
        let header = SendHeader {
            version: self.version(of),
            sender: vm(of),
            attributes: match typed {
                true => MemoryAttributes::NORMAL_WRITE_BACK_INNER,
                false => MemoryAttributes::UNSPECIFIED,
            },
            flags: if zero && how != Transaction::Share { SendFlags::ZERO } else { SendFlags::NONE },
            tag: TAG,
        };
        let mut bytes = vec![0; 4096];
        let mut builder = SendBuilder::new(&mut bytes, &header, receivers).ok()?;
        let step = u64::from(pages) + 1;
        for n in 0..u64::from(ranges) {
            let address = base + (u64::from(first) + n * step) * PAGE;
            builder.push(IpaRange::new(address, pages.into()).ok()?).ok()?;
        }
        let len = builder.finish().ok()?;
        bytes.truncate(len);
        let later = head.map_or(0, |with| ranges.saturating_sub(with));
        Some((bytes, len - RANGE_SIZE * usize::from(later)))
    }

    pub fn send(&self, act: Act) -> bool {
        let Act::Send { vm: of, how, flaw, .. } = act else { return false };
        let Some((mut bytes, first_len)) = self.describe(act) else { return false };
        spoil(&mut bytes, flaw);
        self.write(of, &bytes[..first_len]);
        // What others have left half-sent may be cancelled first.
        let sends = self.hypervisor.sends();
        let reached = self.reached(of);
        let w0 = u64::from(ffa_abi::FunctionId::smc32(how.function()).w0());
        let Some(answer) = self.call(of, 0, &[w0, bytes.len() as u64, first_len as u64]) else {
            return false;
        };
        self.as_read(of, &mut bytes[..first_len]);
        let offer = Offer::read(&bytes, self.version(of));
        if let (Answer::MemFragRx(next), true) = (Answer::from_regs(&answer), first_len < bytes.len()) {
            return self.wants_more(of, Draft { handle: next.handle, how, bytes, sent: first_len }, next);
        }
        let Some(handle) = handle_of(&answer) else {
            let (alone, free) = (!self.is_raced(), self.can_send(of, &offer));
            if alone && !free && first_len == bytes.len() && self.hypervisor.sends() > sends {
                self.wrong("pages that cannot be sent reached the secure world".into());
            }
            self.refused(of, status_of(&answer), &reached);
            return false;
        };
        if !self.can_send(of, &offer) {
            self.wrong(format!("sent what cannot be sent: {act:?}: {offer:x?}"));
        }
        if offer.is_to_vms() && !self.is_raced() && self.hypervisor.sends() > sends {
            self.wrong("the secure world heard of what is between VMs".into());
        }
        self.sent(of, Sent { handle, how, offer });
        true
    }

    /// Whether a guest may send these pages. Who else is calling may have changed that by now.
    fn can_send(&self, number: u8, offer: &Offer) -> bool {
        let taken = self.guest(number, |guest| offer.pages.iter().any(|page| guest.offers(*page)));
        offer.own && (!taken || self.is_raced())
    }

    /// Pages that a guest reaches, of its own.
    fn reached(&self, number: u8) -> Vec<u64> {
        let pages = self.guest(number, |guest| guest.frames.keys().copied().collect::<Vec<_>>());
        pages.into_iter().filter(|page| self.reaches(number, *page)).collect()
    }

    pub fn reaches(&self, number: u8, page: u64) -> bool {
        self.hypervisor.load(vm(number), page, &mut [0]).is_ok()
    }

    /// A send that was refused takes nothing from the guest, unless nobody knows what has become of it.
    fn refused(&self, number: u8, status: Option<FirmwareStatus>, reached: &[u64]) {
        let in_doubt = status == Some(Status::Aborted.into());
        if in_doubt || self.is_raced() || !self.hypervisor.is_alive(vm(number)) {
            return;
        }
        if let Some(page) = reached.iter().find(|page| !self.reaches(number, **page)) {
            self.wrong(format!("{status:?}, but the guest has lost {page:#x}"));
        }
    }

    /// A descriptor of which the next part is wanted.
    fn wants_more(&self, number: u8, draft: Draft, next: MemFragRx) -> bool {
        if (next.handle, next.offset as usize) != (draft.handle, draft.sent) {
            self.wrong(format!("{} bytes of {:x?} are sent, but {next:x?}", draft.sent, draft.handle));
        }
        if self.hypervisor.is_alive(vm(number)) {
            // Nothing is sent under this handle yet.
            self.book.borrow_mut().spent.push(draft.handle);
            self.guest(number, |guest| guest.drafts.push(draft));
        }
        true
    }

    pub fn part(&self, number: u8, nth: u8, ranges: u8, flaw: Option<Flaw>) -> bool {
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
        let part = draft.sent..draft.sent + len;
        spoil(&mut draft.bytes[part.clone()], flaw);
        self.write(number, &draft.bytes[part.clone()]);
        let [low, high] = draft.handle.words();
        let reached = self.reached(number);
        let answer = self.call(number, 0, &[0x8400_007b, low, high, len as u64]);
        self.as_read(number, &mut draft.bytes[part.clone()]);
        draft.sent = part.end;
        match answer.map(|answer| Answer::from_regs(&answer)) {
            Some(Answer::MemFragRx(next)) => return self.wants_more(number, draft, next),
            Some(Answer::Success(success)) => {
                let Draft { handle, how, bytes, sent } = draft;
                let offer = Offer::read(&bytes, self.version(number));
                let shown = Handle::from_words(success.w2(), success.w3()).ok();
                if shown != Some(handle) || sent < bytes.len() || !self.can_send(number, &offer) {
                    self.wrong(format!("sent in parts what cannot be: {shown:x?}, {offer:x?}"));
                }
                self.sent(number, Sent { handle, how, offer });
                return true;
            }
            Some(Answer::Error(status)) => self.refused(number, Some(status), &reached),
            _ => {}
        }
        self.book.borrow_mut().spent.push(draft.handle);
        false
    }

    pub fn meddle(&self, number: u8, name: Name) -> bool {
        let Some(handle) = self.handle(number, name) else { return false };
        if self.guest(number, |guest| guest.drafts.iter().any(|draft| draft.handle == handle)) {
            return false;
        }
        let [low, high] = handle.words();
        self.write(number, &[0; RANGE_SIZE]);
        let head = [0x8400_007b, low, high, RANGE_SIZE as u64];
        self.call_refused(number, 1, &head, "a part of somebody else's descriptor").is_some()
    }

    /// What the guest was given a handle of must be of the pages that it offered, and of no others.
    fn sent(&self, number: u8, sent: Sent) {
        let (id, handle) = (vm(number), sent.handle);
        let between_vms = sent.offer.is_to_vms();
        if between_vms != (handle.get() >> 63 == 1 && self.book.borrow_mut().names.insert(handle.get())) {
            self.wrong(format!("{:x?} has the handle {:#x}", sent.offer.receivers, handle.get()));
        }
        if !self.hypervisor.is_alive(id) {
            self.book.borrow_mut().spent.push(handle);
            return;
        }
        if self.setup.trust == Trust::Honest && !between_vms {
            let of = |guest: &mut crate::book::Guest| {
                sent.offer.pages.iter().filter_map(|page| guest.frames.get(page).copied()).collect()
            };
            let physical: std::collections::BTreeSet<u64> = self.guest(number, of);
            let spmc = self.hypervisor.spmc();
            let is_it = |reached: &ffa_test_utils::spmc::Reached| {
                reached.handle == handle && reached.owner == id && reached.transaction == sent.how
            };
            let truth = spmc.reaches().filter(is_it);
            let given: std::collections::BTreeSet<u64> =
                truth.flat_map(|reached| reached.extent.page_addresses().collect::<Vec<_>>()).collect();
            // Donations that were taken long ago may have had the same handle.
            let right = match sent.how {
                Transaction::Donate => given.is_superset(&physical),
                _ => given == physical,
            };
            if !right {
                self.wrong(format!("VM {id} offered {physical:x?}, the secure world has {given:x?}"));
            }
        }
        // While it is being reclaimed, its handle may be another's already; and of a donation that was taken.
        let is_another = |other: &Sent| other.handle == handle && other.how != Transaction::Donate;
        if !self.is_raced() && self.guest(number, |guest| guest.sent.iter().any(is_another)) {
            self.wrong(format!("handle {:#x} was given out twice", handle.get()));
        }
        if between_vms {
            let borrowers = sent.offer.receivers.iter().filter_map(|(id, _)| {
                let vm = VMS.iter().position(|vm| vm == id)? as u8;
                Some(Borrower { vm, has: [].into(), returned: 0 })
            });
            let borrowers = borrowers.collect();
            let offer = sent.offer.clone();
            let loan = Loan { handle, owner: number % 3, owner_lives: true, offer, borrowers };
            self.book.borrow_mut().loans.push(loan);
        }
        self.guest(number, |guest| guest.sent.push(sent));
        self.book.borrow_mut().spent.retain(|other| *other != handle);
    }

    /// Handles of what a guest has sent, the newest last.
    fn handles(&self, number: u8) -> Vec<Handle> {
        self.guest(number, |guest| guest.sent.iter().map(|sent| sent.handle).collect())
    }

    fn handle(&self, number: u8, name: Name) -> Option<Handle> {
        match name {
            Name::Own(n) => nth(&self.handles(number), n),
            Name::Foreign(n) => nth(&[self.handles(number + 1), self.handles(number + 2)].concat(), n),
            Name::Spent(n) => nth(&self.book.borrow().spent, n),
            Name::Odd(n) => odd(n),
        }
    }

    pub fn reclaim(&self, number: u8, name: Name, flags: u8) -> bool {
        let Some(handle) = self.handle(number, name) else { return false };
        let [low, high] = handle.words();
        let head = [0x8400_0077, low, high, flags.into()];
        let found = self.guest(number, |guest| guest.named(handle).map(|at| guest.sent[at].offer.clone()));
        let Some(offer) = found else {
            let status = self.call_refused(number, 1, &head, "the reclaim of a handle of somebody else");
            let same = matches!(status, None | Some(Status::InvalidParameters));
            // A guest whose VM is just coming or going has other worries.
            if !same && !self.is_raced() {
                self.wrong(format!("a handle of somebody else is told from an unknown one: {status:?}"));
            }
            return status.is_some();
        };
        let answer = self.call(number, 1, &head);
        let done = answer.is_some_and(|answer| matches!(Answer::from_regs(&answer), Answer::Success(_)));
        if done && self.hypervisor.is_alive(vm(number)) {
            self.reclaimed(number, handle);
            self.is_back(number, &offer, flags & 1 != 0);
        }
        done
    }

    /// Takes note that a guest has something back.
    pub fn reclaimed(&self, number: u8, handle: Handle) {
        let sent = self.guest(number, |guest| guest.named(handle).map(|at| guest.sent.remove(at)));
        if sent.is_none() {
            self.wrong(format!("handle {:#x} was reclaimed, and no share has it", handle.get()));
        }
        let book = &mut *self.book.borrow_mut();
        book.spent.push(handle);
        let lent = book.loans.iter().position(|loan| loan.handle == handle).map(|at| book.loans.remove(at));
        let has = |borrower: &Borrower| borrower.has.len() > borrower.returned as usize;
        if lent.is_some_and(|loan| loan.borrowers.iter().any(has)) && !book.raced {
            book.wrong.push(format!("handle {:#x} was reclaimed while a borrower has it", handle.get()));
        }
    }

    /// Pages that a guest has back must be there, and zero if it wanted so.
    fn is_back(&self, number: u8, offer: &Offer, zeroed: bool) {
        if self.is_raced() {
            return;
        }
        for page in offer.pages.iter().take(4) {
            let mut bytes = [0xff; PAGE as usize];
            if self.hypervisor.load(vm(number), *page, &mut bytes).is_err() {
                self.wrong(format!("{page:#x} was reclaimed and is not there"));
            } else if zeroed && bytes != [0; PAGE as usize] {
                self.wrong(format!("{page:#x} was to be zeroed"));
            }
        }
    }

    /// A donation has left its VM for good.
    pub fn gone(&self, id: PartitionId, handle: Option<Handle>) {
        let Some(number) = VMS.iter().position(|vm| *vm == id) else { return };
        self.moment("a donation that is gone");
        let spent = self.guest(number as u8, |guest| {
            let is_it = |sent: &Sent| Some(sent.handle) == handle && sent.how == Transaction::Donate;
            let at = guest.sent.iter().rposition(is_it)?;
            let sent = guest.sent.remove(at);
            guest.gone.extend(sent.offer.pages);
            Some(sent.handle)
        });
        self.book.borrow_mut().spent.extend(spent);
    }
}

/// The `n`th of these, counted around and from the newest.
pub fn nth(handles: &[Handle], n: u8) -> Option<Handle> {
    let n = usize::from(n).checked_rem(handles.len())?;
    handles.iter().rev().nth(n).copied()
}

/// Handles that were never issued, or so it is hoped.
pub fn odd(n: u8) -> Option<Handle> {
    let odd = [0, 1, u64::MAX - 1, 1 << 44, 1 << 32, 1 << 63];
    Handle::new(odd[usize::from(n) % odd.len()]).ok()
}
