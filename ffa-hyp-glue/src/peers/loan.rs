use ffa_abi::{Handle, PartitionId, Transaction};
use ffa_mem::Receiver;
use ffa_teardown::{ShareId, VmKey};

/// Room for one receiver of one memory transaction that has VMs among its receivers, in storage that the hypervisor lends.
#[derive(Clone, Debug)]
pub struct LoanSlot(Option<Loan>);

impl LoanSlot {
    /// An empty slot.
    pub const VACANT: Self = Self(None);

    pub(crate) const fn is_taken(&self) -> bool {
        self.0.is_some()
    }
}

/// What one VM lets another have of its memory, or an SP beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loan {
    pub(crate) terms: Terms,
    /// `None` if it has died, and for an SP, which has its part from the SPMC.
    pub(crate) borrower: Option<VmKey>,
    /// The borrower, and its permissions, as the owner named them.
    pub(crate) receiver: Receiver,
    pub(crate) stage: Stage,
}

/// What all receivers of a transaction have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Terms {
    /// The hypervisor's name for it, or that of the SPMC if SPs are among the receivers.
    pub(crate) handle: Handle,
    pub(crate) transaction: Transaction,
    pub(crate) owner: VmKey,
    /// Under which the owner's pages are held and tracked. No other transaction of the owner has it at the same time.
    pub(crate) pages: ShareId,
    /// What keeps the owner: the same, unless the secure world has its part as well.
    pub(crate) loan: ShareId,
    pub(crate) tag: u64,
    /// The owner had the pages zeroed.
    pub(crate) zeroed: bool,
}

impl Terms {
    /// Whether SPs are among the receivers.
    pub(crate) fn has_sps(&self) -> bool {
        self.pages != self.loan
    }
}

/// How far a loan has come. Whoever puts it into one of the stages in which a call works on it is the only one to take it
/// out again: no lock is held across what is done meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The owner is about to offer it, or has it back. No borrower finds it.
    Withheld,
    /// The borrower may retrieve it.
    Offered,
    /// The borrower's call is mapping it.
    Retrieving,
    /// The borrower has it.
    Retrieved(Borrowed),
    /// It is being unmapped, or becomes the borrower's own.
    Ending,
}

/// What a borrower has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Borrowed {
    /// Under which its pages are tracked in the borrower.
    pub(crate) pages: ShareId,
    /// It may write to them.
    pub(crate) writable: bool,
    /// They are to be zeroed when it has them no longer.
    pub(crate) zero_after: bool,
}

/// Some borrower has it, or is about to.
pub(crate) struct InUse;

impl Loan {
    /// Whether the VM is its owner or its borrower.
    pub(crate) fn is_of(&self, vm: VmKey) -> bool {
        self.terms.owner == vm || self.borrower == Some(vm)
    }

    /// Whether nobody is at work on it and the borrower does not have it.
    fn is_idle(&self) -> bool {
        self.stage == Stage::Offered
    }
}

/// The loans in lent storage.
pub(crate) struct Loans<'a>(pub(crate) &'a mut [LoanSlot]);

impl<'a> Loans<'a> {
    pub(crate) fn get(self, at: usize) -> Option<&'a mut Loan> {
        self.0.get_mut(at)?.0.as_mut()
    }

    /// Where the loan of this transaction to this VM is, if the VM may know of it.
    pub(crate) fn find(&self, handle: Handle, borrower: VmKey) -> Option<usize> {
        self.0.iter().position(|slot| {
            slot.0.as_ref().is_some_and(|loan| {
                loan.terms.handle == handle
                    && loan.borrower == Some(borrower)
                    && loan.stage != Stage::Withheld
            })
        })
    }

    /// Whether there is room for so many more.
    pub(crate) fn have_room(&self, count: usize) -> bool {
        self.0.iter().filter(|slot| slot.0.is_none()).count() >= count
    }

    /// Enters `loans`, for which there is room.
    pub(crate) fn add(&mut self, loans: impl Iterator<Item = Loan>) {
        let vacant = self.0.iter_mut().filter(|slot| slot.0.is_none());
        for (slot, loan) in vacant.zip(loans) {
            slot.0 = Some(loan);
        }
    }

    /// The terms of the transaction that these pages of `owner` belong to, if VMs are among its receivers.
    pub(crate) fn terms(&mut self, owner: VmKey, pages: ShareId) -> Option<Terms> {
        let mut all = self.0.iter().filter_map(|slot| slot.0.as_ref()).map(|loan| loan.terms);
        all.find(|terms| terms.owner == owner && terms.pages == pages)
    }

    /// Likewise of the one of this name, if all its receivers are VMs and it is offered to them.
    pub(crate) fn named(&mut self, owner: VmKey, handle: Handle) -> Option<Terms> {
        let loans = self.0.iter().filter_map(|slot| slot.0.as_ref());
        let mut offered = loans.filter(|loan| loan.stage != Stage::Withheld).map(|loan| loan.terms);
        offered.find(|terms| terms.owner == owner && terms.handle == handle && !terms.has_sps())
    }

    /// The transactions that a VM is about to offer or to take back, one after the other as they are removed.
    pub(crate) fn withheld(&mut self, owner: VmKey) -> Option<Terms> {
        let mut loans = self.0.iter().filter_map(|slot| slot.0.as_ref());
        let found = loans.find(|loan| loan.terms.owner == owner && loan.stage == Stage::Withheld);
        found.map(|loan| loan.terms)
    }

    /// The loans of one transaction.
    pub(crate) fn of(&mut self, terms: &Terms) -> impl Iterator<Item = &mut Loan> {
        let Terms { owner, pages, .. } = *terms;
        let loans = self.0.iter_mut().filter_map(|slot| slot.0.as_mut());
        loans.filter(move |loan| loan.terms.owner == owner && loan.terms.pages == pages)
    }

    /// Lets the borrowers of a transaction have it that is withheld from them, under this name.
    pub(crate) fn offer(&mut self, terms: &Terms, handle: Handle) {
        self.of(terms).for_each(|loan| {
            loan.terms.handle = handle;
            loan.stage = Stage::Offered;
        });
    }

    /// Takes a transaction from its borrowers. `None` if its owner is just offering it or taking it back.
    ///
    /// # Errors
    /// [`InUse`] if a borrower has it, or is about to.
    pub(crate) fn withhold(&mut self, terms: &Terms) -> Option<Result<(), InUse>> {
        if self.of(terms).any(|loan| loan.stage == Stage::Withheld) {
            return None;
        }
        if !self.of(terms).all(|loan| loan.is_idle()) {
            return Some(Err(InUse));
        }
        self.of(terms).for_each(|loan| loan.stage = Stage::Withheld);
        Some(Ok(()))
    }

    /// Forgets a transaction.
    pub(crate) fn remove(&mut self, terms: &Terms) {
        let of = |loan: &Loan| loan.terms.owner == terms.owner && loan.terms.pages == terms.pages;
        self.0.iter_mut().filter(|slot| slot.0.as_ref().is_some_and(of)).for_each(|slot| slot.0 = None);
    }
}

/// Names of transactions between VMs: bit 63 set, as for all that a hypervisor gives out. None is ever given out twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handles(u64);

impl Handles {
    pub(crate) const NEW: Self = Self(1 << 63);

    /// `None` after 2^63 - 1 of them, all ones being no handle.
    pub(crate) fn next(&mut self) -> Option<Handle> {
        let handle = Handle::new(self.0).ok()?;
        self.0 += 1;
        Some(handle)
    }
}

/// Whether `id` is that of a VM: SPs have bit 15 set.
pub(crate) fn is_vm(id: PartitionId) -> bool {
    !id.is_secure() && id != PartitionId::HYPERVISOR
}
