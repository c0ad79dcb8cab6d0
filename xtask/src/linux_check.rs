//! What must be among the lines that the machine prints when [`linux_run`](crate::linux_run) boots it, and what must not.

use std::ops::Range;

use ffa_test_utils::timeline::Parsed;

use crate::linux_run::{ENDINGS, MEMORY, PAYLOAD_LIVES};

/// What every guest with Linux prints in each of its lives.
const IN_EACH_LIFE: [(Source, &str); 5] = [
    (Source::Program, "init: Linux "),
    (Source::Dmesg, "ARM FF-A: Firmware version 1.2 found"),
    (Source::Dmesg, "optee: initialized driver"),
    (Source::Program, "init: partition 0x8001:486178e0-e7f8-11e3-bc5e-0002a5d5c51b"),
    (Source::Program, "client: 1 pages were shared, and are back"),
];

/// All that the kernel may say of what has one of these in it.
const WATCHED: [&str; 6] = ["ff-a", "ffa", "optee", "tee:", "tee_", "tee "];
const EXPECTED: [&str; 4] = [
    "ARM FF-A: Driver version 1.2",
    "ARM FF-A: Firmware version 1.2 found",
    "optee: revision ",
    "optee: initialized driver",
];
/// The kernel never says this.
const UNEXPECTED: [&str; 6] = ["WARNING", "BUG", "Oops", "Call trace", "Kernel panic", "Internal error"];

/// What of a VM that is gone the secure world has, if it says it.
const NOTHING: &str = "the secure world has nothing of it";
/// The hypervisor found its memory, its page tables, the mediator's slots and the secure world as they were.
pub const AS_IT_WAS: &str = "no VM is left, and everything is as it was before the first one";

/// What Linux says, in addition, of a secure world without notifications.
const WITHOUT_NOTIFICATIONS: &str = "ARM FF-A: Notification setup failed -95, not enabled";

/// What is known of the secure world that was there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecureWorld {
    /// It says how much it has of a VM.
    pub is_counted: bool,
    pub has_notifications: bool,
    /// Pages that the first guest shares with it at a time.
    pub pages: usize,
}

/// All that is wrong with `lines`, in words; nothing if all is well.
pub fn wrongs(lines: &[String], world: SecureWorld) -> Vec<String> {
    let run = Run::new(lines);
    let mut wrongs = run.lines_missing(world.pages);
    wrongs.extend(run.complaints(world));
    wrongs.extend((0..ENDINGS.len()).filter_map(|life| run.end_of_life(life, world.pages).err()));
    wrongs.extend(run.others().err());
    wrongs.extend(run.note(AS_IT_WAS, 0).err());
    if world.is_counted {
        wrongs.extend(run.held_when_killed(world.pages).err());
        wrongs.extend(run.left_behind());
    }
    wrongs.extend(run.balance().err());
    wrongs
}

/// A line: who says it, and what.
struct Said<'a> {
    by: &'a str,
    source: Source,
    text: &'a str,
}

/// Who prints a line of a guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// The kernel.
    Kernel,
    /// The program that shows what the kernel has said.
    Dmesg,
    Program,
}

impl<'a> Said<'a> {
    fn parse(line: &'a str) -> Self {
        let (by, text) = line.split_once(": ").unwrap_or(("", line));
        // The kernel puts the time in front.
        let kernels = |text: &'a str| Some(text.strip_prefix('[')?.split_once("] ")?.1);
        if let Some(text) = text.strip_prefix("dmesg: ").and_then(kernels) {
            return Self { by, source: Source::Dmesg, text };
        }
        match kernels(text) {
            Some(text) => Self { by, source: Source::Kernel, text },
            None => Self { by, source: Source::Program, text },
        }
    }
}

struct Run<'a> {
    lines: Vec<Said<'a>>,
    timeline: Vec<(usize, Parsed)>,
}

impl<'a> Run<'a> {
    fn new(lines: &'a [String]) -> Self {
        let timeline = lines.iter().enumerate().filter_map(|(position, line)| {
            let parsed = Parsed::from_line(line).ok()??;
            Some((position, parsed))
        });
        Self { lines: lines.iter().map(|line| Said::parse(line)).collect(), timeline: timeline.collect() }
    }

    fn positions(&self, by: &str, source: Source, start: &str) -> Vec<usize> {
        let matches = |(_, said): &(usize, &Said)| {
            said.by == by && said.source == source && said.text.starts_with(start)
        };
        self.lines.iter().enumerate().filter(matches).map(|(position, _)| position).collect()
    }

    /// What a guest does not say, or says too often.
    fn lines_missing(&self, pages: usize) -> Vec<String> {
        let of_lives = IN_EACH_LIFE.iter().flat_map(|(source, line)| {
            [("vm1", *source, line.to_string(), ENDINGS.len()), ("vm2", *source, line.to_string(), 1)]
        });
        let program = Source::Program;
        let others = [
            ("vm1", program, format!("client: {pages} pages are shared, and stay so"), 2),
            ("vm1", program, format!("client: {pages} pages were shared, and are back"), 1),
            ("vm3", program, "payload: all is well".to_owned(), PAYLOAD_LIVES),
        ];
        let wrong = of_lives.chain(others).filter_map(|(by, source, line, times)| {
            let found = self.positions(by, source, &line).len();
            (found != times).then(|| format!("{by} says {line:?} {found} times, not {times} times"))
        });
        wrong.collect()
    }

    /// What a kernel says that it should not.
    fn complaints(&self, world: SecureWorld) -> Vec<String> {
        let is_bad = |said: &&Said| {
            let lower = said.text.to_lowercase();
            let is_watched = WATCHED.iter().any(|word| lower.contains(word));
            let is_expected = EXPECTED.iter().any(|start| said.text.starts_with(start))
                || !world.has_notifications && said.text == WITHOUT_NOTIFICATIONS;
            let is_unexpected = UNEXPECTED.iter().any(|word| said.text.contains(word));
            said.source != Source::Program && (is_unexpected || is_watched && !is_expected)
        };
        self.lines.iter().filter(is_bad).map(|said| format!("{} says {:?}", said.by, said.text)).collect()
    }

    /// The position of the nth note that begins like this.
    fn note(&self, start: &str, nth: usize) -> Result<usize, String> {
        let notes = self.timeline.iter().filter_map(|(position, parsed)| match parsed {
            Parsed::Note { text, .. } if text.starts_with(start) => Some(*position),
            _ => None,
        });
        notes.into_iter().nth(nth).ok_or_else(|| format!("there is no note {start:?} for the {nth}th time"))
    }

    /// From the last word of the first guest's VM to the note that it is gone.
    fn teardown(&self, life: usize) -> Result<Range<usize>, String> {
        let is_dead = self.timeline.iter().filter_map(|(position, parsed)| match parsed {
            Parsed::Entry(entry) if entry.vm == Some(1) && entry.then.starts_with("VM is dead") => {
                Some(*position)
            }
            _ => None,
        });
        let start =
            is_dead.into_iter().nth(life).ok_or_else(|| format!("life {life} of vm1 does not end"))?;
        Ok(start..self.note("vm1 is gone", life)?)
    }

    /// The teardown of the first guest must be seen to its end, and it must be born again where it was.
    fn end_of_life(&self, life: usize, pages: usize) -> Result<(), String> {
        let range = self.teardown(life)?;
        let entries = self.timeline.iter().filter_map(|(position, parsed)| match parsed {
            Parsed::Entry(entry) if entry.vm == Some(1) && range.contains(position) => Some(entry),
            _ => None,
        });
        let then: Vec<&str> = entries.map(|entry| entry.then.as_str()).collect();
        let mut wanted = vec!["VM is gone, its ID is free".to_owned()];
        if ENDINGS[life] != "tidy" {
            wanted.push(format!("{pages} pages back"));
        }
        for wanted in wanted {
            if !then.contains(&wanted.as_str()) {
                return Err(format!("in life {life} of vm1, nothing ends with {wanted:?}: {then:?}"));
            }
        }
        if life > 0 {
            let blocks = MEMORY / 2;
            self.note(
                &format!("vm1 is born again: {blocks} of its {blocks} blocks were its own before"),
                life - 1,
            )?;
        }
        Ok(())
    }

    /// When the first guest is killed, the secure world has what it shared.
    fn held_when_killed(&self, shared: usize) -> Result<(), String> {
        let position = self.note("vm1 is killed", 0)?;
        let killed = self.timeline.iter().find_map(|(at, parsed)| match parsed {
            Parsed::Note { text, .. } if *at == position => Some(text),
            _ => None,
        });
        let pages =
            killed.and_then(|text| text.split_once(" handles, ")?.1.split_once(" pages")?.0.parse().ok());
        if pages.is_some_and(|pages: usize| pages >= shared) {
            return Ok(());
        }
        Err(format!("the secure world has too little of vm1 when it is killed: {killed:?}"))
    }

    /// What the secure world has of VMs that are gone.
    fn left_behind(&self) -> Vec<String> {
        let notes = self.timeline.iter().filter_map(|(_, parsed)| match parsed {
            Parsed::Note { text, .. } if text.contains(" is gone after ") => Some(text),
            _ => None,
        });
        notes
            .filter(|text| !text.ends_with(NOTHING))
            .map(|text| format!("something is left: {text}"))
            .collect()
    }

    /// The second guest shares again and again, before, while and after the first one is killed and born again; and the third one
    /// lives and dies.
    fn others(&self) -> Result<(), String> {
        let rounds = self.positions("vm2", Source::Program, "client: round ");
        for (position, number) in rounds.iter().zip(1..) {
            let text = self.lines[*position].text;
            if !text.starts_with(&format!("client: round {number}, ")) {
                return Err(format!("vm2 says {text:?} in its round {number}"));
            }
        }
        let payloads = self.positions("vm3", Source::Program, "payload: all is well");
        let killed = self.note("vm1 is killed", 0)?;
        let reborn =
            *self.positions("vm1", Source::Program, "init: Linux ").get(1).ok_or("vm1 is not born again")?;
        let last = self.note("vm2 is killed", 0)?;
        for (when, range) in [("before", 0..killed), ("while", killed..reborn), ("after", reborn..last)] {
            let count = rounds.iter().filter(|position| range.contains(position)).count();
            if count < 2 {
                return Err(format!("vm2 shares {count} times {when} vm1 is killed and born again"));
            }
            if !payloads.iter().any(|position| range.contains(position)) {
                return Err(format!("no life of vm3 ends {when} vm1 is killed and born again"));
            }
        }
        Ok(())
    }

    /// Everything came back.
    fn balance(&self) -> Result<(), String> {
        let summary = self.timeline.iter().find_map(|(_, parsed)| match parsed {
            Parsed::Summary(summary) => Some(summary),
            _ => None,
        });
        let summary = summary.ok_or("there is no summary")?;
        if summary.all_came_back() { Ok(()) } else { Err(format!("not everything came back: {summary:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `vm` prints from its first line to the end of its first use of the memory.
    fn boot(vm: &str) -> Vec<String> {
        let lines = [
            "[    0.000000] KASLR disabled due to lack of seed",
            "init: Linux 7.2",
            "dmesg: [    2.002029] ARM FF-A: Driver version 1.2",
            "dmesg: [    2.002035] ARM FF-A: Firmware version 1.2 found",
            "dmesg: [    2.480032] optee: revision 4.0 (7b1dcdaf)",
            "dmesg: [    2.483351] optee: initialized driver",
            "init: partition 0x8001:486178e0-e7f8-11e3-bc5e-0002a5d5c51b",
            "client: 1 pages were shared, and are back",
        ];
        lines.map(|line| format!("{vm}: {line}")).into()
    }

    fn rounds(numbers: Range<u32>) -> Vec<String> {
        numbers
            .map(|round| format!("vm2: client: round {round}, 256 pages were shared, and are back"))
            .collect()
    }

    fn teardown(held: bool) -> Vec<String> {
        let back = if held { "1024 pages back" } else { "1 page back" };
        vec![
            "@ffa t=1 by=us vm=1 then=VM is dead, 2 shares open".to_owned(),
            format!("@ffa t=1 by=us vm=1 then={back}"),
            "@ffa t=1 by=us vm=1 then=VM is gone, its ID is free".to_owned(),
            format!("@ffa t=1 note=vm1 is gone after 1 ms, 0 of its pages are held; {NOTHING}"),
        ]
    }

    const STRICT: SecureWorld = SecureWorld { is_counted: true, has_notifications: true, pages: 1024 };
    const HELD: &str = "the secure world has 2 handles, 1025 pages and 1 records of it";
    const PAYLOAD: &str = "vm3: payload: all is well";

    fn one(line: &str) -> Vec<String> {
        vec![line.to_owned()]
    }

    fn good() -> Vec<String> {
        let held = "vm1: client: 1024 pages are shared, and stay so";
        let born = "@ffa t=1 note=vm1 is born again: 64 of its 64 blocks were its own before";
        let parts = [
            vec![PAYLOAD.to_owned(); PAYLOAD_LIVES - 2],
            boot("vm2"),
            rounds(1..3),
            boot("vm1"),
            one(held),
            one(&format!("@ffa t=1 note=vm1 is killed, 1027 of its pages are held; {HELD}")),
            teardown(true),
            one(born),
            rounds(3..5),
            one(PAYLOAD),
            boot("vm1"),
            one(held),
            teardown(true),
            one(born),
            boot("vm1"),
            rounds(5..7),
            one(PAYLOAD),
            one("vm1: client: 1024 pages were shared, and are back"),
            teardown(false),
            one("@ffa t=1 note=vm2 is killed, 3 of its pages are held"),
            one(&format!("@ffa t=1 note={AS_IT_WAS}")),
            one(
                "summary scenario=hosting shares=9 reclaimed=9 gone=0 quarantined=0 pages_held=0 zombies=0 smcs=99 violations=0",
            ),
        ];
        parts.concat()
    }

    #[test]
    fn a_good_run_has_nothing_wrong() {
        assert_eq!(wrongs(&good(), STRICT), Vec::<String>::new());
    }

    #[test]
    fn every_line_that_is_missing_is_missed() {
        let good = good();
        for position in 0..good.len() {
            let mut lines = good.clone();
            let line = lines.remove(position);
            // These need not be there, or not for this.
            let may_be_missing =
                ["KASLR", "Driver version", "revision", "1 page back"].iter().any(|text| line.contains(text));
            assert_eq!(wrongs(&lines, STRICT).is_empty(), may_be_missing, "{line}");
        }
    }

    #[test]
    fn every_complaint_is_heard() {
        for line in [
            "vm1: [    3.1] optee: probe failed with -22",
            "vm2: [    3.1] ARM FF-A: Failed to initialize FF-A",
            "vm2: dmesg: [    3.1] arm_ffa arm-ffa-1: something",
            "vm1: [    3.1] WARNING: CPU: 0 PID: 1 at nowhere",
            "vm1: [    3.1] Call trace:",
            "vm1: [    3.1] tee_shm: unregister failed",
        ] {
            let lines = [good(), one(line)].concat();
            assert_eq!(wrongs(&lines, STRICT).len(), 1, "{line}");
        }
    }

    #[test]
    fn a_secure_world_without_notifications_is_no_reason_to_complain() {
        let lines = [good(), one(&format!("vm1: dmesg: [    3.1] {WITHOUT_NOTIFICATIONS}"))].concat();
        assert_eq!(wrongs(&lines, STRICT).len(), 1);
        assert_eq!(wrongs(&lines, SecureWorld { has_notifications: false, ..STRICT }), Vec::<String>::new());
    }

    #[test]
    fn what_did_not_come_back_is_missed() {
        for (from, to) in [
            ("reclaimed=9", "reclaimed=8"),
            ("zombies=0", "zombies=1"),
            ("64 of its 64", "63 of its 64"),
            ("has nothing", "has something"),
            ("1025 pages", "1 pages"),
        ] {
            let lines: Vec<String> = good().iter().map(|line| line.replace(from, to)).collect();
            assert!(!wrongs(&lines, STRICT).is_empty(), "{to}");
        }
    }
}
