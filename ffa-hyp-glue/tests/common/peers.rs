//! VMs that lend each other memory: calls, descriptors byte by byte, and what came of them.

use std::cell::Cell;
use std::rc::Rc;

use ffa_abi::{Function, Handle, PartitionId, Regs, Status, Version};
use ffa_hyp_glue::{Caller, LenderDeath, Relation, Scratch, Settings};
use ffa_mem::SendFlags;
use ffa_test_utils::hypervisor::{Cpu, Machine, ModelMediator, Moment};
use ffa_test_utils::spmc::{Config, Control, Preset};

use super::sends::Send;
use super::{MEM_RECLAIM, RX, VM1, VM2, World, good_sps, handle_of, machine, status_of};

pub const RETRIEVE: u64 = 0x8400_0074;
pub const RETRIEVED: u64 = 0x8400_0075;
pub const RELINQUISH: u64 = 0x8400_0076;
pub const FRAG_RX: u64 = 0x8400_007a;
pub const FRAG_TX: u64 = 0x8400_007b;
pub const RX_RELEASE: u64 = 0x8400_0065;
pub const DONE: Regs = Regs([0x8400_0061, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
pub const VM3: PartitionId = PartitionId(3);
/// What [`descriptor`] says.
pub const TAG: u64 = 0x1122;

/// A machine on which every VM may lend to every other.
pub fn lending(config: impl Into<Config>, lender_death: LenderDeath) -> Machine {
    let settings = Settings { vm_to_vm: true, lender_death, ..Settings::DEFAULT };
    Machine { settings, loans: 16, ..machine(config, good_sps()) }
}

/// VMs 1 and 2 of 1.1 on such a machine, with RX and TX.
pub fn lenders(preset: Preset, lender_death: LenderDeath) -> World {
    lenders_on(lending(preset, lender_death))
}

pub fn lenders_on(machine: Machine) -> World {
    let mut world = World::boot(machine);
    world.hypervisor.permit(|_, relation, partner| partner.is_secure() || relation == Relation::Share);
    world.live(VM1, Version::V1_1);
    world.live(VM2, Version::V1_1);
    world
}

/// A retrieve request, field by field.
#[derive(Clone, Debug)]
pub struct Request {
    pub version: Version,
    pub sender: u16,
    pub attributes: u16,
    pub flags: u32,
    pub handle: u64,
    pub tag: u64,
    /// Borrowers with their permissions, flags and composite offsets.
    pub borrowers: Vec<(u16, u8, u8, u32)>,
}

impl Request {
    /// For what VM 1 has shared with VM 2.
    pub fn new(handle: Handle) -> Self {
        Self {
            version: Version::V1_1,
            sender: VM1.0,
            attributes: 0x2f,
            flags: 1 << 3,
            handle: handle.get(),
            tag: TAG,
            borrowers: vec![(VM2.0, 2, 0, 0)],
        }
    }

    /// For what VM 1 has sent to VM 2 in this way.
    pub fn of(send: Send, handle: Handle) -> Self {
        let (kind, permissions) = match send.function {
            Function::MemShare => (1, 2),
            Function::MemLend => (2, 2 | 1 << 2),
            _ => (3, 2 | 1 << 2),
        };
        Self { flags: kind << 3, borrowers: vec![(VM2.0, permissions, 0, 0)], ..Self::new(handle) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.sender.to_le_bytes());
        bytes.extend(self.attributes.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.handle.to_le_bytes());
        bytes.extend(self.tag.to_le_bytes());
        let size: u32 = if self.version >= Version::V1_2 { 32 } else { 16 };
        bytes.extend(if self.version < Version::V1_1 { 0 } else { size }.to_le_bytes());
        bytes.extend((self.borrowers.len() as u32).to_le_bytes());
        if self.version >= Version::V1_1 {
            bytes.extend(48_u32.to_le_bytes());
            bytes.extend([0; 12]);
        }
        for (id, permissions, flags, composite) in &self.borrowers {
            bytes.extend(id.to_le_bytes());
            bytes.extend([*permissions, *flags]);
            bytes.extend(composite.to_le_bytes());
            bytes.extend(vec![0; size as usize - 8]);
        }
        bytes
    }
}

/// A retrieve response, field by field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    pub sender: u16,
    pub attributes: u16,
    pub flags: u32,
    pub handle: u64,
    pub tag: u64,
    pub borrower: u16,
    pub permissions: u8,
    pub impdef: [u64; 2],
    pub pages: u32,
    pub ranges: Vec<(u64, u32)>,
}

impl Response {
    pub fn read(bytes: &[u8], version: Version) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let short = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        let (emad, size) = if version < Version::V1_1 {
            assert_eq!(word(24), 0);
            (32, 16)
        } else {
            let size = if version < Version::V1_2 { 16 } else { 32 };
            assert_eq!([word(24), word(32)], [size, 48]);
            assert_eq!([word(36), word(40), word(44)], [0; 3]);
            (48, size as usize)
        };
        assert_eq!(word(28), 1, "one borrower");
        let composite = word(emad + 4) as usize;
        assert_eq!(composite, emad + size);
        let count = word(composite + 4) as usize;
        let first = composite + 16;
        assert_eq!(bytes.len(), first + 16 * count);
        let range = |index: usize| {
            assert_eq!(word(first + 16 * index + 12), 0);
            (long(first + 16 * index), word(first + 16 * index + 8))
        };
        Self {
            sender: short(0),
            attributes: short(2),
            flags: word(4),
            handle: long(8),
            tag: long(16),
            borrower: short(emad),
            permissions: bytes[emad + 2],
            impdef: if size == 32 { [long(emad + 8), long(emad + 16)] } else { [0; 2] },
            pages: word(composite),
            ranges: (0..count).map(range).collect(),
        }
    }
}

/// The descriptor of FFA_MEM_RELINQUISH.
pub fn relinquishment(handle: u64, flags: u32, endpoints: &[u16]) -> Vec<u8> {
    let mut bytes = handle.to_le_bytes().to_vec();
    bytes.extend(flags.to_le_bytes());
    bytes.extend((endpoints.len() as u32).to_le_bytes());
    endpoints.iter().for_each(|id| bytes.extend(id.to_le_bytes()));
    bytes
}

impl World {
    /// VM 1 shares with VM 2, which must work.
    pub fn offer(&mut self, ranges: &[(u64, u32)]) -> Handle {
        self.share(VM1, VM2, ranges)
    }

    /// VM 1 sends memory to VM 2, which must work.
    pub fn offer_by(&mut self, send: Send, ranges: &[(u64, u32)]) -> Handle {
        let answer = send.make(self, VM1, &send.describe(&[VM2], ranges, SendFlags::NONE));
        handle_of(&answer).unwrap_or_else(|| panic!("{}: {send:x?}: {answer:x?}", self.preset))
    }

    /// Whether the guest can use this memory.
    pub fn reaches(&mut self, vm: PartitionId, page: u64) -> bool {
        self.hypervisor.load(vm, page, &mut [0; 8]).is_ok()
    }

    /// The first bytes of a page as the guest finds them.
    pub fn look(&self, vm: PartitionId, page: u64) -> [u8; 8] {
        let mut bytes = [0; 8];
        self.hypervisor.load(vm, page, &mut bytes).expect("the guest has this memory");
        bytes
    }

    /// FFA_MEM_RETRIEVE_REQ.
    pub fn ask(&mut self, vm: PartitionId, bytes: &[u8]) -> Regs {
        self.write_tx(vm, bytes);
        let len = bytes.len() as u64;
        self.call(vm, [RETRIEVE, len, len])
    }

    /// A retrieval by VM 2 that must work, with RX read and released.
    pub fn retrieve(&mut self, request: &Request) -> Response {
        let answer = self.ask(VM2, &request.bytes());
        assert_eq!(answer[0], RETRIEVED, "{}: {answer:x?}", self.preset);
        assert_eq!(answer[1], answer[2], "it came whole");
        let mut bytes = vec![0; answer[2] as usize];
        self.hypervisor.read(VM2, RX, &mut bytes);
        assert_eq!(self.call(VM2, [RX_RELEASE]), DONE);
        Response::read(&bytes, request.version)
    }

    pub fn relinquish(&mut self, vm: PartitionId, handle: Handle) -> Regs {
        self.write_tx(vm, &relinquishment(handle.get(), 0, &[vm.0]));
        self.call(vm, [RELINQUISH])
    }

    /// Every VM dies, and nothing is left of any.
    #[track_caller]
    pub fn end_all(&mut self) {
        self.hypervisor.set_interloper(None);
        for vm in [VM1, VM2, VM3] {
            if self.hypervisor.report(vm).is_some_and(|report| report.phase == ffa_teardown::Phase::Live) {
                self.destroy(vm);
            }
        }
        assert!(self.hypervisor.settle(super::LONG), "{}", self.preset);
        self.check_all_gone();
    }
}

/// Has `work` happen once, at the first moment that `when` picks. Tells whether it did.
pub fn once(
    world: &mut World,
    when: impl Fn(Moment) -> bool + 'static,
    mut work: impl FnMut(&mut Cpu, &ModelMediator) + 'static,
) -> Rc<Cell<bool>> {
    let done = Rc::new(Cell::new(false));
    let (seen, mediator) = (Rc::clone(&done), Rc::clone(world.hypervisor.mediator()));
    let interloper = move |cpu: &mut Cpu, moment: Moment| {
        if !seen.get() && when(moment) {
            seen.set(true);
            work(cpu, &mediator);
        }
    };
    world.hypervisor.set_interloper(Some(Box::new(interloper)));
    done
}

/// A call on another CPU. `None` if the VM is gone.
pub fn elsewhere(cpu: &mut Cpu, mediator: &ModelMediator, vm: PartitionId, mut regs: Regs) -> Option<Regs> {
    let key = mediator.find(vm)?;
    let _ = mediator.guest_call(cpu, Caller { vm: key, vcpu: 1 }, &mut regs, &mut Scratch::new());
    Some(regs)
}

pub fn reclaim_regs(handle: Handle) -> Regs {
    let [low, high] = handle.words();
    Regs::new([MEM_RECLAIM, low, high])
}

/// FFA_ERROR with this status.
pub fn is_error(regs: &Regs, status: Status) -> bool {
    status_of(regs) == Some(status.into())
}

impl World {
    /// Has a partition do something about memory, by order of VM 1.
    pub fn order(&mut self, sp: PartitionId, control: Control) {
        let mut regs = [0; 8];
        (regs[0], regs[1]) = (0x8400_006f, u64::from(PartitionId::pair(VM1, sp)));
        regs[3..].copy_from_slice(&control.payload());
        let answer = self.call(VM1, regs);
        assert_eq!((answer[0], answer[4]), (0x8400_0070, 1), "{control:?}");
    }

    /// The first `len` bytes of a descriptor of VM 1's.
    pub fn begin_part(&mut self, send: Send, bytes: &[u8], len: usize) -> Regs {
        self.write_tx(VM1, &bytes[..len]);
        self.call(VM1, [send.w0, bytes.len() as u64, len as u64])
    }

    /// More of them.
    pub fn go_on(&mut self, handle: Handle, bytes: &[u8]) -> Regs {
        self.write_tx(VM1, bytes);
        let [low, high] = handle.words();
        self.call(VM1, [FRAG_TX, low, high, bytes.len() as u64])
    }

    /// A descriptor of VM 1's in fragments that end where `cuts` says. Gives the last answer, and the handle that the first
    /// one had.
    pub fn send_in_parts(&mut self, send: Send, bytes: &[u8], cuts: &[usize]) -> (Regs, Handle) {
        let answer = self.begin_part(send, bytes, cuts[0]);
        let handle = asked_for(&answer, cuts[0]);
        let ends = cuts[1..].iter().copied().chain([bytes.len()]);
        let mut last = answer;
        for (from, to) in cuts.iter().copied().zip(ends) {
            last = self.go_on(handle, &bytes[from..to]);
            if to < bytes.len() {
                assert_eq!(asked_for(&last, to), handle);
            }
        }
        (last, handle)
    }
}

/// The handle of FFA_MEM_FRAG_RX, which must ask for what comes next.
#[track_caller]
pub fn asked_for(answer: &Regs, offset: usize) -> Handle {
    let handle = Handle::from_words(answer[1] as u32, answer[2] as u32).expect("a handle");
    let [low, high] = handle.words();
    assert_eq!(*answer, Regs::new([FRAG_RX, low, high, offset as u64]));
    handle
}
