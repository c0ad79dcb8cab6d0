//! The table in the README is the one in force.

use ffa_teardown::{AnswerClass, AnswerTable, Pace, Verdict};

const README: &str = include_str!("../README.md");

fn name(class: AnswerClass) -> &'static str {
    match class {
        AnswerClass::Success => "success",
        AnswerClass::NotSupported => "NOT_SUPPORTED",
        AnswerClass::InvalidParameters => "INVALID_PARAMETERS",
        AnswerClass::NoMemory => "NO_MEMORY",
        AnswerClass::Busy => "BUSY",
        AnswerClass::Interrupted => "INTERRUPTED",
        AnswerClass::Denied => "DENIED",
        AnswerClass::Retry => "RETRY",
        AnswerClass::Aborted => "ABORTED",
        AnswerClass::NoData => "NO_DATA",
        AnswerClass::NotReady => "NOT_READY",
        AnswerClass::OtherStatus => "code 0 or unknown",
        AnswerClass::Preempted => "FFA_INTERRUPT",
        AnswerClass::Yielded => "FFA_YIELD",
        AnswerClass::MsgWait => "FFA_MSG_WAIT",
        AnswerClass::Malformed => "anything else",
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Done => "**done**",
        Verdict::Retry(Pace::BackOff) => "again",
        Verdict::Retry(Pace::Fixed) => "each second",
        Verdict::Limited(Pace::BackOff) => "8 times",
        Verdict::Limited(Pace::Fixed) => "8 seconds",
        Verdict::Resume => "run",
        Verdict::GiveUp => "give up",
        Verdict::Gone => "gone",
        Verdict::Unknown => "unknown",
    }
}

#[test]
fn the_readme_shows_the_default_answer_table() {
    let table = AnswerTable::DEFAULT;
    let rows = [
        table.vm_created,
        table.bitmap_create,
        table.vm_destroyed,
        table.mem_reclaim,
        table.donation_reclaim,
        table.mem_send,
        table.mem_frag,
        table.buffers,
        table.bind,
        table.unbind,
        table.bitmap_destroy,
        table.call,
        table.run,
    ];
    let mut expected = String::new();
    for class in AnswerClass::ALL {
        let cells: Vec<_> = rows.iter().map(|row| word(row.verdict(class))).collect();
        expected += &format!("| {} | {} |\n", name(class), cells.join(" | "));
    }
    assert!(README.contains(&expected), "the README should say:\n{expected}");
}
