use core::fmt;

use crate::{Callers, Version};

/// Register width of a call: the SMC32 or the SMC64 convention.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Width {
    /// Function ID 0x8400_00nn; w0 to w7.
    Smc32,
    /// Function ID 0xC400_00nn; x0 to x7, from 1.2 to x17.
    Smc64,
}

/// One row of the table of functions.
#[derive(Clone, Copy, Debug)]
pub struct FunctionInfo {
    /// The function.
    pub function: Function,
    /// The specification's name, without width.
    pub name: &'static str,
    /// Version that brought the 32-bit form, if there is one.
    pub since_32: Option<Version>,
    /// Version that brought the 64-bit form, if there is one.
    pub since_64: Option<Version>,
    /// Who may invoke it.
    pub callers: Callers,
    /// What answers it when it goes well; FFA_ERROR is the answer when it does not.
    ///
    /// Empty for FFA_VERSION, whose answer is a bare word, and for what is an answer itself or gives the processor
    /// away: what comes back then belongs to the next event.
    pub answers: &'static [Function],
}

macro_rules! functions {
    ($($variant:ident = $number:literal $name:literal, $since32:tt, $since64:tt, [$($caller:ident)+] => [$($answer:ident)*];)*) => {
        /// A function of FF-A, whatever the width. The value is the low byte of the function ID.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum Function { $(#[doc = $name] $variant = $number,)* }

        /// Every function up to FF-A 1.3, in the order of their numbers.
        pub const FUNCTIONS: &[FunctionInfo] = &[$(FunctionInfo {
            function: Function::$variant,
            name: $name,
            since_32: functions!(@since $since32),
            since_64: functions!(@since $since64),
            callers: Callers::NONE$(.or(Callers::$caller))+,
            answers: &[$(Function::$answer),*],
        }),*];
    };
    (@since -) => { None };
    (@since $version:ident) => { Some(Version::$version) };
}

functions! {
    //                       name                             32    64          who           answers
    Error = 0x60             "FFA_ERROR",                     V1_0, V1_3,  [VM HYPERVISOR SP ANSWER] => [];
    Success = 0x61           "FFA_SUCCESS",                   V1_0, V1_0,  [VM HYPERVISOR SP ANSWER] => [];
    Interrupt = 0x62         "FFA_INTERRUPT",                 V1_0, V1_3,  [SP ANSWER] => [];
    Version = 0x63           "FFA_VERSION",                   V1_0, -,     [VM HYPERVISOR SP] => [];
    Features = 0x64          "FFA_FEATURES",                  V1_0, -,     [VM HYPERVISOR SP] => [Success];
    RxRelease = 0x65         "FFA_RX_RELEASE",                V1_0, -,     [VM HYPERVISOR SP] => [Success];
    RxTxMap = 0x66           "FFA_RXTX_MAP",                  V1_0, V1_0,  [VM HYPERVISOR SP] => [Success];
    RxTxUnmap = 0x67         "FFA_RXTX_UNMAP",                V1_0, -,     [VM HYPERVISOR SP] => [Success];
    PartitionInfoGet = 0x68  "FFA_PARTITION_INFO_GET",        V1_0, -,     [VM HYPERVISOR SP] => [Success];
    IdGet = 0x69             "FFA_ID_GET",                    V1_0, -,     [VM HYPERVISOR SP] => [Success];
    MsgPoll = 0x6a           "FFA_MSG_POLL",                  V1_0, -,     [VM SP] => [MsgSend];
    MsgWait = 0x6b           "FFA_MSG_WAIT",                  V1_0, V1_3,  [VM SP ANSWER] => [];
    Yield = 0x6c             "FFA_YIELD",                     V1_0, V1_3,  [VM SP ANSWER] => [];
    Run = 0x6d               "FFA_RUN",                       V1_0, V1_3,  [VM HYPERVISOR SP]
        => [MsgWait Yield Interrupt MsgSendDirectResp MsgSendDirectResp2];
    MsgSend = 0x6e           "FFA_MSG_SEND",                  V1_0, -,     [VM SP ANSWER] => [Success];
    MsgSendDirectReq = 0x6f  "FFA_MSG_SEND_DIRECT_REQ",       V1_0, V1_0,  [VM HYPERVISOR SP]
        => [MsgSendDirectResp Interrupt Yield];
    MsgSendDirectResp = 0x70 "FFA_MSG_SEND_DIRECT_RESP",      V1_0, V1_0,  [VM SP ANSWER] => [];
    MemDonate = 0x71         "FFA_MEM_DONATE",                V1_0, V1_0,  [VM HYPERVISOR SP]
        => [Success MemFragRx MemOpPause];
    MemLend = 0x72           "FFA_MEM_LEND",                  V1_0, V1_0,  [VM HYPERVISOR SP]
        => [Success MemFragRx MemOpPause];
    MemShare = 0x73          "FFA_MEM_SHARE",                 V1_0, V1_0,  [VM HYPERVISOR SP]
        => [Success MemFragRx MemOpPause];
    MemRetrieveReq = 0x74    "FFA_MEM_RETRIEVE_REQ",          V1_0, V1_0,  [VM HYPERVISOR SP]
        => [MemRetrieveResp MemOpPause];
    MemRetrieveResp = 0x75   "FFA_MEM_RETRIEVE_RESP",         V1_0, -,     [ANSWER] => [];
    MemRelinquish = 0x76     "FFA_MEM_RELINQUISH",            V1_0, -,     [VM HYPERVISOR SP]
        => [Success MemOpPause];
    MemReclaim = 0x77        "FFA_MEM_RECLAIM",               V1_0, -,     [VM HYPERVISOR SP]
        => [Success MemOpPause];
    MemOpPause = 0x78        "FFA_MEM_OP_PAUSE",              V1_0, -,     [ANSWER] => [];
    MemOpResume = 0x79       "FFA_MEM_OP_RESUME",             V1_0, -,     [VM HYPERVISOR SP]
        => [Success MemRetrieveResp MemOpPause];
    MemFragRx = 0x7a         "FFA_MEM_FRAG_RX",               V1_0, -,     [VM HYPERVISOR SP ANSWER]
        => [MemFragTx];
    MemFragTx = 0x7b         "FFA_MEM_FRAG_TX",               V1_0, -,     [VM HYPERVISOR SP ANSWER]
        => [Success MemFragRx MemOpPause];
    NormalWorldResume = 0x7c "FFA_NORMAL_WORLD_RESUME",       V1_0, V1_3,  [SPMC] => [];
    NotificationBitmapCreate = 0x7d "FFA_NOTIFICATION_BITMAP_CREATE", V1_1, -, [HYPERVISOR] => [Success];
    NotificationBitmapDestroy = 0x7e "FFA_NOTIFICATION_BITMAP_DESTROY", V1_1, -, [HYPERVISOR] => [Success];
    NotificationBind = 0x7f  "FFA_NOTIFICATION_BIND",         V1_1, -,     [VM HYPERVISOR SP] => [Success];
    NotificationUnbind = 0x80 "FFA_NOTIFICATION_UNBIND", V1_1, -,          [VM HYPERVISOR SP] => [Success];
    NotificationSet = 0x81   "FFA_NOTIFICATION_SET",          V1_1, -,     [VM HYPERVISOR SP] => [Success];
    NotificationGet = 0x82   "FFA_NOTIFICATION_GET",          V1_1, -,     [VM HYPERVISOR SP] => [Success];
    NotificationInfoGet = 0x83 "FFA_NOTIFICATION_INFO_GET", V1_1, V1_1,    [VM HYPERVISOR] => [Success];
    RxAcquire = 0x84         "FFA_RX_ACQUIRE",                V1_1, -,     [HYPERVISOR] => [Success];
    SpmIdGet = 0x85          "FFA_SPM_ID_GET",                V1_1, -,     [VM HYPERVISOR SP] => [Success];
    MsgSend2 = 0x86          "FFA_MSG_SEND2",                 V1_1, -,     [VM HYPERVISOR SP] => [Success];
    SecondaryEpRegister = 0x87 "FFA_SECONDARY_EP_REGISTER", -, V1_1,       [SP SPMC] => [Success];
    MemPermGet = 0x88        "FFA_MEM_PERM_GET",              V1_1, V1_2,  [SP] => [Success];
    MemPermSet = 0x89        "FFA_MEM_PERM_SET",              V1_1, V1_2,  [SP] => [Success];
    ConsoleLog = 0x8a        "FFA_CONSOLE_LOG",               V1_2, V1_2,  [VM HYPERVISOR SP] => [Success];
    PartitionInfoGetRegs = 0x8b "FFA_PARTITION_INFO_GET_REGS", -, V1_2,    [VM HYPERVISOR SP] => [Success];
    El3IntrHandle = 0x8c     "FFA_EL3_INTR_HANDLE",           V1_2, -,     [SPMC] => [Success];
    MsgSendDirectReq2 = 0x8d "FFA_MSG_SEND_DIRECT_REQ2",      -,    V1_2,  [VM HYPERVISOR SP]
        => [MsgSendDirectResp2 Interrupt Yield];
    MsgSendDirectResp2 = 0x8e "FFA_MSG_SEND_DIRECT_RESP2", -, V1_2,        [VM SP ANSWER] => [];
    NsResInfoGet = 0x8f      "FFA_NS_RES_INFO_GET",           -,    V1_3,  [HYPERVISOR] => [Success];
    Abort = 0x90             "FFA_ABORT",                     V1_3, V1_3,  [SP] => [];
    NotificationBind2 = 0x94 "FFA_NOTIFICATION_BIND2",        -,    V1_3,  [VM HYPERVISOR SP] => [Success];
    NotificationUnbind2 = 0x95 "FFA_NOTIFICATION_UNBIND2", -, V1_3,        [VM HYPERVISOR SP] => [Success];
    NotificationSet2 = 0x96  "FFA_NOTIFICATION_SET2",         -,    V1_3,  [VM HYPERVISOR SP] => [Success];
    NotificationGet2 = 0x97  "FFA_NOTIFICATION_GET2",         -,    V1_3,  [VM HYPERVISOR SP] => [Success];
}

/// First and last low byte of a function ID in FF-A's range.
const FIRST: u8 = 0x60;
const LAST: u8 = 0x97;

/// Row of each low byte.
const ROWS: [u8; (LAST - FIRST) as usize + 1] = {
    let mut rows = [u8::MAX; (LAST - FIRST) as usize + 1];
    let mut row = 0;
    while row < FUNCTIONS.len() {
        rows[FUNCTIONS[row].function as usize - FIRST as usize] = row as u8;
        row += 1;
    }
    rows
};

/// Function ID of each low byte, in both widths, so that decoding is one look-up.
const IDS: [[Option<FunctionId>; ROWS.len()]; 2] = {
    let mut ids = [[None; ROWS.len()]; 2];
    let mut row = 0;
    while row < FUNCTIONS.len() {
        let function = FUNCTIONS[row].function;
        let column = function as usize - FIRST as usize;
        ids[0][column] = FunctionId::new(function, Width::Smc32);
        ids[1][column] = FunctionId::new(function, Width::Smc64);
        row += 1;
    }
    ids
};

/// A function ID of FF-A: function and width, of which the table has both.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FunctionId {
    function: Function,
    width: Width,
}

/// The word in w0 names no function of FF-A.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{w0:#010x} is not an FF-A function ID")]
pub struct UnknownFunction {
    /// w0 as it came.
    pub w0: u32,
}

impl FunctionId {
    /// The ID of `function` in `width`, if the table has that form.
    #[must_use]
    #[inline]
    pub const fn new(function: Function, width: Width) -> Option<Self> {
        let id = Self { function, width };
        if id.since().is_some() { Some(id) } else { None }
    }

    /// The 32-bit form.
    ///
    /// # Panics
    /// If the function has none; meant for constants.
    #[must_use]
    #[inline]
    pub const fn smc32(function: Function) -> Self {
        match Self::new(function, Width::Smc32) {
            Some(id) => id,
            None => panic!("no 32-bit form"),
        }
    }

    /// The 64-bit form.
    ///
    /// # Panics
    /// If the function has none; meant for constants.
    #[must_use]
    #[inline]
    pub const fn smc64(function: Function) -> Self {
        match Self::new(function, Width::Smc64) {
            Some(id) => id,
            None => panic!("no 64-bit form"),
        }
    }

    /// Decodes w0. Bit 16, SMCCC's "no live SVE state" hint, is ignored.
    ///
    /// # Errors
    /// [`UnknownFunction`] for any word that is not in the table in this width.
    #[inline]
    pub const fn from_w0(w0: u32) -> Result<Self, UnknownFunction> {
        /// Bit 30 tells the widths apart.
        const SMC64: u32 = 1 << 30;
        let column = (w0 as u8).wrapping_sub(FIRST) as usize;
        if w0 & !(SMC64 | 1 << 16 | 0xff) == 0x8400_0000 && column < ROWS.len() {
            if let Some(id) = IDS[(w0 & SMC64 != 0) as usize][column] {
                return Ok(id);
            }
        }
        Err(UnknownFunction { w0 })
    }

    /// Whether `w0` is in the range of function IDs that belongs to FF-A, known or not.
    #[must_use]
    pub const fn is_ffa(w0: u32) -> bool {
        let number = w0 as u8;
        matches!(w0 & 0xfffe_ff00, 0x8400_0000 | 0xc400_0000) && number >= FIRST && number <= LAST
    }

    /// The word for w0.
    #[must_use]
    #[inline]
    pub const fn w0(self) -> u32 {
        let base = match self.width {
            Width::Smc32 => 0x8400_0000,
            Width::Smc64 => 0xc400_0000,
        };
        base | self.function as u32
    }

    /// The function, whatever the width.
    #[must_use]
    pub const fn function(self) -> Function {
        self.function
    }

    /// The width.
    #[must_use]
    pub const fn width(self) -> Width {
        self.width
    }

    const fn since(self) -> Option<Version> {
        let info = self.function.info();
        match self.width {
            Width::Smc32 => info.since_32,
            Width::Smc64 => info.since_64,
        }
    }

    /// Whether `version` has this function in this width.
    #[must_use]
    pub fn exists_in(self, version: Version) -> bool {
        self.since().is_some_and(|since| since <= version)
    }
}

impl Function {
    /// The row of the table.
    #[must_use]
    pub const fn info(self) -> &'static FunctionInfo {
        &FUNCTIONS[ROWS[self as usize - FIRST as usize] as usize]
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.info().name)
    }
}

impl fmt::Display for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.function.info();
        f.write_str(info.name)?;
        match (info.since_32, info.since_64, self.width) {
            (Some(_), Some(_), Width::Smc32) => f.write_str("_32"),
            (Some(_), Some(_), Width::Smc64) => f.write_str("_64"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn every_row_is_found_by_its_own_word_and_by_no_other() {
        let mut known = 0;
        for base in [0x8400_0000_u32, 0xc400_0000] {
            for low in 0..=0xffff {
                let Ok(id) = FunctionId::from_w0(base | low) else { continue };
                known += 1;
                assert_eq!(id.w0(), base | low);
                assert!(FunctionId::is_ffa(id.w0()));
            }
        }
        let forms: usize = FUNCTIONS
            .iter()
            .map(|row| usize::from(row.since_32.is_some()) + usize::from(row.since_64.is_some()))
            .sum();
        assert_eq!(known, forms);
    }

    #[test]
    fn takes_the_sve_hint_and_refuses_every_other_stray_bit() {
        let share = FunctionId::smc64(Function::MemShare);
        assert_eq!(FunctionId::from_w0(share.w0() | 1 << 16), Ok(share));
        for bit in (8..32).filter(|&bit| bit != 16 && bit != 30) {
            let w0 = share.w0() ^ 1 << bit;
            assert_eq!(FunctionId::from_w0(w0), Err(UnknownFunction { w0 }), "bit {bit}");
        }
    }

    #[test]
    fn what_answers_a_call_may_be_given_as_an_answer() {
        for row in FUNCTIONS {
            assert!(row.callers != Callers::ANSWER || row.answers.is_empty(), "{}", row.name);
            for answer in row.answers.iter().map(|answer| answer.info()) {
                assert!(answer.callers.contains(Callers::ANSWER), "{} by {}", row.name, answer.name);
            }
        }
        let share = Function::MemShare.info().answers;
        assert_eq!(share, [Function::Success, Function::MemFragRx, Function::MemOpPause]);
        let callers = |function: Function| std::string::ToString::to_string(&function.info().callers);
        assert_eq!(callers(Function::NotificationBind), "VM, hypervisor, SP");
        assert_eq!(callers(Function::El3IntrHandle), "SPMC");
        assert_eq!(callers(Function::Yield), "VM, SP, as an answer");
    }

    #[test]
    fn functions_of_1_3_have_names_and_no_earlier_version_has_them() {
        let names = FUNCTIONS.iter().filter(|row| {
            let since = [row.since_32, row.since_64];
            since.into_iter().flatten().all(|since| since >= Version::V1_3)
        });
        let numbers = [0x8f, 0x90, 0x94, 0x95, 0x96, 0x97];
        assert!(names.map(|row| row.function as u8).eq(numbers));
        for number in [0x91, 0x92, 0x93, 0x98] {
            assert!(FunctionId::from_w0(0xc400_0000 | number).is_err(), "{number:#x}");
        }
    }

    #[test]
    fn versions_gate_each_width() {
        let regs = FunctionId::smc64(Function::PartitionInfoGetRegs);
        assert!(!regs.exists_in(Version::V1_1) && regs.exists_in(Version::V1_2));
        assert_eq!(FunctionId::new(Function::PartitionInfoGetRegs, Width::Smc32), None);
    }
}
