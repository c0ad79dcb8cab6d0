use ffa_abi::PartitionId;
use ffa_mem::IpaRange;

use crate::{Access, PageError};

/// Memory of one VM that another one is to have in its address space.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Lending {
    /// Whose memory it is. The mediator has a reference to this VM, which may have died meanwhile.
    pub owner: PartitionId,
    /// Who is to have it: a VM that makes a call.
    pub borrower: PartitionId,
    /// What the borrower may do with it. Never more than the owner allows.
    pub access: Access,
    /// Whether the borrower may execute it.
    pub executable: bool,
}

/// Memory of one VM in the address space of another: normal memory, write-back and inner shareable.
///
/// A hypervisor that lends no [`LoanSlot`](crate::LoanSlot) is not asked, and leaves this as it is.
pub trait PeerMemory {
    /// Maps the pages behind `range` of the owner, which are held, into the borrower's address space, and gives the range
    /// that they have there: of as many pages, in the same order, at an address that the hypervisor chooses and where
    /// nothing else of the borrower is or comes to be. All or nothing.
    ///
    /// The mapping lasts until [`unmap`](Self::unmap) or [`give`](Self::give), also if either VM dies. [`Pages::hold`](crate::Pages::hold) of any
    /// page of it fails: it is not the borrower's own.
    ///
    /// # Errors
    /// [`PageError::NoResources`] if there is no room or no memory for tables; `NotOwned` if a page has come to be
    /// something that cannot be mapped.
    fn map(&mut self, lending: &Lending, range: IpaRange) -> Result<IpaRange, PageError> {
        let _ = (lending, range);
        Err(PageError::NoResources)
    }

    /// Makes the pages at `to` the receiver's own, where it has them: all or a part of what [`map`](Self::map) gave, with the
    /// pages at `from` of the owner behind it, as many and in the same order. The owner, which held them with
    /// [`OwnerAccess::Lost`](crate::OwnerAccess::Lost), has donated them: its hold ends, and it never has them again. The
    /// receiver may read, write and execute them from now on, and share or give them away like all that it has.
    ///
    /// Cannot fail. Either VM may have died: pages that come to be a dead VM's are scrubbed before anybody else has them.
    fn give(&mut self, owner: PartitionId, from: IpaRange, receiver: PartitionId, to: IpaRange) {
        let _ = (owner, from, receiver, to);
    }

    /// Ends the mapping at `range` in the address space of `borrower`, once for each [`map`](Self::map) and with the range
    /// that this gave, or a union of adjacent ones. Cannot fail: when it returns no CPU, and no device of the borrower, can
    /// reach the pages there. The borrower may have died; the mediator has a reference to it.
    fn unmap(&mut self, borrower: PartitionId, range: IpaRange) {
        let _ = (borrower, range);
    }
}
