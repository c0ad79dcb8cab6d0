//! Calls of a guest through the whole mediator, with a secure world that answers at once.

use std::hint::black_box;

use ffa_abi::{
    Answer, Call, DirectRequest, DirectResponse, Function, FunctionId, Handle, MemReclaim, MemSend, Message,
    PartitionId, PartitionInfo, ReclaimFlags, Regs, RxTxMap, Status, Success, Transaction, Version, Width,
    version_answer,
};
use ffa_hyp_glue::{
    Access, Caller, Conduit, Creation, DraftSlot, Event, GuestFault, GuestMemory, Mediator, Observer,
    Outcome, OwnerAccess, PageError, Pages, PeerMemory, Permissions, Record, Scratch, Settings, Spmc,
    SpmcBuffers, StoresOf, Timer, VcpuSlot, VirtualInterrupts, VmReferences,
};
use ffa_mem::{FixedRanges, IpaRange, PAGE_SIZE, PhysRange};
use ffa_teardown::{DutySlot, Time, VmSlot};

use crate::descriptors::{RECEIVER, SENDER, share};
use crate::{Case, repeat};

pub const CASES: &[Case] =
    &[("mediator-share-reclaim", share_and_reclaim), ("mediator-direct-request", direct_request)];

/// The guest's TX buffer; RX is the page after it.
const TX: u64 = 0x1000;
const HANDLE: u64 = 0x1234;

/// A hypervisor that owns nothing, and a secure world that says yes.
struct Null {
    guest: Box<[u8; 4 * PAGE_SIZE as usize]>,
    tx: Box<[u8; PAGE_SIZE as usize]>,
}

/// The partition information record of the only SP: takes direct requests, AArch64.
const SP: [u8; 24] = {
    let mut record = [0; 24];
    (record[0], record[1]) = (0x01, 0x80);
    record[2] = 1;
    (record[4], record[5]) = (1, 1);
    record
};

impl Conduit for Null {
    fn call(&mut self, regs: &Regs) -> Regs {
        // Only what the measured calls need is looked at, and nothing is decoded: this is part of what is counted.
        const DIRECT_REQUEST: u32 = FunctionId::smc32(Function::MsgSendDirectReq).w0();
        const DIRECT_RESPONSE: u32 = FunctionId::smc32(Function::MsgSendDirectResp).w0();
        const VERSION: u32 = FunctionId::smc32(Function::Version).w0();
        const PARTITION_INFO_GET: u32 = FunctionId::smc32(Function::PartitionInfoGet).w0();
        const PARTITION_INFO_GET_REGS: u32 = FunctionId::smc64(Function::PartitionInfoGetRegs).w0();
        const FEATURES: u32 = FunctionId::smc32(Function::Features).w0();
        match regs.w::<0>() {
            DIRECT_REQUEST => {
                let w1 = regs.w::<1>().rotate_left(16);
                Regs::new([u64::from(DIRECT_RESPONSE), u64::from(w1), 0, 1, 2, 3, 4, 5])
            }
            VERSION => version_answer::to_regs(Some(Version::V1_2)),
            PARTITION_INFO_GET => Regs::success(1, SP.len() as u32),
            // The list is read from RX.
            FEATURES if regs.w::<1>() == PARTITION_INFO_GET_REGS => Regs::error(Status::NotSupported),
            _ => Regs::success(HANDLE as u32, 0),
        }
    }
}

impl GuestMemory for Null {
    fn read(&mut self, _vm: PartitionId, address: u64, dst: &mut [u8]) -> Result<(), GuestFault> {
        let start = address as usize;
        let src = start.checked_add(dst.len()).and_then(|end| self.guest.get(start..end));
        dst.copy_from_slice(src.ok_or(GuestFault { address })?);
        Ok(())
    }

    fn write(&mut self, _vm: PartitionId, address: u64, src: &[u8]) -> Result<(), GuestFault> {
        let start = address as usize;
        let dst = start.checked_add(src.len()).and_then(|end| self.guest.get_mut(start..end));
        dst.ok_or(GuestFault { address })?.copy_from_slice(src);
        Ok(())
    }
}

impl Pages for Null {
    fn hold(
        &mut self,
        _vm: PartitionId,
        range: IpaRange,
        _access: Access,
        _owner: OwnerAccess,
        mut runs: impl FnMut(PhysRange),
    ) -> Result<(), PageError> {
        let address = range.base();
        runs(PhysRange::new(address, range.pages()).map_err(|_| PageError::NotOwned { address })?);
        Ok(())
    }

    fn runs(&mut self, _vm: PartitionId, range: IpaRange, mut runs: impl FnMut(PhysRange)) {
        runs(PhysRange::new(range.base(), range.pages()).unwrap());
    }

    fn release(&mut self, _vm: PartitionId, range: IpaRange) {
        black_box(range);
    }

    fn quarantine(&mut self, _vm: PartitionId, range: IpaRange) {
        black_box(range);
    }

    fn owner_writes(&mut self, _vm: PartitionId, range: IpaRange) -> bool {
        black_box(range);
        true
    }

    fn zero(&mut self, _vm: PartitionId, range: IpaRange) {
        black_box(range);
    }

    fn donated(&mut self, _vm: PartitionId, range: IpaRange) {
        black_box(range);
    }
}

impl PeerMemory for Null {}

impl VmReferences for Null {
    type Reference = ();

    fn take(&mut self, _vm: PartitionId) {}

    fn give_back(&mut self, _vm: PartitionId, _reference: ()) {}
}

impl Timer for Null {
    fn now(&mut self) -> Time {
        black_box(Time::ZERO)
    }

    fn arm(&mut self, deadline: Option<Time>) {
        black_box(deadline);
    }
}

impl SpmcBuffers for Null {
    fn addresses(&mut self) -> (u64, u64) {
        (0x8000_0000, 0x8000_1000)
    }

    fn write_tx(&mut self, bytes: &[u8]) {
        self.tx[..bytes.len()].copy_from_slice(bytes);
    }

    fn read_rx(&mut self, offset: usize, dst: &mut [u8]) {
        assert_eq!(offset, 0);
        dst.fill(0);
        dst[..SP.len()].copy_from_slice(&SP);
    }
}

impl Permissions for Null {}

impl VirtualInterrupts for Null {}

impl Observer for Null {
    fn event(&mut self, event: &Event) {
        black_box(event);
    }
}

type Ranges = FixedRanges<64>;
type Vcpus = [VcpuSlot; 1];
type Drafts = [DraftSlot; 1];
type Records = Vec<Option<Record<Null, Ranges, Vcpus, Drafts>>>;
type Stores = StoresOf<Vec<VmSlot>, Vec<DutySlot>, Records, Ranges, Vcpus, Drafts, Vec<PartitionInfo>>;

/// A guest that has asked for FF-A 1.2 and mapped its buffers.
struct Bench {
    mediator: Mediator<Null, Stores>,
    hyp: Null,
    caller: Caller,
    scratch: Box<Scratch>,
}

impl Bench {
    fn new() -> Self {
        let mut hyp = Null { guest: Box::new([0; _]), tx: Box::new([0; _]) };
        let mut scratch = Box::new(Scratch::new());
        let spmc = Spmc::probe(
            &mut hyp,
            Version::V1_2,
            &mut scratch,
            [vec![PartitionInfo::default(); 4], vec![PartitionInfo::default(); 4]],
        )
        .unwrap();
        let records = (0..4).map(|_| None).collect();
        let mediator = Mediator::new(
            spmc,
            Settings::DEFAULT,
            vec![VmSlot::VACANT; 4],
            vec![DutySlot::VACANT; 64],
            records,
            [],
        );
        let (vcpus, drafts) = ([VcpuSlot::IDLE], [DraftSlot::VACANT]);
        let (vm, creation) = mediator.create_vm(&mut hyp, SENDER, Ranges::new(), vcpus, drafts).unwrap();
        assert_eq!(creation, Creation::Live);
        let mut bench = Self { mediator, hyp, caller: Caller { vm, vcpu: 0 }, scratch };
        let mut regs = Call::Version(Version::V1_2.word()).to_regs();
        bench.call(&mut regs);
        assert_eq!(regs, version_answer::to_regs(Some(Version::V1_2)));
        regs = RxTxMap { width: Width::Smc64, tx: TX, rx: TX + PAGE_SIZE, pages: 1 }.to_regs();
        bench.call(&mut regs);
        assert_eq!(regs, Regs::success(0, 0));
        bench
    }

    /// Makes the call in `regs` and leaves its answer there.
    #[inline(never)]
    fn call(&mut self, regs: &mut Regs) {
        let outcome = self.mediator.guest_call(&mut self.hyp, self.caller, regs, &mut self.scratch);
        assert_eq!(outcome, Outcome::Return);
    }
}

fn share_and_reclaim(iterations: u32) {
    let mut bench = Bench::new();
    let descriptor = share(1);
    bench.hyp.guest[TX as usize..][..descriptor.len()].copy_from_slice(&descriptor);
    let len = descriptor.len() as u32;
    let share = MemSend {
        width: Width::Smc32,
        transaction: Transaction::Share,
        total_len: len,
        fragment_len: len,
        address: 0,
        pages: 0,
    };
    let handle = Handle::new(HANDLE).unwrap();
    let share = share.to_regs();
    let reclaim = MemReclaim { handle, flags: ReclaimFlags::NONE }.to_regs();
    let (mut shared, mut reclaimed) = (Regs::ZERO, Regs::ZERO);
    repeat(iterations, || {
        shared = share;
        bench.call(black_box(&mut shared));
        reclaimed = reclaim;
        bench.call(black_box(&mut reclaimed));
    });
    let success = Answer::Success(Success { width: Width::Smc32, x2: HANDLE, x3: 0 });
    assert_eq!((Answer::from_regs(&shared), reclaimed), (success, Regs::success(0, 0)));
}

fn direct_request(iterations: u32) {
    let mut bench = Bench::new();
    let message = Message::Partition([1, 2, 3, 4, 5]);
    let request = DirectRequest { width: Width::Smc32, sender: SENDER, receiver: RECEIVER, message };
    let response = DirectResponse { width: Width::Smc32, sender: RECEIVER, receiver: SENDER, message };
    let request = request.to_regs();
    let mut reply = Regs::ZERO;
    repeat(iterations, || {
        reply = request;
        bench.call(black_box(&mut reply));
    });
    assert_eq!(reply, response.to_regs());
}
