//! Descriptors that are cut into fragments and put together again.

mod common;

use common::any::{Send, any_send, build};
use common::{GUEST, VERSIONS, Vector};
use ffa_abi::Version;
use ffa_mem::{
    BuildError, DescriptorError, FirstFragment, FragmentBuilder, IpaRange, Joiner, PAGE_SIZE, PhysRange,
    Reassembly, SendDescriptor, SendTotals,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Room for the longest head.
const HEAD: usize = 48 + 64 * 32 + 16;

fn totals(ranges: &[IpaRange]) -> SendTotals {
    SendTotals { pages: ranges.iter().map(|range| range.pages()).sum(), ranges: ranges.len() as u32 }
}

/// Cuts the descriptor into fragments of at most `sizes` bytes, one after the other, from the start again after the last.
fn fragments(send: &Send, sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut sizes = sizes.iter().copied().cycle();
    let mut buf = vec![0xa5; sizes.next().unwrap().max(HEAD)];
    let mut all = Vec::new();
    let receivers = send.receivers.iter().copied();
    let totals = totals(&send.ranges);
    let mut fragment = FragmentBuilder::first(&mut buf, &send.header, receivers, totals).unwrap();
    let mut sent = 0;
    for range in &send.ranges {
        if fragment.room() == 0 {
            assert_eq!(fragment.push(*range), Err(BuildError::BufferFull));
            let (len, unsent) = fragment.finish().unwrap();
            sent += len;
            assert_eq!((unsent.offset() as usize, unsent.is_empty()), (sent, false));
            all.push(buf[..len].to_vec());
            buf = vec![0x5a; sizes.next().unwrap()];
            fragment = unsent.next(&mut buf);
        }
        fragment.push(*range).unwrap();
    }
    assert_eq!(fragment.room(), 0);
    let (len, unsent) = fragment.finish().unwrap();
    sent += len;
    assert_eq!((unsent.offset() as usize, unsent.is_empty()), (sent, true));
    assert_eq!(unsent.total_len() as usize, sent);
    all.push(buf[..len].to_vec());
    all
}

/// Puts fragments together: the ranges, and how far that has come.
fn together(
    send: &Send,
    total_len: usize,
    fragments: &[&[u8]],
) -> Result<(Vec<IpaRange>, Reassembly), DescriptorError> {
    let (first, others) = fragments.split_first().unwrap();
    let FirstFragment { head, ranges, mut rest } =
        FirstFragment::parse(first, total_len as u32, &send.rules())?;
    assert_eq!((head.sender(), head.tag(), head.flags()), (GUEST, send.header.tag, send.header.flags));
    assert_eq!(head.attributes(), send.header.attributes);
    assert!(head.receivers().eq(send.receivers.iter().copied()));
    let mut all: Vec<_> = ranges.collect();
    let mut offset = first.len();
    for fragment in others {
        assert_eq!((rest.offset() as usize, rest.is_whole()), (offset, false));
        all.extend(rest.take(fragment)?);
        offset += fragment.len();
    }
    assert_eq!(rest.offset() as usize, offset);
    Ok((all, rest))
}

proptest! {
    #[test]
    fn a_descriptor_may_be_cut_between_any_two_ranges(
        send in any_send(),
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let mut buf = vec![0; 16384];
        let len = build(&send, &mut buf);
        let whole = SendDescriptor::parse(&buf[..len], &send.rules()).unwrap();
        let head_len = len - whole.ranges().len() * 16;
        let mut at: Vec<_> =
            cuts.iter().map(|cut| head_len + 16 * cut.index(whole.ranges().len())).collect();
        at.extend([0, len]);
        at.sort_unstable();
        at.dedup();
        let parts: Vec<_> = at.windows(2).map(|pair| &buf[pair[0]..pair[1]]).collect();
        let (ranges, rest) = together(&send, len, &parts).unwrap();
        prop_assert!(whole.ranges().eq(ranges));
        prop_assert!(rest.is_whole());
        prop_assert_eq!(rest.range_count() as usize, whole.ranges().len());
    }

    #[test]
    fn a_descriptor_may_be_cut_nowhere_else(send in any_send(), at in any::<Index>()) {
        let mut buf = vec![0; 16384];
        let len = build(&send, &mut buf);
        let ranges = SendDescriptor::parse(&buf[..len], &send.rules()).unwrap().ranges().len();
        let head_len = len - ranges * 16;
        let at = at.index(len);
        let result = FirstFragment::parse(&buf[..at], len as u32, &send.rules());
        if at < head_len {
            let is_truncated = matches!(result, Err(DescriptorError::Truncated { .. }));
            prop_assert!(is_truncated);
        } else if at % 16 != 0 {
            let (part, left) = (at - head_len, ranges * 16);
            let error = DescriptorError::FragmentLength { len: part as u64, left: left as u32 };
            prop_assert_eq!(result.unwrap_err(), error);
        } else {
            prop_assert!(result.is_ok());
        }
    }

    #[test]
    fn fragments_of_any_sizes_make_the_same_descriptor(
        send in any_send(),
        sizes in vec(16..2000_usize, 1..4),
    ) {
        let mut buf = vec![0; 16384];
        let len = build(&send, &mut buf);
        // As they are joined there; a fragment builder takes them as they come.
        let ranges = SendDescriptor::parse(&buf[..len], &send.rules()).unwrap().ranges().collect();
        let send = Send { ranges, ..send };
        let parts = fragments(&send, &sizes);
        prop_assert_eq!(parts.concat(), &buf[..len]);
        let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(together(&send, len, &parts).unwrap().0, send.ranges);
    }

    #[test]
    fn a_spoiled_descriptor_is_refused(
        send in any_send(),
        keep in any::<Index>(),
        size in 16..2000_usize,
    ) {
        let keep = keep.index(send.ranges.len());
        let mut buf = vec![0xa5; 16384];
        let receivers = send.receivers.iter().copied();
        let mut fragment =
            FragmentBuilder::first(&mut buf, &send.header, receivers, totals(&send.ranges)).unwrap();
        for range in &send.ranges[..keep] {
            fragment.push(*range).unwrap();
        }
        let (len, mut unsent) = fragment.finish().unwrap();
        let total_len = unsent.total_len();
        let mut bytes = buf[..len].to_vec();
        let FirstFragment { mut rest, .. } = FirstFragment::parse(&buf[..len], total_len, &send.rules()).unwrap();
        let mut bad = vec![0xa5; size];
        let (len, _) = unsent.spoil(&mut bad);
        let is_empty_range = matches!(rest.take(&bad[..len]), Err(DescriptorError::Range { index, .. }) if index as usize == keep);
        prop_assert!(is_empty_range);
        // For whoever does not look at ranges, the sum is wrong.
        while !unsent.is_empty() {
            let (len, left) = unsent.spoil(&mut bad);
            prop_assert!(len > 0);
            bytes.extend(&bad[..len]);
            unsent = left;
        }
        prop_assert_eq!(bytes.len(), total_len as usize);
        let ranges = &bytes[bytes.len() - send.ranges.len() * 16..];
        let pages = |range: &[u8]| u64::from(u32::from_le_bytes(range[8..12].try_into().unwrap()));
        let sum: u64 = ranges.chunks(16).map(pages).sum();
        prop_assert!(sum < u64::from(totals(&send.ranges).pages));
    }

    #[test]
    fn any_fragments_are_read_or_refused(
        version in select(&VERSIONS[..]),
        parts in vec(vec(prop_oneof![4 => Just(0), 1 => any::<u8>()], 0..70), 1..5),
        total in prop_oneof![4 => 0..400_u32, 1 => any::<u32>()],
        range_count in prop_oneof![4 => 0..8_u32, 1 => any::<u32>()],
        total_pages in prop_oneof![4 => 0..40_u32, 1 => any::<u32>()],
    ) {
        let vector = Vector::share(version);
        let at = vector.composite_at;
        let vector = vector.put_u32(at, total_pages).put_u32(at + 4, range_count);
        let mut first = vector.bytes.clone();
        first.extend(&parts[0]);
        let Ok(FirstFragment { ranges, mut rest, .. }) = FirstFragment::parse(&first, total, &vector.rules) else {
            return Ok(());
        };
        let mut pages: u64 = ranges.map(|range| u64::from(range.pages())).sum();
        for part in &parts[1..] {
            let before = rest;
            match rest.take(part) {
                Ok(ranges) => pages += ranges.map(|range| u64::from(range.pages())).sum::<u64>(),
                Err(error) => {
                    prop_assert!(!error.to_string().is_empty() && error.status().code() < 0);
                    prop_assert_eq!(&rest, &before);
                }
            }
            prop_assert!(pages <= total_pages.into() && rest.offset() <= total);
            prop_assert_eq!(rest.is_whole(), rest.offset() == total);
            prop_assert!(!rest.is_whole() || pages == total_pages.into());
        }
    }
}

fn phys(page: u64, pages: u32) -> PhysRange {
    PhysRange::new(page * PAGE_SIZE, pages).unwrap()
}

fn head(buf: &mut [u8], totals: SendTotals) -> Result<FragmentBuilder<'_>, BuildError> {
    let vector = Vector::share(Version::V1_1);
    let send = vector.parse().unwrap();
    let header = ffa_mem::SendHeader {
        version: Version::V1_1,
        sender: send.sender(),
        attributes: send.attributes(),
        flags: send.flags(),
        tag: send.tag(),
    };
    FragmentBuilder::first(buf, &header, send.receivers(), totals)
}

#[test]
fn ranges_must_add_up_to_what_was_declared() {
    let mut buf = [0; 4096];
    let mut fragment = head(&mut buf, SendTotals { pages: 5, ranges: 3 }).unwrap();
    let refused = |pages, left: (u32, u32)| {
        Err(BuildError::Totals { pages, left: SendTotals { pages: left.0, ranges: left.1 } })
    };
    assert_eq!(fragment.room(), 3);
    assert_eq!(fragment.push(phys(1, 4)), refused(4, (5, 3))); // one page for two ranges
    assert_eq!(fragment.push(phys(1, 6)), refused(6, (5, 3)));
    fragment.push(phys(1, 3)).unwrap();
    fragment.push(phys(9, 1)).unwrap();
    assert_eq!(fragment.push(phys(1, 2)), refused(2, (1, 1)));
    fragment.push(phys(4, 1)).unwrap();
    assert_eq!(fragment.push(phys(1, 1)), refused(1, (0, 0)));
    let (len, unsent) = fragment.finish().unwrap();
    assert!(unsent.is_empty());
    let vector = Vector { bytes: buf[..len].to_vec(), ..Vector::share(Version::V1_1) };
    assert_eq!(vector.parse().unwrap().total_pages(), 5);
    // The last range must have all pages that are left.
    let mut fragment = head(&mut buf, SendTotals { pages: 5, ranges: 1 }).unwrap();
    assert_eq!(fragment.push(phys(1, 4)), refused(4, (5, 1)));
}

#[test]
fn totals_that_no_descriptor_has_are_refused() {
    let mut buf = [0; 4096];
    let mut error = |pages, ranges| head(&mut buf, SendTotals { pages, ranges }).unwrap_err();
    assert_eq!(error(3, 0), BuildError::NoRanges);
    assert_eq!(error(0, 0), BuildError::NoRanges);
    assert_eq!(error(2, 3), BuildError::Totals { pages: 0, left: SendTotals { pages: 2, ranges: 3 } });
    // 80 bytes of head, and 16 for each range.
    assert_eq!(error(u32::MAX, 0x0fff_fffb), BuildError::TotalLen);
    let fragment = head(&mut buf, SendTotals { pages: u32::MAX, ranges: 0x0fff_fffa }).unwrap();
    let (len, unsent) = fragment.finish().unwrap();
    assert_eq!((len, unsent.offset(), unsent.total_len()), (80, 80, 0xffff_fff0));
}

#[test]
fn a_first_fragment_needs_room_for_the_head_and_a_later_one_for_a_range() {
    for size in 0..80 {
        let mut buf = vec![0; size];
        assert_eq!(head(&mut buf, SendTotals::single_pages(2)).unwrap_err(), BuildError::BufferFull);
    }
    let mut buf = [0; 80];
    let fragment = head(&mut buf, SendTotals::single_pages(2)).unwrap();
    assert_eq!(fragment.room(), 0);
    let (_, unsent) = fragment.finish().unwrap();
    for size in 0..16 {
        let mut small = vec![0; size];
        let mut fragment = unsent.next(&mut small);
        assert_eq!(fragment.push(phys(1, 1)), Err(BuildError::BufferFull));
        assert_eq!(fragment.finish(), Err(BuildError::NoRanges));
    }
    let mut small = [0; 16];
    let mut fragment = unsent.next(&mut small);
    fragment.push(phys(1, 1)).unwrap();
    let (len, unsent) = fragment.finish().unwrap();
    assert_eq!((len, unsent.left()), (16, SendTotals::single_pages(1)));
    assert_eq!(small, [0, 0x10, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_joiner_gives_what_it_took_in_fewer_ranges() {
    let mut joiner = Joiner::new();
    assert_eq!(joiner.push(phys(1, 2)), None);
    assert_eq!(joiner.push(phys(3, 1)), None);
    assert_eq!(joiner.push(phys(3, 1)), Some(phys(1, 3)));
    assert_eq!(joiner.push(phys(1, 2)), Some(phys(3, 1)));
    assert_eq!(joiner.finish(), Some(phys(1, 2)));
    assert_eq!(Joiner::<ffa_mem::Physical>::default().finish(), None);
    let pages: Vec<_> = phys(7, 3).single_pages().collect();
    assert_eq!(pages, [phys(7, 1), phys(8, 1), phys(9, 1)]);
}
