//! How the lives of the guest that is killed ended, as far as the hypervisor prints it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use ffa_test_utils::timeline::{Parsed, ParsedSummary};

use crate::linux_check::AS_IT_WAS;

const KILLED: &str = "vm1 is killed, ";
const GONE: &str = "vm1 is gone after ";
/// How a note ends that a VM is gone.
const NOTHING_LEFT: &str = " ms, 0 of its pages are held; the secure world has nothing of it";
/// What the guest says that is not killed.
const ROUNDS: (&str, &str) = ("vm2: soak: ", " rounds");

/// How many lines there are about all lives.
const REPORTS: u32 = 10;
/// So few lives need not end in different ways, nor the other guest have its say in the meantime.
const FEW: u32 = 50;
/// In so many ways that many do.
const WAYS: usize = 5;

/// What there was of the guest when it was killed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Had {
    /// Pages that are held.
    held: u64,
    /// Handles that the secure world knows.
    handles: u64,
    /// Pages that partitions can reach.
    reached: u64,
    /// Requests that partitions were preempted in.
    requests: u64,
}

/// What was printed so far.
#[derive(Debug)]
pub struct Lives {
    cycles: u32,
    ways: BTreeMap<Had, u32>,
    /// Lives after which nothing was left.
    clean: u32,
    /// Notes that make no sense, or say that something was left.
    wrongs: Vec<String>,
    /// What the other guest has done.
    rounds: u32,
    is_as_it_was: bool,
    summary: Option<ParsedSummary>,
}

impl Lives {
    /// There will be so many.
    pub fn new(cycles: u32) -> Self {
        Self {
            cycles,
            ways: BTreeMap::new(),
            clean: 0,
            wrongs: Vec::new(),
            rounds: 0,
            is_as_it_was: false,
            summary: None,
        }
    }

    /// Whether a guest says how far it is.
    pub fn is_report(line: &str) -> bool {
        line.split_once(": soak: ").is_some_and(|(_, text)| rounds(text).is_some())
    }

    /// Takes note of a line. Returns what is to be said about the lives so far, which is not much and not often.
    pub fn line(&mut self, line: &str) -> Option<String> {
        if let Some(count) = line.strip_prefix(ROUNDS.0).and_then(rounds) {
            self.rounds = count;
        }
        match Parsed::from_line(line) {
            Ok(Some(Parsed::Summary(summary))) => self.summary = Some(summary),
            Ok(Some(Parsed::Note { text, .. })) => return self.note(&text),
            _ => {}
        }
        None
    }

    fn note(&mut self, text: &str) -> Option<String> {
        if let Some(had) = text.strip_prefix(KILLED) {
            match Had::parse(had) {
                Some(had) => *self.ways.entry(had).or_default() += 1,
                None => self.wrongs.push(text.to_owned()),
            }
        } else if text.starts_with(GONE) {
            if text.ends_with(NOTHING_LEFT) {
                self.clean += 1;
                let every = self.cycles.div_ceil(REPORTS).max(REPORTS);
                return (self.clean % every == 0).then(|| self.progress());
            }
            self.wrongs.push(text.to_owned());
        } else if text == AS_IT_WAS {
            self.is_as_it_was = true;
        }
        None
    }

    /// So far.
    fn progress(&self) -> String {
        let Self { cycles, clean, rounds, .. } = self;
        format!(
            "soak: {clean} of {cycles} lives left nothing, {}; the other guest did {rounds} rounds",
            self.how()
        )
    }

    /// How lives ended.
    fn how(&self) -> String {
        let most = |what: fn(&Had) -> u64| self.ways.keys().map(what).max().unwrap_or(0);
        let in_request =
            self.ways.iter().filter(|(had, _)| had.requests > 0).map(|(_, count)| count).sum::<u32>();
        format!(
            "ended in {} ways, with up to {} pages and {} handles, {in_request} while an SP was preempted",
            self.ways.len(),
            most(|had| had.held),
            most(|had| had.handles)
        )
    }

    /// What there is to say in the end.
    ///
    /// # Errors
    /// If a life is missing, or something was left behind; or if all of many lives ended in the same few ways.
    pub fn verdict(&self) -> Result<String> {
        let Self { cycles, clean, rounds, .. } = *self;
        ensure!(self.wrongs.is_empty(), "something was left:\n{}", self.wrongs.join("\n"));
        let killed: u32 = self.ways.values().sum();
        ensure!(clean == cycles, "{killed} of {cycles} lives ended, and {clean} left nothing");
        ensure!(killed == cycles, "the guest was killed {killed} times in {cycles} lives");
        ensure!(self.is_as_it_was, "in the end not everything was as in the beginning");
        ensure!(cycles < FEW || self.ways.len() >= WAYS, "lives only {}", self.how());
        ensure!(
            cycles < FEW || rounds >= cycles / 2,
            "the other guest did {rounds} rounds in {cycles} lives"
        );
        let summary = self.summary.as_ref();
        let all_came_back = summary.is_some_and(ParsedSummary::all_came_back);
        ensure!(all_came_back, "not everything came back: {summary:?}");
        Ok(format!("{cycles} lives left nothing behind, {}; the other guest did {rounds} rounds", self.how()))
    }
}

impl Had {
    /// From the numbers among the words of a note.
    fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [held] => Some(Self { held, handles: 0, reached: 0, requests: 0 }),
            [held, handles, reached, _, _, requests] => Some(Self { held, handles, reached, requests }),
            _ => None,
        }
    }
}

fn rounds(text: &str) -> Option<u32> {
    text.strip_suffix(ROUNDS.1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYCLES: u32 = 60;

    fn killed(held: u32) -> String {
        format!(
            "@ffa t=1 note=vm1 is killed, {held} of its pages are held; the secure world has 1 handles, {held} pages and 1 \
             records of it, 3 SPs know it, 0 requests go on"
        )
    }

    fn gone() -> String {
        format!("@ffa t=1 note=vm1 is gone after 0{NOTHING_LEFT}")
    }

    fn good() -> Vec<String> {
        let lives = (0..CYCLES).flat_map(|life| [killed(life % 7), gone()]);
        let end = [
            "vm2: soak: 56 rounds".to_owned(),
            "@ffa t=1 note=vm2 is killed, 2 of its pages are held".to_owned(),
            format!("@ffa t=1 note={AS_IT_WAS}"),
            "summary scenario=hosting shares=9 reclaimed=9 gone=0 quarantined=0 pages_held=0 zombies=0 smcs=99 violations=0"
                .to_owned(),
        ];
        lives.chain(end).collect()
    }

    fn verdict(lines: &[String]) -> Result<String> {
        let mut lives = Lives::new(CYCLES);
        lines.iter().for_each(|line| _ = lives.line(line));
        lives.verdict()
    }

    #[test]
    fn a_good_run_is_good_and_says_so_ten_by_ten() {
        let mut lives = Lives::new(CYCLES);
        let reports: Vec<String> = good().iter().filter_map(|line| lives.line(line)).collect();
        assert_eq!(reports.len(), 6);
        assert!(
            reports[0].starts_with("soak: 10 of 60 lives left nothing, ended in 7 ways"),
            "{}",
            reports[0]
        );
        assert!(lives.verdict().is_ok(), "{:?}", lives.verdict());
    }

    #[test]
    fn every_line_that_is_missing_is_missed() {
        let good = good();
        for position in 0..good.len() {
            let mut lines = good.clone();
            let line = lines.remove(position);
            assert_eq!(verdict(&lines).is_ok(), line.contains("vm2 is killed"), "{line}");
        }
    }

    #[test]
    fn what_is_left_is_found() {
        for (from, to) in [
            ("after 0 ms, 0 of", "after 0 ms, 1 of"),
            (
                "the secure world has nothing of it",
                "the secure world has 0 handles, 0 pages and 1 records of it",
            ),
            ("reclaimed=9", "reclaimed=8"),
            ("zombies=0", "zombies=1"),
            ("violations=0", "violations=1"),
            (" is gone ", " is NOT gone "),
            ("56 rounds", "16 rounds"),
        ] {
            let lines: Vec<String> = good().iter().map(|line| line.replacen(from, to, 1)).collect();
            assert!(verdict(&lines).is_err(), "{to}");
        }
        let alike: Vec<String> = good()
            .iter()
            .map(|line| if line.contains("vm1 is killed") { killed(3) } else { line.clone() })
            .collect();
        assert!(verdict(&alike).is_err());
    }
}
