//! Answers of the secure world as the oracle reads them: from raw registers and with numbers of its own, so that it
//! shares no mistake with the engine.

use ffa_abi::Answer;

/// What an answer says, before anybody asks what it answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// FFA_SUCCESS: the two words that may be a handle, and whether it came in the 64-bit form.
    Success { value: u64, wide: bool },
    /// FFA_ERROR with this code.
    Error(i32),
    /// FFA_INTERRUPT or FFA_YIELD of this endpoint, which wants to rest for so long.
    Preempted { endpoint: u16, rest: u64 },
    /// FFA_MSG_WAIT.
    MsgWait,
    /// A direct response in either form, with code and status if it is of the framework.
    Response { sender: u16, receiver: u16, framework: Option<(u8, i32)> },
    /// FFA_MEM_FRAG_RX for this handle.
    More(u64),
    /// Anything else.
    Nonsense,
}

/// Reads the registers of `answer`.
pub fn read(answer: &Answer) -> Reading {
    let x = answer.to_regs().0;
    let w = |index: usize| x[index] as u32;
    match w(0) {
        0x8400_0061 => Reading::Success { value: u64::from(w(3)) << 32 | u64::from(w(2)), wide: false },
        0xc400_0061 => Reading::Success { value: u64::from(w(3)) << 32 | u64::from(w(2)), wide: true },
        0x8400_0060 => Reading::Error(w(2) as i32),
        0x8400_0062 => Reading::Preempted { endpoint: (w(1) >> 16) as u16, rest: 0 },
        0x8400_006c => Reading::Preempted {
            endpoint: (w(1) >> 16) as u16,
            rest: u64::from(w(3)) << 32 | u64::from(w(2)),
        },
        0x8400_006b => Reading::MsgWait,
        0x8400_0070 | 0xc400_0070 => Reading::Response {
            sender: (w(1) >> 16) as u16,
            receiver: w(1) as u16,
            framework: (w(2) >> 31 == 1).then(|| (w(2) as u8, w(3) as i32)),
        },
        0xc400_008e => {
            Reading::Response { sender: (w(1) >> 16) as u16, receiver: w(1) as u16, framework: None }
        }
        0x8400_007a => Reading::More(u64::from(w(2)) << 32 | u64::from(w(1))),
        _ => Reading::Nonsense,
    }
}

/// BUSY, RETRY, INTERRUPTED or NOT_READY: passes by itself.
pub const fn passes(code: i32) -> bool {
    matches!(code, -4 | -7 | -5 | -10)
}

/// A code that says that nothing was done.
pub const fn refuses(code: i32) -> bool {
    passes(code) || matches!(code, -1 | -2 | -3 | -6 | -9)
}

pub const INVALID: i32 = -2;
pub const NO_MEMORY: i32 = -3;
pub const DENIED: i32 = -6;
pub const ABORTED: i32 = -8;
pub const NO_DATA: i32 = -9;

/// What an SP made of a message about a VM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// It took note.
    Accepted,
    /// It, or the SPMC for it, gave this code.
    Refused(i32),
    /// It was preempted over it and wants to rest for so long.
    Preempted(u64),
    /// It waits for work: whatever it had in hand, it has no more.
    Waits,
    /// Nobody can tell.
    Unclear,
}

/// How SP `sp` answered the framework message whose answer has `code`; `by_sp` if it was the SP itself, not the SPMC.
pub fn told(reading: Reading, sp: u16, code: u8) -> (Told, bool) {
    match reading {
        Reading::Response { sender, receiver: 0, framework: Some((given, status)) }
            if sender == sp && given == code =>
        {
            (if status == 0 { Told::Accepted } else { Told::Refused(status) }, true)
        }
        Reading::Error(status) => (Told::Refused(status), false),
        Reading::Preempted { endpoint, rest } if endpoint == sp => (Told::Preempted(rest), false),
        Reading::MsgWait => (Told::Waits, false),
        _ => (Told::Unclear, false),
    }
}
