//! What the bytes of a memory transaction descriptor offer, read as the specification has them and in no other way.

use std::collections::BTreeSet;

use ffa_abi::{PartitionId, Version};
use ffa_test_utils::hypervisor::Kind;

use crate::common::{PAGE, REGIONS};

/// More pages than any share may have.
const MOST_PAGES: u64 = 4096;

/// What is offered to whom. DEN0077A v1.0 section 5.12, v1.1 section 10; from v1.2, DEN0140.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Offer {
    /// Receivers and their permissions.
    pub receivers: Vec<(PartitionId, u8)>,
    /// Guest-physical addresses, in order.
    pub pages: Vec<u64>,
    /// Each is there once, is memory of the guest's own, and may be written if somebody is to write to it.
    pub own: bool,
    /// Nobody but the owner is to write to them.
    pub read_only: bool,
    /// They are to be zeroed before they are sent.
    pub zero: bool,
}

impl Offer {
    /// Nothing, if the bytes are too few or the pages too many.
    pub fn read(bytes: &[u8], version: Version) -> Self {
        Self::try_read(bytes, version).unwrap_or_default()
    }

    fn try_read(bytes: &[u8], version: Version) -> Option<Self> {
        let zero = word(bytes, 4)? & 1 != 0;
        let (size, first) =
            if version < Version::V1_1 { (16, 32) } else { (word(bytes, 24)?, word(bytes, 32)?) };
        let count = word(bytes, 28)?;
        let receiver = |n: u32| {
            let at = n.checked_mul(size)?.checked_add(first)?;
            let entry = word(bytes, at)?;
            Some((PartitionId(entry as u16), (entry >> 16) as u8))
        };
        let receivers = (0..count.min(64)).map(receiver).collect::<Option<Vec<_>>>()?;
        let composite = word(bytes, first.checked_add(4)?)?;
        let ranges = word(bytes, composite.checked_add(4)?)?;
        let mut pages = Vec::new();
        for n in 0..ranges {
            let at = n.checked_mul(16)?.checked_add(composite)?.checked_add(16)?;
            let base = u64::from(word(bytes, at.checked_add(4)?)?) << 32 | u64::from(word(bytes, at)?);
            let count = u64::from(word(bytes, at.checked_add(8)?)?);
            if count + pages.len() as u64 > MOST_PAGES {
                return None;
            }
            pages.extend((0..count).map(|page| base.wrapping_add(page * PAGE)));
        }
        let read_only = receivers.iter().all(|(_, permissions)| permissions & 3 == 1);
        let distinct: BTreeSet<u64> = pages.iter().copied().collect();
        let own = distinct.len() == pages.len()
            && pages.iter().all(|page| match kind(*page) {
                Some(Kind::Ram) => true,
                Some(Kind::ReadOnly) => read_only && !zero,
                _ => false,
            });
        Some(Self { receivers, pages, own: own && !distinct.is_empty(), read_only, zero })
    }

    /// Whether all receivers are VMs.
    pub fn is_to_vms(&self) -> bool {
        self.receivers.iter().all(|(id, _)| !id.is_secure())
    }
}

fn word(bytes: &[u8], at: u32) -> Option<u32> {
    let at = at as usize;
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().expect("four bytes")))
}

/// What is behind the page at this address.
fn kind(page: u64) -> Option<Kind> {
    let region = REGIONS.iter().find(|region| {
        (region.base..region.base + u64::from(region.pages) * PAGE).contains(&page) && page % PAGE == 0
    });
    region.map(|region| region.kind)
}
