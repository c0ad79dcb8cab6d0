//! What the mediator keeps of each VM besides its obligations.

use ffa_abi::{Status, Version, VersionError};
use ffa_mem::{InsertError, IpaRange, RangeSet, RangeStore};
use ffa_teardown::{ShareId, StandingId, VmKey};

use crate::VmReferences;
use crate::notification::{Asked, Inbox};

/// Tag of a VM's RX and TX buffers among its tracked ranges; shares are tagged with their positions.
const TAG_BUFFERS: u32 = u32::MAX;

/// The tag of a share.
pub(crate) fn tag(share: ShareId) -> u32 {
    share.position() as u32
}

/// A VM's state in the mediator. Lives in storage that the hypervisor lends.
#[derive(Debug)]
pub struct Record<P: VmReferences, R, C, F> {
    pub(crate) vm: VmKey,
    pub(crate) negotiation: Negotiation,
    pub(crate) mailbox: Mailbox,
    /// The SPMC may have buffers that the guest has not. Until the VM is dead it is given no others.
    pub(crate) buffers_in_doubt: bool,
    /// Pages that are RX, TX or shared. Whatever else the guest offers must not touch them.
    pub(crate) ranges: RangeSet<R>,
    /// The SPMC keeps what SPs have signalled it.
    pub(crate) has_bitmap: bool,
    /// What others have.
    pub(crate) inbox: Inbox,
    pub(crate) asked: Asked,
    /// Some VM has let this one signal it, once at least.
    pub(crate) signals_vms: bool,
    /// A slot for each vCPU.
    pub(crate) vcpus: C,
    /// Memory transactions that the guest has sent a part of.
    pub(crate) drafts: F,
    /// There may be others, which have yet to be cancelled.
    pub(crate) owes_cancellations: bool,
    pub(crate) reference: Option<P::Reference>,
    /// Guest calls in progress outside the lock. Teardown begins when none is.
    pub(crate) calls: u32,
    /// Memory transactions, those that are being sent or reclaimed included.
    pub(crate) shares: u32,
    /// Pages of all these. Each share has no more than the limit of all, so the sum does not wrap.
    pub(crate) pages: u64,
    /// It has sent memory to SPs and VMs at the same time, once at least.
    pub(crate) mixes: bool,
    /// The VM is dead; no new call begins.
    pub(crate) dying: bool,
    /// Its teardown has begun.
    pub(crate) torn_down: bool,
}

impl<P: VmReferences, R: RangeStore, C, F> Record<P, R, C, F> {
    pub(crate) fn new(vm: VmKey, ranges: R, vcpus: C, drafts: F) -> Self {
        Self {
            vm,
            negotiation: Negotiation::default(),
            mailbox: Mailbox::Unmapped,
            buffers_in_doubt: false,
            ranges: RangeSet::new(ranges),
            has_bitmap: false,
            inbox: Inbox::EMPTY,
            asked: Asked::default(),
            signals_vms: false,
            vcpus,
            drafts,
            owes_cancellations: false,
            reference: None,
            calls: 0,
            shares: 0,
            mixes: false,
            pages: 0,
            dying: false,
            torn_down: false,
        }
    }

    /// Begins a guest's call that does part of its work outside the lock: the VM is not torn down before
    /// [`Mediator::leave`](crate::Mediator::leave).
    #[inline]
    pub(crate) fn enter(&mut self) {
        // At most one for each vCPU, and these have 16-bit numbers.
        self.calls = self.calls.wrapping_add(1);
    }

    /// Ends such a call. Returns whether teardown is to begin: the VM has died, and this was the last one.
    #[inline]
    pub(crate) fn leave(&mut self) -> bool {
        self.calls = self.calls.saturating_sub(1);
        self.dying && self.calls == 0
    }

    /// Forgets a share that is over. Returns the number of its pages.
    #[inline(always)] // ends every share
    pub(crate) fn forget(&mut self, share: ShareId) -> u32 {
        self.shares = self.shares.saturating_sub(1);
        let pages = self.ranges.remove(tag(share));
        self.pages = self.pages.saturating_sub(pages);
        pages as u32 // no more than one share may have
    }

    /// The TX buffer, if there is one.
    pub(crate) fn tx(&self) -> Option<IpaRange> {
        match self.mailbox {
            Mailbox::Mapped { buffers, .. } => Some(buffers.tx),
            Mailbox::Unmapped | Mailbox::Changing => None,
        }
    }

    /// Enters RX and TX among the tracked ranges, both or none.
    pub(crate) fn track_buffers(
        &mut self,
        buffers: &Buffers,
        forwarded: Option<StandingId>,
    ) -> Result<(), InsertError> {
        self.ranges.insert(tag_of_buffers(forwarded), [buffers.tx, buffers.rx])
    }

    pub(crate) fn untrack_buffers(&mut self, forwarded: Option<StandingId>) {
        self.ranges.remove(tag_of_buffers(forwarded));
    }
}

/// The tag of a VM's RX and TX, which are one memory transaction of their own if the SPMC has them.
fn tag_of_buffers(forwarded: Option<StandingId>) -> u32 {
    forwarded.map_or(TAG_BUFFERS, |standing| tag(standing.pages()))
}

/// A VM's version: asked for, and from its first other call on fixed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Negotiation {
    version: Option<Version>,
    fixed: bool,
}

impl Negotiation {
    /// FFA_VERSION: the version in use from now on, the lower of the two.
    ///
    /// # Errors
    /// [`VersionError`] if no version suits both, or if another one is already in use.
    pub(crate) fn ask(&mut self, word: u32, ours: Version) -> Result<Version, VersionError> {
        let theirs = Version::from_word(word)?;
        let version = ours.negotiate(theirs)?;
        match self.version {
            Some(used) if self.fixed && used != version => {
                Err(VersionError::Incompatible { theirs, ours: used })
            }
            _ => {
                self.version = Some(version);
                Ok(version)
            }
        }
    }

    /// The version in use, if the guest has asked for one.
    pub(crate) fn version(&self) -> Option<Version> {
        self.version.filter(|_| self.fixed)
    }

    /// The version in use, which can no longer be changed.
    ///
    /// # Errors
    /// NOT_SUPPORTED if the guest has not asked for one yet.
    #[inline]
    pub(crate) fn fix(&mut self) -> Result<Version, Status> {
        let version = self.version.ok_or(Status::NotSupported)?;
        self.fixed = true;
        Ok(version)
    }
}

/// A VM's RX and TX buffers: guest-physical, of one size.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Buffers {
    pub(crate) tx: IpaRange,
    pub(crate) rx: IpaRange,
}

/// Who has the RX buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RxState {
    /// The mediator may fill it.
    Free,
    /// The mediator is writing to it. It can be neither released nor unmapped.
    Filling,
    /// The guest reads it, until FFA_RX_RELEASE.
    Owned,
    /// The SPMC has it, and may have filled it for the guest.
    Spmc,
}

/// What the SPMC has of a VM's buffers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Forwarded {
    /// It has mapped them. Their pages are held under this name.
    pub(crate) mapped: StandingId,
    /// It has let the mediator have RX, and must be told when the guest has read it.
    pub(crate) rx_owned: Option<StandingId>,
}

/// RX and TX, and what is being done to them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mailbox {
    /// None.
    Unmapped,
    /// Being mapped or unmapped.
    Changing,
    /// There.
    Mapped { buffers: Buffers, rx: RxState, forwarded: Option<Forwarded> },
}
