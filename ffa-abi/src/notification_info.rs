use crate::answer::success_width;
use crate::call::{cut, reserved};
use crate::{Answer, CallError, Function, FunctionId, PartitionId, Regs, Status, Width};

/// FFA_NOTIFICATION_INFO_GET: a scheduler asks whom it should run because of pending notifications.
///
/// # Specification
/// DEN0077A v1.1, FFA_NOTIFICATION_INFO_GET: no parameters, w1 to w7 must be zero.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NotificationInfoGet {
    /// Width of the call.
    pub width: Width,
}

impl NotificationInfoGet {
    /// Decodes the registers of the call, whose w0 is known to be `id`.
    ///
    /// # Errors
    /// [`CallError::Reserved`] if a register sets bits that must be zero.
    #[inline]
    pub fn from_regs(id: FunctionId, regs: &Regs) -> Result<Self, CallError> {
        for (register, x) in (1..=7).zip(&regs.0[1..]) {
            reserved(id, register, cut(id.width(), *x), 0)?;
        }
        Ok(Self { width: id.width() })
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let id = match self.width {
            Width::Smc32 => FunctionId::smc32(Function::NotificationInfoGet),
            Width::Smc64 => FunctionId::smc64(Function::NotificationInfoGet),
        };
        Regs::new([u64::from(id.w0())])
    }
}

/// One thing to be scheduled: an endpoint with a global notification, or one of its vCPUs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PendingReceiver {
    /// The endpoint.
    pub endpoint: PartitionId,
    /// Its vCPU, or `None` if the notification is global.
    pub vcpu: Option<u16>,
}

/// Why registers are no [`NotificationInfo`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotificationInfoError {
    /// Not FFA_SUCCESS; FFA_ERROR with NO_DATA is how it is said that nothing is pending.
    #[error("answered with {0:?}")]
    NotSuccess(Answer),
    /// The lists do not fit the registers, or there are none.
    #[error("{lists} lists of {ids} IDs in all, the registers have room for {room} IDs")]
    Lists {
        /// Number of lists that the answer claims.
        lists: u8,
        /// Number of IDs that they need.
        ids: u8,
        /// Number of IDs that an answer of this width can carry.
        room: u8,
    },
}

/// The registers have no room for one more receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no room for another receiver in this answer")]
pub struct NotificationInfoFull;

/// IDs that x3 to x7 can carry.
const MOST_IDS: usize = 20;
/// vCPU IDs that can follow an endpoint ID in one list.
const MOST_VCPUS: u64 = 3;
/// Bits of x2: more is pending; where the number of lists begins, and the sizes of the lists.
const MORE: u64 = 1;
const LISTS_SHIFT: u32 = 7;
const SIZES_SHIFT: u32 = 12;

/// FFA_NOTIFICATION_INFO_GET's answer: lists of an endpoint and up to three of its vCPUs, packed into registers.
///
/// # Specification
/// DEN0077A v1.1, FFA_NOTIFICATION_INFO_GET: x2 bit 0 more pending, bits 11:7 number of lists, two bits from 12 up for
/// each list with the number of vCPU IDs in it; IDs of 16 bits from x3 to x7, two a register in the 32-bit form, four
/// in the 64-bit form.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NotificationInfo {
    /// Whether the scheduler should ask again.
    pub more_pending: bool,
    width: Width,
    lists: u8,
    /// Two bits for each list.
    sizes: u64,
    ids: [u16; MOST_IDS],
    len: u8,
}

impl NotificationInfo {
    /// An answer of `width` with nobody in it.
    #[must_use]
    pub const fn new(width: Width) -> Self {
        Self { more_pending: false, width, lists: 0, sizes: 0, ids: [0; MOST_IDS], len: 0 }
    }

    /// Width of the answer.
    #[must_use]
    pub const fn width(&self) -> Width {
        self.width
    }

    /// Whether nobody is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lists == 0
    }

    /// Adds a receiver. vCPUs of one endpoint share a list if they come one after the other.
    ///
    /// # Errors
    /// [`NotificationInfoFull`] if there is no room; nothing has changed then, and the caller says so in
    /// [`more_pending`](Self::more_pending).
    pub fn push(&mut self, receiver: PendingReceiver) -> Result<(), NotificationInfoFull> {
        let PendingReceiver { endpoint, vcpu } = receiver;
        match vcpu {
            Some(vcpu) if self.last_takes_vcpu_of(endpoint) => {
                self.append(&[vcpu])?;
                self.sizes += 1 << (2 * (self.lists - 1));
            }
            Some(vcpu) => {
                self.append(&[endpoint.0, vcpu])?;
                self.sizes |= 1 << (2 * self.lists);
                self.lists += 1;
            }
            None => {
                self.append(&[endpoint.0])?;
                self.lists += 1;
            }
        }
        Ok(())
    }

    /// Whether the last list is of vCPUs of `endpoint`, and not full.
    fn last_takes_vcpu_of(&self, endpoint: PartitionId) -> bool {
        let Some(last) = self.lists.checked_sub(1) else { return false };
        let vcpus = self.sizes >> (2 * last) & MOST_VCPUS;
        let first = usize::from(self.len).checked_sub(1 + vcpus as usize);
        let owner = first.and_then(|first| self.ids.get(first));
        (1..MOST_VCPUS).contains(&vcpus) && owner == Some(&endpoint.0)
    }

    fn append(&mut self, new: &[u16]) -> Result<(), NotificationInfoFull> {
        let (from, to) = (usize::from(self.len), usize::from(self.len) + new.len());
        if to > room(self.width) {
            return Err(NotificationInfoFull);
        }
        self.ids.get_mut(from..to).ok_or(NotificationInfoFull)?.copy_from_slice(new);
        self.len = to as u8;
        Ok(())
    }

    /// Reads the registers that FFA_NOTIFICATION_INFO_GET left behind, in the width that the answer has.
    ///
    /// # Errors
    /// [`NotificationInfoError::NotSuccess`] if they are not FFA_SUCCESS, [`NotificationInfoError::Lists`] if they
    /// hold no list, or claim more than they can hold.
    pub fn from_answer(regs: &Regs) -> Result<Self, NotificationInfoError> {
        let width = success_width(regs).map_err(NotificationInfoError::NotSuccess)?;
        let x2 = cut(width, regs.x::<2>());
        let lists = (x2 >> LISTS_SHIFT & 0x1f) as u8;
        let sizes = x2 >> SIZES_SHIFT & ((1 << (2 * lists)) - 1);
        let len = (0..lists).map(|list| 1 + (sizes >> (2 * list) & MOST_VCPUS) as u8).sum();
        if lists == 0 || usize::from(len) > room(width) {
            return Err(NotificationInfoError::Lists { lists, ids: len, room: room(width) as u8 });
        }
        let mut ids = [0; MOST_IDS];
        let per_register = ids_per_register(width);
        for (group, x) in ids.chunks_mut(per_register).zip(&regs.0[3..8]) {
            for (i, id) in group.iter_mut().enumerate() {
                *id = (x >> (16 * i)) as u16;
            }
        }
        ids.iter_mut().skip(usize::from(len)).for_each(|unused| *unused = 0);
        Ok(Self { more_pending: x2 & MORE != 0, width, lists, sizes, ids, len })
    }

    /// Registers of the answer; FFA_ERROR with NO_DATA if nobody is in it.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        if self.is_empty() {
            return Regs::error(Status::NoData);
        }
        let id = match self.width {
            Width::Smc32 => FunctionId::smc32(Function::Success),
            Width::Smc64 => FunctionId::smc64(Function::Success),
        };
        let x2 =
            u64::from(self.more_pending) | u64::from(self.lists) << LISTS_SHIFT | self.sizes << SIZES_SHIFT;
        let mut regs = Regs::new([u64::from(id.w0()), 0, x2]);
        let per_register = ids_per_register(self.width);
        for (x, group) in regs.0[3..8].iter_mut().zip(self.ids.chunks(per_register)) {
            *x = group.iter().rev().fold(0, |x, id| x << 16 | u64::from(*id));
        }
        regs
    }

    /// Everyone in it, in order.
    #[must_use]
    pub fn receivers(&self) -> PendingReceivers<'_> {
        PendingReceivers {
            ids: self.ids.get(..usize::from(self.len)).unwrap_or(&[]),
            sizes: self.sizes,
            vcpus: None,
        }
    }
}

/// IDs in one register.
const fn ids_per_register(width: Width) -> usize {
    match width {
        Width::Smc32 => 2,
        Width::Smc64 => 4,
    }
}

/// IDs in one answer.
const fn room(width: Width) -> usize {
    5 * ids_per_register(width)
}

/// Iterator over the receivers of a [`NotificationInfo`]: each list gives its endpoint once, or once for each vCPU.
#[derive(Clone, Debug)]
pub struct PendingReceivers<'a> {
    /// IDs not yet looked at.
    ids: &'a [u16],
    /// Sizes of the lists not yet begun.
    sizes: u64,
    /// Whose vCPUs come next, and how many.
    vcpus: Option<(PartitionId, u64)>,
}

impl Iterator for PendingReceivers<'_> {
    type Item = PendingReceiver;

    fn next(&mut self) -> Option<PendingReceiver> {
        let (endpoint, left) = match self.vcpus.take() {
            Some(list) => list,
            None => {
                let endpoint = PartitionId(self.take_id()?);
                let vcpus = self.sizes & MOST_VCPUS;
                self.sizes >>= 2;
                if vcpus == 0 {
                    return Some(PendingReceiver { endpoint, vcpu: None });
                }
                (endpoint, vcpus)
            }
        };
        let vcpu = Some(self.take_id()?);
        self.vcpus = (left > 1).then_some((endpoint, left - 1));
        Some(PendingReceiver { endpoint, vcpu })
    }
}

impl PendingReceivers<'_> {
    fn take_id(&mut self) -> Option<u16> {
        let (first, rest) = self.ids.split_first()?;
        self.ids = rest;
        Some(*first)
    }
}
