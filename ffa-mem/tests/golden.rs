//! Bytes written by hand, read and built; every prefix of them; and the edges of the builder.

mod common;

use common::{GUEST, SHARE_V1_0, SHARE_V1_1, SHARE_V1_2, SP, VERSIONS, Vector};
use ffa_abi::Version;
use ffa_mem::{
    BuildError, DescriptorError, IpaRange, MAX_RECEIVERS, MemoryAttributes, PAGE_SIZE, Permissions,
    PhysRange, Receiver, SendBuilder, SendFlags, SendHeader,
};

const IMPDEF: [u64; 2] = [0x0807_0605_0403_0201, 0x1817_1615_1413_1211];
const RECEIVER: Receiver = Receiver { id: SP, permissions: Permissions::READ_WRITE, impdef: IMPDEF };

fn header(version: Version) -> SendHeader {
    SendHeader {
        version,
        sender: GUEST,
        attributes: MemoryAttributes::NORMAL_WRITE_BACK_INNER,
        flags: SendFlags::NONE,
        tag: 0x1122_3344_5566_7788,
    }
}

fn range(page: u64, pages: u32) -> IpaRange {
    IpaRange::new(page * PAGE_SIZE, pages).unwrap()
}

#[test]
fn reads_the_golden_bytes() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        let send = vector.parse().unwrap();
        assert_eq!(send.sender(), GUEST);
        assert_eq!(send.attributes(), MemoryAttributes::NORMAL_WRITE_BACK_INNER);
        assert_eq!(send.flags(), SendFlags::NONE);
        assert_eq!(send.tag(), 0x1122_3344_5566_7788);
        let impdef = if version == Version::V1_2 { IMPDEF } else { [0; 2] };
        assert_eq!(send.receivers().collect::<Vec<_>>(), [Receiver { impdef, ..RECEIVER }]);
        assert_eq!(send.ranges().collect::<Vec<_>>(), [range(0x48000, 2), range(0x40000, 1)]);
        assert_eq!((send.receivers().len(), send.ranges().len(), send.total_pages()), (1, 2, 3));
        assert_eq!(send.ranges().map(|range| range.pages()).sum::<u32>(), 3);
    }
}

#[test]
fn builds_the_golden_bytes_over_whatever_was_there() {
    let golden: [&[u8]; 3] = [&SHARE_V1_0, &SHARE_V1_1, &SHARE_V1_2];
    for (version, bytes) in VERSIONS.into_iter().zip(golden) {
        for stale in [0x00, 0xa5, 0xff] {
            let mut buf = [stale; 160];
            let mut builder = SendBuilder::new(&mut buf, &header(version), [RECEIVER]).unwrap();
            builder.push(range(0x48000, 1)).unwrap();
            builder.push(range(0x48001, 1)).unwrap(); // joined
            builder.push(range(0x40000, 1)).unwrap();
            assert_eq!(builder.finish(), Ok(bytes.len()));
            assert_eq!(buf[..bytes.len()], *bytes, "{version}");
            assert!(buf[bytes.len()..].iter().all(|byte| *byte == stale));
        }
    }
}

#[test]
fn every_prefix_is_truncated() {
    for version in VERSIONS {
        for vector in [Vector::share(version), Vector::share(version).with_receivers(&[0x8002, 0x8003])] {
            for have in 0..vector.bytes.len() {
                let mut prefix = vector.clone();
                prefix.bytes.truncate(have);
                let error = prefix.error();
                let DescriptorError::Truncated { offset, need, have: said, .. } = error else {
                    panic!("{have} bytes: {error}")
                };
                assert_eq!(said, have as u64);
                assert!(offset + need > said, "{error}");
            }
        }
    }
}

/// What lies behind the slice plays no part.
#[test]
fn reads_nothing_past_the_end() {
    for version in VERSIONS {
        let vector = Vector::share(version);
        for byte in [0x00, 0xff] {
            let mut longer = vector.bytes.clone();
            longer.resize(256, byte);
            let send = ffa_mem::SendDescriptor::parse(&longer[..vector.bytes.len()], &vector.rules).unwrap();
            assert!(send.ranges().eq(vector.parse().unwrap().ranges()));
        }
    }
}

#[test]
fn a_buffer_of_the_exact_size_suffices_and_no_smaller_one() {
    for version in VERSIONS {
        let len = Vector::share(version).bytes.len();
        for size in 0..=len {
            let mut buf = vec![0xa5; size];
            let built = SendBuilder::new(&mut buf, &header(version), [RECEIVER]).and_then(|mut builder| {
                builder.push(range(0x48000, 2))?;
                builder.push(range(0x40000, 1))?;
                builder.finish()
            });
            assert_eq!(built, if size < len { Err(BuildError::BufferFull) } else { Ok(len) });
        }
    }
}

#[test]
fn a_full_buffer_keeps_what_was_pushed() {
    let mut buf = [0xa5; SHARE_V1_1.len()];
    let mut builder = SendBuilder::new(&mut buf, &header(Version::V1_1), [RECEIVER]).unwrap();
    builder.push(range(0x48000, 1)).unwrap();
    builder.push(range(0x40000, 1)).unwrap();
    assert_eq!(builder.push(range(0x40002, 1)), Err(BuildError::BufferFull));
    builder.push(range(0x40001, 1)).unwrap(); // joins the last one that went in
    let len = builder.finish().unwrap();
    let vector = Vector { bytes: buf[..len].to_vec(), ..Vector::share(Version::V1_1) };
    let ranges: Vec<_> = vector.parse().unwrap().ranges().collect();
    assert_eq!(ranges, [range(0x48000, 1), range(0x40000, 2)]);
}

#[test]
fn joins_only_what_touches_and_fits() {
    let mut buf = [0xa5; 1024];
    let mut builder = SendBuilder::new(&mut buf, &header(Version::V1_1), [RECEIVER]).unwrap();
    let phys = |page: u64, pages| PhysRange::new(page * PAGE_SIZE, pages).unwrap();
    builder.push(phys(0, 1)).unwrap();
    builder.push(phys(1, u32::MAX - 3)).unwrap();
    builder.push(phys(5, 1)).unwrap(); // inside, not behind
    builder.push(phys(u64::from(u32::MAX), 1)).unwrap();
    let len = builder.finish().unwrap();
    let vector = Vector { bytes: buf[..len].to_vec(), ..Vector::share(Version::V1_1) };
    let send = vector.parse().unwrap();
    assert_eq!(send.total_pages(), u32::MAX);
    let first = u32::MAX - 2;
    let ranges: Vec<_> = send.ranges().collect();
    assert_eq!(ranges, [range(0, first), range(5, 1), range(u64::from(u32::MAX), 1)]);
}

#[test]
fn refuses_what_is_no_descriptor() {
    let mut buf = [0; 4096];
    let header = header(Version::V1_2);
    let error = |built: Result<SendBuilder<'_>, BuildError>| built.map(|_| ()).unwrap_err();
    assert_eq!(error(SendBuilder::new(&mut buf, &header, [])), BuildError::Receivers { count: 0 });
    let many = [RECEIVER; MAX_RECEIVERS as usize + 1];
    assert_eq!(error(SendBuilder::new(&mut buf, &header, many)), BuildError::Receivers { count: many.len() });
    assert!(SendBuilder::new(&mut buf, &header, many.into_iter().skip(1)).is_ok());

    struct Liar;
    impl Iterator for Liar {
        type Item = Receiver;
        fn next(&mut self) -> Option<Receiver> {
            None
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (2, Some(2))
        }
    }
    impl ExactSizeIterator for Liar {}
    assert_eq!(error(SendBuilder::new(&mut buf, &header, Liar)), BuildError::Receivers { count: 2 });

    let builder = SendBuilder::new(&mut buf, &header, [RECEIVER]).unwrap();
    assert_eq!(builder.finish(), Err(BuildError::NoRanges));
    let mut builder = SendBuilder::new(&mut buf, &header, [RECEIVER]).unwrap();
    builder.push(range(0, u32::MAX)).unwrap();
    builder.push(range(0x10_0000_0000, 1)).unwrap();
    assert_eq!(builder.finish(), Err(BuildError::TotalPages));
    // Joined, they would not fit the page count either.
    let mut builder = SendBuilder::new(&mut buf, &header, [RECEIVER]).unwrap();
    builder.push(range(0, u32::MAX)).unwrap();
    builder.push(range(u64::from(u32::MAX), 1)).unwrap();
    assert_eq!(builder.finish(), Err(BuildError::TotalPages));
}
