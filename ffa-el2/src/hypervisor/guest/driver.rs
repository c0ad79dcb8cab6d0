//! FF-A calls of our own guests, as a driver would make them: by SMC, with what was found out and nothing taken for
//! granted.

use ffa_abi::{
    Answer, Call, DirectRequest, Function, FunctionId, Handle, MemReclaim, MemSend, Message, PartitionId,
    PartitionInfoGet, Properties, ReclaimFlags, Records, Regs, RxRelease, RxTxMap, Status, Transaction, Uuid,
    Version, Width, version_answer,
};
use ffa_mem::{IpaRange, MemoryAttributes, Permissions, Receiver, SendBuilder, SendFlags, SendHeader};

use super::conduit::{self, AllRegisters, SMC};
use super::{layout, memory};
use crate::hypercall::YIELD;

/// Guest-physical addresses of the buffers.
pub const TX: u64 = layout::DATA.start;
pub const RX: u64 = TX + PAGE;
pub const PAGE: u64 = 0x1000;

/// Bytes of a list of partitions that are looked at.
const LIST: usize = 512;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = PAGE as usize;
/// How often a preempted partition is resumed, and how often a call is made again that another CPU was in the way of.
const PATIENCE: u32 = 1000;

/// FF-A as a guest has it: version 1.1, an ID, RX and TX.
pub struct Driver {
    pub id: PartitionId,
}

impl Driver {
    const VERSION: Version = Version::V1_1;

    /// Finds FF-A and maps RX and TX.
    ///
    /// # Errors
    /// What the hypervisor says instead.
    pub fn start() -> Result<Self, Answer> {
        let answer = raw_call(&Call::Version(Self::VERSION.word()).to_regs());
        if version_answer::from_regs(&answer).is_err() {
            return Err(Answer::Error(Status::NotSupported.into()));
        }
        let id = PartitionId(success(call(&Call::IdGet.to_regs()))?.0 as u16);
        let map = RxTxMap { width: Width::Smc64, tx: TX, rx: RX, pages: 1 };
        success(call(&Call::RxTxMap(map).to_regs()))?;
        Ok(Self { id })
    }

    /// The first partition that takes direct requests.
    ///
    /// # Errors
    /// What the hypervisor says instead of a list; or `None` in it, if no partition does.
    pub fn first_partition(&self) -> Result<Option<PartitionId>, Answer> {
        let get = PartitionInfoGet { uuid: Uuid::NIL, count_only: false };
        let (count, stride) = success(call(&get.to_regs()))?;
        let mut list = [0; LIST];
        memory::copy_from(RX, &mut list);
        success(call(&Call::RxRelease(RxRelease { endpoint: PartitionId(0) }).to_regs()))?;
        let (count, stride) = (count as u32, stride as u32);
        let fitting = count.min(LIST as u32 / stride.max(1));
        let records = Records::new(&list, fitting, stride).map_err(|_| Answer::MsgWait)?;
        let takes_requests =
            |properties: Properties| properties.contains(Properties::RECEIVES_DIRECT_REQUESTS);
        Ok(records.into_iter().find(|sp| takes_requests(sp.properties)).map(|sp| sp.id))
    }

    /// Sends a message and resumes the partition until it answers.
    pub fn request(&self, sp: PartitionId, payload: [u64; 5]) -> Answer {
        let message = Message::Partition(payload);
        let request = DirectRequest { width: Width::Smc32, sender: self.id, receiver: sp, message };
        let mut answer = call(&request.to_regs());
        for _ in 0..PATIENCE {
            let (Answer::Interrupt(target) | Answer::Yield { target, .. }) = answer else { break };
            answer = call(&Call::Run(target).to_regs());
        }
        answer
    }

    /// Shares `pages` with `sp`.
    ///
    /// # Errors
    /// What the hypervisor says instead of a handle.
    pub fn share(&self, sp: PartitionId, pages: impl IntoIterator<Item = u64>) -> Result<Handle, Answer> {
        let length = self.describe(sp, pages);
        self.share_as(FunctionId::smc64(Function::MemShare).w0().into(), length)
    }

    /// Writes a descriptor of `pages` into TX. Returns its length.
    pub fn describe(&self, sp: PartitionId, pages: impl IntoIterator<Item = u64>) -> u32 {
        let page = |address| IpaRange::new(address, 1).expect("it is a page");
        self.describe_ranges(sp, pages.into_iter().map(page))
    }

    /// Writes a descriptor of `pages`, to be lent, into TX. Returns its length.
    pub fn describe_lend(&self, sp: PartitionId, pages: impl IntoIterator<Item = u64>) -> u32 {
        let page = |address| IpaRange::new(address, 1).expect("it is a page");
        self.describe_as(MemoryAttributes::UNSPECIFIED, sp, pages.into_iter().map(page))
    }

    /// Writes a descriptor of `ranges` into TX. Returns its length.
    pub fn describe_ranges(&self, sp: PartitionId, ranges: impl IntoIterator<Item = IpaRange>) -> u32 {
        self.describe_as(MemoryAttributes::NORMAL_WRITE_BACK_INNER, sp, ranges)
    }

    fn describe_as(
        &self,
        attributes: MemoryAttributes,
        sp: PartitionId,
        ranges: impl IntoIterator<Item = IpaRange>,
    ) -> u32 {
        let mut bytes = [0; DESCRIPTOR];
        let header = SendHeader {
            version: Self::VERSION,
            sender: self.id,
            attributes,
            flags: SendFlags::NONE,
            tag: 0,
        };
        let receiver = Receiver { id: sp, permissions: Permissions::READ_WRITE, impdef: [0; 2] };
        let mut builder = SendBuilder::new(&mut bytes, &header, [receiver]).expect("there is room");
        for range in ranges {
            builder.push(range).expect("there is room");
        }
        let length = builder.finish().expect("it has pages");
        memory::copy_to(TX, &bytes[..length]);
        length as u32
    }

    /// Shares what TX describes, by this x0.
    ///
    /// # Errors
    /// What the hypervisor says instead of a handle.
    pub fn share_as(&self, x0: u64, length: u32) -> Result<Handle, Answer> {
        let send = MemSend {
            width: Width::Smc64,
            transaction: Transaction::Share,
            total_len: length,
            fragment_len: length,
            address: 0,
            pages: 0,
        };
        let mut regs = send.to_regs();
        regs[0] = x0;
        let (low, high) = success(call(&regs))?;
        Handle::from_words(low as u32, high as u32).map_err(|_| Answer::MsgWait)
    }

    /// Reclaims a share.
    pub fn reclaim(&self, handle: Handle) -> Answer {
        call(&MemReclaim { handle, flags: ReclaimFlags::NONE }.to_regs())
    }
}

/// Makes a call, again and again while another CPU is in the way.
pub fn call(regs: &Regs) -> Answer {
    let mut answer = Answer::from_regs(&raw_call(regs));
    for _ in 0..PATIENCE {
        if answer != Answer::Error(Status::Busy.into()) {
            break;
        }
        conduit::hvc(YIELD, &[]);
        answer = Answer::from_regs(&raw_call(regs));
    }
    answer
}

/// All of x0 goes with it, also what no function ID has.
pub fn raw_call(regs: &Regs) -> Regs {
    let mut registers: AllRegisters = [0; 31];
    registers[..regs.0.len()].copy_from_slice(&regs.0);
    // SAFETY: The hypervisor writes to RX at most, where no Rust object lives.
    unsafe { SMC(&mut registers) };
    Regs(*registers.first_chunk().expect("x0 to x30 begin with x0 to x17"))
}

/// w2 and w3 of FFA_SUCCESS.
fn success(answer: Answer) -> Result<(u64, u64), Answer> {
    match answer {
        Answer::Success(success) => Ok((success.w2().into(), success.w3().into())),
        other => Err(other),
    }
}
