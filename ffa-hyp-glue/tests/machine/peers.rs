//! What guests do with memory that others have offered them.

use ffa_abi::{Answer, Handle, Version};

use crate::act::{Flaw, Name};
use crate::book::Loan;
use crate::common::PAGE;
use crate::common::peers::{
    FRAG_RX, RELINQUISH, RETRIEVE, RETRIEVED, RX_RELEASE, Request, Response, relinquishment,
};
use crate::host::vm;
use crate::memory::{nth, odd, spoil};
use crate::run::Run;
use crate::setup::VMS;

impl Run {
    /// A handle of what was lent.
    fn lent(&self, number: u8, name: Name) -> Option<Handle> {
        let number = number % 3;
        let of = |is_borrower: bool| -> Vec<Handle> {
            let book = self.book.borrow();
            let borrows =
                |loan: &&Loan| loan.borrowers.iter().any(|borrower| borrower.vm == number) == is_borrower;
            book.loans.iter().filter(borrows).map(|loan| loan.handle).collect()
        };
        match name {
            Name::Own(n) => nth(&of(true), n),
            Name::Foreign(n) => nth(&of(false), n),
            Name::Spent(n) => nth(&self.book.borrow().spent, n),
            Name::Odd(n) => odd(n),
        }
    }

    /// Does something with the loan of this handle, if there is one.
    fn loan<T>(&self, handle: Handle, work: impl FnOnce(&mut Loan) -> T) -> Option<T> {
        self.book.borrow_mut().loans.iter_mut().find(|loan| loan.handle == handle).map(work)
    }

    /// Where the last pages are that a guest has borrowed.
    pub fn borrowed(&self, number: u8) -> Option<u64> {
        let book = self.book.borrow();
        let mut borrowers = book.loans.iter().rev().flat_map(|loan| &loan.borrowers);
        let last = borrowers.find(|borrower| borrower.vm == number % 3 && !borrower.has.is_empty())?;
        last.has.back()?.first().map(|(base, _)| *base)
    }

    pub fn retrieve(&self, number: u8, name: Name, flaw: Option<Flaw>) -> bool {
        let Some(handle) = self.lent(number, name) else { return false };
        let version = self.version(number);
        let (owner, receivers) = self
            .loan(handle, |loan| (loan.owner, loan.offer.receivers.clone()))
            .unwrap_or_else(|| (number + 1, vec![(vm(number), 2)]));
        let borrowers = receivers.iter().map(|(id, permissions)| (id.0, *permissions & 3, 0, 0)).collect();
        let request = Request { version, sender: vm(owner).0, borrowers, ..Request::new(handle) };
        let mut bytes = request.bytes();
        spoil(&mut bytes, flaw);
        self.write(number, &bytes);
        let len = bytes.len() as u64;
        let answer = self.call(number, 0, &[RETRIEVE, len, len]);
        let Some(answer) = answer.filter(|answer| answer[0] == RETRIEVED) else { return false };
        self.as_read(number, &mut bytes);
        if self.hypervisor.is_alive(vm(number)) {
            self.retrieved(number, &bytes, answer[1], answer[2]);
        }
        true
    }

    /// What a guest has retrieved must have been offered to it, and must be what was offered.
    fn retrieved(&self, number: u8, request: &[u8], total: u64, len: u64) {
        let word = request[8..16].try_into().expect("eight bytes");
        let handle = Handle::new(u64::from_le_bytes(word)).ok();
        let rx =
            self.guest(number, |guest| guest.buffers.map(|(_, rx, pages)| (rx, u64::from(pages) * PAGE)));
        let Some((rx, _)) = rx.filter(|(_, room)| total == len && len <= *room) else {
            // Its buffers are gone by now, or it is longer than any that is offered here.
            if !self.is_raced() {
                self.wrong(format!("{len} of {total} bytes are in {rx:x?}"));
            }
            return;
        };
        let mut bytes = vec![0; len as usize];
        self.hypervisor.read(vm(number), rx, &mut bytes);
        if self.is_raced() && bytes.iter().all(|byte| *byte == 0) {
            return;
        }
        let response = Response::read(&bytes, self.version(number));
        let _ = self.call(number, 0, &[RX_RELEASE]);
        let taken = handle.and_then(|handle| {
            self.loan(handle, |loan| {
                let (owner, lives, offer) = (loan.owner, loan.owner_lives, loan.offer.clone());
                let borrower = loan.borrower(number % 3)?;
                let again = !borrower.has.is_empty();
                match borrower.returned {
                    0 => borrower.has.push_back(response.ranges.clone()),
                    _ => borrower.returned -= 1,
                }
                Some((owner, lives, offer, again))
            })
        });
        let raced = self.is_raced();
        let Some((owner, lives, offer, again)) = taken.flatten() else {
            if !raced {
                self.wrong(format!("VM {} has retrieved {handle:x?}, which nobody offered it", vm(number)));
            }
            return;
        };
        if !raced && (again || !lives) {
            self.wrong(format!("{handle:x?} was retrieved again ({again}), or of a dead VM ({})", !lives));
        }
        if Some(response.handle) != handle.map(Handle::get) || response.sender != vm(owner).0 {
            self.wrong(format!("{handle:x?} of VM {} was retrieved, not {response:x?}", vm(owner)));
        }
        let frames: Vec<_> = self
            .guest(owner, |guest| offer.pages.iter().map(|page| guest.frames.get(page).copied()).collect());
        let there = pages(&response.ranges);
        let mapped: Vec<_> = there.iter().map(|page| self.hypervisor.translate(vm(number), *page)).collect();
        if !raced && (frames != mapped || response.pages as usize != frames.len()) {
            self.wrong(format!("{frames:x?} were offered, and {mapped:x?} are mapped"));
        }
        let writes = there.iter().any(|page| self.hypervisor.may_write(vm(number), *page));
        if offer.read_only && writes {
            self.wrong("a borrower writes to what it may only read".into());
        }
    }

    pub fn retrieve_rest(&self, number: u8, name: Name, from: u8) -> bool {
        let Some(handle) = self.lent(number, name) else { return false };
        let [low, high] = handle.words();
        let head = match self.version(number) {
            version if version < Version::V1_1 => 64,
            version if version < Version::V1_2 => 80,
            _ => 96,
        };
        let offset = head + 16 * u64::from(from);
        let Some(answer) = self.call(number, 0, &[FRAG_RX, low, high, offset]) else { return false };
        let Answer::MemFragTx(rest) = Answer::from_regs(&answer) else { return false };
        let rx = self.guest(number, |guest| guest.buffers.map(|(_, rx, _)| rx));
        let (Some(rx), false) = (rx, self.is_raced()) else { return true };
        let mut bytes = vec![0; rest.fragment_len as usize];
        self.hypervisor.read(vm(number), rx, &mut bytes);
        let _ = self.call(number, 0, &[RX_RELEASE]);
        let has = self.loan(handle, |loan| loan.borrower(number % 3)?.has.front().cloned()).flatten();
        let ranges = has.iter().flatten().skip(from.into());
        let expected: Vec<u8> = ranges
            .flat_map(|(base, pages)| [base.to_le_bytes(), u64::from(*pages).to_le_bytes()].concat())
            .collect();
        if rest.handle != handle || bytes != expected {
            self.wrong(format!("the rest of {handle:x?} from {from} on is {bytes:x?}, not {expected:x?}"));
        }
        true
    }

    pub fn relinquish(&self, number: u8, name: Name, flaw: Option<Flaw>) -> bool {
        let Some(handle) = self.lent(number, name) else { return false };
        let mut bytes = relinquishment(handle.get(), 0, &[vm(number).0]);
        spoil(&mut bytes, flaw);
        self.write(number, &bytes);
        let answer = self.call(number, 0, &[RELINQUISH]);
        let done = answer.is_some_and(|answer| matches!(Answer::from_regs(&answer), Answer::Success(_)));
        if done {
            self.as_read(number, &mut bytes);
            self.relinquished(number, &bytes);
        }
        done
    }

    /// What a guest has relinquished it must have had, and has no longer.
    pub fn relinquished(&self, number: u8, bytes: &[u8]) {
        let word = bytes[..8].try_into().expect("eight bytes");
        let handle = Handle::new(u64::from_le_bytes(word)).ok();
        let raced = self.is_raced();
        let had = handle.and_then(|handle| {
            self.loan(handle, |loan| {
                let borrower = loan.borrower(number % 3)?;
                let had = borrower.has.pop_front();
                borrower.returned += u32::from(had.is_none() && raced);
                had
            })
        });
        match had.flatten() {
            None if !raced => self.wrong(format!("{handle:x?} was relinquished by who did not have it")),
            Some(ranges) if !raced => {
                let left = pages(&ranges).into_iter().find(|page| self.reaches(number, *page));
                if let Some(page) = left {
                    self.wrong(format!("{page:#x} was relinquished and is there"));
                }
            }
            _ => {}
        }
    }

    /// Notes the death of a VM.
    pub fn loans_after(&self, number: u8) {
        let number = number % 3;
        let book = &mut *self.book.borrow_mut();
        for loan in &mut book.loans {
            loan.borrowers.retain(|borrower| borrower.vm != number);
            loan.owner_lives &= loan.owner != number;
        }
        // What nobody has of a dead VM is no more, unless somebody is just retrieving it.
        let is_had = |loan: &Loan| loan.borrowers.iter().any(|borrower| !borrower.has.is_empty());
        book.loans.retain(|loan| book.raced || loan.owner_lives || is_had(loan));
    }

    /// Each guest has what it has retrieved, and nothing else of others; and of its own not what it has sent away.
    pub fn look_at_pages(&self) {
        let wrong = (0..3).filter(|number| self.hypervisor.is_alive(vm(*number))).filter_map(|number| {
            let has = self.hypervisor.borrowed(vm(number));
            let book = self.book.borrow();
            let pages = |lives: bool| -> usize {
                let of = book.loans.iter().filter(|loan| loan.owner_lives == lives);
                of.map(|loan| loan.pages_of(number)).sum()
            };
            let (least, late) = (pages(true), pages(false));
            // What a dead VM has lent goes when its teardown comes to it.
            let right = match self.setup.keeps_loans {
                true => has == least + late,
                false => (least..=least + late).contains(&has),
            };
            if !right {
                let id = VMS[usize::from(number)];
                return Some(format!(
                    "VM {id} has {has} pages of others, not {least} and {late} of dead ones"
                ));
            }
            let lost = book.guests[usize::from(number)].lost().find(|page| self.reaches(number, *page));
            lost.map(|page| format!("VM {} reaches {page:#x}, which it has sent away", vm(number)))
        });
        let wrong: Vec<_> = wrong.collect();
        wrong.into_iter().for_each(|what| self.wrong(what));
    }
}

fn pages(ranges: &[(u64, u32)]) -> Vec<u64> {
    ranges.iter().flat_map(|(base, pages)| (0..u64::from(*pages)).map(move |n| base + n * PAGE)).collect()
}
