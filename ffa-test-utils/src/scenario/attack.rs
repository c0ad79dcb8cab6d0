use ffa_abi::Status;

/// Something that a guest must not get away with.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// What it is.
    pub name: &'static str,
    /// How it is done.
    pub means: Means,
    /// How it must be refused.
    pub refusal: Status,
}

/// How an attack is done.
#[derive(Clone, Copy, Debug)]
pub enum Means {
    /// A call with these registers from x0 on; the rest is zero.
    Call(&'static [Arg]),
    /// FFA_MEM_SHARE of a good descriptor of 1.1, one page for the first partition, with these bytes at these offsets.
    Descriptor(&'static [(usize, &'static [u8])]),
    /// FFA_MEM_SHARE of a good descriptor, with this added to its total and fragment lengths.
    Lengths(i64, i64),
}

/// One register of a call.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// As it is.
    Value(u64),
    /// The guest's own ID in bits 31:16, this below.
    Own(u16),
    /// This in bits 31:16, the guest's own ID below.
    ToOwn(u16),
    /// Address of this page of the contiguous memory, plus this.
    Page(u16, u64),
}

use Arg::{Own, Page, ToOwn, Value};
use Means::{Call, Descriptor, Lengths};

const fn attack(name: &'static str, means: Means, refusal: Status) -> Attack {
    Attack { name, means, refusal }
}

const INVALID: Status = Status::InvalidParameters;

/// Offsets in the good descriptor: header of 48 bytes, one access descriptor of 16, composite header of 16, one
/// constituent.
const ACCESS: usize = 48;
const COMPOSITE: usize = 64;
const RANGE: usize = 80;

/// The worst that a guest can do with RX/TX mapped, version 1.1 and two partitions, each refused without an SMC.
pub const WORST: &[Attack] = &[
    // Other people's calls.
    attack(
        "VM_DESTROYED forged for VM 2",
        Call(&[Value(0x8400_006f), Own(0x8001), Value(0x8000_0006), Value(0), Value(0), Value(2)]),
        INVALID,
    ),
    attack(
        "VM_CREATED forged, 64 bits",
        Call(&[Value(0xc400_006f), Own(0x8001), Value(0x8000_0004), Value(0), Value(0), Value(2)]),
        INVALID,
    ),
    attack("PSCI message forged", Call(&[Value(0x8400_006f), Own(0x8001), Value(0x8000_0000)]), INVALID),
    attack("direct request for the hypervisor", Call(&[Value(0x8400_006f), Value(0x0000_8001)]), INVALID),
    attack("direct request as an SP", Call(&[Value(0x8400_006f), Value(0x8002_8001)]), INVALID),
    attack("direct request to itself", Call(&[Value(0x8400_006f), ToOwn(0)]), INVALID),
    attack("direct request to an SP that is not there", Call(&[Value(0x8400_006f), Own(0x80ff)]), INVALID),
    attack("direct request with flags", Call(&[Value(0x8400_006f), Own(0x8001), Value(1)]), INVALID),
    attack("direct response", Call(&[Value(0x8400_0070), Own(0x8001)]), Status::NotSupported),
    attack(
        "FFA_RUN of an SP that works for nobody",
        Call(&[Value(0x8400_006d), Value(0x8001_0000)]),
        Status::Denied,
    ),
    attack("FFA_RUN of a VM", Call(&[Value(0x8400_006d), Value(0x0002_0000)]), INVALID),
    attack("FFA_MSG_WAIT", Call(&[Value(0x8400_006b)]), Status::NotSupported),
    attack("FFA_YIELD", Call(&[Value(0x8400_006c)]), Status::NotSupported),
    attack("FFA_INTERRUPT", Call(&[Value(0x8400_0062)]), Status::NotSupported),
    attack("FFA_NORMAL_WORLD_RESUME", Call(&[Value(0x8400_007c)]), Status::NotSupported),
    attack(
        "FFA_NOTIFICATION_BITMAP_CREATE",
        Call(&[Value(0x8400_007d), Value(2), Value(1)]),
        Status::NotSupported,
    ),
    attack("FFA_MEM_PERM_SET", Call(&[Value(0x8400_0089)]), Status::NotSupported),
    attack("a function that FF-A does not have", Call(&[Value(0x8400_0093)]), Status::NotSupported),
    // Buffers.
    attack("RXTX_MAP twice", Call(&[Value(0xc400_0066), Page(2, 0), Page(3, 0), Value(1)]), Status::Denied),
    attack("RXTX_MAP as the hypervisor does for others", Call(&[Value(0xc400_0066)]), INVALID),
    attack("RXTX_UNMAP for another VM", Call(&[Value(0x8400_0067), Value(0x0007_0000)]), INVALID),
    attack("RX_RELEASE of an empty RX", Call(&[Value(0x8400_0065)]), Status::Denied),
    attack(
        "PARTITION_INFO_GET with an unknown UUID",
        Call(&[Value(0x8400_0068), Value(1), Value(2), Value(3), Value(4)]),
        INVALID,
    ),
    attack(
        "PARTITION_INFO_GET with an unknown flag",
        Call(&[Value(0x8400_0068), Value(0), Value(0), Value(0), Value(0), Value(2)]),
        INVALID,
    ),
    // Handles.
    attack(
        "reclaim of a handle that is not there",
        Call(&[Value(0x8400_0077), Value(0xfff0), Value(0)]),
        INVALID,
    ),
    attack(
        "reclaim of no handle",
        Call(&[Value(0x8400_0077), Value(0xffff_ffff), Value(0xffff_ffff)]),
        INVALID,
    ),
    attack(
        "reclaim with unknown flags",
        Call(&[Value(0x8400_0077), Value(0), Value(0), Value(0x8000_0000)]),
        INVALID,
    ),
    // The call that sends a descriptor.
    attack(
        "a descriptor in a buffer of its own",
        Call(&[Value(0x8400_0073), Value(96), Value(96), Page(2, 0), Value(1)]),
        INVALID,
    ),
    attack("a descriptor longer than TX", Call(&[Value(0x8400_0073), Value(0x2000), Value(0x2000)]), INVALID),
    attack(
        "a descriptor of 4 GiB",
        Call(&[Value(0x8400_0073), Value(0xffff_fff0), Value(0xffff_fff0)]),
        INVALID,
    ),
    attack("a descriptor of no bytes", Call(&[Value(0x8400_0073), Value(0), Value(0)]), INVALID),
    attack("total length too small", Lengths(-16, -16), INVALID),
    attack("total length too large", Lengths(16, 16), INVALID),
    attack("length of no multiple of 16", Lengths(8, 8), INVALID),
    attack("fragment beyond the total", Lengths(0, 16), INVALID),
    // The descriptor.
    attack("share in the name of another VM", Descriptor(&[(0, &[7, 0])]), Status::Denied),
    attack("share in the name of an SP", Descriptor(&[(0, &[1, 0x80])]), Status::Denied),
    attack("reserved attributes", Descriptor(&[(2, &[0x2f, 0x80])]), INVALID),
    attack("device memory", Descriptor(&[(2, &[0x13, 0])]), Status::Denied),
    attack("zero before share", Descriptor(&[(4, &[1])]), INVALID),
    attack("unknown flag", Descriptor(&[(7, &[0x80])]), INVALID),
    attack("a handle of the guest's own", Descriptor(&[(15, &[0x80])]), INVALID),
    attack("access descriptors of 32 bytes in 1.1", Descriptor(&[(24, &[32])]), INVALID),
    attack("no receivers", Descriptor(&[(28, &[0, 0, 0, 0])]), INVALID),
    attack("2^32 - 1 receivers", Descriptor(&[(28, &[0xff, 0xff, 0xff, 0xff])]), INVALID),
    attack("access descriptors past 2^32", Descriptor(&[(32, &[0xf0, 0xff, 0xff, 0xff])]), INVALID),
    attack("receiver that is the sender", Descriptor(&[(ACCESS, &[1, 0])]), INVALID),
    attack("receiver that is a VM", Descriptor(&[(ACCESS, &[9, 0])]), INVALID),
    attack("receiver that is not there", Descriptor(&[(ACCESS, &[0xff, 0x80])]), INVALID),
    attack("reserved permissions", Descriptor(&[(ACCESS + 2, &[0xff])]), INVALID),
    attack("composite inside the header", Descriptor(&[(ACCESS + 4, &[0x20])]), INVALID),
    attack("no ranges", Descriptor(&[(COMPOSITE + 4, &[0, 0, 0, 0])]), INVALID),
    attack("2^32 - 1 ranges", Descriptor(&[(COMPOSITE + 4, &[0xff, 0xff, 0xff, 0xff])]), INVALID),
    attack("page count that is not the sum", Descriptor(&[(COMPOSITE, &[2])]), INVALID),
    attack("a range of no pages", Descriptor(&[(COMPOSITE, &[0]), (RANGE + 8, &[0])]), INVALID),
    attack("an unaligned range", Descriptor(&[(RANGE, &[8])]), INVALID),
    attack(
        "a range that wraps",
        Descriptor(&[
            (RANGE, &[0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            (COMPOSITE, &[2]),
            (RANGE + 8, &[2]),
        ]),
        INVALID,
    ),
    attack(
        "16 TiB",
        Descriptor(&[(COMPOSITE, &[0xff, 0xff, 0xff, 0xff]), (RANGE + 8, &[0xff, 0xff, 0xff, 0xff])]),
        Status::NoMemory,
    ),
    attack("memory that is not there", Descriptor(&[(RANGE, &[0, 0, 0, 0, 0, 0x40])]), Status::Denied),
];
