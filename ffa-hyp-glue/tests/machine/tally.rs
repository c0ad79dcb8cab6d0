//! What scripts came to, so that nobody takes a script that did nothing for one that found nothing.

use std::collections::BTreeMap;
use std::fmt;

/// Counts over many runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub runs: u64,
    pub steps: u64,
    /// How often each act was tried, and how often it had an effect.
    acts: BTreeMap<&'static str, [u64; 2]>,
    /// How often something happened that must happen sometimes.
    moments: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn act(&mut self, name: &'static str, effect: bool) {
        let [tried, effects] = self.acts.entry(name).or_default();
        *tried += 1;
        *effects += u64::from(effect);
    }

    pub fn moment(&mut self, name: &'static str, times: u64) {
        *self.moments.entry(name).or_default() += times;
    }

    pub fn moments(&self, name: &'static str) -> u64 {
        self.moments.get(name).copied().unwrap_or_default()
    }

    /// How many acts had an effect.
    pub fn effects(&self) -> u64 {
        self.acts.values().map(|[_, effects]| effects).sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.steps += other.steps;
        for (name, counts) in &other.acts {
            let sum = self.acts.entry(name).or_default();
            *sum = [sum[0] + counts[0], sum[1] + counts[1]];
        }
        for (name, times) in &other.moments {
            self.moment(name, *times);
        }
    }

    /// Acts that never had an effect, and moments that never came.
    pub fn vacuous(&self) -> Vec<&'static str> {
        let acts = self.acts.iter().filter(|(_, [_, effects])| *effects == 0).map(|(name, _)| *name);
        acts.chain(self.moments.iter().filter(|(_, times)| **times == 0).map(|(name, _)| *name)).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} steps in {} runs", self.steps, self.runs)?;
        for (name, [tried, effects]) in &self.acts {
            writeln!(f, "  {name:24} {tried:9} of which {effects:9} had an effect")?;
        }
        for (name, times) in &self.moments {
            writeln!(f, "  {name:36} {times:9} times")?;
        }
        Ok(())
    }
}
