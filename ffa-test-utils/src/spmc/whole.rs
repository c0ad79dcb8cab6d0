use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use ffa_abi::{Handle, Regs, Transaction};

use super::check::WholeCheck;
use super::descriptor::{Descriptor, Layout};
use super::memory::{Extent, PAGE_SIZE, PhysMemory};
use super::model::{SpmcModel, error};
use super::store::{Incomplete, Receiver};

impl SpmcModel {
    /// Judges a descriptor whose last byte has arrived. A bad one is forgotten and its handle is dead.
    pub(super) fn finish_send(&mut self, memory: &mut dyn PhysMemory, handle: Handle) -> Regs {
        let Some(half) = self.store.half_sent(handle.get()) else {
            return error(ffa_abi::Status::InvalidParameters);
        };
        let descriptor = Descriptor::new(&half.bytes, Layout::for_version(self.caller_version()));
        let extents = descriptor.ranges();
        let broken = |&&(check, _): &&(WholeCheck, _)| self.whole_broken(check, half, descriptor, &extents);
        if let Some(&(_, status)) = self.config.whole.iter().find(broken) {
            self.store.abandon(handle.get());
            return error(status);
        }
        let zero = descriptor.flags() & 1 != 0
            && half.transaction != Transaction::Share
            && self.config.quirks.zeroes_memory;
        let words = (descriptor.attributes(), descriptor.flags());
        let receivers: Vec<_> = descriptor
            .accesses()
            .map(|access| Receiver {
                id: access.receiver,
                permissions: access.permissions,
                writable: access.permissions & 0b11 != 0b01,
                mapped: false,
            })
            .collect();
        if zero {
            zero_pages(memory, &extents);
        }
        if let Some(serial) = self.store.complete(handle.get(), words, receivers, extents) {
            self.offer(serial);
        }
        let [low, high] = handle.words();
        Regs::success(low as u32, high as u32)
    }

    fn whole_broken(
        &self,
        check: WholeCheck,
        half: &Incomplete,
        descriptor: Descriptor<'_>,
        extents: &[Extent],
    ) -> bool {
        let quirks = &self.config.quirks;
        let composite = u64::from(descriptor.composite_offset());
        let end = half.bytes.len() as u64;
        match check {
            WholeCheck::UnknownReceiver => descriptor
                .accesses()
                .any(|access| access.receiver.is_secure() && self.partition(access.receiver).is_none()),
            WholeCheck::CompositesDiffer => {
                descriptor.accesses().any(|access| u64::from(access.composite_offset) != composite)
            }
            WholeCheck::DuplicateReceiver => {
                let mut seen = BTreeSet::new();
                descriptor.accesses().any(|access| !seen.insert(access.receiver))
            }
            WholeCheck::CompositeBounds => {
                composite < descriptor.access_end() || composite % 16 != 0 || composite + 16 > end
            }
            WholeCheck::RangeCount => {
                descriptor.ranges_offset() + u64::from(descriptor.range_count()) * 16 != end
            }
            WholeCheck::Overlap => overlap(extents, quirks.empty_range_ends_overlap_scan),
            WholeCheck::PageSum => {
                let total = descriptor.total_pages();
                if quirks.page_sum_wraps {
                    extents.iter().fold(0_u32, |sum, extent| sum.wrapping_add(extent.pages)) != total
                } else {
                    extents.iter().map(|extent| u64::from(extent.pages)).sum::<u64>() != u64::from(total)
                }
            }
            WholeCheck::EmptyRange => extents.iter().any(|extent| extent.pages == 0),
            WholeCheck::Unaligned => extents.iter().any(|extent| extent.base % PAGE_SIZE != 0),
            WholeCheck::PastMemory => {
                extents.iter().any(|extent| extent.wraps() || extent.end() > self.config.memory_end)
            }
            WholeCheck::NotNonSecure => {
                self.looked_up(half, descriptor, extents).any(|extent| !self.is_non_secure(extent))
            }
            WholeCheck::BufferPage => {
                self.looked_up(half, descriptor, extents).any(|extent| self.is_in_buffer(extent))
            }
            WholeCheck::AlreadySent => self.looked_up(half, descriptor, extents).any(|extent| {
                self.store.overlapping(extent).any(|serial| {
                    // What the SPMC has forgotten does not stand in its table.
                    self.store.get(serial).is_some_and(|share| share.known)
                }) || quirks.half_sent_counts && self.half_sent_overlaps(half, extent)
            }),
        }
    }

    /// The extents that are looked up in the table of owners.
    fn looked_up<'a>(
        &self,
        half: &Incomplete,
        descriptor: Descriptor<'_>,
        extents: &'a [Extent],
    ) -> impl Iterator<Item = Extent> + use<'a> {
        let in_first_part = (half.first_len as u64).saturating_sub(descriptor.ranges_offset()) as usize / 16;
        let from = if self.config.quirks.last_range_decides { in_first_part.saturating_sub(1) } else { 0 };
        extents.iter().skip(from).copied()
    }

    fn half_sent_overlaps(&self, this: &Incomplete, extent: Extent) -> bool {
        let layout = Layout::for_version(self.caller_version());
        self.store.all_half_sent().filter(|other| other.handle != this.handle).any(|other| {
            Descriptor::new(&other.bytes, layout).ranges().iter().any(|range| range.overlaps(&extent))
        })
    }
}

fn overlap(extents: &[Extent], empty_ends_scan: bool) -> bool {
    let scanned = extents.iter().take_while(|extent| !empty_ends_scan || extent.pages != 0);
    let mut sorted: Vec<_> = scanned.copied().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0].overlaps(&pair[1]))
}

/// Zeroes pages, up to the first that cannot be written.
pub(super) fn zero_pages(memory: &mut dyn PhysMemory, extents: &[Extent]) {
    for address in extents.iter().flat_map(|extent| extent.page_addresses()) {
        if memory.write(address, &[0; PAGE_SIZE as usize]).is_err() {
            break;
        }
    }
}
