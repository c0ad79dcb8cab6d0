//! Linux's driver as it probes: the calls of four kernels, in their order and with their registers, over every secure world.

mod common;

use common::*;
use ffa_abi::{Regs, Status, Version};
use ffa_hyp_glue::{Creation, GuestInterrupts, Settings};
use ffa_test_utils::hypervisor::Machine;

const ERROR: u64 = 0x8400_0060;
const SUCCESS: u64 = 0x8400_0061;
const VERSION: u64 = 0x8400_0063;
const FEATURES: u64 = 0x8400_0064;
const RX_RELEASE: u64 = 0x8400_0065;
const RXTX_MAP: u64 = 0xc400_0066;
const RXTX_UNMAP: u64 = 0x8400_0067;
const PARTITION_INFO_GET: u64 = 0x8400_0068;
const ID_GET: u64 = 0x8400_0069;
const MEM_LEND: u64 = 0xc400_0072;
const MEM_SHARE_64: u64 = 0xc400_0073;
const MEM_FRAG_RX: u64 = 0x8400_007a;
const MEM_FRAG_TX: u64 = 0x8400_007b;
const BITMAP_CREATE: u64 = 0x8400_007d;
const BIND: u64 = 0x8400_007f;
const UNBIND: u64 = 0x8400_0080;
const NOTIFICATION_GET: u64 = 0x8400_0082;
const INFO_GET: u64 = 0xc400_0083;
const INFO_GET_REGS: u64 = 0xc400_008b;
const DIRECT_REQ2: u64 = 0xc400_008d;

/// One series of kernels.
struct Kernel {
    name: &'static str,
    /// The version that it asks for.
    version: Version,
    /// It asks for the size of the buffers.
    asks_for_size: bool,
    /// Pages of each buffer: a kernel of 64 KiB pages maps 16.
    pages: u64,
    asks_for_request2: bool,
    /// It asks about the bitmap, and goes on without notifications if there is none.
    notifications: Notifications,
    /// It asks for the list in registers.
    asks_for_registers: bool,
    /// It names itself when it unmaps its buffers.
    names_itself: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Notifications {
    None,
    /// All or nothing: no driver at all if only a part of it works.
    Whole,
    /// Whatever there is.
    Some,
}

const KERNELS: [Kernel; 5] = [
    Kernel {
        name: "6.1",
        version: Version::V1_0,
        asks_for_size: false,
        pages: 1,
        asks_for_request2: false,
        notifications: Notifications::None,
        asks_for_registers: false,
        names_itself: true,
    },
    Kernel {
        name: "6.6",
        version: Version::V1_0,
        asks_for_size: false,
        pages: 1,
        asks_for_request2: false,
        notifications: Notifications::Whole,
        asks_for_registers: false,
        names_itself: true,
    },
    Kernel {
        name: "6.12",
        version: Version::V1_2,
        asks_for_size: true,
        pages: 1,
        asks_for_request2: true,
        notifications: Notifications::Some,
        asks_for_registers: true,
        names_itself: true,
    },
    Kernel {
        name: "7.x",
        version: Version::V1_2,
        asks_for_size: true,
        pages: 1,
        asks_for_request2: true,
        notifications: Notifications::Some,
        asks_for_registers: true,
        names_itself: false,
    },
    Kernel {
        name: "7.x with pages of 64 KiB",
        version: Version::V1_2,
        asks_for_size: true,
        pages: 16,
        asks_for_request2: true,
        notifications: Notifications::Some,
        asks_for_registers: true,
        names_itself: false,
    },
];

/// A kernel that probes, over one secure world.
struct Probe<'a> {
    world: &'a mut World,
    kernel: &'a Kernel,
    id: u64,
}

impl Probe<'_> {
    fn call<const N: usize>(&mut self, head: [u64; N]) -> Regs {
        let regs = self.world.call(VM1, head);
        // The driver compares all 64 bits of x0 and takes an error without a code for a success.
        assert!(regs[0] != ERROR || (regs[2] as u32 as i32) < 0, "{}", self.what());
        assert_eq!(regs.0[8..], [0; 10], "{}: x8 to x17 of {:#x}", self.what(), head[0]);
        regs
    }

    fn feature(&mut self, id: u64) -> Option<u64> {
        let regs = self.call([FEATURES, id]);
        (regs[0] != ERROR).then_some(regs[2])
    }

    fn done<const N: usize>(&mut self, head: [u64; N]) -> Regs {
        let regs = self.call(head);
        assert_eq!(regs[0], SUCCESS, "{}: {:#x}", self.what(), head[0]);
        regs
    }

    fn what(&self) -> String {
        format!("Linux {} over {}", self.kernel.name, self.world.preset)
    }

    fn probe(&mut self) {
        let asked = u64::from(self.kernel.version.word());
        assert_eq!(self.call([VERSION, asked]), Regs::new([asked]), "{}", self.what());
        self.id = self.done([ID_GET])[2];
        assert_eq!(self.id, u64::from(VM1.0), "zero would be the hypervisor");
        if self.kernel.asks_for_size {
            let sizes = self.feature(RXTX_MAP).expect("the buffers can be mapped");
            assert_eq!(sizes & 3, 0, "4 KiB is enough");
            assert!(sizes >> 16 >= self.kernel.pages, "{}: {sizes:#x}", self.what());
        }
        self.done([RXTX_MAP, BUFFERS, BUFFERS + 0x1_0000, self.kernel.pages]);
        if self.kernel.version == Version::V1_0 {
            self.list();
        }
        assert!(self.feature(MEM_LEND).or_else(|| self.feature(MEM_SHARE_64)).is_some(), "{}", self.what());
        if self.kernel.asks_for_request2 {
            let _either_way = self.feature(DIRECT_REQ2);
        }
        self.set_notifications_up();
        if self.kernel.version != Version::V1_0 {
            self.list();
        }
    }

    fn set_notifications_up(&mut self) {
        if self.kernel.notifications == Notifications::None {
            return;
        }
        if self.feature(BITMAP_CREATE).is_some() {
            self.done([BITMAP_CREATE, self.id, 2]);
        } else if self.kernel.notifications == Notifications::Whole {
            return;
        }
        let interrupts = [self.feature(2), self.feature(1)];
        // SGIs, which every CPU can take.
        assert!(interrupts.iter().flatten().all(|intid| *intid < 16), "{}: {interrupts:?}", self.what());
        let works = self.feature(NOTIFICATION_GET).is_some();
        assert_eq!(interrupts.map(|intid| intid.is_some()), [works; 2], "{}", self.what());
        if !works {
            return;
        }
        let own = self.id;
        assert_eq!(self.call([INFO_GET]), Regs::error(Status::NoData), "{}", self.what());
        for (cpu, sources) in [(0, 5), (1, 5), (0, 0xf)] {
            assert_eq!(
                self.done([NOTIFICATION_GET, cpu << 16 | own, sources]),
                Regs::success(0, 0),
                "nothing is pending, and that is no error"
            );
        }
        let w1 = u64::from(SP1.0) << 16 | own;
        assert_eq!(self.done([BIND, w1, 0, 1, 0]), Regs::success(0, 0));
        assert_eq!(self.done([UNBIND, w1, 0, 1, 0]), Regs::success(0, 0));
    }

    /// The list of partitions, in whatever form the driver prefers, and then for one UUID as the drivers of devices do.
    fn list(&mut self) {
        if self.kernel.asks_for_registers && self.feature(INFO_GET_REGS).is_some() {
            let regs = self.world.call(VM1, [INFO_GET_REGS]);
            let (last, current, size) = (regs[2] & 0xffff, regs[2] >> 16 & 0xffff, regs[2] >> 48);
            // 6.12 loses its way in a second reply.
            assert_eq!((last, current, size), (1, 1, 24), "{}", self.what());
            assert_eq!(regs[3] as u16, SP1.0);
            assert_eq!(regs[6] as u16, SP2.0);
            return;
        }
        let old = self.kernel.version == Version::V1_0;
        let size = if old { 8 } else { 24 };
        let count = self.done([PARTITION_INFO_GET, 0, 0, 0, 0, u64::from(!old)])[2];
        assert_eq!(count, 2, "{}: not the VM itself", self.what());
        if old {
            self.done([RX_RELEASE]);
        } else {
            // Counting leaves the buffer alone.
            assert_eq!(self.call([RX_RELEASE]), Regs::error(Status::Denied));
        }
        let fetched = self.done([PARTITION_INFO_GET]);
        assert_eq!(fetched[2], count, "{}", self.what());
        assert!(old || fetched[3] == size);
        let mut records = vec![0; (count * size) as usize];
        self.world.hypervisor.read(VM1, BUFFERS + 0x1_0000, &mut records);
        for (record, sp) in records.chunks(size as usize).zip([SP1, SP2]) {
            assert_eq!(record[..2], sp.0.to_le_bytes());
        }
        self.done([RX_RELEASE]);
        // Nobody has this service, and the buffer is not taken.
        assert_eq!(self.call([PARTITION_INFO_GET, 1, 2, 3, 4]), Regs::error(Status::InvalidParameters));
        assert_eq!(self.call([RX_RELEASE]), Regs::error(Status::Denied));
    }

    fn use_it(&mut self) {
        let bytes = descriptor(self.kernel.version, VM1, SP1, &[(PAGES + 0x30_0000, 1)]);
        self.world.hypervisor.write(VM1, BUFFERS, &bytes);
        let len = bytes.len() as u64;
        let shared = self.done([MEM_SHARE_64, len, len]);
        assert_eq!(shared.0[4..], [0; 14]);
        self.share_scattered();
        let asked = self.call([0x8400_006f, self.id << 16 | u64::from(SP1.0), 0, 1, 2, 3, 4, 5]);
        assert_eq!(asked[0], 0x8400_0070, "{}", self.what());
        assert_eq!(asked[1], u64::from(SP1.0) << 16 | self.id);
    }

    /// A list of pages none of which touch, as OP-TEE's driver shares memory of user space: every fragment but the last is
    /// one buffer, none splits a range, and the handle is that of the first answer.
    fn share_scattered(&mut self) {
        const COUNT: u64 = 300;
        let mut bytes = descriptor(self.kernel.version, VM1, SP1, &[(PAGES, 1)]);
        let head = bytes.len() - 16;
        bytes.truncate(head);
        bytes[head - 16..head - 8].copy_from_slice(&[COUNT as u32; 2].map(u32::to_le_bytes).concat());
        let before_buffers = (0..100).map(|n| PAGES + 2 * n * PAGE);
        for address in before_buffers.chain((100..COUNT).map(|n| BUFFERS + 0x2_0000 + 2 * (n - 100) * PAGE)) {
            bytes.extend(address.to_le_bytes());
            bytes.extend(1_u64.to_le_bytes());
        }
        let buffer = (self.kernel.pages * PAGE) as usize;
        let mut handle: Option<[u64; 2]> = None;
        let mut answer = Regs::new([0]);
        for (number, fragment) in bytes.chunks(buffer).enumerate() {
            self.world.hypervisor.write(VM1, BUFFERS, fragment);
            answer = match handle {
                None => self.call([MEM_SHARE_64, bytes.len() as u64, fragment.len() as u64]),
                Some([low, high]) => self.call([MEM_FRAG_TX, low, high, fragment.len() as u64]),
            };
            assert!([SUCCESS, MEM_FRAG_RX].contains(&answer[0]), "{}: fragment {number}", self.what());
            let first =
                if answer[0] == MEM_FRAG_RX { [answer[1], answer[2]] } else { [answer[2], answer[3]] };
            handle.get_or_insert(first);
        }
        assert_eq!(answer, Regs::success(answer[2] as u32, answer[3] as u32), "{}", self.what());
        assert_eq!(handle, Some([answer[2], answer[3]]), "{}", self.what());
    }

    fn remove(&mut self) {
        let own = if self.kernel.names_itself { self.id << 16 } else { 0 };
        self.done([RXTX_UNMAP, own]);
        assert_eq!(self.call([RXTX_UNMAP, own]), Regs::error(Status::InvalidParameters));
    }
}

const BUFFERS: u64 = PAGES + 0x10_0000;

#[test]
fn linux_probes_cleanly_over_every_secure_world() {
    every_preset(|preset| {
        for interrupts in [None, Some(GuestInterrupts::SGI)] {
            for kernel in &KERNELS {
                let settings = Settings { interrupts, pages_per_share: 512, ..settings() };
                let mut world = World::boot(Machine { settings, ..machine(preset, good_sps()) });
                let memory = [ffa_test_utils::hypervisor::Region::block(TX, 1024)];
                assert_eq!(world.hypervisor.create(VM1, &memory), Ok(Creation::Live));
                let mut linux = Probe { world: &mut world, kernel, id: 0 };
                linux.probe();
                linux.use_it();
                linux.remove();
                // A driver that failed never unmaps: its successor's kernel finds that out, and nothing is lost.
                linux.done([RXTX_MAP, BUFFERS, BUFFERS + 0x1_0000, kernel.pages]);
                assert_eq!(
                    linux.call([RXTX_MAP, BUFFERS, BUFFERS + 0x1_0000, kernel.pages]),
                    Regs::error(Status::Denied)
                );
                world.destroy(VM1);
                assert!(world.hypervisor.settle(LONG));
                world.check_all_gone();
            }
        }
    });
}

#[test]
fn a_guest_without_an_ff_a_that_suits_it_is_told_so_in_64_bits() {
    let mut world = World::boot(machine(ffa_test_utils::spmc::Preset::Strict, good_sps()));
    assert_eq!(world.hypervisor.create(VM1, &REGIONS), Ok(Creation::Live));
    let answer = world.call(VM1, [VERSION, 0x2_0000]);
    assert_eq!(answer, Regs::new([u64::MAX]));
}
