//! What FF-A defines as an answer to a guest's call.

use ffa_abi::{Answer, FirmwareStatus, Regs};

/// Whether `answer` is one that a call with this w0 may have: a success of its shape, or FFA_ERROR with a code that
/// there is, and nothing else in any register.
pub fn is_defined(w0: u64, answer: &Regs) -> bool {
    let is_clean = |from: usize| answer.0[from..].iter().all(|x| *x == 0);
    match Answer::from_regs(answer) {
        Answer::Error(FirmwareStatus::Known(status)) => *answer == Regs::error(status),
        Answer::Success(_) => match w0 & 0xff {
            // A handle, or nothing.
            0x71..=0x73 | 0x7b | 0x77 | 0x76 | 0x65..=0x67 | 0x7f | 0x80 | 0x81 => {
                answer[1] == 0 && is_clean(4)
            }
            // A count and a size.
            0x68 | 0x69 => answer[1] == 0 && is_clean(4),
            // Bitmaps, or lists of them.
            0x82 => answer[1] == 0 && is_clean(8),
            _ => true,
        },
        Answer::MemFragRx(_) => matches!(w0 & 0xff, 0x71..=0x73 | 0x7b) && is_clean(4),
        Answer::DirectResponse(_) | Answer::Interrupt(_) | Answer::Yield { .. } | Answer::MsgWait => {
            matches!(w0 & 0xff, 0x6f | 0x6d) && is_clean(8)
        }
        // Two lengths.
        _ if answer.w::<0>() == 0x8400_0075 => w0 & 0xff == 0x74 && is_clean(3),
        _ => w0 & 0xff == 0x63 && is_clean(1),
    }
}
