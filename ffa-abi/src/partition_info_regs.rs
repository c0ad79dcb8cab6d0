use core::mem::size_of;

use crate::answer::success_width;
use crate::{
    Answer, Function, FunctionId, PartitionInfo, PartitionInfoError, RecordFormat, Records, Regs, Uuid, Width,
};

/// FFA_PARTITION_INFO_GET_REGS: a window of the list of partitions, in registers and not in an RX buffer.
///
/// # Specification
/// DEN0077A v1.2, FFA_PARTITION_INFO_GET_REGS: x1 and x2 UUID, x3 bits 15:0 start index, bits 31:16 tag.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PartitionInfoGetRegs {
    /// Which partitions; nil for all.
    pub uuid: Uuid,
    /// Index of the first record wanted.
    pub start: u16,
    /// The tag of the window before; zero with a start of zero.
    pub tag: u16,
}

/// Registers x3 to x17 and their bytes.
const RECORD_REGISTERS: usize = 15;
const RECORD_BYTES: usize = RECORD_REGISTERS * size_of::<u64>();

impl PartitionInfoGetRegs {
    /// Records of 1.2 that one answer holds.
    pub const RECORDS: usize = RECORD_BYTES / RecordFormat::V1_1.size();

    /// Decodes the registers of the call. The upper half of x3 is ignored.
    #[must_use]
    pub const fn from_regs(regs: &Regs) -> Self {
        let x3 = regs.x::<3>();
        let uuid = Uuid::from_halves([regs.x::<1>(), regs.x::<2>()]);
        Self { uuid, start: x3 as u16, tag: (x3 >> 16) as u16 }
    }

    /// Registers of the call.
    #[must_use]
    pub fn to_regs(&self) -> Regs {
        let [x1, x2] = self.uuid.halves();
        let w0 = FunctionId::smc64(Function::PartitionInfoGetRegs).w0();
        Regs::new([u64::from(w0), x1, x2, u64::from(self.start) | u64::from(self.tag) << 16])
    }

    /// Registers of the answer: as many of `records` as fit, in the records of 1.2. The first one has the index
    /// [`start`](Self::start) among `total`. `None` if there is none at that index.
    ///
    /// Whether the caller's [`tag`](Self::tag) still holds is to be settled before; RETRY is the answer if not.
    #[must_use]
    pub fn answer(
        &self,
        tag: u16,
        total: u16,
        records: impl IntoIterator<Item = PartitionInfo>,
    ) -> Option<Regs> {
        const FORMAT: RecordFormat = RecordFormat::V1_1;
        let last = total.checked_sub(1)?;
        let left = usize::from(last.checked_sub(self.start)?) + 1;
        let mut bytes = [0; RECORD_BYTES];
        let mut placed = 0;
        for (slot, record) in bytes.chunks_exact_mut(FORMAT.size()).zip(records).take(left) {
            record.write(FORMAT, slot).ok()?;
            placed += 1;
        }
        let current = self.start + u16::checked_sub(placed, 1)?;
        let x2 = Indices { last, current, tag, size: FORMAT.size() as u16 }.x2();
        let mut regs = Regs::new([u64::from(FunctionId::smc64(Function::Success).w0()), 0, x2]);
        for (x, eight) in regs.0[3..].iter_mut().zip(bytes.chunks_exact(8)) {
            *x = u64::from_le_bytes(*eight.first_chunk()?);
        }
        Some(regs)
    }
}

/// x2 of the answer.
#[derive(Clone, Copy, Debug)]
struct Indices {
    /// Index of the last record of the list.
    last: u16,
    /// Index of the last record of this window.
    current: u16,
    tag: u16,
    /// Bytes of one record.
    size: u16,
}

impl Indices {
    const fn from_x2(x2: u64) -> Self {
        Self { last: x2 as u16, current: (x2 >> 16) as u16, tag: (x2 >> 32) as u16, size: (x2 >> 48) as u16 }
    }

    fn x2(self) -> u64 {
        let Self { last, current, tag, size } = self;
        u64::from(last) | u64::from(current) << 16 | u64::from(tag) << 32 | u64::from(size) << 48
    }
}

/// Why registers are no window of the list of partitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// Not FFA_SUCCESS in the 64-bit form.
    #[error("answered with {0:?}")]
    NotSuccess(Answer),
    /// The list has changed since the window before: begin again.
    #[error("the list with tag {had:#x} has become that with tag {has:#x}")]
    Changed {
        /// Tag of the window before.
        had: u16,
        /// Tag of this window.
        has: u16,
    },
    /// The window ends before it begins, or after the list.
    #[error("records {start} to {current} of a list that ends with {last}")]
    Indices {
        /// Index of the first record, as it was asked for.
        start: u16,
        /// Index of the last record of the window.
        current: u16,
        /// Index of the last record of the list.
        last: u16,
    },
    /// Records of no known size, or more of them than the registers hold.
    #[error(transparent)]
    Records(#[from] PartitionInfoError),
}

/// FFA_PARTITION_INFO_GET_REGS's answer: some records, and where they stand in the list.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PartitionInfoWindow {
    request: PartitionInfoGetRegs,
    last: u16,
    current: u16,
    tag: u16,
    /// Bytes of one record, as the answer gave it.
    size: u16,
    bytes: [u8; RECORD_BYTES],
}

impl PartitionInfoWindow {
    /// Reads the registers that `request` left behind. A window holds at least one record.
    ///
    /// # Errors
    /// The first rule that is broken, in the order of [`WindowError`].
    pub fn from_answer(request: PartitionInfoGetRegs, regs: &Regs) -> Result<Self, WindowError> {
        match success_width(regs) {
            Ok(Width::Smc64) => {}
            Ok(Width::Smc32) => {
                return Err(WindowError::NotSuccess(Answer::Unexpected { w0: regs.w::<0>() }));
            }
            Err(answer) => return Err(WindowError::NotSuccess(answer)),
        }
        let Indices { last, current, tag, size } = Indices::from_x2(regs.x::<2>());
        let start = request.start;
        if start != 0 && tag != request.tag {
            return Err(WindowError::Changed { had: request.tag, has: tag });
        }
        if current < start || current > last {
            return Err(WindowError::Indices { start, current, last });
        }
        // Records of 1.0, which a size of 0 stands for elsewhere, never come in registers.
        if size < RecordFormat::V1_1.size() as u16 {
            return Err(PartitionInfoError::Stride { stride: u32::from(size) }.into());
        }
        let mut bytes = [0; RECORD_BYTES];
        for (eight, x) in bytes.chunks_exact_mut(8).zip(&regs.0[3..]) {
            eight.copy_from_slice(&x.to_le_bytes());
        }
        let window = Self { request, last, current, tag, size, bytes };
        Records::new(&window.bytes, window.len(), u32::from(size))?;
        Ok(window)
    }

    /// Number of its records, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::from(self.current - self.request.start) + 1
    }

    /// Names the list as it is now.
    #[must_use]
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// Number of records of the whole list.
    #[must_use]
    pub fn total(&self) -> u32 {
        u32::from(self.last) + 1
    }

    /// The records, in the order of the list.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        let stride = usize::from(self.size);
        Records::of_checked(self.bytes.get(..self.len() as usize * stride).unwrap_or(&[]), stride)
    }

    /// What to ask for the next window, or `None` if this is the last one. Each window ends further on than the one
    /// before, so whoever asks on comes to an end.
    #[must_use]
    pub fn next_request(&self) -> Option<PartitionInfoGetRegs> {
        let start = self.current.checked_add(1).filter(|start| *start <= self.last)?;
        Some(PartitionInfoGetRegs { start, tag: self.tag, ..self.request })
    }
}
